//! What a person sees: each view in a real Chromium, with the demo running.

use std::path::Path;

use super::browser::Browser;
use super::{get, listening};
use crate::common::{Daemon, Place, sandbox, until};

/// Each view, and what it shows once it is there.
const VIEWS: [(&str, &str); 6] = [
    (
        "now",
        "document.querySelector('table[aria-label=\"Next occurrences\"] a') && document.querySelector('.tiles')",
    ),
    ("timeline", "document.querySelectorAll('.lanes li').length === 6"),
    (
        "calendar",
        // A busy machine takes minutes to rehearse where the program is not optimised: the page
        // says so meanwhile.
        "document.querySelectorAll('.heat td').length === 168 && (document.querySelector('.plot canvas') || document.querySelector('main [role=status]')?.textContent.includes('being rehearsed'))",
    ),
    ("quota", "document.querySelector('.plot canvas')"),
    (
        "entry/report",
        "document.querySelector('h1')?.textContent === 'report' && document.querySelector('dl code')",
    ),
    ("find?q=failed", "document.querySelector('table[aria-label=\"Entries\"], main .empty')"),
];

fn demo(listen: &str) -> (Daemon, String) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.yaml");
    let place = Place::with("jobs: {}\n").env("STACKCRON_CONFIG", config.to_str().expect("a path"));
    let mut daemon = place.start_with(&["--sandbox", "--listen", listen]);
    let address = daemon.event("daemon.listening")["address"].as_str().expect("an address").to_owned();
    (daemon, address)
}

