//! A request and its answer as values, and what the request's path means.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// Prefix of every path of the API.
pub const BASE: &str = "/api/3";

/// A request as it came, nothing decoded.
#[derive(Clone, Debug)]
pub struct SandboxRequest {
    /// GET or POST; others find nothing.
    pub method: Method,
    /// The path, percent-encoded, `/api/3` included.
    pub path: String,
    /// The query string behind the `?`, percent-encoded.
    pub query: Option<String>,
    /// The token behind `Bearer` in `Authorization`.
    pub token: Option<String>,
    /// `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Bytes,
}

impl SandboxRequest {
    /// A request without a body.
    pub fn new(method: Method, path: &str, token: &str) -> SandboxRequest {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        SandboxRequest {
            method,
            path: path.to_owned(),
            query,
            token: Some(token.to_owned()),
            content_type: None,
            body: Bytes::new(),
        }
    }

    /// Returns the endpoint and the uids that the path names.
    pub(super) fn target(&self) -> RequestTarget {
        self.find_target().unwrap_or(RequestTarget::of(Endpoint::Unknown))
    }

    fn find_target(&self) -> Option<RequestTarget> {
        let path = self.path.strip_prefix(BASE)?.strip_prefix('/')?;
        let path = path.strip_suffix(".json").unwrap_or(path);
        let segments = path.split('/').map(decode).collect::<Option<Vec<String>>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let get = self.method == Method::GET;
        let post = self.method == Method::POST;
        let target = match segments[..] {
            ["ping"] if get => RequestTarget::of(Endpoint::PublicPing),
            ["ping", "auth"] if get => RequestTarget::of(Endpoint::Ping),
            ["stacks"] if get => RequestTarget::of(Endpoint::Stacks),
            ["stacks", stack] if get => RequestTarget::of(Endpoint::Stack).stack(stack),
            ["stacks", stack, "jobs"] if get => RequestTarget::of(Endpoint::Jobs).stack(stack),
            ["stacks", stack, "jobs", "pause_all"] if post => {
                RequestTarget::of(Endpoint::PauseAll).stack(stack)
            }
            ["stacks", stack, "jobs", "unpause_all"] if post => {
                RequestTarget::of(Endpoint::UnpauseAll).stack(stack)
            }
            ["stacks", stack, "jobs", job] if get => RequestTarget::of(Endpoint::Job).stack(stack).job(job),
            ["stacks", stack, "jobs", job, verb] if post => {
                let endpoint = match verb {
                    "run_now" => Endpoint::RunNow,
                    "pause" => Endpoint::Pause,
                    "unpause" => Endpoint::Unpause,
                    _ => return None,
                };
                RequestTarget::of(endpoint).stack(stack).job(job)
            }
            ["stacks", stack, "actions"] if get => RequestTarget::of(Endpoint::Actions).stack(stack),
            ["stacks", stack, "actions", id] if get => {
                RequestTarget { action: id.parse().ok(), ..RequestTarget::of(Endpoint::Action).stack(stack) }
            }
            _ => return None,
        };
        Some(target)
    }

    /// The query parameters `filter_FIELD=VALUE`, as (field, value).
    pub(super) fn filters(&self) -> Vec<(String, String)> {
        let pairs = self.query.as_deref().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
        let decoded = pairs.filter_map(|(key, value)| Some((form_decode(key)?, form_decode(value)?)));
        decoded.filter_map(|(key, value)| Some((key.strip_prefix("filter_")?.to_owned(), value))).collect()
    }

    /// The value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form_value(self.query.as_deref()?.as_bytes(), name)
    }

    /// `job_args`, and how they came: in the query, else in a form, else in JSON.
    pub(super) fn job_args(&self) -> Result<Option<(String, ArgsFrom)>, UnreadableBody> {
        if let Some(args) = self.parameter("job_args") {
            return Ok(Some((args, ArgsFrom::Query)));
        }
        if self.body.is_empty() {
            return Ok(None);
        }
        let content_type = self.content_type.as_deref().unwrap_or("");
        match content_type.split(';').next().unwrap_or("").trim() {
            "application/x-www-form-urlencoded" => {
                Ok(form_value(&self.body, "job_args").map(|args| (args, ArgsFrom::Form)))
            }
            "application/json" => {
                #[derive(serde::Deserialize)]
                struct Body {
                    job_args: Option<String>,
                }
                let body: Body = serde_json::from_slice(&self.body).map_err(|_| UnreadableBody)?;
                Ok(body.job_args.map(|args| (args, ArgsFrom::Json)))
            }
            _ => Ok(None),
        }
    }
}

/// A JSON body that is not an object whose `job_args` is a string or null.
#[derive(Debug)]
pub(super) struct UnreadableBody;

