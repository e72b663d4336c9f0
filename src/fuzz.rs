//! Fuzz targets: the schedule file, cron expressions, and what the API answers.
//!
//! Each takes any bytes and panics where a promise is broken. In the ordinary suite chance makes
//! the bytes; `fuzz/` has libFuzzer look for those that chance does not find.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::clock::Now;
use crate::cloud66::reply::Head;
use crate::cloud66::{FollowUp, Outcome};
use crate::log::Event;
use crate::log::event::{ActionFinished, ActionStarted, OccurrenceRejected, Pass, Seldom};
use crate::quota::{Purpose, Quota};
use crate::schedule::render::Colour;
use crate::schedule::{self, AccountName, EntryName, Expression, JobUid, QuotaSettings, Reserve, StackUid};
use crate::timetable;

/// Turns bytes into text: high bytes become words of a language, others stand for themselves.
/// Chance alone would find no mapping in a mapping.
fn spelt(bytes: &[u8], words: &[&str]) -> Vec<u8> {
    let mut text = Vec::new();
    for &byte in bytes {
        match byte {
            0..=0x7f => text.push(byte),
            _ => text.extend(words[usize::from(byte & 0x7f) % words.len()].as_bytes()),
        }
    }
    text
}

/// The input as it is, and as it is spelt.
fn both(input: &[u8], words: &[&str], mut tried: impl FnMut(&[u8])) {
    tried(input);
    tried(&spelt(input, words));
}

const OF_A_FILE: [&str; 59] = [
    "timezone: ",
    "accounts:\n",
    "jobs:\n",
    "defaults:\n",
    "notify:\n",
    "  a:\n",
    "  main:\n",
    "    ",
    "  ",
    "\n",
    "stack: s1\n",
    "job: j1\n",
    "cron: ",
    "token: { env: T }\n",
    "token: ",
    "url: ",
    "http://a/b?c#d",
    "timeout: ",
    "quota: { limit: 1 }\n",
    "window: ",
    "reserve: 5%\n",
    "args: ",
    "overlap: ",
    "skip",
    "queue",
    "catch_up: all\n",
    "start_deadline: ",
    "jitter: ",
    "priority: high\n",
    "idempotent: true\n",
    "follow: ",
    "paused: true\n",
    "stack_state: hold\n",
    "Europe/London",
    "'* * * * *'",
    "'0 0 30 2 *'",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "| \n",
    ">-\n",
    "\"",
    "'",
    "\\u0000",
    "1h 30m",
    "99999999999999999999d",
    "~",
    "---\n",
    "#",
    "é\u{202e}",
];

const OF_CRON: [&str; 40] = [
    "* ",
    "*",
    " ",
    "0 ",
    "1",
    "59 ",
    "23 ",
    "31 ",
    "12 ",
    "/",
    "-",
    ",",
    "?",
    "L",
    "W",
    "#",
    "LW",
    "L-3",
    "15W",
    "5L",
    "MON",
    "sun",
    "jan",
    "DEC ",
    "@daily",
    "@yearly",
    "@reboot",
    "*/72 ",
    "*/90 * * * *",
    "0 0 29 2 *",
    "0 0 30 2 *",
    "30 1 * * * ",
    "60",
    "7",
    "4294967296",
    "1-5",
    "FRI#5",
    "\t",
    "0-59/7 ",
    "MON-FRI",
];

const OF_AN_ANSWER: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\"response\":",
    "\"error\":",
    "\"error_description\":",
    "\"throttled\"",
    "\"not_implemented\"",
    "\"id\":",
    "\"user\":",
    "\"action\":",
    "\"job_run_now\"",
    "\"resource_id\":",
    "\"started_via\":",
    "\"started_at\":",
    "\"finished_at\":",
    "\"finished_success\":",
    "\"finished_message\":",
    "\"2026-01-01T00:00:00Z\"",
    "\"pagination\":",
    "\"next\":",
    "\"pages\":",
    "null",
    "true",
    "false",
    "18446744073709551616",
    "-1",
    "1e999",
    "7",
    "\\n",
    "\\ud800",
    "<html>",
];

/// Bytes as a schedule file: it is read or refused, with errors that can be read, and what is read
/// comes due.
pub fn schedule_file(input: &[u8]) {
    both(input, &OF_A_FILE, |bytes| match schedule::understand(Path::new("f.yaml"), bytes) {
        Ok(loaded) => {
            let loaded = loaded.linted(Timestamp::UNIX_EPOCH);
            for entry in &loaded.schedule.entries {
                assert!(timetable::next(entry, Timestamp::UNIX_EPOCH).is_some(), "it comes due at some time");
            }
        }
        Err(rejected) => {
            assert!(rejected.errors() > 0, "what is refused has an error");
            let told = rejected.render(Colour::Never);
            assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
        }
    });
}

/// Bytes as a cron expression: it is refused with a place in it, or comes due.
pub fn cron_expression(input: &[u8]) {
    both(input, &OF_CRON, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Expression::parse(text) {
            Err(error) => {
                assert!(text.get(error.span.clone()).is_some(), "{:?} is a part of {text:?}", error.span);
                assert!(!error.message.is_empty() && !error.help.is_empty());
            }
            Ok(expression) => due(&expression),
        }
    });
}

