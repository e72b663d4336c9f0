//! Reads whether a stack deploys or is in maintenance, and whether a job is paused.
//!
//! The API writes numbers as numbers or as text, and leaves fields out. A field that is absent or
//! cannot be read says nothing, and what says nothing keeps nothing back.

use serde_json::{Map, Value};

use super::answer::{Outcome, classify};
use super::call::Call;
use super::client::{Client, describe};
use super::pages::truth;
use super::reply::{BodyError, Head, Reply, throttled};
use super::stacks;
use crate::occurrence::Reason;
use crate::schedule::{JobUid, StackUid};

/// Why a job should not be run now. The first that holds is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// A deployment of the stack is under way, during which jobs fail.
    Deploying,
    /// Somebody has put the stack into maintenance mode.
    Maintenance,
    /// Somebody has paused the job in Cloud 66.
    PausedRemotely,
}

impl Obstacle {
    /// The obstacle that a reason names.
    pub fn of(reason: Reason) -> Option<Obstacle> {
        match reason {
            Reason::Deploying => Some(Obstacle::Deploying),
            Reason::Maintenance => Some(Obstacle::Maintenance),
            Reason::PausedRemotely => Some(Obstacle::PausedRemotely),
            _ => None,
        }
    }
}

impl From<Obstacle> for Reason {
    fn from(obstacle: Obstacle) -> Reason {
        match obstacle {
            Obstacle::Deploying => Reason::Deploying,
            Obstacle::Maintenance => Reason::Maintenance,
            Obstacle::PausedRemotely => Reason::PausedRemotely,
        }
    }
}

/// The result of a look at a stack or a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// The answer. `None`: it tells of no obstacle.
    Seen(Option<Obstacle>),
    /// No answer that can be read.
    Unanswered {
        /// Why there is no usable answer.
        error: String,
    },
}

/// The kind of thing that a look asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookKind {
    Stack,
    Job,
}

impl Client {
    /// Looks at a stack, or at one of its jobs.
    pub async fn look(&self, stack: &StackUid, job: Option<&JobUid>) -> Reply<Looked> {
        let (call, kind) = match job {
            Some(job) => (Call::job(&self.base, stack, job), LookKind::Job),
            None => (Call::stack(&self.base, stack), LookKind::Stack),
        };
        match self.send(call).await {
            Ok((head, body)) => head.of_look(body, kind),
            Err(error) => Reply::unanswered(Looked::Unanswered { error: describe(error) }),
        }
    }
}

impl Head {
    /// The reply to a look.
    pub(crate) fn of_look(self, body: Result<Vec<u8>, BodyError>, kind: LookKind) -> Reply<Looked> {
        let class = match &body {
            Ok(body) => classify(&self.envelope, body, None),
            Err(error) => self.unread(error),
        };
        let quota = Some(self.answer(throttled(&class)));
        let is_success = (200..300).contains(&self.envelope.status);
        let fields = body.ok().filter(|_| is_success).and_then(|body| fields(&body));
        let outcome = match (fields, class) {
            (Some(fields), _) => Looked::Seen(obstacle(&fields, kind)),
            (None, Outcome::Rejected { status, error, .. } | Outcome::NotFromApi { status, error }) => {
                Looked::Unanswered { error: format!("{status}: {error}") }
            }
            (None, Outcome::InDoubt { status: Some(status), error }) if !is_success => {
                Looked::Unanswered { error: format!("{status}: {error}") }
            }
            (
                None,
                Outcome::InDoubt { error, .. } | Outcome::NotSent { error } | Outcome::Unsendable { error },
            ) => Looked::Unanswered { error },
            (None, Outcome::Throttled { .. }) => {
                Looked::Unanswered { error: "the quota is spent".to_owned() }
            }
            (None, Outcome::Started(_)) => {
                Looked::Unanswered { error: "the answer has no such stack or job".to_owned() }
            }
        };
        Reply { quota, warning: self.warning, left: None, outcome }
    }
}

/// The fields of what an answer holds, wrapped in `response` or bare.
fn fields(body: &[u8]) -> Option<Map<String, Value>> {
    let Value::Object(mut fields) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    match fields.remove("response") {
        Some(Value::Object(inner)) => Some(inner),
        Some(_) => None,
        None => Some(fields),
    }
}

fn obstacle(fields: &Map<String, Value>, kind: LookKind) -> Option<Obstacle> {
    let is_so = |field: &str| fields.get(field).and_then(truth) == Some(true);
    match kind {
        LookKind::Stack if fields.get("status").is_some_and(stacks::is_deploying) => {
            Some(Obstacle::Deploying)
        }
        LookKind::Stack => is_so("maintenance_mode").then_some(Obstacle::Maintenance),
        LookKind::Job => is_so("paused").then_some(Obstacle::PausedRemotely),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn look(status: u16, body: &str, kind: LookKind) -> Looked {
        let head = Head::read(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH);
        head.of_look(Ok(body.as_bytes().to_vec()), kind).outcome
    }

    #[test]
    fn a_stack_and_a_job_tell_of_obstacles_however_they_write_them() {
        use Obstacle::{Deploying, Maintenance, PausedRemotely};
        for (kind, fields, expected) in [
            (LookKind::Stack, json!({"status": 1, "maintenance_mode": false}), None),
            (LookKind::Stack, json!({"status": 5}), Some(Deploying)),
            (LookKind::Stack, json!({"status": "6"}), Some(Deploying)),
            (LookKind::Stack, json!({"status": 6, "maintenance_mode": true}), Some(Deploying)),
            (LookKind::Stack, json!({"status": 1, "maintenance_mode": "true"}), Some(Maintenance)),
            (LookKind::Stack, json!({"maintenance_mode": 1}), Some(Maintenance)),
            (LookKind::Stack, json!({"status": null, "maintenance_mode": null}), None),
            (LookKind::Stack, json!({"status": "odd", "maintenance_mode": []}), None),
            (LookKind::Stack, json!({"paused": true}), None),
            (LookKind::Stack, json!({}), None),
            (LookKind::Job, json!({"uid": "j", "paused": true}), Some(PausedRemotely)),
            (LookKind::Job, json!({"paused": "true"}), Some(PausedRemotely)),
            (LookKind::Job, json!({"paused": false}), None),
            (LookKind::Job, json!({"uid": "j", "status": 5}), None),
        ] {
            for body in [json!({ "response": fields }), fields] {
                assert_eq!(look(200, &body.to_string(), kind), Looked::Seen(expected), "{body}");
            }
        }
    }

    #[test]
    fn what_is_no_stack_and_no_job_is_no_answer() {
        for (status, body) in [
            (200, "<html>"),
            (200, ""),
            (200, "[]"),
            (200, r#"{"response":null}"#),
            (200, r#"{"response":[{"status":5}]}"#),
            (404, r#"{"error":"not_found"}"#),
            (502, "<html>"),
            (503, r#"{"error":"throttled"}"#),
        ] {
            for kind in [LookKind::Stack, LookKind::Job] {
                let looked = look(status, body, kind);
                assert!(matches!(looked, Looked::Unanswered { .. }), "{status} {body}: {looked:?}");
            }
        }
    }

    #[test]
    fn each_obstacle_is_a_reason() {
        for obstacle in [Obstacle::Deploying, Obstacle::Maintenance, Obstacle::PausedRemotely] {
            assert_eq!(Obstacle::of(obstacle.into()), Some(obstacle));
        }
        assert_eq!(Obstacle::of(Reason::Quota), None);
    }
}
