//! Compiled expressions: a flat list of operations, each over the values of earlier ones, run over
//! whole columns one after another. A value that several expressions use is computed once.
//!
//! A row may have no value (`faults`). Every operation is computed on every row; which faults count
//! is decided by masking, as SQL is read from left to right, so that no result depends on how rows
//! are cut into batches. No row, no fault: without rows nothing is computed at all.
//!
//! `build` makes it. Nothing here recurses, whatever the depth of the expression was.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use arrow_select::take::take;
use forebay_core::cells::{CellFault, Cells};
use forebay_core::limits::TEXT_MAX_BYTES;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::choose::Chosen;
use super::faults::{Fault, Faults, mask, merge, nulled, raised};
use super::kernel::{Kernel, Operand, RowFaults};
use super::operation::Operation;
use super::value::{Truth, Value};

/// Rows of which an operation makes texts at a time: an array holds 2 GiB of them.
const TEXT_ROWS: usize = (1 << 30) / TEXT_MAX_BYTES;

/// The value of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(super) u32);

impl Slot {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A column of the caller.
    Input(u32),
    /// A constant, an array of one row.
    Literal(ArrayRef),
    Call {
        operation: Operation,
        /// Bound to those arguments that are constants.
        kernel: Arc<dyn Kernel>,
        args: Vec<Slot>,
    },
    And(Slot, Slot),
    Or(Slot, Slot),
    Not(Slot),
    /// Conditions with their values, in order.
    Case {
        arms: Vec<(Slot, Slot)>,
        otherwise: Option<Slot>,
    },
    /// The first that is not NULL.
    Coalesce(Vec<Slot>),
}

impl Op {
    /// Whose values it reads.
    pub(super) fn reads(&self) -> Vec<Slot> {
        match self {
            Self::Input(_) | Self::Literal(_) => Vec::new(),
            Self::Call { args, .. } | Self::Coalesce(args) => args.clone(),
            Self::And(left, right) | Self::Or(left, right) => vec![*left, *right],
            Self::Not(value) => vec![*value],
            Self::Case { arms, otherwise } => {
                let arms = arms.iter().flat_map(|(when, then)| [*when, *then]);
                arms.chain(*otherwise).collect()
            }
        }
    }
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) data_type: DataType,
    /// How it reads, shortened.
    pub(super) text: Arc<str>,
    /// Whether it has one value for all rows.
    pub(super) constant: bool,
    /// Values that nothing behind it reads.
    pub(super) last_reads: Vec<Slot>,
}

/// What an expression is on some rows.
#[derive(Debug, Clone)]
pub(crate) struct Evaluated {
    pub(crate) array: ArrayRef,
    /// Rows without a value, which are NULL in the array.
    pub(crate) faults: Faults,
}

/// Compiled expressions.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<Slot>,
}

