//! Rows of text in aligned columns, that fit the terminal they are for.
//!
//! On a narrow terminal the least telling columns are left out, then the widest are cut. What goes
//! to no terminal has all of them.

use std::io::{self, Write};

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::wrapped;

/// Columns are as wide as so many rows need. A longer value after those widens its column from
/// there on, unless a terminal's width stands against it.
pub(super) const MEASURED: usize = 1000;

/// Between two columns.
const GAP: usize = 2;

/// A column is not cut below this.
const NARROWEST: usize = 6;

/// Stands where there is no value, so that each row has all columns.
pub(super) const NOTHING: &str = "-";

/// On which side a column is ragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Content of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub head: &'static str,
    pub align: Align,
    /// The greatest is left out first where there is no room. Columns of rank 0 stay.
    pub rank: u8,
}

impl Column {
    pub(super) const fn new(head: &'static str, align: Align, rank: u8) -> Column {
        Column { head, align, rank }
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), style: Style::new() }
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Cell {
        Cell { text: text.into(), style }
    }
}

/// Columns as they are printed.
pub(super) struct Table<const N: usize> {
    columns: &'static [Column; N],
    /// Columns that a line may have. `None`: the output is no terminal.
    limit: Option<usize>,
    widths: [usize; N],
    /// The first rows, kept until the columns are measured.
    first: Option<Vec<([Cell; N], Option<Cell>)>>,
    /// The columns that are shown, once they are measured.
    shown: Vec<usize>,
    /// A column of sentences: where the table is too wide with it, each stands below its row.
    sentences: Option<usize>,
    rows: u64,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(super) fn new(columns: &'static [Column; N], limit: Option<usize>) -> Table<N> {
        Table {
            columns,
            limit,
            widths: columns.map(|column| column.head.width()),
            first: Some(Vec::new()),
            shown: Vec::new(),
            sentences: None,
            rows: 0,
        }
    }

    /// Returns this table with one column whose values are sentences.
    pub(super) fn with_sentences_in(self, column: usize) -> Table<N> {
        Table { sentences: Some(column), ..self }
    }

    /// Prints a row, or keeps it until the columns are measured. A note stands behind it, or where
    /// there is no room below it.
    pub(super) fn row(
        &mut self,
        cells: [Cell; N],
        note: Option<Cell>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.rows += 1;
        if self.first.is_some() || self.limit.is_none() {
            for (width, cell) in self.widths.iter_mut().zip(&cells) {
                *width = (*width).max(cell.text.width());
            }
        }
        let Some(first) = &mut self.first else {
            return self.print(&cells, note.as_ref(), out);
        };
        first.push((cells, note));
        if first.len() < MEASURED { Ok(()) } else { self.begin(out) }
    }

