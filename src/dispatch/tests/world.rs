//! The dispatch in a world whose time and whose API the test decides.

use super::*;

pub(super) const START: &str = "2026-03-01T00:00:00Z";

pub(super) fn account(limit: u32) -> Arc<Account> {
    Arc::new(Account {
        name: AccountName::new("main").expect("a name"),
        url: "http://127.0.0.1:1/api/3".parse().expect("a URL"),
        token: TokenSource::Env("TOKEN".to_owned()),
        timeout: Duration::from_secs(30),
        shard: Shard::Common,
        args_in: crate::schedule::ArgsIn::Query,
        organization: None,
        quota: QuotaSettings { limit, window: Duration::from_secs(3600), reserve: Reserve::Requests(0) },
    })
}

pub(super) fn entry(name: &str, account: &Arc<Account>) -> Entry {
    Entry {
        name: EntryName::new(name).expect("a name"),
        account: Arc::clone(account),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new(name).expect("a uid"),
        cron: [Expression::parse("* * * * *").expect("an expression")].into(),
        timezone: TimeZone::UTC,
        after: None,
        retry: None,
        args: None,
        args_template: None,
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        start_deadline: Duration::from_secs(3600),
        jitter: Duration::ZERO,
        priority: Priority::Normal,
        idempotent: false,
        follow: false,
        paused: false,
        stack_state: StackState::Ignore,
        notify: None,
        not_on: Box::default(),
        expect: None,
    }
}

/// The dispatch, its clock, and the requests that it has in flight.
pub(super) struct World {
    pub(super) dispatch: Dispatch,
    pub(super) now: Now,
    pub(super) sent: Vec<(RequestId, Request)>,
    /// Events as `name entry reason`.
    pub(super) told: Vec<String>,
    pub(super) limit: u32,
    pub(super) used: u32,
    pub(super) warmed: usize,
    pub(super) recorded: Vec<(Key, Transition)>,
    pub(super) amended: Vec<Claim>,
    pub(super) ended: Vec<Handover>,
    /// True when the journal can be read.
    pub(super) recalls: bool,
    /// The journal's rows of former processes.
    pub(super) unnamed: Vec<Unnamed>,
    /// The records of jobs. A job that is not among them has none.
    pub(super) records: HashMap<String, JobRecord>,
    /// Of which jobs the journal knows actions to be.
    pub(super) known_jobs: HashMap<ActionId, JobUid>,
    /// The number of questions for a record.
    pub(super) records_asked: usize,
    /// The rows of occurrences that were sent again.
    pub(super) resent: Vec<Resent>,
}

