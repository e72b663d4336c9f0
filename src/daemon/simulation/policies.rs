//! Holds each event and each request of a run against the entries' policies and against people's
//! requests.
//!
//! - `overlap: allow` neither holds nor skips an occurrence, also while another one is in doubt.
//! - What is less than five seconds late is on time: nothing is missed as `down` before.
//! - With `catch_up: none`, an occurrence whose turn comes five seconds late or later is not sent.
//!   Excepted is what was tried before, what its own policies held or looked at its stack for, and
//!   what may have waited for the answer to another request of its account.
//! - A question that is asked again after its answer was lost runs its entry once.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::scenario::{Act, Scenario};
use crate::journal::memory::Memory;
use crate::journal::{Key, Origin};
use crate::log::Event;
use crate::occurrence::Reason;
use crate::schedule::{CatchUp, Entry, EntryName, Overlap, StackState};

/// An occurrence that is less late than this is on time, under every policy.
const WAITED: SignedDuration = SignedDuration::from_secs(5);

#[derive(Default)]
pub(super) struct PolicyOracle {
    /// Occurrences that are known to have been tried, or to be held by their own policies.
    go_on: BTreeSet<Key>,
    /// The instants under which people have asked for runs. Each question has one of its own,
    /// under which it is asked again as well.
    questions: BTreeSet<Timestamp>,
}

impl PolicyOracle {
    /// A person asks for a run under this instant.
    pub(super) fn asks(&mut self, at: Timestamp) {
        self.questions.insert(at);
    }

    /// An operator reads the log.
    pub(super) fn told(&mut self, event: &Event, scenario: &Scenario) -> Result<(), String> {
        match event {
            Event::OccurrenceWaiting(e) => {
                if e.reason == Reason::Overlap {
                    allows_overlap(scenario, &e.entry, "held")?;
                }
                if e.reason != Reason::Quota {
                    self.go_on.insert(Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number()));
                }
            }
            Event::OccurrenceRetrying(e) => {
                self.go_on.insert(Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number()));
            }
            Event::OccurrenceInDoubt(e) => {
                self.go_on.insert(Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number()));
            }
            Event::OccurrenceSkipped(e) if e.reason == Reason::Overlap => {
                allows_overlap(scenario, &e.entry, "skipped")?;
            }
            Event::OccurrenceMissed(e)
                if e.reason == Reason::Down && i128::from(e.lateness_ms) < WAITED.as_millis() =>
            {
                return Err(format!(
                    "{} of {} is missed as down, {} ms late",
                    e.entry, e.scheduled_at, e.lateness_ms
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// An occurrence is sent that was decided on at `decided`, by the clock of its daemon.
    pub(super) fn sends(&self, scenario: &Scenario, key: &Key, decided: Timestamp) -> Result<(), String> {
        if scenario.acts.iter().any(|(.., act)| matches!(act, Act::SetClock(_))) || self.go_on.contains(key) {
            return Ok(());
        }
        let versions: Vec<&Entry> = versions(scenario, key.entry()).collect();
        let gives_up = |entry: &&Entry| {
            entry.catch_up == CatchUp::None
                && entry.overlap != Overlap::Queue
                && entry.stack_state == StackState::Ignore
                && entry.after.is_none()
                && entry.retry.is_none()
        };
        let latest = versions.iter().map(|entry| entry.delay()).max();
        let (Some(latest), true) = (latest, versions.iter().all(gives_up)) else { return Ok(()) };
        let late = decided.duration_since(key.scheduled_at() + latest);
        match late >= WAITED {
            true => Err(format!("{key} is sent {late:#} late, and its entry catches up with nothing")),
            false => Ok(()),
        }
    }

    /// Returns an occurrence that a person asked for once and that ran twice.
    pub(super) fn runs_again(&self, committed: &Memory) -> Option<Key> {
        let is_answer = |key: &Key| self.questions.contains(&key.scheduled_at());
        let mut of_people = committed.rows().filter(|(_, row)| matches!(row.origin, Origin::Person { .. }));
        of_people.find(|(key, _)| !self.questions.is_empty() && !is_answer(key)).map(|(key, _)| key.clone())
    }
}

fn versions<'s>(scenario: &'s Scenario, name: &'s EntryName) -> impl Iterator<Item = &'s Entry> {
    scenario.versions_of(name).into_iter().flatten()
}

/// Fails for an entry whose overlaps are allowed by every version of the file.
fn allows_overlap(scenario: &Scenario, name: &EntryName, what: &str) -> Result<(), String> {
    match versions(scenario, name).all(|entry| entry.overlap == Overlap::Allow) {
        true => Err(format!("an occurrence of {name} is {what} for an overlap, which its entry allows")),
        false => Ok(()),
    }
}
