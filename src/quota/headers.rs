//! The quota as an answer's headers tell it.
//!
//! Headers come from servers and from proxies between: whatever is not plainly a number in range
//! counts as absent.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// A longer `Retry-After` is a mistake of the server's, not a quota: no quota known has a window
/// beyond a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The quota headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `X-RateLimit-Limit`: requests in one window. Never zero.
    pub limit: Option<u32>,
    /// `X-RateLimit-Remaining`: requests left once this one was counted.
    pub remaining: Option<u32>,
    /// `Retry-After`, in seconds or as a date; a date that is past is zero.
    pub retry_after: Option<Duration>,
}

/// Reads the quota's headers. `wall` turns a `Retry-After` that is a date into a duration.
///
/// A header given twice with different values tells nothing.
pub fn headers(map: &HeaderMap, wall: Timestamp) -> Headers {
    Headers {
        limit: number(map, &LIMIT).filter(|&limit| limit > 0),
        remaining: number(map, &REMAINING),
        retry_after: text(map, &RETRY_AFTER).and_then(|text| retry_after(text, wall)),
    }
}

fn number(map: &HeaderMap, name: &HeaderName) -> Option<u32> {
    let text = text(map, name)?;
    // `parse` alone would take a leading plus.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn text<'a>(map: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = map.get_all(name).iter();
    let first = values.next()?;
    values.all(|other| other == first).then(|| first.to_str().ok().map(str::trim))?
}

fn retry_after(text: &str, wall: Timestamp) -> Option<Duration> {
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        let at = rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(at.duration_since(wall)).unwrap_or(Duration::ZERO)
    };
    (wait <= LONGEST_RETRY_AFTER).then_some(wait)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Headers {
        let map = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
                    HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
                )
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        headers(&map, "2026-03-01T12:00:00Z".parse().expect("a timestamp"))
    }

    #[test]
    fn numbers_are_read_whatever_the_case_of_the_name() {
        let read = read(&[("X-RateLimit-Limit", "3600"), ("x-ratelimit-REMAINING", " 3597 ")]);
        assert_eq!((read.limit, read.remaining), (Some(3600), Some(3597)));
    }

    #[test]
    fn nonsense_is_absent() {
        for nonsense in ["", "-1", "+1", "1.5", "1e3", "abc", "0x10", "99999999999", "3600, 3600", "٣", "1 2"]
        {
            let read = read(&[("X-RateLimit-Limit", nonsense), ("X-RateLimit-Remaining", nonsense)]);
            assert_eq!(read, Headers::default(), "{nonsense:?} is no number of requests");
        }
    }

    #[test]
    fn a_limit_of_zero_is_absent() {
        assert_eq!(read(&[("X-RateLimit-Limit", "0")]).limit, None);
        assert_eq!(read(&[("X-RateLimit-Remaining", "0")]).remaining, Some(0));
    }

    #[test]
    fn a_header_that_contradicts_itself_is_absent() {
        assert_eq!(read(&[("X-RateLimit-Remaining", "5"), ("X-RateLimit-Remaining", "6")]).remaining, None);
        assert_eq!(
            read(&[("X-RateLimit-Remaining", "5"), ("X-RateLimit-Remaining", "5")]).remaining,
            Some(5)
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wait = |value| read(&[("Retry-After", value)]).retry_after;
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 01 Mar 2026 12:30:00 GMT"), Some(Duration::from_secs(1800)));
        assert_eq!(wait("Sun, 01 Mar 2026 11:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-5", "99999999999999999999", "864000", "Fri, 01 Mar 2126 12:00:00 GMT"] {
            assert_eq!(wait(nonsense), None, "{nonsense:?} is no time to wait");
        }
    }
}
