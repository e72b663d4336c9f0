//! The newest lines of occurrences, for people who look at one on the status page: what the log
//! writes elsewhere this process does not read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::text::TextPage;
use super::{Line, json};
use crate::schedule::EntryName;

/// Lines that are kept, in at most 5 MB.
const MOST: usize = 2000;

/// The newest lines that tell of an occurrence. Its clones have the same lines.
#[derive(Clone, Debug, Default)]
pub struct RecentLines(Arc<Mutex<VecDeque<Line>>>);

impl RecentLines {
    /// Keeps a line that tells of an occurrence, and forgets the oldest when there are too many.
    pub(super) fn keep(&self, line: Line) {
        if line.text("entry").is_none() || line.text("scheduled_at").is_none() {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Returns the kept lines of an occurrence as JSON objects, each with its line break, the
    /// oldest first.
    pub(crate) fn json(&self, entry: &EntryName, scheduled_at: Timestamp) -> String {
        self.written(entry, scheduled_at, json::line)
    }

    /// Returns the kept lines of an occurrence as sentences for people, the oldest first.
    pub(crate) fn text(&self, entry: &EntryName, scheduled_at: Timestamp) -> String {
        let mut page = TextPage::new(None, false);
        self.written(entry, scheduled_at, |line| page.lines(line))
    }

    fn written(&self, entry: &EntryName, at: Timestamp, form: impl FnMut(&Line) -> String) -> String {
        let is_at = |line: &Line| line.text("scheduled_at").and_then(|text| text.parse().ok()) == Some(at);
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = lines.iter().filter(|line| line.text("entry") == Some(entry.as_str()) && is_at(line));
        wanted.map(form).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn line(entry: &str, second: i64, message: &str) -> Line {
        let at = Timestamp::from_second(second).expect("an instant");
        let mut line = Line::begun(at, Level::INFO);
        line.fields.put("entry", entry);
        line.fields.put("scheduled_at", at.to_string());
        line.fields.put("message", message);
        line
    }

    #[test]
    fn an_occurrence_has_its_own_lines_until_many_newer_ones_have_come() {
        let lines = RecentLines::default();
        let nightly = EntryName::new("nightly").expect("a name");
        let at = Timestamp::from_second(100).expect("an instant");
        lines.keep(line("nightly", 100, "first"));
        lines.keep(line("hourly", 100, "another entry"));
        lines.keep(line("nightly", 101, "another instant"));
        lines.keep(Line::begun(at, Level::INFO));
        lines.keep(line("nightly", 100, "second"));
        let told = lines.json(&nightly, at);
        assert_eq!(told.matches("message").count(), 2, "{told}");
        assert!(told.find("first") < told.find("second"), "{told}");
        assert!(lines.text(&nightly, at).contains("first"));
        for _ in 0..MOST {
            lines.keep(line("hourly", 100, "newer"));
        }
        assert_eq!(lines.json(&nightly, at), "");
    }
}
