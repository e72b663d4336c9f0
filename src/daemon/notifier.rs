//! The service manager's socket, by the protocol of sd_notify(3). Nothing here ever waits.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use std::{env, io, process};

/// Tells the service manager how the daemon is. Where there is none, it tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Service>>);

#[derive(Debug)]
struct Service {
    socket: UnixDatagram,
    /// Not connected to: the manager may be started anew.
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// It was told that the daemon is ready.
    ready: AtomicBool,
    /// A reload has ended, and it could not be told.
    owed: AtomicBool,
}

impl Notifier {
    /// The manager that started the process, if one did and wants to be told.
    ///
    /// # Errors
    /// When it wants to be told and no way leads there: it will wait in vain.
    pub fn from_env() -> io::Result<Notifier> {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Notifier(None));
        };
        let address = match path.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let (ready, owed) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Notifier(Some(Arc::new(Service { socket, address, watchdog: watchdog(), ready, owed }))))
    }

    /// The schedule file is being read again. Before the daemon is ready, that is a part of its start.
    pub fn reloading(&self) {
        if self.0.as_ref().is_some_and(|service| service.ready.load(Relaxed)) {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// The daemon goes on, with the new schedule or with the old one.
    pub fn reloaded(&self) {
        if let Some(service) = &self.0
            && service.ready.load(Relaxed)
        {
            service.owed.store(!self.tell("READY=1"), Relaxed);
        }
    }

    /// Returns the longest time that the manager waits for a sign of life. `None`: it wants none.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// Returns true when a service manager listens.
    pub(super) fn listens(&self) -> bool {
        self.0.is_some()
    }

    /// Tells the end of a reload that could not be told before, if there is one.
    pub(super) fn settle(&self) {
        if self.0.as_ref().is_some_and(|service| service.owed.load(Relaxed)) {
            self.reloaded();
        }
    }

    /// Takes in that the manager knows the daemon as ready: reloads are told from now on.
    pub(super) fn is_ready(&self) {
        if let Some(service) = &self.0 {
            service.ready.store(true, Relaxed);
        }
    }

    /// Sends assignments, one a line. Returns whether they were taken: a manager that is busy takes none.
    pub(super) fn tell(&self, assignments: &str) -> bool {
        self.0.as_ref().is_some_and(|service| {
            service.socket.send_to_addr(assignments.as_bytes(), &service.address).is_ok()
        })
    }
}

/// The manager's limit, when it is meant for this process.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    number("WATCHDOG_USEC").filter(|&limit| is_ours && limit > 0).map(Duration::from_micros)
}
