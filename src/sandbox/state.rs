//! What the look-alike knows and how it answers: a function of the request and of the time that it is given.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::schedule::{JobUid, StackUid};

use super::fault::{Fault, Kind, Order, Place};
use super::http::{Delivery, Endpoint, Reply, Request, Target};
use super::ledger::{Ledger, Record};
use super::settings::{ActionsOrder, Ending, Job, Scope, Settings, Stack, Unknown};
use super::shapes::{self, ActionBody, Done, JobBody, Page, StackBody, Wrapped};
use super::tamper;
use super::window::{Quota, Window};

/// The id of the first action, as in the vendor's example.
const FIRST_ACTION: u64 = 2593;
/// The database number of the first stack, as in the vendor's example.
const FIRST_STACK: usize = 1602;
/// How many times as long as others the actions of a job that ends in `-slow` run.
const SLOW: u32 = 30;

/// The look-alike without its sockets. Tests and rehearsals in virtual time drive it directly.
#[derive(Debug)]
pub struct State {
    users: Vec<Budget>,
    tokens: HashMap<String, (usize, Scope)>,
    /// Of requests whose token belongs to nobody: they are counted too.
    nobody: Window,
    stacks: Vec<Known>,
    stack_places: HashMap<String, usize>,
    /// The action with the id `FIRST_ACTION + n` is at the place n.
    actions: Vec<Action>,
    faults: Vec<Armed>,
    chances: fastrand::Rng,
    ledger: Ledger,
    unknown: Unknown,
    action_duration: Duration,
    latency: Duration,
    actions_order: ActionsOrder,
    created_at: Timestamp,
}

#[derive(Debug)]
struct Budget {
    name: String,
    window: Window,
}

#[derive(Debug)]
struct Known {
    stack: Stack,
    job_places: HashMap<String, usize>,
    jobs: Vec<JobState>,
    /// Places in `State::actions`, the oldest first.
    actions: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct JobState {
    paused: bool,
    last_action: Option<usize>,
}

#[derive(Debug)]
struct Action {
    user: usize,
    stack: usize,
    job: usize,
    started_at: Timestamp,
    /// None: it never ends.
    finishes_at: Option<Timestamp>,
    ending: Ending,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    met: u64,
    struck: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// The answer. What it tells has happened.
    Reply(Reply),
    /// Nothing has happened yet: hand the ticket to [`State::resume`] after this time, whatever the client does.
    Postponed(Duration, Ticket),
}

/// A request whose effect is still to come.
#[derive(Debug)]
pub struct Ticket {
    request: Request,
    target: Target,
    record: usize,
    user: usize,
    remaining: u32,
    faults: Vec<Kind>,
}

/// An action as the sandbox itself sees it: with its job, which the API does not tell.
#[derive(Clone, Debug, Serialize)]
pub struct ActionRecord {
    /// Its id in the API.
    pub id: u64,
    /// The stack's uid.
    pub stack: String,
    /// The job's uid.
    pub job: String,
    /// Whose token started it.
    pub user: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ends or ended; none for one that never does.
    pub finishes_at: Option<Timestamp>,
    /// Whether it ends with success.
    pub success: bool,
}

impl State {
    /// A state in which nothing has been asked. `now` is when its stacks and jobs were created.
    pub fn new(settings: &Settings, now: Timestamp) -> State {
        let mut state = State {
            users: Vec::new(),
            tokens: HashMap::new(),
            nobody: Window::new(settings.users.first().map_or_else(Quota::default, |user| user.quota)),
            stacks: Vec::new(),
            stack_places: HashMap::new(),
            actions: Vec::new(),
            faults: Vec::new(),
            chances: fastrand::Rng::with_seed(settings.seed),
            ledger: Ledger::default(),
            unknown: settings.unknown,
            action_duration: settings.action_duration,
            latency: settings.latency,
            actions_order: settings.actions_order,
            created_at: now,
        };
        for (place, user) in settings.users.iter().enumerate() {
            state.users.push(Budget { name: user.name.clone(), window: Window::new(user.quota) });
            for token in &user.tokens {
                state.tokens.insert(token.text.clone(), (place, token.scope));
            }
        }
        for stack in &settings.stacks {
            state.add_stack(stack.clone());
        }
        state.set_faults(settings.faults.clone());
        state
    }

