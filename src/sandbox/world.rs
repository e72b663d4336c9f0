//! What there is: stacks, their jobs, and the actions that run_now starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::schedule::{JobUid, StackUid};

use super::http::{Endpoint, Reply, Request, Target};
use super::settings::{ActionsOrder, Ending, Job, Settings, Stack, Unknown};
use super::shapes::{self, ActionBody, Done, JobBody, Page, StackBody, Wrapped};

/// The id of the first action, as in the vendor's example.
const FIRST_ACTION: u64 = 2593;
/// The database number of the first stack, as in the vendor's example.
const FIRST_STACK: usize = 1602;
/// How many times as long as others the actions of a job that ends in `-slow` run.
const SLOW: u32 = 30;

/// The stacks, jobs and actions, and what every call answers when nothing stands in its way.
#[derive(Debug)]
pub(super) struct World {
    stacks: Vec<Known>,
    stack_places: HashMap<String, usize>,
    /// The action with the id `FIRST_ACTION + n` is at the place n.
    actions: Vec<Action>,
    unknown: Unknown,
    action_duration: Duration,
    actions_order: ActionsOrder,
    created_at: Timestamp,
}

#[derive(Debug)]
struct Known {
    stack: Stack,
    job_places: HashMap<String, usize>,
    jobs: Vec<JobState>,
    /// Places in `World::actions`, the oldest first.
    actions: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct JobState {
    /// None: nobody has paused or unpaused it.
    paused: Option<bool>,
    last_action: Option<usize>,
}

#[derive(Debug)]
struct Action {
    user: Arc<str>,
    stack: usize,
    job: usize,
    started_at: Timestamp,
    /// None: it never ends.
    finishes_at: Option<Timestamp>,
    ending: Ending,
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

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub request: &'a Request,
    pub target: &'a Target,
    pub user: &'a Arc<str>,
}

impl World {
    pub(super) fn new(settings: &Settings, now: Timestamp) -> World {
        let mut world = World {
            stacks: Vec::new(),
            stack_places: HashMap::new(),
            actions: Vec::new(),
            unknown: settings.unknown,
            action_duration: settings.action_duration,
            actions_order: settings.actions_order,
            created_at: now,
        };
        for stack in &settings.stacks {
            world.add_stack(stack.clone());
        }
        world
    }

    /// How many actions were started.
    pub(super) fn started(&self) -> usize {
        self.actions.len()
    }

    /// The id of the newest action.
    pub(super) fn newest(&self) -> Option<u64> {
        self.actions.len().checked_sub(1).map(id_of)
    }

    /// Every action until now, the oldest first.
    pub(super) fn actions(&self) -> impl Iterator<Item = ActionRecord> + '_ {
        self.actions.iter().enumerate().map(|(place, action)| {
            let stack = &self.stacks[action.stack].stack;
            ActionRecord {
                id: id_of(place),
                stack: stack.uid.to_string(),
                job: stack.jobs[action.job].uid.to_string(),
                user: action.user.to_string(),
                started_at: action.started_at,
                finishes_at: action.finishes_at,
                success: action.ending == Ending::Success,
            }
        })
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

    /// Does what is asked, and answers it.
    pub(super) fn perform(&mut self, call: Call<'_>, now: Timestamp) -> Reply {
        let target = call.target;
        let page = match call.request.parameter("page") {
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
                    job.paused = Some(paused);
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
                Some(job) => self.perform_on_job(call, stack, job, now),
                None => shapes::error(404, "There is no such job"),
            },
        }
    }

    fn perform_on_job(&mut self, call: Call<'_>, stack: usize, job: usize, now: Timestamp) -> Reply {
        let uid = self.stacks[stack].stack.jobs[job].uid.as_str();
        match call.target.endpoint {
            Endpoint::RunNow if uid.ends_with("-forbidden") => {
                shapes::error(403, "The token lacks the scope for this job")
            }
            Endpoint::RunNow => match call.request.job_args() {
                Ok(_) => {
                    let action = self.start(call.user, stack, job, now);
                    reply(self.action_body(action, now))
                }
                Err(_) => shapes::error(400, "The body is not {\"job_args\": \"...\"}"),
            },
            Endpoint::Pause | Endpoint::Unpause => {
                let paused = call.target.endpoint == Endpoint::Pause;
                self.stacks[stack].jobs[job].paused = Some(paused);
                done("The job", paused)
            }
            _ => reply(self.job_body(stack, job, now)),
        }
    }

    /// Starts an action, and returns its place. A paused or running job starts another: nobody says that it does not.
    fn start(&mut self, user: &Arc<str>, stack: usize, job: usize, now: Timestamp) -> usize {
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
            user: Arc::clone(user),
            stack,
            job,
            started_at: now,
            finishes_at,
            ending: settings.ending,
        });
        let known = &mut self.stacks[stack];
        known.actions.push(place);
        known.jobs[job].last_action = Some(place);
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
            maintenance_mode: stack.maintenance,
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
            user: &action.user,
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
