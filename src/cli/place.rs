//! Where the journal is: in a state directory, or in a database that several daemons share.

use std::path::{Path, PathBuf};

use super::output;
use crate::control::{self, ControlAnswer, Question};
use crate::journal::postgres::{PostgresAddress, PostgresAddressError};
use crate::journal::{self, Location};

/// The arguments that say it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StatePlace {
    /// Where the daemon keeps what survives it. $STATE_DIRECTORY, or else stackcron in
    /// $XDG_STATE_HOME, unless given
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The journal that several daemons share, as postgres://USER@HOST/DATABASE; without it the
    /// journal is a file in the state directory. The password is better given as the credential
    /// journal-password or as $PGPASSWORD
    // A text and not a parsed URL: clap would print a wrong one with its password.
    #[arg(long, value_name = "URL", env = "STACKCRON_JOURNAL", hide_env_values = true)]
    journal: Option<String>,
}

impl StatePlace {
    /// The database, where one is named.
    ///
    /// # Errors
    /// When the URL or what it leads to is wrong.
    pub fn database(&self) -> Result<Option<PostgresAddress>, PostgresAddressError> {
        self.journal.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }

    /// Where to look for the daemon's socket. A shared journal leads to none: each daemon has its
    /// own, on its machine.
    ///
    /// # Errors
    /// When the URL is wrong.
    pub fn sockets(&self) -> Result<Vec<PathBuf>, PostgresAddressError> {
        self.database()?;
        Ok(output::control_places(self.state_dir.as_deref()))
    }

    /// Where to read the journal.
    ///
    /// # Errors
    /// When the URL is wrong, or there is no state directory.
    pub fn journal(&self) -> anyhow::Result<Location> {
        Ok(match self.database()? {
            Some(address) => Location::Database(Box::new(address)),
            None => match found(self.state_dir.as_deref()) {
                Some(location) => location,
                None => Location::Directory(output::state_directory(self.state_dir.as_deref())?),
            },
        })
    }

    /// The same. `None` where there is no place for one: what else is to be told is told without.
    ///
    /// # Errors
    /// When the URL is wrong.
    pub fn reading(&self) -> Result<Option<Location>, PostgresAddressError> {
        Ok(match self.database()? {
            Some(address) => Some(Location::Database(Box::new(address))),
            None => found(self.state_dir.as_deref())
                .or_else(|| output::state_directory(self.state_dir.as_deref()).ok().map(Location::Directory)),
        })
    }
}

/// Directories of the packaged service's socket and state, where no daemon answers.
const SERVICE: [&str; 2] = ["/run/stackcron", "/var/lib/stackcron"];

/// The journal of the packaged service, where nobody said where a journal is and the user has none.
/// `None`: there is no such service, or the user's own journal goes first.
fn found(given: Option<&Path>) -> Option<Location> {
    if given.is_some() || std::env::var_os("STATE_DIRECTORY").is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let own = output::state_directory(None).ok();
    if own.is_some_and(|own| own.join(journal::FILE_NAME).exists()) {
        return None;
    }
    let [runtime, state] = SERVICE.map(Path::new);
    let socket = runtime.join(control::FILE_NAME);
    let question = Question::Status { entries: Vec::new(), most: 0 };
    let answer = control::ask(&[socket], &question).and_then(|mut answers| answers.soon());
    if let Ok(ControlAnswer::Status(status)) = answer {
        let path = Path::new(&status.journal.path);
        return match path.is_absolute() {
            true => path.parent().map(|directory| Location::Directory(directory.to_owned())),
            false => status.journal.path.parse().ok().map(|address| Location::Database(Box::new(address))),
        };
    }
    // A directory that may not be looked into is there.
    let is_there = match state.metadata() {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    };
    is_there.then(|| Location::Directory(state.to_owned()))
}
