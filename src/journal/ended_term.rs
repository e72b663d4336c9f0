//! The word of a leader whose term is over: how far it has sent.
//!
//! **Problem.** A leader may send what is due in the next seconds without asking anybody. When it
//! is killed or stopped, its successor cannot tell which of these occurrences have left: each of
//! them is in doubt, and where some have started, the stack's actions do not tell which.
//!
//! **Mechanism.** The leader itself knows. It raises its send watermark before each send
//! ([`super::SendWatermark`]), and the file has the number of the term as well. A term that is over
//! stays over: nothing is sent under its number any more, so its last watermark is final. The
//! former leader writes it into the shared journal as soon as it runs again, in the process that
//! was stopped or in the next one with the same state directory. Whoever leads reads it with the
//! next beat: what was claimed under that term and is due later than the watermark was not sent.
//! A watermark that is too high leaves more in doubt, and one that is too low would send twice. So
//! the file is not believed after the machine was started anew.
//!
//! An open occurrence that is merely claimed can have been sent under one term only, the one whose
//! number is in its row. A leader that takes over what was not sent writes its own number there
//! first.
//!
//! **Example.** Term 7 sends what is due at 12:00:04, and is stopped at 12:00:04.3. It may send
//! what is due until 12:00:06.4. Term 8 begins at 12:00:06.9, and has all that term 7 had claimed
//! up to 12:00:06.4 in doubt. At 12:00:09 the former leader goes on, and writes `7: 12:00:04`. With
//! the next beat term 8 sends what was due at 12:00:05 and 12:00:06, as `catch_up` has it. What was
//! due at 12:00:04 stays in doubt: it left.

use std::fmt;

use jiff::Timestamp;

/// The number of a leader's term: greater than that of each term before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TermNumber(i64);

impl TermNumber {
    pub(crate) fn new(number: i64) -> TermNumber {
        TermNumber(number)
    }

    pub(crate) fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for TermNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A term that is over, and how far its leader has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTerm {
    /// The term.
    pub number: TermNumber,
    /// Nothing that was due later was sent under this term, nor will be.
    pub sent_up_to: Timestamp,
}

impl EndedTerm {
    /// Returns true when a claim was not sent, by the word of this term's leader.
    /// `may_have_been_sent_in` is the only term under which it can have been sent. What an older
    /// copy of the journal may have forgotten (`older_until`) can have been sent under a later one.
    pub(crate) fn leaves_out(
        &self,
        may_have_been_sent_in: TermNumber,
        due_at: Timestamp,
        older_until: Option<Timestamp>,
    ) -> bool {
        self.number == may_have_been_sent_in
            && due_at > self.sent_up_to
            && older_until.is_none_or(|until| due_at > until)
    }
}
