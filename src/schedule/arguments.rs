//! Where `args` travel in a run_now, and how long they may be there.
//!
//! The vendor documents a query parameter, and its own client sends a JSON body. The sources
//! disagree, so the account says which. A query stands in the access logs of every proxy on the
//! way, and proxies refuse long request lines (nginx at 8 KiB by default, apache at 8190 bytes); a
//! body has neither of the two drawbacks.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;

use super::shape;
use super::words::Word;

/// Longest `args` in a query, percent-encoded, in bytes: half of what proxies take as a request
/// line.
pub const LONGEST_IN_QUERY: usize = 4 * 1024;

/// Longest JSON document with `args`, in bytes: well under what servers take as a body (nginx: 1
/// MiB by default).
pub const LONGEST_IN_BODY: usize = 64 * 1024;

/// The part of a run_now that carries `args`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum ArgsIn {
    /// The query, as the vendor documents: `?job_args=...`, 4 KiB at most. Proxies write it into
    /// their access logs.
    #[default]
    Query,
    /// A JSON body, as the vendor's client sends it: `{"job_args":"..."}`, 64 KiB at most.
    Body,
}

impl Word for ArgsIn {
    const ALL: &'static [(&'static str, Self)] = &[("query", ArgsIn::Query), ("body", ArgsIn::Body)];
}

/// The `args` are longer than the place where they travel admits. Shorten them, or choose `args_in:
/// body`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`args` take {bytes} bytes {}, and {} is the most",
    match .place { ArgsIn::Query => "in the query", ArgsIn::Body => "as JSON" },
    match .place { ArgsIn::Query => "4 KiB", ArgsIn::Body => "64 KiB" })]
pub struct ArgsTooLong {
    /// Length as it would be sent, in bytes.
    pub bytes: usize,
    /// The part of the request that would carry the arguments.
    pub place: ArgsIn,
}

impl ArgsTooLong {
    /// Returns the remedy.
    pub fn help(&self) -> &'static str {
        match self.place {
            ArgsIn::Query => "shorten them, or set `args_in: body` under the account, which admits 64 KiB",
            ArgsIn::Body => "shorten them: put the long part where the job can read it",
        }
    }
}

impl ArgsIn {
    /// Returns the query with these arguments.
    pub(crate) fn query(args: &str) -> String {
        format!("job_args={}", utf8_percent_encode(args, NON_ALPHANUMERIC))
    }

    /// Returns the JSON document with these arguments.
    pub(crate) fn body(args: &str) -> Vec<u8> {
        serde_json::json!({ "job_args": args }).to_string().into_bytes()
    }

    /// Checks that arguments are short enough to be sent here.
    ///
    /// # Errors
    ///
    /// They are longer than [`LONGEST_IN_QUERY`] or [`LONGEST_IN_BODY`].
    pub fn admits(self, args: &str) -> Result<(), ArgsTooLong> {
        let (bytes, most) = match self {
            ArgsIn::Query => {
                (utf8_percent_encode(args, NON_ALPHANUMERIC).map(str::len).sum(), LONGEST_IN_QUERY)
            }
            ArgsIn::Body => (ArgsIn::body(args).len(), LONGEST_IN_BODY),
        };
        if bytes > most { Err(ArgsTooLong { bytes, place: self }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_measured_as_they_are_sent() {
        assert_eq!(ArgsIn::Query.admits(&"a".repeat(4096)), Ok(()));
        let one_more = ArgsIn::Query.admits(&"a".repeat(4097)).expect_err("too long");
        assert_eq!(one_more.to_string(), "`args` take 4097 bytes in the query, and 4 KiB is the most");
        // A blank takes three bytes of a query, and one of a body.
        assert!(ArgsIn::Query.admits(&" ".repeat(1366)).is_err());
        assert_eq!(ArgsIn::Body.admits(&" ".repeat(1366)), Ok(()));
        let in_json = "{\"job_args\":\"\"}".len();
        assert_eq!(ArgsIn::Body.admits(&"a".repeat(64 * 1024 - in_json)), Ok(()));
        assert!(ArgsIn::Body.admits(&"a".repeat(64 * 1024 - in_json + 1)).is_err());
    }
}
