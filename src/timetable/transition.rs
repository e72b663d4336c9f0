//! The transitions at which the clocks of a zone skip civil times or show them again.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::stretch::ZoneStretches;

/// A transition at which civil times are skipped or come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneTransition {
    /// The instant of the transition.
    pub at: Timestamp,
    /// The civil time that the clocks had come to right before the transition.
    pub reached: DateTime,
    /// The civil time that the clocks show at the transition.
    pub opens: DateTime,
}

impl ZoneTransition {
    /// Returns true when the civil times from `reached` to `opens` are skipped. Otherwise the civil
    /// times from `opens` to `reached` come again.
    pub fn skips(&self) -> bool {
        self.reached < self.opens
    }

    /// The first of the civil times that are skipped or come again, and the first after them.
    pub fn affected(&self) -> (DateTime, DateTime) {
        (self.reached.min(self.opens), self.reached.max(self.opens))
    }
}

/// The transitions of a zone with `from` <= at < `until`, in order. Those that only rename the time
/// are left out.
pub fn transitions(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<ZoneTransition> {
    let mut line = ZoneStretches::new(zone);
    let just_before = from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
    let mut at = line.at(just_before).end;
    let mut found = Vec::new();
    while at < until {
        let stretch = line.at(at);
        let transition = ZoneTransition { at, reached: stretch.reached, opens: stretch.opens };
        if transition.reached != transition.opens {
            found.push(transition);
        }
        at = stretch.end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::at;

    fn told(zone: &str, from: &str, until: &str) -> Vec<String> {
        let zone = TimeZone::get(zone).expect("a zone");
        let told = transitions(&zone, at(from), at(until)).into_iter();
        told.map(|t| format!("{} {} to {}", t.at, t.reached, t.opens)).collect()
    }

    #[test]
    fn a_window_of_transitions_is_half_open() {
        let (spring, autumn) = ("2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z");
        assert_eq!(
            told("Europe/London", spring, autumn),
            ["2026-03-29T01:00:00Z 2026-03-29T01:00:00 to 2026-03-29T02:00:00"]
        );
        assert_eq!(
            told("Europe/London", "2026-03-29T01:00:00.5Z", "2026-10-25T01:00:00.5Z"),
            ["2026-10-25T01:00:00Z 2026-10-25T02:00:00 to 2026-10-25T01:00:00"]
        );
    }

    #[test]
    fn a_zone_whose_offset_stays_has_none() {
        assert_eq!(told("UTC", "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"), [""; 0]);
        assert_eq!(told("Asia/Tokyo", "1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"), [""; 0]);
    }
}
