//! The journal on real files and in a real database: what survives a kill, a full disk, a torn
//! file, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::{ControlFlow, Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::machine::SmallDisk;
use crate::common::postgres::Server;
use jiff::Timestamp;
use proptest::prelude::*;
use stackcron::journal::postgres::{self, LeadershipChange, Membership, Profile, ShardHandle};
use stackcron::journal::{
    Claim, Cursor, FILE_NAME, Filter, Health, Journal, JournalError, Key, LastEnds, Location, Opened, Origin,
    Pause, Reached, Record, Refused, Resent, ResentWatch, Started, State, Transition, Unnamed, read_history,
};
use stackcron::quota;
use stackcron::schedule::{AccountName, EntryName, JobUid, Shard, StackUid};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a timestamp")
}

fn name(text: &str) -> EntryName {
    EntryName::new(text).expect("a name")
}

fn key(entry: &str, second: i64) -> Key {
    Key::new(name(entry), at(second))
}

fn claim(entry: &str, second: i64) -> Claim {
    Claim {
        key: key(entry, second),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new("5999b763474b0eafa5fafb64bff0ba80").expect("a uid"),
        job: JobUid::new("98ee5a9b93919d9b63bd5377636675bd").expect("a uid"),
        due_at: at(second),
        deadline: at(second + 3600),
        origin: Origin::Schedule,
        repetition: stackcron::journal::Repetition::default(),
    }
}

fn sending(attempts: u32, second: i64) -> Transition {
    Transition::Sending { attempts, sent_at: at(second) }
}

fn started(second: i64, action: Started) -> Transition {
    Transition::Started { attempts: 1, sent_at: at(second), action }
}

fn finished(second: i64) -> Transition {
    Transition::Finished { success: Some(true), finished_at: at(second), message: None }
}

/// The terms of a pause.
fn pause() -> Pause {
    Pause {
        since: at(1),
        by: "ada".to_owned(),
        until: Some(at(1_000_000)),
        note: Some("a move\0".to_owned()),
    }
}

