//! Asks the daemon for one occurrence after another, and waits for the end of each.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::found::Repairable;
use super::report::{Runs, note};
use crate::backfill::{Gap, Item, Standing, is_under_way, standing};
use crate::control::{
    self, AccountStatus, ControlAnswer, ControlAnswers, ControlError, FireProgress, Question,
};
use crate::journal::{Filter, Key, Location, Record, State};
use crate::log::visible;
use crate::schedule::Entry;

/// The journal is asked this often what has become of an occurrence.
const POLL: Duration = Duration::from_millis(500);

/// A daemon that has gone is waited for this long: an upgrade or a restart takes less.
const GONE_FOR: Duration = Duration::from_secs(60);

/// The quota of an entry's account, as the daemon knows it. `None`: no daemon answers.
pub(super) fn quota(places: &[PathBuf], entry: &Entry) -> Option<AccountStatus> {
    let question = Question::Status { entries: Vec::new(), most: 0 };
    let answer = control::ask(places, &question).and_then(|mut answers| answers.soon()).ok()?;
    let ControlAnswer::Status(status) = answer else { return None };
    status.accounts.into_iter().find(|account| account.account == entry.account.name.as_str())
}

/// Why a backfill was broken off. What was claimed goes on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{cause}\nwhat was claimed goes on; ask again with the same command, and the backfill goes on where it has come to"
)]
struct BrokenOff {
    cause: anyhow::Error,
}

/// Goes through a plan.
pub(super) struct Steps<'a> {
    pub entry: &'a Entry,
    pub journal: &'a Location,
    pub places: &'a [PathBuf],
}

/// The outcome of asking the daemon for an occurrence.
enum ClaimOutcome {
    /// The occurrence is claimed, and these answers tell more.
    Claimed(ControlAnswers),
    /// The daemon has gone, and may have claimed it.
    Lost(ControlError),
    /// Something else has claimed it.
    Known,
    /// The entry's action has not finished.
    Busy(String),
}

impl Steps<'_> {
    /// Makes up for each occurrence. Ends early where the daemon refuses one, or the API does: the
    /// next would be refused as well.
    pub(super) fn run(&self, found: &Repairable, runs: &mut Runs<'_>) -> anyhow::Result<()> {
        for item in &found.plan.items {
            let record = match item {
                Item::UnderWay(key) => Some(self.ends(key, None)),
                Item::Gap(gap) => self.makes_up(gap.clone()).transpose(),
            };
            let record = record.transpose().map_err(|cause| BrokenOff { cause })?;
            let Some(record) = record else { continue };
            runs.take(&record)?;
            if record.state == State::Rejected {
                let refused =
                    "the API refused it, and would refuse the others as well: see to the cause first";
                return Err(anyhow::Error::from(BrokenOff { cause: anyhow::anyhow!(refused) }));
            }
        }
        Ok(())
    }

    /// Has one occurrence made up for. `None`: something else has seen to it.
    fn makes_up(&self, mut gap: Gap) -> anyhow::Result<Option<Record>> {
        let (mut told_busy, mut gone_since) = (false, None);
        loop {
            let since: Instant = match self.asks(&gap.key)? {
                ClaimOutcome::Claimed(answers) => return self.ends(&gap.key, Some(answers)).map(Some),
                ClaimOutcome::Busy(message) => {
                    if !std::mem::replace(&mut told_busy, true) {
                        note(&format!("waits: {message}"));
                    }
                    std::thread::sleep(POLL);
                    continue;
                }
                ClaimOutcome::Lost(error) => {
                    let since = *gone_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > GONE_FOR {
                        return Err(error.into());
                    }
                    std::thread::sleep(POLL);
                    since
                }
                ClaimOutcome::Known => Instant::now(),
            };
            // The claim may have been written, or somebody else makes up for the same span.
            match standing(self.entry, &self.rows(gap.key.scheduled_at())?) {
                Some(Standing::UnderWay(key)) => return self.ends(&key, None).map(Some),
                Some(Standing::Gap(next)) => gap = next,
                Some(_) => return Ok(None),
                None if since.elapsed() > GONE_FOR => return Ok(None),
                None => {}
            }
        }
    }

    fn asks(&self, key: &Key) -> anyhow::Result<ClaimOutcome> {
        let question = Question::Backfill {
            entry: key.entry().to_string(),
            at: key.scheduled_at(),
            pass: key.pass(),
            wait: true,
        };
        let asked =
            control::ask(self.places, &question).and_then(|mut answers| Ok((answers.soon()?, answers)));
        match asked {
            Ok((ControlAnswer::Claimed { .. }, answers)) => Ok(ClaimOutcome::Claimed(answers)),
            Ok((other, _)) => Err(ControlError::Strange(format!("{other:?}")).into()),
            Err(ControlError::Known(_)) => Ok(ClaimOutcome::Known),
            Err(ControlError::Busy(message)) => Ok(ClaimOutcome::Busy(message)),
            Err(error @ (ControlError::Gone | ControlError::Silent(_) | ControlError::Nobody { .. })) => {
                Ok(ClaimOutcome::Lost(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The rows of an instant.
    fn rows(&self, at: Timestamp) -> anyhow::Result<Vec<Record>> {
        let filter = Filter {
            entry: Some(self.entry.name.clone()),
            since: Some(at),
            until: at.checked_add(SignedDuration::from_micros(1)).ok(),
            newest: None,
        };
        let mut rows = Vec::new();
        self.journal.read_history(&filter, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Waits until an occurrence that is claimed has come to its end: by the journal, which a
    /// restart of the daemon leaves as it is. The daemon's answers tell what is waited for.
    fn ends(&self, key: &Key, mut answers: Option<ControlAnswers>) -> anyhow::Result<Record> {
        let mut gone_since: Option<Instant> = None;
        loop {
            let found = self.journal.read_records(std::slice::from_ref(key))?;
            if let Some(record) = found.into_iter().flatten().next()
                && !is_under_way(self.entry, &record)
            {
                return Ok(record);
            }
            match answers.as_mut().map(|answers| answers.within(POLL)) {
                Some(Ok(Some(ControlAnswer::FireProgress(told)))) => {
                    tell(&told);
                    // The daemon tells nothing more of an occurrence after its final event.
                    answers = answers.filter(|_| !told.is_final());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => answers = None,
                None => {
                    std::thread::sleep(POLL);
                    let question = Question::Status { entries: Vec::new(), most: 0 };
                    match control::ask(self.places, &question).and_then(|mut answers| answers.soon()) {
                        Ok(_) => gone_since = None,
                        Err(error) if gone_since.get_or_insert_with(Instant::now).elapsed() > GONE_FOR => {
                            return Err(error.into());
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }
}

/// Tells what an occurrence waits for.
fn tell(told: &FireProgress) {
    if told.state == State::Waiting.as_str() {
        note(&visible(&told.message));
    }
}
