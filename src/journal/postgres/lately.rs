//! Reads the outcomes of the last day, at a cost that is bounded however long the journal is.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::Type;

use super::super::{HOUR, JournalError, Key, LastEnds, Lately, Pause, Record, State};
use super::connection::{ANSWERED_WITHIN, answered, connect, failure, within};
use super::history::{ROWS, record};
use super::{PostgresAddress, rows, schema};
use crate::schedule::EntryName;

/// An occurrence that was sent later than this after it was due counts as late.
const LATE: SignedDuration = SignedDuration::from_secs(1);

/// At most this many rows are read, the newest.
const MOST_ROWS: u64 = 500_000;

/// The last ends of all entries are read within this time: the server reads all that the journal
/// keeps for them.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The states that an operator looks into.
const NOTABLE: [State; 4] = [State::Failed, State::Rejected, State::Missed, State::Unknown];

/// Counts what was scheduled with `since` <= scheduled_at < `until`, and picks out the newest
/// `most` that somebody should look into. Never writes, and never makes a daemon wait. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn read_lately(
    address: &PostgresAddress,
    since: Timestamp,
    until: Timestamp,
    most: usize,
) -> Result<Lately, JournalError> {
    let damaged = |detail: String| rows::damaged(address, &detail);
    let late = LATE.as_micros();
    let rows = format!("{ROWS} ORDER BY 1 DESC, 2 DESC LIMIT {MOST_ROWS}");
    let counts = format!(
        "SELECT state, count(*), coalesce(sum((coalesce(sent - due, 0) > {late})::int), 0)::bigint,
             scheduled_at / {HOUR} AS hour
         FROM ({rows}) AS rows GROUP BY hour, state ORDER BY hour, state"
    );
    let notable = NOTABLE.map(|state| state.code().to_string()).join(", ");
    let notable = format!(
        "SELECT * FROM ({rows}) AS rows WHERE state IN ({notable}) OR sent - due > {late}
         ORDER BY 1 DESC, 2 DESC LIMIT {most}"
    );
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let (since, until) = (since.as_microsecond(), until.as_microsecond());
        let parameters =
            [(&since as _, Type::INT8), (&until as _, Type::INT8), (&None::<&str> as _, Type::TEXT)];
        let mut lately = Lately::default();
        let mut total = 0;
        for row in answered(address, client.query_typed(&counts, &parameters)).await? {
            let count = row.get::<_, i64>(1).cast_unsigned();
            total += count;
            lately.late += row.get::<_, i64>(2).cast_unsigned();
            lately.count(row.get(3), rows::state(row.get(0)).map_err(damaged)?, count);
        }
        lately.counts.sort_by_key(|(state, _)| state.code());
        lately.cut = total >= MOST_ROWS;
        for row in answered(address, client.query_typed(&notable, &parameters)).await? {
            lately.notable.push(record(&row).map_err(damaged)?);
        }
        Ok(lately)
    })
}

/// The entries that somebody paused, and the terms. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn read_pauses(address: &PostgresAddress) -> Result<Vec<(EntryName, Pause)>, JournalError> {
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let found = answered(address, client.query_typed(rows::PAUSED, &[])).await?;
        found
            .iter()
            .map(rows::paused_entry)
            .collect::<Result<_, _>>()
            .map_err(|detail| rows::damaged(address, &detail))
    })
}

/// When an action of each entry last ended, and last ended with success. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn last_ends(address: &PostgresAddress) -> Result<Vec<(EntryName, LastEnds)>, JournalError> {
    const LAST: &str = "
        SELECT entry, max(scheduled_at + finished), max(scheduled_at + finished) FILTER (WHERE success)
        FROM stackcron.settled WHERE finished IS NOT NULL GROUP BY entry";
    rows::runtime(address)?.block_on(async {
        let mut client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let transaction = answered(address, client.build_transaction().read_only(true).start()).await?;
        // Reading the whole history may take longer than the session's limit.
        answered(address, transaction.batch_execute("SET LOCAL statement_timeout = 0")).await?;
        let found =
            async { transaction.query_typed(LAST, &[]).await.map_err(|error| failure(address, &error)) };
        let rows = within(address, ENDS_WITHIN, found).await?;
        let ends = rows.iter().map(|row| {
            let at = |column| row.get::<_, Option<i64>>(column).map(rows::instant).transpose();
            Ok((rows::entry_name(row.get(0))?, LastEnds { end: at(1)?, success: at(2)? }))
        });
        ends.collect::<Result<_, String>>().map_err(|detail| rows::damaged(address, &detail))
    })
}

/// What became of each of these occurrences. `None` of what the journal does not have. Blocks.
///
/// # Errors
/// When the database cannot be reached, or holds no journal.
pub fn read_records(address: &PostgresAddress, keys: &[Key]) -> Result<Vec<Option<Record>>, JournalError> {
    let sql = format!(
        "SELECT r.* FROM unnest($1::bigint[], $2::text[]) AS k (scheduled_at, entry)
         CROSS JOIN LATERAL ({}) AS r",
        ROWS.replace("$1", "k.scheduled_at")
            .replace("scheduled_at < $2", "scheduled_at <= k.scheduled_at")
            .replace("($3::text IS NULL OR entry = $3)", "entry = k.entry COLLATE \"C\"")
    );
    let instants: Vec<i64> = keys.iter().map(|key| key.scheduled_at().as_microsecond()).collect();
    let entries: Vec<&str> = keys.iter().map(|key| key.entry().as_str()).collect();
    rows::runtime(address)?.block_on(async {
        let client = connect(address).await?;
        within(address, ANSWERED_WITHIN, schema::readable(&client, address)).await?;
        let parameters = [(&instants as _, Type::INT8_ARRAY), (&entries as _, Type::TEXT_ARRAY)];
        let found = answered(address, client.query_typed(&sql, &parameters)).await?;
        let mut known = HashMap::new();
        for row in &found {
            let record = record(row).map_err(|detail| rows::damaged(address, &detail))?;
            known.insert(record.key.clone(), record);
        }
        Ok(keys.iter().map(|key| known.get(key).cloned()).collect())
    })
}
