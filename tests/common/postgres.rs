//! A PostgreSQL server of the tests' own, from the system's binaries: in a directory that is thrown
//! away, on a Unix socket, and durable as any other.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

/// A running server. It ends with this value, or with this process, however that ends.
pub struct Server {
    binaries: PathBuf,
    directory: PathBuf,
    child: Child,
    /// Its end is the server's.
    _leash: ChildStdin,
}

const SETTINGS: &str = "
listen_addresses = ''
fsync = on
max_connections = 200
shared_buffers = 32MB
max_wal_size = 256MB
log_min_messages = fatal
";

/// Makes a new cluster.
const NEW: &str = r#"
    "$0/initdb" -D data -U stackcron --auth=trust -E UTF8 --locale=C --no-sync >initdb.log 2>&1 &&
    cat settings >>data/postgresql.conf"#;

/// Starts the server of the cluster that `$2` makes, waits for the end of its leash, and clears up.
const SCRIPT: &str = r#"
    trap '' INT HUP
    eval "$2" &&
    "$0/pg_ctl" start -w -s -D data -l log -o "-k $PWD" && echo ready || { cat initdb.log log >&2; echo failed; }
    read -r _
    "$0/pg_ctl" stop -s -w -D data -m immediate >/dev/null 2>&1
    cd / && rm -rf "$1"
"#;

impl Server {
    /// Starts one. `None`, said loudly, where there are no binaries.
    pub fn start() -> Option<Server> {
        let Some(binaries) = binaries() else {
            let _ = writeln!(
                std::io::stderr(),
                "NOT TESTED: no PostgreSQL here (no initdb in /usr/lib/postgresql/*/bin nor in $PATH); install the \
                 package postgresql to test the journal that several daemons share"
            );
            return None;
        };
        Some(Server::of(binaries, NEW))
    }

    /// A replica of this one, as its commits see it once `synchronous_standby_names` says so.
    pub fn replica(&self) -> Server {
        let primary = self.directory.display();
        let copy = format!(
            r#""$0/pg_basebackup" -D data -R -U stackcron -h {primary} -c fast --no-sync >initdb.log 2>&1"#
        );
        Server::of(self.binaries.clone(), &copy)
    }