impl Code {
    /// Columns that it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs().map(|(index, _)| index)
    }

    /// Columns that it reads, with their types.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (usize, &DataType)> + '_ {
        self.nodes.iter().filter_map(|node| match node.op {
            Op::Input(index) => Some((index as usize, &node.data_type)),
            _ => None,
        })
    }

    /// Read columns from other places: `place` tells where each is now.
    pub(crate) fn move_inputs(&mut self, place: impl Fn(usize) -> usize) {
        for node in &mut self.nodes {
            if let Op::Input(index) = &mut node.op {
                *index = u32::try_from(place(*index as usize)).expect("columns are far fewer");
            }
        }
    }

    /// Types of its expressions.
    pub(crate) fn types(&self) -> impl Iterator<Item = &DataType> + '_ {
        self.outputs
            .iter()
            .map(|slot| &self.nodes[slot.index()].data_type)
    }

    /// How the operation reads that `fault` is of.
    pub(crate) fn text(&self, fault: Fault) -> Arc<str> {
        Arc::clone(&self.nodes[fault.op as usize].text)
    }

    /// `fault` of expression `column` over `inputs`: where a value of these is at fault, in its
    /// words.
    pub(crate) fn cell(&self, column: usize, fault: Fault, inputs: &Cells) -> CellFault {
        let of_input = match self.nodes[fault.op as usize].op {
            Op::Input(input) => inputs.fault_at(input as usize, fault.row),
            _ => None,
        };
        CellFault {
            column,
            row: fault.row,
            kind: fault.kind,
            what: of_input.map_or_else(|| self.text(fault), |fault| Arc::clone(&fault.what)),
        }
    }

    /// The same, and what is wrong.
    pub(crate) fn describe(&self, fault: Fault) -> String {
        format!("{}: {}", self.nodes[fault.op as usize].text, fault.kind)
    }

    /// One value for each expression over `inputs`, each `rows` long where it is read. Where texts
    /// are made, so many rows are computed at a time that these fit into an array.
    ///
    /// # Errors
    /// Something else than a row: a defect, memory.
    pub(crate) fn run(&self, inputs: &Cells, rows: usize) -> PortResult<Vec<Evaluated>> {
        if rows == 0 {
            let empty = |data_type: &DataType| Evaluated {
                array: new_empty_array(data_type),
                faults: Faults::new(),
            };
            return Ok(self.types().map(empty).collect());
        }
        if rows <= TEXT_ROWS || !self.makes_texts() {
            return self.run_at_once(inputs, rows);
        }
        let pieces = (0..rows).step_by(TEXT_ROWS).map(|from| {
            let length = TEXT_ROWS.min(rows - from);
            self.run_at_once(&inputs.slice(from, length), length)
        });
        let pieces = pieces.collect::<PortResult<Vec<_>>>()?;
        let outputs = self.outputs.iter().enumerate();
        outputs
            .map(|(number, slot)| match self.nodes[slot.index()].op {
                Op::Input(column) => {
                    let column = column as usize;
                    Ok(Evaluated {
                        array: Arc::clone(&inputs.columns[column]),
                        faults: of_input(slot.index(), inputs.faults_of(column)),
                    })
                }
                _ => joined(pieces.iter().map(|piece| &piece[number])),
            })
            .collect()
    }

    /// Whether a text comes to be that is longer than what is read.
    fn makes_texts(&self) -> bool {
        let makes = |node: &Node| !matches!(node.op, Op::Input(_));
        let mut made = self.nodes.iter().filter(|node| makes(node));
        made.any(|node| node.data_type == DataType::Utf8)
    }

    /// The value of every operation, kept.
    pub(super) fn all_values(&self, inputs: &Cells, rows: usize) -> PortResult<Vec<Option<Value>>> {
        let mut values: Vec<Option<Value>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let value = evaluate(index, node, &values, inputs, rows)?;
            values[index] = Some(value);
        }
        Ok(values)
    }

    fn run_at_once(&self, inputs: &Cells, rows: usize) -> PortResult<Vec<Evaluated>> {
        let mut values: Vec<Option<Value>> = vec![None; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            let value = evaluate(index, node, &values, inputs, rows)?;
            values[index] = Some(value);
            for slot in &node.last_reads {
                values[slot.index()] = None;
            }
        }
        self.outputs
            .iter()
            .map(|slot| whole(read(&values, *slot), rows))
            .collect()
    }
}

/// One expression over pieces of [`TEXT_ROWS`] rows, which follow one another.
fn joined<'a>(pieces: impl Iterator<Item = &'a Evaluated>) -> PortResult<Evaluated> {
    let (mut arrays, mut faults): (Vec<&dyn Array>, _) = (Vec::new(), Faults::new());
    for (piece, from) in pieces.zip((0_u32..).step_by(TEXT_ROWS)) {
        arrays.push(piece.array.as_ref());
        faults.extend(piece.faults.iter().map(|fault| Fault {
            row: from + fault.row,
            ..*fault
        }));
    }
    let array = concat(&arrays).map_err(|e| {
        let words = "the texts of one expression are longer than 2 GiB in one batch";
        PortError::with_source(ErrorKind::ResourceExhausted, words, e)
    })?;
    Ok(Evaluated { array, faults })
}

/// The value of `slot`, which is computed before what reads it.
pub(super) fn read(values: &[Option<Value>], slot: Slot) -> &Value {
    values[slot.index()]
        .as_ref()
        .expect("operations stand behind what they read, which is kept until then")
}

/// `value` with an element for each of `rows`.
fn whole(value: &Value, rows: usize) -> PortResult<Evaluated> {
    let array = if value.constant {
        let zeros = UInt32Array::from(vec![0; rows]);
        take(&value.array, &zeros, None)
            .map_err(|e| PortError::with_source(ErrorKind::Internal, "a constant column", e))?
    } else {
        Arc::clone(&value.array)
    };
    Ok(Evaluated {
        array,
        faults: value.faults(rows),
    })
}

