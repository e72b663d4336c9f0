//! The alert rules and the dashboard, on a real Prometheus that scrapes a real daemon.
//!
//! Needs `prometheus` and `promtool`: Debian's package prometheus has both. Where they are not to be had, it says so and
//! passes.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Daemon, PATIENCE, Place, sandbox, schedule};
use rustix::process::Signal;
use serde_json::Value;

const RULES: &str = "config/prometheus/stackcron.rules.yaml";
const DASHBOARD: &str = "config/grafana/stackcron.json";

/// What Grafana puts in the place of its variables.
const VARIABLES: [(&str, &str); 4] =
    [("$__rate_interval", "1m"), ("$job", "stackcron"), ("$instance", ".*"), ("$account", ".*")];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether Prometheus is here. Says it loudly where it is not.
fn have_prometheus() -> bool {
    let answers = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let have = answers("prometheus") && answers("promtool");
    if !have {
        // Past what the test harness holds back.
        let _ = std::io::stderr().write_all(
            b"\nNOT TESTED: no prometheus and promtool in $PATH; install the package prometheus to test the alert rules \
              and the dashboard\n",
        );
    }
    have
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).output().expect("promtool");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "promtool {arguments:?}:\n{}\n{}", said[0], said[1]);
}

#[test]
fn on_each_kind_of_night_the_right_alerts_fire() {
    if !have_prometheus() {
        return;
    }
    let nights = project("tests/monitoring/rules.test.yaml");
    promtool(&["check", "rules", &project(RULES).display().to_string()]);
    promtool(&["test", "rules", &nights.display().to_string()]);
    let nights = crate::common::read(&nights);
    for rule in rules().iter().filter_map(|rule| rule["alert"].as_str()) {
        assert!(nights.contains(&format!("alertname=\"{rule}\"")), "no night is tried on which {rule} fires");
    }
}

/// Every rule of the file.
fn rules() -> Vec<Value> {
    let file: Value = serde_yaml_09::from_str(&crate::common::read(&project(RULES))).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
}

#[test]
fn each_alert_says_how_grave_it_is_and_what_to_do() {
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{rule:#}");
        for (annotation, least) in [("summary", 10), ("description", 80)] {
            let text = rule["annotations"][annotation].as_str();
            assert!(text.is_some_and(|text| text.len() > least), "{rule:#}");
        }
    }
}

/// A Prometheus that scrapes one daemon, four times a second. It ends with this value.
struct Prometheus {
    child: Child,
    url: String,
    directory: tempfile::TempDir,
}

