//! Errors of the network, in words for people.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

/// The error with its causes. Each is told once, without links to the pages of libraries.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = certificate(error).unwrap_or_else(|| without_links(&error.to_string()));
        if text.is_empty() {
            text = said;
        } else if !said.is_empty() && !text.ends_with(&said) {
            text += ": ";
            text += &said;
        }
        // An error of I/O says the same as what it wraps, and hides it.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    text
}

/// Returns rustls's error about a certificate's dates with dates in place of seconds since 1970.
fn certificate(error: &(dyn Error + 'static)) -> Option<String> {
    let error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => inner.downcast_ref::<rustls::Error>(),
        None => error.downcast_ref::<rustls::Error>(),
    };
    match error? {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(format!("the certificate has expired: it was valid until {}", date(*not_after)?))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("the certificate is not valid yet: it will be from {}", date(*not_before)?))
        }
        _ => None,
    }
}

fn date(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok()
}

fn without_links(text: &str) -> String {
    let words = text.split(' ').filter(|word| !word.contains("://docs.rs/"));
    words.collect::<Vec<_>>().join(" ").trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_certificate_that_has_expired_is_told_with_its_date() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let error =
            CertificateError::ExpiredContext { time: time(1_800_000_000), not_after: time(1_700_000_000) };
        let error = io::Error::other(rustls::Error::InvalidCertificate(error));
        assert_eq!(causes(&error), "the certificate has expired: it was valid until 2023-11-14T22:13:20Z");
    }

    #[test]
    fn links_of_libraries_are_not_repeated() {
        let error = io::Error::other(
            "peer closed connection without sending TLS close_notify: \
             https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof",
        );
        assert_eq!(causes(&error), "peer closed connection without sending TLS close_notify");
    }
}
