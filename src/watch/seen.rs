//! What was last seen of a file, and whether it is something else now.

use sha2::{Digest, Sha256};

/// What a look at a file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its content, by the beginning of its SHA-256: the same in every version of this program.
    Content(u64),
    /// There is no such file.
    Gone,
    /// It cannot be read, and why.
    Unreadable(String),
}

impl Sight {
    /// A file with this content.
    pub fn of(content: &[u8]) -> Sight {
        let hash = Sha256::digest(content);
        Sight::Content(hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// The last look at a file.
#[derive(Clone, Debug)]
pub struct Seen(Sight);

impl Seen {
    /// Begins with a first look.
    pub fn new(sight: Sight) -> Seen {
        Seen(sight)
    }

    /// What the content is known by among those that share a journal.
    pub fn fingerprint(&self) -> String {
        match self.0 {
            Sight::Content(hash) => format!("{hash:016x}"),
            Sight::Gone | Sight::Unreadable(_) => String::new(),
        }
    }

    /// Takes another look in. Whether it shows something else: what has been told of the last one is not told again.
    pub fn differs(&mut self, sight: Sight) -> bool {
        std::mem::replace(&mut self.0, sight) != self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sight_is_told_once_until_another_comes_between() {
        let mut seen = Seen::new(Sight::of(b"a"));
        let looks =
            [Sight::of(b"a"), Sight::of(b"b"), Sight::of(b"b"), Sight::Gone, Sight::Gone, Sight::of(b"b")];
        assert_eq!(looks.map(|sight| seen.differs(sight)), [false, true, false, true, false, true]);
    }
}
