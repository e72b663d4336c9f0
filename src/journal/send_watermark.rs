//! The mark: nothing that was due later has been sent.
//!
//! Claims are made seconds ahead. After a process has died, the mark tells which of them it had not
//! come to. It is raised at a start and before each send, by a write that waits for no disk: it
//! outlives the process, and it is not believed after the machine was started anew, when the write
//! may be lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::SendPermit;
use super::identity::KnownJournal;
use crate::schedule::Shard;

/// Name of the file in the state directory.
const FILE: &str = "sent.mark";

/// A new one with every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Name of the boot id in the runtime directory, where the unit of the service puts it, because the
/// service sees only its own processes in /proc.
const BOOT_ID_OF_SERVICE: &str = "boot-id";

/// The mark of the running process.
#[derive(Debug)]
pub struct SendWatermark {
    file: File,
    boot: String,
    at: Timestamp,
    permit: SendPermit,
    /// The daemon's record of how far its own journal has come. `None`: the journal is shared, and
    /// the elector keeps that record.
    known: Option<KnownJournal>,
}

impl SendWatermark {
    /// Opens the mark, and reads where a former process left it. `None` when there is none to be
    /// believed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn open(
        directory: &Path,
        shard: &Shard,
        permit: SendPermit,
    ) -> io::Result<(SendWatermark, Option<Timestamp>)> {
        let former = read(directory, shard)?;
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(directory.join(file_of(shard)))?;
        Ok((
            SendWatermark { file, boot: boot(), at: former.unwrap_or(Timestamp::MIN), permit, known: None },
            former,
        ))
    }

    /// The same, for a journal that nobody else uses.
    pub(super) fn knowing(self, known: KnownJournal) -> SendWatermark {
        SendWatermark { known: Some(known), ..self }
    }

    /// Remembers that everything scheduled before is claimed. Called before anything of that is
    /// sent.
    pub fn journal_reaches(&mut self, cursor: Timestamp) {
        if let Some(known) = &mut self.known {
            // A directory that cannot be written keeps the mark from being raised as well.
            let _ = known.reaches(&Shard::Common, cursor);
        }
    }

    /// Remembers that the journal's cursor goes back, with a clock that was set back. Called before
    /// it does.
    pub fn journal_goes_back(&mut self, cursor: Timestamp) {
        if let Some(known) = &mut self.known {
            // A directory that cannot be written keeps the mark from being raised as well.
            let _ = known.goes_back(&Shard::Common, cursor);
        }
    }

    /// Returns the permit to send.
    pub fn permit(&self) -> &SendPermit {
        &self.permit
    }

    /// Raises the mark to the latest due instant of what was sent, by whomever, and of what is sent
    /// next. Must return before that is sent. Whether it may be sent, the permit tells.
    ///
    /// # Errors
    /// Then nothing may be sent: a later process would take it for unsent.
    pub fn raise(&mut self, due_at: Timestamp) -> io::Result<()> {
        if due_at > self.at {
            let text = format!("{} {:020}\n", self.boot, due_at.as_microsecond());
            self.file.write_all_at(text.as_bytes(), 0)?;
            self.at = due_at;
        }
        Ok(())
    }
}

/// Reads where the former process of a shard left its mark. `None`: there is none to be believed.
pub(super) fn read(directory: &Path, shard: &Shard) -> io::Result<Option<Timestamp>> {
    match std::fs::read(directory.join(file_of(shard))) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text), &boot())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the marks of all shards: they belong to a journal that is left.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("sent.") && name.ends_with("mark") {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The file of a shard's mark. No name of one begins with a dot, nor is any empty.
fn file_of(shard: &Shard) -> String {
    match shard.name() {
        None => FILE.to_owned(),
        Some(name) => format!("sent.{name}.mark"),
    }
}

/// Returns the id of the machine's boot. Empty: the system does not tell it, and then no watermark
/// is believed.
pub(super) fn boot() -> String {
    let of_service = std::env::var_os("RUNTIME_DIRECTORY").map(|it| Path::new(&it).join(BOOT_ID_OF_SERVICE));
    let paths = [Some(PathBuf::from(BOOT_ID)), of_service];
    let text = paths.into_iter().flatten().find_map(|path| std::fs::read_to_string(path).ok());
    text.unwrap_or_default().trim().to_owned()
}

fn parse(text: &str, boot: &str) -> Option<Timestamp> {
    let (former, micros) = text.strip_suffix('\n')?.split_once(' ')?;
    if boot.is_empty() || former != boot {
        return None;
    }
    // The mark was cut to whole microseconds, so that up to one more may have been sent.
    Timestamp::from_microsecond(micros.parse::<i64>().ok()?.checked_add(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_believed_in_the_same_boot_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let (mut mark, former) =
            SendWatermark::open(directory.path(), &Shard::Common, SendPermit::unlimited()).expect("a mark");
        assert_eq!(former, None, "there was none");
        mark.raise(at(100)).expect("raised");
        mark.raise(at(50)).expect("a mark never falls");
        let (_, former) =
            SendWatermark::open(directory.path(), &Shard::Common, SendPermit::unlimited()).expect("a mark");
        assert_eq!(former.map(Timestamp::as_second), Some(100));
        let text = std::fs::read_to_string(directory.path().join(FILE)).expect("the mark");
        assert_eq!(parse(&text, "another-boot"), None);
        assert_eq!(parse(&text, ""), None);
        for broken in ["", "x", "boot 12", "boot x\n"] {
            assert_eq!(parse(broken, "boot"), None, "{broken:?}");
        }
    }
}
