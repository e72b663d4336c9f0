//! A group of writes: one statement for each kind, all of them sent at once as one transaction.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::super::link::Link;
use super::super::progress::{Progress, Step};
use super::super::store::{Write, Written};
use super::super::{
    Claim, Cursor, Definition, JournalError, Key, Pause, Refused, Repetition, Resent, ResentWatch, Successor,
    Transition,
};
use super::PostgresAddress;
use super::connection::{ANSWERED_WITHIN, Answers};
use super::statements::{Statements, targets};
use crate::schedule::{AccountName, EntryName};

/// Gives back what was claimed and is settled. A claim does not see what another shard's leader
/// settles in the meantime, as when an account has gone over to this shard: a statement after it
/// does.
const GIVE_BACK: &str = "
    , given AS (
        DELETE FROM stackcron.open o USING lease, unnest($2::bigint[], $3::text[], $4::integer[]) AS c (scheduled_at, entry, pass)
        WHERE o.scheduled_at = c.scheduled_at AND o.entry = c.entry COLLATE \"C\" AND o.pass = c.pass AND o.number = $1 AND o.state = 0
            AND EXISTS (SELECT FROM stackcron.settled s WHERE s.scheduled_at = o.scheduled_at AND s.entry = o.entry AND s.pass = o.pass)
        RETURNING o.scheduled_at, o.entry, o.pass
    )
    SELECT scheduled_at, entry, pass FROM given";

/// Deletes the claim of a person's `fire` that the person was told to have failed. Nothing was sent
/// for it.
const WITHDRAW: &str = "
    , withdrawn AS (
        DELETE FROM stackcron.open o USING lease, unnest($2::bigint[], $3::text[], $4::integer[]) AS c (scheduled_at, entry, pass)
        WHERE o.scheduled_at = c.scheduled_at AND o.entry = c.entry COLLATE \"C\" AND o.pass = c.pass AND o.number = $1 AND o.state = 0
    )
    SELECT EXISTS (SELECT FROM lease)";

/// Changes open claims as reloads have changed their entries.
pub(super) const AMEND: &str = concat!(
    "
    , amendment AS MATERIALIZED (
        SELECT a.* FROM lease, unnest(
            $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::integer[]
        ) AS a (scheduled_at, entry, account, stack, job, due, deadline, pass)
    ), ",
    targets!("amendment"),
    "
    ), amended AS (
        UPDATE stackcron.open o SET target = t.id, due = a.due, deadline = a.deadline
        FROM amendment a JOIN target t ON t.account = a.account AND t.stack = a.stack AND t.job = a.job
        WHERE o.scheduled_at = a.scheduled_at AND o.entry = a.entry COLLATE \"C\" AND o.pass = a.pass
    )
    SELECT EXISTS (SELECT FROM lease)"
);

