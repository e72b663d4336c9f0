//! The lints of a valid schedule: what each one says and where, and what gives no cause for any.

use std::fmt::Write;

use jiff::Timestamp;
use stackcron::schedule::render::{self, Colour};
use stackcron::schedule::{self, Code, Diagnostic, Severity};

const NOW: &str = "2026-03-01T12:00:00Z";

/// The warnings of a file with these lines under `jobs:`.
fn warnings(timezone: &str, jobs: &str) -> Vec<Diagnostic> {
    let now: Timestamp = NOW.parse().expect("a timestamp");
    let text =
        format!("timezone: {timezone}\naccounts: {{ main: {{ token: {{ env: T }} }} }}\njobs:\n{jobs}");
    let loaded = schedule::parse("schedule.yaml", &text);
    loaded.unwrap_or_else(|rejected| panic!("the file is valid: {rejected}")).linted(now).warnings
}

/// The warnings of entries with these expressions, each of a job of its own.
fn of(timezone: &str, expressions: &[&str]) -> Vec<Diagnostic> {
    let mut jobs = String::new();
    for (number, expression) in expressions.iter().enumerate() {
        writeln!(jobs, "  e{number}: {{ stack: s, job: j{number}, cron: \"{expression}\" }}")
            .expect("a line");
    }
    warnings(timezone, &jobs)
}

fn codes(warnings: &[Diagnostic]) -> Vec<Code> {
    warnings.iter().map(|warning| warning.code).collect()
}

fn rendered(warnings: &[Diagnostic]) -> String {
    render::render(warnings, false, Colour::Never)
}

#[test]
fn each_expression_is_told_what_is_doubtful_in_it() {
    let warnings = of(
        "UTC",
        &[
            "*/7 * * * *",
            "5 */5 * * *",
            "0 0 */10 * *",
            "0 0 * * */2",
            "0 0 13 * FRI",
            "0 0 31 * *",
            "0 0 29 2 *",
        ],
    );
    insta::assert_snapshot!(rendered(&warnings));
}

#[test]
fn what_is_even_restricted_once_and_there_each_month_gives_no_cause() {
    let warnings = of(
        "UTC",
        &[
            "*/15 * * * *",
            "5/15 */6 * * *",
            "0-30/7 * * * *",
            "50/7 * * * *",
            "*/72 * * * *",
            "0 0 1,15,28 * *",
            "0 0 L * *",
            "0 0 31 1,3,5,7,8,10,12 *",
            "0 0 28-31 * *",
            "0 0 * * MON-FRI",
            "0 0 */31 * MON",
            "@yearly",
        ],
    );
    assert_eq!(rendered(&warnings), "");
}

#[test]
fn a_day_that_months_lack_is_told_with_the_months() {
    for (expression, words) in [
        ("0 0 31 4,5 *", "April has no day 31"),
        ("0 0 30 * *", "February has no day 30"),
        ("0 0 29 * *", "February has no day 29 outside of leap years"),
        ("0 0 1,31W 2-4 *", "February and April have no day 31"),
    ] {
        let warnings = of("UTC", &[expression]);
        assert_eq!(codes(&warnings), [Code::ShortMonths], "{expression}");
        assert!(warnings[0].message.contains(words), "{expression}: {}", warnings[0].message);
    }
    assert_eq!(codes(&of("UTC", &["0 0 29,30 2 *"])), [Code::LeapDay]);
}

#[test]
fn a_time_that_the_clocks_skip_or_repeat_within_a_year_is_told() {
    let warnings =
        of("Europe/London", &["30 1 * * *", "*/30 1 * * *", "*/30 * * * *", "30 2 * * *", "30 1 * 5 *"]);
    insta::assert_snapshot!(rendered(&warnings));
}

#[test]
fn a_time_that_the_clocks_move_after_the_year_is_not_told() {
    // Morocco's clocks change with Ramadan; those of Paraguay no more.
    assert_eq!(codes(&of("America/Asuncion", &["30 0 * * *"])), []);
    assert_eq!(codes(&of("UTC", &["30 1 * * *"])), []);
}

