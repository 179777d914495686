//! Which branches of CASE rows take, for the coverage of feature tests. Code computes every
//! operation on every row; here it is followed back from its expressions to what each row comes to,
//! as SQL is read from left to right, so that a branch inside of one that is not taken does not
//! count.
//!
//! `expression` asks it once somebody wants to know; a program that nobody traces runs without it.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::Array;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use forebay_core::PortResult;
use forebay_core::cells::Cells;

use super::code::{Code, Op, Slot, read};
use super::faults::mask;
use super::value::Value;

/// A branch of a CASE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// How the CASE reads, shortened, and the branch's condition, or ELSE.
    pub text: String,
    /// Whether a row took it.
    pub is_taken: bool,
}

/// For each of the first expressions those among the others, counted from the first that is none of
/// them, of which one has to be true for a row to come to it; None stands for every row.
pub(crate) type Guards = [Vec<Option<usize>>];

/// The branches of a program, and which of them a row took since it is traced.
#[derive(Debug)]
pub(crate) struct Trace {
    guards: Vec<Vec<Option<usize>>>,
    branches: Vec<(String, AtomicBool)>,
}

impl Trace {
    /// Of `code`, whose first expressions count where `guards` say.
    pub(crate) fn new(code: &Code, guards: &Guards) -> Self {
        let untaken = |text| (text, AtomicBool::new(false));
        Self {
            guards: guards.to_vec(),
            branches: code.branches().into_iter().map(untaken).collect(),
        }
    }

    /// Note what rows of `inputs` take.
    ///
    /// # Errors
    /// Something else than a row.
    pub(crate) fn note(&self, code: &Code, inputs: &Cells, rows: usize) -> PortResult<()> {
        if rows == 0 || self.branches.is_empty() {
            return Ok(());
        }
        let taken = code.taken(&self.guards, inputs, rows)?;
        for ((_, is_taken), _) in self.branches.iter().zip(taken).filter(|(_, now)| *now) {
            is_taken.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What was noted so far.
    pub(crate) fn branches(&self) -> impl Iterator<Item = Branch> + '_ {
        self.branches.iter().map(|(text, is_taken)| Branch {
            text: text.clone(),
            is_taken: is_taken.load(Ordering::Relaxed),
        })
    }
}

impl Code {
    /// How each branch of a CASE in it reads, from the last CASE to the first.
    fn branches(&self) -> Vec<String> {
        let text = |slot: &Slot| &self.nodes[slot.index()].text;
        let mut branches = Vec::new();
        for node in self.nodes.iter().rev() {
            if let Op::Case { arms, otherwise } = &node.op {
                let case = &node.text;
                let arms = arms.iter();
                branches.extend(arms.map(|(when, _)| format!("{case}, WHEN {}", text(when))));
                branches.extend(otherwise.iter().map(|_| format!("{case}, ELSE")));
            }
        }
        branches
    }

    /// Of each of its branches whether a row takes it.
    fn taken(&self, guards: &Guards, inputs: &Cells, rows: usize) -> PortResult<Vec<bool>> {
        let values = self.all_values(inputs, rows)?;
        let mut reached = Reached {
            values: &values,
            rows,
            by_slot: vec![None; self.nodes.len()],
        };
        for (number, slot) in self.outputs.iter().enumerate() {
            let all = BooleanBuffer::new_set(rows);
            let on = |guard: &Option<usize>| match guard {
                None => all.clone(),
                Some(filter) => {
                    let filter = self.outputs[guards.len() + filter];
                    read(&values, filter).truth(rows).is_true
                }
            };
            let asked = match guards.get(number) {
                None => all.clone(),
                Some(guards) => guards.iter().fold(!&all, |some, guard| &some | &on(guard)),
            };
            reached.add(*slot, &asked);
        }
        let mut taken = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let here = reached.by_slot[index].take();
            let here = here.unwrap_or_else(|| BooleanBuffer::new_unset(rows));
            reached.follow(&node.op, here, &mut taken);
        }
        Ok(taken)
    }
}

/// The rows that come to each operation, from the last to the first.
struct Reached<'a> {
    values: &'a [Option<Value>],
    rows: usize,
    by_slot: Vec<Option<BooleanBuffer>>,
}

impl Reached<'_> {
    /// `rows` come to `slot`, too.
    fn add(&mut self, slot: Slot, rows: &BooleanBuffer) {
        let place = &mut self.by_slot[slot.index()];
        *place = Some(match place {
            Some(before) => &*before | rows,
            None => rows.clone(),
        });
    }

    /// `here` come to `op`: which of them come to what it reads, and take its branches.
    fn follow(&mut self, op: &Op, here: BooleanBuffer, taken: &mut Vec<bool>) {
        match op {
            Op::Input(_) | Op::Literal(_) => {}
            Op::Call { args, .. } => args.iter().for_each(|arg| self.add(*arg, &here)),
            Op::Not(value) => self.add(*value, &here),
            Op::And(left, right) => self.both(*left, *right, &here, false),
            Op::Or(left, right) => self.both(*left, *right, &here, true),
            Op::Case { arms, otherwise } => {
                let mut remaining = here;
                for (when, then) in arms {
                    self.add(*when, &remaining);
                    remaining = &remaining & &self.sound(*when);
                    let now = &remaining & &read(self.values, *when).truth(self.rows).is_true;
                    self.add(*then, &now);
                    taken.push(now.count_set_bits() > 0);
                    remaining = &remaining & &!&now;
                }
                if let Some(otherwise) = otherwise {
                    self.add(*otherwise, &remaining);
                    taken.push(remaining.count_set_bits() > 0);
                }
            }
            Op::Coalesce(args) => {
                let mut remaining = here;
                for arg in args {
                    self.add(*arg, &remaining);
                    let valid = self.valid(*arg);
                    remaining = &(&remaining & &self.sound(*arg)) & &!&valid;
                }
            }
        }
    }

    /// AND (`absorbing` false) or OR (true).
    fn both(&mut self, left: Slot, right: Slot, here: &BooleanBuffer, absorbing: bool) {
        self.add(left, here);
        let absorbed = read(self.values, left).truth(self.rows).is(absorbing);
        let on = &(here & &self.sound(left)) & &!&absorbed;
        self.add(right, &on);
    }

    /// Rows on which `slot` does not fail.
    fn sound(&self, slot: Slot) -> BooleanBuffer {
        !&mask(&read(self.values, slot).faults(self.rows), self.rows)
    }

    /// Rows on which `slot` is not NULL.
    fn valid(&self, slot: Slot) -> BooleanBuffer {
        let value = read(self.values, slot);
        match value.array.nulls().map(NullBuffer::inner) {
            Some(valid) if !value.constant => valid.clone(),
            Some(_) if value.array.is_null(0) => BooleanBuffer::new_unset(self.rows),
            _ => BooleanBuffer::new_set(self.rows),
        }
    }
}