impl World {
    /// A world in which the API has told the whole limit as remaining: before it does, requests go
    /// one by one.
    pub(super) fn new(account: &Arc<Account>) -> World {
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
            amended: Vec::new(),
            ended: Vec::new(),
            recalls: true,
            unnamed: Vec::new(),
            records: HashMap::new(),
            known_jobs: HashMap::new(),
            records_asked: 0,
            resent: Vec::new(),
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
    pub(super) fn at(seconds: i64) -> Timestamp {
        START.parse::<Timestamp>().expect("a timestamp") + SignedDuration::from_secs(seconds)
    }

    /// A person fires an entry, with arguments.
    pub(super) fn fire(&mut self, entry: &Entry, args: &str) {
        self.fire_in(Haste::Usual, entry, args);
    }

    /// A person fires an entry, and heeds its stack or not.
    pub(super) fn fire_in(&mut self, haste: Haste, entry: &Entry, args: &str) {
        let at = self.now.wall;
        let origin = Origin::Person { args: Some(args.to_owned()) };
        let claim = Claim { origin, ..open_at(entry.name.as_str(), at).claim };
        let effects = self.dispatch.fire(claim, Some(&Arc::new(entry.clone())), haste, self.now);
        self.take(effects);
        self.advance();
    }

    /// The arguments of what is in flight.
    pub(super) fn args_sent(&self) -> Vec<Option<&str>> {
        let run_now = self.sent.iter().filter_map(|(_, request)| match request {
            Request::RunNow(entry) => Some(entry.args.as_deref()),
            Request::Action(..) | Request::Actions { .. } | Request::Look { .. } | Request::JobRecord(..) => {
                None
            }
        });
        run_now.collect()
    }

    pub(super) fn plan(&mut self, entry: &Entry, seconds: &[i64]) {
        let entry = Arc::new(entry.clone());
        let occurrences = seconds.iter().map(|&s| Occurrence {
            entry: Arc::clone(&entry),
            scheduled_at: World::at(s),
            pass: 0,
        });
        let effects = self.dispatch.plan(occurrences, self.now);
        self.take(effects);
    }

    /// Moves both clocks to so many seconds after the start.
    pub(super) fn go_to(&mut self, seconds: f64) {
        let to = START.parse::<Timestamp>().expect("a timestamp") + SignedDuration::from_secs_f64(seconds);
        self.now.mono += Duration::try_from(to.duration_since(self.now.wall)).unwrap_or_default();
        self.now.wall = to;
        self.advance();
        self.dispatch.check_invariants();
    }

    /// The gauges of the account.
    pub(super) fn gauges(&self) -> Gauges {
        self.dispatch.gauges().next().expect("one account").1
    }

    /// Returns the figure that the gauge of waiting occurrences should show: every queue, walked
    /// through.
    pub(super) fn waiting(&self) -> [(Priority, usize); 3] {
        let waits =
            |pending: &&Pending| matches!(pending.place(), PendingPlace::Ready | PendingPlace::Retry(_));
        let waiting: Vec<&Pending> = self.pending().filter(waits).collect();
        [Priority::High, Priority::Normal, Priority::Low].map(|priority| {
            (priority, waiting.iter().filter(|pending| pending.entry.priority == priority).count())
        })
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Pending> {
        let occurrences = &self.dispatch.occurrences;
        occurrences.ids().into_iter().filter_map(|id| occurrences.get(id))
    }

    pub(super) fn advance(&mut self) {
        let effects = self.dispatch.advance(self.now);
        self.take(effects);
    }

    /// Another schedule takes over. Returns up to when everything has come due under the old one.
    pub(super) fn replace(&mut self, schedule: &Schedule) -> Timestamp {
        let effects = self.dispatch.advance(self.now);
        self.take(effects);
        let effects = self.dispatch.replace(&schedule.accounts, &schedule.by_name(), self.now);
        self.take(effects);
        self.dispatch.reached()
    }

    pub(super) fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(id, Request::JobRecord(_, _, job)) => {
                    self.used += 1;
                    self.records_asked += 1;
                    let outcome = self.records.get(job.as_str()).copied();
                    let reply = Reply { quota: None, warning: None, left: None, outcome };
                    let effects = self.dispatch.recorded(id, reply, self.now);
                    self.take(effects);
                }
                Effect::Send(id, request) => {
                    self.used += 1;
                    self.sent.push((id, request));
                }
                Effect::SendAfter(_, id, request) => {
                    self.used += 1;
                    self.sent.push((id, request));
                }
                Effect::Record(key, step) => self.recorded.push((key, step)),
                Effect::End(handover) => {
                    self.recorded.push((handover.key.clone(), handover.end.clone()));
                    self.ended.push(*handover);
                }
                Effect::Recall(account, stack, ..) => {
                    let known = self.recalls.then(|| self.known());
                    let effects = self.dispatch.recalled(account, stack, known, self.now);
                    self.take(effects);
                }
                Effect::Resent(resent) => self.resent.push(*resent),
                Effect::Amend(claim) => self.amended.push(*claim),
                Effect::Warm(_, _, connections) => self.warmed += connections,
                Effect::PauseEnds(_) => {}
                Effect::Log(event) => self.told.push(brief(&event)),
            }
        }
    }

    /// Answers the oldest run_now in flight, and lets the dispatch go on.
    pub(super) fn answer(&mut self, outcome: Outcome) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::RunNow(_)));
        let (id, _) = self.sent.remove(place.expect("a run_now is in flight"));
        let answered = !matches!(outcome, Outcome::NotSent { .. } | Outcome::InDoubt { status: None, .. });
        let refused = matches!(outcome, Outcome::Throttled { .. })
            .then_some(Throttle { retry_after: None, words: ThrottleWords::OfTheApi });
        let remaining = if refused.is_some() { 0 } else { self.limit.saturating_sub(self.used) };
        let quota = answered.then_some(QuotaAnswer {
            limit: Some(self.limit),
            remaining: Some(remaining),
            refused,
            date: None,
        });
        let reply = Reply { quota, warning: None, left: None, outcome };
        let effects = self.dispatch.fired(id, self.now.wall, reply, self.now);
        self.take(effects);
        self.advance();
    }

    /// Answers the oldest question for an action.
    pub(super) fn answer_follow_up(&mut self, outcome: FollowUp) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::Action(..)));
        let (id, _) = self.sent.remove(place.expect("an action is asked for"));
        let effects =
            self.dispatch.followed(id, Reply { quota: None, warning: None, left: None, outcome }, self.now);
        self.take(effects);
        self.advance();
    }

    /// The actions that the journal knows.
    pub(super) fn known(&self) -> KnownActions {
        let action = |mv: &Transition| match *mv {
            Transition::Started { action: Started::Followed(id), .. } => Some(id),
            Transition::Started { action: Started::Alone(id), .. } => id,
            _ => None,
        };
        let started = self.recorded.iter().filter_map(|(_, mv)| action(mv));
        let actions = started.chain(self.resent.iter().filter_map(|resent| resent.surplus)).collect();
        let jobs = self.known_jobs.clone();
        KnownActions { actions, jobs, unnamed: self.unnamed.clone() }
    }

    /// Answers the oldest look: at a stack, or at this job.
    pub(super) fn answer_look(&mut self, at: Option<&str>, looked: Looked) {
        let is_it = |request: &Request| matches!(request, Request::Look { job, .. } if job.as_ref().map(JobUid::as_str) == at);
        let place = self.sent.iter().position(|(_, request)| is_it(request));
        let (id, _) =
            self.sent.remove(place.unwrap_or_else(|| panic!("{at:?} is looked at: {:?}", self.sent)));
        let quota = Some(QuotaAnswer {
            limit: Some(self.limit),
            remaining: Some(self.limit.saturating_sub(self.used)),
            ..QuotaAnswer::default()
        });
        let effects =
            self.dispatch.looked(id, Reply { quota, warning: None, left: None, outcome: looked }, self.now);
        self.take(effects);
        self.advance();
    }

    /// The looks in flight: `stack`, or the name of a job.
    pub(super) fn looks(&self) -> Vec<&str> {
        let looks = self.sent.iter().filter_map(|(_, request)| match request {
            Request::Look { job, .. } => Some(job.as_ref().map_or("stack", JobUid::as_str)),
            _ => None,
        });
        looks.collect()
    }

    /// Answers the oldest question for a stack's actions.
    pub(super) fn answer_list(&mut self, outcome: ActionsListed) {
        let place = self.sent.iter().position(|(_, request)| matches!(request, Request::Actions { .. }));
        let (id, _) = self.sent.remove(place.expect("a stack's actions are asked for"));
        let quota = Some(QuotaAnswer {
            limit: Some(self.limit),
            remaining: Some(self.limit.saturating_sub(self.used)),
            ..QuotaAnswer::default()
        });
        let effects = self.dispatch.listed(id, Reply { quota, warning: None, left: None, outcome }, self.now);
        self.take(effects);
        self.advance();
    }

    /// Lets time pass up to so many seconds after the start, and answers each question for a
    /// stack's actions with these.
    pub(super) fn reconcile(&mut self, until: f64, actions: &[Action]) {
        let mut second = self.now.wall.duration_since(World::at(0)).as_secs_f64();
        while second < until {
            second += 0.5;
            self.go_to(second);
            while self.asks() {
                self.answer_list(page(actions));
            }
        }
    }

    pub(super) fn asks(&self) -> bool {
        self.sent.iter().any(|(_, request)| matches!(request, Request::Actions { .. }))
    }

    pub(super) fn jobs_sent(&self) -> Vec<&str> {
        self.sent
            .iter()
            .filter_map(|(_, request)| match request {
                Request::RunNow(entry) => Some(entry.name.as_str()),
                Request::Action(..)
                | Request::Actions { .. }
                | Request::Look { .. }
                | Request::JobRecord(..) => None,
            })
            .collect()
    }

    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

