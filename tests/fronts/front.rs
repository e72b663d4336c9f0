//! A front as Debian has it, and the origin behind it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::common::until;

/// A name that only the proxy knows, as this machine's.
pub const ELSEWHERE: &str = "api.invalid";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    /// nginx that speaks TLS.
    NginxTls,
    /// haproxy that speaks TLS.
    HaproxyTls,
    /// nginx that admits two requests a second, and answers others with 429 by itself.
    NginxLimited,
}

impl Kind {
    fn is_encrypted(self) -> bool {
        matches!(self, Kind::NginxTls | Kind::HaproxyTls)
    }
}

/// Where the daemon finds the API behind a front, and what its environment must say.
pub struct Access {
    pub url: String,
    pub variables: Vec<(&'static str, String)>,
}

/// Answers each run_now with an action, and notes when it came.
pub struct Origin {
    pub port: u16,
    arrived: Arc<Mutex<Vec<(String, Timestamp)>>>,
}

impl Origin {
    pub async fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let arrived: Arc<Mutex<Vec<(String, Timestamp)>>> = Arc::default();
        let noted = Arc::clone(&arrived);
        let left = Arc::new(AtomicU32::new(35_999));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let mut stream = BufReader::new(stream);
                let (noted, left) = (Arc::clone(&noted), Arc::clone(&left));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let at = Timestamp::now();
                        let text = String::from_utf8_lossy(&head).into_owned();
                        head.clear();
                        let job = text.split('/').skip_while(|part| *part != "jobs").nth(1);
                        let body = match job {
                            Some(job) if text.starts_with("POST") => {
                                let mut noted = noted.lock().expect("nobody panicked");
                                noted.push((job.to_owned(), at));
                                format!(r#"{{"response":{{"id":{}}}}}"#, noted.len())
                            }
                            _ => r#"{"response":[]}"#.to_owned(),
                        };
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-RateLimit-Limit: 36000\r\n\
                             X-RateLimit-Remaining: {}\r\nContent-Length: {}\r\n\r\n{body}",
                            left.fetch_sub(1, Relaxed),
                            body.len()
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Origin { port, arrived }
    }

    pub fn arrived(&self) -> Vec<(String, Timestamp)> {
        self.arrived.lock().expect("nobody panicked").clone()
    }
}

pub struct Front {
    pub port: u16,
    kind: Kind,
    process: Child,
    origin: u16,
    directory: tempfile::TempDir,
    /// The log of those processes that were stopped: haproxy empties the file when it starts.
    noted_before: String,
}

impl Front {
    /// Starts a front that closes connections which are idle for a second: the gap between two
    /// fires.
    pub fn start(kind: Kind, origin: u16) -> Front {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        if kind.is_encrypted() {
            certify(directory.path(), &["localhost", ELSEWHERE]);
        }
        let process = run(kind, directory.path(), port, origin);
        Front { port, kind, process, origin, directory, noted_before: String::new() }
    }

    /// Stops the front at once, with whatever is on its way through it, and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    /// Stops the front at once, with whatever is on its way through it.
    pub fn stop(&mut self) {
        terminate(&mut self.process);
        let log = log(self.directory.path());
        self.noted_before += &std::fs::read_to_string(&log).unwrap_or_default();
        // nginx goes on at the end of the file.
        std::fs::write(log, "").expect("the file");
    }

    /// Starts the front again after a stop.
    pub fn run(&mut self) {
        self.process = run(self.kind, self.directory.path(), self.port, self.origin);
    }

    pub fn access(&self) -> Access {
        match self.kind {
            Kind::Nginx | Kind::NginxLimited | Kind::Haproxy => {
                Access { url: format!("http://127.0.0.1:{}/api/3", self.port), variables: Vec::new() }
            }
            Kind::NginxTls | Kind::HaproxyTls => Access {
                url: format!("https://localhost:{}/api/3", self.port),
                variables: vec![(
                    "SSL_CERT_FILE",
                    self.directory.path().join("front.pem").display().to_string(),
                )],
            },
        }
    }

    /// Returns the front's log, a line for each request: when the first byte came, the client's
    /// port, and the path. nginx writes the instant at which the request ended, in seconds, and how
    /// long the request took; haproxy writes the instant in microseconds, and zero.
    #[allow(dead_code, reason = "one bench alone reads the log")]
    pub fn noted(&self) -> String {
        self.noted_before.clone() + &std::fs::read_to_string(log(self.directory.path())).unwrap_or_default()
    }

