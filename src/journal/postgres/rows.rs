//! The journal's rows in the database: how a leader writes them, and reads what the leader before it left.
//!
//! What a group of writes needs is sent at once, each kind as one statement, and answered at once: one round trip. Each
//! statement does nothing unless this leader's number is the lease's, whose row it keeps from being changed until
//! it is committed. Nobody else writes, so what is open is known here, and no move has to be read before it is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::super::progress::{Standing, Step};
use super::super::store::{Store, Write, Written};
use super::super::{
    Claim, Claimed, JournalError, Key, Known, Move, Origin, Recovered, Refused, State, Unnamed,
};
use super::connection::{answered, connect, failure};
use super::lease::Number;
use super::member::Term;
use super::{Address, schema};
use crate::quota;
use crate::schedule::{AccountName, EntryName, JobUid, Shard, StackUid};

/// After a connection could not be made, none is tried for so long: what is asked meanwhile fails at once.
const CONNECT_AGAIN: Duration = Duration::from_millis(500);

/// What a leader writes through.
pub(super) struct Rows {
    address: Address,
    runtime: Runtime,
    client: Option<Client>,
    /// Why there is no connection, and since when.
    failed: Option<(Instant, JournalError)>,
    number: Number,
    statements: Arc<Statements>,
    /// What is open in the database: all of it was written by this leader, or found by it at its start.
    open: HashMap<Key, Standing>,
}

/// The statements of a shard's leader that name where its lease and its cursor are.
struct Statements {
    /// What each begins with: the lease, if it is still this leader's, held as it is.
    lease: String,
    claim: String,
    stopped: String,
    open: String,
    begin: String,
    begun: String,
}

impl Statements {
    fn of(shard: &Shard) -> Statements {
        // A name is made of letters, digits, dots, underscores and dashes.
        let (lease, cursor, row, own) = match shard {
            Shard::Common => ("lease", "journal", "single".to_owned(), "NULL".to_owned()),
            Shard::Named(name) => ("shard_lease", "shard", format!("name = '{name}'"), format!("'{name}'")),
        };
        let lease = format!(
            "WITH lease AS MATERIALIZED (SELECT number FROM stackcron.{lease} WHERE number = $1 FOR KEY SHARE)"
        );
        let cursor = format!("stackcron.{cursor}");
        Statements {
            claim: format!("{lease}{CLAIM}")
                .replace("{cursor}", &cursor)
                .replace("{row}", &row)
                .replace("{own}", &own),
            stopped: format!(
                "{lease}, stopped AS (UPDATE {cursor} SET stopped_at = $2 FROM lease WHERE {row})
                SELECT EXISTS (SELECT FROM lease)"
            ),
            open: OPEN.replace("{own}", &own),
            begin: format!("{lease} SELECT cursor, stopped_at FROM {cursor}, lease WHERE {row}"),
            begun: format!("UPDATE {cursor} SET stopped_at = NULL WHERE {row}"),
            lease,
        }
    }
}

