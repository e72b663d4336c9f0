//! The sandbox's stacks, their jobs, and the actions that run_now starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::schedule::{JobUid, StackUid};

use super::deploy::Deploys;
use super::http::{Endpoint, RequestTarget, SandboxReply, SandboxRequest};
use super::settings::{ActionEnding, ActionsOrder, SandboxJob, SandboxStack, Settings, Unknown};
use super::shapes::{self, ActionBody, Checked, JobBody, ListPage, PONG, StackBody, Wrapped};

/// The id of the first action, as in the vendor's example.
const FIRST_ACTION: u64 = 2593;
/// The database number of the first stack, as in the vendor's example.
const FIRST_STACK: usize = 1602;
/// The status of a stack that deploys.
const DEPLOYING: u8 = 5;
/// Run time of the action that pauses jobs.
const PAUSING: Duration = Duration::from_millis(500);
/// The actions of a job whose uid ends in `-slow` run this many times as long as others.
const SLOW: u32 = 30;

/// The stacks, jobs and actions, and what every call answers when nothing stands in its way.
#[derive(Debug)]
pub(super) struct SandboxWorld {
    stacks: Vec<KnownStack>,
    stack_places: HashMap<String, usize>,
    /// The action with the id `FIRST_ACTION + n` is at the place n.
    actions: Vec<SandboxAction>,
    /// Number of `actions` that run a job.
    runs: usize,
    deploys: Vec<Deploys>,
    unknown: Unknown,
    action_duration: Duration,
    records_move: bool,
    actions_order: ActionsOrder,
    created_at: Timestamp,
}

#[derive(Debug)]
struct KnownStack {
    stack: SandboxStack,
    job_places: HashMap<String, usize>,
    jobs: Vec<JobState>,
    /// The end of a deployment that somebody asked for.
    deploys_until: Timestamp,
    /// The end of a maintenance that somebody asked for.
    maintained_until: Timestamp,
    /// Places in `SandboxWorld::actions`, the oldest first.
    actions: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct JobState {
    paused: bool,
    last_action: Option<usize>,
}

#[derive(Debug)]
struct SandboxAction {
    user: Arc<str>,
    stack: usize,
    what: ActionKind,
    started_at: Timestamp,
    /// None: it never ends.
    finishes_at: Option<Timestamp>,
    ending: ActionEnding,
}

/// The kind of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActionKind {
    /// Runs the job at this place of its stack.
    Run(usize),
    /// Pauses or unpauses one job or all: the vendor has one name for the four.
    Pause,
}

impl ActionKind {
    fn as_str(self) -> &'static str {
        match self {
            ActionKind::Run(_) => "job_run_now",
            ActionKind::Pause => "job_pause_handler",
        }
    }
}

/// A run of a job as the sandbox itself sees it: with its job, which the API does not tell.
#[derive(Clone, Debug, Serialize)]
pub struct ActionRecord {
    /// The action's id in the API.
    pub id: u64,
    /// The stack's uid.
    pub stack: String,
    /// The job's uid.
    pub job: String,
    /// The user whose token started the action.
    pub user: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ends or ended; none for one that never does.
    pub finishes_at: Option<Timestamp>,
    /// True when the action ends with success.
    pub success: bool,
}

/// A state in which the vendor runs no jobs on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupation {
    /// The stack deploys: its `status` is 5 or 6.
    Deployment,
    /// The stack is in maintenance mode.
    Maintenance,
}

/// A request for an action: who asks, and on which stack and job.
#[derive(Clone, Copy, Debug)]
pub(super) struct SandboxCall<'a> {
    pub request: &'a SandboxRequest,
    pub target: &'a RequestTarget,
    pub user: &'a Arc<str>,
}

impl SandboxWorld {
    pub(super) fn new(settings: &Settings, now: Timestamp) -> SandboxWorld {
        let mut world = SandboxWorld {
            stacks: Vec::new(),
            stack_places: HashMap::new(),
            actions: Vec::new(),
            runs: 0,
            deploys: settings.deploys.clone(),
            unknown: settings.unknown,
            action_duration: settings.action_duration,
            records_move: settings.records_move,
            actions_order: settings.actions_order,
            created_at: now,
        };
        for stack in &settings.stacks {
            world.add_stack(stack.clone());
        }
        world
    }

