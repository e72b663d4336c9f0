//! Work that yields to sends: on a thread of its own, with a lower priority than those that fire.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

/// Yields to sends, and still gets its turn on a machine that is busy.
const NICENESS: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// Lowers the priority of this thread. Where that is not allowed, sends share the machine with it.
pub(crate) fn yield_to_sends() {
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

/// A thread that does one thing after the other, until this is dropped.
pub(crate) struct Background(mpsc::Sender<Job>);

impl Background {
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(name: &str) -> io::Result<Background> {
        let (jobs, inbox) = mpsc::channel::<Job>();
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
    use super::*;

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
