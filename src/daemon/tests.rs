//! The daemon's core against everything that a clock does, in virtual time.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::core::{Claims, Core};
use super::replacement::{Loops, Prepared, Replacement};
use crate::clock::Now;
use crate::cloud66::{Outcome, Reply};
use crate::dispatch::{Effect, Request, RequestId};
use crate::journal::memory::Memory;
use crate::journal::{Key, Recovered, Repeat, store};
use crate::log::Event;
use crate::notify::Audience;
use crate::schedule::{self, Schedule};
use crate::timetable::{Occurrence, Timetable};

mod reload;

const START: &str = "2026-03-01T00:00:00Z";

fn schedule(jobs: &str) -> Schedule {
    let file = format!(
        "accounts: {{ main: {{ token: {{ env: T }}, quota: {{ limit: 1000000 }} }} }}\n\
         defaults: {{ follow: false, start_deadline: 3h }}\njobs:\n{jobs}"
    );
    schedule::parse("test.yaml", &file).expect("a valid file").schedule
}

/// Three entries, due every second, that differ in what they catch up.
fn three() -> Schedule {
    schedule(
        "  all: { stack: s, job: a, cron: '* * * * * *', catch_up: all }\n  \
           latest: { stack: s, job: b, cron: '* * * * * *', catch_up: latest }\n  \
           none: { stack: s, job: c, cron: '* * * * * *', catch_up: none }\n",
    )
}

fn nothing_recovered() -> Recovered {
    Recovered::default()
}

/// The core, two clocks, a journal that can be written, and an API that starts everything.
struct CoreWorld {
    core: Core,
    now: Now,
    known: HashSet<Key>,
    /// Instants of the requests, by entry.
    sent: BTreeMap<String, Vec<Timestamp>>,
    /// Why occurrences were not sent, by entry and reason.
    given_up: BTreeMap<(String, &'static str), usize>,
    jumps: Vec<i64>,
    /// Until when the clock was told to be waited for, and by how many entries.
    behind: Vec<(Timestamp, usize)>,
    in_flight: Vec<(RequestId, Key)>,
    /// Claims that the journal is writing.
    claiming: Option<Claims>,
    /// The schedule that the daemon fires now.
    running: Schedule,
}

impl CoreWorld {
    fn new(schedule: &Schedule, recovered: Recovered, wall: &str) -> CoreWorld {
        CoreWorld::after(schedule, schedule, recovered, wall)
    }

    /// After a process that had another schedule.
    fn after(former: &Schedule, schedule: &Schedule, recovered: Recovered, wall: &str) -> CoreWorld {
        let now = Now { wall: wall.parse().expect("an instant"), mono: Duration::from_secs(100) };
        // Occurrences that the former process had claimed ahead of its cursor.
        let ahead = recovered
            .cursor
            .into_iter()
            .flat_map(|cursor| Timetable::new(former, cursor - SignedDuration::from_secs(5)).step(cursor));
        let pass = |at: Timestamp| {
            recovered.repeat.filter(|it| it.from <= at && at < it.until).map_or(0, |repeat| repeat.pass)
        };
        let key = |claimed: Occurrence| {
            let pass = pass(claimed.scheduled_at);
            Key::new(claimed.entry.name.clone(), claimed.scheduled_at).in_pass(pass)
        };
        let known = ahead.map(key).collect();
        let (core, effects) = Core::new(schedule, recovered, 1, now);
        let mut world = CoreWorld {
            core,
            now,
            known,
            sent: BTreeMap::new(),
            given_up: BTreeMap::new(),
            jumps: Vec::new(),
            behind: Vec::new(),
            in_flight: Vec::new(),
            claiming: None,
            running: schedule.clone(),
        };
        world.take(effects);
        world.turn();
        world
    }

    /// Sets the wall clock, or lets both clocks pass unseen.
    fn jump(&mut self, mono: u64, wall: i64) {
        self.now.mono += Duration::from_secs(mono);
        self.now.wall += SignedDuration::from_secs(wall);
    }

    /// Another schedule takes over that was prepared a while before.
    fn reload(&mut self, schedule: &Schedule, prepared: Duration) {
        let at = self.now.wall - SignedDuration::try_from(prepared).expect("a span");
        let replacement = Replacement::prepare(
            String::new(),
            schedule.clone(),
            BTreeMap::new(),
            Audience::default(),
            &self.running,
            Loops::One,
            at,
        );
        self.running = Schedule::clone(replacement.schedule());
        let part = replacement.parts.into_values().next().expect("there is one");
        let (effects, _) = self.core.replace(part.prepared, self.now);
        self.take(effects);
    }

