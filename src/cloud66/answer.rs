//! What an answer to run_now means. Whether to try again is for others to decide.

use serde_json::Value;

use super::action::Action;
use super::html;

/// What became of one attempt to run a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The API returned an action: the job runs.
    Started(Box<Action>),
    /// The API refused for good. Sending it again would bring the same.
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What the API said.
        error: String,
        /// The likely cause, and what to do.
        hint: &'static str,
    },
    /// The quota is spent. Nothing was started.
    Throttled {
        /// The HTTP status: 503 or 429.
        status: u16,
    },
    /// No byte of it reached the API. Sending it again is safe.
    NotSent {
        /// What went wrong on the way.
        error: String,
    },
    /// It may have started the job or not.
    InDoubt {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// What is known.
        error: String,
    },
}

/// The longest part of an answer that is repeated in the log, in characters.
const LONGEST_QUOTE: usize = 300;

/// Reads the answer to run_now.
///
/// Statuses and bodies are as in the vendor's pages on errors. The same 503 means that the quota is spent,
/// that a feature is not there, or, from a proxy, an outage: the body tells them apart.
pub fn classify(status: u16, body: &[u8]) -> Outcome {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let id = json.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    match (status, id) {
        (200..=299, _) => match json.and_then(Action::from_json) {
            Some(action) => Outcome::Started(Box::new(action)),
            None => Outcome::InDoubt {
                status: Some(status),
                error: format!("the answer has no action: {}", quote(None, body)),
            },
        },
        (429, _) | (503, Some("throttled")) => Outcome::Throttled { status },
        (503, Some("not_implemented")) => rejected(status, json.as_ref(), body),
        // The API gave up on a request that it had taken in.
        (408, _) | (500..=599, _) => {
            Outcome::InDoubt { status: Some(status), error: quote(json.as_ref(), body) }
        }
        _ => rejected(status, json.as_ref(), body),
    }
}

fn rejected(status: u16, json: Option<&Value>, body: &[u8]) -> Outcome {
    Outcome::Rejected { status, error: quote(json, body), hint: hint(status) }
}

/// What most likely causes a refusal, and what to do about it.
fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => {
            "the API answered with a redirect, which is never followed: set the account's `url` to where the API is"
        }
        401 => "the token was not accepted: check the account's `token`; it may have been revoked",
        402 => "the Cloud 66 account's trial has ended: renew it",
        403 => {
            "the token may not do this: give it the scopes public and jobs (or admin), and its user access to the stack"
        }
        404 => "no such stack or job: compare the entry's `stack` and `job` with the uids in Cloud 66",
        409 => "the job cannot run in its present state: see the stack in Cloud 66",
        422 => "the API did not accept the request: check `args` and the job's type",
        503 => "the API does not offer this for the stack or job",
        _ => "the API will not take this request: see its message",
    }
}

/// What the API said: its most exact words, or what else came, shortened.
fn quote(json: Option<&Value>, body: &[u8]) -> String {
    let said =
        |key| json.and_then(|body| body.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = match said("details").or(said("error_description")).or(said("error")) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if text.is_empty() {
        return "an empty answer".to_owned();
    }
    if text.starts_with('<') {
        let titled = html::title(&text).map_or(String::new(), |title| format!(" titled \"{title}\""));
        return format!(
            "an HTML page{titled} instead of the API's answer: something between here and the API failed"
        );
    }
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Started(_) => "started",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Throttled { .. } => "throttled",
            Outcome::NotSent { .. } => "not sent",
            Outcome::InDoubt { .. } => "in doubt",
        }
    }

    #[test]
    fn each_class_of_answer_is_told_from_the_others() {
        for (status, body, expected) in [
            (200, r#"{"response":{"id":1}}"#, "started"),
            (201, r#"{"id":1}"#, "started"),
            (200, r#"{"response":{}}"#, "started"),
            (200, "", "in doubt"),
            (200, "<html>", "in doubt"),
            (200, r#"{"response":null}"#, "in doubt"),
            (204, "", "in doubt"),
            (301, "", "rejected"),
            (307, "", "rejected"),
            (400, r#"{"error":"bad_request"}"#, "rejected"),
            (401, r#"{"error":"unauthenticated"}"#, "rejected"),
            (402, "", "rejected"),
            (403, "<html>", "rejected"),
            (404, r#"{"error":"not_found"}"#, "rejected"),
            (408, r#"{"error":"time_out"}"#, "in doubt"),
            (409, "", "rejected"),
            (422, "", "rejected"),
            (429, "", "throttled"),
            (500, "", "in doubt"),
            (502, "<html>bad gateway</html>", "in doubt"),
            (503, r#"{"error":"throttled"}"#, "throttled"),
            (503, r#"{"error":"not_implemented"}"#, "rejected"),
            (503, "<html>maintenance</html>", "in doubt"),
            (504, "", "in doubt"),
        ] {
            let outcome = classify(status, body.as_bytes());
            assert_eq!(status_of(&outcome), expected, "{status} with {body:?} gave {outcome:?}");
        }
    }

    #[test]
    fn the_most_exact_words_are_quoted() {
        let body = br#"{"error":"not_found","error_description":"Not found","details":"No job with uid 7"}"#;
        let Outcome::Rejected { error, hint, .. } = classify(404, body) else {
            panic!("404 is a refusal");
        };
        assert_eq!(error, "No job with uid 7");
        assert!(hint.contains("uids"), "a 404 points at the uids: {hint}");
    }

    #[test]
    fn a_long_answer_is_cut_and_a_page_is_not_repeated() {
        assert_eq!(quote(None, "é".repeat(5000).as_bytes()).chars().count(), LONGEST_QUOTE + 1);
        assert!(!quote(None, b"<html><script>").contains("script"));
        let page = b"<html><head><title>502 Bad Gateway</title>";
        assert!(quote(None, page).starts_with("an HTML page titled \"502 Bad Gateway\" instead"));
    }
}