    /// Prints what was kept. Returns how many rows there were.
    pub(super) fn finish(mut self, out: &mut dyn Write) -> io::Result<u64> {
        self.begin(out)?;
        Ok(self.rows)
    }

    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = self.first.take().filter(|first| !first.is_empty()) else {
            return Ok(());
        };
        self.fit();
        let bold = Style::new().bold();
        let head = self.columns.map(|column| Cell::plain(column.head));
        write!(out, "{bold}")?;
        self.line(&head, out)?;
        writeln!(out, "{bold:#}")?;
        first.iter().try_for_each(|(cells, note)| self.print(cells, note.as_ref(), out))
    }

    /// Chooses the columns, and how wide each is.
    fn fit(&mut self) {
        self.shown = (0..N).collect();
        let Some(limit) = self.limit else {
            return;
        };
        if let Some(sentences) = self.sentences.filter(|_| self.width() > limit) {
            self.shown.retain(|column| *column != sentences);
        }
        while self.width() > limit
            && let Some(least) = self.shown.iter().copied().max_by_key(|column| self.columns[*column].rank)
            && self.columns[least].rank > 0
        {
            self.shown.retain(|column| *column != least);
        }
        // The first column has names: a part of one tells more than a part of a time.
        let too_much = self.width().saturating_sub(limit);
        self.widths[0] = self.widths[0].saturating_sub(too_much).max(NARROWEST.min(self.widths[0]));
        while self.width() > limit
            && let Some(widest) = self.shown.iter().copied().max_by_key(|column| self.widths[*column])
            && self.widths[widest] > NARROWEST
        {
            self.widths[widest] -= 1;
        }
    }

    fn width(&self) -> usize {
        let widths = self.shown.iter().map(|column| self.widths[*column]);
        widths.sum::<usize>() + GAP * self.shown.len().saturating_sub(1)
    }

    fn print(&self, cells: &[Cell; N], note: Option<&Cell>, out: &mut dyn Write) -> io::Result<()> {
        let hidden =
            self.sentences.filter(|column| !self.shown.contains(column)).map(|column| &cells[column]);
        let note = note.or(hidden.filter(|sentence| sentence.text != NOTHING));
        // A note stands in a column of its own where all of it has room.
        let behind = note
            .filter(|note| self.limit.is_none_or(|limit| self.width() + GAP + note.text.width() <= limit));
        self.line_with(cells, behind, out)?;
        writeln!(out)?;
        match (note, self.limit) {
            (Some(note), Some(limit)) if behind.is_none() => {
                let style = note.style;
                let text = wrapped(&format!("    {}", note.text), Some(limit));
                write!(out, "{style}{}{style:#}", text.trim_end())?;
                writeln!(out)
            }
            _ => Ok(()),
        }
    }

    fn line(&self, cells: &[Cell; N], out: &mut dyn Write) -> io::Result<()> {
        self.line_with(cells, None, out)
    }

    fn line_with(&self, cells: &[Cell; N], note: Option<&Cell>, out: &mut dyn Write) -> io::Result<()> {
        let gap = " ".repeat(GAP);
        for (place, &column) in self.shown.iter().enumerate() {
            let is_last = place + 1 == self.shown.len() && note.is_none();
            let (cell, width) = (&cells[column], self.widths[column]);
            let text = match self.limit {
                Some(_) => cut(&cell.text, width),
                None => cell.text.clone(),
            };
            let blanks = " ".repeat(width.saturating_sub(text.width()));
            let style = cell.style;
            match self.columns[column].align {
                Align::Right => write!(out, "{blanks}{style}{text}{style:#}")?,
                Align::Left if is_last => write!(out, "{style}{text}{style:#}")?,
                Align::Left => write!(out, "{style}{text}{style:#}{blanks}")?,
            }
            if !is_last {
                write!(out, "{gap}")?;
            }
        }
        match note {
            Some(note) => write!(out, "{0}{1}{0:#}", note.style, note.text),
            None => Ok(()),
        }
    }
}

/// Returns the text in at most `width` columns. Where the text is cut, `…` is its last column.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(mut left) = width.checked_sub(1) else { return String::new() };
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let kept: String = text.chars().take_while(fits).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { head: "NAME", align: Align::Left, rank: 0 },
        Column { head: "COUNT", align: Align::Right, rank: 1 },
        Column { head: "REASON", align: Align::Left, rank: 2 },
    ];

    fn printed(limit: Option<usize>) -> String {
        let mut table = Table::new(&COLUMNS, limit);
        let mut out = anstream::StripStream::new(Vec::new());
        for (name, count, reason, note) in [
            ("nightly-report-of-the-week", "7", "quota", None),
            ("表", "1234567", "-", Some("the clocks skip this time: due at the end of the gap")),
        ] {
            let cells = [Cell::plain(name), Cell::plain(count), Cell::plain(reason)];
            table.row(cells, note.map(Cell::plain), &mut out).expect("printed");
        }
        table.finish(&mut out).expect("printed");
        String::from_utf8(out.into_inner()).expect("text")
    }

    #[test]
    fn columns_are_left_out_and_then_cut_until_a_line_fits() {
        let all: Vec<String> = [None, Some(200), Some(80), Some(40), Some(20)]
            .map(|limit| format!("{limit:?}\n{}", printed(limit)))
            .into();
        insta::assert_snapshot!(all.join("\n"));
        for limit in [20, 40, 80, 200] {
            let widest = printed(Some(limit)).lines().map(UnicodeWidthStr::width).max();
            assert!(widest <= Some(limit), "{widest:?} in {limit}");
        }
    }
}
