//! The look-alike's state, and its answers as a function of the state, the request and the time
//! that is passed in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;

use super::fault::{Fault, FaultKind, FaultOrder, FaultPlace};
use super::http::{Endpoint, RequestTarget, SandboxDelivery, SandboxReply, SandboxRequest};
use super::ledger::{Ledger, LedgerRecord};
use super::settings::{Settings, TokenRights};
use super::shapes::{self, Wrapped};
use super::tamper;
use super::window::{SandboxQuota, SandboxWindow};
use super::world::{ActionRecord, Occupation, SandboxCall, SandboxWorld};

/// The look-alike without its sockets. Tests and rehearsals in virtual time drive it directly.
#[derive(Debug)]
pub struct SandboxState {
    users: Vec<Budget>,
    tokens: HashMap<String, (usize, TokenRights)>,
    /// The quota of requests whose token belongs to nobody. They are counted too.
    nobody: SandboxWindow,
    world: SandboxWorld,
    faults: Vec<Armed>,
    chances: fastrand::Rng,
    ledger: Ledger,
    latency: Duration,
    /// Places in the ledger of requests that were answered and not taken yet.
    answered: Vec<usize>,
}

#[derive(Debug)]
struct Budget {
    name: Arc<str>,
    window: SandboxWindow,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    met: u64,
    struck: u64,
}

/// The outcome of a request.
#[derive(Debug)]
pub enum SandboxAnswer {
    /// The answer. What it tells has happened.
    Reply(SandboxReply),
    /// Nothing has happened yet: hand the ticket to [`SandboxState::resume`] after this time,
    /// whatever the client does.
    Postponed(Duration, SandboxTicket),
}

/// A request whose effect is still to come.
#[derive(Debug)]
pub struct SandboxTicket {
    request: SandboxRequest,
    target: RequestTarget,
    record: usize,
    user: usize,
    remaining: u32,
    faults: Vec<FaultKind>,
}

impl SandboxState {
    /// A state in which nothing has been asked. `now` is when its stacks and jobs were created.
    pub fn new(settings: &Settings, now: Timestamp) -> SandboxState {
        let mut state = SandboxState {
            users: Vec::new(),
            tokens: HashMap::new(),
            nobody: SandboxWindow::new(
                settings.users.first().map_or_else(SandboxQuota::default, |user| user.quota),
            ),
            world: SandboxWorld::new(settings, now),
            faults: Vec::new(),
            chances: fastrand::Rng::with_seed(settings.seed),
            ledger: Ledger::default(),
            latency: settings.latency,
            answered: Vec::new(),
        };
        for (place, user) in settings.users.iter().enumerate() {
            state
                .users
                .push(Budget { name: user.name.as_str().into(), window: SandboxWindow::new(user.quota) });
            for token in &user.tokens {
                state.tokens.insert(token.text.clone(), (place, token.scope));
            }
        }
        state.set_faults(settings.faults.clone());
        state
    }

    /// Judges a request that arrives now.
    pub fn handle(&mut self, request: SandboxRequest, now: Timestamp) -> SandboxAnswer {
        let target = request.target();
        let known = request.token.as_ref().and_then(|token| self.tokens.get(token)).copied();
        let args = request.job_args().ok().flatten();
        let record = self.ledger.requests.len();
        self.ledger.requests.push(LedgerRecord {
            at: now,
            method: request.method.to_string(),
            path: request.path.clone(),
            endpoint: target.endpoint,
            stack: target.stack.clone(),
            job: target.job.clone(),
            args_from: args.as_ref().map(|(_, from)| *from),
            args: args.map(|(args, _)| args),
            user: known.map(|(user, _)| self.users[user].name.to_string()),
            status: None,
            remaining: None,
            throttled: false,
            action: None,
            faults: Vec::new(),
        });

        if let Some(kind) = self.strike(FaultPlace::Proxy, &target, record).first() {
            return SandboxAnswer::Reply(self.close(record, tamper::at_the_proxy(kind)));
        }
        if target.endpoint == Endpoint::PublicPing {
            return SandboxAnswer::Reply(
                self.close(record, SandboxReply::json(200, &Wrapped { response: shapes::PONG })),
            );
        }
        let window = match known {
            Some((user, _)) => &mut self.users[user].window,
            None => &mut self.nobody,
        };
        let throttled = window.take(1, now) == 0;
        let (limit, remaining) = (window.limit(), window.remaining(now));
        if throttled {
            self.ledger.requests[record].throttled = true;
            return SandboxAnswer::Reply(
                self.close(record, with_quota(shapes::throttled(), limit, remaining)),
            );
        }
        let Some((user, scope)) = known else {
            let reply = shapes::error(401, "The token is not known");
            return SandboxAnswer::Reply(self.close(record, with_quota(reply, limit, remaining)));
        };
        let faults = self.strike(FaultPlace::Api, &target, record);
        if scope == TokenRights::ReadOnly && request.method != Method::GET {
            let reply = shapes::error(403, "The token lacks the scope for this call");
            return SandboxAnswer::Reply(self.close(record, with_quota(reply, limit, remaining)));
        }
        let postponed = faults.iter().find_map(|kind| match kind {
            FaultKind::Slow(after, FaultOrder::EffectLast) => Some(*after),
            _ => None,
        });
        let ticket = SandboxTicket { request, target, record, user, remaining, faults };
        match postponed {
            Some(after) => SandboxAnswer::Postponed(after, ticket),
            None => SandboxAnswer::Reply(self.resume(ticket, now)),
        }
    }

