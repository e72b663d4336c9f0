//! Diagnostics for people: the place, the line with a mark under what is wrong, the message, what to write instead.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity};
use super::place::Place;

/// How many diagnostics are shown. Nobody reads more before mending some.
const SHOWN: usize = 100;

/// Wide enough for every excerpt, which is cut already.
const WIDTH: usize = 400;

/// Whether the text is for a terminal that shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

/// Shows the first hundred diagnostics, and says how many more there are.
pub fn render(diagnostics: &[Diagnostic], cut: bool, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Always => Renderer::styled(),
    }
    .term_width(WIDTH);

    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN) {
        text += &renderer.render(&[group(diagnostic)]);
        text += "\n\n";
    }
    match diagnostics.len().saturating_sub(SHOWN) {
        0 => {}
        more if cut => text += &format!("and {more} more; the rest of the file was not looked at\n\n"),
        more => text += &format!("and {more} more\n\n"),
    }
    text
}

fn group(diagnostic: &Diagnostic) -> Group<'_> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&diagnostic.message);
    let group = match &diagnostic.place {
        None => title.element(Origin::path(&*diagnostic.path)),
        Some(place) => title.element(origin(&diagnostic.path, place)).element(snippet(
            place,
            AnnotationKind::Primary,
            None,
        )),
    };
    let group = match &diagnostic.related {
        None => group,
        Some((place, label)) => group.element(origin(&diagnostic.path, place)).element(snippet(
            place,
            AnnotationKind::Context,
            Some(label),
        )),
    };
    group.element(Level::HELP.message(&diagnostic.help))
}

/// `file:line:column`. Stated here and not left to the snippet, which knows only the shown part of a long line.
fn origin<'a>(path: &'a str, place: &Place) -> Origin<'a> {
    Origin::path(path).line(place.line).char_column(place.column)
}

fn snippet<'a>(
    place: &'a Place,
    kind: AnnotationKind,
    label: Option<&'a str>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let annotation = kind.span(place.mark.clone()).label(label);
    Snippet::source(&place.text)
        .line_start(place.line)
        .annotation(annotation)
}
