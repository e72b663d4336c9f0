//! Jobs as entries of a schedule file, ready to paste under `jobs:`.
//!
//! Whatever a job is called, what is printed is valid there: a job that cannot run as it is, or
//! that an entry runs already, is printed as a comment that says why.

use std::collections::HashSet;

use super::stack::Chosen;
use crate::cloud66::Job;
use crate::schedule::{Account, Expression, JobUid, Schedule, one_line};

/// The longest name of an entry, in characters.
const LONGEST_NAME: usize = 64;

/// The cron of a commented entry whose job has none.
const SOME_CRON: &str = "30 1 * * *";

/// Form of a job's lines.
enum YamlForm {
    /// It runs on its own cron.
    Entry,
    /// It cannot run as it is, and this is why. All of it is a comment.
    Comment(String),
}

/// The entries of a stack's jobs, indented to stand under `jobs:`.
pub(super) fn entries(stack: &Chosen, jobs: &[Job], account: &Account, schedule: &Schedule) -> String {
    let mut text = format!(
        "  # The jobs of the stack {}.\n  \
         # Paste this under `jobs:`, then run `stackcron check --online`. At Cloud 66 remove the cron of each job that\n  \
         # runs from here, or pause the job there: else it runs twice.\n",
        one_line(&stack.to_string())
    );
    if jobs.is_empty() {
        text += "  # It has no jobs.\n";
    }
    let mut taken: HashSet<String> = schedule.entries.iter().map(|entry| entry.name.to_string()).collect();
    for job in jobs {
        let kind = job.kind.as_deref().map_or(String::new(), |kind| format!(", a {kind}"));
        text += &format!("\n  # {}\n", one_line(&format!("{}{kind}", job.name)));
        let form = form(stack, job, schedule);
        let sign = match &form {
            YamlForm::Entry => "",
            YamlForm::Comment(why) => {
                text += &format!("  # {}\n", one_line(why));
                "#"
            }
        };
        let name = free(&name_of(&job.name, &job.uid), &mut taken);
        text += &format!("  {sign}{}:\n", plain_or_quoted(&name));
        for line in lines(stack, job, account, schedule) {
            text += &format!("  {sign}  {}\n", one_line(&line));
        }
    }
    text
}

fn form(stack: &Chosen, job: &Job, schedule: &Schedule) -> YamlForm {
    let mut entries = schedule.entries.iter();
    if let Some(entry) = entries.find(|entry| entry.stack == stack.uid && entry.job.as_str() == job.uid) {
        return YamlForm::Comment(format!("The entry `{}` runs it already.", entry.name));
    }
    if JobUid::new(&job.uid).is_err() || one_line(&job.uid) != job.uid {
        return YamlForm::Comment("Its uid is none by which it could be run.".to_owned());
    }
    match job.cron.as_deref().map(Expression::parse) {
        Some(Ok(_)) => YamlForm::Entry,
        Some(Err(error)) => YamlForm::Comment(format!(
            "Its cron at Cloud 66 cannot be read: {}; {}.",
            error.message, error.help
        )),
        None => YamlForm::Comment(
            "It has no cron at Cloud 66: write when it is due, and take the signs `#` below away.".to_owned(),
        ),
    }
}

/// The keys of an entry, a line each.
fn lines(stack: &Chosen, job: &Job, account: &Account, schedule: &Schedule) -> Vec<String> {
    let mut lines = vec![
        format!("stack: {}", plain_or_quoted(stack.uid.as_str())),
        format!("job: {}", plain_or_quoted(&job.uid)),
    ];
    match &job.cron {
        Some(cron) => {
            lines.push(format!("cron: {}", quoted(cron)));
            lines.push(
                "timezone: UTC  # as Cloud 66's servers have it, unless yours were set otherwise".to_owned(),
            );
        }
        None => lines.push(format!("cron: {}", quoted(SOME_CRON))),
    }
    if schedule.accounts.len() > 1 {
        lines.push(format!("account: {}", plain_or_quoted(account.name.as_str())));
    }
    if job.paused {
        lines.push("paused: true  # as at Cloud 66; take this line away to let it run from here".to_owned());
    }
    lines
}

/// A name that the rules for entries allow, as near to the job's own as can be.
pub(in crate::cli) fn name_of(job: &str, uid: &str) -> String {
    let fit = |text: &str| {
        let letters = text.chars().map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => c,
            _ => '-',
        });
        let mut name = String::new();
        for letter in letters {
            // A run of letters that no name may have becomes one hyphen.
            if letter != '-' || !name.ends_with('-') {
                name.push(letter);
            }
        }
        let begun = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let cut: String = begun.chars().take(LONGEST_NAME).collect();
        cut.trim_end_matches('-').to_owned()
    };
    match fit(job) {
        // A name of another script.
        name if name.is_empty() => fit(&format!("job-{uid}")),
        name => name,
    }
}

/// The name, or with a number behind it the first one that is not taken. It is taken then.
pub(in crate::cli) fn free(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2_u64..).map(|number| {
        let suffix = format!("-{number}");
        let kept: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
        kept + &suffix
    });
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// A word as YAML has it: quoted where an editor might take it for something else than text.
pub(in crate::cli) fn plain_or_quoted(word: &str) -> String {
    let letters = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    // A number, in any of its spellings, is made of digits and these; a hexadecimal uid has others,
    // nearly always.
    let number = word.starts_with(['.', '-'])
        || word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| "0123456789eExXoO._-".contains(c))
        || word.starts_with("0x")
        || word.starts_with("0X");
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    match letters && !number && !words.contains(&word.to_ascii_lowercase().as_str()) {
        true => word.to_owned(),
        false => quoted(word),
    }
}

