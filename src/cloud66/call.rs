//! The calls of the API: method and address of each.

use bytes::Bytes;
use reqwest::{Method, Url};

use super::action::ActionId;
use crate::schedule::{ArgsIn, JobUid, StackUid};

/// One call, without the headers that every call has.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// A JSON document. `None`: the request has neither a body nor a `Content-Type`.
    pub(crate) body: Option<Bytes>,
}

impl Call {
    /// Runs a job now. `args` travel where `args_in` says; without them the request has neither a
    /// query nor a body.
    pub(crate) fn run_now(
        base: &Url,
        stack: &StackUid,
        job: &JobUid,
        args: Option<&str>,
        args_in: ArgsIn,
    ) -> Call {
        let mut url = address(base, &["stacks", stack.as_str(), "jobs", job.as_str(), "run_now"]);
        let mut body = None;
        match (args, args_in) {
            (None, _) => {}
            (Some(args), ArgsIn::Query) => url.set_query(Some(&ArgsIn::query(args))),
            (Some(args), ArgsIn::Body) => body = Some(ArgsIn::body(args).into()),
        }
        Call { method: Method::POST, url, body }
    }

    /// Asks for a stack.
    pub(crate) fn stack(base: &Url, stack: &StackUid) -> Call {
        Call { method: Method::GET, url: address(base, &["stacks", stack.as_str()]), body: None }
    }

    /// Asks for a job of a stack.
    pub(crate) fn job(base: &Url, stack: &StackUid, job: &JobUid) -> Call {
        Call {
            method: Method::GET,
            url: address(base, &["stacks", stack.as_str(), "jobs", job.as_str()]),
            body: None,
        }
    }

    /// Asks for an action.
    pub(crate) fn action(base: &Url, stack: &StackUid, id: ActionId) -> Call {
        let url = address(base, &["stacks", stack.as_str(), "actions", &id.to_string()]);
        Call { method: Method::GET, url, body: None }
    }

    /// Asks for a page, from 1, of the actions of a stack.
    pub(crate) fn actions(base: &Url, stack: &StackUid, page: u32) -> Call {
        let mut url = address(base, &["stacks", stack.as_str(), "actions"]);
        url.set_query(Some(&format!("page={page}")));
        Call { method: Method::GET, url, body: None }
    }
}

/// The URL of a path, its segments encoded.
pub(super) fn address(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Fails only for a URL without a host, and the schedule has none.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
