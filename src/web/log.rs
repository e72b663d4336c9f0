//! `/api/v1/log`: the lines of the log that tell of an occurrence, as far as this process still has
//! them.

use jiff::Timestamp;

use super::answer::{KeptAnswer, WebRefusal};
use super::query::{Query, QueryError};
use super::site::Site;

pub(super) fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "at", "format"])?;
    let entry = query.entry()?.ok_or(QueryError::Missing { key: "entry" })?;
    let at = query.instant("at", Some(&entry), &site.schedule(), Timestamp::now())?;
    let at = at.ok_or(QueryError::Missing { key: "at" })?;
    if query.is_text()? {
        let lines = site.recent.text(&entry, at);
        let lines = if lines.is_empty() { elsewhere(&entry.to_string(), at) } else { lines };
        return Ok(KeptAnswer::bytes("text/plain; charset=utf-8", lines.into_bytes()));
    }
    Ok(KeptAnswer::lines(site.recent.json(&entry, at).as_bytes()))
}

/// The command that finds older lines.
fn elsewhere(entry: &str, at: Timestamp) -> String {
    let wanted = format!("select(.entry == \"{entry}\" and .scheduled_at == \"{at}\")");
    format!(
        "This process has no line of it any more. systemd's journal has:\n\
         journalctl -o cat -u stackcron | jq -cR 'fromjson? | {wanted}'\n"
    )
}
