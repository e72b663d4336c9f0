//! What the tests of the pages read of Markdown: fences, links, headings, code spans and tables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A page of the repository.
pub struct Page {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// A block between two fences.
pub struct Fence<'t> {
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// What stands behind the opening fence.
    pub language: &'t str,
    /// The comment on the line before it, without its marks. Empty where there is none.
    pub mark: &'t str,
    pub text: String,
}

impl Page {
    pub fn read(path: impl Into<PathBuf>) -> Page {
        let path = path.into();
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page { path, text }
    }

    /// A place in the page, for messages.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    pub fn fences(&self) -> Vec<Fence<'_>> {
        let mut fences = Vec::new();
        let mut open: Option<Fence<'_>> = None;
        let mut before = "";
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => fences.extend(open.take()),
                (Some(language), None) => {
                    let mark = before.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                    let mark = mark.unwrap_or_default().trim();
                    let language = language.trim();
                    open = Some(Fence { line: number + 1, language, mark, text: String::new() });
                }
                (None, Some(fence)) => {
                    fence.text.push_str(line);
                    fence.text.push('\n');
                }
                (None, None) => before = line,
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.path.display());
        fences
    }

    /// The lines outside of fences, by their numbers from 1.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut prose = Vec::new();
        for (number, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push((number + 1, line));
            }
        }
        prose
    }

    /// The code spans of the prose, each with its line.
    pub fn spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in self.prose() {
            if line.trim().is_empty() {
                open = None;
            }
            for (at, part) in line.split('`').enumerate() {
                if at > 0 {
                    match open.take() {
                        Some(span) => spans.push(span),
                        None => open = Some((number, String::new())),
                    }
                }
                if let Some((_, span)) = &mut open {
                    span.push_str(part);
                }
            }
            if let Some((_, span)) = &mut open {
                span.push(' ');
            }
        }
        spans
    }

    /// The targets of the links and pictures, each with its line.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            let mut rest = line;
            while let Some((_, after)) = rest.split_once("](") {
                let Some((target, after)) = after.split_once(')') else { break };
                links.push((number, target.to_owned()));
                rest = after;
            }
        }
        links
    }

    /// The names of the headings, as code hosts make anchors of them.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut anchors = Vec::new();
        for (_, line) in self.prose() {
            let Some(heading) = line.strip_prefix('#').map(|line| line.trim_start_matches('#')) else {
                continue;
            };
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let times = seen.entry(anchor.clone()).or_default();
            anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
            *times += 1;
        }
        anchors
    }

    /// The rows of the tables below a heading, up to the next one, without the heads of the tables:
    /// each with its line and its cells.
    pub fn rows(&self, heading: &str) -> Vec<(usize, Vec<String>)> {
        let lines = self.prose();
        let start = lines.iter().position(|(_, line)| line.trim_start_matches('#').trim() == heading);
        let start = start.unwrap_or_else(|| panic!("{} has no heading {heading:?}", self.path.display())) + 1;
        let section = lines[start..].iter().take_while(|(_, line)| !line.starts_with('#'));
        let mut rows = Vec::new();
        let mut in_body = false;
        for (number, line) in section {
            let Some(row) = line.strip_prefix('|') else {
                in_body = false;
                continue;
            };
            if row.chars().all(|c| matches!(c, '|' | '-' | ' ' | ':')) {
                in_body = true;
            } else if in_body {
                let cells =
                    row.trim_end().trim_end_matches('|').split(" |").map(|cell| cell.trim().to_owned());
                rows.push((*number, cells.collect()));
            }
        }
        assert!(!rows.is_empty(), "{} has no table below {heading:?}", self.path.display());
        rows
    }
}

/// The code spans of a cell.
pub fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The links of a page that lead to no file, or to no heading of one.
pub fn broken_links(page: &Page) -> Vec<String> {
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let broken = |(line, target): (usize, String)| {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = if path.is_empty() { page.path.clone() } else { folder.join(path) };
        if !path.exists() {
            return Some(format!("{}: {target} leads to no file", page.at(line)));
        }
        let known = anchor.is_empty() || Page::read(path).anchors().iter().any(|known| known == anchor);
        (!known).then(|| format!("{}: {target} leads to no heading", page.at(line)))
    };
    page.links().into_iter().filter_map(broken).collect()
}
