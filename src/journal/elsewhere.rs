//! Decides whether a daemon may leave the journal that its state directory knows for another one.
//!
//! A daemon that is started with another `--journal` leaves pauses and open occurrences behind, and
//! one that goes back to a journal it left before would send again what was sent meanwhile. So the
//! journal that was seen last must have nothing open, and the other one must be new or have come at
//! least as far.

use super::identity::SeenJournal;
use super::postgres::{self, PostgresAddress};
use super::summary::JournalSummary;
use super::{FILE_NAME, JournalError, sqlite};

/// Finds that the journal at `location`, of which `found` is known, may take the place of the one
/// that was seen last.
///
/// # Errors
/// [`JournalError::Replaced`] where the journal that was seen should be there, and
/// [`JournalError::Elsewhere`] where that one must not be left.
pub(super) fn may_enter(
    seen: &SeenJournal,
    location: &str,
    found: Option<&JournalSummary>,
) -> Result<(), JournalError> {
    if seen.location == location {
        return Err(JournalError::Replaced {
            location: location.to_owned(),
            known: seen.identity.clone(),
            found: found.map(|found| found.identity.clone()),
        });
    }
    let refused = |why: String| {
        let (known, location) = (seen.location.clone(), location.to_owned());
        Err(JournalError::Elsewhere { known, location, why })
    };
    let left = match summary(&seen.location) {
        Ok(Some(left)) if left.identity == seen.identity => left,
        Ok(Some(left)) => return refused(format!("the journal that is there now is {}", left.identity)),
        Ok(None) => return refused("nothing is there any more".to_owned()),
        Err(error) => return refused(error.to_string()),
    };
    if left.open > 0 {
        let (verb, plural) = if left.open == 1 { ("is", "") } else { ("are", "s") };
        return refused(format!("{} occurrence{plural} or pause{plural} {verb} still open there", left.open));
    }
    match found.and_then(|found| found.cursor) {
        Some(cursor) if left.cursor.is_some_and(|left| cursor < left) => {
            refused("it has come further than this one, which would send again".to_owned())
        }
        _ => Ok(()),
    }
}

/// Returns the facts about the journal at a place. `None`: no journal is there.
fn summary(location: &str) -> Result<Option<JournalSummary>, JournalError> {
    match location.strip_suffix(FILE_NAME) {
        Some(_) => sqlite::summary(location.as_ref()),
        None => {
            let address: PostgresAddress =
                location.parse().map_err(|error: postgres::PostgresAddressError| {
                    JournalError::Unreachable { address: location.to_owned(), detail: error.to_string() }
                })?;
            postgres::summary(&address)
        }
    }
}
