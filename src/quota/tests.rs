//! The promises of the quota, one fact at a time. Their tests under random conditions are in
//! `tests/quota_simulation.rs`.

use super::*;
use crate::schedule::Reserve;

const HOUR: Duration = Duration::from_secs(3600);

/// Half past noon: an aligned hour turns after 1,800 s.
fn at(seconds: u64) -> Now {
    let noon: Timestamp = "2026-03-01T12:30:00Z".parse().expect("a timestamp");
    let mono = Duration::from_secs(seconds);
    Now { wall: noon + mono, mono }
}

fn settings(limit: u32, reserve: u32) -> QuotaSettings {
    QuotaSettings { limit, window: HOUR, reserve: Reserve::Requests(reserve) }
}

fn told(limit: u32, remaining: u32) -> QuotaAnswer {
    QuotaAnswer { limit: Some(limit), remaining: Some(remaining), ..QuotaAnswer::default() }
}

const REFUSED: QuotaAnswer = QuotaAnswer {
    limit: None,
    remaining: Some(0),
    refused: Some(Throttle { retry_after: None, words: ThrottleWords::OfTheApi }),
    date: None,
};

fn fire(quota: &mut Quota, seconds: u64) -> Result<Ticket, Refusal> {
    quota.admit(Purpose::Fire, at(seconds))
}

/// Sends one and has it answered within the second.
fn exchange(quota: &mut Quota, seconds: u64, answer: QuotaAnswer) -> Vec<QuotaChange> {
    let ticket = fire(quota, seconds).expect("one goes");
    quota.answered(ticket, answer, at(seconds))
}

/// Takes every ticket that may go at one instant.
fn all(quota: &mut Quota, seconds: u64) -> Vec<Ticket> {
    std::iter::from_fn(|| fire(quota, seconds).ok()).collect()
}

fn waits_until(refusal: Result<Ticket, Refusal>) -> u64 {
    match refusal {
        Err(Refusal::Until(until)) => until.at.as_secs(),
        other => panic!("expected a wait for an instant, got {other:?}"),
    }
}

/// A quota that was told `remaining` of 100, with a reserve of 10.
fn known(remaining: u32) -> Quota {
    let mut quota = Quota::new(settings(100, 10), at(0));
    exchange(&mut quota, 0, told(100, remaining));
    quota
}

#[test]
fn what_is_covered_goes_at_once_after_the_first_answer() {
    let mut quota = Quota::new(settings(20_000, 0), at(0));
    let first = fire(&mut quota, 0).expect("the first goes");
    assert_eq!(fire(&mut quota, 0), Err(Refusal::InFlight), "the first goes alone");
    quota.answered(first, told(20_000, 19_999), at(0));
    assert_eq!(all(&mut quota, 0).len(), 19_999);
}

#[test]
fn the_reserve_and_what_is_in_flight_are_not_spent() {
    let mut quota = known(50);
    assert_eq!(quota.available(at(0)), 40);
    let sent = all(&mut quota, 0);
    assert_eq!(sent.len(), 40);
    assert_eq!(fire(&mut quota, 0), Err(Refusal::InFlight), "their answers may tell of more");
    assert_eq!(quota.available(at(0)), 0);
}

