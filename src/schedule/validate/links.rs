//! `retry` and `after`: what links occurrences, and whether the links of all entries together lead
//! somewhere.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::super::defaults::{DEFAULT_FACTOR, MOST_FACTOR, MOST_TIMES};
use super::super::diagnostic::Code;
use super::super::links::LONGEST;
use super::super::place::shown;
use super::super::report::{Problem, Reported};
use super::super::shape::{AfterKey, BackoffKey, RetryKey};
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{MappingKey, nearest};
use super::super::{After, Backoff, End, Entry, EntryName, Overlap, RetryPolicy};
use super::values::ExpectedValue;
use super::{Pair, Read, Validator};

/// Links of a chain that are printed at most.
const SHOWN_LINKS: usize = 20;

const RETRY_HELP: &str = "write it as `retry: { times: 2, after: 10m }`";

impl<'s> Validator<'s, '_> {
    /// `None` where `times` is 0, which switches off what the defaults have.
    pub(super) fn retry(&mut self, node: &TreeNode<'s>) -> Result<Option<Arc<RetryPolicy>>, Reported> {
        let fields = self.fields::<RetryKey>(node, RetryKey::OF)?;
        let times = self.value(fields.slot(RetryKey::Times), Self::times);
        let after = self.value(fields.slot(RetryKey::After), Self::backoff);
        match (times, after) {
            (Read::Good(0), Read::Absent) => Ok(None),
            (Read::Good(0), Read::Good(_)) => Ok(None),
            (Read::Good(times), Read::Good(after)) => Ok(Some(Arc::new(RetryPolicy { times, after }))),
            (Read::Reported(reported), _) | (_, Read::Reported(reported)) => Err(reported),
            (Read::Absent, _) => Err(self.lacks(node, "`retry` has no `times`")),
            (_, Read::Absent) => Err(self.lacks(node, "`retry` has no `after`")),
        }
    }

    fn lacks(&mut self, node: &TreeNode<'s>, message: &str) -> Reported {
        self.error_in(node, None, Code::MissingKey, message.into(), RETRY_HELP)
    }

    fn times(&mut self, node: &TreeNode<'s>) -> Result<u32, Reported> {
        let help = "write how often it is run again at most, such as `2`";
        if !matches!(node.kind, NodeKind::Number) {
            return Err(self.unwanted(node, ExpectedValue("a number"), help));
        }
        let digits = self.scalar(node, ExpectedValue("a number"))?;
        digits.parse().ok().filter(|times| *times <= MOST_TIMES).ok_or_else(|| {
            let message = format!("`{}` is no whole number from 0 to {MOST_TIMES}", shown(digits));
            self.error_in(node, None, Code::BadNumber, message, help)
        })
    }

    /// A duration, or one that grows.
    fn backoff(&mut self, node: &TreeNode<'s>) -> Result<Backoff, Reported> {
        if !matches!(node.kind, NodeKind::Map(_)) {
            return Ok(Backoff { first: self.wait(node)?, factor: 1.0, most: None });
        }
        let fields = self.fields::<BackoffKey>(node, BackoffKey::OF)?;
        let first = self.value(fields.slot(BackoffKey::First), Self::wait);
        let factor = self.value(fields.slot(BackoffKey::Factor), Self::factor);
        let most = self.value(fields.slot(BackoffKey::Most), Self::wait);
        let (factor, most) = match (factor, most) {
            (Read::Reported(reported), _) | (_, Read::Reported(reported)) => return Err(reported),
            (factor, Read::Good(most)) => (factor.unwrap_or(DEFAULT_FACTOR.into()), Some(most)),
            (factor, Read::Absent) => (factor.unwrap_or(DEFAULT_FACTOR.into()), None),
        };
        match first {
            Read::Good(first) => Ok(Backoff { first, factor, most }),
            Read::Reported(reported) => Err(reported),
            Read::Absent => {
                let help = "write it as `after: { first: 1m, factor: 2, most: 1h }`";
                let message = "a wait that grows begins with `first`".into();
                Err(self.error_in(node, None, Code::MissingKey, message, help))
            }
        }
    }

    fn wait(&mut self, node: &TreeNode<'s>) -> Result<std::time::Duration, Reported> {
        let wait = self.span_of_time(node)?;
        if wait > LONGEST {
            let message = "a wait of more than 30 days".into();
            return Err(self.error_in(node, None, Code::BadDuration, message, "write a shorter one"));
        }
        Ok(wait)
    }

    fn factor(&mut self, node: &TreeNode<'s>) -> Result<f64, Reported> {
        let text = self.scalar(node, ExpectedValue("a number"))?;
        let factor = text.parse().ok().filter(|factor: &f64| (1.0..=MOST_FACTOR).contains(factor));
        factor.ok_or_else(|| {
            let message = format!("`{}` is no number from 1 to {MOST_FACTOR}", shown(text));
            self.error_in(node, None, Code::BadNumber, message, "write by how much each wait is longer: `2`")
        })
    }

    /// The name of an entry, or a name and which of its ends.
    pub(super) fn after(&mut self, node: &TreeNode<'s>) -> Result<After, Reported> {
        if !matches!(node.kind, NodeKind::Map(_)) {
            return Ok(After { entry: self.upstream(node)?, on: End::default() });
        }
        let fields = self.fields::<AfterKey>(node, AfterKey::OF)?;
        let entry = self.value(fields.slot(AfterKey::Entry), Self::upstream);
        let on = self.value(fields.slot(AfterKey::On), Self::word::<End>);
        match (entry, on) {
            (Read::Reported(reported), _) | (_, Read::Reported(reported)) => Err(reported),
            (Read::Good(entry), on) => Ok(After { entry, on: on.unwrap_or(End::default()) }),
            (Read::Absent, _) => {
                let help = "write it as `after: { entry: nightly-report, on: failure }`";
                Err(self.error_in(node, None, Code::MissingKey, "`after` names no entry".into(), help))
            }
        }
    }

    fn upstream(&mut self, node: &TreeNode<'s>) -> Result<EntryName, Reported> {
        let name = self.scalar(node, ExpectedValue("the name of an entry"))?;
        EntryName::new(name).map_err(|error| {
            let help = "write the name of an entry of this file";
            self.error_in(node, None, Code::BadName, error.to_string(), help)
        })
    }

    /// Checks that each entry that comes after another one can come due. `pairs` has every name of
    /// the file, also those of entries that cannot be read.
    pub(super) fn chains(&mut self, pairs: &[Pair<'_, 's>], entries: &[Arc<Entry>], places: &[Pair<'_, 's>]) {
        // Most schedules have no entry that comes after another one, and need no index for it.
        let is_linked = entries.iter().any(|entry| entry.after.is_some());
        let (linked, named) = if is_linked { (entries, pairs) } else { Default::default() };
        let chains = Chains::of(linked);
        let names: HashSet<&str> = named.iter().map(|(key, _)| &*key.0).collect();
        let mut in_circle: HashSet<&EntryName> = HashSet::new();
        for (entry, pair) in entries.iter().zip(places) {
            if entry.retry.is_some() && !is_followed(entry) {
                let span = self.place_of(pair, "retry");
                let message = format!("`{}` has `retry`, and its actions are not followed", entry.name);
                let help = "remove `follow: false`, or switch it off with `retry: { times: 0 }`";
                self.error(Code::BadChain, span, message, help);
            }
            let Some(after) = &entry.after else { continue };
            let span = self.place_of(pair, "after");
            let Some(upstream) = chains.entry(&after.entry) else {
                if !names.contains(after.entry.as_str()) {
                    self.missing_upstream(span, entry, after, &chains, &names);
                }
                continue;
            };
            if let Some(circle) = chains.circle(entry) {
                if !in_circle.contains(&entry.name) {
                    let shown: Vec<String> =
                        circle.iter().copied().chain([&entry.name]).map(|name| format!("`{name}`")).collect();
                    let message = format!("entries come after each other in a circle: {}", shown.join(" → "));
                    let help = "give one of them a `cron` in place of `after`";
                    self.error(Code::BadChain, span, message, help);
                    in_circle.extend(circle);
                }
                continue;
            }
            if !is_followed(upstream) {
                let message = format!(
                    "the end of `{}` is never known, because of its `follow: false`: {}",
                    upstream.name,
                    chains.shown(upstream.name.as_str())
                );
                let help = format!("remove `follow: false` of `{}`", upstream.name);
                self.error(Code::BadChain, span, message, help);
            } else if upstream.account.shard != entry.account.shard {
                let message = format!(
                    "`{}` comes after `{}`, whose account is in another shard",
                    entry.name, upstream.name
                );
                self.error(Code::BadChain, span, message, "give both accounts the same `shard`");
            } else if upstream.paused {
                self.report.warning(Problem {
                    code: Code::PausedUpstream,
                    span: Some(span),
                    message: format!(
                        "`{}` is paused, so that nothing after it comes due: {}",
                        upstream.name,
                        chains.shown(upstream.name.as_str())
                    ),
                    help: format!(
                        "remove `paused: true` of `{}`, or pause what follows as well",
                        upstream.name
                    ),
                    related: None,
                });
            }
        }
    }

    fn missing_upstream(
        &mut self,
        span: Range<usize>,
        entry: &Entry,
        after: &After,
        chains: &Chains<'_>,
        names: &HashSet<&str>,
    ) {
        let mut known: Vec<&str> = names.iter().copied().collect();
        known.sort_unstable();
        let help = match nearest(after.entry.as_str(), known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "write the name of an entry of this file".into(),
        };
        let message = format!(
            "`{}` comes after `{}`, and no entry is named so: {}",
            entry.name,
            after.entry,
            chains.shown(after.entry.as_str())
        );
        self.error(Code::BadChain, span, message, help);
    }

    /// Returns the place of an entry's key, or of the entry's name where the key stands under
    /// `defaults`.
    fn place_of(&self, pair: Pair<'_, 's>, key: &str) -> Range<usize> {
        let NodeKind::Map(pairs) = &pair.1.kind else {
            return self.key_span(pair);
        };
        let found = pairs.iter().find(|(name, _)| &*name.0 == key);
        found.map_or_else(|| self.key_span(pair), |(_, node)| node.at.range())
    }
}

