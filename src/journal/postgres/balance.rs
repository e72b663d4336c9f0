//! The sharing of shards between members: each takes what is free up to its share, hesitates beyond
//! it, and hands one over to who has fewer. Nobody is asked, and nothing is agreed on: what each
//! sees of the leases and of the others' signs of life is enough.

use std::time::Duration;

/// A member that has its share leaves a free shard to others for this long. They look several times
/// meanwhile.
const HESITATES: Duration = Duration::from_millis(300);

/// The distribution of shards, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardLoad {
    /// The shards that it leads, those not counted that it is handing over.
    pub(super) own: usize,
    /// Number of shards that each other live member with an equal schedule leads.
    pub(super) others: Vec<usize>,
    /// Number of all shards.
    pub(super) shards: usize,
}

impl ShardLoad {
    /// Returns the time for which this member leaves a free shard to others.
    pub(super) fn hesitates(&self) -> Duration {
        let share = self.shards.div_ceil(self.others.len() + 1);
        if self.own < share { Duration::ZERO } else { HESITATES }
    }

    /// Returns true when this member hands a shard over. Afterwards it has no fewer than the member
    /// that takes the shard, so the exchange comes to an end.
    pub(super) fn gives(&self) -> bool {
        self.others.iter().min().is_some_and(|fewest| self.own >= fewest + 2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sight(of: &[usize], index: usize) -> ShardLoad {
        let others =
            of.iter().enumerate().filter(|&(other, _)| other != index).map(|(_, &leads)| leads).collect();
        ShardLoad { own: of[index], others, shards: of.iter().sum() }
    }

    #[test]
    fn one_that_is_alone_takes_all_at_once_and_keeps_it() {
        let alone = ShardLoad { own: 7, others: vec![], shards: 8 };
        assert_eq!((alone.hesitates(), alone.gives()), (Duration::ZERO, false));
    }

    #[test]
    fn beyond_its_share_a_member_hesitates() {
        let sight = |own| ShardLoad { own, others: vec![0, 1], shards: 4 };
        assert_eq!(sight(1).hesitates(), Duration::ZERO, "two are its share");
        assert_eq!(sight(2).hesitates(), HESITATES);
    }

    proptest! {
        /// Whatever the shares are: whoever may hand one over does, one after the other, and soon
        /// nobody may, and none has two more than another.
        #[test]
        fn shares_become_even_and_stay_so(mut leads in proptest::collection::vec(0_usize..20, 1..9)) {
            let all: usize = leads.iter().sum();
            for _ in 0..all {
                let Some(giver) = (0..leads.len()).find(|&index| sight(&leads, index).gives()) else { break };
                leads[giver] -= 1;
                let taker = (0..leads.len()).min_by_key(|&index| leads[index]).expect("a member");
                prop_assert_eq!(sight(&leads, taker).hesitates(), Duration::ZERO);
                prop_assert_ne!(taker, giver);
                leads[taker] += 1;
            }
            let (most, fewest) = (leads.iter().max().copied(), leads.iter().min().copied());
            prop_assert!(most.unwrap_or(0) <= fewest.unwrap_or(0) + 1, "{leads:?}");
        }
    }
}