fn skipped() -> Transition {
    Transition::Skipped { reason: "paused".into() }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(directory: &Path) -> Opened {
    Journal::open(directory).unwrap_or_else(|error| panic!("{} must open: {error}", directory.display()))
}

fn refusal(directory: &Path) -> JournalError {
    match Journal::open(directory) {
        Ok(_) => panic!("{} must be refused", directory.display()),
        Err(error) => error,
    }
}

/// The history, as an operator's command reads it.
fn history(directory: &Path, filter: &Filter) -> Vec<Record> {
    let mut records = Vec::new();
    let read = read_history(directory, filter, |record| {
        records.push(record);
        ControlFlow::Continue(())
    });
    read.expect("a readable history");
    records
}

fn states(directory: &Path) -> BTreeMap<Key, State> {
    history(directory, &Filter::default()).into_iter().map(|record| (record.key, record.state)).collect()
}

/// Where a journal is.
enum Place {
    File(tempfile::TempDir),
    Database(tempfile::TempDir, Box<postgres::PostgresAddress>),
}

/// A journal, and the membership that it is open by.
struct Open {
    opened: Opened,
    shard_handle: Option<(ShardHandle, Membership)>,
}

impl Deref for Open {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl DerefMut for Open {
    fn deref_mut(&mut self) -> &mut Opened {
        &mut self.opened
    }
}

impl Open {
    async fn closed(self) {
        closed(self.opened).await;
        if let Some((shard_handle, _membership)) = self.shard_handle {
            shard_handle.leave().await;
        }
    }
}

impl Place {
    /// A claim after an orderly end before its send: a leader that shares the journal has said so.
    fn unsent(&self) -> Reached {
        match self {
            Place::File(_) => Reached::Due,
            Place::Database(..) => Reached::Unsent,
        }
    }

    fn postgres() -> Option<Place> {
        let server = Server::shared()?;
        let url = server.url(&server.database());
        Some(Place::Database(directory(), Box::new(url.parse().expect("an address"))))
    }

    async fn open(&self) -> Open {
        match self {
            Place::File(place) => Open { opened: open(place.path()), shard_handle: None },
            Place::Database(place, address) => {
                let profile = Profile {
                    name: "test".to_owned(),
                    version: "0".to_owned(),
                    schedule: "1".to_owned(),
                    entries: 1,
                };
                let (address, path) = (postgres::PostgresAddress::clone(address), place.path().to_owned());
                let joining = move || {
                    Membership::join(address, &path, profile, stackcron::journal::WhenReplaced::Refuse)
                };
                let joined = tokio::task::spawn_blocking(joining).await.expect("a thread");
                let membership = joined.expect("a member");
                let mut shard_handle = membership.shard_handle(Shard::Common).expect("a shard_handle");
                let term = loop {
                    if let LeadershipChange::Leads(term) = shard_handle.next_event().await {
                        break term;
                    }
                };
                Open {
                    opened: shard_handle.open(term).await.expect("a journal"),
                    shard_handle: Some((shard_handle, membership)),
                }
            }
        }
    }

    fn history(&self, filter: &Filter) -> Vec<Record> {
        match self {
            Place::File(place) => history(place.path(), filter),
            Place::Database(_, address) => {
                let mut records = Vec::new();
                let read = postgres::read_history(address, filter, |record| {
                    records.push(record);
                    ControlFlow::Continue(())
                });
                read.expect("a readable history");
                records
            }
        }
    }

    fn states(&self) -> BTreeMap<Key, State> {
        let all = self.history(&Filter::default());
        all.into_iter().map(|record| (record.key, record.state)).collect()
    }
}

/// The same test on a file and on a database.
macro_rules! on_both {
    (async fn $name:ident($place:ident: &Place) $body:block) => {
        mod $name {
            use super::*;

            async fn check($place: &Place) $body

            #[tokio::test]
            async fn in_a_file() {
                check(&Place::File(directory())).await;
            }

            #[tokio::test]
            async fn in_a_database() {
                if let Some(place) = Place::postgres() {
                    check(&place).await;
                }
            }
        }
    };
}

async fn closed(opened: Opened) {
    opened.journal.close(at(1_000_000)).await.expect("an orderly end");
}

on_both! { async fn a_start_finds_exactly_what_is_open(place: &Place) {
    let opened = place.open().await;
    assert_eq!(opened.recovered.cursor, None, "a new journal has no cursor");
    let journal = &opened.journal;
    let by_person =
        Claim { origin: Origin::Person { args: Some("--full".to_owned()) }, ..claim("by-hand", 14) };
    let mut claims: Vec<Claim> =
        ["due", "waiting", "sending", "followed", "alone", "finished", "missed", "unfollowed"]
            .iter()
            .zip(10..)
            .map(|(entry, second)| claim(entry, second))
            .collect();
    claims.push(by_person.clone());
    journal.claim(at(20), claims.clone()).await.expect("claimed");
    let moves = vec![
        (key("waiting", 11), Transition::Waiting { attempts: 0, reason: "quota".into() }),
        (key("sending", 12), sending(2, 12)),
        (key("followed", 13), started(13, Started::Followed(7))),
        (key("alone", 14), started(14, Started::Alone(Some(8)))),
        (key("finished", 15), started(15, Started::Followed(9))),
        (key("finished", 15), finished(16)),
        (key("missed", 16), Transition::Missed { reason: "deadline".into() }),
        (key("unfollowed", 17), started(17, Started::Followed(10))),
        (key("unfollowed", 17), Transition::Unfollowed { reason: "gone".into() }),
    ];
    assert_eq!(journal.commit(moves).await.expect("committed"), []);
    opened.closed().await;

    let recovered = place.open().await.recovered.clone();
    assert_eq!(recovered.cursor, Some(at(20)));
    let found: Vec<_> = recovered.open.into_iter().map(|open| (open.claim, open.reached)).collect();
    let expected = vec![
        (claims[0].clone(), place.unsent()),
        (claims[1].clone(), Reached::Waiting { attempts: 0, reason: "quota".into() }),
        (claims[2].clone(), Reached::Sending { attempts: 2, sent_at: at(12) }),
        (by_person, place.unsent()),
    ];
    assert_eq!(found, expected);
    let [followed] = &recovered.following[..] else {
        panic!("one action is followed: {:?}", recovered.following);
    };
    assert_eq!((&followed.claim, followed.action, followed.sent_at), (&claims[3], 7, at(13)));
} }

on_both! { async fn what_a_reload_changes_of_a_claim_is_there_before_it_is_sent(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    journal.claim(at(20), vec![claim("a", 10), claim("settled", 10), claim("untouched", 10)]).await.expect("claimed");
    journal.commit(vec![(key("settled", 10), skipped())]).await.expect("committed");
    let amended = Claim {
        job: JobUid::new("another").expect("a uid"),
        due_at: at(11),
        deadline: at(4000),
        ..claim("a", 10)
    };
    journal.amend(amended.clone());
    journal.amend(Claim { due_at: at(12), ..claim("settled", 10) });
    assert_eq!(journal.commit(vec![(key("a", 10), sending(1, 11))]).await.expect("committed"), []);
    opened.closed().await;

    let recovered = place.open().await.recovered.clone();
    let found: Vec<_> = recovered.open.into_iter().map(|open| (open.claim, open.reached)).collect();
    let expected = [
        (amended, Reached::Sending { attempts: 1, sent_at: at(11) }),
        (claim("untouched", 10), place.unsent()),
    ];
    assert_eq!(found, expected);
    assert_eq!(place.states()[&key("settled", 10)], State::Skipped);
} }

on_both! { async fn what_is_claimed_is_not_claimed_again(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    journal.claim(at(20), vec![claim("a", 10), claim("b", 10)]).await.expect("claimed");
    journal.commit(vec![(key("a", 10), skipped())]).await.expect("committed");
    let again = journal.claim(at(20), vec![claim("a", 10), claim("b", 10), claim("c", 10)]).await;
    assert_eq!(again.expect("an answer").known, [key("a", 10), key("b", 10)], "settled and open alike");
    let expected = [("a", State::Skipped), ("b", State::Due), ("c", State::Due)];
    assert_eq!(place.states(), expected.map(|(entry, state)| (key(entry, 10), state)).into());
} }

on_both! { async fn what_is_made_up_for_is_claimed_only_where_every_other_pass_was_given_up(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let names = ["missed", "due", "started", "later"];
    journal.claim(at(20), names.map(|name| claim(name, 10)).into()).await.expect("claimed");
    let alone = || started(11, Started::Alone(Some(7)));
    let ends = ["missed", "later"].map(|name| (key(name, 10), skipped()));
    let ends = ends.into_iter().chain([(key("started", 10), alone())]);
    assert_eq!(journal.commit(ends.collect()).await.expect("committed"), []);
    let later = key("later", 10).in_pass(2);
    journal.claim(at(20), vec![Claim { key: later.clone(), ..claim("later", 10) }]).await.expect("claimed");
    assert_eq!(journal.commit(vec![(later, alone())]).await.expect("committed"), []);
    let again = |name: &str| Claim {
        key: key(name, 10).in_pass(1),
        origin: Origin::Backfill,
        repetition: stackcron::journal::Repetition::Once,
        ..claim(name, 10)
    };
    let known = journal.claim(at(20), names.map(again).into()).await.expect("an answer").known;
    let expected = ["due", "started", "later"].map(|name| key(name, 10).in_pass(1));
    assert_eq!(known.into_iter().collect::<std::collections::HashSet<_>>(), expected.into());
} }

on_both! { async fn the_cursor_never_moves_back(place: &Place) {
    let opened = place.open().await;
    for cursor in [50, 100, 70] {
        opened.journal.claim(at(cursor), Vec::new()).await.expect("moved on, or not");
    }
    opened.closed().await;
    assert_eq!(place.open().await.recovered.cursor, Some(at(100)));
} }

#[tokio::test]
async fn an_orderly_stop_is_told_to_the_next_start_alone() {
    let place = directory();
    let opened = open(place.path());
    assert_eq!(opened.recovered.stopped_at, None);
    opened.journal.close(at(77)).await.expect("an orderly end");
    assert_eq!(opened.journal.flush().await, Err(JournalError::Closed));
    let opened = open(place.path());
    assert_eq!(opened.recovered.stopped_at, Some(at(77)));
    // This daemon ends without a word.
    let crashed = directory();
    fs::copy(place.path().join(FILE_NAME), crashed.path().join(FILE_NAME)).expect("a copy of the file");
    let wal = format!("{FILE_NAME}-wal");
    fs::copy(place.path().join(&wal), crashed.path().join(&wal)).expect("a copy of the log");
    assert_eq!(open(crashed.path()).recovered.stopped_at, None);
}

on_both! { async fn pauses_and_quotas_survive(place: &Place) {
    let opened = place.open().await;
    let (main, other) = (AccountName::new("main").expect("a name"), AccountName::new("b").expect("a name"));
    for entry in ["a", "b", "b"] {
        opened.journal.pause(name(entry), pause()).await.expect("paused");
    }
    opened.journal.resume(name("a")).await.expect("resumed");
    for limit in [100, 200] {
        opened.journal.save_quota(main.clone(), quota::SavedQuota { limit, ..quota::SavedQuota::default() });
    }
    opened.journal.save_quota(other.clone(), quota::SavedQuota::default());
    opened.closed().await;
    let recovered = place.open().await.recovered.clone();
    assert_eq!(recovered.paused, [(name("b"), pause())]);
    let newest = quota::SavedQuota { limit: 200, ..quota::SavedQuota::default() };
    assert_eq!(recovered.quotas, [(other, quota::SavedQuota::default()), (main, newest)]);
} }

on_both! { async fn what_was_sent_again_is_read_for_by_the_next_process_too(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let watch = ResentWatch {
        account: AccountName::new("main").expect("a name"),
        from: at(10),
        first_action: Some(7),
        until: Some(at(700)),
    };
    let of = |entry: &str, surplus, watch| {
        let stack = StackUid::new("5999b763474b0eafa5fafb64bff0ba80").expect("a uid");
        Resent { key: key(entry, 10), stack, surplus, watch }
    };
    journal.claim(at(20), vec![claim("a", 10), claim("b", 10), claim("c", 10)]).await.expect("claimed");
    for entry in ["a", "b", "c"] {
        journal.record(key(entry, 10), started(10, Started::Alone(Some(7))));
        journal.resent(of(entry, None, Some(ResentWatch { first_action: None, until: None, ..watch.clone() })));
    }
    journal.resent(of("a", None, Some(watch.clone())));
    journal.resent(of("b", Some(8), None));
    journal.resent(of("c", None, None));
    opened.closed().await;
    let opened = place.open().await;
    assert_eq!(opened.recovered.resent, [of("a", None, Some(watch))], "b and c are not read for any more");
    let surplus: Vec<_> = place.history(&Filter::default()).into_iter().map(|row| row.surplus).collect();
    assert_eq!(surplus, [None, Some(8), None]);
    let known = opened.journal.actions(of("b", None, None).stack, at(6), vec![]).await.expect("an answer");
    assert!(known.actions.contains(&8), "it belongs to somebody: {known:?}");
    opened.journal.prune(at(11)).await.expect("pruned");
    opened.closed().await;
    assert_eq!(place.open().await.recovered.resent, [], "it is pruned with its occurrence");
} }

on_both! { async fn what_was_recorded_comes_before_what_is_asked_later(place: &Place) {
    let mut opened = place.open().await;
    let journal = &opened.journal;
    journal.claim(at(20), vec![claim("a", 10), claim("b", 10)]).await.expect("claimed");
    journal.record(key("a", 10), sending(1, 10));
    journal.record(key("a", 10), started(10, Started::Followed(7)));
    let refused = journal.commit(vec![(key("a", 10), finished(11))]).await.expect("committed");
    assert_eq!(refused, [], "it was started before it finished");
    journal.record(key("a", 10), sending(2, 12));
    journal.record(key("b", 10), sending(1, 10));
    journal.flush().await.expect("flushed");
    assert_eq!(
        place.states(),
        [(key("a", 10), State::Finished), (key("b", 10), State::Sending)].into()
    );
    let told = opened.refused.try_recv().expect("a move back is told");
    assert_eq!(told.to_string(), "a of 1970-01-01T00:00:10Z cannot go from finished to sending");
    opened.refused.try_recv().expect_err("nothing else was refused");
} }

on_both! { async fn the_last_end_of_each_entry_is_read(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let claims = vec![claim("a", 10), claim("a", 20), claim("b", 10), claim("c", 10)];
    journal.claim(at(40), claims).await.expect("claimed");
    let failed = Transition::Finished { success: Some(false), finished_at: at(200), message: None };
    let moves = vec![
        (key("a", 10), started(10, Started::Followed(1))),
        (key("a", 10), finished(100)),
        (key("a", 20), started(20, Started::Followed(2))),
        (key("a", 20), failed),
        (key("b", 10), started(10, Started::Alone(Some(3)))),
    ];
    journal.commit(moves).await.expect("committed");
    let location = match place {
        Place::File(place) => Location::Directory(place.path().to_owned()),
        Place::Database(_, address) => Location::Database(Box::new(postgres::PostgresAddress::clone(address))),
    };
    let read = tokio::task::spawn_blocking(move || location.last_ends()).await.expect("a thread");
    let ends = LastEnds { end: Some(at(200)), success: Some(at(100)) };
    assert_eq!(read.expect("a journal"), [(key("a", 10).entry().clone(), ends)], "no other has ended");
} }

on_both! { async fn a_close_writes_what_was_recorded(place: &Place) {
    let opened = place.open().await;
    opened.journal.claim(at(20), vec![claim("a", 10)]).await.expect("claimed");
    opened.journal.record(key("a", 10), skipped());
    opened.closed().await;
    assert_eq!(place.states(), [(key("a", 10), State::Skipped)].into());
} }

on_both! { async fn pruning_keeps_what_is_open_and_what_is_newer(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let claims = (0..5000).map(|second| claim("a", second)).collect();
    journal.claim(at(5000), claims).await.expect("claimed");
    let moves = (0..5000).filter(|second| second % 1000 != 7).map(|second| (key("a", second), skipped()));
    journal.commit(moves.collect()).await.expect("committed");
    let (pruned, claimed) = tokio::join!(journal.prune(at(4000)), async {
        for second in 6000..6100 {
            journal.claim(at(second), vec![claim("a", second)]).await.expect("claimed while pruning");
        }
    });
    let () = claimed;
    assert_eq!(pruned.expect("pruned").rows, 4000 - 4);
    let left: Vec<Key> = place.history(&Filter::default()).into_iter().map(|row| row.key).collect();
    let expected = [7, 1007, 2007, 3007].into_iter().chain(4000..5000).chain(6000..6100);
    assert_eq!(left, expected.map(|second| key("a", second)).collect::<Vec<_>>());
} }

on_both! { async fn the_actions_of_a_stack_are_known_as_soon_as_recorded(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let elsewhere = Claim { stack: StackUid::new("other").expect("a uid"), ..claim("c", 10) };
    let claims = vec![claim("a", 10), claim("b", 10), elsewhere, claim("a", 5), claim("d", 10)];
    journal.claim(at(20), claims).await.expect("claimed");
    journal.record(key("a", 10), started(10, Started::Followed(1)));
    journal.record(key("b", 10), started(10, Started::Alone(Some(u64::MAX))));
    journal.record(key("c", 10), started(10, Started::Alone(Some(3))));
    journal.record(key("a", 5), started(5, Started::Alone(Some(4))));
    let stack = StackUid::new("5999b763474b0eafa5fafb64bff0ba80").expect("a uid");
    let known = journal.actions(stack.clone(), at(6), vec![4, 99]).await.expect("an answer");
    let mut found = known.actions.clone();
    found.sort_unstable();
    assert_eq!((found, known.unnamed), (vec![1, 4, u64::MAX], vec![]), "what a list shows is known however old it is");
    assert_eq!(known.jobs[&4], claim("a", 5).job);
    journal.record(key("a", 10), Transition::Finished { success: Some(true), finished_at: at(12), message: None });
    journal.record(key("d", 10), Transition::Sending { attempts: 1, sent_at: at(11) });
    journal.record(key("d", 10), Transition::Unknown { error: "lost".to_owned() });
    let known = journal.actions(stack, at(6), vec![]).await.expect("an answer");
    assert_eq!(known.actions.len(), 2);
    assert_eq!(known.unnamed, [Unnamed { key: key("d", 10), sent_at: at(11) }], "it may own another");
} }

on_both! { async fn the_history_tells_what_became_of_each_occurrence(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    let late = Claim { due_at: at(12), ..claim("late", 10) };
    journal.claim(at(20), vec![late, claim("a", 11), claim("a", 12), claim("b", 12)]).await.expect("claimed");
    let moves = vec![
        (key("late", 10), started(15, Started::Followed(7))),
        (
            key("late", 10),
            Transition::Finished { success: Some(false), finished_at: at(99), message: Some("exit 1".to_owned()) },
        ),
        (key("a", 11), sending(1, 11)),
        (key("a", 11), Transition::Rejected { status: Some(404), error: "no such job".to_owned() }),
    ];
    journal.commit(moves).await.expect("committed");
    let all = place.history(&Filter::default());
    assert_eq!(
        all[0],
        Record {
            key: key("late", 10),
            state: State::Failed,
            sent_at: Some(at(15)),
            lateness_ms: Some(3000),
            attempts: 1,
            action_id: Some(7),
            finished_at: Some(at(99)),
            finished_success: Some(false),
            reason: Some("exit 1".to_owned()),
            link: None,
            replaced_by: None,
            error: None,
            surplus: None,
        },
        "lateness is counted from when it was due"
    );
    assert_eq!(all[1].reason.as_deref(), Some("404: no such job"));
    assert_eq!((all[1].attempts, all[1].sent_at), (1, Some(at(11))));
    let keys = |filter: Filter| -> Vec<Key> {
        place.history(&filter).into_iter().map(|row| row.key).collect()
    };
    let everything = keys(Filter::default());
    assert_eq!(everything, [key("late", 10), key("a", 11), key("a", 12), key("b", 12)]);
    assert_eq!(keys(Filter { newest: Some(3), ..Filter::default() }), everything[1..]);
    let of_a = Filter { entry: Some(name("a")), ..Filter::default() };
    assert_eq!(keys(of_a.clone()), everything[1..3]);
    assert_eq!(keys(Filter { newest: Some(1), ..of_a.clone() }), everything[2..3]);
    assert_eq!(keys(Filter { until: Some(at(12)), ..of_a }), everything[1..2]);
    assert_eq!(keys(Filter { since: Some(at(12)), ..Filter::default() }), everything[2..]);
    assert_eq!(keys(Filter { entry: Some(name("never")), ..Filter::default() }), []);
} }

#[tokio::test]
async fn that_a_file_was_an_older_copy_is_known_in_every_later_run() {
    let directory = directory();
    let opened = open(directory.path());
    let behind = Cursor { at: at(60), repeat: None, older_until: Some(at(60)) };
    opened.journal.claim(behind, Vec::new()).await.expect("a claim");
    // A later claim says nothing of it.
    opened.journal.claim(at(70), vec![claim("a", 70)]).await.expect("a claim");
    closed(opened).await;
    for _ in 0..2 {
        let opened = open(directory.path());
        assert_eq!(opened.recovered.older_until, Some(at(60)));
        closed(opened).await;
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_until_the_first_ends() {
    let place = directory();
    let first = open(place.path());
    let error = refusal(place.path());
    assert_eq!(
        error,
        JournalError::Locked { directory: place.path().to_owned(), pid: Some(std::process::id()) }
    );
    closed(first).await;
    open(place.path());
}

#[tokio::test]
async fn a_journal_is_not_for_everybody() {
    let place = directory();
    let state = place.path().join("lib/stackcron");
    let _open = open(&state);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&state) & 0o027, 0, "the directory has mode {:o}", mode(&state));
    for file in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal"), format!("{FILE_NAME}-shm")] {
        assert_eq!(mode(&state.join(&file)) & 0o137, 0, "{file} has mode {:o}", mode(&state.join(&file)));
    }
}

#[tokio::test]
async fn a_removed_file_is_not_written_to() {
    for file in [FILE_NAME, "journal.lock"] {
        let place = directory();
        let journal = open(place.path()).journal;
        fs::rename(place.path().join(file), place.path().join("elsewhere")).expect("renamed");
        let gone = Err(JournalError::Gone(place.path().join(file)));
        assert_eq!(journal.claim(at(20), vec![claim("a", 10)]).await, gone);
    }
}

/// Changes the file of a closed journal, and expects that it is refused and left as it is.
async fn refused_after(change: impl FnOnce(&Path)) -> JournalError {
    let place = directory();
    let opened = open(place.path());
    let claims = (0..500).map(|second| claim("a", second)).collect();
    opened.journal.claim(at(500), claims).await.expect("claimed");
    closed(opened).await;
    let path = place.path().join(FILE_NAME);
    change(&path);
    let before = fs::read(&path).expect("a file");
    let error = refusal(place.path());
    assert!(fs::read(&path).expect("a file") == before, "the refused file was changed");
    let read = read_history(place.path(), &Filter::default(), |_| ControlFlow::Continue(()));
    if matches!(error, JournalError::Newer { .. }) {
        assert_eq!(read, Err(error.clone()), "who reads is told the same");
    }
    error
}

fn overwrite(path: &Path, offset: usize, bytes: &[u8]) {
    let mut content = fs::read(path).expect("a file");
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).expect("written");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let garbage = refused_after(|path| overwrite(path, 0, &[0x5a; 100])).await;
    assert!(matches!(garbage, JournalError::Corrupt { .. }), "a garbage header: {garbage}");
    let torn = refused_after(|path| {
        let content = fs::read(path).expect("a file");
        fs::write(path, &content[..content.len() / 2]).expect("written");
    })
    .await;
    assert!(matches!(torn, JournalError::Corrupt { .. }), "half a file: {torn}");
    let flipped = refused_after(|path| {
        let pages = fs::metadata(path).expect("a file").len() / 4096;
        overwrite(path, (pages as usize - 1) * 4096, &[0xff; 4096]);
    })
    .await;
    assert!(matches!(flipped, JournalError::Corrupt { .. }), "a page of ones: {flipped}");
    assert!(flipped.to_string().contains("restore it from a backup, or"), "it says what to do: {flipped}");
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let foreign = refused_after(|path| {
        fs::remove_file(path).expect("removed");
        let db = rusqlite::Connection::open(path).expect("another file");
        db.execute_batch("CREATE TABLE bookmarks (url TEXT)").expect("a table");
    })
    .await;
    assert!(foreign.to_string().contains("another program"), "{foreign}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let newer = refused_after(|path| {
        let db = rusqlite::Connection::open(path).expect("the journal");
        db.pragma_update(None, "user_version", 99).expect("a version");
    })
    .await;
    assert!(matches!(newer, JournalError::Newer { found: 99, known: 1, .. }), "{newer}");
}

