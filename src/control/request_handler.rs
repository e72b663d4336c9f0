//! Answers what clients ask, with what the loop, the schedule and the journal say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::choice::choose;
use super::peer::Peer;
use super::protocol::{ControlAnswer, ErrorKind, FireProgress, Question};
use super::request::{
    Changed, ControlHandle, ControlRequest, FireError, FireRequest, LoopError, NotReady, Steer, SteerError,
    Terms, Uid, Wanted,
};
use super::status_reader::{StatusError, StatusReader};
use super::user;
use crate::dispatch::Haste;
use crate::journal::Key;
use crate::journal::postgres::Leads;
use crate::log::Event;
use crate::schedule::{ArgsTooLong, Entry, EntryName, Schedule, Shard, entries};

/// At most this many clients may wait for the outcome of a `fire`, so that connections are left for
/// others.
const MOST_WATCHING: usize = 48;

/// Entries that are paused or resumed together. The loop takes one a turn, and the journal writes
/// what waits as one.
const STEERED_AT_ONCE: usize = 64;

/// A person's `fire` waits this long for a daemon that was started a moment ago: its first claim
/// takes a second at most.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// The loop is asked again this often within [`READY_WITHIN`].
const READY_AGAIN: Duration = Duration::from_millis(100);

/// Number of times that an entry is looked up while reloads replace the schedule in between.
const LOOKED_UP: usize = 5;

