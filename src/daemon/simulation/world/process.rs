//! A daemon's process, as long as it fires, and a journal that is being opened for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::super::database::Call;
use super::super::scenario::token;
use super::looks::Looks;
use crate::daemon::node::{Answer, Node};
use crate::dispatch::RequestId;
use crate::journal::postgres::Term;
use crate::journal::postgres::tables::OpenedPostgres;
use crate::journal::{Key, Recovered};
use crate::schedule::{AccountName, Schedule};

pub(super) struct Process {
    pub(super) life: u32,
    pub(super) node: Node,
    pub(super) file: usize,
    /// The token of each account. One that a reload has renamed or removed keeps its token for what
    /// is under way.
    pub(super) tokens: BTreeMap<AccountName, AccountName>,
    pub(super) inbox: VecDeque<Answer>,
    pub(super) wakes_at: Duration,
    /// The lease is being handed over, until then at the latest. `None`: it is kept.
    pub(super) leaves_until: Option<Duration>,
    /// Requests on their way: as the oracle knows them, by the number that the network gave them.
    pub(super) flying: HashMap<u64, Flying>,
    /// Answers to the looks of this process.
    pub(super) looks: Looks,
    /// A request as the oracle knows it, until it has ended.
    pub(super) requests: HashMap<RequestId, usize>,
    /// Requests that were admitted and have not left: when, and of which occurrence.
    pub(super) admitted: HashMap<RequestId, (Duration, AccountName, Option<Key>)>,
}

impl Process {
    /// Takes over the accounts of a file.
    pub(super) fn takes_over(&mut self, file: usize, schedule: &Schedule) {
        self.file = file;
        self.tokens.extend(tokens(schedule));
    }
}

/// Returns the token of each account of a schedule.
pub(super) fn tokens(schedule: &Schedule) -> impl Iterator<Item = (AccountName, AccountName)> + '_ {
    schedule.accounts.iter().map(|account| (account.name.clone(), token(account)))
}

pub(super) struct Flying {
    pub(super) id: RequestId,
    pub(super) sent_at: Timestamp,
}

/// The journal is being opened for a term.
pub(super) struct Opening {
    pub(super) term: Term,
    pub(super) call: Call<Option<(Recovered, OpenedPostgres)>>,
}

impl Opening {
    pub(super) fn next_at(&self, thaws: Duration) -> Duration {
        self.call.next_at(thaws)
    }
}
