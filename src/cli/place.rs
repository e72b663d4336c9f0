//! Where the journal is: in a state directory, or in a database that several daemons share.

use std::path::PathBuf;

use super::output;
use crate::journal::Location;
use crate::journal::postgres::{Address, AddressError};

/// The arguments that say it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Where the daemon keeps what survives it. $STATE_DIRECTORY, or else stackcron in $XDG_STATE_HOME, unless given
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The journal that several daemons share, as postgres://USER@HOST/DATABASE; without it the journal is a file in the
    /// state directory. The password is better given as the credential journal-password or as $PGPASSWORD
    // As text: where it is wrong, clap would print it with its password.
    #[arg(long, value_name = "URL", env = "STACKCRON_JOURNAL", hide_env_values = true)]
    journal: Option<String>,
}

impl Place {
    /// The database, where one is named.
    ///
    /// # Errors
    /// When the URL or what it leads to is wrong.
    pub fn database(&self) -> Result<Option<Address>, AddressError> {
        self.journal.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }

    /// Where to look for the daemon's socket. A shared journal leads to none: each daemon has its own, on its machine.
    ///
    /// # Errors
    /// When the URL is wrong.
    pub fn sockets(&self) -> Result<Vec<PathBuf>, AddressError> {
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
            None => Location::Directory(output::state_directory(self.state_dir.as_deref())?),
        })
    }

    /// The same. `None` where there is no place for one: what else is to be told is told without.
    ///
    /// # Errors
    /// When the URL is wrong.
    pub fn reading(&self) -> Result<Option<Location>, AddressError> {
        Ok(match self.database()? {
            Some(address) => Some(Location::Database(Box::new(address))),
            None => output::state_directory(self.state_dir.as_deref()).ok().map(Location::Directory),
        })
    }
}
