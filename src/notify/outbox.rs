//! The queues of notifications: which ends are folded into which message, and when each message is
//! tried. Without a clock or a socket.
//!
//! Each receiver and each ping has a queue. A queue sends one message at a time; what comes
//! meanwhile waits: for a receiver it is folded into its next message, however much it is, and for
//! a ping the last few wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::audience::Owner;
use super::content::{Message, Ping};
use super::happening::{NotifiedEnd, What, is_late};
use super::message::Digest;
use super::post::{Again, Failure};
use crate::clock::Mono;
use crate::log::Event;
use crate::log::event::{NotifyFailed, NotifyRestored};
use crate::schedule::{Address, ByName, EntryName, Format, Trigger};

/// The owner of a queue: a receiver, or an entry's ping.
pub(super) type Target = Owner;

/// Ends within this span of the first one go into the same message.
const GATHER: Duration = Duration::from_secs(2);

/// A receiver is told no more often than this, so that a bad night is no flood.
const BETWEEN: Duration = Duration::from_secs(5);

/// Tries of one message. With waits that double up to a minute it is some ten minutes before it is
/// given up.
const TRIES: u32 = 14;

/// Tries of a ping. A later one says more.
const PING_TRIES: u32 = 5;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A receiver that asks for a longer pause is asked again after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Pings of one entry that wait. When there are more, the oldest is dropped.
const PINGS: usize = 8;

/// Messages in flight at once.
const IN_FLIGHT: usize = 32;

/// A message that is to be posted now.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) target: Target,
    pub(super) address: Address,
    pub(super) message: Message,
}

/// All queues: the messages that wait, are being sent, or are tried again.
#[derive(Default)]
pub(super) struct Outbox {
    /// The entries whose last end was bad, and how.
    bad: HashMap<EntryName, Trigger>,
    /// A ping that has nothing to do has none.
    queues: HashMap<Target, ReceiverQueue>,
    /// The queues that have something to send, by the instant at which they may.
    queue: BTreeSet<(Mono, Target)>,
    in_flight: usize,
    /// True once the daemon stops: each message that is left is sent at once, and tried once.
    closing: bool,
}

struct ReceiverQueue {
    address: Address,
    waiting: Waiting,
    /// The message that is being sent or waits for another try.
    current: Option<Message>,
    /// Number of tries of `current` so far.
    tries: u32,
    in_flight: bool,
    /// The queue sends nothing before this instant.
    not_before: Mono,
    /// The queue's place among those that wait, by the instant at which it wants to send. `None`:
    /// it waits for nothing.
    queued: Option<Mono>,
    /// Why the last try failed. `None` when it did not.
    failed: Option<Failure>,
    /// The ends that were not told since it was said that it fails. `None` while it does not.
    lost: Option<usize>,
}

enum Waiting {
    Digest(Format, Digest),
    Pings(VecDeque<Ping>),
}

