//! The meaning of an answer to run_now. Whether to try again is decided in `dispatch/`.

use serde_json::Value;

use super::action::Action;
use super::envelope::{Envelope, says_throttled};
use super::html;
use super::masking::masked_and_cut;
use crate::quota::ThrottleWords;

/// The outcome of one attempt to run a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The API returned an action: the job runs.
    Started(Box<Action>),
    /// The API refused for good. Sending it again would bring the same.
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The API's own words.
        error: String,
        /// The likely cause, and what to do.
        hint: String,
    },
    /// Something in front of the API refused: no JSON, and none of the API's headers. Nothing was
    /// started, and the API may take the request later.
    NotFromApi {
        /// The HTTP status.
        status: u16,
        /// The answer that came instead of one of the API.
        error: String,
    },
    /// The request was refused for want of quota, or by a limit on bursts. Nothing was started.
    Throttled {
        /// The HTTP status: 503 or 429.
        status: u16,
        /// Tells whether the API itself says that its quota is spent.
        words: ThrottleWords,
    },
    /// The request can never be written: its arguments are too long, or its address is none.
    /// Nothing was sent, and nothing will be.
    Unsendable {
        /// Why the request cannot be written, and the remedy.
        error: String,
    },
    /// No byte of it reached the API. Sending it again is safe.
    NotSent {
        /// The error of the connection.
        error: String,
    },
    /// Nothing tells whether the attempt started the job.
    InDoubt {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// The error that leaves the attempt in doubt.
        error: String,
    },
}

/// The longest part of an answer that is repeated in the log, in characters.
const LONGEST_QUOTE: usize = 300;

/// Characters of a page's title that are repeated in the log.
const LONGEST_TITLE: usize = 100;

/// Reads the answer to run_now.
///
/// Statuses and bodies are as in the vendor's pages on errors. The same 503 means that the quota is
/// spent, that a feature is not there, or, from a proxy, an outage: the body tells them apart.
///
/// `args` are masked in the words that are quoted.
pub(crate) fn classify(envelope: &Envelope, body: &[u8], args: Option<&str>) -> Outcome {
    let status = envelope.status;
    let quote = |json: Option<&Value>| quote(json, body, args);
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let id = json.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    match (status, id) {
        (200..=299, _) => match json.and_then(Action::from_json) {
            Some(action) => Outcome::Started(Box::new(action)),
            None => Outcome::InDoubt {
                status: Some(status),
                error: format!("the answer has no action: {}", quote(None)),
            },
        },
        (429 | 503, Some("throttled")) => Outcome::Throttled { status, words: ThrottleWords::OfTheApi },
        (503, Some("not_implemented")) => {
            Outcome::Rejected { status, error: quote(json.as_ref()), hint: hint(envelope) }
        }
        (503, _) if envelope.reason_throttled || says_so(body) => {
            Outcome::Throttled { status, words: ThrottleWords::OfTheApi }
        }
        (429, _) => Outcome::Throttled { status, words: ThrottleWords::Absent },
        // The API gave up on a request that it had taken in.
        (408, _) | (500..=599, _) => Outcome::InDoubt { status: Some(status), error: quote(json.as_ref()) },
        (400..=499, _) if json.is_none() && !envelope.of_the_api => Outcome::NotFromApi {
            status,
            error: format!("the answer does not come from the API: {}", quote(None)),
        },
        _ => Outcome::Rejected { status, error: quote(json.as_ref()), hint: hint(envelope) },
    }
}

/// Returns true when a body that is neither JSON nor HTML has the word `throttled`. An HTML page
/// may have the word in its prose.
fn says_so(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    !text.starts_with(['<', '{', '[']) && says_throttled(text)
}

/// Returns the likely cause of a refusal and its remedy.
fn hint(envelope: &Envelope) -> String {
    let hint = match envelope.status {
        300..=399 if let Some(to) = &envelope.location => {
            return format!(
                "the API answered with a redirect to {to}, which is never followed: set the account's `url` to where the API is"
            );
        }
        300..=399 => {
            "the API answered with a redirect, which is never followed: set the account's `url` to where the API is"
        }
        401 => "the token was not accepted: check the account's `token`; it may have been revoked",
        402 => "the Cloud 66 account's trial has ended: renew it",
        403 if envelope.nothing_left => {
            "either the token may not do this, or the quota is spent (X-RateLimit-Remaining: 0): see whether requests \
             pass once the hour has turned; if not, give the token the scopes public and jobs (or admin), and its user \
             access to the stack"
        }
        403 => {
            "the token may not do this: give it the scopes public and jobs (or admin), and its user access to the stack"
        }
        404 => "no such stack or job: compare the entry's `stack` and `job` with the uids in Cloud 66",
        409 => "the job cannot run in its present state: see the stack in Cloud 66",
        422 => "the API did not accept the request: check `args` and the job's type",
        503 => "the API does not offer this for the stack or job",
        _ => "the API will not take this request: see its message",
    };
    hint.to_owned()
}

