//! The changes of the entry's clock around an instant, and their effect on the entry's occurrences.

use std::io::{self, Write};

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::moment::{Moment, MomentError};
use super::super::output::local_time;
use super::heading;
use crate::schedule::Entry;
use crate::timetable::{Shift, ZoneTransition, occurrences, shift, transitions};

/// Offsets are within 26 hours of each other: a change of the same local day is not further away.
const AROUND: SignedDuration = SignedDuration::from_hours(2 * 26);

/// Moved or merged occurrences that are told one by one at most.
const TOLD: usize = 4;

/// The instant that was asked for, and the changes of the clocks on its day.
#[derive(Serialize)]
pub(super) struct Clocks {
    /// The instant that is looked at.
    #[serde(skip)]
    pub(super) at: Timestamp,
    /// Why the instant is not simply the one that was asked for.
    note: Option<String>,
    /// Changes of the clocks on the local day.
    clock_changes: Vec<ClockShift>,
}

/// One change of the clocks.
#[derive(Serialize)]
struct ClockShift {
    at: Timestamp,
    kind: ShiftKind,
    /// The first civil time that is skipped or comes twice.
    from: DateTime,
    /// The first one after them.
    until: DateTime,
    /// Effects on the entry's occurrences.
    effects: Vec<String>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum ShiftKind {
    Skipped,
    Repeated,
}

impl Clocks {
    /// Reads a time as the entry's zone has it: of one that comes twice the first, of a skipped one the end of the
    /// gap, which is where the timetable makes up for it.
    pub(super) fn at(moment: Moment, entry: &Entry, now: Timestamp) -> Result<Clocks, MomentError> {
        let read = moment.in_zone(&entry.timezone, now)?;
        let around = transitions(
            &entry.timezone,
            read.saturating_sub(AROUND).unwrap_or(Timestamp::MIN),
            read.saturating_add(AROUND).unwrap_or(Timestamp::MAX),
        );
        let (at, note) = match moment.civil(&entry.timezone, now)? {
            Some(civil) => placed(civil, read, &around, entry),
            None => (read, None),
        };
        let date = entry.timezone.to_datetime(at).date();
        let of_the_day = around.into_iter().filter(|transition| {
            let (first, after) = transition.affected();
            (first.date()..=after.date()).contains(&date)
        });
        let clock_changes = of_the_day.map(|transition| ClockShift::of(transition, entry)).collect();
        Ok(Clocks { at, note, clock_changes })
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.note.is_none() && self.clock_changes.is_empty() {
            return Ok(());
        }
        heading("Clocks", out)?;
        for change in &self.clock_changes {
            writeln!(out, "  {}", change.sentence())?;
            for effect in &change.effects {
                writeln!(out, "    {effect}")?;
            }
        }
        match &self.note {
            Some(note) => writeln!(out, "  {note}"),
            None => Ok(()),
        }
    }
}

/// The instant of a local time, and what there is to say of it.
fn placed(
    civil: DateTime,
    read: Timestamp,
    around: &[ZoneTransition],
    entry: &Entry,
) -> (Timestamp, Option<String>) {
    let affecting = around.iter().find(|transition| {
        let (first, after) = transition.affected();
        first <= civil && civil < after
    });
    let Some(transition) = affecting else {
        return (read, None);
    };
    let time = civil.strftime("%H:%M:%S");
    if transition.skips() {
        let shown = local_time(&entry.timezone, transition.at);
        let note = format!("{time} is skipped: shown is the end of the gap, {shown}");
        return (transition.at, Some(note));
    }
    let offset = entry.timezone.to_offset(transition.at);
    let note = match offset.to_timestamp(civil) {
        Ok(second) => format!(
            "{time} comes twice: shown is the first; for the second write --at {}",
            second.display_with_offset(offset)
        ),
        Err(_) => format!("{time} comes twice: shown is the first"),
    };
    (read, Some(note))
}

impl ClockShift {
    fn of(transition: ZoneTransition, entry: &Entry) -> ClockShift {
        let (from, until) = transition.affected();
        let at = transition.at;
        let (kind, effects) = match transition.skips() {
            true => (ShiftKind::Skipped, after_gap(entry, at)),
            false => {
                let length = until.duration_since(from);
                let start = at.saturating_sub(length).unwrap_or(at);
                let end = at.saturating_add(length).unwrap_or(at);
                (ShiftKind::Repeated, in_overlap(entry, start, end))
            }
        };
        ClockShift { at, kind, from, until, effects }
    }

    fn sentence(&self) -> String {
        let pattern = if self.from.date() == self.until.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        let (from, until) = (self.from.strftime(pattern), self.until.strftime(pattern));
        match self.kind {
            ShiftKind::Skipped => format!("the clocks skip {from} to {until}, at {}", self.at),
            ShiftKind::Repeated => {
                format!("the clocks show {from} to {until} twice, the second time from {} on", self.at)
            }
        }
    }
}

fn after_gap(entry: &Entry, at: Timestamp) -> Vec<String> {
    match shift(entry, at) {
        Some(moved @ Shift::AfterGap { .. }) => {
            vec![format!("due at {}: {moved}", local_time(&entry.timezone, at))]
        }
        _ => Vec::new(),
    }
}

fn in_overlap(entry: &Entry, start: Timestamp, end: Timestamp) -> Vec<String> {
    let (mut kept, mut passes) = (Vec::new(), [0; 2]);
    for at in occurrences(entry, start, end) {
        match shift(entry, at) {
            Some(first @ Shift::FirstOfTwo { .. }) => kept.push(format!("due at {at}: {first}")),
            Some(Shift::Pass { pass, .. }) => passes[usize::from(pass != 1)] += 1,
            _ => {}
        }
    }
    let more = kept.len().saturating_sub(TOLD);
    kept.truncate(TOLD);
    if more > 0 {
        kept.push(format!("and {more} more like it"));
    }
    if passes != [0, 0] {
        let [first, second] = passes;
        kept.push(format!(
            "it follows elapsed time: due {first} times in the first pass, {second} in the second"
        ));
    }
    kept
}
