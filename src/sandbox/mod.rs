//! A look-alike of the Cloud 66 API: stacks, jobs, actions and the quota, with faults on demand.
//!
//! It serves the demonstration, the tests and rehearsals. [`SandboxState`] is the whole of it as a
//! function of requests and time; [`Sandbox`] puts it on a socket. Some uids say how they behave,
//! so that a schedule alone shows everything:
//!
//! | a uid that ends in | of a | does |
//! |---|---|---|
//! | `-fails` | job | its actions finish without success |
//! | `-slow` | job | its actions run 30 times as long |
//! | `-forbidden` | job | run_now is answered with 403 |
//! | `-missing` | stack or job | is answered with 404 |
//!
//! Where the vendor's pages say nothing, the look-alike has it thus: a paused or running job is started again by
//! run_now; a request that is refused because the quota is spent does not count; requests without a known token share
//! one quota of their own; an action's instants are whole seconds.
//!
//! Beside the API, without token and uncounted: `GET /_sandbox/ledger` (with `?started=N` once N actions were started),
//! `GET /_sandbox/actions`, `POST /_sandbox/use?user=NAME&n=N`, `POST /_sandbox/limit?user=NAME&n=N`, and
//! `POST /_sandbox/faults?fault=...&fault=...`, which replaces all faults. `POST /_sandbox/deploy?stack=UID&for=20s` deploys a
//! stack from now on, and `POST /_sandbox/maintenance?stack=UID&for=20s` puts it into maintenance; `for=0s` ends either.

mod control;
mod deploy;
pub mod fault;
mod http;
mod ledger;
mod server;
mod settings;
mod shapes;
mod state;
mod tamper;
pub mod window;
mod wire;
mod world;

pub use deploy::{Deploys, DeploysError};
pub use fault::Fault;
pub use http::{ArgsFrom, BASE, Endpoint, SandboxDelivery, SandboxReply, SandboxRequest};
pub use ledger::{Ledger, LedgerRecord};
pub use server::Sandbox;
pub use settings::{
    ActionEnding, ActionsOrder, DEFAULT_TOKEN, SandboxJob, SandboxStack, SandboxToken, Settings, TokenRights,
    Unknown, User,
};
pub use state::{SandboxAnswer, SandboxState, SandboxTicket};
pub use window::{SandboxQuota, WindowKind};
pub use world::{ActionRecord, Occupation};
