//! The settings of a sandbox: its users and tokens, its stacks and jobs, its faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::schedule::{JobUid, Schedule, StackUid};

use super::deploy::Deploys;
use super::fault::Fault;
use super::window::{SandboxQuota, WindowKind};

/// The token of a sandbox that is given no users.
pub const DEFAULT_TOKEN: &str = "sandbox-token";

/// Everything about a sandbox that can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// The users whose tokens are accepted.
    pub users: Vec<User>,
    /// The stacks there are.
    pub stacks: Vec<SandboxStack>,
    /// Tells whether an undeclared stack or job is created when a request first names it.
    pub unknown: Unknown,
    /// The faults; all of them are in force at once.
    pub faults: Vec<Fault>,
    /// Stacks that deploy by the clock.
    pub deploys: Vec<Deploys>,
    /// Run time of an action whose job has none of its own.
    pub action_duration: Duration,
    /// When true, a run moves `status` and `updated_at` of its job's record. The vendor's pages do
    /// not tell which is so.
    pub records_move: bool,
    /// Every answer is held back this long.
    pub latency: Duration,
    /// The order in which a stack's actions are listed. The vendor's pages do not tell it.
    pub actions_order: ActionsOrder,
    /// Seed of the random numbers behind `p=` of the faults.
    pub seed: u64,
}

/// The treatment of a uid that the settings do not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// 404, as from the vendor.
    #[default]
    NotFound,
    /// The stack or job is created, unless its uid ends in `-missing`.
    Created,
}

/// The order in which a stack's actions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActionsOrder {
    /// The last started first.
    #[default]
    NewestFirst,
    /// The first started first.
    OldestFirst,
}

/// A person or service, with one quota for all its tokens.
#[derive(Clone, Debug)]
pub struct User {
    /// The name that an action shows as its user.
    pub name: String,
    /// Shared by its tokens.
    pub quota: SandboxQuota,
    /// The tokens that act for this user.
    pub tokens: Vec<SandboxToken>,
}

/// A token, as a client presents it in `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct SandboxToken {
    /// The token itself.
    pub text: String,
    /// The rights of the token.
    pub scope: TokenRights,
}

/// The rights of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenRights {
    /// Read and run.
    #[default]
    Full,
    /// Read. Everything else is answered with 403.
    ReadOnly,
}

/// A stack and its jobs.
#[derive(Clone, Debug)]
pub struct SandboxStack {
    /// The stack's uid.
    pub uid: StackUid,
    /// The stack's name. Several stacks may share one in different environments.
    pub name: String,
    /// The environment, such as `production`.
    pub environment: String,
    /// 0 to 7; 1 is deployed, 5 and 6 are deploying.
    pub status: u8,
    /// True while the stack is in maintenance mode.
    pub maintenance: bool,
    /// The jobs in the order in which the API lists them.
    pub jobs: Vec<SandboxJob>,
}

/// A job of a stack.
#[derive(Clone, Debug)]
pub struct SandboxJob {
    /// The job's uid.
    pub uid: JobUid,
    /// The job's name.
    pub name: String,
    /// The vendor's type of the job, such as `RakeJob`.
    pub kind: String,
    /// The fields that the job's type adds, such as `task` or `command`.
    pub params: Map<String, Value>,
    /// The job's own cron expression with the vendor: five fields.
    pub cron: Option<String>,
    /// Run time of the job's actions. `None`: the sandbox's `action_duration`.
    pub duration: Option<Duration>,
    /// The way in which the job's actions end.
    pub ending: ActionEnding,
}

/// The way in which the actions of a job end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionEnding {
    /// The action ends with success.
    Success,
    /// Without.
    Failure,
    /// Never.
    Never,
}

impl Default for Settings {
    /// One user, no stacks, and any free port of the loopback address.
    fn default() -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            users: vec![User::new("demo@example.com", DEFAULT_TOKEN)],
            stacks: Vec::new(),
            unknown: Unknown::NotFound,
            faults: Vec::new(),
            deploys: Vec::new(),
            action_duration: Duration::from_secs(2),
            records_move: true,
            latency: Duration::ZERO,
            actions_order: ActionsOrder::NewestFirst,
            seed: 0,
        }
    }
}

impl Settings {
    /// A sandbox that knows the stacks and jobs of a schedule and gives each account a user of its
    /// own, with the account's quota and the token that [`Settings::token_of`] tells.
    pub fn for_schedule(schedule: &Schedule) -> Settings {
        let mut settings = Settings { users: Vec::new(), ..Settings::default() };
        for account in &schedule.accounts {
            let name = account.name.as_str();
            let mut user = User::new(&format!("{name}@example.com"), &Settings::token_of(name));
            user.quota = SandboxQuota {
                limit: account.quota.limit,
                window: account.quota.window,
                kind: WindowKind::default(),
            };
            settings.users.push(user);
        }
        // A schedule may have 100,000 entries: no search through those before.
        let mut places = std::collections::HashMap::new();
        let mut jobs = std::collections::HashSet::new();
        for entry in &schedule.entries {
            let place = *places.entry(&entry.stack).or_insert_with(|| {
                settings.stacks.push(SandboxStack::new(entry.stack.clone()));
                settings.stacks.len() - 1
            });
            if jobs.insert((&entry.stack, &entry.job)) {
                settings.stacks[place].jobs.push(SandboxJob::new(entry.job.clone()));
            }
        }
        settings
    }

    /// The token of an account in a sandbox made for its schedule.
    pub fn token_of(account: &str) -> String {
        format!("sandbox-token-of-{account}")
    }

    /// Gives every user this quota.
    pub fn quota(mut self, quota: SandboxQuota) -> Settings {
        for user in &mut self.users {
            user.quota = quota;
        }
        self
    }

    /// Adds a stack.
    pub fn stack(mut self, stack: SandboxStack) -> Settings {
        self.stacks.push(stack);
        self
    }

    /// Adds a fault.
    pub fn fault(mut self, fault: Fault) -> Settings {
        self.faults.push(fault);
        self
    }
}

impl User {
    /// A user with one token that may do everything, and the documented quota.
    pub fn new(name: &str, token: &str) -> User {
        User {
            name: name.to_owned(),
            quota: SandboxQuota::default(),
            tokens: vec![SandboxToken { text: token.to_owned(), scope: TokenRights::Full }],
        }
    }
}

impl SandboxStack {
    /// A deployed stack without jobs, named as its uid.
    pub fn new(uid: StackUid) -> SandboxStack {
        SandboxStack {
            name: uid.to_string(),
            uid,
            environment: "production".to_owned(),
            status: 1,
            maintenance: false,
            jobs: Vec::new(),
        }
    }

    /// Adds a job.
    pub fn job(mut self, job: SandboxJob) -> SandboxStack {
        self.jobs.push(job);
        self
    }
}

impl SandboxJob {
    /// A job named as its uid. Its actions succeed, or end as the uid's ending says.
    pub fn new(uid: JobUid) -> SandboxJob {
        let ending = match uid.as_str().ends_with("-fails") {
            true => ActionEnding::Failure,
            false => ActionEnding::Success,
        };
        let params = match json!({ "task": uid.as_str() }) {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        SandboxJob {
            name: uid.to_string(),
            uid,
            kind: "RakeJob".to_owned(),
            params,
            cron: None,
            duration: None,
            ending,
        }
    }
}
