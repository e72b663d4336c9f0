//! Events of the daemon itself: its start and end, its clock, and whom it cannot tell or ask.

use jiff::Timestamp;
use tracing::Level;

use super::brief;
use crate::log::words::counted;
use crate::schedule::{EntryName, ReceiverName};

events! {
    /// The daemon fires from now on.
    DaemonStarted = "daemon.started", |e| Level::INFO, {
        version: &'static str,
        entries: usize,
        accounts: usize,
        journal: String,
        pid: u32,
        /// The tz database that tells local time, and its version.
        tz_database: String,
    }, format!(
        "stackcron {} started: {}, {}",
        e.version, counted(e.entries, "entry", "entries"), counted(e.accounts, "account", "accounts")
    );

    /// The daemon answers who watches it.
    DaemonListening = "daemon.listening", |e| Level::INFO, {
        /// With the port that was taken.
        address: String,
    }, format!("http://{} serves the status page, /healthz, /readyz and /metrics", e.address);

    /// The daemon starts nothing any more.
    DaemonStopping = "daemon.stopping", |e| Level::INFO, {
        reason: String,
        /// Requests that wait for their answer.
        in_flight: usize,
    }, format!(
        "{}: nothing new is sent; {} in flight",
        e.reason, counted(e.in_flight, "request is", "requests are")
    );

    /// The daemon ends.
    DaemonStopped = "daemon.stopped", |e| Level::INFO, {
        reason: String,
        /// Attempts that may have started, in flight or in doubt. The next start finds out.
        in_flight: usize,
    }, format!("stopped: {}", e.reason);

    /// An address that somebody is to be told by cannot be used. Nothing changes, or the daemon
    /// does not start.
    NotifyUnusable = "notify.unusable", |e| Level::ERROR, {
        /// The receiver that the webhook belongs to.
        receiver: Option<ReceiverName>,
        /// The entry that the ping belongs to.
        entry: Option<EntryName>,
        error: String,
    }, format!("{} cannot be notified: {}", told(&e.receiver, &e.entry), e.error);

    /// Somebody is not told of something, for good. Said once, until something is taken again.
    NotifyFailed = "notify.failed", |e| Level::WARN, {
        receiver: Option<ReceiverName>,
        entry: Option<EntryName>,
        /// Host of the address. The rest of the address is a secret.
        host: Option<String>,
        attempts: u32,
        /// The ends that are not told. The log has them.
        lost: usize,
        error: String,
    }, format!("{} was not notified of {}, which the log has: {}", told(&e.receiver, &e.entry), counted(e.lost, "end", "ends"), e.error);

    /// Somebody can be told again.
    NotifyRestored = "notify.restored", |e| Level::INFO, {
        receiver: Option<ReceiverName>,
        entry: Option<EntryName>,
        /// The ends that were not told meanwhile.
        lost: usize,
    }, format!("{} can be notified again; it missed {}", told(&e.receiver, &e.entry), counted(e.lost, "end", "ends"));

    /// The daemon cannot be asked anything: it fires all the same.
    ControlUnavailable = "control.unavailable", |e| Level::WARN, {
        path: String,
        error: String,
    }, format!("the control socket {} cannot be opened, so `fire`, `status`, `pause` and `resume` do not work: {}", e.path, e.error);

    /// A variable takes the place of the system's certificate authorities and leads to none.
    CertificatesMissing = "certificates.missing", |e| Level::WARN, {
        /// SSL_CERT_FILE or SSL_CERT_DIR.
        variable: &'static str,
        path: String,
        error: String,
    }, format!(
        "{} leads to no certificate ({}: {}), so every TLS connection fails. Set it to a file with certificates in PEM, or unset \
         {} to use the system's",
        e.variable, e.path, e.error, e.variable
    );

    /// The log's reader hung, and more lines were told than could be kept for it. The journal has
    /// what they told.
    LogDropped = "log.dropped", |e| Level::WARN, {
        /// Number of lines that the log lacks.
        lines: u64,
        /// The instant at which the first of them was told.
        since: Timestamp,
    }, format!(
        "{} {} of the log dropped since {}, because nobody read it; `stackcron history` has what became of each occurrence",
        e.lines, if e.lines == 1 { "line was" } else { "lines were" }, brief(e.since)
    );

    /// Another process on this machine may fire the same jobs, and cannot be asked.
    NeighbourUnasked = "neighbour.unasked", |e| Level::WARN, {
        /// `None`: no single process is meant, or it has no number here.
        pid: Option<u32>,
        error: String,
    }, format!(
        "it is unknown whether {} fires the same jobs: {}. Make sure that no second daemon does",
        e.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")), e.error
    );

    /// The wall clock was set, or the machine slept.
    ClockJumped = "clock.jumped", |e| Level::WARN, {
        /// Forward when positive.
        by_ms: i64,
    }, format!("the clock jumped by {} ms", e.by_ms);

    /// The clock is behind what it has shown, or is none: nothing new is sent.
    ClockBehind = "clock.behind", |e| Level::WARN, {
        /// The clock is waited for until it shows this.
        until: Timestamp,
        /// Number of entries that wait.
        entries: usize,
    }, format!(
        "the clock is behind: {} until it shows {}. Synchronise the machine's time",
        counted(e.entries, "entry waits", "entries wait"), e.until
    );
}

/// Names the target of a notification: a receiver, or an entry's ping.
fn told(receiver: &Option<ReceiverName>, entry: &Option<EntryName>) -> String {
    match (receiver, entry) {
        (Some(receiver), _) => format!("receiver {receiver}"),
        (None, Some(entry)) => format!("the ping of {entry}"),
        (None, None) => "nobody".to_owned(),
    }
}