#[test]
fn two_entries_that_start_a_job_at_one_instant_are_told() {
    let jobs = "\
        \x20 hourly: { stack: s, job: j, cron: '0 * * * *' }\n\
        \x20 daily: { stack: s, job: j, cron: '0 9 * * *', timezone: Asia/Tokyo }\n\
        \x20 half-past: { stack: s, job: j, cron: '30 * * * *' }\n\
        \x20 early: { stack: s, job: j, cron: '15,30 6 * * MON', args: x }\n\
        \x20 other-job: { stack: s, job: k, cron: '0 * * * *' }\n\
        \x20 paused: { stack: s, job: j, cron: '0 10 * * *', paused: true }\n";
    let warnings = warnings("UTC", jobs);
    insta::assert_snapshot!(rendered(&warnings));
}

#[test]
fn a_crowded_minute_is_told_with_quieter_ones() {
    let at_midnight: Vec<String> = (0..15).map(|_| "0 0 * * *".to_owned()).collect();
    let spread = (1..=15).map(|minute| format!("{} 0 * * *", minute * 3));
    let expressions: Vec<String> = at_midnight.into_iter().chain(spread).collect();
    let expressions: Vec<&str> = expressions.iter().map(String::as_str).collect();
    let warnings = of("Europe/London", &expressions);
    assert_eq!(codes(&warnings), [Code::CrowdedMinute]);
    insta::assert_snapshot!(rendered(&warnings));
}

#[test]
fn few_or_spread_occurrences_are_no_crowd() {
    assert_eq!(codes(&of("UTC", &["0 0 * * *"; 19])), [], "fewer than twenty");
    let spread: Vec<String> = (0..60).map(|minute| format!("{minute} 0 * * *")).collect();
    let spread: Vec<&str> = spread.iter().map(String::as_str).collect();
    assert_eq!(codes(&of("UTC", &spread)), [], "one a minute");
    let jobs: String = (0..40)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '0 0 * * *', jitter: 50m }}\n"))
        .collect();
    assert_eq!(codes(&warnings("UTC", &jobs)), [], "spread by their own delays");
}

#[test]
fn of_many_alike_a_few_are_told_and_the_rest_is_counted() {
    let warnings = of("UTC", &["*/7 * * * *"; 12]);
    assert_eq!(codes(&warnings), [Code::UnevenStep; 6]);
    assert_eq!(warnings[5].message, "and 7 more steps that do not divide their range");
    let lines: Vec<usize> =
        warnings.iter().flat_map(|warning| &warning.place).map(|place| place.line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8, 9], "in the file's order");
}

#[test]
fn an_expression_that_aliases_share_is_told_once() {
    let jobs = "\
        \x20 a: { stack: s, job: j, cron: &c '*/7 * * * *' }\n\
        \x20 b: { stack: s, job: k, cron: *c }\n\
        \x20 c: { stack: s, job: l, cron: \"*/7\\x20* * * *\" }\n";
    let warnings = warnings("UTC", jobs);
    assert_eq!(codes(&warnings), [Code::UnevenStep; 2]);
    let marked: Vec<&str> = warnings
        .iter()
        .flat_map(|warning| &warning.place)
        .map(|place| &place.text[place.mark.clone()])
        .collect();
    assert_eq!(marked, ["*/7", r#""*/7\x20* * * *""#], "escapes hide the place within");
}

#[test]
fn a_lint_is_a_warning() {
    let warnings = of("UTC", &["*/7 * * * *"]);
    assert!(warnings.iter().all(|warning| warning.severity == Severity::Warning), "{warnings:?}");
}

#[test]
fn many_entries_of_one_job_do_not_take_long() {
    let jobs: String = (0..20_000)
        .map(|n| {
            let (minute, hour, day) = (n % 60, n / 60 % 24, n / 1440 % 28 + 1);
            format!("  e{n}: {{ stack: s, job: j, cron: '{minute} {hour} {day} * *', args: 'x{n}' }}\n")
        })
        .collect();
    let warnings = warnings("Europe/London", &jobs);
    assert!(codes(&warnings).iter().all(|code| *code != Code::CrowdedMinute), "{}", rendered(&warnings));
}
