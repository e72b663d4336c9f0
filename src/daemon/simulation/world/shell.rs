//! The shell in virtual time: the daemon's loop, its requests and its last words, one step after
//! another.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::disk::{Steered, Write, Written};
use super::super::shown::Planned;
use super::looks::Looks;
use super::machine::Machine;
use super::stopping::Stopping;
use super::{Happens, Step, World};
use crate::clock::Mono;
use crate::cloud66::{ActionsListed, FollowUp, JobRecord, Looked, Outcome, Reply};
use crate::daemon::core::Core;
use crate::daemon::forgotten::{attempts, forgotten, take_in};
use crate::daemon::standby::PERMIT_AGAIN;
use crate::daemon::sweep::Reach;
use crate::daemon::{Loops, Replacement};
use crate::dispatch::{Effect, Request, RequestId};
use crate::journal::{Claim, Key, Known, Recovered, SendPermit};
use crate::log::Event;
use crate::log::event::JournalOlder;
use crate::notify::Audience;
use crate::rehearsal::network;
use crate::schedule::{AccountName, Entry, EntryName, Schedule, Shard, StackUid};

/// What is learnt of a quota is saved this often at most, as in the daemon's loop.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Something that ends, as the daemon's loop hears of it.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Fired { id: RequestId, sent_at: Timestamp, reply: Reply<Outcome> },
    Followed { id: RequestId, reply: Reply<FollowUp> },
    Listed { id: RequestId, reply: Reply<ActionsListed> },
    Looked { id: RequestId, reply: Reply<Looked> },
    Recorded { id: RequestId, reply: Reply<Option<JobRecord>> },
    Recalled { account: AccountName, stack: StackUid, known: Option<Known> },
    ByHand { claim: Claim, is_new: Option<bool> },
    Steered(EntryName, Steered),
    Claimed { cursor: Timestamp, known: Option<Vec<Key>> },
}

pub(super) struct Process {
    pub(super) life: u32,
    pub(super) core: Core,
    /// Whether it may send.
    pub(super) permit: SendPermit,
    pub(super) file: usize,
    /// What it fires, sharing with the schedule before what is unchanged.
    pub(super) running: Arc<Schedule>,
    pub(super) inbox: VecDeque<Done>,
    pub(super) quotas_changed: bool,
    pub(super) quotas_saved: Option<Mono>,
    /// Entries of which a pause or a resume is being written.
    pub(super) steering: BTreeSet<EntryName>,
    pub(super) wakes_at: Duration,
    pub(super) stopping: Option<Stopping>,
    /// Requests on their way: what the book has them as, by the number that the network gave them.
    pub(super) flying: HashMap<u64, Flying>,
    /// Answers to the looks of this process.
    pub(super) looks: Looks,
    /// What a request is in the book, until it has ended.
    pub(super) requests: HashMap<RequestId, usize>,
    /// Requests that were admitted and have not left: when, and of which occurrence.
    pub(super) admitted: HashMap<RequestId, (Duration, AccountName, Option<Key>)>,
}

pub(super) struct Flying {
    pub(super) id: RequestId,
    pub(super) sent_at: Timestamp,
}

