//! Schedulers in other languages: the programs in `benches/rivals`, and what runs them.

use std::process::{Command, Output};

use tempfile::TempDir;

/// A scheduler that may be installed here.
pub struct Rival {
    pub name: &'static str,
    /// How to get what it needs.
    pub install: &'static str,
    /// Its resolution is a minute, and more than so many processes at once say nothing of a scheduler.
    pub most_at_a_minute: Option<usize>,
    way: Way,
}

enum Way {
    /// An interpreter and a file in `benches/rivals`.
    Interpreted(&'static str, &'static str),
    /// A file of Go, built against Debian's packages of libraries.
    Go(&'static str),
}

/// One that is here.
pub struct Found {
    pub version: String,
    pub program: String,
    pub arguments: Vec<String>,
    /// Where it was built.
    pub built_in: Option<TempDir>,
}

pub fn all() -> [Rival; 4] {
    [
        Rival {
            name: "APScheduler",
            install: "python3 -m venv DIR; DIR/bin/pip install 'apscheduler<4' aiohttp; export PATH=DIR/bin:$PATH",
            most_at_a_minute: None,
            way: Way::Interpreted("python3", "apscheduler_jobs.py"),
        },
        Rival {
            name: "croner (npm)",
            install: "npm install --prefix DIR croner undici@7; export NODE_PATH=DIR/node_modules",
            most_at_a_minute: None,
            way: Way::Interpreted("node", "croner_jobs.mjs"),
        },
        Rival {
            name: "robfig/cron (Go)",
            install: "apt-get install golang-go golang-github-robfig-cron-dev",
            most_at_a_minute: None,
            way: Way::Go("robfig_cron_jobs.go"),
        },
        Rival {
            name: "Debian cron, curl",
            install: "apt-get install cron curl, and run as root",
            most_at_a_minute: Some(100),
            way: Way::Interpreted("sh", "debian_cron_jobs.sh"),
        },
    ]
}

impl Rival {
    /// Whether it works here. The error is the last line of what it said.
    pub fn find(&self) -> Result<Found, String> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/rivals");
        let (program, arguments, built_in) = match self.way {
            Way::Interpreted(interpreter, file) => {
                (interpreter.to_owned(), vec![format!("{directory}/{file}")], None)
            }
            Way::Go(file) => {
                let built_in = tempfile::tempdir().map_err(|error| error.to_string())?;
                let program = built_in.path().join("rival").display().to_string();
                let mut build = Command::new("go");
                build.args(["build", "-o", &program]).arg(format!("{directory}/{file}"));
                build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
                said(&mut build)?;
                (program, Vec::new(), Some(built_in))
            }
        };
        let version = said(Command::new(&program).args(&arguments).arg("check"))?;
        Ok(Found { version, program, arguments, built_in })
    }
}

/// What a command that succeeds writes to stdout.
fn said(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("{}: {error}", command.get_program().to_string_lossy()))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&stderr);
    Err(stderr.lines().rev().find(|line| line.contains(' ')).unwrap_or("it failed").trim().to_owned())
}
