//! What the API knows of a schedule: its stacks and jobs, asked for within the quota.
//!
//! A [`Desk`] asks for one account, [`survey`] asks all that a schedule names, [`findings`] holds the answers against it.

mod desk;
mod findings;
mod survey;

pub use desk::{AskError, Desk, Tally};
pub use findings::{Nearest, findings, nearest};
pub use survey::{Learnt, survey};
