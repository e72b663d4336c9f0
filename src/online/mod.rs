//! What the API knows of a schedule: its stacks and jobs, asked for within the quota.
//!
//! A [`CheckClient`] asks for one account, [`survey`] asks all that a schedule names, [`findings`] holds the answers against it.

mod check_client;
mod findings;
mod survey;

pub use check_client::{AskError, CheckClient, Tally};
pub use findings::{Nearest, findings, nearest};
pub use survey::{Learnt, survey};