impl Prometheus {
    async fn scraping(target: &str) -> Prometheus {
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms }}
rule_files: ['{}']
scrape_configs: [{{ job_name: stackcron, static_configs: [{{ targets: ['{target}'] }}] }}]
",
            project(RULES).display()
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        promtool(&["check", "config", &file.display().to_string()]);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus");
        let prometheus = Prometheus { child, url: format!("http://{port}"), directory };
        prometheus.until("up{job='stackcron'} == 1", |series| !series.is_empty()).await;
        prometheus
    }

    /// The series that a query gives, or why it gives none.
    async fn asked(&self, query: &str) -> Result<Vec<Value>, String> {
        let request =
            reqwest::Client::new().get(format!("{}/api/v1/query", self.url)).query(&[("query", query)]);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default()),
            _ => Err(answer.to_string()),
        }
    }

    /// Asks until it is as wished.
    async fn until(&self, query: &str, wished: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let asked = self.asked(query).await;
            match asked {
                Ok(series) if wished(&series) => return series,
                asked if std::time::Instant::now() > end => {
                    let log = crate::common::read(&self.directory.path().join("log"));
                    panic!("{query} never gives what is wished, but {asked:#?}\n{log}")
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Waits until an alert is pending or fires, as it is to.
    async fn alert(&self, name: &str, state: &str) {
        self.until(&format!("ALERTS{{alertname='{name}', alertstate='{state}'}}"), |series| {
            !series.is_empty()
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every query of the dashboard, with its panel's title.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&crate::common::read(&project(DASHBOARD))).expect("JSON");
    let (mut ids, mut queries) = (BTreeSet::new(), Vec::new());
    let panels = dashboard["panels"].as_array().expect("panels");
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
    for panel in panels.iter().chain(annotations) {
        let title = panel["title"].as_str().or(panel["name"].as_str()).expect("a title").to_owned();
        assert!(panel["id"].is_null() || ids.insert(panel["id"].to_string()), "{title} has an id of its own");
        let targets = panel["targets"].as_array().cloned().unwrap_or_else(|| vec![panel.clone()]);
        for target in targets.iter().filter(|target| panel["type"] != "row" || target["expr"].is_string()) {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title} asks who is chosen");
            let mut query = target["expr"].as_str().unwrap_or_else(|| panic!("{title} asks")).to_owned();
            for (variable, value) in VARIABLES {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('$'), "{title} uses no other variable: {query}");
            queries.push((title.clone(), query));
        }
    }
    queries
}

/// The names of the daemon's metrics in a query.
fn metrics(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("stackcron_") || word.starts_with("stackcron:")).collect()
}

async fn listening(place: &Place, address: &str) -> (Daemon, String) {
    let mut daemon = place.start_with(&["--listen", address]);
    let told = daemon.event("daemon.listening");
    (daemon, told["address"].as_str().expect("an address").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_is_answered_from_real_scrapes_and_a_bad_night_is_told() {
    if !have_prometheus() {
        return;
    }
    let sandbox = sandbox(&[]).await;
    let good = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: none }\n";
    let bad = "  fails: { stack: s1, job: j-fails, cron: '* * * * * *' }
  forbidden: { stack: s1, job: j-forbidden, cron: '* * * * * *' }
";
    let place = Place::firing_at(&sandbox, "", good);
    let (mut daemon, address) = listening(&place, "127.0.0.1:0").await;
    let prometheus = Prometheus::scraping(&address).await;
    prometheus.until("stackcron_ready == 1", |series| !series.is_empty()).await;
    prometheus.until("stackcron_quota_remaining", |series| !series.is_empty()).await;
    prometheus.until("rate(stackcron_lateness_seconds_count[1m]) > 0", |series| !series.is_empty()).await;

    // A good night: each query is understood, each name in it is there, and no alert is up.
    for rule in rules() {
        let query = rule["expr"].as_str().expect("a query");
        if rule["alert"].is_string() {
            prometheus.until(query, <[Value]>::is_empty).await;
        }
        for metric in metrics(query) {
            prometheus.until(metric, |series| !series.is_empty()).await;
        }
    }
    for (title, query) in dashboard() {
        // What is empty on a good night.
        if !query.contains("ALERTS") && !query.contains("changes(") {
            prometheus.until(&query, |series| !series.is_empty()).await;
        }
        prometheus.asked(&query).await.unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
        for metric in metrics(&query) {
            prometheus.until(metric, |series| !series.is_empty()).await;
        }
    }
    prometheus.until("ALERTS", <[Value]>::is_empty).await;

    // A bad one.
    place.write(&schedule(&sandbox.url(), "", &[good, bad].concat()));
    daemon.event("schedule.reloaded");
    prometheus.alert("StackcronOccurrencesRejected", "firing").await;
    prometheus.alert("StackcronActionsFailed", "firing").await;
    place.write("jobs: 7\n");
    daemon.event("schedule.rejected");
    prometheus.alert("StackcronScheduleRejected", "pending").await;
    place.write(&schedule(&sandbox.url(), "", good));
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 2);
    prometheus.until("ALERTS{alertname='StackcronScheduleRejected'}", <[Value]>::is_empty).await;
    daemon.signal(Signal::KILL);
    daemon.end();
    prometheus.alert("StackcronDown", "pending").await;
    // Longer than what was planned ahead when it was killed.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let (mut daemon, _) = listening(&place, &address).await;
    daemon.event("occurrence.missed");
    prometheus.alert("StackcronOccurrencesMissed", "firing").await;
    prometheus.until("ALERTS{alertname='StackcronDown'}", <[Value]>::is_empty).await;
    let (title, query) = dashboard().into_iter().find(|(_, query)| query.contains("ALERTS")).expect("a list");
    prometheus.until(&query, |series| !series.is_empty()).await;
    assert_eq!(title, "Alerts");
    assert!(daemon.stop().success(), "{}", daemon.raw);
}
