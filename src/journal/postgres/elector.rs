//! Takes leases that are free, keeps them with a beat, and tells what became of them.
//!
//! One connection for all shards: a beat is one statement however many this member leads, and so is
//! a look.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::identity::{KnownJournal, WhenReplaced};
use super::super::outage::Outage;
use super::super::uuid::Identity;
use super::super::{EndedTerm, JournalError, TermNumber};
use super::balance::ShardLoad;
use super::connection::{PREPARED_WITHIN, answered, connect, within};
use super::election_state::{Beat, ElectionState, ElectionStep, Found, sends_until};
use super::identity::RunId;
use super::lease::{BEAT, LOOK, Seen};
use super::sighting::Sighting;
use super::term::{LeadershipChange, MemberEvent};
use super::{PostgresAddress, schema};
use crate::clock::{Mono, Now};
use crate::schedule::{Shard, ShardName};

/// Before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// A member that leads all of its shards looks at the others' leases at this interval.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Shards are handed over one at a time, at this interval. The others have seen the hand-over by
/// then.
const HAND_OVER_EVERY: Duration = Duration::from_secs(2);

/// After a leader was not heard of, nothing is handed over for so long: it may still seem to live.
const SETTLES: Duration = Duration::from_secs(4);

/// A member whose clock is further from the database's does not lead: what it sent would be early
/// or late by as much.
const CLOCK_TOO_FAR: Duration = Duration::from_secs(10);

const LOOK_AT_ALL: &str = "
    SELECT name, number, beat, released, holder, sends_until, holder_name,
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM stackcron.lease";

