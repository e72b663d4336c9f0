//! Memory that the process no longer needs.

/// Memory of a freed block, or at the end of what a thread has freed, that is kept for the next
/// use, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 1 << 20;

/// Has the allocator give large blocks back when they are freed. Call it before threads are begun.
///
/// glibc's raises its bounds up to 64 MB once a large block was freed, and keeps as much at the end
/// of what each thread has allocated, where [`give_back`] does not reach. After two reloads of
/// 100,000 entries that was 40 MB.
pub(crate) fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: both set a number, and no other thread is there to read it at the same time.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
    }
}

/// Gives what is free back to the system.
///
/// glibc's allocator keeps it by itself when it lies below something that is in use, as the tree of a schedule file
/// does below the entries that were made of it. With 100,000 entries that is 50 MB of 105.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, touches nothing that is in use, and locks the allocator while it works.
    unsafe {
        libc::malloc_trim(0);
    }
}
