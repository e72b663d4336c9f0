//! The database's side of a move: its rows are read, or written anew, while no member uses it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row as SqlRow};

use super::super::transfer::{Idle, InForceRow, JournalHead, More, PORTION, ResentRow, TransferRow};
use super::super::{Identity, JournalError};
use super::connection::{ANSWERED_WITHIN, PREPARED_WITHIN, answered, connect, failure, within};
use super::lease::EXPIRES;
use super::{PostgresAddress, rows, schema};
use crate::schedule::{AccountName, ShardName};

/// A portion is read or written within this time. The server may have to sort a long history before
/// the first one.
const PORTION_WITHIN: Duration = Duration::from_secs(60);

/// Only the end of the move ends its transaction: no limit of the session does.
const SESSION: &str =
    "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = '10s'";

/// No lease is taken while the move's transaction lasts.
const BEGIN: &str = "BEGIN; LOCK TABLE stackcron.lease IN SHARE ROW EXCLUSIVE MODE";

/// No former leader can write any more: each lease gets a number that is greater than all before
/// it.
const FENCE: &str = "
    UPDATE stackcron.lease SET number = number + (SELECT max(number) - min(number) + 1 FROM stackcron.lease),
        beat = beat + 1, holder = NULL, released = true";

const HEAD: &str = "
    SELECT identity::text, (SELECT min(cursor) FROM stackcron.shard),
        (SELECT CASE WHEN bool_and(stopped_at IS NOT NULL) THEN max(stopped_at) END FROM stackcron.shard WHERE cursor IS NOT NULL),
        (SELECT max(lost_until) FROM stackcron.lease), (SELECT max(sends_until) FROM stackcron.lease),
        moved_to, moved_from::text,
        (SELECT max(pass) FROM stackcron.shard), (SELECT max(pass_until) FROM stackcron.shard),
        (SELECT min(pass_from) FROM stackcron.shard), pruned_until
    FROM stackcron.journal";

const OPEN: &str = "
    SELECT scheduled_at, entry, pass, account, stack, job, due, state, attempts, sent, action, reason, link, retry_of,
        deadline, by_person, args
    FROM stackcron.open JOIN stackcron.target t ON t.id = target ORDER BY 1, 2, 3";

const SETTLED: &str = "
    DECLARE settled NO SCROLL CURSOR FOR
    SELECT scheduled_at, entry, pass, account, stack, job, due, state, attempts, sent, action, reason, link, retry_of,
        finished, success
    FROM stackcron.settled s JOIN stackcron.target t ON t.id = s.target ORDER BY s.scheduled_at, s.entry, s.pass";

const EMPTY: &str = "
    TRUNCATE stackcron.open, stackcron.settled, stackcron.resent, stackcron.target, stackcron.paused, stackcron.quota, stackcron.in_force,
        stackcron.shard, stackcron.ended;
    UPDATE stackcron.lease SET sends_until = NULL, lost_until = NULL";

/// A daemon that uses the database. `None`: there is none, or there is no journal. Blocks, for some
/// seconds after a leader was killed.
pub(in super::super) fn in_use(address: &PostgresAddress) -> Result<Option<String>, JournalError> {
    let beats = || {
        rows::runtime(address)?.block_on(async {
            let client = connect(address).await?;
            if schema::summary(&client, address).await?.is_none() {
                return Ok(None);
            }
            let sql = "SELECT number, beat FROM stackcron.lease WHERE NOT released ORDER BY 1";
            let rows = answered(address, client.query_typed(sql, &[])).await?;
            Ok::<_, JournalError>(Some(
                rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(i64, i64)>>(),
            ))
        })
    };
    let Some(before) = beats()? else { return Ok(None) };
    let members = super::members(address)?;
    if let Some(member) = members.iter().find(|member| member.lives()) {
        return Ok(Some(format!("the daemon {}, heard of {} s ago,", member.name, member.lag_ms / 1000)));
    }
    if before.is_empty() {
        return Ok(None);
    }
    std::thread::sleep(EXPIRES);
    Ok((beats()?.is_some_and(|after| after != before)).then(|| "a daemon that keeps its lease".to_owned()))
}

/// A database whose journal no member uses.
pub(in super::super) struct IdleDatabase {
    address: PostgresAddress,
    runtime: Runtime,
    client: Client,
    is_locked: bool,
    /// The cursor over the settled rows is open.
    reads: bool,
    /// The ids of targets that were written.
    targets: HashMap<[String; 3], i64>,
    /// The shard of each account that is in a named one.
    shards: HashMap<String, String>,
}

