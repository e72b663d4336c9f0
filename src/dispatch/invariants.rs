//! Checks after each step of a test that the parts of dispatch tell one story.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatch, Id, InFlight};
use crate::cloud66::ActionId;
use crate::schedule::{AccountName, EntryName};

impl Dispatch {
    /// Panics where two parts disagree: each occurrence is in the indexes of its place alone, one
    /// that is in flight has one request, one in doubt has one attempt, each account counts its
    /// requests, and each unfinished action is asked for.
    pub(crate) fn check_invariants(&self) {
        if !self.occurrences.is_unchecked.replace(false) {
            return;
        }
        let (sending, in_doubt) = self.occurrences.check_invariants();
        self.doubts.check_invariants(&in_doubt);
        let mut fires: BTreeSet<Id> = BTreeSet::new();
        let mut in_flight: BTreeMap<&AccountName, usize> = BTreeMap::new();
        let followed = self.accounts.values().flat_map(|access| access.follow.all());
        let mut asked: BTreeSet<(&EntryName, ActionId)> =
            followed.map(|following| (&following.entry.name, following.action)).collect();
        for request in self.requests.values() {
            let account = match request {
                InFlight::Fire(_, id, _) => {
                    assert!(fires.insert(*id), "{id:?} has one run_now in flight");
                    let pending = self.occurrences.get(*id);
                    &pending.expect("what is in flight is on its way").entry.account.name
                }
                InFlight::Follow(_, following) => {
                    asked.insert((&following.entry.name, following.action));
                    &following.entry.account.name
                }
                InFlight::FollowPage(_, account, _, sought) => {
                    asked.extend(sought.iter().map(|one| (&one.entry.name, one.action)));
                    account
                }
                InFlight::ActionLookup(_, account, _) | InFlight::JobRecord(_, account, ..) => account,
                InFlight::Look(_, subject) => &subject.account,
            };
            *in_flight.entry(account).or_default() += 1;
        }
        assert_eq!(fires, sending, "each run_now in flight is of an occurrence that is sent");
        for (name, access) in &self.accounts {
            let counted = in_flight.get(name).copied().unwrap_or_default();
            assert_eq!(access.admission.in_flight(), counted, "account {name} counts its requests in flight");
        }
        for (entry, action) in self.occurrences.unfinished() {
            assert!(asked.contains(&(entry, action)), "nobody asks for action {action} of entry {entry}");
        }
    }
}
