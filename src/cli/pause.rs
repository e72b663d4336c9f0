//! `stackcron pause` and `stackcron resume`.

use std::io::Write;

use serde::Serialize;

use super::Status;
use super::output::{self, Format};
use super::place::Place;
use crate::control::{self, Answer, ClientError, Question};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The entry, by its name in the schedule
    entry: String,
    #[command(flatten)]
    place: Place,
}

/// What the entry is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Paused,
    Resumed,
}

/// What was done. Its keys are an interface.
#[derive(Serialize)]
struct Steered<'a> {
    entry: &'a str,
    paused: bool,
    changed: bool,
    paused_in_schedule: bool,
}

pub(super) fn run(args: &Args, to: To, format: Format) -> anyhow::Result<Status> {
    let entry = args.entry.clone();
    let question = match to {
        To::Paused => Question::Pause { entry },
        To::Resumed => Question::Resume { entry },
    };
    let places = args.place.sockets()?;
    let (entry, paused, changed, paused_in_schedule) = match control::ask(&places, &question)?.soon()? {
        Answer::Steered { entry, paused, changed, paused_in_schedule } => {
            (entry, paused, changed, paused_in_schedule)
        }
        other => return Err(ClientError::Strange(format!("{other:?}")).into()),
    };
    let mut text = Vec::new();
    match format {
        Format::Json => {
            serde_json::to_writer(
                &mut text,
                &Steered { entry: &entry, paused, changed, paused_in_schedule },
            )?;
            writeln!(text)?;
        }
        Format::Text => writeln!(text, "{}", sentence(&entry, to, changed, paused_in_schedule))?,
    }
    output::print(&text)?;
    // It was asked to run, and does not.
    Ok(if to == To::Resumed && paused_in_schedule { Status::Failed } else { Status::Done })
}

fn sentence(entry: &str, to: To, changed: bool, paused_in_schedule: bool) -> String {
    match (to, changed, paused_in_schedule) {
        (To::Paused, true, false) => {
            format!("{entry} is paused: its occurrences are skipped until `stackcron resume {entry}`")
        }
        (To::Paused, false, false) => {
            format!("{entry} was paused before; `stackcron resume {entry}` lets it go on")
        }
        (To::Paused, _, true) => format!(
            "{entry} is paused, and by `paused: true` in the schedule file as well: to let it go on, take that out, and \
             `stackcron resume {entry}`"
        ),
        (To::Resumed, true, false) => format!("{entry} goes on with its next occurrence"),
        (To::Resumed, false, false) => format!("{entry} was not paused"),
        (To::Resumed, _, true) => format!(
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
        for to in [To::Paused, To::Resumed] {
            for (changed, in_schedule) in [(true, false), (false, false), (true, true), (false, true)] {
                sentences.push(sentence("nightly", to, changed, in_schedule));
            }
        }
        insta::assert_snapshot!(sentences.join("\n"));
    }
}
