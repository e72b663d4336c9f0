//! Findings of `check --online`: stacks and jobs that do not exist, are paused, or run twice.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::check_client::AskError;
use super::survey::Learnt;
use crate::cloud66::{Job, Stack};
use crate::schedule::{Account, Code, Entry, Expression, Finding, Part, Schedule, Severity};
use crate::timetable::coincidence;

/// An entry and the job's own cron expression are compared over this span from now.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366);

/// Searches for one instant at which both are due.
const SEARCHES: usize = 64;

/// Stacks or jobs that are named where none comes near.
const NAMED: usize = 5;

/// Holds what was learnt of each account, in the schedule's order, against the schedule.
pub fn findings(schedule: &Schedule, learnt: &[Learnt], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut told = HashSet::new();
    for (number, (account, learnt)) in schedule.accounts.iter().zip(learnt).enumerate() {
        of_account(number, account, learnt, &mut findings);
    }
    for (number, entry) in schedule.entries.iter().enumerate() {
        let place = schedule.accounts.iter().position(|account| account.name == entry.account.name);
        let Some(learnt) = place.and_then(|place| learnt.get(place)) else {
            continue;
        };
        let of_entry = OfEntry { number, entry, stacks: learnt.stacks.as_deref().unwrap_or(&[]) };
        let first = told.insert((&entry.account.name, &entry.stack));
        if first {
            findings.extend(of_entry.state_of_stack());
        }
        match learnt.jobs.get(&entry.stack) {
            Some(Ok(jobs)) => findings.extend(of_entry.job(jobs, now)),
            Some(Err(AskError::NotFound(_))) => findings.push(of_entry.unknown_stack()),
            // Told of with the account, or with the first entry that names the stack.
            Some(Err(error)) if first && !error.is_of_account() => findings.push(of_entry.not_asked(error)),
            Some(Err(_)) | None => {}
        }
    }
    findings
}

/// Adds the findings about an account as a whole.
fn of_account(number: usize, account: &Account, learnt: &Learnt, findings: &mut Vec<Finding>) {
    let part = Part::Account(number);
    let mut failed = learnt.jobs.values().filter_map(|jobs| jobs.as_ref().err());
    let of_account = failed.clone().find(|error| error.is_of_account());
    let finding = |severity, message, error: &AskError| {
        let help = error.remedy(account);
        Finding { code: Code::NotAsked, severity, part, message, help }
    };
    if let Some(error) = of_account {
        let missing = failed.filter(|error| error.is_of_account()).count();
        let total = learnt.jobs.len();
        let what = match total {
            1 => "its stack".to_owned(),
            total if missing == total => format!("its {total} stacks"),
            total => format!("{missing} of its {total} stacks"),
        };
        let message = format!("account `{}` could not be asked about {what}: {error}", account.name);
        findings.push(finding(Severity::Error, message, error));
    } else if let Err(error) = &learnt.stacks {
        let (severity, what) = match failed.next().is_none() && !learnt.jobs.is_empty() {
            // The jobs have told all but this.
            true => (Severity::Note, "whether its stacks are deploying"),
            false => (Severity::Error, "its stacks"),
        };
        let message = format!("account `{}` could not be asked for {what}: {error}", account.name);
        findings.push(finding(severity, message, error));
    }
}

/// An entry against the stacks that its token sees.
struct OfEntry<'l> {
    number: usize,
    entry: &'l Arc<Entry>,
    stacks: &'l [Stack],
}

