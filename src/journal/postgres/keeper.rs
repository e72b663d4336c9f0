//! Takes the lease when it is free, keeps it with a beat, and tells what became of it.

use std::mem::Discriminant;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::super::{JournalError, Permit};
use super::connection::{answered, connect};
use super::identity::Id;
use super::lease::{Act, BEAT, Number, Seen, VALID, Watch};
use super::member::{Notice, Term};
use super::{Address, schema};
use crate::clock::Now;

/// Before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(250);

const LOOK: &str = "SELECT number, beat, released, holder, sends_until, holder_name FROM stackcron.lease";

const TAKE: &str = "
    UPDATE stackcron.lease
    SET number = number + 1, beat = beat + 1, released = false, holder = $1, holder_name = $6,
        sends_until = greatest(sends_until, $2)
    WHERE number = $3 AND beat = $4 AND released = $5
    RETURNING number";

const KEEP: &str = "
    UPDATE stackcron.lease SET beat = beat + 1, sends_until = greatest(sends_until, $2)
    WHERE number = $1 AND NOT released
    RETURNING number";

const RELEASE: &str = "
    UPDATE stackcron.lease SET beat = beat + 1, released = true WHERE number = $1 AND NOT released";

/// What the keeper is told.
pub(super) enum Command {
    /// Hand the lease over, and look again for it later: this member cannot use it.
    Release,
    /// Hand the lease over, and end.
    Leave(oneshot::Sender<()>),
}

/// The one in a member that knows of the lease.
pub(super) struct Keeper {
    pub(super) address: Address,
    pub(super) id: Id,
    pub(super) name: String,
    /// The process before this one in the same state directory: it is dead. With where its mark stands.
    pub(super) former: Option<(Id, Option<Timestamp>)>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) notices: mpsc::UnboundedSender<Notice>,
    pub(super) role: Role,
    pub(super) watch: Watch,
    /// Of what kind the failure is that was told.
    pub(super) failed: Option<Discriminant<JournalError>>,
}

/// What a member is.
pub(super) enum Role {
    StandsBy { leader: Option<i64> },
    Leads(Number, Permit),
}

/// How a connection's life ended.
enum Ended {
    Left,
    Failed(JournalError),
}