    /// The journal begins to write.
    fn claim(&mut self) {
        if let Some(claims) = self.core.claim_window(self.now) {
            self.claiming = Some(claims);
        }
    }

    /// The journal has written, or could not.
    fn claimed(&mut self, written: bool) {
        let Some(claims) = self.claiming.take() else { return };
        if !written {
            return self.core.unclaimed(self.now);
        }
        let known_before = |claim: &&crate::journal::Claim| !self.known.insert(claim.key.clone());
        let known: Vec<Key> =
            claims.claims.iter().filter(known_before).map(|claim| claim.key.clone()).collect();
        let effects = self.core.claimed(claims.cursor, &known, self.now);
        self.take(effects);
    }

    fn claim_window(&mut self) {
        while let Some(claims) = self.core.claim_window(self.now) {
            let known: Vec<Key> = claims
                .claims
                .iter()
                .map(|claim| claim.key.clone())
                .filter(|key| !self.known.insert(key.clone()))
                .collect();
            let effects = self.core.claimed(claims.cursor, &known, self.now);
            self.take(effects);
        }
    }

    fn turn(&mut self) {
        if self.core.runs_low(self.now) {
            self.claim_window();
        }
        self.look();
    }

    /// A turn without a beat.
    fn look(&mut self) {
        let effects = self.core.turn(self.now);
        self.take(effects);
        while let Some((id, key)) = self.in_flight.pop() {
            self.sent.entry(key.entry().to_string()).or_default().push(key.scheduled_at());
            let outcome = Outcome::Started(Box::default());
            let reply = Reply { quota: None, warning: None, left: None, outcome };
            let effects = self.core.fired(id, self.now.wall, reply, self.now);
            self.take(effects);
            let effects = self.core.turn(self.now);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        let mut sent = None;
        for effect in effects {
            match effect {
                Effect::Send(id, Request::RunNow(_)) => sent = Some(id),
                Effect::SendAfter(written, id, _) => self.in_flight.push((id, written.0)),
                // An occurrence that is sent at once is recorded right after.
                Effect::Record(key, _) => {
                    if let Some(id) = sent.take() {
                        self.in_flight.push((id, key));
                    }
                }
                Effect::Log(event) => match *event {
                    Event::ClockJumped(e) => self.jumps.push(e.by_ms),
                    Event::ClockBehind(e) => self.behind.push((e.until, e.entries)),
                    Event::OccurrenceMissed(e) => {
                        *self.given_up.entry((e.entry.to_string(), e.reason.as_str())).or_default() += 1;
                    }
                    Event::OccurrenceSkipped(e) => {
                        *self.given_up.entry((e.entry.to_string(), e.reason.as_str())).or_default() += 1;
                    }
                    _ => {}
                },
                Effect::Send(..)
                | Effect::Amend(_)
                | Effect::End(_)
                | Effect::Resent(_)
                | Effect::Recall(..)
                | Effect::Warm(..)
                | Effect::PauseEnds(_) => {}
            }
        }
    }

    /// Lets so many seconds pass, with a beat in each, on a wall clock that goes at `rate`.
    fn pass(&mut self, seconds: u64, rate: f64) {
        for _ in 0..seconds * 10 {
            self.now.mono += Duration::from_millis(100);
            self.now.wall += SignedDuration::from_secs_f64(0.1 * rate);
            if self.now.mono.subsec_millis() == 0 {
                self.claim_window();
            }
            self.turn();
        }
    }

    fn sent(&self, entry: &str) -> usize {
        self.sent.get(entry).map_or(0, Vec::len)
    }

    fn given_up(&self, entry: &str, reason: &'static str) -> usize {
        self.given_up.get(&(entry.to_owned(), reason)).copied().unwrap_or_default()
    }

    /// Nothing was sent twice; for each second of the clock so far, each entry was sent or given
    /// up.
    fn check(&self, seconds: usize) {
        for entry in ["all", "latest", "none"] {
            let sent = self.sent.get(entry).cloned().unwrap_or_default();
            let unique: HashSet<_> = sent.iter().collect();
            assert_eq!(unique.len(), sent.len(), "{entry} was sent twice");
            let given_up: usize =
                self.given_up.iter().filter(|((name, _), _)| name == entry).map(|(_, count)| count).sum();
            assert_eq!(sent.len() + given_up, seconds, "{entry}: sent or given up: {:?}", self.given_up);
        }
    }
}

#[test]
fn a_steady_clock_sends_each_second_once() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(120, 1.0);
    world.check(121);
    assert_eq!((world.sent("all"), world.sent("none")), (121, 121));
    assert!(world.jumps.is_empty(), "{:?}", world.jumps);
}

#[test]
fn beats_that_come_late_twice_or_never_change_nothing() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    for tenth in 0..1200 {
        world.now.mono += Duration::from_millis(100);
        world.now.wall += SignedDuration::from_millis(100);
        match tenth % 130 {
            0 | 1 | 7 => world.claim_window(),
            _ => {}
        }
        world.turn();
    }
    world.check(121);
    assert_eq!(world.sent("none"), 121, "none was late: {:?}", world.given_up);
}

