//! Who used how much of the quota within the last window.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;

/// A window holds at most this many buckets, so that memory and searches stay small at any limit.
const BUCKETS: u32 = 3600;
/// A bucket is never wider: what came back is noticed within this time.
const WIDEST: Duration = Duration::from_secs(1);

/// Requests counted at about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// No request in it was counted earlier.
    pub from: Mono,
    /// No request in it was counted later.
    pub until: Mono,
    /// Ours.
    pub own: u32,
    /// Of people, CI and deploys on the same token.
    pub others: u32,
}

/// The requests of the last window, oldest first.
#[derive(Debug)]
pub(super) struct Ledger {
    window: Duration,
    buckets: VecDeque<Bucket>,
    own: u32,
    others: u32,
    left_at: Option<Mono>,
}

impl Ledger {
    pub fn new(window: Duration) -> Ledger {
        Ledger { window, buckets: VecDeque::new(), own: 0, others: 0, left_at: None }
    }

    /// Ours, within the last window.
    pub fn own(&self) -> u32 {
        self.own
    }

    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter()
    }

    /// One of ours, counted between `sent` and `came`.
    pub fn add_own(&mut self, sent: Mono, came: Mono) {
        self.add(Bucket { from: sent, until: came, own: 1, others: 0 });
    }

    /// Adds a bucket. Its `until` is taken to be no earlier than those before.
    pub fn add(&mut self, new: Bucket) {
        self.own = self.own.saturating_add(new.own);
        self.others = self.others.saturating_add(new.others);
        let width = WIDEST.min(self.window / BUCKETS);
        match self.buckets.back_mut() {
            Some(last)
                if new.until < last.until.saturating_add(width)
                    && new.until < last.from.saturating_add(width).max(last.until) =>
            {
                last.from = last.from.min(new.from);
                last.until = last.until.max(new.until);
                last.own = last.own.saturating_add(new.own);
                last.others = last.others.saturating_add(new.others);
            }
            _ => self.buckets.push_back(new),
        }
    }

    /// Forgets what is older than a window.
    pub fn age(&mut self, now: Mono) {
        while let Some(first) = self.buckets.front() {
            let leaves = first.until.saturating_add(self.window);
            if leaves > now {
                break;
            }
            self.own -= first.own;
            self.others -= first.others;
            self.left_at = Some(leaves);
            self.buckets.pop_front();
        }
    }

    /// The first instant after `after` at which something older than a window drops out, past or to come.
    pub fn leaves_after(&self, after: Mono) -> Option<Mono> {
        let left = self.left_at.filter(|&left| left > after);
        left.or_else(|| self.buckets.front().map(|first| first.until.saturating_add(self.window)))
    }
}