impl Outbox {
    /// Takes in what happened. Returns what the operator is told of it.
    pub(super) fn take_in(&mut self, happening: NotifiedEnd, now: Mono) -> Vec<Event> {
        let NotifiedEnd { entry, what, event } = happening;
        let Some(notify) = entry.notify.clone() else {
            return Vec::new();
        };
        let before = match what {
            What::Started | What::Retried | What::Odd(_) => None,
            What::Good => self.bad.remove(&entry.name),
            What::Bad(trigger) => {
                self.bad.insert(entry.name.clone(), trigger);
                None
            }
        };
        for receiver in &notify.receivers {
            let end = match (what, before) {
                (What::Bad(trigger) | What::Odd(trigger), _) => {
                    Some(trigger).filter(|trigger| receiver.on.contains(trigger))
                }
                (What::Retried, _) => Some(Trigger::Retried).filter(|trigger| receiver.on.contains(trigger)),
                // A receiver that was not told of the bad end is not told of its mending either.
                (What::Good, Some(before))
                    if receiver.on.contains(&before) && receiver.on.contains(&Trigger::Recovered) =>
                {
                    Some(Trigger::Recovered)
                }
                _ => None,
            };
            let late = is_late(&event, receiver).then_some(Trigger::Late);
            let triggers: Vec<Trigger> = late.into_iter().chain(end).collect();
            if triggers.is_empty() {
                continue;
            }
            let target = Owner::Receiver(receiver.name.clone());
            let queue = self.queues.entry(target.clone()).or_insert_with(|| {
                ReceiverQueue::new(
                    receiver.webhook.clone(),
                    Waiting::Digest(receiver.format, Digest::default()),
                    now,
                )
            });
            queue.address = receiver.webhook.clone();
            if let Waiting::Digest(format, digest) = &mut queue.waiting {
                *format = receiver.format;
                if digest.is_empty() && queue.current.is_none() {
                    queue.not_before = queue.not_before.max(now + GATHER);
                }
                triggers.into_iter().for_each(|trigger| digest.add(trigger, &event));
            }
            self.enqueue(target);
        }
        let mut events = Vec::new();
        let ping = match what {
            What::Started => Some(Ping::Started),
            What::Good => Some(Ping::Succeeded),
            What::Bad(_) => Some(Ping::Failed(event.message())),
            What::Odd(_) => None,
            // The last run tells.
            What::Retried => None,
        };
        if let (Some(address), Some(ping)) = (&notify.ping, ping) {
            let target = Owner::Ping(entry.name.clone());
            let queue = self
                .queues
                .entry(target.clone())
                .or_insert_with(|| ReceiverQueue::new(address.clone(), Waiting::Pings(VecDeque::new()), now));
            queue.address = address.clone();
            if let Waiting::Pings(pings) = &mut queue.waiting {
                pings.push_back(ping);
                if pings.len() > PINGS {
                    pings.pop_front();
                    events.extend(queue.loses(&target, 1, Some(format!("more than {PINGS} pings wait"))));
                }
            }
            self.enqueue(target);
        }
        events
    }

