//! Writes the log from a thread of its own that yields to sends: to put a line together takes as
//! long as a send, and a slow reader of the log must not make a job late.
//!
//! A reader that hangs, as a pipe that nobody empties, makes the thread wait for ever. Nobody else
//! waits: lines are kept up to [`AHEAD`], and those beyond are counted and dropped. Once the log
//! goes again one line says how many. The journal has all of what they told:
//!
//! ```text
//! 10:00:00  the reader hangs; firing goes on, and lines are kept
//! 10:20:00  100,000 lines are kept; from now on they are counted, and `status` and the metrics say how many
//! 10:25:00  the reader goes on: it gets the 100,000 lines, then "25000 lines of the log were dropped since 10:20:00"
//! ```

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::Level;

use super::event::LogDropped;
use super::form::Form;
use super::layer::TARGET;
use super::{Event, Line, RecentLines};
use crate::background;

/// Hands what is told to the log, in the order in which it is told, each event with the instant at
/// which it was. Its clones are the same log.
#[derive(Clone)]
pub(super) struct LogWriter {
    told: SyncSender<LogItem>,
    /// The thread has it to itself while it writes.
    sink: Arc<Mutex<Sink>>,
    progress: LogProgress,
}

/// Form and output of the log.
pub(super) struct Sink {
    pub(super) form: Form,
    pub(super) out: Box<dyn Write + Send>,
    /// The newest lines, for the status page. `None`: no page is served.
    pub(super) recent: Option<RecentLines>,
}

/// Progress of the log.
#[derive(Clone, Debug, Default)]
pub struct LogProgress(Arc<LogCounts>);

/// Ends the thread when it is dropped. All that was told is with the log then, unless its reader
/// hangs.
pub(super) struct WriterThread {
    log_writer: LogWriter,
    thread: Option<JoinHandle<()>>,
}

pub(super) enum LogItem {
    Event(Timestamp, Arc<Event>),
    /// A line of another crate.
    Line(Box<Line>),
    End,
}

#[derive(Debug, Default)]
struct LogCounts {
    /// Number of things that were told and are kept or written.
    told: AtomicU64,
    /// Number of them that are written.
    written: Mutex<u64>,
    changed: Condvar,
    /// The last wait for the log ended without the lines being read.
    hangs: AtomicBool,
    /// Number of lines that were handed to the log's reader, for who waits for the end.
    lines: AtomicU64,
    /// Number of things that were told and dropped, from the start on.
    dropped: AtomicU64,
    /// Lines that were dropped and that the log has not told of yet.
    gap: Mutex<Option<LogGap>>,
}

/// Lines that the log lacks, because its reader hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogGap {
    pub(crate) lines: u64,
    /// The instant at which the first of them was told.
    pub(crate) since: Timestamp,
}

/// Lines that may wait for a slow reader of the log: several minutes of a busy schedule, in some 50
/// MB.
const AHEAD: usize = 100_000;

/// A reader of the log that takes no line for so long at the end hangs, and what is left is lost.
const STALLS: Duration = Duration::from_millis(500);

/// A reader that is slow has this long at the end. Service managers kill some 20 s after they asked
/// for the end, half of which is for what is in flight.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Interval at which a stop looks whether the reader of the log goes on.
const LOOKS: Duration = Duration::from_millis(10);

/// After some lines it looks this much later for more. Meanwhile who tells needs not wake it.
const GATHERS: Duration = Duration::from_millis(2);

