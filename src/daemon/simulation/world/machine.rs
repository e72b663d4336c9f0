//! A machine, and the daemon on it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::database::DatabaseLatency;
use super::super::disk::Disk;
use super::super::member::SimulatedMember;
use super::process::{Process, SimulatedOpening};
use crate::journal::postgres::tables::RunId;

/// A machine, and the daemon on it.
pub(super) struct Machine {
    /// Time by which the clock is ahead of the server's when nobody has set it.
    pub(super) base: SignedDuration,
    /// Time by which the clock is ahead now, and the most that it has been ahead.
    pub(super) ahead: SignedDuration,
    pub(super) ahead_at_most: SignedDuration,
    /// Time at which the machine was started, before the first start of the daemon.
    pub(super) booted: SignedDuration,
    /// The machine is down until then, and no daemon starts on it before.
    pub(super) down_until: Duration,
    pub(super) disk: Disk,
    /// Its part among several, while it is up.
    pub(super) member: Option<SimulatedMember>,
    /// Identity of the former process, as the state directory has it. `None` after a start of the
    /// machine.
    pub(super) former: Option<RunId>,
    /// The instant up to which anybody may have sent, as the state directory has it.
    pub(super) known_until: Option<Timestamp>,
    pub(super) opening: Option<SimulatedOpening>,
    /// The daemon that fires: always while a single machine is up, and while the member leads among
    /// several.
    pub(super) process: Option<Process>,
    /// Those of former terms, which listen to what was in flight.
    pub(super) listeners: Vec<Process>,
    pub(super) frozen_until: Duration,
    pub(super) unreachable_until: Duration,
}

impl Machine {
    pub(super) fn new(ahead: SignedDuration, latency: DatabaseLatency) -> Machine {
        Machine {
            base: ahead,
            ahead,
            ahead_at_most: ahead,
            booted: SignedDuration::ZERO,
            down_until: Duration::ZERO,
            disk: Disk::new(latency),
            member: None,
            former: None,
            known_until: None,
            opening: None,
            process: None,
            listeners: Vec::new(),
            frozen_until: Duration::ZERO,
            unreachable_until: Duration::ZERO,
        }
    }

    /// Returns the time at which the machine goes on by itself.
    pub(super) fn next_at(&self, now: Duration) -> Option<Duration> {
        let member = self.member.as_ref().and_then(|member| member.next_at(self.frozen_until));
        let opening = self.opening.as_ref().map(|opening| opening.next_at(self.frozen_until));
        let disk = self.disk.next_at(self.frozen_until);
        [self.wakes_at(now), member, opening, disk].into_iter().flatten().min()
    }

    /// Returns the time at which the loop has something to do.
    pub(super) fn wakes_at(&self, now: Duration) -> Option<Duration> {
        let hears = self.member.as_ref().is_some_and(SimulatedMember::has_notices) && self.opening.is_none();
        let at = match &self.process {
            _ if hears => now,
            None => return None,
            Some(process) => match (process.leaves_until, process.inbox.is_empty()) {
                (_, false) => now,
                (Some(_), true) if self.member.as_ref().is_some_and(SimulatedMember::has_left) => now,
                (Some(until), true) => until,
                (None, true) => process.wakes_at,
            },
        };
        Some(at.max(self.frozen_until))
    }
}