/// A text in double quotes. A string of JSON is one of YAML.
pub(in crate::cli) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::schedule::{self, StackUid};

    const ONE: &str = "accounts: { main: { token: { env: T } } }\n";
    const TWO: &str = "accounts: { main: { token: { env: T } }, other: { token: { env: U } } }\n";

    fn job(uid: &str, name: &str, cron: Option<&str>) -> Job {
        Job {
            uid: uid.into(),
            name: name.into(),
            kind: Some("RakeJob".into()),
            cron: cron.map(str::to_owned),
            paused: false,
            status: None,
            params: Map::new(),
        }
    }

    fn stack() -> Chosen {
        let uid = StackUid::new("5999b763474b0eafa5fafb64bff0ba80").expect("a uid");
        Chosen { uid, name: Some("web".into()), environment: Some("production".into()) }
    }

    /// Returns the printed entries, and the schedule with them pasted under `jobs:`.
    fn pasted(file: &str, jobs: &[Job]) -> (String, schedule::Schedule) {
        let before = if file.contains("jobs:") { file.to_owned() } else { format!("{file}jobs: {{}}\n") };
        let schedule = schedule::parse("s.yaml", &before).expect("a valid file").schedule;
        let account = schedule.accounts[0].clone();
        let text = entries(&stack(), jobs, &account, &schedule);
        let whole = match file.contains("jobs:") {
            true => format!("{file}{text}"),
            // A list of comments alone brings no entry that could replace the `{}`.
            false
                if !text
                    .lines()
                    .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) =>
            {
                format!("{before}{text}")
            }
            false => format!("{file}jobs:\n{text}"),
        };
        let parsed = schedule::parse("s.yaml", &whole).unwrap_or_else(|rejected| {
            panic!("{}\n{whole}", rejected.render(schedule::render::Colour::Never))
        });
        (text, parsed.schedule)
    }

    #[test]
    fn jobs_are_printed_as_entries_and_as_comments() {
        let paused = Job { paused: true, ..job("j6", "paused", Some("0 0 * * *")) };
        let jobs = [
            job("98ee5a9b93919d9b63bd5377636675bd", "rake_test", Some("30 1 * * *")),
            job("5999763474000000", "every 72 minutes", Some("x/72 * * * *")),
            job("1e10", "rake_test", Some("*/90 * * * *")),
            job("j4", "Отчёт", Some("@daily")),
            job("j5", "by hand: \"now\" # '", None),
            paused,
            job("j7", "odd\ncron", Some("61 * * * *")),
            job("no uid", "null", Some("0 1 * * *")),
        ];
        let (text, schedule) = pasted(TWO, &jobs);
        insta::assert_snapshot!(text);
        let names: Vec<&str> = schedule.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["rake_test", "every-72-minutes", "rake_test-2", "job-j4", "paused"]);
        assert_eq!(schedule.entries[1].job.as_str(), "5999763474000000");
        assert!(schedule.entries[4].paused);
    }

    #[test]
    fn what_an_entry_runs_already_is_no_second_entry() {
        let file = format!(
            "{ONE}jobs:\n  nightly: {{ stack: 5999b763474b0eafa5fafb64bff0ba80, job: j1, cron: '30 1 * * *' }}\n"
        );
        let jobs = [job("j1", "nightly", Some("30 1 * * *")), job("j2", "nightly", Some("30 1 * * *"))];
        let (text, schedule) = pasted(&file, &jobs);
        assert!(text.contains("# The entry `nightly` runs it already."), "{text}");
        let names: Vec<&str> = schedule.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["nightly", "nightly-3"], "the comment has taken nightly-2");
    }

    #[test]
    fn a_stack_without_jobs_leaves_the_file_valid() {
        assert_eq!(pasted(ONE, &[]).1.entries.len(), 0);
    }

    proptest! {
        #[test]
        fn whatever_a_job_is_called_its_entry_is_valid(
            names in prop::collection::vec("(\\PC|[\n\r\t:#'\"{}\\[\\]*&!|>%@`\u{0}\u{85}\u{2028}\u{feff}-]){0,80}", 1..12),
            uids in prop::collection::vec("[0-9a-f]{1,32}|[0-9]{1,20}|[0-9]e[0-9]{1,3}|true|null|~|\\PC{1,8}", 12),
            crons in prop::collection::vec(prop::option::of(
                "[0-5]?[0-9] [01]?[0-9] \\* \\* \\*|(x|\\*)/(72|80|90|96) \\* \\* \\* \\*|\\PC{0,12}"), 12),
        ) {
            let jobs: Vec<Job> = names
                .iter()
                .zip(uids.iter().zip(&crons))
                .enumerate()
                .map(|(number, (name, (uid, cron)))| job(&format!("{uid}{number}"), name, cron.as_deref()))
                .collect();
            let (_, schedule) = pasted(ONE, &jobs);
            let runs = |job: &&Job| JobUid::new(&job.uid).is_ok() && job.cron.as_deref().is_some_and(|cron| Expression::parse(cron).is_ok());
            let expected: Vec<&str> = jobs.iter().filter(runs).map(|job| job.uid.as_str()).collect();
            let read: Vec<&str> = schedule.entries.iter().map(|entry| entry.job.as_str()).collect();
            prop_assert_eq!(read, expected, "each with a cron is an entry, and its uid is the text it was");
        }
    }
}
