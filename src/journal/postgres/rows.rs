//! The journal's rows in the database: how a leader writes them, and reads what the leader before
//! it left.
//!
//! What a group of writes needs is sent at once, each kind as one statement, and answered at once:
//! one round trip. Each statement does nothing unless this leader's number is the lease's, whose
//! row it keeps from being changed until it is committed. Nobody else writes, so what is open is
//! known here, and no move has to be read before it is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::super::progress::Progress;
use super::super::store::{Store, Write, Written};
use super::super::{
    Claim, ClockOf, EndedTerm, Identity, JournalError, Key, KnownActions, Origin, Pause, Recovered, Repeat,
    Repetition, Resent, ResentWatch, State, TermNumber, Unnamed,
};
use super::connection::{Answers, PREPARED_WITHIN, Session, answered, connect, within};
use super::elector::Unable;
use super::group::columns;
use super::open::OpenedPostgres;
use super::statements::Statements;
use super::term::Term;
use super::{PostgresAddress, schema};
use crate::cloud66::ActionId;
use crate::quota;
use crate::schedule::{AccountName, EntryName, JobUid, StackUid};

/// After a connection could not be made, none is tried for so long: what is asked meanwhile fails
/// at once.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// Time to read what the former leader left. A member that cannot read it by then gives up the
/// lease, because another one may have a better way to the database. A million open occurrences
/// take some seconds.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// While it is read, nothing comes for so long at most. The server may have to sort before the
/// first row.
const BEGINS_TO_ANSWER: Duration = Duration::from_secs(10);

/// A connection through which nothing was written for so long is tried, so that it is known to live
/// when something comes due. Firewalls forget connections after thirty seconds and more.
const TRIED_EVERY: Duration = Duration::from_secs(10);

/// A connection that lives answers within this time when it is tried. Claims are made further
/// ahead.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// A connection that was closed says so within this time. What was asked on it is asked again at
/// once on another one.
const CLOSED_SAYS_SO: Duration = Duration::from_millis(500);

/// A leader that could not write for so long, while its lease is kept by another connection, leaves
/// the shard to a member that may be able to. Longer than a restart of the database takes.
const CANNOT_LEAD: Duration = Duration::from_secs(12);

/// The rows of the journal, through which a leader writes.
pub(super) struct PostgresRows {
    address: PostgresAddress,
    runtime: Runtime,
    client: Option<Client>,
    /// The session of the connection that was made last. What was asked of it may still be on its
    /// way.
    session: Option<Session>,
    /// Why there is no connection, and since when.
    failed: Option<(Instant, JournalError)>,
    number: TermNumber,
    identity: Identity,
    statements: Arc<Statements>,
    open: OpenedPostgres,
    /// The time since which nothing could be written.
    fails_since: Option<Instant>,
    unable: Unable,
}

/// Many occurrences may have been left open, so the server may take as long as [`BEGUN_WITHIN`].
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '60s'";

pub(super) const PAUSED: &str = "SELECT entry, terms FROM stackcron.paused ORDER BY 1";

const QUOTAS: &str = "SELECT account, saved FROM stackcron.quota ORDER BY 1";

const RESENT: &str = "
    SELECT scheduled_at, entry, pass, stack, surplus, watch FROM stackcron.resent WHERE watch IS NOT NULL ORDER BY 1, 2, 3";

/// The terms that are over by the word of their leaders.
const ENDED: &str = "SELECT number, sent_until FROM stackcron.ended";

/// Forgets the terms that are over and have nothing open any more.
const FORGET_ENDED: &str = "
    DELETE FROM stackcron.ended e USING lease WHERE NOT EXISTS (SELECT FROM stackcron.open o WHERE o.number = e.number)";