    /// Returns the messages to post now. The caller reports the outcome of each to `delivered`.
    pub(super) fn advance(&mut self, now: Mono) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while self.in_flight < IN_FLIGHT
            && let Some((at, _)) = self.queue.first()
            && (*at <= now || self.closing)
            && let Some((_, target)) = self.queue.pop_first()
        {
            let Some(queue) = self.queues.get_mut(&target) else { continue };
            queue.queued = None;
            let Some(message) = queue.current.clone().or_else(|| {
                queue.tries = 0;
                queue.waiting.take()
            }) else {
                continue;
            };
            queue.current = Some(message.clone());
            queue.tries += 1;
            queue.in_flight = true;
            self.in_flight += 1;
            deliveries.push(Delivery { target, address: queue.address.clone(), message });
        }
        deliveries
    }

    /// Takes in how a delivery went.
    pub(super) fn delivered(
        &mut self,
        target: &Target,
        result: Result<(), Failure>,
        now: Mono,
    ) -> Option<Event> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let queue = self.queues.get_mut(target)?;
        queue.in_flight = false;
        let message = queue.current.take()?;
        let (most, pause) = match &message {
            Message::Digest(..) => (TRIES, BETWEEN),
            Message::Ping(_) => (PING_TRIES, Duration::ZERO),
        };
        queue.failed = result.err();
        let event = match queue.failed.as_ref().map(|failure| failure.again) {
            None => {
                queue.not_before = now + pause;
                let (receiver, entry) = target.split();
                queue.lost.take().map(|lost| NotifyRestored { receiver, entry, lost }.into())
            }
            Some(Again::Perhaps(after)) if queue.tries < most && !self.closing => {
                let wait = (FIRST_WAIT * 2_u32.saturating_pow(queue.tries - 1)).min(LONGEST_WAIT);
                queue.not_before = now + wait.max(after.unwrap_or_default().min(LONGEST_PAUSE));
                queue.current = Some(message);
                None
            }
            Some(Again::Perhaps(_) | Again::Never) => {
                queue.not_before = now + pause;
                queue.loses(target, message.ends(), None)
            }
        };
        if matches!(target, Owner::Ping(_)) && !queue.has_work() && queue.lost.is_none() {
            self.queues.remove(target);
        }
        self.enqueue(target.clone());
        event
    }

    /// Puts a queue where it belongs in the queue.
    fn enqueue(&mut self, target: Target) {
        let Some(queue) = self.queues.get_mut(&target) else { return };
        let at = (!queue.in_flight && queue.has_work()).then_some(queue.not_before);
        let was = std::mem::replace(&mut queue.queued, at);
        if was == at {
            return;
        }
        if let Some(was) = was {
            self.queue.remove(&(was, target.clone()));
        }
        if let Some(at) = at {
            self.queue.insert((at, target));
        }
    }

    /// Returns the instant at which `advance` next has something to do, unless something happens
    /// before. `None`: nothing waits.
    pub(super) fn wakes_at(&self) -> Option<Mono> {
        let (at, _) = self.queue.first().filter(|_| self.in_flight < IN_FLIGHT)?;
        Some(if self.closing { Mono::ZERO } else { *at })
    }

    /// Forgets the entries that are gone. What waits is still told.
    pub(super) fn keep(&mut self, entries: &ByName) {
        self.bad.retain(|name, _| entries.contains_key(name));
        self.queues.retain(|target, queue| match target {
            Owner::Receiver(_) => true,
            Owner::Ping(entry) => queue.in_flight || queue.has_work() || entries.contains_key(entry),
        });
    }

    /// From now on every message is sent at once, and none is tried twice.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Returns true when the outbox was closed and every message has been sent or given up.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.in_flight == 0 && self.queue.is_empty()
    }

    /// Gives up what is not told yet.
    pub(super) fn abandon(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (target, queue) in &mut self.queues {
            let current = queue.current.take().map_or(0, |message| message.ends());
            let waiting =
                std::iter::from_fn(|| queue.waiting.take()).map(|message| message.ends()).sum::<usize>();
            if current + waiting > 0 {
                events.extend(queue.loses(target, current + waiting, Some("the daemon stops".to_owned())));
            }
        }
        events
    }
}

impl ReceiverQueue {
    fn new(address: Address, waiting: Waiting, now: Mono) -> ReceiverQueue {
        ReceiverQueue {
            address,
            waiting,
            current: None,
            tries: 0,
            in_flight: false,
            not_before: now,
            queued: None,
            failed: None,
            lost: None,
        }
    }

    fn has_work(&self) -> bool {
        let waits = match &self.waiting {
            Waiting::Digest(_, digest) => !digest.is_empty(),
            Waiting::Pings(pings) => !pings.is_empty(),
        };
        waits || self.current.is_some()
    }

    /// Ends that are not told. Said once, until something is taken again.
    fn loses(&mut self, target: &Target, ends: usize, why: Option<String>) -> Option<Event> {
        let told = self.lost.is_some();
        *self.lost.get_or_insert(0) += ends;
        let last = self.failed.as_ref();
        let error = match (why, last) {
            (Some(why), Some(last)) => format!("{why}; at the last try {}", last.error),
            (Some(why), None) => why,
            (None, last) => last.map(|last| last.error.clone()).unwrap_or_default(),
        };
        let (receiver, entry) = target.split();
        let (host, attempts) = (last.map(|last| last.host.clone()), self.tries);
        (!told).then(|| NotifyFailed { receiver, entry, host, attempts, lost: ends, error }.into())
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Message> {
        match self {
            Waiting::Digest(_, digest) if digest.is_empty() => None,
            Waiting::Digest(format, digest) => Some(Message::Digest(*format, std::mem::take(digest))),
            Waiting::Pings(pings) => pings.pop_front().map(Message::Ping),
        }
    }
}

#[cfg(test)]
mod tests;
