//! The dispatch in virtual time, with an API whose answers the test decides.

use std::collections::HashMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cloud66::{Action, ActionsListed, ActionsPage, FollowUp, Outcome, Reply};
use crate::journal::{Claim, Open, Origin, Reached, Recovered, Started};
use crate::quota::{Answer, Throttle};
use crate::schedule::{
    CatchUp, Expression, JobUid, Overlap, Priority, QuotaSettings, Reserve, Schedule, TokenSource,
};

const START: &str = "2026-03-01T00:00:00Z";

fn account(limit: u32) -> Arc<Account> {
    Arc::new(Account {
        name: AccountName::new("main").expect("a name"),
        url: "http://127.0.0.1:1/api/3".parse().expect("a URL"),
        token: TokenSource::Env("TOKEN".to_owned()),
        timeout: Duration::from_secs(30),
        quota: QuotaSettings { limit, window: Duration::from_secs(3600), reserve: Reserve::Requests(0) },
    })
}

fn entry(name: &str, account: &Arc<Account>) -> Entry {
    Entry {
        name: EntryName::new(name).expect("a name"),
        account: Arc::clone(account),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new(name).expect("a uid"),
        cron: [Expression::parse("* * * * *").expect("an expression")].into(),
        timezone: TimeZone::UTC,
        args: None,
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        start_deadline: Duration::from_secs(3600),
        jitter: Duration::ZERO,
        priority: Priority::Normal,
        idempotent: false,
        follow: false,
        paused: false,
        notify: None,
    }
}

/// The dispatch, its clock, and the requests that it has in flight.
struct World {
    dispatch: Dispatch,
    now: Now,
    sent: Vec<(RequestId, Request)>,
    /// Events as `name entry reason`.
    told: Vec<String>,
    limit: u32,
    used: u32,
    warmed: usize,
    recorded: Vec<(Key, Move)>,
    /// Whether the journal can be read.
    recalls: bool,
}

impl World {
    /// A world in which the API has told the whole limit as remaining: before it does, requests go one by one.
    fn new(account: &Arc<Account>) -> World {
        let now = Now { wall: World::at(-1000), mono: Duration::ZERO };
        let mut world = World {
            dispatch: Dispatch::new(std::slice::from_ref(account), 1, now),
            now,
            sent: Vec::new(),
            told: Vec::new(),
            limit: account.quota.limit,
            used: 0,
            warmed: 0,
            recorded: Vec::new(),
            recalls: true,
        };
        world.plan(&entry("first", account), &[-1000]);
        world.advance();
        world.used = 0;
        world.answer(started(0));
        world.go_to(0.0);
        world.told.clear();
        world.warmed = 0;
        world
    }

    /// The instant so many seconds after the start.
    fn at(seconds: i64) -> Timestamp {
        START.parse::<Timestamp>().expect("a timestamp") + SignedDuration::from_secs(seconds)
    }

    /// A person fires an entry, with arguments.
    fn fire(&mut self, entry: &Entry, args: &str) {
        let at = self.now.wall;
        let origin = Origin::Person { args: Some(args.to_owned()) };
        let claim = Claim { origin, ..open_at(entry.name.as_str(), at).claim };
        let effects = self.dispatch.fire(claim, Some(&Arc::new(entry.clone())), self.now);
        self.take(effects);
        self.advance();
    }

    /// The arguments of what is in flight.
    fn args_sent(&self) -> Vec<Option<&str>> {
        let run_now = self.sent.iter().filter_map(|(_, request)| match request {
            Request::RunNow(entry) => Some(entry.args.as_deref()),
            Request::Action(..) | Request::Actions { .. } => None,
        });
        run_now.collect()
    }

    fn plan(&mut self, entry: &Entry, seconds: &[i64]) {
        let entry = Arc::new(entry.clone());
        let occurrences =
            seconds.iter().map(|&s| Occurrence { entry: Arc::clone(&entry), scheduled_at: World::at(s) });
        let effects = self.dispatch.plan(occurrences, self.now);
        self.take(effects);
    }

    /// Moves both clocks to so many seconds after the start.
    fn go_to(&mut self, seconds: f64) {
        let to = START.parse::<Timestamp>().expect("a timestamp") + SignedDuration::from_secs_f64(seconds);
        self.now.mono += Duration::try_from(to.duration_since(self.now.wall)).unwrap_or_default();
        self.now.wall = to;
        self.advance();
    }

    /// The gauges of the account.
    fn gauges(&self) -> Gauges {
        self.dispatch.gauges().next().expect("one account").1
    }

    /// What the gauge of what waits should show: every queue, walked through.
    fn waiting(&self) -> [(Priority, usize); 3] {
        let waits =
            |pending: &&Pending| matches!(pending.place, Place::Ready | Place::Retry(_) | Place::Behind);
        let waiting: Vec<&Pending> = self.dispatch.pending.values().filter(waits).collect();
        [Priority::High, Priority::Normal, Priority::Low].map(|priority| {
            (priority, waiting.iter().filter(|pending| pending.entry.priority == priority).count())
        })
    }

    fn advance(&mut self) {
        let effects = self.dispatch.advance(self.now);
        self.take(effects);
    }

