//! What a test asks of the machine: what a process has in memory, and a small disk to fill.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Memory of a process, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    Now,
    /// The most that it ever had.
    Peak,
}

/// What a process has in memory, in kB.
pub fn memory(process: impl Display, of: Memory) -> u64 {
    let field = match of {
        Memory::Now => "VmRSS:",
        Memory::Peak => "VmHWM:",
    };
    let status = super::read(Path::new(&format!("/proc/{process}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A small file system of its own, unmounted when it is dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// One with these options of tmpfs. `None`, said loudly, where mounting is not allowed.
    pub fn mount(options: &str) -> Option<SmallDisk> {
        let disk = SmallDisk(tempfile::tempdir().expect("a directory"));
        if disk.run("mount", &["-t", "tmpfs", "-o", options, "none"]) {
            return Some(disk);
        }
        eprintln!(
            "NOT TESTED: no file system can be mounted here; run as root to test full and read-only disks"
        );
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Mounts it with other options.
    pub fn remount(&self, options: &str) -> bool {
        self.run("mount", &["-o", &format!("remount,{options}")])
    }

    /// Takes all the space that is left. It is there again when the file is removed.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = fs::File::create(&ballast).expect("a file");
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        ballast
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        let command = command.args(arguments).arg(self.path()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}
