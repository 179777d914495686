//! `a || b`: NULL where one is NULL. A text of more than `TEXT_MAX_BYTES` is out of range, so that
//! no chain of them takes memory without bound.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef};
use forebay_core::fault::FaultKind;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::column::{Texts, bytes_limit, is_null};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// Texts one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concat;

impl Kernel for Concat {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let columns: Vec<Texts<'_>> = operands.iter().map(|operand| Texts::of(*operand)).collect();
        let bytes: usize = operands
            .iter()
            .map(|operand| match operand.constant {
                true => operand.array.len() * rows,
                false => operand.array.get_buffer_memory_size(),
            })
            .sum();
        let mut builder = StringBuilder::with_capacity(rows, bytes.min(64 << 20));
        let mut text = String::new();
        for row in 0..rows {
            if operands.iter().any(|operand| is_null(operand, row)) {
                builder.append_null();
                continue;
            }
            text.clear();
            columns
                .iter()
                .for_each(|column| text.push_str(column.value(row)));
            if bytes_limit(text.len()) {
                faults.push(row, FaultKind::Range);
                builder.append_null();
                continue;
            }
            if builder.values_slice().len() + text.len() > i32::MAX as usize {
                return Err(PortError::new(
                    ErrorKind::ResourceExhausted,
                    "the texts of one expression are longer than 2 GiB in one batch",
                ));
            }
            builder.append_value(&text);
        }
        Ok(Arc::new(builder.finish()))
    }
}
