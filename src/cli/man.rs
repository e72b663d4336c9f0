//! `stackcron man`: the manual pages, made from the arguments' and the schedule file's own
//! definitions.

mod command;
mod extra;
mod schedule_file;

use std::path::PathBuf;

use anyhow::Context;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{CommandEnd, output};

/// The name of the page on the schedule file, without its section.
const SCHEDULE_FILE: &str = "stackcron.yaml";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The page: a command, as `why` or `journal move`, or `stackcron.yaml`. Without it the page of
    /// the program.
    #[arg(value_name = "PAGE", conflicts_with = "directory")]
    page: Vec<String>,

    /// Write the page of every command, and that of the schedule file, into this directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// No page has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no page `{name}`; the pages are {}", known.join(", "))]
struct NoPage {
    name: String,
    known: Vec<String>,
}

/// A manual page and its name, as `stackcron-why`.
struct ManPage {
    name: String,
    /// 1 for commands, 5 for files.
    section: char,
    roff: Roff,
}

pub(super) fn run(args: &Args, command: clap::Command) -> anyhow::Result<CommandEnd> {
    let pages = pages(command);
    if let Some(directory) = &args.directory {
        for page in pages {
            let path = directory.join(format!("{}.{}", page.name, page.section));
            std::fs::write(&path, page.roff.render())
                .with_context(|| format!("the page {} cannot be written", path.display()))?;
        }
        return Ok(CommandEnd::Done);
    }
    let asked = args.page.join("-");
    let known = |page: &ManPage| page.name == asked || page.name == format!("stackcron-{asked}");
    match pages.iter().find(|page| known(page) || (asked.is_empty() && page.name == "stackcron")) {
        Some(page) => output::print(page.roff.render().as_bytes()),
        None => {
            let known = pages.iter().map(|page| page.name.trim_start_matches("stackcron-").to_owned());
            Ok(output::usage(&NoPage { name: args.page.join(" "), known: known.collect() }))
        }
    }
}

/// Returns all pages: one for each command, and one for the schedule file.
fn pages(command: clap::Command) -> Vec<ManPage> {
    let mut program = command.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    command::pages(&program, &mut pages);
    pages.push(schedule_file::page());
    pages
}

/// The head of a page.
fn head(name: &str, section: char, about: &str) -> Roff {
    let mut roff = Roff::new();
    let version = concat!("stackcron ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, &section.to_string(), "", version, "stackcron"]);
    // No hyphenation, and no blanks between words to fill a line: commands and keys stay whole.
    roff.control("nh", []).control("ad", ["l"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff
}

/// Paragraphs of text, in which backticks mark what is written as it stands.
fn paragraphs(roff: &mut Roff, text: &str) {
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        let joined = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        roff.text(marked(&joined));
    }
}

/// One line of text, in which backticks mark what is bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

/// A term, and below it what it means.
fn item(roff: &mut Roff, term: Vec<Inline>, meaning: &str) {
    roff.control("TP", []);
    roff.text(term);
    let (first, rest) = meaning.split_once("\n\n").unwrap_or((meaning, ""));
    let joined = first.split_whitespace().collect::<Vec<_>>().join(" ");
    roff.text(marked(&sentence(&joined)));
    if !rest.is_empty() {
        roff.control("IP", []);
        paragraphs(roff, &sentence(rest.trim_end()));
    }
}

/// Text with a full stop at its end: clap takes those of one-line helps away.
fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with(['.', ':', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// Text as it stands, line for line.
fn literal(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// The names of other pages, each with its section.
fn see_also<'n>(roff: &mut Roff, names: impl IntoIterator<Item = &'n str>) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for name in names {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        let (name, section) = name.split_once('(').unwrap_or((name, "1)"));
        line.extend([bold(name), roman(format!("({section}"))]);
    }
    roff.text(line);
}

/// A value that the reader fills in.
fn value(name: &str) -> Inline {
    italic(name)
}