impl Keeper {
    /// Keeps going until it is told to leave. The first connection's failure is told to `first`.
    pub(super) async fn run(mut self, first: oneshot::Sender<Result<(), JournalError>>) {
        let mut first = Some(first);
        loop {
            let ended = match connect(&self.address).await {
                Ok(mut client) => match schema::prepare(&mut client, &self.address, schema::MIGRATIONS).await
                {
                    Ok(()) => {
                        if let Some(first) = first.take() {
                            let _ = first.send(Ok(()));
                        }
                        self.serve(&client).await
                    }
                    Err(error) => Ended::Failed(error),
                },
                Err(error) => Ended::Failed(error),
            };
            let Ended::Failed(error) = ended else {
                return;
            };
            self.watch.forget();
            if let Some(first) = first.take() {
                let _ = first.send(Err(error.clone()));
            }
            let kind = std::mem::discriminant(&error);
            if self.failed.replace(kind) != Some(kind) {
                self.tell(Notice::Unreachable(error));
            }
            match timeout(AGAIN, self.commands.recv()).await {
                Err(_) | Ok(Some(Command::Release)) => {}
                Ok(None) => return,
                Ok(Some(Command::Leave(done))) => {
                    // The lease ends by itself.
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn serve(&mut self, client: &Client) -> Ended {
        loop {
            let pause = match self.turn(client).await {
                Ok(pause) => {
                    if self.failed.take().is_some() {
                        self.tell(Notice::Reachable);
                    }
                    pause
                }
                // A server that is read-only or full is asked again on a new connection: it may be another by then.
                Err(error) => return Ended::Failed(error),
            };
            tokio::select! {
                () = sleep(pause) => {}
                command = self.commands.recv() => {
                    if let Role::Leads(number, permit) = &self.role {
                        permit.revoke();
                        let parameters = [(&number.get() as _, Type::INT8)];
                        let released = client.query_typed(RELEASE, &parameters);
                        let released = answered(&self.address, released).await;
                        self.role = Role::StandsBy { leader: None };
                        if let (Err(error), Some(Command::Release)) = (released, &command) {
                            return Ended::Failed(error);
                        }
                    }
                    match command {
                        Some(Command::Release) => sleep(VALID).await,
                        Some(Command::Leave(done)) => {
                            let _ = done.send(());
                            return Ended::Left;
                        }
                        None => return Ended::Left,
                    }
                }
            }
        }
    }

    /// Looks or beats once. Returns how long to wait for the next time.
    async fn turn(&mut self, client: &Client) -> Result<Duration, JournalError> {
        let asked = Now::read();
        let until = asked.wall.checked_add(VALID).unwrap_or(Timestamp::MAX);
        if let Role::Leads(number, permit) = &self.role {
            let parameters = [(&number.get() as _, Type::INT8), (&until.as_microsecond() as _, Type::INT8)];
            let kept = answered(&self.address, client.query_typed(KEEP, &parameters)).await?;
            if kept.is_empty() {
                permit.revoke();
                self.role = Role::StandsBy { leader: None };
                self.watch.forget();
                self.tell(Notice::Deposed);
                return Ok(Duration::ZERO);
            }
            permit.extend(asked.mono + VALID, until);
            return Ok(BEAT.saturating_sub(Now::read().mono.saturating_sub(asked.mono)));
        }
        let found = answered(&self.address, look(client)).await?;
        let own = self.former.filter(|(id, _)| found.holder == Some(id.0));
        let act = match own {
            Some(_) => Act::Take,
            None => self.watch.see(found.seen, Now::read().mono),
        };
        if let Act::Wait(pause) = act {
            self.follow(found.holder.filter(|_| !found.seen.released), found.name);
            return Ok(pause);
        }
        let asked = Now::read();
        let until = asked.wall.checked_add(VALID).unwrap_or(Timestamp::MAX);
        let Seen { number, beat, released } = found.seen;
        let parameters = [
            (&self.id.0 as _, Type::INT8),
            (&until.as_microsecond() as _, Type::INT8),
            (&number as _, Type::INT8),
            (&beat as _, Type::INT8),
            (&released as _, Type::BOOL),
            (&self.name as _, Type::TEXT),
        ];
        let taken = answered(&self.address, client.query_typed(TAKE, &parameters)).await?;
        let Some(row) = taken.first() else {
            // Somebody was faster, or the leader is back.
            self.watch.forget();
            return Ok(Duration::ZERO);
        };
        let permit = Permit::none_yet();
        permit.extend(asked.mono + VALID, until);
        let number = Number::new(row.get(0));
        self.role = Role::Leads(number, permit.clone());
        let mark = own.and_then(|(_, mark)| mark);
        self.former = None;
        self.tell(Notice::Leads(Term { number, permit, sends_until: found.sends_until, mark }));
        Ok(BEAT)
    }

    /// Tells who leads, when that is somebody else than before.
    fn follow(&mut self, holder: Option<i64>, name: Option<String>) {
        if let Role::StandsBy { leader } = &mut self.role
            && holder.is_some()
            && *leader != holder
        {
            *leader = holder;
            self.tell(Notice::StandsBy(name));
        }
    }

    fn tell(&self, notice: Notice) {
        // Nobody listens when the daemon is at its end.
        let _ = self.notices.send(notice);
    }
}

/// The lease as it is in the database.
struct Found {
    seen: Seen,
    holder: Option<i64>,
    name: Option<String>,
    /// Nothing that was due later has been sent.
    sends_until: Option<Timestamp>,
}

async fn look(client: &Client) -> Result<Found, Error> {
    let rows = client.query_typed(LOOK, &[]).await?;
    let Some(row) = rows.first() else {
        // Somebody has emptied the table: nobody can lead, and nobody takes it over.
        let seen = Seen { number: 0, beat: 0, released: false };
        return Ok(Found { seen, holder: None, name: None, sends_until: None });
    };
    let seen = Seen { number: row.get(0), beat: row.get(1), released: row.get(2) };
    let sends_until =
        row.get::<_, Option<i64>>(4).and_then(|micros| Timestamp::from_microsecond(micros).ok());
    Ok(Found { seen, holder: row.get(3), name: row.get(5), sends_until })
}
