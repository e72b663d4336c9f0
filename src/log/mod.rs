//! The log: which events there are, and how they become lines.

pub mod event;
mod field;
mod journald;
mod json;
pub mod line;
mod log_writer;
pub mod setup;
mod text;
pub mod words;

pub use event::Event;
pub use line::Format;
pub(crate) use log_writer::Gap;
pub use log_writer::{LogWriter, Progress};
pub use setup::{Level, Log, Output};
pub use text::Page;
pub(crate) use text::{shortened, visible};