/// Answers questions.
pub(super) struct RequestHandler {
    asking: ControlHandle,
    watching: Arc<Semaphore>,
    /// Reads what `status` prints.
    status: Arc<StatusReader>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum ControlRefusal {
    #[error("{0}; `stackcron next` shows the entries of the schedule")]
    UnknownEntry(#[from] entries::UnknownEntry),
    #[error(transparent)]
    Fire(#[from] FireError),
    #[error(transparent)]
    Steer(#[from] SteerError),
    #[error(transparent)]
    Ask(#[from] LoopError),
    #[error("{0}: {help}", help = .0.help())]
    Args(#[from] ArgsTooLong),
    #[error("too many wait for what they fired; try again in a moment, or with --no-wait")]
    Crowded,
}

impl From<StatusError> for ControlRefusal {
    fn from(error: StatusError) -> ControlRefusal {
        match error {
            StatusError::UnknownEntry(unknown) => ControlRefusal::UnknownEntry(unknown),
            StatusError::Ask(error) => ControlRefusal::Ask(error),
        }
    }
}

impl RequestHandler {
    /// Asks the loop over `asking`, and reads the status with `status`.
    pub(super) fn new(asking: ControlHandle, status: Arc<StatusReader>) -> RequestHandler {
        RequestHandler { asking, watching: Arc::new(Semaphore::new(MOST_WATCHING)), status }
    }

    pub(super) async fn answer(self: Arc<Self>, mut client: Peer, question: Question) {
        let answered = match question {
            Question::Fire { entry, args, wait, at, now } => {
                let haste = if now { Haste::Now } else { Haste::Usual };
                self.fire(&mut client, entry, Wanted::Now { args, haste, at }, wait).await
            }
            Question::Backfill { entry, at, pass, wait } => {
                self.fire(&mut client, entry, Wanted::Backfill { at, pass }, wait).await
            }
            Question::Pause { entries, until, note } => {
                self.steer_all(&mut client, entries, Some(Terms { until, note })).await
            }
            Question::Resume { entries } => self.steer_all(&mut client, entries, None).await,
            Question::Choose { patterns, stack, paused } => {
                self.choose(&mut client, patterns, stack, paused).await
            }
            Question::Status { entries, most } => self.status(&mut client, entries, most).await,
        };
        if let Err(refusal) = answered {
            let kind = match refusal {
                ControlRefusal::UnknownEntry(_) => ErrorKind::UnknownEntry,
                ControlRefusal::Fire(FireError::Known(_)) => ErrorKind::Known,
                ControlRefusal::Fire(FireError::Busy(_)) => ErrorKind::Busy,
                _ => ErrorKind::Refused,
            };
            let elsewhere = match refusal {
                ControlRefusal::Fire(_) | ControlRefusal::Steer(_) => self.leads_elsewhere().await,
                _ => None,
            };
            let message = match elsewhere {
                Some(leader) => format!(
                    "this member stands by, and {leader} leads: run the command on the machine of that member"
                ),
                None => refusal.to_string(),
            };
            client.refuse(kind, message).await;
        }
    }

    /// The member that leads, where this one stands by.
    async fn leads_elsewhere(&self) -> Option<String> {
        let snapshot = self.ask(|answer| ControlRequest::Snapshot { most: 0, answer }).await.ok()?;
        match snapshot.not_ready {
            Some(NotReady::StandsBy(leadership)) if leadership.leads == Leads::Lives => {
                leadership.last.map(|last| last.member)
            }
            _ => None,
        }
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> ControlRequest,
    ) -> Result<T, ControlRefusal> {
        Ok(self.asking.ask(ask).await?)
    }

    /// Finds an entry in the schedule in force. Off the runtime's threads: a misspelt name is held
    /// against all of them.
    async fn find(&self, name: &str) -> Result<(Arc<Schedule>, Arc<Entry>), ControlRefusal> {
        let (schedule, name) = (Arc::clone(&self.asking.schedule.borrow()), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let entry = entries::find(&schedule, &name).map(Arc::clone)?;
            Ok((schedule, entry))
        });
        // The task is lost only when the runtime ends.
        found.await.map_err(|_| LoopError::Stopping)?
    }

    async fn fire(
        &self,
        client: &mut Peer,
        name: String,
        wanted: Wanted,
        wait: bool,
    ) -> Result<(), ControlRefusal> {
        let _watching: Option<OwnedSemaphorePermit> = match wait {
            true => {
                Some(Arc::clone(&self.watching).try_acquire_owned().map_err(|_| ControlRefusal::Crowded)?)
            }
            false => None,
        };
        let (told, hears) = mpsc::unbounded_channel();
        let by = client.by;
        let mut tries = 0..LOOKED_UP;
        let ready_by = Instant::now() + READY_WITHIN;
        let key: Key = loop {
            let (schedule, entry) = self.find(&name).await?;
            if let Wanted::Now { args: Some(args), .. } = &wanted {
                entry.account.args_in.admits(args)?;
            }
            let (wanted, told) = (wanted.clone(), told.clone());
            let fire = |answer| {
                ControlRequest::Fire(Box::new(FireRequest { schedule, entry, wanted, by, answer, told }))
            };
            match self.ask(fire).await? {
                Err(FireError::Stale) if tries.next().is_some() => {}
                Err(FireError::NotYet) if Instant::now() < ready_by => tokio::time::sleep(READY_AGAIN).await,
                claimed => break claimed?,
            }
        };
        drop(told);
        let claimed =
            ControlAnswer::Claimed { entry: key.entry().to_string(), scheduled_at: key.scheduled_at() };
        if client.tell(&claimed).await.is_ok() && wait {
            RequestHandler::watch(client, hears).await;
        }
        Ok(())
    }

    /// Tells what becomes of an occurrence until that is decided, the client goes, or the daemon
    /// ends.
    async fn watch(client: &mut Peer, mut hears: mpsc::UnboundedReceiver<Event>) {
        loop {
            let event = tokio::select! {
                event = hears.recv() => event,
                () = client.leaves() => return,
            };
            match event.as_ref().map(FireProgress::of) {
                Some(Some(told)) => {
                    let decided = told.is_final();
                    if client.tell(&ControlAnswer::FireProgress(told)).await.is_err() || decided {
                        return;
                    }
                }
                Some(None) => {}
                None => {
                    let message = "the daemon stops; what it has claimed goes on when it starts again";
                    return client.fail(message.to_owned()).await;
                }
            }
        }
    }

    /// Steers entries, some at a time: what is asked for together is written together.
    async fn steer_all(
        self: &Arc<Self>,
        client: &mut Peer,
        names: Vec<String>,
        terms: Option<Terms>,
    ) -> Result<(), ControlRefusal> {
        let (by, by_name) = (
            client.by,
            tokio::task::spawn_blocking({
                let by = client.by;
                move || user::name(by)
            })
            .await
            .map_err(|_| LoopError::Stopping)?,
        );
        for some in names.chunks(STEERED_AT_ONCE) {
            let under_way: Vec<_> = some
                .iter()
                .map(|name| {
                    let (handler, name) = (Arc::clone(self), name.clone());
                    let (by_name, terms) = (by_name.clone(), terms.clone());
                    tokio::spawn(async move { handler.steer(name, by, by_name, terms).await })
                })
                .collect();
            for steered in under_way {
                let answer = steered.await.map_err(|_| LoopError::Stopping)??;
                // The request is done, whether or not the client reads the answer.
                let _ = client.tell(&answer).await;
            }
        }
        Ok(())
    }

    async fn choose(
        &self,
        client: &mut Peer,
        patterns: Vec<String>,
        stack: Option<String>,
        paused: bool,
    ) -> Result<(), ControlRefusal> {
        let by_hand = match paused {
            true => self.ask(|answer| ControlRequest::Snapshot { most: 0, answer }).await?.paused,
            false => Arc::default(),
        };
        let schedule = Arc::clone(&self.asking.schedule.borrow());
        let chosen = tokio::task::spawn_blocking(move || {
            let mut chosen = choose(&schedule, by_hand.keys(), &patterns, stack.as_deref())?;
            // An entry that was named in full gets an answer, whether or not its state changes.
            chosen.retain(|name| {
                !paused
                    || by_hand.contains_key(name)
                    || patterns.iter().any(|pattern| pattern == name.as_str())
            });
            Ok::<_, entries::UnknownEntry>(chosen)
        });
        let chosen = chosen.await.map_err(|_| LoopError::Stopping)??;
        let answer = ControlAnswer::Chosen { entries: chosen.iter().map(ToString::to_string).collect() };
        let _ = client.tell(&answer).await;
        Ok(())
    }

    async fn steer(
        &self,
        name: String,
        by: Uid,
        by_name: String,
        terms: Option<Terms>,
    ) -> Result<ControlAnswer, ControlRefusal> {
        let pause = terms.is_some();
        let (found, entry, shard) = match self.find(&name).await {
            Ok((_, entry)) => (Ok(entry.paused), entry.name.clone(), entry.account.shard.clone()),
            // An entry that the schedule no longer has may still be paused, so `resume` accepts it.
            Err(ControlRefusal::UnknownEntry(unknown)) if !pause => match EntryName::new(&name) {
                Ok(entry) => (Err(unknown), entry, Shard::Common),
                Err(_) => return Err(unknown.into()),
            },
            Err(refusal) => return Err(refusal),
        };
        let steered = |answer| {
            let steer = Steer { entry: entry.clone(), shard, by, by_name, answer };
            match terms {
                Some(terms) => ControlRequest::Pause(steer, terms),
                None => ControlRequest::Resume(steer),
            }
        };
        let changed = self.ask(steered).await??;
        let paused_in_schedule = match (found, changed) {
            (Err(unknown), Changed::No) => return Err(unknown.into()),
            (Err(_), Changed::Yes) => false,
            (Ok(paused), _) => paused,
        };
        Ok(ControlAnswer::Steered {
            entry: entry.to_string(),
            paused: pause,
            changed: changed == Changed::Yes,
            paused_in_schedule,
        })
    }

    async fn status(&self, client: &mut Peer, names: Vec<String>, most: usize) -> Result<(), ControlRefusal> {
        let status = self.status.status(names, most).await?;
        // A status of many entries takes a while to write.
        let line = self.status.write(move || ControlAnswer::Status(Box::new(status)).line()).await?;
        let _ = client.send(&line).await;
        Ok(())
    }
}
