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
