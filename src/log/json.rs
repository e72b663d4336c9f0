//! A log line as one flat JSON object.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::field::SELDOM;
use super::log_writer::timestamp;
use super::text::misleads;

/// Formats an event as `{"timestamp":…,"level":…,"event":…,"message":…,…}`.
///
/// A field without a value is null, so that each event always has the same keys, but for those that
/// few lines have.
pub(super) struct JsonLines;

/// Name of the event of a line that another crate wrote.
const FOREIGN: &str = "log";

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::of(event.metadata());
        event.record(&mut fields);
        writer.write_str(&fields.line(timestamp()))?;
        writer.write_char('\n')
    }
}

/// An event's line, when it is given the instant.
pub(super) fn of_event(at: Timestamp, event: &crate::log::Event) -> String {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), format!("{at:.6}").into());
    record(event, &mut line);
    unseen_escaped(Value::Object(line).to_string())
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

/// Adds the fields of the event to a line.
pub(super) fn record(event: &crate::log::Event, line: &mut Map<String, Value>) {
    line.insert("level".to_owned(), event.level().as_str().to_ascii_lowercase().into());
    line.insert("event".to_owned(), event.name().into());
    line.insert("message".to_owned(), event.message().into());
    for (name, value) in event.fields() {
        if name == MORE {
            let more: Map<String, Value> =
                value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            for (key, value) in more {
                line.entry(format!("action_{key}")).or_insert(value);
            }
        } else if !SELDOM.contains(&name) || !value.is_null() {
            line.insert(name.to_owned(), value);
        }
    }
}

/// The fields of an event as they are recorded, in JSON. They come in the order in which the event
/// declares them, without those that have no value.
struct Fields {
    metadata: &'static Metadata<'static>,
    event: Option<Vec<u8>>,
    message: Vec<u8>,
    /// `,"key":value` for each of the others.
    others: Vec<u8>,
    /// Number of fields that are written or known to have no value.
    done: usize,
}

impl Fields {
    fn of(metadata: &'static Metadata<'static>) -> Fields {
        Fields { metadata, event: None, message: Vec::new(), others: Vec::with_capacity(1024), done: 0 }
    }

    fn line(mut self, at: Timestamp) -> String {
        self.nulls_up_to(self.metadata.fields().len());
        let level = match *self.metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut line = format!(r#"{{"timestamp":"{at:.6}","level":"{level}","event":"#).into_bytes();
        match &self.event {
            Some(event) => line.extend_from_slice(event),
            None => write(&mut line, FOREIGN),
        }
        line.extend_from_slice(br#","message":"#);
        line.extend_from_slice(if self.message.is_empty() { b"\"\"" } else { &self.message });
        if self.event.is_none() {
            line.extend_from_slice(br#","target":"#);
            write(&mut line, self.metadata.target());
        }
        line.extend_from_slice(&self.others);
        line.push(b'}');
        // JSON that serde_json wrote is UTF-8.
        unseen_escaped(String::from_utf8_lossy(&line).into_owned())
    }

    fn set(&mut self, field: &Field, value: impl Serialize) {
        self.nulls_up_to(field.index());
        self.done = field.index() + 1;
        match field.name() {
            "event" => write(self.event.insert(Vec::new()), value),
            "message" => write(&mut self.message, value),
            name => self.other(name, value),
        }
    }

    fn nulls_up_to(&mut self, index: usize) {
        let skipped = self.metadata.fields().iter().take(index).skip(self.done);
        let unnamed = ["event", "message", MORE];
        let is_named = |name: &str| !unnamed.contains(&name) && !SELDOM.contains(&name);
        for field in skipped.filter(|field| is_named(field.name())) {
            self.other(field.name(), Value::Null);
        }
        self.done = self.done.max(index);
    }

    fn other(&mut self, name: &str, value: impl Serialize) {
        // Another crate's field of this name does not replace the line's own.
        if matches!(name, "timestamp" | "level") {
            return;
        }
        self.others.push(b',');
        write(&mut self.others, name);
        self.others.push(b':');
        write(&mut self.others, value);
    }

    /// The fields of an action that have no column of their own.
    fn more(&mut self, text: &str) {
        let more: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        for (key, value) in more {
            let name = format!("action_{key}");
            if name == MORE || self.metadata.fields().field(name.as_str()).is_none() {
                self.other(&name, value);
            }
        }
    }
}

/// The field that holds, as JSON, what an action has beside its known fields.
const MORE: &str = "action_more";

fn write(line: &mut Vec<u8>, value: impl Serialize) {
    // Neither a Vec nor these values can fail.
    let _ = serde_json::to_writer(line, &value);
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MORE {
            self.nulls_up_to(field.index());
            self.more(value);
        } else {
            self.set(field, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::cloud66::Action;
    use crate::log::event::{
        ActionStarted, JournalFailed, OccurrenceRejected, OccurrenceRetrying, OccurrenceWaiting, Pass, Seldom,
    };
    use crate::occurrence::Reason;
    use crate::schedule::{AccountName, EntryName, JobUid, StackUid};

    /// The lines that `emit` makes, without their timestamps.
    fn lines(emit: impl FnOnce()) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&written);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || Shared(Arc::clone(&writer)))
            .event_format(JsonLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), emit);
        let bytes = written.lock().expect("one thread").clone();
        String::from_utf8(bytes)
            .expect("UTF-8")
            .lines()
            .map(|line| {
                let mut line: Value = serde_json::from_str(line).expect("one JSON object a line");
                let at = line["timestamp"].take();
                assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "UTC with Z: {at}");
                line
            })
            .collect()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
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
        let line = lines(|| crate::log::Event::from(event).emit()).remove(0);
        insta::assert_snapshot!(serde_json::to_string_pretty(&line).expect("JSON"));
    }

