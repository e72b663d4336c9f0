//! `stackcron history`: what became of each occurrence.
//!
//! Rows are printed as they are read, so that the whole of a long journal costs no memory.

mod rows;
mod stats;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;

use anstyle::Style;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::CommandEnd;
use super::complete;
use super::moment::{Moment, MomentError, shared_zone};
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use crate::journal::{Filter, JournalError, Location, Record, State, Statistics};
use crate::schedule::{self, EntryName, Schedule, duration, entries};
pub(crate) use rows::HistoryRecord;
use rows::Rows;
pub(super) use rows::style;

/// Rows that are printed for people where no option says how many.
const NEWEST: u32 = 50;

/// Tell what became of each occurrence.
///
/// The newest is last. As text the newest 50, unless --since, --until or --newest asks for others;
/// as JSON all that the journal has. It can be read beside a running daemon, and without one.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Of this entry alone. One that is no longer in the schedule still has its history
    #[arg(value_name = "ENTRY", value_parser = EntryName::new, add = complete::entries())]
    entry: Option<EntryName>,
    /// Scheduled then or later: RFC 3339, a local time as 2026-10-25T01:30 or 01:30 in the entry's
    /// zone, or one of today, yesterday, -2h; 2h is 2h ago
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: Option<Bound>,
    /// Scheduled before: written as for --since
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Option<Bound>,
    /// In this state alone. May be given several times
    #[arg(long = "state", value_name = "STATE", value_parser = state_parser())]
    states: Vec<State>,
    /// For each entry: runs, share of success, run times and lateness, last success
    #[arg(long, conflicts_with = "newest")]
    stats: bool,
    /// The newest so many of them
    #[arg(long, value_name = "N")]
    newest: Option<u32>,
    #[command(flatten)]
    place: StatePlace,
}

fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str))
        .try_map(|word| State::of_word(&word).ok_or("one of the words above"))
}

/// One end of the time that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound(Moment);

impl FromStr for Bound {
    type Err = MomentError;

