//! The way to the API and back: requests leave, arrive, are judged, and their answers come, each at
//! its instant.
//!
//! An answer's status, headers and body are read by the same code as those of the real API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::conditions::{Conditions, Latency};
use super::others::Instants;
use crate::cloud66::call::Call;
use crate::cloud66::look::LookKind;
use crate::cloud66::reply::{BodyError, Head, LONGEST_BODY};
use crate::cloud66::{self, ActionsListed, FollowUp, JobRecord, Looked, Outcome};
use crate::dispatch::{Request, RequestId};
use crate::quota::{self, Purpose};
use crate::sandbox::{self, SandboxAnswer, SandboxDelivery, SandboxState, Settings};
#[cfg(test)]
use crate::schedule::ArgsIn;
use crate::schedule::{AccountName, Entry, JobUid, Schedule, StackUid};

/// HTTP clients commonly take no more headers than this; ours does.
const MOST_HEADERS: usize = 100;

/// A request that has ended.
pub(crate) struct Arrived {
    /// Number of the request, from [`Network::send`].
    #[cfg(test)]
    pub number: u64,
    pub id: RequestId,
    pub account: AccountName,
    /// The answer's word on the quota. `None`: no answer came.
    pub quota: Option<quota::QuotaAnswer>,
    pub reply: NetworkReply,
}

/// Outcome of the request.
pub(crate) enum NetworkReply {
    Fired { sent_at: Timestamp, reply: cloud66::Reply<Outcome> },
    Followed(cloud66::Reply<FollowUp>),
    Listed(cloud66::Reply<ActionsListed>),
    Looked(cloud66::Reply<Looked>),
    Recorded(cloud66::Reply<Option<JobRecord>>),
}

/// The API and what is under way to it and from it.
pub(crate) struct Network {
    api: SandboxState,
    latency: Latency,
    chances: fastrand::Rng,
    accesses: HashMap<AccountName, Access>,
    /// By its instant, then in the order of sending.
    under_way: BTreeMap<(Timestamp, u64), Stop>,
    last: u64,
    sent: u64,
    /// The ledger's record of a request, by the request's number.
    #[cfg(test)]
    judged: HashMap<u64, usize>,
}

/// The API's view of an account.
struct Access {
    base: Url,
    token: String,
    user: String,
    timeout: Duration,
    others: Option<Instants>,
}

/// The next stop of a request.
enum Stop {
    /// At the API.
    Api(Box<Flight>, sandbox::SandboxRequest),
    /// At the API, to take effect late. Its client may have given up.
    Effect(sandbox::SandboxTicket, Option<Box<Flight>>),
    /// Back at the daemon.
    Daemon(Box<Flight>, Result<sandbox::SandboxReply, Lost>),
}

/// No answer, or none whole.
#[derive(Clone, Copy)]
enum Lost {
    TimedOut,
    Closed,
    TooManyHeaders,
}

struct Flight {
    #[cfg(test)]
    number: u64,
    id: RequestId,
    account: AccountName,
    asks: Asks,
    sent_at: Timestamp,
    gives_up_at: Timestamp,
    way_back: Duration,
}

enum Asks {
    Fire(Arc<Entry>),
    Action,
    Actions,
    Look(LookKind),
    JobRecord,
}

/// Returns the account of a request, and the purpose that the quota is spent for.
pub(crate) fn purpose(request: &Request) -> (AccountName, Purpose) {
    match request {
        Request::RunNow(entry) => (entry.account.name.clone(), Purpose::Fire),
        Request::Action(account, ..) => (account.clone(), Purpose::FollowUp),
        Request::Actions { account, purpose, .. } => (account.clone(), *purpose),
        Request::Look { account, .. } => (account.clone(), Purpose::Check),
        Request::JobRecord(account, ..) => (account.clone(), Purpose::Check),
    }
}

/// The run time of each job as a rule. Of several entries that run one job, the longest counts.
fn run_times<'s>(
    schedule: &'s Schedule,
    conditions: &Conditions,
) -> HashMap<(&'s StackUid, &'s JobUid), Duration> {
    let mut times = HashMap::new();
    for entry in &schedule.entries {
        if let Some(run) = conditions.usual.get(&entry.name).and_then(|usual| usual.run) {
            let time = times.entry((&entry.stack, &entry.job)).or_insert(run);
            *time = run.max(*time);
        }
    }
    times
}

