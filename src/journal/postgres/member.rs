//! A daemon among those that share the journal: it stands by until it leads, and tells what happens
//! meanwhile.
//!
//! Two connections from a thread of its own, so that nothing that keeps the daemon busy keeps a
//! beat from being sent: one for the leases, one to tell of itself. A leader has a third for each
//! shard that it leads, through which it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::super::directory::Lock;
use super::super::elsewhere;
use super::super::identity::{KnownJournal, WhenReplaced};
use super::super::outage::Outage;
use super::super::summary::JournalSummary;
use super::super::uuid::Identity;
use super::super::{EndedTerm, JournalError, Opened, SendPermit, SendWatermark, send_watermark};
use super::connection::{answered, connect};
use super::election_state::ElectionState;
use super::elector::{Candidate, Elector, ElectorCommand, Unable};
use super::presence::{Presence, ToldOfMembers};
use super::rows::{self, PostgresRows};
use super::sighting::{Leadership, Sighting};
use super::term::{LeadershipChange, MemberEvent, Profile, Term};
use super::{PostgresAddress, identity, schema};
use crate::clock::Mono;
use crate::schedule::{Shard, ShardName};

/// A member of those that share the journal. Ends when it is dropped.
#[derive(Debug)]
pub struct Membership {
    address: PostgresAddress,
    directory: PathBuf,
    _lock: Lock,
    profile: watch::Sender<Profile>,
    identity: watch::Receiver<Option<Identity>>,
    commands: mpsc::UnboundedSender<ElectorCommand>,
    left_open: Vec<Shard>,
    /// Notified once the member stands for a shard. Before that, no other member leaves a shard to
    /// it.
    joined: Arc<Notify>,
    /// Ends with the thread.
    thread: oneshot::Receiver<()>,
    news: mpsc::UnboundedReceiver<MemberEvent>,
}

impl Membership {
    /// Joins. `when` tells what to do where the journal is not the one that the state directory
    /// knows. In the state directory it keeps who it is and how far it has sent. Blocks until the
    /// database has answered, or has not.
    ///
    /// # Errors
    /// When the database refuses it, or another daemon uses the state directory. One that
    /// cannot be reached is waited for.
    pub fn join(
        address: PostgresAddress,
        directory: &Path,
        profile: Profile,
        when: WhenReplaced,
    ) -> Result<Membership, JournalError> {
        let lock = Lock::take(directory)?;
        let io = |error| JournalError::io(directory, &error);
        let mut journal = KnownJournal::open(directory).map_err(io)?;
        let mut reports = send_watermark::ended_terms(directory).map_err(io)?;
        let location = address.to_string();
        if let Some(seen) = journal.seen()
            && seen.location != location
        {
            let found = summary(&address)?;
            if found.as_ref().map(|found| &found.identity) != Some(&seen.identity) {
                match elsewhere::may_enter(seen, &location, found.as_ref()) {
                    Err(_) if when == WhenReplaced::BeginAnew => {}
                    entered => entered?,
                }
                journal.forget();
                reports.clear();
            }
        }
        let (identity, of_journal) = watch::channel(None);
        let (id, former) = identity::renew(directory).map_err(io)?;
        let (tell, news) = mpsc::unbounded_channel();
        let (commands, orders) = mpsc::unbounded_channel();
        let (others_seen, others) = watch::channel(Vec::new());
        let name = profile.name.clone();
        let (profile, known) = watch::channel(profile);
        let elector = Elector {
            address: address.clone(),
            id,
            name,
            former,
            known: journal,
            when_replaced: when,
            identity,
            commands: orders,
            news: tell.clone(),
            others,
            shards: BTreeMap::new(),
            reports,
            due: [Mono::ZERO; 3],
            outage: Outage::default(),
        };
        let joined = Arc::new(Notify::new());
        let presence = Presence {
            address: address.clone(),
            id,
            profile: known,
            identity: of_journal.clone(),
            news: tell,
            others: others_seen,
            joined: Arc::clone(&joined),
            told: ToldOfMembers::default(),
        };
        let (first, connected) = oneshot::channel();
        let (lives, thread) = oneshot::channel::<()>();
        let runtime = rows::runtime(&address)?;
        std::thread::Builder::new()
            .name("member".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let presence = tokio::spawn(presence.run());
                    elector.run(first).await;
                    let _ = presence.await;
                });
                drop(lives);
            })
            .map_err(io)?;
        match connected.blocking_recv() {
            Ok(Ok(()) | Err(JournalError::Unreachable { .. })) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(JournalError::Closed),
        }
        // One that cannot be asked now has them when this member is started again.
        let left_open = left_open(&address).unwrap_or_default();
        let directory = directory.to_owned();
        Ok(Membership {
            address,
            directory,
            _lock: lock,
            profile,
            identity: of_journal,
            commands,
            left_open,
            joined,
            thread,
            news,
        })
    }

    /// Returns the handle of a shard, which this member may lead from now on.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn shard_handle(&self, shard: Shard) -> Result<ShardHandle, JournalError> {
        let io = |error| JournalError::io(&self.directory, &error);
        SendWatermark::open(&self.directory, &shard, SendPermit::none_yet()).map_err(io)?;
        let (tell, notices) = mpsc::unbounded_channel();
        let (sighting, seen) = watch::channel(Sighting::default());
        let candidate = Candidate { part: ElectionState::new(), notices: tell, sighting };
        let _ = self.commands.send(ElectorCommand::Join(shard.clone(), candidate));
        self.joined.notify_one();
        Ok(ShardHandle {
            shard,
            name: self.name(),
            address: self.address.clone(),
            directory: self.directory.clone(),
            commands: self.commands.clone(),
            notices,
            seen,
        })
    }

    /// Waits for the next event about the members.
    pub async fn next_event(&mut self) -> MemberEvent {
        match self.news.recv().await {
            Some(news) => news,
            // The elector's thread lives as long as this value, which holds its commands.
            None => std::future::pending().await,
        }
    }

    /// Leaves the members, once all shards are left. The others do not see the member from then on.
    pub async fn leave(self) {
        let Membership { profile, commands, thread, .. } = self;
        drop((profile, commands));
        let _ = thread.await;
    }

    /// The named shards that had something open when it joined.
    pub fn left_open(&self) -> &[Shard] {
        &self.left_open
    }

    /// Returns the name by which the others know this member.
    pub fn name(&self) -> String {
        self.profile.borrow().name.clone()
    }

    /// Returns the identity of the journal. `None`: the database has not answered yet.
    pub fn identity(&self) -> watch::Receiver<Option<Identity>> {
        self.identity.clone()
    }

    /// Tells the others of another schedule file.
    pub fn describe(&self, schedule: String, entries: usize) {
        self.profile.send_modify(|profile| {
            profile.schedule = schedule;
            profile.entries = entries;
        });
    }
}

