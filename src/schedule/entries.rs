//! Entries as people name them.

use std::sync::Arc;

use super::{Entry, Schedule, one_line};

/// Names that are proposed at most.
const NEAREST: usize = 3;

/// An entry that the schedule does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no entry is named `{name}`{help}")]
pub struct UnknownEntry {
    /// The name as it was asked for.
    pub name: String,
    /// The entry that was probably meant, to end the sentence with.
    pub help: String,
}

/// The entry of a name.
pub fn find<'s>(schedule: &'s Schedule, name: &str) -> Result<&'s Arc<Entry>, UnknownEntry> {
    let mut entries = schedule.entries.iter();
    entries.find(|entry| entry.name.as_str() == name).ok_or_else(|| {
        // No entry's name has a slash or such an ending: a file is meant.
        let is_file = name.contains('/') || [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        if is_file {
            let help = format!("; a schedule file is given with `--config {}`", one_line(name));
            return UnknownEntry { name: one_line(name), help };
        }
        let known = schedule.entries.iter().map(|entry| entry.name.as_str());
        UnknownEntry { name: one_line(name), help: did_you_mean(name, known) }
    })
}

/// The known names that come near a wrong one, to end a sentence with. Empty where none does.
pub fn did_you_mean<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(known, name), known));
    let mut near: Vec<_> = near.filter(|(distance, known)| *distance <= 1 + known.len() / 4).collect();
    near.sort_unstable();
    let named: Vec<String> = near.iter().take(NEAREST).map(|(_, known)| format!("`{known}`")).collect();
    match named.len() {
        0 => String::new(),
        _ => format!("; did you mean {}?", named.join(" or ")),
    }
}
