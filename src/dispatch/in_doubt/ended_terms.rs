//! Ends doubts about what a former leader may have sent, by that leader's own word.
//!
//! The word says for sure that an occurrence was not sent ([`crate::journal::EndedTerm`]), so that
//! no list of actions is needed, and none is read for a second action afterwards. The occurrence
//! goes on as one that was found unsent at the start of the term: what is less than five seconds
//! late is on time, of anything later `catch_up` decides.

use std::collections::BTreeSet;

use super::outcome::reconciled;
use crate::clock::Now;
use crate::dispatch::occurrences::WAITED;
use crate::dispatch::{Dispatch, Effect, Id, PendingPlace};
use crate::journal::EndedTerm;
use crate::occurrence::{Reason, Resolution};
use crate::schedule::CatchUp;

impl Dispatch {
    /// Takes in how far the leaders of former terms had sent.
    pub(crate) fn terms_ended(&mut self, ended: &[EndedTerm], now: Now) -> Vec<Effect> {
        let (mut effects, mut entries) = (Vec::new(), BTreeSet::new());
        let unsent: Vec<Id> = self
            .doubts
            .open
            .iter()
            .filter_map(|(&id, doubt)| {
                let claimed = doubt.claimed?;
                let leaves_out =
                    |term: &EndedTerm| term.leaves_out(claimed.term, claimed.due_at, self.older_until);
                ended.iter().any(leaves_out).then_some(id)
            })
            .collect();
        for id in unsent {
            if let Some(doubt) = self.doubts.open.remove(&id) {
                self.doubts.patience.remove(&(doubt.given_up_at, id));
            }
            let Some(pending) = self.occurrences.get(id) else { continue };
            effects.push(reconciled(pending, Resolution::NotStarted, None));
            entries.insert(pending.entry.name.clone());
            self.was_never_sent(id, now, &mut effects);
        }
        for entry in entries {
            self.release(&entry);
        }
        effects
    }

    /// Nobody has come to an occurrence that may have been sent.
    fn was_never_sent(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) {
        if let Some(pending) = self.occurrences.get_mut(id) {
            pending.history.waited = false;
            pending.history.error = None;
        }
        if !self.waits_again(id, now, effects) {
            return;
        }
        let Some(pending) = self.occurrences.get_mut(id) else { return };
        // From here on the word of the former leader says nothing of it: this one may send it.
        effects.extend(pending.record_waiting(Reason::Down));
        if pending.due_at > now.wall {
            return self.occurrences.move_to(id, PendingPlace::Future);
        }
        let is_late = now.wall.duration_since(pending.due_at) >= WAITED;
        let gives_way = is_late && pending.entry.catch_up == CatchUp::Latest && !pending.is_by_hand();
        let (entry, first) = (pending.entry.name.clone(), pending.first());
        let newest = self.occurrences.activity(&entry).and_then(|activity| activity.newest_sent);
        match newest.filter(|&newest| gives_way && newest > first) {
            Some(newer) => self.superseded(id, newer, now, effects),
            None => self.comes_due(id, now, effects),
        }
    }
}
