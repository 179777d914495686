//! Makes code: operations that are equal are one, operations over constants are computed here and
//! now, and what can never have a value is known. Bounded in operations, so that no text makes more
//! code than it can be read for.
//!
//! `lower` walks expressions and calls it; what leaves is `code`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::common::ScalarValue;
use forebay_core::fault::FaultKind;
use forebay_core::limits::EXPRESSION_MAX_NODES;

use super::code::{Code, Node, Op, Slot};
use super::function::{Argument, Type};
use super::kernel::{Kernel, Operand, RowFaults};
use super::operation::Operation;
use super::refusal::Refusal;
use crate::patience::Patience;

/// Characters of an expression that are shown.
const TEXT_MAX_CHARS: usize = 100;

/// What makes two operations the same.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Input(u32),
    Literal(ScalarValue),
    Call(Operation, Vec<Slot>),
    And(Slot, Slot),
    Or(Slot, Slot),
    Not(Slot),
    Case(Vec<(Slot, Slot)>, Option<Slot>),
    Coalesce(Vec<Slot>),
}

/// What a constant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    True,
    False,
    Null,
    Other,
}

/// Code while it is made.
#[derive(Debug, Default)]
pub(crate) struct CodeBuilder {
    nodes: Vec<Node>,
    /// Of each operation why it fails on every row, and the operation that does.
    fails: Vec<Option<(FaultKind, Slot)>>,
    keys: HashMap<Key, Slot>,
    /// Expressions that were walked; not all of them are operations of their own.
    walked: usize,
    /// How long it may go on.
    pub(super) patience: Option<Arc<Patience>>,
}

impl CodeBuilder {
    /// Count one expression more.
    ///
    /// # Errors
    /// There are too many; nobody waits any more.
    pub(super) fn walk(&mut self) -> Result<(), Refusal> {
        if let Some(patience) = &self.patience {
            patience.ask()?;
        }
        self.walked += 1;
        if self.walked <= EXPRESSION_MAX_NODES {
            return Ok(());
        }
        Err(Refusal::new(format!(
            "its expressions have more than {EXPRESSION_MAX_NODES} operations (EXPRESSION_MAX_NODES), with those of \
             derived tables in each place that uses them; select less, or split it"
        )))
    }

    /// How the operation reads.
    pub(super) fn text(&self, slot: Slot) -> &Arc<str> {
        &self.nodes[slot.index()].text
    }

    /// Why `slot` has a value on no row, and the operation that fails; None where it may have one.
    pub(crate) fn never_has_a_value(&self, slot: Slot) -> Option<(FaultKind, &str)> {
        let (kind, op) = self.fails[slot.index()]?;
        Some((kind, &self.nodes[op.index()].text))
    }

    /// Its value, an array of one row, where it is a constant.
    pub(super) fn constant(&self, slot: Slot) -> Option<&ArrayRef> {
        match &self.nodes[slot.index()].op {
            Op::Literal(array) => Some(array),
            _ => None,
        }
    }

    /// Whether it is TRUE on every row.
    pub(super) fn is_true(&self, slot: Slot) -> bool {
        self.known(slot) == Some(Known::True)
    }

    fn known(&self, slot: Slot) -> Option<Known> {
        let array = self.constant(slot)?;
        Some(match array.as_boolean_opt() {
            _ if array.is_null(0) => Known::Null,
            Some(truth) if truth.value(0) => Known::True,
            Some(_) => Known::False,
            None => Known::Other,
        })
    }

    fn push(
        &mut self,
        key: Key,
        op: Op,
        data_type: DataType,
        text: &str,
        fails: Option<(FaultKind, Slot)>,
    ) -> Slot {
        if let Some(slot) = self.keys.get(&key) {
            return *slot;
        }
        let number = u32::try_from(self.nodes.len()).expect("limited to far fewer");
        let constant = match &op {
            Op::Input(_) => false,
            Op::Literal(_) => true,
            op => op
                .reads()
                .iter()
                .all(|slot| self.nodes[slot.index()].constant),
        };
        self.nodes.push(Node {
            op,
            data_type,
            text: shortened(text),
            constant,
            last_reads: Vec::new(),
        });
        self.fails.push(fails);
        let slot = Slot(number);
        self.keys.insert(key, slot);
        slot
    }

    /// A column of the caller.
    pub(super) fn input(&mut self, index: usize, data_type: DataType, text: &str) -> Slot {
        let index = u32::try_from(index).expect("columns are limited to far fewer");
        self.push(Key::Input(index), Op::Input(index), data_type, text, None)
    }