/// Gives claims that were not sent this leader's number, before it sends one of them: from then on
/// the word of a former leader says nothing of them.
const TAKE_OVER: &str = "
    , taken AS (
        UPDATE stackcron.open o SET number = $1
        FROM lease, unnest($2::bigint[], $3::text[], $4::integer[]) AS c (scheduled_at, entry, pass)
        WHERE o.scheduled_at = c.scheduled_at AND o.entry = c.entry COLLATE \"C\" AND o.pass = c.pass AND o.state = 0
    )
    SELECT EXISTS (SELECT FROM lease)";

const PRUNE: &str = "
    , pruned AS (
        DELETE FROM stackcron.settled s USING lease WHERE (s.scheduled_at, s.entry, s.pass) IN
        (SELECT scheduled_at, entry, pass FROM stackcron.settled WHERE scheduled_at < $2 ORDER BY 1, 2, 3 LIMIT $3)
        RETURNING 1
    ), forgotten AS (
        UPDATE stackcron.journal SET pruned_until = greatest(pruned_until, $2) FROM lease
    ), past AS (
        DELETE FROM stackcron.in_force f USING lease WHERE f.until <= $2
    ), resent AS (
        DELETE FROM stackcron.resent r USING lease WHERE r.scheduled_at < $2
    )
    SELECT EXISTS (SELECT FROM lease), (SELECT count(*) FROM pruned)";

/// The actions of a stack, and the settled occurrences that are `started` or `unknown` and have
/// none.
const ACTIONS: &str = "
    SELECT action, scheduled_at, entry, sent, pass, job FROM (
        SELECT scheduled_at, entry, pass, action, target, sent FROM stackcron.open
        WHERE scheduled_at >= $1 AND action IS NOT NULL
        UNION ALL
        SELECT scheduled_at, entry, pass, action, target, coalesce(sent, due) FROM stackcron.settled
        WHERE scheduled_at >= $1 AND (action IS NOT NULL OR state IN (3, 9))
        UNION ALL
        SELECT scheduled_at, entry, pass, action, target, sent FROM stackcron.open
        WHERE scheduled_at < $1 AND action = ANY ($3::bigint[])
        UNION ALL
        SELECT scheduled_at, entry, pass, action, target, sent FROM stackcron.settled
        WHERE scheduled_at < $1 AND action = ANY ($3::bigint[])
    ) AS o JOIN stackcron.target t ON t.id = o.target
    WHERE t.stack = $2
    UNION ALL
    SELECT surplus, scheduled_at, entry, NULL, pass, NULL FROM stackcron.resent
    WHERE surplus IS NOT NULL AND stack = $2
    ORDER BY scheduled_at, entry";

const SETTLED: &str = "
    SELECT s.scheduled_at, s.entry, s.state, s.action, s.pass
    FROM unnest($1::bigint[], $2::text[], $3::integer[]) AS k (scheduled_at, entry, pass)
    JOIN stackcron.settled s ON s.scheduled_at = k.scheduled_at AND s.entry = k.entry COLLATE \"C\" AND s.pass = k.pass";

/// A runtime for a thread that waits for the database and for nothing else.
pub(super) fn runtime(address: &PostgresAddress) -> Result<Runtime, JournalError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        JournalError::Unreachable { address: address.to_string(), detail: error.to_string() }
    })
}

/// A value that is not what its column holds.
pub(super) fn damaged(address: &PostgresAddress, detail: &str) -> JournalError {
    JournalError::Database {
        address: address.to_string(),
        detail: format!("it cannot be trusted: {detail}"),
        remedy: Some("restore it from a backup"),
    }
}