    /// Another schedule takes over. Returns up to when everything has come due under the old one.
    fn replace(&mut self, schedule: &Schedule) -> Timestamp {
        let effects = self.dispatch.advance(self.now);
        self.take(effects);
        let effects = self.dispatch.replace(&schedule.accounts, &schedule.by_name(), self.now);
        self.take(effects);
        self.dispatch.reached()
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(id, request) => {
                    self.used += 1;
                    self.sent.push((id, request));
                }
                Effect::SendAfter(_, id, request) => {
                    self.used += 1;
                    self.sent.push((id, request));
                }
                Effect::Record(key, step) => self.recorded.push((key, step)),
                Effect::Recall(account, stack, _) => {
                    let known = self.recalls.then(|| self.known());
                    let effects = self.dispatch.recalled(account, stack, known, self.now);
                    self.take(effects);
                }
                Effect::Warm(_, connections) => self.warmed += connections,
                Effect::Log(event) => self.told.push(brief(&event)),
            }
        }
    }

    /// Answers the oldest run_now in flight, and lets the dispatch go on.
    fn answer(&mut self, outcome: Outcome) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::RunNow(_)));
        let (id, _) = self.sent.remove(place.expect("a run_now is in flight"));
        let answered = !matches!(outcome, Outcome::NotSent { .. } | Outcome::InDoubt { status: None, .. });
        let refused = matches!(outcome, Outcome::Throttled { .. }).then_some(Throttle { retry_after: None });
        let remaining = if refused.is_some() { 0 } else { self.limit.saturating_sub(self.used) };
        let quota =
            answered.then_some(Answer { limit: Some(self.limit), remaining: Some(remaining), refused });
        let reply = Reply { quota, warning: None, outcome };
        let effects = self.dispatch.fired(id, self.now.wall, reply, self.now);
        self.take(effects);
        self.advance();
    }

    /// Answers the oldest question for an action.
    fn answer_follow_up(&mut self, outcome: FollowUp) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::Action(..)));
        let (id, _) = self.sent.remove(place.expect("an action is asked for"));
        let effects = self.dispatch.followed(id, Reply { quota: None, warning: None, outcome }, self.now);
        self.take(effects);
        self.advance();
    }

    /// The actions that the journal knows.
    fn known(&self) -> Vec<ActionId> {
        let action = |mv: &Move| match *mv {
            Move::Started { action: Started::Followed(id), .. } => Some(id),
            Move::Started { action: Started::Alone(id), .. } => id,
            _ => None,
        };
        self.recorded.iter().filter_map(|(_, mv)| action(mv)).collect()
    }

    /// Answers the oldest question for a stack's actions.
    fn answer_list(&mut self, outcome: ActionsListed) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::Actions { .. }));
        let (id, _) = self.sent.remove(place.expect("a stack's actions are asked for"));
        let quota = Some(Answer {
            limit: Some(self.limit),
            remaining: Some(self.limit.saturating_sub(self.used)),
            refused: None,
        });
        let effects = self.dispatch.listed(id, Reply { quota, warning: None, outcome }, self.now);
        self.take(effects);
        self.advance();
    }

    /// Lets time pass up to so many seconds after the start, and answers each question for a stack's actions with these.
    fn reconcile(&mut self, until: f64, actions: &[Action]) {
        let mut second = self.now.wall.duration_since(World::at(0)).as_secs_f64();
        while second < until {
            second += 0.5;
            self.go_to(second);
            while self.asks() {
                self.answer_list(page(actions));
            }
        }
    }

    fn asks(&self) -> bool {
        self.sent.iter().any(|(_, request)| matches!(request, Request::Actions { .. }))
    }

    fn jobs_sent(&self) -> Vec<&str> {
        self.sent
            .iter()
            .filter_map(|(_, request)| match request {
                Request::RunNow(entry) => Some(entry.name.as_str()),
                Request::Action(..) | Request::Actions { .. } => None,
            })
            .collect()
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn brief(event: &Event) -> String {
    let name = event.name();
    match event {
        Event::ActionStarted(e) => format!("{name} {}", e.entry),
        Event::ActionFinished(e) => format!("{name} {}", e.entry),
        Event::ActionUnfinished(e) => format!("{name} {}", e.entry),
        Event::OccurrenceWaiting(e) => format!("{name} {} {}", e.entry, e.reason),
        Event::OccurrenceMissed(e) => format!("{name} {} {}", e.entry, e.reason),
        Event::OccurrenceSkipped(e) => format!("{name} {} {}", e.entry, e.reason),
        Event::OccurrenceRetrying(e) => format!("{name} {}", e.entry),
        Event::OccurrenceRejected(e) => format!("{name} {}", e.entry),
        Event::OccurrenceInDoubt(e) => format!("{name} {}", e.entry),
        Event::OccurrenceReconciled(e) => {
            let id = e.action_id.map(|id| format!(" {id}")).unwrap_or_default();
            format!("{name} {} {}{id}", e.entry, e.verdict)
        }
        Event::OccurrenceUnknown(e) => format!("{name} {}", e.entry),
        _ => name.to_owned(),
    }
}

fn started(id: ActionId) -> Outcome {
    Outcome::Started(Box::new(Action { id: Some(id), ..Action::default() }))
}

fn ended(id: ActionId, success: bool) -> FollowUp {
    let action = json!({"id": id, "finished_at": "2026-03-01T00:10:00Z", "finished_success": success});
    FollowUp::Action(Box::new(Action::from_json(action).expect("an action")))
}

fn not_sent() -> Outcome {
    Outcome::NotSent { error: "connection refused".to_owned() }
}

fn in_doubt() -> Outcome {
    Outcome::InDoubt { status: None, error: "connection closed".to_owned() }
}

/// A list of one page.
fn page(actions: &[Action]) -> ActionsListed {
    ActionsListed::Page(ActionsPage { actions: actions.to_vec(), ..ActionsPage::default() })
}

/// A run of a job that somebody started so many seconds after the start.
fn run(id: ActionId, second: i64, user: &str) -> Action {
    Action {
        id: Some(id),
        user: Some(user.to_owned()),
        action: Some("job_run_now".to_owned()),
        started_via: Some("api".to_owned()),
        started_at: Some(World::at(second).to_string()),
        ..Action::default()
    }
}

fn unlisted() -> ActionsListed {
    ActionsListed::Unanswered { error: "connection refused".to_owned() }
}

#[test]
fn an_occurrence_is_sent_at_its_instant_and_not_before() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[3]);
    world.go_to(2.999);
    assert!(world.sent.is_empty(), "nothing is due yet");
    assert_eq!(world.dispatch.wakes_at(world.now), Some(world.now.mono + Duration::from_millis(1)));
    world.go_to(3.0);
    assert_eq!(world.jobs_sent(), ["a"]);
    world.answer(started(7));
    assert_eq!(world.told(), ["action.started a"]);
    world.go_to(60.0);
    assert!(world.sent.is_empty(), "it is sent once");
}

