//! Questions to the API of one account: a few at once, never beyond what its quota has for checks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::clock::Now;
use crate::cloud66::{Action, Client, Job, Listed, PageNumber, Reply, Stack};
use crate::quota::{Purpose, Quota, Refusal, Ticket, WaitCause};
use crate::schedule::{Account, StackUid};

/// Requests in flight at most. The daemon and people use the same API meanwhile.
const AT_ONCE: usize = 4;

/// A question is asked so often before its failure counts.
const ATTEMPTS: u32 = 3;

/// The pause before the second attempt. It doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// Quota that comes back later than this is not waited for: somebody sits before the terminal.
const PATIENCE: Duration = Duration::from_secs(30);

/// A check may always send this many requests, whatever its share of the window is: so few cost the
/// schedule nothing that matters, and without them a short quota would let no question pass. The
/// reserve stays whole all the same.
const FEW: usize = 20;

/// Pages of a list that are read at most: 6,000 items. What comes after would be a list without
/// end.
const MOST_PAGES: u32 = 200;

/// Why there is no answer. Each says what is known; [`AskError::remedy`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// 401: the token is wrong or revoked.
    #[error("the token was not accepted (401): {0}")]
    Unauthorized(String),
    /// 403: the token's scopes or its user's rights do not reach so far.
    #[error("the token may not ask for this (403): {0}")]
    Forbidden(String),
    /// 404.
    #[error("there is no such thing (404): {0}")]
    NotFound(String),
    /// A redirect, or another refusal for good.
    #[error("the API refused ({status}): {error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The API's own words.
        error: String,
    },
    /// An answer that cannot be read.
    #[error("this is not the API's answer: {0}")]
    Unreadable(String),
    /// The server has no list of stacks, which the API always has.
    #[error("this is not the API: {0}")]
    NotTheApi(String),
    /// Nothing of the quota is left beyond the reserve.
    #[error("the quota beyond the reserve is spent until {until}")]
    Spent {
        /// When it should come back.
        until: Timestamp,
    },
    /// Checks have had their share of the window.
    #[error("checks have used their share of the quota until {until}")]
    Share {
        /// When there is more.
        until: Timestamp,
    },
    /// The API refused for want of quota, again and again.
    #[error("the API is throttling the token")]
    Throttled,
    /// No server answers at the address.
    #[error("{host} cannot be reached: {error}")]
    Unreachable {
        /// The host of the account's `url`.
        host: String,
        /// The error of the connection.
        error: String,
    },
    /// The server answers with an error.
    #[error("the API failed: {0}")]
    Failed(String),
}

/// Returns true when a list that is read in its order need not be read on: each action started
/// before the one above it, and the last one before the instant.
fn reaches(actions: &[Action], back_to: Timestamp) -> bool {
    let is_in_order = actions.iter().map(Action::started).is_sorted_by(|above, below| match (above, below) {
        (Some(above), Some(below)) => above >= below,
        _ => false,
    });
    is_in_order && actions.last().and_then(Action::started).is_some_and(|last| last < back_to)
}

impl AskError {
    /// Returns advice for the operator.
    pub fn remedy(&self, account: &Account) -> String {
        match self {
            AskError::Unauthorized(_) => format!(
                "make a new token at Cloud 66 and put it where `token` of account `{}` says",
                account.name
            ),
            AskError::Forbidden(_) => {
                "give the token the scopes public and jobs (or admin), and its user access to the stack"
                    .into()
            }
            AskError::NotFound(_) => "compare the uid with those in Cloud 66".into(),
            AskError::Refused { status: 300..=399, .. } => {
                "a redirect is never followed: set the account's `url` to where the API is".into()
            }
            AskError::Refused { status: 402, .. } => {
                "renew the Cloud 66 account, whose trial has ended".into()
            }
            AskError::Refused { .. } => "see what the API says".into(),
            AskError::Unreadable(_) | AskError::NotTheApi(_) => {
                format!("check the account's `url`, {}: that of Cloud 66 ends in /api/3", account.url)
            }
            AskError::Spent { .. } | AskError::Share { .. } => {
                "ask again then; what the reserve keeps for people is not used".into()
            }
            AskError::Throttled => "ask again when the hour has turned".into(),
            AskError::Unreachable { .. } => {
                "check the account's `url`, the network, and HTTPS_PROXY where a proxy is needed".into()
            }
            AskError::Failed(_) => "ask again later".into(),
        }
    }

