//! Rehearsals held against the API's own ledger: nothing lost, nothing twice, whatever goes wrong.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::journal::UsualRuns;
use crate::occurrence::Resolution;
use crate::sandbox::{Endpoint, Fault, WindowKind};
use crate::schedule::{self, EntryName};
use jiff::SignedDuration;

const FROM: &str = "2026-03-28T22:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn read(source: &str) -> Schedule {
    match schedule::parse("s.yaml", source) {
        Ok(loaded) => loaded.schedule,
        Err(rejected) => panic!("{}\nin\n{source}", rejected.render(schedule::render::Colour::Never)),
    }
}

fn account(quota: &str) -> String {
    format!("accounts: {{ main: {{ token: {{ env: T }}, quota: {{ {quota} }} }} }}\njobs:\n")
}

fn faults(texts: &[&str]) -> Vec<Fault> {
    texts.iter().map(|text| text.parse().expect("a fault")).collect()
}

/// Returns the final states of each occurrence. There should be one.
fn endings(events: &[Event]) -> BTreeMap<(String, Timestamp), Vec<&'static str>> {
    let mut endings: BTreeMap<_, Vec<&'static str>> = BTreeMap::new();
    for event in events {
        let (entry, scheduled_at, state) = match event {
            Event::ActionStarted(e) => (&e.entry, e.scheduled_at, "started"),
            Event::OccurrenceMissed(e) => (&e.entry, e.scheduled_at, "missed"),
            Event::OccurrenceSkipped(e) => (&e.entry, e.scheduled_at, "skipped"),
            Event::OccurrenceRejected(e) => (&e.entry, e.scheduled_at, "rejected"),
            Event::OccurrenceUnknown(e) => (&e.entry, e.scheduled_at, "unknown"),
            _ => continue,
        };
        endings.entry((entry.to_string(), scheduled_at)).or_default().push(state);
    }
    endings
}

/// Rehearses some hours, and holds what was told against the timetable and the API's ledger. Each
/// entry of the schedule has a job of its own.
fn holds(schedule: &Schedule, conditions: &Conditions, hours: i64) -> Result<(), TestCaseError> {
    let until = at(FROM) + jiff::SignedDuration::from_hours(hours);
    let mut rehearsal = Rehearsal::new(schedule, conditions, at(FROM), until);
    let mut events = Vec::new();
    let mut summary = Summary::default();
    for (_, happening) in rehearsal.by_ref() {
        summary.take(&happening);
        if let Happening::Told(event) = happening {
            events.push(*event);
        }
    }
    let endings = endings(&events);
    let mut due = 0;
    for entry in &schedule.entries {
        let (mut started, mut sent) = (0, 0);
        for scheduled_at in crate::timetable::occurrences(entry, at(FROM), until) {
            due += 1;
            let ends = endings.get(&(entry.name.to_string(), scheduled_at));
            prop_assert!(
                ends.is_some_and(|ends| ends.len() == 1),
                "{} of {scheduled_at} ends once, not in {ends:?}",
                entry.name
            );
            started += ends.map_or(0, |ends| usize::from(ends[0] == "started"));
            sent += ends.map_or(0, |ends| usize::from(matches!(ends[0], "started" | "unknown")));
        }
        let actions = rehearsal
            .api()
            .ledger()
            .started()
            .filter(|r| r.job.as_deref() == Some(entry.job.as_str()))
            .count();
        prop_assert!(started <= actions, "{}: {started} told to have started, {actions} did", entry.name);
        prop_assert!(
            entry.idempotent || actions <= sent,
            "{}: {actions} actions for {sent} occurrences that may have started",
            entry.name
        );
    }
    prop_assert_eq!(endings.len(), due, "nothing ends that was not due");
    prop_assert_eq!(rehearsal.due(), due as u64, "the rehearsal counts what came due");
    prop_assert_eq!(summary.ended(), due as u64, "the summary counts each occurrence once: {:?}", summary);
    let mut ids: HashMap<u64, usize> = HashMap::new();
    for event in &events {
        if let Event::ActionStarted(e) = event
            && let Some(id) = e.action.id
        {
            *ids.entry(id).or_default() += 1;
        }
    }
    prop_assert!(ids.values().all(|&count| count == 1), "an action belongs to one occurrence: {:?}", ids);
    let ledger = rehearsal.api().ledger();
    prop_assert_eq!(ledger.of(Endpoint::RunNow).count() as u64, summary.requests_fire);
    let questions = [Endpoint::Action, Endpoint::Actions, Endpoint::Stack, Endpoint::Job];
    let asked: usize = questions.into_iter().map(|question| ledger.of(question).count()).sum();
    prop_assert_eq!(asked as u64, summary.requests_follow_up + summary.requests_check);
    Ok(())
}

