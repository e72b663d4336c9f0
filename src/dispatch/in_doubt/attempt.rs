//! One attempt in doubt, and the span in which it took effect, if it did.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reconcile::{Attempt, StillPossible};
use super::span::{back_to, moved, spread};
use crate::clock::{Mono, Now};
use crate::dispatch::listing::Ahead;
use crate::journal::{ClockOf, TermNumber};
use crate::schedule::{AccountName, StackUid};

/// Until the next question after one that told nothing, at least. The pause doubles from question
/// to question.
const LEAST_PAUSE: Duration = Duration::from_secs(3);

/// A stack whose list leaves attempts open that are too late to take effect is asked again after
/// this pause: an answer in flight may still tell.
const REPEATS: Duration = Duration::from_secs(5);

/// An attempt in doubt.
#[derive(Debug)]
pub(in crate::dispatch) struct InDoubtAttempt {
    pub(super) account: AccountName,
    pub(super) stack: StackUid,
    /// When it left, or the earliest that it can have left.
    pub(super) sent_at: Timestamp,
    /// Instant at which the attempt left, by the wall clock as it was when the attempt came into
    /// doubt.
    pub(super) left_at: Timestamp,
    /// The answer may tell better when it left.
    pub(super) vague: bool,
    /// Took effect, if it did, so soon after it left, as far as its own request goes. What it waited
    /// for before it left is not in it, nor how long its process was frozen or down.
    pub(super) soon: SignedDuration,
    /// The clocks when it came into doubt.
    pub(super) seen: Now,
    pub(super) over_at: Mono,
    pub(super) given_up_at: Mono,
    pub(super) error: String,
    pub(super) status: Option<u16>,
    pub(super) token: TokenOwner,
    /// Of a former process, which had this clock.
    pub(super) former: Option<ClockOf>,
    /// How far the API's clock was ahead of those that this clock may have been. Empty where this
    /// process has sent it.
    pub(super) clocks: Arc<[SignedDuration]>,
    pub(super) claimed: Option<FormerClaim>,
}

/// A claim of a former term that may have been sent in that term and in no other one.
#[derive(Clone, Copy, Debug)]
pub(in crate::dispatch) struct FormerClaim {
    pub(in crate::dispatch) term: TermNumber,
    /// The due instant of the claim, as the journal has it.
    pub(in crate::dispatch) due_at: Timestamp,
}

/// By whose token an attempt was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) enum TokenOwner {
    /// By the one of so many reloads.
    OfReload(u32),
    /// By one of a former process.
    Former,
}

/// The facts about an attempt at the time when it comes into doubt.
pub(in crate::dispatch) struct InDoubtReport {
    pub(in crate::dispatch) sent_at: Timestamp,
    /// When it left by the clock that nobody sets. `None`: another process sent it.
    pub(in crate::dispatch) left: Option<Mono>,
    pub(in crate::dispatch) vague: bool,
    pub(in crate::dispatch) token: TokenOwner,
    /// `None`: no leader of a former term can say that it was not sent.
    pub(in crate::dispatch) claimed: Option<FormerClaim>,
    pub(in crate::dispatch) error: String,
    pub(in crate::dispatch) status: Option<u16>,
}
impl InDoubtAttempt {
    /// The span in which it took effect, if it did, by a clock that is so much ahead of ours.
    pub(super) fn span(&self, now: Now, ahead: Option<Ahead>) -> (Timestamp, Timestamp) {
        let (_, until) = spread(self.left_at, now.wall_at(self.over_at), ahead);
        let near = self.near(now, ahead);
        // An action that began so early keeps the attempt from being sent again, and does not show
        // that it started: the clock was so wrong at some time, and perhaps not then.
        let by_their_clocks = self.clocks.iter().map(|&ahead| back_to(self.left_at, ahead));
        (near.iter().map(|&(from, _)| from).chain(by_their_clocks).min().unwrap_or(until), until)
    }

    /// The spans soon after it left, by each clock that it may have left by.
    fn near(&self, now: Now, ahead: Option<Ahead>) -> Vec<(Timestamp, Timestamp)> {
        // Somebody may have set our clock since.
        let set = now.wall_at(self.over_at).duration_since(self.seen.wall_at(self.over_at));
        let soon_after = |left: Timestamp, ahead| spread(left, moved(left, self.soon), ahead);
        let ours = soon_after(moved(self.left_at, set), ahead);
        // A former process had the API's time, or was as far from it as we are: the clock may have
        // been set between. Another machine's clock tells nothing of ours.
        let agreed = self.former.map(|clock| match clock {
            ClockOf::ThisMachine => soon_after(self.left_at, Some(Ahead::NONE)),
            ClockOf::AnyMember => soon_after(self.left_at, None),
        });
        std::iter::once(ours).chain(agreed).collect()
    }

    /// When its stack is worth asking again: an effect is shown soon as a rule, and late at times.
    pub(super) fn asked_next(&self, now: Mono) -> Mono {
        if self.over_at <= now {
            return now + REPEATS;
        }
        let age = now.saturating_sub(self.seen.mono);
        (now + age.max(LEAST_PAUSE)).min(self.over_at)
    }

    pub(super) fn attempt(
        &self,
        now: Now,
        ahead: Option<Ahead>,
        user: Option<String>,
        standing: StillPossible,
    ) -> Attempt {
        let (from, until) = self.span(now, ahead);
        Attempt { from, until, near: self.near(now, ahead), user, standing }
    }
}
