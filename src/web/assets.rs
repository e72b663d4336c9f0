//! The files of the page: written by hand, built into the program, and served as they are.

use std::sync::{Arc, LazyLock};

use super::answer::KeptAnswer;
use super::script;

/// A file of the page.
struct AssetFile {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $content_type:ident),+ $(,)?) => {
        const FILES: &[AssetFile] = &[$(AssetFile {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("assets/", $name)),
        }),+];
    };
}

files! {
    "index.html": HTML,
    "page.css": CSS,
    "uplot.css": CSS,
    "uplot.js": SCRIPT,
    "icon-fires.svg": SVG,
    "icon-problems.svg": SVG,
    "icon-stopped.svg": SVG,
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "columns.js": SCRIPT,
    "attention.js": SCRIPT,
    "calendar.js": SCRIPT,
    "dom.js": SCRIPT,
    "entry.js": SCRIPT,
    "find.js": SCRIPT,
    "keys.js": SCRIPT,
    "lanes.js": SCRIPT,
    "live.js": SCRIPT,
    "now.js": SCRIPT,
    "occurrences.js": SCRIPT,
    "plot.js": SCRIPT,
    "quota.js": SCRIPT,
    "route.js": SCRIPT,
    "states.js": SCRIPT,
    "table.js": SCRIPT,
    "time.js": SCRIPT,
    "timeline.js": SCRIPT,
    "why.js": SCRIPT,
}

/// The answers with each file.
static ANSWERS: LazyLock<Vec<(&str, Arc<KeptAnswer>)>> = LazyLock::new(|| {
    let answer = |file: &AssetFile| {
        (file.name, Arc::new(KeptAnswer::bytes(file.content_type, file.served().into_bytes())))
    };
    FILES.iter().map(answer).collect()
});

impl AssetFile {
    /// The file as it is served.
    fn served(&self) -> String {
        match self.content_type == SCRIPT && !self.name.starts_with("uplot.") {
            true => script::served(self.text),
            false => self.text.to_owned(),
        }
    }
}

/// The file of a name.
pub(super) fn find(name: &str) -> Option<&'static Arc<KeptAnswer>> {
    ANSWERS.iter().find(|(known, _)| *known == name).map(|(_, answer)| answer)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// Most bytes that a browser loads in all.
    const MOST: usize = 150_000;

    /// Most bytes of the page and its styles.
    const MOST_MARKUP: usize = 20_000;

    /// Most bytes of the page's own scripts.
    const MOST_SCRIPT: usize = 70_000;

    fn size(wanted: impl Fn(&AssetFile) -> bool) -> usize {
        FILES.iter().filter(|file| wanted(file)).map(|file| file.served().len()).sum()
    }

    fn is_vendored(file: &AssetFile) -> bool {
        file.name.starts_with("uplot.")
    }

    #[test]
    fn the_page_is_small() {
        let all = size(|_| true);
        let markup = size(|file| !is_vendored(file) && [HTML, CSS].contains(&file.content_type));
        let script = size(|file| !is_vendored(file) && file.content_type == SCRIPT);
        println!("all {all} bytes, HTML and CSS {markup}, JavaScript of its own {script}");
        assert!(all < MOST, "all {all} bytes");
        assert!(markup < MOST_MARKUP, "HTML and CSS {markup} bytes");
        assert!(script < MOST_SCRIPT, "JavaScript {script} bytes");
    }

    #[test]
    fn what_is_vendored_is_what_its_authors_published() {
        for (name, digest) in [
            ("uplot.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
            ("uplot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        ] {
            let file = FILES.iter().find(|file| file.name == name).expect("a file");
            let found = Sha256::digest(file.text.as_bytes());
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, digest, "{name} of uPlot 1.6.32");
        }
    }

    #[test]
    fn no_script_makes_markup_of_text() {
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT && !is_vendored(file)) {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc"] {
                assert!(!file.text.contains(way), "{} has {way}", file.name);
            }
        }
    }

    #[test]
    fn every_file_is_served_and_none_is_fetched_from_elsewhere() {
        let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/assets");
        for file in std::fs::read_dir(place).expect("the files") {
            let name = file.expect("a file").file_name().into_string().expect("a name");
            let is_text = name.ends_with(".txt") || name.ends_with(".d.ts") || name.ends_with(".json");
            assert!(is_text || find(&name).is_some(), "{name} is in the list");
        }
        for file in FILES.iter().filter(|file| !is_vendored(file)) {
            let links =
                file.text.matches("://").count() - file.text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(links, 0, "{} names no other site", file.name);
        }
    }
}