/// The claims of a sweep, and the cursor. A row that is there with this leader's number, untouched, is of a claim whose answer
/// was lost.
const CLAIM: &str = "
    , claim AS MATERIALIZED (
        SELECT c.* FROM lease, unnest(
            $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::boolean[], $11::text[]
        ) AS c (scheduled_at, entry, account, stack, job, due, deadline, by_person, args)
    ), aim AS MATERIALIZED (
        SELECT DISTINCT account COLLATE \"C\" AS account, stack COLLATE \"C\" AS stack, job COLLATE \"C\" AS job FROM claim
    ), added AS (
        INSERT INTO stackcron.target (account, stack, job)
        SELECT account, stack, job FROM aim
        WHERE NOT EXISTS (SELECT FROM stackcron.target t
            WHERE t.account = aim.account AND t.stack = aim.stack AND t.job = aim.job)
        RETURNING id, account, stack, job
    ), target AS (
        SELECT id, account, stack, job FROM added
        UNION ALL
        SELECT t.id, t.account, t.stack, t.job FROM stackcron.target t
        JOIN aim ON t.account = aim.account AND t.stack = aim.stack AND t.job = aim.job
    ), moved AS (
        UPDATE {cursor} SET cursor = greatest(cursor, $2) FROM lease WHERE {row}
    ), inserted AS (
        INSERT INTO stackcron.open AS o
            (scheduled_at, entry, target, due, deadline, by_person, args, state, attempts, number, shard)
        SELECT c.scheduled_at, c.entry, t.id, c.due, c.deadline, c.by_person, c.args, 0, 0, $1, {own}::text
        FROM claim c JOIN target t ON t.account = c.account AND t.stack = c.stack AND t.job = c.job
        WHERE NOT EXISTS (SELECT FROM stackcron.settled s
            WHERE s.scheduled_at = c.scheduled_at AND s.entry = c.entry COLLATE \"C\")
        ON CONFLICT (scheduled_at, entry) DO UPDATE SET number = o.number
            WHERE o.number = excluded.number AND o.state = 0
        RETURNING scheduled_at, entry
    )
    SELECT EXISTS (SELECT FROM lease), inserted.scheduled_at, inserted.entry
    FROM (SELECT) AS one LEFT JOIN inserted ON true";

/// Gives back what was claimed and is settled. A claim does not see what another shard's leader settles in the meantime, as
/// when an account has gone over to this shard: a statement after it does.
const GIVE_BACK: &str = "
    , given AS (
        DELETE FROM stackcron.open o USING lease, unnest($2::bigint[], $3::text[]) AS c (scheduled_at, entry)
        WHERE o.scheduled_at = c.scheduled_at AND o.entry = c.entry COLLATE \"C\" AND o.number = $1 AND o.state = 0
            AND EXISTS (SELECT FROM stackcron.settled s WHERE s.scheduled_at = o.scheduled_at AND s.entry = o.entry)
        RETURNING o.scheduled_at, o.entry
    )
    SELECT scheduled_at, entry FROM given";

/// How far open occurrences have come, and the end of others.
const STEPS: &str = "
    , step AS MATERIALIZED (
        SELECT s.* FROM lease, unnest(
            $2::bigint[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::boolean[], $11::text[]
        ) AS s (scheduled_at, entry, settles, state, attempts, sent, action, finished, success, reason)
    ), kept AS (
        UPDATE stackcron.open o
        SET state = s.state, attempts = s.attempts, sent = s.sent, action = s.action, reason = s.reason, number = $1
        FROM step s
        WHERE NOT s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE \"C\"
    ), ended AS (
        DELETE FROM stackcron.open o USING step s
        WHERE s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE \"C\"
        RETURNING o.scheduled_at, o.entry, o.target, o.due, s.state, s.attempts, s.sent, s.action, s.finished, s.success, s.reason
    ), settled AS (
        INSERT INTO stackcron.settled
            (scheduled_at, entry, target, due, state, attempts, sent, action, finished, success, reason, number)
        SELECT ended.*, $1 FROM ended
    )
    SELECT EXISTS (SELECT FROM lease)";

const QUOTAS: &str = "
    , saved AS (
        INSERT INTO stackcron.quota (account, saved)
        SELECT q.account, q.saved FROM lease, unnest($2::text[], $3::text[]) AS q (account, saved)
        ON CONFLICT (account) DO UPDATE SET saved = excluded.saved
    )
    SELECT EXISTS (SELECT FROM lease)";

const PAUSES: &str = "
    , paused AS (
        INSERT INTO stackcron.paused (entry) SELECT p.entry FROM lease, unnest($2::text[]) AS p (entry)
        ON CONFLICT (entry) DO NOTHING
    ), resumed AS (
        DELETE FROM stackcron.paused p USING lease WHERE p.entry = ANY ($3::text[])
    )
    SELECT EXISTS (SELECT FROM lease)";

const PRUNE: &str = "
    , pruned AS (
        DELETE FROM stackcron.settled s USING lease WHERE (s.scheduled_at, s.entry) IN
        (SELECT scheduled_at, entry FROM stackcron.settled WHERE scheduled_at < $2 ORDER BY 1, 2 LIMIT $3)
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM lease), (SELECT count(*) FROM pruned)";

/// The actions of a stack, and the settled occurrences that are `started` or `unknown` and have none.
const ACTIONS: &str = "
    SELECT action, scheduled_at, entry, sent FROM (
        SELECT scheduled_at, entry, action, target, sent FROM stackcron.open
        WHERE scheduled_at >= $1 AND action IS NOT NULL
        UNION ALL
        SELECT scheduled_at, entry, action, target, coalesce(sent, due) FROM stackcron.settled
        WHERE scheduled_at >= $1 AND (action IS NOT NULL OR state IN (3, 9))
    ) AS o JOIN stackcron.target t ON t.id = o.target
    WHERE t.stack = $2 ORDER BY scheduled_at, entry";

const OPEN: &str = "
    SELECT scheduled_at, entry, due, state, attempts, sent, action, reason, account, stack, job, deadline, by_person, args, o.number
    FROM stackcron.open o JOIN stackcron.target t ON t.id = o.target
    WHERE o.shard IS NOT DISTINCT FROM {own}::text
    ORDER BY scheduled_at, entry";

const SETTLED: &str = "
    SELECT s.scheduled_at, s.entry, s.state, s.action
    FROM unnest($1::bigint[], $2::text[]) AS k (scheduled_at, entry)
    JOIN stackcron.settled s ON s.scheduled_at = k.scheduled_at AND s.entry = k.entry COLLATE \"C\"";

/// A runtime for a thread that waits for the database and for nothing else.
pub(super) fn runtime(address: &Address) -> Result<Runtime, JournalError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        JournalError::Unreachable { address: address.to_string(), detail: error.to_string() }
    })
}

