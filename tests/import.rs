//! `import`: a crontab becomes entries, each with the stack's job that runs its command, over real sockets.

use crate::common::{Place, sandbox_with, settings};
use serde_json::json;
use stackcron::sandbox::{Sandbox, SandboxJob, SandboxStack, Settings};
use stackcron::schedule::{JobUid, StackUid};

const WEB: &str = "5999b763474b0eafa5fafb64bff0ba80";

/// What `whenever` prints for three lines of a schedule.rb, between its marks, and lines that people write by hand.
const CRONTAB: &str = "\
# Begin Whenever generated tasks for: /app/config/schedule.rb at: 2026-11-30 04:52:48 +0000
MAILTO=ops@example.com
RAILS_ENV=production

# Removes what nobody needs.
0 4 * * * /bin/bash -l -c 'cd /app && RAILS_ENV=production bundle exec rake db:purge --silent >> log/cron.log 2>&1'

0 0 1 * * /bin/bash -l -c 'cd /app && bundle exec rake report:nightly --full'
# End Whenever generated tasks for: /app/config/schedule.rb at: 2026-11-30 04:52:48 +0000

CRON_TZ=Europe/London
30 1 * * 1-5 /usr/local/bin/backup --to /mnt%from%stdin
@reboot /usr/local/bin/warm-up
@daily /usr/local/bin/rotate-logs
61 * * * * /usr/local/bin/backup
15 * * *
";

fn job(uid: &str, name: &str, key: &str, runs: &str) -> SandboxJob {
    let job = SandboxJob::new(JobUid::new(uid).expect("a uid"));
    let params = json!({ key: runs }).as_object().expect("an object").clone();
    SandboxJob { name: name.to_owned(), params, ..job }
}

async fn sandbox() -> Sandbox {
    let web = SandboxStack::new(StackUid::new(WEB).expect("a uid"))
        .job(job("98ee5a9b93919d9b63bd5377636675bd", "Purge the database", "task", "db:purge"))
        .job(job("5999763474000000", "report", "command", "bundle exec rake report:nightly"))
        .job(job("1e10", "report", "command", "/usr/local/bin/backup --to /mnt"));
    sandbox_with(Settings { stacks: vec![SandboxStack { name: "web".into(), ..web }], ..settings(&[]) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crontab_becomes_entries_that_pass_the_check() {
    let sandbox = sandbox().await;
    let place = Place::firing_at(&sandbox, "", "");
    let file = place.directory.path().join("crontab");
    std::fs::write(&file, CRONTAB).expect("a crontab");
    let ended = place.run(&["import", file.to_str().expect("a path"), "--stack", "web"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stderr.trim(), "3 of 7 lines became an entry; the comments say why the others are none");
    insta::assert_snapshot!(ended.stdout);
    let pasted = Place::firing_at(&sandbox, "", &ended.stdout);
    let check = pasted.run(&["check", "--online"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crontab_that_is_not_there_is_named() {
    let sandbox = sandbox().await;
    let place = Place::firing_at(&sandbox, "", "");
    let ended = place.run(&["import", "/nowhere/crontab", "--stack", "web"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot read the crontab /nowhere/crontab"), "{ended:?}");
    let ended = place.run(&["import", "/dev/null", "--stack", "wep"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `web`"), "{ended:?}");
}
