//! The query of a request: its keys and values, and what is wrong with them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::moment::{Moment, shared_zone};
use crate::schedule::{EntryName, Schedule};

/// Keys and values, as they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

/// The fault of a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("`{key}` is no parameter here; there are: {known}")]
    Unknown { key: String, known: String },
    #[error("`{key}` is given several times; give it once")]
    Twice { key: &'static str },
    #[error("`{key}` is missing")]
    Missing { key: &'static str },
    #[error("`{key}` is wrong: {problem}")]
    Wrong { key: &'static str, problem: String },
    #[error(
        "the entries are in several zones: write `{key}` with its offset, as 2026-10-25T01:30:00%2B01:00 or with Z"
    )]
    ManyZones { key: &'static str },
}

impl Query {
    /// Reads a query. Its keys have to be among `known`.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Query, QueryError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        });
        let query = Query(pairs.collect());
        match query.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(query),
            Some((key, _)) => {
                let key = key.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(QueryError::Unknown { key, known: known.join(", ") })
            }
        }
    }

    /// Returns all values of a key.
    pub(super) fn all<'q>(&'q self, key: &'static str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The value of a key.
    pub(super) fn one(&self, key: &'static str) -> Result<Option<&str>, QueryError> {
        let mut all = self.all(key);
        match (all.next(), all.next()) {
            (_, Some(_)) => Err(QueryError::Twice { key }),
            (value, None) => Ok(value),
        }
    }

    /// The value of a key that has to be there.
    pub(super) fn required(&self, key: &'static str) -> Result<&str, QueryError> {
        self.one(key)?.ok_or(QueryError::Missing { key })
    }

    /// Returns true when the answer is asked for as text for people, and false for JSON.
    pub(super) fn is_text(&self) -> Result<bool, QueryError> {
        match self.one("format")? {
            None | Some("json") => Ok(false),
            Some("text") => Ok(true),
            Some(_) => Err(QueryError::Wrong { key: "format", problem: "write json or text".to_owned() }),
        }
    }

    /// A number, at most `most`.
    pub(super) fn number(&self, key: &'static str, default: usize, most: usize) -> Result<usize, QueryError> {
        match self.one(key)? {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(QueryError::Wrong { key, problem: format!("write a number from 0 to {most}") }),
            },
        }
    }

    /// The name of an entry, of the schedule or of the journal.
    pub(super) fn entry(&self) -> Result<Option<EntryName>, QueryError> {
        let name = self.one("entry")?.map(EntryName::new).transpose();
        name.map_err(|error| QueryError::Wrong { key: "entry", problem: error.to_string() })
    }

    /// A time as the commands take it.
    pub(super) fn moment(&self, key: &'static str) -> Result<Option<Moment>, QueryError> {
        let moment = self.one(key)?.map(str::parse).transpose();
        moment.map_err(|error: crate::cli::moment::MomentError| QueryError::Wrong {
            key,
            problem: error.to_string(),
        })
    }

    /// An instant: a local time is read in the zone of `entry`, or in the one that all entries
    /// share.
    pub(super) fn instant(
        &self,
        key: &'static str,
        entry: Option<&EntryName>,
        schedule: &Schedule,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, QueryError> {
        let Some(moment) = self.moment(key)? else { return Ok(None) };
        if !moment.is_local() {
            return self.placed(key, moment, &TimeZone::UTC, now).map(Some);
        }
        let of_entry = entry.and_then(|name| schedule.entries.iter().find(|entry| entry.name == *name));
        let zone = match of_entry {
            Some(entry) => Some(entry.timezone.clone()),
            None => shared_zone(&schedule.entries),
        };
        self.placed(key, moment, &zone.ok_or(QueryError::ManyZones { key })?, now).map(Some)
    }

    fn placed(
        &self,
        key: &'static str,
        moment: Moment,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Timestamp, QueryError> {
        let at = moment.in_zone(zone, now);
        at.map_err(|error| QueryError::Wrong { key, problem: error.to_string() })
    }

    /// Returns this query with other values of some keys. `None` removes a key.
    pub(super) fn with(&self, changes: &[(&str, Option<String>)]) -> String {
        let kept = self.0.iter().filter(|(key, _)| !changes.iter().any(|(changed, _)| changed == key));
        let changed = changes.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
        let all = kept.cloned().chain(changed);
        all.map(|(key, value)| format!("{}={}", encoded(&key), encoded(&value))).collect::<Vec<_>>().join("&")
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_written() {
        let query = Query::parse("entry=a&entry=b%20c&count=3&from=2h+ago", &["entry", "count", "from"]);
        let query = query.expect("a query");
        assert_eq!(query.all("entry").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(query.one("from"), Ok(Some("2h ago")));
        assert_eq!(query.number("count", 1, 10), Ok(3));
        assert_eq!(
            query.with(&[("entry", None), ("skip", Some("2".to_owned()))]),
            "count=3&from=2h%20ago&skip=2"
        );
        for (text, told) in [
            ("stat=x", "`stat` is no parameter here; there are: entry, count"),
            ("count=-1", "`count` is wrong: write a number from 0 to 10"),
            ("count=1&count=2", "`count` is given several times; give it once"),
        ] {
            let query = Query::parse(text, &["entry", "count"]);
            let told_so = query.and_then(|query| query.number("count", 1, 10));
            assert_eq!(told_so.map_err(|error| error.to_string()), Err(told.to_owned()));
        }
    }
}
