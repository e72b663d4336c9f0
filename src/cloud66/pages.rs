//! Lists that the API gives page by page.
//!
//! A page is read as it comes: wrapped in `response` or bare, numbers as numbers or as text. An
//! item that cannot be used is left out and stops nothing.

use reqwest::Method;
use serde_json::{Map, Value};

use super::action::Action;
use super::answer::{Outcome, classify};
use super::call::{Call, address};
use super::client::{Client, failed};
use super::envelope::Envelope;
use super::reply::{BodyError, Head, Reply};
use crate::quota::ThrottleWords;
use crate::schedule::StackUid;

/// The number of a page, from 1.
pub type PageNumber = u64;

/// Some items of a list, and where it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The items in the API's order.
    pub items: Vec<T>,
    /// The page that follows. `None` on the last one.
    pub next: Option<PageNumber>,
}

/// The outcome of asking for a page. A question has no effect, so that everything but a refusal may
/// be asked again.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed<T> {
    /// The page.
    Page(Page<T>),
    /// The API refused for good. Asking again would bring the same.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The API's own words.
        error: String,
    },
    /// An answer that is no page of a list: most likely the account's `url` is not the API's.
    Unreadable {
        /// The fault of the answer.
        error: String,
    },
    /// The quota is spent.
    Throttled(ThrottleWords),
    /// No byte of the request reached the API.
    NotSent {
        /// The error of the connection.
        error: String,
    },
    /// The API failed, or its answer did not come.
    Failed {
        /// The error.
        error: String,
    },
}

impl Client {
    /// Asks for one page of the list at a path.
    pub(super) async fn page<T>(
        &self,
        path: &[&str],
        number: PageNumber,
        read: impl Fn(Map<String, Value>) -> Option<T>,
    ) -> Reply<Listed<T>> {
        let mut url = address(&self.base, path);
        url.set_query(Some(&format!("page={number}")));
        match self.send(Call { method: Method::GET, url, body: None }).await {
            Ok((head, body)) => head.of_page(body, number, read),
            Err(error) => Reply::unanswered(match failed(error) {
                Outcome::NotSent { error } => Listed::NotSent { error },
                Outcome::InDoubt { error, .. } => Listed::Failed { error },
                // A request without an answer has no other outcome.
                other => Listed::Failed { error: format!("{other:?}") },
            }),
        }
    }
}

impl Client {
    /// Asks for one page of the actions of a stack, as commands read them.
    pub async fn listed_actions(&self, stack: &StackUid, number: PageNumber) -> Reply<Listed<Action>> {
        let read = |fields| Action::from_json(Value::Object(fields));
        self.page(&["stacks", stack.as_str(), "actions"], number, read).await
    }
}

impl Head {
    fn of_page<T>(
        self,
        body: Result<Vec<u8>, BodyError>,
        number: PageNumber,
        read: impl Fn(Map<String, Value>) -> Option<T>,
    ) -> Reply<Listed<T>> {
        let outcome = match body {
            Ok(body) => listed(&self.envelope, &body, number, read),
            Err(error @ BodyError::TooLong { .. }) => Listed::Unreadable { error: error.to_string() },
            Err(error) => Listed::Failed { error: error.to_string() },
        };
        let quota = Some(self.answer(match outcome {
            Listed::Throttled(words) => Some(words),
            _ => None,
        }));
        Reply { quota, warning: self.warning, left: None, outcome }
    }
}

/// Reads the answer to a question for the page `number`.
fn listed<T>(
    envelope: &Envelope,
    body: &[u8],
    number: PageNumber,
    read: impl Fn(Map<String, Value>) -> Option<T>,
) -> Listed<T> {
    let status = envelope.status;
    if (200..=299).contains(&status) {
        let page = serde_json::from_slice(body).ok().and_then(|answer| page(answer, number, read));
        return page
            .map_or_else(|| Listed::Unreadable { error: "the answer is no list".to_owned() }, Listed::Page);
    }
    match classify(envelope, body, None) {
        Outcome::Throttled { words, .. } => Listed::Throttled(words),
        Outcome::Rejected { status, error, .. } | Outcome::NotFromApi { status, error } => {
            Listed::Refused { status, error }
        }
        Outcome::InDoubt { error, .. } | Outcome::NotSent { error } | Outcome::Unsendable { error } => {
            Listed::Failed { error: format!("{status}: {error}") }
        }
        // A success was read above.
        Outcome::Started(_) => Listed::Unreadable { error: "the answer is no list".to_owned() },
    }
}

