//! Finds the job that runs a crontab's command.
//!
//! A crontab wraps what it runs: `whenever` writes `/bin/bash -l -c 'cd /app &&
//! RAILS_ENV=production bundle exec rake db:purge --silent >> log 2>&1'` where the stack's job has
//! the task `db:purge`. [`bare`] takes the wrapping away, and [`find`] compares the rest with each
//! job's `task` or `command`, the nearest form first: word for word, then as the beginning of the
//! command, whose further words become the entry's `args`.

use serde_json::Value;

use crate::cloud66::Job;

/// The result of a search among the jobs.
#[derive(Debug, PartialEq)]
pub(super) enum Match<'j> {
    /// This job runs the command.
    Job {
        job: &'j Job,
        /// The command's words beyond the job's own, as `args` takes them. `None`: there are none.
        args: Option<String>,
    },
    /// Several jobs run it, and nothing tells which one is meant.
    Several(Vec<&'j Job>),
    /// No job runs it.
    Nothing,
}

/// The job that runs a command.
pub(super) fn find<'j>(command: &str, jobs: &'j [Job]) -> Match<'j> {
    let wanted = bare(command);
    let mut best: Vec<(&Job, usize, Vec<String>)> = Vec::new();
    for job in jobs {
        let Some(own) = runs(job) else { continue };
        let own = bare(own);
        let Some(rest) = beyond(&wanted, &own) else { continue };
        match best.first().map_or(0, |(_, length, _)| *length) {
            longest if own.len() > longest => best = vec![(job, own.len(), rest)],
            longest if own.len() == longest => best.push((job, own.len(), rest)),
            _ => {}
        }
    }
    match &best[..] {
        [] => Match::Nothing,
        [(job, _, rest)] => Match::Job { job, args: (!rest.is_empty()).then(|| rest.join(" ")) },
        several => Match::Several(several.iter().map(|(job, ..)| *job).collect()),
    }
}

/// The task or the command of a job, as its kind has it.
fn runs(job: &Job) -> Option<&str> {
    ["command", "task"].into_iter().find_map(|key| job.params.get(key)).and_then(Value::as_str)
}

/// The words of `wanted` behind those of `own`. `None` where `wanted` does not begin with `own`;
/// what starts the task (`bundle exec rake`, `bin/rails`) may stand before it.
fn beyond(wanted: &[String], own: &[String]) -> Option<Vec<String>> {
    if own.is_empty() {
        return None;
    }
    [wanted, started_by_rake(wanted)]
        .into_iter()
        .find_map(|words| words.strip_prefix(own).or_else(|| words.strip_prefix(started_by_rake(own))))
        .map(<[String]>::to_vec)
}

/// The words behind the program that runs a Rails task; all words where none does.
fn started_by_rake(words: &[String]) -> &[String] {
    let mut rest = words;
    if let [bundle, exec, more @ ..] = rest
        && last_part(bundle) == "bundle"
        && exec == "exec"
    {
        rest = more;
    }
    match rest {
        [rake, more @ ..] if matches!(last_part(rake), "rake" | "rails") && !more.is_empty() => more,
        _ => words,
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The words of a command without what a crontab wraps it in: a shell's `-c`, `cd DIR &&`,
/// variables in front, redirections, and the `--silent` that `whenever` adds.
pub(super) fn bare(command: &str) -> Vec<String> {
    let mut words = words(command);
    // A shell within a shell is as much as people write.
    for _ in 0..3 {
        match inner(&words) {
            Some(command) => words = self::words(&command),
            None => break,
        }
    }
    let begin = words.iter().rposition(|word| word == "&&").map_or(0, |at| at + 1);
    words.drain(..begin);
    let is_setting = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let settings = words.iter().take_while(|word| is_setting(word) || *word == "env").count();
    words.drain(..settings);
    if let Some(end) = words.iter().position(|word| is_redirection(word)) {
        words.truncate(end);
    }
    words.retain(|word| word != "--silent");
    words
}

/// The command that a shell is given with `-c`.
fn inner(words: &[String]) -> Option<String> {
    let shell = last_part(words.first()?);
    if !matches!(shell, "sh" | "bash" | "dash" | "zsh") {
        return None;
    }
    let option = words.iter().position(|word| word.starts_with('-') && word.ends_with('c'))?;
    words.get(option + 1).cloned()
}

fn is_redirection(word: &str) -> bool {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    word.starts_with(['>', '<', '|']) || word.starts_with("&>")
}

/// Words as a shell splits them: quotes and backslashes are read. A quote that is never closed ends
/// with the text.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn job(uid: &str, key: &str, runs: &str) -> Job {
        let mut params = Map::new();
        params.insert(key.to_owned(), json!(runs));
        Job { uid: uid.into(), name: uid.into(), kind: None, cron: None, paused: false, status: None, params }
    }

    fn found(command: &str, jobs: &[Job]) -> String {
        match find(command, jobs) {
            Match::Job { job, args: None } => job.uid.clone(),
            Match::Job { job, args: Some(args) } => format!("{} with {args}", job.uid),
            Match::Several(jobs) => jobs.iter().map(|job| job.uid.as_str()).collect::<Vec<_>>().join(" or "),
            Match::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_command_is_found_in_whatever_a_crontab_wraps_it() {
        let jobs = [
            job("purge", "task", "db:purge"),
            job("report", "command", "bundle exec rake report:nightly"),
            job("runner", "command", "bin/rails runner 'Invoice.send_all'"),
            job("report-full", "command", "bundle exec rake report:nightly --full"),
            job("backup", "command", "/usr/local/bin/backup --all"),
        ];
        for (command, expected) in [
            (
                "/bin/bash -l -c 'cd /app && RAILS_ENV=production bundle exec rake db:purge --silent >> log/cron.log 2>&1'",
                "purge",
            ),
            ("cd /app && bin/rails db:purge", "purge"),
            ("rake db:purge[90]", "nothing"),
            ("cd /app && bundle exec rake report:nightly", "report"),
            ("bundle exec rake report:nightly --full >/dev/null 2>&1", "report-full"),
            ("bundle exec rake report:nightly --quick x", "report with --quick x"),
            ("/bin/bash -l -c 'cd /app && bin/rails runner '\\''Invoice.send_all'\\'''", "runner"),
            ("/usr/local/bin/backup --all | logger", "backup"),
            ("backup --all", "nothing"),
            ("true", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(found(command, &jobs), expected, "{command}");
        }
    }

    #[test]
    fn two_jobs_that_run_the_same_are_not_guessed_between() {
        let jobs = [job("a", "task", "db:purge"), job("b", "task", "db:purge"), job("c", "command", "x")];
        assert_eq!(found("rake db:purge", &jobs), "a or b");
    }
}
