//! The check that no other daemon on this machine fires the same schedule, and the message where
//! one does.

use std::path::Path;
use std::sync::Arc;

use super::SettingsFault;
use crate::cli::output;
use crate::log::event::{Event, NeighbourUnasked, ScheduleRejected};
use crate::neighbours::{Conflict, Fires, Neighbours, NeighboursFound};
use crate::schedule::Schedule;

/// Registers this daemon and asks the others. `None`: the system has no socket for it, and nothing
/// is known of the others.
///
/// # Errors
/// When another daemon fires some of it already.
pub(super) async fn start(fires: Fires) -> Result<Option<Neighbours>, SettingsFault> {
    let path = fires.config.clone();
    let neighbours = match Neighbours::register(fires) {
        Ok(neighbours) => neighbours,
        Err(error) => {
            let error = format!("other daemons cannot be looked for: {error}");
            Event::from(NeighbourUnasked { pid: None, error }).emit();
            return Ok(None);
        }
    };
    match tell(neighbours.at_start().await) {
        None => Ok(Some(neighbours)),
        Some(conflict) => {
            output::misconfigured(&conflict);
            Err(reject(&path, &conflict))
        }
    }
}

/// Asks the others about what a reload adds.
///
/// # Errors
/// When another daemon fires some of it already.
pub(super) async fn reload(
    neighbours: Option<&Neighbours>,
    path: &Path,
    schedule: &Arc<Schedule>,
) -> Result<(), SettingsFault> {
    let Some(neighbours) = neighbours else {
        return Ok(());
    };
    match tell(neighbours.at_reload(schedule).await) {
        None => Ok(()),
        Some(conflict) => Err(reject(path, &conflict)),
    }
}

/// Tells who could not be asked.
fn tell(found: NeighboursFound) -> Option<Conflict> {
    for unasked in found.unclear {
        Event::from(unasked).emit();
    }
    found.conflict
}

fn reject(path: &Path, conflict: &Conflict) -> SettingsFault {
    let (path, first) = (path.display().to_string(), conflict.to_string());
    Event::from(ScheduleRejected { path, errors: 1, first: first.clone() }).emit();
    SettingsFault(first)
}