impl Network {
    pub(crate) fn new(
        schedule: &Schedule,
        conditions: &Conditions,
        chances: &mut fastrand::Rng,
        now: Timestamp,
    ) -> Network {
        let mut settings = Settings {
            faults: conditions.faults.clone(),
            deploys: conditions.deploys.clone(),
            action_duration: conditions.action_duration,
            seed: chances.u64(..),
            ..Settings::for_schedule(schedule)
        };
        let run_times = run_times(schedule, conditions);
        for stack in &mut settings.stacks {
            for job in &mut stack.jobs {
                job.duration = run_times.get(&(&stack.uid, &job.uid)).copied();
            }
        }
        let mut accesses = HashMap::new();
        for (account, user) in schedule.accounts.iter().zip(&mut settings.users) {
            user.quota.kind = conditions.window_kind;
            let others = conditions.others.and_then(|others| Instants::new(others, now, chances.fork()));
            let mut base = account.url.clone();
            base.set_path(sandbox::BASE);
            let access = Access {
                base,
                token: Settings::token_of(account.name.as_str()),
                user: user.name.clone(),
                timeout: account.timeout,
                others,
            };
            accesses.insert(account.name.clone(), access);
        }
        Network {
            api: SandboxState::new(&settings, now),
            latency: conditions.latency,
            chances: chances.fork(),
            accesses,
            under_way: BTreeMap::new(),
            last: 0,
            sent: 0,
            #[cfg(test)]
            judged: HashMap::new(),
        }
    }

    pub(crate) fn api(&self) -> &SandboxState {
        &self.api
    }

    /// Returns the instant of the next arrival.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Sends a request now. Returns the number that it has among all that were sent.
    pub(crate) fn send(&mut self, id: RequestId, request: Request, now: Timestamp) -> u64 {
        let (account, _) = purpose(&request);
        self.send_by(account, id, request, now)
    }

    /// Sends a request by the token of this account now, whatever account the request names.
    pub(crate) fn send_by(
        &mut self,
        account: AccountName,
        id: RequestId,
        request: Request,
        now: Timestamp,
    ) -> u64 {
        self.sent += 1;
        let number = self.sent;
        let Some(access) = self.accesses.get(&account) else {
            return number;
        };
        let (call, asks) = match request {
            Request::RunNow(entry) => {
                let args_in = entry.account.args_in;
                let call =
                    Call::run_now(&access.base, &entry.stack, &entry.job, entry.args.as_deref(), args_in);
                (call, Asks::Fire(entry))
            }
            Request::Action(_, stack, action) => (Call::action(&access.base, &stack, action), Asks::Action),
            Request::JobRecord(_, stack, job) => (Call::job(&access.base, &stack, &job), Asks::JobRecord),
            Request::Actions { stack, page, .. } => {
                (Call::actions(&access.base, &stack, page), Asks::Actions)
            }
            Request::Look { stack, job: None, .. } => {
                (Call::stack(&access.base, &stack), Asks::Look(LookKind::Stack))
            }
            Request::Look { stack, job: Some(job), .. } => {
                (Call::job(&access.base, &stack, &job), Asks::Look(LookKind::Job))
            }
        };
        let latency = self.latency.draw(&mut self.chances);
        let way_back = latency / 2;
        let flight = Flight {
            #[cfg(test)]
            number,
            id,
            account,
            asks,
            sent_at: now,
            gives_up_at: later(now, access.timeout),
            way_back,
        };
        let request = sandbox::SandboxRequest {
            query: call.url.query().map(str::to_owned),
            ..sandbox::SandboxRequest::new(call.method, call.url.path(), &access.token)
        };
        self.comes(later(now, latency - way_back), Stop::Api(Box::new(flight), request));
        number
    }