    /// Returns true when every other question of the account would end the same way.
    pub fn is_of_account(&self) -> bool {
        match self {
            AskError::Unauthorized(_)
            | AskError::Spent { .. }
            | AskError::Share { .. }
            | AskError::Throttled
            | AskError::Unreachable { .. }
            | AskError::NotTheApi(_)
            | AskError::Refused { status: 300..=399 | 402, .. } => true,
            AskError::Forbidden(_)
            | AskError::NotFound(_)
            | AskError::Refused { .. }
            | AskError::Unreadable(_)
            | AskError::Failed(_) => false,
        }
    }
}

/// Progress of all questions, for a progress bar.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lists that are to be read, as far as is known.
    pub wanted: AtomicUsize,
    /// Number of questions that were answered or given up.
    pub done: AtomicUsize,
}

/// A client that asks an account's questions within its quota.
pub struct CheckClient {
    account: Arc<Account>,
    client: Client,
    /// Never held over an await.
    quota: Mutex<Quota>,
    /// An answer came, so that a question that waits may be admitted.
    answered: Notify,
    slots: Semaphore,
    /// Why nothing more is asked.
    closed: OnceLock<AskError>,
    requests: AtomicUsize,
    warning: OnceLock<String>,
    tally: Arc<Tally>,
}

impl CheckClient {
    /// A desk that has asked nothing yet.
    pub fn new(account: Arc<Account>, client: Client, tally: Arc<Tally>) -> CheckClient {
        let quota = Quota::new(account.quota, Now::read());
        CheckClient {
            account,
            client,
            quota: Mutex::new(quota),
            answered: Notify::new(),
            slots: Semaphore::new(AT_ONCE),
            closed: OnceLock::new(),
            requests: AtomicUsize::new(0),
            warning: OnceLock::new(),
            tally,
        }
    }

    /// Requests that were sent.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns the newest Remaining and Limit that the API told. `None`: it told none.
    pub fn quota_left(&self) -> Option<(u32, u32)> {
        let quota = self.quota();
        quota.remaining().map(|remaining| (remaining, quota.limit()))
    }

    /// The text of an `X-Cloud66-Warning` that came with an answer.
    pub fn warning(&self) -> Option<&str> {
        self.warning.get().map(String::as_str)
    }

    /// The stacks that the token sees. No further page is asked for once `enough` is satisfied.
    pub async fn stacks(&self, enough: impl Fn(&[Stack]) -> bool) -> Result<Vec<Stack>, AskError> {
        let stacks = self.list(enough, |number| self.client.stacks(number)).await;
        self.closed_by(stacks.map_err(|error| match error {
            AskError::NotFound(error) | AskError::Unreadable(error) => AskError::NotTheApi(error),
            other => other,
        }))
    }

    /// The jobs of a stack.
    pub async fn jobs(&self, stack: &StackUid) -> Result<Vec<Job>, AskError> {
        self.closed_by(self.list(|_| false, |number| self.client.jobs(stack, number)).await)
    }

    /// The actions of a stack, back to an instant at least: further where the list is not in the
    /// order of time, the newest first.
    pub async fn actions(&self, stack: &StackUid, back_to: Timestamp) -> Result<Vec<Action>, AskError> {
        let enough = |actions: &[Action]| reaches(actions, back_to);
        self.closed_by(self.list(enough, |number| self.client.listed_actions(stack, number)).await)
    }

    async fn list<T, F: Future<Output = Reply<Listed<T>>>>(
        &self,
        enough: impl Fn(&[T]) -> bool,
        ask: impl Fn(PageNumber) -> F,
    ) -> Result<Vec<T>, AskError> {
        self.tally.wanted.fetch_add(1, Ordering::Relaxed);
        let read = self.pages(enough, ask).await;
        self.tally.done.fetch_add(1, Ordering::Relaxed);
        read
    }

    /// Asks nothing more once an answer says that it would be in vain.
    fn closed_by<T>(&self, answer: Result<T, AskError>) -> Result<T, AskError> {
        if let Err(error) = &answer
            && error.is_of_account()
        {
            // If another question has closed the client already, that question's reason stands.
            let _ = self.closed.set(error.clone());
        }
        answer
    }