fn page<T>(
    answer: Value,
    number: PageNumber,
    read: impl Fn(Map<String, Value>) -> Option<T>,
) -> Option<Page<T>> {
    let (items, next) = match answer {
        Value::Array(items) => (items, None),
        Value::Object(mut fields) => {
            let next = fields.get("pagination").and_then(|pagination| self::number(pagination.get("next")?));
            match fields.remove("response") {
                Some(Value::Array(items)) => (items, next),
                _ => return None,
            }
        }
        _ => return None,
    };
    let fields = |item| match item {
        Value::Object(fields) => read(fields),
        _ => None,
    };
    Some(Page {
        items: items.into_iter().filter_map(fields).collect(),
        // A list that leads back would be read for ever.
        next: next.filter(|next| *next > number),
    })
}

/// A text field; a number is the text of its digits. An empty text is none.
pub(super) fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    match fields.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A number, or a text that is one.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// True or false, or a text or number that says so.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Number(number) => number.as_u64().map(|number| number != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn uid(fields: Map<String, Value>) -> Option<String> {
        text(&fields, "uid")
    }

    fn read(status: u16, body: &Value) -> Listed<String> {
        listed(&Envelope { status, ..Envelope::default() }, body.to_string().as_bytes(), 2, uid)
    }

    fn one_page(items: &[&str], next: Option<PageNumber>) -> Listed<String> {
        Listed::Page(Page { items: items.iter().map(ToString::to_string).collect(), next })
    }

    #[test]
    fn a_page_names_the_next_one_as_a_number_or_as_text() {
        for (next, expected) in [
            (json!(3), Some(3)),
            (json!("3"), Some(3)),
            (json!(null), None),
            (json!(""), None),
            (json!([3]), None),
            // The next page would be one that was read before.
            (json!(2), None),
            (json!(1), None),
        ] {
            let body = json!({"response": [{"uid": "a"}], "count": 1, "pagination": {"next": next}});
            assert_eq!(read(200, &body), one_page(&["a"], expected), "{body}");
        }
    }

    #[test]
    fn a_list_comes_wrapped_or_bare_and_bad_items_are_left_out() {
        let items = json!([{"uid": "a"}, 7, {"uid": 7}, {"name": "no uid"}, null, {"uid": ""}]);
        assert_eq!(read(200, &items), one_page(&["a", "7"], None));
        assert_eq!(read(200, &json!({ "response": items })), one_page(&["a", "7"], None));
        assert_eq!(read(200, &json!({"response": []})), one_page(&[], None));
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100..600u16, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = listed(&Envelope { status, ..Envelope::default() }, &body, 1, uid);
        }

        #[test]
        fn no_json_panics(body in "[\\[\\]{}:,\"a-z0-9 ]{0,100}|\\{\"response\":\\[[0-9,{}\"uid:]{0,40}\\],\"pagination\":.{0,20}\\}") {
            let _ = listed(&Envelope { status: 200, ..Envelope::default() }, body.as_bytes(), 1, uid);
        }
    }

    #[test]
    fn what_is_no_list_is_told_from_a_refusal_and_from_a_failure() {
        for (status, body, expected) in [
            (200, &b"<html>"[..], "Unreadable"),
            (200, b"", "Unreadable"),
            (200, br#"{"response":null}"#, "Unreadable"),
            (200, br#"{"ok":true}"#, "Unreadable"),
            (401, b"", "Refused"),
            (403, b"<html>", "Refused"),
            (404, br#"{"error":"not_found"}"#, "Refused"),
            (307, b"", "Refused"),
            (408, b"", "Failed"),
            (429, b"", "Throttled"),
            (503, br#"{"error":"throttled"}"#, "Throttled"),
            (503, br#"{"error":"not_implemented"}"#, "Refused"),
            (503, b"<html>", "Failed"),
            (500, b"", "Failed"),
        ] {
            let read = format!("{:?}", listed(&Envelope { status, ..Envelope::default() }, body, 1, uid));
            assert!(read.starts_with(expected), "{status} with {body:?} is {expected}, not {read}");
        }
    }
}
