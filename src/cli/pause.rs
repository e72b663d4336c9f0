//! `stackcron pause` and `stackcron resume`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::moment::{Moment, shared_zone};
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use super::{CommandEnd, complete};
use crate::control::{self, ControlAnswer, ControlError, Question};
use crate::schedule::{self, duration};

/// Names that are shown before a question.
const SHOWN: usize = 20;

/// The longest note, in characters: a sentence.
const LONGEST_NOTE: usize = 500;

/// Skip the occurrences of entries until they are resumed, across restarts of the daemon.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    choice: EntryChoice,
    /// Send what is due from then on again: RFC 3339, a local time as 2026-12-01T06:00 or 06:00 in
    /// the entries' zone, or +2h
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Send what is due after so long again, as 2h
    #[arg(long = "for", value_name = "D", value_parser = duration::parse, conflicts_with = "until")]
    span: Option<Duration>,
    /// Why, for whoever finds the entries paused
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Send the occurrences of entries that were paused again, from the next one on.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    choice: EntryChoice,
}

/// Which entries.
#[derive(Clone, Debug, clap::Args)]
struct EntryChoice {
    /// Entries by name, with `*` for any characters and `?` for one; all of them where none is
    /// given
    #[arg(value_name = "PATTERN", add = complete::entries())]
    patterns: Vec<String>,
    /// Only entries of this stack
    #[arg(long, value_name = "STACK", add = complete::stacks())]
    stack: Option<String>,
    /// Do not ask before more than one entry is touched
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    place: StatePlace,
}

/// The state that the person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PauseTo {
    Paused { until: Option<Timestamp>, note: Option<String> },
    Resumed,
}

/// A change that was made. Its keys are an interface.
#[derive(Serialize)]
struct Steered<'a> {
    entry: &'a str,
    paused: bool,
    changed: bool,
    paused_in_schedule: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

pub(super) fn pause(args: Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let now = Timestamp::now();
    if args.note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
        let error = anyhow::anyhow!("the note is longer than {LONGEST_NOTE} characters; shorten it");
        return Ok(output::usage(error.as_ref()));
    }
    let places = args.choice.place.sockets()?;
    let entries = chosen(&args.choice, &places, false)?;
    let until = match (args.until, args.span) {
        (Some(moment), _) => match moment.in_zone(&zone(moment, &entries, config), now) {
            Ok(at) => Some(at),
            Err(error) => return Ok(output::usage(&error)),
        },
        (None, Some(span)) => now.checked_add(span).ok(),
        (None, None) => None,
    };
    if let Some(past) = until.filter(|&until| until <= now) {
        let error = anyhow::anyhow!(
            "{past:.0} has passed: give the end of the pause as a time to come, with its date"
        );
        return Ok(output::usage(error.as_ref()));
    }
    steer(&args.choice, &places, entries, &PauseTo::Paused { until, note: args.note.clone() }, format)
}

pub(super) fn resume(args: &ResumeArgs, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let places = args.choice.place.sockets()?;
    let entries = chosen(&args.choice, &places, true)?;
    steer(&args.choice, &places, entries, &PauseTo::Resumed, format)
}

/// The entries that are meant. One that is named by its whole name is left to the daemon to find.
fn chosen(choice: &EntryChoice, places: &[PathBuf], paused: bool) -> anyhow::Result<Vec<String>> {
    if let ([name], None) = (&choice.patterns[..], &choice.stack)
        && !name.contains(['*', '?'])
    {
        return Ok(vec![name.clone()]);
    }
    let question =
        Question::Choose { patterns: choice.patterns.clone(), stack: choice.stack.clone(), paused };
    match control::ask(places, &question)?.soon()? {
        ControlAnswer::Chosen { entries } => Ok(entries),
        other => Err(ControlError::Strange(format!("{other:?}")).into()),
    }
}

/// The zone in which a local time is read: the one that the chosen entries share, or else UTC.
fn zone(moment: Moment, chosen: &[String], config: &Path) -> TimeZone {
    let shared = || {
        let loaded = moment.is_local().then(|| schedule::load(config).ok()).flatten()?;
        let entries = loaded.schedule.entries.iter();
        let entries: Vec<_> =
            entries.filter(|entry| chosen.iter().any(|name| name == entry.name.as_str())).cloned().collect();
        shared_zone(&entries)
    };
    shared().unwrap_or(TimeZone::UTC)
}

