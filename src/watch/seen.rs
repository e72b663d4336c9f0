//! The state in which a file was last seen, and the comparison with its state now.

use sha2::{Digest, Sha256};

/// The state of a file at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// The file was read. The number is the beginning of the content's SHA-256, so that every
    /// version of this program has the same one.
    Content(u64),
    /// The file does not exist.
    Gone,
    /// The file cannot be read, for this reason.
    Unreadable(String),
}

impl FileState {
    /// A file with this content.
    pub fn of(content: &[u8]) -> FileState {
        FileState::of_hash(Sha256::digest(content).as_ref())
    }

    /// Several files, in this order. One alone is as [`FileState::of`] has it.
    pub fn of_all<'p>(mut parts: impl Iterator<Item = &'p [u8]>) -> FileState {
        let first = parts.next().unwrap_or_default();
        let mut hash = Sha256::new_with_prefix(first);
        for part in parts {
            // The lengths keep what belongs to one file from being taken for another's.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        FileState::of_hash(hash.finalize().as_ref())
    }

    fn of_hash(hash: &[u8]) -> FileState {
        FileState::Content(hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

/// The last look at a file.
#[derive(Clone, Debug)]
pub struct FileSeen(FileState);

impl FileSeen {
    /// Begins with a first look.
    pub fn new(sight: FileState) -> FileSeen {
        FileSeen(sight)
    }

    /// Returns the name of this state that the members of a shared journal compare.
    pub fn fingerprint(&self) -> String {
        match self.0 {
            FileState::Content(hash) => format!("{hash:016x}"),
            FileState::Gone | FileState::Unreadable(_) => String::new(),
        }
    }

    /// Returns true when the last look showed this state.
    pub fn shows(&self, sight: &FileState) -> bool {
        self.0 == *sight
    }

    /// Takes another look in. Whether it shows something else: what has been told of the last one
    /// is not told again.
    pub fn differs(&mut self, sight: FileState) -> bool {
        std::mem::replace(&mut self.0, sight) != self.0
    }
}

/// The last of several looks, once two in a row show the same, or there were enough. Who writes a
/// file in place empties it first: half of a schedule, or none, may be a valid one.
pub fn once_it_stays<T, S: PartialEq>(first: T, part: impl Fn(&T) -> &S, mut look: impl FnMut() -> T) -> T {
    let mut last = first;
    for _ in 0..MOST_LOOKS {
        let next = look();
        let stays = part(&next) == part(&last);
        last = next;
        if stays {
            break;
        }
    }
    last
}

/// After this many looks a file that is written all the time is taken as it is.
const MOST_LOOKS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_once_it_stays_the_same() {
        let shown_last = |shown: &[&'static str]| {
            let mut looks = shown[1..].iter().copied();
            once_it_stays(shown[0], |look| look, || looks.next().expect("another look"))
        };
        assert_eq!(shown_last(&["a", "a"]), "a");
        assert_eq!(
            shown_last(&["", "jobs:", "jobs: {}", "jobs: {}"]),
            "jobs: {}",
            "emptied, and written bit by bit"
        );
        let mut number = 0;
        let last = once_it_stays(
            0,
            |look| look,
            || {
                number += 1;
                number
            },
        );
        assert_eq!(last, MOST_LOOKS, "it never stays");
    }

    #[test]
    fn each_sight_is_told_once_until_another_comes_between() {
        let mut seen = FileSeen::new(FileState::of(b"a"));
        let looks = [
            FileState::of(b"a"),
            FileState::of(b"b"),
            FileState::of(b"b"),
            FileState::Gone,
            FileState::Gone,
            FileState::of(b"b"),
        ];
        assert_eq!(looks.map(|sight| seen.differs(sight)), [false, true, false, true, false, true]);
    }
}
