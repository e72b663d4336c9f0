//! The greatest difference between the API's clock and ours, and the span of API time that a span
//! of our time may be.

use jiff::{SignedDuration, Timestamp};

use crate::dispatch::listing::Ahead;

/// The API's clocks may differ by so much from the one that it shows in its answers.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// The API's clock may differ by so much from ours where its answers do not show it, and from that
/// of another member of those that share the journal.
pub(super) const BLIND: SignedDuration = SignedDuration::from_secs(60);

/// An attempt may have taken effect so long after it was sent: [`super::SETTLES`], and a minute for
/// the time between the writing of its instant and its leaving.
pub(super) const LONGEST_EFFECT: SignedDuration = SignedDuration::from_secs(180);

/// A span of our clock as the API's shows it, with what may be between them.
pub(super) fn spread(from: Timestamp, until: Timestamp, ahead: Option<Ahead>) -> (Timestamp, Timestamp) {
    let (Ahead { least, most }, tolerance) = match ahead {
        Some(ahead) => (ahead, TOLERANCE),
        None => (Ahead::NONE, BLIND),
    };
    (moved(from, least - tolerance), moved(until, most + tolerance))
}

/// The earliest instant by the API's clock of what was sent at an instant by a clock of which the
/// API's was so far ahead. A claim is written up to five seconds before its request leaves, and
/// somebody may set the clock between: within the tolerance.
pub(super) fn back_to(sent_at: Timestamp, ahead: SignedDuration) -> Timestamp {
    moved(sent_at, ahead - TOLERANCE)
}

pub(super) fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}
