//! When requests left and came, told by others than this program: the kernel, by tcpdump, and the
//! front, by its own log.
//!
//! ```text
//! 12:00:00.000100  the daemon takes the time: sent_at
//! 12:00:00.000150  the kernel sends the packet that carries the request: tcpdump has this instant
//! 12:00:00.000300  the front is given the CPU and reads the request: its log has this instant
//! 12:00:00.000900  the origin behind the front has read the request
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use jiff::{SignedDuration, Timestamp};

/// nginx tells whole milliseconds, cut off: on average half of one is missing.
const HALF_MS: SignedDuration = SignedDuration::from_micros(500);

/// A packet is a request's when the packet left before the front noted the request, by clocks that
/// are this coarse.
const COARSE: SignedDuration = SignedDuration::from_millis(1);

/// A request as a front has noted it.
#[derive(Clone)]
pub struct NotedRequest {
    /// The first byte came.
    pub at: Timestamp,
    /// The client's.
    pub port: u16,
}

/// Reads a front's log (`Front::noted`): the requests of each job.
pub fn requests(log: &str) -> HashMap<String, Vec<NotedRequest>> {
    let mut noted: HashMap<String, Vec<NotedRequest>> = HashMap::new();
    for (job, request) in log.lines().filter_map(request) {
        noted.entry(job).or_default().push(request);
    }
    noted
}

/// `None`: the line is no run_now's.
fn request(line: &str) -> Option<(String, NotedRequest)> {
    let mut words = line.split(' ');
    let (end, took, port, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let job = path.strip_suffix("/run_now")?.rsplit('/').next()?;
    let at = match end.split_once('.') {
        Some((seconds, millis)) => {
            let end = Timestamp::from_millisecond(format!("{seconds}{millis}").parse().ok()?).ok()?;
            let took: f64 = took.parse().ok()?;
            end - SignedDuration::from_secs_f64(took) + HALF_MS
        }
        None => Timestamp::from_microsecond(end.parse().ok()?).ok()?,
    };
    Some((job.to_owned(), NotedRequest { at, port: port.parse().ok()? }))
}

/// Notes the packets with bytes in them that go to a port of this machine.
pub struct PacketWatch {
    tcpdump: Child,
    reader: JoinHandle<Packets>,
}

/// When packets left, by the client's port.
#[derive(Default)]
pub struct Packets(HashMap<u16, Vec<Timestamp>>);

impl PacketWatch {
    /// `None`: tcpdump is not installed, or may not listen.
    pub fn start(port: u16) -> Option<PacketWatch> {
        // The whole packet less both headers: bytes of TCP.
        let filter = format!(
            "ip and tcp dst port {port} and ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) > 0"
        );
        let mut tcpdump = Command::new("tcpdump")
            .args(["-i", "lo", "-n", "-q", "-l", "-tt", "--immediate-mode"])
            // The heads of packets, so that a burst has room in the kernel's buffer of 8 MB.
            .args(["-s", "128", "-B", "8192"])
            .args(["--time-stamp-precision=nano", &filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let (lines, said) = (tcpdump.stdout.take()?, tcpdump.stderr.take()?);
        let mut said = BufReader::new(said).lines().map_while(Result::ok);
        if !said.any(|line| line.starts_with("listening")) {
            let _ = tcpdump.wait();
            return None;
        }
        let reader = std::thread::spawn(move || {
            let mut packets = Packets::default();
            for (port, at) in
                BufReader::new(lines).lines().map_while(Result::ok).filter_map(|line| packet(&line))
            {
                packets.0.entry(port).or_default().push(at);
            }
            packets
        });
        // tcpdump would end at a count that nobody reads.
        std::thread::spawn(move || said.for_each(drop));
        Some(PacketWatch { tcpdump, reader })
    }

    /// Ends the watch.
    pub fn end(mut self) -> Packets {
        let pid = rustix::process::Pid::from_child(&self.tcpdump);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.tcpdump.wait();
        self.reader.join().expect("lines of tcpdump")
    }
}

impl Packets {
    /// Returns when the packet left that carried a request: the last from its port until the front
    /// noted the request. Those before are the handshake's, and earlier requests'.
    pub fn carried(&self, request: &NotedRequest) -> Option<Timestamp> {
        self.0.get(&request.port)?.iter().copied().filter(|&at| at <= request.at + COARSE).max()
    }
}

/// `1764547200.000150123 IP 127.0.0.1.43210 > 127.0.0.1.8080: tcp 312`
fn packet(line: &str) -> Option<(u16, Timestamp)> {
    let mut words = line.split(' ');
    let (seconds, nanos) = words.next()?.split_once('.')?;
    let port = words.nth(1)?.rsplit('.').next()?.parse().ok()?;
    Some((port, Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?).ok()?))
}
