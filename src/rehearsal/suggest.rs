//! Quieter minutes for entries that come due together.
//!
//! An entry whose expression names one minute can be due at another of the same hour. Entries are moved one by one out
//! of the fullest minute, each to the minute of its hours that is emptiest, until the fullest minute cannot be emptied.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::load;
use crate::schedule::cron::{Expression, Field};
use crate::schedule::{Account, Entry, EntryName, Schedule};

const MINUTES_OF_AN_HOUR: i64 = 60;

/// The minute of an account in which most comes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Beginning of the minute.
    pub at: Timestamp,
    /// Number of occurrences that come due in the minute.
    pub due: u32,
}

/// Effect of moving entries on an account's peak.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// The account.
    pub account: Arc<Account>,
    /// The peak of the present schedule. `None`: nothing is due.
    pub before: Option<Peak>,
    /// With every entry moved that is to be.
    pub after: Option<Peak>,
    /// In the schedule's order.
    pub moves: Vec<QuieterTime>,
}

/// An entry, and the expression that is suggested for it.
#[derive(Clone, Debug, PartialEq)]
pub struct QuieterTime {
    /// The entry.
    pub entry: EntryName,
    /// Its expression.
    pub cron: Expression,
    /// Returns the expression with another minute.
    pub suggested: Expression,
}