    /// The server of a cluster that these commands of a shell make.
    fn of(binaries: PathBuf, make: &str) -> Server {
        let directory =
            tempfile::Builder::new().prefix("stackcron-pg-").tempdir().expect("a directory").keep();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("its mode");
        std::fs::write(directory.join("settings"), SETTINGS).expect("its settings");
        let mut command = unprivileged(&directory, "sh");
        let mut child = command
            .args(["-c", SCRIPT])
            .arg(&binaries)
            .arg(&directory)
            .arg(make)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let leash = child.stdin.take().expect("a pipe");
        let mut answer = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut answer).expect("an answer");
        assert_eq!(answer.trim(), "ready", "PostgreSQL starts");
        Server { binaries, directory, child, _leash: leash }
    }

    /// The server that all tests of a program share, for those that leave it as it is.
    pub fn shared() -> Option<&'static Server> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(Server::start).as_ref()
    }

    /// A new database. Its name.
    pub fn database(&self) -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), LAST.fetch_add(1, Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The URL of a database, over the socket.
    pub fn url(&self, database: &str) -> String {
        let host = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://stackcron@{host}/{database}")
    }

    /// Where its socket is.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// The number of its first process.
    pub fn id(&self) -> u32 {
        let text = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).expect("it runs");
        text.lines().next().and_then(|line| line.parse().ok()).expect("a number")
    }

    /// Writes a file in its directory, for it alone.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("its mode");
    }

    /// Writes a file of its configuration, and starts it again.
    pub fn configure(&self, file: &str, text: &str) {
        self.write(file, text);
        self.control(&["restart", "-m", "fast"]);
    }

    /// Runs SQL, and returns what it prints, a row a line.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.sql_at(5432, database, sql)
    }

    /// The same, of a server that was moved to another port.
    pub fn sql_at(&self, port: u16, database: &str, sql: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "stackcron", "-d", database, "-c", sql])
            .args(["-p", &port.to_string(), "-h"])
            .arg(&self.directory)
            .output()
            .expect("psql");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    }

    /// A database as `pg_dump` writes it: commands that `sql` takes.
    pub fn dump(&self, database: &str) -> String {
        let output = Command::new(self.binaries.join("pg_dump"))
            .args(["--inserts", "-U", "stackcron", "-p", "5432", "-h"])
            .arg(&self.directory)
            .arg(database)
            .output()
            .expect("pg_dump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dump = String::from_utf8(output.stdout).expect("UTF-8");
        // What only psql understands protects psql from the dump.
        dump.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
    }

    /// `pg_ctl` on it: `["stop", "-m", "fast"]`, and so on.
    pub fn control(&self, arguments: &[&str]) {
        let status = unprivileged(&self.directory, &self.binaries.join("pg_ctl").display().to_string())
            .args(arguments)
            .args(["-s", "-w", "-D", "data", "-l", "log", "-o"])
            .arg(format!("-k {}", self.directory.display()))
            .stdout(Stdio::null())
            .status()
            .expect("pg_ctl");
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        assert!(status.success(), "pg_ctl {arguments:?}: {log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (read, write) = std::io::pipe().expect("a pipe");
        drop(read);
        // The leash is let go before it is waited for.
        self._leash = ChildStdin::from(std::os::fd::OwnedFd::from(write));
        let _ = self.child.wait();
    }
}

/// A program in the server's directory, by a user whom PostgreSQL serves: it refuses root.
fn unprivileged(directory: &Path, program: &str) -> Command {
    let mut command = match rustix::process::geteuid().is_root() {
        false => Command::new(program),
        true => {
            let owned = Command::new("chown").args(["-R", "nobody"]).arg(directory).status();
            assert!(owned.expect("chown").success(), "the directory is nobody's");
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", program]);
            command
        }
    };
    command.current_dir(directory).env("LC_ALL", "C");
    command
}

/// The newest PostgreSQL of the system.
fn binaries() -> Option<PathBuf> {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = packaged.map(|version| version.path().join("bin"));
    let found = packaged.filter(|place| place.join("initdb").exists()).max_by_key(|place| {
        let version = place.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<f64>().ok()).map_or(0, |version| (version * 10.0) as u64)
    });
    found.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .find(|place| place.join("initdb").exists() && place.join("psql").exists())
    })
}

/// Stands between a daemon and the server, and can be cut.
pub struct Proxy {
    address: std::net::SocketAddr,
    way: Arc<Way>,
}

/// What happens to what passes.
#[derive(Default)]
struct Way {
    cut: AtomicBool,
    delay_ms: AtomicU32,
    /// How many connections there were so far.
    made: AtomicU32,
    /// On the connections up to this one, nothing passes in the one direction or in the other.
    stranded: [AtomicU32; 2],
    /// On a connection that has asked this, nothing passes from then on.
    swallows: Mutex<Option<&'static str>>,
    swallowed: Mutex<Vec<u32>>,
}

/// What does not come through on the connections that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strand {
    /// What the server is asked.
    Questions,
    /// What it answers.
    Answers,
}

impl Way {
    fn holds(&self, number: u32, what: Strand) -> bool {
        self.cut.load(Relaxed)
            || number <= self.stranded[what as usize].load(Relaxed)
            || self.swallowed.lock().expect("the numbers").contains(&number)
    }

    /// Whether this is what connections are swallowed for.
    fn swallows(&self, number: u32, message: &[u8]) -> bool {
        let text = self.swallows.lock().expect("the text");
        let found = text.is_some_and(|text| message.windows(text.len()).any(|part| part == text.as_bytes()));
        if found {
            self.swallowed.lock().expect("the numbers").push(number);
        }
        found
    }

    fn pass(
        &self,
        mut from: impl std::io::Read,
        (number, what): (u32, Strand),
        mut to: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) {
        let mut bytes = [0; 65536];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            while self.holds(number, what) {
                sleep_ms(20);
            }
            if to(&bytes[..read]).is_err() {
                break;
            }
        }
        // Nor does the end of a connection come through.
        while self.holds(number, what) {
            sleep_ms(20);
        }
    }
}