/// What is wrong with the page for who cannot see it, or not well: axe-core's rules.
async fn violations(browser: &Browser) -> Vec<String> {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/page/node_modules/axe-core/axe.min.js");
    let Ok(axe) = std::fs::read_to_string(axe) else {
        eprintln!("NOT CHECKED: axe-core is not installed; npm ci --prefix .ci/page");
        return Vec::new();
    };
    browser.run(&format!("if (!window.axe) {{ {axe} }}; return null")).await;
    let found = browser
        .awaited("const { violations } = await axe.run(); return violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`)")
        .await;
    let all = found.as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
    all.iter().map(|violation| violation.as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_is_seen_by_everybody_and_survives_a_restart() {
    let Some(browser) = Browser::start().await else { return };
    let (mut daemon, address) = demo("127.0.0.1:0");
    daemon.wait_for("action.finished", |line| line["action_finished_success"] == false);
    daemon.wait_for("occurrence.waiting", |line| line["reason"] == "quota");
    daemon.wait_for("action.finished", |line| line["entry"] == "report");
    let base = format!("http://{address}/");
    let socket = address.parse().expect("an address");
    until("two looks at the quota", || {
        let looks = get(socket, "/api/v1/quota").json().as_array().map_or(0, Vec::len);
        if looks > 1 { Ok(()) } else { Err(looks.to_string()) }
    });
    browser.open(&base).await;
    browser.until("document.querySelector('#headline').textContent.startsWith('fires')").await;
    // A job of the demo fails, and its quota is spent.
    browser.until("document.title.includes('fires, with problems')").await;

    let mut wrong: Vec<String> = Vec::new();
    // Each view: light, dark, and on a telephone.
    for (name, shows) in VIEWS {
        let file = name.split(['/', '?']).next().unwrap_or(name);
        browser.run(&format!("location.hash = '#/{name}'")).await;
        browser.until(shows).await;
        browser.screenshot(file).await;
        wrong.extend(violations(&browser).await.iter().map(|found| format!("{name}: {found}")));
    }
    for (theme, width) in [("dark", 1280), ("light", 360), ("light", 1920)] {
        browser
            .devtools(
                "Emulation.setEmulatedMedia",
                serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] }),
            )
            .await;
        browser.devtools("Emulation.setDeviceMetricsOverride", serde_json::json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 1000 })).await;
        for (name, shows) in VIEWS {
            let file = name.split(['/', '?']).next().unwrap_or(name);
            browser.run(&format!("location.hash = '#/{name}'")).await;
            browser.until(shows).await;
            browser.screenshot(&format!("{file}-{theme}-{width}")).await;
            let wide = browser.run("return document.documentElement.scrollWidth").await;
            if wide.as_u64() > Some(width) {
                wrong.push(format!("{name} is {wide} wide at {width}"));
            }
            // On a wall everything is as at a desk, but larger.
            let found = if width > 1280 { Vec::new() } else { violations(&browser).await };
            wrong.extend(found.iter().map(|found| format!("{name}, {theme}, {width}: {found}")));
        }
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", serde_json::json!({})).await;

    // Type to find, deep links, and back.
    browser.run("location.hash = '#/now'").await;
    browser.until(VIEWS[0].1).await;
    browser.keys("/").await;
    browser.until("document.activeElement.id === 'find-text'").await;
    browser.keys("repo").await;
    browser
        .until("document.querySelector('#find-list [aria-selected=true]')?.textContent.includes('report')")
        .await;
    browser.keys("\u{E007}").await;
    browser
        .until("location.hash === '#/entry/report' && document.querySelector('h1')?.textContent === 'report'")
        .await;
    browser.back().await;
    browser.until("location.hash === '#/now' && document.querySelector('.tiles')").await;
    let failed = daemon.wait_for("action.finished", |line| line["action_finished_success"] == false);
    let at = failed["scheduled_at"].as_str().expect("a time");
    browser.open(&format!("{base}#/entry/cleanup?state=failed&why=cleanup%40{at}")).await;
    browser.until("document.querySelector('#panel pre')?.textContent.includes('What became of it')").await;
    let log = "document.querySelector('#panel pre.box')?.textContent";
    browser.until(&format!("{log}.includes('cleanup')")).await;
    browser.screenshot("why").await;
    let seconds = |text: &str| {
        text.lines().filter(|line| !line.contains(" ago")).map(str::to_owned).collect::<Vec<_>>()
    };
    let told = browser.run("return document.querySelector('#panel pre').textContent").await;
    let said = get(socket, &format!("/api/v1/why?entry=cleanup&at={at}&format=text")).body;
    assert_eq!(seconds(told.as_str().expect("text")), seconds(&said), "word for word what the command says");
    wrong.extend(violations(&browser).await.iter().map(|found| format!("why: {found}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
    browser.keys("\u{E00C}").await;
    browser
        .until("document.querySelector('#panel').hidden && location.hash === '#/entry/cleanup?state=failed'")
        .await;

    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "the console is quiet: {complaints:#?}");
    let elsewhere: Vec<String> = browser
        .requests()
        .await
        .into_iter()
        .filter(|url| !url.starts_with(&base) && !url.starts_with("data:") && !url.starts_with("chrome://"))
        .collect();
    assert!(elsewhere.is_empty(), "nothing is asked of others: {elsewhere:#?}");

    // The daemon goes, and another one comes.
    browser.run("location.hash = '#/now'").await;
    assert!(daemon.stop().success(), "{}", daemon.raw);
    browser
        .until("!document.querySelector('#gone').hidden && document.title.includes('does not answer')")
        .await;
    browser.screenshot("gone").await;
    let pid = browser.run("return document.querySelector('#foot').textContent").await;
    let (_daemon, _) = demo(&address);
    browser.until("document.querySelector('#gone').hidden && document.title === 'fires – stackcron'").await;
    browser.until(&format!("document.querySelector('#foot').textContent !== {pid}")).await;
}

/// A chain, a retry, a calendar that covers everything, runs that are longer and shorter than
/// expected, and pauses.
const JOBS: &str = "  report: { stack: s1, job: j1, cron: '*/5 * * * * *', expect: { at_least: 1m } }
  invoices: { stack: s1, job: j2, after: report }
  repair: { stack: s1, job: j-fails, cron: '*/20 * * * * *', retry: { times: 1, after: 3s } }
  closed: { stack: s2, job: j1, cron: '0 * * * *', not_on: [always], timezone: Asia/Kathmandu }
  away: { stack: s2, job: j1, cron: '0 9 * * MON', timezone: America/New_York }
calendars:
  always: { cron: '0 0 * * *', for: 24h }
";

#[tokio::test(flavor = "multi_thread")]
async fn chains_retries_calendars_and_pauses_are_seen() {
    let Some(browser) = Browser::start().await else { return };
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let (mut daemon, address) = listening(&place, &[]);
    daemon.event("action.started");
    let paused = place.run(&["pause", "away", "--for", "2h", "--note", "see <b>ticket</b> 412"]);
    assert!(paused.status.success(), "{paused:?}");
    daemon.wait_for("action.started", |line| line["retry"] == 1);
    daemon.wait_for("action.finished", |line| line["entry"] == "invoices");
    for (view, shows) in [
        ("now", "document.querySelector('.badge')?.textContent.includes('every one is accounted for')"),
        (
            "now",
            "document.querySelector('table[aria-label=\"Paused entries\"]')?.textContent.includes('see <b>ticket</b> 412')",
        ),
        (
            "now",
            "document.querySelector('table[aria-label=\"Next occurrences\"]')?.textContent.includes('GMT')",
        ),
        // An entry of a chain is told with the one that it comes after.
        (
            "now",
            "document.querySelector('[data-key=\"next invoices\"]')?.textContent.includes('after report')",
        ),
        ("now", "document.querySelector('svg.left polyline')"),
        ("now", "document.querySelector('.hours div:last-child')?.title.includes('1 failed')"),
        // An entry that fails, and whose retry fails.
        (
            "now",
            "/\\d(nd|rd|th)/.test(document.querySelector('table[aria-label=\"What went wrong\"]')?.textContent)",
        ),
        (
            "timeline",
            "document.querySelector('.lanes ~ p')?.textContent.includes('a dashed line leads to a retry')",
        ),
        // An entry of a chain is below the one that it comes after.
        (
            "timeline",
            "[...document.querySelectorAll('.lanes li')].map((li) => li.textContent).join().includes('report,invoices')",
        ),
        ("calendar", "document.querySelector('.heat .closed') && document.querySelector('.plot canvas')"),
        ("calendar", "document.querySelector('.card').textContent.includes('are skipped on always: ')"),
        ("calendar", "document.querySelector('.heat .closed').title.includes('skipped on always')"),
        ("entry/invoices", "document.querySelector('.lead')?.textContent.startsWith('due when report ends')"),
        ("entry/report", "document.querySelector('dl')?.textContent.includes('theninvoices')"),
        ("entry/report", "document.querySelector('.pace.quick')"),
        ("entry/report", "document.querySelector('.plot ~ details summary')?.textContent === 'as a table'"),
        (
            "entry/repair",
            "document.querySelector('table[aria-label=\"History\"]')?.textContent.includes('retry 1')",
        ),
        ("entry/closed", "document.querySelector('dl')?.textContent.includes('not onalways')"),
    ] {
        browser.open(&format!("http://{address}/#/{view}")).await;
        browser.until(shows).await;
        browser.screenshot(&format!("rich-{}", view.replace('/', "-"))).await;
    }
    let wrong = violations(&browser).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "the console is quiet: {complaints:#?}");
}
