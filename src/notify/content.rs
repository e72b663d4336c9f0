//! The content of a message.

use super::message::Digest;
use crate::schedule::Format;

/// The content of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Digest(Format, Digest),
    Ping(Ping),
}

/// The content of a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ping {
    Started,
    Succeeded,
    Failed(String),
}

impl Message {
    /// The ends that it tells of.
    pub(super) fn ends(&self) -> usize {
        match self {
            Message::Digest(_, digest) => digest.len(),
            Message::Ping(_) => 1,
        }
    }
}
