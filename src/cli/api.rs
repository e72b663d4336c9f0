//! The API as a command asks it: an account's token read, and a person told how far it is.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{MissedTickBehavior, interval};

use super::progress::ProgressLine;
use crate::cloud66::{CREDENTIALS, Client, ClientError, Token, TokenError};
use crate::online::{CheckClient, Tally};
use crate::schedule::{Account, TokenSource};

/// Interval at which the bar is drawn anew.
const FRAME: Duration = Duration::from_millis(100);

/// Why an account cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDesk {
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is one, and no client can be made with it.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl NoDesk {
    /// Says what the operator can do.
    pub(super) fn remedy(&self, account: &Account) -> String {
        match (self, &account.token) {
            // The most likely case by far: a person at a shell, and the token with the service.
            (NoDesk::Token(TokenError::NoCredentials(_)), TokenSource::Credential(name)) => format!(
                "give the command the credential too: \
                 `sudo systemd-run --pipe --wait -p LoadCredential={name}:/etc/stackcron/{name} stackcron ...`"
            ),
            (NoDesk::Token(TokenError::Unreadable { error, .. }), TokenSource::Credential(_))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                "run the command with `sudo`: the token is for root alone".to_owned()
            }
            _ => format!("see `token` of account `{}`", account.name),
        }
    }
}

/// Reads an account's token, and opens a desk for its questions.
pub(super) fn desk(account: &Arc<Account>, tally: &Arc<Tally>) -> Result<Arc<CheckClient>, NoDesk> {
    let found = match Token::read(&account.token) {
        // A person at a shell: the file that the packaged unit hands over.
        Err(TokenError::NoCredentials(name)) => Token::read(&TokenSource::File(
            Path::new(CREDENTIALS).join(&name),
        ))
        .map_err(|error| match error {
            TokenError::Unreadable { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                TokenError::NoCredentials(name)
            }
            error => error,
        })?,
        read => read?,
    };
    if let Some(path) = found.exposed {
        let path = path.display();
        warn(&format!("everybody can read the token in {path}; chmod o-r {path}"));
    }
    let client = Client::new(account, &found.token)?;
    Ok(Arc::new(CheckClient::new(Arc::clone(account), client, Arc::clone(tally))))
}

/// Runs questions to their end, with a bar in front of who waits.
pub(super) fn ask<T>(tally: &Tally, questions: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the runtime for requests cannot be set up")?;
    Ok(runtime.block_on(async {
        let mut progress = ProgressLine::of("asking the API");
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::pin!(questions);
        loop {
            tokio::select! {
                answers = &mut questions => return answers,
                _ = frames.tick() => {
                    let read = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed) as u64;
                    progress.at(read(&tally.done), read(&tally.wanted));
                }
            }
        }
    }))
}

/// Tells what somebody should look at, beside what a command prints.
pub(super) fn warn(text: &str) {
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "warning: {text}");
}