impl PostgresRows {
    /// Begins a leader's term: reads what the one before it left, and forgets an orderly stop with
    /// it.
    pub(super) fn begin(
        address: PostgresAddress,
        term: &Term,
        unable: Unable,
    ) -> Result<(PostgresRows, Recovered), JournalError> {
        let number = term.number;
        let runtime = runtime(&address)?;
        let statements = Arc::new(Statements::of(term));
        let prepared = Arc::clone(&statements);
        let mut rows = PostgresRows {
            address,
            runtime,
            client: None,
            session: None,
            failed: None,
            number,
            identity: term.identity.clone(),
            statements,
            open: OpenedPostgres::default(),
            fails_since: None,
            unable,
        };
        let Inherited { recovered, open, unsent } = rows.attempt(async |client, address, number| {
            let leads: [(&(dyn ToSql + Sync), Type); 1] = [(&number, Type::INT8)];
            let answers = Answers::from_now(address, BEGINS_TO_ANSWER);
            let (begin, goes_on) = (prepared.now(&prepared.begin), prepared.now(&prepared.goes_on));
            let forget_ended = format!("{}{FORGET_ENDED}", prepared.lease());
            let reading = async {
                // Sent in this order, without a wait in between: nothing is sent to the API before
                // it is read.
                let ((), journal, paused, quotas, resent, ended, open, _, _, ()) = tokio::try_join!(
                    biased;
                    answers.one(client.batch_execute(BEGIN)),
                    answers.one(client.query_typed(&begin, &leads)),
                    answers.one(client.query_typed(PAUSED, &[])),
                    answers.one(client.query_typed(QUOTAS, &[])),
                    answers.one(client.query_typed(RESENT, &[])),
                    answers.one(client.query_typed(ENDED, &[])),
                    answers.rows(client.query_typed_raw::<&str, _>(&prepared.open, [])),
                    answers.one(client.query_typed(&forget_ended, &leads)),
                    answers.one(client.query_typed(&goes_on, &leads)),
                    answers.one(client.batch_execute("COMMIT")),
                )?;
                Ok((journal, paused, quotas, resent, ended, open))
            };
            let (journal, paused, quotas, resent, ended, open) =
                within(address, BEGUN_WITHIN, reading).await?;
            let journal = journal.first().ok_or(JournalError::Deposed)?;
            let ended = ended.iter().map(ended_term).collect::<Result<Vec<_>, _>>();
            let mut inherited = ended
                .and_then(|ended| found(journal, &paused, &quotas, &open, (term, &ended)))
                .map_err(|detail| damaged(address, &detail))?;
            inherited.recovered.resent = resent
                .iter()
                .map(resent_row)
                .collect::<Result<_, _>>()
                .map_err(|detail| damaged(address, &detail))?;
            Ok(inherited)
        })?;
        rows.take_over(&unsent)?;
        rows.open = OpenedPostgres::found(open);
        Ok((rows, recovered))
    }

