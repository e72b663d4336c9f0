//! Pairs the entries of two schedules by their names, at little cost where they are much alike.
//!
//! Most reloads change a few entries of many. What stands above and below them as it did before is
//! paired by its place, and only what lies between is looked for by name.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Entry, EntryName};

/// The entries of a later schedule, each with the entry of the same name in an earlier one.
pub(crate) struct Pairs<'e> {
    /// For each entry of the later schedule the earlier one. `None`: its name is new.
    pub(crate) before: Vec<Option<&'e Arc<Entry>>>,
    /// The entries of the earlier schedule whose names the later one does not have.
    pub(crate) gone: Vec<&'e Arc<Entry>>,
}

impl<'e> Pairs<'e> {
    pub(crate) fn of(earlier: &'e [Arc<Entry>], later: &[Arc<Entry>]) -> Pairs<'e> {
        let stays =
            |(one, other): &(&Arc<Entry>, &Arc<Entry>)| Arc::ptr_eq(one, other) || one.name == other.name;
        let above = earlier.iter().zip(later).take_while(stays).count();
        let (rest, other_rest) = (&earlier[above..], &later[above..]);
        let below = rest.iter().rev().zip(other_rest.iter().rev()).take_while(stays).count();
        let (between, bottom) = rest.split_at(rest.len() - below);
        let mut left: HashMap<&EntryName, &Arc<Entry>> =
            between.iter().map(|entry| (&entry.name, entry)).collect();
        let mut before: Vec<Option<&Arc<Entry>>> = Vec::with_capacity(later.len());
        before.extend(earlier[..above].iter().map(Some));
        before.extend(other_rest[..other_rest.len() - below].iter().map(|entry| left.remove(&entry.name)));
        before.extend(bottom.iter().map(Some));
        Pairs { before, gone: left.into_values().collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::parse;

    fn entries(names: &[usize]) -> Vec<Arc<Entry>> {
        let mut known = Vec::new();
        let lines = names.iter().filter(|name| {
            let is_new = !known.contains(*name);
            known.push(**name);
            is_new
        });
        let lines: String =
            lines.map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '@daily' }}\n")).collect();
        let file = format!(
            "accounts: {{ main: {{ token: {{ env: T }} }} }}\njobs:\n{lines}  last: {{ stack: s, job: j, cron: '@daily' }}\n"
        );
        parse("test.yaml", &file).expect("a valid file").schedule.entries
    }

    proptest! {
        #[test]
        fn entries_are_paired_by_their_names_wherever_they_stand(
            earlier in prop::collection::vec(0..8usize, 0..10),
            later in prop::collection::vec(0..8usize, 0..10),
        ) {
            let (earlier, later) = (entries(&earlier), entries(&later));
            let pairs = Pairs::of(&earlier, &later);
            prop_assert_eq!(pairs.before.len(), later.len());
            for (entry, before) in later.iter().zip(&pairs.before) {
                let expected = earlier.iter().find(|other| other.name == entry.name);
                prop_assert_eq!(before.map(|before| &before.name), expected.map(|expected| &expected.name));
            }
            let expected = earlier.iter().filter(|entry| later.iter().all(|other| other.name != entry.name));
            prop_assert_eq!(pairs.gone.len(), expected.count());
        }
    }
}
