//! The Cloud 66 API: what is asked, what is answered, and what an answer means.

pub mod action;
pub mod answer;
pub(crate) mod call;
pub mod client;
mod connection;
mod dial;
mod encoding;
mod envelope;
pub(crate) mod failure;
mod fire;
mod headers;
mod html;
mod job_record;
pub mod jobs;
pub(crate) mod look;
pub(crate) mod masking;
pub mod pages;
mod pool;
pub(crate) mod reply;
pub(crate) mod roots;
mod route;
pub mod stacks;
pub mod token;
mod wire;
mod workers;

pub use action::{Action, ActionId};
pub use answer::Outcome;
pub use client::{Client, ClientError};
pub use job_record::JobRecord;
pub use jobs::{Job, JobStatus};
pub use look::{Looked, Obstacle};
pub use pages::{Listed, Page, PageNumber};
pub use reply::{ActionsListed, ActionsPage, Departure, FollowUp, Reply};
pub use stacks::Stack;
pub(crate) use token::CREDENTIALS;
pub use token::{Token, TokenError};