impl Proxy {
    /// Forwards connections to the server's socket.
    pub fn before(server: &Server) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let way = Arc::<Way>::default();
        let proxy = Proxy { address, way: Arc::clone(&way) };
        let socket = server.socket();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = std::os::unix::net::UnixStream::connect(&socket) else { continue };
                let number = way.made.fetch_add(1, Relaxed) + 1;
                let back = (upstream.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let ends = (upstream.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                let (there, here) = (Arc::clone(&way), Arc::clone(&way));
                std::thread::spawn(move || {
                    let mut messages = Messages::default();
                    there.pass(client, (number, Strand::Questions), |bytes| {
                        messages.take(bytes, |message| {
                            there.swallows(number, message);
                            while there.holds(number, Strand::Questions) {
                                sleep_ms(20);
                            }
                            // A query, or the end of one in several messages.
                            if matches!(message[0], b'Q' | b'S') {
                                sleep_ms(there.delay_ms.load(Relaxed));
                            }
                            (&upstream).write_all(message)
                        })
                    });
                    let _ = ends.0.shutdown(std::net::Shutdown::Write);
                });
                std::thread::spawn(move || {
                    here.pass(back.0, (number, Strand::Answers), |bytes| (&back.1).write_all(bytes));
                    let _ = ends.1.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        proxy
    }

    /// The URL of a database by this way.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://stackcron@{}/{database}", self.address)
    }

    /// From now on nothing comes through, and nobody is told; or it does again.
    pub fn cut(&self, cut: bool) {
        self.way.cut.store(cut, Relaxed);
    }

    /// On the connections that there are, this does not come through, and nobody is told. On others
    /// it does.
    pub fn strand(&self, what: Strand) {
        self.way.stranded[what as usize].store(self.way.made.load(Relaxed), Relaxed);
    }

    /// From now on, a connection on which this is asked swallows that and all that comes after it,
    /// and nobody is told. Others go on. `None`: no connection does any more.
    pub fn swallow(&self, text: Option<&'static str>) {
        *self.way.swallows.lock().expect("the text") = text;
        if text.is_none() {
            self.way.swallowed.lock().expect("the numbers").clear();
        }
    }

    /// No further connection swallows what it is asked; those that do go on to.
    pub fn swallow_no_more(&self) {
        *self.way.swallows.lock().expect("the text") = None;
    }

    /// How many connections there were so far.
    pub fn made(&self) -> u32 {
        self.way.made.load(Relaxed)
    }

    /// What is stranded comes through.
    pub fn deliver(&self) {
        self.way.stranded.iter().for_each(|up_to| up_to.store(0, Relaxed));
    }

    /// From now on each statement takes so long.
    pub fn delay(&self, ms: u32) {
        self.way.delay_ms.store(ms, Relaxed);
    }
}

fn sleep_ms(ms: u32) {
    std::thread::sleep(std::time::Duration::from_millis(ms.into()));
}

/// Bytes of a client as the messages that they are.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Before that, a message has no kind in front of its length.
    started: bool,
}

impl Messages {
    /// Takes bytes in, and hands out each message that is there to its end.
    ///
    /// # Errors
    /// The first of `each`.
    pub fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        const VERSION: [u8; 4] = [0, 3, 0, 0];
        self.bytes.extend(bytes);
        let mut taken = 0;
        loop {
            let (bytes, kind) = (&self.bytes[taken..], usize::from(self.started));
            let length = bytes.get(kind..kind + 4).and_then(|length| length.try_into().ok());
            let end = length.map(|length| kind + u32::from_be_bytes(length) as usize);
            let Some(message) = end.and_then(|end| bytes.get(..end)) else { break };
            each(message)?;
            taken += message.len();
            self.started |= message.get(4..8) == Some(&VERSION);
        }
        self.bytes.drain(..taken);
        Ok(())
    }
}