#[test]
fn after_a_sleep_of_hours_catch_up_decides() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(60, 1.0);
    world.jump(7200, 7200);
    world.pass(60, 1.0);
    world.check(60 + 7200 + 61);
    assert_eq!(world.jumps, [7_200_100], "the operator is told");
    assert_eq!(world.sent("all"), 60 + 7200 + 61);
    assert_eq!(
        world.sent("latest"),
        61 + 5 + 60,
        "of the sleep what is less than 5 s late: {:?}",
        world.given_up
    );
    assert!(world.given_up("latest", "superseded") > 7000);
    assert!(world.given_up("none", "down") > 7000);
}

#[test]
fn a_sleep_longer_than_the_deadline_is_cut_by_it() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(10, 1.0);
    world.jump(4 * 3600, 4 * 3600);
    world.pass(10, 1.0);
    world.check(10 + 4 * 3600 + 11);
    assert_eq!(world.given_up("all", "deadline"), 3600, "an hour of it was past three hours");
}

#[test]
fn a_clock_set_forward_an_hour_is_caught_up() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(30, 1.0);
    world.jump(0, 3600);
    world.pass(30, 1.0);
    world.check(30 + 3600 + 31);
    assert_eq!(world.jumps, [3_600_000]);
    assert_eq!(world.sent("all"), 30 + 3600 + 31);
}

#[test]
fn a_clock_set_back_by_hours_goes_on_at_once_in_another_pass() {
    for (back, what) in [(61, "a minute and a second"), (3600, "an hour"), (86_400, "a day")] {
        let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
        world.pass(60, 1.0);
        world.jump(0, -back);
        let before = world.sent("all");
        world.pass(40, 1.0);
        assert_eq!(world.jumps, [-back * 1000], "{what} back");
        assert_eq!(world.sent("all"), before + 40, "{what} back: what follows elapsed time goes on at once");
        // The clock is set right again: what it had shown before comes no further time.
        world.jump(0, back);
        world.pass(30, 1.0);
        assert!(
            back >= 3 * 3600 || world.given_up("all", "clock") < 10,
            "{what}: no more than was claimed ahead"
        );
        assert!(world.sent("all") < before + 41 + 40 + 31 + 6, "{what}: {}", world.sent("all"));
    }
}

#[test]
fn a_clock_set_back_by_a_minute_is_waited_for() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(60, 1.0);
    world.jump(0, -60);
    world.pass(59, 1.0);
    assert_eq!(world.sent("all"), 61);
    assert_eq!(world.behind.len(), 1, "it is told once");
    world.pass(20, 1.0);
    world.check(60 + 20);
}

#[test]
fn a_clock_corrected_by_three_hours_or_more_sends_nothing_of_what_it_skipped() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(30, 1.0);
    world.jump(0, 3 * 3600);
    world.pass(30, 1.0);
    world.check(30 + 3 * 3600 + 31);
    for entry in ["all", "latest", "none"] {
        assert_eq!(world.given_up(entry, "clock"), 3 * 3600, "{entry}: {:?}", world.given_up);
        assert_eq!(world.sent(entry), 30 + 31, "{entry}");
    }
}