/// A value that is not what its column holds.
pub(super) fn damaged(address: &Address, detail: &str) -> JournalError {
    JournalError::Database {
        address: address.to_string(),
        detail: format!("it cannot be trusted: {detail}"),
        remedy: Some("restore it from a backup"),
    }
}

impl Rows {
    /// Begins a leader's term: reads what the one before it left, and forgets an orderly stop with it.
    pub(super) fn begin(address: Address, term: &Term) -> Result<(Rows, Recovered), JournalError> {
        let number = term.number;
        let runtime = runtime(&address)?;
        let statements = Arc::new(Statements::of(&term.shard));
        let of = Arc::clone(&statements);
        let mut rows =
            Rows { address, runtime, client: None, failed: None, number, statements, open: HashMap::new() };
        let (found, open) = rows.attempt(async |client, address, number| {
            let reading = async {
                let transaction = client.transaction().await?;
                transaction.batch_execute("SET LOCAL statement_timeout = 0").await?;
                let Some(journal) = transaction.query_opt(&of.begin, &[&number]).await? else {
                    return Ok(None);
                };
                let paused = transaction.query("SELECT entry FROM stackcron.paused ORDER BY 1", &[]).await?;
                let quotas =
                    transaction.query("SELECT account, saved FROM stackcron.quota ORDER BY 1", &[]).await?;
                let open = transaction.query(&of.open, &[]).await?;
                transaction.execute(&of.begun, &[]).await?;
                transaction.commit().await?;
                Ok(Some((journal, paused, quotas, open)))
            };
            let (journal, paused, quotas, open) = reading
                .await
                .map_err(|error: Error| failure(address, &error))?
                .ok_or(JournalError::Deposed)?;
            found(&journal, &paused, &quotas, &open, term).map_err(|detail| damaged(address, &detail))
        })?;
        rows.open = open;
        Ok((rows, found))
    }

