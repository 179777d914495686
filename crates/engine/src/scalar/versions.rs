//! Which functions and operators a text uses whose meaning has changed since the first builds, as
//! `name@version`. They are part of the digest of a definition, so that what was computed by an
//! older meaning is known to be of another one. Version 1 is in no digest: what never changed costs
//! nobody a rebuild.
//!
//! Read from the syntax tree, where types are unknown: an operator counts whatever it is applied
//! to. `catalog` asks; aggregates are named by who asks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value, Visit, Visitor};

use super::forms::Form;
use super::functions;

/// Operators and forms whose meaning has changed. 2: one NaN and one zero, checked integers,
/// integers that widen, casts by our own rules, SIMILAR TO by SQL's.
const CHANGED: &[(&str, u32)] = &[
    ("%", 2),
    ("*", 2),
    ("+", 2),
    ("-", 2),
    ("/", 2),
    ("<<", 2),
    (">>", 2),
    ("case", 2),
    ("cast", 2),
    ("compare", 2),
    ("greatest", 2),
    ("in", 2),
    ("least", 2),
    ("negate", 2),
    ("nullif", 2),
    ("similar_to", 2),
];

/// What `tree` uses of a version above 1. `aggregate` gives name and version of an aggregate.
pub(crate) fn versions(
    tree: &impl Visit,
    aggregate: &dyn Fn(&str) -> Option<(&'static str, u32)>,
) -> BTreeSet<String> {
    let mut used = Used {
        aggregate,
        found: BTreeSet::new(),
    };
    // The visitor never breaks.
    let _continue = tree.visit(&mut used);
    used.found
}

struct Used<'a> {
    aggregate: &'a dyn Fn(&str) -> Option<(&'static str, u32)>,
    found: BTreeSet<String>,
}

impl Used<'_> {
    fn note(&mut self, name: &str, version: u32) {
        if version > 1 {
            self.found.insert(format!("{name}@{version}"));
        }
    }

    fn operator(&mut self, name: &str) {
        let changed = CHANGED.iter().find(|(own, _)| *own == name);
        self.note(name, changed.map_or(1, |(_, version)| *version));
    }

    fn call(&mut self, name: &str) {
        if let Some((name, version)) = (self.aggregate)(name) {
            self.note(name, version);
        } else if let Some(form) = Form::of(name) {
            self.operator(form.name());
        } else if let Some(function) = functions::function(name) {
            self.note(function.name, function.version);
        }
    }
}

/// The name of an operator; None for one whose meaning never changed.
fn binary(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::Gt
        | BinaryOperator::Lt
        | BinaryOperator::GtEq
        | BinaryOperator::LtEq
        | BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::Spaceship => "compare",
        _ => return None,
    })
}

impl Visitor for Used<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(call) => {
                let name = match call.name.0.as_slice() {
                    [part] => part.as_ident().map(|ident| ident.value.to_lowercase()),
                    _ => None,
                };
                self.call(&name.unwrap_or_default());
            }
            Expr::BinaryOp { op, .. } => match (op, binary(op)) {
                (BinaryOperator::PGExp, _) => self.call("power"),
                (_, Some(name)) => self.operator(name),
                (_, None) => {}
            },
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) | Expr::Between { .. } => {
                self.operator("compare");
            }
            Expr::InList { .. } => self.operator("in"),
            Expr::Case {
                operand: Some(_), ..
            } => self.operator("case"),
            Expr::Cast { .. } | Expr::TypedString(_) => self.operator("cast"),
            Expr::SimilarTo { .. } => self.operator("similar_to"),
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } if !is_number(expr) => self.operator("negate"),
            Expr::Extract { .. } => self.call("date_part"),
            Expr::AtTimeZone { .. } => self.call("at_time_zone"),
            Expr::Ceil { .. } => self.call("ceil"),
            Expr::Floor { .. } => self.call("floor"),
            Expr::Substring { .. } => self.call("substr"),
            Expr::Trim { .. } => self.call("btrim"),
            Expr::Position { .. } => self.call("strpos"),
            Expr::Overlay { .. } => self.call("overlay"),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::parse::DIALECT;

    fn of(expression: &str) -> Vec<String> {
        let query = Parser::parse_sql(&DIALECT, &format!("SELECT {expression}"));
        let query = query.unwrap_or_else(|e| panic!("{expression}: {e}"));
        let aggregate = |name: &str| (name == "mean").then_some(("avg", 2));
        versions(&query, &aggregate).into_iter().collect()
    }

    #[test]
    fn what_never_changed_is_in_no_digest() {
        for same in [
            "a",
            "upper(a) || 'x'",
            "a IS NULL AND NOT b",
            "-1",
            "count(*)",
            "CASE WHEN a THEN b END",
            "coalesce(a, b)",
            "a LIKE 'x%'",
            "nothing(a)",
        ] {
            assert_eq!(of(same), Vec::<String>::new(), "{same}");
        }
    }

    #[test]
    fn each_meaning_that_changed_is_named_once_by_its_own_name() {
        let cases = [
            ("a > 1 OR a = 2", "compare@2"),
            ("a BETWEEN 1 AND 2", "compare@2"),
            ("a IN (1, 2)", "in@2"),
            ("CASE a WHEN 1 THEN 2 END", "case@2"),
            ("a::bigint", "cast@2"),
            ("TIMESTAMP '2024-01-01'", "cast@2"),
            ("-a", "negate@2"),
            ("least(a, b)", "least@2"),
            ("a SIMILAR TO 'b'", "similar_to@2"),
            ("Mean(a)", "avg@2"),
            ("pow(a, 2)", "power@2"),
            ("extract(epoch FROM a)", "date_part@2"),
            ("a << 1", "<<@2"),
        ];
        for (expression, version) in cases {
            assert_eq!(of(expression), [version], "{expression}");
        }
        assert_eq!(
            of("abs(a + 1) / round(b)"),
            ["+@2", "/@2", "abs@2", "round@2"]
        );
    }
}
