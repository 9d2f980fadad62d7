//! Which rows have a loss, and whose target each predicts.

use crate::error::{Error, Result};
use crate::loss::inputs::Selection;

/// The rows that a selection takes, checked.
pub(super) struct Selected<'s> {
    selection: Selection<'s>,
    pub(super) outputs: usize,
    /// Of each sequence, how many rows are taken.
    kept: usize,
    /// The rows of a sequence.
    sequence: usize,
}

impl<'s> Selected<'s> {
    pub(super) fn new(selection: &Selection<'s>, rows: usize) -> Result<Self> {
        let (mut kept, mut sequence) = (rows, rows.max(1));
        match *selection {
            Selection::All => {}
            Selection::Rows(selected) => {
                let increasing = selected.windows(2).position(|pair| pair[0] >= pair[1]);
                let beyond = || selected.iter().position(|&row| row >= rows);
                if let Some(at) = increasing.map(|i| i + 1).or_else(beyond) {
                    return Err(Error::Value {
                        argument: "rows",
                        index: vec![at],
                        value: selected[at].to_string(),
                        expected: "strictly increasing rows of hidden",
                    });
                }
            }
            Selection::Shift { shift, sequence: length } => {
                sequence = length.unwrap_or(sequence);
                if sequence == 0 || !rows.is_multiple_of(sequence) {
                    return Err(Error::Option {
                        name: "sequence",
                        value: sequence.to_string(),
                        expected: "a divisor of the number of rows",
                    });
                }
                kept = sequence.saturating_sub(shift);
            }
        }
        Ok(Self { selection: *selection, outputs: selection.count(rows), kept, sequence })
    }

    /// The row of the hidden states and the row of the targets of a loss.
    pub(super) fn at(&self, output: usize) -> (usize, usize) {
        match self.selection {
            Selection::All => (output, output),
            Selection::Rows(rows) => (rows[output], output),
            Selection::Shift { shift, .. } => {
                let row = output / self.kept * self.sequence + output % self.kept;
                (row, row + shift)
            }
        }
    }
}
