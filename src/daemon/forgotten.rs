//! Occurrences that an older copy of the journal has forgotten are claimed again, as attempts in
//! doubt.
//!
//! A backup that is restored, or a replica that is promoted, knows less than was done: the state
//! directories tell how far occurrences may have been sent ([`crate::journal::Identity`]).
//! Everything that was due between the journal's cursor and that instant may have been sent. So may
//! what the copy has as waiting. The stacks' actions tell what started.
//!
//! Example: a daily backup of 03:00:00 is restored at 10:00:40, and the state directory knows of
//! 10:00:42. The seven hours between are claimed in one transaction with the cursor 10:00:42, and
//! each of their occurrences is in doubt.

use std::collections::HashSet;

use jiff::Timestamp;

use super::core::{Claims, claim};
use super::sweep::{Reach, Sweep};
use crate::journal::{Claim, Cursor, Key, Open, Reached, Recovered, Transition};
use crate::log::event::JournalOlder;
use crate::schedule::Schedule;

/// Returns the claims to be written before anything else happens, and the event for the log.
/// `None`: the journal has forgotten nothing.
pub(crate) fn forgotten(schedule: &Schedule, recovered: &Recovered) -> Option<(Claims, JournalOlder)> {
    let until = recovered.forgotten_until?;
    let from = recovered.cursor.unwrap_or(until);
    // An entry that was new at a start was planned from a little before the cursor on.
    let began = from.checked_sub(Reach::ALONE.ahead).unwrap_or(Timestamp::MIN);
    let mut sweep = Sweep::within(schedule, began, until);
    let mut claims: Vec<Claim> = Vec::new();
    while let Some(occurrences) = sweep.step_to(until) {
        claims.extend(occurrences.iter().map(claim));
    }
    let waiting = recovered.open.iter().filter(|open| may_have_been_sent(open, until)).count();
    let after_cursor = claims.iter().filter(|claim| claim.key.scheduled_at() >= from).count();
    let occurrences = after_cursor + waiting;
    Some((Claims { cursor: until, repeat: None, claims }, JournalOlder { from, until, occurrences }))
}

/// The attempts that the journal is to have as sent, as it has them as waiting, or as linked and
/// due: should one be sent again and the process die, the next one must not take it for unsent.
pub(crate) fn attempts(recovered: &Recovered, until: Timestamp) -> Vec<(Key, Transition)> {
    let waiting = recovered.open.iter().filter(|open| may_have_been_sent(open, until));
    let sending = waiting.filter_map(|open| {
        let attempts = former_attempts(open)? + 1;
        Some((open.claim.key.clone(), Transition::Sending { attempts, sent_at: open.claim.due_at }))
    });
    sending.collect()
}

/// Number of attempts of an occurrence that a start would take for unsent by the copy's word.
/// `None`: a start has it in doubt in any case.
fn former_attempts(open: &Open) -> Option<u32> {
    match open.reached {
        Reached::Waiting { attempts, .. } => Some(attempts),
        Reached::Due if open.claim.origin.is_linked() => Some(0),
        Reached::Due | Reached::Unsent | Reached::Sending { .. } => None,
    }
}

/// The cursor behind everything that an older copy may have forgotten.
pub(crate) fn cursor_behind(until: Timestamp) -> Cursor {
    Cursor { at: until, repeat: None, older_until: Some(until) }
}

/// Takes in that these claims and attempts are written, except those that the journal had before
/// (`known`). Each of them is in doubt from now on.
pub(crate) fn take_in(recovered: &mut Recovered, Claims { cursor, claims, .. }: Claims, known: &[Key]) {
    for open in &mut recovered.open {
        if may_have_been_sent(open, cursor)
            && let Some(attempts) = former_attempts(open)
        {
            open.reached = Reached::Sending { attempts: attempts + 1, sent_at: open.claim.due_at };
        }
    }
    let known: HashSet<&Key> = known.iter().collect();
    let new = claims.into_iter().filter(|claim| !known.contains(&claim.key));
    recovered.open.extend(new.map(|claim| Open {
        claim,
        reached: Reached::Due,
        may_have_been_sent_in: None,
    }));
    recovered.open.sort_by(|one, other| one.claim.key.cmp(&other.claim.key));
    recovered.cursor = recovered.cursor.max(Some(cursor));
    recovered.forgotten_until = None;
    recovered.older_until = Some(cursor);
}

/// Returns true when the occurrence may have been sent without the journal's knowledge.
fn may_have_been_sent(open: &Open, until: Timestamp) -> bool {
    match open.reached {
        // The journal knows for sure only what lies behind the occurrences that it has forgotten.
        Reached::Sending { .. } | Reached::Unsent => false,
        // It had come due, perhaps by a clock that was set back since.
        Reached::Waiting { .. } => true,
        Reached::Due => open.claim.due_at <= until,
    }
}