/// Writes the progress of open occurrences, and the end of others.
const STEPS: &str = "
    , step AS MATERIALIZED (
        SELECT s.* FROM lease, unnest(
            $2::bigint[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::boolean[], $11::text[], $12::integer[]
        ) AS s (scheduled_at, entry, settles, state, attempts, sent, action, finished, success, reason, pass)
    ), kept AS (
        UPDATE stackcron.open o
        SET state = s.state, attempts = s.attempts, sent = s.sent, action = s.action, reason = s.reason, number = $1
        FROM step s
        WHERE NOT s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE \"C\" AND o.pass = s.pass
    ), ended AS (
        DELETE FROM stackcron.open o USING step s
        WHERE s.settles AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE \"C\" AND o.pass = s.pass
        RETURNING o.scheduled_at, o.entry, o.pass, o.target, o.due, s.state, s.attempts, s.sent, s.action, s.finished, s.success, s.reason,
            o.link, o.retry_of
    ), settled AS (
        INSERT INTO stackcron.settled
            (scheduled_at, entry, pass, target, due, state, attempts, sent, action, finished, success, reason, link, retry_of, number)
        SELECT ended.*, $1 FROM ended
    )
    SELECT EXISTS (SELECT FROM lease)";

/// Writes the searches for a second action of occurrences that were sent again. A row without a
/// search and without a surplus action is deleted.
const RESENT: &str = "
    , said AS MATERIALIZED (
        SELECT r.* FROM lease, unnest($2::bigint[], $3::text[], $4::integer[], $5::text[], $6::bigint[], $7::text[])
            AS r (scheduled_at, entry, pass, stack, surplus, watch)
    ), over AS (
        DELETE FROM stackcron.resent o USING said s
        WHERE s.watch IS NULL AND s.surplus IS NULL
            AND o.scheduled_at = s.scheduled_at AND o.entry = s.entry COLLATE \"C\" AND o.pass = s.pass
    ), kept AS (
        INSERT INTO stackcron.resent (scheduled_at, entry, pass, stack, surplus, watch)
        SELECT scheduled_at, entry, pass, stack, surplus, watch FROM said WHERE watch IS NOT NULL OR surplus IS NOT NULL
        ON CONFLICT (scheduled_at, entry, pass) DO UPDATE SET surplus = excluded.surplus, watch = excluded.watch
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
        INSERT INTO stackcron.paused (entry, terms)
        SELECT p.entry, p.terms FROM lease, unnest($2::text[], $4::text[]) AS p (entry, terms)
        ON CONFLICT (entry) DO UPDATE SET terms = excluded.terms
    ), resumed AS (
        DELETE FROM stackcron.paused p USING lease WHERE p.entry = ANY ($3::text[])
    )
    SELECT EXISTS (SELECT FROM lease)";

/// A group of writes.
#[derive(Clone, Default)]
pub(crate) struct WriteGroup {
    /// Open claims that a reload has amended, as they are from now on.
    pub(super) amended: HashMap<Key, Claim>,
    /// Progress of occurrences after all steps of the group.
    pub(super) steps: HashMap<Key, Progress>,
    /// Progress of occurrences that are claimed in the same group. These steps follow the claims.
    pub(super) later: HashMap<Key, Progress>,
    /// Occurrences that people fired and for which the answer was lost. They are not claimed any
    /// more.
    pub(super) withdrawn: HashSet<Key>,
    pub(super) quotas: HashMap<AccountName, String>,
    /// The last state of occurrences that were sent again.
    pub(super) resent: HashMap<Key, Resent>,
    /// The terms of an entry's pause, by the last word. `None`: it is not paused any more.
    pub(super) pauses: HashMap<EntryName, Option<Pause>>,
    pub(super) claims: HashMap<Key, Claim>,
    /// The entries that are planned from an instant on, by the last word.
    pub(super) in_force: Option<(Timestamp, Vec<(EntryName, Definition)>)>,
    pub(super) cursor: Option<Cursor>,
    pub(super) stopped: Option<Timestamp>,
}

impl WriteGroup {
    /// Takes a write in, and returns its outcome. The outcome of a claim is known from the database
    /// alone.
    pub(super) fn take(
        &mut self,
        write: &Write<'_>,
        open: &HashMap<Key, Progress>,
        settled: &HashMap<Key, Progress>,
    ) -> Written {
        match *write {
            Write::Steps(steps) => {
                let refused = steps.iter().filter_map(|(key, mv)| self.step(key, open, settled, mv));
                return Written::Steps(refused.collect());
            }
            Write::End(handover) => {
                let refused = self.step(&handover.key, open, settled, &handover.end);
                for Successor { claim, given_up } in &handover.next {
                    self.claims.entry(claim.key.clone()).or_insert_with(|| claim.clone());
                    if let Some(end) = given_up {
                        // An occurrence that was claimed before has an end of its own.
                        self.step(&claim.key, open, settled, end);
                    }
                }
                return Written::Steps(refused.into_iter().collect());
            }
            Write::Quota(account, saved) => {
                // A saved quota can always be serialized.
                if let Ok(saved) = serde_json::to_string(saved) {
                    self.quotas.insert(account.clone(), saved);
                }
            }
            Write::Resent(resent) => drop(self.resent.insert(resent.key.clone(), resent.clone())),
            Write::InForce(since, schedule) => {
                self.in_force = Some((since, Definition::of_all(&schedule.entries)));
            }
            Write::Amend(claim) => drop(self.amended.insert(claim.key.clone(), claim.clone())),
            Write::Claim(cursor, claims) => {
                self.moves(cursor);
                self.claims.extend(claims.iter().map(|claim| (claim.key.clone(), claim.clone())));
            }
            Write::Pause(entry, pause) => drop(self.pauses.insert(entry.clone(), Some(pause.clone()))),
            Write::Resume(entry) => drop(self.pauses.insert(entry.clone(), None)),
            Write::Stopped(at) => self.stopped = Some(at),
        }
        Written::Done
    }

    /// The last word has it, and a cursor that only goes on never goes back.
    fn moves(&mut self, cursor: Option<Cursor>) {
        let Some(cursor) = cursor else { return };
        self.cursor = Some(match self.cursor {
            Some(former) if cursor.repeat.is_none() => {
                let older_until = former.older_until.max(cursor.older_until);
                Cursor { at: former.at.max(cursor.at), repeat: former.repeat, older_until }
            }
            _ => cursor,
        });
    }

    fn step(
        &mut self,
        key: &Key,
        open: &HashMap<Key, Progress>,
        settled: &HashMap<Key, Progress>,
        mv: &Transition,
    ) -> Option<Refused> {
        let written = self.later.get(key).or_else(|| self.steps.get(key));
        let known = written.or_else(|| open.get(key)).or_else(|| settled.get(key)).cloned();
        let is_claimed_with_it = !open.contains_key(key) && self.claims.contains_key(key);
        let before = known.or_else(|| is_claimed_with_it.then(Progress::due));
        let refused = |from| Some(Refused::Backwards { key: key.clone(), from, to: mv.state() });
        let Some(before) = before else {
            return refused(None);
        };
        match before.step(mv) {
            Step::Further(further) => {
                let steps = if is_claimed_with_it { &mut self.later } else { &mut self.steps };
                steps.insert(key.clone(), further);
                None
            }
            Step::Stays => None,
            Step::Refused => refused(Some(before.state)),
        }
    }

    /// Sends it, and returns what of the claims is new. [`JournalError::Deposed`] when the lease is
    /// another's: then nothing is written.
    pub(super) async fn send(
        &self,
        client: &Client,
        address: &PostgresAddress,
        number: i64,
        statements: &Statements,
    ) -> Result<HashSet<(String, i64, i32)>, JournalError> {
        let answers = Answers::from_now(address, ANSWERED_WITHIN);
        // Sent in this order, without a wait in between. The first that fails is why the others do.
        let (
            (),
            withdrawn,
            amended,
            steps,
            resent,
            quotas,
            in_force,
            pauses,
            stopped,
            claims,
            later,
            given_back,
            (),
        ) = tokio::try_join!(
            biased;
            answers.one(client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")),
            answers.one(self.withdraw(client, number, statements)),
            answers.one(self.send_amended(client, number, statements)),
            answers.one(self.send_steps(&self.steps, client, number, statements)),
            answers.one(self.send_resent(client, number, statements)),
            answers.one(self.send_quotas(client, number, statements)),
            answers.one(self.send_in_force(client, number, statements)),
            answers.one(self.send_pauses(client, number, statements)),
            answers.one(self.send_stopped(client, number, statements)),
            answers.one(self.send_claims(client, number, statements)),
            answers.one(self.send_steps(&self.later, client, number, statements)),
            answers.one(self.give_back(client, number, statements)),
            answers.one(client.batch_execute("COMMIT")),
        )?;
        let told = [&withdrawn, &amended, &steps, &resent, &quotas, &in_force, &pauses, &stopped, &later];
        let told = told.into_iter().flatten().chain(claims.first());
        if !told.into_iter().all(|row| row.get::<_, bool>(0)) {
            return Err(JournalError::Deposed);
        }
        let new = |row: &Row| {
            Some((row.get::<_, Option<_>>(2)?, row.get::<_, Option<_>>(1)?, row.get::<_, Option<_>>(3)?))
        };
        let mut inserted: HashSet<(String, i64, i32)> = claims.iter().filter_map(new).collect();
        for row in given_back {
            inserted.remove(&(row.get(1), row.get(0), row.get(2)));
        }
        Ok(inserted)
    }

    async fn withdraw(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if self.withdrawn.is_empty() {
            return Ok(None);
        }
        let (instants, entries, passes) = columns(self.withdrawn.iter());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&number, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&passes, Type::INT4_ARRAY),
        ];
        one(client, &statements.lease(), WITHDRAW, &parameters).await
    }

    async fn send_amended(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if self.amended.is_empty() {
            return Ok(None);
        }
        let all = || self.amended.values();
        let (instants, entries, passes) = columns(self.amended.keys());
        let accounts: Vec<&str> = all().map(|claim| claim.account.as_str()).collect();
        let stacks: Vec<&str> = all().map(|claim| claim.stack.as_str()).collect();
        let jobs: Vec<&str> = all().map(|claim| claim.job.as_str()).collect();
        let due: Vec<i64> = all().map(|claim| after(claim, claim.due_at)).collect();
        let deadlines: Vec<i64> = all().map(|claim| after(claim, claim.deadline)).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
            (&number, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&accounts, Type::TEXT_ARRAY),
            (&stacks, Type::TEXT_ARRAY),
            (&jobs, Type::TEXT_ARRAY),
            (&due, Type::INT8_ARRAY),
            (&deadlines, Type::INT8_ARRAY),
            (&passes, Type::INT4_ARRAY),
        ];
        one(client, &statements.lease(), AMEND, &parameters).await
    }

    async fn send_steps(
        &self,
        steps: &HashMap<Key, Progress>,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if steps.is_empty() {
            return Ok(None);
        }
        let all = || steps.iter();
        let after = |key: &Key, at: Option<Timestamp>| {
            at.map(|at| at.as_microsecond() - key.scheduled_at().as_microsecond())
        };
        let (instants, entries, passes) = columns(steps.keys());
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
        let parameters: [(&(dyn ToSql + Sync), Type); 12] = [
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
            (&passes, Type::INT4_ARRAY),
        ];
        one(client, &statements.lease(), STEPS, &parameters).await
    }

    async fn send_resent(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if self.resent.is_empty() {
            return Ok(None);
        }
        let all = || self.resent.values();
        let (instants, entries, passes) = columns(self.resent.keys());
        let stacks: Vec<&str> = all().map(|resent| resent.stack.as_str()).collect();
        let surplus: Vec<Option<i64>> = all().map(|resent| resent.surplus.map(u64::cast_signed)).collect();
        let watches: Vec<Option<String>> = all().map(|r| r.watch.as_ref().map(ResentWatch::saved)).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
            (&number, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&passes, Type::INT4_ARRAY),
            (&stacks, Type::TEXT_ARRAY),
            (&surplus, Type::INT8_ARRAY),
            (&watches, Type::TEXT_ARRAY),
        ];
        one(client, &statements.lease(), RESENT, &parameters).await
    }

    async fn send_quotas(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if self.quotas.is_empty() {
            return Ok(None);
        }
        let accounts: Vec<&str> = self.quotas.keys().map(AccountName::as_str).collect();
        let saved: Vec<&str> = self.quotas.values().map(String::as_str).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&number, Type::INT8), (&accounts, Type::TEXT_ARRAY), (&saved, Type::TEXT_ARRAY)];
        one(client, &statements.lease(), QUOTAS, &parameters).await
    }

    async fn send_in_force(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        let Some((since, all)) = &self.in_force else {
            return Ok(None);
        };
        let entries: Vec<&str> = all.iter().map(|(entry, _)| entry.as_str()).collect();
        let definitions: Vec<&str> = all.iter().map(|(_, definition)| definition.as_str()).collect();
        let since = since.as_microsecond();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&number, Type::INT8),
            (&entries, Type::TEXT_ARRAY),
            (&definitions, Type::TEXT_ARRAY),
            (&since, Type::INT8),
        ];
        one(client, &statements.in_force(), "", &parameters).await
    }

    async fn send_pauses(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        if self.pauses.is_empty() {
            return Ok(None);
        }
        let paused =
            self.pauses.iter().filter_map(|(entry, pause)| Some((entry.as_str(), pause.as_ref()?.stored())));
        let (paused, terms): (Vec<&str>, Vec<String>) = paused.unzip();
        let resumed = self.pauses.iter().filter(|(_, pause)| pause.is_none());
        let resumed: Vec<&str> = resumed.map(|(entry, _)| entry.as_str()).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&number, Type::INT8),
            (&paused, Type::TEXT_ARRAY),
            (&resumed, Type::TEXT_ARRAY),
            (&terms, Type::TEXT_ARRAY),
        ];
        one(client, &statements.lease(), PAUSES, &parameters).await
    }

    async fn send_stopped(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Option<Row>, Error> {
        let Some(at) = self.stopped.map(Timestamp::as_microsecond) else {
            return Ok(None);
        };
        one(client, &statements.stopped(), "", &[(&number, Type::INT8), (&at, Type::INT8)]).await
    }

    async fn send_claims(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Vec<Row>, Error> {
        if self.cursor.is_none() && self.claims.is_empty() {
            return Ok(Vec::new());
        }
        // An end that hands over claims leaves the cursor where it is.
        let cursor = self.cursor.map(|cursor| cursor.at.as_microsecond());
        let repeat = self.cursor.and_then(|cursor| cursor.repeat);
        let pass: Option<i64> = repeat.map(|repeat| i64::from(repeat.pass));
        let until: Option<i64> = repeat.map(|repeat| repeat.until.as_microsecond());
        let from: Option<i64> = repeat.map(|repeat| repeat.from.as_microsecond());
        let all = || self.claims.values();
        let (instants, entries, passes) = columns(self.claims.keys());
        let accounts: Vec<&str> = all().map(|claim| claim.account.as_str()).collect();
        let stacks: Vec<&str> = all().map(|claim| claim.stack.as_str()).collect();
        let jobs: Vec<&str> = all().map(|claim| claim.job.as_str()).collect();
        let due: Vec<i64> = all().map(|claim| after(claim, claim.due_at)).collect();
        let deadlines: Vec<i64> = all().map(|claim| after(claim, claim.deadline)).collect();
        let once: Vec<bool> = all().map(|claim| claim.repetition == Repetition::Once).collect();
        let kept: Vec<Link<'_>> = all().map(|claim| claim.origin.link(claim.key.scheduled_at())).collect();
        let by_person: Vec<bool> = kept.iter().map(|kept| kept.by_person).collect();
        let args: Vec<Option<&str>> = kept.iter().map(|kept| kept.args).collect();
        let links: Vec<Option<i32>> = kept.iter().map(|kept| kept.link).collect();
        let retry_of: Vec<Option<i64>> = kept.iter().map(|kept| kept.retry_of).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 18] = [
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
            (&passes, Type::INT4_ARRAY),
            (&once, Type::BOOL_ARRAY),
            (&pass, Type::INT8),
            (&until, Type::INT8),
            (&from, Type::INT8),
            (&links, Type::INT4_ARRAY),
            (&retry_of, Type::INT8_ARRAY),
        ];
        client.query_typed(&statements.claim(), &parameters).await
    }

    async fn give_back(
        &self,
        client: &Client,
        number: i64,
        statements: &Statements,
    ) -> Result<Vec<Row>, Error> {
        if self.claims.is_empty() {
            return Ok(Vec::new());
        }
        let (instants, entries, passes) = columns(self.claims.keys());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&number, Type::INT8),
            (&instants, Type::INT8_ARRAY),
            (&entries, Type::TEXT_ARRAY),
            (&passes, Type::INT4_ARRAY),
        ];
        client.query_typed(&format!("{}{GIVE_BACK}", statements.lease()), &parameters).await
    }
}

/// Microseconds from the scheduled instant of a claim to another.
fn after(claim: &Claim, at: Timestamp) -> i64 {
    at.as_microsecond() - claim.key.scheduled_at().as_microsecond()
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

/// Keys as the arrays that a statement takes.
pub(super) fn columns<'k>(keys: impl Iterator<Item = &'k Key>) -> (Vec<i64>, Vec<&'k str>, Vec<i32>) {
    // There are never as many passes.
    let pass = |key: &Key| i32::try_from(key.pass()).unwrap_or(i32::MAX);
    keys.map(|key| (key.scheduled_at().as_microsecond(), key.entry().as_str(), pass(key))).collect()
}
