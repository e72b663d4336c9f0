//! The stretches of time through which a zone's offset from UTC is constant.
//!
//! Within one, civil time and the line of time run alike, so that daylight saving is a matter of
//! their edges alone.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Transitions further apart than this cannot repeat each other's civil times: offsets are within
/// 26 hours of UTC.
const REACH: SignedDuration = SignedDuration::from_hours(2 * 26);

/// A stretch of time with one offset from UTC: `start <= t < end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// The transition that begins it, or the beginning of time.
    pub(super) start: Timestamp,
    /// The transition that ends it, or the end of time.
    pub(super) end: Timestamp,
    offset: Offset,
    /// Civil time at the start of the stretch.
    pub(super) opens: DateTime,
    /// Civil time that the clocks of this stretch would show at its end.
    pub(super) closes: DateTime,
    /// The latest civil time that the clocks had come to before it. Before `opens`, the times
    /// between are a gap; past `opens`, they come again.
    pub(super) reached: DateTime,
}

impl Stretch {
    /// Returns the civil time at an instant of this stretch.
    pub(super) fn civil(&self, at: Timestamp) -> DateTime {
        self.offset.to_datetime(at)
    }

    /// The instant at which the clocks of this stretch show `civil`; `None` outside of it.
    pub(super) fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        if civil < self.opens || civil >= self.closes {
            return None;
        }
        self.offset.to_timestamp(civil).ok()
    }

    /// The civil times that were skipped at its start.
    pub(super) fn has_gap(&self) -> bool {
        self.reached < self.opens
    }

    fn containing(zone: &TimeZone, at: Timestamp) -> Stretch {
        let offset = zone.to_offset(at);
        let just_after = at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        let mut preceding = zone.preceding(just_after).map(|transition| transition.timestamp());
        let start = preceding.next();
        let end = zone.following(at).next().map(|transition| transition.timestamp());
        let opens = offset.to_datetime(start.unwrap_or(Timestamp::MIN));
        Stretch {
            start: start.unwrap_or(Timestamp::MIN),
            end: end.unwrap_or(Timestamp::MAX),
            offset,
            opens,
            closes: end.map_or(DateTime::MAX, |end| offset.to_datetime(end)),
            reached: start.map_or(opens, |start| reached_before(zone, start, preceding)),
        }
    }
}

/// The latest civil time before a transition. Usually that of the stretch it ends; where several
/// transitions follow each other within days, maybe that of an earlier one.
fn reached_before(
    zone: &TimeZone,
    transition: Timestamp,
    earlier: impl Iterator<Item = Timestamp>,
) -> DateTime {
    let mut end = transition;
    let mut reached = DateTime::MIN;
    for start in earlier.chain([Timestamp::MIN]) {
        reached = reached.max(zone.to_offset(start).to_datetime(end));
        end = start;
        if transition.duration_since(start) > REACH {
            break;
        }
    }
    reached
}

/// The stretches of one zone, computed once each.
#[derive(Clone, Debug)]
pub(super) struct ZoneStretches {
    zone: TimeZone,
    /// The stretches that were computed so far, by time. There may be gaps between them.
    known: Vec<Stretch>,
}

impl ZoneStretches {
    pub(super) fn new(zone: &TimeZone) -> ZoneStretches {
        ZoneStretches { zone: zone.clone(), known: Vec::new() }
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The stretch that holds an instant.
    pub(super) fn at(&mut self, at: Timestamp) -> Stretch {
        let place = self.known.partition_point(|stretch| stretch.end <= at);
        match self.known.get(place) {
            Some(stretch) if stretch.start <= at => *stretch,
            _ => {
                let stretch = Stretch::containing(&self.zone, at);
                self.known.insert(place, stretch);
                stretch
            }
        }
    }
}