#[test]
fn no_journal_is_told_to_who_reads() {
    let place = directory();
    let read = read_history(place.path(), &Filter::default(), |_| ControlFlow::Continue(()));
    assert_eq!(read, Err(JournalError::Missing(place.path().to_owned())));
    assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0, "who reads makes nothing");
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        return;
    };
    let place = disk.path();
    let mut opened = open(place);
    let mut health = opened.journal.health();
    let journal = &opened.journal;
    let first: Vec<Claim> = (0..500).map(|second| claim("a", second)).collect();
    journal.claim(at(500), first).await.expect("claimed");
    let ballast = disk.fill();

    let many: Vec<Claim> = (1000..6000).map(|second| claim("new", second)).collect();
    let full = Err(JournalError::Full(place.join(FILE_NAME)));
    assert_eq!(journal.claim(at(6000), many.clone()).await, full);
    assert!(matches!(*health.borrow_and_update(), Health::Ill { error: JournalError::Full(_), .. }));
    for second in 0..500 {
        journal.record(key("a", second), started(second, Started::Alone(Some(7))));
    }
    let known = states(place);
    assert_eq!(known.len(), 500, "of a claim that failed nothing is there");

    fs::remove_file(ballast).expect("removed");
    journal.flush().await.expect("what was recorded can be written again");
    assert!(states(place).values().all(|&state| state == State::Started), "what was recorded was kept");
    assert!(
        matches!(*health.borrow(), Health::Ill { .. }),
        "that moves can be written says nothing of claims"
    );
    // A third of the disk.
    let claimed = journal.claim(at(6000), many[..2000].to_vec()).await.expect("claimed again");
    assert_eq!(claimed.known, []);
    assert_eq!(*health.borrow_and_update(), Health::Well);
    assert_eq!(states(place).len(), 500 + 2000, "the claims of an entry whose first claim failed are there");
    opened.refused.try_recv().expect_err("nothing was refused");
}

