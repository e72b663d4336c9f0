//! The command's end of the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{ControlAnswer, ErrorKind, Question};
use super::socket;

/// The longest answer, in bytes. The longest status has some hundred thousand.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The daemon answers within this time, even when its loop hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Why a daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {}; start it (`systemctl start stackcron`), or say where its state is with --state-dir DIR",
        listed(places)
    )]
    Nobody {
        /// The paths at which the socket was looked for.
        places: Vec<PathBuf>,
    },
    /// This user may not use the daemon's socket.
    #[error(
        "you may not use the daemon's socket {}: run the command {}",
        .0.display(),
        crate::permission::remedy(.0)
    )]
    Forbidden(PathBuf),
    /// The daemon has ended meanwhile.
    #[error("the daemon has gone; `systemctl status stackcron` or its log says why")]
    Gone,
    /// The daemon lives and does not answer.
    #[error("the daemon at {} does not answer: it hangs; see its log, and restart it", .0.display())]
    Silent(PathBuf),
    /// The daemon's answer cannot be understood: it is of another version.
    #[error(
        "the daemon's answer is not understood ({0}); it is of another version: restart it after an upgrade"
    )]
    Strange(String),
    /// The daemon says no, and why.
    #[error("{0}")]
    Refused(String),
    /// The daemon knows no entry of this name: the command was given a wrong one.
    #[error("{0}")]
    UnknownEntry(String),
    /// The occurrence is not claimed again.
    #[error("{0}")]
    Known(String),
    /// The daemon may do it when the entry's action has finished.
    #[error("{0}")]
    Busy(String),
}

fn listed(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    places.join(" or ")
}

/// A question that was asked, and the answers to it.
pub struct ControlAnswers {
    lines: io::Take<BufReader<UnixStream>>,
    place: PathBuf,
}

/// Asks the first daemon that listens at one of these places.
///
/// # Errors
/// When none can be asked.
pub fn ask(places: &[PathBuf], question: &Question) -> Result<ControlAnswers, ControlError> {
    let (stream, place) = connect(places)?;
    let line = question.line().map_err(|error| ControlError::Strange(error.to_string()))?;
    let mut answers = ControlAnswers { lines: BufReader::new(stream).take(LONGEST_ANSWER), place };
    answers.wait(ANSWERED_WITHIN);
    // A daemon that refuses a question has closed the connection, and said why before.
    let _ = answers.lines.get_mut().get_mut().write_all(line.as_bytes());
    Ok(answers)
}

fn connect(places: &[PathBuf]) -> Result<(UnixStream, PathBuf), ControlError> {
    let mut forbidden: Option<&Path> = None;
    for place in places {
        match socket::connect(place) {
            Ok(stream) => return Ok((stream, place.clone())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                forbidden = Some(place);
            }
            Err(_) => {}
        }
    }
    Err(match forbidden {
        Some(place) => ControlError::Forbidden(place.to_owned()),
        None => ControlError::Nobody { places: places.to_vec() },
    })
}

impl ControlAnswers {
    /// The next answer. `None` when none comes within this time.
    ///
    /// # Errors
    /// When the daemon refuses, has gone, or is not understood.
    pub fn within(&mut self, most: Duration) -> Result<Option<ControlAnswer>, ControlError> {
        self.wait(most);
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => return Err(ControlError::Gone),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(_) => return Err(ControlError::Gone),
        }
        match serde_json::from_str(&line) {
            Ok(ControlAnswer::Error { message, kind }) => Err(match kind {
                ErrorKind::Refused => ControlError::Refused(message),
                ErrorKind::UnknownEntry => ControlError::UnknownEntry(message),
                ErrorKind::Known => ControlError::Known(message),
                ErrorKind::Busy => ControlError::Busy(message),
            }),
            Ok(answer) => Ok(Some(answer)),
            Err(_) if !line.ends_with('\n') => Err(ControlError::Gone),
            Err(error) => Err(ControlError::Strange(error.to_string())),
        }
    }

    /// The next answer, which is there soon.
    ///
    /// # Errors
    /// As of [`ControlAnswers::within`], and when none comes.
    pub fn soon(&mut self) -> Result<ControlAnswer, ControlError> {
        self.within(ANSWERED_WITHIN)?.ok_or_else(|| ControlError::Silent(self.place.clone()))
    }

    fn wait(&self, most: Duration) {
        // Setting the timeout fails for a span of zero alone.
        let _ = self.lines.get_ref().get_ref().set_read_timeout(Some(most.max(Duration::from_millis(1))));
    }
}
