//! The damage that a fault does to an answer.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fault::{FaultEffect, FaultKind, FaultOrder};
use super::http::{SandboxDelivery, SandboxReply};
use super::shapes;

/// Length of the body of `huge` in bytes: more than the 1 MiB that the client reads at most.
const HUGE: usize = 2 << 20;
/// Headers of `header-flood`: twenty times the hundred that HTTP clients commonly take.
const FLOOD: usize = 2_000;

/// The answer of what stands before the API.
pub(super) fn at_the_proxy(kind: &FaultKind) -> SandboxReply {
    match kind {
        FaultKind::CloseBefore => SandboxReply {
            delivery: SandboxDelivery::Nothing,
            ..shapes::error(408, "A fault of the sandbox")
        },
        _ => bad_gateway(),
    }
}

/// The answer of an API that does not do what it is asked; none for a kind that strikes after the
/// effect.
pub(super) fn refusal(kind: &FaultKind) -> Option<SandboxReply> {
    let retry_after = |mut reply: SandboxReply, after: &Option<String>| {
        reply.headers.extend(after.clone().map(|after| ("Retry-After".to_owned(), after)));
        reply
    };
    match kind {
        FaultKind::Status(status, FaultEffect::None) => {
            Some(shapes::error(*status, "A fault of the sandbox"))
        }
        FaultKind::NotImplemented => Some(shapes::not_implemented()),
        FaultKind::Throttled(after) => Some(retry_after(shapes::throttled(), after)),
        FaultKind::TooManyRequests(after) => {
            Some(retry_after(shapes::error(429, "A fault of the sandbox"), after))
        }
        FaultKind::Redirect(to) => Some(SandboxReply {
            status: 307,
            headers: vec![("Location".into(), to.clone())],
            body: Vec::new(),
            delay: Duration::ZERO,
            delivery: SandboxDelivery::Whole,
        }),
        _ => None,
    }
}

/// The answer after a fault that strikes when the request has taken effect.
pub(super) fn with(mut reply: SandboxReply, kind: &FaultKind) -> SandboxReply {
    match kind {
        FaultKind::Status(status, FaultEffect::First) => {
            SandboxReply { headers: reply.headers, ..shapes::error(*status, "A fault of the sandbox") }
        }
        FaultKind::Html502(_) => bad_gateway(),
        FaultKind::CloseBefore | FaultKind::CloseAfter => {
            SandboxReply { delivery: SandboxDelivery::Nothing, ..reply }
        }
        FaultKind::ResetMidBody => SandboxReply { delivery: SandboxDelivery::Half, ..reply },
        FaultKind::Slow(after, FaultOrder::EffectFirst) => {
            SandboxReply { delay: reply.delay + *after, ..reply }
        }
        FaultKind::Drip(pause) => SandboxReply { delivery: SandboxDelivery::Dripped(*pause), ..reply },
        FaultKind::Endless => SandboxReply { delivery: SandboxDelivery::Endless, ..reply },
        FaultKind::Garbage => {
            SandboxReply { body: b"{\"response\":{\"id\":\xff\xfe\x00 not json".to_vec(), ..reply }
        }
        FaultKind::Huge => rewritten(reply, |body| {
            if let Some(fields) = action_of(body) {
                fields.insert("metadata".into(), json!({ "log": "x".repeat(HUGE) }));
            }
        }),
        FaultKind::Bare => rewritten(reply, |body| {
            if let Some(inner) = body.get_mut("response") {
                *body = inner.take();
            }
        }),
        FaultKind::Retyped => rewritten(reply, retype),
        FaultKind::MissingFields => rewritten(reply, |body| {
            if let Some(fields) = action_of(body) {
                fields.retain(|key, _| key == "id");
            }
        }),
        FaultKind::NoHeaders => {
            reply.headers.retain(|(key, _)| !is_quota_header(key));
            reply
        }
        FaultKind::OddHeaders => {
            for (key, value) in &mut reply.headers {
                if is_quota_header(key) {
                    *key = odd_case(key);
                    *value = format!("{value} requests");
                }
            }
            reply
        }
        FaultKind::Warning => {
            let text = "This version of the API will be retired";
            reply.headers.push(("X-Cloud66-Warning".into(), text.into()));
            reply
        }
        FaultKind::HeaderFlood => {
            let flood = (0..FLOOD).map(|number| (format!("X-Flood-{number}"), "x".repeat(100)));
            reply.headers.extend(flood);
            reply
        }
        // These faults have struck before the request took effect.
        FaultKind::NotImplemented
        | FaultKind::Throttled(_)
        | FaultKind::TooManyRequests(_)
        | FaultKind::Redirect(_)
        | FaultKind::Status(_, FaultEffect::None)
        | FaultKind::Slow(_, FaultOrder::EffectLast) => reply,
    }
}

fn bad_gateway() -> SandboxReply {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
        <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    SandboxReply {
        status: 502,
        headers: vec![("Content-Type".into(), "text/html".into())],
        body: page.as_bytes().to_vec(),
        delay: Duration::ZERO,
        delivery: SandboxDelivery::Whole,
    }
}

fn is_quota_header(key: &str) -> bool {
    key.to_ascii_lowercase().starts_with("x-ratelimit-")
}

fn odd_case(key: &str) -> String {
    let odd = |(place, letter): (usize, char)| match place % 2 {
        0 => letter.to_ascii_lowercase(),
        _ => letter.to_ascii_uppercase(),
    };
    key.chars().enumerate().map(odd).collect()
}

fn rewritten(mut reply: SandboxReply, rewrite: impl FnOnce(&mut Value)) -> SandboxReply {
    if let Ok(mut body) = serde_json::from_slice(&reply.body) {
        rewrite(&mut body);
        reply.body = body.to_string().into_bytes();
    }
    reply
}

/// The fields of the one action that a body tells, wrapped or bare.
fn action_of(body: &mut Value) -> Option<&mut Map<String, Value>> {
    let body = match body.get("response").is_some() {
        true => body.get_mut("response")?,
        false => body,
    };
    body.as_object_mut()
}

fn retype(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(retype),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match (key.as_str(), &value) {
                    ("id" | "status", Value::Number(number)) => *value = json!(number.to_string()),
                    ("finished_success" | "paused", Value::Bool(truth)) => *value = json!(truth.to_string()),
                    ("resource_id", Value::String(text)) => {
                        if let Ok(number) = text.parse::<u64>() {
                            *value = json!(number);
                        }
                    }
                    ("pagination", _) => {}
                    _ => retype(value),
                }
            }
            if fields.contains_key("resource_id") {
                let result = match fields.get("finished_success").and_then(Value::as_str) {
                    Some("true") => json!("success"),
                    Some(_) => json!("failure"),
                    None => Value::Null,
                };
                fields.insert("finished_result".into(), result);
                fields.insert("metadata".into(), json!({ "source": "sandbox" }));
            }
        }
        _ => {}
    }
}