#[test]
fn a_start_whose_cursor_is_a_minute_ahead_of_the_clock_says_until_when_it_waits() {
    let cursor: Timestamp = "2026-03-01T00:01:05Z".parse().expect("an instant");
    let recovered = Recovered { cursor: Some(cursor), ..nothing_recovered() };
    let world = CoreWorld::new(&three(), recovered, "2026-03-01T00:00:10Z");
    let until = "2026-03-01T00:01:00Z".parse().expect("an instant");
    assert_eq!(world.behind, [(until, 3)]);
}

#[test]
fn a_start_whose_cursor_is_a_day_ahead_of_the_clock_goes_on_at_once() {
    let cursor: Timestamp = "2026-03-02T00:00:05Z".parse().expect("an instant");
    let recovered = Recovered { cursor: Some(cursor), ..nothing_recovered() };
    let mut world = CoreWorld::new(&three(), recovered, "2026-03-01T00:00:10Z");
    assert_eq!(world.behind, []);
    world.pass(30, 1.0);
    assert_eq!(world.sent("all"), 31);
}

/// Returns the first claims of a core after a restart.
fn claimed_first(recovered: Recovered, wall: &str) -> Claims {
    let now = Now { wall: wall.parse().expect("an instant"), mono: Duration::from_secs(100) };
    let (mut core, _) = Core::new(&three(), recovered, 1, now);
    core.claim_window(now).expect("something is to be claimed")
}

#[test]
fn a_restart_goes_on_in_the_pass_of_its_cursor_and_begins_no_earlier_than_the_pass_did() {
    let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
    let (from, until) = (at("2026-03-01T00:00:58Z"), at("2026-03-01T00:10:00Z"));
    let repeat = Some(Repeat { pass: 2, from, until });
    let recovered = Recovered { cursor: Some(at("2026-03-01T00:01:00Z")), repeat, ..nothing_recovered() };
    let claims = claimed_first(recovered, "2026-03-01T00:00:59Z").claims;
    let first = claims.iter().map(|claim| claim.key.scheduled_at()).min();
    assert_eq!(
        first,
        Some(from),
        "what was claimed ahead may be more by another schedule, but not of another pass"
    );
    assert!(claims.iter().all(|claim| claim.key.pass() == 2), "{claims:?}");
}

#[test]
fn a_restart_before_its_cursor_takes_all_that_was_claimed_for_shown() {
    let cursor: Timestamp = "2026-03-02T00:00:05Z".parse().expect("an instant");
    let recovered = Recovered { cursor: Some(cursor), ..nothing_recovered() };
    let claims = claimed_first(recovered, START);
    let expected = Repeat { pass: 1, from: START.parse().expect("an instant"), until: cursor };
    assert_eq!(claims.repeat, Some(expected));
}

#[test]
fn a_clock_set_back_and_right_and_back_while_the_journal_hangs_is_followed() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(30, 1.0);
    world.jump(1, 1);
    world.claim();
    for seconds in [-7200, 7200, -600] {
        world.jump(1, seconds);
        world.look();
    }
    assert_eq!(world.core.waits_for_clock(world.now), None, "ten minutes are more than one");
}

#[test]
fn what_a_person_asks_for_moves_no_cursor() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(30, 1.0);
    let claim = world.core.claim_by_hand(&three().entries[0], None, world.now).expect("it has begun");
    let mut memory = Memory::default();
    memory.write(&[store::Write::Claim(None, std::slice::from_ref(&claim))]);
    assert!(memory.row(&claim.key).is_some());
    assert_eq!(memory.cursor(), None);
}

#[test]
fn a_clock_before_the_build_is_no_clock_and_is_told() {
    let world = CoreWorld::new(&three(), nothing_recovered(), "1970-01-01T00:00:10Z");
    assert_eq!(world.behind.len(), 1);
    assert!(world.core.waits_for_clock(world.now).is_some());
}

#[test]
fn a_slewed_clock_and_a_smeared_leap_second_are_followed_silently() {
    for (rate, what) in [(1.0005, "ntpd, fast"), (0.9995, "ntpd, slow"), (1.0 - 1.0 / 86_400.0, "smeared")] {
        let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
        world.pass(600, rate);
        world.check(1 + (600.0 * rate) as usize);
        assert_eq!(world.sent("none"), 1 + (600.0 * rate) as usize, "{what}: none was late");
        assert!(world.jumps.is_empty(), "{what}: {:?}", world.jumps);
    }
}