    /// Does something with a connection. One that has failed is not used again.
    fn attempt<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut Client, &Address, i64) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if let Some((at, error)) = &self.failed
            && at.elapsed() < CONNECT_AGAIN
        {
            return Err(error.clone());
        }
        let (address, number) = (&self.address, self.number.get());
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let connecting = async {
                let mut client = connect(address).await?;
                schema::prepare(&mut client, address, schema::MIGRATIONS).await?;
                Ok::<_, JournalError>(client)
            };
            self.client = None;
            match self.runtime.block_on(connecting) {
                Ok(client) => self.client = Some(client),
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

    /// How occurrences stand that are moved and not open: settled, or never claimed.
    fn look_up(&mut self, writes: &[Write<'_>]) -> Result<HashMap<Key, Standing>, JournalError> {
        let (mut instants, mut entries) = (Vec::new(), Vec::new());
        for write in writes {
            if let Write::Steps(steps) = write {
                for (key, _) in steps.iter().filter(|(key, _)| !self.open.contains_key(key)) {
                    instants.push(key.scheduled_at().as_microsecond());
                    entries.push(key.entry().as_str());
                }
            }
        }
        if instants.is_empty() {
            return Ok(HashMap::new());
        }
        self.attempt(async |client, address, _| {
            let rows = answered(address, client.query(SETTLED, &[&instants, &entries])).await?;
            let standings = rows.iter().map(|row| {
                let key = Key::new(entry_name(row.get(1))?, instant(row.get(0))?);
                let action = row.get::<_, Option<i64>>(3).map(i64::cast_unsigned);
                Ok((key, Standing { state: state(row.get(2))?, action, ..Standing::due() }))
            });
            standings.collect::<Result<_, String>>().map_err(|detail| damaged(address, &detail))
        })
    }
}

fn unnamed(row: &Row) -> Result<Unnamed, String> {
    let scheduled_at = instant(row.get(1))?;
    let sent_at = after(scheduled_at, row.get(3))?;
    Ok(Unnamed { key: Key::new(entry_name(row.get(2))?, scheduled_at), sent_at })
}

impl Store for Rows {
    fn write(&mut self, writes: &[Write<'_>]) -> Result<Vec<Written>, JournalError> {
        let settled = self.look_up(writes)?;
        let mut group = Group::default();
        let mut written: Vec<Written> =
            writes.iter().map(|write| group.take(write, &self.open, &settled)).collect();
        let of = Arc::clone(&self.statements);
        let inserted = self.attempt(async |client, address, number| {
            answered(address, group.send(client, number, &of)).await?.ok_or(JournalError::Deposed)
        })?;
        // Only now is it known to be there.
        for (key, standing) in group.steps {
            if standing.is_settled() {
                self.open.remove(&key);
            } else {
                self.open.insert(key, standing);
            }
        }
        let mut new: HashMap<Key, ()> = HashMap::new();
        for (entry, scheduled_at) in inserted {
            let key = entry_name(&entry).and_then(|entry| Ok(Key::new(entry, instant(scheduled_at)?)));
            new.insert(key.map_err(|detail| damaged(&self.address, &detail))?, ());
        }
        for (write, written) in writes.iter().zip(&mut written) {
            let Write::Claim(_, claims) = write else {
                continue;
            };
            let known = claims.iter().map(|claim| &claim.key).filter(|key| {
                // Of two claims of one occurrence the first has it.
                let is_new = !self.open.contains_key(key) && new.remove(key).is_some();
                if is_new {
                    self.open.insert((*key).clone(), Standing::due());
                }
                !is_new
            });
            *written = Written::Claimed(Claimed { known: known.cloned().collect() });
        }
        Ok(written)
    }

    fn actions(&mut self, stack: &StackUid, since: Timestamp) -> Result<Known, JournalError> {
        self.attempt(async |client, address, _| {
            let (since, stack) = (since.as_microsecond(), stack.as_str());
            let rows = answered(address, client.query(ACTIONS, &[&since, &stack])).await?;
            let mut known = Known::default();
            for row in &rows {
                match row.get::<_, Option<i64>>(0) {
                    Some(action) => known.actions.push(action.cast_unsigned()),
                    None => known.unnamed.push(unnamed(row).map_err(|detail| damaged(address, &detail))?),
                }
            }
            Ok(known)
        })
    }

    fn prune(&mut self, before: Timestamp, rows: u32) -> Result<u64, JournalError> {
        let sql = format!("{}{PRUNE}", self.statements.lease);
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
}

/// What is written together.
#[derive(Default)]
struct Group {
    /// Where occurrences are after all steps.
    steps: HashMap<Key, Standing>,
    quotas: HashMap<AccountName, String>,
    /// Whether an entry is paused, by the last word.
    pauses: HashMap<EntryName, bool>,
    claims: HashMap<Key, Claim>,
    cursor: Option<Timestamp>,
    stopped: Option<Timestamp>,
}

impl Group {
    /// Takes a write in, and says what will have come of it; of a claim the database has the word.
    fn take(
        &mut self,
        write: &Write<'_>,
        open: &HashMap<Key, Standing>,
        settled: &HashMap<Key, Standing>,
    ) -> Written {
        match *write {
            Write::Steps(steps) => {
                let refused = steps.iter().filter_map(|(key, mv)| {
                    let before = self.steps.get(key).or_else(|| open.get(key)).or_else(|| settled.get(key));
                    self.step(key, before.cloned(), mv)
                });
                return Written::Steps(refused.collect());
            }
            Write::Quota(account, saved) => {
                // It is always text.
                if let Ok(saved) = serde_json::to_string(saved) {
                    self.quotas.insert(account.clone(), saved);
                }
            }
            Write::Claim(cursor, claims) => {
                self.cursor = self.cursor.max(Some(cursor));
                self.claims.extend(claims.iter().map(|claim| (claim.key.clone(), claim.clone())));
            }
            Write::Pause(entry) => drop(self.pauses.insert(entry.clone(), true)),
            Write::Resume(entry) => drop(self.pauses.insert(entry.clone(), false)),
            Write::Stopped(at) => self.stopped = Some(at),
        }
        Written::Done
    }

    fn step(&mut self, key: &Key, before: Option<Standing>, mv: &Move) -> Option<Refused> {
        let refused = |from| Some(Refused { key: key.clone(), from, to: mv.state() });
        let Some(before) = before else {
            return refused(None);
        };
        match before.step(mv) {
            Step::Further(further) => {
                self.steps.insert(key.clone(), further);
                None
            }
            Step::Stays => None,
            Step::Refused => refused(Some(before.state)),
        }
    }

    /// Sends it, and returns what of the claims is new. `None` when the lease is another's: then nothing is written.
    async fn send(
        &self,
        client: &Client,
        number: i64,
        of: &Statements,
    ) -> Result<Option<Vec<(String, i64)>>, Error> {
        // Sent in this order, without a wait in between.
        let (begun, steps, quotas, pauses, stopped, claims, given_back, committed) = tokio::join!(
            biased;
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            self.send_steps(client, number, of),
            self.send_quotas(client, number, of),
            self.send_pauses(client, number, of),
            self.send_stopped(client, number, of),
            self.send_claims(client, number, of),
            self.give_back(client, number, of),
            client.batch_execute("COMMIT"),
        );
        begun?;
        // The first that fails is why the others do.
        let held = [steps?, quotas?, pauses?, stopped?].into_iter().flatten();
        let held = held.into_iter().all(|row| row.get::<_, bool>(0));
        let mut inserted = Vec::new();
        for row in claims? {
            if !row.get::<_, bool>(0) {
                return committed.map(|()| None);
            }
            if let (Some(at), Some(entry)) = (row.get::<_, Option<i64>>(1), row.get(2)) {
                inserted.push((entry, at));
            }
        }
        for row in given_back? {
            let given_back = (row.get(1), row.get(0));
            inserted.retain(|claim| *claim != given_back);
        }
        committed?;
        Ok(held.then_some(inserted))
    }

    async fn send_steps(&self, client: &Client, number: i64, of: &Statements) -> Result<Option<Row>, Error> {
        if self.steps.is_empty() {
            return Ok(None);
        }
        let all = || self.steps.iter();
        let after = |key: &Key, at: Option<Timestamp>| {
            at.map(|at| at.as_microsecond() - key.scheduled_at().as_microsecond())
        };
        let instants: Vec<i64> = all().map(|(key, _)| key.scheduled_at().as_microsecond()).collect();
        let entries: Vec<&str> = all().map(|(key, _)| key.entry().as_str()).collect();
        let settles: Vec<bool> = all().map(|(_, standing)| standing.is_settled()).collect();
        let states: Vec<i16> = all().map(|(_, standing)| standing.state.code()).collect();
        let attempts: Vec<i64> = all().map(|(_, standing)| i64::from(standing.attempts)).collect();
        let sent: Vec<Option<i64>> = all().map(|(key, standing)| after(key, standing.sent_at)).collect();
        let actions: Vec<Option<i64>> =
            all().map(|(_, standing)| standing.action.map(u64::cast_signed)).collect();
        let finished: Vec<Option<i64>> =
            all().map(|(key, standing)| after(key, standing.finished_at)).collect();
        let success: Vec<Option<bool>> = all().map(|(_, standing)| standing.success).collect();
        let reasons: Vec<Option<&str>> = all().map(|(_, standing)| standing.reason.as_deref()).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 11] = [
            (&number, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&settles, Type::BOOL_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&attempts, Type::INT8_ARRAY),
            (&sent, Type::INT8_ARRAY),
            (&actions, Type::INT8_ARRAY),
            (&finished, Type::INT8_ARRAY),
            (&success, Type::BOOL_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
        ];
        one(client, &of.lease, STEPS, &parameters).await
    }

    async fn send_quotas(&self, client: &Client, number: i64, of: &Statements) -> Result<Option<Row>, Error> {
        if self.quotas.is_empty() {
            return Ok(None);
        }
        let accounts: Vec<&str> = self.quotas.keys().map(AccountName::as_str).collect();
        let saved: Vec<&str> = self.quotas.values().map(String::as_str).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&number, Type::INT8), (&accounts, Type::TEXT_ARRAY), (&saved, Type::TEXT_ARRAY)];
        one(client, &of.lease, QUOTAS, &parameters).await
    }

    async fn send_pauses(&self, client: &Client, number: i64, of: &Statements) -> Result<Option<Row>, Error> {
        if self.pauses.is_empty() {
            return Ok(None);
        }
        let which = |wanted: bool| -> Vec<&str> {
            let entries = self.pauses.iter().filter(|&(_, &paused)| paused == wanted);
            entries.map(|(entry, _)| entry.as_str()).collect()
        };
        let (paused, resumed) = (which(true), which(false));
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&number, Type::INT8), (&paused, Type::TEXT_ARRAY), (&resumed, Type::TEXT_ARRAY)];
        one(client, &of.lease, PAUSES, &parameters).await
    }

    async fn send_stopped(
        &self,
        client: &Client,
        number: i64,
        of: &Statements,
    ) -> Result<Option<Row>, Error> {
        let Some(at) = self.stopped.map(Timestamp::as_microsecond) else {
            return Ok(None);
        };
        one(client, &of.stopped, "", &[(&number, Type::INT8), (&at, Type::INT8)]).await
    }

    async fn send_claims(&self, client: &Client, number: i64, of: &Statements) -> Result<Vec<Row>, Error> {
        let Some(cursor) = self.cursor.map(Timestamp::as_microsecond) else {
            return Ok(Vec::new());
        };
        let all = || self.claims.values();
        let after =
            |claim: &Claim, at: Timestamp| at.as_microsecond() - claim.key.scheduled_at().as_microsecond();
        let instants: Vec<i64> = all().map(|claim| claim.key.scheduled_at().as_microsecond()).collect();
        let entries: Vec<&str> = all().map(|claim| claim.key.entry().as_str()).collect();
        let accounts: Vec<&str> = all().map(|claim| claim.account.as_str()).collect();
        let stacks: Vec<&str> = all().map(|claim| claim.stack.as_str()).collect();
        let jobs: Vec<&str> = all().map(|claim| claim.job.as_str()).collect();
        let due: Vec<i64> = all().map(|claim| after(claim, claim.due_at)).collect();
        let deadlines: Vec<i64> = all().map(|claim| after(claim, claim.deadline)).collect();
        let (by_person, args): (Vec<bool>, Vec<Option<&str>>) = all()
            .map(|claim| match &claim.origin {
                Origin::Schedule => (false, None),
                Origin::Person { args } => (true, args.as_deref()),
            })
            .unzip();
        let parameters: [(&(dyn ToSql + Sync), Type); 11] = [
            (&number, Type::INT8),
            (&cursor, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&accounts, Type::TEXT_ARRAY),
            (&stacks, Type::TEXT_ARRAY),
            (&jobs, Type::TEXT_ARRAY),
            (&due, Type::INT8_ARRAY),
            (&deadlines, Type::INT8_ARRAY),
            (&by_person, Type::BOOL_ARRAY),
            (&args, Type::TEXT_ARRAY),
        ];
        client.query_typed(&of.claim, &parameters).await
    }

    async fn give_back(&self, client: &Client, number: i64, of: &Statements) -> Result<Vec<Row>, Error> {
        if self.claims.is_empty() {
            return Ok(Vec::new());
        }
        let keys = || self.claims.values().map(|claim| &claim.key);
        let instants: Vec<i64> = keys().map(|key| key.scheduled_at().as_microsecond()).collect();
        let entries: Vec<&str> = keys().map(|key| key.entry().as_str()).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&number, Type::INT8), (&instants, Type::INT8_ARRAY), (&entries, Type::TEXT_ARRAY)];
        client.query_typed(&format!("{}{GIVE_BACK}", of.lease), &parameters).await
    }
}

