//! Defaults and limits of the settings. The validation applies them, and the schema tells them.

use std::time::Duration;

use super::{QuotaSettings, Reserve};

/// The API of Cloud 66 itself.
pub(super) const DEFAULT_URL: &str = "https://app.cloud66.com/api/3";

/// Longest time of a request. Most answers of the API come within seconds.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that `timeout` may be. A member that stops leading listens to what it has in flight
/// for a little longer (`LISTENS` in `daemon/standby.rs`).
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);

/// The quota of an account for which the file gives none: that of the API's examples.
pub(super) const DEFAULT_QUOTA: QuotaSettings =
    QuotaSettings { limit: 3600, window: Duration::from_secs(3600), reserve: Reserve::Percent(5.0) };

/// The `start_deadline` of an entry that names none.
pub(super) const DEFAULT_START_DEADLINE: Duration = Duration::from_secs(3600);

/// The `late_after` of a receiver that names none.
pub(super) const DEFAULT_LATE_AFTER: Duration = Duration::from_secs(60);

/// Repetitions at most: whoever wants more wants another expression.
pub(super) const MOST_TIMES: u32 = 100;

/// The factor of a wait that grows and names none.
pub(super) const DEFAULT_FACTOR: u32 = 2;

/// A wait may grow by this factor at most.
pub(super) const MOST_FACTOR: f64 = 100.0;