#[test]
fn connections_are_opened_ahead_when_none_is_open() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[3, 4]);
    assert_eq!(world.warmed, 2, "nothing was sent yet");
    world.go_to(3.0);
    world.go_to(4.0);
    world.answer(started(1));
    world.answer(started(2));
    world.plan(&entry("a", &account), &[8]);
    assert_eq!(world.warmed, 2, "the connections are still open");
    world.go_to(8.0);
    world.go_to(3600.0);
    world.plan(&entry("a", &account), &[3603]);
    assert_eq!(world.warmed, 3, "after an hour they are not");
}

#[test]
fn jitter_delays_by_the_same_span_each_time() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut spread = entry("a", &account);
    spread.jitter = Duration::from_secs(10);
    let delay = spread.delay();
    assert!(delay > Duration::ZERO && delay < spread.jitter, "drawn from the span: {delay:?}");
    world.plan(&spread, &[60, 120]);
    for minute in [60.0, 120.0] {
        world.go_to(minute + delay.as_secs_f64() - 0.002);
        assert!(world.sent.is_empty(), "not before its delay");
        world.go_to(minute + delay.as_secs_f64());
        assert_eq!(world.jobs_sent(), ["a"]);
        world.answer(started(7));
    }
}

#[test]
fn high_goes_before_normal_before_low_and_older_before_newer() {
    let account = account(100);
    let mut world = World::new(&account);
    for (name, priority, at) in [
        ("low", Priority::Low, 1),
        ("newer", Priority::Normal, 3),
        ("older", Priority::Normal, 2),
        ("high", Priority::High, 4),
    ] {
        let mut entry = entry(name, &account);
        entry.priority = priority;
        world.plan(&entry, &[at]);
    }
    world.go_to(5.0);
    assert_eq!(world.jobs_sent(), ["high", "older", "newer", "low"]);
}

#[test]
fn what_the_quota_does_not_cover_waits_and_is_told_once() {
    let account = account(2);
    let mut world = World::new(&account);
    for name in ["a", "b", "c"] {
        world.plan(&entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    while !world.sent.is_empty() {
        world.answer(started(1));
    }
    let told = world.told();
    let waiting: Vec<_> = told.iter().filter(|line| line.starts_with("occurrence.waiting")).collect();
    assert_eq!(waiting, ["occurrence.waiting c quota"], "of {told:?}");
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(world.told(), [""; 0], "it is told once");
    world.used = 0;
    for minute in 1..130 {
        world.go_to(f64::from(minute) * 60.0);
        if !world.sent.is_empty() {
            assert_eq!(world.jobs_sent(), ["c"]);
            return;
        }
    }
    panic!("the window turned and c was not sent: {:?}", world.told());
}

#[test]
fn of_what_waits_for_quota_only_the_newest_is_sent_with_latest() {
    let account = account(1);
    let mut world = World::new(&account);
    world.plan(&entry("first", &account), &[1]);
    world.go_to(1.0);
    world.answer(started(1));
    world.told();
    world.plan(&entry("a", &account), &[2, 3]);
    let mut all = entry("b", &account);
    all.catch_up = CatchUp::All;
    world.plan(&all, &[2, 3]);
    let mut none = entry("c", &account);
    none.catch_up = CatchUp::None;
    world.plan(&none, &[2]);
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(
        world.told(),
        [
            "occurrence.waiting a quota",
            "occurrence.waiting b quota",
            "occurrence.missed c quota",
            "occurrence.missed a superseded",
            "occurrence.waiting a quota",
            "occurrence.waiting b quota",
        ]
    );
}

#[test]
fn a_stalled_loop_supersedes_nothing() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 2, 3]);
    world.go_to(4.0);
    assert_eq!(world.jobs_sent(), ["a", "a", "a"], "nothing kept them but a late wake-up");
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn what_came_due_while_the_daemon_was_down_follows_catch_up() {
    let account = account(100);
    for (catch_up, expected) in [
        (CatchUp::None, &["occurrence.missed a down", "occurrence.missed a down"][..]),
        (CatchUp::Latest, &["occurrence.missed a superseded"]),
        (CatchUp::All, &[]),
    ] {
        let mut world = World::new(&account);
        let mut entry = entry("a", &account);
        entry.catch_up = catch_up;
        world.plan(&entry, &[-120, -60]);
        world.advance();
        assert_eq!(world.told(), expected, "with {catch_up:?}");
        assert_eq!(world.jobs_sent().len(), 2 - expected.len(), "with {catch_up:?}");
    }
}

#[test]
fn an_occurrence_past_its_deadline_is_missed() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.start_deadline = Duration::from_secs(10);
    world.plan(&entry, &[-11, -10, 1]);
    world.go_to(1.0);
    assert_eq!(world.told(), ["occurrence.missed a deadline", "occurrence.missed a deadline"]);
    world.answer(not_sent());
    for tenth in 10..200 {
        world.go_to(f64::from(tenth) / 10.0);
        while !world.jobs_sent().is_empty() {
            world.answer(not_sent());
        }
    }
    let told = world.told();
    assert!(told.len() > 3, "it is tried several times: {told:?}");
    assert_eq!(told.last().map(String::as_str), Some("occurrence.missed a deadline"));
    assert_eq!(world.dispatch.wakes_at(world.now), None, "nothing is left");
}

#[test]
fn an_attempt_in_doubt_that_started_is_adopted_and_never_repeated() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut followed = entry("a", &account);
    followed.follow = true;
    world.plan(&followed, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(4.0, &[run(7, 1, "we")]);
    assert_eq!(
        world.told(),
        ["occurrence.in_doubt a", "occurrence.reconciled a started 7", "action.started a"]
    );
    world.answer_follow_up(ended(7, true));
    world.reconcile(3000.0, &[]);
    assert!(world.sent.is_empty(), "it is not sent again");
    assert_eq!(world.told(), ["action.finished a"]);
}