impl IdleDatabase {
    pub(in super::super) fn at(address: &PostgresAddress) -> Result<IdleDatabase, JournalError> {
        let runtime = rows::runtime(address)?;
        let client = runtime.block_on(async {
            let client = connect(address).await?;
            answered(address, client.batch_execute(SESSION)).await?;
            Ok::<_, JournalError>(client)
        })?;
        let address = address.clone();
        let (targets, shards) = (HashMap::new(), HashMap::new());
        Ok(IdleDatabase { address, runtime, client, is_locked: false, reads: false, targets, shards })
    }

    fn ask<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, JournalError> {
        let answer = async { answer.await.map_err(|error| failure(&self.address, &error)) };
        self.runtime.block_on(within(&self.address, PORTION_WITHIN, answer))
    }

    fn batch(&self, sql: &str) -> Result<(), JournalError> {
        self.ask(self.client.batch_execute(sql))
    }

    fn query(&self, sql: &str) -> Result<Vec<SqlRow>, JournalError> {
        self.ask(self.client.query_typed(sql, &[]))
    }

    fn execute(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<(), JournalError> {
        self.ask(self.client.query_typed(sql, values)).map(|_| ())
    }

    fn lock(&mut self) -> Result<(), JournalError> {
        if !self.is_locked {
            self.batch(BEGIN)?;
            self.is_locked = true;
        }
        Ok(())
    }

    fn target(&mut self, target: &[String; 3]) -> Result<i64, JournalError> {
        if let Some(id) = self.targets.get(target) {
            return Ok(*id);
        }
        let sql = "INSERT INTO stackcron.target (account, stack, job) VALUES ($1, $2, $3) RETURNING id";
        let [account, stack, job] = target;
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(account, Type::TEXT), (stack, Type::TEXT), (job, Type::TEXT)];
        let rows = self.ask(self.client.query_typed(sql, &values))?;
        let id = rows.first().map(|row| row.get(0)).ok_or(JournalError::Closed)?;
        self.targets.insert(target.clone(), id);
        Ok(id)
    }
}

fn row(row: &SqlRow, more: More) -> TransferRow {
    TransferRow {
        scheduled_at: row.get(0),
        entry: row.get(1),
        pass: row.get::<_, i32>(2).into(),
        target: [row.get(3), row.get(4), row.get(5)],
        due: row.get(6),
        state: row.get::<_, i16>(7).into(),
        attempts: row.get(8),
        sent: row.get(9),
        action: row.get(10),
        reason: row.get(11),
        link: row.get(12),
        retry_of: row.get(13),
        more,
    }
}

/// The database stores no text with a NUL.
fn storable(text: Option<&String>) -> Option<String> {
    text.map(|text| text.replace('\0', ""))
}

/// The rows' columns that both tables have, and those of one of them.
macro_rules! insert {
    ($table:literal, $columns:literal, $types:literal) => {
        concat!(
            "INSERT INTO stackcron.", $table,
            " (scheduled_at, entry, pass, target, due, state, attempts, sent, action, reason, link, retry_of, number, ", $columns, ")
             SELECT scheduled_at, entry, pass, target, due, state, attempts, sent, action, reason, link, retry_of, -1, ", $columns,
            " FROM unnest($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::smallint[], $7::bigint[],
                $8::bigint[], $9::bigint[], $10::text[], $11::integer[], $12::bigint[], ", $types, ")
              AS r (scheduled_at, entry, pass, target, due, state, attempts, sent, action, reason, link, retry_of, ", $columns, ")"
        )
    };
}

const INSERT_OPEN: &str = insert!(
    "open",
    "deadline, by_person, args, shard",
    "$13::bigint[], $14::boolean[], $15::text[], $16::text[]"
);

const INSERT_SETTLED: &str = insert!("settled", "finished, success", "$13::bigint[], $14::boolean[]");