/// Returns the API's most exact words, or else the body, cut to a bounded length.
fn quote(json: Option<&Value>, body: &[u8], args: Option<&str>) -> String {
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
        let titled = html::title(&text).map_or(String::new(), |title| {
            format!(" titled \"{}\"", masked_and_cut(args, &title, LONGEST_TITLE))
        });
        return format!(
            "an HTML page{titled} instead of the API's answer: something between here and the API failed"
        );
    }
    masked_and_cut(args, &text, LONGEST_QUOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Started(_) => "started",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unsendable { .. } => "unsendable",
            Outcome::NotFromApi { .. } => "not from the API",
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
            (402, "", "not from the API"),
            (403, "<html>", "not from the API"),
            (404, r#"{"error":"not_found"}"#, "rejected"),
            (408, r#"{"error":"time_out"}"#, "in doubt"),
            (409, r#"{"error":"conflict"}"#, "rejected"),
            (404, "<html>", "not from the API"),
            (429, "", "throttled"),
            (500, "", "in doubt"),
            (502, "<html>bad gateway</html>", "in doubt"),
            (503, r#"{"error":"throttled"}"#, "throttled"),
            (503, "throttled: retry in the next hourly interval", "throttled"),
            (503, "<html>this page was throttled</html>", "in doubt"),
            (503, r#"{"error":"not_implemented"}"#, "rejected"),
            (503, "<html>maintenance</html>", "in doubt"),
            (504, "", "in doubt"),
        ] {
            let outcome = classify(&Envelope { status, ..Envelope::default() }, body.as_bytes(), None);
            assert_eq!(status_of(&outcome), expected, "{status} with {body:?} gave {outcome:?}");
        }
    }

    #[test]
    fn the_most_exact_words_are_quoted() {
        let body = br#"{"error":"not_found","error_description":"Not found","details":"No job with uid 7"}"#;
        let Outcome::Rejected { error, hint, .. } =
            classify(&Envelope { status: 404, ..Envelope::default() }, body, None)
        else {
            panic!("404 is a refusal");
        };
        assert_eq!(error, "No job with uid 7");
        assert!(hint.contains("uids"), "a 404 points at the uids: {hint}");
    }

    #[test]
    fn a_long_answer_is_cut_and_a_page_is_not_repeated() {
        assert_eq!(quote(None, "é".repeat(5000).as_bytes(), None).chars().count(), LONGEST_QUOTE + 1);
        assert!(!quote(None, b"<html><script>", None).contains("script"));
        let page = b"<html><head><title>502 Bad Gateway</title>";
        assert!(quote(None, page, None).starts_with("an HTML page titled \"502 Bad Gateway\" instead"));
    }

    #[test]
    fn the_word_throttled_in_the_reason_phrase_counts() {
        let envelope =
            Envelope { status: 503, ..Envelope::default() }.with_reason(Some(b"Service Throttled"));
        assert_eq!(status_of(&classify(&envelope, b"", None)), "throttled");
    }

    #[test]
    fn a_403_with_nothing_left_names_both_causes() {
        let envelope = Envelope { status: 403, of_the_api: true, nothing_left: true, ..Envelope::default() };
        let Outcome::Rejected { hint, .. } = classify(&envelope, b"", None) else { panic!("a refusal") };
        assert!(hint.contains("scopes") && hint.contains("quota"), "{hint}");
    }

    #[test]
    fn args_that_the_api_echoes_past_the_cut_are_masked() {
        let args = "x".repeat(LONGEST_QUOTE * 2);
        let echoed = format!(r#"{{"error":"bad_request","details":"not understood: {args}"}}"#);
        let envelope = Envelope { status: 400, ..Envelope::default() };
        let Outcome::Rejected { error, .. } = classify(&envelope, echoed.as_bytes(), Some(&args)) else {
            panic!("a refusal")
        };
        assert_eq!(error, "not understood: [args]");
    }
}
