//! The statements of a shard's leader that name where its lease and its cursor are.

use super::lease::KnownBeat;
use super::term::Term;
use crate::schedule::ShardName;

/// The common table expressions up to `target`, which has the number of each account, stack and job
/// that the rows of `$rows` name. New ones are added. The last parenthesis is left open.
macro_rules! targets {
    ($rows:literal) => {
        concat!(
            "aim AS MATERIALIZED (
        SELECT DISTINCT account COLLATE \"C\" AS account, stack COLLATE \"C\" AS stack, job COLLATE \"C\" AS job FROM ",
            $rows,
            "
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
        JOIN aim ON t.account = aim.account AND t.stack = aim.stack AND t.job = aim.job"
        )
    };
}
pub(super) use targets;

/// The claims of a sweep, and the cursor. A row that is there with this leader's number, untouched,
/// is of a claim whose answer was lost.
const CLAIM: &str = concat!(
    "
    , claim AS MATERIALIZED (
        SELECT c.* FROM lease, unnest(
            $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::boolean[], $11::text[],
            $12::integer[], $13::boolean[], $17::integer[], $18::bigint[]
        ) AS c (scheduled_at, entry, account, stack, job, due, deadline, by_person, args, pass, once, link, retry_of)
    ), ",
    targets!("claim"),
    "
    ), moved AS (
        UPDATE stackcron.shard SET
            cursor = CASE WHEN $14::bigint IS NULL THEN greatest(cursor, $2) ELSE $2 END,
            pass = coalesce($14::bigint, pass), pass_until = coalesce($15::bigint, pass_until),
            pass_from = coalesce($16::bigint, pass_from)
        FROM lease WHERE {row}
    ), inserted AS (
        INSERT INTO stackcron.open AS o
            (scheduled_at, entry, pass, target, due, deadline, by_person, args, state, attempts, number, shard, link, retry_of)
        SELECT c.scheduled_at, c.entry, c.pass, t.id, c.due, c.deadline, c.by_person, c.args, 0, 0, $1, {own}, c.link, c.retry_of
        FROM claim c JOIN target t ON t.account = c.account AND t.stack = c.stack AND t.job = c.job
        WHERE NOT EXISTS (SELECT FROM stackcron.settled s
            WHERE s.scheduled_at = c.scheduled_at AND s.entry = c.entry COLLATE \"C\"
            AND (s.pass = c.pass OR c.once AND s.state NOT IN (6, 7, 8)))
        AND NOT EXISTS (SELECT FROM stackcron.open s
            WHERE s.scheduled_at = c.scheduled_at AND s.entry = c.entry COLLATE \"C\"
            AND (s.pass <> c.pass AND c.once OR s.pass < c.pass AND s.state IN (0, 1)))
        ON CONFLICT (scheduled_at, entry, pass) DO UPDATE SET number = o.number
            WHERE o.number = excluded.number AND o.state = 0
        RETURNING scheduled_at, entry, pass
    )
    SELECT EXISTS (SELECT FROM lease), inserted.scheduled_at, inserted.entry, inserted.pass
    FROM (SELECT) AS one LEFT JOIN inserted ON true"
);

/// Ends the spans of definitions that are no longer in force, and begins those of new ones. A span
/// that would end before it begins, since the clock was set back, becomes empty.
const IN_FORCE: &str = "
    , wanted AS MATERIALIZED (
        SELECT w.* FROM lease, unnest($2::text[], $3::text[]) AS w (entry, definition)
    ), over AS (
        UPDATE stackcron.in_force f SET until = greatest($4::bigint, f.since) FROM lease
        WHERE f.until IS NULL AND f.shard = {own} AND NOT EXISTS (SELECT FROM wanted w
            WHERE w.entry = f.entry COLLATE \"C\" AND w.definition = f.definition COLLATE \"C\")
    ), begun AS (
        INSERT INTO stackcron.in_force (entry, since, definition, shard)
        SELECT w.entry, $4::bigint, w.definition, {own} FROM wanted w
        WHERE NOT EXISTS (SELECT FROM stackcron.in_force f WHERE f.until IS NULL AND f.shard = {own}
            AND f.entry = w.entry COLLATE \"C\" AND f.definition = w.definition COLLATE \"C\")
        ON CONFLICT (entry, since) DO NOTHING
    )
    SELECT EXISTS (SELECT FROM lease)";

const OPEN: &str = "
    SELECT scheduled_at, entry, due, state, attempts, sent, action, reason, account, stack, job, deadline, by_person, args, o.number, o.pass,
        link, retry_of
    FROM stackcron.open o JOIN stackcron.target t ON t.id = o.target
    WHERE o.shard = {own}
    ORDER BY scheduled_at, entry, pass";

/// The statements of a shard's leader that name where its lease and its cursor are.
pub(super) struct Statements {
    /// The last beat of the leader that is known to be written.
    known_beat: KnownBeat,
    /// The beginning of each statement: it locks the lease's row if the lease is still this
    /// leader's.
    lease: String,
    claim: String,
    stopped: String,
    in_force: String,
    pub(super) open: String,
    pub(super) begin: String,
    pub(super) goes_on: String,
}

impl Statements {
    pub(super) fn of(term: &Term) -> Statements {
        let Term { shard, holder, identity, known_beat, .. } = term;
        // A name is made of letters, digits, dots, underscores and dashes.
        let own = format!("'{}'", shard.name().map_or("", ShardName::as_str));
        let row = format!("name = {own}");
        let lease = format!(
            "WITH lease AS MATERIALIZED (
                SELECT number, lost_until FROM stackcron.lease
                WHERE {row} AND number = $1 AND holder = {holder} AND beat >= {BEAT}
                    AND EXISTS (SELECT FROM stackcron.journal WHERE identity = '{identity}')
                FOR KEY SHARE
            )",
            holder = holder.0
        );
        Statements {
            known_beat: known_beat.clone(),
            claim: format!("{lease}{CLAIM}").replace("{row}", &row).replace("{own}", &own),
            in_force: format!("{lease}{IN_FORCE}").replace("{own}", &own),
            stopped: format!(
                "{lease}, stopped AS (UPDATE stackcron.shard SET stopped_at = $2 FROM lease WHERE {row})
                SELECT EXISTS (SELECT FROM lease)"
            ),
            open: OPEN.replace("{own}", &own),
            begin: format!(
                "{lease} SELECT cursor, stopped_at, lost_until, pass, pass_until, pass_from FROM stackcron.shard, lease WHERE {row}"
            ),
            goes_on: format!("{lease} UPDATE stackcron.shard SET stopped_at = NULL FROM lease WHERE {row}"),
            lease,
        }
    }

    /// Returns the beginning of each statement: it locks the lease's row if the lease is still this
    /// leader's.
    pub(super) fn lease(&self) -> String {
        self.now(&self.lease)
    }

    pub(super) fn claim(&self) -> String {
        self.now(&self.claim)
    }

    pub(super) fn in_force(&self) -> String {
        self.now(&self.in_force)
    }

    pub(super) fn stopped(&self) -> String {
        self.now(&self.stopped)
    }

    /// A statement by the last beat that is known to be written.
    pub(super) fn now(&self, statement: &str) -> String {
        statement.replace(BEAT, &self.known_beat.get().to_string())
    }
}

/// Stands in statements for the last beat that is known to be written.
const BEAT: &str = "{beat}";