#[test]
fn an_older_answer_raises_nothing() {
    let mut quota = known(50);
    let (early, late) = (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
    quota.answered(late, told(100, 30), at(2));
    quota.answered(early, told(100, 49), at(3));
    assert_eq!(quota.remaining(), Some(30));
}

#[test]
fn a_lower_remaining_is_believed_whenever_its_request_was_sent() {
    let mut quota = known(50);
    let (early, late) = (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
    quota.answered(late, told(100, 40), at(2));
    quota.answered(early, told(100, 20), at(3));
    assert_eq!(quota.available(at(3)), 10, "others used it");
}

#[test]
fn an_answer_that_overtook_the_one_that_told_of_the_turn_is_counted() {
    let mut quota = known(20);
    let (overtaker, low) =
        (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
    quota.answered(low, told(100, 12), at(2));
    let first = fire(&mut quota, 3).expect("one more goes");
    quota.answered(overtaker, told(100, 98), at(4));
    assert_eq!(quota.remaining(), Some(12), "it may be older than what is believed");
    quota.answered(first, told(100, 99), at(5));
    assert_eq!(quota.available(at(5)), 88, "98 are left of the new window");
}

#[test]
fn a_low_answer_that_may_be_from_before_the_turn_is_doubted() {
    for new_comes_last in [false, true] {
        let mut quota = known(20);
        let (new, old) = (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
        let answers = [(new, told(100, 99)), (old, told(100, 10))];
        let order: Vec<_> =
            if new_comes_last { answers.into_iter().rev().collect() } else { answers.into_iter().collect() };
        for (ticket, answer) in order {
            quota.answered(ticket, answer, at(2));
        }
        let ticket = fire(&mut quota, 3).expect("one goes to see");
        assert_eq!(fire(&mut quota, 3), Err(Refusal::InFlight), "and goes alone");
        quota.answered(ticket, told(100, 98), at(4));
        assert_eq!(quota.available(at(4)), 88, "new_comes_last: {new_comes_last}");
    }
}

#[test]
fn a_lost_request_counts_until_a_later_one_was_answered() {
    let mut quota = known(50);
    let (lost, other) = (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
    quota.lost(lost, at(31));
    quota.answered(other, told(100, 49), at(31));
    assert_eq!(quota.available(at(31)), 38, "that answer may be older than the lost request");
    exchange(&mut quota, 32, told(100, 47));
    assert_eq!(quota.available(at(32)), 37);
}

#[test]
fn a_request_that_was_not_sent_costs_nothing() {
    let mut quota = known(50);
    let ticket = fire(&mut quota, 1).expect("one goes");
    quota.unsent(ticket, at(2));
    assert_eq!(quota.available(at(2)), 40);
}

#[test]
fn nonsense_in_the_headers_is_counted_as_a_request_without_them() {
    let mut quota = known(50);
    exchange(
        &mut quota,
        1,
        QuotaAnswer { limit: Some(0), remaining: Some(u32::MAX), ..QuotaAnswer::default() },
    );
    assert_eq!((quota.limit(), quota.remaining(), quota.available(at(1))), (100, Some(50), 39));
}

#[test]
fn a_limit_that_changes_is_told_once_and_the_reserve_follows() {
    let settings = QuotaSettings { limit: 100, window: HOUR, reserve: Reserve::Percent(5.0) };
    let mut quota = Quota::new(settings, at(0));
    let changes = exchange(&mut quota, 0, told(3600, 3597));
    assert_eq!(changes, [QuotaChange::Limit { limit: 3600, was: 100 }]);
    assert_eq!(exchange(&mut quota, 1, told(3600, 3596)), []);
    assert_eq!((quota.limit(), quota.reserve(), quota.available(at(1))), (3600, 180, 3416));
}

#[test]
fn after_a_refusal_one_goes_at_the_turn_and_then_the_rest() {
    let mut quota = known(50);
    exchange(&mut quota, 1, REFUSED);
    assert_eq!(waits_until(fire(&mut quota, 2)), 1800, "the clock's hour is the first guess");
    assert_eq!(quota.wakes_at(), Some(Duration::from_secs(1800)));
    let probe = fire(&mut quota, 1800).expect("one goes at the turn");
    assert_eq!(fire(&mut quota, 1800), Err(Refusal::InFlight), "and goes alone");
    quota.answered(probe, told(100, 99), at(1801));
    assert_eq!(all(&mut quota, 1801).len(), 89);
}

#[test]
fn a_window_that_does_not_turn_with_the_clock_is_found_where_its_first_request_opened_it() {
    let mut quota = known(99);
    exchange(&mut quota, 1, told(100, 10));
    exchange(&mut quota, 1800, REFUSED);
    assert_eq!(waits_until(fire(&mut quota, 1800)), 1801, "the server's clock may be behind");
    exchange(&mut quota, 1801, REFUSED);
    assert_eq!(waits_until(fire(&mut quota, 1802)), 3600);
    exchange(&mut quota, 3600, told(100, 99));
    exchange(&mut quota, 3601, told(100, 10));
    assert_eq!(waits_until(fire(&mut quota, 3602)), 7200, "the clock's hour is no guess any more");
}

#[test]
fn a_rolling_window_gives_back_what_was_used_a_window_ago() {
    let mut quota = known(99);
    for second in 1..90 {
        exchange(&mut quota, second, told(100, 99 - second as u32));
    }
    exchange(&mut quota, 1800, told(100, 9));
    exchange(&mut quota, 1801, told(100, 8));
    assert_eq!(waits_until(fire(&mut quota, 3599)), 3600, "it may turn as a whole");
    exchange(&mut quota, 3600, told(100, 8));
    assert_eq!(waits_until(fire(&mut quota, 3600)), 3603, "two are owed to the reserve");
    exchange(&mut quota, 3603, told(100, 10));
    for second in 3604..3680 {
        assert_eq!(waits_until(fire(&mut quota, second - 1)), second, "one comes back each second");
        exchange(&mut quota, second, told(100, 10));
    }
}

#[test]
fn retry_after_is_obeyed_and_believed_once() {
    let throttled = |seconds| {
        let retry_after = Some(Duration::from_secs(seconds));
        QuotaAnswer { refused: Some(Throttle { retry_after, words: ThrottleWords::OfTheApi }), ..REFUSED }
    };
    let mut quota = known(50);
    exchange(&mut quota, 1, throttled(20));
    assert_eq!(waits_until(fire(&mut quota, 2)), 21);
    assert_eq!(quota.available(at(2)), 0);
    exchange(&mut quota, 21, throttled(0));
    assert_eq!(waits_until(fire(&mut quota, 21)), 1800, "it was refused again: the window is waited for");
    exchange(&mut quota, 1800, throttled(4000));
    assert_eq!(waits_until(fire(&mut quota, 1801)), 5800, "it is obeyed all the same");
}

#[test]
fn without_headers_our_own_are_counted() {
    let mut quota = Quota::new(settings(100, 10), at(0));
    for _ in 0..SILENT_ANSWERS {
        exchange(&mut quota, 0, QuotaAnswer::default());
    }
    let sent = all(&mut quota, 0);
    assert_eq!(sent.len(), 85);
    for ticket in sent {
        quota.answered(ticket, QuotaAnswer::default(), at(1));
    }
    assert_eq!(waits_until(fire(&mut quota, 2)), 3600);
    assert_eq!(all(&mut quota, 3601).len(), 90);
}

#[test]
fn exhausted_and_restored_are_told_once() {
    let mut quota = known(12);
    assert_eq!(exchange(&mut quota, 1, told(100, 11)), []);
    let until = at(1800).wall;
    let exhausted = QuotaChange::Exhausted { limit: 100, remaining: 10, until };
    assert_eq!(exchange(&mut quota, 2, told(100, 10)), [exhausted]);
    assert_eq!(quota.tick(at(3)), []);
    assert_eq!(
        exchange(&mut quota, 1800, told(100, 99)),
        [QuotaChange::Restored { limit: 100, remaining: 99 }]
    );
    assert_eq!(exchange(&mut quota, 1801, told(100, 98)), []);
}

#[test]
fn follow_up_has_a_share_and_fires_have_the_rest() {
    let mut quota = known(100);
    let background = |quota: &mut Quota| quota.admit(Purpose::FollowUp, at(0));
    let background: Vec<_> = std::iter::from_fn(|| background(&mut quota).ok()).collect();
    assert_eq!(background.len(), 27, "30% of the 91 that were usable");
    let Err(Refusal::Until(until)) = quota.admit(Purpose::Check, at(0)) else {
        panic!("a check is part of that share");
    };
    assert_eq!(until.why, WaitCause::Share);
    assert!(quota.admit(Purpose::Reconcile, at(0)).is_ok(), "what a fire waits for is not part of it");
    assert_eq!(all(&mut quota, 0).len(), 62);
}

#[test]
fn ten_restarts_spend_no_more_than_none() {
    for ending in [Ending::InOrder, Ending::Killed] {
        restart_ten_times(ending);
    }
}

fn restart_ten_times(ending: Ending) {
    let mut quota = known(99);
    let mut left = 99;
    let mut spent = 1;
    for restart in 0..10 {
        let saved = serde_json::to_string(&quota.save()).expect("it is written");
        let saved = serde_json::from_str(&saved).expect("it is read");
        quota = Quota::restore(settings(100, 10), saved, ending, at(restart));
        for _ in 0..20 {
            let Ok(ticket) = fire(&mut quota, restart) else {
                break;
            };
            left -= 1;
            spent += 1;
            quota.answered(ticket, told(100, left), at(restart));
        }
    }
    assert_eq!((spent, left), (90, 10));
    assert_eq!(waits_until(fire(&mut quota, 11)), 1800);
}

#[test]
fn a_clock_that_is_set_back_between_two_processes_makes_no_wait_longer() {
    let mut quota = known(50);
    let ticket = fire(&mut quota, 1).expect("one goes");
    let wait = Throttle { retry_after: Some(Duration::from_secs(15)), words: ThrottleWords::Absent };
    quota.answered(ticket, QuotaAnswer { refused: Some(wait), ..QuotaAnswer::default() }, at(2));
    let eleven_hours_back = Now { wall: at(4).wall - SignedDuration::from_hours(11), ..at(4) };
    let mut quota = Quota::restore(settings(100, 10), quota.save(), Ending::Killed, eleven_hours_back);
    let refused = quota.admit(Purpose::Fire, eleven_hours_back);
    let Err(Refusal::Until(until)) = refused else { panic!("it waits: {refused:?}") };
    let left = until.at.saturating_sub(eleven_hours_back.mono);
    assert!(left <= Duration::from_millis(15_001), "{left:?} of fifteen seconds");
}

#[test]
fn after_a_kill_one_request_goes_first() {
    let mut quota = known(50);
    let in_flight = fire(&mut quota, 1).expect("one goes");
    let mut quota = Quota::restore(settings(100, 10), quota.save(), Ending::Killed, at(2));
    drop(in_flight);
    assert_eq!(quota.available(at(2)), 39, "what was in flight may have been counted");
    let first = fire(&mut quota, 2).expect("the first goes");
    assert_eq!(fire(&mut quota, 2), Err(Refusal::InFlight));
    quota.answered(first, told(100, 20), at(3));
    assert_eq!(all(&mut quota, 3).len(), 10);
}

#[test]
fn after_an_end_in_order_what_is_known_is_relied_on_at_once() {
    let saved = known(50).save();
    let restored = |age| Quota::restore(settings(100, 10), saved.clone(), Ending::InOrder, at(age));
    assert_eq!(all(&mut restored(3599), 3599).len(), 40, "as if the process had gone on");
    assert_eq!(all(&mut restored(3600), 3600).len(), 1, "after a whole window it is worth a look");
    let nothing = Quota::new(settings(100, 10), at(0)).save();
    let mut quota = Quota::restore(settings(100, 10), nothing, Ending::InOrder, at(1));
    assert_eq!(all(&mut quota, 1).len(), 1, "a process that heard nothing knew nothing");
    let heard_nothing_since = Quota::restore(settings(100, 10), saved.clone(), Ending::Killed, at(1)).save();
    let mut quota = Quota::restore(settings(100, 10), heard_nothing_since, Ending::InOrder, at(2));
    assert_eq!(all(&mut quota, 2).len(), 1, "what a kill left open stays open until an answer comes");
}

#[test]
fn a_first_request_without_an_answer_holds_the_rest_for_two_seconds() {
    let mut quota = Quota::new(settings(100, 10), at(0));
    let first = fire(&mut quota, 0).expect("the first goes");
    assert_eq!(fire(&mut quota, 1), Err(Refusal::InFlight));
    assert_eq!(quota.wakes_at(), Some(Duration::from_secs(2)));
    let second = fire(&mut quota, 2).expect("another goes to see");
    assert_eq!(fire(&mut quota, 2), Err(Refusal::InFlight), "and no more before its answer");
    quota.answered(second, told(100, 98), at(3));
    assert_eq!(all(&mut quota, 3).len(), 87, "the first may be counted after the second");
    quota.lost(first, at(30));
}

#[test]
fn an_api_that_answers_slowly_is_soon_sent_what_is_covered() {
    let mut quota = Quota::new(settings(100, 10), at(0));
    let sent = [0, 2, 4, 6, 8, 10, 12, 14, 16].map(|second| all(&mut quota, second).len());
    assert_eq!(sent, [1, 1, 2, 4, 8, 16, 32, 26, 0], "doubled every 2 s, 90 in all");
    assert_eq!(quota.wakes_at(), None, "only answers can tell of more");
}

#[test]
fn a_machine_that_was_started_anew_knows_of_the_turn_before() {
    let mut quota = known(50);
    exchange(&mut quota, 1, REFUSED);
    let saved = quota.save();
    let rebooted = Now { wall: at(1900).wall, mono: Duration::from_secs(5) };
    let mut quota = Quota::restore(settings(100, 10), saved, Ending::InOrder, rebooted);
    assert!(quota.admit(Purpose::Fire, rebooted).is_ok(), "the hour turned while the machine was down");
}

#[test]
fn a_short_window_works_as_a_long_one() {
    let settings = QuotaSettings { window: Duration::from_secs(5), ..settings(100, 10) };
    let mut quota = Quota::new(settings, at(1));
    exchange(&mut quota, 1, told(100, 10));
    assert_eq!(waits_until(fire(&mut quota, 2)), 5);
    exchange(&mut quota, 5, told(100, 99));
    exchange(&mut quota, 6, told(100, 10));
    assert_eq!(waits_until(fire(&mut quota, 7)), 10);
}

#[test]
fn other_settings_change_nothing_of_what_was_told() {
    let mut quota = known(50);
    let in_flight = fire(&mut quota, 1).expect("one goes");
    quota.resettle(settings(100, 20), at(2));
    assert_eq!((quota.remaining(), quota.available(at(2))), (Some(50), 29), "the new reserve is kept");
    quota.answered(in_flight, told(100, 49), at(3));
    assert_eq!(quota.available(at(3)), 29, "what was in flight is known");
    quota.resettle(QuotaSettings { window: HOUR / 2, ..settings(100, 20) }, at(4));
    assert_eq!(quota.available(at(4)), 29);
}

#[test]
fn until_a_header_tells_the_limit_is_the_file_s_newest() {
    let mut quota = Quota::new(settings(100, 10), at(0));
    quota.resettle(settings(50, 10), at(1));
    assert_eq!(quota.limit(), 50);
    exchange(&mut quota, 1, told(80, 79));
    quota.resettle(settings(60, 10), at(2));
    assert_eq!(quota.limit(), 80, "the API knows better");
}

#[test]
fn absurd_headers_break_nothing() {
    for (limit, remaining) in [(u32::MAX, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 12), (0, 0)] {
        let mut quota = known(50);
        exchange(&mut quota, 1, told(limit, remaining));
        quota.tick(at(2));
        let _ = (quota.wakes_at(), quota.available(at(2)));
    }
}

#[test]
fn a_refusal_of_follow_up_alone_does_not_delay_a_fire() {
    let mut quota = known(90);
    let ask = quota.admit(Purpose::FollowUp, at(1)).expect("a question goes");
    let bare = QuotaAnswer { refused: Some(Throttle::default()), ..QuotaAnswer::default() };
    assert_eq!(quota.answered(ask, bare, at(1)), []);
    assert!(
        matches!(quota.admit(Purpose::FollowUp, at(1)), Err(Refusal::Until(until)) if until.why == WaitCause::Burst)
    );
    assert!(fire(&mut quota, 1).is_ok());
    assert!(quota.admit(Purpose::FollowUp, at(2)).is_ok(), "a second later one question goes as a probe");
}

#[test]
fn the_api_s_own_words_close_the_window_unless_much_is_left() {
    let words = QuotaAnswer {
        refused: Some(Throttle { retry_after: None, words: ThrottleWords::OfTheApi }),
        ..QuotaAnswer::default()
    };
    assert_eq!(known(20).judge(&words), Some(QuotaVerdict::Spent));
    assert_eq!(known(95).judge(&words), Some(QuotaVerdict::Burst));
    assert_eq!(known(20).judge(&QuotaAnswer { remaining: Some(95), ..words }), Some(QuotaVerdict::Burst));
}

#[test]
fn an_answer_that_was_in_flight_beside_a_retry_after_does_not_end_the_wait() {
    let mut quota = known(90);
    let (first, second) =
        (fire(&mut quota, 1).expect("one goes"), fire(&mut quota, 1).expect("another goes"));
    let refused = Some(Throttle { retry_after: Some(Duration::from_secs(9)), words: ThrottleWords::Absent });
    quota.answered(first, QuotaAnswer { refused, ..QuotaAnswer::default() }, at(2));
    quota.answered(second, told(100, 89), at(3));
    assert_eq!(waits_until(quota.admit(Purpose::FollowUp, at(4))), 11);
}

#[test]
fn an_answer_of_long_ago_does_not_contradict_the_api_s_own_words() {
    let mut quota = known(95);
    let words = QuotaAnswer { refused: REFUSED.refused, ..QuotaAnswer::default() };
    quota.tick(at(359));
    assert_eq!(quota.judge(&words), Some(QuotaVerdict::Burst));
    quota.tick(at(360));
    assert_eq!(quota.judge(&words), Some(QuotaVerdict::Spent));
}
