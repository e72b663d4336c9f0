//! The entries that an entry comes after, and the fate of each one's occurrence at the instant.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::super::output::local_time;
use super::fate::Fate;
use super::heading;
use crate::journal::{Location, UsualRuns};
use crate::schedule::{Entry, EntryName, Schedule};

/// The entries that an entry comes after: the next one first, the one that is due by the clock
/// last.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Upstreams(Vec<Upstream>);

/// When an entry that comes after others should be due, by their median run times.
pub(super) fn expected(
    entry: &Entry,
    schedule: &Schedule,
    journal: Option<&Location>,
    at: Timestamp,
) -> Option<Timestamp> {
    let names: Vec<EntryName> = schedule.upstream(entry).map(|entry| entry.name.clone()).collect();
    let usual = UsualRuns::of(journal.filter(|_| !names.is_empty())?, &names).ok()?;
    at.checked_add(usual.together(&names)?).ok()
}

/// One of them. Its keys are an interface.
#[derive(Serialize)]
struct Upstream {
    entry: String,
    /// The end that makes the next entry due: `success`, `failure` or `end`.
    on: &'static str,
    fate: Fate,
}

impl Upstreams {
    pub(super) fn of(
        entry: &Entry,
        schedule: &Schedule,
        journal: Option<&Location>,
        at: Timestamp,
    ) -> Upstreams {
        let followers = std::iter::once(entry).chain(schedule.upstream(entry).map(|entry| &**entry));
        let links = followers.zip(schedule.upstream(entry)).map(|(follower, upstream)| Upstream {
            entry: upstream.name.to_string(),
            on: follower.after.as_ref().map_or("", |after| after.on.as_str()),
            fate: journal.map_or(Fate::NotAsked, |journal| Fate::of(journal, upstream, at)),
        });
        Upstreams(links.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `expected`: when the entry should be due.
    pub(super) fn print(
        &self,
        entry: &Entry,
        expected: Option<Timestamp>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        heading("Comes after", out)?;
        let mut follower = entry.name.to_string();
        for Upstream { entry, on, fate } in &self.0 {
            let end = match *on {
                "success" => "ends with success",
                "failure" => "ends without success",
                _ => "has ended",
            };
            writeln!(out, "  {follower} is due when {entry} {end}{}", fate.in_brief())?;
            follower.clone_from(entry);
        }
        let Some(expected) = expected else { return Ok(()) };
        let local = local_time(&entry.timezone, expected);
        writeln!(out, "  about {local}, {expected:.0}, by the median run times")
    }
}
