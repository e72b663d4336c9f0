//! Where log lines go, in which format, and which are left out.

use std::io::{BufWriter, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journald::{self, Prioritized, Records};
use super::json::JsonLines;
use super::log_writer::{Lines, LogWriter, Writing};
use super::text::TextLines;

/// Output and form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// To stdout, a sentence for people a line.
    Text,
    /// To stdout, one JSON object a line.
    Json,
    /// Each event a record of systemd's journal, with the event's fields as its own: journalctl
    /// ENTRY=nightly-report.
    Journald,
}

/// The gravest level that is left out is the one below this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Errors alone.
    Error,
    /// And warnings.
    Warn,
    /// And what happens in the course of things.
    #[default]
    Info,
    /// And what helps to find a fault.
    Debug,
}

/// The log that has begun. What is left of it is written when this is dropped.
#[derive(Debug)]
pub struct Log {
    /// Writes events.
    pub log_writer: LogWriter,
    _writing: Writing,
}

/// Bytes that are written at once.
const GROUP: usize = 64 * 1024;

/// Begins logging, to stdout unless `output` says otherwise. That is text on a terminal and JSON
/// elsewhere unless it is given.
///
/// Of other crates only warnings are logged, whatever the level: what they say in detail can hold a
/// query string.
///
/// # Errors
/// When the journal is asked for and does not listen, or the system has no thread left.
pub fn begin(output: Option<Output>, level: Level) -> std::io::Result<Log> {
    let terminal = std::io::stdout().is_terminal();
    let output = output.unwrap_or(if terminal { Output::Text } else { Output::Json });
    let columns = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into());
    let coloured = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    // A group of lines is one write: the log_writer says where a group ends.
    let stdout = || BufWriter::with_capacity(GROUP, std::io::stdout());
    let out: Box<dyn Write + Send> = match output {
        Output::Json if journald::has_stdout() => Box::new(Prioritized(stdout())),
        Output::Text | Output::Json => Box::new(stdout()),
        Output::Journald => Box::new(Records::open()?),
    };
    let (log_writer, writing) = LogWriter::start(out)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(coloured && output == Output::Text)
        .with_writer(Lines(log_writer.clone()));
    let lines = match output {
        Output::Text => lines.event_format(TextLines::new(columns)).boxed(),
        Output::Json | Output::Journald => lines.event_format(JsonLines).boxed(),
    };
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let filter = Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("stackcron", ours);
    // Fails only when logging has begun before, and then the first one stands.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Ok(Log { log_writer, _writing: writing })
}
