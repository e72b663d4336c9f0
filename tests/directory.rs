//! `--config DIR`: the files of a directory are one schedule.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::common::{Ended, Place, sandbox, schedule};

const BASE: &str = "timezone: Europe/London\naccounts: { main: { token: { env: TOKEN } } }\ndefaults: { start_deadline: 30m }\n";

/// A place with a directory of schedule files, which `--config` names.
fn place(files: &[(&str, &str)]) -> (Place, PathBuf) {
    let place = Place::with("jobs: {}\n");
    let directory = place.directory.path().join("schedule.d");
    fs::create_dir(&directory).expect("a directory");
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("a file");
    }
    let place = place.env("STACKCRON_CONFIG", directory.to_str().expect("UTF-8"));
    (place, directory)
}

fn check(files: &[(&str, &str)]) -> Ended {
    place(files).0.run(&["check"])
}

#[test]
fn the_files_of_a_directory_are_one_schedule_in_the_order_of_their_names() {
    let junk = "no: schedule: at all";
    let (place, directory) = place(&[
        ("shop.yaml", "jobs:\n  shop: { stack: s, job: j2, cron: '0 9 * * *', after_hours: 1 }\n"),
        ("00-base.yaml", BASE),
        ("blog.yaml", "jobs:\n  blog: { stack: s, job: j1, cron: '0 9 * * *', not_on: days }\n"),
        ("calendars.yaml", "calendars: { days: { file: days.txt } }\njobs: {}\n"),
        ("days.txt", "2026-12-25\n"),
        // These are of no schedule.
        (".blog.yaml.swp", junk),
        (".#shop.yaml", junk),
        (".hidden.yaml", junk),
        ("shop.yaml~", junk),
        ("#shop.yaml#", junk),
        ("shop.yaml.bak", junk),
        ("README.md", junk),
    ]);
    let refused = place.run(&["check"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let at = format!("{}:2:49", directory.join("shop.yaml").display());
    assert!(refused.stderr.contains(&at) || refused.stdout.contains(&at), "{at}\n{refused:?}");
    fs::write(directory.join("shop.yaml"), "jobs:\n  shop: { stack: s, job: j2, cron: '0 9 * * *' }\n")
        .expect("a file");
    let checked = place.run(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
    let next = place.run(&["next", "--from", "2026-12-25", "--until", "2026-12-27", "--format", "json"]);
    let entries: Vec<String> = next
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| line["skipped"].is_null() && line["calendar"].is_null())
        .map(|line| line["entry"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(entries, ["shop", "blog", "shop"], "{next:?}");
}

#[test]
fn each_error_names_its_file_and_what_stands_twice_names_both() {
    let shop = "jobs:\n  nightly: { stack: s, job: j2, cron: '0 9 * * *' }\n";
    let blog = "jobs:\n  nightly: { stack: s, job: j1, cron: '0 8 * * *' }\n  late: { stack: s, job: j1, cron: '0 25 * * *' }\n";
    let ended = check(&[("base.yaml", BASE), ("blog.yaml", blog), ("shop.yaml", shop)]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{told}");
    for part in [
        "`nightly` stands in two files",
        "schedule.d/shop.yaml:2:3",
        "schedule.d/blog.yaml:2:3",
        "schedule.d/blog.yaml:3:39",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let ended = check(&[("a.yaml", BASE), ("b.yaml", &format!("{BASE}{shop}"))]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    for key in ["timezone", "accounts", "defaults"] {
        assert!(told.contains(&format!("`{key}` stands in two files")), "{key}\n{told}");
    }
    assert!(told.contains("a.yaml:2:1") && told.contains("b.yaml:2:1"), "{told}");
    // The syntax of each file is told, with its own line.
    let ended = check(&[("a.yaml", BASE), ("b.yaml", "jobs:\n  x: [\n"), ("c.yaml", "jobs:\n\tx: 1\n")]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("b.yaml:") && told.contains("c.yaml:2:"), "{told}");
}

#[test]
fn a_truncated_file_and_an_empty_directory_are_errors() {
    let shop = "jobs:\n  shop: { stack: s, job: j2, cron: '0 9 * * *' }\n";
    let ended = check(&[("base.yaml", BASE), ("cut.yaml", "# jobs:\n"), ("shop.yaml", shop)]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{told}");
    assert!(told.contains("the file says nothing") && told.contains("cut.yaml:1:1"), "{told}");
    let ended = check(&[("base.yaml", BASE), ("more.yaml", "notify: {}\n")]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("`jobs` is missing in all of its files"), "{told}");
    let ended = check(&[("schedule.yml", shop)]);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{told}");
    assert!(told.contains("no file of the directory has a name that ends in `.yaml`"), "{told}");
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("a rename");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_directory_that_comes_changes_or_goes_is_noticed() {
    let sandbox = sandbox(&[]).await;
    let first = schedule(&sandbox.url(), "", "  first: { stack: s1, job: j1, cron: '* * * * * *' }\n");
    let (place, directory) = place(&[("a.yaml", &first)]);
    let mut daemon = place.start();
    daemon.event("action.started");
    let second = directory.join("second.yaml");
    fs::write(&second, "jobs:\n  second: { stack: s1, job: j2, cron: '* * * * * *' }\n").expect("a file");
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1 && line["removed"] == 0);
    daemon.wait_for("action.started", |line| line["entry"] == "second");
    // Beside a backup, which says nothing.
    fs::write(directory.join("second.yaml~"), "jobs: [").expect("a file");
    replace(&second, "jobs:\n  second: { stack: s1, job: j2, cron: '*/2 * * * * *' }\n");
    daemon.wait_for("schedule.reloaded", |line| line["changed"] == 1);
    fs::write(&second, "jobs:\n  second: { stack: s1, job: j2, cron: '61 * * * * *' }\n").expect("a file");
    let rejected = daemon.event("schedule.rejected");
    let named = rejected["first"].as_str().expect("a text");
    assert!(named.contains("second.yaml:2:"), "{rejected}");
    fs::remove_file(&second).expect("a removal");
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 1);
    daemon.signal(Signal::HUP);
    daemon.wait_for("schedule.reloaded", |line| line["entries"] == 1 && line["removed"] == 0);
    daemon.stop();
    assert_eq!(daemon.events("schedule.rejected").len(), 1, "{}", daemon.raw);
    assert_eq!(daemon.events("schedule.polled").len(), 0, "it is watched:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_a_directory_of_schedule_files() {
    let sandbox = sandbox(&[]).await;
    let base = schedule(&sandbox.url(), "", "  first: { stack: s1, job: j1, cron: '* * * * * *' }\n");
    let (place, directory) = place(&[]);
    // As the kubelet has it: names that lead through `..data` to a directory of one version.
    let version = |number: u32, jobs: Option<&str>| {
        let name = format!("..2026_{number}");
        fs::create_dir(directory.join(&name)).expect("a directory");
        fs::write(directory.join(&name).join("base.yaml"), &base).expect("a file");
        if let Some(jobs) = jobs {
            fs::write(directory.join(&name).join("more.yaml"), jobs).expect("a file");
        }
        symlink(&name, directory.join("..data_tmp")).expect("a link");
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("a rename");
    };
    version(1, None);
    symlink("..data/base.yaml", directory.join("base.yaml")).expect("a link");
    let mut daemon = place.start();
    daemon.event("action.started");
    version(2, Some("jobs:\n  more: { stack: s1, job: j2, cron: '* * * * * *' }\n"));
    symlink("..data/more.yaml", directory.join("more.yaml")).expect("a link");
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1);
    version(3, Some("jobs:\n  more: { stack: s1, job: j2, cron: '*/2 * * * * *' }\n"));
    fs::remove_dir_all(directory.join("..2026_2")).expect("a removal");
    daemon.wait_for("schedule.reloaded", |line| line["changed"] == 1);
    daemon.stop();
    assert_eq!(daemon.events("schedule.polled").len(), 0, "it is watched:\n{}", daemon.raw);
}
