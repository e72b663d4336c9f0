//! A scheduler that runs Cloud 66 stack jobs on their cron expressions: once, on time, within the
//! quota.
//!
//! The modules stand in the order in which data passes through them.

pub mod occurrence;
pub mod schedule;
pub mod timetable;
pub mod dispatch;
pub mod quota;
pub mod cloud66;
pub mod journal;
pub mod watch;
mod neighbours;
pub mod daemon;
pub mod control;
pub mod metrics;
pub mod web;
pub mod notify;
pub mod log;
pub mod sandbox;
pub mod audit;
pub mod backfill;
pub mod rehearsal;
pub mod online;
pub mod cli;
pub mod clock;
mod background;
pub mod hangup;
mod memory;
mod permission;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
