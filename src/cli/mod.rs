//! The commands, one file for each.

pub mod check;
pub mod output;
pub mod schema;
