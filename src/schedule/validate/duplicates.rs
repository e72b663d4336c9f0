//! Entries that would run the same job twice at one instant.
//!
//! Two entries do so that have the same stack, job, zone, args and one expression in common. With
//! other args, or in another zone, the same pair may well be due at the same time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use super::super::{Entry, Template};

/// An expression that another entry has already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DuplicateUse<'e> {
    /// The later entry.
    pub entry: usize,
    /// The earlier one. The same as `entry` when one list has the expression twice.
    pub of: usize,
    pub expression: &'e str,
}

/// The properties that make two runs of a job equal.
#[derive(PartialEq, Eq, Hash)]
struct Run<'e> {
    stack: &'e str,
    job: &'e str,
    expression: Cow<'e, str>,
    timezone: Option<&'e str>,
    args: Option<&'e str>,
    template: Option<&'e str>,
}

/// Finds each entry that repeats an earlier one, and the first expression in which it does.
pub(super) fn find(entries: &[Arc<Entry>]) -> Vec<DuplicateUse<'_>> {
    let mut seen: HashMap<Run, usize> = HashMap::with_capacity(entries.len());
    let mut found: Vec<DuplicateUse> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        for expression in entry.cron.iter() {
            let run = Run {
                stack: entry.stack.as_str(),
                job: entry.job.as_str(),
                expression: plain(expression.as_str()),
                timezone: entry.timezone.iana_name(),
                args: entry.args.as_deref(),
                template: entry.args_template.as_deref().map(Template::as_str),
            };
            match seen.entry(run) {
                Slot::Vacant(slot) => {
                    slot.insert(number);
                }
                Slot::Occupied(first) if found.last().is_none_or(|last| last.entry != number) => {
                    found.push(DuplicateUse {
                        entry: number,
                        of: *first.get(),
                        expression: expression.as_str(),
                    });
                }
                Slot::Occupied(_) => {}
            }
        }
    }
    found
}

/// The expression with single blanks and in small letters.
fn plain(expression: &str) -> Cow<'_, str> {
    let blanks_are_single = expression.split(' ').all(|word| !word.is_empty());
    let is_plain = |c: char| c == ' ' || (!c.is_whitespace() && !c.is_ascii_uppercase());
    if blanks_are_single && expression.chars().all(is_plain) {
        return Cow::Borrowed(expression);
    }
    let words: Vec<&str> = expression.split_whitespace().collect();
    Cow::Owned(words.join(" ").to_ascii_lowercase())
}
