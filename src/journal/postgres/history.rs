//! Reads what became of occurrences, and who the members are, beside running daemons or without
//! any.

use std::ops::ControlFlow;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::{Definition, Filter, ForceSpan, InForce, JournalError, Key, Record, link};
use super::connection::{ANSWERED_WITHIN, answered, connect, failure, within};
use super::{PostgresAddress, rows, schema};
use crate::schedule::EntryName;

/// Rows that are asked for at once: a long history costs no memory.
const PORTION: i32 = 1000;

/// A portion is there within this time. The server may have to sort a long history before the first
/// one.
const PORTION_WITHIN: Duration = Duration::from_secs(60);

/// Portions that are read ahead of who takes them.
const AHEAD: usize = 2;

/// Open and settled alike. Both tables are indexed in the order that is asked for.
pub(super) const ROWS: &str = "
    SELECT scheduled_at, entry, due, state, attempts, sent, action, NULL::bigint AS finished, NULL::boolean AS success, reason, pass,
        (SELECT surplus FROM stackcron.resent r WHERE r.scheduled_at = o.scheduled_at AND r.entry = o.entry AND r.pass = o.pass), link, retry_of
    FROM stackcron.open o
    WHERE scheduled_at >= $1 AND scheduled_at < $2 AND ($3::text IS NULL OR entry = $3)
    UNION ALL
    SELECT scheduled_at, entry, due, state, attempts, sent, action, finished, success, reason, pass,
        (SELECT surplus FROM stackcron.resent r WHERE r.scheduled_at = s.scheduled_at AND r.entry = s.entry AND r.pass = s.pass), link, retry_of
    FROM stackcron.settled s
    WHERE scheduled_at >= $1 AND scheduled_at < $2 AND ($3::text IS NULL OR entry = $3)";

/// Hands out the records that a filter admits, in the order of scheduled_at, until there are no
/// more or `each` breaks off.
///
/// Never writes, never makes a daemon wait, and sees what was committed when it began. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn read_history(
    address: &PostgresAddress,
    filter: &Filter,
    mut each: impl FnMut(Record) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let (sender, portions) = sync_channel(AHEAD);
    thread::scope(|scope| {
        // Whoever calls may be in a runtime, and may not block in it.
        let reading = scope.spawn(move || -> Result<(), JournalError> {
            let runtime = rows::runtime(address)?;
            runtime.block_on(async {
                let mut client = connect(address).await?;
                within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
                read(&mut client, address, filter, &sender).await
            })
        });
        for record in portions.into_iter().flatten() {
            if each(record).is_break() {
                break;
            }
        }
        reading.join().unwrap_or(Err(JournalError::Closed))
    })
}

/// Everything scheduled before this instant is planned, in every shard. `None`: nothing is. Blocks.
///
/// # Errors
/// As [`read_history`].
pub fn planned_until(address: &PostgresAddress) -> Result<Option<Timestamp>, JournalError> {
    const LEAST: &str = "SELECT min(cursor) FROM stackcron.shard";
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let found = answered(address, client.query_typed(LEAST, &[])).await?;
        let cursor = found.first().and_then(|row| row.get::<_, Option<i64>>(0));
        cursor.map(rows::instant).transpose().map_err(|detail| rows::damaged(address, &detail))
    })
}

/// Which schedules were in force: of one entry, or of all. Blocks.
///
/// # Errors
/// As [`read_history`].
pub fn read_in_force(address: &PostgresAddress, entry: Option<&EntryName>) -> Result<InForce, JournalError> {
    const SPANS: &str = "
        SELECT entry, since, until, definition FROM stackcron.in_force
        WHERE ($1::text IS NULL OR entry = $1) AND (until IS NULL OR until > since) ORDER BY 1, 2";
    let read = async || {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let journal =
            answered(address, client.query_typed("SELECT pruned_until FROM stackcron.journal", &[])).await?;
        let name = entry.map(EntryName::as_str);
        let found = answered(address, client.query_typed(SPANS, &[(&name, Type::TEXT)])).await?;
        let pruned = journal.first().and_then(|row| row.get::<_, Option<i64>>(0));
        let instant = |at: Option<i64>| at.map(rows::instant).transpose();
        let span = |row: &Row| {
            Ok(ForceSpan {
                entry: rows::entry_name(row.get(0))?,
                since: rows::instant(row.get(1))?,
                until: instant(row.get(2))?,
                definition: Definition::of_saved(row.get(3)),
            })
        };
        let read = || {
            Ok(InForce {
                pruned_until: instant(pruned)?,
                spans: found.iter().map(span).collect::<Result<_, String>>()?,
            })
        };
        read().map_err(|detail: String| rows::damaged(address, &detail))
    };
    // Whoever calls may be in a runtime, and may not block in it.
    thread::scope(|scope| {
        let reading = scope.spawn(|| rows::runtime(address)?.block_on(read()));
        reading.join().unwrap_or(Err(JournalError::Closed))
    })
}

async fn read(
    client: &mut Client,
    address: &PostgresAddress,
    filter: &Filter,
    portions: &SyncSender<Vec<Record>>,
) -> Result<(), JournalError> {
    let order = match filter.newest {
        None => "ORDER BY 1, 2, 11".to_owned(),
        Some(newest) => format!("ORDER BY 1 DESC, 2 DESC, 11 DESC LIMIT {newest}"),
    };
    let sql = format!("SELECT * FROM ({ROWS} {order}) AS rows ORDER BY 1, 2, 11");
    let since = filter.since.map_or(i64::MIN, Timestamp::as_microsecond);
    let until = filter.until.map_or(i64::MAX, Timestamp::as_microsecond);
    let entry = filter.entry.as_ref().map(|name| name.as_str());
    let transaction = answered(address, client.build_transaction().read_only(true).start()).await?;
    // A long history takes as long as it takes.
    answered(address, transaction.batch_execute("SET LOCAL statement_timeout = 0")).await?;
    let statement = answered(address, transaction.prepare(&sql)).await?;
    let portal = answered(address, transaction.bind(&statement, &[&since, &until, &entry])).await?;
    loop {
        let portion = transaction.query_portal(&portal, PORTION);
        let portion = async { portion.await.map_err(|error| failure(address, &error)) };
        let rows = within(address, PORTION_WITHIN, portion).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let records = rows.iter().map(|row| record(row).map_err(|detail| rows::damaged(address, &detail)));
        if portions.send(records.collect::<Result<_, _>>()?).is_err() {
            return Ok(());
        }
    }
}

pub(super) fn record(row: &Row) -> Result<Record, String> {
    let scheduled_at = rows::instant(row.get(0))?;
    let after = |micros: Option<i64>| micros.map(|micros| rows::after(scheduled_at, micros)).transpose();
    let due_at = rows::after(scheduled_at, row.get(2))?;
    let sent_at = after(row.get(5))?;
    Ok(Record {
        key: Key::new(rows::entry_name(row.get(1))?, scheduled_at).in_pass(rows::pass(row.get(10))?),
        state: rows::state(row.get(3))?,
        sent_at,
        lateness_ms: sent_at.map(|at| at.duration_since(due_at).as_millis().try_into().unwrap_or(i64::MAX)),
        attempts: rows::attempts(row.get(4))?,
        action_id: row.get::<_, Option<i64>>(6).map(i64::cast_unsigned),
        finished_at: after(row.get(7))?,
        finished_success: row.get(8),
        reason: row.get(9),
        surplus: row.get::<_, Option<i64>>(11).map(i64::cast_unsigned),
        link: link::linked(row.get(12), row.get(13), scheduled_at),
        replaced_by: None,
        error: None,
    }
    .with_cause())
}
