//! A reload at any moment loses no occurrence and doubles none.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

/// Due every second, and in flight no longer than an answer takes: what a reload does to it is only
/// its own.
fn every_second(args: &str) -> Schedule {
    schedule(&format!(
        "  all: {{ stack: s, job: a, cron: '* * * * * *', catch_up: all }}\n  \
           latest: {{ stack: s, job: b, cron: '* * * * * *', args: '{args}' }}\n  \
           none: {{ stack: s, job: c, cron: '* * * * * *', catch_up: none, args: '{args}' }}\n"
    ))
}

#[test]
fn a_reload_at_and_around_the_due_instant_loses_and_doubles_nothing() {
    let schedules = [every_second("one"), every_second("two")];
    for step in 0..1000_u64 {
        let mut world = CoreWorld::new(&schedules[0], nothing_recovered(), START);
        world.pass(3, 1.0);
        // Around the due instant, from 500 ms before it in steps of a millisecond, and on it to the
        // nanosecond.
        let offset = match step % 10 {
            0 => Duration::from_secs(1),
            1 => Duration::from_nanos(999_999_999),
            2 => Duration::from_nanos(1_000_000_001),
            _ => Duration::from_millis(500 + step),
        };
        world.now.mono += offset;
        world.now.wall += SignedDuration::try_from(offset).expect("a span");
        // At the instant itself, before or after the loop has seen it.
        if step % 2 == 0 {
            world.turn();
        }
        world.reload(&schedules[1 - (step % 3 % 2) as usize], Duration::from_millis(step * 7 % 900));
        world.claim_window();
        world.turn();
        let rest = Duration::from_secs(2).saturating_sub(offset);
        world.now.mono += rest;
        world.now.wall += SignedDuration::try_from(rest).expect("a span");
        world.turn();
        world.pass(5, 1.0);
        world.check(11);
        for entry in ["all", "latest", "none"] {
            assert_eq!(
                world.sent(entry),
                11,
                "{entry}, reload {step} after {offset:?}: {:?}",
                world.given_up
            );
        }
    }
}

#[test]
fn a_reload_before_the_clock_is_right_catches_up_nothing() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), "1970-01-01T00:00:10Z");
    world.pass(10, 1.0);
    world.reload(&every_second("two"), Duration::ZERO);
    world.pass(10, 1.0);
    world.now.wall = START.parse().expect("an instant");
    world.pass(10, 1.0);
    assert!(world.sent("all") <= 12 && world.sent("all") >= 10, "only from then on: {}", world.sent("all"));
    assert!(world.given_up.is_empty(), "{:?}", world.given_up);
}

#[test]
fn a_reload_in_the_middle_of_catching_up_loses_nothing() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(10, 1.0);
    // More than is claimed at once.
    world.jump(2 * 7200, 2 * 7200);
    world.claim();
    world.reload(&every_second("two"), Duration::from_millis(300));
    world.turn();
    world.claimed(true);
    world.pass(10, 1.0);
    world.check(10 + 2 * 7200 + 11);
}

#[derive(Clone, Copy, Debug)]
enum ClockStep {
    Pass(u32),
    Turn,
    Claim,
    Claimed(bool),
    Reload(usize, u32),
}

fn step() -> impl Strategy<Value = ClockStep> {
    prop_oneof![
        4 => prop_oneof![Just(1), Just(250), Just(1000), 0..3000_u32, Just(9000)].prop_map(ClockStep::Pass),
        3 => Just(ClockStep::Turn),
        3 => Just(ClockStep::Claim),
        3 => prop::bool::weighted(0.8).prop_map(ClockStep::Claimed),
        2 => (0..2_usize, 0..2000_u32).prop_map(|(version, ago)| ClockStep::Reload(version, ago)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn reloads_between_any_two_steps_lose_and_double_nothing(steps in prop::collection::vec(step(), 0..60)) {
        let schedules = [every_second("one"), every_second("two")];
        let mut world = CoreWorld::new(&schedules[0], nothing_recovered(), START);
        let mut passed = 0;
        for step in steps {
            match step {
                ClockStep::Pass(ms) => {
                    passed += u64::from(ms);
                    world.now.mono += Duration::from_millis(ms.into());
                    world.now.wall += SignedDuration::from_millis(ms.into());
                }
                ClockStep::Turn => {
                    let effects = world.core.turn(world.now);
                    world.take(effects);
                }
                ClockStep::Claim => world.claim(),
                ClockStep::Claimed(written) => world.claimed(written),
                ClockStep::Reload(version, ago) => world.reload(&schedules[version], Duration::from_millis(ago.into())),
            }
        }
        world.claimed(true);
        let rest = passed.next_multiple_of(1000) - passed;
        world.now.mono += Duration::from_millis(rest);
        world.now.wall += SignedDuration::from_millis(rest.try_into().expect("below a second"));
        world.claim_window();
        world.turn();
        world.pass(5, 1.0);
        world.check(usize::try_from(passed.div_ceil(1000)).expect("a few seconds") + 6);
    }
}

#[test]
fn a_reload_while_a_claim_is_written_stalls_nothing() {
    let now = Now { wall: START.parse().expect("an instant"), mono: Duration::from_secs(100) };
    let before = Some(now.wall - SignedDuration::from_secs(10));
    let recovered = Recovered { cursor: before, ..nothing_recovered() };
    let (mut core, _) = Core::new(&three(), recovered, 1, now);
    let claims = core.claim_window(now).expect("ten seconds are to be claimed");
    let quiet = schedule("  leap: { stack: s, job: a, cron: '0 0 29 2 *' }\n");
    core.replace(Prepared::new(Arc::new(quiet), now.wall), now);
    let later =
        Now { wall: now.wall + SignedDuration::from_millis(5), mono: now.mono + Duration::from_millis(5) };
    core.claimed(claims.cursor, &[], later);
    assert_eq!(core.claim_window(later), None, "nothing is to be claimed");
    assert!(core.is_current(later), "it goes on with what it has");
}

#[test]
fn what_came_due_while_the_journal_was_ill_outlives_a_reload_that_removes_it() {
    let mut world = CoreWorld::new(&due_at("10"), nothing_recovered(), START);
    world.jump(6, 6);
    world.claim();
    world.claimed(false);
    world.jump(14, 14);
    world.reload(&due_at("50"), Duration::ZERO);
    world.claim_window();
    world.turn();
    assert_eq!(world.known.len(), 1, "it is claimed");
    assert_eq!(world.sent("some"), 1, "and goes on: its entry is still there");
}

#[test]
fn what_came_due_while_the_journal_hung_outlives_a_reload_after_the_clock_was_set_back() {
    let mut world = CoreWorld::new(&due_at("20"), nothing_recovered(), START);
    world.jump(6, 6);
    world.claim();
    world.jump(24, 24);
    world.turn();
    world.jump(1, -300);
    world.claimed(true);
    world.reload(&due_at("50"), Duration::ZERO);
    world.claim_window();
    world.turn();
    assert_eq!(world.known.len(), 1, "the clock has shown its instant");
}

#[test]
fn what_was_claimed_ahead_and_does_not_come_after_a_reload_is_skipped_however_long_the_claim_took() {
    let mut world = CoreWorld::new(&due_at("10"), nothing_recovered(), START);
    world.jump(6, 6);
    world.claim();
    world.reload(&due_at("50"), Duration::ZERO);
    world.jump(14, 14);
    world.claimed(true);
    world.claim_window();
    world.turn();
    assert_eq!((world.sent("some"), world.given_up("some", "removed")), (0, 1));
}
