//! The bytes of a schedule: of its file, and of the calendar files that it names, each read once
//! and with bounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::Problem;
use super::{Loaded, Rejected, rejected, source};

/// The files of a schedule, as they were read at one time.
#[derive(Debug)]
pub struct Content {
    config: PathBuf,
    bytes: Vec<u8>,
    calendars: CalendarFiles,
}

impl Content {
    /// Reads a schedule file, and beside it the calendar files that an earlier version of it has
    /// named. Whatever the paths lead to, this ends soon and takes bounded memory.
    ///
    /// # Errors The one reason why the schedule file cannot be read. A calendar file that cannot be
    /// read is told of by [`Content::understand`], at the place that names it.
    pub fn read(config: &Path, calendars: &[PathBuf]) -> Result<Content, Rejected> {
        let bytes = source::read(config, &source::SCHEDULE)
            .map_err(|problem| rejected(&config.to_string_lossy(), "", problem))?;
        let mut files = CalendarFiles::beside(config);
        for path in calendars {
            files.read(path);
        }
        Ok(Content { config: config.to_owned(), bytes, calendars: files })
    }

    /// Validates what was read. Calendar files that are named and were not read before are read
    /// now.
    ///
    /// # Errors
    /// Everything that is wrong with the schedule, at once.
    pub fn understand(&mut self) -> Result<Loaded, Rejected> {
        let name = self.config.to_string_lossy();
        self.calendars.named.clear();
        match source::decode(&self.bytes) {
            Ok(text) => super::parse_with(&name, text, &mut self.calendars),
            Err(problem) => Err(rejected(&name, &String::from_utf8_lossy(&self.bytes), problem)),
        }
    }

    /// The calendar files that the schedule has named when it was last understood.
    pub fn calendars(&self) -> Vec<PathBuf> {
        self.calendars.named.clone()
    }

    /// What tells this content from another: the bytes of the schedule file, and of each calendar
    /// file that the schedule names its path and its bytes, or why there are none.
    pub fn parts<'c>(&'c self, calendars: &'c [PathBuf]) -> impl Iterator<Item = &'c [u8]> {
        let of_calendars = calendars.iter().flat_map(|path| {
            let content = match self.calendars.files.get(path) {
                Some(Ok(bytes)) => bytes.as_slice(),
                Some(Err(problem)) => problem.message.as_bytes(),
                None => &[],
            };
            [path.as_os_str().as_encoded_bytes(), content]
        });
        std::iter::once(self.bytes.as_slice()).chain(of_calendars)
    }
}

/// The calendar files of a schedule.
#[derive(Debug, Default)]
pub(super) struct CalendarFiles {
    /// The directory that relative paths begin at. `None`: the schedule is no file, and no calendar
    /// file is read.
    directory: Option<PathBuf>,
    files: BTreeMap<PathBuf, Result<Vec<u8>, Unreadable>>,
    /// The files that the schedule names, sorted, each once.
    named: Vec<PathBuf>,
}

/// Why a file is not read.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub message: String,
    pub help: String,
}

impl CalendarFiles {
    fn beside(config: &Path) -> CalendarFiles {
        let directory = config.parent().map_or_else(PathBuf::new, Path::to_owned);
        CalendarFiles { directory: Some(directory), ..CalendarFiles::default() }
    }

    /// The path that a name stands for, and what the file has.
    pub fn named(&mut self, name: &str) -> (PathBuf, Result<Vec<u8>, Unreadable>) {
        let path = match &self.directory {
            Some(directory) => directory.join(name),
            None => PathBuf::from(name),
        };
        if let Err(at) = self.named.binary_search(&path) {
            self.named.insert(at, path.clone());
        }
        let read = self.read(&path).clone();
        (path, read)
    }

    fn read(&mut self, path: &Path) -> &Result<Vec<u8>, Unreadable> {
        let readable = self.directory.is_some();
        self.files.entry(path.to_owned()).or_insert_with(|| {
            if !readable {
                let message = "a schedule that is no file has no calendar files".to_owned();
                return Err(Unreadable { message, help: "write the dates into the schedule".to_owned() });
            }
            source::read(path, &source::CALENDAR)
                .map_err(|Problem { message, help, .. }| Unreadable { message, help })
        })
    }
}
