//! `/api/v1/entries`: the entries of the schedule in force, each as in `stackcron status ENTRY`,
//! with what it runs and how. By pages: a schedule may have a hundred thousand.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::{KeptAnswer, WebRefusal};
use super::query::Query;
use super::site::Site;
use crate::cli::why::EntryPolicies;
use crate::control::EntryStatus;
use crate::schedule::{End, Entry, Expression, Schedule};

/// Entries of a page, unless the query says how many.
const DEFAULT: usize = 100;

/// Entries of a page at most.
const MOST: usize = 1000;

/// An entry. Its keys are an interface. `args` are not among them: they may hold what is not for
/// everybody.
#[derive(Serialize)]
struct EntryRecord {
    #[serde(flatten)]
    status: EntryStatus,
    #[serde(flatten)]
    plan: EntryPlan,
}

/// When an entry is due, and its policies.
#[derive(Clone, Serialize)]
struct EntryPlan {
    cron: Vec<String>,
    /// Each expression in words. `None`: it is of no common kind.
    words: Vec<Option<String>>,
    /// The entry whose end makes this one due.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<EntryUpstream>,
    /// The entries that are due when this one has ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<String>,
    policies: EntryPolicies,
}

/// The entry that another one comes after, and how its action has to end.
#[derive(Clone, Serialize)]
struct EntryUpstream {
    entry: String,
    /// `success`, `failure` or `end`.
    on: &'static str,
}

impl EntryPlan {
    fn of(entry: &Entry) -> EntryPlan {
        let after = entry.after.as_ref().map(|after| EntryUpstream {
            entry: after.entry.to_string(),
            on: match after.on {
                End::Success => "success",
                End::Failure => "failure",
                End::End => "end",
            },
        });
        EntryPlan {
            after,
            then: Vec::new(),
            cron: entry.cron.iter().map(|expression| expression.as_str().to_owned()).collect(),
            words: entry.cron.iter().map(Expression::in_words).collect(),
            policies: EntryPolicies::of(entry),
        }
    }
}

/// The entries that a request selects.
struct EntriesQuery {
    names: Vec<String>,
    /// A part of the name, the stack or the job, in small letters.
    part: String,
    stack: Option<String>,
    /// Only entries whose name comes after this one.
    after: Option<String>,
    most: usize,
}

impl EntriesQuery {
    fn admits(&self, entry: &Entry) -> bool {
        let has = |text: &str| text.to_ascii_lowercase().contains(&self.part);
        (self.names.is_empty() || self.names.iter().any(|name| name == entry.name.as_str()))
            && self.stack.as_deref().is_none_or(|stack| stack == entry.stack.as_str())
            && (self.part.is_empty()
                || has(entry.name.as_str())
                || has(entry.stack.as_str())
                || has(entry.job.as_str()))
    }

    /// A page of plans by name, how many entries there are on all pages, and whether others follow.
    fn page(&self, schedule: &Schedule) -> (BTreeMap<String, EntryPlan>, usize, bool) {
        let mut found: Vec<&Entry> =
            schedule.entries.iter().map(|entry| &**entry).filter(|entry| self.admits(entry)).collect();
        let total = found.len();
        if let Some(after) = &self.after {
            found.retain(|entry| entry.name.as_str() > after.as_str());
        }
        let more = found.len() > self.most;
        if more && self.most > 0 {
            found.select_nth_unstable_by(self.most - 1, |a, b| a.name.cmp(&b.name));
        }
        found.truncate(self.most);
        let mut plans: BTreeMap<String, EntryPlan> =
            found.into_iter().map(|entry| (entry.name.to_string(), EntryPlan::of(entry))).collect();
        for entry in &schedule.entries {
            if let Some(plan) = entry.after.as_ref().and_then(|after| plans.get_mut(after.entry.as_str())) {
                plan.then.push(entry.name.to_string());
            }
        }
        (plans, total, more)
    }
}

pub(super) async fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "q", "stack", "after", "limit"])?;
    let wanted = EntriesQuery {
        names: query.all("entry").map(str::to_owned).collect(),
        part: query.one("q")?.unwrap_or_default().to_ascii_lowercase(),
        stack: query.one("stack")?.map(str::to_owned),
        after: query.one("after")?.map(str::to_owned),
        most: query.number("limit", DEFAULT, MOST)?,
    };
    let (mut plans, total, more) = site.walk(move |schedule| wanted.page(schedule)).await?;
    let names: Vec<String> = plans.keys().cloned().collect();
    let next = names.last().filter(|_| more).map(|last| query.with(&[("after", Some(last.clone()))]));
    let records: Vec<EntryRecord> = match names.is_empty() {
        true => Vec::new(),
        false => {
            let of_entries = site.status.status(names, MOST).await?.entries.into_iter();
            let record =
                |status: EntryStatus| plans.remove(&status.entry).map(|plan| EntryRecord { status, plan });
            of_entries.filter_map(record).collect()
        }
    };
    Ok(KeptAnswer::json::<()>(&records, None)?.of(total).followed_by(next))
}
