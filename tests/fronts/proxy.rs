//! A squid that asks for a password, as Debian has it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::front::{ELSEWHERE, free_port, listening, terminate};

pub struct Squid {
    pub port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Squid {
    /// Starts a proxy that lets `user` through with the password `s3cret`, and to local ports of
    /// any number.
    pub fn start() -> Squid {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path();
        // Squid leaves root's rights, and its helper reads the passwords.
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
        let hash = Command::new("openssl").args(["passwd", "-apr1", "s3cret"]).output().expect("openssl");
        let hash = String::from_utf8(hash.stdout).expect("ASCII");
        let passwords = place.join("passwords");
        std::fs::write(&passwords, format!("user:{hash}")).expect("the passwords");
        let port = free_port();
        std::fs::write(place.join("hosts"), format!("127.0.0.1 {ELSEWHERE}\n")).expect("the names");
        let file = place.join("squid.conf");
        let settings = format!(
            "http_port 127.0.0.1:{port}\npid_filename {0}/pid\ncache deny all\naccess_log none\n\
             cache_log {0}/cache.log\nhosts_file {0}/hosts\ncoredump_dir {0}\nshutdown_lifetime 0 seconds\n\
             auth_param basic program /usr/lib/squid/basic_ncsa_auth {0}/passwords\n\
             acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
            place.display()
        );
        std::fs::write(&file, settings).expect("the file");
        let process = Command::new("/usr/sbin/squid")
            .arg("-N")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("squid starts");
        listening(port);
        Squid { port, process, _directory: directory }
    }

    /// What an environment's `https_proxy` holds.
    pub fn url(&self, password: &str) -> String {
        format!("http://user:{password}@127.0.0.1:{}", self.port)
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        terminate(&mut self.process);
    }
}
