//! The journal's rows: how claims, transitions, quotas and pauses are written and read again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::super::directory::Lock;
use super::super::link::Link;
use super::super::progress::{Progress, Step};
use super::super::store::{Store, Write, Written};
use super::super::{
    Claim, Claimed, ClockOf, Cursor, Definition, DefinitionChanges, Handover, JournalError, Key,
    KnownActions, Origin, Pause, Recovered, Refused, Repeat, Repetition, Resent, ResentWatch, State,
    Successor, Transition, Unnamed,
};
use super::columns::{
    account_name, action_id, entry_name, instant, named, offset, paused_entry, required, required_offset,
    state, unreadable,
};
use crate::cloud66::ActionId;
use crate::quota;
use crate::schedule::{AccountName, EntryName, JobUid, Schedule, StackUid};

/// The actions of a stack, and the settled occurrences that are `started` or `unknown` and have
/// none.
const ACTIONS: &str = "
    SELECT action, NULL, NULL, NULL, NULL, job FROM open JOIN target ON target.id = target
    WHERE scheduled_at >= ?1 AND action IS NOT NULL AND stack = ?2
    UNION ALL
    SELECT action, NULL, NULL, NULL, NULL, job FROM open JOIN target ON target.id = target
    WHERE scheduled_at < ?1 AND action IN (SELECT value FROM json_each(?3)) AND stack = ?2
    UNION ALL
    SELECT action, NULL, NULL, NULL, NULL, job
    FROM json_each(?3) CROSS JOIN settled INDEXED BY settled_action ON action = value JOIN target ON target.id = target
    WHERE action IS NOT NULL AND scheduled_at < ?1 AND stack = ?2
    UNION ALL
    SELECT action, scheduled_at, name, coalesce(sent, due), pass, job
    FROM settled JOIN target ON target.id = target JOIN entry ON entry.id = entry
    WHERE scheduled_at >= ?1 AND (action IS NOT NULL OR state IN (3, 9)) AND stack = ?2
    UNION ALL
    SELECT surplus, NULL, NULL, NULL, NULL, NULL FROM resent
    WHERE surplus IS NOT NULL AND stack = ?2";

/// The paused entries, sorted, as [`paused_entry`] reads them.
pub(super) const PAUSED: &str = "SELECT entry, terms FROM paused ORDER BY 1";

/// After this many pages the write-ahead log is written into the database file: 4 MiB, as SQLite
/// would by itself.
const AHEAD: i64 = 1000;

/// A file that is open for writing.
pub(super) struct SqliteRows {
    db: Connection,
    path: PathBuf,
    lock: Lock,
    cache: RowCache,
}

/// The rows in the file, as far as this process needs them in memory.
#[derive(Default)]
struct RowCache {
    /// The row's number of each name that this process has looked up.
    entries: HashMap<EntryName, i64>,
    targets: HashMap<(AccountName, StackUid, JobUid), i64>,
    /// The schedule that the file has as in force. `None`: this process has not written it.
    in_force: Option<Arc<Schedule>>,
}

/// A transaction. The file keeps none of its writes unless the transaction is committed.
pub(super) struct RowsWriting<'a> {
    db: Transaction<'a>,
    cache: &'a mut RowCache,
}

impl SqliteRows {
    pub(super) fn new(db: Connection, path: PathBuf, lock: Lock) -> SqliteRows {
        db.set_prepared_statement_cache_capacity(32);
        SqliteRows { db, path, lock, cache: RowCache::default() }
    }

    /// Performs writes in one transaction. They are on disk when it returns, or none of them is in
    /// the file.
    fn transact<T>(
        &mut self,
        writes: impl FnOnce(&mut RowsWriting<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let cache = &mut self.cache;
        let result = self.db.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|db| {
            let mut writing = RowsWriting { db, cache };
            let written = writes(&mut writing)?;
            writing.db.commit()?;
            Ok(written)
        });
        result.map_err(|error| {
            // Some of these rows may have gone with the transaction.
            self.cache = RowCache::default();
            JournalError::sqlite(&self.path, &error)
        })
    }