    /// Reads a time, or a bare duration as the time so long ago: a history has no future.
    fn from_str(text: &str) -> Result<Bound, MomentError> {
        let ago = || duration::parse(text).ok().and_then(|ago| SignedDuration::try_from(ago).ok());
        text.parse().or_else(|error| ago().map(|ago| Moment::FromNow(-ago)).ok_or(error)).map(Bound)
    }
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    /// There is no journal, or it cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A name that neither the journal nor the schedule has.
    #[error("no occurrence of `{name}` is in the journal{help}")]
    UnknownEntry {
        /// The name that was asked for.
        name: EntryName,
        /// The entry of the schedule that was probably meant, to end the sentence with.
        help: String,
    },
    /// A time past the end of the calendar.
    #[error(transparent)]
    Bound(#[from] MomentError),
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// The extent of what was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PrintedRows {
    /// Everything that was asked for.
    All,
    /// Nothing: there is no such occurrence.
    Nothing,
    /// The newest, where nobody had said how many.
    Newest,
}

/// Prints the history. The schedule is only read to tell what a wrong name should have been.
pub(super) fn run(args: &Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let journal = args.place.journal()?;
    let schedule = || schedule::load(config).ok().map(|loaded| loaded.schedule);
    let mut out = BufWriter::new(anstream::stdout().lock());
    let columns = output::columns();
    let printed = told(args, &journal, schedule, Timestamp::now(), format, columns, &mut out)
        .and_then(|printed| Ok(out.flush().map(|()| printed)?));
    match printed {
        // The reader has closed the pipe, and has seen enough.
        Err(HistoryError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(CommandEnd::Done),
        Err(error @ (HistoryError::UnknownEntry { .. } | HistoryError::Bound(_))) => {
            Ok(output::usage(&error))
        }
        Err(error) => Err(error.into()),
        Ok(printed) => {
            let note = match printed {
                PrintedRows::Nothing => "the journal has no such occurrence".to_owned(),
                PrintedRows::Newest => format!("the newest {NEWEST}; --newest N or --since T shows others"),
                PrintedRows::All => return Ok(CommandEnd::Done),
            };
            // On stderr: what reads the rows is not to take it for one.
            let faint = Style::new().dimmed();
            let _ = writeln!(anstream::stderr(), "{faint}{note}{faint:#}");
            Ok(CommandEnd::Done)
        }
    }
}

fn told(
    args: &Args,
    journal: &Location,
    schedule: impl Fn() -> Option<Schedule>,
    now: Timestamp,
    format: OutputFormat,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> Result<PrintedRows, HistoryError> {
    let bounds = [args.since, args.until].into_iter().flatten();
    let zone = match bounds.into_iter().any(|Bound(moment)| moment.is_local()) {
        true => schedule().and_then(|schedule| zone_of(args.entry.as_ref(), &schedule)),
        false => None,
    };
    let zone = zone.unwrap_or(TimeZone::UTC);
    let instant = |bound: Option<Bound>| bound.map(|Bound(moment)| moment.in_zone(&zone, now)).transpose();
    let (since, until) = (instant(args.since)?, instant(args.until)?);
    let by_default = match format {
        OutputFormat::Text if args.stats => None,
        OutputFormat::Text if since.is_none() && until.is_none() => Some(NEWEST),
        _ => None,
    };
    let limit = args.newest.or(by_default);
    let newest = match args.states.is_empty() {
        true => limit.map(|limit| limit.saturating_add(1)),
        // The number of rows that have to be read for these states is not known beforehand.
        false => None,
    };
    let filter = Filter { entry: args.entry.clone(), since, until, newest };
    let wanted = |record: &Record| args.states.is_empty() || args.states.contains(&record.state);
    if args.stats {
        let mut statistics = Statistics::default();
        read(journal, &filter, |record| {
            if wanted(&record) {
                statistics.add(&record);
            }
            Ok(())
        })?;
        return match stats::print(statistics, format, columns, out)? {
            0 => Ok(PrintedRows::Nothing),
            _ => Ok(PrintedRows::All),
        };
    }
    let mut rows = Rows::new(format, columns, out);
    let cut = match limit {
        None => {
            read(journal, &filter, |record| if wanted(&record) { rows.take(record) } else { Ok(()) })?;
            false
        }
        Some(limit) => {
            let (mut kept, mut cut) = (VecDeque::new(), false);
            read(journal, &filter, |record| {
                if wanted(&record) {
                    kept.push_back(record);
                    if kept.len() > limit as usize {
                        kept.pop_front();
                        cut = true;
                    }
                }
                Ok(())
            })?;
            kept.into_iter().try_for_each(|record| rows.take(record))?;
            cut
        }
    };
    if rows.finish()? == 0 {
        if let Some(entry) = &args.entry {
            has_a_history(entry, journal, schedule)?;
        }
        return Ok(if args.newest == Some(0) { PrintedRows::All } else { PrintedRows::Nothing });
    }
    Ok(if cut && args.newest.is_none() { PrintedRows::Newest } else { PrintedRows::All })
}

/// The zone in which a local time is read: the entry's, or without an entry the one that all
/// entries share.
fn zone_of(entry: Option<&EntryName>, schedule: &Schedule) -> Option<TimeZone> {
    match entry {
        Some(name) => {
            let mut entries = schedule.entries.iter();
            entries.find(|entry| entry.name == *name).map(|entry| entry.timezone.clone())
        }
        None => shared_zone(&schedule.entries),
    }
}

/// Hands out records until one cannot be taken.
fn read(
    journal: &Location,
    filter: &Filter,
    mut take: impl FnMut(Record) -> io::Result<()>,
) -> Result<(), HistoryError> {
    let mut failed = None;
    journal.read_history(filter, |record| match take(record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// An entry of the schedule, or one that the journal has, at whatever time and in whatever state.
fn has_a_history(
    entry: &EntryName,
    journal: &Location,
    schedule: impl Fn() -> Option<Schedule>,
) -> Result<(), HistoryError> {
    let mut found = false;
    let any = Filter { entry: Some(entry.clone()), newest: Some(1), ..Filter::default() };
    read(journal, &any, |_| {
        found = true;
        Ok(())
    })?;
    if found {
        return Ok(());
    }
    let help = match schedule().map(|schedule| entries::find(&schedule, entry.as_str()).map(|_| ())) {
        Some(Ok(())) => return Ok(()),
        Some(Err(unknown)) => unknown.help,
        None => String::new(),
    };
    Err(HistoryError::UnknownEntry { name: entry.clone(), help })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use clap::Parser;

    use super::super::table::MEASURED;
    use super::*;
    use crate::journal::{Claim, Journal, Key, Origin, Started, Transition};
    use crate::schedule::Entry;
    use crate::timetable::tests::{at, entry};

    #[derive(Debug, Parser)]
    struct HistoryCommand {
        #[command(flatten)]
        args: Args,
    }

    fn schedule() -> Schedule {
        let entries = vec![
            entry("nightly-report", "UTC", &["0 1 * * *"]),
            entry("sweep", "UTC", &["* * * * *"]),
            entry("never-yet", "UTC", &["0 0 29 2 *"]),
        ];
        Schedule { accounts: vec![entries[0].account.clone()], entries }
    }

    /// A journal in which these entries' occurrences, a minute apart, took these moves.
    async fn journal(fates: Vec<(&str, Vec<Transition>)>) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(place.path()).expect("a journal").journal;
        let pattern: Arc<Entry> = entry("pattern", "UTC", &["* * * * *"]);
        let mut due_at = at("2026-05-01T01:00:00Z");
        for (name, moves) in fates {
            let key = Key::new(EntryName::new(name).expect("a name"), due_at);
            let claim = Claim {
                key: key.clone(),
                account: pattern.account.name.clone(),
                stack: pattern.stack.clone(),
                job: pattern.job.clone(),
                due_at,
                deadline: due_at + SignedDuration::from_hours(1),
                origin: Origin::Schedule,
                repetition: crate::journal::Repetition::default(),
            };
            journal.claim(due_at, vec![claim]).await.expect("claimed");
            let moves = moves.into_iter().map(|mv| (key.clone(), mv)).collect();
            assert_eq!(journal.commit(moves).await, Ok(Vec::new()), "each move is applied");
            due_at += SignedDuration::from_mins(1);
        }
        place
    }

    /// Several occurrences at each of a few instants, none of them sent.
    pub(crate) async fn of_a_night(instants: i64, at_each: usize) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(place.path()).expect("a journal").journal;
        let pattern: Arc<Entry> = entry("pattern", "UTC", &["* * * * *"]);
        for minute in 0..instants {
            let due_at = at("2026-05-01T01:00:00Z") + SignedDuration::from_mins(minute);
            let claim = |n: usize| Claim {
                key: Key::new(EntryName::new(&format!("e{n}")).expect("a name"), due_at),
                account: pattern.account.name.clone(),
                stack: pattern.stack.clone(),
                job: pattern.job.clone(),
                due_at,
                deadline: due_at + SignedDuration::from_hours(1),
                origin: Origin::Schedule,
                repetition: crate::journal::Repetition::default(),
            };
            journal.claim(due_at, (0..at_each).map(claim).collect()).await.expect("claimed");
        }
        place
    }

    /// One occurrence of each state.
    async fn of_every_state() -> tempfile::TempDir {
        let sent = |text: &str| at(&format!("2026-05-01T{text}Z"));
        let sending = |text: &str| Transition::Sending { attempts: 1, sent_at: sent(text) };
        let started = |text: &str, action| Transition::Started { attempts: 1, sent_at: sent(text), action };
        let end = |success, message: &str| Transition::Finished {
            success: Some(success),
            finished_at: sent("02:00:00"),
            message: Some(message.to_owned()),
        };
        let followed = Started::Followed;
        journal(vec![
            ("nightly-report", vec![started("01:00:00.0124", followed(71)), end(true, "")]),
            ("sweep", vec![started("01:01:02.5", followed(72)), end(false, "killed:\n\u{1b}[2J 137")]),
            ("sweep", vec![started("01:02:00.001", Started::Alone(Some(73)))]),
            (
                "sweep",
                vec![
                    sending("01:03:00"),
                    Transition::Rejected { status: Some(404), error: "no job".to_owned() },
                ],
            ),
            ("removed", vec![Transition::Missed { reason: "deadline".into() }]),
            ("sweep", vec![Transition::Skipped { reason: "overlap".into() }]),
            ("sweep", vec![sending("01:06:00"), Transition::Unknown { error: "connection lost".to_owned() }]),
            ("sweep", vec![Transition::Waiting { attempts: 0, reason: "quota".into() }]),
            ("sweep", vec![sending("01:08:00")]),
            ("sweep", vec![]),
        ])
        .await
    }

    fn told_in(place: &Path, words: &str, format: OutputFormat) -> (String, Option<PrintedRows>) {
        told_within(place, words, format, None)
    }

    fn told_within(
        place: &Path,
        words: &str,
        format: OutputFormat,
        columns: Option<usize>,
    ) -> (String, Option<PrintedRows>) {
        let words = ["history"].into_iter().chain(words.split_ascii_whitespace());
        let args = match HistoryCommand::try_parse_from(words) {
            Ok(HistoryCommand { args }) => args,
            Err(error) => return (error.to_string(), None),
        };
        let mut out = anstream::StripStream::new(Vec::new());
        let now = at("2026-05-01T02:00:00Z");
        match told(
            &args,
            &Location::Directory(place.to_owned()),
            || Some(schedule()),
            now,
            format,
            columns,
            &mut out,
        ) {
            Ok(printed) => (String::from_utf8(out.into_inner()).expect("text"), Some(printed)),
            Err(error) => (format!("error: {error}\n"), None),
        }
    }

    #[tokio::test]
    async fn every_state_has_its_row() {
        let place = of_every_state().await;
        let told = [OutputFormat::Text, OutputFormat::Json].map(|format| told_in(place.path(), "", format).0);
        insta::assert_snapshot!(told.join("\n"));
    }

    #[tokio::test]
    async fn a_narrow_terminal_has_the_columns_that_tell_most() {
        let place = of_every_state().await;
        let told = [40, 80, 200].map(|columns| {
            let told = told_within(place.path(), "", OutputFormat::Text, Some(columns)).0;
            assert!(told.lines().all(|line| line.chars().count() <= columns), "{columns} columns:\n{told}");
            format!("{columns}\n{told}")
        });
        insta::assert_snapshot!(told.join("\n"));
    }

    #[tokio::test]
    async fn what_is_not_wanted_is_left_out() {
        let place = of_every_state().await;
        for (words, expected) in [
            ("nightly-report", "71"),
            ("removed", "missed"),
            ("sweep --newest 2", "sending due"),
            ("--since 2026-05-01T01:02 --until 2026-05-01T01:04:00Z", "73 rejected"),
            ("--since 53m", "waiting sending due"),
            ("--until 2026-05-01", ""),
            ("--state failed --state started", "72 73"),
            ("--state failed --state started --newest 1", "73"),
            ("--newest 0", ""),
        ] {
            let (told, _) = told_in(place.path(), words, OutputFormat::Json);
            let seen = told.lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let (action, state) = (&line["action_id"], &line["state"]);
                action.as_u64().map_or(state.as_str().unwrap_or_default().to_owned(), |id| id.to_string())
            });
            assert_eq!(seen.collect::<Vec<_>>().join(" "), expected, "history {words}");
        }
    }

    #[tokio::test]
    async fn people_see_the_newest_fifty_and_programs_all() {
        let place = journal((0..NEWEST + 1).map(|_| ("sweep", vec![])).collect()).await;
        for (words, format, rows, printed) in [
            ("", OutputFormat::Text, 50, PrintedRows::Newest),
            ("sweep --state due", OutputFormat::Text, 50, PrintedRows::Newest),
            ("--newest 7", OutputFormat::Text, 7, PrintedRows::All),
            ("--since 2026-01-01", OutputFormat::Text, 51, PrintedRows::All),
            ("", OutputFormat::Json, 51, PrintedRows::All),
        ] {
            let (told, what) = told_in(place.path(), words, format);
            let last = told.lines().last().unwrap_or_default();
            assert!(last.contains("2026-05-01T01:50:00Z"), "history {words} ends with the newest: {last}");
            let head = usize::from(format == OutputFormat::Text);
            assert_eq!((told.lines().count() - head, what), (rows, Some(printed)), "history {words}");
        }
    }

    #[tokio::test]
    async fn a_name_without_a_history_is_wrong_unless_the_schedule_has_it() {
        let place = journal(vec![("removed", vec![])]).await;
        for (words, expected, printed) in [
            ("never-yet", "", Some(PrintedRows::Nothing)),
            ("removed --since 1m", "", Some(PrintedRows::Nothing)),
            ("sweap", "error: no occurrence of `sweap` is in the journal; did you mean `sweep`?\n", None),
            ("other", "error: no occurrence of `other` is in the journal\n", None),
        ] {
            assert_eq!(
                told_in(place.path(), words, OutputFormat::Text),
                (expected.to_owned(), printed),
                "{words}"
            );
        }
        let (told, _) = told_in(place.path(), "--since noon", OutputFormat::Text);
        assert!(told.contains("yesterday, tomorrow, `2h ago`"), "{told}");
    }

    #[test]
    fn columns_grow_with_what_comes_late() {
        let record = |entry: &str| {
            Record::due(Key::new(EntryName::new(entry).expect("a name"), at("2026-05-01T01:00:00Z")))
        };
        let mut out = anstream::StripStream::new(Vec::new());
        let mut rows = Rows::new(OutputFormat::Text, None, &mut out);
        (0..MEASURED).for_each(|_| rows.take(record("short")).expect("printed"));
        ["a-longer-name", "short"].iter().for_each(|name| rows.take(record(name)).expect("printed"));
        assert_eq!(rows.finish().expect("printed"), MEASURED as u64 + 2);
        let text = String::from_utf8(out.into_inner()).expect("text");
        let starts: Vec<_> = text.lines().map(|line| line.find("2026").unwrap_or_default()).collect();
        assert_eq!(starts[1], 7, "as wide as the first rows need: {}", &text[..200]);
        assert_eq!(starts[MEASURED + 1..], [15, 15], "wider from there on");
    }
}
