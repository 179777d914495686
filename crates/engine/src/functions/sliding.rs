//! A state over a window that slides: rows enter in the order of the log and leave in the same
//! order. How they leave depends on the state ([`Leaving`]): it takes the row away, or it is that
//! of its best row, or it is made anew, of which most is kept from one time to the next.

use forebay_core::aggregate::cells::Cell;
use forebay_core::aggregate::{AggregateKind, Leaving, Partial, PartialSpec, RowOrder};
use forebay_core::value::Value;

use super::frontier::Frontier;

/// The rows of one window. All its calls are given the one spec that it was made for.
#[derive(Debug)]
pub(crate) enum Sliding {
    /// The state of all rows inside.
    Retracted(Partial),
    /// The states of single rows that may be the best.
    Selected(Frontier<Partial>),
    /// The rows, and what their state is made from.
    Rebuilt(Queue),
}

impl Sliding {
    /// A window without a row.
    pub(crate) fn new(spec: &PartialSpec) -> Self {
        match spec.class.leaving() {
            Leaving::Retracted => Self::Retracted(Partial::new(spec)),
            Leaving::Selected => Self::Selected(Frontier::default()),
            Leaving::Rebuilt => Self::Rebuilt(Queue::new(spec)),
        }
    }

    /// The next row enters.
    pub(crate) fn enter(&mut self, spec: &PartialSpec, arguments: &[Value], order: RowOrder) {
        match self {
            Self::Retracted(state) => state.update(arguments, order),
            Self::Selected(frontier) => {
                let mut one = Partial::new(spec);
                one.update(arguments, order);
                frontier.push(one, |newer, older| older.gives_way_to(newer));
            }
            Self::Rebuilt(queue) => queue.enter(arguments, order),
        }
    }

    /// The oldest row, whose arguments these are, leaves.
    pub(crate) fn leave(&mut self, spec: &PartialSpec, arguments: &[Value]) {
        match self {
            Self::Retracted(state) => state.retract(arguments),
            Self::Selected(frontier) => frontier.pop_oldest(1),
            Self::Rebuilt(queue) => queue.leave(spec),
        }
    }

    /// The value of `kind` over the rows inside.
    pub(crate) fn evaluate(&self, spec: &PartialSpec, kind: AggregateKind) -> Cell {
        match self {
            Self::Retracted(state) => state.evaluate(kind),
            Self::Selected(frontier) => match frontier.best() {
                Some(best) => best.evaluate(kind),
                None => Partial::new(spec).evaluate(kind),
            },
            Self::Rebuilt(queue) => queue.state(spec).evaluate(kind),
        }
    }

    /// What it allocated, bytes, about.
    pub(crate) fn allocated_bytes(&self) -> usize {
        match self {
            Self::Retracted(state) => state.heap_bytes(),
            Self::Selected(frontier) => frontier.allocated_bytes(),
            Self::Rebuilt(queue) => queue.allocated_bytes(),
        }
    }
}

/// Rows whose merged state is kept for each so many of them.
const BLOCK_ROWS: usize = 64;

type Row = (Box<[Value]>, RowOrder);

/// A queue of rows with their merged state. The older part is held newest first, with the states of
/// its first 64, 128, .. rows, so that a row leaves by being popped; when it is used up, the newer
/// part takes its place. Each row is folded three times at most, and 64 more for each value.
#[derive(Debug)]
pub(crate) struct Queue {
    older: Vec<Row>,
    blocks: Vec<Partial>,
    newer: Vec<Row>,
    newer_state: Partial,
}

impl Queue {
    fn new(spec: &PartialSpec) -> Self {
        Self {
            older: Vec::new(),
            blocks: Vec::new(),
            newer: Vec::new(),
            newer_state: Partial::new(spec),
        }
    }

    fn enter(&mut self, arguments: &[Value], order: RowOrder) {
        self.newer_state.update(arguments, order);
        self.newer.push((arguments.into(), order));
    }

    fn leave(&mut self, spec: &PartialSpec) {
        if self.older.is_empty() {
            self.turn(spec);
        }
        self.older.pop();
        self.blocks.truncate(self.older.len() / BLOCK_ROWS);
    }

    fn turn(&mut self, spec: &PartialSpec) {
        std::mem::swap(&mut self.older, &mut self.newer);
        self.older.reverse();
        self.newer_state = Partial::new(spec);
        let mut state = Partial::new(spec);
        for block in self.older.chunks_exact(BLOCK_ROWS) {
            for (arguments, order) in block {
                state.update(arguments, *order);
            }
            self.blocks.push(state.clone());
        }
    }

    fn state(&self, spec: &PartialSpec) -> Partial {
        let mut state = self
            .blocks
            .last()
            .map_or_else(|| Partial::new(spec), Clone::clone);
        for (arguments, order) in &self.older[self.blocks.len() * BLOCK_ROWS..] {
            state.update(arguments, *order);
        }
        state.merge(&self.newer_state);
        state
    }

    fn allocated_bytes(&self) -> usize {
        let rows = (self.older.capacity() + self.newer.capacity()) * size_of::<Row>();
        let states = self
            .blocks
            .iter()
            .map(|state| size_of::<Partial>() + state.heap_bytes());
        rows + states.sum::<usize>()
    }
}
