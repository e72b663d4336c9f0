//! The commands: one file for each.

pub mod check;
pub mod moment;
pub mod next;
pub mod output;
pub mod schema;

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it was asked.
    Done,
    /// It could not.
    Failed,
    /// The arguments were wrong.
    Usage,
    /// The schedule file or its settings are wrong: to start again would not help (EX_CONFIG of sysexits.h).
    Config,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::Config => 78,
        })
    }
}
