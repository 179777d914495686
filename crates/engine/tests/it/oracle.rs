//! The value of a feature as `docs/concepts.md` words it, by looking at every event for every
//! probe. Knows no batch, no frame and no state.

use crate::exact;

/// A scalar of an answer or an event.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl PartialEq for Cell {
    /// To the bit.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// One event of the generated source.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) k: Option<&'static str>,
    pub(crate) g: Option<i64>,
    pub(crate) x: Option<f64>,
    pub(crate) n: Option<i64>,
    pub(crate) s: Option<&'static str>,
    pub(crate) b: Option<bool>,
    pub(crate) ts: i64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// An argument column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument {
    Star,
    X,
    N,
    S,
    B,
}

/// A condition, of WHERE or FILTER; NULL is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    /// `x > 1`.
    XAboveOne,
    /// `s = 'a' OR n < 0`.
    TextOrNegative,
    /// `b`.
    Flag,
    /// `n IS NOT NULL`.
    HasNumber,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    Last,
}

/// One feature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    pub(crate) function: Function,
    pub(crate) argument: Argument,
    pub(crate) filter: Condition,
    /// None: lifetime.
    pub(crate) window_us: Option<i64>,
}

/// One view.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) features: Vec<Feature>,
    pub(crate) condition: Condition,
    pub(crate) ttl_us: Option<i64>,
    /// Keyed by (k, g), else by k.
    pub(crate) composite: bool,
}

/// One row of the spine.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) k: Option<&'static str>,
    pub(crate) g: Option<i64>,
    pub(crate) at: i64,
}

impl Condition {
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Always => "",
            Self::XAboveOne => "x > 1",
            Self::TextOrNegative => "s = 'a' OR n < 0",
            Self::Flag => "b",
            Self::HasNumber => "n IS NOT NULL",
        }
    }

    fn holds(self, event: &Event) -> bool {
        match self {
            Self::Always => true,
            // There is one NaN, greater than every number, whatever its sign bit.
            Self::XAboveOne => event.x.is_some_and(|x| x.is_nan() || x > 1.0),
            Self::TextOrNegative => event.s == Some("a") || event.n.is_some_and(|n| n < 0),
            Self::Flag => event.b == Some(true),
            Self::HasNumber => event.n.is_some(),
        }
    }
}

impl Argument {
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Star => "*",
            Self::X => "x",
            Self::N => "n",
            Self::S => "s",
            Self::B => "b",
        }
    }

    fn of(self, event: &Event) -> Cell {
        match self {
            Self::Star => Cell::Int(1),
            Self::X => event.x.map_or(Cell::Null, Cell::Float),
            Self::N => event.n.map_or(Cell::Null, Cell::Int),
            Self::S => event.s.map_or(Cell::Null, |s| Cell::Text(s.to_owned())),
            Self::B => event.b.map_or(Cell::Null, Cell::Bool),
        }
    }
}

impl Feature {
    /// The call with its FILTER, without OVER.
    pub(crate) fn sql(&self) -> String {
        let name = match self.function {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::Min => "min",
            Function::Max => "max",
            Function::VarPop => "var_pop",
            Function::VarSamp => "var_samp",
            Function::StddevPop => "stddev_pop",
            Function::StddevSamp => "stddev",
            Function::Last => "last_value",
        };
        let filter = match self.filter {
            Condition::Always => String::new(),
            condition => format!(" FILTER (WHERE {})", condition.sql()),
        };
        format!("{name}({}){filter}", self.argument.sql())
    }

