//! The log as the journal's own records: each field of an event is a field of the record, in capitals.
//!
//! By the native protocol of systemd-journald (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), from the thread that
//! writes the log: a journal that is slow makes nothing late. The fields are those of a
//! JSON line, so that both forms of the log tell the same.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use serde_json::Value;
use tracing::Level;

use super::Line;

/// The socket of journald.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal takes no longer name.
const LONGEST_NAME: usize = 64;

/// Sends lines as records.
pub(crate) struct Records {
    socket: UnixDatagram,
    path: &'static str,
}

impl Records {
    /// Looks whether somebody listens.
    ///
    /// # Errors
    /// When nobody does, as where there is no systemd.
    pub(super) fn open() -> io::Result<Records> {
        Records::to(SOCKET)
    }

    fn to(path: &'static str) -> io::Result<Records> {
        UnixDatagram::unbound()?.connect(path)?;
        // Not connected to: journald may be started anew.
        Ok(Records { socket: UnixDatagram::unbound()?, path })
    }

    /// Sends a line.
    ///
    /// # Errors
    /// When the journal does not take the record.
    pub(super) fn send(&self, line: &Line) -> io::Result<()> {
        let record = record(line);
        match self.socket.send_to(&record, self.path) {
            // Longer than a datagram may be: in a file, then.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.send_in_file(&record),
            sent => sent.map(drop),
        }
    }

    fn send_in_file(&self, record: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let mut file = File::from(memfd_create("stackcron-record", flags)?);
        file.write_all(record)?;
        // The journal takes it when nobody can change it any more.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let address = SocketAddrUnix::new(self.path)?;
        sendmsg_addr(&self.socket, &address, &[IoSlice::new(&[])], &mut ancillary, SendFlags::empty())?;
        Ok(())
    }
}

/// Returns true when stdout leads to the journal, as the service manager says, and was not led
/// elsewhere since.
pub(super) fn has_stdout() -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stdout()).is_ok_and(|stdout| format!("{}:{}", stdout.st_dev, stdout.st_ino) == told)
}

/// A line's fields in the form that the journal takes. What is null has no field.
fn record(line: &Line) -> Vec<u8> {
    let mut record = Vec::with_capacity(1024);
    put(&mut record, "SYSLOG_IDENTIFIER", "stackcron");
    put(&mut record, "PRIORITY", priority(line.level));
    for (key, value) in line.fields.iter() {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        put(&mut record, &name(key), &value);
    }
    record
}

/// The syslog priority of a level.
pub(super) fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A key as the journal names it: capitals, digits and `_`, and first a letter.
fn name(key: &str) -> String {
    let name = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    name.skip_while(|c| !c.is_ascii_alphabetic()).take(LONGEST_NAME).collect()
}

/// The value may have any byte: its length goes before it.
fn put(record: &mut Vec<u8>, name: &str, value: &str) {
    if name.is_empty() {
        return;
    }
    record.extend_from_slice(name.as_bytes());
    record.push(b'\n');
    record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    record.extend_from_slice(value.as_bytes());
    record.push(b'\n');
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::log::line::LineFields;

    fn line(level: Level, fields: Value) -> Line {
        let Value::Object(fields) = fields else { panic!("an object") };
        let mut line = Line { at: Timestamp::UNIX_EPOCH, level, fields: LineFields::default() };
        for (name, value) in fields {
            line.fields.put(name, value);
        }
        line
    }

    /// A record as names and values.
    fn parsed(mut record: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while !record.is_empty() {
            let end = record.iter().position(|&byte| byte == b'\n').expect("a name");
            let length: [u8; 8] = record[end + 1..end + 9].try_into().expect("a length");
            let value = end + 9..end + 9 + u64::from_le_bytes(length) as usize;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
            fields.push((text(&record[..end]), text(&record[value.clone()])));
            assert_eq!(record[value.end], b'\n');
            record = &record[value.end + 1..];
        }
        fields
    }

    #[test]
    fn each_field_of_a_line_is_one_of_the_record_and_none_can_forge_another() {
        let fields = json!({
            "level": "error", "message": "two\nENTRY=other", "entry": "nightly", "status": 404, "action_user": null,
            "action_finished_success": false, "_PID": "1", "ä.b": [1], "": "none",
        });
        let fields = parsed(&record(&line(Level::ERROR, fields)));
        let expected = [
            ("SYSLOG_IDENTIFIER", "stackcron"),
            ("PRIORITY", "3"),
            ("LEVEL", "error"),
            ("MESSAGE", "two\nENTRY=other"),
            ("ENTRY", "nightly"),
            ("STATUS", "404"),
            ("ACTION_FINISHED_SUCCESS", "false"),
            ("PID", "1"),
            ("B", "[1]"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(name(&"x".repeat(100)).len(), LONGEST_NAME);
    }

    #[test]
    fn a_record_of_any_length_arrives() {
        let directory = tempfile::tempdir().expect("a directory");
        let path: &'static str =
            Box::leak(directory.path().join("socket").display().to_string().into_boxed_str());
        let journal = UnixDatagram::bind(path).expect("a socket");
        let records = Records::to(path).expect("somebody listens");
        records.send(&line(Level::INFO, json!({ "message": "short" }))).expect("sent");
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).expect("a record");
        assert!(parsed(&buffer[..length]).contains(&("MESSAGE".to_owned(), "short".to_owned())));

        let long = json!({ "message": "x".repeat(4_000_000) });
        records.send(&line(Level::INFO, long)).expect("sent");
        let file = received_file(&journal);
        let mut text = String::new();
        let mut file = File::from(file);
        io::Seek::rewind(&mut file).expect("the file");
        io::Read::read_to_string(&mut file, &mut text).expect("the file");
        assert!(text.ends_with(&format!("{}\n", "x".repeat(4_000_000))));
        assert!(file.write_all(b"more").is_err(), "it is sealed");
    }

    fn received_file(socket: &UnixDatagram) -> std::os::fd::OwnedFd {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(socket, &mut [], &mut ancillary, RecvFlags::empty()).expect("a message");
        let message = ancillary.drain().next().expect("a file");
        let RecvAncillaryMessage::ScmRights(mut files) = message else { panic!("no file") };
        files.next().expect("a file")
    }
}
