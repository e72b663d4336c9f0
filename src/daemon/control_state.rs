//! The state that a loop keeps for people: what they ask about, and who waits for an answer.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::node::Asker;
use crate::control::{Changed, FireError, SteerError};
use crate::journal::Key;
use crate::log::Event;

/// The state that outlives a term.
pub(super) struct ControlState {
    /// The instant at which the daemon started.
    pub(super) since: Timestamp,
    pub(super) path: Arc<str>,
    pub(super) journal: Arc<str>,
    /// The time of the last sweep. `None`: there was none yet.
    pub(super) swept_at: Option<Timestamp>,
    /// Receivers of the events of occurrences that people fired.
    watched: HashMap<Key, mpsc::UnboundedSender<Event>>,
}

impl ControlState {
    pub(super) fn new(since: Timestamp, path: &Arc<str>, journal: &Arc<str>) -> ControlState {
        ControlState {
            since,
            path: Arc::clone(path),
            journal: Arc::clone(journal),
            swept_at: None,
            watched: HashMap::new(),
        }
    }

    /// Passes an event on to who waits for it.
    pub(super) fn on_event(&self, event: &Event) {
        if !self.watched.is_empty()
            && let Some((entry, scheduled_at)) = event.occurrence()
            && let Some(watcher) = self.watched.get(&Key::new(entry.clone(), scheduled_at))
        {
            // Whoever has gone does not hear it.
            let _ = watcher.send(event.clone());
        }
    }

    fn watch(&mut self, key: Key, watcher: mpsc::UnboundedSender<Event>) {
        self.watched.retain(|_, watcher| !watcher.is_closed());
        self.watched.insert(key, watcher);
    }
}

/// Senders to a person who fires an entry: first the occurrence or the refusal, then its events.
type AskedForFire = (oneshot::Sender<Result<Key, FireError>>, mpsc::UnboundedSender<Event>);

/// Those who wait for an answer of a node. They learn that nobody answers when the term ends.
#[derive(Default)]
pub(super) struct Askers {
    last: u64,
    fires: HashMap<Asker, AskedForFire>,
    steers: HashMap<Asker, oneshot::Sender<Result<Changed, SteerError>>>,
}

impl Askers {
    /// Somebody waits to learn whether an entry is fired, and then of its occurrence's events.
    pub(super) fn waits_for_fire(
        &mut self,
        answer: oneshot::Sender<Result<Key, FireError>>,
        told: mpsc::UnboundedSender<Event>,
    ) -> Asker {
        let asker = self.next();
        self.fires.insert(asker, (answer, told));
        asker
    }

    /// Somebody waits to learn whether an entry is paused or resumed.
    pub(super) fn waits_for_steering(
        &mut self,
        answer: oneshot::Sender<Result<Changed, SteerError>>,
    ) -> Asker {
        let asker = self.next();
        self.steers.insert(asker, answer);
        asker
    }

    fn next(&mut self) -> Asker {
        self.last += 1;
        Asker(self.last)
    }

    /// An entry is fired: who asked hears of its occurrence from now on.
    pub(super) fn fired(&mut self, asker: Asker, key: Key, desk: &mut ControlState) {
        if let Some((answer, told)) = self.fires.remove(&asker) {
            // Events name no pass.
            desk.watch(Key::new(key.entry().clone(), key.scheduled_at()), told);
            let _ = answer.send(Ok(key));
        }
    }

    /// An entry is not fired.
    pub(super) fn not_fired(&mut self, asker: Asker, error: FireError) {
        if let Some((answer, _)) = self.fires.remove(&asker) {
            let _ = answer.send(Err(error));
        }
    }

    /// An entry is paused or resumed, or is not.
    pub(super) fn steered(&mut self, asker: Asker, changed: Result<Changed, SteerError>) {
        if let Some(answer) = self.steers.remove(&asker) {
            let _ = answer.send(changed);
        }
    }
}
