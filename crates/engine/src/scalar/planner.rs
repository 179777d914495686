//! Syntax that DataFusion's planner leaves to others, as calls of our functions; and the types that
//! operators are for, asked before it looks for casts of its own. `INTEGER op INTEGER` is widened
//! here, so that its types are those that the code computes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawDictionaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Operator, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use forebay_core::time::timestamp_type;

use super::function::Type;
use super::functions::dates::{ADD_DAYS, DAYS_BETWEEN, SUBTRACT_DAYS};
use super::lower::refused_types;
use super::refusal::{Refusal, position_of};
use super::shell::planned;
use super::suggest::unknown_function;

/// Plans operators and syntax that are ours.
#[derive(Debug)]
pub(crate) struct Operators {
    shells: Arc<HashMap<String, Arc<ScalarUDF>>>,
}

/// The operator, of those that are looked at here.
fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
        BinaryOperator::BitwiseAnd => Operator::BitwiseAnd,
        BinaryOperator::BitwiseOr => Operator::BitwiseOr,
        BinaryOperator::PGBitwiseXor => Operator::BitwiseXor,
        BinaryOperator::PGBitwiseShiftLeft => Operator::BitwiseShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => Operator::BitwiseShiftRight,
        _ => return None,
    })
}

impl Operators {
    pub(crate) fn new(shells: Arc<HashMap<String, Arc<ScalarUDF>>>) -> Self {
        Self { shells }
    }

    /// What the arithmetic of dates is; None where there is none. Its types are not those that the
    /// planner would give it.
    fn dates<T>(
        &self,
        op: Operator,
        left: Option<Type>,
        right: Option<Type>,
        raw: &mut RawBinaryExpr,
    ) -> Option<Result<PlannerResult<T>>> {
        use Type::{BigInt, Date, Duration, Integer, Interval};
        let sides = || vec![raw.left.clone(), raw.right.clone()];
        let swapped = || vec![raw.right.clone(), raw.left.clone()];
        // NULL is of the type that leaves a date.
        let days = |of| matches!(of, None | Some(Integer | BigInt));
        let call = match (left, op, right) {
            (Some(Date), Operator::Minus, Some(Date)) => self.call(DAYS_BETWEEN, swapped()),
            (Some(Date), Operator::Minus, of) if days(of) => self.call(SUBTRACT_DAYS, sides()),
            (Some(Date), Operator::Plus, of) if days(of) => self.call(ADD_DAYS, sides()),
            (of, Operator::Plus, Some(Date)) if days(of) => self.call(ADD_DAYS, swapped()),
            (Some(Date), Operator::Plus | Operator::Minus, Some(Interval | Duration)) => {
                raw.left = midnight(raw.left.clone());
                return None;
            }
            (Some(Interval | Duration), Operator::Plus, Some(Date)) => {
                raw.right = midnight(raw.right.clone());
                return None;
            }
            (Some(Date), Operator::Minus, Some(Type::Timestamp)) => {
                raw.left = midnight(raw.left.clone());
                return None;
            }
            (Some(Type::Timestamp), Operator::Minus, Some(Date)) => {
                raw.right = midnight(raw.right.clone());
                return None;
            }
            _ => return None,
        };
        Some(call)
    }

    fn call<T>(&self, name: &str, args: Vec<Expr>) -> Result<PlannerResult<T>> {
        let Some(function) = self.shells.get(name) else {
            return Err(unknown_function(name).into());
        };
        let call = ScalarFunction::new_udf(Arc::clone(function), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

/// A date as the moment that it begins with.
fn midnight(date: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(date), timestamp_type()))
}

fn no_lists<T>() -> Result<T> {
    let message = "maps and structs are not supported in expressions; write each element as a column of its own";
    Err(Refusal::new(message).into())
}

/// Whether both sides of `op` are widened where they are INTEGER.
fn widens(op: Operator) -> bool {
    matches!(
        op,
        Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo
            | Operator::BitwiseAnd
            | Operator::BitwiseOr
            | Operator::BitwiseXor
            | Operator::BitwiseShiftLeft
            | Operator::BitwiseShiftRight
    )
}

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        match raw.op {
            BinaryOperator::BitwiseXor => {
                let message =
                    "^ has two meanings; write power(a, b), or a # b for the bits that differ";
                return Err(Refusal::at("^", message).into());
            }
            BinaryOperator::Arrow => return self.call("json_get", vec![raw.left, raw.right]),
            BinaryOperator::LongArrow => {
                return self.call("json_get_text", vec![raw.left, raw.right]);
            }
            _ => {}
        }
        let Some(op) = operator(&raw.op) else {
            return Ok(PlannerResult::Original(raw));
        };
        let types = (raw.left.get_type(schema), raw.right.get_type(schema));
        let (Ok(left), Ok(right)) = types else {
            return Ok(PlannerResult::Original(raw));
        };
        let text = || {
            let (left, right) = (raw.left.human_display(), raw.right.human_display());
            format!("{left} {} {right}", raw.op)
        };
        let (left, right) = (planned(&left), planned(&right));
        if let (Some(left), Some(right)) = (left, right)
            && let Some(refusal) = refused_types(op, Some(left), Some(right), &text())
        {
            let near = position_of(&raw.left).or_else(|| position_of(&raw.right));
            return Err(refusal.near(near).into());
        }
        if let Some(planned) = self.dates(op, left, right, &mut raw) {
            return planned;
        }
        if widens(op) && left == Some(Type::Integer) && right == Some(Type::Integer) {
            let wide = |expr| Expr::Cast(Cast::new(Box::new(expr), DataType::Int64));
            raw.left = wide(raw.left);
            raw.right = wide(raw.right);
        }
        Ok(PlannerResult::Original(raw))
    }

    fn plan_extract(&self, mut args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        if let Some(Expr::Literal(ScalarValue::Utf8(Some(part)), _)) = args.first_mut() {
            *part = part.to_lowercase();
        }
        self.call("date_part", args)
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("substr", args)
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("strpos", args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("overlay", args)
    }

    fn plan_field_access(
        &self,
        _: RawFieldAccessExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        no_lists()
    }

    fn plan_array_literal(
        &self,
        items: Vec<Expr>,
        _: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("make_array", items)
    }

    fn plan_dictionary_literal(
        &self,
        _: RawDictionaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        no_lists()
    }

    fn plan_struct_literal(&self, _: Vec<Expr>, _: bool) -> Result<PlannerResult<Vec<Expr>>> {
        no_lists()
    }

    fn plan_make_map(&self, _: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        no_lists()
    }
}
