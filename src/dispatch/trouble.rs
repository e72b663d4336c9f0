//! Notes from an account's answers whether the API is out of reach or refuses the token, and since
//! when.

use jiff::Timestamp;

use crate::cloud66::Outcome;
use crate::schedule::EntryName;

/// The troubles of an account. All `None` while its requests have effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) unreachable: Option<Unreachable>,
    pub(crate) denied: Option<Denied>,
    /// When the quota was last seen to be spent. Read only while the quota is spent.
    pub(crate) exhausted_since: Option<Timestamp>,
}

/// Requests do not arrive, or get no answer that tells anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    pub(crate) since: Timestamp,
    /// When the newest request failed.
    pub(crate) tried_at: Timestamp,
    /// The newest error.
    pub(crate) error: String,
}

/// The API refuses the token (401), or what its user asks for (403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) since: Timestamp,
    pub(crate) status: u16,
    /// The entry that was refused last.
    pub(crate) entry: EntryName,
    /// The API's words.
    pub(crate) error: String,
}

impl Trouble {
    /// Takes in the outcome of a `run_now` of `entry`.
    pub(super) fn fired(&mut self, entry: &EntryName, outcome: &Outcome, now: Timestamp) {
        match outcome {
            // Nothing was asked of the API.
            Outcome::Unsendable { .. } => {}
            Outcome::NotSent { error } => self.out_of_reach(error, now),
            // The API was not reached: something in front of it answered.
            Outcome::NotFromApi { status, error } => self.out_of_reach(&format!("{status}: {error}"), now),
            Outcome::InDoubt { status, error } if status.is_none_or(|status| status >= 500) => {
                self.out_of_reach(error, now);
            }
            Outcome::InDoubt { .. } | Outcome::Throttled { .. } => self.unreachable = None,
            Outcome::Started(_) => {
                self.unreachable = None;
                // A token that may run one entry may still be refused another.
                self.denied = self.denied.take().filter(|denied| denied.is_of_another(entry));
            }
            Outcome::Rejected { status: status @ (401 | 403), error, .. } => {
                self.unreachable = None;
                let before = self.denied.take().filter(|denied| denied.status == *status);
                let since = before.map_or(now, |denied| denied.since);
                let (entry, error) = (entry.clone(), error.clone());
                self.denied = Some(Denied { since, status: *status, entry, error });
            }
            Outcome::Rejected { .. } => {
                self.unreachable = None;
                self.denied = self.denied.take().filter(|denied| denied.is_of_another(entry));
            }
        }
    }

    /// Takes in that a question was answered with what was asked for.
    pub(super) fn answered(&mut self) {
        self.unreachable = None;
        self.denied = self.denied.take().filter(|denied| denied.status != 401);
    }

    fn out_of_reach(&mut self, error: &str, now: Timestamp) {
        let since = self.unreachable.take().map_or(now, |before| before.since);
        self.unreachable = Some(Unreachable { since, tried_at: now, error: error.to_owned() });
    }
}

impl Denied {
    /// Returns true when an answer to `entry` leaves this refusal as it is: 401 is about the token,
    /// and ends with any other answer.
    fn is_of_another(&self, entry: &EntryName) -> bool {
        self.status == 403 && self.entry != *entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::ThrottleWords;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    fn rejected(status: u16) -> Outcome {
        Outcome::Rejected { status, error: "no".into(), hint: String::new() }
    }

    #[test]
    fn trouble_is_told_from_its_first_instant_and_goes_with_the_answer_that_ends_it() {
        let (a, b): (EntryName, EntryName) =
            (EntryName::new("a").expect("a name"), EntryName::new("b").expect("a name"));
        let lost = |error: &str| Outcome::NotSent { error: error.into() };
        let started = Outcome::Started(Box::default());
        let mut trouble = Trouble::default();
        trouble.fired(&a, &lost("refused"), at(1));
        trouble.fired(&b, &lost("timed out"), at(2));
        let expected = Unreachable { since: at(1), tried_at: at(2), error: "timed out".into() };
        assert_eq!(trouble.unreachable, Some(expected));
        trouble.fired(&a, &Outcome::Throttled { status: 503, words: ThrottleWords::default() }, at(3));
        assert_eq!(trouble, Trouble::default(), "an answer came");
        trouble.fired(&a, &rejected(401), at(4));
        trouble.fired(&b, &rejected(401), at(5));
        assert_eq!(trouble.denied.as_ref().map(|denied| (denied.since, denied.status)), Some((at(4), 401)));
        trouble.fired(&a, &started, at(6));
        assert_eq!(trouble, Trouble::default(), "the token is known again");
        trouble.fired(&a, &rejected(403), at(7));
        trouble.fired(&b, &started, at(8));
        assert!(trouble.denied.is_some(), "entry a is still refused");
        trouble.fired(&a, &started, at(9));
        assert_eq!(trouble, Trouble::default());
    }
}