fn is_followed(entry: &Entry) -> bool {
    entry.follow || entry.overlap != Overlap::Allow
}

/// The graph of entries and their followers.
struct Chains<'e> {
    entries: HashMap<&'e EntryName, &'e Entry>,
    followers: HashMap<&'e str, Vec<&'e EntryName>>,
}

impl<'e> Chains<'e> {
    fn of(entries: &'e [Arc<Entry>]) -> Chains<'e> {
        let mut followers: HashMap<&str, Vec<&EntryName>> = HashMap::new();
        for entry in entries {
            if let Some(after) = &entry.after {
                followers.entry(after.entry.as_str()).or_default().push(&entry.name);
            }
        }
        Chains { entries: entries.iter().map(|entry| (&entry.name, &**entry)).collect(), followers }
    }

    fn entry(&self, name: &EntryName) -> Option<&'e Entry> {
        self.entries.get(name).copied()
    }

    /// The entries of the circle that an entry is part of, from this entry on in the order in which
    /// they would run.
    fn circle(&self, entry: &'e Entry) -> Option<Vec<&'e EntryName>> {
        let mut circle = vec![&entry.name];
        let mut at = entry;
        while circle.len() <= self.entries.len() {
            at = self.entry(&at.after.as_ref()?.entry)?;
            if at.name == entry.name {
                circle[1..].reverse();
                return Some(circle);
            }
            circle.push(&at.name);
        }
        None
    }

    /// Returns the chain that begins with a name, as "`a` → `b` → `c`", and the further entries
    /// that come after one of them.
    fn shown(&self, first: &str) -> String {
        let mut text = format!("`{first}`");
        let mut open: Vec<(&str, &EntryName)> = Vec::new();
        let mut at = first;
        let mut links = 0;
        loop {
            let followers = self.followers.get(at).map_or(&[][..], Vec::as_slice);
            open.extend(followers.iter().skip(1).rev().map(|name| (at, *name)));
            let next = followers.first().map(|name| (false, at, *name));
            let next = next.or_else(|| open.pop().map(|(from, name)| (true, from, name)));
            let Some((branches, from, name)) = next else { return text };
            links += 1;
            if links > SHOWN_LINKS {
                return text + " → …";
            }
            if branches {
                text += &format!("; `{from}`");
            }
            text += &format!(" → `{name}`");
            at = name.as_str();
        }
    }
}