    /// Returns the number of pages in the write-ahead log that are not in the database file yet.
    fn pages_ahead(&self) -> rusqlite::Result<i64> {
        self.db.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            Ok(row.get::<_, i64>(1)?.saturating_sub(row.get::<_, i64>(2)?))
        })
    }

    /// Copies pages from the write-ahead log into the database file, except those whose old version
    /// somebody reads.
    fn checkpoint(&self) -> rusqlite::Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Returns the state that a former daemon left, and forgets its orderly stop, which says
    /// nothing about this daemon's sends.
    pub(super) fn recover(&mut self) -> Result<Recovered, JournalError> {
        self.transact(|writing| {
            let db = &writing.db;
            let from = "SELECT cursor, stopped_at, pass, pass_from, pass_until, older_until FROM journal";
            let (cursor, stopped_at, repeat, older_until) = db.query_row(from, [], |row| {
                let pass: Option<u32> = row.get(2)?;
                let span = instant(row, 3)?.zip(instant(row, 4)?);
                let repeat = pass.zip(span).map(|(pass, (from, until))| Repeat { pass, from, until });
                Ok((instant(row, 0)?, instant(row, 1)?, repeat, instant(row, 5)?))
            })?;
            let mut recovered = Recovered {
                cursor,
                repeat,
                stopped_at,
                sent_up_to: None,
                forgotten_until: None,
                older_until,
                open: Vec::new(),
                following: Vec::new(),
                paused: column(db, PAUSED, paused_entry)?,
                quotas: column(db, "SELECT account, saved FROM quota ORDER BY 1", |row| {
                    let saved: String = row.get(1)?;
                    // Another version wrote the quota in another form. The answers then tell the
                    // quota anew.
                    Ok(serde_json::from_str(&saved).ok().zip(Some(account_name(row, 0)?)))
                })?
                .into_iter()
                .flatten()
                .map(|(saved, account)| (account, saved))
                .collect(),
                resent: column(db, RESENT, resent_row)?
                    .into_iter()
                    .filter(|row| row.watch.is_some())
                    .collect(),
                clock: ClockOf::ThisMachine,
            };
            for (claim, standing) in column(db, OPEN, open_row)? {
                recovered
                    .add(claim, standing)
                    .map_err(|error| unreadable(3, Type::Integer, error.to_string()))?;
            }
            db.execute("UPDATE journal SET stopped_at = NULL", [])?;
            Ok(recovered)
        })
    }
}

