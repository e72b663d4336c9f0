//! Other people's tables of cron expressions, each row run against the timetable.
//!
//! The rows are data under `tests/vectors/`, with their sources and licences in the README there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use stackcron::schedule::{
    Account, AccountName, CatchUp, Entry, EntryName, Expression, JobUid, Overlap, Priority, QuotaSettings,
    Reserve, Shard, StackUid, TokenSource,
};
use stackcron::timetable;

fn entry(zone: &TimeZone, expression: Expression) -> Entry {
    let account = Account {
        name: AccountName::new("main").expect("a name"),
        url: "https://app.cloud66.com/api/3".parse().expect("an address"),
        token: TokenSource::Env("TOKEN".into()),
        timeout: Duration::from_secs(30),
        shard: Shard::Common,
        quota: QuotaSettings {
            limit: 3600,
            window: Duration::from_secs(3600),
            reserve: Reserve::Percent(5.0),
        },
    };
    Entry {
        name: EntryName::new("entry").expect("a name"),
        account: Arc::new(account),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new("job").expect("a uid"),
        cron: Box::new([expression]),
        timezone: zone.clone(),
        args: None,
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        start_deadline: Duration::from_secs(3600),
        jitter: Duration::ZERO,
        priority: Priority::Normal,
        idempotent: false,
        follow: true,
        paused: false,
        notify: None,
    }
}

/// An instant with its offset, or a civil time of the row's zone.
fn instant(text: &str, zone: &TimeZone) -> Timestamp {
    let civil = || text.parse::<DateTime>().map(|civil| zone.to_timestamp(civil).expect("in range"));
    text.parse().or_else(|_| civil()).unwrap_or_else(|_| panic!("{text:?} is a time"))
}

/// What is wrong with a row; `None` when it holds.
fn fault(row: &str) -> Option<String> {
    let cells: Vec<&str> = row.split('\t').collect();
    let cell = |n: usize| cells.get(n).copied().unwrap_or_default();
    let (kind, zone, expression) = (cell(0), cell(1), cell(2));
    let zone = TimeZone::get(zone).unwrap_or_else(|_| panic!("{zone:?} is a zone"));
    let parsed = match (kind, Expression::parse(expression)) {
        ("refused", Err(error)) => {
            let spanned = expression.get(error.span.clone()).is_some();
            return (!spanned || error.help.is_empty()).then(|| format!("the error is poor: {error:?}"));
        }
        ("refused", Ok(_)) => return Some("accepted".into()),
        ("accepted", Ok(_)) => return None,
        (_, Err(error)) => return Some(format!("refused: {error}; {}", error.help)),
        (_, Ok(parsed)) => parsed,
    };
    let entry = entry(&zone, parsed);
    let from = instant(cell(3), &zone);
    let second = SignedDuration::from_secs(1);
    match kind {
        "due" => {
            let due = timetable::next(&entry, from) == Some(from);
            let told = timetable::explain(&entry, from);
            if told.due != due {
                return Some(format!("explained as due={}, is due={due}", told.due));
            }
            (due != (cell(4) == "yes")).then(|| format!("due={due}"))
        }
        "next" => {
            let expected: Vec<Timestamp> = cell(4).split(' ').map(|text| instant(text, &zone)).collect();
            let until = expected.last().expect("an instant").checked_add(second).expect("in range");
            let after = from.checked_add(second).expect("in range");
            let found: Vec<Timestamp> = timetable::occurrences(&entry, after, until).collect();
            (found != expected).then(|| {
                let shown = found.iter().map(|at| at.to_zoned_datetime(zone.clone()).to_string());
                format!("due {}", shown.collect::<Vec<_>>().join(" "))
            })
        }
        kind => panic!("{kind:?} is a kind of row"),
    }
}

fn check(table: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(format!("{table}.tsv"));
    let text = std::fs::read_to_string(&path).expect("the table is readable");
    let rows: Vec<(usize, &str)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.starts_with('#') && !line.starts_with("kind\t"))
        .collect();
    assert!(rows.len() >= least, "{table} has {} rows, {least} expected", rows.len());
    let faults: Vec<String> = rows
        .iter()
        .filter_map(|(line, row)| {
            fault(row).map(|fault| format!("{table}.tsv:{line}: {row}\n    but {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{} rows fail:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn robfig_cron_agrees_but_for_the_rows_that_say_why_not() {
    check("robfig_cron", 100);
}

#[test]
fn croner_agrees_but_for_the_rows_that_say_why_not() {
    check("croner_rust", 150);
    check("croner_ocps", 140);
}

#[test]
fn cronsim_agrees_but_for_the_rows_that_say_why_not() {
    check("cronsim", 250);
}

#[test]
fn the_manuals_of_debian_cron_and_cronie_are_kept() {
    check("vixie", 35);
}

#[test]
fn systemd_agrees_where_the_notion_is_shared() {
    check("systemd", 15);
}

#[test]
fn strange_zones_are_read_right() {
    check("zones", 75);
}
