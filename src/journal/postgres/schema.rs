//! The tables in the database, and how an older schema comes by what it lacks while others still
//! use it.
//!
//! A migration adds, and takes away only what the version before it did not use. So members of two
//! neighbouring versions work side by side while a fleet is upgraded one by one. Every statement
//! names its columns.

use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Transaction};

use jiff::Timestamp;

use super::super::summary::JournalSummary;
use super::super::{Identity, JournalError};
use super::PostgresAddress;
use super::connection::{ANSWERED_WITHIN, answered, failure, silent};

/// Leads from each version of the schema to the next. A released step never changes.
pub(super) const MIGRATIONS: &[Migration] = &[Migration { oldest: 1, statements: FIRST }];

/// One migration.
pub(super) struct Migration {
    /// The oldest version whose daemons can write this schema.
    oldest: i32,
    statements: &'static str,
}

/// All instants are microseconds: scheduled_at, the cursor and what a lease allows since 1970,
/// `due`, `sent`, `deadline` and `finished` after scheduled_at. The states are numbered as in
/// SQLite. Names are compared byte by byte, as everywhere else.
///
/// `link` and `retry_of` are explained in `link`.
///
/// `resent`: an occurrence that was sent again. `surplus` is a second action that it turned out to
/// have, `watch` (JSON) how the stack's list is read for one; NULL once nobody reads on.
///
/// `in_force`: the instants from `since` up to `until` were planned by this definition of the
/// entry, in this shard. NULL: they are still. What was scheduled before the journal's
/// `pruned_until` is not known.
///
/// `moved_to`: the journal goes on there. `moved_from`: it was filled from the journal of this
/// identity.
///
/// `ended`: under the term of this number, which is over, nothing was sent that is due after
/// `sent_until`. Its leader says so once it runs again.
///
/// A lease's `lost_until`: the database is an older copy of itself, and what is due from the
/// shard's cursor up to this instant may have been sent.
///
/// The shard of all that is in no named shard has the empty name. `pass` is 0 unless the clock was
/// set back; a shard's is the greatest so far, of the instants from `pass_from` to `pass_until`.
const FIRST: &str = r#"
    CREATE TABLE stackcron.journal (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        identity uuid NOT NULL,
        schema integer NOT NULL,
        oldest integer NOT NULL,
        pruned_until bigint,
        moved_to text,
        moved_from uuid
    );
    INSERT INTO stackcron.journal (identity, schema, oldest) VALUES (
        md5(concat_ws(' ', random(), clock_timestamp(), pg_backend_pid(), pg_current_wal_insert_lsn()))::uuid, 0, 0
    );
    CREATE TABLE stackcron.shard (
        name text COLLATE "C" PRIMARY KEY,
        cursor bigint,
        pass bigint,
        pass_from bigint,
        pass_until bigint,
        stopped_at bigint
    );
    CREATE TABLE stackcron.lease (
        name text COLLATE "C" PRIMARY KEY,
        number bigint NOT NULL UNIQUE,
        beat bigint NOT NULL,
        released boolean NOT NULL,
        holder bigint,
        holder_name text,
        sends_until bigint,
        lost_until bigint
    );
    CREATE TABLE stackcron.ended (
        number bigint PRIMARY KEY,
        sent_until bigint NOT NULL
    );
    CREATE TABLE stackcron.member (
        id bigint PRIMARY KEY,
        name text NOT NULL,
        version text NOT NULL,
        schedule text NOT NULL,
        entries integer NOT NULL,
        offset_ms bigint,
        started_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE stackcron.target (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account text COLLATE "C" NOT NULL,
        stack text COLLATE "C" NOT NULL,
        job text COLLATE "C" NOT NULL,
        UNIQUE (account, stack, job)
    );
    CREATE TABLE stackcron.open (
        scheduled_at bigint NOT NULL,
        entry text COLLATE "C" NOT NULL,
        pass integer NOT NULL DEFAULT 0,
        shard text COLLATE "C" NOT NULL DEFAULT '',
        target bigint NOT NULL,
        due bigint NOT NULL,
        deadline bigint NOT NULL,
        by_person boolean NOT NULL,
        args text,
        state smallint NOT NULL,
        attempts bigint NOT NULL,
        sent bigint,
        action bigint,
        reason text,
        link integer,
        retry_of bigint,
        number bigint NOT NULL,
        PRIMARY KEY (scheduled_at, entry, pass)
    ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
    CREATE TABLE stackcron.settled (
        scheduled_at bigint NOT NULL,
        entry text COLLATE "C" NOT NULL,
        pass integer NOT NULL DEFAULT 0,
        target bigint NOT NULL,
        due bigint NOT NULL,
        state smallint NOT NULL,
        attempts bigint NOT NULL,
        sent bigint,
        action bigint,
        finished bigint,
        success boolean,
        reason text,
        link integer,
        retry_of bigint,
        number bigint NOT NULL,
        PRIMARY KEY (scheduled_at, entry, pass)
    );
    CREATE INDEX settled_action ON stackcron.settled (action) WHERE action IS NOT NULL;
    CREATE TABLE stackcron.resent (
        scheduled_at bigint NOT NULL,
        entry text COLLATE "C" NOT NULL,
        pass integer NOT NULL DEFAULT 0,
        stack text COLLATE "C" NOT NULL,
        surplus bigint,
        watch text,
        PRIMARY KEY (scheduled_at, entry, pass)
    );
    CREATE TABLE stackcron.in_force (
        entry text COLLATE "C" NOT NULL,
        since bigint NOT NULL,
        until bigint,
        definition text COLLATE "C" NOT NULL,
        shard text COLLATE "C" NOT NULL DEFAULT '',
        PRIMARY KEY (entry, since)
    );
    CREATE TABLE stackcron.paused (
        entry text COLLATE "C" PRIMARY KEY,
        terms text NOT NULL
    );
    CREATE TABLE stackcron.quota (
        account text COLLATE "C" PRIMARY KEY,
        saved text NOT NULL
    );
"#;

/// Only one member at a time brings the schema up to date.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('stackcron'))";

/// The journal that a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SchemaVersion {
    schema: i32,
    oldest: i32,
    identity: Identity,
    /// The place to which the journal was moved. `None`: it was not moved.
    moved_to: Option<String>,
}

/// Brings the schema up to date, or finds that it can be written as it is. Returns the journal's
/// identity.
///
/// A database without a journal gets one where `known` is `None`: the state directory has seen
/// none. One that it has seen is never replaced.
pub(super) async fn prepare(
    client: &mut Client,
    address: &PostgresAddress,
    known: Option<&Identity>,
) -> Result<Identity, JournalError> {
    let found = version(client, address).await?;
    let identity = found.as_ref().map(|found| found.identity.clone());
    if let Some(known) = known
        && identity.as_ref() != Some(known)
    {
        let (location, known) = (address.to_string(), known.clone());
        return Err(JournalError::Replaced { location, known, found: identity });
    }
    if let Some(moved_to) = found.as_ref().and_then(|found| found.moved_to.clone()) {
        return Err(JournalError::Moved { location: address.to_string(), moved_to });
    }
    if let (true, Some(identity)) = (admitted(found.as_ref(), address, MIGRATIONS)?, identity) {
        return Ok(identity);
    }
    let migrating = async {
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        let Some(from) = missing(&transaction, MIGRATIONS).await? else {
            return Ok(());
        };
        for (migration, number) in MIGRATIONS.iter().zip(1_i32..).skip(from) {
            transaction.batch_execute(migration.statements).await?;
            transaction
                .execute(
                    "UPDATE stackcron.journal SET schema = $1, oldest = $2",
                    &[&number, &migration.oldest],
                )
                .await?;
        }
        transaction.commit().await
    };
    migrating.await.map_err(|error: Error| failure(address, &error))?;
    match version(client, address).await? {
        Some(made) => Ok(made.identity),
        None => Err(incomplete(address)),
    }
}

fn incomplete(address: &PostgresAddress) -> JournalError {
    JournalError::Database {
        address: address.to_string(),
        detail: "a part of its tables is missing".to_owned(),
        remedy: Some("where it is being restored from a backup, it can be used as soon as that is done"),
    }
}

/// Returns the facts that decide whether the journal may be left or entered. `None`: no journal is
/// in the database.
pub(super) async fn summary(
    client: &Client,
    address: &PostgresAddress,
) -> Result<Option<JournalSummary>, JournalError> {
    let Some(SchemaVersion { identity, .. }) = version(client, address).await? else {
        return Ok(None);
    };
    let rows = answered(address, client.query_typed(SUMMARY, &[])).await?;
    let row = rows.first().ok_or_else(|| incomplete(address))?;
    Ok(Some(JournalSummary {
        identity,
        open: row.get::<_, i64>(0).cast_unsigned(),
        cursor: row.get::<_, Option<i64>>(1).and_then(|micros| Timestamp::from_microsecond(micros).ok()),
        moved_to: row.get(2),
    }))
}

const SUMMARY: &str = "
    SELECT (SELECT count(*) FROM stackcron.open) + (SELECT count(*) FROM stackcron.paused),
        (SELECT max(cursor) FROM stackcron.shard), moved_to
    FROM stackcron.journal";

/// Returns the number of applied migrations, under the lock that keeps others from applying any.
/// `None`: all are applied.
async fn missing(transaction: &Transaction<'_>, migrations: &[Migration]) -> Result<Option<usize>, Error> {
    let exists =
        "SELECT to_regnamespace('stackcron') IS NOT NULL, to_regclass('stackcron.journal') IS NOT NULL";
    let row = transaction.query_one(exists, &[]).await?;
    if !row.get::<_, bool>(0) {
        transaction.batch_execute("CREATE SCHEMA stackcron").await?;
    }
    let applied = match row.get(1) {
        true => {
            let row = transaction.query_one("SELECT schema FROM stackcron.journal", &[]).await?;
            usize::try_from(row.get::<_, i32>(0)).unwrap_or(usize::MAX)
        }
        false => 0,
    };
    Ok((applied < migrations.len()).then_some(applied))
}

/// Returns true when the schema is up to date. Fails when this version may not write.
fn admitted(
    version: Option<&SchemaVersion>,
    address: &PostgresAddress,
    migrations: &[Migration],
) -> Result<bool, JournalError> {
    let known = i32::try_from(migrations.len()).unwrap_or(i32::MAX);
    match version {
        Some(version) if version.oldest > known => {
            Err(JournalError::NewerDatabase { address: address.to_string(), found: version.schema })
        }
        Some(version) => Ok(version.schema >= known),
        None => Ok(false),
    }
}

/// The last part of a dump makes the indexes, of which this one is the last by name.
const VERSION: &str = "
    SELECT schema, oldest, identity::text, to_regclass('stackcron.target_pkey') IS NOT NULL, moved_to
    FROM stackcron.journal";

async fn version(client: &Client, address: &PostgresAddress) -> Result<Option<SchemaVersion>, JournalError> {
    let Ok(answer) = timeout(ANSWERED_WITHIN, client.query_typed(VERSION, &[])).await else {
        return Err(silent(address, ANSWERED_WITHIN));
    };
    match answer {
        Ok(rows) => {
            // While a backup is being restored, a table is there before its rows, and its rows
            // before its indexes.
            let row = rows.first().filter(|row| row.get(3)).ok_or_else(|| incomplete(address))?;
            let identity = Identity::parse(row.get(2)).ok_or_else(|| incomplete(address))?;
            Ok(Some(SchemaVersion { schema: row.get(0), oldest: row.get(1), identity, moved_to: row.get(4) }))
        }
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(failure(address, &error)),
    }
}

/// Finds that the schema can be read as it is.
pub(super) async fn readable(client: &Client, address: &PostgresAddress) -> Result<(), JournalError> {
    match version(client, address).await? {
        None => Err(JournalError::Database {
            address: address.to_string(),
            detail: "no journal is in it".to_owned(),
            remedy: Some("the first daemon that runs with it makes one"),
        }),
        Some(version) => admitted(Some(&version), address, MIGRATIONS).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrations(oldest: &[i32]) -> Vec<Migration> {
        oldest.iter().map(|&oldest| Migration { oldest, statements: "" }).collect()
    }

    #[test]
    fn neighbouring_versions_write_one_schema() {
        let address: PostgresAddress = "postgres://me@localhost/jobs".parse().expect("an address");
        let identity = Identity::parse("00000000-0000-4000-8000-000000000000").expect("a UUID");
        let found = |schema, oldest| {
            Some(SchemaVersion { schema, oldest, identity: identity.clone(), moved_to: None })
        };
        let admitted = |version: Option<SchemaVersion>, known: &[i32]| {
            admitted(version.as_ref(), &address, &migrations(known)).ok()
        };
        assert_eq!(admitted(None, &[1]), Some(false), "a new database is filled");
        assert_eq!(admitted(found(1, 1), &[1]), Some(true));
        assert_eq!(admitted(found(1, 1), &[1, 1]), Some(false), "the newer one adds what is missing");
        assert_eq!(admitted(found(2, 1), &[1]), Some(true), "and the older one goes on");
        assert_eq!(admitted(found(3, 2), &[1]), None, "two versions apart is too far");
    }
}
