//! Asks the API for what a schedule names: the stacks once, the jobs once for each stack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::check_client::{AskError, CheckClient};
use crate::cloud66::{Job, Stack};
use crate::schedule::StackUid;

/// The API's answers about one account's stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// The stacks that the token sees: at least those that were asked about and are there.
    pub stacks: Result<Vec<Stack>, AskError>,
    /// The jobs of each stack that was asked about.
    pub jobs: BTreeMap<StackUid, Result<Vec<Job>, AskError>>,
}

/// Asks about these stacks of an account. Without any it asks for the first of the token's stacks,
/// which tells whether the token is accepted.
pub async fn survey(desk: &Arc<CheckClient>, wanted: BTreeSet<StackUid>) -> Learnt {
    let all_are_there = |stacks: &[Stack]| {
        let seen = stacks.iter().filter(|stack| wanted.iter().any(|uid| uid.as_str() == stack.uid)).count();
        seen >= wanted.len()
    };
    let stacks = desk.stacks(all_are_there).await;
    let mut asking = JoinSet::new();
    let mut jobs = BTreeMap::new();
    for stack in wanted {
        // The list may be of one organisation alone, so that a stack that is not in it is asked
        // about all the same.
        let desk = Arc::clone(desk);
        asking.spawn(async move {
            let jobs = desk.jobs(&stack).await;
            (stack, jobs)
        });
    }
    while let Some(asked) = asking.join_next().await {
        // No task is aborted, so an error here is a panic, which is passed on.
        match asked {
            Ok((stack, answer)) => {
                jobs.insert(stack, answer);
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Learnt { stacks, jobs }
}