    /// A constant, an array of one row.
    pub(super) fn literal(&mut self, array: ArrayRef, text: &str) -> Result<Slot, Refusal> {
        let key = ScalarValue::try_from_array(&array, 0)
            .map_err(|e| Refusal::new(format!("a constant of no type of ours: {e}")))?;
        let data_type = array.data_type().clone();
        Ok(self.push(Key::Literal(key), Op::Literal(array), data_type, text, None))
    }

    /// NULL of a type.
    pub(super) fn null(&mut self, of: Type) -> Result<Slot, Refusal> {
        self.literal(arrow_array::new_null_array(&of.arrow(), 1), "NULL")
    }

    /// A strict operation.
    pub(super) fn call(
        &mut self,
        operation: Operation,
        args: Vec<Slot>,
        result: Type,
        text: &str,
    ) -> Result<Slot, Refusal> {
        let key = Key::Call(operation, args);
        if let Some(slot) = self.keys.get(&key) {
            return Ok(*slot);
        }
        let Key::Call(operation, args) = &key else {
            unreachable!("it was just made")
        };
        let arguments: Vec<Argument<'_>> = args
            .iter()
            .map(|slot| Argument {
                constant: self.constant(*slot),
            })
            .collect();
        let kernel = operation.bind(&arguments).map_err(Refusal::new)?;
        let mut fails = args.iter().find_map(|slot| self.fails[slot.index()]);
        let constants: Option<Vec<&ArrayRef>> =
            args.iter().map(|slot| self.constant(*slot)).collect();
        if let Some(constants) = constants {
            match once(kernel.as_ref(), &constants)? {
                Ok(array) => return self.literal(array, text),
                Err(kind) => {
                    let own = u32::try_from(self.nodes.len()).expect("limited to far fewer");
                    fails = Some((kind, Slot(own)));
                }
            }
        }
        let op = Op::Call {
            operation: operation.clone(),
            kernel,
            args: args.clone(),
        };
        Ok(self.push(key, op, result.arrow(), text, fails))
    }

    pub(super) fn and(&mut self, left: Slot, right: Slot) -> Slot {
        match (self.known(left), self.known(right)) {
            (Some(Known::False), _) | (_, Some(Known::True)) => return left,
            (Some(Known::True), _) => return right,
            _ if left == right => return left,
            _ => {}
        }
        let text = format!("{} AND {}", self.text(left), self.text(right));
        let fails = self.fails_of_both(left, right);
        self.push(
            Key::And(left, right),
            Op::And(left, right),
            DataType::Boolean,
            &text,
            fails,
        )
    }

    pub(super) fn or(&mut self, left: Slot, right: Slot) -> Slot {
        match (self.known(left), self.known(right)) {
            (Some(Known::True), _) | (_, Some(Known::False)) => return left,
            (Some(Known::False), _) => return right,
            _ if left == right => return left,
            _ => {}
        }
        let text = format!("{} OR {}", self.text(left), self.text(right));
        let fails = self.fails_of_both(left, right);
        self.push(
            Key::Or(left, right),
            Op::Or(left, right),
            DataType::Boolean,
            &text,
            fails,
        )
    }

    /// The right side is reached on every row only where the left one is NULL on every row.
    fn fails_of_both(&self, left: Slot, right: Slot) -> Option<(FaultKind, Slot)> {
        let of_right = self.known(left).and_then(|_| self.fails[right.index()]);
        self.fails[left.index()].or(of_right)
    }

    pub(super) fn not(&mut self, value: Slot) -> Result<Slot, Refusal> {
        let text = match &self.nodes[value.index()].op {
            Op::And(..) | Op::Or(..) => format!("NOT ({})", self.text(value)),
            _ => format!("NOT {}", self.text(value)),
        };
        match self.known(value) {
            Some(Known::Null) => return Ok(value),
            Some(known) => {
                let array = arrow_array::BooleanArray::from(vec![known == Known::False]);
                return self.literal(Arc::new(array), &text);
            }
            None => {}
        }
        let fails = self.fails[value.index()];
        Ok(self.push(
            Key::Not(value),
            Op::Not(value),
            DataType::Boolean,
            &text,
            fails,
        ))
    }

