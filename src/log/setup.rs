//! Where log lines go, in which format, and which are left out.

use std::io::{BufWriter, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::RecentLines;
use super::form::Form;
use super::journald::{self, Records};
use super::layer::{TARGET, ToWriter};
use super::log_writer::{LogProgress, LogWriter, Sink, WriterThread};
use super::text::TextPage;

/// Output and form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogOutput {
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
pub struct Log {
    /// Progress of the thread that writes the log.
    pub progress: LogProgress,
    _writing: WriterThread,
}

/// Bytes that are written at once.
const GROUP: usize = 64 * 1024;

/// Begins logging, to stdout unless `output` says otherwise. That is text on a terminal and JSON
/// elsewhere unless it is given. `recent` gets the lines that tell of occurrences.
///
/// Of other crates only warnings are logged, whatever the level: what they say in detail can hold a
/// query string.
///
/// # Errors
/// When the journal is asked for and does not listen, or the system has no thread left.
pub fn begin(output: Option<LogOutput>, level: Level, recent: Option<RecentLines>) -> std::io::Result<Log> {
    let terminal = std::io::stdout().is_terminal();
    let output = output.unwrap_or(if terminal { LogOutput::Text } else { LogOutput::Json });
    let columns = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into());
    let coloured = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let form = match output {
        LogOutput::Text => Form::Text(TextPage::new(columns, coloured)),
        LogOutput::Json if journald::has_stdout() => Form::Prioritized,
        LogOutput::Json => Form::Json,
        LogOutput::Journald => Form::Journald(Records::open()?),
    };
    // A group of lines is one write: the log_writer says where a group ends.
    let out = Box::new(BufWriter::with_capacity(GROUP, std::io::stdout()));
    let (log_writer, writing) = LogWriter::start(Sink { form, out, recent })?;
    let progress = log_writer.progress();
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let filter = Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(TARGET, ours);
    // Fails only when logging has begun before, and then the first one stands.
    let _ = tracing_subscriber::registry().with(filter).with(ToWriter(log_writer)).try_init();
    Ok(Log { progress, _writing: writing })
}
