//! Entries as people name them.

use std::sync::Arc;

use super::{Entry, Schedule};

/// An entry that the schedule does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no entry is named `{name}`{}", nearest.as_ref().map_or(String::new(), |name| format!("; did you mean `{name}`?")))]
pub struct UnknownEntry {
    /// As it was asked for.
    pub name: String,
    /// The entry that was probably meant.
    pub nearest: Option<String>,
}

/// The entry of a name.
pub fn find<'s>(schedule: &'s Schedule, name: &str) -> Result<&'s Arc<Entry>, UnknownEntry> {
    let mut entries = schedule.entries.iter();
    entries.find(|entry| entry.name.as_str() == name).ok_or_else(|| {
        let nearest = schedule
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
            .min();
        UnknownEntry { name: name.to_string(), nearest: nearest.map(|(_, name)| name.to_string()) }
    })
}
