//! Reads the record of a job for its last run.
//!
//! The API documents `status` and `updated_at`, and does not say whether a run moves `updated_at`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::answer::classify;
use super::call::Call;
use super::client::Client;
use super::jobs::JobStatus;
use super::reply::{BodyError, Head, Reply, throttled};
use crate::schedule::{JobUid, StackUid};

/// A job's record, as far as it tells of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobRecord {
    /// State of the last run. `None`: the record has no such field.
    pub status: Option<JobStatus>,
    /// Last change of the record, in whole seconds. `None`: the record has no such field.
    pub updated_at: Option<Timestamp>,
}

impl JobRecord {
    fn read(fields: &Map<String, Value>) -> JobRecord {
        JobRecord {
            status: fields.get("status").and_then(JobStatus::read),
            updated_at: fields.get("updated_at").and_then(Value::as_str).and_then(instant),
        }
    }
}

/// Jobs write dates as `2016-02-01 13:37:07 UTC`, actions as RFC 3339: both are read.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.strip_suffix("UTC")?.trim().parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

impl Client {
    /// Asks for a job's record. `None`: there is no answer with one.
    pub async fn job_record(&self, stack: &StackUid, job: &JobUid) -> Reply<Option<JobRecord>> {
        match self.send(Call::job(&self.base, stack, job)).await {
            Ok((head, body)) => head.of_job_record(body),
            Err(_) => Reply::unanswered(None),
        }
    }
}

impl Head {
    /// The reply to a question for a job's record.
    pub(crate) fn of_job_record(self, body: Result<Vec<u8>, BodyError>) -> Reply<Option<JobRecord>> {
        let class = match &body {
            Ok(body) => classify(&self.envelope, body, None),
            Err(error) => self.unread(error),
        };
        let quota = Some(self.answer(throttled(&class)));
        let body = body.ok().filter(|_| (200..300).contains(&self.envelope.status));
        let outcome = body.and_then(|body| record(&body));
        Reply { quota, warning: self.warning, left: None, outcome }
    }
}

/// The record in an answer, wrapped in `response` or bare.
fn record(body: &[u8]) -> Option<JobRecord> {
    let Value::Object(mut fields) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    match fields.remove("response") {
        Some(Value::Object(inner)) => Some(JobRecord::read(&inner)),
        Some(_) => None,
        None => Some(JobRecord::read(&fields)),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn a_record_is_read_however_it_is_written() {
        let at = "2016-02-01T13:37:07Z".parse().ok();
        for (status, body, expected) in [
            (
                200,
                r#"{"response":{"uid":"j","status":2,"updated_at":"2016-02-01 13:37:07 UTC"}}"#,
                Some(JobRecord { status: Some(JobStatus::Success), updated_at: at }),
            ),
            (
                200,
                r#"{"uid":"j","status":"started","updated_at":"2016-02-01T13:37:07Z"}"#,
                Some(JobRecord { status: Some(JobStatus::Started), updated_at: at }),
            ),
            (200, r#"{"response":{"uid":"j","status":9,"updated_at":"soon"}}"#, Some(JobRecord::default())),
            (200, r#"{"response":[]}"#, None),
            (200, "<html>", None),
            (404, r#"{"error":"not_found"}"#, None),
            (403, r#"{"error":"forbidden"}"#, None),
        ] {
            let head = Head::read(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH);
            assert_eq!(head.of_job_record(Ok(body.as_bytes().to_vec())).outcome, expected, "{body}");
        }
    }
}
