//! `stackcron import`: a crontab as entries of the schedule file, each with the stack's job that runs its command.

mod crontab;
mod matching;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::tz::TimeZone;

use super::CommandEnd;
use super::jobs::yaml::{free, name_of, plain_or_quoted, quoted};
use super::jobs::{JobsAsker, StackJobs};
use super::output;
use crate::schedule::{Expression, JobUid, Schedule, one_line};
use crontab::{Crontab, CrontabForm, CrontabLine};
use matching::{Match, find};

/// A crontab is a file of some kilobytes. What is larger is no crontab.
const LARGEST: u64 = 1 << 20;

/// Turn a crontab into entries, ready to paste under `jobs:`.
///
/// Each line of the crontab is matched with the job of the stack whose task or command it runs. A line that matches no
/// job, or that cannot run from here, is printed as a comment that says why. What `whenever` prints is a crontab too:
///
///   whenever | stackcron import - --stack web
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The crontab, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The stack whose jobs run the commands: its uid, or its name
    #[arg(long, value_name = "S")]
    stack: String,
    #[command(flatten)]
    asker: JobsAsker,
    /// Whether a user stands before each command [default: told by the file's place and its lines]
    #[arg(long, value_enum, value_name = "FORM")]
    form: Option<CrontabForm>,
}

/// Reads the crontab, asks for the stack's jobs, and prints.
pub(super) fn run(args: &Args, config: &Path) -> anyhow::Result<CommandEnd> {
    let text = read(&args.file)?;
    let Some(loaded) = output::load(config)? else {
        return Ok(CommandEnd::Config);
    };
    let found = match args.asker.jobs_of(&args.stack, &loaded.schedule)? {
        Ok(found) => found,
        Err(status) => return Ok(status),
    };
    let form = args.form.unwrap_or_else(|| CrontabForm::guess(&args.file, &text));
    let imported = Imported::from(&Crontab::read(&text, form), &found, &loaded.schedule);
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "{}", imported.summary);
    output::print(imported.text.as_bytes())
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text)),
    };
    let read = read.with_context(|| format!("cannot read the crontab {}", file.display()))?;
    anyhow::ensure!(read as u64 <= LARGEST, "{} has more than 1 MiB: it is no crontab", file.display());
    Ok(text)
}

/// The entries, and one line about them.
struct Imported {
    text: String,
    summary: String,
}

impl Imported {
    fn from(crontab: &Crontab, found: &StackJobs, schedule: &Schedule) -> Imported {
        let mut text = format!(
            "  # A crontab, as entries of the stack {}.\n  \
             # Paste this under `jobs:`, then run `stackcron check --online`. Remove the lines from the crontab: else\n  \
             # each job runs twice.\n",
            one_line(&found.stack.to_string())
        );
        if crontab.lines.iter().any(|line| line.timezone.is_none()) {
            text += "  # A crontab goes by its machine's clock. Where that is not the zone of the schedule file, add `timezone:`.\n";
        }
        if let [(first, _), ..] = &crontab.variables[..] {
            let mut names: Vec<&str> = crontab.variables.iter().map(|(_, name)| name.as_str()).collect();
            names.dedup();
            text += &format!(
                "  # Line {first}: a job has the variables of its stack, not those of the crontab: set {} there.\n",
                names.join(", ")
            );
        }
        let mut taken: HashSet<String> =
            schedule.entries.iter().map(|entry| entry.name.to_string()).collect();
        let mut matched = 0;
        for line in &crontab.lines {
            let entry = Imported::entry(line, found, schedule);
            matched += usize::from(entry.is_ok());
            text += "\n";
            for comment in &line.comments {
                text += &format!("  # {}\n", one_line(comment));
            }
            match entry {
                Ok(ImportedEntry { name, notes, lines }) => {
                    notes.iter().for_each(|note| text += &format!("  # {}\n", one_line(note)));
                    text += &format!("  {}:\n", plain_or_quoted(&free(&name, &mut taken)));
                    lines.iter().for_each(|line| text += &format!("    {}\n", one_line(line)));
                }
                Err(why) => {
                    let crontab = format!("{} {}", line.cron, line.command);
                    text += &format!("  # {}\n  #   {}\n", one_line(&why), one_line(&crontab));
                }
            }
        }
        for (number, reason) in &crontab.unread {
            text += &format!("\n  # Line {number}: {reason}.\n");
        }
        let all = crontab.lines.len() + crontab.unread.len();
        let lines = if all == 1 { "1 line" } else { &format!("{all} lines") };
        let rest = if matched == all { "" } else { "; the comments say why the others are none" };
        Imported { text, summary: format!("{matched} of {lines} became an entry{rest}") }
    }

