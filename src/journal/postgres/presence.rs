//! Tells the others that a member is there, and compares it with them: the schedule's file, the
//! clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::{Identity, JournalError};
use super::connection::{ANSWERED_WITHIN, answered, connect, within};
use super::identity::RunId;
use super::term::{MemberEvent, Profile};
use super::{PostgresAddress, rows, schema};
use crate::clock::Now;

/// Between two signs of life.
const EVERY: Duration = Duration::from_secs(1);

/// Before a connection is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A shard is only left to a member that was heard of so lately.
const FRESH_MS: u64 = 2000;

/// A clock may be off from the database's by so much, the way there and back not counted.
const CLOCK_OFF: Duration = Duration::from_secs(1);

const SIGN: &str = "
    INSERT INTO stackcron.member (id, name, version, schedule, entries, offset_ms)
    SELECT $1, $2, $3, $4, $5, $6 FROM stackcron.journal WHERE identity = $7::text::uuid
    ON CONFLICT (id) DO UPDATE SET
        schedule = excluded.schedule, entries = excluded.entries, offset_ms = excluded.offset_ms,
        seen_at = clock_timestamp()
    RETURNING (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Those who were there in the last hour; who has not been heard of for longer is gone.
const MEMBERS: &str = "
    SELECT m.id, m.name, version, schedule, entries, offset_ms, coalesce(NOT l.released AND l.holder = m.id, false),
        (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint,
        (extract(epoch FROM started_at) * 1000000)::bigint,
        ARRAY(SELECT s.name FROM stackcron.lease s
            WHERE NOT s.released AND s.holder = m.id AND s.name <> '' ORDER BY 1)
    FROM stackcron.member m LEFT JOIN stackcron.lease l ON l.name = ''
    WHERE seen_at > now() - interval '1 hour'
    ORDER BY 7 DESC, 8 > 5000, m.name, id";

const FORGET: &str = "DELETE FROM stackcron.member WHERE id = $1 OR seen_at < now() - interval '1 hour'";

/// A daemon that shares the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its host, and the number of its process there.
    pub name: String,
    /// Version of the member's program.
    pub version: String,
    /// Fingerprint of the member's schedule file. Equal files have equal fingerprints.
    pub schedule: String,
    /// The entries in it.
    pub entries: u32,
    /// Milliseconds by which the member's clock is ahead of the database's. `None` until that is
    /// known.
    pub clock_ahead_ms: Option<i64>,
    /// True when the member has the lease of the common shard, to which all accounts without a
    /// named shard belong.
    pub leads: bool,
    /// The named shards that it leads.
    pub shards: Vec<String>,
    /// Milliseconds since the member's last sign of life. It gives one each second.
    pub lag_ms: u64,
    /// The instant at which the member started, by the database's clock.
    pub started_at: Timestamp,
    id: i64,
}

impl Member {
    /// Returns true when the member gave a sign of life lately.
    pub fn lives(&self) -> bool {
        self.lag_ms < 5000
    }
}

/// The daemons that share a journal, the leader first. Those that were killed are among them for an
/// hour. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn members(address: &PostgresAddress) -> Result<Vec<Member>, JournalError> {
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        all(&client, address).await
    })
}

async fn all(client: &Client, address: &PostgresAddress) -> Result<Vec<Member>, JournalError> {
    let rows = answered(address, client.query_typed(MEMBERS, &[])).await?;
    Ok(rows.iter().map(member).collect())
}

fn member(row: &Row) -> Member {
    Member {
        id: row.get(0),
        name: row.get(1),
        version: row.get(2),
        schedule: row.get(3),
        entries: row.get::<_, i32>(4).try_into().unwrap_or(0),
        clock_ahead_ms: row.get(5),
        leads: row.get(6),
        lag_ms: row.get::<_, i64>(7).try_into().unwrap_or(0),
        started_at: Timestamp::from_microsecond(row.get(8)).unwrap_or_default(),
        shards: row.get(9),
    }
}

