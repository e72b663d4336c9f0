//! The bodies of answers, field by field as the vendor documents them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::http::SandboxReply;

/// Items on a page of any list.
pub(super) const PER_PAGE: usize = 30;

#[derive(Serialize)]
pub(super) struct Wrapped<T> {
    pub response: T,
}

#[derive(Serialize)]
pub(super) struct ListPage<T> {
    response: Vec<T>,
    count: usize,
    pagination: Pagination,
}

#[derive(Serialize)]
struct Pagination {
    previous: Option<usize>,
    next: Option<usize>,
    current: usize,
    per_page: usize,
    count: usize,
    pages: usize,
}

impl<T> ListPage<T> {
    /// The page `current`, from 1, of the `count` items that `item` gives by their place.
    pub(super) fn of(current: usize, count: usize, item: impl FnMut(usize) -> T) -> ListPage<T> {
        let pages = count.div_ceil(PER_PAGE).max(1);
        let first = current.saturating_sub(1).saturating_mul(PER_PAGE).min(count);
        let last = first.saturating_add(PER_PAGE).min(count);
        let response: Vec<T> = (first..last).map(item).collect();
        ListPage {
            count: response.len(),
            response,
            pagination: Pagination {
                previous: (current > 1).then(|| current - 1),
                next: (current < pages).then(|| current + 1),
                current,
                per_page: PER_PAGE,
                count,
                pages,
            },
        }
    }
}

#[derive(Serialize)]
pub(super) struct StackBody<'a> {
    pub uid: &'a str,
    pub name: &'a str,
    pub environment: &'a str,
    pub status: u8,
    pub health: u8,
    pub maintenance_mode: bool,
    pub account_id: u64,
    pub account_name: &'a str,
    pub created_at_iso: String,
    pub updated_at_iso: String,
}

#[derive(Serialize)]
pub(super) struct JobBody<'a> {
    pub uid: &'a str,
    pub name: &'a str,
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub cron: Option<&'a str>,
    pub status: u8,
    pub paused: bool,
    pub params: &'a Map<String, Value>,
    pub created_at: String,
    pub updated_at: String,
}

#[derive(Serialize)]
pub(super) struct ActionBody<'a> {
    pub id: u64,
    pub user: &'a str,
    pub resource_type: &'static str,
    pub action: &'static str,
    /// The stack's database number, as a string.
    pub resource_id: String,
    pub started_via: &'static str,
    pub started_at: String,
    pub finished_at: Option<String>,
    pub finished_success: Option<bool>,
    pub finished_message: Option<&'static str>,
    /// Always null: the vendor does not say what else it can be.
    pub finished_result: Option<&'static str>,
    /// Always empty.
    pub metadata: Map<String, Value>,
}

/// The answer to a ping, as the vendor's client reads it.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Pong {
    ok: bool,
    message: &'static str,
}

pub(super) const PONG: Pong = Pong { ok: true, message: "pong" };

/// The answer to a check of a token: unwrapped, as the vendor documents it, and within `response`,
/// as the vendor's client reads it.
#[derive(Serialize)]
pub(super) struct Checked {
    #[serde(flatten)]
    pub pong: Pong,
    pub response: Pong,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: &'a str,
    details: &'a str,
}

/// An error with its documented body.
pub(super) fn error(status: u16, details: &str) -> SandboxReply {
    let (error, description) = match status {
        400 => ("bad_request", "The request could not be understood"),
        401 => ("unauthenticated", "The token is missing, revoked or wrong"),
        402 => ("trial_expired", "The trial has expired"),
        403 => ("forbidden", "The token does not allow this"),
        404 => ("not_found", "The resource was not found"),
        408 => ("time_out", "The request took too long"),
        409 => ("conflict", "The resource is in use"),
        422 => ("unprocessable_entity", "The request was understood and is not valid"),
        429 => ("too_many_requests", "Too many requests"),
        501 => ("not_implemented", "This is not implemented"),
        502 => ("bad_gateway", "Bad gateway"),
        503 => ("service_unavailable", "The service is not available"),
        504 => ("gateway_timeout", "Gateway timeout"),
        status if status < 500 => ("client_error", "The request was refused"),
        _ => ("internal_server_error", "Something went wrong"),
    };
    named_error(status, error, description, details)
}

/// 503, because the quota is spent.
pub(super) fn throttled() -> SandboxReply {
    named_error(503, "throttled", "The rate limit has been reached", "Retry in the next hourly interval")
}

/// 503, because there is no such thing.
pub(super) fn not_implemented() -> SandboxReply {
    named_error(503, "not_implemented", "This is not implemented", "This call is not available for the stack")
}

fn named_error(status: u16, error: &str, error_description: &str, details: &str) -> SandboxReply {
    SandboxReply::json(status, &ErrorBody { error, error_description, details })
}

/// Formats an instant as the lists of jobs do.
pub(super) fn plain_date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Formats an instant as actions do: in whole seconds.
pub(super) fn iso_date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(current: usize, count: usize) -> String {
        serde_json::to_string(&ListPage::of(current, count, |place| place)).expect("a page")
    }

    #[test]
    fn an_empty_list_has_one_page() {
        let expected = r#"{"response":[],"count":0,"pagination":{"previous":null,"next":null,"current":1,"per_page":30,"count":0,"pages":1}}"#;
        assert_eq!(page(1, 0), expected);
    }

    #[test]
    fn following_next_meets_every_item_once() {
        for count in [1, 29, 30, 31, 60, 95] {
            let mut met = Vec::new();
            let mut next = Some(1);
            while let Some(current) = next {
                let page = ListPage::of(current, count, |place| place);
                met.extend(page.response);
                next = page.pagination.next;
            }
            assert_eq!(met, (0..count).collect::<Vec<_>>(), "{count} items");
        }
    }

    #[test]
    fn a_page_past_the_end_is_empty() {
        let past = ListPage::of(usize::MAX, 31, |place| place);
        assert_eq!((past.response.len(), past.pagination.next), (0, None));
    }

    #[test]
    fn dates_are_written_in_the_two_documented_ways() {
        let at: Timestamp = "2016-02-01T13:37:07.9Z".parse().expect("an instant");
        assert_eq!(plain_date(at), "2016-02-01 13:37:07 UTC");
        assert_eq!(iso_date(at), "2016-02-01T13:37:07Z");
    }
}