    /// Lets everything happen up to `now`, and returns the first request that ended by it.
    pub(crate) fn arrives(&mut self, now: Timestamp) -> Option<Arrived> {
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= now
        {
            let ((at, _), stop) = first.remove_entry();
            match stop {
                Stop::Api(flight, request) => self.judge(flight, request, at),
                Stop::Effect(ticket, flight) => {
                    let reply = self.api.resume(ticket, at);
                    if let Some(flight) = flight {
                        self.answer(flight, reply, at);
                    }
                }
                Stop::Daemon(flight, reply) => return Some(ended(*flight, reply, at)),
            }
        }
        None
    }

    fn comes(&mut self, at: Timestamp, stop: Stop) {
        self.last += 1;
        self.under_way.insert((at, self.last), stop);
    }

    fn judge(&mut self, flight: Box<Flight>, request: sandbox::SandboxRequest, now: Timestamp) {
        if let Some(access) = self.accesses.get_mut(&flight.account)
            && let Some(others) = &mut access.others
        {
            while let Some(at) = others.next_until(now) {
                // A request of others that no longer fits is refused, as ours are.
                self.api.use_quota(&access.user, 1, at);
            }
        }
        #[cfg(test)]
        self.judged.insert(flight.number, self.api.ledger().requests.len());
        match self.api.handle(request, now) {
            SandboxAnswer::Reply(reply) => self.answer(flight, reply, now),
            SandboxAnswer::Postponed(after, ticket) => {
                let takes_effect = later(now, after);
                let flight = if takes_effect < flight.gives_up_at {
                    Some(flight)
                } else {
                    self.comes(flight.gives_up_at, Stop::Daemon(flight, Err(Lost::TimedOut)));
                    None
                };
                self.comes(takes_effect, Stop::Effect(ticket, flight));
            }
        }
    }

    /// Sends the answer back.
    fn answer(&mut self, flight: Box<Flight>, mut reply: sandbox::SandboxReply, now: Timestamp) {
        // The server that the sandbox is behind adds it.
        if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
            reply.headers.push(("Date".into(), date));
        }
        let dripping = match reply.delivery {
            SandboxDelivery::Dripped(pause) => pause.saturating_mul(length(&reply)),
            _ => Duration::ZERO,
        };
        let comes_at = later(later(later(now, reply.delay), dripping), flight.way_back);
        let (at, reply) = match reply.delivery {
            _ if comes_at >= flight.gives_up_at => (flight.gives_up_at, Err(Lost::TimedOut)),
            SandboxDelivery::Nothing => (comes_at, Err(Lost::Closed)),
            _ if reply.headers.len() > MOST_HEADERS => (comes_at, Err(Lost::TooManyHeaders)),
            _ => (comes_at, Ok(reply)),
        };
        self.comes(at, Stop::Daemon(flight, reply));
    }
}

/// Functions for the simulation alone.
#[cfg(test)]
impl Network {
    /// The API, to be changed from outside.
    pub(crate) fn api_mut(&mut self) -> &mut SandboxState {
        &mut self.api
    }

    /// The API's view of an account.
    pub(crate) fn user(&self, account: &AccountName) -> Option<&str> {
        Some(&self.accesses.get(account)?.user)
    }

    /// Returns the ledger's record of a request. `None` until it has arrived.
    pub(crate) fn judged(&self, number: u64) -> Option<usize> {
        self.judged.get(&number).copied()
    }

    /// Somebody runs a job with the token of an account.
    pub(crate) fn somebody_runs(
        &mut self,
        account: &AccountName,
        stack: &StackUid,
        job: &JobUid,
        now: Timestamp,
    ) {
        let Some(access) = self.accesses.get(account) else { return };
        let call = Call::run_now(&access.base, stack, job, None, ArgsIn::Query);
        let request = sandbox::SandboxRequest::new(call.method, call.url.path(), &access.token);
        // The effect of a request that a fault postpones never comes.
        let _ = self.api.handle(request, now);
    }

    /// Nobody else uses the quota any more.
    pub(crate) fn others_leave(&mut self) {
        self.accesses.values_mut().for_each(|access| access.others = None);
    }