    /// The entry of a line, or why there is none.
    fn entry(line: &CrontabLine, found: &StackJobs, schedule: &Schedule) -> Result<ImportedEntry, String> {
        let number = line.number;
        let cron = Expression::parse(&line.cron)
            .map_err(|error| format!("Line {number}: {}; {}.", error.message, error.help))?;
        if let Some(zone) = &line.timezone
            && TimeZone::get(zone).is_err()
        {
            return Err(format!("Line {number}: no time zone is named `{zone}`, as CRON_TZ has it."));
        }
        let (job, args) = match find(&line.command, &found.jobs) {
            Match::Job { job, args } => (job, args),
            Match::Several(jobs) => {
                let names: Vec<String> =
                    jobs.iter().map(|job| format!("`{}` (uid {})", job.name, job.uid)).collect();
                return Err(format!(
                    "Line {number}: several jobs of the stack run this command, and one has to be chosen: {}.",
                    names.join(", ")
                ));
            }
            Match::Nothing => {
                return Err(format!(
                    "Line {number}: no job of the stack runs this command. Make one at Cloud 66, and import again."
                ));
            }
        };
        if JobUid::new(&job.uid).is_err() || one_line(&job.uid) != job.uid {
            return Err(format!(
                "Line {number}: the uid of the job `{}` is none by which it could be run.",
                job.name
            ));
        }
        let mut notes = vec![format!("Line {number} of the crontab: {}", line.command)];
        let runs = |entry: &&std::sync::Arc<crate::schedule::Entry>| {
            entry.stack == found.stack.uid && entry.job.as_str() == job.uid
        };
        if let Some(entry) = schedule.entries.iter().find(runs) {
            notes.push(format!("The entry `{}` runs this job too.", entry.name));
        }
        if line.has_input {
            notes.push("What stood behind `%` was the command's standard input; a job has none.".to_owned());
        }
        if let Some(user) = line.user.as_deref().filter(|user| *user != "root") {
            notes.push(format!("It ran as the user {user}; a job runs as Cloud 66 runs the stack's jobs."));
        }
        if let Some(address) = &line.mail_to {
            notes.push(format!("Its output was mailed to {address}; `notify` tells how a job ended."));
        }
        if job.cron.is_some() {
            notes.push(
                "The job has a cron at Cloud 66 as well: remove it there, else it runs twice.".to_owned(),
            );
        }
        let mut lines = vec![
            format!("stack: {}", plain_or_quoted(found.stack.uid.as_str())),
            format!("job: {}", plain_or_quoted(&job.uid)),
            format!("cron: {}", quoted(cron.as_str())),
        ];
        if let Some(zone) = &line.timezone {
            lines.push(format!("timezone: {}", plain_or_quoted(zone)));
        }
        if let Some(args) = args {
            lines.push(format!("args: {}", quoted(&args)));
        }
        if schedule.accounts.len() > 1 {
            lines.push(format!("account: {}", plain_or_quoted(found.account.name.as_str())));
        }
        Ok(ImportedEntry { name: name_of(&job.name, &job.uid), notes, lines })
    }
}

/// One entry, as lines of YAML.
struct ImportedEntry {
    name: String,
    notes: Vec<String>,
    lines: Vec<String>,
}
