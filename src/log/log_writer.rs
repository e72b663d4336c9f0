//! Writes the log from a thread of its own that yields to sends: to put a line together takes as long as a send, and a slow
//! reader of the log must not make a job late.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::Event;
use crate::background;

/// Hands what is told to the log, in the order in which it is told, each event with the instant at which it was. Its clones
/// are the same log.
#[derive(Clone, Debug)]
pub struct LogWriter {
    told: SyncSender<Told>,
    progress: Progress,
}

/// How far the log is.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

/// Ends the thread when it is dropped. All that was told is with the log then.
#[derive(Debug)]
pub(super) struct Writing {
    log_writer: LogWriter,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Told {
    Event(Timestamp, Box<Event>),
    /// Put together by another thread.
    Line(Vec<u8>),
    End,
}

#[derive(Debug, Default)]
struct Counts {
    /// So many things were told.
    told: AtomicU64,
    /// So many of them are written.
    written: Mutex<u64>,
    changed: Condvar,
    /// Who waited last did so in vain.
    hangs: AtomicBool,
}

/// What may wait for a slow reader of the log. Beyond it the daemon waits too: no line is ever dropped.
const AHEAD: usize = 100_000;

/// After some lines it looks this much later for more. Meanwhile who tells needs not wake it.
const GATHERS: Duration = Duration::from_millis(2);

impl LogWriter {
    /// Starts the thread, which writes to `out`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(out: Box<dyn Write + Send>) -> io::Result<(LogWriter, Writing)> {
        let (told, inbox) = sync_channel(AHEAD);
        let log_writer = LogWriter { told, progress: Progress::default() };
        let progress = log_writer.progress();
        let thread = std::thread::Builder::new()
            .name("log_writer".to_owned())
            .spawn(move || write(&inbox, out, &progress))?;
        Ok((log_writer.clone(), Writing { log_writer, thread: Some(thread) }))
    }

    /// Has an event written soon. Waits when the reader of the log is far behind: no line is ever dropped.
    pub fn emit(&self, event: Event) {
        if let Err(Told::Event(at, event)) = self.put(Told::Event(Timestamp::now(), Box::new(event))) {
            emit(at, &event);
        }
    }

    /// How far the log is.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Gives it back when the thread is gone.
    fn put(&self, told: Told) -> Result<(), Told> {
        self.progress.0.told.fetch_add(1, SeqCst);
        self.told.send(told).map_err(|unsent| unsent.0)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // It has written what it could, whatever became of it.
        let _ = self.log_writer.put(Told::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// Waits until all that was told before is written. Not long, and not again after it was in vain until the log has
    /// caught up: what waits here must go on when nobody reads the log.
    pub fn catch_up(&self, patience: Duration) {
        let told = self.0.told.load(SeqCst);
        let written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = if self.0.hangs.load(SeqCst) { Duration::ZERO } else { patience };
        let behind = |written: &mut u64| *written < told;
        let waited = self.0.changed.wait_timeout_while(written, patience, behind);
        let in_vain = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        self.0.hangs.store(in_vain, SeqCst);
    }

    fn advance(&self, by: u64) {
        *self.0.written.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.0.changed.notify_all();
    }
}

fn write(inbox: &Receiver<Told>, out: Box<dyn Write + Send>, progress: &Progress) {
    background::yield_to_sends();
    OUT.set(Some(out));
    loop {
        let Ok(first) = inbox.recv() else {
            return;
        };
        let (mut count, mut ends) = (0, false);
        for told in std::iter::once(first).chain(inbox.try_iter()) {
            count += 1;
            match told {
                Told::Event(at, event) => emit(at, &event),
                Told::Line(line) => drop(put(&line)),
                Told::End => ends = true,
            }
        }
        OUT.with_borrow_mut(|out| {
            // There is no other place to tell of a log that cannot be written.
            let _ = out.as_mut().map(|out| out.flush());
        });
        progress.advance(count);
        if ends {
            return;
        }
        std::thread::sleep(GATHERS);
    }
}

thread_local! {
    /// When what this thread emits was told. `None`: now.
    static TOLD_AT: Cell<Option<Timestamp>> = const { Cell::new(None) };

    /// Where the log goes. Only the log_writer's thread has it.
    static OUT: RefCell<Option<Box<dyn Write + Send>>> = const { RefCell::new(None) };
}

fn emit(at: Timestamp, event: &Event) {
    TOLD_AT.set(Some(at));
    event.emit();
    TOLD_AT.set(None);
}

/// The timestamp of a line that this thread puts together.
pub(super) fn timestamp() -> Timestamp {
    TOLD_AT.get().unwrap_or_else(Timestamp::now)
}

/// Writes a line where the log goes. Returns whether this thread knows.
fn put(line: &[u8]) -> bool {
    OUT.with_borrow_mut(|out| out.as_mut().map(|out| out.write_all(line))).is_some()
}

/// Takes each line that is put together with one write. The log_writer's own go where the log goes, those of other threads to
/// the log_writer.
pub(super) struct Lines(pub(super) LogWriter);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

pub(super) struct Line<'a>(&'a LogWriter);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !put(line)
            && let Err(Told::Line(line)) = self.0.put(Told::Line(line.to_owned()))
        {
            io::stdout().write_all(&line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Writes what it is given when it is let.
    struct Reader {
        lets: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.lets.recv();
            let _ = self.read.send(line.to_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_waits_for_the_log_goes_on_when_all_is_written_or_nobody_reads() {
        let (lets, let_in) = channel();
        let (read, lines) = channel();
        let (log_writer, writing) =
            LogWriter::start(Box::new(Reader { lets: let_in, read })).expect("a thread");
        let progress = log_writer.progress();
        progress.catch_up(LONG);
        let tell = |line: &str| Line(&log_writer).write_all(line.as_bytes()).expect("told");
        tell("first");
        progress.catch_up(Duration::from_millis(1));
        assert!(progress.0.hangs.load(SeqCst), "nobody reads");
        progress.catch_up(LONG);
        lets.send(()).expect("it writes");
        assert_eq!(lines.recv().expect("a line"), b"first");
        while progress.0.hangs.load(SeqCst) {
            progress.catch_up(LONG);
        }
        tell("second");
        tell("third");
        lets.send(()).and(lets.send(())).expect("it writes");
        progress.catch_up(LONG);
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"second".to_vec(), b"third".to_vec()]);
        tell("last");
        lets.send(()).expect("it writes");
        drop(writing);
        assert_eq!(lines.try_iter().count(), 1, "the end writes what is left");
    }
}
