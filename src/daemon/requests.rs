//! Performs requests: run_now by the workers of its account, each question in a task of its own.
//! All replies arrive through one channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::core::Claims;
use super::node::{Answer, FireByHand, NO_PERMIT, PauseChange, Steering};
use crate::background::WaitsForWorker;
use crate::clock::Now;
use crate::cloud66::{ActionId, ActionsListed, Client, FollowUp, Looked, Outcome, Reply};
use crate::dispatch::{Request, RequestId};
use crate::journal::{Claim, Cursor, Journal, Key, SendPermit, Transition};
use crate::schedule::{AccountName, Entry, StackUid};

/// The client of each account. The simulation has the accounts' tokens in place of clients.
#[derive(Clone)]
pub(super) struct ClientsInUse<C = Arc<Client>>(BTreeMap<AccountName, C>);

impl<C: Clone> ClientsInUse<C> {
    pub(super) fn new(clients: BTreeMap<AccountName, impl Into<C>>) -> ClientsInUse<C> {
        ClientsInUse(clients.into_iter().map(|(name, client)| (name, client.into())).collect())
    }

    /// Sends by other clients from now on. A request in flight keeps its own. An account that is
    /// gone or renamed, and is still `needed` since an action is unfinished or an attempt is in
    /// doubt, keeps the client that it had.
    pub(super) fn replace(
        &mut self,
        clients: BTreeMap<AccountName, impl Into<C>>,
        needed: impl Fn(&AccountName) -> bool,
    ) {
        self.0.retain(|name, _| !clients.contains_key(name) && needed(name));
        self.0.extend(ClientsInUse::new(clients).0);
    }

    pub(super) fn of(&self, account: &AccountName) -> Option<C> {
        self.0.get(account).cloned()
    }
}

/// The requests in flight of a term, and the channel on which they report.
pub(super) struct Requests {
    pub(super) clients: ClientsInUse,
    pub(super) journal: Arc<Journal>,
    permit: SendPermit,
    report: mpsc::UnboundedSender<Answer>,
    /// Receiver of answers. The number of requests in flight bounds it.
    pub(super) answers: mpsc::UnboundedReceiver<Answer>,
}

/// While this many run_now wait for a worker, answers are taken in by groups: a turn of the loop
/// for each answer costs as much as the answer's request. The workers need some 2 ms for as many,
/// and the loop is back before they run out.
const WORK_AHEAD: usize = 128;

/// Time for which answers are gathered: the shortest that the runtime's timer can wait.
const GATHERS: Duration = Duration::from_millis(1);

impl Requests {
    pub(super) fn new(clients: ClientsInUse, journal: Journal, permit: SendPermit) -> Requests {
        let (report, answers) = mpsc::unbounded_channel();
        Requests { clients, journal: Arc::new(journal), permit, report, answers }
    }

    /// Waits for answers, and takes up to this many.
    pub(super) async fn next_answers(&mut self, answers: &mut Vec<Answer>, most: usize) -> usize {
        if WaitsForWorker::number() >= WORK_AHEAD {
            tokio::time::sleep(GATHERS).await;
        }
        self.answers.recv_many(answers, most).await
    }

    /// Returns the receiver of answers to requests that have left. No further request can be sent.
    pub(super) fn into_answers(self) -> mpsc::UnboundedReceiver<Answer> {
        self.answers
    }

    /// Sends a request. Its end arrives on `answers`, whatever becomes of it.
    pub(super) fn send(&self, id: RequestId, request: Request) {
        match request {
            Request::RunNow(entry) => self.firing(id, entry)(),
            question => drop(tokio::spawn(self.performed(id, question))),
        }
    }