#[tokio::test]
async fn what_was_recorded_is_written_by_itself_when_there_is_space() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        return;
    };
    let place = disk.path();
    let opened = open(place);
    let mut health = opened.journal.health();
    let claims: Vec<Claim> = (0..1000).map(|second| claim("a", second)).collect();
    opened.journal.claim(at(1000), claims).await.expect("claimed");
    let ballast = disk.fill();
    for second in 0..1000 {
        let error = "x".repeat(900);
        opened.journal.record(key("a", second), Transition::Unknown { error });
    }
    health.wait_for(|health| matches!(health, Health::Ill { .. })).await.expect("an alarm");
    fs::remove_file(ballast).expect("removed");
    // Most of it does not fit even now.
    assert!(opened.journal.flush().await.is_err(), "900 kB do not fit");
    assert!(states(place).values().all(|&state| state == State::Due), "all of a group or nothing");
    assert!(disk.remount("size=16m"), "the disk grows");
    health.wait_for(|health| *health == Health::Well).await.expect("the end of the alarm");
    assert!(states(place).values().all(|&state| state == State::Unknown), "what was recorded was kept");
}

#[tokio::test]
async fn a_read_only_disk_is_refused_and_can_be_read() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        return;
    };
    let place = disk.path();
    let opened = open(place);
    opened.journal.claim(at(20), vec![claim("a", 10)]).await.expect("claimed");
    closed(opened).await;
    // A process that another test is spawning has our files open until it becomes another program.
    let remounted = (0..1000).any(|_| disk.remount("ro"));
    assert!(remounted, "nobody has a file open");
    let error = refusal(place);
    assert!(matches!(error, JournalError::ReadOnly { .. }), "{error}");
    assert_eq!(states(place), [(key("a", 10), State::Due)].into());
}

