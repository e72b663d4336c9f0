//! Performs requests: each in a task of its own, its reply through one channel.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::cloud66::{Client, FollowUp, Outcome, Reply};
use crate::dispatch::{Request, RequestId};
use crate::schedule::AccountName;

/// A request that has ended.
pub(super) enum Done {
    /// A run_now, and when it left.
    Fired { id: RequestId, sent_at: Timestamp, reply: Reply<Outcome> },
    /// A question for an action.
    Followed { id: RequestId, reply: Reply<FollowUp> },
}

/// The requests in flight, and the channel on which they report.
pub(super) struct Requests {
    clients: BTreeMap<AccountName, Arc<Client>>,
    report: mpsc::UnboundedSender<Done>,
    /// Where replies arrive. Bounded by the number of requests in flight.
    pub(super) replies: mpsc::UnboundedReceiver<Done>,
}

impl Requests {
    pub(super) fn new(clients: BTreeMap<AccountName, Client>) -> Requests {
        let (report, replies) = mpsc::unbounded_channel();
        let mut requests = Requests { clients: BTreeMap::new(), report, replies };
        requests.replace(clients);
        requests
    }

    /// Sends by other clients from now on. What is in flight keeps its own.
    pub(super) fn replace(&mut self, clients: BTreeMap<AccountName, Client>) {
        self.clients = clients.into_iter().map(|(name, client)| (name, Arc::new(client))).collect();
    }

    /// Sends a request. Its end arrives on `replies`, whatever becomes of it.
    pub(super) fn send(&self, id: RequestId, request: Request) {
        let report = self.report.clone();
        match request {
            Request::RunNow(entry) => {
                let client = self.clients.get(&entry.account.name).cloned();
                tokio::spawn(async move {
                    let sent_at = Timestamp::now();
                    let reply = match client {
                        Some(client) => client.run_now(&entry.stack, &entry.job, entry.args.as_deref()).await,
                        None => no_client(Outcome::NotSent { error: NO_CLIENT.to_owned() }),
                    };
                    // Nobody listens any more when the daemon has stopped.
                    let _ = report.send(Done::Fired { id, sent_at, reply });
                });
            }
            Request::Action(account, stack, action) => {
                let client = self.clients.get(&account).cloned();
                tokio::spawn(async move {
                    let reply = match client {
                        Some(client) => client.action(&stack, action).await,
                        None => no_client(FollowUp::Unanswered),
                    };
                    let _ = report.send(Done::Followed { id, reply });
                });
            }
        }
    }

    /// Opens connections for requests that are to come soon.
    pub(super) fn warm(&self, account: &AccountName, connections: usize) {
        for _ in 0..connections {
            if let Some(client) = self.clients.get(account).cloned() {
                tokio::spawn(async move { client.warm().await });
            }
        }
    }
}

const NO_CLIENT: &str = "the account has no client";

fn no_client<T>(outcome: T) -> Reply<T> {
    Reply { quota: None, warning: None, outcome }
}