fn evaluate(
    index: usize,
    node: &Node,
    values: &[Option<Value>],
    inputs: &Cells,
    rows: usize,
) -> PortResult<Value> {
    let constant = node.constant;
    // What is constant has one row; what it reads has one too.
    let rows = if constant { 1 } else { rows };
    let value = |array: ArrayRef, faults: Faults| Value {
        array,
        constant,
        faults,
    };
    Ok(match &node.op {
        Op::Input(column) => {
            let column = *column as usize;
            let faults = of_input(index, inputs.faults_of(column));
            value(Arc::clone(&inputs.columns[column]), faults)
        }
        Op::Literal(array) => value(Arc::clone(array), Faults::new()),
        Op::Call { kernel, args, .. } => {
            let args: Vec<&Value> = args.iter().map(|slot| read(values, *slot)).collect();
            let (array, faults) = call(index, kernel.as_ref(), &args, constant, rows)?;
            value(array, faults)
        }
        Op::And(left, right) => {
            let (array, faults) = both(read(values, *left), read(values, *right), rows, false);
            value(array, faults)
        }
        Op::Or(left, right) => {
            let (array, faults) = both(read(values, *left), read(values, *right), rows, true);
            value(array, faults)
        }
        Op::Not(inner) => {
            let inner = read(values, *inner);
            let array = inner.array.as_boolean();
            let not = BooleanArray::new(!array.values(), array.nulls().cloned());
            value(Arc::new(not), inner.faults.clone())
        }
        Op::Case { arms, otherwise } => {
            let mut chosen = Chosen::new(rows);
            for (when, then) in arms {
                chosen.when(read(values, *when), read(values, *then));
            }
            if let Some(otherwise) = otherwise {
                chosen.otherwise(read(values, *otherwise));
            }
            let (array, faults) = chosen.finish(&node.data_type)?;
            value(array, faults)
        }
        Op::Coalesce(args) => {
            let mut chosen = Chosen::new(rows);
            for slot in args {
                chosen.first_valid(read(values, *slot));
            }
            let (array, faults) = chosen.finish(&node.data_type)?;
            value(array, faults)
        }
    })
}

/// The faults that a column of the caller has, as those of operation `index`.
fn of_input(index: usize, faults: &[CellFault]) -> Faults {
    let op = op_of(index);
    let fault = |fault: &CellFault| Fault {
        row: fault.row,
        kind: fault.kind,
        op,
    };
    faults.iter().map(fault).collect()
}

fn op_of(index: usize) -> u32 {
    u32::try_from(index).expect("code is limited to far fewer operations")
}

/// A strict operation: a row fails where an argument does, else where the kernel does.
fn call(
    index: usize,
    kernel: &dyn Kernel,
    args: &[&Value],
    constant: bool,
    rows: usize,
) -> PortResult<(ArrayRef, Faults)> {
    let operands: Vec<Operand<'_>> = args
        .iter()
        .map(|value| Operand {
            array: &value.array,
            constant: value.constant && !constant,
        })
        .collect();
    let mut failed = RowFaults::default();
    let array = kernel.run(&operands, rows, &mut failed)?;
    if array.len() != rows {
        let message = format!("{kernel:?} gave {} values for {rows} rows", array.len());
        return Err(PortError::internal(message));
    }
    let sound = args.iter().all(|value| value.faults.is_empty());
    if sound && failed.is_empty() {
        return Ok((array, Faults::new()));
    }
    let own = raised(&failed, op_of(index));
    let of_args = args.iter().fold(Faults::new(), |faults, value| {
        merge(faults, value.faults(rows))
    });
    let array = nulled(array, &of_args)?;
    Ok((array, merge(of_args, own)))
}

/// AND (`absorbing` false) or OR (true): where the left side is `absorbing`, the right one is not
/// looked at.
fn both(left: &Value, right: &Value, rows: usize, absorbing: bool) -> (ArrayRef, Faults) {
    let (l, r) = (left.truth(rows), right.truth(rows));
    let absorbed = l.is(absorbing);
    let mut absorbs = &absorbed | &r.is(absorbing);
    let mut neither = &l.is(!absorbing) & &r.is(!absorbing);
    let mut faults = Faults::new();
    if !left.faults.is_empty() || !right.faults.is_empty() {
        let mut reached = right.faults(rows);
        reached.retain(|fault| !absorbed.value(fault.row as usize));
        faults = merge(left.faults(rows), reached);
        let keep = !&mask(&faults, rows);
        absorbs = &absorbs & &keep;
        neither = &neither & &keep;
    }
    let array = if absorbing {
        Truth::of(absorbs, &neither)
    } else {
        Truth::of(neither, &absorbs)
    };
    (Arc::new(array), faults)
}
