//! Syntax that is a call of something: casts, typed literals and AT TIME ZONE become calls of names
//! that `shell` knows, so that a cast which is asked for is told from one that DataFusion puts in;
//! and what has no meaning here is refused by name before it is planned.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CastKind, CeilFloorKind, DateTimeField, Expr, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, UnaryOperator, Value, VisitMut,
    VisitorMut,
};

use super::forms::Form;
use super::function::Type;
use super::functions;
use super::refusal::Refusal;
use super::shell::cast_name;
use super::suggest::unknown_function;

/// The digits of the least BIGINT, which stand behind a minus.
const MIN_DIGITS: &str = "9223372036854775808";

/// Rewrite the expressions of `query`. `is_aggregate` knows the names of aggregates.
///
/// # Errors
/// What is not supported, with its word.
pub(crate) fn desugar(
    query: &mut ast::Query,
    is_aggregate: &dyn Fn(&str) -> bool,
) -> Result<(), Refusal> {
    match query.visit(&mut Desugar { is_aggregate }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Desugar<'a> {
    is_aggregate: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Desugar<'_> {
    type Break = Refusal;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        match self.rewritten(expr) {
            Ok(None) => {}
            Ok(Some(rewritten)) => *expr = rewritten,
            Err(refusal) => return ControlFlow::Break(refusal),
        }
        ControlFlow::Continue(())
    }
}

/// A call of `name`.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
        .collect();
    Expr::Function(ast::Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// What was at `expr`, which is to be replaced.
fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

impl Desugar<'_> {
    fn rewritten(&self, expr: &mut Expr) -> Result<Option<Expr>, Refusal> {
        Ok(match expr {
            Expr::Cast {
                kind,
                expr,
                data_type,
                format,
                array,
            } => {
                if format.is_some() || *array {
                    return Err(Refusal::at(
                        "CAST",
                        "CAST with a format or to an array is not supported; drop it",
                    ));
                }
                let trying = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
                Some(cast(taken(expr), data_type, trying)?)
            }
            Expr::TypedString(typed) => {
                let value = Expr::Value(typed.value.clone());
                Some(cast(value, &typed.data_type, false)?)
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                if functions::function("at_time_zone").is_none() {
                    return Err(Refusal::at(
                        "ZONE",
                        "AT TIME ZONE is not supported; shift the time: ts + INTERVAL '1' HOUR",
                    ));
                }
                Some(call(
                    "at_time_zone",
                    vec![taken(timestamp), taken(time_zone)],
                ))
            }
            Expr::Function(function) => {
                self.check(function)?;
                None
            }
            Expr::Value(value) => {
                if let Value::Placeholder(name) = &value.value {
                    return Err(Refusal::at(
                        name,
                        format!("parameter '{name}' has no value in a definition; write the value"),
                    ));
                }
                // The planner would take it for a type that values do not have.
                if let Value::Number(digits, _) = &value.value
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
                    && digits.parse::<i64>().is_err()
                    && digits != MIN_DIGITS
                {
                    return Err(Refusal::at(
                        digits,
                        format!(
                            "{digits} does not fit into BIGINT; write it as DOUBLE: {digits}.0"
                        ),
                    ));
                }
                if let Value::Number(digits, _) = &value.value
                    && digits.parse::<f64>().is_ok_and(f64::is_infinite)
                {
                    return Err(Refusal::at(
                        digits,
                        format!(
                            "{digits} does not fit into DOUBLE; write CAST('Infinity' AS DOUBLE) if that is meant"
                        ),
                    ));
                }
                None
            }
            other => {
                refuse(other)?;
                None
            }
        })
    }

    /// Refuse a function that there is not.
    fn check(&self, function: &ast::Function) -> Result<(), Refusal> {
        let name = match function.name.0.as_slice() {
            [part] => part.as_ident().map(|ident| match ident.quote_style {
                Some(_) => ident.value.clone(),
                None => ident.value.to_lowercase(),
            }),
            _ => None,
        };
        let name = name.unwrap_or_else(|| function.name.to_string());
        if name.contains('(') {
            // Ours, which nobody else calls.
            return Err(unknown_function(&name));
        }
        let is_scalar = Form::of(&name).is_some() || functions::function(&name).is_some();
        if is_scalar && is_like_an_aggregate(function) {
            return Err(Refusal::at(
                &name,
                format!(
                    "{name} is no aggregate; drop OVER, FILTER, DISTINCT and the like behind it"
                ),
            ));
        }
        let known = function.over.is_some()
            || (self.is_aggregate)(&name)
            || is_scalar
            // A cast inside of what is rewritten now.
            || super::shell::cast_of(&name).is_some();
        if known {
            Ok(())
        } else {
            Err(unknown_function(&name))
        }
    }
}

