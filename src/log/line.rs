//! A line of the log before it has a form.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::Level;

use super::Event;

/// A line of the log. An event becomes one once, whatever form of the log it goes to.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    /// All fields in their order, the timestamp and the level too.
    pub(super) fields: LineFields,
}

impl Line {
    /// Returns the line of an event that is told at `at`.
    pub(crate) fn new(at: Timestamp, event: &Event) -> Line {
        let mut line = Line::begun(at, event.level());
        event.record_in(&mut line.fields);
        line
    }

    /// Returns a line that has its timestamp, and nothing else yet.
    pub(super) fn begun(at: Timestamp, level: Level) -> Line {
        let mut fields = LineFields(Vec::with_capacity(32));
        fields.put("timestamp", format!("{at:.6}"));
        Line { at, level, fields }
    }

    /// Returns the text of a field. `None`: the line has no such field, or the field is no text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }
}

/// The fields of a line in their order. A list, since a map of them takes three times as long to
/// make, and the end of a burst has thousands of lines.
#[derive(Debug, Default)]
pub(super) struct LineFields(Vec<(Cow<'static, str>, Value)>);

impl LineFields {
    /// Adds a field whose name the line does not have yet.
    pub(super) fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Adds a field, unless the line has one of this name.
    pub(super) fn put_if_absent(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let name = name.into();
        if self.get(&name).is_none() {
            self.put(name, value);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Serialize for LineFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
