//! The control socket, by which people steer and watch a running daemon: the Unix socket, its
//! protocol, and both of its ends.

mod attention;
mod choice;
mod journal_reading;
mod on_disk;
mod request;
mod request_handler;
mod client;
mod peer;
mod protocol;
mod server;
mod socket;
mod status;
mod status_reader;
mod unusual_reader;
mod user;

pub use attention::{Attention, ProblemKind};
pub(crate) use attention::{States, attention};
pub use client::{ControlAnswers, ControlError, ask};
pub use on_disk::OnDisk;
pub use protocol::{
    ControlAnswer, ErrorKind, FireProgress, LONGEST_QUESTION, Question, QuestionError, VERSION,
};
pub(crate) use request::{
    Changed, ControlRequest, FireError, FireRequest, LoopError, NotReady, Snapshot, Steer, SteerError, Terms,
    Uid, Wanted,
};
pub use request::{ControlHandle, ControlReceiver, channel};
pub use server::{Server, Serving};
pub use socket::{FILE_NAME, place, places};
pub use status::{
    AccountStatus, EntryStatus, JournalStatus, LastStatus, LatelyStatus, MemberStatus, NotableStatus,
    PausedBy, PausedEntry, RefusedStatus, ScheduleStatus, Status, UnusualStatus, WaitingStatus,
};
pub(crate) use status_reader::StatusError;
pub use status_reader::StatusReader;
