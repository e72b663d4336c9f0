//! A scheduler that runs Cloud 66 stack jobs on their cron expressions: once, on time, within the quota.
//!
//! The modules stand in the order in which data passes through them.

pub mod clock;
pub mod sandbox;
pub mod schedule;
pub mod timetable;
