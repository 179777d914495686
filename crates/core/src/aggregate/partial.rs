//! One partial state: what a tile holds for one aggregate, and the arithmetic on it. Rows are
//! folded in, states merged, and a function's value read out; all of it free of order, so that
//! tiles, shards and replays agree to the bit.
//!
//! The list at the end has the states; what each does is in its file. A state never rounds;
//! reading a value does, once (`functions`).

use super::states::{
    Bits, BoolCounts, By, Distinct, Edge, Extremum, Leaving, Newest, Registers, RowCount, Sketch,
    State,
};
use serde::{Deserialize, Serialize};

use super::{PartialSpec, RowOrder, Rows};
use crate::bytes::{BytesResult, Reader};
use crate::error::PortResult;
use crate::exact::{CoMoments, FloatMoments, FloatSum, IntegerSum, corrupt};
use crate::value::Value;

/// Makes the enums over the list of states, and hands every call on to the state that is there. An
/// enum and no pointer, because a tile's states lie side by side and loops are compiled for each.
macro_rules! states {
    ($($(#[$doc:meta])* $class:ident($state:ty),)+) => {
        /// Shapes of partial states.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum PartialClass {
            $($(#[$doc])* $class,)+
        }

        impl PartialClass {
            /// How rows leave a state.
            #[must_use]
            pub fn leaving(self) -> Leaving {
                match self {
                    $(Self::$class => <$state as State>::LEAVING,)+
                }
            }
        }

        /// The state that is there.
        #[derive(Debug, Clone, PartialEq)]
        pub(super) enum AnyState {
            $($class($state),)+
        }

        impl Partial {
            /// The state of no row.
            #[must_use]
            pub fn new(spec: &PartialSpec) -> Self {
                Self(match spec.class {
                    $(PartialClass::$class => AnyState::$class(<$state as State>::new(spec)),)+
                })
            }

            /// Its shape.
            #[must_use]
            pub fn class(&self) -> PartialClass {
                match &self.0 {
                    $(AnyState::$class(_) => PartialClass::$class,)+
                }
            }

            /// What it holds beside itself, bytes: texts may be shared with others.
            #[must_use]
            pub fn heap_bytes(&self) -> usize {
                match &self.0 {
                    $(AnyState::$class(state) => State::heap_bytes(state),)+
                }
            }

            /// Whether no row is in it that could change a value.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                match &self.0 {
                    $(AnyState::$class(state) => State::is_empty(state),)+
                }
            }

            /// Fold in one row: its arguments and where it stands. What a NULL among them means,
            /// the state says.
            ///
            /// # Panics
            /// A value is not of its argument's type: a defect of the planner, and going on would
            /// give wrong values.
            pub fn update(&mut self, arguments: &[Value], order: RowOrder) {
                match &mut self.0 {
                    $(AnyState::$class(state) => State::update(state, arguments, order),)+
                }
            }

            /// Fold in the rows `passing` of `rows`, ascending.
            ///
            /// # Panics
            /// As [`Self::update`].
            pub fn fold<R: Rows>(
                &mut self,
                rows: &R,
                arguments: &[usize],
                passing: impl DoubleEndedIterator<Item = usize>,
            ) {
                match &mut self.0 {
                    $(AnyState::$class(state) => State::fold(state, rows, arguments, passing),)+
                }
            }

            /// Take away one row that was folded in before.
            ///
            /// # Panics
            /// As [`Self::update`], and where the class is not [`Leaving::Retracted`].
            pub fn retract(&mut self, arguments: &[Value]) {
                match &mut self.0 {
                    $(AnyState::$class(state) => State::retract(state, arguments),)+
                }
            }

            /// Whether, of two rows that are states of their own, the one of `newer` is at least as
            /// good, so that this one cannot be the best any more once both are inside.
            ///
            /// # Panics
            /// The class is not [`Leaving::Selected`], or the states are of different classes.
            #[must_use]
            pub fn gives_way_to(&self, newer: &Self) -> bool {
                match (&self.0, &newer.0) {
                    $((AnyState::$class(state), AnyState::$class(newer)) => {
                        State::gives_way_to(state, newer)
                    })+
                    _ => panic!(
                        "states of {:?} and {:?} cannot be compared",
                        self.class(),
                        newer.class()
                    ),
                }
            }

            /// Fold in all rows of `other`.
            ///
            /// # Panics
            /// The states are of different classes or argument types.
            pub fn merge(&mut self, other: &Self) {
                match (&mut self.0, &other.0) {
                    $((AnyState::$class(state), AnyState::$class(other)) => State::merge(state, other),)+
                    _ => panic!(
                        "states of {:?} and {:?} cannot merge",
                        self.class(),
                        other.class()
                    ),
                }
            }

            /// Append the canonical bytes: the same rows in any order give the same bytes.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match &self.0 {
                    $(AnyState::$class(state) => State::encode(state, out),)+
                }
            }

            fn read(spec: &PartialSpec, reader: &mut Reader<'_>) -> BytesResult<Self> {
                let code = reader.u8()?;
                let state = match spec.class {
                    $(PartialClass::$class => <$state as State>::read(code, spec, reader)
                        .map(|state| state.map(AnyState::$class)),)+
                };
                let state = state.unwrap_or_else(|| {
                    let class = spec.class;
                    Err(format!("code {code:#04x} where a state of {class:?} should begin").into())
                });
                state.map(Self)
            }
        }
    };
}

/// The partial state of one aggregate over some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial(AnyState);

impl Partial {
    /// Read what [`Self::encode`] wrote for a state of `spec`, and move `bytes` past it. Tiles keep
    /// states for years, so the code is checked against the plan, one canonical form is taken
    /// only, and anything else is a typed error.
    ///
    /// # Errors
    /// Bytes that no state of `spec` has (`DataLoss`).
    pub fn decode(spec: &PartialSpec, bytes: &mut &[u8]) -> PortResult<Self> {
        let mut reader = Reader::new(bytes);
        let state = Self::read(spec, &mut reader).map_err(corrupt)?;
        *bytes = reader.rest();
        Ok(state)
    }

    /// The state that is there.
    pub(super) fn state(&self) -> &AnyState {
        &self.0
    }
}

states! {
    /// Rows, or rows whose argument is not NULL.
    Count(RowCount),
    /// Exact sum of DOUBLE and its count: sum, avg.
    FloatSum(FloatSum),
    /// Exact sum and sum of squares of DOUBLE or integers: var, stddev.
    FloatMoments(Box<FloatMoments>),
    /// Exact sum of integers and its count: sum, avg.
    IntSum(IntegerSum),
    /// Least value.
    Min(Extremum<false>),
    /// Greatest value.
    Max(Extremum<true>),
    /// Value of the greatest (event time, topic, partition, offset).
    Last(Edge<true>),
    /// Value of the least one.
    First(Edge<false>),
    /// Value of the row that is greatest by another value.
    MaxBy(By<true>),
    /// Value of the row that is least by another value.
    MinBy(By<false>),
    /// True and false values: bool_and, bool_or.
    Bools(BoolCounts),
    /// Combined bits: bit_and, bit_or, bit_xor.
    Bits(Bits),
    /// Exact moments of pairs of DOUBLE: covar, corr.
    Pairs(Box<CoMoments>),
    /// Different values, up to a bound.
    Distinct(Distinct),
    /// Registers of a HyperLogLog: approx_distinct.
    Registers(Registers),
    /// Values by buckets: approx_quantile.
    Sketch(Sketch),
    /// Values of the greatest (event time, topic, partition, offset): array_agg.
    Newest(Newest),
}
