//! Holds a schedule against the API: asks for its stacks and jobs, within the quota.
//!
//! A [`CheckClient`] asks for one account, [`survey`] asks for every stack and job that a schedule
//! names, and [`findings`] compares the answers with the schedule.

mod check_client;
mod findings;
mod survey;

pub use check_client::{AskError, CheckClient, Tally};
pub use findings::{Nearest, findings, nearest};
pub use survey::{Learnt, survey};
