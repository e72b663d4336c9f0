//! Holds SIGHUP back while a command starts.
//!
//! To the daemon SIGHUP is a request to reload, and to a process that has no handler yet it is the
//! end: `systemctl reload` a few milliseconds after a start killed the service. So the signal is
//! blocked as the first act of the program, which keeps one that comes pending. The daemon lets it
//! through when its handler is there; every other command does so as soon as it knows that it is
//! another.

/// Keeps SIGHUP pending, in this thread and those that it starts.
pub fn hold() {
    mask(libc::SIG_BLOCK);
}

/// Lets SIGHUP come, and what came meanwhile.
pub fn release() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: libc::c_int) {
    // SAFETY: the set is initialised by sigemptyset before it is read, and no pointer outlives the
    // call.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGHUP);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}
