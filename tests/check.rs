//! `check` in a pipeline: warnings that fail, and what a code host reads.

use crate::common::Place;

const GOOD: &str =
    "accounts: { main: { token: { env: T } } }\njobs:\n  a: { stack: s, job: j, cron: '0 9 * * *' }\n";
/// With a warning: a calendar that no entry names.
const DOUBTFUL: &str = "accounts: { main: { token: { env: T } } }\ncalendars: { c: { dates: 2999-12-25 } }\njobs:\n  a: { stack: s, job: j, cron: '0 9 * * *' }\n";

#[test]
fn a_pipeline_may_take_no_warning() {
    let good = Place::with(GOOD);
    assert_eq!(good.run(&["check", "--strict"]).status.code(), Some(0));
    let doubtful = Place::with(DOUBTFUL);
    assert_eq!(doubtful.run(&["check"]).status.code(), Some(0));
    for arguments in [
        &["check", "--strict"][..],
        &["check", "--strict", "--quiet"],
        &["check", "--strict", "--format", "json"],
    ] {
        assert_eq!(doubtful.run(arguments).status.code(), Some(78), "{arguments:?}");
    }
    let told = doubtful.run(&["check", "--strict"]);
    assert!(told.stderr.contains("there are warnings, and --strict takes none"), "{told:?}");
}

#[test]
fn a_code_host_is_told_the_line() {
    let ended = Place::with(DOUBTFUL).run(&["check", "--format", "sarif"]);
    assert!(ended.status.success(), "{ended:?}");
    let log: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let result = &log["runs"][0]["results"][0];
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&"unused-calendar".into(), &"warning".into()),
        "{log}"
    );
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        (&location["region"]["startLine"], &location["region"]["startColumn"]),
        (&2.into(), &14.into()),
        "{log}"
    );
    assert!(
        location["artifactLocation"]["uri"].as_str().is_some_and(|uri| uri.starts_with("file:///")),
        "{log}"
    );
    let refused = Place::with(GOOD).run(&["next", "--format", "sarif"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let nothing: serde_json::Value =
        serde_json::from_str(&Place::with(GOOD).run(&["check", "--format", "sarif"]).stdout).expect("JSON");
    assert_eq!(nothing["runs"][0]["results"], serde_json::json!([]));
}

#[test]
fn a_change_tells_what_it_does_to_the_next_week() {
    let file = |limit: u32, jobs: &str| {
        format!(
            "accounts: {{ main: {{ token: {{ env: T }}, quota: {{ limit: {limit}, reserve: 0 }} }} }}\njobs:\n{jobs}"
        )
    };
    let old = file(
        100,
        "  gone: { stack: s, job: a, cron: '0 9 * * *' }\n  moved: { stack: s, job: b, cron: '0 1 * * *' }\n",
    );
    let new = file(
        50,
        "  fresh: { stack: s, job: c, cron: '*/5 9 * * *' }\n  moved: { stack: s, job: b, cron: '0 3 * * *', overlap: skip }\n",
    );
    let place = Place::with(&new);
    let before = place.directory.path().join("old.yaml");
    std::fs::write(&before, &old).expect("a file");
    let arguments = ["check", "--diff", before.to_str().expect("UTF-8")];
    let told = place.run(&arguments);
    assert!(told.status.success(), "{told:?}");
    for line in [
        "fresh  added      84   -  ",
        "gone   removed     -   7  ",
        "moved  changed     7   7  ",
        "3 entries change: 91 occurrences come, 14 go",
        "account main: at most 12 of 50 (24 %) in the 1h from",
        "; before: at most 1 of 100 (1 %) in the 1h from",
        "cron, overlap",
    ] {
        assert!(told.stdout.contains(line), "{line:?} in\n{}", told.stdout);
    }
    let told = place.run(&[&arguments[..], &["--format", "json"]].concat());
    let records: Vec<serde_json::Value> =
        told.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [fresh, gone, moved, main] = &records[..] else { panic!("{told:?}") };
    assert_eq!((&fresh["change"], &fresh["come"]), (&"added".into(), &84.into()));
    assert_eq!((&gone["change"], &gone["go"]), (&"removed".into(), &7.into()));
    assert_eq!(moved["keys"], serde_json::json!(["cron", "overlap"]));
    assert_eq!(moved["go_at"].as_array().map(Vec::len), Some(7));
    assert_eq!((&main["peak_before"], &main["peak"], &main["usable"]), (&1.into(), &12.into(), &50.into()));
    // From a pipe, as git prints it; and against itself nothing changes.
    let mut piped = place.command(&["check", "--diff", "-"]);
    let mut child = piped
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), new.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("no entry changes"), "{text}");
    std::fs::write(&before, "jobs: 1\n").expect("a file");
    let refused = place.run(&arguments);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(refused.stderr.contains("old.yaml:1:7"), "{refused:?}");
}

/// The page's own example: a directory of two files.
#[test]
fn the_page_on_checking_shows_a_schedule_that_is_valid() {
    let page = std::fs::read_to_string("docs/checking.md").expect("the page");
    let texts: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let place = Place::with("jobs: {}\n");
    let directory = place.directory.path().join("schedule.d");
    std::fs::create_dir(&directory).expect("a directory");
    for (name, text) in [("00-accounts.yaml", texts[0]), ("shop.yaml", texts[1])] {
        std::fs::write(directory.join(name), text).expect("a file");
    }
    let told = place.run(&["check", "--strict", "--config", directory.to_str().expect("UTF-8")]);
    assert!(told.status.success(), "{told:?}");
    assert!(page.contains(&format!("$ stackcron check --config schedule.d\n{}", told.stdout)), "{told:?}");
    let rules = std::fs::read_to_string("config/prometheus/stackcron.rules.yaml").expect("the rules");
    for line in texts[2].lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(rules.contains(line.trim_start_matches("- ")), "{line:?} is in the rules");
    }
}