/// Whether the call has what only aggregates may have; the planner would drop it without a word.
fn is_like_an_aggregate(function: &ast::Function) -> bool {
    let arguments = match &function.args {
        FunctionArguments::List(list) => {
            list.duplicate_treatment.is_some() || !list.clauses.is_empty()
        }
        _ => false,
    };
    arguments
        || function.over.is_some()
        || function.filter.is_some()
        || function.null_treatment.is_some()
        || !function.within_group.is_empty()
        || !matches!(function.parameters, FunctionArguments::None)
}

fn cast(value: Expr, data_type: &ast::DataType, trying: bool) -> Result<Expr, Refusal> {
    let name = cast_name(target(data_type)?, trying)
        .ok_or_else(|| Refusal::at("CAST", format!("there is no cast to {data_type}")))?;
    Ok(call(&name, vec![value]))
}

/// The type that is cast to.
fn target(data_type: &ast::DataType) -> Result<Type, Refusal> {
    use ast::DataType as D;
    let instead = match data_type {
        D::Boolean | D::Bool => return Ok(Type::Boolean),
        D::Int(None) | D::Integer(None) | D::Int4(None) | D::Int32 => return Ok(Type::Integer),
        D::BigInt(None) | D::Int8(None) | D::Int64 => return Ok(Type::BigInt),
        D::Double(_) | D::DoublePrecision | D::Float8 | D::Float64 => return Ok(Type::Double),
        D::Varchar(None)
        | D::Text
        | D::String(None)
        | D::CharacterVarying(None)
        | D::CharVarying(None)
        | D::Nvarchar(None) => return Ok(Type::Text),
        D::Timestamp(..) => return Ok(Type::Timestamp),
        D::SmallInt(_) | D::TinyInt(_) | D::Int2(_) | D::Int16 => "INTEGER",
        D::Float(_) | D::Real | D::Float4 | D::Float32 => "DOUBLE",
        D::Decimal(_) | D::Dec(_) | D::Numeric(_) | D::BigDecimal(_) => {
            "DOUBLE, or BIGINT of the smallest unit"
        }
        D::Date | D::Date32 => "TIMESTAMP, as in date_trunc('day', ts)",
        D::Datetime(_) | D::TimestampNtz(_) => "TIMESTAMP",
        D::Interval { .. } => "a literal instead: INTERVAL '1' HOUR",
        D::Varchar(_) | D::Char(_) | D::CharacterVarying(_) | D::Character(_) => "VARCHAR",
        _ => "BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR or TIMESTAMP",
    };
    Err(Refusal::at(
        data_type.to_string().split('(').next().unwrap_or_default(),
        format!("{data_type} is no type of expressions; write {instead}"),
    ))
}

/// Refuse syntax that has no meaning here.
fn refuse(expr: &Expr) -> Result<(), Refusal> {
    let (word, message) = match expr {
        Expr::Floor { field, .. } | Expr::Ceil { field, .. } => match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => return Ok(()),
            CeilFloorKind::DateTimeField(_) => (
                "TO",
                "FLOOR and CEIL of a time are not supported; write date_trunc('hour', ts)",
            ),
            CeilFloorKind::Scale(_) => (
                "FLOOR",
                "FLOOR and CEIL with a scale are not supported; write round(x, n)",
            ),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Not | UnaryOperator::Plus | UnaryOperator::Minus,
            ..
        } => return Ok(()),
        Expr::UnaryOp { op, .. } => {
            return Err(Refusal::at(
                op.to_string(),
                format!(
                    "operator {op} is not supported; write # -1 behind the number for its opposite bits"
                ),
            ));
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } => (
            "ANY",
            "ANY, SOME and ALL are not supported; write IN (..), or comparisons with AND and OR",
        ),
        Expr::Array(_)
        | Expr::Struct { .. }
        | Expr::Tuple(_)
        | Expr::Dictionary(_)
        | Expr::Map(_)
        | Expr::CompoundFieldAccess { .. } => (
            "[",
            "lists, maps and structs are not supported in expressions; write each element as a column of its own",
        ),
        Expr::Collate { .. } => (
            "COLLATE",
            "COLLATE is not supported: text compares by its bytes; write lower(s) to compare in any case",
        ),
        Expr::Convert { .. } => ("CONVERT", "CONVERT is not supported; write CAST(x AS type)"),
        Expr::RLike { .. } => (
            "RLIKE",
            "RLIKE is not supported; write regexp_like(s, 'pattern')",
        ),
        Expr::Lambda(_) => (
            "->",
            "functions of functions are not supported; write the expression",
        ),
        _ => return Ok(()),
    };
    Err(Refusal::at(word, message))
}