    /// Number of runs that were started.
    pub(super) fn started(&self) -> usize {
        self.runs
    }

    /// The id of the newest action.
    pub(super) fn newest(&self) -> Option<u64> {
        self.actions.len().checked_sub(1).map(id_of)
    }

    /// Every run until now, the oldest first.
    pub(super) fn actions(&self) -> impl Iterator<Item = ActionRecord> + '_ {
        self.actions.iter().enumerate().filter_map(|(place, action)| {
            let ActionKind::Run(job) = action.what else { return None };
            let stack = &self.stacks[action.stack].stack;
            Some(ActionRecord {
                id: id_of(place),
                stack: stack.uid.to_string(),
                job: stack.jobs[job].uid.to_string(),
                user: action.user.to_string(),
                started_at: action.started_at,
                finishes_at: action.finishes_at,
                success: action.ending == ActionEnding::Success,
            })
        })
    }

    fn add_stack(&mut self, stack: SandboxStack) -> usize {
        let place = self.stacks.len();
        self.stack_places.insert(stack.uid.to_string(), place);
        self.stacks.push(KnownStack {
            job_places: (stack.jobs.iter().enumerate())
                .map(|(place, job)| (job.uid.to_string(), place))
                .collect(),
            jobs: vec![JobState::default(); stack.jobs.len()],
            deploys_until: Timestamp::MIN,
            maintained_until: Timestamp::MIN,
            stack,
            actions: Vec::new(),
        });
        place
    }

    /// Does what is asked, and answers it.
    pub(super) fn perform(&mut self, call: SandboxCall<'_>, now: Timestamp) -> SandboxReply {
        let target = call.target;
        let page = match call.request.parameter("page") {
            None => 1,
            Some(text) => match text.parse() {
                Ok(page) if page > 0 => page,
                _ => return shapes::error(400, "page is not a number from 1"),
            },
        };
        match target.endpoint {
            Endpoint::Unknown | Endpoint::PublicPing => return shapes::error(404, "There is no such path"),
            Endpoint::Ping => return SandboxReply::json(200, &Checked { pong: PONG, response: PONG }),
            Endpoint::Stacks => {
                let stacks = (0..self.stacks.len()).map(|place| self.stack_body(place, now));
                return list(call.request, page, stacks);
            }
            _ => {}
        }
        let Some(stack) = self.find_stack(target) else {
            return shapes::error(404, "There is no such stack");
        };
        match target.endpoint {
            Endpoint::Stack => reply(self.stack_body(stack, now)),
            Endpoint::Jobs => {
                let jobs = (0..self.stacks[stack].jobs.len()).map(|job| self.job_body(stack, job, now));
                list(call.request, page, jobs)
            }
            Endpoint::PauseAll | Endpoint::UnpauseAll => {
                let paused = target.endpoint == Endpoint::PauseAll;
                self.stacks[stack].jobs.iter_mut().for_each(|job| job.paused = paused);
                let action = self.start(call.user, stack, ActionKind::Pause, now);
                reply(self.action_body(action, now))
            }
            Endpoint::Actions => {
                let actions = &self.stacks[stack].actions;
                let body = |place| self.action_body(place, now);
                match self.actions_order {
                    ActionsOrder::NewestFirst => {
                        list(call.request, page, actions.iter().rev().copied().map(body))
                    }
                    ActionsOrder::OldestFirst => list(call.request, page, actions.iter().copied().map(body)),
                }
            }
            Endpoint::Action => match self.find_action(stack, target) {
                Some(action) => reply(self.action_body(action, now)),
                None => shapes::error(404, "There is no such action"),
            },
            _ => match self.find_job(stack, target) {
                Some(job) => self.perform_on_job(call, stack, job, now),
                None => shapes::error(404, "There is no such job"),
            },
        }
    }

    fn perform_on_job(
        &mut self,
        call: SandboxCall<'_>,
        stack: usize,
        job: usize,
        now: Timestamp,
    ) -> SandboxReply {
        let uid = self.stacks[stack].stack.jobs[job].uid.as_str();
        match call.target.endpoint {
            Endpoint::RunNow if uid.ends_with("-forbidden") => {
                shapes::error(403, "The token lacks the scope for this job")
            }
            Endpoint::RunNow => match call.request.job_args() {
                Ok(_) => {
                    let action = self.start(call.user, stack, ActionKind::Run(job), now);
                    reply(self.action_body(action, now))
                }
                Err(_) => shapes::error(400, "The body is not {\"job_args\": \"...\"}"),
            },
            Endpoint::Pause | Endpoint::Unpause => {
                let paused = call.target.endpoint == Endpoint::Pause;
                self.stacks[stack].jobs[job].paused = paused;
                let action = self.start(call.user, stack, ActionKind::Pause, now);
                reply(self.action_body(action, now))
            }
            _ => reply(self.job_body(stack, job, now)),
        }
    }

    /// Starts an action, and returns its place. A paused or running job starts another: nobody says
    /// that it does not.
    fn start(&mut self, user: &Arc<str>, stack: usize, what: ActionKind, now: Timestamp) -> usize {
        let place = self.actions.len();
        let (duration, ending) = match what {
            ActionKind::Run(job) => {
                let settings = &self.stacks[stack].stack.jobs[job];
                let slow = settings.uid.as_str().ends_with("-slow");
                let duration = self.action_duration.saturating_mul(if slow { SLOW } else { 1 });
                (settings.duration.unwrap_or(duration), settings.ending)
            }
            ActionKind::Pause => (PAUSING, ActionEnding::Success),
        };
        let finishes_at = match ending {
            ActionEnding::Never => None,
            ActionEnding::Success | ActionEnding::Failure => {
                SignedDuration::try_from(duration).ok().and_then(|duration| now.checked_add(duration).ok())
            }
        };
        self.actions.push(SandboxAction {
            user: Arc::clone(user),
            stack,
            what,
            started_at: now,
            finishes_at,
            ending,
        });
        let known = &mut self.stacks[stack];
        known.actions.push(place);
        if let ActionKind::Run(job) = what {
            known.jobs[job].last_action = Some(place);
            self.runs += 1;
        }
        place
    }

    fn find_stack(&mut self, target: &RequestTarget) -> Option<usize> {
        let uid = target.stack.as_deref()?;
        if uid.ends_with("-missing") {
            return None;
        }
        match (self.stack_places.get(uid), self.unknown) {
            (Some(&place), _) => Some(place),
            (None, Unknown::NotFound) => None,
            (None, Unknown::Created) => Some(self.add_stack(SandboxStack::new(StackUid::new(uid).ok()?))),
        }
    }

    fn find_job(&mut self, stack: usize, target: &RequestTarget) -> Option<usize> {
        let uid = target.job.as_deref()?;
        if uid.ends_with("-missing") {
            return None;
        }
        let known = &mut self.stacks[stack];
        match (known.job_places.get(uid), self.unknown) {
            (Some(&place), _) => Some(place),
            (None, Unknown::NotFound) => None,
            (None, Unknown::Created) => {
                let job = SandboxJob::new(JobUid::new(uid).ok()?);
                let place = known.jobs.len();
                known.job_places.insert(uid.to_owned(), place);
                known.jobs.push(JobState::default());
                known.stack.jobs.push(job);
                Some(place)
            }
        }
    }

    fn find_action(&self, stack: usize, target: &RequestTarget) -> Option<usize> {
        let place = usize::try_from(target.action?.checked_sub(FIRST_ACTION)?).ok()?;
        (self.actions.get(place)?.stack == stack).then_some(place)
    }

    /// Deploys a stack until an instant, or puts it into maintenance. `None` for an unknown stack.
    pub(super) fn occupy(&mut self, uid: &str, with: Occupation, until: Timestamp) -> Option<()> {
        let place = *self.stack_places.get(uid)?;
        let known = &mut self.stacks[place];
        match with {
            Occupation::Deployment => known.deploys_until = until,
            Occupation::Maintenance => known.maintained_until = until,
        }
        Some(())
    }

    #[cfg(test)]
    pub(super) fn records_stay(&mut self) {
        self.records_move = false;
    }

    #[cfg(test)]
    pub(super) fn has_run(&mut self, user: &str, stack: &str, job: &str, at: Timestamp) {
        let Some(&place) = self.stack_places.get(stack) else { return };
        if let Some(&job) = self.stacks[place].job_places.get(job) {
            self.start(&Arc::from(user), place, ActionKind::Run(job), at);
        }
    }

    #[cfg(test)]
    pub(super) fn pause_all(&mut self, uid: &str, paused: bool) {
        if let Some(&place) = self.stack_places.get(uid) {
            self.stacks[place].jobs.iter_mut().for_each(|job| job.paused = paused);
        }
    }

    fn stack_body(&self, place: usize, now: Timestamp) -> StackBody<'_> {
        let known = &self.stacks[place];
        let stack = &known.stack;
        let by_the_clock = |deploys: &Deploys| deploys.stack == stack.uid && deploys.is_on(now);
        let deploys = now < known.deploys_until || self.deploys.iter().any(by_the_clock);
        StackBody {
            uid: stack.uid.as_str(),
            name: &stack.name,
            environment: &stack.environment,
            status: if deploys { DEPLOYING } else { stack.status },
            health: 3,
            maintenance_mode: stack.maintenance || now < known.maintained_until,
            account_id: 1,
            account_name: "Sandbox",
            created_at_iso: shapes::iso_date(self.created_at),
            updated_at_iso: shapes::iso_date(self.created_at),
        }
    }

    fn job_body(&self, stack: usize, job: usize, now: Timestamp) -> JobBody<'_> {
        let known = &self.stacks[stack];
        let settings = &known.stack.jobs[job];
        let last = known.jobs[job].last_action.filter(|_| self.records_move);
        let last = last.map(|place| &self.actions[place]);
        JobBody {
            uid: settings.uid.as_str(),
            name: &settings.name,
            kind: &settings.kind,
            cron: settings.cron.as_deref(),
            status: match last {
                None => 0,
                Some(action) if !action.has_finished(now) => 1,
                Some(action) if action.ending == ActionEnding::Success => 2,
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
        let success = action.ending == ActionEnding::Success;
        ActionBody {
            id: id_of(place),
            user: &action.user,
            resource_type: "stack",
            action: action.what.as_str(),
            resource_id: (FIRST_STACK + action.stack).to_string(),
            started_via: "api",
            started_at: shapes::iso_date(action.started_at),
            finished_at: finished.map(shapes::iso_date),
            finished_success: finished.map(|_| success),
            finished_message: finished.map(|_| match (action.what, success) {
                (ActionKind::Pause, _) => "The jobs were paused or unpaused",
                (ActionKind::Run(_), true) => "The job finished",
                (ActionKind::Run(_), false) => "The job exited with status 1",
            }),
            finished_result: None,
            metadata: Map::new(),
        }
    }
}

