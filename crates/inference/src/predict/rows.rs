//! Rows as they are read: each cell is checked and written to its place in the model's inputs at once.

use super::{
    buffer::Buffer,
    cell::{self, Cell},
    table::{Fallback, Table, of_toml},
};
use crate::error::{Error, Problem};

/// The most problems that an answer lists.
pub const MAX_PROBLEMS: usize = 100;
/// The most characters of an unknown column name that are repeated.
const MAX_NAME: usize = 64;

/// Rows that were read, as the model's inputs.
#[derive(Debug)]
pub struct Rows {
    pub(super) count: usize,
    pub(super) buffers: Vec<Buffer>,
}

impl Rows {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none, which is never so of those that were read.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Reads rows for one model, cell by cell: `begin`, any number of `column` and
/// `cell`, `end`, and so on; `finish`.
pub struct RowReader<'t> {
    table: &'t Table,
    buffers: Vec<Buffer>,
    count: usize,
    max_rows: usize,
    /// For each column the number of the row that gave it last, from 1.
    given: Vec<usize>,
    problems: Vec<Problem>,
}

impl<'t> RowReader<'t> {
    pub(super) fn new(table: &'t Table, max_rows: usize) -> Self {
        Self {
            table,
            buffers: table.buffers(),
            count: 0,
            max_rows: max_rows.min(table.max_rows()),
            given: vec![0; table.columns().len()],
            problems: Vec::new(),
        }
    }

    /// Most rows that it takes.
    pub const fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// Begins a row; false where there may be no further one.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        if self.count == self.max_rows {
            return false;
        }
        self.count += 1;
        self.table.add_row(&mut self.buffers);
        true
    }

    /// The column of this name, whose cell comes next; none, which is noted, where there is none or the row had it.
    pub fn column(&mut self, name: &str) -> Option<usize> {
        let Some(index) = self.table.find(name) else {
            let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            self.refuse(&name, "the model has no such column");
            return None;
        };
        if self.given[index] == self.count {
            self.refuse(name, "is given twice");
            return None;
        }
        self.given[index] = self.count;
        Some(index)
    }

    /// Ends the row: what it did not have gets its default.
    pub fn end(&mut self) {
        for index in 0..self.given.len() {
            if self.given[index] != self.count {
                self.cell(index, Cell::Missing);
            }
        }
    }

    /// Notes that an element of the list is not a row. The row has begun and is not ended.
    pub fn no_row(&mut self) {
        self.refuse("", "must be an object of columns and their values");
    }

    /// The rows; [`Error::Invalid`] tells what is wrong with them.
    pub fn finish(mut self) -> Result<Rows, Error> {
        if self.count == 0 {
            self.problems
                .push(Problem { place: "rows".to_owned(), message: "give at least one row".to_owned() });
        }
        if self.problems.is_empty() {
            Ok(Rows { count: self.count, buffers: self.buffers })
        } else {
            Err(Error::Invalid(self.problems))
        }
    }

    /// Takes the cell of a [`column`](Self::column).
    pub fn cell(&mut self, index: usize, cell: Cell<'_>) {
        let table = self.table;
        let Some(placed) = table.columns().get(index) else { return };
        let read = cell::read(&placed.column, cell).and_then(|value| match (value, &placed.default) {
            (Some(value), _) => Ok(Some(value)),
            (None, Fallback::Required) => Err("is missing".to_owned()),
            (None, Fallback::Nothing) => Ok(None),
            (None, Fallback::Value(default)) => cell::read(&placed.column, of_toml(default)),
        });
        let written = read.and_then(|value| table.write(&mut self.buffers, placed, value));
        if let Err(message) = written {
            self.refuse(&placed.column.name, &message);
        }
    }

    /// Notes what is wrong with the row, or with a column of it.
    fn refuse(&mut self, column: &str, message: &str) {
        if self.problems.len() == MAX_PROBLEMS {
            return;
        }
        let dot = if column.is_empty() { "" } else { "." };
        let place = format!("rows[{}]{dot}{column}", self.count - 1);
        self.problems.push(Problem { place, message: message.to_owned() });
    }
}