    /// Lets a request take effect now, and answers it.
    pub fn resume(&mut self, ticket: SandboxTicket, now: Timestamp) -> SandboxReply {
        let mut reply = match ticket.faults.iter().find_map(tamper::refusal) {
            Some(refusal) => refusal,
            None => {
                let started = self.world.started();
                let user = &self.users[ticket.user].name;
                let reply = self
                    .world
                    .perform(SandboxCall { request: &ticket.request, target: &ticket.target, user }, now);
                if self.world.started() > started {
                    self.ledger.requests[ticket.record].action = self.world.newest();
                }
                reply
            }
        };
        reply = with_quota(reply, self.users[ticket.user].window.limit(), ticket.remaining);
        for kind in &ticket.faults {
            reply = tamper::with(reply, kind);
        }
        self.close(ticket.record, reply)
    }

    /// Requests of others with the same user's tokens. Says how many still fitted; none for an
    /// unknown user.
    pub fn use_quota(&mut self, user: &str, requests: u32, now: Timestamp) -> Option<u32> {
        Some(self.budget(user)?.take(requests, now))
    }

    /// A new limit for a user, from now on; what was used stays used. None for an unknown user.
    pub fn set_limit(&mut self, user: &str, limit: u32) -> Option<()> {
        self.budget(user)?.set_limit(limit);
        Some(())
    }

    /// Deploys a stack until an instant, or puts it into maintenance. None for an unknown stack.
    pub fn occupy(&mut self, stack: &str, with: Occupation, until: Timestamp) -> Option<()> {
        self.world.occupy(stack, with, until)
    }

    /// From now on no run moves the record of its job.
    #[cfg(test)]
    pub(crate) fn records_stay(&mut self) {
        self.world.records_stay();
    }

    /// Somebody has run a job of a stack, and nothing went wrong.
    #[cfg(test)]
    pub(crate) fn has_run(&mut self, user: &str, stack: &str, job: &str, at: Timestamp) {
        self.world.has_run(user, stack, job, at);
    }

    /// Pauses or unpauses all jobs of a stack, as somebody in front of Cloud 66's page does.
    #[cfg(test)]
    pub(crate) fn pause_all(&mut self, stack: &str, paused: bool) {
        self.world.pause_all(stack, paused);
    }

    /// Takes the requests that were answered since the last call, in the order of their answers.
    pub(super) fn take_answered(&mut self) -> Vec<LedgerRecord> {
        let answered = std::mem::take(&mut self.answered);
        answered.into_iter().map(|record| self.ledger.requests[record].clone()).collect()
    }

    /// Replaces all faults, their counts begin anew.
    pub fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults = faults.into_iter().map(|fault| Armed { fault, met: 0, struck: 0 }).collect();
    }

    /// Every request until now.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Number of actions that were started.
    pub fn started(&self) -> usize {
        self.world.started()
    }

    /// Every action until now, the oldest first.
    pub fn actions(&self) -> impl Iterator<Item = ActionRecord> + '_ {
        self.world.actions()
    }

    fn budget(&mut self, user: &str) -> Option<&mut SandboxWindow> {
        let budget = self.users.iter_mut().find(|budget| *budget.name == *user)?;
        Some(&mut budget.window)
    }

    /// The faults of a place that strike this request, noted in its record.
    fn strike(&mut self, place: FaultPlace, target: &RequestTarget, record: usize) -> Vec<FaultKind> {
        let mut struck = Vec::new();
        for armed in &mut self.faults {
            let fault = &armed.fault;
            if fault.place() != place || !fault.selects(target) {
                continue;
            }
            armed.met += 1;
            if armed.met % fault.every != 0
                || fault.times.is_some_and(|times| armed.struck >= times)
                || (fault.probability < 1.0 && self.chances.f64() >= fault.probability)
            {
                continue;
            }
            armed.struck += 1;
            self.ledger.requests[record].faults.push(fault.to_string());
            struck.push(fault.kind.clone());
        }
        struck
    }

    /// Notes what is answered.
    fn close(&mut self, record: usize, mut reply: SandboxReply) -> SandboxReply {
        self.answered.push(record);
        let record = &mut self.ledger.requests[record];
        if reply.delivery != SandboxDelivery::Nothing {
            record.status = Some(reply.status);
            record.remaining = reply.header("X-RateLimit-Remaining").and_then(|value| value.parse().ok());
        }
        reply.delay += self.latency;
        reply
    }
}

fn with_quota(mut reply: SandboxReply, limit: u32, remaining: u32) -> SandboxReply {
    reply.headers.push(("X-RateLimit-Limit".into(), limit.to_string()));
    reply.headers.push(("X-RateLimit-Remaining".into(), remaining.to_string()));
    reply
}
