//! Tests of who is told what, in virtual time.

use jiff::Timestamp;

use super::*;
use crate::log::event::{OccurrenceUnknown, Pass, Seldom};
use crate::schedule::{Entry, ReceiverName};

/// Two receivers: `all` is told of everything, `some` of failures and recoveries; and an entry with
/// a ping.
const FILE: &str = "accounts: { main: { token: { env: T } } }\n\
    notify:\n  all: { webhook: https://h/all }\n  some: { webhook: https://h/some, on: [failed, recovered] }\n\
    defaults: { notify: [all, some] }\njobs:\n  \
      a: { stack: s, job: a, cron: '@daily' }\n  \
      b: { stack: s, job: b, cron: '@daily' }\n  \
      pinged: { stack: s, job: c, cron: '@daily', notify: [], ping: https://h/p }\n";

struct OutboxWorld {
    outbox: Outbox,
    entries: ByName,
    now: Mono,
    events: Vec<Event>,
}

impl OutboxWorld {
    fn new() -> OutboxWorld {
        let schedule = crate::schedule::parse("test.yaml", FILE).expect("a valid file").schedule;
        let now = Duration::from_secs(1000);
        OutboxWorld { outbox: Outbox::default(), entries: schedule.by_name(), now, events: Vec::new() }
    }

    fn entry(&self, name: &str) -> std::sync::Arc<Entry> {
        self.entries.values().find(|entry| entry.name.as_str() == name).cloned().expect("an entry")
    }

    fn happens(&mut self, name: &str, what: What) {
        let entry = self.entry(name);
        let told = OccurrenceUnknown {
            entry: entry.name.clone(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            error: format!("{what:?}"),
        };
        let happening = NotifiedEnd { entry, what, event: Box::new(told.into()) };
        let events = self.outbox.take_in(happening, self.now);
        self.events.extend(events);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Posts what is due now, and returns for each message its target and its number of ends or the
    /// ping's content.
    fn posted(&mut self) -> Vec<(String, String)> {
        let deliveries = self.outbox.advance(self.now);
        deliveries
            .into_iter()
            .map(|delivery| {
                let what = match delivery.message {
                    Message::Digest(_, digest) => {
                        digest.body(Format::Json, "h")["text"].as_str().unwrap_or_default().to_owned()
                    }
                    Message::Ping(ping) => format!("{ping:?}"),
                };
                (name(&delivery.target), what)
            })
            .collect()
    }

    fn answers(&mut self, target: &Target, result: Result<(), Failure>) {
        let event = self.outbox.delivered(target, result, self.now);
        self.events.extend(event);
    }

    fn told(&mut self) -> Vec<&'static str> {
        self.events.drain(..).map(|event| event.name()).collect()
    }
}

fn name(target: &Target) -> String {
    match target {
        Owner::Receiver(name) => name.to_string(),
        Owner::Ping(entry) => format!("ping of {entry}"),
    }
}

fn receiver(name: &str) -> Target {
    Owner::Receiver(ReceiverName::new(name).expect("a name"))
}

fn ping() -> Target {
    Owner::Ping(EntryName::new("pinged").expect("a name"))
}

fn failure(again: Again) -> Result<(), Failure> {
    Err(Failure { host: "h".to_owned(), error: "it answers 500".to_owned(), again })
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(to, what)| ((*to).to_owned(), (*what).to_owned())).collect()
}

#[test]
fn each_receiver_is_told_of_what_it_asks_for_and_of_the_recovery_from_it() {
    let mut world = OutboxWorld::new();
    world.happens("a", What::Bad(Trigger::Missed));
    world.happens("b", What::Bad(Trigger::Failed));
    world.happens("a", What::Started);
    world.happens("a", What::Good);
    world.happens("a", What::Good);
    world.pass(2);
    assert_eq!(
        world.posted(),
        pairs(&[
            ("all", "1 occurrence failed, 1 missed, 1 recovered"),
            ("some", "b: it is unknown whether it started, so it is not sent again: Bad(Failed)"),
        ]),
        "a good end is told once, and not to who was not told of the bad one"
    );
    for to in ["all", "some"] {
        world.answers(&receiver(to), Ok(()));
    }
    world.happens("b", What::Good);
    world.pass(5);
    assert_eq!(world.posted().len(), 2, "both were told that b failed");
    assert!(world.told().is_empty());
}

#[test]
fn what_comes_in_a_short_time_is_one_message_and_the_next_one_waits() {
    let mut world = OutboxWorld::new();
    for _ in 0..1000 {
        world.happens("a", What::Bad(Trigger::Missed));
    }
    assert!(world.posted().is_empty(), "more may come");
    assert_eq!(world.outbox.wakes_at(), Some(world.now + GATHER));
    world.pass(2);
    assert_eq!(world.posted(), pairs(&[("all", "1000 occurrences missed")]));
    for _ in 0..1_000_000 {
        world.happens("a", What::Bad(Trigger::Missed));
    }
    assert!(world.posted().is_empty(), "one at a time");
    world.answers(&receiver("all"), Ok(()));
    world.pass(4);
    assert!(world.posted().is_empty(), "not so often");
    world.pass(1);
    assert_eq!(world.posted(), pairs(&[("all", "1000000 occurrences missed")]));
}

