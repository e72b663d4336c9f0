//! Answers what clients ask, with what the loop, the schedule and the journal say.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::protocol::{Answer, ErrorKind, Question, Told};
use super::request::{Changed, ControlHandle, ControlRequest, Fire, FireError, Steer, SteerError};
use super::server::Client;
use super::status::{Around, Status};
use crate::background::Background;
use crate::journal::postgres::Member;
use crate::journal::{Key, Lately, Location, Record};
use crate::log::Event;
use crate::schedule::{Entry, EntryName, Schedule, Shard, entries};
use crate::timetable;

/// So many at once may wait for what becomes of what they fired. The others still find room.
const MOST_WATCHING: usize = 48;

/// The loop answers within a millisecond, once the journal has written what is to be written. When it has not within this
/// time, one of them hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// The journal is read in some tenths of a second. When it has not been within this time, the disk hangs.
const JOURNAL_WITHIN: Duration = Duration::from_secs(3);

/// What is told of as lately.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// What was read of the journal is good for at least so long, and for this many times as long as it took to read: who
/// watches does not keep the machine busy.
const GOOD_FOR: Duration = Duration::from_millis(900);
const GOOD_TIMES: u32 = 20;

/// At most so much of each kind is told, whatever is asked for.
const MOST_LISTED: usize = 1000;

/// What somebody should look into, of the last day.
const MOST_NOTABLE: usize = 10;

/// How often an entry is looked up in a schedule that is replaced under our hands.
const LOOKED_UP: usize = 5;

/// Answers questions.
pub(super) struct RequestHandler {
    asking: ControlHandle,
    watching: Arc<Semaphore>,
    /// Where the journal is.
    journal: Location,
    /// Walks through large schedules, and writes long answers.
    walker: Background,
    /// Reads the journal: when the disk hangs, this hangs with it and nothing else does.
    reader: Background,
    /// Who may ask the reader.
    reading: Arc<Semaphore>,
    lately: std::sync::Mutex<Option<Read>>,
}

/// What was read of the journal.
#[derive(Clone)]
struct Read {
    since: Timestamp,
    lately: Lately,
    good_until: Instant,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}; `stackcron next` shows the entries of the schedule")]
    UnknownEntry(#[from] entries::UnknownEntry),
    #[error(transparent)]
    Fire(#[from] FireError),
    #[error(transparent)]
    Steer(#[from] SteerError),
    #[error("the daemon is stopping; ask again when it has started")]
    Stopping,
    #[error(
        "the daemon has not answered for {} s: its loop or its disk hangs; see its log, and restart it. What was asked for may \
         have been done all the same: look before you ask again",
        ANSWERED_WITHIN.as_secs()
    )]
    Hangs,
    #[error("too many wait for what they fired; try again in a moment, or with --no-wait")]
    Crowded,
}