/// Adds the rows of shards that nobody has led yet. A number is never used twice: it is at least
/// the time.
const ADD: &str = "
    WITH newest AS (
        SELECT greatest(coalesce(max(number), 0), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS number
        FROM stackcron.lease
    ), lease AS (
        INSERT INTO stackcron.lease (name, number, beat, released)
        SELECT n.name, newest.number + n.place, 0, true
        FROM newest, unnest($1::text[]) WITH ORDINALITY AS n (name, place)
        ON CONFLICT (name) DO NOTHING
    )
    INSERT INTO stackcron.shard (name) SELECT name FROM unnest($1::text[]) AS name ON CONFLICT (name) DO NOTHING";

/// `sends_until` grows with each beat, also by the clock of a leader that is behind the former
/// one's: see [`ElectionState::sent_until`].
///
/// Takes a lease that is still as it was seen, in a journal of this identity that is there as a
/// whole. The new number is greater than that of each term before, also of those that a database
/// which was restored from a backup has forgotten: it is at least the time.
const TAKE: &str = "
    UPDATE stackcron.lease
    SET number = greatest(
            (SELECT max(number) + 1 FROM stackcron.lease),
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
        ),
        beat = beat + 1, released = false, holder = $1, holder_name = $6, sends_until = greatest(sends_until + 1, $2),
        lost_until = greatest(lost_until, $8)
    WHERE name = $7 AND number = $3 AND beat = $4 AND released = $5
        AND EXISTS (SELECT FROM stackcron.journal WHERE identity = $9::text::uuid)
        AND to_regclass('stackcron.target_pkey') IS NOT NULL
    RETURNING number";

/// Keeps the leases of these terms of this holder, and reads which terms are over. A row with an
/// older beat than the one that is known to be written is of an older copy of the database.
const KEEP: &str = "
    WITH kept AS (
        UPDATE stackcron.lease l SET beat = k.next, sends_until = greatest(sends_until + 1, $5)
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k (number, known, next)
        WHERE l.number = k.number AND l.holder = $4 AND NOT l.released AND l.beat >= k.known AND l.beat < k.next
            AND EXISTS (SELECT FROM stackcron.journal WHERE identity = $6::text::uuid)
        RETURNING l.number
    )
    SELECT kept.number, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, ended.numbers, ended.sent_until
    FROM kept, (
        SELECT coalesce(array_agg(number ORDER BY number), '{}') AS numbers,
            coalesce(array_agg(sent_until ORDER BY number), '{}') AS sent_until
        FROM stackcron.ended
    ) AS ended";

/// Tells how far the leaders of terms that are over have sent. What was told before counts as well.
const REPORT: &str = "
    INSERT INTO stackcron.ended AS e (number, sent_until)
    SELECT r.number, r.sent_until FROM unnest($1::bigint[], $2::bigint[]) AS r (number, sent_until)
    WHERE EXISTS (SELECT FROM stackcron.journal WHERE identity = $3::text::uuid)
    ON CONFLICT (number) DO UPDATE SET sent_until = greatest(e.sent_until, excluded.sent_until)";

const RELEASE: &str = "
    UPDATE stackcron.lease SET beat = beat + 1, released = true
    WHERE number = $1 AND holder = $2 AND NOT released";

/// A leader's way to say that it cannot write, though its lease is kept.
#[derive(Debug)]
pub(super) struct Unable {
    pub(super) commands: mpsc::UnboundedSender<ElectorCommand>,
    pub(super) shard: Shard,
    pub(super) number: TermNumber,
}

impl Unable {
    /// Leaves the shard to another member, if there is one.
    pub(super) fn tell(&self, error: &JournalError) {
        let _ =
            self.commands.send(ElectorCommand::CannotLead(self.shard.clone(), self.number, error.clone()));
    }
}

/// A command to the elector.
pub(super) enum ElectorCommand {
    /// Lead a shard when it is free.
    Join(Shard, Candidate),
    /// Tell the other members how far this member had sent in a term that is over.
    Report(EndedTerm),
    /// Hand a lease over, and look again for it later: this member cannot use it, or has handed it
    /// over.
    Release(Shard),
    /// Hand a lease over that the term of this number cannot use for the reason given, if another
    /// member is there.
    CannotLead(Shard, TermNumber, JournalError),
    /// Hand a lease over, and look for it no more. Ends with the last. Told whether it is handed
    /// over: where the database is out of reach, it ends by itself.
    Leave(Shard, oneshot::Sender<bool>),
}

/// A part in a shard, and who is told what becomes of it.
pub(super) struct Candidate {
    pub(super) part: ElectionState,
    pub(super) notices: mpsc::UnboundedSender<LeadershipChange>,
    /// The lease as this member sees it, for `status`.
    pub(super) sighting: watch::Sender<Sighting>,
}

impl Candidate {
    fn emit(&self, notice: impl Into<Option<LeadershipChange>>) {
        if let Some(notice) = notice.into() {
            // Nobody listens when the daemon is at its end.
            let _ = self.notices.send(notice);
        }
    }
}

/// The one in a member that knows of the leases.
pub(super) struct Elector {
    pub(super) address: PostgresAddress,
    pub(super) id: RunId,
    pub(super) name: String,
    /// The process before this one in the same state directory: it is dead.
    pub(super) former: Option<RunId>,
    /// The journal that the state directory knows.
    pub(super) known: KnownJournal,
    /// The answer to a replaced journal, needed until the first connection.
    pub(super) when_replaced: WhenReplaced,
    /// The identity of the journal, for who writes to it besides.
    pub(super) identity: watch::Sender<Option<Identity>>,
    pub(super) commands: mpsc::UnboundedReceiver<ElectorCommand>,
    pub(super) news: mpsc::UnboundedSender<MemberEvent>,
    /// The other members that live and have the same schedule.
    pub(super) others: watch::Receiver<Vec<i64>>,
    pub(super) shards: BTreeMap<Shard, Candidate>,
    /// Terms of this member, or of its process before, that are over, and of which the database has
    /// not been told.
    pub(super) reports: Vec<EndedTerm>,
    /// Times at which the next beat, the next look and the next hand-over are due.
    pub(super) due: [Mono; 3],
    /// The failures that were told.
    pub(super) outage: Outage,
}

/// The end of a connection.
enum EndedElection {
    Left,
    Failed(JournalError),
}

/// The answer to a command, and the step that follows it.
enum AfterCommand {
    Done,
    Left,
}

impl Elector {
    /// Keeps going until it is told to leave. The first connection's failure is told to `first`.
    pub(super) async fn run(mut self, first: oneshot::Sender<Result<(), JournalError>>) {
        let mut first = Some(first);
        loop {
            let ended = match connect(&self.address).await {
                Ok(mut client) => match self.prepare(&mut client).await {
                    Ok(()) => {
                        if let Some(first) = first.take() {
                            let _ = first.send(Ok(()));
                        }
                        self.serve(&client).await
                    }
                    Err(error) => EndedElection::Failed(error),
                },
                Err(error) => EndedElection::Failed(error),
            };
            let EndedElection::Failed(error) = ended else {
                return;
            };
            for candidate in self.shards.values_mut() {
                candidate.part.loses_sight();
                candidate.sighting.send_modify(Sighting::loses_sight);
            }
            if let JournalError::Replaced { .. } = &error {
                for candidate in self.shards.values_mut() {
                    let notice = candidate.part.is_without_journal();
                    candidate.emit(notice);
                }
            }
            if let Some(first) = first.take() {
                let _ = first.send(Err(error.clone()));
            }
            if self.outage.fails(&error, Now::read().mono) {
                // Nobody listens when the daemon is at its end.
                let _ = self.news.send(match error {
                    JournalError::Replaced { location: journal, known, found } => {
                        MemberEvent::Replaced { journal, known, found }
                    }
                    error => MemberEvent::Unreachable(error),
                });
            }
            match timeout(AGAIN, self.commands.recv()).await {
                Err(_) => {}
                Ok(None) => return,
                // The leases end by themselves.
                Ok(Some(command)) => match self.perform(None, command).await {
                    Ok(AfterCommand::Left) => return,
                    Ok(AfterCommand::Done) | Err(_) => {}
                },
            }
        }
    }

    /// Finds the journal that the state directory knows, or makes one where it knows none.
    async fn prepare(&mut self, client: &mut Client) -> Result<(), JournalError> {
        let known = self.known.seen().map(|seen| seen.identity.clone());
        let preparing = schema::prepare(client, &self.address, known.as_ref());
        let prepared = match within(&self.address, PREPARED_WITHIN, preparing).await {
            Err(JournalError::Replaced { .. }) if self.when_replaced == WhenReplaced::BeginAnew => {
                self.known.forget();
                self.reports.clear();
                within(&self.address, PREPARED_WITHIN, schema::prepare(client, &self.address, None)).await
            }
            prepared => prepared,
        };
        let identity = prepared?;
        self.when_replaced = WhenReplaced::Refuse;
        let location = self.address.to_string();
        self.known.sees(&identity, &location).map_err(|error| self.known.failed(&error))?;
        self.identity.send_replace(Some(identity));
        Ok(())
    }

    /// Remembers how far anybody may have sent, for a database that will know less. Where the state
    /// directory cannot be written, nothing is sent either, because of the mark.
    fn remember(&mut self) {
        for (shard, candidate) in &self.shards {
            if let Some(until) = candidate.part.sent_until() {
                let _ = self.known.reaches(shard, until);
            }
        }
    }

    async fn serve(&mut self, client: &Client) -> EndedElection {
        loop {
            let pause = match self.turn(client).await {
                Ok(pause) => {
                    if self.outage.ends() {
                        let _ = self.news.send(MemberEvent::Reachable);
                    }
                    pause
                }
                // A server that is read-only or full is asked again on a new connection: it may be
                // another by then.
                Err(error) => return EndedElection::Failed(error),
            };
            tokio::select! {
                () = sleep(pause) => {}
                command = self.commands.recv() => {
                    let Some(command) = command else { return EndedElection::Left };
                    match self.perform(Some(client), command).await {
                        Ok(AfterCommand::Done) => {}
                        Ok(AfterCommand::Left) => return EndedElection::Left,
                        Err(error) => return EndedElection::Failed(error),
                    }
                }
            }
        }
    }

    /// Does as it is told. Without a connection, leases end by themselves.
    async fn perform(
        &mut self,
        client: Option<&Client>,
        command: ElectorCommand,
    ) -> Result<AfterCommand, JournalError> {
        let (shard, left) = match command {
            ElectorCommand::Report(ended) => {
                self.reports.push(ended);
                return Ok(AfterCommand::Done);
            }
            ElectorCommand::Join(shard, mut candidate) => {
                candidate.part.may_have_sent(self.known.until(&shard));
                self.shards.insert(shard, candidate);
                self.due[1] = Mono::ZERO;
                return Ok(AfterCommand::Done);
            }
            ElectorCommand::CannotLead(shard, number, error) => {
                let part = self.shards.get(&shard).map(|candidate| &candidate.part);
                let leads = part.is_some_and(|part| part.number() == Some(number));
                // Without a connection the lease ends by itself.
                if !leads || client.is_none() || self.others.borrow().is_empty() {
                    return Ok(AfterCommand::Done);
                }
                let _ = self.news.send(MemberEvent::Unreachable(error));
                if let Some(candidate) = self.shards.get(&shard) {
                    candidate.emit(LeadershipChange::Deposed);
                }
                (shard, None)
            }
            ElectorCommand::Release(shard) => (shard, None),
            ElectorCommand::Leave(shard, done) => (shard, Some(done)),
        };
        let Some(candidate) = self.shards.get_mut(&shard) else {
            return Ok(AfterCommand::Done);
        };
        let number = candidate.part.number();
        candidate.part.rests(Now::read().mono);
        // A member that led everything had no reason to look again soon.
        self.due[1] = Mono::ZERO;
        let mut released = Ok(u64::from(number.is_none()));
        if let (Some(client), Some(number)) = (client, number) {
            let number = number.get();
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&number, &self.id.0];
            released = answered(&self.address, client.execute(RELEASE, &parameters)).await;
        }
        let Some(done) = left else {
            return released.map(|_| AfterCommand::Done);
        };
        self.shards.remove(&shard);
        let _ = done.send(released.is_ok_and(|rows| rows > 0));
        Ok(if self.shards.is_empty() { AfterCommand::Left } else { AfterCommand::Done })
    }

    /// Beats and looks, where that is due. Returns how long to wait for the next time.
    async fn turn(&mut self, client: &Client) -> Result<Duration, JournalError> {
        let now = Now::read();
        let [beat, look, _] = self.due;
        if self.leads() && now.mono >= beat {
            self.due[0] = now.mono + BEAT;
            self.renew_lease(client, now).await?;
        }
        // Before a lease is taken: the term that begins then reads them.
        self.report(client).await?;
        if now.mono >= look {
            let pause = self.look(client).await?;
            self.due[1] = Now::read().mono + pause;
        }
        let next = match self.leads() {
            true => self.due[0].min(self.due[1]),
            false => self.due[1],
        };
        Ok(next.saturating_sub(Now::read().mono))
    }

    /// Tells the other members how far this member had sent in terms that are over.
    async fn report(&mut self, client: &Client) -> Result<(), JournalError> {
        if self.reports.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i64> = self.reports.iter().map(|ended| ended.number.get()).collect();
        let sent: Vec<i64> = self.reports.iter().map(|ended| ended.sent_up_to.as_microsecond()).collect();
        let identity = self.identity.borrow().as_ref().map(ToString::to_string);
        let parameters =
            [(&numbers as _, Type::INT8_ARRAY), (&sent as _, Type::INT8_ARRAY), (&identity as _, Type::TEXT)];
        answered(&self.address, client.query_typed(REPORT, &parameters)).await?;
        self.reports.clear();
        Ok(())
    }

    /// Keeps what it leads.
    async fn renew_lease(&mut self, client: &Client, asked: Now) -> Result<(), JournalError> {
        let until = sends_until(asked).as_microsecond();
        let beats: Vec<Beat> =
            self.shards.values_mut().filter_map(|candidate| candidate.part.beats()).collect();
        let [numbers, known, next] =
            [|beat: &Beat| beat.number.get(), |beat: &Beat| beat.known, |beat: &Beat| beat.next]
                .map(|column| beats.iter().map(column).collect::<Vec<i64>>());
        let identity = self.identity.borrow().as_ref().map(ToString::to_string);
        let parameters = [
            (&numbers as _, Type::INT8_ARRAY),
            (&known as _, Type::INT8_ARRAY),
            (&next as _, Type::INT8_ARRAY),
            (&self.id.0 as _, Type::INT8),
            (&until as _, Type::INT8),
            (&identity as _, Type::TEXT),
        ];
        let kept = answered(&self.address, client.query_typed(KEEP, &parameters)).await?;
        let too_far = kept.first().is_some_and(|row| is_too_far(asked, Now::read(), row.get(1)));
        let ended = kept.first().map(ended_terms).unwrap_or_default();
        let kept: Vec<i64> = kept.iter().map(|row| row.get(0)).collect();
        for candidate in self.shards.values_mut() {
            if let Some(notice) = candidate.part.kept(&kept, asked) {
                candidate.emit(notice);
                self.due[1] = Mono::ZERO;
            }
            let notice = candidate.part.terms_ended(&ended);
            candidate.emit(notice);
            if too_far && candidate.part.stays() {
                let notice = candidate.part.leaves();
                candidate.emit(notice);
            }
        }
        self.remember();
        Ok(())
    }

    /// Looks at all leases, and takes those that are free. Returns when to look again.
    async fn look(&mut self, client: &Client) -> Result<Duration, JournalError> {
        let asked = Now::read();
        let rows = answered(&self.address, client.query_typed(LOOK_AT_ALL, &[])).await?;
        let too_far = rows.first().is_some_and(|row| is_too_far(asked, Now::read(), row.get(7)));
        let found: BTreeMap<Shard, Found> = rows.iter().filter_map(found).collect();
        let unknown: Vec<&str> =
            self.shards.keys().filter(|shard| !found.contains_key(shard)).map(shard_name).collect();
        if !unknown.is_empty() {
            answered(&self.address, client.execute(ADD, &[&unknown])).await?;
            return Ok(Duration::ZERO);
        }
        let now = Now::read();
        let mono = now.mono;
        for (shard, candidate) in &self.shards {
            if let Some(found) = found.get(shard) {
                let leads = candidate.part.leads();
                candidate.sighting.send_modify(|sighting| sighting.sees(found, leads, too_far, now));
            }
        }
        let mut pause = if self.shards.len() > 1 { LOOK_AROUND } else { Duration::MAX };
        let waiting = self.shards.iter().filter(|(_, candidate)| !candidate.part.leads());
        let waiting: Vec<Shard> = waiting.map(|(shard, _)| shard.clone()).collect();
        for shard in waiting {
            if too_far {
                pause = pause.min(LOOK);
                continue;
            }
            let Some(found) = found.get(&shard) else {
                // Another member has just added it, and has not committed that yet.
                pause = pause.min(LOOK);
                continue;
            };
            let wait = self.consider(client, &shard, found, mono).await?;
            pause = pause.min(wait);
        }
        self.remember();
        self.share_out(&found, mono);
        Ok(pause.min(Duration::from_secs(3600)))
    }

    /// Takes a shard's lease if it is free. Returns the time of the next look.
    async fn consider(
        &mut self,
        client: &Client,
        shard: &Shard,
        found: &Found,
        mono: Mono,
    ) -> Result<Duration, JournalError> {
        let hesitates = self.sight(None).hesitates();
        let Some(candidate) = self.shards.get_mut(shard) else {
            return Ok(LOOK);
        };
        let (next, notice) = candidate.part.consider(found, self.former, hesitates, mono);
        candidate.emit(notice);
        let lost_until = match next {
            ElectionStep::Wait(pause) => return Ok(pause),
            ElectionStep::Take { lost_until } => lost_until,
        };
        let Some(identity) = self.identity.borrow().clone() else {
            return Ok(LOOK);
        };
        let asked = Now::read();
        let Seen { number, beat, released } = found.seen;
        let (name, until) =
            (shard_name(shard), sends_until(asked).max(candidate.part.sent_until().unwrap_or(asked.wall)));
        let until = until.as_microsecond();
        // A leader before the restore may have sent what this member has not seen of it.
        let lost_until = lost_until.map(|lost| lost.max(asked.wall).as_microsecond());
        let parameters = [
            (&self.id.0 as _, Type::INT8),
            (&until as _, Type::INT8),
            (&number as _, Type::INT8),
            (&beat as _, Type::INT8),
            (&released as _, Type::BOOL),
            (&self.name as _, Type::TEXT),
            (&name as _, Type::TEXT),
            (&lost_until as _, Type::INT8),
            (&identity.as_str() as _, Type::TEXT),
        ];
        let taken = answered(&self.address, client.query_typed(TAKE, &parameters)).await?;
        let Some(row) = taken.first() else {
            candidate.part.missed();
            return Ok(Duration::ZERO);
        };
        if !released {
            self.due[2] = self.due[2].max(mono + SETTLES);
        }
        let number = TermNumber::new(row.get(0));
        let term = candidate.part.taken(shard.clone(), found, number, (self.id, &identity), asked);
        candidate.sighting.send_modify(Sighting::takes);
        candidate.emit(LeadershipChange::Leads(term));
        self.due[0] = asked.mono + BEAT;
        Ok(BEAT)
    }

    /// Hands one shard over, if another member has fewer.
    fn share_out(&mut self, found: &BTreeMap<Shard, Found>, mono: Mono) {
        if self.shards.len() < 2 || mono < self.due[2] || !self.sight(Some(found)).gives() {
            return;
        }
        // The common one last: it is the one that all have.
        if let Some(given) = self.shards.values_mut().rev().find(|candidate| candidate.part.stays()) {
            let notice = given.part.leaves();
            given.emit(notice);
            self.due[2] = mono + HAND_OVER_EVERY;
        }
    }

    fn leads(&self) -> bool {
        self.shards.values().any(|candidate| candidate.part.leads())
    }

    /// Returns the distribution of shards as this member sees it. Without the leases the others are
    /// counted, and not the shards that they lead.
    fn sight(&self, found: Option<&BTreeMap<Shard, Found>>) -> ShardLoad {
        let leads = |id: &i64| {
            let holds = |found: &&Found| !found.seen.released && found.holder == Some(RunId(*id));
            found.map_or(0, |found| found.values().filter(holds).count())
        };
        ShardLoad {
            own: self.shards.values().filter(|candidate| candidate.part.stays()).count(),
            others: self.others.borrow().iter().map(leads).collect(),
            shards: self.shards.len(),
        }
    }
}