/// For each account, entries to move so that its fullest minute within `from` to `until` holds less.
pub fn suggest(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Vec<Suggestion> {
    let mut moved = schedule.clone();
    let mut suggestions: Vec<Suggestion> = Vec::new();
    for account in &schedule.accounts {
        let own = of_account(schedule, account);
        let minutes = Minutes::count(&own, from, until);
        let before = minutes.as_ref().map(Minutes::peak);
        let moves = minutes.map(Minutes::flatten).unwrap_or_default();
        let moves: Vec<QuieterTime> =
            moves.into_iter().filter_map(|(entry, by)| moved_by(&entry, by)).collect();
        suggestions.push(Suggestion { account: Arc::clone(account), before, after: before, moves });
    }
    let new: HashMap<&EntryName, &Expression> =
        suggestions.iter().flat_map(|s| &s.moves).map(|m| (&m.entry, &m.suggested)).collect();
    for entry in &mut moved.entries {
        if let Some(&suggested) = new.get(&entry.name) {
            *entry = Arc::new(Entry { cron: [suggested.clone()].into(), ..Entry::clone(entry) });
        }
    }
    for suggestion in &mut suggestions {
        if !suggestion.moves.is_empty() {
            let own = of_account(&moved, &suggestion.account);
            suggestion.after = Minutes::count(&own, from, until).as_ref().map(Minutes::peak);
        }
    }
    suggestions
}

fn of_account(schedule: &Schedule, account: &Arc<Account>) -> Schedule {
    let own = schedule.entries.iter().filter(|entry| entry.account.name == account.name);
    Schedule { accounts: vec![Arc::clone(account)], entries: own.cloned().collect() }
}

/// The one minute that an entry names, if it names one.
fn only_minute(entry: &Entry) -> Option<i64> {
    let [expression] = &*entry.cron else {
        return None;
    };
    // Steps past the hour are written in the minute field and are no plain number.
    let (_, minute) = expression.fields().find(|(field, _)| *field == Field::Minute)?;
    minute.parse().ok().filter(|minute| (0..MINUTES_OF_AN_HOUR).contains(minute))
}

fn moved_by(entry: &Entry, by: i64) -> Option<QuieterTime> {
    let [cron] = &*entry.cron else {
        return None;
    };
    let minute = only_minute(entry)? + by;
    let fields = cron.fields().map(|(field, text)| match field {
        Field::Minute => minute.to_string(),
        _ => text.to_owned(),
    });
    let suggested = Expression::parse(&fields.collect::<Vec<_>>().join(" ")).ok()?;
    Some(QuieterTime { entry: entry.name.clone(), cron: cron.clone(), suggested })
}

/// Number of occurrences in each minute, and the entries among them that can be moved.
struct Minutes {
    /// The first of `due`, in minutes since the epoch.
    first: i64,
    due: Vec<u32>,
    movable: Vec<Movable>,
}

struct Movable {
    entry: Arc<Entry>,
    minute: i64,
    /// Places in `Minutes::due`.
    places: Vec<usize>,
}

impl Minutes {
    /// `None` when nothing is due.
    fn count(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Option<Minutes> {
        let minute_of = |at: Timestamp| at.as_second().div_euclid(60);
        let mut instants: Vec<(EntryName, i64)> = Vec::new();
        for (occurrence, due_at) in load::due(schedule, from, until) {
            instants.push((occurrence.entry.name.clone(), minute_of(due_at)));
        }
        // Room for what is moved to either side.
        let first = instants.iter().map(|&(_, minute)| minute).min()? - MINUTES_OF_AN_HOUR;
        let last = instants.iter().map(|&(_, minute)| minute).max()? + MINUTES_OF_AN_HOUR;
        let mut due = vec![0; usize::try_from(last - first + 1).ok()?];
        let mut movable: Vec<Movable> = Vec::new();
        let mut places: HashMap<EntryName, usize> = HashMap::new();
        for entry in &schedule.entries {
            if let Some(minute) = only_minute(entry) {
                places.insert(entry.name.clone(), movable.len());
                movable.push(Movable { entry: Arc::clone(entry), minute, places: Vec::new() });
            }
        }
        for (entry, minute) in instants {
            let place = usize::try_from(minute - first).ok()?;
            due[place] += 1;
            if let Some(&movable_place) = places.get(&entry) {
                movable[movable_place].places.push(place);
            }
        }
        Some(Minutes { first, due, movable })
    }

    fn peak(&self) -> Peak {
        let (place, &due) = self.due.iter().enumerate().rev().max_by_key(|&(_, due)| due).unwrap_or((0, &0));
        let minute = self.first.saturating_add_unsigned(place as u64);
        Peak { at: Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::MAX), due }
    }

    /// Returns the entries to move, and by how many minutes; in the schedule's order.
    fn flatten(mut self) -> Vec<(Arc<Entry>, i64)> {
        // By minute, the entries that may still be moved out of it. The last in the file goes first.
        let mut inside: Vec<Vec<usize>> = vec![Vec::new(); self.due.len()];
        for (which, movable) in self.movable.iter().enumerate() {
            for &place in &movable.places {
                inside[place].push(which);
            }
        }
        let mut moved_by: Vec<Option<i64>> = vec![None; self.movable.len()];
        let mut fullest: BTreeSet<(u32, Reverse<usize>)> =
            self.due.iter().enumerate().map(|(place, &due)| (due, Reverse(place))).collect();
        while let Some(&(peak, Reverse(place))) = fullest.last() {
            let Some(which) = inside[place].pop() else {
                // The occurrences that are left cannot be moved, so that the peak stays.
                break;
            };
            if moved_by[which].is_some() {
                continue;
            }
            if let Some(by) = self.best_move(which, peak) {
                moved_by[which] = Some(by);
                for &from in &self.movable[which].places {
                    let to = from.saturating_add_signed(by as isize);
                    for (place, due) in [(from, self.due[from] - 1), (to, self.due[to] + 1)] {
                        fullest.remove(&(self.due[place], Reverse(place)));
                        fullest.insert((due, Reverse(place)));
                        self.due[place] = due;
                    }
                }
            }
        }
        let moved = self.movable.into_iter().zip(moved_by);
        moved.filter_map(|(movable, by)| Some((movable.entry, by?))).collect()
    }

    /// The move after which the fullest of the entry's minutes is emptiest; of equal ones the shortest. `None` when
    /// that minute would be as full as the peak.
    fn best_move(&self, which: usize, peak: u32) -> Option<i64> {
        let Movable { minute, places, .. } = &self.movable[which];
        let moves = (-minute..MINUTES_OF_AN_HOUR - minute).filter(|&by| by != 0);
        let with_fullest = moves.map(|by| {
            let after = places.iter().map(|from| self.due[from.saturating_add_signed(by as isize)] + 1);
            (after.max().unwrap_or(0), by)
        });
        let best = with_fullest.min_by_key(|&(fullest, by)| (fullest, by.abs(), by < 0));
        best.filter(|&(fullest, _)| fullest < peak).map(|(_, by)| by)
    }
}
