//! The database that several daemons share, and the way to it: a statement arrives some time after
//! it was asked, its answer some time after that, and either may be lost on the way, or late.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use crate::journal::postgres::tables::{Beat, RunId, Seen, Tables, TermWriter, WriteGroup};
use crate::journal::{EndedTerm, TermNumber};

/// A statement is answered within this time, or its connection is given up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A connection is made within this time.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// A packet that was on its way when a line was cut arrives at most this long after the line is
/// mended: TCP repeats it ever more seldom.
const ARRIVES_WITHIN: Duration = Duration::from_secs(8);

/// The client that asks. Each has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseClient {
    Elector(usize),
    Writer(usize),
}

/// Calls that change something, and do so even when they arrive late.
#[derive(Clone)]
pub(super) enum Statement {
    Take(Seen, RunId, Timestamp, Option<Timestamp>),
    Keep(Beat, RunId, Timestamp),
    Release(TermNumber, RunId),
    Report(Vec<EndedTerm>),
    Write(TermWriter, Box<WriteGroup>),
}

/// The tables, and what is wrong with the server.
pub(super) struct SimulatedDatabase {
    pub(super) tables: Tables,
    /// Another journal, which is in the place of this one until then.
    stranger: Tables,
    replaced_until: Duration,
    /// For each member, true while its elector has a connection.
    connected: Vec<bool>,
    /// Nobody can connect until then, and what is connected is not any more.
    gone_until: Duration,
    /// The database refuses writes until this time.
    full_until: Duration,
    /// The database performs no call until this time.
    hangs_until: Duration,
    /// Members whose line is cut, and until when.
    cut_until: Vec<Duration>,
    /// Members whose connection to write through swallows all, while their elector's goes on, and
    /// until when.
    swallows_until: Vec<Duration>,
    /// On their way, from clients that wait for them no more.
    late: BTreeMap<(Duration, u64), (DatabaseClient, Statement)>,
    last: u64,
}

impl SimulatedDatabase {
    pub(super) fn new(members: usize) -> SimulatedDatabase {
        SimulatedDatabase {
            tables: Tables::new(),
            stranger: Tables::of_stranger(),
            replaced_until: Duration::ZERO,
            connected: vec![false; members],
            gone_until: Duration::ZERO,
            full_until: Duration::ZERO,
            hangs_until: Duration::ZERO,
            cut_until: vec![Duration::ZERO; members],
            swallows_until: vec![Duration::ZERO; members],
            late: BTreeMap::new(),
            last: 0,
        }
    }

    pub(super) fn goes(&mut self, until: Duration) {
        self.gone_until = until;
        // Its end is the end of whatever it had to do.
        self.late.clear();
        self.connected.fill(false);
    }

    /// Another journal is in its place until then. What is connected is so no more.
    pub(super) fn is_replaced(&mut self, until: Duration, now: Duration) {
        self.replaced_until = until;
        self.goes(now);
    }

    /// True when another journal is in the place of this one.
    pub(super) fn is_another(&self, now: Duration) -> bool {
        now < self.replaced_until
    }

    /// Puts an older copy in its place. What is connected is so no more.
    pub(super) fn is_restored(&mut self, copy: Tables, until: Duration) {
        self.tables = copy;
        self.goes(until);
    }

    pub(super) fn fills(&mut self, until: Duration) {
        self.full_until = until;
    }

    pub(super) fn hangs(&mut self, until: Duration) {
        self.hangs_until = until;
    }

    /// Returns true when the database has hung at an instant or later.
    pub(super) fn has_hung_since(&self, at: Duration) -> bool {
        self.hangs_until > at
    }

    pub(super) fn is_cut_off(&mut self, member: usize, until: Duration) {
        self.cut_until[member] = until;
    }

    pub(super) fn swallows(&mut self, member: usize, until: Duration) {
        self.swallows_until[member] = until;
    }

    /// Returns true when the client's calls go over a lasting connection. A writer makes one
    /// whenever it has none.
    fn is_connected(&self, client: DatabaseClient) -> bool {
        match client {
            DatabaseClient::Elector(member) => self.connected[member],
            DatabaseClient::Writer(_) => true,
        }
    }

    /// Cuts the line between a client and the server until this time.
    fn cut_until(&self, client: DatabaseClient) -> Duration {
        match client {
            DatabaseClient::Elector(member) => self.cut_until[member],
            DatabaseClient::Writer(member) => self.cut_until[member].max(self.swallows_until[member]),
        }
    }

