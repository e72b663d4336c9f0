//! `/api/v1/status`: the record of `stackcron status`.

use jiff::Timestamp;

use super::answer::{KeptAnswer, WebRefusal};
use super::query::Query;
use super::site::Site;
use crate::control::Status;

/// Records of each kind, unless the query says how many.
const DEFAULT: usize = 20;

/// Records of each kind at most.
const MOST: usize = 1000;

pub(super) async fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "limit"])?;
    let names = query.all("entry").map(str::to_owned).collect();
    let status = site.status.status(names, query.number("limit", DEFAULT, MOST)?).await?;
    KeptAnswer::json(&status, Some(&without_the_time(status.clone())))
}

/// A status without what changes with each look, so that two that tell the same are equal.
fn without_the_time(mut status: Status) -> Status {
    status.now = Timestamp::UNIX_EPOCH;
    status.swept_at = None;
    if let Some(lately) = &mut status.lately {
        lately.since = Timestamp::UNIX_EPOCH;
    }
    for member in &mut status.members {
        member.lag_ms = 0;
        member.clock_ahead_ms = None;
    }
    status
}
