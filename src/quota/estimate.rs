//! The believed value of Remaining: a lower bound, from answers that come in any order.
//!
//! Requests are numbered in the order of sending. An answer is surely newer than another only when
//! its request was sent after the other had come. Between such answers the lower Remaining is the
//! newer one, unless quota came back.

use std::collections::BTreeMap;

use crate::clock::Mono;

/// The word of the answer that is taken for the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewestAnswer {
    /// Requests left when the server counted that request.
    pub remaining: u32,
    /// The limit it was told under.
    pub limit: u32,
    /// Departure of the answer's request. The server counted it no earlier.
    pub sent: Mono,
    /// Arrival of the answer. The server counted its request no later.
    pub came: Mono,
    /// Requests numbered from here on were sent after it came.
    horizon: u64,
    /// True for a refusal, whose request was not counted.
    pub refused: bool,
    /// True when the value is low and may be from before the last rise.
    pub doubtful: bool,
}

impl NewestAnswer {
    /// Requests counted in the window, by everyone, this one included.
    pub fn used(&self) -> u32 {
        self.limit.saturating_sub(self.remaining)
    }

    /// Returns true when quota came back between an older answer and this one. This answer's own
    /// request took one.
    pub fn rose_above(&self, older: NewestAnswer) -> bool {
        !self.refused && self.remaining >= older.remaining && self.used() <= older.used()
    }

    /// Returns true when more quota came back since an older answer than anything but a turn of the
    /// window gives.
    pub fn is_of_a_new_window(&self, older: NewestAnswer) -> bool {
        self.rose_above(older) && self.used() <= older.used() / 2
    }
}

/// An answer, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub sent: Mono,
    pub came: Mono,
    pub limit: u32,
    /// Requests left, at most `limit`. `None`: no answer has told.
    pub remaining: Option<u32>,
    pub refused: bool,
}

impl Heard {
    fn told(self, horizon: u64) -> Option<NewestAnswer> {
        let Heard { sent, came, limit, remaining, refused } = self;
        Some(NewestAnswer {
            remaining: remaining?.min(limit),
            limit,
            sent,
            came,
            horizon,
            refused,
            doubtful: false,
        })
    }
}

/// The relation of an answer to the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The answer told no Remaining.
    Silent,
    /// The answer may be older than the estimate, which stands or was lowered.
    Unordered,
    /// The answer is surely newer than `was`, the estimate before it.
    Newer { was: Option<NewestAnswer>, told: NewestAnswer },
}

#[derive(Debug, Default)]
pub(super) struct QuotaEstimate {
    told: Option<NewestAnswer>,
    next: u64,
    /// The requests in flight by number, each with the estimate at its departure.
    in_flight: BTreeMap<u64, Option<NewestAnswer>>,
    /// Requests that no Remaining is known to include, though none of them is in flight: lost, or
    /// answered without the header. By the first number whose answer will include them.
    loose: BTreeMap<u64, u32>,
    /// Answers that told more than was believed and were not surely newer. By the first number sent
    /// after they came.
    overtaken: BTreeMap<u64, u32>,
    /// Requests numbered below were sent before the last rise was known.
    risen: u64,
}

impl QuotaEstimate {
    /// A belief that survived a restart. Of the requests then in flight, or lost, none is known to
    /// be included.
    pub fn restored(heard: Option<Heard>, loose: u32) -> QuotaEstimate {
        let told = heard.and_then(|heard| heard.told(0));
        let mut belief = QuotaEstimate { told, ..QuotaEstimate::default() };
        belief.loosen(loose);
        belief
    }

    pub fn told(&self) -> Option<NewestAnswer> {
        self.told
    }

    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    pub fn loose(&self) -> u32 {
        self.loose.values().fold(0, |sum: u32, &n| sum.saturating_add(n))
    }

    /// Numbers a request that is being sent.
    pub fn send(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number, self.told);
        number
    }

    /// The request certainly never reached the server.
    pub fn unsent(&mut self, number: u64) {
        self.in_flight.remove(&number);
    }

    /// The request may have reached the server; it will tell nothing.
    pub fn lost(&mut self, number: u64) {
        self.in_flight.remove(&number);
        self.loosen(1);
    }

    /// An answer came.
    pub fn answered(&mut self, number: u64, heard: Heard) -> Reading {
        let believed = self.in_flight.remove(&number).flatten();
        let Some(mut told) = heard.told(self.next) else {
            self.loosen(1);
            return Reading::Silent;
        };
        // Whatever was settled before this request was sent, the server counted before it.
        self.loose = self.loose.split_off(&(number + 1));
        self.overtaken = self.overtaken.split_off(&(number + 1));
        let was = self.told;
        match was {
            Some(was) if number < was.horizon => {
                if told.remaining < was.remaining {
                    told.limit = was.limit.max(told.remaining);
                    told.doubtful = number < self.risen;
                    self.told = Some(told);
                } else {
                    *self.overtaken.entry(self.next).or_default() += 1;
                    if let Some(doubted) = &mut self.told
                        && believed.is_some_and(|believed| told.is_of_a_new_window(believed))
                    {
                        self.risen = self.next;
                        doubted.doubtful = true;
                    }
                }
                Reading::Unordered
            }
            was => {
                if was.is_some_and(|was| told.rose_above(was)) {
                    self.risen = self.next;
                    // The server may have counted these requests after this one, so this Remaining
                    // need not include them.
                    for (horizon, count) in std::mem::take(&mut self.overtaken) {
                        *self.loose.entry(horizon).or_default() += count;
                    }
                }
                self.told = Some(told);
                Reading::Newer { was, told }
            }
        }
    }

    /// Returns true when an answer that is under way will surely be newer than the estimate.
    pub fn settles_told(&self) -> bool {
        let horizon = self.told.map_or(0, |told| told.horizon);
        self.in_flight.last_key_value().is_some_and(|(&newest, _)| newest >= horizon)
    }

    fn loosen(&mut self, count: u32) {
        if count > 0 {
            *self.loose.entry(self.next).or_default() += count;
        }
    }
}