impl RequestHandler {
    /// Asks the loop over `asking`, and reads the journal.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn new(asking: ControlHandle, journal: Location) -> io::Result<RequestHandler> {
        Ok(RequestHandler {
            asking,
            watching: Arc::new(Semaphore::new(MOST_WATCHING)),
            journal,
            walker: Background::start("status")?,
            reader: Background::start("status-journal")?,
            reading: Arc::new(Semaphore::new(1)),
            lately: std::sync::Mutex::new(None),
        })
    }

    pub(super) async fn answer(self: Arc<Self>, mut client: Client, question: Question) {
        let answered = match question {
            Question::Fire { entry, args, wait } => self.fire(&mut client, entry, args, wait).await,
            Question::Pause { entry } => self.steer(&mut client, entry, true).await,
            Question::Resume { entry } => self.steer(&mut client, entry, false).await,
            Question::Status { entries, most } => self.status(&mut client, entries, most).await,
        };
        if let Err(refusal) = answered {
            let kind = match refusal {
                Refusal::UnknownEntry(_) => ErrorKind::UnknownEntry,
                _ => ErrorKind::Refused,
            };
            client.refuse(kind, refusal.to_string()).await;
        }
    }

    /// Asks the loop.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> ControlRequest) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.asking.asks.send(ask(answer)).await.map_err(|_| Refusal::Stopping)?;
            answered.await.map_err(|_| Refusal::Stopping)
        };
        timeout(ANSWERED_WITHIN, asking).await.map_err(|_| Refusal::Hangs)?
    }

    /// Finds an entry in the schedule in force. Off the runtime's threads: a misspelt name is held against all of them.
    async fn find(&self, name: &str) -> Result<(Arc<Schedule>, Arc<Entry>), Refusal> {
        let (schedule, name) = (Arc::clone(&self.asking.schedule.borrow()), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let entry = entries::find(&schedule, &name).map(Arc::clone)?;
            Ok((schedule, entry))
        });
        // It can only fail when the runtime ends.
        found.await.map_err(|_| Refusal::Stopping)?
    }

    async fn fire(
        &self,
        client: &mut Client,
        name: String,
        args: Option<String>,
        wait: bool,
    ) -> Result<(), Refusal> {
        let _watching: Option<OwnedSemaphorePermit> = match wait {
            true => Some(Arc::clone(&self.watching).try_acquire_owned().map_err(|_| Refusal::Crowded)?),
            false => None,
        };
        let (told, hears) = mpsc::unbounded_channel();
        let by = client.by;
        let mut tries = 0..LOOKED_UP;
        let key: Key = loop {
            let (schedule, entry) = self.find(&name).await?;
            let (args, told) = (args.clone(), told.clone());
            let fire =
                |answer| ControlRequest::Fire(Box::new(Fire { schedule, entry, args, by, answer, told }));
            match self.ask(fire).await? {
                Err(FireError::Stale) if tries.next().is_some() => {}
                claimed => break claimed?,
            }
        };
        drop(told);
        let claimed = Answer::Claimed { entry: key.entry().to_string(), scheduled_at: key.scheduled_at() };
        if client.tell(&claimed).await.is_ok() && wait {
            RequestHandler::watch(client, hears).await;
        }
        Ok(())
    }

    /// Tells what becomes of an occurrence until that is decided, the client goes, or the daemon ends.
    async fn watch(client: &mut Client, mut hears: mpsc::UnboundedReceiver<Event>) {
        loop {
            let event = tokio::select! {
                event = hears.recv() => event,
                () = client.leaves() => return,
            };
            match event.as_ref().map(Told::of) {
                Some(Some(told)) => {
                    let decided = told.is_final();
                    if client.tell(&Answer::Told(told)).await.is_err() || decided {
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

    async fn steer(&self, client: &mut Client, name: String, pause: bool) -> Result<(), Refusal> {
        let (found, entry, shard) = match self.find(&name).await {
            Ok((_, entry)) => (Ok(entry.paused), entry.name.clone(), entry.account.shard.clone()),
            // One that is not in the schedule any more may still be paused.
            Err(Refusal::UnknownEntry(unknown)) if !pause => match EntryName::new(&name) {
                Ok(entry) => (Err(unknown), entry, Shard::Common),
                Err(_) => return Err(unknown.into()),
            },
            Err(refusal) => return Err(refusal),
        };
        let by = client.by;
        let steered = |answer| {
            let steer = Steer { entry: entry.clone(), shard, by, answer };
            if pause { ControlRequest::Pause(steer) } else { ControlRequest::Resume(steer) }
        };
        let changed = self.ask(steered).await??;
        let paused_in_schedule = match (found, changed) {
            (Err(unknown), Changed::No) => return Err(unknown.into()),
            (Err(_), Changed::Yes) => false,
            (Ok(paused), _) => paused,
        };
        let answer = Answer::Steered {
            entry: entry.to_string(),
            paused: pause,
            changed: changed == Changed::Yes,
            paused_in_schedule,
        };
        // It is done, whether or not somebody hears it.
        let _ = client.tell(&answer).await;
        Ok(())
    }

    async fn status(&self, client: &mut Client, names: Vec<String>, most: usize) -> Result<(), Refusal> {
        let most = most.min(MOST_LISTED);
        let snapshot = self.ask(|answer| ControlRequest::Snapshot { most, answer }).await?;
        let now = snapshot.now;
        let walk = move || {
            let upcoming = match names.is_empty() {
                true => snapshot.upcoming.iter().map(|(entry, at)| (Arc::clone(entry), Some(*at))).collect(),
                false => named(&snapshot.schedule, &names, most, now)?,
            };
            let around = upcoming.into_iter().map(|(entry, next)| {
                let last = timetable::previous(&entry, now);
                Around { entry, next, last, record: None }
            });
            Ok::<_, entries::UnknownEntry>((around.collect::<Vec<Around>>(), snapshot))
        };
        // It only fails by a mistake of ours, or at the end.
        let (mut around, snapshot) = self.walker.run(walk).await.ok_or(Refusal::Stopping)??;
        let last = |around: &Around| Some(Key::new(around.entry.name.clone(), around.last?));
        let (records, lately, members) = self.read(around.iter().filter_map(last).collect(), now).await;
        let mut records = records.into_iter();
        for of in around.iter_mut().filter(|of| of.last.is_some()) {
            of.record = records.next().flatten();
        }
        let write = move || {
            let lately = lately.map(|read| (read.since, read.lately));
            Answer::Status(Box::new(Status::of(&snapshot, around, lately, members, most))).line()
        };
        let line = self.walker.run(write).await.ok_or(Refusal::Stopping)?;
        let _ = client.send(&line).await;
        Ok(())
    }

    /// Reads the journal: what it has of these, what happened lately, and who shares it. Where that takes too long, it is done without.
    async fn read(&self, keys: Vec<Key>, now: Timestamp) -> (Vec<Option<Record>>, Option<Read>, Vec<Member>) {
        let known = self.lately.lock().ok().and_then(|lately| lately.clone());
        let journal = self.journal.clone();
        let reading = async {
            let permit = Arc::clone(&self.reading).acquire_owned().await.ok()?;
            let read = move || {
                let records = journal.read_records(&keys).unwrap_or_default();
                let lately = lately(&journal, known, now);
                let members = journal.members().unwrap_or_default();
                drop(permit);
                (records, lately, members)
            };
            self.reader.run(read).await
        };
        let (records, read, members) =
            timeout(JOURNAL_WITHIN, reading).await.ok().flatten().unwrap_or_default();
        if let (Ok(mut lately), Some(read)) = (self.lately.lock(), &read) {
            *lately = Some(read.clone());
        }
        (records, read, members)
    }
}

/// An entry, and when it is due next, if ever.
type Upcoming = (Arc<Entry>, Option<Timestamp>);

/// The entries of these names, in this order.
fn named(
    schedule: &Schedule,
    names: &[String],
    most: usize,
    now: Timestamp,
) -> Result<Vec<Upcoming>, entries::UnknownEntry> {
    let known: HashMap<&str, &Arc<Entry>> =
        schedule.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let found = names.iter().take(most).map(|name| {
        let entry =
            known.get(name.as_str()).map_or_else(|| entries::find(schedule, name), |entry| Ok(entry))?;
        Ok((Arc::clone(entry), timetable::next(entry, now)))
    });
    found.collect()
}

/// What happened lately: as it was read before, while that is good.
fn lately(journal: &Location, known: Option<Read>, now: Timestamp) -> Option<Read> {
    let began = Instant::now();
    if let Some(known) = known.filter(|known| began < known.good_until) {
        return Some(known);
    }
    let since = now.checked_sub(LATELY).unwrap_or(Timestamp::MIN);
    let lately = journal.read_lately(since, now, MOST_NOTABLE).ok()?;
    let good_until = Instant::now() + GOOD_FOR.max(began.elapsed() * GOOD_TIMES);
    Some(Read { since, lately, good_until })
}