    /// Takes in that the sender of these requests is gone. Chance decides whether a request on its
    /// way arrives all the same.
    pub(crate) fn hang_up(&mut self, gone: &std::collections::BTreeSet<u64>, chances: &mut fastrand::Rng) {
        self.under_way.retain(|_, stop| match stop {
            Stop::Api(flight, _) if gone.contains(&flight.number) => chances.bool(),
            Stop::Daemon(flight, _) => !gone.contains(&flight.number),
            Stop::Api(..) | Stop::Effect(..) => true,
        });
    }
}

fn ended(flight: Flight, reply: Result<sandbox::SandboxReply, Lost>, came: Timestamp) -> Arrived {
    let Flight {
        #[cfg(test)]
        number,
        id,
        account,
        asks,
        sent_at,
        ..
    } = flight;
    let (quota, reply) = match (asks, reply) {
        (Asks::Fire(entry), Ok(reply)) => {
            let reply = head(&reply, came).of_run_now(body(reply), entry.args.as_deref());
            (reply.quota, NetworkReply::Fired { sent_at, reply })
        }
        (Asks::Fire(_), Err(lost)) => {
            let outcome = Outcome::InDoubt { status: None, error: lost.to_string() };
            (None, NetworkReply::Fired { sent_at, reply: cloud66::Reply::unanswered(outcome) })
        }
        (Asks::Action, Ok(reply)) => {
            let reply = head(&reply, came).of_action(body(reply));
            (reply.quota, NetworkReply::Followed(reply))
        }
        (Asks::Actions, Ok(reply)) => {
            let reply = head(&reply, came).of_actions(body(reply));
            (reply.quota, NetworkReply::Listed(reply))
        }
        (Asks::Actions, Err(lost)) => {
            let outcome = ActionsListed::Unanswered { error: lost.to_string() };
            (None, NetworkReply::Listed(cloud66::Reply::unanswered(outcome)))
        }
        (Asks::Look(kind), Ok(reply)) => {
            let reply = head(&reply, came).of_look(body(reply), kind);
            (reply.quota, NetworkReply::Looked(reply))
        }
        (Asks::Look(_), Err(lost)) => {
            let outcome = Looked::Unanswered { error: lost.to_string() };
            (None, NetworkReply::Looked(cloud66::Reply::unanswered(outcome)))
        }
        (Asks::JobRecord, Ok(reply)) => {
            let reply = head(&reply, came).of_job_record(body(reply));
            (reply.quota, NetworkReply::Recorded(reply))
        }
        (Asks::JobRecord, Err(_)) => (None, NetworkReply::Recorded(cloud66::Reply::unanswered(None))),
        (Asks::Action, Err(_)) => {
            (None, NetworkReply::Followed(cloud66::Reply::unanswered(FollowUp::Unanswered)))
        }
    };
    Arrived {
        #[cfg(test)]
        number,
        id,
        account,
        quota,
        reply,
    }
}

fn head(reply: &sandbox::SandboxReply, came: Timestamp) -> Head {
    let mut headers = HeaderMap::with_capacity(reply.headers.len());
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.append(name, value);
        }
    }
    Head::read(reply.status, &headers, came)
}

fn body(reply: sandbox::SandboxReply) -> Result<Vec<u8>, BodyError> {
    match reply.delivery {
        SandboxDelivery::Half => Err(BodyError::Broken("connection reset".to_owned())),
        SandboxDelivery::Endless => Err(BodyError::TooLong { most: LONGEST_BODY }),
        _ if reply.body.len() > LONGEST_BODY => Err(BodyError::TooLong { most: LONGEST_BODY }),
        SandboxDelivery::Whole | SandboxDelivery::Dripped(_) | SandboxDelivery::Nothing => Ok(reply.body),
    }
}

/// About how many bytes an answer has.
fn length(reply: &sandbox::SandboxReply) -> u32 {
    let head: usize = reply.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    u32::try_from(head + reply.body.len()).unwrap_or(u32::MAX)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lost::TimedOut => "timed out",
            Lost::Closed => "the connection was closed before an answer came",
            Lost::TooManyHeaders => "the answer has too many headers",
        })
    }
}