impl Store for SqliteRows {
    /// A full disk may have room once the write-ahead log is copied into the database file.
    fn write(&mut self, writes: &[Write<'_>]) -> Result<Vec<Written>, JournalError> {
        self.lock.check()?;
        let all = |writing: &mut RowsWriting<'_>| writes.iter().map(|write| writing.perform(write)).collect();
        match self.transact(all) {
            Err(JournalError::Full(_)) if self.checkpoint().is_ok() => self.transact(all),
            result => result,
        }
    }

    fn actions(
        &mut self,
        stack: &StackUid,
        since: Timestamp,
        listed: &[ActionId],
    ) -> Result<KnownActions, JournalError> {
        // Numbers always have a form in JSON. SQLite's are signed.
        let listed: Vec<i64> = listed.iter().map(|id| id.cast_signed()).collect();
        let listed = serde_json::to_string(&listed).unwrap_or_default();
        let read = || {
            let mut statement = self.db.prepare_cached(ACTIONS)?;
            let mut rows = statement.query(params![since.as_microsecond(), stack.as_str(), listed])?;
            let mut known = KnownActions::default();
            while let Some(row) = rows.next()? {
                match action_id(row, 0)? {
                    Some(action) => {
                        known.actions.push(action);
                        if let Some(job) =
                            row.get::<_, Option<String>>(5)?.and_then(|job| JobUid::new(&job).ok())
                        {
                            known.jobs.insert(action, job);
                        }
                    }
                    None => {
                        let scheduled_at = required(row, 1)?;
                        let key = Key::new(entry_name(row, 2)?, scheduled_at).in_pass(row.get(4)?);
                        let sent_at = required_offset(row, scheduled_at, 3)?;
                        known.unnamed.push(Unnamed { key, sent_at });
                    }
                }
            }
            Ok(known)
        };
        read().map_err(|error| JournalError::sqlite(&self.path, &error))
    }

    fn prune(&mut self, before: Timestamp, rows: u32) -> Result<u64, JournalError> {
        self.lock.check()?;
        let sqlite = |error| JournalError::sqlite(&self.path, &error);
        // Pruning does not wait for the disk: rows that come back after a power failure are pruned
        // again.
        self.db.pragma_update(None, "synchronous", "normal").map_err(sqlite)?;
        let pruned = self
            .db
            .prepare_cached(
                "DELETE FROM settled WHERE (scheduled_at, entry, pass) IN
                 (SELECT scheduled_at, entry, pass FROM settled WHERE scheduled_at < ?1 ORDER BY 1, 2, 3 LIMIT ?2)",
            )
            .and_then(|mut statement| statement.execute(params![before.as_microsecond(), rows]))
            .and_then(|pruned| {
                self.db.execute(
                    "UPDATE journal SET pruned_until = max(coalesce(pruned_until, ?1), ?1)",
                    [before.as_microsecond()],
                )?;
                self.db.execute("DELETE FROM in_force WHERE until <= ?1", [before.as_microsecond()])?;
                let sql = "DELETE FROM resent WHERE scheduled_at < ?1";
                self.db.prepare_cached(sql)?.execute([before.as_microsecond()])?;
                Ok(pruned)
            });
        self.db.pragma_update(None, "synchronous", "full").map_err(sqlite)?;
        Ok(pruned.map_err(sqlite)? as u64)
    }

    /// Copies the write-ahead log into the database file when the log is long. A failure costs
    /// space only, and the next call tries again.
    fn tidy(&mut self) {
        if self.pages_ahead().is_ok_and(|pages| pages >= AHEAD) {
            let _ = self.checkpoint();
        }
    }

    fn idles_for(&self) -> Option<Duration> {
        None
    }

    fn keep_alive(&mut self) {}
}

const OPEN: &str = "
    SELECT scheduled_at, name, due, state, attempts, sent, action, reason, account, stack, job, deadline, by_person, args, pass,
        link, retry_of
    FROM open JOIN entry ON entry.id = entry JOIN target ON target.id = target
    ORDER BY scheduled_at, entry, pass";

/// Reads the occurrences that were sent again and whose surplus action is still looked for.
const RESENT: &str = "
    SELECT scheduled_at, name, pass, stack, surplus, watch FROM resent JOIN entry ON entry.id = entry
    WHERE watch IS NOT NULL ORDER BY 1, entry, 3";

fn resent_row(row: &Row<'_>) -> rusqlite::Result<Resent> {
    let watch: Option<String> = row.get(5)?;
    Ok(Resent {
        key: Key::new(entry_name(row, 1)?, required(row, 0)?).in_pass(row.get(2)?),
        stack: named(row, 3, StackUid::new)?,
        surplus: action_id(row, 4)?,
        watch: watch.as_deref().and_then(ResentWatch::of_saved),
    })
}

fn open_row(row: &Row<'_>) -> rusqlite::Result<(Claim, Progress)> {
    let scheduled_at = required(row, 0)?;
    let standing = Progress {
        state: state(row, 3)?,
        attempts: row.get(4)?,
        sent_at: offset(row, scheduled_at, 5)?,
        action: action_id(row, 6)?,
        followed: state(row, 3)? == State::Started,
        finished_at: None,
        success: None,
        reason: row.get(7)?,
    };
    let claim = Claim {
        key: Key::new(entry_name(row, 1)?, scheduled_at).in_pass(row.get(14)?),
        account: account_name(row, 8)?,
        stack: named(row, 9, StackUid::new)?,
        job: named(row, 10, JobUid::new)?,
        due_at: required_offset(row, scheduled_at, 2)?,
        deadline: required_offset(row, scheduled_at, 11)?,
        origin: Origin::of_columns(row.get(12)?, row.get(13)?, row.get(15)?, row.get(16)?, scheduled_at),
        repetition: Repetition::default(),
    };
    Ok((claim, standing))
}

impl RowsWriting<'_> {
    fn perform(&mut self, write: &Write<'_>) -> rusqlite::Result<Written> {
        match *write {
            Write::Steps(steps) => {
                let refused = steps.iter().filter_map(|(key, mv)| self.step(key, mv).transpose());
                return refused.collect::<Result<_, _>>().map(Written::Steps);
            }
            Write::Claim(cursor, claims) => return self.claim(cursor, claims).map(Written::Claimed),
            Write::Quota(account, saved) => self.save_quota(account, saved)?,
            Write::End(handover) => return self.end(handover).map(Written::Steps),
            Write::Amend(claim) => self.amend(claim)?,
            Write::InForce(since, schedule) => self.in_force(since, schedule)?,
            Write::Resent(resent) => self.resent(resent)?,
            Write::Pause(entry, pause) => self.pause(entry, pause)?,
            Write::Resume(entry) => self.resume(entry)?,
            Write::Stopped(at) => self.stopped(at)?,
        }
        Ok(Written::Done)
    }