#[test]
fn what_fails_is_tried_again_with_longer_waits_and_given_up_at_last() {
    let mut world = OutboxWorld::new();
    world.happens("a", What::Bad(Trigger::Missed));
    world.pass(2);
    let mut waits = Vec::new();
    while !world.posted().is_empty() {
        world.answers(&receiver("all"), failure(Again::Perhaps(None)));
        let Some(at) = world.outbox.wakes_at() else { break };
        waits.push((at - world.now).as_secs());
        world.now = at;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60]);
    assert_eq!(world.told(), ["notify.failed"]);
    // A later message is tried as well, and reported when it is taken.
    world.happens("a", What::Bad(Trigger::Missed));
    world.pass(5);
    assert_eq!(world.posted().len(), 1);
    world.answers(&receiver("all"), failure(Again::Never));
    assert!(world.told().is_empty(), "it is said once");
    world.happens("a", What::Bad(Trigger::Missed));
    world.pass(5);
    assert_eq!(world.posted().len(), 1);
    let event = world.outbox.delivered(&receiver("all"), Ok(()), world.now);
    assert!(matches!(event, Some(Event::NotifyRestored(e)) if e.lost == 2), "two were lost");
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_it() {
    let mut world = OutboxWorld::new();
    world.happens("a", What::Bad(Trigger::Missed));
    world.pass(2);
    world.posted();
    world.answers(&receiver("all"), failure(Again::Perhaps(Some(Duration::from_secs(30)))));
    assert_eq!(world.outbox.wakes_at(), Some(world.now + Duration::from_secs(30)));
    world.pass(30);
    world.posted();
    world.answers(&receiver("all"), failure(Again::Perhaps(Some(Duration::from_secs(86_400)))));
    assert_eq!(world.outbox.wakes_at(), Some(world.now + LONGEST_PAUSE));
}

#[test]
fn pings_go_in_order_and_of_many_that_wait_the_oldest_are_dropped() {
    let mut world = OutboxWorld::new();
    world.happens("pinged", What::Started);
    assert_eq!(world.posted(), pairs(&[("ping of pinged", "Started")]), "at once");
    for _ in 0..PINGS {
        world.happens("pinged", What::Good);
    }
    world.happens("pinged", What::Bad(Trigger::Failed));
    world.happens("pinged", What::Bad(Trigger::Failed));
    assert_eq!(world.told(), ["notify.failed"], "two are dropped, and it is said once");
    for _ in 0..PINGS - 2 {
        world.answers(&ping(), Ok(()));
        assert_eq!(world.posted(), pairs(&[("ping of pinged", "Succeeded")]));
    }
    world.answers(&ping(), Ok(()));
    let [(_, said)] = &world.posted()[..] else { panic!("one is posted") };
    assert!(said.starts_with("Failed(\"pinged: "), "{said}");
    assert_eq!(world.told(), ["notify.restored"]);
}

#[test]
fn many_pings_are_in_flight_together_but_not_all() {
    let mut world = OutboxWorld::new();
    let mut file = FILE.to_owned();
    for number in 0..100 {
        file += &format!(
            "  p{number}: {{ stack: s, job: p{number}, cron: '@daily', ping: https://h/{number} }}\n"
        );
    }
    world.entries = crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule.by_name();
    for number in 0..100 {
        world.happens(&format!("p{number}"), What::Good);
    }
    let mut sent = Vec::new();
    loop {
        let posted = world.outbox.advance(world.now);
        assert!(posted.len() <= IN_FLIGHT, "no more at once");
        if posted.is_empty() {
            break;
        }
        for delivery in posted {
            world.answers(&delivery.target, Ok(()));
            sent.push(delivery.target);
        }
    }
    assert_eq!(sent.len(), 100);
    assert!(world.outbox.queues.is_empty(), "what has nothing to do is not kept");
}

#[test]
fn at_the_end_what_is_left_is_sent_once() {
    let mut world = OutboxWorld::new();
    world.happens("a", What::Bad(Trigger::Missed));
    world.outbox.close();
    assert_eq!(world.posted().len(), 1, "nothing is waited for");
    assert!(!world.outbox.is_done(), "it is under way");
    world.answers(&receiver("all"), failure(Again::Perhaps(None)));
    assert!(world.outbox.is_done(), "and not tried again");
    assert_eq!(world.told(), ["notify.failed"]);
    let mut world = OutboxWorld::new();
    world.happens("a", What::Bad(Trigger::Missed));
    world.outbox.close();
    world.posted();
    assert_eq!(world.outbox.abandon().len(), 1, "what does not end in time is told");
}

#[test]
fn a_slow_run_is_told_and_makes_no_end_good_or_bad() {
    let mut world = OutboxWorld::new();
    world.happens("a", What::Odd(Trigger::Slow));
    world.happens("pinged", What::Odd(Trigger::Quick));
    world.happens("a", What::Good);
    world.pass(2);
    let told = pairs(&[("all", "a: it is unknown whether it started, so it is not sent again: Odd(Slow)")]);
    assert_eq!(world.posted(), told, "no ping, no recovery, and not to who did not ask for it");
}