impl LogWriter {
    /// Starts the thread, which writes to `sink`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(sink: Sink) -> io::Result<(LogWriter, WriterThread)> {
        LogWriter::keeping(AHEAD, sink)
    }

    /// Keeps up to `ahead` lines for a slow reader.
    fn keeping(ahead: usize, sink: Sink) -> io::Result<(LogWriter, WriterThread)> {
        let (told, inbox) = sync_channel(ahead);
        let log_writer =
            LogWriter { told, sink: Arc::new(Mutex::new(sink)), progress: LogProgress::default() };
        let (sink, progress) = (Arc::clone(&log_writer.sink), log_writer.progress());
        let thread = std::thread::Builder::new()
            .name("log_writer".to_owned())
            .spawn(move || write(&inbox, &sink, &progress))?;
        Ok((log_writer.clone(), WriterThread { log_writer, thread: Some(thread) }))
    }

    /// Has a line written soon. It is counted and dropped when the reader of the log is too far
    /// behind. Once the thread has ended, the line is written at once.
    pub(super) fn take(&self, item: LogItem) {
        if let Err(item) = self.put(item) {
            let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            sink.write(item);
            sink.flush();
        }
    }

    /// Progress of the log.
    pub(super) fn progress(&self) -> LogProgress {
        self.progress.clone()
    }

    /// Gives it back when the thread is gone. Waits for nobody.
    fn put(&self, told: LogItem) -> Result<(), LogItem> {
        match self.told.try_send(told) {
            Ok(()) => {
                self.progress.0.told.fetch_add(1, SeqCst);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.progress.drops();
                Ok(())
            }
            Err(TrySendError::Disconnected(told)) => Err(told),
        }
    }
}

/// There is no other place to tell of a log that cannot be written.
impl Sink {
    fn write(&mut self, item: LogItem) {
        let line = match item {
            LogItem::Event(at, event) => Line::new(at, &event),
            LogItem::Line(line) => *line,
            LogItem::End => return,
        };
        let _ = self.form.write(&mut *self.out, &line);
        if let Some(recent) = &self.recent {
            recent.keep(line);
        }
    }

    fn flush(&mut self) {
        let _ = self.out.flush();
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let counts = &self.log_writer.progress.0;
        let begun = Instant::now();
        let mut asked = false;
        let mut last = (counts.lines.load(SeqCst), begun);
        while !thread.is_finished() {
            // Its end finds no place while too much waits.
            asked =
                asked || !matches!(self.log_writer.told.try_send(LogItem::End), Err(TrySendError::Full(_)));
            let lines = counts.lines.load(SeqCst);
            if lines != last.0 {
                last = (lines, Instant::now());
            }
            if last.1.elapsed() >= STALLS || begun.elapsed() >= LAST_LINES {
                // The process ends without it.
                return;
            }
            std::thread::sleep(LOOKS);
        }
        // The thread has written what it could.
        let _ = thread.join();
    }
}

impl LogProgress {
    /// Waits until all that was told before is written. Not long, and not again after it was in
    /// vain until the log has caught up: what waits here must go on when nobody reads the log.
    pub fn catch_up(&self, patience: Duration) {
        let told = self.0.told.load(SeqCst);
        let written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = if self.0.hangs.load(SeqCst) { Duration::ZERO } else { patience };
        let behind = |written: &mut u64| *written < told;
        let waited = self.0.changed.wait_timeout_while(written, patience, behind);
        let in_vain = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        self.0.hangs.store(in_vain, SeqCst);
    }

    /// Number of lines that the log lacks, from the start on.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(SeqCst)
    }

    /// Lines that were dropped, until a line of the log has told of them.
    pub(crate) fn gap(&self) -> Option<LogGap> {
        *self.0.gap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self) {
        self.0.dropped.fetch_add(1, SeqCst);
        let mut gap = self.0.gap.lock().unwrap_or_else(PoisonError::into_inner);
        gap.get_or_insert_with(|| LogGap { lines: 0, since: Timestamp::now() }).lines += 1;
    }

    fn told_of_gap(&self) -> Option<LogGap> {
        self.0.gap.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn advance(&self, by: u64) {
        *self.0.written.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.0.changed.notify_all();
    }
}