/// The part of the request that carried the arguments of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgsFrom {
    /// `?job_args=...`
    Query,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`
    Json,
}

/// The calls that the look-alike knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET /ping`, which needs no token and costs no quota.
    PublicPing,
    /// `GET /ping/auth`
    Ping,
    /// `GET /stacks`
    Stacks,
    /// `GET /stacks/{stack}`
    Stack,
    /// `GET /stacks/{stack}/jobs`
    Jobs,
    /// `GET /stacks/{stack}/jobs/{job}`
    Job,
    /// `POST /stacks/{stack}/jobs/{job}/run_now`
    RunNow,
    /// `POST /stacks/{stack}/jobs/{job}/pause`
    Pause,
    /// `POST /stacks/{stack}/jobs/{job}/unpause`
    Unpause,
    /// `POST /stacks/{stack}/jobs/pause_all`
    PauseAll,
    /// `POST /stacks/{stack}/jobs/unpause_all`
    UnpauseAll,
    /// `GET /stacks/{stack}/actions`
    Actions,
    /// `GET /stacks/{stack}/actions/{id}`
    Action,
    /// Anything else.
    Unknown,
}

/// The endpoint and the uids that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestTarget {
    pub endpoint: Endpoint,
    pub stack: Option<String>,
    pub job: Option<String>,
    pub action: Option<u64>,
}

impl RequestTarget {
    fn of(endpoint: Endpoint) -> RequestTarget {
        RequestTarget { endpoint, stack: None, job: None, action: None }
    }

    fn stack(self, stack: &str) -> RequestTarget {
        RequestTarget { stack: Some(stack.to_owned()), ..self }
    }

    fn job(self, job: &str) -> RequestTarget {
        RequestTarget { job: Some(job.to_owned()), ..self }
    }
}

/// An answer, and how it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxReply {
    /// The HTTP status.
    pub status: u16,
    /// The headers in the order and the letter case in which they are sent, without Content-Length.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// The answer is held back this long. Its effect has happened already.
    pub delay: Duration,
    /// The part of the answer that arrives, and the pieces in which it is sent.
    pub delivery: SandboxDelivery,
}

/// The part of an answer that arrives at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxDelivery {
    /// All of it.
    Whole,
    /// All of it, byte by byte, with this pause after each.
    Dripped(Duration),
    /// The head and half of the body, then the connection is reset.
    Half,
    /// The head, then a body without end.
    Endless,
    /// Nothing: the connection is closed. What the answer would tell may have happened.
    Nothing,
}

impl SandboxReply {
    /// A JSON answer that arrives whole and at once.
    pub(super) fn json(status: u16, body: &impl Serialize) -> SandboxReply {
        SandboxReply {
            status,
            headers: vec![("Content-Type".into(), "application/json; charset=utf-8".into())],
            // The look-alike's own types have string keys and no maps of floats: they always
            // serialize.
            body: serde_json::to_vec(body).unwrap_or_default(),
            delay: Duration::ZERO,
            delivery: SandboxDelivery::Whole,
        }
    }

    /// The value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn decode(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

fn form_value(form: &[u8], name: &str) -> Option<String> {
    let form = std::str::from_utf8(form).ok()?;
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(key)? == name).then(|| form_decode(value))?
    })
}

fn form_decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, path: &str) -> RequestTarget {
        SandboxRequest::new(method, path, "t").target()
    }

    #[test]
    fn a_path_means_the_same_with_and_without_the_suffix() {
        for path in ["/api/3/stacks/S1/jobs/J1/run_now", "/api/3/stacks/S1/jobs/J1/run_now.json"] {
            let expected = RequestTarget::of(Endpoint::RunNow).stack("S1").job("J1");
            assert_eq!(target(Method::POST, path), expected, "{path}");
            assert_eq!(target(Method::GET, path).endpoint, Endpoint::Unknown, "GET {path}");
        }
    }

    #[test]
    fn uids_are_decoded_after_the_path_is_split() {
        let target = target(Method::GET, "/api/3/stacks/a%2Fb/jobs/c%20d%25");
        assert_eq!(target.stack.as_deref(), Some("a/b"));
        assert_eq!(target.job.as_deref(), Some("c d%"));
    }

    #[test]
    fn empty_segments_and_bytes_that_are_no_text_name_nothing() {
        for path in ["/api/3/stacks//jobs", "/api/3/stacks/%FF", "/api/3", "/stacks", "/api/30/stacks"] {
            assert_eq!(target(Method::GET, path).endpoint, Endpoint::Unknown, "{path}");
        }
    }

    #[test]
    fn arguments_come_by_query_form_or_json() {
        let run = |query: &str, content_type: Option<&str>, body: &str| {
            let path = format!("/api/3/stacks/s/jobs/j/run_now{query}");
            SandboxRequest {
                content_type: content_type.map(str::to_owned),
                body: Bytes::copy_from_slice(body.as_bytes()),
                ..SandboxRequest::new(Method::POST, &path, "t")
            }
            .job_args()
            .expect("readable arguments")
        };
        let args = |from| Some(("a b+c 'é'".to_owned(), from));
        assert_eq!(run("?x=1&job_args=a+b%2Bc%20%27%C3%A9%27", None, ""), args(ArgsFrom::Query));
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(run("", form, "job_args=a+b%2Bc+'é'"), args(ArgsFrom::Form));
        let json = Some("application/json; charset=utf-8");
        assert_eq!(run("", json, r#"{"job_args":"a b+c 'é'"}"#), args(ArgsFrom::Json));
        assert_eq!(run("", json, r#"{"job_args":null}"#), None);
        assert_eq!(run("", None, ""), None);
    }
}
