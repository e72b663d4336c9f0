//! The loop around the production node in virtual time: it hands inputs to the node and performs
//! the node's outputs, one step after another. Between any two steps the process may die.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::super::disk::{DiskAnswer, DiskRequest};
use super::super::shown::PlanProgress;
use super::looks::LookHistory;
use super::machine::Machine;
use super::process::{FlyingRequest, Process, tokens};
use super::{Happens, SimulatedWorld, StepResult};
use crate::cloud66::{ActionsListed, FollowUp, Looked, Outcome, Reply};
use crate::daemon::forgotten::{attempts, cursor_behind, forgotten, take_in};
use crate::daemon::node::{Answer, Input, Node, Output};
use crate::daemon::requests::ClientsInUse;
use crate::daemon::sweep::Reach;
use crate::daemon::{Loops, Replacement};
use crate::dispatch::{Effect, Request, RequestId};
use crate::journal::{Claimed, JournalError, Key, Recovered, SendPermit};
use crate::log::Event;
use crate::log::event::JournalOlder;
use crate::notify::Audience;
use crate::rehearsal::network;
use crate::schedule::{Entry, Shard};

impl SimulatedWorld<'_> {
    pub(super) fn starts(&mut self) -> StepResult {
        let (time, shared) = (self.time, self.is_shared());
        let machine = &mut self.machines[self.here];
        // A machine that is down starts the daemon when it is up again.
        if machine.process.is_some() || time < machine.down_until {
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
            for (key, attempt) in attempts(&recovered, claims.cursor) {
                self.database.tables.memory.step(&key, &attempt);
            }
            self.point()?;
            let cursor = Some(cursor_behind(claims.cursor));
            let known = self.database.tables.memory.claim(cursor, &claims.claims).known;
            self.point()?;
            take_in(&mut recovered, claims.clone(), &known);
        }
        self.begins(recovered, older.map(|(_, event)| event), SendPermit::default(), Reach::ALONE)
    }

    /// Starts a daemon that goes on where the journal ends.
    pub(super) fn begins(
        &mut self,
        recovered: Recovered,
        older: Option<JournalOlder>,
        permit: SendPermit,
        reach: Reach,
    ) -> StepResult {
        self.lives += 1;
        let (life, file) = (self.lives, self.file);
        let now = self.now();
        self.note(|| {
            let (cursor, stopped, mark) = (recovered.cursor, recovered.stopped_at, recovered.sent_up_to);
            format!(
                "START of life {life}, file {file}: cursor {cursor:?}, stopped {stopped:?}, mark {mark:?}"
            )
        });
        for open in recovered.open.iter().filter(|_| self.oracle.traces()).cloned().collect::<Vec<_>>() {
            self.note(|| format!("  open: {} {:?}", open.claim.key, open.reached));
        }
        self.oracle.starts(life, self.file, now.wall, &recovered);
        self.oracle.knows_paused(&recovered.paused);
        let schedule = Arc::new(self.scenario.files[self.file].schedule.clone());
        let (node, outputs) = Node::new(schedule, recovered, reach, permit, self.chances.u64(..), now);
        let time = self.time;
        self.machines[self.here].process = Some(Process {
            life,
            node,
            file: self.file,
            tokens: ClientsInUse::new(tokens(&self.scenario.files[self.file].schedule)),
            inbox: VecDeque::new(),
            wakes_at: time,
            leaves_until: None,
            flying: HashMap::new(),
            looks: LookHistory::default(),
            requests: HashMap::new(),
            admitted: HashMap::new(),
        });
        let beat_at = self.time + Duration::from_millis(self.chances.u64(..1000));
        self.at(beat_at, Happens::Beat(life));
        if let Some(older) = older {
            self.tells(older.into());
        }
        self.perform(outputs)
    }

    /// One round of the loop.
    pub(super) fn turn(&mut self) -> StepResult {
        if self.time < self.machines[self.here].frozen_until {
            return Ok(());
        }
        self.take_notices()?;
        for _ in 0..self.chances.u32(1..4) {
            let Some(answer) =
                self.machines[self.here].process.as_mut().and_then(|process| process.inbox.pop_front())
            else {
                break;
            };
            self.point()?;
            self.take_in(answer)?;
        }
        let has_wound_up = |process: &Process| process.node.wound_up().is_some();
        if !self.machines[self.here].process.as_ref().is_some_and(has_wound_up) {
            self.handle(Input::Wake)?;
        }
        let now = self.now();
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        process.node.core().check_invariants();
        if has_wound_up(process) {
            self.exits();
            return Ok(());
        }
        let wakes_at = process.node.wakes_at(now);
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

    /// Hands an input to the node, and performs what the node decides.
    pub(super) fn handle(&mut self, input: Input) -> StepResult {
        let now = self.now();
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let looks = match input {
            Input::Wake => process.node.is_permitted(now) && !process.node.is_ending(),
            Input::ClaimWindow => !process.node.is_ending(),
            _ => false,
        };
        let outputs = process.node.handle(input, now);
        if looks {
            self.sees();
        }
        self.perform(outputs)
    }

    /// The daemon has looked at its clocks.
    fn sees(&mut self) {
        let now = self.now();
        let Some(process) = &self.machines[self.here].process else { return };
        let (cursor, repeat) = process.node.core().planned();
        let committed = self.database.tables.memory.cursor();
        self.oracle.sees(now, PlanProgress { cursor, repeat, committed });
    }

    pub(super) fn ask(&mut self, write: DiskRequest) {
        let time = self.time;
        self.machines[self.here].disk.ask(write, time);
    }

    pub(super) fn reload(&mut self) -> StepResult {
        let now = self.now();
        let file = self.file;
        let frozen_until = self.machines[self.here].frozen_until;
        let machine = &self.machines[self.here];
        if machine.process.as_ref().is_none_or(|process| process.node.is_ending()) {
            return Ok(());
        }
        if self.time < frozen_until {
            self.at(frozen_until, Happens::Reread);
            return Ok(());
        }
        self.oracle.passes(now.wall);
        // Due occurrences are sent under the former schedule.
        self.handle(Input::Wake)?;
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        process.replace_tokens(&self.scenario.files[file].schedule);
        // It takes a while to prepare a schedule.
        let prepared = now.wall - SignedDuration::from_millis(self.chances.i64(0..900));
        let schedule = self.scenario.files[file].schedule.clone();
        let (clients, audience) = (BTreeMap::new(), Audience::default());
        let mut replacement = Replacement::prepare(
            String::new(),
            schedule,
            clients,
            audience,
            process.node.schedule(),
            Loops::One,
            prepared,
        );
        let Some(part) = replacement.parts.remove(&Shard::Common) else { return Ok(()) };
        let outputs = process.node.handle(Input::Replace(part.prepared), now);
        self.oracle.reloads(file);
        let performed = self.perform(outputs);
        // The loop takes its next turn at once.
        let time = self.time;
        if let Some(process) = &mut self.machines[self.here].process {
            (process.file, process.wakes_at) = (file, time);
        }
        performed?;
        self.point()?;
        self.handle(Input::ClaimWindow)
    }

    pub(super) fn written(&mut self, written: DiskAnswer) -> StepResult {
        self.point()?;
        match written {
            DiskAnswer::Refused(refused) => {
                self.oracle.violated(format!("the journal refuses a step: {refused}"))
            }
            DiskAnswer::Claimed(cursor, known) => {
                if known.is_some() {
                    self.oracle.claimed(&self.database.tables.memory);
                }
                self.comes(Answer::Claimed { cursor, known });
            }
            DiskAnswer::Committed(id, request, true) => self.sets_out(id, request)?,
            DiskAnswer::Committed(id, request, false) => {
                self.not_sent(id, &request, "the journal cannot be written");
            }
            DiskAnswer::Recalled(account, stack, known) => {
                self.comes(Answer::Recalled { account, stack, known });
            }
            DiskAnswer::ByHand(fire, claim, known) => {
                let written = known.map(|known| Claimed { known }).ok_or(JournalError::StandsBy);
                self.comes(Answer::ClaimedByHand { fire, claim: Box::new(claim), written });
            }
            DiskAnswer::Steered(steering, is_written) => {
                let written = if is_written { Ok(()) } else { Err(JournalError::StandsBy) };
                self.comes(Answer::Steered { steering, written });
            }
            DiskAnswer::Closed => self.comes(Answer::Closed { is_closed: true }),
        }
        Ok(())
    }

    fn may_be_sent(&mut self, key: Option<&Key>) {
        if let Some(process) = &self.machines[self.here].process {
            self.oracle.may_be_sent(key, &self.scenario.files[process.file].schedule);
        }
    }

    pub(super) fn perform(&mut self, outputs: Vec<Output>) -> StepResult {
        // An occurrence that is sent in the turn in which a pause ends is no longer paused.
        for output in &outputs {
            if let Output::Effect(Effect::PauseEnds(entry)) = output {
                self.oracle.resumed(entry);
            }
        }
        let (time, shared) = (self.time, self.is_shared());
        let mut outputs = outputs.into_iter().peekable();
        while let Some(output) = outputs.next() {
            self.point()?;
            let Machine { process: Some(_), disk, known_until, .. } = &mut self.machines[self.here] else {
                return Ok(());
            };
            match output {
                Output::Effect(effect) => {
                    // A request that is sent at once is recorded right behind.
                    let next = match outputs.peek() {
                        Some(Output::Effect(Effect::Record(key, _))) => Some(key.clone()),
                        _ => None,
                    };
                    self.effect(effect, next)?;
                }
                Output::Raise(due_at) => {
                    let raised = match disk.raise(due_at, time) {
                        true => Ok(()),
                        false => Err("the mark cannot be written".to_owned()),
                    };
                    self.handle(Input::Raised(raised))?;
                }
                Output::HoldBack(id, request, why) => {
                    self.heeds_looks(id, &request);
                    self.admits(id, &request, None);
                    self.not_sent(id, &request, &why);
                }
                Output::Claim(claims) => {
                    if self.oracle.traces() && !claims.claims.is_empty() {
                        let keys: Vec<String> =
                            claims.claims.iter().map(|claim| claim.key.to_string()).collect();
                        let cursor = claims.cursor;
                        self.note(|| format!("claims up to {cursor}: {}", keys.join(", ")));
                    }
                    self.ask(DiskRequest::Claim(claims));
                }
                // A daemon alone keeps how far its journal has come.
                Output::JournalReaches(_) | Output::JournalGoesBack(_) if shared => {}
                Output::JournalReaches(cursor) => *known_until = (*known_until).max(Some(cursor)),
                Output::JournalGoesBack(cursor) => *known_until = known_until.map(|until| until.min(cursor)),
                Output::SaveQuota(account, saved) => self.ask(DiskRequest::Quota(account, saved)),
                Output::WriteNow => self.ask(DiskRequest::Flush),
                Output::ClaimByHand { claim, fire } => self.ask(DiskRequest::ByHand(fire, *claim)),
                Output::WriteSteering(steering) => self.ask(DiskRequest::Steer(steering)),
                Output::Close(stopped_at) => self.ask(DiskRequest::Close(stopped_at)),
                // Nobody waits for an answer, and nobody asks which schedule was in force.
                Output::Swept(_)
                | Output::InForce(..)
                | Output::Fired(..)
                | Output::NotFired(..)
                | Output::Steered(..)
                | Output::Free(_) => {}
            }
        }
        self.point()
    }

    /// Performs an effect. `next` is the occurrence of the record that follows.
    fn effect(&mut self, effect: Effect, next: Option<Key>) -> StepResult {
        if let Effect::Send(id, request) | Effect::SendAfter(_, id, request) = &effect {
            self.heeds_looks(*id, request);
        }
        match effect {
            Effect::Warm(..) => {}
            Effect::PauseEnds(entry) => self.pause_ends(entry),
            Effect::Log(event) => self.tells(*event),
            Effect::Record(key, mv) => {
                self.note(|| format!("records {key}: {mv:?}"));
                self.ask(DiskRequest::Step((key, mv)));
            }
            Effect::End(handover) => {
                self.note(|| format!("ends {}: {:?}, then {:?}", handover.key, handover.end, handover.next));
                self.ask(DiskRequest::End(handover));
            }
            Effect::Amend(claim) => {
                self.note(|| format!("amends {}: due {}", claim.key, claim.due_at));
                self.ask(DiskRequest::Amend(claim));
            }
            Effect::Resent(resent) => {
                self.note(|| format!("keeps {resent:?}"));
                self.ask(DiskRequest::Resent(resent));
            }
            Effect::Recall(account, stack, since, listed) => {
                self.ask(DiskRequest::Recall(account, stack, since, listed));
            }
            Effect::Send(id, request) => {
                let key = next.filter(|_| matches!(request, Request::RunNow(_)));
                self.may_be_sent(key.as_ref());
                self.admits(id, &request, key);
                self.sets_out(id, request)?;
            }
            Effect::SendAfter(written, id, request) => {
                let (key, mv) = *written;
                self.may_be_sent(Some(&key));
                self.admits(id, &request, Some(key.clone()));
                self.note(|| format!("commits {key}: {mv:?}"));
                self.ask(DiskRequest::Commit((key, mv), id, request));
            }
        }
        Ok(())
    }

    fn admits(&mut self, id: RequestId, request: &Request, key: Option<Key>) {
        let Some(process) = &mut self.machines[self.here].process else { return };
        let (account, _) = network::purpose(request);
        let Some(token) = process.tokens.of(&account) else {
            self.oracle.violated(format!("account {account} has a request and no client: {request:?}"));
            return;
        };
        self.oracle.admits(&token, self.time);
        process.admitted.insert(id, (self.time, token, key));
    }

    pub(super) fn tells(&mut self, event: Event) {
        let process = self.machines[self.here].process.as_ref();
        let (life, file) = process.map_or((0, self.file), |process| (process.life, process.file));
        self.oracle.is_missed(&event, &self.scenario.files[file].schedule);
        self.tells_of(life, event);
    }

    pub(super) fn tells_of(&mut self, life: u32, event: Event) {
        self.note(|| format!("told: {} {}", event.name(), event.message()));
        self.oracle.told(life, event);
    }

    /// Something has ended of which the loop is to hear.
    pub(super) fn comes(&mut self, answer: Answer) {
        if let Some(process) = &mut self.machines[self.here].process {
            process.inbox.push_back(answer);
        }
    }

    pub(super) fn not_sent(&mut self, id: RequestId, request: &Request, why: &str) {
        let (sent_at, error) = (self.now().wall, why.to_owned());
        self.comes(match request {
            Request::RunNow(_) => {
                Answer::Fired { id, sent_at, reply: Reply::unanswered(Outcome::NotSent { error }) }
            }
            Request::Action(..) => Answer::Followed { id, reply: Reply::unanswered(FollowUp::Unanswered) },
            Request::JobRecord(..) => Answer::Recorded { id, reply: Reply::unanswered(None) },
            Request::Actions { .. } => {
                Answer::Listed { id, reply: Reply::unanswered(ActionsListed::Unanswered { error }) }
            }
            Request::Look { .. } => {
                Answer::Looked { id, reply: Reply::unanswered(Looked::Unanswered { error }) }
            }
        });
    }

    /// A request is given to its task, which may come to run only after the process was paused.
    fn sets_out(&mut self, id: RequestId, request: Request) -> StepResult {
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        if !self.is_shared() {
            return self.leaves(id, request);
        }
        let (life, after) = (process.life, Duration::from_micros(self.chances.u64(..300)));
        self.at(self.time + after, Happens::Leaves(life, id, Box::new(request)));
        Ok(())
    }

    /// A request leaves: from here on it may take effect.
    pub(super) fn leaves(&mut self, id: RequestId, request: Request) -> StepResult {
        let (time, now) = (self.time, self.now());
        if matches!(request, Request::RunNow(_)) && !self.oracle.is_behind && !self.holds_the_lease() {
            self.oracle.violated(format!("{id:?} is sent while another member has the lease"));
        }
        let unreachable = time < self.machines[self.here].unreachable_until;
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let life = process.life;
        let refused = unreachable || (!self.calm && self.chances.u32(..100) < self.scenario.refused);
        if refused && matches!(request, Request::RunNow(_)) {
            self.note(|| format!("cannot connect: {id:?}"));
            let outcome = Outcome::NotSent { error: "connection refused".to_owned() };
            let answer = Answer::Fired { id, sent_at: now.wall, reply: Reply::unanswered(outcome) };
            let after = Duration::from_millis(self.chances.u64(..500));
            self.at(self.time + after, Happens::Arrives(life, answer));
            return Ok(());
        }
        let Some((asked, account, key)) = process.admitted.remove(&id) else { return Ok(()) };
        self.oracle.was_admitted(&account);
        let number = self.oracle.sends(
            (asked, self.time),
            now.wall,
            &account,
            key.clone(),
            &self.database.tables.memory,
            &self.network,
        );
        if let (Request::RunNow(entry), Some(people)) = (&request, &self.scenario.people)
            && !self.calm
            && self.chances.u32(..100) < people.share
        {
            let after = Duration::from_millis(self.chances.u64(..1000));
            let runs = Happens::SomebodyRuns(account.clone(), entry.stack.clone());
            self.at(self.time + after, runs);
        }
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
        let flight = self.network.send_by(account, id, request, server);
        self.oracle.flies(number, flight);
        if let Some(process) = &mut self.machines[self.here].process {
            process.flying.insert(flight, FlyingRequest { id, sent_at: now.wall });
            process.requests.insert(id, number);
        }
        Ok(())
    }

    /// An answer comes to the machine. Whether anybody waits for it is another matter.
    pub(super) fn arrives(&mut self, arrived: network::Arrived) -> StepResult {
        let network::Arrived { number, reply, .. } = arrived;
        let Some((place, listener, FlyingRequest { id, sent_at })) = self.lands(number) else {
            return Ok(());
        };
        self.here = place;
        let answer = match reply {
            network::NetworkReply::Fired { mut reply, .. } => {
                // Words that no database stores.
                if let Outcome::Rejected { error, .. } = &mut reply.outcome
                    && self.scenario.seed.is_multiple_of(2)
                {
                    error.push('\0');
                }
                Answer::Fired { id, sent_at, reply }
            }
            network::NetworkReply::Followed(reply) => Answer::Followed { id, reply },
            network::NetworkReply::Listed(reply) => Answer::Listed { id, reply },
            network::NetworkReply::Looked(reply) => Answer::Looked { id, reply },
            network::NetworkReply::Recorded(reply) => Answer::Recorded { id, reply },
        };
        if let Some(listener) = listener {
            self.listens(answer, listener);
            return Ok(());
        }
        let Some(process) = &self.machines[self.here].process else { return Ok(()) };
        let life = process.life;
        if self.chances.u32(..100) < self.scenario.doubled {
            let after = Duration::from_millis(self.chances.u64(..2000));
            self.at(self.time + after, Happens::Arrives(life, answer.clone()));
        }
        self.comes(answer);
        Ok(())
    }

    /// On which machine an answer lands, and which of its former terms waits for it if none that
    /// lasts.
    fn lands(&mut self, number: u64) -> Option<(usize, Option<usize>, FlyingRequest)> {
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

    pub(super) fn take_in(&mut self, answer: Answer) -> StepResult {
        self.note(|| format!("hears {answer:?}"));
        if let Answer::Fired { id, reply: Reply { quota, .. }, .. }
        | Answer::Followed { id, reply: Reply { quota, .. } }
        | Answer::Recorded { id, reply: Reply { quota, .. } }
        | Answer::Listed { id, reply: Reply { quota, .. } }
        | Answer::Looked { id, reply: Reply { quota, .. } } = &answer
        {
            let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
            if let Some(number) = process.requests.remove(id) {
                self.oracle.ended(number, self.time, *quota, &self.network);
            } else if let Some((_, account, _)) = process.admitted.remove(id) {
                self.oracle.was_admitted(&account);
            }
        }
        match &answer {
            Answer::Looked { id, reply } => {
                if let Some(process) = &mut self.machines[self.here].process {
                    process.looks.ended(*id, &reply.outcome);
                }
            }
            Answer::Steered { steering, written: Ok(()) } => self.steered(steering),
            _ => {}
        }
        self.handle(Input::Answers(vec![answer]))
    }
}
