//! Tells from an answer's status and headers who sent it: the API, or something in front of it.

use reqwest::header::{HeaderMap, HeaderName, LOCATION};

const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// Headers whose names begin so come from the API alone.
const OF_THE_API: [&str; 2] = ["x-ratelimit-", "x-cloud66-"];
/// Characters of a redirect's target that are repeated in the log.
const LONGEST_LOCATION: usize = 200;

/// An answer's status and what its headers tell of its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) status: u16,
    /// A header is there that only the API sends.
    pub(crate) of_the_api: bool,
    /// `X-RateLimit-Remaining: 0`.
    pub(crate) nothing_left: bool,
    /// The target of a redirect, without credentials and query.
    pub(crate) location: Option<String>,
    /// The reason phrase has the word `throttled`, as the vendor's page writes it.
    pub(crate) reason_throttled: bool,
}

impl Envelope {
    pub(crate) fn read(status: u16, headers: &HeaderMap) -> Envelope {
        let of_the_api =
            headers.keys().any(|name| OF_THE_API.iter().any(|start| name.as_str().starts_with(start)));
        let nothing_left = headers.get(REMAINING).is_some_and(|left| left.as_bytes().trim_ascii() == b"0");
        let location = headers.get(LOCATION).and_then(|to| to.to_str().ok()).map(shown);
        Envelope { status, of_the_api, nothing_left, location, reason_throttled: false }
    }

    /// Takes the reason phrase in. HTTP/2 has none.
    pub(crate) fn with_reason(mut self, reason: Option<&[u8]>) -> Envelope {
        self.reason_throttled = reason.is_some_and(|reason| says_throttled(&String::from_utf8_lossy(reason)));
        self
    }
}

/// Returns true when a text has `throttled` as a word of its own.
pub(crate) fn says_throttled(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case("throttled"))
}

fn shown(location: &str) -> String {
    let plain = location.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
        }
        None => plain.to_owned(),
    };
    plain.chars().filter(|c| !c.is_control()).take(LONGEST_LOCATION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_shown_without_credentials_and_query() {
        assert_eq!(shown("https://u:p@host/a?token=x#y"), "https://host/a");
        assert_eq!(shown("/login?next=1"), "/login");
    }
}
