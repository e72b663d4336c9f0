//! Events of accounts: their tokens and their quotas.

use jiff::Timestamp;
use tracing::Level;

use super::brief;
use crate::schedule::AccountName;

events! {
    /// An account whose token or settings cannot be used. Nothing changes, or the daemon does not
    /// start.
    AccountUnusable = "account.unusable", |e| Level::ERROR, {
        account: AccountName,
        error: String,
    }, format!("account {} cannot be used: {}", e.account, e.error);

    /// A token that others on the machine can read.
    TokenExposed = "token.exposed", |e| Level::WARN, {
        account: AccountName,
        path: String,
        hint: String,
    }, format!("other users can read the token of account {}: {}", e.account, e.hint);

    /// The quota's limit changed.
    QuotaChanged = "quota.changed", |e| Level::INFO, {
        account: AccountName,
        limit: u32,
        was: u32,
    }, format!("account {}: the limit is now {}, it was {}", e.account, e.limit, e.was);

    /// Only the reserve is left of the quota.
    QuotaExhausted = "quota.exhausted", |e| Level::WARN, {
        account: AccountName,
        limit: u32,
        remaining: u32,
        until: Timestamp,
    }, format!("account {}: the quota of {} is spent until {}", e.account, e.limit, brief(e.until));

    /// The file of a credential is newer than what the service was given at its start, and a reload
    /// does not hand it over.
    TokenUnchanged = "token.unchanged", |e| Level::WARN, {
        account: AccountName,
        path: String,
    }, format!(
        "account {}: {} was changed since the start, and a reload does not read it. Run `systemctl restart stackcron`",
        e.account, e.path
    );

    /// There is quota again.
    QuotaRestored = "quota.restored", |e| Level::INFO, {
        account: AccountName,
        limit: u32,
        remaining: u32,
    }, format!("account {}: there is quota again, {} of {}", e.account, e.remaining, e.limit);
}
