//! The socket's file: where the daemon puts it, who may use it, and where commands look for it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Name of the socket in its directory.
pub const FILE_NAME: &str = "control.sock";

/// Mode of the socket: for its owner and its group alone.
const MODE: u32 = 0o660;

/// Mode of the socket's directory where the daemon creates it.
const DIRECTORY_MODE: u32 = 0o750;

/// The longest path that the kernel takes for a socket, in bytes.
const LONGEST_PATH: usize = 107;

/// Directory of the packaged service's socket.
const SERVICE: &str = "/run/stackcron";

/// A socket that is listened on. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    /// In the state directory, when the socket is not.
    link: Option<PathBuf>,
}

/// Returns the socket of a daemon with this state directory: in the runtime directory that systemd
/// gave it, or else in the state directory.
pub fn place(state: &Path) -> PathBuf {
    runtime_directory().unwrap_or_else(|| state.to_owned()).join(FILE_NAME)
}

/// Returns the paths at which commands look for the socket, in this order. `given` is the state
/// directory that the user named.
pub fn places(given: Option<&Path>, state: Option<&Path>) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given.join(FILE_NAME)];
    }
    let user = || Some(PathBuf::from(variable("XDG_RUNTIME_DIR")?).join("stackcron"));
    let directories = [runtime_directory(), state.map(Path::to_owned), user(), Some(SERVICE.into())];
    let mut places: Vec<PathBuf> =
        directories.into_iter().flatten().map(|directory| directory.join(FILE_NAME)).collect();
    places.dedup();
    places
}

/// Systemd gives several, with colons between, where a unit asks for several.
fn runtime_directory() -> Option<PathBuf> {
    let directories = variable("RUNTIME_DIRECTORY")?;
    std::env::split_paths(&directories).next().filter(|first| first.is_absolute())
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Socket {
    /// Listens at a path, for a daemon that has the journal in `state`. A file that a dead daemon
    /// left is replaced.
    ///
    /// # Errors
    /// When a living daemon listens there, or the directory cannot be written.
    pub(super) fn bind(path: &Path, state: &Path) -> io::Result<Socket> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
        if connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        // In a directory that nobody else can enter it is given its mode before anybody can use it,
        // and then takes the old one's place at once.
        let own = tempfile::Builder::new().prefix(".control-").tempdir_in(directory)?;
        let new = own.path().join(FILE_NAME);
        let listener = short(&new, |path| UnixListener::bind(path))?;
        fs::set_permissions(&new, Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        fs::rename(&new, path)?;
        let metadata = fs::symlink_metadata(path)?;
        let link = state.join(FILE_NAME);
        let link = match link == path {
            true => None,
            // For commands that are given the state directory.
            false => point(own.path(), path, &link).ok().map(|()| link),
        };
        Ok(Socket { listener, path: path.to_owned(), inode: (metadata.dev(), metadata.ino()), link })
    }
}

/// Puts a symbolic link in the place of whatever is there.
fn point(own: &Path, to: &Path, link: &Path) -> io::Result<()> {
    let directory = link.parent().unwrap_or(own);
    let new = tempfile::Builder::new().prefix(".control-").tempdir_in(directory)?;
    let at = new.path().join(FILE_NAME);
    symlink(to, &at)?;
    fs::rename(at, link)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another daemon may have its own there by now.
        let ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
            if let Some(link) = &self.link {
                let _ = fs::remove_file(link);
            }
        }
    }
}

/// Connects to the socket at a path.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    short(path, |path| UnixStream::connect(path))
}

/// Uses a socket's path, by way of its opened directory where it is too long for the kernel.
fn short<T>(path: &Path, used: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) if path.as_os_str().len() > LONGEST_PATH => {
            let directory = File::open(directory)?;
            used(&PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
        }
        _ => used(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path().join("run").join(FILE_NAME);
        fs::create_dir(state.path().join("run")).expect("a directory");
        // Dropping a listener leaves its file, as a killed process does.
        drop(UnixListener::bind(&path).expect("a socket"));
        connect(&path).expect_err("nobody listens");
        let socket = Socket::bind(&path, state.path()).expect("the stale one is replaced");
        connect(&path).expect("it is listened on");
        let refused = Socket::bind(&path, state.path()).expect_err("it lives");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        connect(&path).expect("and it still lives");
        connect(&state.path().join(FILE_NAME)).expect("the state directory leads to it");
        drop(socket);
        assert!(!path.exists(), "its file is gone");
        assert!(fs::symlink_metadata(state.path().join(FILE_NAME)).is_err(), "and what led to it");
    }

    #[test]
    fn owner_and_group_may_use_it_and_nobody_else() {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path().join("new").join(FILE_NAME);
        let _socket = Socket::bind(&path, &state.path().join("new")).expect("a socket");
        assert_eq!((mode(&path), mode(&state.path().join("new"))), (0o660, 0o750));
        let left: Vec<_> = fs::read_dir(state.path().join("new")).expect("a directory").collect();
        assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
    }

    #[test]
    fn a_path_that_is_too_long_for_the_kernel_can_be_used() {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path().join("d".repeat(200)).join(FILE_NAME);
        let socket = Socket::bind(&path, path.parent().expect("a directory")).expect("a socket");
        connect(&path).expect("it is listened on");
        drop(socket);
        assert!(!path.exists());
    }
}
