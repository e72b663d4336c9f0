//! The run_now of one account that wait for their turn, and the workers that send them.
//!
//! A task, a wait for a connection and a timer for each request cost more in a burst than the
//! requests. So a worker that has read an answer takes the next request itself, on the connection
//! that it has. There are 64 workers at most while answers are quick, as many as connections are
//! opened ahead, and no handshake gets in a burst's way. Where answers are slow, a request that has
//! waited for 20 ms gets a worker of its own, and with it a connection; and once an answer has
//! taken as long, each request gets one at once. Dispatch bounds how many requests are handed over
//! at once.
//!
//! ```text
//! 12:00:00.000  256 requests are handed over: 64 workers send the first 64, and 192 wait
//! 12:00:00.001  the first answer is read: its worker sends the 65th request on the same connection
//! 12:00:00.007  nothing waits any more: a worker that has read its answer gives its connection back, and ends
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::fire::{Fire, Sender};
use super::pool::MOST_AHEAD;
use crate::background::WaitsForWorker;

/// Workers that start at once while answers are quick.
const ENOUGH: usize = MOST_AHEAD;

/// A request that has waited for this long gets a worker of its own, and an answer that takes this
/// long is slow.
const PATIENCE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Clone)]
pub(super) struct Workers(Arc<WorkersShared>);

struct WorkersShared {
    sender: Sender,
    queue: Mutex<FireQueue>,
}

#[derive(Default)]
struct FireQueue {
    /// The requests in the order in which they were handed over.
    waiting: VecDeque<(Fire, WaitsForWorker)>,
    workers: usize,
    /// The last answer was slow. To wait for a worker costs more than one worker more then.
    slow: bool,
    /// A task looks whether what waits has waited for long.
    watched: bool,
}

/// Counts as a worker until it is dropped, or has found nothing to do.
struct Worker {
    shared: Arc<WorkersShared>,
    ended: bool,
}

impl Workers {
    pub(super) fn new(sender: Sender) -> Workers {
        Workers(Arc::new(WorkersShared { sender, queue: Mutex::default() }))
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.0.sender
    }

    /// Has a run_now sent in its turn.
    pub(super) fn hand_over(&self, fire: Fire) {
        let mut queue = self.0.queue();
        if queue.workers < ENOUGH || queue.slow {
            self.0.employ(&mut queue, fire);
            return;
        }
        queue.waiting.push_back((fire, WaitsForWorker::new()));
        if !std::mem::replace(&mut queue.watched, true) {
            tokio::spawn(watch(Arc::clone(&self.0)));
        }
    }
}

impl WorkersShared {
    /// Has a new worker send a run_now.
    fn employ(self: &Arc<Self>, queue: &mut FireQueue, fire: Fire) {
        queue.workers += 1;
        let worker = Worker { shared: Arc::clone(self), ended: false };
        tokio::spawn(worker.work(fire));
    }

    fn queue(&self) -> MutexGuard<'_, FireQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Sends one run_now after the other until none waits.
    async fn work(mut self, first: Fire) {
        let mut kept = None;
        let mut next = Some(first);
        while let Some(fire) = next {
            let (reply, connection) = self.shared.sender.send(&fire, kept).await;
            kept = connection;
            let slow = reply.left.is_some_and(|left| is_slow(left.at, Timestamp::now()));
            (fire.done)(reply);
            next = self.next(slow);
        }
        self.shared.sender.give_back(kept);
    }

    /// Takes the request that has waited longest. `None`: no request waits, and this worker is no
    /// longer counted. `slow` tells of the answer that was just read.
    fn next(&mut self, slow: bool) -> Option<Fire> {
        let mut queue = self.shared.queue();
        queue.slow = slow;
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.workers -= 1;
            self.ended = true;
        }
        next.map(|(fire, _)| fire)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.queue().workers -= 1;
        }
    }
}

/// Returns true when an answer that is read now is slow. A clock that is set meanwhile misjudges
/// one answer, and the next answer tells anew.
fn is_slow(left_at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(left_at)).is_ok_and(|took| took >= PATIENCE)
}

/// Gives workers to what has waited for long, until nothing waits.
async fn watch(shared: Arc<WorkersShared>) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let now = Instant::now();
        let mut queue = shared.queue();
        while let Some((fire, waits)) = queue.waiting.pop_front() {
            if now.duration_since(fire.handed_over) < PATIENCE {
                queue.waiting.push_front((fire, waits));
                break;
            }
            shared.employ(&mut queue, fire);
        }
        if queue.waiting.is_empty() {
            queue.watched = false;
            return;
        }
    }
}