pub(super) fn brief(event: &Event) -> String {
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
        Event::OccurrenceSurplus(e) => format!("{name} {} {} {}", e.entry, e.action_id, e.first_action_id),
        _ => name.to_owned(),
    }
}

pub(super) fn started(id: ActionId) -> Outcome {
    Outcome::Started(Box::new(Action { id: Some(id), ..Action::default() }))
}

pub(super) fn ended(id: ActionId, success: bool) -> FollowUp {
    let action = json!({"id": id, "finished_at": "2026-03-01T00:10:00Z", "finished_success": success});
    FollowUp::Action(Box::new(Action::from_json(action).expect("an action")))
}

pub(super) fn not_sent() -> Outcome {
    Outcome::NotSent { error: "connection refused".to_owned() }
}

pub(super) fn in_doubt() -> Outcome {
    Outcome::InDoubt { status: None, error: "connection closed".to_owned() }
}

/// A list of one page.
pub(super) fn page(actions: &[Action]) -> ActionsListed {
    ActionsListed::Page(ActionsPage { actions: actions.to_vec(), ..ActionsPage::default() })
}

/// A run of a job that somebody started so many seconds after the start.
pub(super) fn run(id: ActionId, second: i64, user: &str) -> Action {
    Action {
        id: Some(id),
        user: Some(user.to_owned()),
        action: Some("job_run_now".to_owned()),
        started_via: Some("api".to_owned()),
        started_at: Some(World::at(second).to_string()),
        ..Action::default()
    }
}

pub(super) fn unlisted() -> ActionsListed {
    ActionsListed::Unanswered { error: "connection refused".to_owned() }
}

/// An open claim of an entry, due so many seconds after the start.
pub(super) fn open(name: &str, seconds: i64, reached: Reached) -> Open {
    Open { reached, ..open_at(name, World::at(seconds)) }
}

pub(super) fn open_at(name: &str, at: Timestamp) -> Open {
    let claim = Claim {
        key: Key::new(EntryName::new(name).expect("a name"), at),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new(name).expect("a uid"),
        due_at: at,
        deadline: at + SignedDuration::from_secs(3600),
        origin: Origin::Schedule,
        repetition: crate::journal::Repetition::default(),
    };
    Open { claim, reached: Reached::Due, may_have_been_sent_in: None }
}

pub(super) fn recovered(open: Vec<Open>) -> Recovered {
    Recovered { open, ..Recovered::default() }
}
