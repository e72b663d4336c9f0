//! The names and uids of a schedule, each a type of its own.

use std::fmt;
use std::sync::Arc;

/// A name or uid that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// An empty uid, or one with white space or control characters in it.
    #[error("a uid is one word without blanks")]
    Uid,
    /// The text is not `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    #[error("a name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or a digit")]
    Name,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:ident, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text. The error says what is allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                if $check(text) { Ok($name(text.into())) } else { Err($error) }
            }

            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_type!(
    /// The key of an entry under `jobs:`.
    EntryName, is_name, NameError::Name
);
text_type!(
    /// The key of an account under `accounts:`.
    AccountName, is_name, NameError::Name
);
text_type!(
    /// A share of a schedule that is led by itself, under `shard:` of its accounts.
    ShardName, is_name, NameError::Name
);
text_type!(
    /// The key of a receiver under `notify:`.
    ReceiverName, is_name, NameError::Name
);
text_type!(
    /// The key of a calendar under `calendars:`.
    CalendarName, is_name, NameError::Name
);
text_type!(
    /// Cloud 66's uid of a stack, as text whatever it looks like.
    StackUid, is_uid, NameError::Uid
);
text_type!(
    /// Cloud 66's uid of a job, as text whatever it looks like.
    JobUid, is_uid, NameError::Uid
);

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_uid(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_length_and_letters() {
        for good in ["a", "7", "nightly-report", "a.b_c-D", &"x".repeat(64)] {
            assert!(EntryName::new(good).is_ok(), "{good} is a name");
        }
        for bad in ["", "-a", ".a", "a b", "é", &"x".repeat(65)] {
            assert_eq!(EntryName::new(bad), Err(NameError::Name), "{bad} is no name");
        }
    }

    #[test]
    fn a_uid_that_looks_like_a_number_stays_text() {
        for uid in ["5999763474000000", "1e10", "007"] {
            assert_eq!(StackUid::new(uid).expect("a uid").as_str(), uid);
        }
        assert_eq!(StackUid::new("a\nb"), Err(NameError::Uid));
    }
}
