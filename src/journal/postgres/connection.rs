//! A connection to the database: how it is made, how long it is waited for, and what its failures
//! mean.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row, RowStream};

use super::super::JournalError;
use super::PostgresAddress;

/// A connection is made within this time. Over a slow line that takes some six round trips.
pub(super) const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// A statement is answered within this time, or its connection is given up.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The schema is brought up to date within this time: some ten short statements.
pub(super) const PREPARED_WITHIN: Duration = Duration::from_secs(15);

/// Encodings of a database that keep every text as it is. The second one keeps bytes, whatever they
/// mean.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

/// Settings of each session. A lost member's open transaction and its running statement end by
/// themselves, or they would block the next member. Commits are on disk, whatever the server's
/// default is.
const SESSION: &str = "
    SET idle_in_transaction_session_timeout = '2s';
    SET statement_timeout = '5s';
    SET search_path = '';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// Connects. What arrives on the connection is taken in by a task of the runtime that this is
/// called in.
pub(super) async fn connect(address: &PostgresAddress) -> Result<Client, JournalError> {
    let tls = address.tls().map_err(|error| JournalError::Unreachable {
        address: address.to_string(),
        detail: error.to_string(),
    })?;
    let connecting = async {
        let (client, connection) = address.config.connect(tls).await?;
        let encoding = connection.parameter("server_encoding").map(str::to_owned);
        // The task ends with the client, or tells the client that the connection has ended.
        tokio::spawn(connection);
        client.batch_execute(SESSION).await?;
        Ok((client, encoding))
    };
    let (client, encoding) = match timeout(CONNECTED_WITHIN, connecting).await {
        Ok(connected) => connected.map_err(|error| failure(address, &error))?,
        Err(_) => return Err(silent(address, CONNECTED_WITHIN)),
    };
    match encoding {
        Some(encoding) if !ENCODINGS.contains(&encoding.as_str()) => Err(JournalError::Database {
            address: address.to_string(),
            detail: format!("its encoding is {encoding}, in which not every text can be stored"),
            remedy: Some(
                "make a database with the encoding UTF8: createdb --encoding UTF8 --template template0",
            ),
        }),
        _ => Ok(client),
    }
}

/// Waits for something that takes several answers, for a bounded time.
pub(super) async fn within<T>(
    address: &PostgresAddress,
    span: Duration,
    doing: impl Future<Output = Result<T, JournalError>>,
) -> Result<T, JournalError> {
    timeout(span, doing).await.unwrap_or_else(|_| Err(silent(address, span)))
}

/// A session of the server, by what no other has.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pid: i32,
    /// In microseconds since 1970. The text form of the instant would depend on the session's
    /// DateStyle and time zone.
    started: i64,
}

impl Session {
    /// The one of this connection.
    pub(super) async fn of(client: &Client, address: &PostgresAddress) -> Result<Session, JournalError> {
        let rows = answered(address, client.query_typed(OWN, &[])).await?;
        let session = rows.first().map(|row| Session { pid: row.get(0), started: row.get(1) });
        session.ok_or_else(|| silent(address, ANSWERED_WITHIN))
    }

