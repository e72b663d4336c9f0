//! The body of a message: ends folded into one, as JSON or as text for a chat.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::log::Event;
use crate::schedule::{Format, Trigger};

/// Occurrences of a message that are told one by one. Of the others their number is told.
const TOLD: usize = 50;

/// A chat's message lists at most this many ends one by one.
const LINES: usize = 10;

/// Characters of a line in a chat.
const LINE: usize = 500;

/// Ends that are told together. However many, it stays small.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Digest {
    counts: BTreeMap<Trigger, usize>,
    told: Vec<DigestItem>,
}

#[derive(Clone, Debug, PartialEq)]
struct DigestItem {
    trigger: Trigger,
    message: String,
    record: Map<String, Value>,
}

impl Digest {
    pub(super) fn add(&mut self, trigger: Trigger, event: &Event) {
        *self.counts.entry(trigger).or_default() += 1;
        if self.told.len() < TOLD {
            let message = match trigger {
                Trigger::Recovered => format!("recovered: {}", event.message()),
                Trigger::Late => format!("late: {}", event.message()),
                _ => event.message(),
            };
            self.told.push(DigestItem { trigger, message, record: event.record() });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns the number of ends in the message.
    pub(super) fn len(&self) -> usize {
        self.counts.values().sum()
    }

    /// Returns the body to post. `host` is the name of the machine that the daemon runs on.
    pub(super) fn body(&self, format: Format, host: &str) -> Value {
        match format {
            Format::Json => json!({
                "source": "stackcron",
                "host": host,
                "text": self.headline(),
                "counts": self.counts.iter().map(|(trigger, count)| (trigger.word(), *count)).collect::<BTreeMap<_, _>>(),
                "occurrences": self.told.iter().map(DigestItem::json).collect::<Vec<_>>(),
                "left_out": self.len() - self.told.len(),
            }),
            Format::Slack => json!({ "text": self.chat(host) }),
        }
    }

    /// Returns one sentence with the end, or with the number of ends.
    fn headline(&self) -> String {
        if let [only] = &self.told[..]
            && self.len() == 1
        {
            return only.message.clone();
        }
        let counts: Vec<String> = self
            .counts
            .iter()
            .enumerate()
            .map(|(place, (trigger, count))| match (place, count) {
                (0, 1) => format!("1 occurrence {}", trigger.word()),
                (0, count) => format!("{count} occurrences {}", trigger.word()),
                (_, count) => format!("{count} {}", trigger.word()),
            })
            .collect();
        counts.join(", ")
    }

    /// The headline and a line for each of the first ends.
    fn chat(&self, host: &str) -> String {
        let mut text = format!("*stackcron* on {}: {}", escaped(host), escaped(&cut(&self.headline())));
        if self.len() > 1 {
            for told in self.told.iter().take(LINES) {
                text += &format!("\n• {}", escaped(&cut(&told.message)));
            }
            let others = self.len().saturating_sub(LINES);
            if others > 0 {
                text += &format!("\n… and {others} more");
            }
        }
        text
    }
}

impl DigestItem {
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("what".to_owned(), self.trigger.word().into());
        object.extend(self.record.clone());
        Value::Object(object)
    }
}

/// Escapes the characters that Slack reads as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::log::event::{OccurrenceUnknown, Pass, Seldom};
    use crate::schedule::EntryName;

    fn unknown(entry: &str, error: &str) -> Event {
        let (entry, scheduled_at) = (EntryName::new(entry).expect("a name"), Timestamp::UNIX_EPOCH);
        OccurrenceUnknown {
            entry,
            scheduled_at,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            error: error.to_owned(),
        }
        .into()
    }

    fn flood(count: usize) -> Digest {
        let mut digest = Digest::default();
        for number in 0..count {
            let (trigger, entry) = match number % 4 {
                0 => (Trigger::Failed, "a"),
                _ => (Trigger::Missed, "b"),
            };
            digest.add(trigger, &unknown(entry, &format!("{number} <b>&")));
        }
        digest
    }

    #[test]
    fn a_flood_is_one_small_message_with_its_counts() {
        let body = flood(100_000).body(Format::Json, "h");
        assert_eq!(body["text"], "25000 occurrences failed, 75000 missed");
        assert_eq!(body["counts"], json!({ "failed": 25_000, "missed": 75_000 }));
        assert_eq!(body["left_out"], 100_000 - TOLD);
        assert!(body.to_string().len() < 20_000, "it stays small: {}", body.to_string().len());
    }

    #[test]
    fn a_chat_reads_what_happened() {
        let one = flood(1).body(Format::Slack, "db-1");
        let many = flood(12).body(Format::Slack, "db-1");
        let text = |body: &Value| body["text"].as_str().map(str::to_owned).unwrap_or_default();
        insta::assert_snapshot!(format!("{}\n---\n{}", text(&one), text(&many)));
    }

    #[test]
    fn a_recovery_says_so() {
        let mut digest = Digest::default();
        digest.add(Trigger::Recovered, &unknown("a", "8"));
        let body = digest.body(Format::Json, "h");
        assert!(body["text"].as_str().is_some_and(|text| text.starts_with("recovered: a: ")), "{body}");
        assert_eq!(body["occurrences"][0]["what"], "recovered");
        assert_eq!(body["occurrences"][0]["entry"], "a");
    }
}
