//! `/api/v1/quota`: how the quota of each account went while the daemon ran.
//!
//! The loop is asked for its counts every five seconds. Half an hour is kept as it was seen, a day
//! by the minute.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{KeptAnswer, WebRefusal};
use super::query::Query;
use super::site::Site;
use crate::control::ControlRequest;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until the daemon stops.
pub(super) async fn watch(site: Arc<Site>) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        looks.tick().await;
        // A loop that does not answer has no quota to tell of: the next look finds it again.
        if let Ok(snapshot) = site.control.ask(|answer| ControlRequest::Snapshot { most: 0, answer }).await {
            site.samples.take(&snapshot);
        }
    }
}

pub(super) fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["account", "since"])?;
    let since = query.instant("since", None, &site.schedule(), Timestamp::now())?;
    KeptAnswer::json::<()>(&site.samples.all(query.one("account")?, since), None)
}
