//! Diagnostics for people: the place, the line with a mark under what is wrong, the message, what
//! to write instead.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Related, Severity};
use super::place::Place;

/// Number of diagnostics that are shown. Nobody reads more before mending some.
const SHOWN: usize = 100;

/// Wide enough for every excerpt, which is cut already.
const WIDTH: usize = 400;

/// Tells whether the text is for a terminal that shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

/// Shows the first hundred diagnostics, and says how many more there are.
pub fn render(diagnostics: &[Diagnostic], cut: bool, colour: Colour) -> String {
    render_within(diagnostics, cut, colour, WIDTH)
}

/// Renders the diagnostics with the lines of excerpts cut to `columns`. Sentences are not cut.
pub fn render_within(diagnostics: &[Diagnostic], cut: bool, colour: Colour, columns: usize) -> String {
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Always => Renderer::styled(),
    }
    .term_width(columns.min(WIDTH));

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
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(&diagnostic.message);
    let group = match &diagnostic.place {
        None => title.element(Origin::path(&*diagnostic.path)),
        Some(place) => {
            let mark = AnnotationKind::Primary.span(place.mark.clone());
            shown_at(Group::with_title(title), &diagnostic.path, place, mark)
        }
    };
    let group = match &diagnostic.related {
        None => group,
        Some(Related { path, place, label }) => {
            let mark = AnnotationKind::Context.span(place.mark.clone()).label(label);
            shown_at(group, path, place, mark)
        }
    };
    group.element(Level::HELP.message(&diagnostic.help))
}

/// Adds `file:line:column` and the line with its mark.
fn shown_at<'a>(group: Group<'a>, path: &'a str, place: &'a Place, mark: Annotation<'a>) -> Group<'a> {
    let snippet = Snippet::source(&place.text).line_start(place.line).annotation(mark);
    let shown_column = place.text[..place.mark.start].chars().count() + 1;
    if shown_column == place.column {
        return group.element(snippet.path(path));
    }
    // The snippet would count columns from where a long line was cut.
    let origin = Origin::path(path).line(place.line).char_column(place.column);
    group.element(origin).element(snippet)
}
