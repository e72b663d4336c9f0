//! Bodies that come compressed though nobody asked for it, as some fronts send them.

use std::io::Read;

use flate2::read::GzDecoder;

use super::reply::BodyError;

/// The first bytes of gzip (RFC 1952). No JSON, text or HTML begins with them.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// The body as it was before gzip, up to `most` bytes. A body that is not compressed stays as it
/// is.
pub(super) fn unzipped(body: Vec<u8>, most: usize) -> Result<Vec<u8>, BodyError> {
    if !body.starts_with(&GZIP) {
        return Ok(body);
    }
    let mut plain = Vec::new();
    let read = GzDecoder::new(body.as_slice()).take(most as u64 + 1).read_to_end(&mut plain);
    read.map_err(|error| BodyError::Broken(format!("its gzip cannot be read: {error}")))?;
    if plain.len() > most { Err(BodyError::TooLong { most }) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_body_that_came_as_gzip_is_read() {
        let plain = br#"{"response":{"id":7}}"#;
        assert_eq!(unzipped(zipped(plain), 100).expect("gzip"), plain);
        assert_eq!(unzipped(plain.to_vec(), 100).expect("plain"), plain);
    }

    #[test]
    fn gzip_that_breaks_off_or_swells_is_told() {
        let mut cut = zipped(b"{}");
        cut.truncate(12);
        assert!(matches!(unzipped(cut, 100), Err(BodyError::Broken(_))));
        assert!(matches!(unzipped(zipped(&[b' '; 5000]), 100), Err(BodyError::TooLong { most: 100 })));
    }
}
