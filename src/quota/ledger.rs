//! The use of the quota within the last window, by whom and when.

use std::collections::VecDeque;
use std::time::Duration;

use super::estimate::NewestAnswer;
use crate::clock::Mono;

/// A window holds about this many buckets at most, so that memory and searches stay small at any
/// limit.
const BUCKETS: u32 = 3600;
/// A bucket is never wider: what came back is noticed within this time.
const WIDEST: Duration = Duration::from_secs(1);

/// Others' use that was seen late is looked for in at most so many steps as it leaves the window,
const PIECES: u32 = 16;
/// and in each step in so many requests at least: with fewer, a step may well find nothing.
const PER_PIECE: u32 = 3;

/// Requests counted at about the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// No request in it was counted earlier.
    pub from: Mono,
    /// No request in it was counted later.
    pub until: Mono,
    /// Ours, and counted: the answer told a Remaining.
    pub own: u32,
    /// Ours, and perhaps counted.
    pub doubtful: u32,
    /// Number of requests of people, CI and deploys on the same token.
    pub others: u32,
}

/// The requests of the last window, oldest first.
#[derive(Debug)]
pub(super) struct QuotaLedger {
    window: Duration,
    buckets: VecDeque<Bucket>,
    sum: Bucket,
    /// Beginning of the newest bucket.
    begun: Mono,
    /// Buckets that dropped out of the window since the last answer but one was asked for. That
    /// answer may still count them.
    gone: VecDeque<Bucket>,
}

impl QuotaLedger {
    pub fn new(window: Duration) -> QuotaLedger {
        QuotaLedger {
            window,
            buckets: VecDeque::new(),
            sum: Bucket::default(),
            begun: Mono::ZERO,
            gone: VecDeque::new(),
        }
    }

    /// Ours within the last window, counted or perhaps counted.
    pub fn ours(&self) -> u32 {
        self.sum.own.saturating_add(self.sum.doubtful)
    }

    /// Returns the use in at most `most` buckets, each as late as the latest request in it.
    pub fn pieces(&self, most: usize) -> impl Iterator<Item = Bucket> {
        let each = self.buckets.len().div_ceil(most).max(1);
        let mut buckets = self.buckets.iter();
        std::iter::from_fn(move || {
            let mut piece = *buckets.next()?;
            buckets.by_ref().take(each - 1).for_each(|bucket| piece.merge(bucket));
            Some(piece)
        })
    }

    /// Ours that will be within the last window at `now`.
    pub fn ours_at(&self, now: Mono) -> u32 {
        let within = self.buckets.iter().rev().take_while(|b| b.until.saturating_add(self.window) > now);
        within.fold(0, |sum: u32, b| sum.saturating_add(b.own).saturating_add(b.doubtful))
    }

    /// Adds a request of ours that the server counted between `from` and `until`.
    pub fn add_own(&mut self, from: Mono, until: Mono) {
        self.add(Bucket { from, until, own: 1, ..Bucket::default() });
    }

    /// Adds a request of ours that the server counted between `from` and `until`, or not at all.
    pub fn add_doubtful(&mut self, from: Mono, until: Mono) {
        self.add(Bucket { from, until, doubtful: 1, ..Bucket::default() });
    }

    /// Adds a bucket that is no older than those before.
    pub fn add(&mut self, new: Bucket) {
        self.sum.merge(&new);
        let width = WIDEST.min(self.window / BUCKETS);
        match self.buckets.back_mut() {
            Some(last) if new.until.saturating_sub(self.begun) < width => last.merge(&new),
            _ => {
                self.begun = new.until;
                self.buckets.push_back(new);
            }
        }
    }

    /// Explains what an answer told: what is neither ours nor known of others was used by others
    /// until then. `in_doubt` of ours are perhaps included beside those in the ledger.
    pub fn explain(&mut self, was: Option<NewestAnswer>, told: NewestAnswer, in_doubt: u32) {
        if let Some(was) = was {
            let done = self.gone.partition_point(|gone| self.leaves(gone) <= was.sent);
            self.gone.drain(..done);
        }
        let counted = self.gone.iter().rev().take_while(|gone| self.leaves(gone) > told.sent);
        let gone = counted.fold(0, |sum: u32, gone| sum.saturating_add(gone.count()));
        let ours = self.ours().saturating_add(in_doubt).saturating_add(gone);
        let least = told.used().saturating_sub(ours);
        if let Some(unseen) = least.checked_sub(self.sum.others).filter(|&unseen| unseen > 0) {
            let from = was.map_or(told.came.saturating_sub(self.window), |was| was.sent);
            self.spread(from, told.came, unseen);
        }
        if self.sum.others > 0 {
            let most = told.used().saturating_sub(self.counted_within(told, self.window));
            self.forget_others(self.sum.others.saturating_sub(most));
        }
    }

