//! The log as the journal's own records: each field of an event is a field of the record, in capitals.
//!
//! By the native protocol of systemd-journald (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), from the thread that
//! writes the log: a journal that is slow makes nothing late. The lines of [`super::json`] are what is taken apart, so
//! that both forms of the log tell the same.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use serde_json::{Map, Value};

/// The socket of journald.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal takes no longer name.
const LONGEST_NAME: usize = 64;

/// Takes JSON lines, one with each write, and sends each as a record.
pub(super) struct Records {
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

    fn send(&self, record: &[u8]) -> io::Result<()> {
        match self.socket.send_to(record, self.path) {
            // Longer than a datagram may be: in a file, then.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => self.send_in_file(record),
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

impl Write for Records {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let record = serde_json::from_slice::<Map<String, Value>>(line).map(|fields| record(&fields));
        // A record that the journal does not take goes to the usual output, so that no line is
        // dropped.
        match record.map_err(io::Error::from).and_then(|record| self.send(&record)) {
            Ok(()) => Ok(line.len()),
            Err(_) => io::stdout().write_all(line).map(|()| line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Returns true when stdout leads to the journal, as the service manager says, and was not led
/// elsewhere since.
pub(super) fn has_stdout() -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stdout()).is_ok_and(|stdout| format!("{}:{}", stdout.st_dev, stdout.st_ino) == told)
}

/// Takes JSON lines, one with each write, and writes them to a stdout that leads to the journal: with their priority
/// in front, which the journal takes away again and knows the line by. So `journalctl -p warning` finds them.
pub(super) struct Prioritized<W>(pub(super) W);

impl<W: Write> Write for Prioritized<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // The first key of a line is its timestamp, the second its level.
        let level =
            text.split_once("\"level\":\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        self.0.write_all(format!("<{}>{text}", priority(level)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line's fields in the form that the journal takes. What is null has no field.
fn record(fields: &Map<String, Value>) -> Vec<u8> {
    let mut record = Vec::with_capacity(1024);
    put(&mut record, "SYSLOG_IDENTIFIER", "stackcron");
    for (key, value) in fields {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if key == "level" {
            put(&mut record, "PRIORITY", priority(&value));
        }
        put(&mut record, &name(key), &value);
    }
    record
}

/// The syslog priority of a level.
fn priority(level: &str) -> &'static str {
    match level {
        "error" => "3",
        "warn" => "4",
        "info" => "6",
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
    use serde_json::json;

    use super::*;

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
        let line = json!({
            "level": "error", "message": "two\nENTRY=other", "entry": "nightly", "status": 404, "action_user": null,
            "action_finished_success": false, "_PID": "1", "ä.b": [1], "": "none",
        });
        let fields = parsed(&record(line.as_object().expect("an object")));
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
    fn a_line_has_its_priority_in_front() {
        let mut lines = Prioritized(Vec::new());
        let line = br#"{"timestamp":"2026-11-25T01:30:00Z","level":"warn","message":"\"level\":\"error\""}"#;
        lines.write_all(line).expect("memory");
        assert_eq!(lines.0, [b"<4>", &line[..]].concat());
    }

    #[test]
    fn a_record_of_any_length_arrives() {
        let directory = tempfile::tempdir().expect("a directory");
        let path: &'static str =
            Box::leak(directory.path().join("socket").display().to_string().into_boxed_str());
        let journal = UnixDatagram::bind(path).expect("a socket");
        let mut records = Records::to(path).expect("somebody listens");
        records.write_all(br#"{"message":"short"}"#).expect("sent");
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).expect("a record");
        assert!(parsed(&buffer[..length]).contains(&("MESSAGE".to_owned(), "short".to_owned())));

        let long = json!({ "message": "x".repeat(4_000_000) }).to_string();
        records.write_all(long.as_bytes()).expect("sent");
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
