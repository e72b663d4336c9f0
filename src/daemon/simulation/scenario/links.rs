//! Repetitions and chains: the same in every version of the file, as far as it has the entries.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{Due, File, SimulatedEntry};
use crate::schedule::{After, Backoff, End, Entry, EntryName, RetryPolicy, Schedule};

/// Draws from numbers of its own, so that the rest of a run is as it would be without.
pub(super) fn draw(seed: u64, files: &mut [File], lines: &mut Vec<SimulatedEntry>) {
    let mut rng = Rng::with_seed(seed ^ 0x11_4b5);
    if rng.bool() {
        return;
    }
    let retry = rng.bool().then(|| (format!("e{}", rng.u32(..3)), policy(&mut rng)));
    let mut chain: Vec<(String, String, End)> = Vec::new();
    for number in 0..rng.u32(..3) {
        let of = match chain.last() {
            Some((before, ..)) if rng.bool() => before.clone(),
            _ => format!("e{}", rng.u32(..3)),
        };
        let on = rng.choice([End::Success, End::Success, End::Failure, End::End]).unwrap_or_default();
        chain.push((format!("c{number}"), of, on));
    }
    let fails = rng.u32(..3) == 0;
    let retried_too = rng.bool().then(|| policy(&mut rng));
    let link = |lines: &mut Vec<SimulatedEntry>| {
        if let Some((name, retry)) = &retry {
            change(lines, name, |entry| (entry.retry, entry.follow) = (Some(Arc::new(*retry)), true));
        }
        for (name, of, on) in &chain {
            let Some(upstream) = lines.iter().find(|line| line.entry.name.as_str() == of) else { continue };
            let entry = Entry {
                name: EntryName::new(name).expect("a name"),
                cron: [].into(),
                after: Some(After { entry: upstream.entry.name.clone(), on: *on }),
                job: crate::schedule::JobUid::new(if fails { "jc-fails" } else { "jc" }).expect("a uid"),
                jitter: Duration::ZERO,
                idempotent: false,
                follow: true,
                retry: retried_too.map(Arc::new),
                ..(*upstream.entry).clone()
            };
            change(lines, of, |entry| entry.follow = true);
            lines.push(SimulatedEntry { entry: Arc::new(entry), due: Due::NEVER });
        }
    };
    link(lines);
    for file in files {
        link(&mut file.lines);
        let entries = file.lines.iter().map(|line| Arc::clone(&line.entry)).collect();
        file.schedule = Schedule { accounts: file.schedule.accounts.clone(), entries };
    }
}

fn policy(rng: &mut Rng) -> RetryPolicy {
    let first = Duration::from_millis(rng.u64(100..20_000));
    let factor = if rng.bool() { 1.0 } else { 2.0 };
    RetryPolicy { times: rng.u32(1..=3), after: Backoff { first, factor, most: None } }
}

fn change(lines: &mut [SimulatedEntry], name: &str, change: impl FnOnce(&mut Entry)) {
    if let Some(line) = lines.iter_mut().find(|line| line.entry.name.as_str() == name) {
        super::amend(line, change);
    }
}
