//! The log: which events there are, and how they become lines.

pub mod event;
mod field;
mod form;
mod journald;
mod json;
mod layer;
mod line;
mod log_writer;
mod recent;
pub mod setup;
mod text;
pub mod words;

pub use event::Event;
pub(crate) use form::Form;
pub(crate) use line::Line;
pub(crate) use log_writer::LogGap;
pub use log_writer::LogProgress;
pub use recent::RecentLines;
pub use setup::{Level, Log, LogOutput};
pub(crate) use text::{TextPage, shortened, visible};
