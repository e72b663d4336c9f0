//! Network namespaces of a test's own, as machines between which packets can be lost. They need
//! root, util-linux, iproute2 and nftables.

use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A machine without a wire. It is gone when this is dropped, or when the test's process ends.
pub struct Namespace {
    /// The first process in it, which ends with its stdin.
    holder: Child,
}

impl Namespace {
    /// `None`, said loudly, where there can be none.
    pub fn new() -> Option<Namespace> {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && nft list tables && echo ready && exec cat >/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let said = BufReader::new(holder.stdout.take()?).lines().map_while(Result::ok);
        if said.into_iter().any(|line| line == "ready") {
            return Some(Namespace { holder });
        }
        let _ = holder.wait();
        eprintln!(
            "NOT TESTED: no network can be made here; run as root, with nftables, to test networks that lose packets"
        );
        None
    }

    /// The number of its first process, by which others put wires into it.
    pub fn id(&self) -> impl Display {
        self.holder.id()
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).stdin(Stdio::null());
        command
    }

    /// Runs a script of the shell in it, to its end.
    pub fn sh(&self, script: &str) -> String {
        let ran = self.enter().args(["sh", "-ec", script]).output().expect("nsenter");
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{script}: {error}");
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    /// A program that runs in it.
    pub fn program(&self, program: &str) -> Command {
        let mut command = self.enter();
        command.arg(program).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The same command in it, for which names are what this file says.
    pub fn with_names(&self, inner: &Command, hosts: &Path) -> Command {
        let mut command = self.enter();
        command
            .args([
                "/usr/bin/unshare",
                "--mount",
                "/bin/sh",
                "-c",
                r#"mount --bind "$0" /etc/hosts && exec "$@""#,
            ])
            .arg(hosts)
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