    /// Has the front read its settings again, as at the renewal of a certificate.
    pub fn reload(&self) {
        let signal = match self.kind {
            Kind::Nginx | Kind::NginxTls | Kind::NginxLimited => rustix::process::Signal::HUP,
            Kind::Haproxy | Kind::HaproxyTls => rustix::process::Signal::USR2,
        };
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal)
            .expect("it lives");
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        terminate(&mut self.process);
    }
}

/// The files of a certificate that vouches for itself.
pub struct Certificate {
    pub public: PathBuf,
    /// With its key, as haproxy has it.
    pub combined: PathBuf,
}

/// Writes a certificate for these names into a directory.
pub fn certify(directory: &Path, names: &[&str]) -> Certificate {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (public, combined) = (directory.join("front.pem"), directory.join("both.pem"));
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(&public, &certificate).expect("the certificate");
    std::fs::write(directory.join("front.key"), &key).expect("the key");
    std::fs::write(&combined, certificate + &key).expect("both");
    Certificate { public, combined }
}

pub fn free_port() -> u16 {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("its address").port()
}

/// Waits until something listens there.
pub fn listening(port: u16) {
    until("listening", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
    });
}

pub fn terminate(process: &mut Child) {
    // One that has ended already needs no signal.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(process),
        rustix::process::Signal::TERM,
    );
    let _ = process.wait();
}

fn log(place: &Path) -> PathBuf {
    place.join("access.log")
}

fn run(kind: Kind, place: &Path, port: u16, origin: u16) -> Child {
    // haproxy logs to its standard output, nginx to the file itself.
    let log = File::options().create(true).append(true).open(log(place)).expect("a file");
    let file = place.join("front.conf");
    let mut command = match kind {
        Kind::Nginx | Kind::NginxTls | Kind::NginxLimited => {
            std::fs::write(&file, nginx(place, port, origin, kind)).expect("the file");
            let mut command = Command::new("/usr/sbin/nginx");
            command.arg("-p").arg(place).arg("-e").arg(place.join("error.log")).arg("-c").arg(&file);
            command
        }
        Kind::Haproxy | Kind::HaproxyTls => {
            std::fs::write(&file, haproxy(place, port, origin, kind)).expect("the file");
            let mut command = Command::new("/usr/sbin/haproxy");
            command.arg("-W").arg("-f").arg(&file);
            command
        }
    };
    let process = command.stdout(log).stderr(Stdio::null()).spawn().expect("the front starts");
    listening(port);
    process
}

fn nginx(place: &Path, port: u16, origin: u16, kind: Kind) -> String {
    let tls = if kind.is_encrypted() {
        format!("ssl_certificate {0}/front.pem; ssl_certificate_key {0}/front.key;", place.display())
    } else {
        String::new()
    };
    let port = if kind.is_encrypted() { format!("{port} ssl") } else { port.to_string() };
    let (zone, limit) = match kind {
        Kind::NginxLimited => {
            ("limit_req_zone $server_port zone=z:1m rate=2r/s; limit_req_status 429;", "limit_req zone=z;")
        }
        Kind::Nginx | Kind::NginxTls | Kind::Haproxy | Kind::HaproxyTls => ("", ""),
    };
    let place = place.display();
    format!(
        "daemon off; worker_processes 2; pid {place}/pid; user root;\n\
         events {{ worker_connections 512; }}\n\
         http {{ log_format seen '$msec $request_time $remote_port $request_uri'; access_log {place}/access.log seen;\n\
         keepalive_timeout 1s; {zone}\n\
         client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
         uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
         server {{ listen 127.0.0.1:{port}; {tls} location / {{ {limit} proxy_pass http://127.0.0.1:{origin}; }} }} }}\n"
    )
}

fn haproxy(place: &Path, port: u16, origin: u16, kind: Kind) -> String {
    let tls =
        if kind.is_encrypted() { format!("ssl crt {}/both.pem", place.display()) } else { String::new() };
    format!(
        "global\n maxconn 500\n log stdout format raw local0\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n \
         timeout http-request 5s\n timeout http-keep-alive 1s\n log global\n option dontlognull\n\
         frontend f\n bind 127.0.0.1:{port} {tls}\n http-request set-var(txn.came) date(0,us)\n \
         log-format \"%[var(txn.came)] 0 %cp %HU\"\n default_backend b\n\
         backend b\n server o 127.0.0.1:{origin}\n"
    )
}
