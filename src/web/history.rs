//! `/api/v1/history`: the records of `stackcron history`, the newest last. By pages, from the
//! newest back.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::answer::{KeptAnswer, WebRefusal};
use super::query::{Query, QueryError};
use super::site::Site;
use crate::cli::history::HistoryRecord;
use crate::journal::{Filter, JournalError, Location, Record, State};
use crate::schedule::{Entry, EntryName, Expectation, Schedule};

/// Records of a page, unless the query says how many.
const DEFAULT: usize = 100;

/// Records of a page at most: some 2 MB.
const MOST: usize = 10_000;

/// Records that are looked at for one page: with `state`, what is asked for may be rare. The page
/// that has been filled by then says where to go on.
const MOST_LOOKED_AT: usize = 100_000;

/// A record as the command prints it, when its action ended, its upstream, and its pace by the
/// schedule in force. Its keys are an interface.
#[derive(Serialize)]
struct OccurrenceRecord<'a> {
    #[serde(flatten)]
    line: HistoryRecord<'a>,
    finished_at: Option<Timestamp>,
    /// The entry whose end made it due.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
    /// `None`: it takes as long as its entry expects, or nobody said how long that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pace: Option<Pace>,
}

/// The run time of an action against the entry's `expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pace {
    Slow,
    Quick,
}

impl Pace {
    fn of(record: &Record, expected: Expectation, now: Timestamp) -> Option<Pace> {
        let runs = record.state == State::Started;
        let end = record.finished_at.or_else(|| runs.then_some(now))?;
        // The API tells whole seconds: an action may seem to end before it was asked for.
        let ran = Duration::try_from(end.duration_since(record.sent_at?)).unwrap_or_default();
        match (expected.within, expected.at_least) {
            (Some(within), _) if ran > within => Some(Pace::Slow),
            (_, Some(least)) if ran < least && !runs => Some(Pace::Quick),
            _ => None,
        }
    }
}

/// The upstream and the expectation of each entry of the schedule in force that has either.
struct KnownEntries(HashMap<EntryName, (Option<EntryName>, Option<Expectation>)>);

impl KnownEntries {
    fn of(schedule: &Schedule) -> KnownEntries {
        let told = schedule.entries.iter().filter(|entry| entry.after.is_some() || entry.expect.is_some());
        let upstream = |entry: &Entry| entry.after.as_ref().map(|after| after.entry.clone());
        KnownEntries(
            told.map(|entry| (entry.name.clone(), (upstream(entry), entry.expect.as_deref().copied())))
                .collect(),
        )
    }
}

/// The records that a request selects.
struct HistoryQuery {
    filter: Filter,
    states: Vec<State>,
    most: usize,
    /// Number of records of the newest instant that former pages have shown.
    skip: usize,
}

/// The beginning of the next page.
struct Further {
    until: Timestamp,
    skip: usize,
}

pub(super) async fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "state", "since", "until", "limit", "skip"])?;
    let entry = query.entry()?;
    let (schedule, now) = (site.schedule(), Timestamp::now());
    let states = query.all("state").map(|word| {
        State::of_word(word).ok_or_else(|| QueryError::Wrong {
            key: "state",
            problem: format!("write one of {}", State::ALL.map(State::as_str).join(", ")),
        })
    });
    let wanted = HistoryQuery {
        states: states.collect::<Result<_, _>>()?,
        most: query.number("limit", DEFAULT, MOST)?,
        skip: query.number("skip", 0, MOST_LOOKED_AT)?,
        filter: Filter {
            since: query.instant("since", entry.as_ref(), &schedule, now)?,
            until: query.instant("until", entry.as_ref(), &schedule, now)?,
            entry,
            newest: None,
        },
    };
    let (lines, further) =
        site.read(move |journal| wanted.page(journal, &KnownEntries::of(&schedule), now)).await??;
    let next = further.map(|Further { until, skip }| {
        query.with(&[("until", Some(until.to_string())), ("skip", Some(skip.to_string()))])
    });
    Ok(KeptAnswer::lines(&lines).followed_by(next))
}

impl HistoryQuery {
    /// A page of records, one a line, and where the next one begins, if there is one.
    fn page(
        &self,
        journal: &Location,
        known: &KnownEntries,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Option<Further>), JournalError> {
        let looked_at = match self.states.is_empty() {
            true => self.most,
            false => MOST_LOOKED_AT,
        };
        let ahead = looked_at.saturating_add(self.skip).saturating_add(1);
        let newest = u32::try_from(ahead).unwrap_or(u32::MAX);
        let mut read: VecDeque<Record> = VecDeque::new();
        journal.read_history(&Filter { newest: Some(newest), ..self.filter.clone() }, |record| {
            read.push_back(record);
            ControlFlow::Continue(())
        })?;
        let mut more = read.len() == ahead;
        if more {
            read.pop_front();
        }
        read.truncate(read.len().saturating_sub(self.skip));
        let mut told = VecDeque::new();
        // The end of the records that were read so far.
        let mut end: Option<(Timestamp, usize)> = None;
        while let Some(record) = read.pop_back() {
            if told.len() == self.most {
                more = true;
                break;
            }
            let at = record.key.scheduled_at();
            end = Some(match end {
                Some((last, count)) if last == at => (at, count + 1),
                Some(_) => (at, 1),
                None if self.begins_at(at) => (at, self.skip + 1),
                None => (at, 1),
            });
            if self.states.is_empty() || self.states.contains(&record.state) {
                told.push_front(record);
            }
        }
        let mut lines = Vec::new();
        for record in &told {
            // Writing to memory cannot fail.
            let (after, expected) = known
                .0
                .get(record.key.entry())
                .map_or((None, None), |known| (known.0.as_ref().map(EntryName::as_str), known.1));
            let told = OccurrenceRecord {
                line: HistoryRecord::of(record),
                finished_at: record.finished_at,
                after,
                pace: expected.and_then(|expected| Pace::of(record, expected, now)),
            };
            let _ = serde_json::to_writer(&mut lines, &told);
            lines.push(b'\n');
        }
        let further = end.filter(|_| more).and_then(|(at, skip)| {
            Some(Further { until: at.checked_add(SignedDuration::from_micros(1)).ok()?, skip })
        });
        Ok((lines, further))
    }

    /// Returns true when the skipped records are of this instant.
    fn begins_at(&self, at: Timestamp) -> bool {
        let after = at.checked_add(SignedDuration::from_micros(1)).ok();
        self.skip > 0 && after == self.filter.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::tests::of_a_night;

    #[tokio::test]
    async fn pages_have_each_record_once() {
        let place = of_a_night(7, 5).await;
        let journal = Location::Directory(place.path().to_owned());
        for (most, states) in
            [(1, vec![]), (2, vec![]), (3, vec![]), (5, vec![]), (35, vec![]), (2, vec![State::Due])]
        {
            let (mut told, mut wanted) =
                (Vec::new(), HistoryQuery { filter: Filter::default(), states, most, skip: 0 });
            loop {
                let (lines, further) =
                    wanted.page(&journal, &KnownEntries(HashMap::new()), Timestamp::now()).expect("a page");
                let page = String::from_utf8(lines).expect("text");
                told.splice(0..0, page.lines().map(str::to_owned).collect::<Vec<_>>());
                let Some(Further { until, skip }) = further else { break };
                wanted.filter.until = Some(until);
                wanted.skip = skip;
            }
            let mut once = told.clone();
            once.sort();
            once.dedup();
            assert_eq!((told.len(), once.len()), (35, 35), "{most} a page");
        }
    }
}