impl OfEntry<'_> {
    fn unknown_stack(&self) -> Finding {
        let Entry { account, stack, .. } = &**self.entry;
        let named = |stack: &Stack| -> [String; 2] { [stack.uid.clone(), stack.name.clone()] };
        let help = match nearest(stack.as_str(), self.stacks, named) {
            Nearest::Named(stacks) => {
                let uids: Vec<String> = stacks.iter().map(|stack| with_environment(stack)).collect();
                format!("that is a stack's name; write its uid: {}", uids.join(", or "))
            }
            Nearest::Near(near) if near.name == near.uid => {
                format!("did you mean {}?", with_environment(near))
            }
            Nearest::Near(near) => format!("did you mean `{}`, {}?", near.name, with_environment(near)),
            Nearest::None if self.stacks.is_empty() => "the token sees no stacks at all".into(),
            Nearest::None => {
                let known =
                    self.stacks.iter().map(|stack| format!("`{}`, {}", stack.name, with_environment(stack)));
                format!("the token sees {}", among(known, self.stacks.len()))
            }
        };
        Finding {
            code: Code::UnknownStack,
            severity: Severity::Error,
            part: Part::Stack(self.number),
            message: format!("account `{}` has no stack `{stack}`", account.name),
            help,
        }
    }

    fn not_asked(&self, error: &AskError) -> Finding {
        Finding {
            code: Code::NotAsked,
            severity: Severity::Error,
            part: Part::Stack(self.number),
            message: format!("the API could not be asked about this stack: {error}"),
            help: error.remedy(&self.entry.account),
        }
    }

    fn state_of_stack(&self) -> Vec<Finding> {
        let Some(stack) = self.stacks.iter().find(|stack| stack.uid == self.entry.stack.as_str()) else {
            return Vec::new();
        };
        let note = |code, message: String, help: &str| Finding {
            code,
            severity: Severity::Note,
            part: Part::Stack(self.number),
            message,
            help: help.into(),
        };
        let mut notes = Vec::new();
        if stack.deploying {
            let message =
                format!("the stack `{}` is deploying: a job that fires meanwhile fails", stack.name);
            notes.push(note(Code::StackDeploying, message, "it passes when the deployment has ended"));
        }
        if stack.maintenance {
            let message = format!("the stack `{}` is in maintenance mode", stack.name);
            notes.push(note(
                Code::StackMaintenance,
                message,
                "its jobs run all the same, if nobody pauses them",
            ));
        }
        notes
    }

    fn job(&self, jobs: &[Job], now: Timestamp) -> Option<Finding> {
        match jobs.iter().find(|job| job.uid == self.entry.job.as_str()) {
            None => Some(self.unknown_job(jobs)),
            // A paused entry sends nothing, so its job's state does not matter.
            Some(_) if self.entry.paused => None,
            Some(job) if job.paused => Some(self.paused_job(job)),
            Some(job) => job.cron.as_deref().map(|cron| self.doubled_job(job, cron, now)),
        }
    }

    fn unknown_job(&self, jobs: &[Job]) -> Finding {
        let named = |job: &Job| -> [String; 2] { [job.uid.clone(), job.name.clone()] };
        let help = match nearest(self.entry.job.as_str(), jobs, named) {
            Nearest::Named(jobs) => {
                let uids: Vec<String> = jobs.iter().map(|job| format!("`{}`", job.uid)).collect();
                format!("that is a job's name; write its uid: {}", uids.join(", or "))
            }
            Nearest::Near(near) if near.name == near.uid => format!("did you mean `{}`?", near.uid),
            Nearest::Near(near) => format!("did you mean `{}`, whose uid is `{}`?", near.name, near.uid),
            Nearest::None if jobs.is_empty() => "the stack has no jobs at all".into(),
            Nearest::None => {
                let known = jobs.iter().map(|job| format!("`{}` (`{}`)", job.uid, job.name));
                format!("its jobs are {}", among(known, jobs.len()))
            }
        };
        let stack = self.stacks.iter().find(|stack| stack.uid == self.entry.stack.as_str());
        let stack = stack.map_or(self.entry.stack.as_str(), |stack| &stack.name);
        Finding {
            code: Code::UnknownJob,
            severity: Severity::Error,
            part: Part::Job(self.number),
            message: format!("the stack `{stack}` has no job `{}`", self.entry.job),
            help,
        }
    }

    fn paused_job(&self, job: &Job) -> Finding {
        let (severity, but) = match &job.cron {
            // A paused job is right where the entry has taken over from the job's own cron.
            Some(cron) => {
                (Severity::Note, format!(", so that its own cron `{cron}` does not double this entry"))
            }
            None => (Severity::Warning, String::new()),
        };
        Finding {
            code: Code::PausedJob,
            severity,
            part: Part::Job(self.number),
            message: format!("the job `{}` is paused at Cloud 66{but}", job.name),
            help: "the API's pages do not say whether run_now starts a paused job; to be sure, unpause it and remove its cron there"
                .into(),
        }
    }

    fn doubled_job(&self, job: &Job, cron: &str, now: Timestamp) -> Finding {
        let both = self.both_due(cron, now).map_or(String::new(), |at| format!("; both are due at {at}"));
        Finding {
            code: Code::DoubledJob,
            severity: Severity::Warning,
            part: Part::Job(self.number),
            message: format!(
                "the job `{}` has a cron of its own at Cloud 66, `{cron}`, and starts there as well as from here{both}",
                job.name
            ),
            help: "remove its cron at Cloud 66, or pause the job there".into(),
        }
    }

    /// The first instant at which the entry and a cron of Cloud 66 are both due. Its crons are read
    /// in UTC.
    fn both_due(&self, cron: &str, now: Timestamp) -> Option<Timestamp> {
        let cron = [Expression::parse(cron).ok()?].into();
        let theirs = Entry { cron, timezone: TimeZone::UTC, ..Entry::clone(self.entry) };
        let until = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        coincidence(self.entry, &theirs, now, until, &mut { SEARCHES })
    }
}

/// A stack's uid, and the environment that tells it from others of its name.
fn with_environment(stack: &Stack) -> String {
    match stack.environment.as_str() {
        "" => format!("`{}`", stack.uid),
        environment => format!("`{}` ({environment})", stack.uid),
    }
}

/// The first few of some things in a sentence.
fn among(known: impl Iterator<Item = String>, number: usize) -> String {
    let named: Vec<String> = known.take(NAMED).collect();
    let more = match number.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    named.join("; ") + &more
}

/// The stack or job that a word probably means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nearest<'k, T> {
    /// The word is the name of these, where a uid is wanted.
    Named(Vec<&'k T>),
    /// The word is almost the uid or the name of this one.
    Near(&'k T),
    /// The word is like none of them.
    None,
}

/// Finds what was probably meant by a word among things that have a uid and a name each.
pub fn nearest<'k, T>(word: &str, known: &'k [T], words: impl Fn(&T) -> [String; 2]) -> Nearest<'k, T> {
    let named: Vec<&T> = known.iter().filter(|thing| words(thing)[1] == word).collect();
    if !named.is_empty() {
        return Nearest::Named(named);
    }
    let plain = word.to_lowercase();
    let distance = |other: &String| {
        let distance = strsim::damerau_levenshtein(&plain, &other.to_lowercase());
        (distance <= 1 + other.chars().count() / 4 && distance < other.chars().count()).then_some(distance)
    };
    let near =
        known.iter().filter_map(|thing| Some((words(thing).iter().filter_map(distance).min()?, thing)));
    near.min_by_key(|(distance, _)| *distance).map_or(Nearest::None, |(_, thing)| Nearest::Near(thing))
}