#[test]
fn a_machine_that_boots_in_1970_waits_for_its_clock() {
    let cursor: Timestamp = START.parse().expect("an instant");
    let recovered = Recovered { cursor: Some(cursor), ..nothing_recovered() };
    let mut world = CoreWorld::new(&three(), recovered, "1970-01-01T00:00:10Z");
    world.pass(60, 1.0);
    assert_eq!(world.sent("all"), 0, "nothing fires in 1970");
    let corrected: Timestamp = "2026-03-01T00:10:00Z".parse().expect("an instant");
    world.now.wall = corrected;
    world.pass(10, 1.0);
    assert_eq!(world.jumps.len(), 1, "the correction is told: {:?}", world.jumps);
    world.check(600 + 11);
    assert_eq!(world.sent("all"), 600 + 11, "what came due since the cursor is caught up");
}

#[test]
fn a_first_start_in_1970_catches_up_nothing() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), "1970-01-01T00:00:10Z");
    world.pass(60, 1.0);
    world.now.wall = START.parse().expect("an instant");
    world.pass(10, 1.0);
    assert!(world.sent("all") <= 12 && world.sent("all") >= 10, "only from then on: {}", world.sent("all"));
    assert!(world.given_up.is_empty(), "{:?}", world.given_up);
}

#[test]
fn a_cursor_ahead_of_the_clock_is_waited_for() {
    let cursor: Timestamp = "2026-03-01T00:01:00Z".parse().expect("an instant");
    let recovered = Recovered { cursor: Some(cursor), ..nothing_recovered() };
    let mut world = CoreWorld::new(&three(), recovered, START);
    world.pass(59, 1.0);
    assert_eq!(world.sent("all"), 0, "until the cursor everything is claimed by a former process");
    world.pass(11, 1.0);
    assert_eq!(world.sent("all"), 11);
}

#[test]
fn a_restart_while_the_clock_shows_a_stretch_again_plans_nothing_a_second_time() {
    let start: Timestamp = START.parse().expect("an instant");
    let after = |seconds| start + SignedDuration::from_secs(seconds);
    // The stretch begins a minute before the start, or within what was claimed ahead.
    for from in [-60, 3] {
        let repeat = Repeat { pass: 1, from: after(from), until: after(3600) };
        let recovered = Recovered { cursor: Some(after(5)), repeat: Some(repeat), ..nothing_recovered() };
        let mut world = CoreWorld::new(&three(), recovered, START);
        world.pass(10, 1.0);
        assert_eq!(world.sent("all"), 6, "a stretch that begins at {from} s: from the cursor on");
    }
}

#[test]
fn what_is_claimed_goes_however_slow_the_journal_is() {
    // Longer than is planned ahead.
    for takes in [6, 7, 20] {
        let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
        for _ in 0..5 {
            world.claim();
            for _ in 0..takes {
                world.jump(1, 1);
                world.look();
            }
            world.claimed(true);
            // The next one is asked for at once.
            world.claim();
            world.look();
            let claimed = world.known.iter().filter(|key| key.entry().as_str() == "all").count();
            assert_eq!(world.sent("all"), claimed, "while the next claim takes {takes} s");
        }
        world.claimed(true);
        world.pass(5, 1.0);
        world.check(5 * takes + 6);
    }
}

#[test]
fn claims_that_cannot_be_written_are_not_sent_and_wait() {
    let mut world = CoreWorld::new(&three(), nothing_recovered(), START);
    world.pass(10, 1.0);
    let before = world.sent("all");
    for _ in 0..300 {
        world.now.mono += Duration::from_millis(100);
        world.now.wall += SignedDuration::from_millis(100);
        if world.core.claim_window(world.now).is_some() {
            world.core.unclaimed(world.now);
        }
        let effects = world.core.turn(world.now);
        world.take(effects);
        while let Some((id, key)) = world.in_flight.pop() {
            world.sent.entry(key.entry().to_string()).or_default().push(key.scheduled_at());
            let reply =
                Reply { quota: None, warning: None, left: None, outcome: Outcome::Started(Box::default()) };
            let effects = world.core.fired(id, world.now.wall, reply, world.now);
            world.take(effects);
        }
    }
    assert!(world.sent("all") <= before + 6, "only what was claimed before is sent");
    world.pass(10, 1.0);
    world.check(10 + 30 + 11);
    assert_eq!(world.sent("all"), 51, "it goes on by itself: {:?}", world.given_up);
}