#[test]
fn an_attempt_that_did_not_start_is_sent_again_when_it_is_too_late_for_it_to_start() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(30.0, &[]);
    assert_eq!(world.jobs_sent(), [""; 0], "it may still take effect");
    world.reconcile(40.0, &[]);
    assert_eq!(world.jobs_sent(), ["a"]);
    assert_eq!(world.told(), ["occurrence.in_doubt a", "occurrence.reconciled a not_started"]);
    world.answer(started(8));
    assert_eq!(world.told(), ["action.started a"]);
}

#[test]
fn an_effect_that_comes_late_is_found() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(20.0, &[]);
    world.reconcile(3000.0, &[run(7, 25, "we")]);
    assert!(world.sent.is_empty(), "it is not sent again");
    assert!(world.told().contains(&"occurrence.reconciled a started 7".to_owned()));
}

#[test]
fn what_others_start_is_not_taken_for_ours() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 100]);
    world.go_to(1.0);
    world.answer(Outcome::Started(Box::new(run(1, 1, "we"))));
    world.told();
    world.go_to(100.0);
    world.answer(in_doubt());
    world.reconcile(150.0, &[run(1, 1, "we"), run(2, 100, "they")]);
    assert_eq!(world.told(), ["occurrence.in_doubt a", "occurrence.reconciled a not_started"]);
}

#[test]
fn two_runs_for_one_attempt_in_doubt_tell_nothing() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(3000.0, &[run(7, 1, "we"), run(8, 2, "we")]);
    assert!(world.sent.is_empty(), "it may have started");
    assert_eq!(
        world.told(),
        ["occurrence.in_doubt a", "occurrence.reconciled a unknown", "occurrence.unknown a"]
    );
}

#[test]
fn the_same_entry_waits_while_one_of_its_occurrences_is_in_doubt_and_others_go() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut all = entry("a", &account);
    all.catch_up = CatchUp::All;
    world.plan(&all, &[1, 2, 3]);
    world.plan(&entry("b", &account), &[2]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.go_to(1.5);
    world.told();
    for second in [2.0, 3.0] {
        world.go_to(second);
    }
    assert_eq!(world.jobs_sent(), ["b"]);
    assert_eq!(world.gauges().waiting, world.waiting(), "what waits behind is counted");
    world.answer(started(2));
    assert_eq!(
        world.told(),
        ["occurrence.waiting a retry", "occurrence.waiting a retry", "action.started b"]
    );
    world.reconcile(3.5, &[run(1, 1, "we"), run(2, 2, "we")]);
    assert_eq!(world.jobs_sent(), ["a", "a"]);
}

#[test]
fn a_list_that_cannot_be_read_is_asked_for_until_patience_ends() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let mut asked = 0;
    for second in 2..4000 {
        world.go_to(f64::from(second));
        while world.asks() {
            asked += 1;
            world.answer_list(unlisted());
        }
    }
    assert!((50..200).contains(&asked), "with pauses of up to a minute in an hour: {asked}");
    let told = world.told();
    assert_eq!(told[1..], ["occurrence.reconciled a unknown", "occurrence.unknown a"]);
    assert!(world.dispatch.is_idle(), "nothing is left over");
}

#[test]
fn a_journal_that_cannot_be_read_is_waited_for() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.recalls = false;
    world.reconcile(100.0, &[run(7, 1, "we")]);
    assert_eq!(world.told(), ["occurrence.in_doubt a"]);
    world.recalls = true;
    world.reconcile(200.0, &[run(7, 1, "we")]);
    assert_eq!(world.told(), ["occurrence.reconciled a started 7", "action.started a"]);
}

#[test]
fn an_idempotent_attempt_is_repeated_when_nothing_can_tell() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.idempotent = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(60.0, &[run(7, 1, "we"), run(8, 2, "we")]);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn after_a_reload_another_token_may_have_another_user() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Started(Box::new(run(1, 1, "we"))));
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry.clone())] };
    let effects = world.dispatch.replace(&schedule.accounts, &schedule.by_name(), world.now);
    world.take(effects);
    world.plan(&entry, &[100]);
    world.go_to(100.0);
    world.answer(in_doubt());
    world.told();
    world.reconcile(150.0, &[run(1, 1, "we"), run(2, 100, "they")]);
    assert_eq!(world.told(), ["occurrence.reconciled a started 2", "action.started a"]);
}

#[test]
fn a_refusal_for_good_is_final() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Rejected { status: 404, error: String::new(), hint: "" });
    world.go_to(3000.0);
    assert_eq!(world.told(), ["occurrence.rejected a"]);
    assert!(world.sent.is_empty());
}

#[test]
fn a_throttled_occurrence_waits_for_the_window_and_is_sent() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.start_deadline = Duration::from_secs(10_000);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Throttled { status: 503 });
    assert!(world.sent.is_empty(), "the window has to turn");
    assert!(world.told().contains(&"occurrence.waiting a quota".to_owned()));
    assert_eq!(world.gauges().waiting, [(Priority::High, 0), (Priority::Normal, 1), (Priority::Low, 0)]);
    let sent = Sent { fires: 2, follow_ups: 0, checks: 0, throttled: 1 };
    assert_eq!(world.gauges().sent, sent, "the first, and the refused one");
    for minute in 1..=121 {
        world.go_to(f64::from(minute) * 60.0);
    }
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn a_paused_entry_is_skipped() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.paused = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
}

