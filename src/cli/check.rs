//! `stackcron check`: everything that is wrong with the schedule file, at once.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

use super::Status;
use super::output::Format;
use crate::rehearsal::{Busiest, busiest};
use crate::schedule::duration::Compact;
use crate::schedule::render::{self, Colour};
use crate::schedule::{self, Diagnostic, Loaded, Rejected};

#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Print nothing: the exit status tells.
    #[arg(long)]
    quiet: bool,
}

/// Validates the file and prints what is wrong with it.
pub fn run(config: &Path, format: Format, args: &Args) -> anyhow::Result<Status> {
    let now = Timestamp::now();
    let result = schedule::load(config).map(|loaded| loaded.linted(now));
    if args.quiet {
        return Ok(if result.is_ok() { Status::Done } else { Status::Config });
    }
    // anstream takes the colours out again where stdout is no terminal or `NO_COLOR` is set.
    let mut out = anstream::stdout().lock();
    let written = match format {
        Format::Text => print_text(&mut out, config, &result, now, Colour::Always),
        Format::Json => print_json(&mut out, &result),
    };
    match written.and_then(|()| out.flush()) {
        // Who closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ if result.is_ok() => Ok(Status::Done),
        _ => Ok(Status::Config),
    }
}

/// The diagnostics, and a line that sums them up.
fn print_text(
    out: &mut impl Write,
    config: &Path,
    result: &Result<Loaded, Rejected>,
    now: Timestamp,
    colour: Colour,
) -> io::Result<()> {
    match result {
        Ok(loaded) => {
            out.write_all(render::render(&loaded.warnings, false, colour).as_bytes())?;
            let warnings = match loaded.warnings.len() {
                0 => String::new(),
                number => format!(", {}", counted(number, "warning", "warnings")),
            };
            writeln!(
                out,
                "ok: {}, {}{warnings}",
                counted(loaded.schedule.entries.len(), "entry", "entries"),
                counted(loaded.schedule.accounts.len(), "account", "accounts"),
            )?;
            match busiest(&loaded.schedule, now) {
                Some(busiest) if busiest.percent() > BUSY_PERCENT => writeln!(out, "{}", busy(&busiest)),
                _ => Ok(()),
            }
        }
        Err(rejected) => {
            out.write_all(rejected.render(colour).as_bytes())?;
            let errors = counted(rejected.errors(), "error", "errors");
            writeln!(out, "error: {errors} in {}", config.display())
        }
    }
}

/// A fuller window than this leaves little for follow-up, and for a day on which others ask for more.
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

/// A record for each diagnostic. A file without any gives no line.
fn print_json(out: &mut impl Write, result: &Result<Loaded, Rejected>) -> io::Result<()> {
    let diagnostics = match result {
        Ok(loaded) => &loaded.warnings,
        Err(rejected) => &rejected.diagnostics,
    };
    for record in diagnostics.iter().map(Diagnostic::record) {
        serde_json::to_writer(&mut *out, &record)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "accounts: { main: { token: { env: T } } }\n";

    fn text(source: &str) -> String {
        let mut out = Vec::new();
        let result = schedule::parse("s.yaml", source);
        print_text(&mut out, Path::new("s.yaml"), &result, Timestamp::UNIX_EPOCH, Colour::Never)
            .expect("a Vec takes everything");
        String::from_utf8(out).expect("UTF-8")
    }

    fn json(source: &str) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        print_json(&mut out, &schedule::parse("s.yaml", source)).expect("a Vec takes everything");
        let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record a line")).collect()
    }

    #[test]
    fn a_good_file_is_summed_up_in_a_line() {
        let source = format!("{ACCOUNT}jobs:\n  a: {{ stack: s, job: j, cron: '@daily' }}\n");
        assert_eq!(text(&source), "ok: 1 entry, 1 account\n");
        assert_eq!(text(""), "ok: 0 entries, 0 accounts\n");
        assert_eq!(json(&source), Vec::<serde_json::Value>::new());
    }

    #[test]
    fn a_bad_file_ends_in_the_number_of_errors() {
        let printed = text("one: 1\ntwo: 2\n");
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
        let source = "accounts: { main: { url: 'http://api.example.com', token: { env: T } } }\n";
        assert!(text(source).ends_with("ok: 0 entries, 1 account, 1 warning\n"), "{}", text(source));
    }
}