const CHILD: &str = "STACKCRON_TEST_JOURNAL";

/// What the parent kills: claims and settles one occurrence after the other, and tells what it was
/// promised.
#[tokio::test]
async fn a_writer_that_is_to_be_killed() {
    let Some(place) = std::env::var_os(CHILD) else {
        return;
    };
    let opened = open(Path::new(&place));
    let from = opened.recovered.cursor.map_or(0, Timestamp::as_second);
    let mut out = std::io::stdout();
    for second in from.. {
        opened
            .journal
            .claim(at(second + 1), vec![claim("a", second), claim("b", second)])
            .await
            .expect("claimed");
        writeln!(out, "\nclaimed {second}").expect("somebody reads");
        opened.journal.record(key("a", second), sending(1, second));
        let end =
            vec![(key("a", second), started(second, Started::Alone(Some(7)))), (key("b", second), skipped())];
        assert_eq!(opened.journal.commit(end).await.expect("committed"), []);
        writeln!(out, "\nsettled {second}").expect("somebody reads");
    }
}

#[tokio::test]
async fn nothing_that_was_promised_is_lost_in_a_kill() {
    let place = directory();
    let (mut claimed, mut settled) = (0, 0);
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "journal::a_writer_that_is_to_be_killed", "--nocapture"])
            .env(CHILD, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        while text.matches("ed ").count() < 5 + 7 * round {
            assert_ne!(lines.read_line(&mut text).expect("a line"), 0, "the writer ended by itself: {text}");
        }
        child.kill().expect("killed");
        lines.read_to_string(&mut text).expect("what it wrote before");
        child.wait().expect("its end");
        let promised = |word: &str| {
            let seconds = text.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse::<i64>().ok());
            seconds.max()
        };
        claimed = promised("claimed").unwrap_or(claimed);
        settled = promised("settled").unwrap_or(settled);

        let opened = open(place.path());
        let cursor = opened.recovered.cursor.expect("a cursor").as_second();
        assert!(cursor > claimed, "round {round}: {claimed} was claimed, and the cursor is at {cursor}");
        let found = states(place.path());
        let expected = (0..cursor).flat_map(|second| [key("a", second), key("b", second)]);
        assert!(found.keys().cloned().eq(expected), "round {round}: claims and cursor go together");
        for second in 0..=settled {
            let pair = (found[&key("a", second)], found[&key("b", second)]);
            // What an earlier round left open stays open: nobody settles it here.
            let left = opened.recovered.open.iter().any(|open| open.claim.key == key("b", second));
            assert!(left || pair == (State::Started, State::Skipped), "round {round}: {second} is {pair:?}");
        }
        assert_eq!(found[&key("b", settled)], State::Skipped, "round {round}: {settled} was settled");
        closed(opened).await;
    }
}