impl Idle for IdleDatabase {
    fn head(&mut self) -> Result<Option<JournalHead>, JournalError> {
        let address = self.address.clone();
        let exists = schema::summary(&self.client, &address);
        if self.runtime.block_on(within(&address, ANSWERED_WITHIN, exists))?.is_none() {
            return Ok(None);
        }
        self.lock()?;
        let rows = self.query(HEAD)?;
        let paused = self.query("SELECT entry, terms FROM stackcron.paused ORDER BY 1")?;
        let quotas = self.query("SELECT account, saved FROM stackcron.quota ORDER BY 1")?;
        let resent = self.query(
            "SELECT scheduled_at, entry, pass, stack, surplus, watch FROM stackcron.resent ORDER BY 1, 2, 3",
        )?;
        let resent = resent.iter().map(|row| ResentRow {
            scheduled_at: row.get(0),
            entry: row.get(1),
            pass: row.get::<_, i32>(2).into(),
            stack: row.get(3),
            surplus: row.get(4),
            watch: row.get(5),
        });
        let resent: Vec<ResentRow> = resent.collect();
        let spans = self.query(
            "SELECT entry, since, until, definition FROM stackcron.in_force WHERE until IS NULL OR until > since ORDER BY 1, 2",
        )?;
        let in_force = spans.iter().map(|row| InForceRow {
            entry: row.get(0),
            since: row.get(1),
            until: row.get(2),
            definition: row.get(3),
        });
        let head = rows.first().and_then(|row| {
            Some(JournalHead {
                identity: Identity::parse(row.get(0))?,
                cursor: row.get(1),
                stopped_at: row.get(2),
                pass: row.get(7),
                pass_until: row.get(8),
                pass_from: row.get(9),
                lost_until: row.get(3),
                sends_until: row.get(4),
                paused: paused.iter().map(|row| (row.get(0), row.get(1))).collect(),
                quotas: quotas.iter().map(|row| (row.get(0), row.get(1))).collect(),
                resent,
                in_force: in_force.collect(),
                pruned_until: row.get(10),
                moved_to: row.get(5),
                moved_from: row.get::<_, Option<&str>>(6).and_then(Identity::parse),
            })
        });
        Ok(head)
    }

    fn open(&mut self) -> Result<Vec<TransferRow>, JournalError> {
        let rows = self.query(OPEN)?;
        let open =
            |row: &SqlRow| More::Open { deadline: row.get(14), by_person: row.get(15), args: row.get(16) };
        Ok(rows.iter().map(|found| row(found, open(found))).collect())
    }

    fn settled(&mut self) -> Result<Vec<TransferRow>, JournalError> {
        if !self.reads {
            self.batch(SETTLED)?;
            self.reads = true;
        }
        let rows = self.query(&format!("FETCH {PORTION} FROM settled"))?;
        let settled = |row: &SqlRow| More::Settled { finished: row.get(14), success: row.get(15) };
        Ok(rows.iter().map(|found| row(found, settled(found))).collect())
    }