    /// Ends it, if it lives, and waits until it does not: what it was told and has not come to,
    /// perhaps because it has not reached the server yet, is not done any more.
    pub(super) async fn end(&self, client: &Client, address: &PostgresAddress) -> Result<(), JournalError> {
        let ending = async {
            while answered(address, client.query_opt(END, &[&self.pid, &self.started])).await?.is_some() {
                sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        timeout(ANSWERED_WITHIN, ending).await.unwrap_or_else(|_| Err(silent(address, ANSWERED_WITHIN)))
    }
}

/// Between two looks at a session that is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const OWN: &str = "
    SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity WHERE pid = pg_backend_pid()";

const END: &str = "
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity 
    WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2";

/// Waits for an answer, for a bounded time.
pub(super) async fn answered<T>(
    address: &PostgresAddress,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, JournalError> {
    match timeout(ANSWERED_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| failure(address, &error)),
        Err(_) => Err(silent(address, ANSWERED_WITHIN)),
    }
}

/// Waits for the answers to what was sent together: each for a bounded time after the one before
/// it.
pub(super) struct Answers<'a> {
    address: &'a PostgresAddress,
    each_within: Duration,
    last: Cell<Instant>,
}

impl<'a> Answers<'a> {
    pub(super) fn from_now(address: &'a PostgresAddress, each_within: Duration) -> Answers<'a> {
        Answers { address, each_within, last: Cell::new(Instant::now()) }
    }

    /// Awaits one answer.
    pub(super) async fn one<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, JournalError> {
        let mut answer = pin!(answer);
        loop {
            let before = self.last.get();
            match timeout_at(before + self.each_within, &mut answer).await {
                Ok(answer) => {
                    self.last.set(Instant::now());
                    return answer.map_err(|error| failure(self.address, &error));
                }
                Err(_) if self.last.get() == before => return Err(silent(self.address, self.each_within)),
                // Another one came meanwhile.
                Err(_) => {}
            }
        }
    }
}

impl Answers<'_> {
    /// Awaits all rows of a statement, each for a bounded time after the one before.
    pub(super) async fn rows(
        &self,
        answer: impl Future<Output = Result<RowStream, Error>>,
    ) -> Result<Vec<Row>, JournalError> {
        let mut stream = pin!(self.one(answer).await?);
        let mut rows = Vec::new();
        while let Some(row) = self.one(stream.as_mut().try_next()).await? {
            rows.push(row);
        }
        Ok(rows)
    }
}

pub(super) fn silent(address: &PostgresAddress, span: Duration) -> JournalError {
    let detail = format!("no answer within {} s", span.as_secs());
    JournalError::Unreachable { address: address.to_string(), detail }
}

const PASSWORD: &str = "give the password as the credential `journal-password` or as $PGPASSWORD";

/// The classes of errors that are due to the values of a statement: it fails whenever it is tried.
/// They are data exceptions, violated constraints, and limits of the program.
const OF_VALUES: [&str; 3] = ["22", "23", "54"];

/// Returns the meaning of a failure, with the server's own words.
pub(super) fn failure(address: &PostgresAddress, error: &Error) -> JournalError {
    let address = address.to_string();
    let Some(told) = error.as_db_error() else {
        let mut detail = error.to_string();
        // The driver's way to say that a value is longer than the protocol can hold.
        let is_too_long = detail.starts_with("error serializing parameter");
        // The driver's way to say that the server wants what it was not given. It stays so, however
        // often it is asked.
        let misses = detail == "invalid configuration";
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            detail += &format!(": {error}");
            cause = error.source();
        }
        return match misses {
            _ if is_too_long => JournalError::Unstorable { journal: address, detail },
            true => JournalError::Database { address, detail, remedy: Some(PASSWORD) },
            false => JournalError::Unreachable { address, detail },
        };
    };
    let detail = told.message().to_owned();
    let code = told.code();
    let comes_back = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    if OF_VALUES.iter().any(|class| code.code().starts_with(class)) {
        return JournalError::Unstorable { journal: address, detail };
    }
    if comes_back.contains(code) {
        return JournalError::Unreachable { address, detail };
    }
    let remedy = match *code {
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "this server is a replica, or is set to read only (default_transaction_read_only); name the primary, or \
             all servers, in the URL, or let it be written"
        }
        SqlState::DISK_FULL => "make room on the server",
        SqlState::INVALID_PASSWORD => PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the user, the database and sslmode of the URL must be what the server's pg_hba.conf admits"
        }
        SqlState::INVALID_CATALOG_NAME => "make the database first: createdb",
        // The role may use the schema, so the table in it is somebody else's.
        SqlState::INSUFFICIENT_PRIVILEGE
            if [" table ", " sequence "].iter().any(|kind| detail.contains(kind)) =>
        {
            "the user may not write the journal: make it the owner kind the schema `stackcron` and kind its tables, or grant \
             it SELECT, INSERT, UPDATE and DELETE on all kind them"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user needs CREATE on the database, or a schema `stackcron` of its own"
        }
        SqlState::UNDEFINED_COLUMN
        | SqlState::UNDEFINED_TABLE
        | SqlState::DUPLICATE_TABLE
        | SqlState::DUPLICATE_OBJECT
        | SqlState::WRONG_OBJECT_TYPE
        | SqlState::UNDEFINED_FUNCTION
        | SqlState::DATATYPE_MISMATCH => {
            "the tables of the schema `stackcron` are not this journal's, or not all of them: give the journal another \
             database, or restore its tables"
        }
        _ => return JournalError::Database { address, detail, remedy: None },
    };
    JournalError::Database { address, detail, remedy: Some(remedy) }
}