    /// Others' requests between two instants: as nothing is known of when, evenly.
    fn spread(&mut self, from: Mono, until: Mono, others: u32) {
        // A saved quota may tell of a request that was sent later than this clock says that its
        // answer came.
        let from = from.min(until);
        let pieces = (others / PER_PIECE).clamp(1, PIECES);
        let step = (until - from) / pieces;
        for piece in 1..=pieces {
            let others = others / pieces + u32::from(piece <= others % pieces);
            let until = if piece == pieces { until } else { from + step * piece };
            let bucket = Bucket { from, until, others, ..Bucket::default() };
            let at = self.buckets.iter().rposition(|b| b.until <= until).map_or(0, |before| before + 1);
            self.sum.merge(&bucket);
            self.buckets.insert(at, bucket);
        }
    }

    /// Others' oldest have come back already.
    fn forget_others(&mut self, mut surplus: u32) {
        self.sum.others -= surplus;
        for bucket in &mut self.buckets {
            if surplus == 0 {
                break;
            }
            let gone = bucket.others.min(surplus);
            bucket.others -= gone;
            surplus -= gone;
        }
        while self.buckets.front().is_some_and(Bucket::is_empty) {
            self.buckets.pop_front();
        }
    }

    /// Ours that were surely counted within the window before `told`, itself included.
    pub fn counted_within(&self, told: NewestAnswer, window: Duration) -> u32 {
        let since = told.came.saturating_sub(window);
        let before = self.buckets.iter().filter(|b| b.from > since && b.until < told.sent);
        before.fold(1, |sum: u32, b| sum.saturating_add(b.own))
    }

    /// Moves out what is older than a window.
    pub fn age(&mut self, now: Mono) {
        while let Some(first) =
            self.buckets.pop_front_if(|first| first.until.saturating_add(self.window) <= now)
        {
            self.sum.own = self.sum.own.saturating_sub(first.own);
            self.sum.doubtful = self.sum.doubtful.saturating_sub(first.doubtful);
            self.sum.others = self.sum.others.saturating_sub(first.others);
            self.gone.push_back(first);
        }
        while self.gone.len() > BUCKETS as usize {
            self.gone.pop_front();
        }
    }

    /// Returns the instant at which at least `least` requests will have dropped out since `after`.
    /// It may be past.
    pub fn leave_after(&self, after: Mono, least: u32) -> Option<Mono> {
        self.leaving(after, least, Bucket::count)
    }

    /// Returns the instant at which at least `least` requests that are ours and were surely counted
    /// will have dropped out since `after`.
    pub fn ours_leave_after(&self, after: Mono, least: u32) -> Option<Mono> {
        self.leaving(after, least, |bucket| bucket.own)
    }

    fn leaving(&self, after: Mono, least: u32, count: impl Fn(&Bucket) -> u32) -> Option<Mono> {
        let mut left = 0u32;
        let all = self.gone.iter().chain(&self.buckets);
        let found = all.skip_while(|bucket| self.leaves(bucket) <= after).find(|bucket| {
            left = left.saturating_add(count(bucket));
            left >= least.max(1)
        });
        found.map(|bucket| self.leaves(bucket))
    }

    fn leaves(&self, bucket: &Bucket) -> Mono {
        bucket.until.saturating_add(self.window)
    }
}

impl Bucket {
    fn merge(&mut self, new: &Bucket) {
        self.from = self.from.min(new.from);
        self.until = self.until.max(new.until);
        self.own = self.own.saturating_add(new.own);
        self.doubtful = self.doubtful.saturating_add(new.doubtful);
        self.others = self.others.saturating_add(new.others);
    }

    fn count(&self) -> u32 {
        self.own.saturating_add(self.doubtful).saturating_add(self.others)
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }
}
