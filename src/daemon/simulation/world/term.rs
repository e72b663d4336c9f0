//! One daemon among several: it stands by until it leads, begins a term, and steps down.

use super::super::database::{DatabaseCall, DatabaseClient, Kind, Went};
use super::super::member::{Order, SimulatedMember};
use super::process::{Process, SimulatedOpening};
use super::{Happens, SimulatedWorld, StepResult};
use crate::cloud66::{Outcome, Reply};
use crate::daemon::forgotten::{attempts, cursor_behind, forgotten, take_in};
use crate::daemon::node::{Answer, Input, Output};
use crate::daemon::standby::HANDED_OVER;
use crate::daemon::sweep::Reach;
use crate::dispatch::{Effect, Request, RequestId};
use crate::journal::postgres::tables::RunId;
use crate::journal::postgres::{LeadershipChange, Term};
use crate::journal::{EndedTerm, Key};
use crate::log::Event;

impl SimulatedWorld<'_> {
    /// A process begins, and stands by.
    pub(super) fn joins(&mut self) {
        let id = RunId(i64::from(self.chances.u32(1..)) << 8 | self.here as i64);
        let machine = &mut self.machines[self.here];
        if machine.member.is_some() {
            return;
        }
        let ended = machine.disk.ended_term();
        let member = SimulatedMember::new(self.here, id, machine.former, ended, machine.known_until);
        machine.former = Some(id);
        machine.member = Some(member);
        self.note(|| format!("JOINS as {}", id.0));
    }

    /// Its loop hears of what becomes of the lease.
    pub(super) fn take_notices(&mut self) -> StepResult {
        let machine = &mut self.machines[self.here];
        if machine.opening.is_some() {
            return Ok(());
        }
        let Some(notice) = machine.member.as_mut().and_then(SimulatedMember::take_notices) else {
            return Ok(());
        };
        match notice {
            LeadershipChange::Leads(term) if machine.process.is_some() || term.is_over() => {}
            LeadershipChange::Leads(term)
                if !self.machines[self.here].disk.begins_term(term.number(), self.time) =>
            {
                return self.cannot_open(&term);
            }
            LeadershipChange::Leads(term) => {
                let client = DatabaseClient::Writer(self.here);
                let call = DatabaseCall::new(client, self.scenario.disk, self.time, &mut self.chances);
                self.machines[self.here].opening = Some(SimulatedOpening { term, call });
            }
            LeadershipChange::Deposed | LeadershipChange::Replaced => self.steps_down(),
            LeadershipChange::TermsEnded(ended) => self.hears_of_ends(ended)?,
            LeadershipChange::HandsOver | LeadershipChange::StandsBy(_) => {}
        }
        self.point()
    }

    /// The loop hears how far former leaders have sent.
    fn hears_of_ends(&mut self, ended: Vec<EndedTerm>) -> StepResult {
        let now = self.now();
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let outputs = process.node.handle(Input::TermsEnded(ended), now);
        for output in &outputs {
            if let Output::Effect(Effect::Log(event)) = output
                && let Event::OccurrenceReconciled(e) = &**event
            {
                let key = Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number());
                self.oracle.was_not_sent(&key);
            }
        }
        self.perform(outputs)
    }

    /// The answer comes to a loop that opens the journal.
    pub(super) fn opens(&mut self) -> StepResult {
        let time = self.time;
        let machine = &mut self.machines[self.here];
        let Some(mut opening) = machine.opening.take() else { return Ok(()) };
        let term = &opening.term;
        match opening.call.proceed(time, &mut self.database, Kind::Writes, |tables| tables.begin(term)) {
            Went::On | Went::Astray => machine.opening = Some(opening),
            Went::Back(Some(Some((mut recovered, mut open)))) => {
                let term = &opening.term;
                let older = forgotten(&self.scenario.files[self.file].schedule, &recovered);
                if let Some((claims, _)) = &older {
                    let cursor = cursor_behind(claims.cursor);
                    let attempts = attempts(&recovered, claims.cursor);
                    let written = (cursor, &claims.claims[..], &attempts[..]);
                    let claimed = self.database.tables.claim_forgotten(term, &mut open, written);
                    let Some(known) = claimed else {
                        return self.cannot_open(&opening.term);
                    };
                    self.point()?;
                    take_in(&mut recovered, claims.clone(), &known);
                }
                self.machines[self.here].disk.leads(DatabaseClient::Writer(self.here), term, open);
                let permit = opening.term.permit().clone();
                return self.begins(recovered, older.map(|(_, event)| event), permit, Reach::SHARED);
            }
            Went::Back(Some(None) | None) => return self.cannot_open(&opening.term),
        }
        Ok(())
    }

    /// The lease is left to others.
    fn cannot_open(&mut self, term: &Term) -> StepResult {
        if let Some(member) = &mut self.machines[self.here].member {
            member.order(Order::Release);
            member.reports(term.unopened());
        }
        Ok(())
    }

    /// Another one leads. What was in flight is listened to.
    fn steps_down(&mut self) {
        let (time, here) = (self.time, self.here);
        let Some(mut process) = self.machines[here].process.take() else { return };
        self.note(|| format!("STEPS DOWN: life {}", process.life));
        self.oracle.died(&self.database.tables.memory);
        process.node.steps_down();
        let stops = process.node.is_ending();
        let machine = &mut self.machines[here];
        if let (Some(member), Some(ended)) = (&mut machine.member, machine.disk.ended_term()) {
            member.reports(ended);
        }
        machine.disk.ends(time, &mut self.database, &mut self.chances);
        machine.listeners.push(process);
        if stops {
            self.is_gone(false);
        }
    }

    /// An answer to what a former term has sent.
    pub(super) fn listens(&mut self, answer: Answer, listener: usize) {
        let now = self.now();
        let process = &mut self.machines[self.here].listeners[listener];
        let life = process.life;
        if let Some(started) = process.node.listens(answer, now) {
            self.tells_of(life, started);
        }
    }

    /// A request that was decided on comes to its task, perhaps after the process was paused.
    pub(super) fn comes_to_its_task(&mut self, life: u32, id: RequestId, request: Request) -> StepResult {
        let (time, now) = (self.time, self.now());
        let machine = &mut self.machines[self.here];
        if time < machine.frozen_until {
            let at = machine.frozen_until;
            self.at(at, Happens::Leaves(life, id, Box::new(request)));
            return Ok(());
        }
        let lives = |process: &&mut Process| process.life == life;
        let Some(process) = machine.process.as_mut().filter(lives) else {
            // Its permit is revoked.
            return Ok(());
        };
        if matches!(request, Request::RunNow(_)) && !process.node.permit().lasts(now) {
            let outcome = Outcome::NotSent { error: "the permit has run out".to_owned() };
            process.inbox.push_back(Answer::Fired {
                id,
                sent_at: now.wall,
                reply: Reply::unanswered(outcome),
            });
            return Ok(());
        }
        self.leaves(id, request)
    }

    /// Returns true as long as nobody else has taken the lease.
    pub(super) fn holds_the_lease(&self) -> bool {
        let number = self.machines[self.here].disk.number();
        number.is_none_or(|number| self.database.tables.look().seen.number == number.get())
    }

    /// A leader that was told to stop has written its last words. Whether its process is at its
    /// end.
    pub(super) fn hands_over(&mut self) -> bool {
        let time = self.time;
        let machine = &mut self.machines[self.here];
        let (Some(member), Some(process)) = (&mut machine.member, &mut machine.process) else { return true };
        let until = *process.leaves_until.get_or_insert_with(|| {
            member.order(Order::Leave);
            time + HANDED_OVER
        });
        member.has_left() || time >= until
    }
}
