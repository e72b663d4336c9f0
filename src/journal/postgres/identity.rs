//! The identity of a member, and of the process before it: a member that is started again in the
//! same state directory takes its own lease back at once.
//!
//! The lock on the state directory proves that the process before is dead. The directory may be a copy, on another machine
//! or on this one: a former identity is believed in the same boot and in the same file alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::super::send_watermark::boot;

/// Its file in the state directory.
const FILE: &str = "member.id";

/// One run of a daemon, by a number that no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunId(pub(crate) i64);

/// Takes a new identity, and returns the one that the process before had in this directory. Asks that the directory is
/// locked.
pub(super) fn renew(directory: &Path) -> io::Result<(RunId, Option<RunId>)> {
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o640).open(directory.join(FILE))?;
    let place = place(&file)?;
    let mut text = [0; 256];
    let read = file.read_at(&mut text, 0)?;
    let former = parse(&String::from_utf8_lossy(&text[..read]), &place);
    let id = RunId(fastrand::i64(1..i64::MAX));
    let text = format!("{place} {:020}\n", id.0);
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    Ok((id, former))
}

/// Returns the identity of a file: boot, device and inode.
fn place(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    Ok(format!("{} {}:{}", boot(), metadata.dev(), metadata.ino()))
}

fn parse(text: &str, place: &str) -> Option<RunId> {
    let (former, id) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    // Without the id of the boot no former identity is believed.
    if former != place || place.starts_with(' ') {
        return None;
    }
    id.parse().ok().map(RunId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_identity_is_believed_in_its_own_file_alone() {
        let (here, copy) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        let (first, before) = renew(here.path()).expect("an identity");
        assert_eq!(before, None);
        std::fs::copy(here.path().join(FILE), copy.path().join(FILE)).expect("a copy");
        let (second, before) = renew(here.path()).expect("an identity");
        assert_eq!(before, Some(first));
        assert_ne!(second, first, "each run has its own");
        assert_eq!(renew(copy.path()).expect("an identity").1, None, "a copy is another member's");
        assert_eq!(parse("boot 1:2 00000000000000000007\n", "other 1:2"), None);
        assert_eq!(parse(" 1:2 00000000000000000007\n", " 1:2"), None, "a boot that has no name");
    }
}
