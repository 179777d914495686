//! Conditions that are true or false of any value, NULL included: IS [NOT] NULL of all types, IS
//! [NOT] TRUE, FALSE and UNKNOWN of BOOLEAN. A row without a value fails here too: they are strict.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray};
use forebay_core::PortResult;

use super::column::valid_of;
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// IS NULL, or IS NOT NULL where `negated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsNull {
    pub(crate) negated: bool,
}

impl Kernel for IsNull {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let valid = valid_of(&operands[0], rows);
        let values = if self.negated { valid } else { !&valid };
        Ok(Arc::new(BooleanArray::new(values, None)))
    }
}

/// IS TRUE or IS FALSE, as `truth` says, or its opposite where `negated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsTruth {
    pub(crate) truth: bool,
    pub(crate) negated: bool,
}

impl Kernel for IsTruth {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let operand = operands[0];
        let array = operand.array.as_boolean();
        let values = if operand.constant {
            let is = array.value(0) == self.truth;
            arrow_buffer::BooleanBuffer::collect_bool(rows, |_| is)
        } else if self.truth {
            array.values().clone()
        } else {
            !array.values()
        };
        let is = &values & &valid_of(&operand, rows);
        let values = if self.negated { !&is } else { is };
        Ok(Arc::new(BooleanArray::new(values, None)))
    }
}
