//! The journal in one SQLite file, for one daemon.

mod file;
mod history;
mod lately;
mod rows;
mod schema;

use std::path::Path;

use super::{Journal, JournalError, Opened, SendPermit, SendWatermark};
use crate::schedule::Shard;

pub use file::FILE_NAME;
pub use history::read_history;
pub use lately::{read_lately, read_records};

impl Journal {
    /// Opens the journal in a state directory, and makes both where there is none. Blocks.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be used as it is: see [`JournalError`]. The journal's file
    /// is not changed then.
    pub fn open(directory: &Path) -> Result<Opened, JournalError> {
        let lock = file::lock(directory)?;
        let path = directory.join(FILE_NAME);
        let mut rows = rows::Rows::new(file::connect(&path, schema::MIGRATIONS)?, path.clone(), lock);
        let mut recovered = rows.recover()?;
        let (mark, sent_up_to) = SendWatermark::open(directory, &Shard::Common, SendPermit::unlimited())
            .map_err(|error| JournalError::io(&directory.join("sent.mark"), &error))?;
        recovered.sent_up_to = sent_up_to;
        Opened::new(rows, recovered, mark).map_err(|error| JournalError::io(&path, &error))
    }
}
