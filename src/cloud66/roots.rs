//! Checks that the variables that name trusted certificate authorities lead to certificates.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` take the place of the system's certificates, for every TLS
//! connection of the process. A path that leads to no certificate is no error when it is read: each
//! request fails then, with `UnknownIssuer`, which names neither variable nor path.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A file of certificates. Empty counts as set.
const FILE: &str = "SSL_CERT_FILE";

/// Directories of them, separated by colons. Empty counts as not set.
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// A variable that leads to no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoRoots {
    pub(crate) variable: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

/// Checks the variables of this process and the files that they name.
pub(crate) fn check() -> Vec<NoRoots> {
    of(std::env::var_os(FILE), std::env::var_os(DIRECTORIES))
}

fn of(file: Option<OsString>, directories: Option<OsString>) -> Vec<NoRoots> {
    let file = file.map(|path| (FILE, PathBuf::from(&path), in_file(Path::new(&path))));
    let split = |paths: &OsStr| std::env::split_paths(paths).collect::<Vec<_>>();
    let directories = directories.map_or(Vec::new(), |paths| split(&paths));
    let directories = directories.into_iter().filter(|path| !path.as_os_str().is_empty());
    let directories = directories.map(|path| (DIRECTORIES, path.clone(), in_directory(&path)));
    let all = file.into_iter().chain(directories);
    all.filter_map(|(variable, path, found)| found.err().map(|why| NoRoots { variable, path, why })).collect()
}

fn in_file(path: &Path) -> Result<(), String> {
    if path.as_os_str().is_empty() {
        return Err("the variable is empty".to_owned());
    }
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    has_certificate(path).map_err(|error| error.to_string())?.then_some(()).ok_or_else(|| {
        match metadata.len() {
            0 => "it is empty".to_owned(),
            _ => "it has no certificate in PEM".to_owned(),
        }
    })
}

fn in_directory(path: &Path) -> Result<(), String> {
    let entries = fs::read_dir(path).map_err(|error| error.to_string())?;
    let mut files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let has = |path: PathBuf| {
        fs::metadata(&path).is_ok_and(|metadata| metadata.is_file())
            && matches!(has_certificate(&path), Ok(true))
    };
    files.any(has).then_some(()).ok_or_else(|| "no file in it has a certificate in PEM".to_owned())
}

/// Reads a file up to its first certificate.
fn has_certificate(path: &Path) -> io::Result<bool> {
    match CertificateDer::pem_file_iter(path) {
        Ok(mut found) => Ok(found.any(|certificate| certificate.is_ok())),
        Err(rustls::pki_types::pem::Error::Io(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_leads_to_no_certificate_is_named_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            path.into_os_string()
        };
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (empty, text) = (at("empty", ""), at("text", "no PEM"));
        let missing = directory.path().join("missing").into_os_string();
        let here = || directory.path().as_os_str().to_owned();
        for (file, directories, expected) in [
            (None, None, None),
            (Some(OsString::new()), None, Some("the variable is empty")),
            (Some(missing.clone()), None, Some("No such file")),
            (Some(empty), None, Some("it is empty")),
            (Some(text), None, Some("it has no certificate")),
            (Some(here()), None, Some("it is no file")),
            (None, Some(OsString::new()), None),
            (None, Some(missing), Some("No such file")),
            (None, Some(here()), Some("no file in it")),
        ] {
            let found = of(file.clone(), directories.clone());
            let why = found.first().map(|found| found.why.as_str());
            let is_right = expected.map_or(why.is_none(), |said| why.is_some_and(|why| why.contains(said)));
            assert!(is_right, "{file:?} and {directories:?}: {found:?}");
        }
        let good = at("good", &certified.cert.pem());
        assert_eq!(of(Some(good), Some(here())), []);
    }
}