    fn value(&self, inside: &[&Event]) -> Cell {
        let rows: Vec<&&Event> = inside
            .iter()
            .filter(|event| self.filter.holds(event))
            .collect();
        if self.function == Function::Last {
            let last = rows
                .iter()
                .max_by_key(|event| (event.ts, event.partition, event.offset));
            return match last.map(|event| self.argument.of(event)) {
                None => Cell::Null,
                Some(Cell::Float(x)) if x.is_nan() => Cell::Float(exact::NAN),
                Some(cell) => cell,
            };
        }
        let values: Vec<Cell> = rows
            .iter()
            .map(|event| self.argument.of(event))
            .filter(|cell| !matches!(cell, Cell::Null))
            .collect();
        let floats: Vec<f64> = values
            .iter()
            .filter_map(|cell| {
                if let Cell::Float(x) = cell {
                    Some(*x)
                } else {
                    None
                }
            })
            .collect();
        let float = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
        match self.function {
            Function::Count => Cell::Int(i64::try_from(values.len()).expect("few events")),
            Function::Sum if self.argument == Argument::N => {
                let integer = |cell: &Cell| {
                    if let Cell::Int(n) = cell {
                        *n
                    } else {
                        panic!("{cell:?}")
                    }
                };
                let total = values
                    .iter()
                    .map(integer)
                    .map(i128::from)
                    .reduce(|a, b| a + b);
                // Outside of BIGINT it has no value.
                total
                    .and_then(|total| i64::try_from(total).ok())
                    .map_or(Cell::Null, Cell::Int)
            }
            Function::Sum => float(exact::sum(&floats)),
            Function::Avg => float(exact::avg(&floats)),
            Function::VarPop => float(exact::variance(&floats, 0, 1)),
            Function::VarSamp => float(exact::variance(&floats, 1, 1)),
            Function::StddevPop => float(exact::variance(&floats, 0, 2)),
            Function::StddevSamp => float(exact::variance(&floats, 1, 2)),
            Function::Min => values
                .into_iter()
                .reduce(|a, b| if less(&b, &a) { b } else { a })
                .map_or(Cell::Null, plain),
            Function::Max => values
                .into_iter()
                .reduce(|a, b| if less(&a, &b) { b } else { a })
                .map_or(Cell::Null, plain),
            Function::Last => unreachable!("answered above"),
        }
    }
}

/// -inf < .. < -0.0 = 0.0 < .. < inf < NaN.
fn less(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => a < b || !a.is_nan() && b.is_nan(),
        (Cell::Int(a), Cell::Int(b)) => a < b,
        (Cell::Text(a), Cell::Text(b)) => a.as_bytes() < b.as_bytes(),
        (Cell::Bool(a), Cell::Bool(b)) => !a && *b,
        other => panic!("{other:?}"),
    }
}

/// A zero is +0.0, NaN has one form.
fn plain(cell: Cell) -> Cell {
    match cell {
        Cell::Float(x) if x.is_nan() => Cell::Float(exact::NAN),
        Cell::Float(0.0) => Cell::Float(0.0),
        cell => cell,
    }
}

impl View {
    /// The features of `probe` over the events that `visible` lets through.
    pub(crate) fn row(
        &self,
        events: &[Event],
        probe: &Probe,
        visible: &dyn Fn(&Event) -> bool,
    ) -> Vec<Cell> {
        let absent = || vec![Cell::Null; self.features.len()];
        if probe.k.is_none() || self.composite && probe.g.is_none() {
            return absent();
        }
        let mine = |event: &&Event| {
            event.k == probe.k
                && (!self.composite || event.g == probe.g)
                && event.ts <= probe.at
                && self.condition.holds(event)
                && visible(event)
        };
        let before: Vec<&Event> = events.iter().filter(mine).collect();
        let Some(newest) = before.iter().map(|event| event.ts).max() else {
            return absent();
        };
        if self.ttl_us.is_some_and(|ttl| probe.at - newest > ttl) {
            return absent();
        }
        let values = self.features.iter().map(|feature| {
            let inside = |event: &&&Event| {
                feature
                    .window_us
                    .is_none_or(|window| event.ts >= probe.at - window)
            };
            feature.value(&before.iter().filter(inside).copied().collect::<Vec<_>>())
        });
        values.collect()
    }
}
