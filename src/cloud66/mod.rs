//! The Cloud 66 API: what is asked, what is answered, and what an answer means.

pub mod action;
pub mod answer;
pub(crate) mod call;
pub mod client;
pub(crate) mod reply;
pub mod token;
mod warm;

pub use action::{Action, ActionId};
pub use answer::Outcome;
pub use client::{Client, ClientError};
pub use reply::{FollowUp, Listed, Page, Reply};
pub use token::{Token, TokenError};
