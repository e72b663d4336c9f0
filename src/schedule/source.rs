//! The file's text, read with bounds: whatever the path leads to, reading ends soon and takes
//! bounded memory.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::diagnostic::Code;
use super::report::Problem;

/// The largest file that is read, in bytes. A million entries fit, with uids as Cloud 66 has them.
pub const MAX_BYTES: u64 = 256 << 20;

/// The largest calendar file that is read, in bytes. Public feeds of holidays have a tenth.
const MAX_CALENDAR_BYTES: u64 = 8 << 20;

/// The purpose of reading a file, with the bound of its size and the remedy where it cannot be
/// read.
pub(super) struct SourcePurpose {
    most: u64,
    missing: &'static str,
    not_a_file: &'static str,
    too_large: &'static str,
}

/// The schedule file itself.
pub(super) const SCHEDULE: SourcePurpose = SourcePurpose {
    most: MAX_BYTES,
    missing: "name the schedule file with `--config FILE`, or create it",
    not_a_file: "name a regular file, as in `--config /etc/stackcron/schedule.yaml`",
    too_large: "make it smaller, or split it among several daemons",
};

/// One of the schedule files of a directory.
pub(super) const PART: SourcePurpose = SourcePurpose {
    most: MAX_BYTES,
    missing: "create what the name leads to, or remove the name",
    not_a_file: "of a directory every name that ends in `.yaml` is a schedule file: give this one another name",
    too_large: "make it smaller, or split it among several daemons",
};

/// A file that a calendar names.
pub(super) const CALENDAR: SourcePurpose = SourcePurpose {
    most: MAX_CALENDAR_BYTES,
    missing: "create the file, or name another one: a path that is not absolute begins beside the schedule file",
    not_a_file: "name a regular file",
    too_large: "leave out what is long past",
};

/// The bytes as text, which is UTF-8.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let message = format!("the byte 0x{:02X} is no UTF-8", bytes[at]);
        // A replacement character stands for the byte where the text is shown.
        let replaced = char::REPLACEMENT_CHARACTER.len_utf8();
        not_text(at..at + replaced, message, "save the file as UTF-8")
    })
}

/// Checks the rules for every text, wherever it comes from.
pub(super) fn screen(text: &str) -> Result<(), Problem> {
    if text.len() as u64 > MAX_BYTES {
        return Err(too_large(&SCHEDULE));
    }
    let control = text.bytes().position(|byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r'));
    match control.map(|at| (at, text.as_bytes()[at])) {
        None => Ok(()),
        Some((at, 0)) => Err(not_text(
            at..at + 1,
            "a NUL byte, which no text has".into(),
            "remove the byte, or save the file as UTF-8 if it is UTF-16",
        )),
        Some((at, byte)) => {
            let name = match byte {
                0x0b => " (vertical tab)",
                0x0c => " (form feed)",
                0x1b => " (escape)",
                _ => "",
            };
            let message = format!("the control character U+{byte:04X}{name}, which YAML does not allow");
            Err(not_text(at..at + 1, message, "remove the control character"))
        }
    }
}

/// The files of a directory whose names have an extension, in the order of their names. Those that
/// begin with a dot are left out.
pub(super) fn listed(directory: &Path, extension: &str, most: usize) -> Result<Vec<PathBuf>, Problem> {
    let found = std::fs::read_dir(directory).map_err(|error| unreadable(&error, &SCHEDULE))?;
    let mut paths = Vec::new();
    for name in found {
        let name = name.map_err(|error| unreadable(&error, &SCHEDULE))?.file_name();
        let is_hidden = name.as_encoded_bytes().first() == Some(&b'.');
        if !is_hidden && Path::new(&name).extension().is_some_and(|end| end == extension) {
            paths.push(directory.join(name));
        }
        if paths.len() > most {
            let message = format!("the directory has more than {most} files");
            let help = "name a directory that has schedule files alone".into();
            return Err(Problem { code: Code::TooLarge, span: None, message, help, related: None });
        }
    }
    if paths.is_empty() {
        let message = format!("no file of the directory has a name that ends in `.{extension}`");
        let help = "create one, as in `schedule.yaml`, or name another directory".into();
        return Err(Problem { code: Code::Unreadable, span: None, message, help, related: None });
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Files that are too large, taken together.
pub(super) fn too_large_together() -> Problem {
    let message = format!("the files of the directory are larger than {} MiB together", MAX_BYTES >> 20);
    let help = "make them smaller, or split them among several daemons".into();
    Problem { code: Code::TooLarge, span: None, message, help, related: None }
}

/// Reads the file's bytes.
pub(super) fn read(path: &Path, purpose: &SourcePurpose) -> Result<Vec<u8>, Problem> {
    // Without NONBLOCK, opening a FIFO that nobody writes to would wait forever.
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(|error| unreadable(&error, purpose))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error, purpose))?;
    if !metadata.is_file() {
        return Err(not_a_file(if metadata.is_dir() { "a directory" } else { "no regular file" }, purpose));
    }
    if metadata.len() > purpose.most {
        return Err(too_large(purpose));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The file may grow while it is read.
    let mut bounded = file.take(purpose.most + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| unreadable(&error, purpose))?;
    if bytes.len() as u64 > purpose.most {
        return Err(too_large(purpose));
    }
    Ok(bytes)
}

fn not_text(span: Range<usize>, message: String, help: &str) -> Problem {
    Problem { code: Code::NotText, span: Some(span), message, help: help.into(), related: None }
}

fn unreadable(error: &io::Error, purpose: &SourcePurpose) -> Problem {
    let (message, help) = match error.kind() {
        io::ErrorKind::NotFound => ("there is no such file".into(), purpose.missing),
        io::ErrorKind::PermissionDenied => {
            ("the file may not be read".into(), "let the user that stackcron runs as read it")
        }
        _ => (
            format!("the file cannot be read: {error}"),
            "see that the path leads to a file that can be read",
        ),
    };
    Problem { code: Code::Unreadable, span: None, message, help: help.into(), related: None }
}

fn not_a_file(what: &str, purpose: &SourcePurpose) -> Problem {
    Problem {
        code: Code::Unreadable,
        span: None,
        message: format!("this is {what}"),
        help: purpose.not_a_file.into(),
        related: None,
    }
}

fn too_large(purpose: &SourcePurpose) -> Problem {
    Problem {
        code: Code::TooLarge,
        span: None,
        message: format!("the file is larger than {} MiB", purpose.most >> 20),
        help: purpose.too_large.into(),
        related: None,
    }
}
