//! The receivers of notifications that a schedule names, with the addresses that are kept outside
//! of the file and read as tokens are.

use std::collections::HashMap;
use std::sync::Arc;

use super::post::Poster;
use crate::cloud66::{ClientError, Token, TokenError};
use crate::schedule::notify::AddressError;
use crate::schedule::{Address, ByName, EntryName, Notify, ReceiverName, Schedule, SecretUrl, TokenSource};

/// Everybody who is notified, with the addresses and secrets that this needs.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The entries that tell somebody.
    pub(super) entries: Arc<ByName>,
    kept: HashMap<TokenSource, SecretUrl>,
    /// `None` where nobody is told of anything.
    pub(super) poster: Option<Poster>,
}

/// The receiver or the entry that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A receiver's webhook.
    Receiver(ReceiverName),
    /// An entry's ping.
    Ping(EntryName),
}

impl Owner {
    /// The receiver or the entry, as an event has them.
    pub fn split(&self) -> (Option<ReceiverName>, Option<EntryName>) {
        match self {
            Owner::Receiver(name) => (Some(name.clone()), None),
            Owner::Ping(entry) => (None, Some(entry.clone())),
        }
    }
}

/// Why nobody can be told. Each says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum AddressProblem {
    /// The address cannot be read from the place where it is kept.
    #[error(transparent)]
    Unreadable(#[from] TokenError),
    /// The text that is kept there is no address.
    #[error("what is kept there is no address: {0}; it must be one line, as `https://…`")]
    NoAddress(#[from] AddressError),
    /// HTTP cannot be set up.
    #[error(transparent)]
    Http(#[from] ClientError),
}

impl Audience {
    /// Reads every address that the schedule says to be kept elsewhere.
    ///
    /// # Errors
    /// All that cannot be used, each with its owner.
    pub fn of(schedule: &Schedule) -> Result<Audience, Vec<(Owner, AddressProblem)>> {
        let mut audience = Audience::default();
        let mut entries = ByName::new();
        let mut problems = Vec::new();
        let mut tried: Vec<&ReceiverName> = Vec::new();
        for entry in &schedule.entries {
            let Some(notify) = &entry.notify else { continue };
            entries.insert(entry.name.clone(), Arc::clone(entry));
            if audience.poster.is_none() && problems.is_empty() {
                match Poster::new() {
                    Ok(poster) => audience.poster = Some(poster),
                    Err(error) => problems.push((first(&entry.name, notify), error.into())),
                }
            }
            for receiver in &notify.receivers {
                if tried.contains(&&receiver.name) {
                    continue;
                }
                tried.push(&receiver.name);
                if let Err(problem) = audience.find(&receiver.webhook) {
                    problems.push((Owner::Receiver(receiver.name.clone()), problem));
                }
            }
            if let Some(ping) = &notify.ping
                && let Err(problem) = audience.find(ping)
            {
                problems.push((Owner::Ping(entry.name.clone()), problem));
            }
        }
        audience.entries = Arc::new(entries);
        if problems.is_empty() { Ok(audience) } else { Err(problems) }
    }

    fn find(&mut self, address: &Address) -> Result<(), AddressProblem> {
        let Address::Kept(source) = address else { return Ok(()) };
        if !self.kept.contains_key(source) {
            let url = Token::read(source)?.token.as_address()?;
            self.kept.insert(source.clone(), url);
        }
        Ok(())
    }

    /// The address itself. `None` for one that was not read.
    pub(super) fn address<'a>(&'a self, address: &'a Address) -> Option<&'a SecretUrl> {
        match address {
            Address::Written(url) => Some(url),
            Address::Kept(source) => self.kept.get(source),
        }
    }
}

/// Returns the first receiver that an entry's ends are sent to.
fn first(entry: &EntryName, notify: &Notify) -> Owner {
    match notify.receivers.first() {
        Some(receiver) => Owner::Receiver(receiver.name.clone()),
        None => Owner::Ping(entry.clone()),
    }
}