    /// A database that has a journal keeps its identity, so that its members know it again.
    fn begin(
        &mut self,
        head: &JournalHead,
        shards: &[(ShardName, Vec<AccountName>)],
    ) -> Result<Identity, JournalError> {
        if !self.is_locked {
            let preparing = schema::prepare(&mut self.client, &self.address, None);
            self.runtime.block_on(within(&self.address, PREPARED_WITHIN, preparing))?;
        }
        self.lock()?;
        self.batch(EMPTY)?;
        self.batch(FENCE)?;
        let from = head.identity.as_str();
        self.execute("UPDATE stackcron.journal SET moved_from = $1::text::uuid", &[(&from, Type::TEXT)])?;
        let mut names = vec![""];
        for (shard, accounts) in shards {
            names.push(shard.as_str());
            let pairs =
                accounts.iter().map(|account| (account.as_str().to_owned(), shard.as_str().to_owned()));
            self.shards.extend(pairs);
        }
        for name in &names {
            self.execute(
                "INSERT INTO stackcron.shard (name, cursor, stopped_at, pass, pass_until, pass_from) VALUES ($1, $2, $3, $4, $5, $6)",
                &[
                    (name, Type::TEXT),
                    (&head.cursor, Type::INT8),
                    (&head.stopped_at, Type::INT8),
                    (&head.pass, Type::INT8),
                    (&head.pass_until, Type::INT8),
                    (&head.pass_from, Type::INT8),
                ],
            )?;
            if head.lost_until.is_some() {
                self.execute(
                    "INSERT INTO stackcron.lease (name, number, beat, released, lost_until)
                     VALUES ($1, (SELECT greatest(
                        coalesce(max(number), 0) + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                     ) FROM stackcron.lease), 0, true, $2)
                     ON CONFLICT (name) DO UPDATE SET lost_until = excluded.lost_until",
                    &[(name, Type::TEXT), (&head.lost_until, Type::INT8)],
                )?;
            }
        }
        for (entry, terms) in &head.paused {
            let sql = "INSERT INTO stackcron.paused (entry, terms) VALUES ($1, $2)";
            self.execute(sql, &[(entry, Type::TEXT), (terms, Type::TEXT)])?;
        }
        for (account, saved) in &head.quotas {
            let sql = "INSERT INTO stackcron.quota (account, saved) VALUES ($1, $2)";
            self.execute(sql, &[(account, Type::TEXT), (saved, Type::TEXT)])?;
        }
        self.execute("UPDATE stackcron.journal SET pruned_until = $1", &[(&head.pruned_until, Type::INT8)])?;
        for rows in head.in_force.chunks(PORTION) {
            // All rows go to the common shard. A named shard takes its own rows over when it is
            // led.
            let entries: Vec<&str> = rows.iter().map(|row| row.entry.as_str()).collect();
            let since: Vec<i64> = rows.iter().map(|row| row.since).collect();
            let until: Vec<Option<i64>> = rows.iter().map(|row| row.until).collect();
            let definitions: Vec<&str> = rows.iter().map(|row| row.definition.as_str()).collect();
            self.execute(
                "INSERT INTO stackcron.in_force (entry, since, until, definition)
                 SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[])",
                &[
                    (&entries, Type::TEXT_ARRAY),
                    (&since, Type::INT8_ARRAY),
                    (&until, Type::INT8_ARRAY),
                    (&definitions, Type::TEXT_ARRAY),
                ],
            )?;
        }
        for row in &head.resent {
            self.execute(
                "INSERT INTO stackcron.resent (scheduled_at, entry, pass, stack, surplus, watch)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                &[
                    (&row.scheduled_at, Type::INT8),
                    (&row.entry, Type::TEXT),
                    (&i32::try_from(row.pass).unwrap_or(i32::MAX), Type::INT4),
                    (&row.stack, Type::TEXT),
                    (&row.surplus, Type::INT8),
                    (&row.watch, Type::TEXT),
                ],
            )?;
        }
        let rows = self.query("SELECT identity::text FROM stackcron.journal")?;
        rows.first().and_then(|row| Identity::parse(row.get(0))).ok_or(JournalError::Closed)
    }

    /// All rows are of one table.
    fn insert(&mut self, rows: &[TransferRow]) -> Result<(), JournalError> {
        let targets = rows.iter().map(|row| self.target(&row.target)).collect::<Result<Vec<i64>, _>>()?;
        let numbers = |field: fn(&TransferRow) -> i64| rows.iter().map(field).collect::<Vec<i64>>();
        let optional =
            |field: fn(&TransferRow) -> Option<i64>| rows.iter().map(field).collect::<Vec<Option<i64>>>();
        let (at, due, attempts) = (numbers(|r| r.scheduled_at), numbers(|r| r.due), numbers(|r| r.attempts));
        let (sent, action) = (optional(|r| r.sent), optional(|r| r.action));
        let entries: Vec<&str> = rows.iter().map(|row| row.entry.as_str()).collect();
        let passes: Vec<i32> = rows.iter().map(|row| i32::try_from(row.pass).unwrap_or(i32::MAX)).collect();
        let states: Vec<i16> = rows.iter().map(|row| i16::try_from(row.state).unwrap_or(i16::MAX)).collect();
        let reasons: Vec<Option<String>> = rows.iter().map(|row| storable(row.reason.as_ref())).collect();
        let links: Vec<Option<i32>> = rows.iter().map(|row| row.link).collect();
        let retry_of = optional(|r| r.retry_of);
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&at, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&passes, Type::INT4_ARRAY),
            (&targets, Type::INT8_ARRAY),
            (&due, Type::INT8_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&attempts, Type::INT8_ARRAY),
            (&sent, Type::INT8_ARRAY),
            (&action, Type::INT8_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
            (&links, Type::INT4_ARRAY),
            (&retry_of, Type::INT8_ARRAY),
        ];
        let (mut deadlines, mut by_person, mut args, mut shards) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut finished, mut successes) = (Vec::new(), Vec::new());
        for row in rows {
            match &row.more {
                More::Open { deadline, by_person: person, args: text } => {
                    deadlines.push(*deadline);
                    by_person.push(*person);
                    args.push(storable(text.as_ref()));
                    shards.push(self.shards.get(&row.target[0]).map_or("", String::as_str));
                }
                More::Settled { finished: at, success } => {
                    finished.push(*at);
                    successes.push(*success);
                }
            }
        }
        let sql = if finished.is_empty() {
            values.push((&deadlines, Type::INT8_ARRAY));
            values.push((&by_person, Type::BOOL_ARRAY));
            values.push((&args, Type::TEXT_ARRAY));
            values.push((&shards, Type::TEXT_ARRAY));
            INSERT_OPEN
        } else {
            values.push((&finished, Type::INT8_ARRAY));
            values.push((&successes, Type::BOOL_ARRAY));
            INSERT_SETTLED
        };
        self.execute(sql, &values)
    }

    fn commit(&mut self, moved_to: Option<&str>) -> Result<(), JournalError> {
        self.lock()?;
        self.batch(FENCE)?;
        self.execute("UPDATE stackcron.journal SET moved_to = $1", &[(&moved_to, Type::TEXT)])?;
        self.batch("COMMIT")?;
        (self.is_locked, self.reads) = (false, false);
        Ok(())
    }
}