    #[test]
    fn an_event_has_one_line_whether_or_not_it_went_through_tracing() {
        let entry = EntryName::new("nightly").expect("a name");
        let action = started(json!({"id": "7", "user": null, "finished_success": false, "more": [1]}));
        let events: [crate::log::Event; 3] = [
            action.into(),
            OccurrenceRetrying {
                entry: entry.clone(),
                scheduled_at: Timestamp::UNIX_EPOCH,
                pass: Pass::from(3),
                attempts: 2,
                error: "reset\n".to_owned(),
                status: Some(502),
                retry_in_ms: 500,
            }
            .into(),
            OccurrenceWaiting {
                entry,
                scheduled_at: Timestamp::UNIX_EPOCH,
                pass: Pass::default(),
                reason: Reason::Overlap,
                until: None,
            }
            .into(),
        ];
        for event in events {
            let through_tracing = lines(|| event.emit()).remove(0);
            let mut alone: Value = serde_json::from_str(&of_event(Timestamp::now(), &event)).expect("JSON");
            alone["timestamp"].take();
            assert_eq!(alone.to_string(), through_tracing.to_string());
            let pass = match event.name() {
                "occurrence.retrying" => Some(&json!(3)),
                _ => None,
            };
            assert_eq!(alone.get("pass"), pass, "shown where it is not 0: {alone}");
        }
    }

    #[test]
    fn an_odd_field_cannot_replace_a_known_one() {
        let event = started(json!({"id": [7], "user": "a@example.com", "a\nb": {"c": 1}}));
        let line = lines(|| crate::log::Event::from(event).emit()).remove(0);
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
        let lines = lines(|| crate::log::Event::from(event).emit());
        assert_eq!(lines.len(), 1, "one event is one line: {lines:?}");
        assert_eq!(lines[0]["error"], "no\n{\"event\":\"action.started\"}");
    }

    #[test]
    fn a_line_steers_no_terminal() {
        let said = "\u{1b}[2J\u{7f}\u{9b}2J\u{85}\u{202e}é";
        let event = JournalFailed { since: Timestamp::UNIX_EPOCH, error: said.to_owned() };
        let line = of_event(Timestamp::UNIX_EPOCH, &crate::log::Event::from(event));
        assert!(!line.contains(misleads), "{line}");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["error"], said, "and nothing is lost");
    }

    #[test]
    fn a_line_of_another_crate_says_whose_it_is() {
        let line = lines(|| tracing::warn!(target: "hyper", level = "none", port = 80, "gone")).remove(0);
        assert_eq!(
            line,
            json!({"timestamp": null, "level": "warn", "event": "log", "message": "gone", "target": "hyper", "port": 80})
        );
    }
}