    /// Claims the occurrences that have no row yet, and moves the cursor on.
    fn claim(&mut self, cursor: Option<Cursor>, claims: &[Claim]) -> rusqlite::Result<Claimed> {
        let claimed = self.claim_all(claims)?;
        let Some(cursor) = cursor else { return Ok(claimed) };
        let at = cursor.at.as_microsecond();
        if let Some(until) = cursor.older_until {
            let sql = "UPDATE journal SET older_until = max(coalesce(older_until, ?1), ?1)";
            self.db.prepare_cached(sql)?.execute([until.as_microsecond()])?;
        }
        match cursor.repeat {
            None => self
                .db
                .prepare_cached("UPDATE journal SET cursor = max(coalesce(cursor, ?1), ?1)")?
                .execute([at])?,
            Some(Repeat { pass, from, until }) => self
                .db
                .prepare_cached("UPDATE journal SET cursor = ?1, pass = ?2, pass_from = ?3, pass_until = ?4")?
                .execute(params![at, pass, from.as_microsecond(), until.as_microsecond()])?,
        };
        Ok(claimed)
    }

    /// Ends an occurrence, and claims the occurrences of entries that run after it.
    fn end(&mut self, handover: &Handover) -> rusqlite::Result<Vec<Refused>> {
        let refused = self.step(&handover.key, &handover.end)?;
        for Successor { claim, given_up } in &handover.next {
            self.claim_all(std::slice::from_ref(claim))?;
            if let Some(end) = given_up {
                // An occurrence that was claimed before has an end of its own.
                self.step(&claim.key, end)?;
            }
        }
        Ok(refused.into_iter().collect())
    }

