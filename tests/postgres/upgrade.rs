//! A fleet is upgraded one by one: a member of the version before leads, stands by and leads again beside one of this version.
//!
//! The one of before is its SQL, word for word: what a migration took away from it would fail it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;

const SCHEMA: &str = include_str!("version_1/schema.sql");
const STATEMENTS: &str = include_str!("version_1/statements.sql");

/// As that version had it.
const QUOTA: &str = r#"{"limit":100000,"told":null,"confirmed":false,"uncovered":0,"used":[],"asides":[],"window":{"aligned":true,"first":true,"rolling":true,"skewed":false,"opened":null,"settled":null},"not_before":null,"exhausted_since":null,"exhausted":false}"#;

/// A member of the version before.
struct Former<'s> {
    scene: &'s Scene,
    /// Of its term.
    number: String,
}

impl Former<'_> {
    /// Says one of its statements. All of them must be such as the schema admits.
    fn says(&self, statement: &str) -> String {
        self.scene.server.sql(&self.scene.database, &format!("{STATEMENTS}EXECUTE {statement}"))
    }

    /// Takes a lease that is free, and begins its term. Returns what is open.
    fn leads(&mut self) -> Vec<Vec<String>> {
        self.says("sign (7, 'former', '0.0.9', 'its file', 2, 0)");
        let look = self.says("look");
        let [number, beat, released] = look.split('|').collect::<Vec<_>>()[..3] else { panic!("{look}") };
        assert_eq!(released, "t", "{look}");
        self.number = self.says(&format!("take (7, {}, {number}, {beat}, true, 'former')", sends_until()));
        assert_ne!(self.number, "", "it was as it was seen");
        self.says(&format!("held ({})", self.number));
        let open = self.says("open");
        self.says("begun");
        open.lines().map(|row| row.split('|').map(str::to_owned).collect()).collect()
    }

    fn beats(&self) {
        assert_eq!(self.says(&format!("keep ({}, {})", self.number, sends_until())), self.number);
        self.says("sign (7, 'former', '0.0.9', 'its file', 2, 1)");
    }

    /// Claims an entry for these seconds. Returns how many of them it got.
    fn claims(&self, entry: &str, seconds: std::ops::Range<i64>) -> usize {
        let number = &self.number;
        let many = seconds.clone().count();
        let cursor = seconds.end * 1_000_000;
        let instants = seconds.map(|second| (second * 1_000_000).to_string()).collect::<Vec<_>>().join(",");
        let all = |value: &str| format!("array_fill({value}, ARRAY[{many}])");
        let claimed = self.says(&format!(
            "claim ({number}, {cursor}, ARRAY[{instants}], {}, {}, {}, {}, {}, {}, {}, {})",
            all(&format!("'{entry}'::text")),
            all("'main'::text"),
            all("'s1'::text"),
            all("'j1'::text"),
            all("0::bigint"),
            all("3600000000"),
            all("false"),
            all("null::text"),
        ));
        claimed.lines().filter(|row| row.starts_with("t|") && !row.ends_with('|')).count()
    }

    /// Moves an occurrence of an entry on: what it is settled as, or stays open as.
    fn moves(&self, entry: &str, second: i64, settles: bool, state: u8, action: &str) {
        let (number, instant) = (&self.number, second * 1_000_000);
        let held = self.says(&format!(
            "steps ({number}, ARRAY[{instant}], ARRAY['{entry}'], ARRAY[{settles}], ARRAY[{state}], ARRAY[1], \
             ARRAY[5000], ARRAY[{action}]::bigint[], ARRAY[null]::bigint[], ARRAY[null]::boolean[], ARRAY['retry'])"
        ));
        assert_eq!(held, "t");
    }
}

/// How far a permit reaches that is asked for now.
fn sends_until() -> i64 {
    Timestamp::now().as_microsecond() + 2_250_000
}

const WAITING: u8 = 1;
const FINISHED: u8 = 4;
const UNKNOWN: u8 = 9;

/// Who knows this form can read that value.
fn reads_as(value: &Value, form: &Value) {
    for (key, form) in form.as_object().into_iter().flatten() {
        let known = value.get(key).unwrap_or_else(|| panic!("no {key} in {value}"));
        reads_as(known, form);
    }
}

