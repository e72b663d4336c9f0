//! A log line as one flat JSON object.

use super::Line;
use super::text::misleads;

/// Returns the line as `{"timestamp":…,"level":…,"event":…,"message":…,…}` with its line break.
///
/// A field without a value is null, so that each event always has the same keys, but for those that
/// few lines have.
pub(super) fn line(line: &Line) -> String {
    // Neither a text nor these values can fail.
    let mut text = unseen_escaped(serde_json::to_string(&line.fields).unwrap_or_default());
    text.push('\n');
    text
}

/// The line with what misleads a reader escaped that JSON lets stand: some terminals obey it. It
/// stands in strings alone.
fn unseen_escaped(line: String) -> String {
    let stands = |c: char| !c.is_ascii() && misleads(c) || c == '\u{7f}';
    if !line.contains(stands) {
        return line;
    }
    line.chars().fold(String::with_capacity(line.len() + 16), |mut escaped, c| {
        match stands(c) {
            true => escaped += &format!("\\u{:04x}", u32::from(c)),
            false => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::cloud66::Action;
    use crate::log::Event;
    use crate::log::event::{
        ActionStarted, JournalFailed, OccurrenceRejected, OccurrenceRetrying, OccurrenceWaiting, Pass, Seldom,
    };
    use crate::occurrence::Reason;
    use crate::schedule::{AccountName, EntryName, JobUid, StackUid};

    fn text(event: impl Into<Event>) -> String {
        line(&Line::new(Timestamp::UNIX_EPOCH, &event.into()))
    }

    /// The line of the event, with its timestamp taken out.
    fn fields(event: impl Into<Event>) -> Value {
        let mut line: Value = serde_json::from_str(&text(event)).expect("one JSON object");
        assert_eq!(line["timestamp"].take(), "1970-01-01T00:00:00.000000Z");
        line
    }

    fn started(action: Value) -> ActionStarted {
        let at: Timestamp = "2026-03-29T01:30:00Z".parse().expect("a timestamp");
        ActionStarted {
            entry: EntryName::new("nightly").expect("a name"),
            account: AccountName::new("main").expect("a name"),
            stack: StackUid::new("s1").expect("a uid"),
            job: JobUid::new("007").expect("a uid"),
            scheduled_at: at,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            sent_at: "2026-03-29T01:30:00.00102999Z".parse().expect("a timestamp"),
            lateness_ms: 1,
            connect_ms: Some(0),
            attempts: 1,
            quota_limit: 3600,
            quota_remaining: Some(3599),
            action: Action::from_json(action).expect("an action"),
        }
    }

    #[test]
    fn an_action_is_flat_with_every_field_of_the_answer() {
        let event =
            started(json!({"id": 7, "user": "a@example.com", "finished_at": null, "finished_result": "ok"}));
        insta::assert_snapshot!(serde_json::to_string_pretty(&fields(event)).expect("JSON"));
    }

    #[test]
    fn a_pass_is_shown_where_it_is_not_0_and_a_value_that_is_missing_is_null() {
        let entry = EntryName::new("nightly").expect("a name");
        let retrying = |pass: u32| OccurrenceRetrying {
            entry: entry.clone(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::from(pass),
            attempts: 2,
            error: "reset\n".to_owned(),
            status: Some(502),
            retry_in_ms: 500,
        };
        assert_eq!(fields(retrying(3)).get("pass"), Some(&json!(3)));
        assert_eq!(fields(retrying(0)).get("pass"), None);
        let waiting = OccurrenceWaiting {
            entry,
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            reason: Reason::Overlap,
            until: None,
        };
        assert_eq!(
            text(waiting),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"info\",\"event\":\"occurrence.waiting\",\
             \"message\":\"nightly: waits for its last action to finish\",\"entry\":\"nightly\",\
             \"scheduled_at\":\"1970-01-01T00:00:00Z\",\"reason\":\"overlap\",\"until\":null}\n"
        );
    }

    #[test]
    fn an_odd_field_cannot_replace_a_known_one() {
        let line = fields(started(json!({"id": [7], "user": "a@example.com", "a\nb": {"c": 1}})));
        assert_eq!(line["action_id"], Value::Null, "what is no number is no id");
        assert_eq!(line["action_a\nb"], json!({"c": 1}));
    }

    #[test]
    fn what_an_api_says_cannot_forge_a_line() {
        let event = OccurrenceRejected {
            entry: EntryName::new("nightly").expect("a name"),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            status: Some(404),
            error: "no\n{\"event\":\"action.started\"}".to_owned(),
            hint: String::new(),
        };
        let line = text(event);
        assert_eq!(line.lines().count(), 1, "one event is one line: {line}");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["error"], "no\n{\"event\":\"action.started\"}");
    }

    #[test]
    fn a_line_steers_no_terminal() {
        let said = "\u{1b}[2J\u{7f}\u{9b}2J\u{85}\u{202e}é";
        let line = text(JournalFailed { since: Timestamp::UNIX_EPOCH, error: said.to_owned() });
        assert!(!line.trim_end().contains(misleads), "{line}");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["error"], said, "and nothing is lost");
    }
}
