//! The mark: nothing that was due later has been sent.
//!
//! Claims are made seconds ahead. After a process has died, the mark tells which of them it had not
//! come to. It is raised at a start and before each send, by a write that waits for no disk: it
//! outlives the process, and it is not believed after the machine was started anew, when the write
//! may be lost.
//!
//! Where several daemons share the journal, the file also has the number of the term in which it
//! was raised last. So the next process can tell the others how far that term has sent
//! ([`super::EndedTerm`]). The mark never falls, from one term to the next neither: too high a mark
//! leaves more in doubt, and sends nothing twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::identity::KnownJournal;
use super::{EndedTerm, SendPermit, TermNumber};
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
    /// The term in which the mark is raised. `None`: nobody shares the journal.
    term: Option<TermNumber>,
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
        let at = former.unwrap_or(Timestamp::MIN);
        Ok((SendWatermark { file, boot: boot(), at, term: None, permit, known: None }, former))
    }

    /// Opens the mark for a term. From now on the file tells of this term, and no longer of the one
    /// before. Must return before anything of the term is written to the journal.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn begin(
        directory: &Path,
        shard: &Shard,
        term: TermNumber,
        permit: SendPermit,
    ) -> io::Result<SendWatermark> {
        let (mark, _) = SendWatermark::open(directory, shard, permit)?;
        let mark = SendWatermark { term: Some(term), ..mark };
        mark.write(mark.at)?;
        Ok(mark)
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
            self.write(due_at)?;
            self.at = due_at;
        }
        Ok(())
    }

    /// Returns the instant after which nothing that is due was sent.
    pub(crate) fn sent_up_to(&self) -> Timestamp {
        whole_microseconds(self.at.as_microsecond()).unwrap_or(Timestamp::MAX)
    }

    /// Each text is as long as every other one: it is written in the place of the one before.
    fn write(&self, at: Timestamp) -> io::Result<()> {
        let (at, term) = (at.as_microsecond(), self.term.map_or(ALONE, TermNumber::get));
        let text = format!("{} {at:020} {term:020}\n", self.boot);
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

/// Stands in the file for the term of a daemon whose journal nobody shares. No term has this
/// number.
const ALONE: i64 = 0;

/// Reads where the former process of a shard left its mark. `None`: there is none to be believed.
pub(super) fn read(directory: &Path, shard: &Shard) -> io::Result<Option<Timestamp>> {
    match std::fs::read(directory.join(file_of(shard))) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text), &boot()).map(|(at, _)| at)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads how far the former process had sent in the last term of each shard that it led: these
/// terms are over. To be called before this process begins a term.
pub(super) fn ended_terms(directory: &Path) -> io::Result<Vec<EndedTerm>> {
    let (mut ended, boot) = (Vec::new(), boot());
    for path in marks(directory)? {
        let text = std::fs::read(path)?;
        if let Some((sent_up_to, Some(number))) = parse(&String::from_utf8_lossy(&text), &boot) {
            ended.push(EndedTerm { number, sent_up_to });
        }
    }
    Ok(ended)
}

/// Deletes the marks of all shards: they belong to a journal that is left.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    marks(directory)?.into_iter().try_for_each(std::fs::remove_file)
}

/// Returns the files of all shards' marks.
fn marks(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut marks = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("sent.") && name.ends_with("mark") {
            marks.push(file.path());
        }
    }
    Ok(marks)
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

/// Returns the mark that a file has, and the term in which it was raised. `None`: the mark is not
/// to be believed.
fn parse(text: &str, boot: &str) -> Option<(Timestamp, Option<TermNumber>)> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let (former, micros, term) = (words.next()?, words.next()?, words.next()?);
    if boot.is_empty() || former != boot || words.next().is_some() {
        return None;
    }
    let term = term.parse().ok()?;
    let term = (term != ALONE).then(|| TermNumber::new(term));
    Some((whole_microseconds(micros.parse().ok()?)?, term))
}

/// The mark was cut to whole microseconds, so that up to one more may have been sent.
fn whole_microseconds(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros.checked_add(1)?).ok()
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
        for broken in ["", "x", "boot 12 3", "boot 12\n", "boot x 3\n", "boot 12 x\n", "boot 12 3 4\n"] {
            assert_eq!(parse(broken, "boot"), None, "{broken:?}");
        }
    }

    #[test]
    fn a_mark_tells_of_the_last_term_and_never_falls_from_one_to_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let begin = |number| {
            let permit = SendPermit::unlimited();
            SendWatermark::begin(directory.path(), &Shard::Common, TermNumber::new(number), permit)
        };
        let ended = || ended_terms(directory.path()).expect("read");
        let told = |number, micros| {
            let sent_up_to = Timestamp::from_microsecond(micros).expect("an instant");
            vec![EndedTerm { number: TermNumber::new(number), sent_up_to }]
        };
        assert_eq!(ended(), [], "there was no term");
        let mut mark = begin(7).expect("a mark");
        let nothing = Timestamp::MIN.as_microsecond() + 1;
        assert_eq!(ended(), told(7, nothing), "nothing was sent yet");
        mark.raise(at(100)).expect("raised");
        assert_eq!(ended(), told(7, 100_000_001));
        assert_eq!(mark.sent_up_to(), told(7, 100_000_001)[0].sent_up_to);
        begin(8).expect("a mark");
        assert_eq!(ended(), told(8, 100_000_002), "term 8 has sent nothing, and says no less than term 7");
        let (mut alone, _) =
            SendWatermark::open(directory.path(), &Shard::Common, SendPermit::unlimited()).expect("a mark");
        alone.raise(at(200)).expect("raised");
        assert_eq!(ended(), [], "a daemon that shares no journal leads no term");
        assert_eq!(
            read(directory.path(), &Shard::Common).expect("read").map(Timestamp::as_second),
            Some(200)
        );
    }
}
