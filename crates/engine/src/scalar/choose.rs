//! The value of CASE and coalesce: of each row the first branch whose condition holds. Conditions
//! are tried in order, on the rows that no earlier one took; a row fails by the condition that it
//! comes to, or by the branch that it takes, and by nothing else.

use arrow_array::{Array, ArrayRef, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::faults::{Fault, Faults, everywhere, mask, merge};
use super::value::Value;

/// Rows and the branch that each takes.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    rows: usize,
    /// Rows that nothing took yet.
    remaining: BooleanBuffer,
    branches: Vec<(&'a Value, BooleanBuffer)>,
    faults: Faults,
}

impl<'a> Chosen<'a> {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            rows,
            remaining: BooleanBuffer::new_set(rows),
            branches: Vec::new(),
            faults: Faults::new(),
        }
    }

    /// Rows on which `when` is true take `then`.
    pub(super) fn when(&mut self, when: &Value, then: &'a Value) {
        self.fail(when);
        let taken = &self.remaining & &when.truth(self.rows).is_true;
        self.take(then, taken);
    }

    /// All other rows take `value`.
    pub(super) fn otherwise(&mut self, value: &'a Value) {
        let taken = self.remaining.clone();
        self.take(value, taken);
    }

    /// Rows on which `value` is not NULL take it.
    pub(super) fn first_valid(&mut self, value: &'a Value) {
        self.fail(value);
        let valid = value.array.nulls().map(NullBuffer::inner);
        let taken = match valid {
            None => self.remaining.clone(),
            Some(_) if value.constant => {
                if value.array.is_null(0) {
                    return;
                }
                self.remaining.clone()
            }
            Some(valid) => &self.remaining & valid,
        };
        self.take(value, taken);
    }

    /// Rows that come to `value` fail where it does.
    fn fail(&mut self, value: &Value) {
        if value.faults.is_empty() {
            return;
        }
        let reached = faults_at(value, &self.remaining, self.rows);
        self.remaining = &self.remaining & &!&mask(&reached, self.rows);
        self.add(reached);
    }

    fn add(&mut self, faults: Faults) {
        self.faults = merge(std::mem::take(&mut self.faults), faults);
    }

    fn take(&mut self, value: &'a Value, taken: BooleanBuffer) {
        self.remaining = &self.remaining & &!&taken;
        let mut taken = taken;
        if !value.faults.is_empty() {
            let reached = faults_at(value, &taken, self.rows);
            taken = &taken & &!&mask(&reached, self.rows);
            self.add(reached);
        }
        self.branches.push((value, taken));
    }

    /// The values and the rows without one; what nothing took is NULL.
    pub(super) fn finish(self, data_type: &DataType) -> PortResult<(ArrayRef, Faults)> {
        let all = self
            .branches
            .iter()
            .find(|(value, taken)| !value.constant && taken.count_set_bits() == self.rows);
        if let Some((value, _)) = all {
            return Ok((ArrayRef::clone(&value.array), self.faults));
        }
        let null = new_null_array(data_type, 1);
        let mut arrays: Vec<&dyn Array> = vec![null.as_ref()];
        let mut places = vec![(0, 0); self.rows];
        for (value, taken) in &self.branches {
            for row in taken.set_indices() {
                places[row] = (arrays.len(), if value.constant { 0 } else { row });
            }
            arrays.push(value.array.as_ref());
        }
        let array = interleave(&arrays, &places)
            .map_err(|e| PortError::with_source(ErrorKind::Internal, "branches of CASE", e))?;
        Ok((array, self.faults))
    }
}

/// The faults of `value` at `rows` of `count`.
fn faults_at(value: &Value, rows: &BooleanBuffer, count: usize) -> Faults {
    let faults: Vec<Fault> = match value.faults.first() {
        Some(fault) if value.constant => everywhere(*fault, count),
        _ => value.faults.clone(),
    };
    faults
        .into_iter()
        .filter(|fault| rows.value(fault.row as usize))
        .collect()
}
