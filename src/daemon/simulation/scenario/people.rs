//! People who run another job of the same stacks with our token, now and then in the very second of
//! one of our own requests, and records of jobs that move with a run, or do not.

use std::sync::Arc;

use fastrand::Rng;
use jiff::SignedDuration;

use super::TEMPLATE;
use crate::schedule::{Entry, EntryName, JobUid, StackUid};

/// The job that people run, which no entry names.
const JOB: &str = "jp";

/// Every stack that an entry may name.
const STACKS: [&str; 2] = ["s0", "s1"];

/// People who run jobs of the stacks with our tokens.
pub(in super::super) struct People {
    pub(in super::super) stacks: Vec<StackUid>,
    pub(in super::super) job: JobUid,
    /// Of a hundred requests of ours, in the second of how many somebody runs a job.
    pub(in super::super) share: u32,
}

impl People {
    /// They have run the job so long before the daemon was first started: a shared user is seen by
    /// what was run when none of ours can have been.
    pub(in super::super) const BEFORE: SignedDuration = SignedDuration::from_secs(900);
}

/// Draws from numbers of its own, so that the rest of a run is as it would be without.
pub(super) fn draw(seed: u64, known: &mut Vec<Arc<Entry>>) -> (Option<People>, bool) {
    let mut rng = Rng::with_seed(seed ^ 0x9e0_91e);
    let records_move = rng.bool();
    if rng.u32(..4) > 0 {
        return (None, records_move);
    }
    let job = JobUid::new(JOB).expect("a uid");
    let stacks: Vec<StackUid> = STACKS.iter().map(|stack| StackUid::new(stack).expect("a uid")).collect();
    for stack in &stacks {
        known.push(Arc::new(Entry {
            name: EntryName::new(&format!("people-{stack}")).expect("a name"),
            stack: stack.clone(),
            job: job.clone(),
            ..(*TEMPLATE.entries[0]).clone()
        }));
    }
    (Some(People { stacks, job, share: rng.u32(1..=60) }), records_move)
}
