//! Where the journal's thread takes its requests from: in the order of asking, woken by those who
//! wait alone.
//!
//! What is merely recorded lies here until the thread looks. To wake a thread costs a send more
//! than the record itself.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tells whether a request wakes the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurry {
    /// Somebody waits for it.
    Now,
    /// The request does not wake the thread. The first such request is looked at soon, and the
    /// others with it.
    Soon,
}

/// State that both ends share. It ends with the thread, or when no sender is left.
#[derive(Debug)]
struct InboxState<T> {
    queue: Mutex<InboxQueue<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct InboxQueue<T> {
    waiting: VecDeque<T>,
    /// Somebody waits for one of them, or there are so many that they do not wait for more.
    hurry: bool,
    /// Somebody waits for one of them.
    awaited: bool,
    senders: usize,
    receiver: bool,
}

/// Nobody takes requests any more.
#[derive(Debug)]
pub(super) struct InboxClosed;

/// Asks the thread.
#[derive(Debug)]
pub(super) struct InboxSender<T> {
    shared: Arc<InboxState<T>>,
    /// A group of this many requests is handled without waiting for more.
    group: usize,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct InboxReceiver<T>(Arc<InboxState<T>>);

/// The outcome of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Requests have arrived.
    Arrived,
    /// The time is up.
    TimedOut,
    /// Nobody can ask any more, and nothing is left.
    Gone,
}

/// The two ends.
pub(super) fn inbox<T>(group: usize) -> (InboxSender<T>, InboxReceiver<T>) {
    let queue =
        InboxQueue { waiting: VecDeque::new(), hurry: false, awaited: false, senders: 1, receiver: true };
    let shared = Arc::new(InboxState { queue: Mutex::new(queue), changed: Condvar::new() });
    (InboxSender { shared: Arc::clone(&shared), group }, InboxReceiver(shared))
}

impl<T> InboxState<T> {
    fn lock(&self) -> MutexGuard<'_, InboxQueue<T>> {
        // No panic leaves the queue half changed, so a poisoned lock is used as it is.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> InboxSender<T> {
    /// Puts a request in, behind the others.
    pub(super) fn send(&self, request: T, hurry: Hurry) -> Result<(), InboxClosed> {
        let mut queue = self.shared.lock();
        if !queue.receiver {
            return Err(InboxClosed);
        }
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(request);
        let hurries = hurry == Hurry::Now || queue.waiting.len() >= self.group;
        let wakes = first || (hurries && !queue.hurry);
        queue.hurry |= hurries;
        queue.awaited |= hurry == Hurry::Now;
        drop(queue);
        if wakes {
            self.shared.changed.notify_one();
        }
        Ok(())
    }
}

impl<T> Clone for InboxSender<T> {
    fn clone(&self) -> InboxSender<T> {
        self.shared.lock().senders += 1;
        InboxSender { shared: Arc::clone(&self.shared), group: self.group }
    }
}

impl<T> Drop for InboxSender<T> {
    fn drop(&mut self) {
        self.shared.lock().senders -= 1;
        self.shared.changed.notify_one();
    }
}

impl<T> InboxReceiver<T> {
    /// Takes all items out.
    pub(super) fn take(&self) -> VecDeque<T> {
        let mut queue = self.0.lock();
        (queue.hurry, queue.awaited) = (false, false);
        std::mem::take(&mut queue.waiting)
    }

    /// Returns true when a sender waits for one of the items.
    pub(super) fn is_awaited(&self) -> bool {
        self.0.lock().awaited
    }

    /// Waits for a request, whoever asks, and for at most this span.
    pub(super) fn wait(&self, most: Option<Duration>) -> Waited {
        let ends = most.map(|span| Instant::now() + span);
        let mut queue = self.0.lock();
        loop {
            if !queue.waiting.is_empty() {
                return Waited::Arrived;
            }
            if queue.senders == 0 {
                return Waited::Gone;
            }
            queue = match ends.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Waited::TimedOut,
                Some(left) => {
                    self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits for a request that hurries, and not beyond an instant.
    pub(super) fn wait_until(&self, at: Instant) -> Waited {
        let mut queue = self.0.lock();
        loop {
            if queue.hurry {
                return Waited::Arrived;
            }
            if queue.senders == 0 {
                return if queue.waiting.is_empty() { Waited::Gone } else { Waited::Arrived };
            }
            let left = at.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Waited::TimedOut;
            }
            (queue, _) = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for InboxReceiver<T> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.receiver = false;
        // Dropping these requests tells everybody who waits for an answer that none comes.
        let left = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_hurries_brings_along_what_was_put_in_before() {
        let (sender, receiver) = inbox(1000);
        sender.send(1, Hurry::Soon).expect("somebody takes it");
        sender.send(2, Hurry::Soon).expect("somebody takes it");
        assert_eq!(receiver.wait(None), Waited::Arrived);
        assert_eq!(receiver.wait_until(Instant::now()), Waited::TimedOut, "nobody hurries");
        sender.send(3, Hurry::Now).expect("somebody takes it");
        assert_eq!(receiver.wait_until(Instant::now() + LONG), Waited::Arrived);
        assert_eq!(receiver.take(), [1, 2, 3]);
        assert_eq!(receiver.wait_until(Instant::now()), Waited::TimedOut, "nothing is left");
    }

    #[test]
    fn whoever_waits_for_any_request_is_woken_by_one_that_does_not_hurry() {
        let (sender, receiver) = inbox(3);
        assert_eq!(receiver.wait(Some(Duration::ZERO)), Waited::TimedOut);
        let waiter = std::thread::spawn(move || receiver.wait(Some(LONG)));
        sender.send(1, Hurry::Soon).expect("somebody takes it");
        assert_eq!(waiter.join().expect("it ends"), Waited::Arrived);
    }

    #[test]
    fn a_full_group_hurries() {
        let (sender, receiver) = inbox(3);
        let waiter =
            std::thread::spawn(move || (receiver.wait_until(Instant::now() + LONG), receiver.take()));
        sender.send(1, Hurry::Soon).expect("somebody takes it");
        sender.send(2, Hurry::Soon).expect("somebody takes it");
        sender.send(3, Hurry::Soon).expect("somebody takes it");
        assert_eq!(waiter.join().expect("it ends"), (Waited::Arrived, VecDeque::from([1, 2, 3])));
    }

    #[test]
    fn each_end_notices_that_the_other_is_gone() {
        let (sender, receiver) = inbox::<u8>(3);
        let second = sender.clone();
        drop(sender);
        second.send(1, Hurry::Soon).expect("somebody takes it");
        drop(second);
        assert_eq!(
            receiver.wait_until(Instant::now() + LONG),
            Waited::Arrived,
            "what is left is served first"
        );
        assert_eq!(receiver.take(), [1]);
        assert_eq!(receiver.wait(None), Waited::Gone);
        let (sender, receiver) = inbox::<u8>(3);
        drop(receiver);
        assert!(sender.send(1, Hurry::Now).is_err());
    }
}