#[tokio::test]
async fn a_torn_log_gives_back_a_whole_number_of_transactions() {
    let place = directory();
    let journal = open(place.path()).journal;
    for second in 0..40 {
        journal.claim(at(second + 1), vec![claim("a", second), claim("b", second)]).await.expect("claimed");
    }
    let wal = format!("{FILE_NAME}-wal");
    let (file, log) = (fs::read(place.path().join(FILE_NAME)), fs::read(place.path().join(&wal)));
    let (file, log) = (file.expect("a file"), log.expect("a log"));
    let mut cursors = Vec::new();
    for torn in (0..=20).map(|twentieth| log.len() * twentieth / 20) {
        let crashed = directory();
        fs::write(crashed.path().join(FILE_NAME), &file).expect("written");
        fs::write(crashed.path().join(&wal), &log[..torn]).expect("written");
        let opened = open(crashed.path());
        let cursor = opened.recovered.cursor.map_or(0, Timestamp::as_second);
        let expected = (0..cursor).flat_map(|second| [key("a", second), key("b", second)]);
        let found = opened.recovered.open.into_iter().map(|open| open.claim.key);
        assert!(found.eq(expected), "torn at {torn}: the claims are those before {cursor}");
        cursors.push(cursor);
    }
    assert!(cursors.is_sorted() && cursors.last() == Some(&40), "each byte more gives no less: {cursors:?}");
    assert!(
        cursors.iter().any(|cursor| (1..40).contains(cursor)),
        "some were torn in the middle: {cursors:?}"
    );
}

