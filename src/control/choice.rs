//! The entries that a person means by patterns and a stack.

use std::collections::BTreeSet;

use crate::schedule::entries::{UnknownEntry, did_you_mean};
use crate::schedule::{EntryName, Schedule};

/// Returns the entries that one of `patterns` matches, of `stack` where one is named; without
/// patterns all of them. `others` are names that are chosen from beside the schedule's, where no
/// stack is named.
///
/// # Errors
/// When a pattern or the stack matches nothing.
pub(super) fn choose<'n>(
    schedule: &'n Schedule,
    others: impl Iterator<Item = &'n EntryName>,
    patterns: &[String],
    stack: Option<&str>,
) -> Result<BTreeSet<EntryName>, UnknownEntry> {
    let of_stack = |entry: &&'n std::sync::Arc<crate::schedule::Entry>| {
        stack.is_none_or(|stack| entry.stack.as_str() == stack)
    };
    let names = schedule.entries.iter().filter(of_stack).map(|entry| &entry.name);
    let known: BTreeSet<&EntryName> = names.chain(others.filter(|_| stack.is_none())).collect();
    if let Some(stack) = stack.filter(|_| known.is_empty()) {
        let help = " of that stack; `stackcron next` lists the entries".to_owned();
        return Err(UnknownEntry { name: stack.to_owned(), help });
    }
    if patterns.is_empty() {
        return Ok(known.into_iter().cloned().collect());
    }
    let mut chosen = BTreeSet::new();
    for pattern in patterns {
        let matched = known.iter().filter(|name| matches(pattern, name.as_str()));
        let before = chosen.len();
        let mut any = false;
        for name in matched {
            any = true;
            chosen.insert((*name).clone());
        }
        if !any && chosen.len() == before {
            let help = did_you_mean(pattern, known.iter().map(|name| name.as_str()));
            return Err(UnknownEntry { name: pattern.clone(), help });
        }
    }
    Ok(chosen)
}

/// Returns true when a pattern matches a name: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = pattern_rest.as_str();
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(rest, &name[at..]))
        }
        Some(wanted) => {
            let mut name_rest = name.chars();
            name_rest.next().is_some_and(|found| wanted == '?' || wanted == found)
                && matches(pattern_rest.as_str(), name_rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::entry;

    #[test]
    fn patterns_choose_by_name() {
        let entries =
            ["nightly-a", "nightly-b", "weekly"].map(|name| entry(name, "UTC", &["@daily"])).to_vec();
        let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
        let gone = EntryName::new("gone").expect("a name");
        let chosen = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let chosen = choose(&schedule, [&gone].into_iter(), &patterns, None);
            chosen.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (patterns, expected) in [
            (&["nightly-*"][..], "nightly-a nightly-b"),
            (&["*-a", "weekly"], "nightly-a weekly"),
            (&["nightly-?", "go*"], "gone nightly-a nightly-b"),
            (&[], "gone nightly-a nightly-b weekly"),
        ] {
            assert_eq!(chosen(patterns).as_deref(), Ok(expected), "{patterns:?}");
        }
        let unknown = chosen(&["weekli"]).expect_err("no such name");
        assert!(unknown.help.contains("`weekly`"), "{unknown}");
        assert!(chosen(&["monthly-*"]).is_err());
    }
}
