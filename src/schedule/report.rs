//! Gathers what is wrong while the file is read, and finds the places at the end.

use std::collections::HashSet;
use std::ops::Range;

use super::diagnostic::{Code, Diagnostic, Related, Severity};
use super::place::visible;
use super::sources::{Finder, Sources};

/// After so many errors reading stops, so that a large file in which everything is wrong costs
/// little. Further warnings are not kept; they stop nothing.
const KEPT: usize = 10_000;

/// The proof that an error was reported. Who holds it need not report again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// Something wrong at some bytes of the text.
pub(super) struct Problem {
    pub code: Code,
    /// `None`: the whole file.
    pub span: Option<Range<usize>>,
    pub message: String,
    pub help: String,
    pub related: Option<(Range<usize>, String)>,
}

impl Problem {
    /// The problem, so many bytes further on.
    pub fn later(self, by: usize) -> Problem {
        let shift = |span: Range<usize>| span.start + by..span.end + by;
        let related = self.related.map(|(span, label)| (shift(span), label));
        Problem { span: self.span.map(shift), related, ..self }
    }
}

/// The faults that were found so far.
#[derive(Default)]
pub(super) struct ProblemReport {
    problems: Vec<(Severity, Problem)>,
    /// The faults that were reported already: a value that a hundred aliases use is reported once.
    known: HashSet<(Code, Option<Range<usize>>, String)>,
    /// Bytes of the text that no excerpt shows.
    secrets: Vec<Range<usize>>,
    errors: usize,
}

impl ProblemReport {
    pub fn error(&mut self, problem: Problem) -> Reported {
        if self.add(Severity::Error, problem) {
            self.errors += 1;
        }
        Reported(())
    }

    pub fn warning(&mut self, problem: Problem) {
        if self.problems.len() < KEPT {
            self.add(Severity::Warning, problem);
        }
    }

    /// Adds a problem. `false` where it was known.
    pub fn add(&mut self, severity: Severity, problem: Problem) -> bool {
        let key = (problem.code, problem.span.clone(), problem.message.clone());
        let new = self.known.insert(key);
        if new {
            self.problems.push((severity, problem));
        }
        new
    }

    /// Keeps some bytes out of every excerpt: what is checked in a pipeline is read by others.
    pub fn hide(&mut self, secret: Range<usize>) {
        self.secrets.push(secret);
    }

    /// Returns true when reading should stop.
    pub fn is_full(&self) -> bool {
        self.errors >= KEPT
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The diagnostics in the order of the files, and of the places in each.
    pub fn finish(mut self, sources: &Sources) -> Vec<Diagnostic> {
        if self.problems.is_empty() {
            return Vec::new();
        }
        self.problems.sort_by_key(|(_, problem)| problem.span.as_ref().map(|span| span.start));
        self.secrets.sort_by_key(|secret| secret.start);
        let finder = Finder::new(sources, &self.secrets);
        let spans = self.problems.iter().map(|(_, problem)| problem.span.clone());
        let places = finder.places(spans);
        let others = self.problems.iter().filter_map(|(_, problem)| problem.related.as_ref());
        let mut others = finder.places(others.map(|(span, _)| Some(span.clone()))).into_iter();
        let diagnostics =
            self.problems.into_iter().zip(places).map(|((severity, problem), (path, place))| {
                let related = problem.related.and_then(|(_, label)| {
                    let (path, place) = others.next()?;
                    Some(Related { path, place: place?, label })
                });
                Diagnostic {
                    code: problem.code,
                    severity,
                    path,
                    place,
                    message: fit(&problem.message),
                    help: fit(&problem.help),
                    related,
                }
            });
        diagnostics.collect()
    }
}

/// A sentence without the control characters of what it quotes. A help may have lines of its own.
fn fit(sentence: &str) -> String {
    let fit = |c| if c == '\n' { c } else { visible(c) };
    sentence.chars().map(fit).collect()
}
