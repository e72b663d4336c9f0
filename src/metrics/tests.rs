//! Names and labels, as a scrape has them.

use jiff::Timestamp;

use super::*;
use crate::cloud66::Action;
use crate::dispatch::Sent;
use crate::log::event::{
    ActionFinished, ActionStarted, ClockJumped, NotifyFailed, OccurrenceMissed, OccurrenceRetrying,
    OccurrenceSkipped, OccurrenceUnknown, Pass, ScheduleReloaded, Seldom,
};
use crate::occurrence::Reason;
use crate::schedule::{EntryName, JobUid, Priority, StackUid};

fn entry() -> EntryName {
    EntryName::new("nightly-report").expect("a name")
}

fn account(name: &str) -> AccountName {
    AccountName::new(name).expect("a name")
}

fn started(lateness_ms: i64) -> Event {
    let event = ActionStarted {
        entry: entry(),
        account: account("main"),
        stack: StackUid::new("a-stack").expect("a uid"),
        job: JobUid::new("a-job").expect("a uid"),
        scheduled_at: Timestamp::UNIX_EPOCH,
        pass: Pass::default(),
        retry_of: Seldom::default(),
        retry: Seldom::default(),
        sent_at: Timestamp::UNIX_EPOCH,
        lateness_ms,
        connect_ms: None,
        attempts: 1,
        quota_limit: 3600,
        quota_remaining: Some(3599),
        action: Action::default(),
    };
    event.into()
}

fn finished(success: bool) -> Event {
    let event = ActionFinished {
        entry: entry(),
        stack: StackUid::new("a-stack").expect("a uid"),
        job: JobUid::new("a-job").expect("a uid"),
        scheduled_at: Timestamp::UNIX_EPOCH,
        pass: Pass::default(),
        retry_of: Seldom::default(),
        retry: Seldom::default(),
        retry_at: Seldom::default(),
        duration_ms: None,
        action: Action { finished_success: Some(success), ..Action::default() },
    };
    event.into()
}

/// The scrape, with the series of each name in order: they come in none.
fn in_order(scrape: &str) -> String {
    let mut lines: Vec<&str> = scrape.lines().collect();
    for series in lines.chunk_by_mut(|a, b| a.starts_with('#') == b.starts_with('#')) {
        if !series.iter().any(|line| line.starts_with('#') || line.contains("_bucket")) {
            series.sort_unstable();
        }
    }
    lines.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn gauges(remaining: Option<u32>) -> Gauges {
    Gauges {
        limit: 3600,
        remaining,
        reserve: 360,
        exhausted: remaining.is_some_and(|remaining| remaining <= 360),
        waiting: [(Priority::High, 0), (Priority::Normal, 7), (Priority::Low, 2)],
        sent: Sent { fires: 11, follow_ups: 5, checks: 1, throttled: 1 },
    }
}

#[test]
fn metrics_keep_their_names_and_labels() {
    let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH, DEFAULT_ENTRIES));
    let events: [Event; 12] = [
        started(-3),
        started(2),
        started(90_000),
        finished(true),
        finished(false),
        OccurrenceMissed {
            entry: entry(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            reason: Reason::Deadline,
            lateness_ms: 1,
        }
        .into(),
        OccurrenceSkipped {
            entry: entry(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            reason: Reason::Overlap,
            calendar: None,
            lateness_ms: 1,
        }
        .into(),
        OccurrenceUnknown {
            entry: entry(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            error: "cut".to_owned(),
        }
        .into(),
        ScheduleReloaded { path: "a.yaml".to_owned(), entries: 12, added: 1, removed: 0, changed: 0 }.into(),
        OccurrenceRetrying {
            entry: entry(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            attempts: 1,
            error: "refused".to_owned(),
            status: None,
            retry_in_ms: 1,
        }
        .into(),
        ClockJumped { by_ms: 1000 }.into(),
        NotifyFailed {
            receiver: None,
            entry: Some(entry()),
            host: None,
            attempts: 5,
            lost: 1,
            error: "refused".to_owned(),
        }
        .into(),
    ];
    events.iter().for_each(|event| metrics.observe(event));
    metrics.reload_failed();
    metrics.claim_took(Duration::from_millis(4));
    let (main, other) = (account("main"), account("other"));
    metrics.watch().swept(3, [(&main, gauges(Some(360))), (&other, gauges(None))].into_iter());
    insta::assert_snapshot!(in_order(&metrics.scrape()));
}

#[test]
fn the_journals_health_is_a_gauge_and_part_of_being_ready() {
    let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH, DEFAULT_ENTRIES));
    let watched = metrics.watch();
    watched.turned(true, None);
    let healthy = |metrics: &Metrics| (metrics.journal.get(), metrics.ready().is_ok());
    assert_eq!(healthy(&metrics), (1, true));
    watched.journal_is_ill(true);
    assert_eq!(healthy(&metrics), (0, false));
    watched.journal_is_ill(false);
    assert_eq!(healthy(&metrics), (1, true));
}

#[test]
fn what_an_account_was_is_not_told_when_it_is_served_no_more() {
    let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH, DEFAULT_ENTRIES));
    let (watched, another) = (metrics.watch(), metrics.watch());
    let third = account("third");
    another.swept(0, [(&third, gauges(Some(1)))].into_iter());
    let (main, other) = (account("main"), account("other"));
    let told = |name: &str| metrics.scrape().contains(&format!("account=\"{name}\""));
    watched.swept(0, [(&main, gauges(Some(1))), (&other, gauges(Some(1)))].into_iter());
    assert!(told("main") && told("other"));
    watched.swept(0, [(&main, gauges(Some(1)))].into_iter());
    assert!(told("main") && !told("other"), "{}", metrics.scrape());
    watched.stands_by(true);
    assert!(!told("main"), "another member knows it: {}", metrics.scrape());
    assert!(told("third"), "another loop serves it: {}", metrics.scrape());
}

#[test]
fn who_leads_one_shard_is_ready_and_who_leads_none_is_not() {
    let metrics = Arc::new(Metrics::new(Timestamp::UNIX_EPOCH, DEFAULT_ENTRIES));
    let (one, other) = (metrics.watch(), metrics.watch());
    one.stands_by(true);
    other.stands_by(true);
    assert_eq!(metrics.ready(), Err(Ailment::StandsBy));
    other.stands_by(false);
    assert_eq!(metrics.ready(), Err(Ailment::Starting));
    other.turned(true, None);
    assert_eq!(metrics.ready(), Ok(()));
    other.swept(2, std::iter::empty());
    assert_eq!(metrics.paused.get(), 2, "of all loops together");
    one.swept(1, std::iter::empty());
    assert_eq!(metrics.paused.get(), 3);
}