    async fn pages<T, F: Future<Output = Reply<Listed<T>>>>(
        &self,
        enough: impl Fn(&[T]) -> bool,
        ask: impl Fn(PageNumber) -> F,
    ) -> Result<Vec<T>, AskError> {
        let (mut items, mut number) = (Vec::new(), 1);
        for _ in 0..MOST_PAGES {
            let page = self.attempts(&ask, number).await?;
            items.extend(page.items);
            match page.next {
                Some(next) if !enough(&items) => number = next,
                _ => return Ok(items),
            }
        }
        // Part of a list would pass for all of it.
        Err(AskError::Unreadable(format!("the list goes on after {MOST_PAGES} pages")))
    }

    /// Asks for a page until there is an answer to build on. To ask changes nothing, so that it may
    /// be repeated.
    async fn attempts<T, F: Future<Output = Reply<Listed<T>>>>(
        &self,
        ask: &impl Fn(PageNumber) -> F,
        number: PageNumber,
    ) -> Result<crate::cloud66::Page<T>, AskError> {
        let mut attempt = 1;
        loop {
            let error = match self.once(ask, number).await? {
                Listed::Page(page) => return Ok(page),
                Listed::Refused { status: 401, error } => return Err(AskError::Unauthorized(error)),
                Listed::Refused { status: 403, error } => return Err(AskError::Forbidden(error)),
                Listed::Refused { status: 404, error } => return Err(AskError::NotFound(error)),
                Listed::Refused { status, error } => return Err(AskError::Refused { status, error }),
                Listed::Unreadable { error } => return Err(AskError::Unreadable(error)),
                Listed::Throttled(_) => AskError::Throttled,
                Listed::NotSent { error } => AskError::Unreachable { host: self.host(), error },
                Listed::Failed { error } => AskError::Failed(error),
            };
            if attempt == ATTEMPTS {
                return Err(error);
            }
            sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    /// Sends one request when the quota admits it.
    async fn once<T, F: Future<Output = Reply<Listed<T>>>>(
        &self,
        ask: &impl Fn(PageNumber) -> F,
        number: PageNumber,
    ) -> Result<Listed<T>, AskError> {
        let _slot = self.slots.acquire().await;
        let ticket = self.admitted().await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Reply { quota: told, warning, outcome, .. } = ask(number).await;
        if let Some(warning) = warning {
            // The first one is enough: they are alike.
            let _ = self.warning.set(warning);
        }
        let now = Now::read();
        let mut quota = self.quota();
        let _ = match (told, &outcome) {
            (Some(answer), _) => quota.answered(ticket, answer, now),
            (None, Listed::NotSent { .. }) => quota.unsent(ticket, now),
            (None, _) => quota.lost(ticket, now),
        };
        drop(quota);
        self.answered.notify_waiters();
        Ok(outcome)
    }

    async fn admitted(&self) -> Result<Ticket, AskError> {
        loop {
            // Made before the quota is asked, so that no answer in between goes unseen.
            let answered = self.answered.notified();
            if let Some(error) = self.closed.get() {
                return Err(error.clone());
            }
            let now = Now::read();
            let wait = {
                let purpose = if self.requests() < FEW { Purpose::Fire } else { Purpose::Check };
                let mut quota = self.quota();
                match quota.admit(purpose, now) {
                    Ok(ticket) => return Ok(ticket),
                    Err(Refusal::Until(until)) if until.at.saturating_sub(now.mono) > PATIENCE => {
                        return Err(match until.why {
                            WaitCause::Share => AskError::Share { until: until.wall },
                            WaitCause::Exhausted | WaitCause::RetryAfter | WaitCause::Burst => {
                                AskError::Spent { until: until.wall }
                            }
                        });
                    }
                    Err(Refusal::Until(until)) => until.at.saturating_sub(now.mono),
                    Err(Refusal::InFlight) => {
                        quota.wakes_at().map_or(PAUSE, |at| at.saturating_sub(now.mono))
                    }
                }
            };
            // Either way it is asked again.
            let _ = timeout(wait.max(Duration::from_millis(1)), answered).await;
        }
    }

    fn host(&self) -> String {
        let url = &self.account.url;
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        format!("{}{port}", url.host_str().unwrap_or_default())
    }

    fn quota(&self) -> MutexGuard<'_, Quota> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