    pub(super) fn is_well(&mut self, now: Duration) {
        (self.gone_until, self.full_until, self.hangs_until) = (now, now, now);
        self.replaced_until = now;
        self.cut_until.fill(now);
        self.swallows_until.fill(now);
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.late.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Performs what comes late and is due.
    pub(super) fn proceed(&mut self, now: Duration) {
        while let Some(first) = self.late.first_entry()
            && first.key().0 <= now
        {
            let (_, statement) = first.remove();
            if now >= self.gone_until && now >= self.full_until {
                self.perform(statement);
            }
        }
    }

    /// Chance decides whether a call that the client no longer waits for arrives.
    pub(super) fn comes_late(
        &mut self,
        client: DatabaseClient,
        statement: Statement,
        now: Duration,
        chances: &mut Rng,
    ) {
        let cut_until = self.cut_until(client);
        let span = match (cut_until > now, self.hangs_until > now) {
            (true, _) => ARRIVES_WITHIN,
            (false, true) => Duration::from_secs(2),
            (false, false) => Duration::from_millis(200),
        };
        let after = Duration::from_micros(chances.u64(..span.as_micros() as u64));
        if chances.bool() {
            self.last += 1;
            let at = now.max(cut_until).max(self.hangs_until) + after;
            self.late.insert((at, self.last), (client, statement));
        }
    }

    /// A client whose connection was given up has another: the server has ended the session of the
    /// one before.
    pub(super) fn ends_former_session(&mut self, client: DatabaseClient, now: Duration) {
        let open = now >= self.gone_until.max(self.hangs_until).max(self.cut_until(client));
        if open {
            self.late.retain(|_, (of, _)| *of != client);
        }
    }

    fn perform(&mut self, statement: Statement) {
        match statement {
            Statement::Take(seen, holder, until, lost) => drop(self.tables.take(seen, holder, until, lost)),
            Statement::Keep(beat, holder, until) => drop(self.tables.keep(beat, holder, until)),
            Statement::Release(number, holder) => self.tables.release(number, holder),
            Statement::Report(ended) => self.tables.report(&ended),
            Statement::Write(writer, group) => drop(self.tables.write(writer, &group)),
        }
    }
}

/// Time of one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatabaseLatency {
    pub(super) usual: Duration,
    /// Percentage of ways that take up to the time after it.
    pub(super) slow: u32,
    pub(super) slowest: Duration,
}

impl DatabaseLatency {
    pub(super) fn draw(self, chances: &mut Rng) -> Duration {
        let most = if chances.u32(..100) < self.slow { self.slowest } else { self.usual };
        Duration::from_micros(chances.u64(50..=most.as_micros() as u64))
    }
}

/// Something that was asked of the database, on its way there or back.
pub(super) struct DatabaseCall<T> {
    client: DatabaseClient,
    connects: bool,
    gives_up_at: Duration,
    reaches_at: Duration,
    way_back: Duration,
    /// The instant of the answer, and the answer.
    answer: Option<(Duration, Option<T>)>,
}

/// Returns true when a call may change something.
pub(super) enum Kind {
    Reads,
    Writes,
}

/// Stage of a call.
pub(super) enum Went<T> {
    /// On its way.
    On,
    /// It cannot arrive in time. It may arrive late.
    Astray,
    /// Back, with an answer or none.
    Back(Option<T>),
}

impl<T> DatabaseCall<T> {
    /// Asks now.
    pub(super) fn new(
        client: DatabaseClient,
        latency: DatabaseLatency,
        now: Duration,
        chances: &mut Rng,
    ) -> DatabaseCall<T> {
        let (there, way_back) = (latency.draw(chances) / 2, latency.draw(chances) / 2);
        let connects = false;
        DatabaseCall {
            client,
            connects,
            gives_up_at: now + ANSWERED_WITHIN,
            reaches_at: now + there,
            way_back,
            answer: None,
        }
    }

    /// Connects now.
    pub(super) fn connect(
        client: DatabaseClient,
        latency: DatabaseLatency,
        now: Duration,
        chances: &mut Rng,
    ) -> DatabaseCall<T> {
        DatabaseCall {
            connects: true,
            gives_up_at: now + CONNECTED_WITHIN,
            ..DatabaseCall::new(client, latency, now, chances)
        }
    }

    /// Returns the time of the call's next step. The client does not run until `thaws`.
    pub(super) fn next_at(&self, thaws: Duration) -> Duration {
        match self.answer {
            None => self.reaches_at,
            Some((at, _)) => at.max(thaws),
        }
    }

    /// Returns true while the call has not been performed.
    pub(super) fn is_there(&self) -> bool {
        self.answer.is_none()
    }

    /// Takes the call's next step, when it is time.
    pub(super) fn proceed(
        &mut self,
        now: Duration,
        database: &mut SimulatedDatabase,
        kind: Kind,
        perform: impl FnOnce(&mut Tables) -> T,
    ) -> Went<T> {
        let cut = now < database.cut_until(self.client);
        let gone = now < database.gone_until || !self.connects && !database.is_connected(self.client);
        let Some((_, answer)) = self.answer.take() else {
            if gone {
                self.answer = Some((now + self.way_back, None));
            } else if cut {
                self.answer = Some((self.gives_up_at, None));
                return Went::Astray;
            } else if now < database.hangs_until {
                self.reaches_at = database.hangs_until;
                if self.reaches_at >= self.gives_up_at {
                    self.answer = Some((self.gives_up_at, None));
                    return Went::Astray;
                }
            } else if matches!(kind, Kind::Writes) && now < database.full_until {
                self.answer = Some((now + self.way_back, None));
            } else {
                let at = (now + self.way_back).min(self.gives_up_at.max(now));
                if let (true, DatabaseClient::Elector(member)) = (self.connects, self.client) {
                    database.connected[member] = true;
                }
                let tables =
                    if database.is_another(now) { &mut database.stranger } else { &mut database.tables };
                self.answer = Some((at, Some(perform(tables))));
            }
            return Went::On;
        };
        if answer.is_some() && cut && now < self.gives_up_at {
            self.answer = Some((self.gives_up_at, None));
            return Went::On;
        }
        Went::Back(answer.filter(|_| !gone && now < self.gives_up_at))
    }
}
