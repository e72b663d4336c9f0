//! A real Chromium, driven by its WebDriver.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::common::PATIENCE;

/// What keeps the browser to itself: it asks nobody for anything but the page.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-precise-memory-info",
];

/// Between two looks at the page.
const EVERY: Duration = Duration::from_millis(100);

/// A browser with one page. Ends when it is dropped.
pub struct Browser {
    /// The driver. It and its browser are a group of processes.
    pub driver: Child,
    client: Client,
    session: String,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.driver),
            rustix::process::Signal::TERM,
        );
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts one. `None` where there is none: `.ci/run` installs it.
    pub async fn start() -> Option<Browser> {
        use std::os::unix::process::CommandExt;
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).ok()?.port();
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let Ok(driver) = command.spawn() else {
            eprintln!("NOT CHECKED: there is no chromedriver; apt-get install chromium chromium-driver");
            return None;
        };
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let driver_url = format!("http://127.0.0.1:{port}/session");
        let mut browser = Browser { driver, client, session: driver_url.clone(), _profile: profile };
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push("--window-size=1280,920".to_owned());
        flags.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags, "binary": "/usr/bin/chromium" },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let end = Instant::now() + PATIENCE;
        let session = loop {
            match browser.client.post(&driver_url).json(&wanted).send().await {
                Ok(answer) => {
                    let answer: Value = answer.json().await.expect("JSON");
                    break answer["value"]["sessionId"]
                        .as_str()
                        .unwrap_or_else(|| panic!("{answer}"))
                        .to_owned();
                }
                Err(error) if Instant::now() > end => panic!("the driver never answers: {error}"),
                Err(_) => tokio::time::sleep(EVERY).await,
            }
        };
        browser.session = format!("{driver_url}/{session}");
        Some(browser)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.client.request(method, &url);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{path}: {:#}", answer["value"]);
        answer["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "/url", Some(json!({ "url": url }))).await;
    }

    pub async fn back(&self) {
        self.call(Method::POST, "/back", Some(json!({}))).await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.call(Method::POST, "/execute/sync", Some(json!({ "script": script, "args": [] }))).await
    }

    /// What a promise of a script comes to.
    pub async fn awaited(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(String(error)))"
        );
        self.call(Method::POST, "/execute/async", Some(json!({ "script": script, "args": [] }))).await
    }

    /// Waits until an expression is true. A forecast of the demo takes a while where the program is
    /// not optimised.
    pub async fn until(&self, expression: &str) {
        let end = Instant::now() + 3 * PATIENCE;
        loop {
            if self.run(&format!("return Boolean({expression})")).await == true {
                return;
            }
            if Instant::now() > end {
                let text = self.run("return location.hash + '\\n' + document.body.innerText").await;
                panic!("never {expression}; the page says:\n{}", text.as_str().unwrap_or_default());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Types on the keyboard.
    pub async fn keys(&self, text: &str) {
        let actions: Vec<Value> = text
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.call(Method::POST, "/actions", Some(actions)).await;
    }

    /// Asks the browser itself.
    pub async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.call(Method::POST, "/goog/cdp/execute", Some(body)).await;
    }

    /// Writes what is seen, for a person to look at.
    pub async fn screenshot(&self, name: &str) {
        let picture = self.call(Method::GET, "/screenshot", None).await;
        let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&place).expect("a directory");
        let bytes = decoded(picture.as_str().expect("base64"));
        assert!(bytes.starts_with(b"\x89PNG"), "it is a picture");
        std::fs::write(place.join(format!("{name}.png")), bytes).expect("written");
    }

    /// What the console has told since the last time, without what is information.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.call(Method::POST, "/se/log", Some(json!({ "type": "browser" }))).await;
        let lines = log.as_array().into_iter().flatten().filter(|line| line["level"] != "INFO");
        lines.map(|line| line["message"].to_string()).collect()
    }

    /// The addresses that were asked for since the last time.
    pub async fn requests(&self) -> Vec<String> {
        let log = self.call(Method::POST, "/se/log", Some(json!({ "type": "performance" }))).await;
        let lines = log.as_array().into_iter().flatten();
        let messages = lines.filter_map(|line| serde_json::from_str::<Value>(line["message"].as_str()?).ok());
        let sent = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|message| Some(message["message"]["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }
}

/// The bytes of a text in base64.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).collect();
    let group = |group: &[u32]| {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