/// A statement that answers with one row, whose first column says whether the lease is held.
async fn one(
    client: &Client,
    lease: &str,
    statement: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Option<Row>, Error> {
    client.query_typed(&format!("{lease}{statement}"), parameters).await.map(|rows| rows.into_iter().next())
}

fn found(
    journal: &Row,
    paused: &[Row],
    quotas: &[Row],
    open: &[Row],
    term: &Term,
) -> Result<(Recovered, HashMap<Key, Standing>), String> {
    let mut recovered = Recovered {
        cursor: journal.get::<_, Option<i64>>(0).map(instant).transpose()?,
        stopped_at: journal.get::<_, Option<i64>>(1).map(instant).transpose()?,
        sent_up_to: None,
        open: Vec::new(),
        following: Vec::new(),
        paused: paused.iter().map(|row| entry_name(row.get(0))).collect::<Result<_, _>>()?,
        quotas: Vec::new(),
    };
    for row in quotas {
        // Another version's way to write it: the quota is then learnt anew from the answers.
        if let Ok(saved) = serde_json::from_str::<quota::Saved>(row.get(1)) {
            recovered.quotas.push((account_name(row.get(0))?, saved));
        }
    }
    // The mark of the process before tells of its own claims alone.
    let own = open.iter().all(|row| row.get::<_, i64>(14) == term.former.get());
    recovered.sent_up_to = match (term.sends_until, term.mark) {
        (until, Some(mark)) if own => Some(until.map_or(mark, |until| until.min(mark))),
        (until, _) => until,
    };
    let mut standings = HashMap::new();
    for row in open {
        let (claim, standing) = open_row(row)?;
        standings.insert(claim.key.clone(), standing.clone());
        recovered.add(claim, standing).map_err(|error| error.to_string())?;
    }
    Ok((recovered, standings))
}

fn open_row(row: &Row) -> Result<(Claim, Standing), String> {
    let scheduled_at = instant(row.get(0))?;
    let state = state(row.get(3))?;
    let standing = Standing {
        state,
        attempts: attempts(row.get(4))?,
        sent_at: row.get::<_, Option<i64>>(5).map(|micros| after(scheduled_at, micros)).transpose()?,
        action: row.get::<_, Option<i64>>(6).map(i64::cast_unsigned),
        followed: state == State::Started,
        reason: row.get(7),
        ..Standing::due()
    };
    let claim = Claim {
        key: Key::new(entry_name(row.get(1))?, scheduled_at),
        account: account_name(row.get(8))?,
        stack: StackUid::new(row.get(9)).map_err(|error| error.to_string())?,
        job: JobUid::new(row.get(10)).map_err(|error| error.to_string())?,
        due_at: after(scheduled_at, row.get(2))?,
        deadline: after(scheduled_at, row.get(11))?,
        origin: match row.get(12) {
            false => Origin::Schedule,
            true => Origin::Person { args: row.get(13) },
        },
    };
    Ok((claim, standing))
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
