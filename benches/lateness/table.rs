//! The one table of all contenders and sizes, as Markdown for `docs/performance.md`.

use super::contender::BARE_LOOP;
use super::figures::Figures;

/// The figures of the contenders at one size; 0 is one entry every second.
pub struct Column {
    pub size: usize,
    pub figures: Vec<(&'static str, Figures)>,
}

/// Prints a row for each contender and a column for each size.
pub fn print(columns: &[Column]) {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|column| &column.figures) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let headings: Vec<String> = columns.iter().map(|column| heading(column.size)).collect();
    println!("\n| | {} |", headings.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
    for name in names {
        let cells: Vec<String> = columns.iter().map(|column| cell(column, name)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn heading(size: usize) -> String {
    match size {
        0 => "one a second: p99, ms".to_owned(),
        1 => "one at an instant: p99, ms".to_owned(),
        size => format!("{size} at once: last, ms"),
    }
}

fn cell(column: &Column, name: &str) -> String {
    let of = |wanted| column.figures.iter().find(|(name, _)| *name == wanted).map(|(_, figures)| figures);
    let Some(figures) = of(name) else { return String::new() };
    if column.size <= 1 {
        return format!("{:.2}{}", figures.p99, figures.lost());
    }
    let beside = match of(BARE_LOOP) {
        Some(bare) if name != BARE_LOOP => format!(" ({:.2} of the loop's)", figures.last / bare.last),
        _ => String::new(),
    };
    format!("{:.0}{beside}{}", figures.last, figures.lost())
}
