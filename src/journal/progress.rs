//! The states of an occurrence, and the one way they go.
//!
//! Due, then any number of attempts that had no effect, each sending and then waiting, the attempts
//! growing; then started, rejected, missed, skipped or unknown. An occurrence whose action is
//! followed is open until that finishes or is not asked for any more. Everything else is settled,
//! and what is settled stays as it is.

use jiff::Timestamp;

use super::cause::Cause;
use super::text::storable;
use super::{
    Claim, Followed, Handover, Open, Reached, Recovered, SLOW, Started, State, Transition, whole_micros,
};
use crate::cloud66::ActionId;

/// The state of an occurrence, as a journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) action: Option<ActionId>,
    pub(super) followed: bool,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) success: Option<bool>,
    pub(super) reason: Option<String>,
}

/// The effect of a transition on an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The occurrence moves on.
    Further(Progress),
    /// The occurrence is there already: the transition is a repetition.
    Stays,
    /// The transition would lead back.
    Refused,
}

impl Progress {
    /// Claimed, and nothing else.
    pub(super) fn due() -> Progress {
        Progress {
            state: State::Due,
            attempts: 0,
            sent_at: None,
            action: None,
            followed: false,
            finished_at: None,
            success: None,
            reason: None,
        }
    }

    /// Returns true when the occurrence has ended.
    pub(super) fn is_settled(&self) -> bool {
        !(self.is_before_start() || self.followed)
    }

    fn is_before_start(&self) -> bool {
        matches!(self.state, State::Due | State::Waiting | State::Sending)
    }

    /// The order before the start: due, waiting(0), sending(1), waiting(1), sending(2) and so on.
    fn place(&self) -> (u32, bool) {
        (self.attempts, self.state == State::Waiting)
    }

    /// Applies a move.
    pub(super) fn step(&self, mv: &Transition) -> Step {
        let after = self.after(mv);
        // An occurrence that runs long has a reason beside its start. The repeated start comes
        // without that reason.
        let is_same_start = matches!(mv, Transition::Started { .. })
            && self.followed
            && Progress { reason: self.reason.clone(), ..after.clone() } == *self;
        if after == *self || is_same_start || self.is_repeated_by(&after) {
            return Step::Stays;
        }
        let forward = match mv {
            Transition::Waiting { .. } => self.is_before_start() && after.place() >= self.place(),
            Transition::Sending { attempts, .. } => self.is_before_start() && *attempts > self.attempts,
            Transition::Started { .. }
            | Transition::Rejected { .. }
            | Transition::Missed { .. }
            | Transition::Skipped { .. }
            | Transition::Unknown { .. } => self.is_before_start(),
            Transition::Finished { .. } | Transition::Slow | Transition::Unfollowed { .. } => {
                self.state == State::Started && self.followed
            }
        };
        if forward { Step::Further(after) } else { Step::Refused }
    }

    /// A settled occurrence has lost some of its details. The same end is the same move.
    fn is_repeated_by(&self, after: &Progress) -> bool {
        self.is_settled() && after.is_settled() && self.state == after.state && self.action == after.action
    }

    fn after(&self, mv: &Transition) -> Progress {
        let state = mv.state();
        let reason = mv.reason();
        match *mv {
            Transition::Waiting { attempts, .. } => Progress { state, attempts, reason, ..Progress::due() },
            Transition::Sending { attempts, sent_at } => {
                Progress { state, attempts, sent_at: Some(whole_micros(sent_at)), ..Progress::due() }
            }
            Transition::Started { attempts, sent_at, action } => Progress {
                state,
                attempts,
                sent_at: Some(whole_micros(sent_at)),
                action: match action {
                    Started::Followed(action) => Some(action),
                    Started::Alone(action) => action,
                },
                followed: matches!(action, Started::Followed(_)),
                ..Progress::due()
            },
            Transition::Finished { success, finished_at, .. } => Progress {
                state,
                followed: false,
                finished_at: Some(whole_micros(finished_at)),
                success,
                reason,
                ..self.clone()
            },
            Transition::Slow => Progress { reason, ..self.clone() },
            Transition::Unfollowed { .. } => Progress { state, followed: false, reason, ..self.clone() },
            Transition::Rejected { .. } | Transition::Unknown { .. } => {
                Progress { state, reason, ..self.clone() }
            }
            // An attempt may precede these only if it is known to have had no effect.
            Transition::Missed { .. } | Transition::Skipped { .. } => {
                Progress { state, sent_at: None, reason, ..self.clone() }
            }
        }
    }
}