#[test]
fn a_person_fires_a_paused_entry_with_other_arguments() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    (entry.paused, entry.jitter) = (true, Duration::from_secs(600));
    entry.catch_up = CatchUp::None;
    world.dispatch.pause(&entry.name, world.now);
    world.go_to(1.5);
    world.fire(&entry, "--now");
    assert_eq!(world.args_sent(), [Some("--now")], "at once, though it is paused and catches up on nothing");
    world.answer(not_sent());
    world.told();
    world.go_to(10.0);
    assert_eq!(world.args_sent(), [Some("--now")], "tried again with the same arguments");
    world.answer(started(7));
    assert_eq!(world.told(), ["action.started a"]);
}

#[test]
fn what_a_person_fires_and_what_is_scheduled_supersede_each_other_never() {
    let account = account(3);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    for name in ["x", "y", "z"] {
        world.plan(&self::entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    while !world.sent.is_empty() {
        world.answer(started(1));
    }
    world.plan(&entry, &[2]);
    world.go_to(2.0);
    world.go_to(2.5);
    world.fire(&entry, "by hand");
    world.plan(&entry, &[3]);
    world.go_to(3.0);
    world.go_to(4.0);
    let missed: Vec<String> = world.told().into_iter().filter(|told| told.contains("missed")).collect();
    assert_eq!(missed, ["occurrence.missed a superseded"], "the older one of the schedule alone");
    assert_eq!(world.gauges().waiting[1].1, 2, "the newer one of the schedule and the person's wait");
    let waiting = world.dispatch.waiting(10, world.now);
    assert_eq!(waiting.iter().filter(|waiting| waiting.by_hand).count(), 1);
    assert!(
        waiting.iter().all(|waiting| matches!(waiting.waits, Waits::Quota { until: Some(_) })),
        "{waiting:?}"
    );
    assert_eq!(world.dispatch.waiting(1, world.now).len(), 1, "no more than is asked for");
}

#[test]
fn overlap_goes_for_what_a_person_fires() {
    let account = account(100);
    for (overlap, told) in
        [(Overlap::Skip, "occurrence.skipped a overlap"), (Overlap::Queue, "occurrence.waiting a overlap")]
    {
        let mut world = World::new(&account);
        let mut entry = entry("a", &account);
        entry.overlap = overlap;
        world.plan(&entry, &[1]);
        world.go_to(1.0);
        world.answer(started(7));
        world.told();
        world.fire(&entry, "");
        assert_eq!(world.told(), [told]);
        let held = usize::from(overlap == Overlap::Queue);
        assert_eq!(world.dispatch.standings().next().map(|(_, standing)| standing.held), Some(held));
        world.go_to(4.0);
        world.answer_follow_up(ended(7, true));
        assert_eq!(world.args_sent().len(), held, "what is held goes when the action has finished");
        assert_eq!(world.dispatch.standings().next().map(|(_, standing)| standing.held), Some(0));
    }
}

#[test]
fn a_pause_skips_what_waits_and_what_comes_back_unsent_and_a_resume_what_comes_next() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.plan(&entry, &[1, 2, 3, 9]);
    world.go_to(1.0);
    world.answer(not_sent());
    world.go_to(2.0);
    world.told();
    let effects = world.dispatch.pause(&entry.name, world.now);
    world.take(effects);
    assert_eq!(world.told(), Vec::<String>::new(), "the first was superseded, the second is in flight");
    world.answer(not_sent());
    assert_eq!(world.told(), ["occurrence.skipped a paused"], "it is not tried again");
    world.go_to(3.0);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
    world.dispatch.resume(&entry.name);
    world.go_to(9.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn a_reload_keeps_the_arguments_that_a_person_gave() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.fire(&entry, "by hand");
    world.answer(not_sent());
    let changed =
        Entry { job: JobUid::new("other").expect("a uid"), args: Some("own".into()), ..entry.clone() };
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(changed)] };
    let effects = world.dispatch.replace(&schedule.accounts, &schedule.by_name(), world.now);
    world.take(effects);
    world.go_to(10.0);
    let [(_, Request::RunNow(sent))] = &world.sent[..] else { panic!("one is sent: {:?}", world.sent) };
    assert_eq!((sent.job.as_str(), sent.args.as_deref()), ("other", Some("by hand")));
}

#[test]
fn after_a_crash_what_a_person_fired_goes_with_its_own_arguments_though_the_entry_is_paused() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = Arc::new(entry("a", &account));
    let mut left = open("a", -5, Reached::Waiting { attempts: 0, reason: "quota".to_owned() });
    left.claim.origin = Origin::Person { args: Some("by hand".to_owned()) };
    let scheduled = open("a", -4, Reached::Waiting { attempts: 0, reason: "quota".to_owned() });
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::clone(&entry)] };
    let recovered = Recovered { paused: vec![entry.name.clone()], ..recovered(vec![left, scheduled]) };
    let effects = world.dispatch.recover(recovered, &schedule, world.now);
    world.take(effects);
    world.advance();
    assert_eq!(world.args_sent(), [Some("by hand")]);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
}

#[test]
fn what_a_person_fires_of_an_entry_that_is_gone_is_skipped() {
    let account = account(100);
    let mut world = World::new(&account);
    let effects = world.dispatch.fire(open("gone", 0, Reached::Due).claim, None, world.now);
    world.take(effects);
    assert_eq!(world.told(), ["occurrence.skipped gone removed"]);
    assert!(matches!(world.recorded.last(), Some((_, Move::Skipped { .. }))), "and the journal knows");
}

#[test]
fn overlap_skip_gives_up_while_the_last_action_is_unfinished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.overlap = Overlap::Skip;
    world.plan(&entry, &[1, 2, 3, 100]);
    world.go_to(1.0);
    world.go_to(2.0);
    assert_eq!(world.told(), ["occurrence.skipped a overlap"], "the answer is not in yet");
    world.answer(started(7));
    world.go_to(3.0);
    assert_eq!(world.told(), ["action.started a", "occurrence.skipped a overlap"]);
    world.go_to(4.0);
    world.answer_follow_up(ended(7, true));
    world.go_to(100.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn overlap_queue_holds_one_until_the_last_action_has_finished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.overlap = Overlap::Queue;
    world.plan(&entry, &[1, 2, 3]);
    world.go_to(1.0);
    world.answer(started(7));
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(
        world.told(),
        ["action.started a", "occurrence.waiting a overlap", "occurrence.skipped a overlap"]
    );
    world.go_to(4.0);
    assert!(world.jobs_sent().is_empty(), "the action runs");
    world.answer_follow_up(ended(7, false));
    assert_eq!(world.told(), ["action.finished a"]);
    assert_eq!(world.jobs_sent(), ["a"], "the held one goes");
}

