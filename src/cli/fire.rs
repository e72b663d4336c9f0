//! `stackcron fire`: runs an entry now, through the running daemon.

use std::io::Write;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::output::{self, Format};
use super::place::Place;
use super::{Status, history};
use crate::control::{self, Answer, Answers, ClientError, Question, Told};
use crate::journal::State;
use crate::log::visible;
use crate::schedule::duration;

/// Run an entry now, through the running daemon and its quota.
///
/// It is claimed and journalled as what is scheduled, with an instant of its own, and goes by the entry's priority, its
/// start_deadline and its overlap policy, but without jitter, and whether or not the entry is paused. The exit status is 0 once
/// an action has started.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entry, by its name in the schedule
    entry: String,
    /// Sent as job_args in place of the entry's own, exactly as written
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    args: Option<String>,
    /// Wait so long for what becomes of it. What still waits then stays claimed, and is sent when it can be
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "60s")]
    wait: Duration,
    /// Do not wait: it is claimed, and is sent when it can be. The exit status is 0 once it is claimed
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args, format: Format) -> anyhow::Result<Status> {
    let question = Question::Fire { entry: args.entry.clone(), args: args.args.clone(), wait: !args.no_wait };
    let mut answers = control::ask(&args.place.sockets()?, &question)?;
    let (entry, scheduled_at) = match answers.soon()? {
        Answer::Claimed { entry, scheduled_at } => (entry, scheduled_at),
        other => return Err(ClientError::Strange(format!("{other:?}")).into()),
    };
    let message = format!("{entry}: claimed as {scheduled_at}");
    let claimed =
        Told { entry, scheduled_at, state: State::Due.as_str().to_owned(), message, ..Told::default() };
    if args.no_wait {
        print(&claimed, format)?;
        note(&format!("`stackcron history {}` tells what becomes of it", args.entry));
        return Ok(Status::Done);
    }
    match watch(&mut answers, claimed, args.wait, format) {
        (told, None) => {
            print(&told, format)?;
            if !told.is_final() {
                note(&format!(
                    "it has not started yet, stays claimed, and is sent when it can be: do not fire it again; \
                     `stackcron history {}` tells what becomes of it",
                    args.entry
                ));
            } else if let Some(remedy) = remedy(&told) {
                note(remedy);
            }
            Ok(if told.is_started() { Status::Done } else { Status::Failed })
        }
        (told, Some(error)) => {
            print(&told, format)?;
            Err(anyhow::Error::from(error)
                .context("it is claimed, and `stackcron history` tells what becomes of it"))
        }
    }
}

/// Waits until it is decided, or for so long. Returns the last that was told.
fn watch(
    answers: &mut Answers,
    mut last: Told,
    most: Duration,
    format: Format,
) -> (Told, Option<ClientError>) {
    let end = Instant::now() + most;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || (last.until.is_some_and(|until| comes_after(until, left))) {
            return (last, None);
        }
        match answers.within(left) {
            Ok(Some(Answer::Told(told))) => {
                last = told;
                if last.is_final() {
                    return (last, None);
                }
                if format == Format::Text && last.until.is_none() {
                    note(&visible(&last.message));
                }
            }
            Ok(Some(other)) => return (last, Some(ClientError::Strange(format!("{other:?}")))),
            Ok(None) => {}
            Err(error) => return (last, Some(error)),
        }
    }
}

/// Whether it is of no use to wait so long for an instant.
fn comes_after(until: Timestamp, left: Duration) -> bool {
    Timestamp::now().checked_add(left).is_ok_and(|end| until > end)
}

fn print(told: &Told, format: Format) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match format {
        Format::Json => {
            serde_json::to_writer(&mut text, told)?;
            writeln!(text)?;
        }
        Format::Text => {
            let style = State::of_word(&told.state).map_or(Style::new(), history::style);
            writeln!(text, "{style}{}{style:#} {}", told.state, visible(&told.message))?;
        }
    }
    output::print(&text).map(|_| ())
}

/// What the log's sentence does not say.
fn remedy(told: &Told) -> Option<&'static str> {
    match (told.state.as_str(), told.reason.as_deref()) {
        ("skipped", Some("overlap")) => Some(
            "its last action has not finished, and its `overlap` is not `allow`: fire it again when that has finished",
        ),
        ("skipped", Some("removed")) => Some("it was taken out of the schedule meanwhile"),
        ("missed", _) => Some("it could not be sent within its `start_deadline`: fire it again"),
        ("unknown", _) => {
            Some("look for its action at the stack before it is fired again: it may have started")
        }
        _ => None,
    }
}

/// On stderr: what reads the record is not to take it for one.
fn note(text: &str) {
    let faint = AnsiColor::BrightBlack.on_default();
    let _ = writeln!(anstream::stderr(), "{faint}{text}{faint:#}");
}