/// What the journal is expected to make of moves: the rule in other words.
#[derive(Clone, Copy, Debug)]
enum Model {
    /// Twice the attempts, and one more when it waits after them.
    Before(u32, State),
    Followed(u64),
    Settled(State, Option<u64>),
}

impl Model {
    fn state(self) -> State {
        match self {
            Model::Before(_, state) | Model::Settled(state, _) => state,
            Model::Followed(_) => State::Started,
        }
    }

    /// `None` when the move goes back.
    fn after(self, mv: &Transition) -> Option<Model> {
        let to = match *mv {
            Transition::Waiting { attempts, .. } => Model::Before(2 * attempts + 1, State::Waiting),
            Transition::Sending { attempts, .. } => Model::Before(2 * attempts, State::Sending),
            Transition::Started { action: Started::Followed(action), .. } => Model::Followed(action),
            Transition::Started { action: Started::Alone(action), .. } => {
                Model::Settled(State::Started, action)
            }
            Transition::Finished { .. } | Transition::Unfollowed { .. } => {
                let end =
                    if matches!(mv, Transition::Finished { .. }) { State::Finished } else { State::Started };
                return match self {
                    Model::Followed(action) => Some(Model::Settled(end, Some(action))),
                    Model::Settled(state, _) if state == end => Some(self),
                    _ => None,
                };
            }
            Transition::Slow => return Some(self).filter(|model| !matches!(model, Model::Before(..))),
            Transition::Rejected { .. } => Model::Settled(State::Rejected, None),
            Transition::Missed { .. } => Model::Settled(State::Missed, None),
            Transition::Skipped { .. } => Model::Settled(State::Skipped, None),
            Transition::Unknown { .. } => Model::Settled(State::Unknown, None),
        };
        let forward = match (self, to) {
            (Model::Before(from, _), Model::Before(to, _)) => to >= from,
            (Model::Before(..), _) => true,
            (Model::Followed(from), Model::Followed(to)) => from == to,
            (Model::Settled(from, action), Model::Settled(to, again)) => (from, action) == (to, again),
            _ => false,
        };
        forward.then_some(to)
    }
}