/// A page of the list of a stack's runs, which were started a second apart: 30 on a page, the newest first or last.
fn listed(ids: &[ActionId], number: u32, newest_first: bool, finished: bool) -> ActionsListed {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    if newest_first {
        ids.reverse();
    }
    let pages: Vec<&[ActionId]> = ids.chunks(30).collect();
    let count = u32::try_from(pages.len()).expect("few");
    let action = |&id: &ActionId| Action {
        finished_success: finished.then_some(true),
        ..run(id, i64::try_from(id).expect("small"), "we")
    };
    ActionsListed::Page(ActionsPage {
        actions: pages[number as usize - 1].iter().map(action).collect(),
        next: (number < count).then_some(number + 1),
        pages: Some(count),
        date: None,
    })
}

#[test]
fn many_open_actions_of_a_stack_are_asked_for_together() {
    for (open, newest_first, most) in [(20, true, 1), (20, false, 1), (70, true, 15), (70, false, 45)] {
        let account = account(100_000);
        let mut world = World::new(&account);
        for number in 0..open {
            let mut entry = entry(&format!("e{number}"), &account);
            entry.follow = true;
            world.plan(&entry, &[1]);
        }
        world.go_to(1.0);
        for id in 0..open {
            world.answer(started(id + 1));
        }
        let ids: Vec<ActionId> = (1..=open).collect();
        world.go_to(10.0);
        let mut asked = 0;
        while let Some((_, request)) = world.sent.first().cloned() {
            asked += 1;
            match request {
                Request::Actions { page, .. } => world.answer_list(listed(&ids, page, newest_first, true)),
                Request::Action(_, _, id) => world.answer_follow_up(ended(id, true)),
                Request::RunNow(_) => panic!("all have started"),
            }
        }
        let finished = world.told().iter().filter(|line| line.starts_with("action.finished")).count();
        assert_eq!(
            finished,
            usize::try_from(open).expect("few"),
            "each is found, the newest first: {newest_first}"
        );
        assert!(asked <= most, "{asked} requests for {open} actions, the newest first: {newest_first}");
        assert!(world.dispatch.is_idle(), "nothing is left over");
    }
}

#[test]
fn a_list_that_fails_or_lacks_an_action_leaves_each_to_be_asked_for_alone() {
    let account = account(1000);
    let mut world = World::new(&account);
    for name in ["a", "b"] {
        let mut entry = entry(name, &account);
        entry.follow = true;
        world.plan(&entry, &[1]);
    }
    world.go_to(1.0);
    world.answer(started(1));
    world.answer(started(2));
    world.go_to(4.0);
    world.answer_list(unlisted());
    world.go_to(10.0);
    world.answer_follow_up(FollowUp::Action(Box::default()));
    world.answer_follow_up(FollowUp::Action(Box::default()));
    world.go_to(30.0);
    world.answer_list(listed(&[1], 1, true, true));
    assert_eq!(world.told()[2..], ["action.finished a"]);
    world.answer_follow_up(ended(2, true));
    assert_eq!(world.told(), ["action.finished b"]);
    assert!(world.dispatch.is_idle(), "nothing is left over");
}

#[test]
fn an_action_is_asked_for_until_it_has_finished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.follow = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(started(7));
    for (second, reply) in
        [(10.0, FollowUp::Action(Box::default())), (60.0, FollowUp::Unanswered), (200.0, ended(7, false))]
    {
        world.go_to(second);
        world.answer_follow_up(reply);
    }
    assert_eq!(world.told(), ["action.started a", "action.finished a"]);
    world.go_to(3000.0);
    assert!(world.sent.is_empty(), "it is not asked for any more");
}

#[test]
fn many_open_actions_share_the_room_for_questions() {
    let account = account(100);
    let mut world = World::new(&account);
    for number in 0..10 {
        let mut entry = entry(&format!("e{number}"), &account);
        entry.follow = true;
        entry.stack = StackUid::new(&format!("s{number}")).expect("a uid");
        world.plan(&entry, &[1]);
    }
    world.go_to(1.0);
    for number in 0..10 {
        world.answer(started(number));
    }
    let mut asked = 0;
    for second in 2..3600 {
        world.go_to(f64::from(second));
        while !world.sent.is_empty() {
            world.answer_follow_up(FollowUp::Unanswered);
            asked += 1;
        }
    }
    assert!(
        (20..=32).contains(&asked),
        "ten open actions ask some thirty times in an hour of a hundred: {asked}"
    );
}

#[test]
fn an_action_that_never_finishes_is_given_up_after_a_day() {
    let account = account(1_000_000);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.follow = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(started(7));
    let mut asked = 0;
    for minute in 1..=1442 {
        world.go_to(f64::from(minute) * 60.0);
        while !world.sent.is_empty() {
            world.answer_follow_up(FollowUp::Unanswered);
            asked += 1;
        }
    }
    assert_eq!(world.told(), ["action.started a", "action.unfinished a"]);
    assert!(asked > 1000, "it was asked for through the day: {asked}");
}

#[test]
fn nothing_starts_after_stop_and_what_is_in_flight_is_told() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.plan(&entry("b", &account), &[1]);
    world.plan(&entry("c", &account), &[2]);
    world.go_to(1.0);
    world.dispatch.stop();
    world.go_to(2.0);
    assert_eq!(world.jobs_sent(), ["a", "b"]);
    assert_eq!(world.dispatch.fires_in_flight(), 2);
    world.answer(started(1));
    world.answer(in_doubt());
    assert_eq!(world.told(), ["action.started a", "occurrence.in_doubt b"]);
    assert_eq!(world.dispatch.in_doubt(), 1, "the next process asks");
    assert_eq!(world.dispatch.wakes_at(world.now), None);
}