    /// Sends a request once a move is on disk. Where it cannot be written, the request is not sent.
    pub(super) fn send_after(&self, written: (Key, Transition), id: RequestId, request: Request) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        let performed = self.performed(id, request);
        tokio::spawn(async move {
            match journal.commit(vec![written]).await {
                Ok(refused) if refused.is_empty() => performed.await,
                failed => {
                    let error = match failed {
                        Ok(_) => "the journal has it that the occurrence has ended".to_owned(),
                        Err(error) => format!("the journal cannot be written: {error}"),
                    };
                    let reply = no_answer(Outcome::NotSent { error });
                    let _ = report.send(Answer::Fired { id, sent_at: Timestamp::now(), reply });
                }
            }
        });
    }

    /// Reports a run_now that may not be sent, and why.
    pub(super) fn hold_back(&self, id: RequestId, error: String) {
        let reply = Reply::unanswered(Outcome::NotSent { error });
        let _ = self.report.send(Answer::Fired { id, sent_at: Timestamp::now(), reply });
    }

    /// Writes claims. How that went arrives on `answers`.
    pub(super) fn claim(&self, Claims { cursor, repeat, claims }: Claims) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        tokio::spawn(async move {
            let claimed = journal.claim(Cursor { at: cursor, repeat, older_until: None }, claims).await;
            // The health of the journal tells of a claim that fails.
            let known = claimed.ok().map(|claimed| claimed.known);
            let _ = report.send(Answer::Claimed { cursor, known });
        });
    }

    /// Has the journal write what was recorded, without the wait for company.
    pub(super) fn write_now(&self) {
        let journal = Arc::clone(&self.journal);
        // The health of the journal tells of a write that fails.
        tokio::spawn(async move { journal.flush().await });
    }

    /// Writes the claim of what a person fires. How that went arrives on `answers`.
    pub(super) fn claim_by_hand(&self, claim: Claim, fire: FireByHand) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        tokio::spawn(async move {
            let written = journal.claim_by_hand(claim.clone()).await;
            let _ = report.send(Answer::ClaimedByHand { fire, claim: Box::new(claim), written });
        });
    }

    /// Writes that an entry is paused, or is no more. How that went arrives on `answers`.
    pub(super) fn steer(&self, steering: Steering) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        tokio::spawn(async move {
            let written = match &steering.to {
                PauseChange::Paused(pause) => journal.pause(steering.entry.clone(), pause.clone()).await,
                PauseChange::Resumed => journal.resume(steering.entry.clone()).await,
            };
            let _ = report.send(Answer::Steered { steering, written });
        });
    }

    /// Asks the journal for the actions that it knows of a stack. They arrive on `answers`.
    pub(super) fn recall(
        &self,
        account: AccountName,
        stack: StackUid,
        since: Timestamp,
        listed: Vec<ActionId>,
    ) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        tokio::spawn(async move {
            let known = journal.actions(stack.clone(), since, listed).await.ok();
            let _ = report.send(Answer::Recalled { account, stack, known });
        });
    }

    /// Has the journal write its last words. How that went arrives on `answers`.
    pub(super) fn close(&self, stopped_at: Timestamp) {
        let (journal, report) = (Arc::clone(&self.journal), self.report.clone());
        tokio::spawn(async move {
            let is_closed = journal.close(stopped_at).await.is_ok();
            let _ = report.send(Answer::Closed { is_closed });
        });
    }

    /// Deletes settled occurrences that are older than `keep` from the journal.
    pub(super) fn prune(&self, now: Now, keep: Duration) {
        let journal = Arc::clone(&self.journal);
        let before = now.wall.checked_sub(keep).unwrap_or(Timestamp::MIN);
        // Rows that cannot be deleted now are deleted the next time.
        tokio::spawn(async move { journal.prune(before).await });
    }

    fn performed(&self, id: RequestId, request: Request) -> impl Future<Output = ()> + Send + use<> {
        let account = match &request {
            Request::RunNow(entry) => &entry.account.name,
            Request::Action(account, ..)
            | Request::Actions { account, .. }
            | Request::JobRecord(account, ..)
            | Request::Look { account, .. } => account,
        };
        let (client, report) = (self.clients.of(account), self.report.clone());
        let firing = match &request {
            Request::RunNow(entry) => Some(self.firing(id, Arc::clone(entry))),
            Request::Action(..) | Request::Actions { .. } | Request::Look { .. } | Request::JobRecord(..) => {
                None
            }
        };
        async move {
            let done = match request {
                Request::RunNow(_) => return firing.into_iter().for_each(|fire| fire()),
                Request::Action(_, stack, action) => {
                    let reply = match client {
                        Some(client) => client.action(&stack, action).await,
                        None => no_answer(FollowUp::Unanswered),
                    };
                    Answer::Followed { id, reply }
                }
                Request::Actions { stack, page, .. } => {
                    let reply = match client {
                        Some(client) => client.actions(&stack, page).await,
                        None => no_answer(ActionsListed::Unanswered { error: NO_CLIENT.to_owned() }),
                    };
                    Answer::Listed { id, reply }
                }
                Request::JobRecord(_, stack, job) => {
                    let reply = match client {
                        Some(client) => client.job_record(&stack, &job).await,
                        None => no_answer(None),
                    };
                    Answer::Recorded { id, reply }
                }
                Request::Look { stack, job, .. } => {
                    let reply = match client {
                        Some(client) => client.look(&stack, job.as_ref()).await,
                        None => no_answer(Looked::Unanswered { error: NO_CLIENT.to_owned() }),
                    };
                    Answer::Looked { id, reply }
                }
            };
            // Nobody listens any more when the daemon has stopped.
            let _ = report.send(done);
        }
    }

    /// Hands a run_now to the workers of its account, when it is called.
    fn firing(&self, id: RequestId, entry: Arc<Entry>) -> impl FnOnce() + Send + use<> {
        let client = self.clients.of(&entry.account.name);
        let (permit, report) = (self.permit.clone(), self.report.clone());
        move || {
            let done = move |reply: Reply<Outcome>| {
                let sent_at = reply.left.map_or_else(Timestamp::now, |left| left.at);
                // Nobody listens any more when the daemon has stopped.
                let _ = report.send(Answer::Fired { id, sent_at, reply });
            };
            let Some(client) = client else {
                return done(no_answer(Outcome::NotSent { error: NO_CLIENT.to_owned() }));
            };
            // The process may have been paused since this was decided, or the connection may have
            // taken long.
            let may_leave = move || if permit.lasts(Now::read()) { Ok(()) } else { Err(NO_PERMIT) };
            client.hand_over(&entry.stack, &entry.job, entry.args.as_deref(), may_leave, done);
        }
    }

    /// Opens connections for so many run_now, a moment before they are due.
    pub(super) fn warm(&self, account: &AccountName, due: Timestamp, connections: usize) {
        let Some(client) = self.clients.of(account) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(Now::read().until(due).saturating_sub(OPENED_AHEAD)).await;
            client.open_ahead(connections);
        });
    }
}

/// Connections are opened this long before they are used: enough for a name, a dead address that is
/// passed over and three ways to the other end of the world and back, and no whole second, after
/// which a front might close them.
const OPENED_AHEAD: Duration = Duration::from_millis(1600);

const NO_CLIENT: &str = "the account has no client";

fn no_answer<T>(outcome: T) -> Reply<T> {
    Reply { quota: None, warning: None, left: None, outcome }
}