    /// Judges a request that arrives now.
    pub fn handle(&mut self, request: Request, now: Timestamp) -> Answer {
        let target = request.target();
        let known = request.token.as_ref().and_then(|token| self.tokens.get(token)).copied();
        let args = request.job_args().ok().flatten();
        let record = self.ledger.requests.len();
        self.ledger.requests.push(Record {
            at: now,
            method: request.method.to_string(),
            path: request.path.clone(),
            endpoint: target.endpoint,
            stack: target.stack.clone(),
            job: target.job.clone(),
            args_from: args.as_ref().map(|(_, from)| *from),
            args: args.map(|(args, _)| args),
            user: known.map(|(user, _)| self.users[user].name.clone()),
            status: None,
            remaining: None,
            throttled: false,
            action: None,
            faults: Vec::new(),
        });

        if let Some(kind) = self.strike(Place::Proxy, &target, record).first() {
            return Answer::Reply(self.close(record, tamper::at_the_proxy(kind)));
        }
        let window = match known {
            Some((user, _)) => &mut self.users[user].window,
            None => &mut self.nobody,
        };
        let throttled = window.take(1, now) == 0;
        let (limit, remaining) = (window.limit(), window.remaining(now));
        if throttled {
            self.ledger.requests[record].throttled = true;
            return Answer::Reply(self.close(record, with_quota(shapes::throttled(), limit, remaining)));
        }
        let Some((user, scope)) = known else {
            let reply = shapes::error(401, "The token is not known");
            return Answer::Reply(self.close(record, with_quota(reply, limit, remaining)));
        };
        let faults = self.strike(Place::Api, &target, record);
        if scope == Scope::ReadOnly && request.method != Method::GET {
            let reply = shapes::error(403, "The token lacks the scope for this call");
            return Answer::Reply(self.close(record, with_quota(reply, limit, remaining)));
        }
        let postponed = faults.iter().find_map(|kind| match kind {
            Kind::Slow(after, Order::EffectLast) => Some(*after),
            _ => None,
        });
        let ticket = Ticket { request, target, record, user, remaining, faults };
        match postponed {
            Some(after) => Answer::Postponed(after, ticket),
            None => Answer::Reply(self.resume(ticket, now)),
        }
    }

    /// Lets a request take effect now, and answers it.
    pub fn resume(&mut self, ticket: Ticket, now: Timestamp) -> Reply {
        let mut reply = match ticket.faults.iter().find_map(tamper::refusal) {
            Some(refusal) => refusal,
            None => self.perform(&ticket, now),
        };
        reply = with_quota(reply, self.users[ticket.user].window.limit(), ticket.remaining);
        for kind in &ticket.faults {
            reply = tamper::with(reply, kind);
        }
        self.close(ticket.record, reply)
    }

    /// Requests of others with the same user's tokens. Says how many still fitted; none for an unknown user.
    pub fn use_quota(&mut self, user: &str, requests: u32, now: Timestamp) -> Option<u32> {
        Some(self.budget(user)?.take(requests, now))
    }

    /// A new limit for a user, from now on; what was used stays used. None for an unknown user.
    pub fn set_limit(&mut self, user: &str, limit: u32) -> Option<()> {
        self.budget(user)?.set_limit(limit);
        Some(())
    }

    /// Replaces all faults, their counts begin anew.
    pub fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults = faults.into_iter().map(|fault| Armed { fault, met: 0, struck: 0 }).collect();
    }

    /// Every request until now.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many actions were started.
    pub fn started(&self) -> usize {
        self.actions.len()
    }

