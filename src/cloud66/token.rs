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
pub struct FoundToken {
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
    /// The process was given credentials, and not this one.
    #[error(
        "the credential `{0}` is not among those that the service was given: add \
         `LoadCredential={0}:/etc/stackcron/{0}` to the unit with `systemctl edit stackcron`, then `systemctl restart \
         stackcron`"
    )]
    NotLoaded(String),
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
        /// The system's error.
        error: std::io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{} is no file; put the secret alone into a file", .0.display())]
    NoFile(PathBuf),
    /// Longer than any token.
    #[error("{} is longer than {LONGEST} bytes; it must hold the secret alone", .0.display())]
    TooLong(PathBuf),
    /// The place of the token holds nothing.
    #[error("what comes from {0} is empty")]
    Empty(String),
    /// The text has a character that no header may have, or holds more than the token.
    #[error("the text from {origin} {fault}")]
    Malformed {
        /// The place that the token was read from.
        origin: String,
        /// The wrong character, and what to leave out.
        fault: String,
    },
}

/// No token is longer than this many bytes. A larger file is a mistake and is not read.
const LONGEST: u64 = 4096;

impl Token {
    /// Reads the token. Only this function and the request's header ever see its text.
    pub fn read(source: &TokenSource) -> Result<FoundToken, TokenError> {
        match source {
            TokenSource::Env(name) => {
                let text = std::env::var(name).map_err(|_| TokenError::NoVariable(name.clone()))?;
                Ok(FoundToken {
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
                    TokenError::Unreadable { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                        TokenError::NotLoaded(name.clone())
                    }
                    error => error,
                })
            }
        }
    }

    /// Returns the path of a credential that was changed after the service started. The service
    /// still has the former one, since systemd hands credentials over at a start alone.
    pub fn changed_since_start(source: &TokenSource) -> Option<PathBuf> {
        let TokenSource::Credential(name) = source else { return None };
        let handed_over = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
        changed_in(Path::new(CREDENTIALS), &handed_over, name)
    }

    /// Checks a token's text. `origin` names where it came from, for the error.
    pub fn new(text: &str, origin: &str) -> Result<Token, TokenError> {
        // A byte order mark and blanks around it are an editor's.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if text.is_empty() {
            return Err(TokenError::Empty(origin.to_owned()));
        }
        if let Some(fault) = fault(text) {
            return Err(TokenError::Malformed { origin: origin.to_owned(), fault });
        }
        Ok(Token(SecretString::from(text)))
    }

    /// Reads the secret as an address instead of a token.
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

/// The directory from which the packaged unit takes its credentials.
pub(crate) const CREDENTIALS: &str = "/etc/stackcron";

/// The file of a credential in `directory`, where it is newer than the one that was handed over.
fn changed_in(directory: &Path, handed_over: &Path, name: &str) -> Option<PathBuf> {
    let path = directory.join(name);
    let changed_at = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let (now, at_start) = (changed_at(&path)?, changed_at(&handed_over.join(name))?);
    (now > at_start).then_some(path)
}

/// Finds a character that no token has, and says what to leave out. The text never repeats the
/// secret.
fn fault(text: &str) -> Option<String> {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins("authorization:") {
        return Some(
            "begins with `Authorization:`; leave the header's name out, and `Bearer ` behind it".into(),
        );
    }
    if begins("bearer ") || begins("token ") {
        let word = text.split_whitespace().next().unwrap_or_default();
        return Some(format!("begins with `{word} `, which stackcron adds itself; leave it out"));
    }
    let is_quote = |c: &char| matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}');
    let quote = text.chars().next().filter(is_quote).map(|c| (c, 1));
    let quote =
        quote.or_else(|| text.chars().next_back().filter(is_quote).map(|c| (c, text.chars().count())));
    if let Some((quote, number)) = quote {
        return Some(format!(
            "has a quote, `{quote}`, as its character {number}; leave the quotes out: a token's file holds the token alone"
        ));
    }
    let name = text.split_once('=').map_or("", |(name, _)| name);
    let is_name = |name: &str| {
        let name = name.strip_prefix("export ").unwrap_or(name);
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    if is_name(name) && text.len() > name.len() + 2 {
        return Some(format!(
            "begins with `{name}=`; leave the name out: a token's file holds the token alone"
        ));
    }
    let (number, found) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_graphic())?;
    let code = u32::from(found);
    let name = match found {
        ' ' | '\t' => "a blank".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        c if c.is_control() => format!("the control character U+{code:04X}"),
        _ => format!("the character U+{code:04X}"),
    };
    Some(format!(
        "has {name} as its character {}; leave it out: a secret is one word of visible ASCII",
        number + 1
    ))
}