    /// Claims the occurrences that have no row yet. The cursor stays.
    fn claim_all(&mut self, claims: &[Claim]) -> rusqlite::Result<Claimed> {
        let mut claimed = Claimed::default();
        for claim in claims {
            let entry = self.entry(claim.key.entry())?;
            let target = self.target(claim)?;
            let scheduled_at = claim.key.scheduled_at();
            let after = |at: Timestamp| at.as_microsecond() - scheduled_at.as_microsecond();
            let Link { by_person, args, link, retry_of } = claim.origin.link(scheduled_at);
            let inserted = self
                .db
                .prepare_cached(
                    "INSERT INTO open
                     (scheduled_at, entry, target, due, deadline, by_person, args, state, attempts, pass, link, retry_of)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?11, ?12
                     WHERE NOT EXISTS (SELECT 1 FROM settled WHERE scheduled_at = ?1 AND entry = ?2
                         AND (pass = ?9 OR ?10 AND state NOT IN (6, 7, 8)))
                     AND NOT EXISTS (SELECT 1 FROM open WHERE scheduled_at = ?1 AND entry = ?2
                         AND (pass <> ?9 AND ?10 OR pass < ?9 AND state IN (0, 1)))
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    scheduled_at.as_microsecond(),
                    entry,
                    target,
                    after(claim.due_at),
                    after(claim.deadline),
                    by_person,
                    args,
                    State::Due.code(),
                    claim.key.pass(),
                    claim.repetition == Repetition::Once,
                    link,
                    retry_of,
                ])?;
            if inserted == 0 {
                claimed.known.push(claim.key.clone());
            }
        }
        Ok(claimed)
    }

    /// Ends the definitions that the schedule has no more from an instant on, and begins its new
    /// ones.
    fn in_force(&mut self, since: Timestamp, schedule: &Arc<Schedule>) -> rusqlite::Result<()> {
        let at = since.as_microsecond();
        let changes = match &self.cache.in_force {
            Some(before) => DefinitionChanges::between(before, schedule),
            None => self.changes_to(schedule)?,
        };
        for entry in changes.over {
            self.db
                .prepare_cached("UPDATE in_force SET until = ?2 WHERE entry = ?1 AND until IS NULL")?
                .execute(params![entry.as_str(), at])?;
            self.db
                .prepare_cached("DELETE FROM in_force WHERE entry = ?1 AND until <= since")?
                .execute([entry.as_str()])?;
        }
        for (entry, definition) in changes.begun {
            self.db
                .prepare_cached(
                    "INSERT OR REPLACE INTO in_force (entry, since, definition) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![entry.as_str(), at, definition.as_str()])?;
        }
        self.cache.in_force = Some(Arc::clone(schedule));
        Ok(())
    }

    /// Returns the definitions by which a schedule differs from the one in the file.
    fn changes_to(&self, schedule: &Schedule) -> rusqlite::Result<DefinitionChanges> {
        let mut known: HashMap<String, String> = self
            .db
            .prepare_cached("SELECT entry, definition FROM in_force WHERE until IS NULL")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut changes = DefinitionChanges::default();
        for (entry, definition) in Definition::of_all(&schedule.entries) {
            match known.remove(entry.as_str()) {
                Some(text) if text == definition.as_str() => continue,
                Some(_) => changes.over.push(entry.clone()),
                None => {}
            }
            changes.begun.push((entry, definition));
        }
        // Every name in the file is that of an entry: a daemon has written it.
        changes.over.extend(known.into_keys().filter_map(|name| EntryName::new(&name).ok()));
        Ok(changes)
    }

    /// Changes a claim whose occurrence has not ended.
    fn amend(&mut self, claim: &Claim) -> rusqlite::Result<()> {
        let entry = self.entry(claim.key.entry())?;
        let target = self.target(claim)?;
        let scheduled_at = claim.key.scheduled_at();
        self.db
            .prepare_cached(
                "UPDATE open SET target = ?3, due = ?4, deadline = ?5
                 WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?6",
            )?
            .execute(params![
                scheduled_at.as_microsecond(),
                entry,
                target,
                after(&claim.key, Some(claim.due_at)),
                after(&claim.key, Some(claim.deadline)),
                claim.key.pass(),
            ])?;
        Ok(())
    }

    /// Applies a transition to an occurrence, if it leads further.
    fn step(&mut self, key: &Key, mv: &Transition) -> rusqlite::Result<Option<Refused>> {
        let refused = |from| Some(Refused::Backwards { key: key.clone(), from, to: mv.state() });
        let Some(entry) = self.known_entry(key.entry())? else {
            return Ok(refused(None));
        };
        let Some(standing) = self.standing(key, entry)? else {
            return Ok(refused(None));
        };
        match standing.step(mv) {
            Step::Further(further) if further.is_settled() => self.settle(key, entry, &further)?,
            Step::Further(further) => self.keep(key, entry, &further)?,
            Step::Stays => {}
            Step::Refused => return Ok(refused(Some(standing.state))),
        }
        Ok(None)
    }

    /// A row that neither is read on nor names an action is of no use.
    fn resent(&mut self, resent: &Resent) -> rusqlite::Result<()> {
        let entry = self.entry(resent.key.entry())?;
        let (at, pass) = (resent.key.scheduled_at().as_microsecond(), resent.key.pass());
        if resent.watch.is_none() && resent.surplus.is_none() {
            let sql = "DELETE FROM resent WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?3";
            self.db.prepare_cached(sql)?.execute(params![at, entry, pass])?;
            return Ok(());
        }
        self.db
            .prepare_cached(
                "INSERT INTO resent (scheduled_at, entry, pass, stack, surplus, watch) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET surplus = excluded.surplus, watch = excluded.watch",
            )?
            .execute(params![
                at,
                entry,
                pass,
                resent.stack.as_str(),
                resent.surplus.map(u64::cast_signed),
                resent.watch.as_ref().map(ResentWatch::saved),
            ])?;
        Ok(())
    }

    fn pause(&mut self, entry: &EntryName, pause: &Pause) -> rusqlite::Result<()> {
        let sql =
            "INSERT INTO paused VALUES (?1, ?2) ON CONFLICT (entry) DO UPDATE SET terms = excluded.terms";
        self.db.execute(sql, [entry.as_str(), &pause.stored()])?;
        Ok(())
    }

    fn resume(&mut self, entry: &EntryName) -> rusqlite::Result<()> {
        self.db.execute("DELETE FROM paused WHERE entry = ?1", [entry.as_str()])?;
        Ok(())
    }

    fn save_quota(&mut self, account: &AccountName, saved: &quota::SavedQuota) -> rusqlite::Result<()> {
        let saved = serde_json::to_string(saved)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.db
            .prepare_cached(
                "INSERT INTO quota VALUES (?1, ?2) ON CONFLICT DO UPDATE SET saved = excluded.saved",
            )?
            .execute([account.as_str(), &saved])?;
        Ok(())
    }

    fn stopped(&mut self, at: Timestamp) -> rusqlite::Result<()> {
        self.db.execute("UPDATE journal SET stopped_at = ?1", [at.as_microsecond()])?;
        Ok(())
    }

    fn standing(&self, key: &Key, entry: i64) -> rusqlite::Result<Option<Progress>> {
        let scheduled_at = key.scheduled_at();
        let place = params![scheduled_at.as_microsecond(), entry, key.pass()];
        let open = self
            .db
            .prepare_cached(
                "SELECT state, attempts, sent, action, reason FROM open
                 WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?3",
            )?
            .query_row(place, |row| {
                Ok(Progress {
                    attempts: row.get(1)?,
                    sent_at: offset(row, scheduled_at, 2)?,
                    action: action_id(row, 3)?,
                    followed: state(row, 0)? == State::Started,
                    reason: row.get(4)?,
                    state: state(row, 0)?,
                    ..Progress::due()
                })
            })
            .optional()?;
        if open.is_some() {
            return Ok(open);
        }
        self.db
            .prepare_cached(
                "SELECT state, action FROM settled WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?3",
            )?
            .query_row(place, |row| {
                Ok(Progress { state: state(row, 0)?, action: action_id(row, 1)?, ..Progress::due() })
            })
            .optional()
    }

    fn keep(&mut self, key: &Key, entry: i64, standing: &Progress) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "UPDATE open SET state = ?3, attempts = ?4, sent = ?5, action = ?6, reason = ?7
                 WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?8",
            )?
            .execute(params![
                key.scheduled_at().as_microsecond(),
                entry,
                standing.state.code(),
                standing.attempts,
                after(key, standing.sent_at),
                standing.action.map(u64::cast_signed),
                standing.reason,
                key.pass(),
            ])?;
        Ok(())
    }

    fn settle(&mut self, key: &Key, entry: i64, standing: &Progress) -> rusqlite::Result<()> {
        let scheduled_at = key.scheduled_at().as_microsecond();
        self.db
            .prepare_cached(
                "INSERT INTO settled
                 (scheduled_at, entry, pass, target, due, state, attempts, sent, action, finished, success, reason,
                  link, retry_of)
                 SELECT scheduled_at, entry, pass, target, due, ?3, ?4, ?5, ?6, ?7, ?8, ?9, link, retry_of
                 FROM open WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?10",
            )?
            .execute(params![
                scheduled_at,
                entry,
                standing.state.code(),
                standing.attempts,
                after(key, standing.sent_at),
                standing.action.map(u64::cast_signed),
                after(key, standing.finished_at),
                standing.success,
                standing.reason,
                key.pass(),
            ])?;
        self.db
            .prepare_cached("DELETE FROM open WHERE scheduled_at = ?1 AND entry = ?2 AND pass = ?3")?
            .execute(params![scheduled_at, entry, key.pass()])?;
        Ok(())
    }

    fn known_entry(&mut self, name: &EntryName) -> rusqlite::Result<Option<i64>> {
        if let Some(&id) = self.cache.entries.get(name) {
            return Ok(Some(id));
        }
        let id: Option<i64> = self
            .db
            .prepare_cached("SELECT id FROM entry WHERE name = ?1")?
            .query_row([name.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.cache.entries.insert(name.clone(), id);
        }
        Ok(id)
    }

    fn entry(&mut self, name: &EntryName) -> rusqlite::Result<i64> {
        if let Some(id) = self.known_entry(name)? {
            return Ok(id);
        }
        self.db.prepare_cached("INSERT INTO entry (name) VALUES (?1)")?.execute([name.as_str()])?;
        let id = self.db.last_insert_rowid();
        self.cache.entries.insert(name.clone(), id);
        Ok(id)
    }

    fn target(&mut self, claim: &Claim) -> rusqlite::Result<i64> {
        let target = (claim.account.clone(), claim.stack.clone(), claim.job.clone());
        if let Some(&id) = self.cache.targets.get(&target) {
            return Ok(id);
        }
        let texts = [target.0.as_str(), target.1.as_str(), target.2.as_str()];
        self.db
            .prepare_cached(
                "INSERT INTO target (account, stack, job) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute(texts)?;
        let id = self
            .db
            .prepare_cached("SELECT id FROM target WHERE account = ?1 AND stack = ?2 AND job = ?3")?
            .query_row(texts, |row| row.get(0))?;
        self.cache.targets.insert(target, id);
        Ok(id)
    }
}

fn after(key: &Key, at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.as_microsecond() - key.scheduled_at().as_microsecond())
}

fn column<T>(
    db: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(sql)?.query_map([], read)?.collect()
}