#[test]
fn a_reload_loses_and_doubles_nothing_at_any_instant() {
    let account = account(10_000);
    for step in 0..1000 {
        let mut world = World::new(&account);
        let kept = entry("a", &account);
        world.plan(&kept, &[1, 2, 3]);
        let mut sent = 0;
        let mut answer = |world: &mut World| {
            while !world.sent.is_empty() {
                world.answer(started(1));
                sent += 1;
            }
        };
        let reload_at = f64::from(step) * 0.004;
        for tenth in 0..=40 {
            let to = f64::from(tenth) / 10.0;
            if to > reload_at && to - 0.1 <= reload_at {
                world.go_to(reload_at);
                let schedule =
                    Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(kept.clone())] };
                let from = world.replace(&schedule);
                let again: Vec<i64> = (1..=3).filter(|&second| World::at(second) > from).collect();
                world.plan(&kept, &again);
            }
            world.go_to(to);
            answer(&mut world);
        }
        assert_eq!(sent, 3, "with a reload at {reload_at} s: {:?}", world.told());
    }
}

#[test]
fn a_reload_skips_what_waits_of_a_removed_entry_and_changes_what_waits_of_a_changed_one() {
    let account = account(100);
    let mut world = World::new(&account);
    for name in ["gone", "changed", "in-flight"] {
        world.plan(&entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    world.answer(not_sent());
    world.answer(not_sent());
    world.told();
    let mut changed = entry("changed", &account);
    changed.job = JobUid::new("another").expect("a uid");
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(changed)] };
    world.replace(&schedule);
    assert_eq!(world.told(), ["occurrence.skipped gone removed"]);
    world.answer(not_sent());
    assert_eq!(world.told(), ["occurrence.skipped in-flight removed"], "its attempt came back unsent");
    world.go_to(10.0);
    let [(_, Request::RunNow(entry))] = &world.sent[..] else {
        panic!("one run_now is sent: {:?}", world.sent);
    };
    assert_eq!(entry.job.as_str(), "another", "it goes on under the new definition");
}

/// An open claim of an entry, due so many seconds after the start.
fn open(name: &str, seconds: i64, reached: Reached) -> Open {
    Open { reached, ..open_at(name, World::at(seconds)) }
}

fn open_at(name: &str, at: Timestamp) -> Open {
    let claim = Claim {
        key: Key::new(EntryName::new(name).expect("a name"), at),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new(name).expect("a uid"),
        due_at: at,
        deadline: at + SignedDuration::from_secs(3600),
        origin: Origin::Schedule,
    };
    Open { claim, reached: Reached::Due }
}

fn recovered(open: Vec<Open>) -> Recovered {
    Recovered {
        cursor: None,
        stopped_at: None,
        sent_up_to: None,
        open,
        following: Vec::new(),
        paused: Vec::new(),
        quotas: Vec::new(),
    }
}

#[test]
fn after_a_crash_what_the_former_process_had_not_come_to_is_sent() {
    let account = account(100);
    let all = [Reached::Due, Reached::Due, Reached::Waiting { attempts: 1, reason: "quota".to_owned() }];
    let sending = Reached::Sending { attempts: 1, sent_at: World::at(-10) };
    for (sent_up_to, sent, told) in [
        (
            Some(World::at(-8)),
            vec!["late", "waits"],
            vec!["occurrence.in_doubt early", "occurrence.in_doubt sending"],
        ),
        (
            None,
            vec!["waits"],
            vec!["occurrence.in_doubt early", "occurrence.in_doubt late", "occurrence.in_doubt sending"],
        ),
    ] {
        let mut world = World::new(&account);
        let [early, late, waits] = all.clone();
        let left = vec![
            open("early", -9, early),
            open("late", -7, late),
            open("waits", -30, waits),
            open("sending", -10, sending.clone()),
        ];
        let entries = ["early", "late", "waits", "sending"].map(|name| Arc::new(entry(name, &account)));
        let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: entries.to_vec() };
        let effects =
            world.dispatch.recover(Recovered { sent_up_to, ..recovered(left) }, &schedule, world.now);
        world.take(effects);
        world.advance();
        let mut now_sent = world.jobs_sent();
        now_sent.sort_unstable();
        assert_eq!(now_sent, sent, "with a mark at {sent_up_to:?}");
        assert_eq!(world.told(), told, "with a mark at {sent_up_to:?}");
    }
}

#[test]
fn after_two_crashes_what_the_first_left_in_doubt_is_not_taken_for_unsent() {
    let account = account(100);
    let mut world = World::new(&account);
    let entries = vec![Arc::new(entry("a", &account)), Arc::new(entry("b", &account))];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries };
    world.go_to(10.0);
    // The machine was started anew: no mark is believed.
    let left = vec![open("a", 5, Reached::Due), open("b", 9, Reached::Due)];
    let effects = world.dispatch.recover(recovered(left), &schedule, world.now);
    world.take(effects);
    assert!(world.dispatch.sent_up_to() >= World::at(9), "the mark is raised past both");
}

#[test]
fn after_a_clock_that_was_set_back_nothing_is_taken_for_not_started() {
    let account = account(100);
    let mut world = World::new(&account);
    let entries = vec![Arc::new(entry("a", &account)), Arc::new(entry("b", &account))];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries };
    let sending = Reached::Sending { attempts: 1, sent_at: World::at(3600) };
    let left = vec![open("a", 3600, sending), open("b", 3600, Reached::Due)];
    let cursor = Some(World::at(3605));
    let effects = world.dispatch.recover(Recovered { cursor, ..recovered(left) }, &schedule, world.now);
    world.take(effects);
    world.advance();
    let told = world.told();
    for entry in ["a", "b"] {
        assert!(told.contains(&format!("occurrence.unknown {entry}")), "{told:?}");
    }
    world.go_to(3700.0);
    assert!(world.jobs_sent().is_empty(), "nothing is sent again");
}

