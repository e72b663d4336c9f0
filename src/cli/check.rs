//! `stackcron check`: everything that is wrong with the schedule file, at once.

mod diff;
mod online;
mod sarif;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::output::{self, OutputFormat};
use super::{CommandEnd, api};
use crate::cloud66::Token;
use crate::control::{self, ControlAnswer, ProblemKind, Question};
use crate::log::words::counted;
use crate::rehearsal::{Busiest, Difference, busiest};
use crate::schedule::duration::Compact;
use crate::schedule::render::{self, Colour};
use crate::schedule::{self, Code, Diagnostic, Loaded, Rejected, Schedule, Severity};
use online::OnlineFindings;

/// Validate the schedule file, and show every error at once.
///
/// With --online it asks the API as well, within the quota and never out of its reserve: whether
/// each stack and job exists, is paused, or has a cron of its own that would run it twice. The exit
/// status is 0 when all is well or only doubtful, 78 when something in the schedule is wrong, and 1
/// when the API could not be asked. With --strict, for pipelines, a warning is wrong too, and exits
/// with 78.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// The schedule file, in place of the one of --config
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Ask the API as well: one request for each stack, and a few for all of them
    #[arg(long)]
    online: bool,
    /// Print nothing: the exit status tells.
    #[arg(long)]
    quiet: bool,
    /// Exit with 78 when there are warnings, as when there are errors
    #[arg(long)]
    strict: bool,
    /// Show what the change from this schedule to the checked one does to the next week:
    /// occurrences that come and go, and the fullest window of each quota before and after. A file,
    /// a directory, or `-` for stdin, as in `git show main:schedule.yaml | stackcron check --diff
    /// -`
    #[arg(long, value_name = "OLD")]
    diff: Option<PathBuf>,
}

/// Form of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Text or JSON, as `--format` says.
    Plain,
    /// SARIF, for code hosts.
    Sarif,
}

/// The file's findings, and those of the API.
struct CheckedSchedule {
    result: Result<Loaded, Rejected>,
    asked: Option<OnlineFindings>,
}

/// Look of the text.
struct OnlineLook {
    colour: Colour,
    /// Columns that an excerpt may have. `None`: any number.
    columns: Option<usize>,
}

/// Validates the file and prints what is wrong with it.
pub fn run(config: &Path, format: OutputFormat, report: Report, args: &Args) -> anyhow::Result<CommandEnd> {
    let now = Timestamp::now();
    let result = schedule::load(config).map(|loaded| loaded.linted(now));
    let asked = match &result {
        Ok(loaded) if args.online => Some(online::ask(loaded, now)?),
        _ => None,
    };
    let compared = match (&result, &args.diff) {
        (Ok(loaded), Some(old)) if !args.quiet && report == Report::Plain => {
            let Some(old) = diff::old(old, config)? else { return Ok(CommandEnd::Config) };
            Some(Difference::new(&old.schedule, &loaded.schedule, now))
        }
        _ => None,
    };
    let checked = CheckedSchedule { result, asked };
    let status = match checked.status() {
        CommandEnd::Done if args.strict && checked.has_warnings() => CommandEnd::Config,
        status => status,
    };
    if args.quiet {
        return Ok(match &checked.result {
            Ok(loaded) if is_refused_for_an_old_token(&loaded.schedule) => CommandEnd::Failed,
            _ => status,
        });
    }
    let mut text = Vec::new();
    if report == Report::Sarif {
        sarif::write(&checked.diagnostics(), &mut text)?;
        output::print(&text)?;
        return Ok(status);
    }
    match format {
        // The colours are taken out again where stdout is no terminal or `NO_COLOR` is set.
        OutputFormat::Text => {
            let look = OnlineLook { colour: Colour::Always, columns: output::columns() };
            checked.print_text(config, now, &look, &mut text)?;
        }
        OutputFormat::Json => checked.print_json(&mut text)?,
    }
    let mut fitting = Vec::new();
    output::fit(&text, format, &mut fitting);
    if let Some(compared) = &compared {
        match format {
            OutputFormat::Text => diff::print_text(compared, output::columns(), &mut fitting)?,
            OutputFormat::Json => diff::print_json(compared, &mut fitting)?,
        }
    }
    output::print(&fitting)?;
    if args.strict && checked.status() == CommandEnd::Done && status == CommandEnd::Config {
        // stdout has the warnings, and may be read by a machine.
        let _ = writeln!(anstream::stderr(), "error: there are warnings, and --strict takes none");
    }
    Ok(status)
}