    /// Gives claims of former terms that were not sent this leader's number.
    fn take_over(&mut self, unsent: &[Key]) -> Result<(), JournalError> {
        if unsent.is_empty() {
            return Ok(());
        }
        let sql = format!("{}{TAKE_OVER}", self.statements.lease());
        self.attempt(async |client, address, number| {
            let (instants, entries, passes) = columns(unsent.iter());
            let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
                (&number, Type::INT8),
                (&instants, Type::INT8_ARRAY),
                (&entries, Type::TEXT_ARRAY),
                (&passes, Type::INT4_ARRAY),
            ];
            let rows = answered(address, client.query_typed(&sql, &parameters)).await?;
            match rows.first().is_some_and(|row| row.get(0)) {
                true => Ok(()),
                false => Err(JournalError::Deposed),
            }
        })
    }

    /// Does something with a connection. One that has failed is not used again.
    fn attempt<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut Client, &PostgresAddress, i64) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if let Some((at, error)) = &self.failed
            && at.elapsed() < CONNECT_AGAIN
        {
            return Err(error.clone());
        }
        let (address, number) = (&self.address, self.number.get());
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let identity = self.identity.clone();
            let former = self.session.clone();
            let connecting = async {
                let mut client = connect(address).await?;
                let preparing = schema::prepare(&mut client, address, Some(&identity));
                within(address, PREPARED_WITHIN, preparing).await?;
                if let Some(former) = former {
                    former.end(&client, address).await?;
                }
                let session = Session::of(&client, address).await?;
                Ok::<_, JournalError>((client, session))
            };
            self.client = None;
            match self.runtime.block_on(connecting) {
                Ok((client, session)) => (self.client, self.session) = (Some(client), Some(session)),
                Err(error) => {
                    self.failed = Some((Instant::now(), error.clone()));
                    return Err(error);
                }
            }
            self.failed = None;
        }
        let Some(client) = self.client.as_mut() else {
            return Err(JournalError::Closed);
        };
        let done = self.runtime.block_on(ask(client, address, number));
        if done.is_err() {
            // Whatever it is: what was a replica or read-only may lead to another server by now.
            self.client = None;
        }
        done
    }

    /// Records that nothing could be written. After a while this member gives up the lease, if
    /// another one can lead.
    fn is_unable(&mut self, error: &JournalError) {
        let since = *self.fails_since.get_or_insert_with(Instant::now);
        if error.passes() && since.elapsed() >= CANNOT_LEAD {
            self.unable.tell(error);
        }
    }

    /// Looks up the occurrences that are moved and not open: they are settled, or were never
    /// claimed.
    fn look_up(&mut self, writes: &[Write<'_>]) -> Result<HashMap<Key, Progress>, JournalError> {
        let (instants, entries, passes) = columns(self.open.moved_otherwise(writes).into_iter());
        if instants.is_empty() {
            return Ok(HashMap::new());
        }
        self.attempt(async |client, address, _| {
            let rows = answered(address, client.query(SETTLED, &[&instants, &entries, &passes])).await?;
            let standings = rows.iter().map(|row| {
                let key = Key::new(entry_name(row.get(1))?, instant(row.get(0))?).in_pass(pass(row.get(4))?);
                let action = row.get::<_, Option<i64>>(3).map(i64::cast_unsigned);
                Ok((key, Progress { state: state(row.get(2))?, action, ..Progress::due() }))
            });
            standings.collect::<Result<_, String>>().map_err(|detail| damaged(address, &detail))
        })
    }
}

fn unnamed(row: &Row) -> Result<Unnamed, String> {
    let scheduled_at = instant(row.get(1))?;
    let sent_at = after(scheduled_at, row.get(3))?;
    Ok(Unnamed { key: Key::new(entry_name(row.get(2))?, scheduled_at).in_pass(pass(row.get(4))?), sent_at })
}