fn steer(
    choice: &EntryChoice,
    places: &[PathBuf],
    entries: Vec<String>,
    to: &PauseTo,
    format: OutputFormat,
) -> anyhow::Result<CommandEnd> {
    if entries.is_empty() {
        if format == OutputFormat::Text {
            output::print(b"no entry is paused by `stackcron pause`\n")?;
        }
        return Ok(CommandEnd::Done);
    }
    let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let all = choice.patterns.is_empty() && choice.stack.is_none();
    if all && !choice.yes && !on_terminal {
        let error =
            anyhow::anyhow!("no entry is named: name entries or a stack, or give --yes to mean all of them");
        return Ok(output::usage(error.as_ref()));
    }
    if entries.len() > 1 && !choice.yes && on_terminal && !agreed(&entries, to)? {
        return Ok(CommandEnd::Failed);
    }
    let question = match to {
        PauseTo::Paused { until, note } => {
            Question::Pause { entries: entries.clone(), until: *until, note: note.clone() }
        }
        PauseTo::Resumed => Question::Resume { entries: entries.clone() },
    };
    let mut answers = control::ask(places, &question)?;
    let mut still_paused = false;
    for _ in &entries {
        let (entry, paused, changed, paused_in_schedule) = match answers.soon()? {
            ControlAnswer::Steered { entry, paused, changed, paused_in_schedule } => {
                (entry, paused, changed, paused_in_schedule)
            }
            other => return Err(ControlError::Strange(format!("{other:?}")).into()),
        };
        // It was asked to run, and does not.
        still_paused |= *to == PauseTo::Resumed && paused_in_schedule;
        let mut text = Vec::new();
        match format {
            OutputFormat::Json => {
                let (until, note) = match to {
                    PauseTo::Paused { until, note } => (*until, note.as_deref()),
                    PauseTo::Resumed => (None, None),
                };
                let steered = Steered { entry: &entry, paused, changed, paused_in_schedule, until, note };
                serde_json::to_writer(&mut text, &steered)?;
                writeln!(text)?;
            }
            OutputFormat::Text => writeln!(text, "{}", sentence(&entry, to, changed, paused_in_schedule))?,
        }
        output::print(&text)?;
    }
    Ok(if still_paused { CommandEnd::Failed } else { CommandEnd::Done })
}

/// Shows what is touched, and asks whether it is meant.
fn agreed(entries: &[String], to: &PauseTo) -> anyhow::Result<bool> {
    let mut err = anstream::stderr().lock();
    for name in entries.iter().take(SHOWN) {
        writeln!(err, "  {name}")?;
    }
    if entries.len() > SHOWN {
        writeln!(err, "  and {} more", entries.len() - SHOWN)?;
    }
    let what = match to {
        PauseTo::Paused { until: Some(until), .. } => {
            format!("Pause these {} entries until {until:.0}", entries.len())
        }
        PauseTo::Paused { until: None, .. } => {
            format!("Pause these {} entries until they are resumed", entries.len())
        }
        PauseTo::Resumed => format!("Resume these {} entries", entries.len()),
    };
    write!(err, "{what}? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let agreed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !agreed {
        writeln!(err, "nothing was changed")?;
    }
    Ok(agreed)
}

fn sentence(entry: &str, to: &PauseTo, changed: bool, paused_in_schedule: bool) -> String {
    match (to, changed, paused_in_schedule) {
        (PauseTo::Paused { until: Some(until), .. }, _, false) => {
            format!(
                "{entry} is paused: what is due before {until:.0} is skipped, unless `stackcron resume {entry}` ends it"
            )
        }
        (PauseTo::Paused { .. }, true, false) => {
            format!("{entry} is paused: its occurrences are skipped until `stackcron resume {entry}`")
        }
        (PauseTo::Paused { .. }, false, false) => {
            format!("{entry} was paused before; `stackcron resume {entry}` lets it go on")
        }
        (PauseTo::Paused { .. }, _, true) => format!(
            "{entry} is paused, and by `paused: true` in the schedule file as well: to let it go on, take that out, and \
             `stackcron resume {entry}`"
        ),
        (PauseTo::Resumed, true, false) => format!("{entry} goes on with its next occurrence"),
        (PauseTo::Resumed, false, false) => format!("{entry} was not paused"),
        (PauseTo::Resumed, _, true) => format!(
            "{entry} is still paused, by `paused: true` in the schedule file: take that out, and reload it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_its_sentence() {
        let mut sentences = Vec::new();
        let until = Timestamp::from_second(1_795_000_000).ok();
        for to in [
            PauseTo::Paused { until: None, note: None },
            PauseTo::Resumed,
            PauseTo::Paused { until, note: Some("a move".to_owned()) },
        ] {
            for (changed, in_schedule) in [(true, false), (false, false), (true, true), (false, true)] {
                sentences.push(sentence("nightly", &to, changed, in_schedule));
            }
        }
        insta::assert_snapshot!(sentences.join("\n"));
    }
}