fn any_move() -> impl Strategy<Value = Transition> {
    let action = prop_oneof![
        (1..3_u64).prop_map(Started::Followed),
        proptest::option::of(1..3_u64).prop_map(Started::Alone)
    ];
    prop_oneof![
        4 => (0..4_u32).prop_map(|attempts| Transition::Waiting { attempts, reason: "retry".into() }),
        4 => (1..4_u32).prop_map(|attempts| sending(attempts, 10)),
        2 => action.prop_map(|action| started(10, action)),
        2 => Just(finished(11)),
        1 => Just(Transition::Slow),
        1 => Just(Transition::Unfollowed { reason: "gone".into() }),
        1 => Just(Transition::Rejected { status: Some(404), error: "none".to_owned() }),
        1 => Just(Transition::Missed { reason: "deadline".into() }),
        1 => Just(skipped()),
        1 => Just(Transition::Unknown { error: "lost".to_owned() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_occurrence_never_goes_back(moves in proptest::collection::vec((0..2_usize, any_move()), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let place = directory();
            let entries = ["a", "b"];
            let mut opened = open(place.path());
            let claims = entries.map(|entry| claim(entry, 10)).to_vec();
            opened.journal.claim(at(20), claims).await.expect("claimed");
            let mut model = [Model::Before(0, State::Due); 2];
            let mut expected = Vec::new();
            for (entry, mv) in &moves {
                match model[*entry].after(mv) {
                    Some(further) => model[*entry] = further,
                    None => expected.push((entries[*entry], model[*entry].state())),
                }
                opened.journal.record(key(entries[*entry], 10), mv.clone());
            }
            opened.journal.flush().await.expect("flushed");
            let told = std::iter::from_fn(|| opened.refused.try_recv().ok());
            let told: Vec<_> = told.map(known).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(entry, state)| (key(entry, 10), Some(state))).collect();
            assert_eq!(told, expected, "what is refused");
            let reached = [0, 1].map(|index| (key(entries[index], 10), model[index].state()));
            assert_eq!(states(place.path()), reached.into(), "where it ends");
        });
    }
}

/// Of which occurrence a step back is refused, and the state that it keeps.
fn known(refused: Refused) -> (Key, Option<State>) {
    match refused {
        Refused::Backwards { key, from, .. } => (key, from),
        Refused::Unstorable { error, .. } => panic!("{error}"),
    }
}

on_both! { async fn what_was_never_claimed_has_no_moves(place: &Place) {
    let opened = place.open().await;
    let journal = &opened.journal;
    journal.claim(at(20), vec![claim("a", 10)]).await.expect("claimed");
    let moves = vec![(key("b", 10), skipped()), (key("a", 11), skipped()), (key("a", 10), skipped())];
    let refused = journal.commit(moves).await.expect("committed");
    let told: Vec<_> = refused.into_iter().map(known).collect();
    assert_eq!(told, [(key("b", 10), None), (key("a", 11), None)], "the others are applied");
    assert_eq!(place.states(), [(key("a", 10), State::Skipped)].into());
} }

#[tokio::test]
async fn a_schema_of_the_next_version_is_written_and_a_later_one_refused() {
    let Some(server) = Server::shared() else { return };
    let Some(place) = Place::postgres() else { return };
    place.open().await.closed().await;
    let Place::Database(_, address) = &place else { panic!("it is a database") };
    let database = address.to_string().rsplit('/').next().expect("a name").to_owned();
    server.sql(&database, "ALTER TABLE stackcron.paused ADD COLUMN since bigint");
    server.sql(&database, "UPDATE stackcron.journal SET schema = 2, oldest = 1");
    let opened = place.open().await;
    opened.journal.pause(name("a"), pause()).await.expect("paused beside a newer version");
    opened.closed().await;
    server.sql(&database, "UPDATE stackcron.journal SET schema = 3, oldest = 2");
    let refused = postgres::read_history(address, &Filter::default(), |_| ControlFlow::Continue(()));
    assert_eq!(refused, Err(JournalError::NewerDatabase { address: address.to_string(), found: 3 }));
}

#[tokio::test]
async fn a_leader_whose_lease_another_took_writes_nothing() {
    let Some(server) = Server::shared() else { return };
    let Some(place) = Place::postgres() else { return };
    let opened = place.open().await;
    opened.journal.claim(at(20), vec![claim("a", 10)]).await.expect("claimed");
    let Place::Database(_, address) = &place else { panic!("it is a database") };
    let database = address.to_string().rsplit('/').next().expect("a name").to_owned();
    // As another member does that has seen no beat for long enough.
    server.sql(&database, "UPDATE stackcron.lease SET number = number + 1, beat = beat + 1, holder = 0");
    let claimed = opened.journal.claim(at(30), vec![claim("a", 20)]).await;
    assert_eq!(claimed, Err(JournalError::Deposed));
    assert_eq!(opened.journal.commit(vec![(key("a", 10), skipped())]).await, Err(JournalError::Deposed));
    assert_eq!(opened.journal.pause(name("a"), pause()).await, Err(JournalError::Deposed));
    assert_eq!(place.states(), [(key("a", 10), State::Due)].into(), "nothing is written");
    assert_eq!(server.sql(&database, "SELECT cursor FROM stackcron.shard"), "20000000");
    assert_eq!(server.sql(&database, "SELECT count(*) FROM stackcron.paused"), "0");
}