impl State {
    /// All states. The position of a state is its number in a journal.
    pub const ALL: [State; 10] = [
        State::Due,
        State::Waiting,
        State::Sending,
        State::Started,
        State::Finished,
        State::Failed,
        State::Rejected,
        State::Missed,
        State::Skipped,
        State::Unknown,
    ];

    /// The state of a word that operators know it by.
    pub fn of_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Returns the state's number in a journal.
    pub(super) fn code(self) -> i16 {
        State::ALL.iter().zip(0..).find(|&(known, _)| *known == self).map_or(-1, |(_, code)| code)
    }

    /// The state with a number. `None`: a journal that is damaged.
    pub(super) fn of_code(code: i64) -> Option<State> {
        usize::try_from(code).ok().and_then(|code| State::ALL.get(code).copied())
    }
}

impl Handover {
    /// Returns this handover with other words in place of a text from outside. `None`: it has no
    /// such text.
    pub(super) fn in_other_words(&self, words: &'static str) -> Option<Handover> {
        let end = self.end.in_other_words(words).filter(|other| *other != self.end)?;
        Some(Handover { end, ..self.clone() })
    }
}

/// A journal has a settled occurrence among the open ones.
#[derive(Debug, thiserror::Error)]
#[error("an occurrence that is {0} is not open")]
pub(super) struct NotOpen(State);

impl Recovered {
    /// Takes in an open occurrence as the journal has it.
    pub(super) fn add(&mut self, claim: Claim, standing: Progress) -> Result<(), NotOpen> {
        let Progress { state, attempts, sent_at, action, reason, .. } = standing;
        let reached = match (state, sent_at, action) {
            (State::Started, Some(sent_at), Some(action)) => {
                let told_slow = reason.as_deref() == Some(SLOW);
                self.following.push(Followed { claim, action, attempts, sent_at, told_slow });
                return Ok(());
            }
            (State::Due, ..) => Reached::Due,
            (State::Waiting, ..) => {
                Reached::Waiting { attempts, reason: Cause::read(&reason.unwrap_or_default()) }
            }
            (State::Sending, Some(sent_at), _) => Reached::Sending { attempts, sent_at },
            (state, ..) => return Err(NotOpen(state)),
        };
        self.open.push(Open { claim, reached, may_have_been_sent_in: None });
        Ok(())
    }
}

impl Transition {
    /// The state that it leads to.
    pub(super) fn state(&self) -> State {
        match self {
            Transition::Waiting { .. } => State::Waiting,
            Transition::Sending { .. } => State::Sending,
            Transition::Started { .. } | Transition::Slow | Transition::Unfollowed { .. } => State::Started,
            Transition::Finished { success: Some(true), .. } => State::Finished,
            Transition::Finished { .. } => State::Failed,
            Transition::Rejected { .. } => State::Rejected,
            Transition::Missed { .. } => State::Missed,
            Transition::Skipped { .. } => State::Skipped,
            Transition::Unknown { .. } => State::Unknown,
        }
    }

    /// The reason that the history shows.
    fn reason(&self) -> Option<String> {
        let text = match self {
            Transition::Sending { .. }
            | Transition::Started { .. }
            | Transition::Finished { success: Some(true), .. } => None,
            Transition::Finished { message, .. } => message.clone(),
            Transition::Slow => Some(SLOW.to_owned()),
            Transition::Waiting { reason, .. }
            | Transition::Missed { reason }
            | Transition::Skipped { reason } => Some(reason.to_string()),
            Transition::Unfollowed { reason } => Some(reason.clone().into_owned()),
            Transition::Rejected { status: Some(status), error } => Some(format!("{status}: {error}")),
            Transition::Rejected { status: None, error } => Some(error.clone()),
            Transition::Unknown { error } => Some(error.clone()),
        };
        text.map(|text| storable(&text))
    }

    /// Returns this transition with other words in place of a text from outside. `None`: it has no
    /// such text.
    pub(super) fn in_other_words(&self, words: &'static str) -> Option<Transition> {
        Some(match self.clone() {
            Transition::Sending { .. } | Transition::Started { .. } | Transition::Slow => return None,
            Transition::Finished { success, finished_at, message } => {
                message.as_ref()?;
                Transition::Finished { success, finished_at, message: Some(words.to_owned()) }
            }
            Transition::Waiting { attempts, .. } => Transition::Waiting { attempts, reason: words.into() },
            Transition::Unfollowed { .. } => Transition::Unfollowed { reason: words.into() },
            Transition::Missed { .. } => Transition::Missed { reason: words.into() },
            Transition::Skipped { .. } => Transition::Skipped { reason: words.into() },
            Transition::Rejected { status, .. } => Transition::Rejected { status, error: words.to_owned() },
            Transition::Unknown { .. } => Transition::Unknown { error: words.to_owned() },
        })
    }

