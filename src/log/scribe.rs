//! Writes events from a thread of its own that yields to sends: to put a line together takes as long as a send.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::Event;
use crate::background;

/// Hands events to the log, in the order in which they are told, each with the instant at which it was.
///
/// When it is dropped, all of them are with the log.
#[derive(Debug)]
pub struct Scribe {
    told: Option<SyncSender<(Timestamp, Box<Event>)>>,
    thread: Option<JoinHandle<()>>,
}

/// Events that may wait for the thread. More of them wait as lines for a slow reader of the log.
const EVENTS_AHEAD: usize = 20_000;

/// After some lines it looks this much later for more. Meanwhile who tells needs not wake it.
const GATHERS: Duration = Duration::from_millis(2);

impl Scribe {
    /// Starts the thread. Where there can be none, events are written by who tells them.
    pub fn start() -> Scribe {
        let (told, events) = sync_channel(EVENTS_AHEAD);
        match std::thread::Builder::new().name("scribe".to_owned()).spawn(move || write(&events)) {
            Ok(thread) => Scribe { told: Some(told), thread: Some(thread) },
            Err(_) => Scribe { told: None, thread: None },
        }
    }

    /// Has an event written soon. Waits when the reader of the log is far behind: no line is ever dropped.
    pub fn tell(&self, event: Event) {
        let now = Timestamp::now();
        match &self.told {
            Some(told) => {
                if let Err(unsent) = told.send((now, Box::new(event))) {
                    emit(unsent.0);
                }
            }
            None => event.emit(),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            // It has written what it could, whatever became of it.
            let _ = thread.join();
        }
    }
}

fn write(events: &Receiver<(Timestamp, Box<Event>)>) {
    background::yield_to_sends();
    while let Ok(first) = events.recv() {
        emit(first);
        events.try_iter().for_each(emit);
        std::thread::sleep(GATHERS);
    }
}

thread_local! {
    /// When what this thread emits was told. `None`: now.
    static TOLD_AT: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

fn emit((at, event): (Timestamp, Box<Event>)) {
    TOLD_AT.set(Some(at));
    event.emit();
    TOLD_AT.set(None);
}

/// The timestamp of a line that this thread writes.
pub(super) fn timestamp() -> Timestamp {
    TOLD_AT.get().unwrap_or_else(Timestamp::now)
}
