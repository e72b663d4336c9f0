//! What the journal says of the last hours, beside a daemon that writes.

use jiff::Timestamp;
use stackcron::journal::{
    Claim, Journal, Key, Lately, Origin, Started, State, Transition, read_lately, read_records,
};
use stackcron::schedule::{AccountName, EntryName, JobUid, StackUid};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).expect("a timestamp")
}

fn key(entry: &str, second: i64) -> Key {
    Key::new(EntryName::new(entry).expect("a name"), at(second * 1000))
}

/// Due a minute after it was scheduled: its entry has a jitter.
fn claim(entry: &str, second: i64) -> Claim {
    Claim {
        key: key(entry, second),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new("s").expect("a uid"),
        job: JobUid::new("j").expect("a uid"),
        due_at: at((second + 60) * 1000),
        deadline: at((second + 3600) * 1000),
        origin: Origin::Schedule,
        repetition: stackcron::journal::Repetition::default(),
    }
}

fn started(sent_at: i64, action: Started) -> Transition {
    Transition::Started { attempts: 1, sent_at: at(sent_at), action }
}

#[tokio::test]
async fn what_went_wrong_lately_is_counted_and_the_newest_is_picked_out() {
    let place = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(place.path()).expect("a journal").journal;
    let names = ["old", "well", "late", "failed", "missed", "skipped", "unknown", "waits", "future"];
    let claims: Vec<Claim> = names.iter().zip(100..).map(|(name, second)| claim(name, second)).collect();
    journal.claim(at(200_000), claims).await.expect("claimed");
    let failed =
        Transition::Finished { success: Some(false), finished_at: at(170_000), message: Some("no".into()) };
    let moves = vec![
        (key("old", 100), Transition::Missed { reason: "down".into() }),
        (key("well", 101), started(161_500, Started::Alone(Some(1)))),
        (key("late", 102), started(163_001, Started::Alone(Some(2)))),
        (key("failed", 103), started(163_001, Started::Followed(3))),
        (key("failed", 103), failed),
        (key("missed", 104), Transition::Missed { reason: "deadline".into() }),
        (key("skipped", 105), Transition::Skipped { reason: "paused".into() }),
        (key("unknown", 106), Transition::Unknown { error: "lost".into() }),
        (key("waits", 107), Transition::Waiting { attempts: 0, reason: "quota".into() }),
    ];
    let refused = journal.commit(moves).await.expect("written");
    assert_eq!(refused, []);

    let lately = |most| read_lately(place.path(), at(101_000), at(108_000), most).expect("a journal");
    let Lately { counts, late, notable, cut, hours } = lately(10);
    let expected = [
        (State::Waiting, 1),
        (State::Started, 2),
        (State::Failed, 1),
        (State::Missed, 1),
        (State::Skipped, 1),
        (State::Unknown, 1),
    ];
    assert_eq!(counts, expected, "neither what is older, nor what is still to come");
    assert_eq!(hours, [(at(0), expected.to_vec())]);
    assert_eq!((late, cut), (1, false), "a second after it was due is late, jitter not counted");
    let names: Vec<String> = notable.iter().map(|record| record.key.entry().to_string()).collect();
    assert_eq!(names, ["unknown", "missed", "failed", "late"], "the newest first");
    assert_eq!(notable[2].reason.as_deref(), Some("no"));
    assert_eq!(lately(2).notable, notable[..2]);

    let keys = [key("waits", 107), key("gone", 107), key("late", 101), key("late", 102)];
    let records = read_records(place.path(), &keys).expect("a journal");
    let states: Vec<Option<State>> = records.iter().map(|record| Some(record.as_ref()?.state)).collect();
    assert_eq!(states, [Some(State::Waiting), None, None, Some(State::Started)]);
    assert_eq!(read_records(place.path(), &[]).expect("a journal"), []);
}

#[test]
fn without_a_journal_that_is_said() {
    let place = tempfile::tempdir().expect("a directory");
    assert!(read_lately(place.path(), at(0), at(1), 1).is_err());
    assert!(read_records(place.path(), &[key("a", 1)]).is_err());
}

#[tokio::test]
async fn each_hour_of_what_was_scheduled_lately_is_counted_by_state() {
    let place = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(place.path()).expect("a journal").journal;
    let claims =
        vec![claim("early", 3_599), claim("late", 3_600), claim("late", 7_199), claim("last", 10_800)];
    journal.claim(at(20_000_000), claims).await.expect("claimed");
    let moves = vec![(key("late", 7_199), Transition::Missed { reason: "down".into() })];
    assert_eq!(journal.commit(moves).await.expect("written"), []);
    let Lately { counts, hours, .. } =
        read_lately(place.path(), at(0), at(20_000_000), 10).expect("a journal");
    assert_eq!(counts, [(State::Due, 3), (State::Missed, 1)]);
    let expected = [
        (at(0), vec![(State::Due, 1)]),
        (at(3_600_000), vec![(State::Due, 1), (State::Missed, 1)]),
        (at(10_800_000), vec![(State::Due, 1)]),
    ];
    assert_eq!(hours, expected, "an hour without an occurrence is not among them");
}