    /// Returns true when nothing is lost if only `later`, a transition of the same occurrence, is
    /// written.
    pub(super) fn is_covered_by(&self, later: &Transition) -> bool {
        let place = |mv: &Transition| match *mv {
            Transition::Waiting { attempts, .. } => Some((attempts, true)),
            Transition::Sending { attempts, .. } => Some((attempts, false)),
            _ => None,
        };
        let waits = matches!(self, Transition::Waiting { .. });
        match (place(self), place(later)) {
            (Some(earlier), Some(later)) => earlier < later || (earlier == later && waits),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    fn waiting(attempts: u32, reason: &'static str) -> Transition {
        Transition::Waiting { attempts, reason: reason.into() }
    }

    fn sending(attempts: u32) -> Transition {
        Transition::Sending { attempts, sent_at: at(1) }
    }

    fn started(action: Started) -> Transition {
        Transition::Started { attempts: 1, sent_at: at(1), action }
    }

    fn finished(success: bool) -> Transition {
        Transition::Finished { success: Some(success), finished_at: at(2), message: None }
    }

    /// Applies moves that must each go further.
    fn through(moves: &[Transition]) -> Progress {
        moves.iter().fold(Progress::due(), |standing, mv| match standing.step(mv) {
            Step::Further(further) => further,
            other => panic!("{mv:?} after {standing:?} must go further: {other:?}"),
        })
    }

    #[test]
    fn an_occurrence_goes_through_attempts_to_its_action_s_end() {
        let end = through(&[
            waiting(0, "quota"),
            waiting(0, "overlap"),
            sending(1),
            waiting(1, "retry"),
            sending(2),
            started(Started::Followed(7)),
            finished(true),
        ]);
        assert_eq!((end.state, end.action, end.is_settled()), (State::Finished, Some(7), true));
    }

    #[test]
    fn attempts_never_go_back() {
        let second = through(&[sending(2)]);
        assert_eq!(second.step(&sending(2)), Step::Stays, "the same attempt again");
        for back in [sending(1), waiting(1, "retry"), waiting(0, "quota")] {
            assert_eq!(second.step(&back), Step::Refused, "{back:?} after the second attempt");
        }
    }

    #[test]
    fn what_is_settled_stays() {
        let ends = [
            started(Started::Alone(Some(7))),
            Transition::Rejected { status: Some(404), error: "none".to_owned() },
            Transition::Missed { reason: "deadline".into() },
            Transition::Skipped { reason: "paused".into() },
            Transition::Unknown { error: "lost".to_owned() },
        ];
        for end in &ends {
            let settled = through(&[sending(1), end.clone()]);
            assert!(settled.is_settled(), "{end:?} settles");
            assert_eq!(settled.step(end), Step::Stays, "{end:?} again changes nothing");
            for other in ends.iter().filter(|other| *other != end).chain(&[sending(2), finished(true)]) {
                assert_eq!(settled.step(other), Step::Refused, "{other:?} after {end:?}");
            }
        }
    }

    #[test]
    fn one_occurrence_has_one_action() {
        let started_once = through(&[started(Started::Followed(7))]);
        assert_eq!(started_once.step(&started(Started::Followed(8))), Step::Refused);
        assert_eq!(started_once.step(&started(Started::Followed(7))), Step::Stays);
    }

    #[test]
    fn only_a_followed_action_finishes() {
        assert_eq!(Progress::due().step(&finished(true)), Step::Refused);
        assert_eq!(through(&[sending(1)]).step(&finished(true)), Step::Refused);
        let unfollowed = [started(Started::Followed(7)), Transition::Unfollowed { reason: "a day".into() }];
        assert_eq!(through(&unfollowed).step(&finished(true)), Step::Refused);
    }

    #[test]
    fn an_end_without_word_of_success_is_a_failure() {
        let silent =
            Transition::Finished { success: None, finished_at: at(2), message: Some("gone".to_owned()) };
        let end = through(&[started(Started::Followed(7)), silent]);
        assert_eq!((end.state, end.success, end.reason.as_deref()), (State::Failed, None, Some("gone")));
    }

    #[test]
    fn no_word_of_the_api_keeps_an_end_from_being_stored() {
        for end in [
            Transition::Unknown { error: "a\0b".to_owned() },
            Transition::Rejected { status: Some(422), error: "a\0b".to_owned() },
            Transition::Skipped { reason: "a\0b".into() },
        ] {
            let reason = through(std::slice::from_ref(&end)).reason.expect("a reason");
            assert!(reason.ends_with("a\\u{0}b"), "{end:?}: {reason:?}");
        }
    }
}
