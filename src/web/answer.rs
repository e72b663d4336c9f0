//! An answer of the API: its bytes, its ETag, and 304 where the client has it already.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::query::QueryError;
use crate::control::{LoopError, StatusError};
use crate::journal::JournalError;
use crate::schedule::entries::UnknownEntry;

/// Bytes of a digest that an ETag has: two answers of one path are never taken for one another.
const TAG_BYTES: usize = 12;

/// In seconds: when to ask again for what is still being made.
const AGAIN_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The header with the number of all records, of which an answer has a part.
const TOTAL: HeaderName = HeaderName::from_static("x-total-count");

/// An answer that is kept for every client that asks for it.
#[derive(Debug)]
pub(super) struct KeptAnswer {
    content_type: &'static str,
    body: Vec<u8>,
    tag: String,
    /// The query that goes on where this answer ends.
    next: Option<String>,
    /// Number of all records. `None`: unknown.
    total: Option<usize>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebRefusal {
    /// The query is wrong.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The schedule has no such entry.
    #[error(transparent)]
    UnknownEntry(#[from] UnknownEntry),
    /// The daemon's loop did not answer.
    #[error(transparent)]
    Ask(#[from] LoopError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal takes too long.
    #[error("the journal was not read within {0} s; see the daemon's log, and its disk or its database")]
    Hangs(u64),
    /// The answer is still being made.
    #[error("the answer is not there after {0} s, and is still being made; ask again in a moment")]
    Later(u64),
    /// As many forecasts are being made as may be.
    #[error("other forecasts are being made; ask again in a moment")]
    Busy,
    /// The answer cannot be made.
    #[error("the answer could not be made; the daemon is stopping, or has a fault")]
    Failed,
}

impl From<StatusError> for WebRefusal {
    fn from(error: StatusError) -> WebRefusal {
        match error {
            StatusError::UnknownEntry(unknown) => WebRefusal::UnknownEntry(unknown),
            StatusError::Ask(error) => WebRefusal::Ask(error),
        }
    }
}

/// An error as JSON. The keys are an interface.
#[derive(Serialize)]
struct ErrorRecord {
    error: String,
}

impl IntoResponse for WebRefusal {
    fn into_response(self) -> Response {
        let status = match self {
            WebRefusal::Query(_) => StatusCode::BAD_REQUEST,
            WebRefusal::UnknownEntry(_) => StatusCode::NOT_FOUND,
            // Not an error: a browser would tell one in its console.
            WebRefusal::Later(_) => StatusCode::ACCEPTED,
            WebRefusal::Ask(_) | WebRefusal::Journal(_) | WebRefusal::Hangs(_) | WebRefusal::Busy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            WebRefusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, axum::Json(ErrorRecord { error: self.to_string() })).into_response();
        if matches!(self, WebRefusal::Later(_) | WebRefusal::Busy) {
            response.headers_mut().insert(header::RETRY_AFTER, AGAIN_AFTER);
        }
        response
    }
}

impl KeptAnswer {
    /// Records as JSON. `same`: what is equal as long as the answer tells nothing new, if it is not
    /// the answer itself.
    pub(super) fn json<S: Serialize>(
        records: &impl Serialize,
        same: Option<&S>,
    ) -> Result<KeptAnswer, WebRefusal> {
        let body = serde_json::to_vec(records).map_err(|_| WebRefusal::Failed)?;
        let same = same.map(serde_json::to_vec).transpose().map_err(|_| WebRefusal::Failed)?;
        let tag = tag(same.as_deref().unwrap_or(&body));
        Ok(KeptAnswer { content_type: "application/json", body, tag, next: None, total: None })
    }

    /// Records that a command has printed, one a line, as an array.
    pub(super) fn lines(lines: &[u8]) -> KeptAnswer {
        let mut body = Vec::with_capacity(lines.len() + 2);
        body.push(b'[');
        for (place, line) in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            if place > 0 {
                body.extend_from_slice(b",\n");
            }
            body.extend_from_slice(line);
        }
        body.push(b']');
        KeptAnswer::bytes("application/json", body)
    }

    /// An answer of another kind.
    pub(super) fn bytes(content_type: &'static str, body: Vec<u8>) -> KeptAnswer {
        let tag = tag(&body);
        KeptAnswer { content_type, body, tag, next: None, total: None }
    }

    /// The bytes of its body.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    /// Tells the query that goes on where this answer ends.
    pub(super) fn followed_by(self, next: Option<String>) -> KeptAnswer {
        KeptAnswer { next, ..self }
    }

    /// Tells how many records there are in all.
    pub(super) fn of(self, total: usize) -> KeptAnswer {
        KeptAnswer { total: Some(total), ..self }
    }

    /// The answer to a request with these headers.
    pub(super) fn respond(self: &Arc<KeptAnswer>, headers: &HeaderMap) -> Response {
        let mut response = match is_known(&self.tag, headers) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(header::CONTENT_TYPE, self.content_type)], self.body.clone()).into_response(),
        };
        let next = self.next.as_ref().map(|next| format!("<?{next}>; rel=\"next\""));
        let told = [
            (header::ETAG, Some(self.tag.clone())),
            (header::LINK, next),
            (TOTAL, self.total.map(|total| total.to_string())),
        ];
        for (name, value) in told {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A weak ETag: what is equal in all that matters has the same.
fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// Returns true when the client has the version that this tag names.
fn is_known(tag: &str, headers: &HeaderMap) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|known| known.trim() == "*" || strong(known) == strong(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let answer = Arc::new(KeptAnswer::lines(b"{\"a\":1}\n{\"a\":2}\n"));
        assert_eq!(answer.body, b"[{\"a\":1},\n{\"a\":2}]");
        let ask = |known: &str| {
            let headers = HeaderMap::from_iter([(
                header::IF_NONE_MATCH,
                HeaderValue::from_str(known).expect("a value"),
            )]);
            answer.respond(&headers).status()
        };
        let strong = answer.tag.trim_start_matches("W/").to_owned();
        for known in [answer.tag.clone(), strong, "*".to_owned(), format!("\"x\", {}", answer.tag)] {
            assert_eq!(ask(&known), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(ask("\"x\""), StatusCode::OK);
        assert_eq!(KeptAnswer::lines(b"").body, b"[]");
    }
}
