//! A schedule file of 100,000 entries: read and validated, beside serde_yaml 0.9 that reads the same text into its
//! `Value` and validates nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stackcron::schedule;

const ENTRIES: usize = 100_000;
const ROUNDS: usize = 7;

fn main() {
    let text = file();
    let ours = median(|| {
        let loaded = schedule::parse("schedule.yaml", &text).expect("a valid file");
        assert_eq!(black_box(loaded).schedule.entries.len(), ENTRIES);
    });
    let theirs = median(|| {
        let value: serde_yaml_09::Value = serde_yaml_09::from_str(&text).expect("YAML");
        assert!(black_box(value).is_mapping());
    });
    println!("{ENTRIES} entries, {:.1} MiB, median of {ROUNDS}", text.len() as f64 / f64::from(1 << 20));
    println!("  stackcron, parsed and validated   {:>6} ms", ours.as_millis());
    println!("  serde_yaml 0.9, parsed only       {:>6} ms", theirs.as_millis());
    println!("  ratio                             {:>6.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}

fn file() -> String {
    let mut text = String::from("accounts: { main: { token: { env: T } } }\njobs:\n");
    for number in 0..ENTRIES {
        let (minute, hour) = (number % 60, number % 24);
        text += &format!(
            "  job-{number}:\n    stack: 5999b763474b0eafa5fafb64bff0ba80\n    job: 98ee5a9b93919d9b63bd{number:012}\n    \
             cron: \"{minute} {hour} * * *\"\n"
        );
    }
    text
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}
