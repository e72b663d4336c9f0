//! A former leader says how far it has sent.

use super::*;
use crate::journal::{ClockOf, EndedTerm, TermNumber};

const FORMER: i64 = 7;

fn said(number: i64, seconds: i64) -> EndedTerm {
    EndedTerm { number: TermNumber::new(number), sent_up_to: World::at(seconds) }
}

/// Claims of a former term that were permitted to be sent.
fn left(seconds: &[i64]) -> Vec<Open> {
    let left = seconds.iter().map(|&second| Open {
        may_have_been_sent_in: Some(TermNumber::new(FORMER)),
        ..open("a", second, Reached::Due)
    });
    left.collect()
}

/// A leader of an entry that begins when claims of the former one are in doubt.
fn begins(entry: Entry, open: Vec<Open>, older_until: Option<Timestamp>) -> World {
    let account = Arc::clone(&entry.account);
    let mut world = World::new(&account);
    let schedule = Schedule { accounts: vec![account], entries: vec![Arc::new(entry)] };
    let sent_up_to = Some(World::at(100));
    let former = Recovered { sent_up_to, older_until, clock: ClockOf::AnyMember, ..recovered(open) };
    let effects = world.dispatch.recover(former, &schedule, world.now);
    world.take(effects);
    world.advance();
    assert_eq!(world.jobs_sent(), Vec::<&str>::new(), "all of it is in doubt");
    world.told.clear();
    world.recorded.clear();
    world
}

impl World {
    fn hears(&mut self, ended: &[EndedTerm]) {
        let effects = self.dispatch.terms_ended(ended, self.now);
        self.take(effects);
        self.advance();
    }
}

#[test]
fn what_the_former_leader_had_not_come_to_is_sent_at_its_word() {
    let account = account(100);
    let mut world = begins(entry("a", &account), left(&[-3, -2, -1]), None);
    world.hears(&[said(FORMER - 1, -10), said(FORMER + 1, -10)]);
    assert_eq!(world.told(), Vec::<String>::new(), "other terms say nothing of it");
    world.hears(&[said(FORMER, -2)]);
    assert_eq!(world.jobs_sent(), ["a"], "it is less than five seconds late");
    assert_eq!(world.told(), ["occurrence.reconciled a not_started"]);
    assert!(
        matches!(&world.recorded[..], [(key, Transition::Waiting { attempts: 0, .. })] if key.scheduled_at() == World::at(-1)),
        "the journal has it as this leader's before it is sent: {:?}",
        world.recorded
    );
    world.told.clear();
    world.hears(&[said(FORMER, -2)]);
    assert_eq!(world.told(), Vec::<String>::new(), "once");
    world.answer(started(7));
    assert!(world.resent.is_empty(), "there was no other attempt that could have started an action");
}

#[test]
fn what_the_former_leader_had_not_come_to_and_is_not_due_waits_until_it_is() {
    let account = account(100);
    let mut world = begins(entry("a", &account), left(&[2]), None);
    world.hears(&[said(FORMER, 1)]);
    assert_eq!(world.jobs_sent(), Vec::<&str>::new());
    world.go_to(1.9);
    assert_eq!(world.jobs_sent(), Vec::<&str>::new());
    world.go_to(2.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn catch_up_decides_on_what_the_former_leader_had_not_come_to_and_is_late() {
    let account = account(100);
    for (catch_up, sent, told) in [
        (CatchUp::None, 0, vec!["occurrence.missed a down", "occurrence.missed a down"]),
        (CatchUp::Latest, 1, vec!["occurrence.missed a superseded"]),
        (CatchUp::All, 2, vec![]),
    ] {
        let mut world = begins(Entry { catch_up, ..entry("a", &account) }, left(&[-9, -8]), None);
        world.hears(&[said(FORMER, -10)]);
        assert_eq!(world.jobs_sent().len(), sent, "{catch_up:?}");
        let mut missed = world.told();
        missed.retain(|line| line.starts_with("occurrence.missed"));
        assert_eq!(missed, told, "{catch_up:?}");
    }
}

#[test]
fn of_what_an_older_copy_may_have_forgotten_a_former_leader_knows_nothing() {
    let account = account(100);
    let mut world = begins(entry("a", &account), left(&[-3, -1]), Some(World::at(-2)));
    world.hears(&[said(FORMER, -4)]);
    assert_eq!(world.jobs_sent(), ["a"]);
    assert_eq!(world.dispatch.in_doubt(), 1, "a later term may have sent it before the restore");
}
