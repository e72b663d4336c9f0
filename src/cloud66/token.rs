//! The token of an account: where it is read from, and how it is kept from being seen.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::schedule::notify::AddressError;
use crate::schedule::{SecretUrl, TokenSource};

/// A token that no debug output prints. Its memory is overwritten when it is dropped.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

/// A token that was read, and who else can read its file.
#[derive(Debug)]
pub struct Found {
    /// The token.
    pub token: Token,
    /// The file it is in, when others than its owner and group can read it.
    pub exposed: Option<PathBuf>,
}

/// Why there is no token. Each says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The process was given no credentials at all.
    #[error(
        "the credential `{0}` cannot be read: $CREDENTIALS_DIRECTORY is not set; under systemd add \
         `LoadCredential={0}:/etc/stackcron/{0}` to the unit, elsewhere use `{{ env: NAME }}` or `{{ file: PATH }}`"
    )]
    NoCredentials(String),
    /// The unit's default stands in for a credential that was not there when the service started.
    #[error(
        "the credential `{0}` is empty: the file that the unit's `LoadCredential=` names was missing or empty when the \
         service was started; put the token into it: `printf %s TOKEN | sudo install -m 600 /dev/stdin \
         /etc/stackcron/{0}`, then `systemctl restart stackcron`"
    )]
    EmptyCredential(String),
    /// The name of a credential would leave its directory.
    #[error("`{0}` is no name of a credential: it is a file name without `/`")]
    CredentialName(String),
    /// The variable is not set.
    #[error("the environment variable {0} is not set; set it to what it is to hold")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("the file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{} is no file; put the secret alone into a file", .0.display())]
    NoFile(PathBuf),
    /// Longer than any token.
    #[error("{} is longer than {LONGEST} bytes; it must hold the secret alone", .0.display())]
    TooLong(PathBuf),
    /// Nothing is in it.
    #[error("what comes from {0} is empty")]
    Empty(String),
    /// It cannot stand in a header.
    #[error(
        "what comes from {0} has a character that no token or address has; it must be one line of visible ASCII"
    )]
    Malformed(String),
}

/// No token is longer than this many bytes. A larger file is a mistake and is not read.
const LONGEST: u64 = 4096;

impl Token {
    /// Reads the token. Only this function and the request's header ever see its text.
    pub fn read(source: &TokenSource) -> Result<Found, TokenError> {
        match source {
            TokenSource::Env(name) => {
                let text = std::env::var(name).map_err(|_| TokenError::NoVariable(name.clone()))?;
                Ok(Found {
                    token: Token::new(&text, &format!("the environment variable {name}"))?,
                    exposed: None,
                })
            }
            TokenSource::File(path) => from_file(path),
            TokenSource::Credential(name) => {
                if name.contains('/') || name == ".." || name == "." {
                    return Err(TokenError::CredentialName(name.clone()));
                }
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| TokenError::NoCredentials(name.clone()))?;
                from_file(&Path::new(&directory).join(name)).map_err(|error| match error {
                    TokenError::Empty(_) => TokenError::EmptyCredential(name.clone()),
                    error => error,
                })
            }
        }
    }

    /// Checks a token's text. `origin` names where it came from, for the error.
    pub fn new(text: &str, origin: &str) -> Result<Token, TokenError> {
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(TokenError::Empty(origin.to_owned()));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Malformed(origin.to_owned()));
        }
        Ok(Token(SecretString::from(text)))
    }

    /// What was read, when it is an address and no token.
    pub(crate) fn as_address(&self) -> Result<SecretUrl, AddressError> {
        SecretUrl::new(self.0.expose_secret())
    }

    /// The `Authorization` header, marked so that no HTTP library prints or indexes it.
    pub(super) fn header(&self) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0.expose_secret()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn from_file(path: &Path) -> Result<Found, TokenError> {
    let unreadable = |error| TokenError::Unreadable { path: path.to_owned(), error };
    // Looked at before it is opened: to open a pipe waits for its writer.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(TokenError::NoFile(path.to_owned()));
    }
    if metadata.len() > LONGEST {
        return Err(TokenError::TooLong(path.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let origin = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| TokenError::Malformed(origin.clone()))?;
    let exposed = (metadata.permissions().mode() & 0o004 != 0).then(|| path.to_owned());
    Ok(Found { token: Token::new(&text, &origin)?, exposed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, TokenSource) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its mode");
        (directory, TokenSource::File(path))
    }

    #[test]
    fn the_last_newline_is_no_part_of_a_token() {
        let (_directory, source) = file(b"s3cret\n", 0o600);
        let found = Token::read(&source).expect("a token");
        assert_eq!(found.token.header().expect("a header"), "Bearer s3cret");
        assert_eq!(found.exposed, None);
    }

    #[test]
    fn a_file_that_others_can_read_is_told() {
        let (_directory, source) = file(b"s3cret", 0o644);
        assert!(Token::read(&source).expect("a token").exposed.is_some());
    }

    #[test]
    fn debug_output_never_shows_a_token() {
        let token = Token::new("s3cret", "a test").expect("a token");
        assert!(!format!("{token:?} {:?}", token.header()).contains("s3cret"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for (content, what) in [
            (&b""[..], "an empty file"),
            (b"\n", "a newline alone"),
            (b"two words", "a blank"),
            (b"a\nX-Account: 7", "a second line"),
            (b"\xff\xfe", "bad UTF-8"),
            (b"a\0b", "NUL"),
            (&[b'a'; 5000], "a long file"),
        ] {
            let (_directory, source) = file(content, 0o600);
            assert!(Token::read(&source).is_err(), "{what} is no token");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let source = TokenSource::File(directory.path().to_owned());
        assert!(matches!(Token::read(&source), Err(TokenError::NoFile(_))));
        assert!(matches!(
            Token::read(&TokenSource::Credential("../etc/passwd".into())),
            Err(TokenError::CredentialName(_))
        ));
    }
}
