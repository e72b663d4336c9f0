//! The jobs of a stack.

use serde_json::{Map, Value};

use super::client::Client;
use super::pages::{Listed, PageNumber, number, text, truth};
use super::reply::Reply;
use crate::schedule::StackUid;

/// A job, as the list of a stack's jobs tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The uid, which names the job in run_now. It stays text even if it looks like a number.
    pub uid: String,
    /// The name for people. The uid where the job has no name.
    pub name: String,
    /// The job's type, such as `RakeJob`.
    pub kind: Option<String>,
    /// The job's own cron expression at Cloud 66, as it is written there.
    pub cron: Option<String>,
    /// True while the job is paused at Cloud 66. A record without the field is of a job that is not
    /// paused.
    pub paused: bool,
    /// State of the last run.
    pub status: Option<JobStatus>,
    /// The fields of the job's type, such as `task` or `command`.
    pub params: Map<String, Value>,
}

/// State of the last run of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// The job was changed, and has not run since.
    Updated,
    /// The job runs.
    Started,
    /// The last run ended with success.
    Success,
    /// The last run ended without success.
    Failed,
}

impl JobStatus {
    /// Returns the API's word for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Updated => "updated",
            JobStatus::Started => "started",
            JobStatus::Success => "success",
            JobStatus::Failed => "failed",
        }
    }

    /// Documented as a number from 0 to 3, seen also as the word.
    pub(super) fn read(value: &Value) -> Option<JobStatus> {
        let all = [JobStatus::Updated, JobStatus::Started, JobStatus::Success, JobStatus::Failed];
        if let Some(number) = number(value) {
            return all.get(usize::try_from(number).ok()?).copied();
        }
        let word = value.as_str()?;
        all.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

impl Job {
    /// Reads a job. `None` where it has no uid: nothing can be done with it.
    fn read(mut fields: Map<String, Value>) -> Option<Job> {
        let uid = text(&fields, "uid")?;
        let params = match fields.remove("params") {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        Some(Job {
            name: text(&fields, "name").unwrap_or_else(|| uid.clone()),
            kind: text(&fields, "type"),
            cron: text(&fields, "cron").map(|cron| cron.trim().to_owned()).filter(|cron| !cron.is_empty()),
            paused: fields.get("paused").and_then(truth).unwrap_or(false),
            status: fields.get("status").and_then(JobStatus::read),
            params,
            uid,
        })
    }
}

impl Client {
    /// Asks for a page of a stack's jobs.
    pub async fn jobs(&self, stack: &StackUid, number: PageNumber) -> Reply<Listed<Job>> {
        self.page(&["stacks", stack.as_str(), "jobs"], number, Job::read).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(job: Value) -> Option<Job> {
        let Value::Object(fields) = job else { panic!("an object: {job}") };
        Job::read(fields)
    }

    #[test]
    fn the_documented_job_is_read() {
        let job = read(json!({"uid":"98ee5a9b93919d9b63bd5377636675bd","name":"rake_test","type":"RakeJob",
            "cron":null,"status":2,"params":{"task":"db:migrate"},"created_at":"2016-02-01 13:37:07 UTC",
            "updated_at":"2016-02-01 13:37:07 UTC"}))
        .expect("a job");
        assert_eq!((job.name.as_str(), job.kind.as_deref()), ("rake_test", Some("RakeJob")));
        assert_eq!((job.cron, job.paused, job.status), (None, false, Some(JobStatus::Success)));
        assert_eq!(job.params["task"], "db:migrate");
    }

    #[test]
    fn retyped_fields_are_understood_and_missing_ones_are_no_matter() {
        let job =
            read(json!({"uid": 5999, "paused": "true", "status": "3", "cron": " */72 * * * * ", "name": 12}))
                .expect("a job");
        assert_eq!((job.uid.as_str(), job.name.as_str(), job.paused), ("5999", "12", true));
        assert_eq!(job.cron.as_deref(), Some("*/72 * * * *"));
        assert_eq!(job.status, Some(JobStatus::Failed));
        let bare = read(json!({"uid": "j", "cron": "", "paused": null, "status": "Success"})).expect("a job");
        assert_eq!((bare.name.as_str(), bare.cron, bare.paused), ("j", None, false));
        assert_eq!(bare.status, Some(JobStatus::Success));
        for status in [json!(4), json!("odd"), json!([2]), json!(null)] {
            assert_eq!(read(json!({"uid": "j", "status": status})).expect("a job").status, None);
        }
        assert_eq!(read(json!({"name": "no uid"})), None);
    }
}
