//! `stackcron fire`: runs an entry now, through the running daemon.

use std::io::Write;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::complete;
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use super::{CommandEnd, history};
use crate::control::{self, ControlAnswer, ControlAnswers, ControlError, FireProgress, Question};
use crate::journal::State;
use crate::log::visible;
use crate::occurrence::Reason;
use crate::schedule::duration;

/// Run an entry now, through the running daemon and its quota.
///
/// It is claimed and journalled as what is scheduled, with an instant of its own, and goes by the
/// entry's priority, its start_deadline and its overlap policy, but without jitter, and whether or
/// not the entry is paused. The exit status is 0 once an action has started.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entry, by its name in the schedule
    #[arg(add = complete::entries())]
    entry: String,
    /// Sent as job_args in place of the entry's own, exactly as written
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    args: Option<String>,
    /// Wait so long for what becomes of it. What still waits then stays claimed, and is sent when
    /// it can be
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "60s")]
    wait: Duration,
    /// Do not wait: it is claimed, and is sent when it can be. The exit status is 0 once it is
    /// claimed
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Send it even while its stack deploys or is in maintenance, or its job is paused in Cloud 66:
    /// `stack_state` is not heeded
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    place: StatePlace,
}

pub(super) fn run(args: &Args, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let (mut answers, entry, scheduled_at) = claim(args)?;
    let message = format!("{entry}: claimed as {scheduled_at}");
    let claimed = FireProgress {
        entry,
        scheduled_at,
        state: State::Due.as_str().to_owned(),
        message,
        ..FireProgress::default()
    };
    if args.no_wait {
        print(&claimed, format)?;
        note(&format!("`stackcron history {}` tells what becomes of it", args.entry));
        return Ok(CommandEnd::Done);
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
            Ok(if told.is_started() { CommandEnd::Done } else { CommandEnd::Failed })
        }
        (told, Some(error)) => {
            print(&told, format)?;
            Err(anyhow::Error::from(error)
                .context("it is claimed, and `stackcron history` tells what becomes of it"))
        }
    }
}

/// A question without an answer is repeated so often: a daemon that restarts is there within this
/// time.
const REPEATS: u32 = 10;

/// Between two of them.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);

/// Has it claimed. A question without an answer may have been claimed all the same: it is repeated
/// as the same one.
fn claim(args: &Args) -> anyhow::Result<(ControlAnswers, String, Timestamp)> {
    let at = instant(Timestamp::now());
    let (entry, text, wait) = (args.entry.clone(), args.args.clone(), !args.no_wait);
    let question = Question::Fire { entry, args: text, wait, at: Some(at), now: args.now };
    let places = args.place.sockets()?;
    let mut repeats = 0;
    loop {
        let asked = control::ask(&places, &question).and_then(|mut answers| Ok((answers.soon()?, answers)));
        let error = match asked {
            Ok((ControlAnswer::Claimed { entry, scheduled_at }, answers)) => {
                return Ok((answers, entry, scheduled_at));
            }
            Ok((other, _)) => return Err(ControlError::Strange(format!("{other:?}")).into()),
            Err(error) => error,
        };
        let lost = matches!(error, ControlError::Gone | ControlError::Silent(_));
        let absent = matches!(error, ControlError::Nobody { .. });
        if repeats == 0 && !lost {
            return Err(error.into());
        }
        if repeats == REPEATS || !(lost || absent) {
            return Err(anyhow::Error::from(error).context(format!(
                "the first answer was lost, and the request may be claimed as {at}: look at `stackcron history {}` before you \
                 fire it again",
                args.entry
            )));
        }
        repeats += 1;
        std::thread::sleep(REPEAT_PAUSE);
    }
}

/// An instant of whole microseconds, as a journal keeps it, and no whole second: those are the
/// schedule's. Two people who fire at once are told apart by the microsecond.
fn instant(now: Timestamp) -> Timestamp {
    let cut = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    match cut.subsec_nanosecond() {
        0 => Timestamp::from_microsecond(cut.as_microsecond() + 1).unwrap_or(cut),
        _ => cut,
    }
}

/// Waits until it is decided, or for so long. Returns the last that was told.
fn watch(
    answers: &mut ControlAnswers,
    mut last: FireProgress,
    most: Duration,
    format: OutputFormat,
) -> (FireProgress, Option<ControlError>) {
    let end = Instant::now() + most;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || (last.until.is_some_and(|until| comes_after(until, left))) {
            return (last, None);
        }
        match answers.within(left) {
            Ok(Some(ControlAnswer::FireProgress(told))) => {
                last = told;
                if last.is_final() {
                    return (last, None);
                }
                let left = end.saturating_duration_since(Instant::now());
                // One that is not waited for is told as the last.
                if format == OutputFormat::Text && !last.until.is_some_and(|until| comes_after(until, left)) {
                    note(&visible(&last.message));
                }
            }
            Ok(Some(other)) => return (last, Some(ControlError::Strange(format!("{other:?}")))),
            Ok(None) => {}
            Err(error) => return (last, Some(error)),
        }
    }
}

/// Returns true when an instant comes later than the command waits.
fn comes_after(until: Timestamp, left: Duration) -> bool {
    Timestamp::now().checked_add(left).is_ok_and(|end| until > end)
}

fn print(told: &FireProgress, format: OutputFormat) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match format {
        OutputFormat::Json => {
            serde_json::to_writer(&mut text, told)?;
            writeln!(text)?;
        }
        OutputFormat::Text => {
            let style = State::of_word(&told.state).map_or(Style::new(), history::style);
            writeln!(text, "{style}{}{style:#} {}", told.state, visible(&told.message))?;
        }
    }
    output::print(&text).map(|_| ())
}

/// Returns the remedy that the log's sentence does not name.
fn remedy(told: &FireProgress) -> Option<&'static str> {
    let reason = told.reason.as_deref().and_then(|word| word.parse().ok());
    match (State::of_word(&told.state)?, reason) {
        (State::Skipped, Some(Reason::Overlap)) => Some(
            "its last action has not finished, and its `overlap` is not `allow`: fire it again when that has finished",
        ),
        (State::Skipped, Some(Reason::Deploying | Reason::Maintenance | Reason::PausedRemotely)) => {
            Some("its `stack_state` is `skip`: fire it again when that is over, or with --now")
        }
        (State::Skipped, Some(Reason::Removed)) => Some("it was taken out of the schedule meanwhile"),
        (State::Missed, _) => Some("it could not be sent within its `start_deadline`: fire it again"),
        (State::Unknown, _) => {
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