/// Returns true when the database's clock, read between two readings of this machine's clock, is
/// further away than allowed.
fn is_too_far(asked: Now, answered: Now, shown: i64) -> bool {
    let Ok(shown) = Timestamp::from_microsecond(shown) else {
        return false;
    };
    let took = answered.mono.saturating_sub(asked.mono);
    let ahead = asked.wall.duration_since(shown).unsigned_abs();
    ahead > CLOCK_TOO_FAR + took
}

/// The name of a shard's rows. The common shard has the empty one.
fn shard_name(shard: &Shard) -> &str {
    shard.name().map_or("", ShardName::as_str)
}

/// Returns the terms that are over, as a beat reads them.
fn ended_terms(row: &Row) -> Vec<EndedTerm> {
    let (numbers, sent): (Vec<i64>, Vec<i64>) = (row.get(2), row.get(3));
    let ended = numbers.into_iter().zip(sent).filter_map(|(number, sent)| {
        let sent_up_to = Timestamp::from_microsecond(sent).ok()?;
        Some(EndedTerm { number: TermNumber::new(number), sent_up_to })
    });
    ended.collect()
}

fn found(row: &Row) -> Option<(Shard, Found)> {
    let shard = match row.get(0) {
        "" => Shard::Common,
        name => Shard::Named(ShardName::new(name).ok()?),
    };
    let seen = Seen { number: row.get(1), beat: row.get(2), released: row.get(3) };
    let sends_until =
        row.get::<_, Option<i64>>(5).and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let holder = row.get::<_, Option<i64>>(4).map(RunId);
    Some((shard, Found { seen, holder, name: row.get(6), sends_until }))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_clock_more_than_ten_seconds_from_the_databases_is_too_far() {
        let asked = Now { wall: Timestamp::UNIX_EPOCH, mono: Duration::from_secs(100) };
        let too_far = |off: i64, took: u64| {
            let answered = Now { mono: asked.mono + Duration::from_secs(took), ..asked };
            let shown = asked.wall + SignedDuration::from_secs(off);
            is_too_far(asked, answered, shown.as_microsecond())
        };
        for (off, took, expected) in
            [(0, 0, false), (10, 0, false), (11, 0, true), (-10, 0, false), (-11, 0, true), (12, 3, false)]
        {
            assert_eq!(too_far(off, took), expected, "{off} s, and an answer that took {took} s");
        }
    }
}
