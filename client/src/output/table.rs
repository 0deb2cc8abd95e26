//! Tables as kubectl prints them: upper-case headers, three spaces, no borders.

use jiff::Timestamp;

use super::style::{self, Tone};

const GAP: usize = 3;

/// Something that is listed, one line each.
pub(crate) trait Row {
    /// Headers of the columns.
    const COLUMNS: &[&str];
    /// Headers of the columns that only the wide format has.
    const WIDE: &[&str];

    /// The name by which other commands take it.
    fn key(&self) -> &str;
    /// Its cells under [`Self::COLUMNS`].
    fn cells(&self, now: Timestamp) -> Vec<Cell>;
    /// Its cells under [`Self::WIDE`].
    fn wide(&self) -> Vec<Cell>;
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self { text: style::one_line(text.as_ref()), tone: Tone::Plain }
    }

    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::new(number.to_string())
    }
}

/// Lines of cells under headers.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn of<T: Row>(items: &[T], wide: bool, now: Timestamp) -> Self {
        let mut table = Self::new(T::COLUMNS);
        if wide {
            table.header.extend(T::WIDE);
        }
        for item in items {
            let mut cells = item.cells(now);
            if wide {
                cells.extend(item.wide());
            }
            table.row(cells);
        }
        table
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.header.len(), "a cell for each header");
        self.rows.push(cells);
    }

    pub(crate) fn render(&self, headers: bool, color: bool) -> String {
        let mut rows = Vec::new();
        if headers {
            rows.push(self.header.iter().map(Cell::new).collect());
        }
        rows.extend(self.rows.iter().cloned());
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| rows.iter().map(|row| length(row, column)).max().unwrap_or_default())
            .collect();
        rows.iter().map(|row| line(row, &widths, color) + "\n").collect()
    }
}

fn length(row: &[Cell], column: usize) -> usize {
    row.get(column).map_or(0, |cell| cell.text.chars().count())
}

fn line(row: &[Cell], widths: &[usize], color: bool) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line += &style::paint(&cell.text, cell.tone, color);
        line += &" ".repeat(width - cell.text.chars().count() + GAP);
    }
    line.truncate(line.trim_end().len());
    line
}
