//! `check --online`: what the API says of a valid schedule.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::super::api::{self, NoDesk};
use crate::log::visible;
use crate::log::words::counted;
use crate::online::{CheckClient, Learnt, findings, survey};
use crate::schedule::{Account, Code, Diagnostic, Finding, Loaded, Part, Schedule, Severity, StackUid};

/// The outcome of the questions to the API.
pub(super) struct OnlineFindings {
    /// Findings by the API's answers, and questions that could not be asked.
    pub diagnostics: Vec<Diagnostic>,
    /// Summary of the questions, for people.
    pub summary: String,
}

/// Asks about every stack of the schedule, all accounts at once.
pub(super) fn ask(loaded: &Loaded, now: Timestamp) -> anyhow::Result<OnlineFindings> {
    let schedule = &loaded.schedule;
    let tally = Arc::default();
    let (mut accounts, mut desks, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (number, account) in schedule.accounts.iter().enumerate() {
        match api::desk(account, &tally) {
            Ok(desk) => {
                accounts.push(Arc::clone(account));
                desks.push(desk);
            }
            Err(error) => found.push(no_desk(number, account, &error)),
        }
    }
    let learnt = api::ask(&tally, ask_all(schedule, &accounts, &desks))?;
    // The numbers of accounts are those of the file: an account without a desk has learnt nothing.
    let learnt: Vec<Learnt> = in_file_order(schedule, &accounts, learnt);
    found.extend(findings(schedule, &learnt, now));
    for desk in &desks {
        if let Some(warning) = desk.warning() {
            api::warn(&format!("the API says: {}", visible(warning)));
        }
    }
    Ok(OnlineFindings { diagnostics: loaded.diagnosed(found), summary: summary(schedule, &accounts, &desks) })
}

async fn ask_all(schedule: &Schedule, accounts: &[Arc<Account>], desks: &[Arc<CheckClient>]) -> Vec<Learnt> {
    let mut asking = JoinSet::new();
    for (place, (account, desk)) in accounts.iter().zip(desks).enumerate() {
        let of_account = schedule.entries.iter().filter(|entry| entry.account.name == account.name);
        let stacks: BTreeSet<StackUid> = of_account.map(|entry| entry.stack.clone()).collect();
        let desk = Arc::clone(desk);
        asking.spawn(async move { (place, survey(&desk, stacks).await) });
    }
    let mut learnt = asking.join_all().await;
    learnt.sort_by_key(|(place, _)| *place);
    learnt.into_iter().map(|(_, learnt)| learnt).collect()
}

fn in_file_order(schedule: &Schedule, asked: &[Arc<Account>], learnt: Vec<Learnt>) -> Vec<Learnt> {
    let mut learnt = asked.iter().zip(learnt).peekable();
    let nothing = || Learnt { stacks: Ok(Vec::new()), jobs: Default::default() };
    let answers = |account: &Arc<Account>| match learnt.next_if(|(asked, _)| asked.name == account.name) {
        Some((_, learnt)) => learnt,
        None => nothing(),
    };
    schedule.accounts.iter().map(answers).collect()
}

fn no_desk(number: usize, account: &Account, error: &NoDesk) -> Finding {
    Finding {
        code: Code::NotAsked,
        severity: Severity::Error,
        part: Part::Account(number),
        message: format!("account `{}` could not be asked: {error}", account.name),
        help: error.remedy(account),
    }
}

fn summary(schedule: &Schedule, accounts: &[Arc<Account>], desks: &[Arc<CheckClient>]) -> String {
    let stacks: BTreeSet<_> =
        schedule.entries.iter().map(|entry| (&entry.account.name, &entry.stack)).collect();
    let requests = desks.iter().map(|desk| desk.requests()).sum();
    let left = accounts.iter().zip(desks).filter_map(|(account, desk)| {
        let (remaining, limit) = desk.quota_left()?;
        Some(format!("; account {} has {remaining} of {limit} left", account.name))
    });
    let left: String = left.collect();
    format!(
        "online: {} asked about with {}{left}",
        counted(stacks.len(), "stack", "stacks"),
        counted(requests, "request", "requests"),
    )
}