/// Asserts that the expression comes due, and that no instant before that is due.
fn due(expression: &Expression) {
    let written = serde_json::to_string(expression.as_str()).expect("JSON");
    let file = format!(
        "{{\"timezone\": \"Europe/London\", \"accounts\": {{\"a\": {{\"token\": {{\"env\": \"T\"}}}}}},
            \"jobs\": {{\"e\": {{\"stack\": \"s\", \"job\": \"j\", \"cron\": {written}}}}}}}"
    );
    let loaded = schedule::parse("f.json", &file).unwrap_or_else(|rejected| panic!("{rejected:?}"));
    let entry = &loaded.schedule.entries[0];
    let from: Timestamp = "2026-03-28T23:59:59.5Z".parse().expect("a timestamp");
    let first = timetable::next(entry, from).expect("it comes due");
    assert!(first >= from && first.subsec_nanosecond() == 0);
    let after = first.checked_add(Duration::from_nanos(1)).expect("a timestamp");
    assert_eq!(timetable::previous(entry, after), Some(first), "both directions agree");
    let before = timetable::previous(entry, from);
    assert!(before.is_none_or(|before| before < from));
    if let Some(second) = timetable::next(entry, after) {
        assert!(second > first);
    }
}

/// Bytes as a status, a body and headers: it is understood or not, by the client, the quota and the
/// log.
pub fn api_answer(input: &[u8]) {
    let (status, input) = input.split_at(input.len().min(2));
    let status =
        100 + u16::from_le_bytes([*status.first().unwrap_or(&100), *status.get(1).unwrap_or(&0)]) % 500;
    both(input, &OF_AN_ANSWER, |bytes| {
        let mut parts = bytes.splitn(6, |&byte| byte == b'\n');
        let body = parts.next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        let names =
            ["x-ratelimit-limit", "x-ratelimit-remaining", "retry-after", "x-cloud66-warning", "date"];
        for (name, value) in names.into_iter().zip(parts) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        answered(status, &headers, body);
    });
}

/// Takes an answer for that to each question.
fn answered(status: u16, headers: &HeaderMap, body: &[u8]) {
    let head = || Head::read(status, headers, Timestamp::UNIX_EPOCH);
    let settings =
        QuotaSettings { limit: 3600, window: Duration::from_secs(3600), reserve: Reserve::Requests(10) };
    let mut now = Now { wall: Timestamp::UNIX_EPOCH, mono: Duration::from_secs(1) };
    let mut quota = Quota::new(settings, now);
    let mut take_in = |told: Option<crate::quota::QuotaAnswer>| {
        now = Now { wall: now.wall + Duration::from_secs(1), mono: now.mono + Duration::from_secs(1) };
        if let (Some(told), Ok(ticket)) = (told, quota.admit(Purpose::Fire, now)) {
            quota.answered(ticket, told, now);
        }
        quota.tick(now);
        let _ = (quota.wakes_at(), quota.window_ends(), quota.exhausted_until(), quota.available(now));
    };
    let reply = head().of_run_now(Ok(body.to_vec()), Some("args"));
    take_in(reply.quota);
    let entry = || EntryName::new("e").expect("a name");
    let (stack, job) = (StackUid::new("s").expect("a uid"), JobUid::new("j").expect("a uid"));
    let scheduled_at = Timestamp::UNIX_EPOCH;
    match reply.outcome {
        Outcome::Started(action) => {
            assert!((200..300).contains(&status), "{status} starts nothing");
            let _ = (action.started(), action.duration_ms(), action.finished());
            let (duration_ms, finished) = (None, (*action).clone());
            told(ActionFinished {
                entry: entry(),
                stack: stack.clone(),
                job: job.clone(),
                scheduled_at,
                pass: Pass::default(),
                retry_of: Seldom::default(),
                retry: Seldom::default(),
                retry_at: Seldom::default(),
                duration_ms,
                action: finished,
            });
            told(ActionStarted {
                entry: entry(),
                account: AccountName::new("a").expect("a name"),
                stack,
                job,
                scheduled_at,
                pass: Pass::default(),
                retry_of: Seldom::default(),
                retry: Seldom::default(),
                sent_at: scheduled_at,
                lateness_ms: 0,
                connect_ms: None,
                attempts: 1,
                quota_limit: 1,
                quota_remaining: None,
                action: *action,
            });
        }
        Outcome::Rejected { status, error, hint } => {
            let pass = Pass::default();
            let (retry_of, retry) = (Seldom::default(), Seldom::default());
            told(OccurrenceRejected {
                entry: entry(),
                scheduled_at,
                pass,
                retry_of,
                retry,
                status: Some(status),
                error,
                hint,
            });
        }
        Outcome::Throttled { .. }
        | Outcome::NotFromApi { .. }
        | Outcome::NotSent { .. }
        | Outcome::Unsendable { .. }
        | Outcome::InDoubt { .. } => {}
    }
    let followed = head().of_action(Ok(body.to_vec()));
    assert!(matches!(followed.outcome, FollowUp::Action(_) | FollowUp::Gone { .. } | FollowUp::Unanswered));
    take_in(followed.quota);
    take_in(head().of_actions(Ok(body.to_vec())).quota);
}

/// Asserts that the event is logged as one line of bounded length.
fn told(event: impl Into<Event>) {
    let event = event.into();
    let line = Value::Object(event.record()).to_string();
    assert!(!line.contains('\n') && line.len() < 300_000, "{} bytes: {line:.200}", line.len());
    assert!(!event.message().is_empty());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Half of the bytes stand for words.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..200)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_schedule_file_or_refused(input in bytes()) {
            schedule_file(&input);
        }

        #[test]
        fn any_bytes_are_a_cron_expression_or_refused(input in bytes(), few in prop::collection::vec(any::<u8>(), 0..12)) {
            cron_expression(&input);
            cron_expression(&few);
        }

        #[test]
        fn any_bytes_are_an_answer(input in bytes()) {
            api_answer(&input);
        }
    }
}
