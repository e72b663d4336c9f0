//! Reads the actions of the stacks for `audit --online`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::super::api;
use crate::audit::Online;
use crate::cloud66::Action;
use crate::log::visible;
use crate::log::words::counted;
use crate::online::{AskError, CheckClient};
use crate::schedule::{Account, Schedule, StackUid};

/// Actions are read back to so long before the span: an action's instant is the API's clock's.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);

/// The runs that the stacks list, and the number of stacks that could not be asked.
pub(super) struct ListedRuns {
    pub(super) online: Online,
    pub(super) not_asked: usize,
}

/// Asks every account for the actions of its stacks, back to the beginning of the span.
pub(super) fn ask(schedule: &Schedule, from: Timestamp) -> anyhow::Result<ListedRuns> {
    let mut stacks: BTreeMap<usize, Vec<StackUid>> = BTreeMap::new();
    for entry in &schedule.entries {
        let is_it = |account: &Arc<Account>| account.name == entry.account.name;
        let Some(account) = schedule.accounts.iter().position(is_it) else { continue };
        let of_account = stacks.entry(account).or_default();
        if !of_account.contains(&entry.stack) {
            of_account.push(entry.stack.clone());
        }
    }
    let number = stacks.values().map(Vec::len).sum();
    let many = counted(number, "stack", "stacks");
    let least = counted(number, "request", "requests");
    note(&format!(
        "online: asks for the actions of {many}: {least} at least, one for each page of a list; what the reserve keeps is not used"
    ));
    let tally = Arc::default();
    let (mut asking, mut not_asked) = (Vec::new(), 0);
    for (account, stacks) in stacks {
        let account = &schedule.accounts[account];
        match api::desk(account, &tally) {
            Ok(client) => asking.push((Arc::clone(account), client, stacks)),
            Err(error) => {
                not_asked += stacks.len();
                let remedy = error.remedy(account);
                api::warn(&format!("account `{}` could not be asked: {error}; {remedy}", account.name));
            }
        }
    }
    let back_to = from.checked_sub(BEFORE).unwrap_or(Timestamp::MIN);
    let answers = api::ask(&tally, ask_all(&asking, back_to))?;
    let mut actions = Vec::new();
    for (place, stack, answer) in answers {
        match answer {
            Ok(listed) => actions.extend(listed.into_iter().map(|action| (stack.clone(), action))),
            Err(error) => {
                not_asked += 1;
                let remedy = error.remedy(&asking[place].0);
                let error = visible(&error.to_string());
                api::warn(&format!("the actions of stack {stack} could not be read: {error}; {remedy}"));
            }
        }
    }
    let requests = asking.iter().map(|(_, client, _)| client.requests()).sum();
    let left = asking.iter().filter_map(|(account, client, _)| {
        let (remaining, limit) = client.quota_left()?;
        Some(format!("; account {} has {remaining} of {limit} left", account.name))
    });
    let left: String = left.collect();
    note(&format!("online: {many} asked about with {}{left}", counted(requests, "request", "requests")));
    Ok(ListedRuns { online: Online::new(actions), not_asked })
}

type AccountQuestion = (Arc<Account>, Arc<CheckClient>, Vec<StackUid>);

/// The answers, each with the place of its account.
async fn ask_all(
    asking: &[AccountQuestion],
    back_to: Timestamp,
) -> Vec<(usize, StackUid, Result<Vec<Action>, AskError>)> {
    let mut tasks = JoinSet::new();
    for (place, (_, client, stacks)) in asking.iter().enumerate() {
        for stack in stacks {
            let (client, stack) = (Arc::clone(client), stack.clone());
            tasks.spawn(async move {
                let answer = client.actions(&stack, back_to).await;
                (place, stack, answer)
            });
        }
    }
    tasks.join_all().await
}

/// On stderr: what reads the records is not to take it for one.
fn note(text: &str) {
    use std::io::Write;
    let faint = anstyle::AnsiColor::BrightBlack.on_default();
    let _ = writeln!(anstream::stderr(), "{faint}{text}{faint:#}");
}
