//! Tells people how occurrences end: webhooks and pings, on an entry's `notify` and `ping`.
//!
//! The loop hands over what happened and goes on. A task of its own folds that into messages
//! (`outbox.rs`, pure) and posts them, outside of any account's quota. Nothing of it survives the
//! process: the log has all of it.

mod audience;
mod content;
mod happening;
mod message;
mod outbox;
mod post;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::clock::Now;
use crate::log::Event;
use crate::metrics::Metrics;
use crate::schedule::ByName;

pub use audience::{AddressProblem, Audience, Owner};
use happening::NotifiedEnd;
use outbox::{Outbox, Target};
use post::{Failure, deliver};

/// The task takes in at most this many events before it looks at the clock again.
const AT_ONCE: usize = 1024;

/// The loop's side: hands over what happened.
pub struct Notices {
    entries: Arc<ByName>,
    told: mpsc::UnboundedSender<NoticeMessage>,
    task: JoinHandle<()>,
}

/// A message to the notification task.
enum NoticeMessage {
    Happened(NotifiedEnd),
    /// Another schedule has taken over.
    Replaced(Audience),
    /// The daemon ends: what is left is sent at once, and not again, and given up then.
    Closing(Instant),
}

impl Notices {
    /// Begins to tell an audience. What cannot be told is counted.
    pub fn start(audience: Audience, metrics: Option<Arc<Metrics>>) -> Notices {
        let (told, telling) = mpsc::unbounded_channel();
        let entries = Arc::clone(&audience.entries);
        Notices { entries, told, task: tokio::spawn(tell(telling, audience, metrics)) }
    }

    /// Takes in an event, if anybody is to be told of it. Costs the loop a look at a table.
    pub(crate) fn observe(&self, event: &Event) {
        if let Some(happening) = NotifiedEnd::of(event, &self.entries) {
            // The task ends after the daemon.
            let _ = self.told.send(NoticeMessage::Happened(happening));
        }
    }

    /// Goes on with the audience of another schedule.
    pub(crate) fn replace(&mut self, audience: Audience) {
        self.entries = Arc::clone(&audience.entries);
        let _ = self.told.send(NoticeMessage::Replaced(audience));
    }

    /// Sends what is left, if that takes no longer than `limit`.
    pub(crate) async fn close(self, limit: Duration) {
        let _ = self.told.send(NoticeMessage::Closing(Instant::now() + limit));
        // Fails only when the task has panicked, and then nothing is left to be sent.
        let _ = self.task.await;
    }
}

/// The task: takes in what happened, and posts what becomes of it.
async fn tell(
    mut telling: mpsc::UnboundedReceiver<NoticeMessage>,
    mut audience: Audience,
    metrics: Option<Arc<Metrics>>,
) {
    let emit = |events| emit(events, metrics.as_deref());
    let mut outbox = Outbox::default();
    let mut taken = Vec::new();
    let mut end = None;
    let (report, mut reports) = mpsc::unbounded_channel::<(Target, Result<(), Failure>)>();
    loop {
        let now = Now::read();
        for delivery in outbox.advance(now.mono) {
            let found = audience.address(&delivery.address).cloned().zip(audience.poster.clone());
            let post = deliver(found, delivery.message);
            let (report, target) = (report.clone(), delivery.target);
            tokio::spawn(async move {
                // Nobody listens any more when the task has ended.
                let _ = report.send((target, post.await));
            });
        }
        if outbox.is_done() {
            return;
        }
        let wake = outbox.wakes_at().map(|at| Instant::now() + at.saturating_sub(now.mono));
        tokio::select! {
            count = telling.recv_many(&mut taken, AT_ONCE) => {
                if count == 0 {
                    return;
                }
                let now = Now::read().mono;
                for told in taken.drain(..) {
                    match told {
                        NoticeMessage::Happened(happening) => emit(outbox.take_in(happening, now)),
                        NoticeMessage::Replaced(new) => {
                            outbox.keep(&new.entries);
                            audience = new;
                        }
                        NoticeMessage::Closing(at) => {
                            end = Some(at);
                            outbox.close();
                        }
                    }
                }
            }
            Some((target, result)) = reports.recv() => {
                emit(Vec::from_iter(outbox.delivered(&target, result, Now::read().mono)));
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                return emit(outbox.abandon());
            }
        }
    }
}

fn emit(events: Vec<Event>, metrics: Option<&Metrics>) {
    for event in events {
        if let Some(metrics) = metrics {
            metrics.observe(&event);
        }
        event.emit();
    }
}
