//! What a sandbox is started with: who may ask, what there is, what goes wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::schedule::{JobUid, Schedule, StackUid};

use super::deploy::Deploys;
use super::fault::Fault;
use super::window::{Quota, WindowKind};

/// The token of a sandbox that is given no users.
pub const DEFAULT_TOKEN: &str = "sandbox-token";

/// Everything about a sandbox that can be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Whose tokens are accepted.
    pub users: Vec<User>,
    /// The stacks there are.
    pub stacks: Vec<Stack>,
    /// Whether a stack or job that nobody has declared comes to be when it is first named.
    pub unknown: Unknown,
    /// What goes wrong, all of it at once.
    pub faults: Vec<Fault>,
    /// Stacks that deploy by the clock.
    pub deploys: Vec<Deploys>,
    /// How long an action runs, unless its job says otherwise.
    pub action_duration: Duration,
    /// Whether a run moves `status` and `updated_at` of its job's record. The vendor does not say.
    pub records_move: bool,
    /// How long every answer is held back.
    pub latency: Duration,
    /// In which order a stack's actions are listed. The vendor does not say.
    pub actions_order: ActionsOrder,
    /// Of the chances in `p=` of faults.
    pub seed: u64,
}

/// What becomes of a uid that nobody has declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// 404, as from the vendor.
    #[default]
    NotFound,
    /// It comes to be, unless it ends in `-missing`.
    Created,
}

/// In which order a stack's actions are listed.
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
    /// As an action tells it.
    pub name: String,
    /// Shared by its tokens.
    pub quota: Quota,
    /// What it may present.
    pub tokens: Vec<Token>,
}

/// What is presented as `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// What it may do.
    pub scope: Scope,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Read and run.
    #[default]
    Full,
    /// Read. Everything else is answered with 403.
    ReadOnly,
}

/// A stack and its jobs.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Its uid.
    pub uid: StackUid,
    /// Its name; several stacks may have the same in different environments.
    pub name: String,
    /// As `production`.
    pub environment: String,
    /// 0 to 7; 1 is deployed, 5 and 6 are deploying.
    pub status: u8,
    /// Whether it is in maintenance mode.
    pub maintenance: bool,
    /// In the order they are listed.
    pub jobs: Vec<Job>,
}

/// A job of a stack.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its uid.
    pub uid: JobUid,
    /// Its name.
    pub name: String,
    /// As `RakeJob`.
    pub kind: String,
    /// By its kind.
    pub params: Map<String, Value>,
    /// Its own schedule with the vendor, five fields.
    pub cron: Option<String>,
    /// How long its actions run.
    pub duration: Option<Duration>,
    /// How its actions end.
    pub ending: Ending,
}

/// How the actions of a job end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With success.
    Success,
    /// Without.
    Failure,
    /// Never.
    Never,
}

impl Default for Settings {
    /// One user, no stacks, any free port of the loopback.
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
            user.quota = Quota {
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
                settings.stacks.push(Stack::new(entry.stack.clone()));
                settings.stacks.len() - 1
            });
            if jobs.insert((&entry.stack, &entry.job)) {
                settings.stacks[place].jobs.push(Job::new(entry.job.clone()));
            }
        }
        settings
    }

    /// The token of an account in a sandbox made for its schedule.
    pub fn token_of(account: &str) -> String {
        format!("sandbox-token-of-{account}")
    }

    /// Gives every user this quota.
    pub fn quota(mut self, quota: Quota) -> Settings {
        for user in &mut self.users {
            user.quota = quota;
        }
        self
    }

    /// Adds a stack.
    pub fn stack(mut self, stack: Stack) -> Settings {
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
            quota: Quota::default(),
            tokens: vec![Token { text: token.to_owned(), scope: Scope::Full }],
        }
    }
}

impl Stack {
    /// A deployed stack without jobs, named as its uid.
    pub fn new(uid: StackUid) -> Stack {
        Stack {
            name: uid.to_string(),
            uid,
            environment: "production".to_owned(),
            status: 1,
            maintenance: false,
            jobs: Vec::new(),
        }
    }

    /// Adds a job.
    pub fn job(mut self, job: Job) -> Stack {
        self.jobs.push(job);
        self
    }
}

impl Job {
    /// A job named as its uid. Its actions succeed, or end as the uid's ending says.
    pub fn new(uid: JobUid) -> Job {
        let ending = match uid.as_str().ends_with("-fails") {
            true => Ending::Failure,
            false => Ending::Success,
        };
        let params = match json!({ "task": uid.as_str() }) {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        Job {
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
