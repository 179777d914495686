//! Syntax that is a call of something: casts, typed literals and AT TIME ZONE become calls of names
//! that `shell` knows, so that a cast which is asked for is told from one that DataFusion puts in;
//! and what has no meaning here is refused by name before it is planned.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, CastKind, CeilFloorKind, DateTimeField, Expr, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Spanned,
    Subscript, UnaryOperator, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::forms::Form;
use super::function::Type;
use super::functions;
use super::functions::instead::QUANTILES;
use super::refusal::Refusal;
use super::shell::cast_name;
use super::suggest::unknown_function;
use crate::parse::{Interval, parse_interval};

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
    match VisitMut::visit(query, &mut Desugar { is_aggregate }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Desugar<'a> {
    is_aggregate: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Desugar<'_> {
    type Break = Refusal;

    /// Before what is in it: the outer construct is what a text is about.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        if let Expr::Function(function) = expr
            && let Err(refusal) = self.check(function)
        {
            return ControlFlow::Break(refusal.within_span(expr.span()));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        let span = expr.span();
        match self.rewritten(expr) {
            Ok(None) => {}
            Ok(Some(rewritten)) => *expr = rewritten,
            Err(refusal) => return ControlFlow::Break(refusal.within_span(span)),
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

/// `root.name[index]..`: names go to the column, an index is a call.
fn access(root: Expr, chain: Vec<AccessExpr>) -> Result<Expr, Refusal> {
    let refuse = |message: &str| Err(Refusal::at("[", message));
    let mut found = root;
    for step in chain {
        found = match (found, step) {
            (Expr::Identifier(name), AccessExpr::Dot(Expr::Identifier(field))) => {
                Expr::CompoundIdentifier(vec![name, field])
            }
            (Expr::CompoundIdentifier(mut names), AccessExpr::Dot(Expr::Identifier(field))) => {
                names.push(field);
                Expr::CompoundIdentifier(names)
            }
            (found, AccessExpr::Subscript(Subscript::Index { index })) => {
                call("array_element", vec![found, index])
            }
            (_, AccessExpr::Subscript(Subscript::Slice { .. })) => {
                return refuse("slices of arrays are not supported; write items: a[1], a[2]");
            }
            (_, AccessExpr::Dot(_)) => {
                return refuse("a value has no fields; write the column: t.a[1]");
            }
        };
    }
    Ok(found)
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
            Expr::Interval(literal) => {
                interval(literal)?;
                None
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
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.starts_with('@') => {
                return Err(Refusal::at(
                    &name.value,
                    format!(
                        "variable {} has no value in a definition; write the value",
                        name.value
                    ),
                ));
            }
            Expr::Value(value) => {
                check_value(&value.value)?;
                None
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                Some(access(taken(root), std::mem::take(access_chain))?)
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
        let is_aggregate = (self.is_aggregate)(&name);
        if is_aggregate {
            check_aggregate(&name, function)?;
        }
        if is_aggregate || is_scalar {
            Ok(())
        } else {
            Err(unknown_function(&name))
        }
    }
}

/// Refuse a literal that has no value.
fn check_value(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Placeholder(name) => Err(Refusal::at(
            name,
            format!("parameter '{name}' has no value in a definition; write the value"),
        )),
        // The planner would take it for a type that values do not have.
        Value::Number(digits, _)
            if digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<i64>().is_err()
                && digits != MIN_DIGITS =>
        {
            Err(Refusal::at(
                digits,
                format!("{digits} does not fit into BIGINT; write it as DOUBLE: {digits}.0"),
            ))
        }
        Value::Number(digits, _) if digits.parse::<f64>().is_ok_and(f64::is_infinite) => {
            Err(Refusal::at(
                digits,
                format!(
                    "{digits} does not fit into DOUBLE; write CAST('Infinity' AS DOUBLE) if that is meant"
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Refuse clauses of an aggregate that would be dropped, or that the planner has no words for.
fn check_aggregate(name: &str, function: &ast::Function) -> Result<(), Refusal> {
    let FunctionArguments::List(list) = &function.args else {
        return Ok(());
    };
    let ordered =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    if !function.within_group.is_empty() {
        return Err(Refusal::at(
            name,
            format!("{name} .. WITHIN GROUP is not supported; {QUANTILES}"),
        ));
    }
    if list.clauses.iter().any(ordered) {
        return Err(Refusal::at(
            name,
            format!(
                "ORDER BY inside of {name}(..) is not supported: events are in the order of their time; drop it, or \
                 write it in OVER (..)"
            ),
        ));
    }
    let windowed = list.args.visit(&mut Windowed);
    if function.over.is_some() && windowed.is_break() {
        return Err(Refusal::at(
            name,
            format!(
                "{name}(..) has an aggregate inside, and aggregates are over events alone; write {name} over a column"
            ),
        ));
    }
    Ok(())
}

/// Breaks at a call with OVER.
struct Windowed;

impl Visitor for Windowed {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if function.over.is_some() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The first aggregate of `query`'s outputs that has no window, and where it stands.
pub(crate) fn bare_aggregate(
    query: &ast::Query,
    is_aggregate: &dyn Fn(&str) -> bool,
) -> Option<(String, Span)> {
    struct Bare<'a>(&'a dyn Fn(&str) -> bool);
    impl Visitor for Bare<'_> {
        type Break = (String, Span);

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<(String, Span)> {
            if let Expr::Function(function) = expr
                && function.over.is_none()
                && let name = function.name.to_string().to_lowercase()
                && (self.0)(&name)
            {
                return ControlFlow::Break((name, function.name.span()));
            }
            ControlFlow::Continue(())
        }
    }
    match Visit::visit(query, &mut Bare(is_aggregate)) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
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

/// Write a literal by the one grammar of intervals, in words that the planner reads.
fn interval(literal: &mut ast::Interval) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::at("INTERVAL", message));
    let text = match literal.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
            _ => return refuse("an interval is a literal; write INTERVAL '1' HOUR".to_owned()),
        },
        other => {
            return refuse(format!(
                "INTERVAL {other} is computed; write a literal: INTERVAL '1' HOUR"
            ));
        }
    };
    let field = literal.leading_field.take().map(|from| {
        literal
            .last_field
            .take()
            .map_or_else(|| from.to_string(), |to| format!("{from} TO {to}"))
    });
    let Interval {
        months,
        days,
        micros,
    } = match parse_interval(&text, field.as_deref()) {
        Ok(interval) => interval,
        Err(message) => return refuse(message),
    };
    let written = format!("{months} months {days} days {micros} microseconds");
    literal.leading_precision = None;
    literal.fractional_seconds_precision = None;
    *literal.value = Expr::Value(Value::SingleQuotedString(written).into());
    Ok(())
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
        D::Date | D::Date32 => return Ok(Type::Date),
        D::Timestamp(..) => return Ok(Type::Timestamp),
        D::SmallInt(_) | D::TinyInt(_) | D::Int2(_) | D::Int16 => "INTEGER",
        D::Float(_) | D::Real | D::Float4 | D::Float32 => "DOUBLE",
        D::Decimal(_) | D::Dec(_) | D::Numeric(_) | D::BigDecimal(_) => {
            "DOUBLE, or BIGINT of the smallest unit"
        }
        D::Datetime(_) | D::TimestampNtz(_) => "TIMESTAMP",
        D::Interval { .. } => "a literal instead: INTERVAL '1' HOUR",
        D::Varchar(_) | D::Char(_) | D::CharacterVarying(_) | D::Character(_) => "VARCHAR",
        _ => "BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE or TIMESTAMP",
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
        Expr::Struct { .. } | Expr::Tuple(_) | Expr::Dictionary(_) | Expr::Map(_) => (
            "[",
            "maps and structs are not supported in expressions; write each element as a column of its own",
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
