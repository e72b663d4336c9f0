//! The ledger: every request and its answer, in the order in which the sandbox judged them. It is
//! never shortened.

use jiff::Timestamp;
use serde::Serialize;

use super::http::{ArgsFrom, Endpoint};

/// All requests since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// The requests in the order in which the sandbox judged them. With many connections the order
    /// may differ a little from that of `at`.
    pub requests: Vec<LedgerRecord>,
}

/// One request and its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerRecord {
    /// When its head had arrived, to the microsecond.
    #[serde(serialize_with = "microseconds")]
    pub at: Timestamp,
    /// The HTTP method.
    pub method: String,
    /// The path as sent, without the query.
    pub path: String,
    /// The call of the API that the path names.
    pub endpoint: Endpoint,
    /// The stack's uid, decoded.
    pub stack: Option<String>,
    /// The job's uid, decoded.
    pub job: Option<String>,
    /// `job_args`, decoded.
    pub args: Option<String>,
    /// The part of the request that carried `job_args`. `None`: the request had none.
    pub args_from: Option<ArgsFrom>,
    /// The user of the token; none for an unknown token.
    pub user: Option<String>,
    /// The status of the answer; none where not one byte is answered, or not yet.
    pub status: Option<u16>,
    /// `X-RateLimit-Remaining` of the answer; none where the answer does not tell.
    pub remaining: Option<u32>,
    /// The request was refused because the quota was spent. A throttled request does not count
    /// against the quota.
    pub throttled: bool,
    /// The action that it started, whether or not the answer says so.
    pub action: Option<u64>,
    /// The faults that it met, as they would be written for `--fault`.
    pub faults: Vec<String>,
}

impl Ledger {
    /// The requests that started an action.
    pub fn started(&self) -> impl Iterator<Item = &LedgerRecord> {
        self.requests.iter().filter(|record| record.action.is_some())
    }

    /// The requests of one call.
    pub fn of(&self, endpoint: Endpoint) -> impl Iterator<Item = &LedgerRecord> {
        self.requests.iter().filter(move |record| record.endpoint == endpoint)
    }

    /// The requests that the spent quota refused.
    pub fn throttled(&self) -> impl Iterator<Item = &LedgerRecord> {
        self.requests.iter().filter(|record| record.throttled)
    }
}

fn microseconds<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}