fn entries() -> impl Strategy<Value = Vec<String>> {
    let entry = (
        prop::sample::select(vec![
            "*/5 * * * *",
            "0 * * * *",
            "30 0,1,2 * * *",
            "* 1 * * *",
            "*/20 0-1 * * * *",
            "*/90 * * * *",
            "17 * * * *",
        ]),
        prop::sample::select(vec!["UTC", "Europe/London"]),
        prop::sample::select(vec!["allow", "skip", "queue"]),
        prop::sample::select(vec!["none", "latest", "all"]),
        prop::sample::select(vec!["1s", "2m", "1h"]),
        prop::sample::select(vec!["0s", "90s"]),
        prop::sample::select(vec!["high", "normal", "low"]),
        (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
        prop::sample::select(vec!["ignore", "hold", "skip"]),
        prop::sample::select(vec!["", "-slow", "-fails", "-forbidden", "-missing"]),
    );
    let text = entry.prop_map(|(cron, zone, overlap, catch_up, deadline, jitter, priority, flags, stack_state, ending)| {
        let (idempotent, follow, paused) = flags;
        format!(
            "cron: '{cron}', timezone: {zone}, overlap: {overlap}, catch_up: {catch_up}, start_deadline: {deadline}, \
             jitter: {jitter}, priority: {priority}, idempotent: {idempotent}, follow: {follow}, paused: {paused}, stack_state: {stack_state}, \
             job: JOB{ending}"
        )
    });
    prop::collection::vec(text, 1..6).prop_map(|entries| {
        let numbered = entries.iter().enumerate();
        numbered.map(|(n, text)| text.replace("JOB", &format!("j{n}"))).collect()
    })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let fault = prop::sample::select(vec![
        "status=500:p=0.3",
        "status=500:effect=first,every=5",
        "html-502:on=any,p=0.2",
        "throttled:p=0.2,retry-after=30",
        "429:every=7",
        "close-before:p=0.2",
        "close-after:on=any,p=0.1",
        "reset-mid-body:p=0.2",
        "slow=40s:on=any,p=0.1",
        "slow=40s:effect=last,p=0.1",
        "drip=5ms:on=any,p=0.3",
        "garbage:p=0.2",
        "huge:every=9",
        "endless:on=any,every=9",
        "missing-fields",
        "retyped:on=any",
        "no-headers:on=any,p=0.5",
        "odd-headers:on=any,p=0.5",
        "header-flood:every=4",
        "warning:every=4",
    ]);
    (
        prop::sample::select(vec!["1ms", "200ms", "10ms..10s", "20s..40s"]),
        prop::collection::vec(fault, 0..3),
        prop::option::of(prop::sample::select(vec!["5/1h", "60/1h", "1/1s"])),
        prop::sample::select(vec![WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling]),
        prop::sample::select(vec![0, 10, 60, 2000]),
        prop::collection::vec(prop::sample::select(vec!["s=1m/10m", "s=20m/1h"]), 0..2),
        any::<u64>(),
    )
        .prop_map(|(latency, texts, others, window_kind, seconds, deploys, seed)| Conditions {
            latency: latency.parse().expect("a latency"),
            faults: faults(&texts),
            deploys: deploys.iter().map(|text| text.parse().expect("deployments")).collect(),
            others: others.map(|text| text.parse().expect("use by others")),
            window_kind,
            action_duration: Duration::from_secs(seconds),
            usual: UsualRuns::default(),
            seed,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_occurrence_ends_once_and_the_ledger_agrees(
        entries in entries(),
        conditions in conditions(),
        limit in 2..60u32,
        window in prop::sample::select(vec!["10m", "1h"]),
    ) {
        let lines = entries.iter().enumerate().map(|(n, text)| format!("  e{n}: {{ stack: s, {text} }}\n"));
        let source = account(&format!("limit: {limit}, window: {window}, reserve: 1")) + &lines.collect::<String>();
        holds(&read(&source), &conditions, 5)?;
    }
}

const BUSY: &str = "  often: { stack: s, job: a, cron: '*/2 * * * *', catch_up: all }
  hourly: { stack: s, job: b, cron: '0 * * * *', overlap: queue }
  nightly: { stack: s, job: c-slow, cron: '30 1 * * *', priority: high }
  seconds: { stack: s, job: d, cron: '*/7 0-1 3 * * *', priority: low, start_deadline: 5m }
";

#[test]
fn skipping_empty_stretches_changes_nothing() {
    let held = "  held: { stack: s, job: e, cron: '*/5 * * * *', stack_state: hold, catch_up: none }\n";
    let schedule = read(&(account("limit: 60") + BUSY + held));
    for window_kind in [WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling] {
        let conditions = Conditions {
            latency: "20ms..3s".parse().expect("a latency"),
            faults: faults(&["close-before:p=0.1", "throttled:p=0.02,retry-after=90"]),
            others: Some("8/1h".parse().expect("use by others")),
            window_kind,
            deploys: vec!["s=9m/40m".parse().expect("deployments")],
            ..Conditions::default()
        };
        let until = at(FROM) + jiff::SignedDuration::from_hours(8);
        let jumping: Vec<_> = Rehearsal::new(&schedule, &conditions, at(FROM), until).collect();
        let mut beating = Rehearsal::new(&schedule, &conditions, at(FROM), until);
        beating.every_beat = true;
        let beating: Vec<_> = beating.collect();
        let differs = jumping.iter().zip(&beating).find(|(jumping, beating)| jumping != beating);
        assert_eq!(differs, None, "with {window_kind} windows");
        assert_eq!(jumping.len(), beating.len(), "with {window_kind} windows");
        assert!(jumping.len() > 300, "something happens: {}", jumping.len());
    }
}

#[test]
fn a_throttled_week_loses_nothing_and_is_never_refused() {
    let schedule = read(&(account("limit: 24, reserve: 4") + BUSY));
    let conditions =
        Conditions { others: Some("4/1h".parse().expect("use by others")), ..Conditions::default() };
    holds(&schedule, &conditions, 7 * 24).expect("the invariants hold");
    let mut summary = Summary::default();
    let until = at(FROM) + jiff::SignedDuration::from_hours(7 * 24);
    let mut rehearsal = Rehearsal::new(&schedule, &conditions, at(FROM), until);
    rehearsal.by_ref().for_each(|(_, happening)| summary.take(&happening));
    assert!(summary.waited > 1000, "the quota binds all week: {summary:?}");
    assert!(summary.requests_refused <= 2, "only a wrong guess about the window is refused: {summary:?}");
    assert_eq!(rehearsal.api().ledger().throttled().count() as u64, summary.requests_refused);
}

#[test]
fn an_answer_that_comes_too_late_is_in_doubt_at_the_timeout_and_found() {
    let jobs = "  a: { stack: s, job: a, cron: '0 23 * * *', follow: false }\n";
    let schedule = read(&(account("limit: 100") + jobs));
    for fault in ["slow=45s", "slow=45s:effect=last", "drip=1s"] {
        let conditions = Conditions { faults: faults(&[fault]), ..Conditions::default() };
        let until = at(FROM) + jiff::SignedDuration::from_hours(2);
        let mut rehearsal = Rehearsal::new(&schedule, &conditions, at(FROM), until);
        let told: Vec<_> = (rehearsal.by_ref())
            .filter_map(|(at, happening)| match happening {
                Happening::Told(event) => Some((at, *event)),
                _ => None,
            })
            .collect();
        assert!(
            matches!(&told[..], [(at, Event::OccurrenceInDoubt(e)), (_, Event::OccurrenceReconciled(found)), (_, Event::ActionStarted(_))]
                if at.to_string() == "2026-03-28T23:00:30Z" && e.error == "timed out" && found.verdict == Resolution::Started),
            "{fault}: {told:?}"
        );
        assert_eq!(rehearsal.api().started(), 1, "{fault}: it took effect all the same");
    }
}

#[test]
fn answers_are_read_as_those_of_the_real_api() {
    let jobs = "  a: { stack: s, job: a, cron: '0 23 * * *', args: secret, follow: false }\n";
    let schedule = read(&(account("limit: 100") + jobs));
    for (fault, expected) in [
        ("status=422", "refused with 422"),
        ("status=500", "is in doubt"),
        ("reset-mid-body", "the answer broke off"),
        ("endless", "longer than"),
        ("huge", "longer than"),
        ("header-flood", "too many headers"),
        ("close-after", "closed before an answer"),
        ("garbage", "the answer has no action"),
        ("warning", "the API warns"),
        ("retyped", "action 2593"),
        ("missing-fields", "action 2593"),
    ] {
        let conditions = Conditions { faults: faults(&[fault]), ..Conditions::default() };
        let until = at(FROM) + jiff::SignedDuration::from_hours(2);
        let told: Vec<String> = Rehearsal::new(&schedule, &conditions, at(FROM), until)
            .filter_map(|(_, happening)| match happening {
                Happening::Told(event) => Some(event.message()),
                _ => None,
            })
            .collect();
        assert!(
            told.iter().any(|message| message.contains(expected)),
            "{fault} is told as {expected:?}: {told:?}"
        );
        assert!(!told.join("").contains("secret"), "{fault}: arguments are in no message: {told:?}");
    }
}

#[test]
fn what_comes_after_an_entry_counts_in_the_window_in_which_it_runs() {
    let jobs = "  a: { stack: s, job: j, cron: '50 0 * * *' }\n  b: { stack: s, job: k, after: a }\n";
    let schedule = read(&(account("limit: 100") + jobs));
    let (from, until) = (at("2026-03-01T00:00:00Z"), at("2026-03-01T03:00:00Z"));
    let conditions = Conditions { action_duration: Duration::from_secs(1200), ..Conditions::default() };
    let forecast = Forecast::new(&schedule, &conditions, from, until);
    let due: Vec<u64> = forecast.accounts[0].windows.iter().map(|window| window.due).collect();
    assert_eq!(due[..2], [1, 1], "`b` is due when `a` has ended, in the next hour: {due:?}");
}

#[test]
fn a_chain_goes_on_when_the_run_before_ends_as_a_rule() {
    let jobs = "  a: { stack: s, job: j, cron: '50 0 * * *' }\n  b: { stack: s, job: k, after: a }\n";
    let schedule = read(&(account("limit: 100") + jobs));
    let (from, until) = (at("2026-03-01T00:00:00Z"), at("2026-03-01T03:00:00Z"));
    let usual = UsualRuns::suppose(&[("a", 1200, 0)]);
    let conditions = Conditions { usual: usual.clone(), ..Conditions::default() };
    let forecast = Forecast::new(&schedule, &conditions, from, until);
    let due: Vec<u64> = forecast.accounts[0].windows.iter().map(|window| window.due).collect();
    assert_eq!(due[..2], [1, 1], "`a` runs 20 minutes, whatever others do: {due:?}");
    let names = ["a", "b"].map(|name| EntryName::new(name).expect("a name"));
    let until_due = usual.until_due(&schedule);
    assert_eq!(until_due.get(&names[1]), Some(&SignedDuration::from_secs(1200)));
    assert_eq!(until_due.get(&names[0]), None, "`a` is due by the clock");
}

#[test]
fn what_fails_as_a_rule_counts_as_the_share_of_a_rerun_where_that_falls() {
    let policy = "retry: { times: 2, after: 20m }";
    let jobs = format!(
        "  a: {{ stack: s, job: j, cron: '50 0 * * *', {policy} }}\n  often: {{ stack: s, job: k, cron: '*/10 * * * *', {policy} }}\n"
    );
    let schedule = read(&(account("limit: 9, reserve: 0") + &jobs));
    let (from, until) = (at("2026-03-01T00:00:00Z"), at("2026-03-01T03:00:00Z"));
    let usual = UsualRuns::suppose(&[("a", 60, 900), ("often", 60, 900)]);
    let forecast = Forecast::new(&schedule, &Conditions { usual, ..Conditions::default() }, from, until);
    let windows = &forecast.accounts[0].windows;
    let reruns: Vec<u64> = windows.iter().map(|window| window.reruns_in_1000).collect();
    // At 01:11 nine of ten times, and at 01:32 nine of ten times that this one fails. `often` is due
    // again before its rerun is, which ends it.
    assert_eq!(reruns[..3], [0, 900 + 810, 0], "{reruns:?}");
    assert_eq!((windows[1].due, windows[1].reruns(), windows[1].over), (6, 2, 0));
    let schedule = read(&(account("limit: 7, reserve: 0") + &jobs));
    let usual = UsualRuns::suppose(&[("a", 60, 900)]);
    let forecast = Forecast::new(&schedule, &Conditions { usual, ..Conditions::default() }, from, until);
    assert_eq!(forecast.accounts[0].windows[1].over, 1, "6 due and 2 reruns, of which 7 fit");
}