#[test]
fn what_a_person_fires_has_an_instant_of_its_own() {
    let schedule = schedule("  a: { stack: s, job: a, cron: '@yearly', start_deadline: 10m, jitter: 1h }\n");
    let mut world = CoreWorld::new(&schedule, nothing_recovered(), START);
    let entry = &schedule.entries[0];
    let claims: Vec<_> = (0..3)
        .map(|_| world.core.claim_by_hand(entry, None, world.now).expect("the journal has a cursor"))
        .collect();
    let micros: Vec<i64> =
        claims.iter().map(|claim| claim.key.scheduled_at().as_microsecond() % 1_000_000).collect();
    assert_eq!(micros[..2], [1, 2], "no whole second, which the schedule may want, and none twice in a row");
    assert!(world.core.is_claiming(), "a stop waits for them");
    for claim in claims {
        assert_eq!(claim.due_at, claim.key.scheduled_at(), "without jitter");
        assert_eq!(claim.deadline, claim.due_at + SignedDuration::from_mins(10));
        world.core.unclaimed_by_hand(world.now);
    }
    assert!(!world.core.is_claiming());
}

#[test]
fn before_the_first_claim_nothing_is_fired_by_hand() {
    let schedule = three();
    let now =
        Now { wall: "1970-01-01T00:00:10Z".parse().expect("an instant"), mono: Duration::from_secs(10) };
    let (mut core, _) = Core::new(&schedule, nothing_recovered(), 1, now);
    assert!(core.claim_by_hand(&schedule.entries[0], None, now).is_none(), "the clock is not set");
    assert!(core.is_behind(now) && !core.is_claiming());
}

#[test]
fn what_comes_next_is_told_once_for_each_entry() {
    let schedule = schedule(
        "  often: { stack: s, job: a, cron: '* * * * * *' }\n  \
           soon: { stack: s, job: b, cron: '3 0 0 * * *' }\n  \
           later: { stack: s, job: c, cron: '@hourly' }\n  \
           yearly: { stack: s, job: d, cron: '@yearly' }\n",
    );
    let world = CoreWorld::new(&schedule, nothing_recovered(), "2026-03-01T00:00:01.5Z");
    let upcoming = |most| {
        let told = world.core.upcoming(most).into_iter().map(|(entry, at)| format!("{} {at}", entry.name));
        told.collect::<Vec<String>>()
    };
    let all = [
        "often 2026-03-01T00:00:02Z",
        "soon 2026-03-01T00:00:03Z",
        "later 2026-03-01T01:00:00Z",
        "yearly 2027-01-01T00:00:00Z",
    ];
    assert_eq!(upcoming(10), all);
    assert_eq!(upcoming(2), all[..2]);
}

/// One entry, due at the seconds that are given, and another that is never due meanwhile.
fn due_at(seconds: &str) -> Schedule {
    schedule(&format!(
        "  some: {{ stack: s, job: a, cron: '{seconds} * * * * *', catch_up: all }}\n  \
           other: {{ stack: s, job: b, cron: '0 0 0 1 1 *' }}\n"
    ))
}

#[test]
fn a_journal_that_is_ill_or_hangs_is_waited_for_without_turning() {
    let mut world = CoreWorld::new(&due_at("10"), nothing_recovered(), START);
    world.jump(6, 6);
    let wait = |world: &CoreWorld| world.core.wakes_at(world.now).saturating_sub(world.now.mono);
    world.claim();
    world.jump(14, 14);
    assert!(wait(&world) >= Duration::from_millis(500), "it hangs: {:?}", wait(&world));
    world.claimed(false);
    assert!(wait(&world) >= Duration::from_millis(500), "it is ill: {:?}", wait(&world));
    world.jump(1, 1);
    assert!(world.core.runs_low(world.now), "it is tried again though no beat comes");
}

#[test]
fn an_entry_that_is_new_at_a_restart_is_due_within_what_was_claimed_ahead() {
    let cursor = Some(START.parse::<Timestamp>().expect("an instant") + SignedDuration::from_secs(6));
    let recovered = Recovered { cursor, ..nothing_recovered() };
    let mut world = CoreWorld::after(&due_at("50"), &due_at("4"), recovered, "2026-03-01T00:00:02Z");
    world.pass(10, 1.0);
    assert_eq!(world.sent("some"), 1);
}