impl SandboxAction {
    fn has_finished(&self, now: Timestamp) -> bool {
        self.finishes_at.is_some_and(|at| at <= now)
    }
}

fn id_of(place: usize) -> u64 {
    FIRST_ACTION + place as u64
}

fn reply(body: impl Serialize) -> SandboxReply {
    SandboxReply::json(200, &Wrapped { response: body })
}

/// A page of those items whose fields are as the request's `filter_FIELD=VALUE` wants them.
fn list<T: Serialize>(
    request: &SandboxRequest,
    page: usize,
    items: impl ExactSizeIterator<Item = T>,
) -> SandboxReply {
    let filters = request.filters();
    if filters.is_empty() {
        let count = items.len();
        let first = page.saturating_sub(1).saturating_mul(shapes::PER_PAGE).min(count);
        let mut items = items.skip(first);
        return SandboxReply::json(200, &ListPage::of(page, count, |_| items.next()));
    }
    // The look-alike's own types have string keys: they always serialize.
    let values: Vec<Value> = items.map(|item| serde_json::to_value(item).unwrap_or_default()).collect();
    let is_wanted = |value: &&Value| {
        filters.iter().all(|(field, wanted)| match &value[field] {
            Value::String(text) => text == wanted,
            other => serde_json::to_string(other).is_ok_and(|text| text == *wanted),
        })
    };
    let wanted: Vec<&Value> = values.iter().filter(is_wanted).collect();
    SandboxReply::json(200, &ListPage::of(page, wanted.len(), |place| wanted[place]))
}
