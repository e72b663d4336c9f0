//! How late run_now arrives at a server: this daemon, other schedulers, and a bare loop.
//!
//! Each contender is a process of its own and gets the same schedule: N entries due at one instant,
//! or one entry every second. The server in this process notes when each request arrives.
//! Contenders take turns, so that a noisy minute is everybody's. Run with `cargo bench --bench
//! lateness`; arguments are the sizes, `0 1 100 1000 10000` unless given, and words of the
//! contenders' names, all of them unless given. The size 0 is one entry every second, of which one
//! contender more has 100,000 other entries. `--plot FILE` draws the arrivals of the largest size.
//! `--rounds N` sets how often each contender has its turn.

mod contender;
mod figures;
mod own;
mod plot;
mod rivals;
mod server;
mod table;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use contender::{Contender, Due, Start};
use figures::{Figures, Run};
use server::Server;
use table::Column;

/// Entries due at one instant.
const SIZES: [usize; 5] = [0, 1, 100, 1000, 10_000];

/// How long one entry a second is watched.
const SECONDS: usize = 60;

/// Rounds of a contender that is due on the minute.
const ROUNDS_OF_A_MINUTE: usize = 2;

/// A contender that is slower than this is given up.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    sizes: Vec<usize>,
    /// Parts of contenders' names. Empty: all.
    words: Vec<String>,
    plot: Option<String>,
    rounds: Option<usize>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("tokio-cron-scheduler-jobs") => own::tokio_cron_scheduler(&arguments[1..]),
        Some("bare-loop") => own::bare_loop(&arguments[1..]),
        _ => compare(&Wanted::read(&arguments)),
    }
}

impl Wanted {
    fn read(arguments: &[String]) -> Wanted {
        let mut wanted = Wanted::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match (argument.as_str(), argument.parse()) {
                ("--plot", _) => wanted.plot = arguments.next().cloned(),
                ("--rounds", _) => wanted.rounds = arguments.next().and_then(|rounds| rounds.parse().ok()),
                (_, Ok(size)) => wanted.sizes.push(size),
                (word, Err(_)) => wanted.words.push(word.to_owned()),
            }
        }
        if wanted.sizes.is_empty() {
            wanted.sizes = SIZES.to_vec();
        }
        wanted
    }

    fn wants(&self, contender: &Contender) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| contender.name.contains(word.as_str()))
    }

    fn rounds(&self, size: usize) -> usize {
        self.rounds.unwrap_or(match size {
            0 => 1,
            _ => 5,
        })
    }
}

fn compare(wanted: &Wanted) {
    let contenders = contender::all();
    let contenders: Vec<&Contender> = contenders.iter().filter(|contender| wanted.wants(contender)).collect();
    let server = Server::start();
    println!("{}", machine());
    println!("lateness from the due instant to the request's arrival at the server, in milliseconds");
    let largest = wanted.sizes.iter().copied().max().unwrap_or_default();
    let mut columns = Vec::new();
    for &size in &wanted.sizes {
        let able: Vec<&Contender> = contenders.iter().copied().filter(|each| each.can(size)).collect();
        let mut runs: Vec<Vec<Run>> = able.iter().map(|_| Vec::new()).collect();
        for round in 0..wanted.rounds(size) {
            for (contender, runs) in able.iter().zip(&mut runs) {
                // One that is due on the minute alone takes half a minute more each time.
                if contender.resolution > 1 && round >= ROUNDS_OF_A_MINUTE {
                    continue;
                }
                runs.push(match size {
                    0 => every_second(contender, &server),
                    size => at_once(contender, size, &server),
                });
            }
        }
        let what = if size == 0 { "one entry a second".to_owned() } else { format!("{size} at once") };
        figures::heading(&what);
        if let Some(path) = wanted.plot.as_ref().filter(|_| size == largest) {
            draw(path, size, &able, &mut runs);
        }
        let mut column = Column { size, figures: Vec::new() };
        for (contender, runs) in able.iter().zip(runs) {
            let figures = Figures::of(&runs, if size == 0 { SECONDS } else { size });
            figures.print(contender.name);
            column.figures.push((contender.name, figures));
        }
        columns.push(column);
    }
    table::print(&columns);
    println!("\n{}", machine());
}

/// Draws the run of each contender whose last arrival is the median.
fn draw(path: &str, size: usize, contenders: &[&Contender], runs: &mut [Vec<Run>]) {
    let mut lines = Vec::new();
    for (contender, runs) in contenders.iter().zip(runs) {
        runs.sort_by(|one, other| f64::total_cmp(&one.last(), &other.last()));
        lines.extend(runs.get(runs.len() / 2).map(|run| (contender.name, run.late.as_slice())));
    }
    std::fs::write(path, plot::draw(size, &lines)).expect("the drawing");
    println!("drawn: {path}");
}

/// The processor, the number of its cores, and how busy they are.
fn machine() -> String {
    let file = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = file("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = file("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{}, {cores} cores, load averages {}", model.unwrap_or("a processor"), load.join(" "))
}

/// How long a contender has to start: parsing and adding jobs is not what is measured here.
fn lead(entries: usize) -> SignedDuration {
    SignedDuration::from_secs(match entries {
        0..=100 => 4,
        101..=1000 => 6,
        _ => 12,
    })
}

fn every_second(contender: &Contender, server: &Server) -> Run {
    let first = whole(Timestamp::now() + lead(contender.others), 1);
    let running = contender.start(Start { address: server.address(), entries: 1, due: Due::EverySecond });
    let end = first + SignedDuration::from_secs(SECONDS as i64) - SignedDuration::from_millis(1);
    sleep_until(end);
    drop(running);
    let late = |at: Timestamp| f64::from(at.subsec_nanosecond()) / 1e6;
    Run { late: server.take().into_iter().filter(|&at| at >= first).map(late).collect() }
}

fn at_once(contender: &Contender, size: usize, server: &Server) -> Run {
    let due = whole(Timestamp::now() + lead(size), contender.resolution);
    let running = contender.start(Start { address: server.address(), entries: size, due: Due::At(due) });
    while server.seen() < size && Timestamp::now() < due + PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    // What comes after the last one would be one too many.
    std::thread::sleep(Duration::from_millis(700));
    drop(running);
    Run { late: server.take().into_iter().map(|at| at.duration_since(due).as_secs_f64() * 1e3).collect() }
}

/// The first instant from then on that is a whole multiple of so many seconds.
fn whole(from: Timestamp, seconds: i64) -> Timestamp {
    let second = from.as_second() + 1;
    Timestamp::from_second((second + seconds - 1) / seconds * seconds).expect("a timestamp")
}

fn sleep_until(at: Timestamp) {
    std::thread::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
}
