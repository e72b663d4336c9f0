//! The bytes of a schedule: of its file or the files of its directory, and of the calendar files
//! that they name, each read once and with bounds.
//!
//! Of a directory every file is read whose name ends in `.yaml`, in the order of their names. What
//! an editor leaves beside them (`a.yaml~`, `.a.yaml.swp`, `#a.yaml#`) and the `..data` of a
//! ConfigMap are no such names: one that begins with a dot is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::{Problem, ProblemReport};
use super::sources::Sources;
use super::{Loaded, Rejected, Text, rejected, source};

/// The files of a schedule, as they were read at one time.
#[derive(Debug)]
pub struct Content {
    config: PathBuf,
    /// Paths and bytes, in the order of the names.
    files: Vec<(PathBuf, Vec<u8>)>,
    calendars: CalendarFiles,
}

/// Files of a directory that are read at most. A directory with more is no schedule's.
const MOST_FILES: usize = 10_000;

/// The end of the names of the files that are read of a directory.
pub(crate) const EXTENSION: &str = "yaml";

impl Content {
    /// Reads a schedule file, or the files of a directory, and with them the calendar files that an
    /// earlier version has named. Whatever the paths lead to, this ends soon and takes bounded
    /// memory.
    ///
    /// # Errors
    /// Why schedule files cannot be read. A calendar file that cannot be read is told of by
    /// [`Content::understand`], at the place that names it.
    pub fn read(config: &Path, calendars: &[PathBuf]) -> Result<Content, Rejected> {
        let whole = |problem| rejected(&config.to_string_lossy(), "", problem);
        let files = match config.is_dir() {
            true => read_all(&source::listed(config, EXTENSION, MOST_FILES).map_err(whole)?)?,
            false => vec![(config.to_owned(), source::read(config, &source::SCHEDULE).map_err(whole)?)],
        };
        let mut calendar_files = CalendarFiles::beside(config);
        for path in calendars {
            calendar_files.read(path);
        }
        Ok(Content { config: config.to_owned(), files, calendars: calendar_files })
    }

    /// The bytes of a schedule file that come from elsewhere, as from a pipe. Calendar files that
    /// it names are looked for beside `config`.
    pub fn given(name: &str, bytes: Vec<u8>, config: &Path) -> Content {
        let name = PathBuf::from(name);
        Content { config: name.clone(), files: vec![(name, bytes)], calendars: CalendarFiles::beside(config) }
    }

    /// The paths of the files that make up a schedule now, besides the one that names it: those of
    /// a directory.
    pub fn files_of(config: &Path) -> Vec<PathBuf> {
        match config.is_dir() {
            true => source::listed(config, EXTENSION, MOST_FILES).unwrap_or_default(),
            false => Vec::new(),
        }
    }

    /// Validates what was read. Calendar files that are named and were not read before are read
    /// now.
    ///
    /// # Errors
    /// Everything that is wrong with the schedule, at once.
    pub fn understand(&mut self) -> Result<Loaded, Rejected> {
        let name = self.config.to_string_lossy();
        self.calendars.named.clear();
        let paths: Vec<_> = self.files.iter().map(|(path, _)| path.to_string_lossy()).collect();
        let mut texts = Vec::with_capacity(self.files.len());
        let (mut report, mut sources) = (ProblemReport::default(), Sources::named(&name));
        for ((_, bytes), path) in self.files.iter().zip(&paths) {
            match source::decode(bytes) {
                Ok(text) => texts.push(Text { path, text }),
                Err(problem) => {
                    let base = sources.add(path, &String::from_utf8_lossy(bytes));
                    report.error(problem.later(base));
                }
            }
        }
        if report.has_errors() {
            return Err(Rejected { diagnostics: report.finish(&sources), cut: false });
        }
        super::parse_with(&name, &texts, &mut self.calendars)
    }

    /// The calendar files that the schedule has named when it was last understood.
    pub fn calendars(&self) -> Vec<PathBuf> {
        self.calendars.named.clone()
    }

    /// Returns the parts by which this content differs from another: the bytes of the schedule
    /// file, or the name and the bytes of each file of a directory; and the path and the bytes of
    /// each calendar file that the schedule names, or why it cannot be read.
    pub fn parts<'c>(&'c self, calendars: &'c [PathBuf]) -> impl Iterator<Item = &'c [u8]> {
        let of_calendars = calendars.iter().flat_map(|path| {
            let content = match self.calendars.files.get(path) {
                Some(Ok(bytes)) => bytes.as_slice(),
                Some(Err(problem)) => problem.message.as_bytes(),
                None => &[],
            };
            [path.as_os_str().as_encoded_bytes(), content]
        });
        let is_alone = self.files.first().is_some_and(|(path, _)| *path == self.config);
        let of_files = self.files.iter().flat_map(move |(path, bytes)| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            (!is_alone).then_some(name).into_iter().chain([bytes.as_slice()])
        });
        of_files.chain(of_calendars)
    }
}

/// Reads the files of a directory.
fn read_all(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>)>, Rejected> {
    let mut files = Vec::with_capacity(paths.len());
    let mut rejections = Rejected { diagnostics: Vec::new(), cut: false };
    let mut bytes_read = 0;
    for path in paths {
        let name = path.to_string_lossy();
        match source::read(path, &source::PART) {
            Ok(bytes) => {
                bytes_read += bytes.len() as u64;
                files.push((path.clone(), bytes));
            }
            Err(problem) => rejections.diagnostics.extend(rejected(&name, "", problem).diagnostics),
        }
        if bytes_read > source::MAX_BYTES {
            return Err(rejected(&name, "", source::too_large_together()));
        }
    }
    match rejections.diagnostics.is_empty() {
        true => Ok(files),
        false => Err(rejections),
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
        let directory = match config.is_dir() {
            true => config.to_owned(),
            false => config.parent().map_or_else(PathBuf::new, Path::to_owned),
        };
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
