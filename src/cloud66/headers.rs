//! The headers that every request has.

use reqwest::header::{HeaderName, HeaderValue};

/// The value of `User-Agent`.
pub(super) const USER: &str = concat!("stackcron/", env!("CARGO_PKG_VERSION"));

/// Names the request, for the vendor's support.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A random UUID, by which the vendor's support finds a request.
pub(super) fn request_id() -> HeaderValue {
    let [a, b] = [fastrand::u64(..), fastrand::u64(..)];
    let id = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    );
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
}