/// The one in a member that tells of it. Ends with the sender of its profile.
pub(super) struct Presence {
    pub(super) address: PostgresAddress,
    pub(super) id: RunId,
    pub(super) profile: watch::Receiver<Profile>,
    /// Identity of the journal. A member gives no sign of life in another journal.
    pub(super) identity: watch::Receiver<Option<Identity>>,
    pub(super) news: mpsc::UnboundedSender<MemberEvent>,
    /// The other members that live and have the same schedule.
    pub(super) others: watch::Sender<Vec<i64>>,
    /// Notified once the member's row is written.
    pub(super) joined: Arc<Notify>,
    /// The events that were told of each member.
    pub(super) told: ToldOfMembers,
}

#[derive(Default)]
pub(super) struct ToldOfMembers {
    /// A member and its schedule, the leader and its schedule.
    differing: BTreeSet<[String; 4]>,
    clock_off: bool,
    ahead: Option<SignedDuration>,
}

impl Presence {
    pub(super) async fn run(mut self) {
        let joined = Arc::clone(&self.joined);
        tokio::select! {
            () = joined.notified() => {}
            _ = self.profile.wait_for(|_| false) => return,
        }
        while self.profile.has_changed().is_ok() {
            // A connection that fails here fails for the elector as well, which tells it.
            if let Ok(client) = connect(&self.address).await {
                while self.profile.has_changed().is_ok() && self.turn(&client).await.is_ok() {
                    tokio::select! {
                        () = sleep(EVERY) => {}
                        changed = self.profile.changed() => if changed.is_err() {
                            let id = [(&self.id.0 as _, Type::INT8)];
                            let _ = answered(&self.address, client.query_typed(FORGET, &id)).await;
                            return;
                        }
                    }
                }
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                changed = self.profile.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn turn(&mut self, client: &Client) -> Result<(), JournalError> {
        let profile = self.profile.borrow_and_update().clone();
        let ahead_ms = self.told.ahead.map(|ahead| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX));
        let entries = i32::try_from(profile.entries).unwrap_or(i32::MAX);
        let identity = self.identity.borrow().as_ref().map(ToString::to_string);
        let parameters = [
            (&self.id.0 as _, Type::INT8),
            (&profile.name as _, Type::TEXT),
            (&profile.version as _, Type::TEXT),
            (&profile.schedule as _, Type::TEXT),
            (&entries as _, Type::INT4),
            (&ahead_ms as _, Type::INT8),
            (&identity as _, Type::TEXT),
        ];
        let asked = Now::read();
        let rows = answered(&self.address, client.query_typed(SIGN, &parameters)).await?;
        let took = Now::read().mono.saturating_sub(asked.mono);
        if let Some(shown) = rows.first().and_then(|row| Timestamp::from_microsecond(row.get(0)).ok()) {
            self.compare_clock(asked.wall, took, shown);
        }
        let members = all(client, &self.address).await?;
        self.compare_schedules(&members);
        let others = members.iter().filter(|member| {
            member.lag_ms < FRESH_MS && member.id != self.id.0 && member.schedule == profile.schedule
        });
        self.others.send_replace(others.map(|member| member.id).collect());
        Ok(())
    }

    /// The database showed its clock at some time in the span that its answer took.
    fn compare_clock(&mut self, asked: Timestamp, took: Duration, shown: Timestamp) {
        let ahead = asked.duration_since(shown) + SignedDuration::try_from(took / 2).unwrap_or_default();
        self.told.ahead = Some(ahead);
        let off = ahead.unsigned_abs() > CLOCK_OFF + took / 2;
        if off && !self.told.clock_off {
            let by_ms = ahead.as_millis().try_into().unwrap_or(i64::MAX);
            let _ = self.news.send(MemberEvent::ClockOff { by_ms });
        }
        self.told.clock_off = off;
    }

    /// The leader's file counts. Every member tells of all whose file is another, once.
    fn compare_schedules(&mut self, members: &[Member]) {
        let living = || members.iter().filter(|member| member.lives());
        let mut differing = BTreeSet::new();
        if let Some(leader) = living().find(|member| member.leads) {
            for member in living().filter(|member| member.schedule != leader.schedule) {
                let [name, leads] = [member, leader].map(|member| member.name.clone());
                differing.insert([name, member.schedule.clone(), leads, leader.schedule.clone()]);
            }
        } else {
            // Between two leaders nothing changes.
            return;
        }
        for [member, schedule, leader, leader_schedule] in differing.difference(&self.told.differing).cloned()
        {
            let _ = self.news.send(MemberEvent::Differs { member, schedule, leader, leader_schedule });
        }
        self.told.differing = differing;
    }
}
