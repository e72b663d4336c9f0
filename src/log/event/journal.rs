//! Events of the journal, and of the daemons that share one.

use jiff::Timestamp;
use tracing::Level;

use super::{Pass, brief};
use crate::log::words::counted;
use crate::schedule::EntryName;

events! {
    /// The journal cannot be written. What it has claimed is still sent; nothing else is.
    JournalFailed = "journal.failed", |e| Level::ERROR, {
        since: Timestamp,
        error: String,
    }, format!("the journal cannot be written, so nothing new is claimed until it can: {}", e.error);

    /// The journal can be written again.
    JournalRestored = "journal.restored", |e| Level::INFO, {
        failed_since: Timestamp,
    }, format!("the journal can be written again, after failures since {}", brief(e.failed_since));

    /// The journal that the state directory knows is gone, or another one is in its place. Nothing
    /// is sent.
    JournalReplaced = "journal.replaced", |e| Level::ERROR, {
        /// The identity of the journal that was seen last.
        known: String,
        /// The identity of the one that is there now.
        found: Option<String>,
        journal: String,
    }, match &e.found {
        Some(found) => format!(
            "the journal {} is {found}, and this daemon knows {}, so nothing is sent. Restore the journal from a backup, or begin with \
             this one by `stackcron run --new-journal`",
            e.journal, e.known
        ),
        None => format!(
            "the journal {} is gone, with its claims and pauses, so nothing is sent. Restore it from a backup, or begin a \
             new one with `stackcron run --new-journal`",
            e.journal
        ),
    };

    /// The journal is an older copy of itself. What is due between may have been sent, and is
    /// looked for.
    JournalOlder = "journal.older", |e| Level::WARN, {
        /// The journal knows everything that was scheduled before.
        from: Timestamp,
        /// Nothing that is due after this instant was sent.
        until: Timestamp,
        /// Number of occurrences that were due between the two instants.
        occurrences: usize,
    }, format!(
        "the journal is an older copy of itself. It lacks the outcome of {} between {} and {}, which may have been sent; \
         the stacks' actions are searched for them",
        counted(e.occurrences, "occurrence", "occurrences"), brief(e.from), brief(e.until)
    );

    /// The journal did not take a step back. It and the log may disagree on this occurrence: a
    /// fault of the daemon's.
    JournalRefused = "journal.refused", |e| Level::ERROR, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        error: String,
    }, format!("the journal refused a change of state: {}", e.error);

    /// This member leads: it fires the schedule, or a shard of it, and the others stand by.
    LeaseAcquired = "lease.acquired", |e| Level::INFO, {
        member: String,
        /// Name of the shard. Null: the common shard.
        shard: Option<String>,
        journal: String,
        /// Number of occurrences that the former leader had claimed and not settled.
        open: usize,
    }, format!("this member, {}, leads{}: it fires the schedule", e.member, of_shard(&e.shard));

    /// Another member leads from now on. What this one has sent and has no answer to is that one's
    /// to find out.
    LeaseLost = "lease.lost", |e| Level::ERROR, {
        member: String,
        shard: Option<String>,
        in_flight: usize,
    }, format!(
        "another member leads{}, because this member, {}, did not renew its lease in time. This member stands by",
        of_shard(&e.shard), e.member
    );

    /// This member has stopped, or leads more shards than others, and hands over.
    LeaseReleased = "lease.released", |e| Level::INFO, {
        member: String,
        shard: Option<String>,
    }, format!("this member, {}, has handed over{}", e.member, of_shard(&e.shard));

    /// Another member leads, and this one stands by.
    LeaseStandby = "lease.standby", |e| Level::INFO, {
        member: String,
        shard: Option<String>,
        leader: Option<String>,
    }, format!(
        "{} leads{}, and this member, {}, stands by",
        e.leader.as_deref().unwrap_or("another member"), of_shard(&e.shard), e.member
    );

    /// The shared journal is out of reach. A leader sends what is claimed and due in two seconds,
    /// and nothing else.
    LeaseUnreachable = "lease.unreachable", |e| Level::ERROR, {
        member: String,
        error: String,
    }, format!("the shared journal is out of reach, so this member can neither lead nor take over: {}", e.error);

    /// The shared journal is within reach again.
    LeaseReachable = "lease.reachable", |e| Level::INFO, {
        member: String,
    }, format!("the shared journal is within reach again for this member, {}", e.member);

    /// A member's schedule file is not the leader's. The leader's counts.
    ScheduleDiffers = "schedule.differs", |e| Level::WARN, {
        member: String,
        fingerprint: String,
        leader: String,
        leader_fingerprint: String,
    }, format!(
        "the schedule file of {} ({}) differs from that of the leader, {} ({}), which is in force",
        e.member, e.fingerprint, e.leader, e.leader_fingerprint
    );

    /// This machine's clock is off from the database's. A leader's clock says what is due.
    ClockDiffers = "clock.differs", |e| Level::WARN, {
        /// Ahead when positive.
        by_ms: i64,
    }, format!("the clock is {} ms off from the database's. Synchronise the time of both machines", e.by_ms);
}

/// Words that name the shard of a lease, with a blank in front. Empty for the common shard.
fn of_shard(shard: &Option<String>) -> String {
    shard.as_ref().map_or(String::new(), |shard| format!(" the shard {shard}"))
}