/// Ends a life with its scope.
struct Life<'a>(&'a AtomicBool);

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// Starts a member of this version, which brings the schema up to date and stands by.
fn beside(former: &Former<'_>, place: &Place) -> Daemon {
    let mut new = place.start();
    assert_eq!(new.event("lease.standby")["leader"], "former");
    let version =
        former.scene.server.sql(&former.scene.database, "SELECT schema, oldest FROM stackcron.journal");
    assert_eq!(version, "2|1");
    until("both members in the status", || {
        let status = place.run(&["status", "--format", "json"]).stdout;
        let status: Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let told = |of: &Value| (of["version"].as_str().map(str::to_owned), of["leads"].as_bool());
        let all = [("0.0.9", true), (env!("CARGO_PKG_VERSION"), false)];
        let all = all.map(|(version, leads)| (Some(version.to_owned()), Some(leads)));
        if members.iter().map(told).eq(all) { Ok(()) } else { Err(status.to_string()) }
    });
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_version_before_leads_beside_a_new_one_and_after_it() {
    let Some(mut scene) = Scene::new().await else { return };
    let job = |name| {
        format!("  {name}: {{ stack: s1, job: j1, args: {name}, cron: '* * * * * *', catch_up: all }}\n")
    };
    scene.jobs = job("e0") + &job("e1");
    let sql = |text: &str| scene.server.sql(&scene.database, text);
    sql(SCHEMA);
    let place = scene.machine();

    let mut former = Former { scene: &scene, number: String::new() };
    assert_eq!(former.leads().len(), 0);
    let first = Timestamp::now().as_second() - 5;
    assert_eq!(former.claims("e0", first..first + 10), 10);
    former.moves("e0", first, true, FINISHED, "null");
    former.moves("e0", first + 1, true, UNKNOWN, "null");
    former.moves("e0", first + 2, false, WAITING, "null");
    assert_eq!(
        former.says(&format!("save_quotas ({}, ARRAY['main'], ARRAY['{QUOTA}'])", former.number)),
        "t"
    );
    assert_eq!(former.says(&format!("pauses ({}, ARRAY['e1'], ARRAY['e2'])", former.number)), "t");
    assert_eq!(history(&place).len(), 10, "a command may be newer than all daemons");

    let lives = AtomicBool::new(true);
    let mut new = std::thread::scope(|scope| {
        // It ends with its life, or with the test's failure.
        let life = Life(&lives);
        scope.spawn(|| {
            while lives.load(Relaxed) {
                former.beats();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let new = beside(&former, &place);
        let next = first + 10;
        let seconds = next..(Timestamp::now().as_second() + 3).max(next + 1);
        assert_eq!(former.claims("e0", seconds.clone()), seconds.count(), "it goes on");
        former.moves("e0", first + 2, false, WAITING, "null");
        assert_eq!(former.says("members").lines().count(), 2);
        assert_eq!(former.says(&format!("prune ({}, 0, 10)", former.number)), "t|0");
        drop(life);
        new
    });
    assert_eq!(new.events("lease.acquired").len(), 0);

    // From here on it is heard of no more, as if it were killed.
    new.event("lease.acquired");
    let waited = |line: &Value| scheduled_at(line).as_second() == first + 2;
    assert_eq!(new.wait_for("action.started", waited)["attempts"], 2);
    new.wait_for("occurrence.skipped", |line| line["entry"] == "e1" && line["reason"] == "paused");
    fires(&mut new);
    assert_eq!(new.events("quota.changed").len(), 0, "it knows of the quota");
    let before = std::mem::take(&mut former.number);
    assert!(new.stop().success(), "{}", new.stderr());

    let open = former.leads();
    assert_eq!(former.says("paused"), "e1");
    let saved = former.says("quotas");
    let saved = saved.strip_prefix("main|").and_then(|saved| serde_json::from_str(saved).ok());
    reads_as(&saved.unwrap_or_default(), &serde_json::from_str(QUOTA).expect("JSON"));
    let journal = former.says("journal");
    let (cursor, stopped_at) = journal.split_once('|').expect("two columns");
    // The first second that is not planned.
    let next = (cursor.parse::<i64>().expect("a cursor") + 999_999) / 1_000_000;
    assert_eq!(stopped_at, "", "its term has begun");
    assert!(!open.is_empty(), "what the new one had claimed ahead, at least");
    for row in open {
        let second = row[0].parse::<i64>().expect("an instant") / 1_000_000;
        match row[6].as_str() {
            "" => former.moves(&row[1], second, true, UNKNOWN, "null"),
            action => former.moves(&row[1], second, true, FINISHED, action),
        }
    }
    let own = std::mem::replace(&mut former.number, before);
    assert_eq!(former.claims("e0", next..next + 1), 0, "its first term is over");
    former.number = own;
    assert_eq!(former.claims("e0", next..next + 1), 1);
    former.moves("e0", next, true, FINISHED, "null");
    assert_eq!(former.says(&format!("stopped ({}, {})", former.number, next * 1_000_000)), "t");
    former.says(&format!("release ({})", former.number));
    former.says("forget (7)");

    let rows = scene.nothing_twice(&place);
    assert_eq!(former.says("history (0, 9e18::bigint, null)").lines().count(), rows.len());
    let seconds: BTreeSet<i64> =
        rows.iter().filter(|row| row["entry"] == "e0").map(|row| scheduled_at(row).as_second()).collect();
    assert!(seconds.iter().copied().eq(first..=next), "no second is left out: {seconds:?}");
    assert_eq!(states(&rows, "missed"), 0, "{rows:?}");
}
