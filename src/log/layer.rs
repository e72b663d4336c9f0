//! Takes events, and the lines of other crates, from tracing to the thread that writes the log.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::log_writer::{LogItem, LogWriter};
use super::{Event, Line};

/// The target of all events of this program.
pub(super) const TARGET: &str = "stackcron";

/// The value of `event` in a line that another crate wrote.
const FOREIGN: &str = "log";

/// An event on its way through tracing, which hands a whole value on only if it is an error. The
/// event becomes fields on the thread that writes the log: that takes as long as a send.
#[derive(Debug)]
struct Carried(Arc<Event>);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message())
    }
}

impl Error for Carried {}

impl Event {
    /// Hands the event to the log.
    pub fn emit(self) {
        let (level, name, carried) = (self.level(), self.name(), Carried(Arc::new(self)));
        let whole: &(dyn Error + 'static) = &carried;
        // The level is a part of the place from which tracing is called.
        macro_rules! emit {
            ($level:ident) => {
                tracing::event!(target: TARGET, Level::$level, event = name, message = %carried, whole)
            };
        }
        match level {
            Level::ERROR => emit!(ERROR),
            Level::WARN => emit!(WARN),
            _ => emit!(INFO),
        }
    }
}

/// Hands what tracing tells to the thread that writes the log.
pub(super) struct ToWriter(pub(super) LogWriter);

impl<S: Subscriber> Layer<S> for ToWriter {
    fn on_event(&self, told: &tracing::Event<'_>, _: Context<'_, S>) {
        let at = Timestamp::now();
        let mut own = Own(None);
        told.record(&mut own);
        self.0.take(match own.0 {
            Some(event) => LogItem::Event(at, event),
            None => LogItem::Line(Box::new(foreign(at, told))),
        });
    }
}

/// Finds the event that tracing carries. `None`: another crate tells something.
struct Own(Option<Arc<Event>>);

impl Visit for Own {
    fn record_error(&mut self, _: &Field, value: &(dyn Error + 'static)) {
        self.0 = value.downcast_ref::<Carried>().map(|carried| Arc::clone(&carried.0)).or(self.0.take());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Returns the line that another crate wrote. Its fields replace none that the line has of its own.
fn foreign(at: Timestamp, told: &tracing::Event<'_>) -> Line {
    let metadata = told.metadata();
    let mut fields =
        ForeignFields(metadata.fields().iter().map(|field| (field.name().to_owned(), Value::Null)).collect());
    told.record(&mut fields);
    let mut line = Line::begun(at, *metadata.level());
    line.fields.put("level", metadata.level().as_str().to_ascii_lowercase());
    line.fields.put("event", FOREIGN);
    line.fields.put("message", fields.0.shift_remove("message").unwrap_or_else(|| "".into()));
    line.fields.put("target", metadata.target());
    for (name, value) in fields.0 {
        line.fields.put_if_absent(name, value);
    }
    line
}

/// The fields of a line that another crate wrote.
struct ForeignFields(Map<String, Value>);

impl ForeignFields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for ForeignFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
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
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Sender, channel};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log::event::JournalFailed;
    use crate::log::form::Form;
    use crate::log::log_writer::Sink;

    struct SentLines(Sender<Vec<u8>>);

    impl Write for SentLines {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_owned()).map_err(io::Error::other).map(|()| line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The one line that the log has of what `tell` tells, without its timestamp.
    fn line(tell: impl FnOnce()) -> Value {
        let (sender, lines) = channel();
        let sink = Sink { form: Form::Json, out: Box::new(SentLines(sender)), recent: None };
        let (log_writer, writing) = LogWriter::start(sink).expect("a thread");
        let subscriber = tracing_subscriber::registry().with(ToWriter(log_writer));
        tracing::subscriber::with_default(subscriber, tell);
        drop(writing);
        let line = lines.try_recv().expect("a line");
        assert!(lines.try_recv().is_err(), "one line");
        let mut line: Value = serde_json::from_slice(&line).expect("one JSON object");
        line["timestamp"].take();
        line
    }

    #[test]
    fn an_event_goes_through_tracing_as_it_is() {
        let event = Event::from(JournalFailed { since: Timestamp::UNIX_EPOCH, error: "full".to_owned() });
        let mut expected = json!({ "timestamp": null });
        expected.as_object_mut().expect("an object").append(&mut event.record());
        assert_eq!(line(|| event.emit()).to_string(), expected.to_string());
    }

    #[test]
    fn a_line_of_another_crate_says_whose_it_is() {
        let line = line(
            || tracing::warn!(target: "hyper", level = "none", event = "daemon.stopped", port = 80, "gone"),
        );
        assert_eq!(
            line,
            json!({"timestamp": null, "level": "warn", "event": "log", "message": "gone", "target": "hyper", "port": 80})
        );
    }
}