#[test]
fn after_a_crash_a_removed_entry_is_skipped_or_unknown_and_told() {
    let account = account(100);
    let mut world = World::new(&account);
    let left = vec![
        open("waited", -9, Reached::Waiting { attempts: 0, reason: "quota".to_owned() }),
        open("sent", -8, Reached::Sending { attempts: 1, sent_at: World::at(-8) }),
    ];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: Vec::new() };
    let effects = world.dispatch.recover(recovered(left), &schedule, world.now);
    world.take(effects);
    assert_eq!(world.told(), ["occurrence.skipped waited removed", "occurrence.unknown sent"]);
}

#[test]
fn an_idempotent_occurrence_that_may_have_started_is_never_called_missed() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.idempotent = true;
    entry.start_deadline = Duration::from_secs(5);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let two = [run(7, 1, "we"), run(8, 2, "we")];
    for second in 2..100 {
        world.reconcile(f64::from(second), &two);
        while !world.sent.is_empty() {
            world.answer(not_sent());
        }
    }
    assert_eq!(world.told().last().map(String::as_str), Some("occurrence.unknown a"));
}

#[test]
fn ten_thousand_at_one_instant_are_all_sent_once() {
    let account = account(20_000);
    let mut world = World::new(&account);
    for number in 0..10_000 {
        world.plan(&entry(&format!("e{number}"), &account), &[1]);
    }
    world.go_to(1.0);
    let mut seen = HashMap::new();
    while !world.sent.is_empty() {
        *seen.entry(world.jobs_sent()[0].to_owned()).or_insert(0) += 1;
        world.answer(started(1));
    }
    assert_eq!(seen.len(), 10_000);
    assert!(seen.values().all(|&times| times == 1), "none is sent twice");
}

proptest! {
    /// Whatever the API answers, each occurrence ends in exactly one final state, and none is sent again
    /// after an attempt that may have taken effect.
    #[test]
    fn every_occurrence_ends_once(
        due in proptest::collection::vec((0..4usize, 0..30i64), 1..20),
        policies in proptest::collection::vec((0..3u8, 0..3u8), 4),
        answers in proptest::collection::vec(0..6u8, 60),
        by_hand in proptest::collection::vec((0..4usize, 0..60u32, 0..3u8), 0..8),
    ) {
        let account = account(1000);
        let mut world = World::new(&account);
        let entries: Vec<Entry> = policies.iter().enumerate().map(|(i, &(overlap, catch_up))| {
            let mut entry = entry(&format!("e{i}"), &account);
            entry.overlap = [Overlap::Allow, Overlap::Skip, Overlap::Queue][usize::from(overlap)];
            entry.catch_up = [CatchUp::None, CatchUp::Latest, CatchUp::All][usize::from(catch_up)];
            entry.priority = [Priority::Low, Priority::Normal, Priority::High][i % 3];
            entry.start_deadline = Duration::from_secs(20);
            entry
        }).collect();
        let mut planned = std::collections::BTreeSet::new();
        for (which, at) in due {
            if planned.insert((which, at)) {
                world.plan(&entries[which], &[at]);
            }
        }
        let mut answers = answers.into_iter();
        let mut fired = 0;
        for second in 0..20_000 {
            world.go_to(f64::from(second) / if second < 200 { 2.0 } else { 0.5 });
            for (n, &(which, at, what)) in by_hand.iter().enumerate() {
                let entry = &entries[which];
                match what {
                    _ if at != second => {}
                    0 => {
                        world.now.wall += SignedDuration::from_micros(i64::try_from(n).expect("small") + 1);
                        world.fire(entry, "by hand");
                        fired += 1;
                    }
                    1 => {
                        let effects = world.dispatch.pause(&entry.name, world.now);
                        world.take(effects);
                    }
                    _ => world.dispatch.resume(&entry.name),
                }
            }
            prop_assert_eq!(world.gauges().waiting, world.waiting(), "at {}", world.now.wall);
            let held = world.dispatch.pending.values().filter(|pending| pending.place == Place::Held).count();
            let told = world.dispatch.standings().next().map(|(_, standing)| standing.held);
            prop_assert_eq!(told, Some(held), "at {}", world.now.wall);
            while let Some((_, request)) = world.sent.first() {
                match request {
                    Request::RunNow(_) => world.answer(match answers.next() {
                        Some(0) => not_sent(),
                        Some(1) => in_doubt(),
                        Some(2) => Outcome::Rejected { status: 422, error: String::new(), hint: "" },
                        Some(3) => Outcome::Throttled { status: 503 },
                        _ => started(second.into()),
                    }),
                    Request::Actions { .. } => {
                        let listed = match answers.next() {
                            Some(0) => unlisted(),
                            Some(1) => page(&[run(1, i64::from(second / 2), "we"), run(2, i64::from(second / 2), "we")]),
                            Some(2) => page(&[run(u64::MAX - u64::from(second), 1, "we")]),
                            _ => page(&[]),
                        };
                        world.answer_list(listed);
                    }
                    Request::Action(_, _, id) => {
                        let id = *id;
                        world.answer_follow_up(ended(id, true));
                    }
                }
            }
            if second > 200 && world.dispatch.pending.is_empty() && world.dispatch.activity.is_empty() {
                break;
            }
        }
        let told = world.told();
        let ends = told.iter().filter(|line| {
            ["action.started", "occurrence.rejected", "occurrence.unknown", "occurrence.missed", "occurrence.skipped"]
                .iter()
                .any(|end| line.starts_with(end))
        });
        prop_assert_eq!(ends.count(), planned.len() + fired, "each ends once: {:?}", told);
        prop_assert!(world.dispatch.pending.is_empty() && world.dispatch.activity.is_empty(), "nothing is left over");
    }
}
