//! A daemon's process, as long as it fires, and a journal that is being opened for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::super::database::DatabaseCall;
use super::super::scenario::token;
use super::looks::LookHistory;
use crate::daemon::node::{Answer, Node};
use crate::daemon::requests::ClientsInUse;
use crate::dispatch::RequestId;
use crate::journal::postgres::Term;
use crate::journal::postgres::tables::OpenedPostgres;
use crate::journal::{Key, Recovered};
use crate::schedule::{AccountName, Schedule};

pub(super) struct Process {
    pub(super) life: u32,
    pub(super) node: Node,
    pub(super) file: usize,
    /// The token of each account, as a leader has a client of each.
    pub(super) tokens: ClientsInUse<AccountName>,
    pub(super) inbox: VecDeque<Answer>,
    pub(super) wakes_at: Duration,
    /// The lease is being handed over, until then at the latest. `None`: it is kept.
    pub(super) leaves_until: Option<Duration>,
    /// Requests on their way: as the oracle knows them, by the number that the network gave them.
    pub(super) flying: HashMap<u64, FlyingRequest>,
    /// Answers to the looks of this process.
    pub(super) looks: LookHistory,
    /// A request as the oracle knows it, until it has ended.
    pub(super) requests: HashMap<RequestId, usize>,
    /// Requests that were admitted and have not left: when, and of which occurrence.
    pub(super) admitted: HashMap<RequestId, (Duration, AccountName, Option<Key>)>,
}

impl Process {
    /// Sends by the tokens of another schedule's accounts from now on, as a leader does by clients.
    pub(super) fn replace_tokens(&mut self, schedule: &Schedule) {
        self.tokens.replace(tokens(schedule), |account| self.node.core().needs(account));
    }
}

/// Returns the token of each account of a schedule.
pub(super) fn tokens(schedule: &Schedule) -> BTreeMap<AccountName, AccountName> {
    schedule.accounts.iter().map(|account| (account.name.clone(), token(account))).collect()
}

pub(super) struct FlyingRequest {
    pub(super) id: RequestId,
    pub(super) sent_at: Timestamp,
}

/// The journal is being opened for a term.
pub(super) struct SimulatedOpening {
    pub(super) term: Term,
    pub(super) call: DatabaseCall<Option<(Recovered, OpenedPostgres)>>,
}

impl SimulatedOpening {
    pub(super) fn next_at(&self, thaws: Duration) -> Duration {
        self.call.next_at(thaws)
    }
}