fn write(inbox: &Receiver<LogItem>, sink: &Mutex<Sink>, progress: &LogProgress) {
    background::yield_to_sends();
    loop {
        let Ok(first) = inbox.recv() else {
            return;
        };
        background::let_sends_go_first(Instant::now(), || true);
        let (mut count, mut ends) = (0, false);
        let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
        for item in std::iter::once(first).chain(inbox.try_iter()) {
            count += 1;
            ends |= matches!(item, LogItem::End);
            sink.write(item);
            progress.0.lines.fetch_add(1, SeqCst);
        }
        if let Some(LogGap { lines, since }) = progress.told_of_gap()
            && tracing::enabled!(target: TARGET, Level::WARN)
        {
            let dropped = LogDropped { lines, since };
            sink.write(LogItem::Event(Timestamp::now(), Arc::new(dropped.into())));
        }
        sink.flush();
        drop(sink);
        progress.advance(count);
        if ends {
            return;
        }
        std::thread::sleep(GATHERS);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::log::TextPage;

    const LONG: Duration = Duration::from_secs(60);

    /// Writes what it is given when it is let.
    struct SlowReader {
        lets: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for SlowReader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.lets.recv();
            let _ = self.read.send(line.to_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log that the reader reads.
    fn sink(lets: Receiver<()>, read: Sender<Vec<u8>>) -> Sink {
        Sink {
            form: Form::Text(TextPage::new(None, false)),
            out: Box::new(SlowReader { lets, read }),
            recent: None,
        }
    }

    fn tell(log_writer: &LogWriter, message: &str) {
        let mut line = Line::begun(Timestamp::UNIX_EPOCH, Level::INFO);
        line.fields.put("message", message);
        log_writer.take(LogItem::Line(Box::new(line)));
    }

    /// The message of a line.
    fn message(line: &[u8]) -> String {
        String::from_utf8_lossy(line).trim_end().rsplit(' ').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_reader_that_hangs_holds_up_nobody_and_the_log_says_how_much_it_lacks() {
        let (lets, let_in) = channel();
        let (read, lines) = channel();
        let (log_writer, writing) = LogWriter::keeping(2, sink(let_in, read)).expect("a thread");
        let progress = log_writer.progress();
        let tell = |message: &str| tell(&log_writer, message);
        tell("written");
        // The thread takes it out, and hangs in it.
        lets.send(()).expect("it writes");
        assert_eq!(message(&lines.recv().expect("a line")), "written");
        progress.catch_up(LONG);
        for number in 0..10 {
            tell(&number.to_string());
        }
        let gap = progress.gap().expect("a gap");
        assert!((7..=8).contains(&gap.lines), "two or three of ten are kept: {gap:?}");
        assert_eq!(progress.dropped(), gap.lines);
        drop(lets);
        drop(writing);
        assert_eq!(progress.gap(), None, "it is told");
        assert_eq!(progress.dropped(), gap.lines, "the count stays");
        assert_eq!(lines.try_iter().count() as u64, 10 - gap.lines, "what was kept is written");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        let (_lets, let_in) = channel();
        let (read, _lines) = channel();
        let (log_writer, writing) = LogWriter::keeping(2, sink(let_in, read)).expect("a thread");
        for _ in 0..5 {
            tell(&log_writer, "line");
        }
        drop(writing);
        assert_eq!(log_writer.progress().0.lines.load(SeqCst), 0, "nobody has read any");
    }

    #[test]
    fn who_waits_for_the_log_goes_on_when_all_is_written_or_nobody_reads() {
        let (lets, let_in) = channel();
        let (read, lines) = channel();
        let (log_writer, writing) = LogWriter::start(sink(let_in, read)).expect("a thread");
        let progress = log_writer.progress();
        progress.catch_up(LONG);
        let tell = |message: &str| tell(&log_writer, message);
        tell("first");
        progress.catch_up(Duration::from_millis(1));
        assert!(progress.0.hangs.load(SeqCst), "nobody reads");
        progress.catch_up(LONG);
        lets.send(()).expect("it writes");
        assert_eq!(message(&lines.recv().expect("a line")), "first");
        while progress.0.hangs.load(SeqCst) {
            progress.catch_up(LONG);
        }
        tell("second");
        tell("third");
        lets.send(()).and(lets.send(())).expect("it writes");
        progress.catch_up(LONG);
        assert_eq!(lines.try_iter().map(|line| message(&line)).collect::<Vec<_>>(), ["second", "third"]);
        tell("last");
        lets.send(()).expect("it writes");
        drop(writing);
        assert_eq!(lines.try_iter().count(), 1, "the end writes what is left");
    }
}