/// Returns true when the API refuses a token whose file was changed since the service was started.
/// The reload, of which this check is a part, has not taken the new token over.
fn is_refused_for_an_old_token(schedule: &Schedule) -> bool {
    let changed = schedule.accounts.iter().filter_map(|account| {
        Token::changed_since_start(&account.token).map(|path| (account.name.to_string(), path))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return false;
    }
    let question = Question::Status { entries: Vec::new(), most: 0 };
    let answer =
        control::ask(&output::control_places(None), &question).and_then(|mut answers| answers.soon());
    let Ok(ControlAnswer::Status(status)) = answer else { return false };
    let refused = status.attention.iter().filter(|problem| problem.kind == ProblemKind::TokenRefused);
    let refused: Vec<_> = refused.filter_map(|problem| problem.account.as_ref()).collect();
    let mut any = false;
    for (account, path) in changed.iter().filter(|(account, _)| refused.contains(&account)) {
        any = true;
        api::warn(&format!(
            "account {account}: the API does not know the token that the service was given at its start, and {} was changed since: \
             `systemctl restart stackcron` hands it over",
            path.display()
        ));
    }
    any
}

impl CheckedSchedule {
    /// Returns all findings in the file's order.
    fn diagnostics(&self) -> Vec<&Diagnostic> {
        let of_file = match &self.result {
            Ok(loaded) => &loaded.warnings,
            Err(rejected) => &rejected.diagnostics,
        };
        let of_api = self.asked.iter().flat_map(|asked| &asked.diagnostics);
        let mut all: Vec<&Diagnostic> = of_file.iter().chain(of_api).collect();
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        all
    }

    fn has_warnings(&self) -> bool {
        self.diagnostics().iter().any(|diagnostic| diagnostic.severity == Severity::Warning)
    }

    /// A fault of the schedule goes before a question that could not be asked.
    fn status(&self) -> CommandEnd {
        let errors = self.diagnostics();
        let errors = || errors.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        match (errors().next(), errors().all(|error| error.code == Code::NotAsked)) {
            (None, _) => CommandEnd::Done,
            (Some(_), true) => CommandEnd::Failed,
            (Some(_), false) => CommandEnd::Config,
        }
    }

    /// The diagnostics, and a line that sums them up.
    fn print_text(
        &self,
        config: &Path,
        now: Timestamp,
        look: &OnlineLook,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let columns = look.columns.unwrap_or(usize::MAX);
        let loaded = match &self.result {
            Ok(loaded) => loaded,
            Err(rejected) => {
                out.write_all(rejected.render_within(look.colour, columns).as_bytes())?;
                let errors = counted(rejected.errors(), "error", "errors");
                return writeln!(out, "error: {errors} in {}", config.display());
            }
        };
        let all: Vec<Diagnostic> = self.diagnostics().into_iter().cloned().collect();
        out.write_all(render::render_within(&all, false, look.colour, columns).as_bytes())?;
        if let Some(asked) = &self.asked {
            writeln!(out, "{}", asked.summary)?;
        }
        let count = |severity| all.iter().filter(|found| found.severity == severity).count();
        if count(Severity::Error) > 0 {
            let errors = counted(count(Severity::Error), "error", "errors");
            return writeln!(out, "error: {errors} in {}", config.display());
        }
        let more = |number, one, many| match number {
            0 => String::new(),
            number => format!(", {}", counted(number, one, many)),
        };
        writeln!(
            out,
            "ok: {}, {}{}{}",
            counted(loaded.schedule.entries.len(), "entry", "entries"),
            counted(loaded.schedule.accounts.len(), "account", "accounts"),
            more(count(Severity::Warning), "warning", "warnings"),
            more(count(Severity::Note), "note", "notes"),
        )?;
        match busiest(&loaded.schedule, now) {
            Some(busiest) if busiest.percent() > BUSY_PERCENT => writeln!(out, "{}", busy(&busiest)),
            _ => Ok(()),
        }
    }

    /// A record for each diagnostic. A file without any gives no line.
    fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        for record in self.diagnostics().into_iter().map(Diagnostic::record) {
            serde_json::to_writer(&mut *out, &record)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// A fuller window than this leaves little for follow-up, and for a day on which others ask for
/// more.
const BUSY_PERCENT: u64 = 80;

fn busy(busiest: &Busiest) -> String {
    format!(
        "busy: account {} has {} due in the {} from {}, {}% of the {} that its quota has for them; see `stackcron forecast`",
        busiest.account.name,
        busiest.due,
        Compact(busiest.account.quota.window),
        busiest.window_start,
        busiest.percent(),
        busiest.usable,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "accounts: { main: { token: { env: T } } }\n";

    fn text(source: &str) -> String {
        let mut out = Vec::new();
        let checked = CheckedSchedule { result: schedule::parse("s.yaml", source), asked: None };
        let look = OnlineLook { colour: Colour::Never, columns: None };
        checked
            .print_text(Path::new("s.yaml"), Timestamp::UNIX_EPOCH, &look, &mut out)
            .expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    }

    fn json(source: &str) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        let checked = CheckedSchedule { result: schedule::parse("s.yaml", source), asked: None };
        checked.print_json(&mut out).expect("a Vec takes everything");
        let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record a line")).collect()
    }

    #[test]
    fn a_good_file_is_summed_up_in_a_line() {
        let source = format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: '@daily' }}\n");
        assert_eq!(text(&source), "ok: 1 entry, 1 account\n");
        assert_eq!(text("jobs: {}\n"), "ok: 0 entries, 0 accounts\n");
        assert_eq!(json(&source), Vec::<serde_json::Value>::new());
    }

    #[test]
    fn a_bad_file_ends_in_the_number_of_errors() {
        let printed = text("one: 1\ntwo: 2\njobs: {}\n");
        assert!(printed.ends_with("error: 2 errors in s.yaml\n"), "{printed}");
    }

    #[test]
    fn a_record_has_the_place_and_the_line() {
        let records = json("timezone: UTC\njbos:\n");
        assert_eq!(
            records,
            [serde_json::json!({
                "code": "unknown-key", "severity": "error", "path": "s.yaml", "line": 2, "column": 1,
                "message": "`jbos` is no key of the schedule file", "help": "did you mean `jobs`?", "text": "jbos:",
            })]
        );
    }

    #[test]
    fn a_warning_leaves_the_file_good() {
        let source = "accounts: { main: { url: 'http://api.example.com', token: { env: T } } }\njobs: {}\n";
        assert!(text(source).ends_with("ok: 0 entries, 1 account, 1 warning\n"), "{}", text(source));
    }
}