    /// Every action until now, the oldest first.
    pub fn actions(&self) -> impl Iterator<Item = ActionRecord> + '_ {
        self.actions.iter().enumerate().map(|(place, action)| {
            let stack = &self.stacks[action.stack].stack;
            ActionRecord {
                id: id_of(place),
                stack: stack.uid.to_string(),
                job: stack.jobs[action.job].uid.to_string(),
                user: self.users[action.user].name.clone(),
                started_at: action.started_at,
                finishes_at: action.finishes_at,
                success: action.ending == Ending::Success,
            }
        })
    }

    fn budget(&mut self, user: &str) -> Option<&mut Window> {
        let budget = self.users.iter_mut().find(|budget| budget.name == user)?;
        Some(&mut budget.window)
    }

    fn add_stack(&mut self, stack: Stack) -> usize {
        let place = self.stacks.len();
        self.stack_places.insert(stack.uid.to_string(), place);
        self.stacks.push(Known {
            job_places: (stack.jobs.iter().enumerate())
                .map(|(place, job)| (job.uid.to_string(), place))
                .collect(),
            jobs: vec![JobState::default(); stack.jobs.len()],
            stack,
            actions: Vec::new(),
        });
        place
    }

    /// The faults of a place that strike this request, noted in its record.
    fn strike(&mut self, place: Place, target: &Target, record: usize) -> Vec<Kind> {
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
    fn close(&mut self, record: usize, mut reply: Reply) -> Reply {
        let record = &mut self.ledger.requests[record];
        if reply.delivery != Delivery::Nothing {
            record.status = Some(reply.status);
            record.remaining = reply.header("X-RateLimit-Remaining").and_then(|value| value.parse().ok());
        }
        reply.delay += self.latency;
        reply
    }

    fn perform(&mut self, ticket: &Ticket, now: Timestamp) -> Reply {
        let target = &ticket.target;
        let page = match ticket.request.parameter("page") {
            None => 1,
            Some(text) => match text.parse() {
                Ok(page) if page > 0 => page,
                _ => return shapes::error(400, "page is not a number from 1"),
            },
        };
        match target.endpoint {
            Endpoint::Unknown => return shapes::error(404, "There is no such path"),
            Endpoint::Ping => {
                let message = "pong".to_owned();
                return Reply::json(200, &Done { ok: true, message });
            }
            Endpoint::Stacks => {
                let body = Page::of(page, self.stacks.len(), |place| self.stack_body(place));
                return Reply::json(200, &body);
            }
            _ => {}
        }
        let Some(stack) = self.find_stack(target) else {
            return shapes::error(404, "There is no such stack");
        };
        match target.endpoint {
            Endpoint::Stack => reply(self.stack_body(stack)),
            Endpoint::Jobs => {
                let count = self.stacks[stack].jobs.len();
                Reply::json(200, &Page::of(page, count, |job| self.job_body(stack, job, now)))
            }
            Endpoint::PauseAll | Endpoint::UnpauseAll => {
                let paused = target.endpoint == Endpoint::PauseAll;
                for job in &mut self.stacks[stack].jobs {
                    job.paused = paused;
                }
                done("All jobs", paused)
            }
            Endpoint::Actions => {
                let actions = &self.stacks[stack].actions;
                let body = Page::of(page, actions.len(), |place| {
                    let place = match self.actions_order {
                        ActionsOrder::NewestFirst => actions.len() - 1 - place,
                        ActionsOrder::OldestFirst => place,
                    };
                    self.action_body(actions[place], now)
                });
                Reply::json(200, &body)
            }
            Endpoint::Action => match self.find_action(stack, target) {
                Some(action) => reply(self.action_body(action, now)),
                None => shapes::error(404, "There is no such action"),
            },
            _ => match self.find_job(stack, target) {
                Some(job) => self.perform_on_job(ticket, stack, job, now),
                None => shapes::error(404, "There is no such job"),
            },
        }
    }

    fn perform_on_job(&mut self, ticket: &Ticket, stack: usize, job: usize, now: Timestamp) -> Reply {
        let uid = self.stacks[stack].stack.jobs[job].uid.as_str();
        match ticket.target.endpoint {
            Endpoint::RunNow if uid.ends_with("-forbidden") => {
                shapes::error(403, "The token lacks the scope for this job")
            }
            Endpoint::RunNow => match ticket.request.job_args() {
                Ok(_) => {
                    let action = self.start(ticket, stack, job, now);
                    reply(self.action_body(action, now))
                }
                Err(_) => shapes::error(400, "The body is not {\"job_args\": \"...\"}"),
            },
            Endpoint::Pause | Endpoint::Unpause => {
                let paused = ticket.target.endpoint == Endpoint::Pause;
                self.stacks[stack].jobs[job].paused = paused;
                done("The job", paused)
            }
            _ => reply(self.job_body(stack, job, now)),
        }
    }

    /// Starts an action, and returns its place. A paused or running job starts another: nobody says that it does not.
    fn start(&mut self, ticket: &Ticket, stack: usize, job: usize, now: Timestamp) -> usize {
        let place = self.actions.len();
        let settings = &self.stacks[stack].stack.jobs[job];
        let duration = settings.duration.unwrap_or(match settings.uid.as_str().ends_with("-slow") {
            true => self.action_duration.saturating_mul(SLOW),
            false => self.action_duration,
        });
        let finishes_at = match settings.ending {
            Ending::Never => None,
            Ending::Success | Ending::Failure => {
                SignedDuration::try_from(duration).ok().and_then(|duration| now.checked_add(duration).ok())
            }
        };
        self.actions.push(Action {
            user: ticket.user,
            stack,
            job,
            started_at: now,
            finishes_at,
            ending: settings.ending,
        });
        let known = &mut self.stacks[stack];
        known.actions.push(place);
        known.jobs[job].last_action = Some(place);
        self.ledger.requests[ticket.record].action = Some(id_of(place));
        place
    }

    fn find_stack(&mut self, target: &Target) -> Option<usize> {
        let uid = target.stack.as_deref()?;
        if uid.ends_with("-missing") {
            return None;
        }
        match (self.stack_places.get(uid), self.unknown) {
            (Some(&place), _) => Some(place),
            (None, Unknown::NotFound) => None,
            (None, Unknown::Created) => Some(self.add_stack(Stack::new(StackUid::new(uid).ok()?))),
        }
    }

    fn find_job(&mut self, stack: usize, target: &Target) -> Option<usize> {
        let uid = target.job.as_deref()?;
        if uid.ends_with("-missing") {
            return None;
        }
        let known = &mut self.stacks[stack];
        match (known.job_places.get(uid), self.unknown) {
            (Some(&place), _) => Some(place),
            (None, Unknown::NotFound) => None,
            (None, Unknown::Created) => {
                let job = Job::new(JobUid::new(uid).ok()?);
                let place = known.jobs.len();
                known.job_places.insert(uid.to_owned(), place);
                known.jobs.push(JobState::default());
                known.stack.jobs.push(job);
                Some(place)
            }
        }
    }

    fn find_action(&self, stack: usize, target: &Target) -> Option<usize> {
        let place = usize::try_from(target.action?.checked_sub(FIRST_ACTION)?).ok()?;
        (self.actions.get(place)?.stack == stack).then_some(place)
    }

    fn stack_body(&self, place: usize) -> StackBody<'_> {
        let stack = &self.stacks[place].stack;
        StackBody {
            uid: stack.uid.as_str(),
            name: &stack.name,
            environment: &stack.environment,
            status: stack.status,
            health: 3,
            maintenance_mode: false,
            account_id: 1,
            account_name: "Sandbox",
            created_at_iso: shapes::iso_date(self.created_at),
            updated_at_iso: shapes::iso_date(self.created_at),
        }
    }

    fn job_body(&self, stack: usize, job: usize, now: Timestamp) -> JobBody<'_> {
        let known = &self.stacks[stack];
        let settings = &known.stack.jobs[job];
        let last = known.jobs[job].last_action.map(|place| &self.actions[place]);
        JobBody {
            uid: settings.uid.as_str(),
            name: &settings.name,
            kind: &settings.kind,
            cron: settings.cron.as_deref(),
            status: match last {
                None => 0,
                Some(action) if !action.has_finished(now) => 1,
                Some(action) if action.ending == Ending::Success => 2,
                Some(_) => 3,
            },
            paused: known.jobs[job].paused,
            params: &settings.params,
            created_at: shapes::plain_date(self.created_at),
            updated_at: shapes::plain_date(last.map_or(self.created_at, |action| action.started_at)),
        }
    }

    fn action_body(&self, place: usize, now: Timestamp) -> ActionBody<'_> {
        let action = &self.actions[place];
        let finished = action.finishes_at.filter(|_| action.has_finished(now));
        let success = action.ending == Ending::Success;
        ActionBody {
            id: id_of(place),
            user: &self.users[action.user].name,
            resource_type: "stack",
            action: "job_run_now",
            resource_id: (FIRST_STACK + action.stack).to_string(),
            started_via: "api",
            started_at: shapes::iso_date(action.started_at),
            finished_at: finished.map(shapes::iso_date),
            finished_success: finished.map(|_| success),
            finished_message: finished.map(|_| match success {
                true => "The job finished",
                false => "The job exited with status 1",
            }),
        }
    }
}

impl Action {
    fn has_finished(&self, now: Timestamp) -> bool {
        self.finishes_at.is_some_and(|at| at <= now)
    }
}

fn id_of(place: usize) -> u64 {
    FIRST_ACTION + place as u64
}

fn reply(body: impl Serialize) -> Reply {
    Reply::json(200, &Wrapped { response: body })
}

fn done(what: &str, paused: bool) -> Reply {
    let message = format!("{what} {}", if paused { "paused" } else { "unpaused" });
    reply(Done { ok: true, message })
}

fn with_quota(mut reply: Reply, limit: u32, remaining: u32) -> Reply {
    reply.headers.push(("X-RateLimit-Limit".into(), limit.to_string()));
    reply.headers.push(("X-RateLimit-Remaining".into(), remaining.to_string()));
    reply
}