    /// CASE: conditions with their values, all of type `result`.
    pub(super) fn case(
        &mut self,
        arms: Vec<(Slot, Slot)>,
        otherwise: Option<Slot>,
        result: Type,
        text: &str,
    ) -> Result<Slot, Refusal> {
        let mut kept = Vec::with_capacity(arms.len());
        let mut otherwise = otherwise;
        for (when, then) in arms {
            match self.known(when) {
                Some(Known::True) => {
                    otherwise = Some(then);
                    break;
                }
                Some(_) => {}
                None => kept.push((when, then)),
            }
        }
        let Some((first, _)) = kept.first() else {
            return otherwise.map_or_else(|| self.null(result), Ok);
        };
        let mut fails = self.fails[first.index()];
        if fails.is_none() {
            let branches = kept.iter().map(|(_, then)| Some(*then)).chain([otherwise]);
            let of_branches: Option<Vec<_>> = branches
                .map(|branch| branch.and_then(|slot| self.fails[slot.index()]))
                .collect();
            fails = of_branches.and_then(|fails| fails.first().copied());
        }
        let op = Op::Case {
            arms: kept.clone(),
            otherwise,
        };
        Ok(self.push(Key::Case(kept, otherwise), op, result.arrow(), text, fails))
    }

    /// The first of `args`, all of type `result`, that is not NULL.
    pub(super) fn coalesce(
        &mut self,
        args: Vec<Slot>,
        result: Type,
        text: &str,
    ) -> Result<Slot, Refusal> {
        let mut kept = Vec::with_capacity(args.len());
        for slot in args {
            match self.known(slot) {
                Some(Known::Null) => {}
                Some(_) => {
                    kept.push(slot);
                    break;
                }
                None => kept.push(slot),
            }
        }
        match kept.as_slice() {
            [] => return self.null(result),
            [only] => return Ok(*only),
            _ => {}
        }
        let fails = self.fails[kept[0].index()];
        let op = Op::Coalesce(kept.clone());
        Ok(self.push(Key::Coalesce(kept), op, result.arrow(), text, fails))
    }

    /// The code of `outputs`, without what none of them needs.
    pub(crate) fn finish(self, outputs: &[Slot]) -> Code {
        let mut needed = vec![false; self.nodes.len()];
        for slot in outputs {
            needed[slot.index()] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if needed[index] {
                for slot in self.nodes[index].op.reads() {
                    needed[slot.index()] = true;
                }
            }
        }
        let mut place = vec![Slot(0); self.nodes.len()];
        let mut nodes: Vec<Node> = Vec::new();
        for (index, mut node) in self.nodes.into_iter().enumerate() {
            if needed[index] {
                moved(&mut node.op, &place);
                place[index] = Slot(u32::try_from(nodes.len()).expect("limited to far fewer"));
                nodes.push(node);
            }
        }
        let outputs: Vec<Slot> = outputs.iter().map(|slot| place[slot.index()]).collect();
        note_last_reads(&mut nodes, &outputs);
        Code { nodes, outputs }
    }
}

/// Note behind which operation each value is needed no more.
pub(super) fn note_last_reads(nodes: &mut [Node], outputs: &[Slot]) {
    let mut read = vec![false; nodes.len()];
    for slot in outputs {
        read[slot.index()] = true;
    }
    for node in nodes.iter_mut().rev() {
        for slot in node.op.reads() {
            if !std::mem::replace(&mut read[slot.index()], true) {
                node.last_reads.push(slot);
            }
        }
    }
}

/// `op` over the values at their new places.
fn moved(op: &mut Op, place: &[Slot]) {
    let to = |slot: &mut Slot| *slot = place[slot.index()];
    match op {
        Op::Input(_) | Op::Literal(_) => {}
        Op::Call { args, .. } | Op::Coalesce(args) => args.iter_mut().for_each(to),
        Op::And(left, right) | Op::Or(left, right) => {
            to(left);
            to(right);
        }
        Op::Not(value) => to(value),
        Op::Case { arms, otherwise } => {
            for (when, then) in arms {
                to(when);
                to(then);
            }
            otherwise.iter_mut().for_each(to);
        }
    }
}

/// The value of `kernel` over constants, or why it has none.
fn once(
    kernel: &dyn Kernel,
    constants: &[&ArrayRef],
) -> Result<Result<ArrayRef, FaultKind>, Refusal> {
    let operands: Vec<Operand<'_>> = constants
        .iter()
        .map(|array| Operand {
            array,
            constant: false,
        })
        .collect();
    let mut faults = RowFaults::default();
    let array = kernel
        .run(&operands, 1, &mut faults)
        .map_err(|e| Refusal::new(e.message()))?;
    Ok(faults
        .iter()
        .next()
        .map_or(Ok(array), |(_, kind)| Err(kind)))
}

/// The beginning of `text`, if it is long.
fn shortened(text: &str) -> Arc<str> {
    match text.char_indices().nth(TEXT_MAX_CHARS) {
        None => text.into(),
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()).into(),
    }
}