impl Store for PostgresRows {
    fn write(&mut self, writes: &[Write<'_>]) -> Result<Vec<Written>, JournalError> {
        let settled = self.look_up(writes)?;
        let (group, mut written) = self.open.group(writes, &settled);
        let prepared = Arc::clone(&self.statements);
        let (was_connected, began) = (self.client.is_some(), Instant::now());
        let mut inserted = self
            .attempt(async |client, address, number| group.send(client, address, number, &prepared).await);
        let is_closed = matches!(inserted, Err(JournalError::Unreachable { .. }));
        if is_closed && was_connected && began.elapsed() < CLOSED_SAYS_SO {
            inserted = self.attempt(async |client, address, number| {
                group.send(client, address, number, &prepared).await
            });
        }
        let inserted = inserted.inspect_err(|error| {
            self.open.is_lost(writes);
            self.is_unable(error);
        })?;
        self.fails_since = None;
        let new = inserted.into_iter();
        let new = new.map(|(entry, at, number)| {
            Ok(Key::new(entry_name(&entry)?, instant(at)?).in_pass(pass(number)?))
        });
        let new = new.collect::<Result<_, String>>().map_err(|detail| damaged(&self.address, &detail))?;
        self.open.is_written(group, new, writes, &mut written);
        Ok(written)
    }

    fn actions(
        &mut self,
        stack: &StackUid,
        since: Timestamp,
        listed: &[ActionId],
    ) -> Result<KnownActions, JournalError> {
        let listed: Vec<i64> = listed.iter().map(|id| id.cast_signed()).collect();
        self.attempt(async |client, address, _| {
            let (since, stack) = (since.as_microsecond(), stack.as_str());
            let rows = answered(address, client.query(ACTIONS, &[&since, &stack, &listed])).await?;
            let mut known = KnownActions::default();
            for row in &rows {
                match row.get::<_, Option<i64>>(0) {
                    Some(action) => {
                        known.actions.push(action.cast_unsigned());
                        if let Some(job) = row.get::<_, Option<&str>>(5).and_then(|job| JobUid::new(job).ok())
                        {
                            known.jobs.insert(action.cast_unsigned(), job);
                        }
                    }
                    None => known.unnamed.push(unnamed(row).map_err(|detail| damaged(address, &detail))?),
                }
            }
            Ok(known)
        })
    }

    fn prune(&mut self, before: Timestamp, rows: u32) -> Result<u64, JournalError> {
        let sql = format!("{}{PRUNE}", self.statements.lease());
        self.attempt(async |client, address, number| {
            let (before, rows) = (before.as_microsecond(), i64::from(rows));
            let row = answered(address, client.query_one(&sql, &[&number, &before, &rows])).await?;
            if !row.get::<_, bool>(0) {
                return Err(JournalError::Deposed);
            }
            Ok(row.get::<_, i64>(1).cast_unsigned())
        })
    }

    fn tidy(&mut self) {}

    fn idles_for(&self) -> Option<Duration> {
        Some(TRIED_EVERY)
    }

    /// Tries the connection, and makes another where there is no answer: what comes due does not
    /// find that out.
    fn keep_alive(&mut self) {
        if self.client.is_none() && self.failed.is_none() {
            return;
        }
        let tried = self.attempt(async |client, address, _| {
            within(address, ALIVE_WITHIN, answered(address, client.batch_execute("SELECT 1"))).await
        });
        if tried.is_err() {
            // A failure here shows in the next write, and at the elector.
            let _ = self.attempt(async |_, _, _| Ok(()));
        }
    }
}

/// An entry that somebody paused, and the terms.
pub(super) fn paused_entry(row: &Row) -> Result<(EntryName, Pause), String> {
    Ok((entry_name(row.get(0))?, Pause::read(row.get(1))))
}

/// The journal as former leaders left it.
struct Inherited {
    recovered: Recovered,
    open: HashMap<Key, Progress>,
    /// Claims that were not sent and have another term's number.
    unsent: Vec<Key>,
}

fn found(
    journal: &Row,
    paused: &[Row],
    quotas: &[Row],
    open: &[Row],
    (term, ended): (&Term, &[EndedTerm]),
) -> Result<Inherited, String> {
    let mut recovered = Recovered {
        cursor: journal.get::<_, Option<i64>>(0).map(instant).transpose()?,
        repeat: repeat(journal)?,
        stopped_at: journal.get::<_, Option<i64>>(1).map(instant).transpose()?,
        sent_up_to: term.sends_until,
        forgotten_until: None,
        older_until: journal.get::<_, Option<i64>>(2).map(instant).transpose()?,
        open: Vec::new(),
        following: Vec::new(),
        paused: paused.iter().map(paused_entry).collect::<Result<_, _>>()?,
        quotas: Vec::new(),
        resent: Vec::new(),
        clock: ClockOf::AnyMember,
    };
    for row in quotas {
        // Another version's way to write it: the quota is then learnt anew from the answers.
        if let Ok(saved) = serde_json::from_str::<quota::SavedQuota>(row.get(1)) {
            recovered.quotas.push((account_name(row.get(0))?, saved));
        }
    }
    recovered.may_have_been_sent(journal.get::<_, Option<i64>>(2).map(instant).transpose()?);
    if recovered.forgotten_until.is_some() {
        // The lease in an older copy allowed less than was sent.
        recovered.sent_up_to = recovered.forgotten_until;
    }
    let (mut standings, mut numbers) = (HashMap::new(), HashMap::new());
    for row in open {
        let (claim, standing) = open_row(row)?;
        numbers.insert(claim.key.clone(), TermNumber::new(row.get(14)));
        standings.insert(claim.key.clone(), standing.clone());
        recovered.add(claim, standing).map_err(|error| error.to_string())?;
    }
    // Row and number were read together.
    let number = |key: &Key| numbers.get(key).copied().unwrap_or(term.number);
    let unsent = term.sorts_out(&mut recovered, ended, number);
    Ok(Inherited { recovered, open: standings, unsent })
}

/// Returns a term that is over, as its leader told.
fn ended_term(row: &Row) -> Result<EndedTerm, String> {
    Ok(EndedTerm { number: TermNumber::new(row.get(0)), sent_up_to: instant(row.get(1))? })
}

/// Returns the search for a second action of an occurrence that was sent again.
fn resent_row(row: &Row) -> Result<Resent, String> {
    Ok(Resent {
        key: Key::new(entry_name(row.get(1))?, instant(row.get(0))?).in_pass(pass(row.get(2))?),
        stack: StackUid::new(row.get(3)).map_err(|error| error.to_string())?,
        surplus: row.get::<_, Option<i64>>(4).map(i64::cast_unsigned),
        watch: row.get::<_, Option<&str>>(5).and_then(ResentWatch::of_saved),
    })
}

fn open_row(row: &Row) -> Result<(Claim, Progress), String> {
    let scheduled_at = instant(row.get(0))?;
    let state = state(row.get(3))?;
    let standing = Progress {
        state,
        attempts: attempts(row.get(4))?,
        sent_at: row.get::<_, Option<i64>>(5).map(|micros| after(scheduled_at, micros)).transpose()?,
        action: row.get::<_, Option<i64>>(6).map(i64::cast_unsigned),
        followed: state == State::Started,
        reason: row.get(7),
        ..Progress::due()
    };
    let claim = Claim {
        key: Key::new(entry_name(row.get(1))?, scheduled_at).in_pass(pass(row.get(15))?),
        account: account_name(row.get(8))?,
        stack: StackUid::new(row.get(9)).map_err(|error| error.to_string())?,
        job: JobUid::new(row.get(10)).map_err(|error| error.to_string())?,
        due_at: after(scheduled_at, row.get(2))?,
        deadline: after(scheduled_at, row.get(11))?,
        origin: Origin::of_columns(row.get(12), row.get(13), row.get(16), row.get(17), scheduled_at),
        repetition: Repetition::default(),
    };
    Ok((claim, standing))
}

/// The stretch that the clock went through again last.
fn repeat(journal: &Row) -> Result<Option<Repeat>, String> {
    let (pass, until, from): (Option<i64>, Option<i64>, Option<i64>) =
        (journal.get(3), journal.get(4), journal.get(5));
    let Some(((pass, until), from)) = pass.zip(until).zip(from) else { return Ok(None) };
    let pass = u32::try_from(pass).map_err(|_| format!("{pass} is no pass"))?;
    Ok(Some(Repeat { pass, from: instant(from)?, until: instant(until)? }))
}

pub(super) fn pass(pass: i32) -> Result<u32, String> {
    pass.try_into().map_err(|_| format!("{pass} is no pass"))
}

pub(super) fn instant(micros: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(micros).map_err(|error| error.to_string())
}

pub(super) fn after(scheduled_at: Timestamp, micros: i64) -> Result<Timestamp, String> {
    scheduled_at
        .as_microsecond()
        .checked_add(micros)
        .ok_or_else(|| format!("{micros} leads out of time"))
        .and_then(instant)
}

pub(super) fn state(code: i16) -> Result<State, String> {
    State::of_code(code.into()).ok_or_else(|| format!("{code} is no state"))
}

pub(super) fn attempts(attempts: i64) -> Result<u32, String> {
    attempts.try_into().map_err(|_| format!("{attempts} is no number of attempts"))
}

pub(super) fn entry_name(text: &str) -> Result<EntryName, String> {
    EntryName::new(text).map_err(|error| error.to_string())
}

fn account_name(text: &str) -> Result<AccountName, String> {
    AccountName::new(text).map_err(|error| error.to_string())
}