const LEFT_OPEN: &str = "SELECT DISTINCT shard FROM stackcron.open WHERE shard <> ''";

fn left_open(address: &PostgresAddress) -> Result<Vec<Shard>, JournalError> {
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        let rows = answered(address, client.query_typed(LEFT_OPEN, &[])).await?;
        let names = rows.iter().filter_map(|row| ShardName::new(row.get(0)).ok());
        Ok(names.map(Shard::Named).collect())
    })
}

/// Returns the facts that decide whether the journal in a database may be left or entered. `None`:
/// no journal is in it. Blocks.
pub(in super::super) fn summary(address: &PostgresAddress) -> Result<Option<JournalSummary>, JournalError> {
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        schema::summary(&client, address).await
    })
}

/// A member's part in one shard: it leads it, or stands by.
#[derive(Debug)]
pub struct ShardHandle {
    shard: Shard,
    name: String,
    address: PostgresAddress,
    directory: PathBuf,
    commands: mpsc::UnboundedSender<ElectorCommand>,
    notices: mpsc::UnboundedReceiver<LeadershipChange>,
    seen: watch::Receiver<Sighting>,
}

impl ShardHandle {
    /// Returns the shard.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// By what the member is known to the others.
    pub fn member(&self) -> &str {
        &self.name
    }

    /// Returns the leader as far as this member knows.
    pub fn leadership(&self, mono: Mono) -> Leadership {
        self.seen.borrow().leadership(mono)
    }

    /// Waits for the next event about the members.
    pub async fn next_event(&mut self) -> LeadershipChange {
        match self.notices.recv().await {
            Some(notice) => notice,
            // Nobody can ask this member to leave any more.
            None => std::future::pending().await,
        }
    }

    /// Opens the journal for a term. What the leader before left is in it. Whoever does not wait
    /// for the end any more keeps nothing from ending: a thread of its own waits for the database.
    ///
    /// # Errors
    /// Then this member does not lead: the lease is handed over, and looked at again after a while.
    pub fn open(&self, term: Term) -> impl Future<Output = Result<Opened, JournalError>> + Send + use<> {
        let (address, directory) = (self.address.clone(), self.directory.clone());
        let (commands, shard) = (self.commands.clone(), self.shard.clone());
        let unable = Unable { commands: commands.clone(), shard: shard.clone(), number: term.number };
        let (tell, opened) = oneshot::channel();
        let open = move || {
            let io = |error| JournalError::io(&directory, &error);
            let permit = term.permit.clone();
            let mark = SendWatermark::begin(&directory, &term.shard, term.number, permit).map_err(io)?;
            let (rows, recovered) = PostgresRows::begin(address, &term, unable)?;
            Opened::new(rows, recovered, mark).map_err(io)
        };
        let thread = std::thread::Builder::new().name("opening".to_owned()).spawn(move || {
            let _ = tell.send(open());
        });
        let begun = thread.map(drop).map_err(|error| JournalError::io(&self.directory, &error));
        async move {
            let opened = match begun {
                Ok(()) => opened.await.unwrap_or(Err(JournalError::Closed)),
                Err(error) => Err(error),
            };
            if opened.is_err() {
                let _ = commands.send(ElectorCommand::Release(shard));
            }
            opened
        }
    }

    /// Tells the other members how far this member had sent in a term that is over: it sends
    /// nothing under the term any more.
    pub fn term_ended(&self, ended: EndedTerm) {
        let _ = self.commands.send(ElectorCommand::Report(ended));
    }

    /// Hands the lease over, if it has it, and goes on as one that stands by. The journal must be
    /// closed before.
    pub fn release(&self) {
        let _ = self.commands.send(ElectorCommand::Release(self.shard.clone()));
    }

    /// Hands the lease over, if it has it, and leads no more. The journal must be closed before.
    /// Returns whether it is handed over: where the database is out of reach, the lease ends by
    /// itself.
    pub async fn leave(self) -> bool {
        let (done, left) = oneshot::channel();
        self.commands.send(ElectorCommand::Leave(self.shard.clone(), done)).is_ok()
            && left.await.unwrap_or(false)
    }
}