impl World<'_> {
    pub(super) fn starts(&mut self) -> Step {
        let (time, shared) = (self.time, self.is_shared());
        let machine = &mut self.machines[self.here];
        if machine.process.is_some() {
            return Ok(());
        }
        if time < machine.frozen_until {
            let at = machine.frozen_until;
            self.at(at, Happens::Start);
            return Ok(());
        }
        if shared {
            self.joins();
            return Ok(());
        }
        let mut recovered = self.machines[self.here].disk.recover(&mut self.database);
        recovered.may_have_been_sent(self.machines[self.here].known_until);
        let older = forgotten(&self.scenario.files[self.file].schedule, &recovered);
        if let Some((claims, _)) = &older {
            let known = self.database.tables.memory.claim(Some(claims.cursor.into()), &claims.claims).known;
            for (key, attempt) in attempts(&recovered, claims.cursor) {
                self.database.tables.memory.step(&key, &attempt);
            }
            self.point()?;
            take_in(&mut recovered, claims.clone(), &known);
        }
        self.begins(recovered, older.map(|(_, event)| event), SendPermit::default(), Reach::ALONE)
    }

    /// Goes on where the journal ends.
    pub(super) fn begins(
        &mut self,
        recovered: Recovered,
        older: Option<JournalOlder>,
        permit: SendPermit,
        reach: Reach,
    ) -> Step {
        self.lives += 1;
        let (life, file) = (self.lives, self.file);
        let now = self.now();
        self.note(|| {
            let (cursor, stopped, mark) = (recovered.cursor, recovered.stopped_at, recovered.sent_up_to);
            format!(
                "START of life {life}, file {file}: cursor {cursor:?}, stopped {stopped:?}, mark {mark:?}"
            )
        });
        for open in recovered.open.iter().filter(|_| self.book.traces()).cloned().collect::<Vec<_>>() {
            self.note(|| format!("  open: {} {:?}", open.claim.key, open.reached));
        }
        self.book.starts(life, self.file, now.wall, &recovered);
        self.book.knows_paused(&recovered.paused);
        let running = Arc::new(self.scenario.files[self.file].schedule.clone());
        let (core, effects) = Core::new(&running, recovered, self.chances.u64(..), now);
        let time = self.time;
        self.machines[self.here].process = Some(Process {
            life,
            core: core.reaching(reach),
            permit,
            file: self.file,
            running,
            inbox: VecDeque::new(),
            quotas_changed: false,
            quotas_saved: None,
            steering: BTreeSet::new(),
            wakes_at: time,
            stopping: None,
            flying: HashMap::new(),
            looks: Looks::default(),
            requests: HashMap::new(),
            admitted: HashMap::new(),
        });
        let beat_at = self.time + Duration::from_millis(self.chances.u64(..1000));
        self.at(beat_at, Happens::Beat(life));
        if let Some(older) = older {
            self.tells(older.into());
        }
        self.raises();
        self.perform(effects)
    }

    /// Whether the mark is where what is sent next wants it.
    fn raises(&mut self) -> bool {
        let Machine { process, disk, .. } = &mut self.machines[self.here];
        let Some(process) = process else { return false };
        disk.raise(process.core.sent_up_to(), self.time)
    }

    /// Whether a request may leave: a question always.
    fn may_leave(&self, id: RequestId, marked: bool) -> bool {
        let Some(process) = &self.machines[self.here].process else { return false };
        let due = process.core.due_of(id);
        due.is_none_or(|due_at| marked && process.permit.covers(due_at, self.now()))
    }

    /// One round of the loop.
    pub(super) fn turn(&mut self) -> Step {
        if self.time < self.machines[self.here].frozen_until {
            return Ok(());
        }
        self.take_notices()?;
        for _ in 0..self.chances.u32(1..4) {
            let Some(done) =
                self.machines[self.here].process.as_mut().and_then(|process| process.inbox.pop_front())
            else {
                break;
            };
            self.point()?;
            self.take_in(done)?;
        }
        let now = self.now();
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        if process.stopping.is_some() {
            return self.goes_on_stopping();
        }
        let permitted = process.permit.holds(now);
        if permitted {
            if process.core.runs_low(now) {
                self.claim_window()?;
            }
            self.point()?;
            let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
            let effects = process.core.turn(now);
            self.sees();
            self.perform(effects)?;
        }
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        let wakes_at = if permitted { process.core.wakes_at(now) } else { now.mono + PERMIT_AGAIN };
        let wait = wakes_at.saturating_sub(now.mono).max(Duration::from_micros(50));
        let late = match self.chances.u32(..100) < self.scenario.sluggish && !self.calm {
            true => Duration::from_millis(self.chances.u64(..3000)),
            false => Duration::ZERO,
        };
        let wakes_at = self.time + wait + late;
        if let Some(process) = &mut self.machines[self.here].process {
            process.wakes_at = wakes_at;
        }
        Ok(())
    }

    pub(super) fn claim_window(&mut self) -> Step {
        let now = self.now();
        let machine = &mut self.machines[self.here];
        let Some(process) = machine.process.as_mut().filter(|process| process.stopping.is_none()) else {
            return Ok(());
        };
        let claims = process.core.claim_window(now);
        self.sees();
        if let Some(claims) = claims {
            if claims.repeat.is_some() && self.scenario.clocks.len() == 1 {
                let machine = &mut self.machines[self.here];
                machine.known_until = machine.known_until.map(|until| until.min(now.wall));
            }
            if self.book.traces() && !claims.claims.is_empty() {
                let keys: Vec<String> = claims.claims.iter().map(|claim| claim.key.to_string()).collect();
                let cursor = claims.cursor;
                self.note(|| format!("claims up to {cursor}: {}", keys.join(", ")));
            }
            self.ask(Write::Claim(claims));
            self.point()?;
        }
        if self.machines[self.here].process.as_ref().is_some_and(|process| process.quotas_changed) {
            self.save_quotas();
        }
        Ok(())
    }

    /// The daemon has looked at its clocks.
    fn sees(&mut self) {
        let now = self.now();
        let Some(process) = &self.machines[self.here].process else { return };
        let (cursor, repeat) = process.core.planned();
        let committed = self.database.tables.memory.cursor();
        self.book.sees(now, Planned { cursor, repeat, committed });
    }

    pub(super) fn save_quotas(&mut self) {
        let (time, now) = (self.time, self.now());
        let Machine { process: Some(process), disk, .. } = &mut self.machines[self.here] else { return };
        (process.quotas_changed, process.quotas_saved) = (false, Some(now.mono));
        for (account, saved) in process.core.quotas() {
            disk.ask(Write::Quota(account, Box::new(saved)), time);
        }
    }

    pub(super) fn ask(&mut self, write: Write) {
        let time = self.time;
        self.machines[self.here].disk.ask(write, time);
    }

    pub(super) fn reload(&mut self) -> Step {
        let now = self.now();
        let file = self.file;
        let frozen_until = self.machines[self.here].frozen_until;
        let machine = &mut self.machines[self.here];
        let Some(process) = machine.process.as_mut().filter(|process| process.stopping.is_none()) else {
            return Ok(());
        };
        if self.time < frozen_until {
            self.at(frozen_until, Happens::Reread);
            return Ok(());
        }
        self.book.passes(now.wall);
        // It takes a while to prepare a schedule.
        let prepared = now.wall - SignedDuration::from_millis(self.chances.i64(0..900));
        let schedule = self.scenario.files[file].schedule.clone();
        let (clients, audience) = (BTreeMap::new(), Audience::default());
        let mut replacement = Replacement::prepare(
            String::new(),
            schedule,
            clients,
            audience,
            &process.running,
            Loops::One,
            prepared,
        );
        process.running = Arc::clone(replacement.schedule());
        let Some(part) = replacement.parts.remove(&Shard::Common) else { return Ok(()) };
        let (effects, _) = process.core.replace(part.prepared, now);
        self.book.reloads(file);
        // What is due is sent under the schedule before.
        let performed = self.perform(effects);
        if let Some(process) = &mut self.machines[self.here].process {
            process.file = file;
        }
        performed?;
        self.point()?;
        self.claim_window()
    }

    pub(super) fn written(&mut self, written: Written) -> Step {
        self.point()?;
        match written {
            Written::Refused(refused) => self.book.violated(format!("the journal refuses a step: {refused}")),
            Written::Claimed(cursor, known) => {
                if known.is_some() {
                    self.book.claimed(&self.database.tables.memory);
                }
                self.comes(Done::Claimed { cursor, known });
            }
            Written::Committed(id, request, true) => self.sets_out(id, request)?,
            Written::Committed(id, request, false) => {
                self.not_sent(id, &request, "the journal cannot be written");
            }
            Written::Recalled(account, stack, known) => {
                self.comes(Done::Recalled { account, stack, known });
            }
            Written::ByHand(claim, is_new) => self.comes(Done::ByHand { claim, is_new }),
            Written::Steered(entry, steered) => self.comes(Done::Steered(entry, steered)),
            Written::Closed => {
                if self.machines[self.here].process.as_ref().is_some_and(|process| process.stopping.is_some())
                {
                    self.exits();
                }
            }
        }
        Ok(())
    }

    fn may_be_sent(&mut self, key: Option<&Key>) {
        if let Some(process) = &self.machines[self.here].process {
            self.book.may_be_sent(key, &self.scenario.files[process.file].schedule);
        }
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) -> Step {
        let sends = effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::Send(_, Request::RunNow(_)) | Effect::SendAfter(_, _, Request::RunNow(_))
            )
        });
        if self.machines[self.here].process.is_none() {
            return Ok(());
        }
        let marked = !sends || self.raises();
        // An occurrence that is sent in the turn in which a pause ends is no longer paused.
        for effect in &effects {
            if let Effect::PauseEnds(entry) = effect {
                self.book.resumed(entry);
            }
        }
        let mut effects = effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            self.point()?;
            if let Effect::Send(id, request) | Effect::SendAfter(_, id, request) = &effect {
                self.heeds_looks(*id, request);
            }
            match effect {
                Effect::Warm(..) => {}
                Effect::PauseEnds(entry) => self.pause_ends(entry),
                Effect::Log(event) => self.tells(*event),
                Effect::Record(key, mv) => {
                    self.note(|| format!("records {key}: {mv:?}"));
                    self.ask(Write::Step((key, mv)));
                }
                Effect::End(handover) => {
                    self.note(|| {
                        format!("ends {}: {:?}, then {:?}", handover.key, handover.end, handover.next)
                    });
                    self.ask(Write::End(handover));
                }
                Effect::Amend(claim) => {
                    self.note(|| format!("amends {}: due {}", claim.key, claim.due_at));
                    self.ask(Write::Amend(claim));
                }
                Effect::Resent(resent) => {
                    self.note(|| format!("keeps {resent:?}"));
                    self.ask(Write::Resent(resent));
                }
                Effect::Recall(account, stack, since, listed) => {
                    self.ask(Write::Recall(account, stack, since, listed));
                }
                Effect::Send(id, request) | Effect::SendAfter(_, id, request)
                    if !self.may_leave(id, marked) =>
                {
                    self.admits(id, &request, None);
                    self.not_sent(
                        id,
                        &request,
                        "the mark cannot be written, or the permit does not cover it",
                    );
                }
                Effect::Send(id, request) => {
                    // What is sent at once is recorded right behind.
                    let key = match (&request, effects.peek()) {
                        (Request::RunNow(_), Some(Effect::Record(key, _))) => Some(key.clone()),
                        _ => None,
                    };
                    self.may_be_sent(key.as_ref());
                    self.admits(id, &request, key);
                    self.sets_out(id, request)?;
                }
                Effect::SendAfter(written, id, request) => {
                    let (key, mv) = *written;
                    self.may_be_sent(Some(&key));
                    self.admits(id, &request, Some(key.clone()));
                    self.note(|| format!("commits {key}: {mv:?}"));
                    self.ask(Write::Commit((key, mv), id, request));
                }
            }
        }
        self.point()
    }

    fn admits(&mut self, id: RequestId, request: &Request, key: Option<Key>) {
        let (account, _) = network::purpose(request);
        self.book.admits(&account, self.time);
        if let Some(process) = &mut self.machines[self.here].process {
            process.admitted.insert(id, (self.time, account, key));
        }
    }

    pub(super) fn tells(&mut self, event: Event) {
        let process = self.machines[self.here].process.as_ref();
        let (life, file) = process.map_or((0, self.file), |process| (process.life, process.file));
        self.book.is_missed(&event, &self.scenario.files[file].schedule);
        self.tells_of(life, event);
    }

    pub(super) fn tells_of(&mut self, life: u32, event: Event) {
        self.note(|| format!("told: {} {}", event.name(), event.message()));
        self.book.told(life, event);
    }

    /// Something has ended of which the loop is to hear.
    pub(super) fn comes(&mut self, done: Done) {
        if let Some(process) = &mut self.machines[self.here].process {
            process.inbox.push_back(done);
        }
    }

    pub(super) fn not_sent(&mut self, id: RequestId, request: &Request, why: &str) {
        let (sent_at, error) = (self.now().wall, why.to_owned());
        self.comes(match request {
            Request::RunNow(_) => {
                Done::Fired { id, sent_at, reply: Reply::unanswered(Outcome::NotSent { error }) }
            }
            Request::Action(..) => Done::Followed { id, reply: Reply::unanswered(FollowUp::Unanswered) },
            Request::JobRecord(..) => Done::Recorded { id, reply: Reply::unanswered(None) },
            Request::Actions { .. } => {
                Done::Listed { id, reply: Reply::unanswered(ActionsListed::Unanswered { error }) }
            }
            Request::Look { .. } => {
                Done::Looked { id, reply: Reply::unanswered(Looked::Unanswered { error }) }
            }
        });
    }

    /// A request is given to its task, which may come to run only after the process was paused.
    fn sets_out(&mut self, id: RequestId, request: Request) -> Step {
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        if !self.is_shared() {
            return self.leaves(id, request);
        }
        let (life, after) = (process.life, Duration::from_micros(self.chances.u64(..300)));
        self.at(self.time + after, Happens::Leaves(life, id, Box::new(request)));
        Ok(())
    }

    /// A request leaves: from here on it may take effect.
    pub(super) fn leaves(&mut self, id: RequestId, request: Request) -> Step {
        let (time, now) = (self.time, self.now());
        if matches!(request, Request::RunNow(_)) && !self.book.is_behind && !self.holds_the_lease() {
            self.book.violated(format!("{id:?} is sent while another member has the lease"));
        }
        let unreachable = time < self.machines[self.here].unreachable_until;
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let (life, file) = (process.life, process.file);
        let refused = unreachable || (!self.calm && self.chances.u32(..100) < self.scenario.refused);
        if refused && matches!(request, Request::RunNow(_)) {
            self.note(|| format!("cannot connect: {id:?}"));
            let outcome = Outcome::NotSent { error: "connection refused".to_owned() };
            let done = Done::Fired { id, sent_at: now.wall, reply: Reply::unanswered(outcome) };
            let after = Duration::from_millis(self.chances.u64(..500));
            self.at(self.time + after, Happens::Arrives(life, done));
            return Ok(());
        }
        let Some((asked, account, key)) = process.admitted.remove(&id) else { return Ok(()) };
        self.book.was_admitted(&account);
        let number = self.book.sends(
            (asked, self.time),
            now.wall,
            &account,
            &self.scenario.files[file].schedule,
            key.clone(),
            &self.database.tables.memory,
            &self.network,
        );
        // The ledger tells by the arguments which attempt it was.
        let request = match request {
            Request::RunNow(entry) => {
                Request::RunNow(Entry { args: Some(number.to_string()), ..(*entry).clone() }.into())
            }
            other => other,
        };
        self.note(|| match &key {
            Some(key) => format!("SENDS #{number} {key}"),
            None => format!("sends #{number}: {request:?}"),
        });
        let server = self.server();
        let flight = self.network.send(id, request, server);
        self.book.flies(number, flight);
        if let Some(process) = &mut self.machines[self.here].process {
            process.flying.insert(flight, Flying { id, sent_at: now.wall });
            process.requests.insert(id, number);
        }
        Ok(())
    }

    /// An answer comes to the machine. Whether anybody waits for it is another matter.
    pub(super) fn arrives(&mut self, arrived: network::Arrived) -> Step {
        let network::Arrived { number, reply, .. } = arrived;
        let Some((place, listener, Flying { id, sent_at })) = self.lands(number) else { return Ok(()) };
        self.here = place;
        let done = match reply {
            network::Reply::Fired { mut reply, .. } => {
                // Words that no database stores.
                if let Outcome::Rejected { error, .. } = &mut reply.outcome
                    && self.scenario.seed.is_multiple_of(2)
                {
                    error.push('\0');
                }
                Done::Fired { id, sent_at, reply }
            }
            network::Reply::Followed(reply) => Done::Followed { id, reply },
            network::Reply::Listed(reply) => Done::Listed { id, reply },
            network::Reply::Looked(reply) => Done::Looked { id, reply },
            network::Reply::Recorded(reply) => Done::Recorded { id, reply },
        };
        if let Some(listener) = listener {
            self.listens(done, listener);
            return Ok(());
        }
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        let life = process.life;
        if self.chances.u32(..100) < self.scenario.doubled {
            let after = Duration::from_millis(self.chances.u64(..2000));
            self.at(self.time + after, Happens::Arrives(life, done.clone()));
        }
        self.comes(done);
        Ok(())
    }

    /// On which machine an answer lands, and which of its former terms waits for it if none that
    /// lasts.
    fn lands(&mut self, number: u64) -> Option<(usize, Option<usize>, Flying)> {
        for (place, machine) in self.machines.iter_mut().enumerate() {
            if let Some(flying) = machine.process.as_mut().and_then(|process| process.flying.remove(&number))
            {
                return Some((place, None, flying));
            }
            for (listener, process) in machine.listeners.iter_mut().enumerate() {
                if let Some(flying) = process.flying.remove(&number) {
                    return Some((place, Some(listener), flying));
                }
            }
        }
        None
    }

    pub(super) fn take_in(&mut self, done: Done) -> Step {
        let now = self.now();
        self.note(|| format!("hears {done:?}"));
        if let Done::Fired { id, reply: Reply { quota, .. }, .. }
        | Done::Followed { id, reply: Reply { quota, .. } }
        | Done::Recorded { id, reply: Reply { quota, .. } }
        | Done::Listed { id, reply: Reply { quota, .. } }
        | Done::Looked { id, reply: Reply { quota, .. } } = &done
        {
            let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
            process.quotas_changed = true;
            if let Some(number) = process.requests.remove(id) {
                self.book.ended(number, self.time, *quota, &self.network);
            } else if let Some((_, account, _)) = process.admitted.remove(id) {
                self.book.was_admitted(&account);
            }
        }
        if let (Done::Claimed { cursor, known: Some(_) }, false) = (&done, self.is_shared()) {
            let known_until = &mut self.machines[self.here].known_until;
            *known_until = (*known_until).max(Some(*cursor));
        }
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let effects = match done {
            Done::Fired { id, sent_at, reply } => process.core.fired(id, sent_at, reply, now),
            Done::Followed { id, reply } => process.core.followed(id, reply, now),
            Done::Listed { id, reply } => process.core.listed(id, reply, now),
            Done::Looked { id, reply } => {
                process.looks.ended(id, &reply.outcome);
                process.core.looked(id, reply, now)
            }
            Done::Recorded { id, reply } => process.core.recorded(id, reply, now),
            Done::Recalled { account, stack, known } => process.core.recalled(account, stack, known, now),
            Done::Claimed { cursor, known: Some(known) } => process.core.claimed(cursor, &known, now),
            Done::Claimed { known: None, .. } => {
                process.core.unclaimed(now);
                Vec::new()
            }
            Done::ByHand { claim, is_new } => return self.claimed_by_hand(claim, is_new),
            Done::Steered(entry, steered) => return self.steered(entry, steered),
        };
        let spent = effects.iter().any(
            |effect| matches!(effect, Effect::Log(event) if matches!(**event, Event::QuotaExhausted(_))),
        );
        self.perform(effects)?;
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        let saved_lately =
            process.quotas_saved.is_some_and(|saved| now.mono.saturating_sub(saved) < SAVE_EVERY);
        if process.quotas_changed && (spent || !saved_lately) {
            self.save_quotas();
        }
        if spent {
            self.ask(Write::Flush);
        }
        Ok(())
    }
}
