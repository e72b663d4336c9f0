//! The schedule file through the library's public face: what is said about each mistake, and what is never read.

use stackcron::schedule::render::Colour;

fn said(text: &str) -> String {
    match stackcron::schedule::parse("schedule.yaml", text) {
        Ok(loaded) => format!("accepted: {:#?}", loaded.schedule),
        Err(rejected) => rejected.render(Colour::Never),
    }
}

#[test]
fn demo() {
    for t in [
        "timezone: Europe/Londn\nacounts: 1\naccounts:\n  main:\n    url: ftp://x\n    token: abc\n    timeout: 30\n    quota: {limit: 0, window: 1 hour, reserve: 100%}\n  other:\n    url: http://x.example\ndefaults:\n  stack: 1\n  overlap: alow\n  args: 5\njobs:\n  a:\n    stack: 007\n    job: a b\n    crn: x\n    args: [a]\n    paused: \"true\"\n    account: mian\n  b b:\n  a:\n    stack: x\n",
        "jobs:\n  a: {stack: x, job: y, cron: '@daily'}\n",
        "accounts: {main: {token: {env: T}}}\njobs:\n  a: {stack: x, job: y, cron: '@daily'}\n  b: {stack: x, job: y, cron: '@daily'}\n",
        "accounts: {main: {token: {env: T}}}\nx-a: &a {priority: hihg}\njobs:\n  a: {<<: *a, stack: x, job: y, cron: '@daily'}\n  b: {<<: *a, stack: x, job: y, cron: '@weekly'}\n",
        "jobs:\n  a:\n    cron: */5 * * * *\n",
        "a: [1",
        "jobs: [a]\n",
        "jobs:\n  a:\n    cron: * * * * *\n",
        "jobs:\n  a:\n    cron: @daily\n",
        "a: 1\n---\nb: 2\n",
        &"[".repeat(1000),
        &"- ".repeat(40),
        "a\tb: \u{1b}[31m: 1",
        "jobs:\n  a: 3\n  b: ~\n",
    ] {
        println!("{}\n=======", said(t));
    }
}