fn from_file(path: &Path) -> Result<FoundToken, TokenError> {
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
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let fault = format!(
            "has the byte 0x{:02X} at its byte {}, which is no text; save the secret alone",
            error.as_bytes()[at],
            at + 1
        );
        TokenError::Malformed { origin: origin.clone(), fault }
    })?;
    let exposed = (metadata.permissions().mode() & 0o004 != 0).then(|| path.to_owned());
    Ok(FoundToken { token: Token::new(&text, &origin)?, exposed })
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
    fn a_credential_that_was_changed_after_the_start_is_noticed() {
        let (etc, given) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        std::fs::write(etc.path().join("token"), "old").expect("a file");
        let at_start = given.path().join("token");
        std::fs::write(&at_start, "old").expect("a file");
        let set = |path: &Path, seconds: u64| {
            let file = std::fs::File::options().write(true).open(path).expect("a file");
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .expect("its time");
        };
        set(&at_start, 100);
        set(&etc.path().join("token"), 50);
        assert_eq!(changed_in(etc.path(), given.path(), "token"), None);
        set(&etc.path().join("token"), 150);
        assert_eq!(changed_in(etc.path(), given.path(), "token"), Some(etc.path().join("token")));
        assert_eq!(changed_in(etc.path(), given.path(), "another"), None);
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
    fn a_token_s_error_says_which_character_to_leave_out() {
        for (content, told) in [
            ("\"s3cret\"", "has a quote, `\"`, as its character 1; leave the quotes out"),
            ("s3cret'", "has a quote, `'`, as its character 7"),
            ("\u{201c}s3cret\u{201d}", "has a quote, `\u{201c}`, as its character 1"),
            ("Bearer s3cret", "begins with `Bearer `, which stackcron adds itself; leave it out"),
            ("bearer s3cret", "begins with `bearer `"),
            ("Authorization: Bearer s3cret", "leave the header's name out"),
            ("CLOUD66_TOKEN=s3cret", "begins with `CLOUD66_TOKEN=`; leave the name out"),
            ("export TOKEN=s3cret", "begins with `export TOKEN=`"),
            ("s3c ret", "has a blank as its character 4"),
            ("s3c\nret", "has a line break as its character 4"),
            ("s3c\u{e9}ret", "has the character U+00E9 as its character 4"),
            ("s3c\u{1}ret", "has the control character U+0001 as its character 4"),
        ] {
            let error = Token::new(content, "the file x").expect_err(content).to_string();
            assert!(error.contains(told), "{content:?}: {error}");
            assert!(!error.contains("s3c"), "no part of the secret is told: {error}");
        }
    }

    #[test]
    fn blanks_around_a_token_are_no_part_of_it() {
        for content in ["  s3cret \t\r\n", "\u{feff}s3cret\n\n", "s3cret", "s3cret\u{a0}"] {
            let token = Token::new(content, "a test").expect("a token");
            assert_eq!(token.header().expect("a header"), "Bearer s3cret", "{content:?}");
        }
        assert!(Token::new("ab==", "a test").is_ok(), "padding is part of a token");
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
