//! The manual pages: their sections, their examples, and what `man` says of them.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::{Written, checked, refusal, shell};
use crate::common::Place;

/// All pages, by the names of their files.
fn pages(place: &Place) -> BTreeMap<String, String> {
    let directory = place.directory.path().join("man");
    std::fs::create_dir(&directory).expect("a directory");
    let ended = place.run(&["man", "--directory", directory.to_str().expect("UTF-8")]);
    assert!(ended.status.success(), "{ended:?}");
    let files = std::fs::read_dir(&directory).expect("the pages").map(|entry| entry.expect("a page").path());
    let name = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.map(|path| (name(&path), crate::common::read(&path))).collect()
}

/// The lines of a section, without the marks of roff.
fn section(page: &str, heading: &str) -> String {
    let (_, rest) = page.split_once(&format!("\n.SH {heading}\n")).unwrap_or_default();
    let section = rest.split("\n.SH ").next().unwrap_or_default();
    let plain = section.replace(r"\fB", "").replace(r"\fI", "").replace(r"\fR", "");
    plain.replace(r"\*(Aq", "'").replace(r"\-", "-").replace(r"\&", "").replace(r"\\", r"\")
}

#[test]
fn each_manual_page_has_the_sections_that_readers_look_for() {
    for (name, page) in pages(&Place::with("jobs: {}\n")) {
        let sections = match name.ends_with(".1") {
            true => &["SYNOPSIS", "OPTIONS", "EXAMPLES", "FILES", "ENVIRONMENT", "\"EXIT STATUS\""][..],
            false => &["\"TOP LEVEL\"", "ACCOUNTS", "ENTRIES", "EXAMPLE", "FILES"][..],
        };
        for heading in ["NAME", "DESCRIPTION", "\"SEE ALSO\""].iter().chain(sections) {
            assert!(!section(&page, heading).trim().is_empty(), "{name} lacks {heading}:\n{page}");
        }
    }
}

#[test]
fn the_synopsis_of_a_manual_page_names_the_values() {
    let page = Place::with("jobs: {}\n").run(&["man", "why"]).stdout;
    let synopsis = section(&page, "SYNOPSIS");
    assert!(synopsis.starts_with("stackcron why [--at T] [--state-dir DIR]"), "{synopsis}");
    assert!(synopsis.trim_end().ends_with(" ENTRY"), "{synopsis}");
}

#[test]
fn the_examples_of_the_manual_pages_are_commands_of_the_program() {
    for (name, page) in pages(&Place::with("jobs: {}\n")) {
        let Some(command) = name.strip_suffix(".1") else { continue };
        let examples = section(&page, "EXAMPLES");
        let called = command.replace('-', " ");
        assert!(examples.lines().any(|line| line.contains(&called)), "{name} has no example:\n{examples}");
        let commands =
            examples.lines().filter(|line| line.contains("stackcron ") && !line.ends_with([':', '?', '.']));
        for line in commands {
            for words in shell::commands(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}")) {
                if let Some(arguments) = shell::stackcron(&words) {
                    assert_eq!(refusal(arguments, Written::ToBeRun), None, "{name}");
                }
            }
        }
    }
}

#[test]
fn manual_pages_refer_to_pages_that_exist() {
    let pages = pages(&Place::with("jobs: {}\n"));
    for (name, page) in &pages {
        for see in
            section(page, "\"SEE ALSO\"").split(',').map(str::trim).filter(|see| see.starts_with("stackcron"))
        {
            let file = see.replace('(', ".").replace(')', "");
            assert!(pages.contains_key(&file), "{name} refers to {see}");
        }
    }
}

#[test]
fn the_example_of_the_manual_page_of_the_schedule_file_passes_the_check() {
    let page = Place::with("jobs: {}\n").run(&["man", "stackcron.yaml"]).stdout;
    let example = section(&page, "EXAMPLE");
    let yaml: String =
        example.lines().filter(|line| !line.starts_with('.')).map(|line| format!("{line}\n")).collect();
    assert_eq!(checked(&yaml), None, "{yaml}");
}

#[test]
fn a_manual_page_that_is_not_there_is_told_with_those_that_are() {
    let ended = Place::with("jobs: {}\n").run(&["man", "whi"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("no page `whi`") && ended.stderr.contains("why"), "{ended:?}");
}

/// What `man` complains of in a page. `None` where there is no `man`.
fn complaints(page: &str) -> Option<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), page).expect("a page");
    let mut man = Command::new("man");
    man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(file.path());
    let output = man.env("MANROFFSEQ", "").env("MANWIDTH", "80").stdout(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Where the system's manual pages were left out, as in containers, `man` is a script that says
    // so.
    (!said.contains("minimized")).then_some(said)
}

#[test]
fn man_has_no_complaint_about_any_page() {
    let mut found = Vec::new();
    for (name, page) in pages(&Place::with("jobs: {}\n")) {
        let Some(said) = complaints(&page) else {
            assert!(std::env::var_os("CI").is_none(), "there is no man; install man-db and groff");
            eprintln!("NOT CHECKED: there is no man");
            return;
        };
        if !said.is_empty() {
            found.push(format!("{name}: {said}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let bad = complaints(".TH bad 1\n.SH NAME\nbad \\- \\*[nowhere]\n.nosuch\n").unwrap_or_default();
    assert!(!bad.is_empty(), "a page that is wrong is complained of");
}
