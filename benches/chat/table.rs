//! Table in Markdown whose columns are as wide as their widest cell, to be read as it is and to be copied into a page.
//! Owns the layout; never knows what is in its cells.

use std::fmt;

/// Alignment of the cells of a column.
#[derive(Clone, Copy)]
pub(crate) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows under headings.
pub(crate) struct Table<const COLUMNS: usize> {
    alignments: [Align; COLUMNS],
    /// Rows; the headings are the first.
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Creates a table with these headings and no row.
    pub(crate) fn new(columns: [(&str, Align); COLUMNS]) -> Self {
        Table { alignments: columns.map(|(_, align)| align), rows: vec![columns.map(|(name, _)| name.to_string())] }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    fn write_row(&self, row: &[String; COLUMNS], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, (cell, align)) in row.iter().zip(self.alignments).enumerate() {
            let width = self.width(column);
            match align {
                Align::Left => write!(f, "| {cell:<width$} ")?,
                Align::Right => write!(f, "| {cell:>width$} ")?,
            }
        }
        writeln!(f, "|")
    }

    fn write_rule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, align) in self.alignments.iter().enumerate() {
            let width = self.width(column);
            match align {
                Align::Left => write!(f, "| {:-<width$} ", "")?,
                Align::Right => write!(f, "| {:->width$} ", ":")?,
            }
        }
        writeln!(f, "|")
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, row) in self.rows.iter().enumerate() {
            self.write_row(row, f)?;
            if place == 0 {
                self.write_rule(f)?;
            }
        }
        Ok(())
    }
}
