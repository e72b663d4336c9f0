//! What is asked of the API: the method and the address of each call.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Url};

use super::action::ActionId;
use crate::schedule::{JobUid, StackUid};

/// One call, without the headers that every call has.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
}

impl Call {
    /// Runs a job now.
    pub(crate) fn run_now(base: &Url, stack: &StackUid, job: &JobUid, args: Option<&str>) -> Call {
        let mut url = address(base, &["stacks", stack.as_str(), "jobs", job.as_str(), "run_now"]);
        if let Some(args) = args {
            url.set_query(Some(&format!("job_args={}", utf8_percent_encode(args, NON_ALPHANUMERIC))));
        }
        Call { method: Method::POST, url }
    }

    /// Asks for a stack.
    pub(crate) fn stack(base: &Url, stack: &StackUid) -> Call {
        Call { method: Method::GET, url: address(base, &["stacks", stack.as_str()]) }
    }

    /// Asks for a job of a stack.
    pub(crate) fn job(base: &Url, stack: &StackUid, job: &JobUid) -> Call {
        Call { method: Method::GET, url: address(base, &["stacks", stack.as_str(), "jobs", job.as_str()]) }
    }

    /// Asks for an action.
    pub(crate) fn action(base: &Url, stack: &StackUid, id: ActionId) -> Call {
        let url = address(base, &["stacks", stack.as_str(), "actions", &id.to_string()]);
        Call { method: Method::GET, url }
    }

    /// Asks for a page, from 1, of the actions of a stack.
    pub(crate) fn actions(base: &Url, stack: &StackUid, page: u32) -> Call {
        let mut url = address(base, &["stacks", stack.as_str(), "actions"]);
        url.set_query(Some(&format!("page={page}")));
        Call { method: Method::GET, url }
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
