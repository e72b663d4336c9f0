//! Work that yields to sends: on a thread of its own, with a lower priority than those that fire,
//! and after a burst where it can wait.
//!
//! A burst keeps each core busy: the line and the row of a request cost as much as the request. A
//! lower priority alone leaves them a fifth of each core. So who writes lines and rows waits while
//! requests wait for a worker, up to [`LONGEST`]:
//!
//! ```text
//! 12:00:00.000  1,000 occurrences are due: 64 are being sent, and the others wait for a worker
//! 12:00:00.001  the first answers come; their lines and rows wait
//! 12:00:00.025  nothing waits for a worker any more: lines are written, then rows
//! 12:00:00.250  had the burst gone on, lines and rows would be written from now on all the same
//! ```

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Yields to sends, and still gets its turn on a machine that is busy.
const NICENESS: i32 = 5;

/// Lines and rows wait this long for the end of a burst. A process that is killed meanwhile finds
/// as much in doubt at its next start, and asks the API about it.
const LONGEST: Duration = Duration::from_millis(250);

/// Interval at which the end of a burst is looked for.
const LOOKS: Duration = Duration::from_millis(2);

/// Number of run_now, of all accounts, that wait for a worker. The cores are the process's, and so
/// is this.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A run_now waits for a worker until this is dropped.
pub(crate) struct WaitsForWorker(());

impl WaitsForWorker {
    pub(crate) fn new() -> WaitsForWorker {
        WAITING.fetch_add(1, Ordering::Relaxed);
        WaitsForWorker(())
    }

    /// Number of run_now, of all accounts, that wait for a worker.
    pub(crate) fn number() -> usize {
        WAITING.load(Ordering::Relaxed)
    }
}

impl Drop for WaitsForWorker {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until no run_now waits for a worker, not longer than up to [`LONGEST`] after `since`, and
/// only while `may_wait` says so.
pub(crate) fn let_sends_go_first(since: Instant, may_wait: impl Fn() -> bool) {
    while WaitsForWorker::number() > 0 && since.elapsed() < LONGEST && may_wait() {
        thread::sleep(LOOKS);
    }
}

type BackgroundJob = Box<dyn FnOnce() + Send>;

/// Lowers the priority of this thread. Where that is not allowed, sends share the machine with it.
pub(crate) fn yield_to_sends() {
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// A thread that does one thing after the other, until this is dropped.
pub(crate) struct Background(mpsc::Sender<BackgroundJob>);

impl Background {
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(name: &str) -> io::Result<Background> {
        let (jobs, inbox) = mpsc::channel::<BackgroundJob>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            yield_to_sends();
            for job in inbox {
                // A mistake in one answer takes no other with it.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Background(jobs))
    }

    /// Does something. `None` when it failed. What nobody waits for any more is not begun.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        };
        self.0.send(Box::new(job)).ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn who_writes_goes_on_when_no_send_waits_or_the_wait_is_over() {
        let waits = RefCell::new(Some(WaitsForWorker::new()));
        let_sends_go_first(Instant::now(), || false);
        let_sends_go_first(Instant::now() - LONGEST, || unreachable!("the time is over"));
        assert!(waits.borrow().is_some() && WaitsForWorker::number() > 0);
        let_sends_go_first(Instant::now(), || {
            waits.take();
            true
        });
        assert!(waits.borrow().is_none(), "it waited for the send");
    }

    #[tokio::test]
    async fn a_mistake_takes_nothing_else_with_it() {
        let background = Background::start("test").expect("a thread");
        let failed: Option<()> = background.run(|| panic!("a mistake")).await;
        assert_eq!(failed, None);
        assert_eq!(background.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn it_yields_to_others() {
        let background = Background::start("test").expect("a thread");
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let (theirs, own) = (background.run(niceness).await.expect("a priority"), niceness());
        assert!(theirs > own || own >= NICENESS, "{theirs} is nicer than {own}");
    }
}
