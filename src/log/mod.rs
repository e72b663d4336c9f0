//! The log: which events there are, and how they become lines.

pub mod event;
mod field;
mod journald;
mod json;
pub mod line;
mod scribe;
pub mod setup;
mod text;

pub use event::Event;
pub use line::Format;
pub use scribe::{Progress, Scribe};
pub use setup::{Level, Log, Output};
pub(crate) use text::visible;
