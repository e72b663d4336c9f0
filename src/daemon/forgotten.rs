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
//!
//! A reload that the copy does not know of may have changed a jitter, so that an occurrence was
//! sent when it was due by another jitter than the copy or the present schedule has. What was
//! scheduled before the last send counts as due at its scheduled instant, the soonest that any
//! jitter allows. Example: scheduled at 11:08:34, sent at once, and then a reload brings a jitter
//! of a minute. By the present schedule the occurrence is due at 11:09:28, after the last send of
//! 11:08:44, and would be sent again.

use std::collections::HashSet;

use jiff::Timestamp;

use super::core::{Claims, claim};
use super::sweep::{Reach, Sweep};
use crate::journal::{Claim, Cursor, Key, Open, Origin, Reached, Recovered, Transition};
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
        claims.extend(occurrences.iter().map(claim).map(|claim| as_soon_as_possible(claim, recovered)));
    }
    let waiting = recovered.open.iter().filter(|open| may_have_been_sent(open, recovered, until)).count();
    let after_cursor = claims.iter().filter(|claim| claim.key.scheduled_at() >= from).count();
    let occurrences = after_cursor + waiting;
    Some((Claims { cursor: until, repeat: None, claims }, JournalOlder { from, until, occurrences }))
}

/// The attempts that the journal is to have as sent, as it has them as waiting, or as linked and
/// due: should one be sent again and the process die, the next one must not take it for unsent.
pub(crate) fn attempts(recovered: &Recovered, until: Timestamp) -> Vec<(Key, Transition)> {
    let waiting = recovered.open.iter().filter(|open| may_have_been_sent(open, recovered, until));
    let sending = waiting.filter_map(|open| {
        let (attempts, sent_at) = former_attempts(open, recovered)?;
        Some((open.claim.key.clone(), Transition::Sending { attempts: attempts + 1, sent_at }))
    });
    sending.collect()
}

/// Number of attempts of an occurrence that a start would take for unsent by the copy's word, and
/// the earliest instant of a further one. `None`: a start has it in doubt in any case.
fn former_attempts(open: &Open, recovered: &Recovered) -> Option<(u32, Timestamp)> {
    let soonest = soonest(&open.claim, recovered);
    match open.reached {
        Reached::Waiting { attempts, .. } => Some((attempts, open.claim.due_at)),
        Reached::Due if open.claim.origin.is_linked() || soonest < open.claim.due_at => Some((0, soonest)),
        Reached::Due | Reached::Unsent | Reached::Sending { .. } => None,
    }
}

/// The soonest instant at which an occurrence may have been due by a schedule that the copy does
/// not know of. Nothing that is scheduled after the last send was sent.
fn soonest(claim: &Claim, recovered: &Recovered) -> Timestamp {
    let scheduled_at = claim.key.scheduled_at();
    match claim.origin {
        Origin::Schedule if recovered.sent_up_to.is_none_or(|sent| scheduled_at <= sent) => scheduled_at,
        Origin::Schedule | Origin::Retry(_) | Origin::Upstream | Origin::Person { .. } | Origin::Backfill => {
            claim.due_at
        }
    }
}

/// The claim of an occurrence that the copy has forgotten, due at the soonest instant at which it
/// may have been sent.
fn as_soon_as_possible(claim: Claim, recovered: &Recovered) -> Claim {
    let due_at = soonest(&claim, recovered);
    let deadline = claim.deadline.saturating_sub(claim.due_at.duration_since(due_at));
    Claim { due_at, deadline: deadline.unwrap_or(claim.deadline), ..claim }
}

/// The cursor behind everything that an older copy may have forgotten.
pub(crate) fn cursor_behind(until: Timestamp) -> Cursor {
    Cursor { at: until, repeat: None, older_until: Some(until) }
}

/// Takes in that these claims and attempts are written, except those that the journal had before
/// (`known`). Each of them is in doubt from now on.
pub(crate) fn take_in(recovered: &mut Recovered, Claims { cursor, claims, .. }: Claims, known: &[Key]) {
    let mut open = std::mem::take(&mut recovered.open);
    for open in open.iter_mut().filter(|open| may_have_been_sent(open, recovered, cursor)) {
        if let Some((attempts, sent_at)) = former_attempts(open, recovered) {
            open.reached = Reached::Sending { attempts: attempts + 1, sent_at };
        }
    }
    recovered.open = open;
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
fn may_have_been_sent(open: &Open, recovered: &Recovered, until: Timestamp) -> bool {
    match open.reached {
        // The journal knows for sure only what lies behind the occurrences that it has forgotten.
        Reached::Sending { .. } | Reached::Unsent => false,
        // It had come due, perhaps by a clock that was set back since.
        Reached::Waiting { .. } => true,
        Reached::Due => soonest(&open.claim, recovered) <= until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule;

    /// An entry of 11:08:34, with a jitter that delays it by more than ten seconds.
    fn delayed() -> Schedule {
        let file = "accounts: { main: { token: { env: T } } }\n\
             jobs:\n  e0: { stack: s, job: j, timezone: UTC, cron: '34 8 11 * * *', jitter: 10m }\n";
        schedule::parse("test.yaml", file).expect("a valid file").schedule
    }

    fn at(clock: &str) -> Timestamp {
        format!("2026-06-01T{clock}Z").parse().expect("an instant")
    }

    /// An older copy, after a process that had sent what was due by 11:08:44.
    fn older(cursor: &str) -> Recovered {
        Recovered {
            cursor: Some(at(cursor)),
            sent_up_to: Some(at("11:08:44")),
            forgotten_until: Some(at("11:09:00")),
            ..Recovered::default()
        }
    }

    #[test]
    fn what_was_forgotten_may_have_been_sent_by_a_smaller_jitter_than_the_present_one() {
        let (claims, _) = forgotten(&delayed(), &older("11:08:20")).expect("an older copy");
        let [claim] = &claims.claims[..] else { panic!("one claim: {claims:?}") };
        assert_eq!(claim.due_at, at("11:08:34"), "it is not taken for unsent by the mark of 11:08:44");
    }

    #[test]
    fn what_the_copy_has_as_due_later_may_have_been_sent_by_a_smaller_jitter() {
        let mut recovered = older("11:08:39");
        let claim = claim(
            &Sweep::within(&delayed(), at("11:08:30"), at("11:08:39"))
                .step_to(at("11:08:39"))
                .expect("one occurrence")[0],
        );
        assert!(claim.due_at > at("11:08:44"), "the test needs a delay: {claim:?}");
        let key = claim.key.clone();
        recovered.open = vec![Open { claim, reached: Reached::Due, may_have_been_sent_in: None }];
        let sending = Transition::Sending { attempts: 1, sent_at: at("11:08:34") };
        assert_eq!(attempts(&recovered, at("11:09:00")), [(key, sending)]);
    }

    #[test]
    fn what_is_scheduled_after_the_last_send_was_not_sent_by_any_jitter() {
        let sent_up_to = Some(at("11:08:33"));
        let recovered = Recovered { sent_up_to, ..older("11:08:20") };
        let (claims, _) = forgotten(&delayed(), &recovered).expect("an older copy");
        assert!(claims.claims.iter().all(|claim| claim.due_at > at("11:08:44")), "{claims:?}");
    }
}
