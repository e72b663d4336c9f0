//! The commands: one file for each, and what they share.

pub mod moment;
pub mod next;
pub mod output;
