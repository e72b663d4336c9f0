//! Judges repetitions and chains: none is lost, none starts twice, none starts before what it
//! follows has ended.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::scenario::Scenario;
use crate::journal::memory::{Memory, MemoryRow};
use crate::journal::{Key, Origin, State};
use crate::occurrence::Reason;
use crate::sandbox;
use crate::schedule::Entry;

/// Returns every fault in the repetitions and chains of a run. `excused` are instants at which the
/// clock, a crash or another file leaves open what had to be.
pub(super) fn judge(
    scenario: &Scenario,
    committed: &Memory,
    api: &sandbox::SandboxState,
    started: &BTreeMap<&Key, Vec<u64>>,
    excused: impl Fn(Timestamp) -> bool,
) -> Vec<String> {
    let rows: BTreeMap<&Key, MemoryRow> = committed.rows().collect();
    let actions: BTreeMap<u64, sandbox::ActionRecord> =
        api.actions().map(|action| (action.id, action)).collect();
    let action_of = |key: &Key| {
        let [action] = started.get(key).map(Vec::as_slice)? else { return None };
        actions.get(action)
    };
    let mut wrong = Vec::new();
    for (key, row) in &rows {
        let first = row.first(key);
        // These runs have to have ended before this one starts.
        let before: Vec<&Key> = match &row.origin {
            Origin::Retry(retry) => rows
                .iter()
                .filter(|(other, run)| {
                    other.entry() == key.entry()
                        && other.pass() == key.pass()
                        && run.first(other) == first
                        && number(&run.origin) < retry.number
                })
                .map(|(other, _)| *other)
                .collect(),
            Origin::Upstream => {
                let upstream = scenario.upstream_of(key.entry());
                rows.keys()
                    .copied()
                    .filter(|other| {
                        Some(other.entry()) == upstream
                            && other.pass() == key.pass()
                            && rows[other].first(other) == first
                    })
                    .collect()
            }
            _ => Vec::new(),
        };
        if matches!(row.origin, Origin::Retry(_) | Origin::Upstream) && before.is_empty() {
            wrong.push(format!("{key} is linked to nothing: {row:?}"));
        }
        for earlier in before {
            if let (Some(this), Some(earlier_action)) = (action_of(key), action_of(earlier))
                && earlier_action.finishes_at.is_none_or(|end| this.started_at < end)
            {
                wrong.push(format!("{key} started before the action of {earlier} had ended"));
            }
        }
        if row.is_settled && !excused(first) {
            wrong.extend(lost(scenario, key, row, &rows));
        }
    }
    wrong
}

fn number(origin: &Origin) -> u32 {
    match origin {
        Origin::Retry(retry) => retry.number,
        _ => 0,
    }
}

/// Names an occurrence that has to follow a settled one and is not there.
fn lost(scenario: &Scenario, key: &Key, row: &MemoryRow, rows: &BTreeMap<&Key, MemoryRow>) -> Vec<String> {
    let versions = scenario.versions_of(key.entry());
    // Only what holds in every version of the file is owed.
    let Some(entry) = versions.first().filter(|_| versions.iter().all(Option::is_some)).cloned().flatten()
    else {
        return Vec::new();
    };
    let first = row.first(key);
    let runs = || rows.iter().filter(|(other, _)| other.entry() == key.entry());
    let newer = || runs().any(|(other, run)| run.first(other) > first);
    let repeated = runs().any(|(other, run)| {
        other.pass() == key.pass()
            && run.first(other) == first
            && number(&run.origin) == number(&row.origin) + 1
    });
    let times = entry.retry.as_ref().map_or(0, |retry| retry.times);
    if row.state == State::Failed && number(&row.origin) < times {
        return match repeated || newer() {
            true => Vec::new(),
            false => vec![format!("{key} failed, and is not repeated")],
        };
    }
    if repeated || row.reason.as_deref() == Some(Reason::Removed.as_str()) {
        return Vec::new();
    }
    let followers = scenario.followers_of(key.entry());
    let missing = followers.into_iter().filter_map(|follower: &Entry| {
        let next = Key::new(follower.name.clone(), first).in_pass(key.pass());
        (!rows.contains_key(&next)).then(|| format!("{key} is {}, and {next} is lost", row.state))
    });
    missing.collect()
}
