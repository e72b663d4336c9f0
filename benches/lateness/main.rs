//! How late run_now arrives at a server: this daemon, other schedulers, and a bare loop.
//!
//! Each contender is a process of its own and gets the same schedule: N entries due at one instant, or one
//! entry every second. The server in this process notes when each request arrives. Contenders take turns, so
//! that a noisy minute is everybody's. Run with `cargo bench --bench lateness`; arguments are the sizes,
//! `1 100 1000 10000` unless given, and words of the contenders' names, all of them unless given. The size 0
//! is one entry every second.

mod contender;
mod figures;
mod own;
mod rivals;
mod server;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use contender::{Contender, Due, Start};
use figures::{Figures, Run};
use server::Server;

/// Entries due at one instant.
const SIZES: [usize; 4] = [1, 100, 1000, 10_000];

/// How long one entry a second is watched.
const SECONDS: usize = 20;

/// From this size on, the rate of arrival is told beside a bare loop's.
const BURST: usize = 1000;

/// Rounds of a contender that is due on the minute.
const ROUNDS_OF_A_MINUTE: usize = 2;

/// A contender that is slower than this is given up.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("tokio-cron-scheduler-jobs") => own::tokio_cron_scheduler(&arguments[1..]),
        Some("bare-loop") => own::bare_loop(&arguments[1..]),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let (mut sizes, mut words) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument.parse::<usize>() {
            Ok(size) => sizes.push(size),
            Err(_) => words.push(argument),
        }
    }
    if sizes.is_empty() {
        sizes = [0].into_iter().chain(SIZES).collect();
    }
    let contenders = contender::all();
    let wanted = |contender: &&Contender| {
        words.is_empty() || words.iter().any(|word| contender.name.contains(word.as_str()))
    };
    let contenders: Vec<&Contender> = contenders.iter().filter(wanted).collect();
    let server = Server::start();
    println!("lateness from the due instant to the request's arrival at the server, in milliseconds");
    for size in sizes {
        let able: Vec<&Contender> = contenders.iter().copied().filter(|each| each.can(size)).collect();
        let mut runs: Vec<Vec<Run>> = able.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds(size) {
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
        let mut ours = None;
        let mut all = Vec::new();
        for (contender, runs) in able.iter().zip(runs) {
            let figures = Figures::of(&runs, if size == 0 { SECONDS } else { size });
            figures.print(contender.name, ours.as_ref());
            if contender.name == contender::OURS {
                ours = Some(figures);
            } else {
                all.push((contender.name, figures));
            }
        }
        let Some(ours) = ours else { continue };
        for (name, figures) in all {
            match name {
                contender::IN_MEMORY => {
                    println!("  the journal on disk adds {:+.2} ms to p99", ours.p99 - figures.p99);
                }
                contender::BARE_LOOP if size >= BURST => {
                    println!("  our rate is {:.0}% of the bare loop's", ours.rate / figures.rate * 100.0);
                }
                _ => {}
            }
        }
    }
}

fn rounds(size: usize) -> usize {
    match size {
        0 => 1,
        1 => 5,
        _ => 3,
    }
}

/// How long a contender has to start: parsing and adding jobs is not what is measured here.
fn lead(size: usize) -> SignedDuration {
    SignedDuration::from_secs(match size {
        0..=100 => 4,
        101..=1000 => 6,
        _ => 12,
    })
}

fn every_second(contender: &Contender, server: &Server) -> Run {
    let first = whole(Timestamp::now() + lead(0), 1);
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
