//! From DataFusion's checked expressions to code. DataFusion has found out names and types; what a
//! text computes is decided here: every operation is one of `operators`, `casts` or the table of
//! functions, and anything else is refused by name.
//!
//! A cast that the text asks for is a call by now (`desugar`); a cast that is left was put in by
//! DataFusion, and is taken only where nothing can be lost or meant otherwise: text is never a
//! number or a truth without being asked.

mod binary;
mod calls;
mod conditions;

pub(super) use binary::refused_types;

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, Operator};

use super::build::CodeBuilder;
use super::casts;
use super::code::{Code, Slot};
use super::function::Type;
use super::input::Input;
use super::operation::Operation;
use super::refusal::{Refusal, position_of};
use super::shell::planned;
use crate::patience::Patience;

/// An expression as code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed {
    pub(crate) slot: Slot,
    /// None: NULL, of any type.
    pub(crate) of: Option<Type>,
}

impl Typed {
    fn new(slot: Slot, of: Type) -> Self {
        Self { slot, of: Some(of) }
    }

    /// The type as users read it.
    pub(crate) fn sql(self) -> &'static str {
        self.of.map_or("NULL", Type::sql)
    }
}

/// Expressions over the same columns, which become one code.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    inputs: &'a [Input],
    builder: CodeBuilder,
}

/// The type that DataFusion means; None for that of NULL.
fn planned_type(data_type: &DataType) -> Result<Option<Type>, Refusal> {
    if *data_type == DataType::Null {
        return Ok(None);
    }
    planned(data_type).map(Some).ok_or_else(|| {
        Refusal::new(format!(
            "values of type {data_type} are not supported in expressions; write BIGINT, DOUBLE, VARCHAR, BOOLEAN, \
             DATE or TIMESTAMP"
        ))
    })
}

/// `text` as an operand of something else.
fn operand(text: &str) -> String {
    let (mut depth, mut quoted, mut plain) = (0_usize, false, true);
    for char in text.chars() {
        match char {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => plain = false,
            _ => {}
        }
    }
    if plain {
        text.to_owned()
    } else {
        format!("({text})")
    }
}

type Lowered = Result<Typed, Refusal>;

impl<'a> Lowering<'a> {
    /// Over the columns `inputs`.
    pub(crate) fn new(inputs: &'a [Input]) -> Self {
        Self {
            inputs,
            builder: CodeBuilder::default(),
        }
    }

    /// The same, for as long as `patience` says: constants and patterns take time.
    pub(crate) fn patient(mut self, patience: Option<&Arc<Patience>>) -> Self {
        self.builder.patience = patience.cloned();
        self
    }

    /// How `typed` reads.
    pub(crate) fn text(&self, typed: Typed) -> &Arc<str> {
        self.builder.text(typed.slot)
    }

    /// The code of `outputs`.
    pub(crate) fn finish(self, outputs: &[Slot]) -> Code {
        self.builder.finish(outputs)
    }

    /// Refuse what has a value on no row.
    pub(crate) fn refuse_failing(&self, slot: Slot) -> Result<(), Refusal> {
        match self.builder.never_has_a_value(slot) {
            None => Ok(()),
            Some((kind, text)) => Err(Refusal::new(format!(
                "{text} never has a value: {kind}; write another constant, or guard it with CASE"
            ))),
        }
    }

    /// `expr` as code.
    ///
    /// # Errors
    /// It is not one that is evaluated; it says what to write instead.
    pub(crate) fn lower(&mut self, expr: &Expr) -> Lowered {
        self.builder.walk()?;
        self.lowered(expr)
            .map_err(|refusal| refusal.near(position_of(expr)))
    }

    fn lowered(&mut self, expr: &Expr) -> Lowered {
        match expr {
            Expr::Alias(alias) => self.lower(&alias.expr),
            Expr::Column(column) => self.column(column),
            Expr::Literal(value, _) => self.literal(value),
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Like(like) => self.like(like),
            Expr::SimilarTo(like) => self.similar(like),
            Expr::Not(inner) => {
                let inner = self.condition(inner)?;
                let slot = self.builder.not(inner)?;
                Ok(Typed::new(slot, Type::Boolean))
            }
            Expr::IsNull(inner) => self.is_null(inner, false),
            Expr::IsNotNull(inner) => self.is_null(inner, true),
            Expr::IsTrue(inner) => self.is_truth(inner, "TRUE", true, false),
            Expr::IsNotTrue(inner) => self.is_truth(inner, "TRUE", true, true),
            Expr::IsFalse(inner) => self.is_truth(inner, "FALSE", false, false),
            Expr::IsNotFalse(inner) => self.is_truth(inner, "FALSE", false, true),
            Expr::IsUnknown(inner) => self.is_null(inner, false),
            Expr::IsNotUnknown(inner) => self.is_null(inner, true),
            Expr::Negative(inner) => self.negative(inner),
            Expr::Between(between) => self.between(between),
            Expr::Case(case) => self.case(case),
            Expr::InList(list) => self.in_list(list),
            Expr::Cast(cast) => {
                let to = planned_type(cast.field.data_type())?;
                let inner = self.lower(&cast.expr)?;
                self.implied(inner, to)
            }
            Expr::ScalarFunction(call) => self.call(call.func.name(), &call.args),
            Expr::Placeholder(parameter) => Err(Refusal::at(
                &parameter.id,
                format!(
                    "parameter '{}' has no value in a definition; write the value",
                    parameter.id
                ),
            )),
            other => Err(Refusal::new(format!(
                "{other} is not supported in an expression; write it with the operators and functions of docs/sql.md"
            ))),
        }
    }

    /// `expr` as a value of type `to`, which it is already or widens to.
    pub(crate) fn lower_as(&mut self, expr: &Expr, to: Type) -> Result<Slot, Refusal> {
        let typed = self.lower(expr)?;
        let implied = self.implied(typed, Some(to));
        implied
            .map(|typed| typed.slot)
            .map_err(|refusal| refusal.near(position_of(expr)))
    }

    /// Whether it is TRUE on every row.
    pub(crate) fn is_true(&self, slot: Slot) -> bool {
        self.builder.is_true(slot)
    }

    /// `expr` as a condition.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Result<Slot, Refusal> {
        self.lower_as(expr, Type::Boolean)
    }

    fn column(&mut self, column: &Column) -> Lowered {
        let found = self.inputs.iter().position(|input| input.is(column));
        let index = found.ok_or_else(|| {
            Refusal::at(
                &column.name,
                format!("column {} is not known here", column.name),
            )
        })?;
        self.input(index)
    }

    /// The moment as of which a request is answered, where there is one.
    fn moment(&mut self) -> Lowered {
        let index = self.inputs.iter().position(Input::is_moment);
        self.input(index.ok_or_else(|| {
            Refusal::at(
                "request_time",
                "request_time() is for feature services; in a view write its time column, which is the moment of \
                 the request beside aggregates",
            )
        })?)
    }

    fn input(&mut self, index: usize) -> Lowered {
        let input = &self.inputs[index];
        let of = Type::of(&input.data_type).ok_or_else(|| {
            let (name, data_type) = (&input.name, &input.data_type);
            Refusal::at(
                name,
                format!("column {name} is of type {data_type}, which expressions cannot read"),
            )
        })?;
        let slot = self
            .builder
            .input(index, input.data_type.clone(), &input.name);
        Ok(Typed::new(slot, of))
    }

    fn literal(&mut self, value: &ScalarValue) -> Lowered {
        if let ScalarValue::UInt64(Some(number)) = value {
            return Err(Refusal::at(
                number.to_string(),
                format!("{number} does not fit into BIGINT; write it as DOUBLE: {number}.0"),
            ));
        }
        let Some(of) = planned_type(&value.data_type())? else {
            // It gets the type of what it stands beside.
            let slot = self.builder.null(Type::Boolean)?;
            return Ok(Typed { slot, of: None });
        };
        let failed = |e: &dyn std::error::Error| Refusal::new(format!("the constant {value}: {e}"));
        let array = value.to_array().map_err(|e| failed(&e))?;
        let array = if *array.data_type() == of.arrow() {
            array
        } else {
            arrow_cast::cast(&array, &of.arrow()).map_err(|e| failed(&e))?
        };
        let text = match value {
            value if value.is_null() => "NULL".to_owned(),
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)) => format!("'{}'", text.replace('\'', "''")),
            ScalarValue::IntervalMonthDayNano(_) => format!("INTERVAL '{value}'"),
            ScalarValue::Float64(Some(number)) => format!("{number:?}"),
            value => value.to_string(),
        };
        let slot = self.builder.literal(array, &text)?;
        Ok(Typed::new(slot, of))
    }

    /// `typed` as a value of type `to`, as DataFusion wants it.
    fn implied(&mut self, typed: Typed, to: Option<Type>) -> Lowered {
        let (Some(from), Some(to)) = (typed.of, to) else {
            return match to {
                Some(to) => Ok(Typed::new(self.builder.null(to)?, to)),
                None => Ok(typed),
            };
        };
        if from == to || (from, to) == (Type::Duration, Type::Interval) {
            // Differences of times and intervals compare as they are.
            return Ok(typed);
        }
        if from.widens_to(to) {
            return self.cast(typed, to, false);
        }
        let is_constant = self.builder.constant(typed.slot).is_some();
        if from == Type::Text && matches!(to, Type::Date | Type::Timestamp) && is_constant {
            return self.cast(typed, to, false);
        }
        let text = self.text(typed);
        let lists = [from, to].iter().any(|of| matches!(of, Type::List(_)));
        let (from, wanted) = (from.sql(), to.sql());
        let message = match to {
            _ if lists => format!(
                "{text} is {from} where {wanted} is expected; there is no cast of arrays: write an item, {text}[1], or \
                 ARRAY[..] of values of one type"
            ),
            Type::Boolean => format!(
                "{text} is {from} where a condition (BOOLEAN) is expected; compare it with a value, as in {} = {}",
                operand(text),
                if from == "VARCHAR" { "'yes'" } else { "1" }
            ),
            _ => format!(
                "{text} is {from} where {wanted} is expected, and is not cast without being asked; write CAST({text} AS \
                 {wanted})"
            ),
        };
        Err(Refusal::new(message))
    }

    /// The cast that a text asks for.
    fn cast(&mut self, typed: Typed, to: Type, trying: bool) -> Lowered {
        let Some(from) = typed.of else {
            return Ok(Typed::new(self.builder.null(to)?, to));
        };
        if from == to {
            return Ok(typed);
        }
        if !casts::exists(from, to) {
            let text = self.text(typed);
            let remedy = match (typed.of, to) {
                (Some(Type::Duration), _) => format!(
                    "extract(epoch FROM {text}) are its seconds, CAST({text} AS BIGINT) its microseconds"
                ),
                (Some(Type::Date), _) => format!("{} - DATE '1970-01-01', its days", operand(text)),
                (_, Type::Date) => format!("CAST(CAST({text} AS TIMESTAMP) AS DATE)"),
                (Some(Type::List(_)), _) => {
                    format!("array_to_string({text}, ',') for a text, or an item: {text}[1]")
                }
                _ => "CAST to BIGINT, DOUBLE or VARCHAR".to_owned(),
            };
            let (from, wanted) = (from.sql(), to.sql());
            return Err(Refusal::new(format!(
                "{text} is {from}, which has no cast to {wanted}; write {remedy}"
            )));
        }
        // A widening reads as what is widened.
        let text = if from.widens_to(to) {
            self.text(typed).to_string()
        } else {
            let name = if trying { "TRY_CAST" } else { "CAST" };
            format!("{name}({} AS {})", self.text(typed), to.sql())
        };
        self.operation(Operation::Cast { to, trying }, vec![typed.slot], to, &text)
    }

    /// A strict operation.
    fn operation(
        &mut self,
        operation: Operation,
        args: Vec<Slot>,
        result: Type,
        text: &str,
    ) -> Lowered {
        let slot = self.builder.call(operation, args, result, text)?;
        Ok(Typed::new(slot, result))
    }

    fn negative(&mut self, inner: &Expr) -> Lowered {
        let inner = self.lower(inner)?;
        let text = format!("-{}", operand(self.text(inner)));
        match inner.of {
            None => Ok(inner),
            Some(of @ (Type::Integer | Type::BigInt | Type::Double)) => {
                self.operation(Operation::Negate, vec![inner.slot], of, &text)
            }
            Some(of) => Err(Refusal::new(format!(
                "{} is {}, which has no opposite; write it of a number",
                self.text(inner),
                of.sql()
            ))),
        }
    }

    fn is_null(&mut self, inner: &Expr, negated: bool) -> Lowered {
        let inner = self.lower(inner)?;
        let not = if negated { "NOT " } else { "" };
        let text = format!("{} IS {not}NULL", operand(self.text(inner)));
        let operation = Operation::IsNull { negated };
        self.operation(operation, vec![inner.slot], Type::Boolean, &text)
    }

    fn is_truth(&mut self, inner: &Expr, word: &str, truth: bool, negated: bool) -> Lowered {
        let inner = self.condition(inner)?;
        let not = if negated { "NOT " } else { "" };
        let text = format!("{} IS {not}{word}", operand(self.builder.text(inner)));
        let operation = Operation::IsTruth { truth, negated };
        self.operation(operation, vec![inner], Type::Boolean, &text)
    }

    /// The type that all of `values` are or widen to; None where all are NULL.
    fn common(&self, of: &str, values: &[Typed]) -> Result<Option<Type>, Refusal> {
        let mut common: Option<Typed> = None;
        for value in values.iter().filter(|value| value.of.is_some()) {
            let Some(found) = common else {
                common = Some(*value);
                continue;
            };
            let (Some(left), Some(right)) = (found.of, value.of) else {
                continue;
            };
            if left == right || right.widens_to(left) {
                continue;
            }
            if left.widens_to(right) {
                common = Some(*value);
                continue;
            }
            let constant_text = |typed: &Typed| {
                typed.of == Some(Type::Text) && self.builder.constant(typed.slot).is_some()
            };
            match (left, right) {
                (Type::Date | Type::Timestamp, Type::Text) if constant_text(value) => continue,
                (Type::Text, Type::Date | Type::Timestamp) if constant_text(&found) => {
                    common = Some(*value);
                    continue;
                }
                _ => {}
            }
            return Err(Refusal::new(format!(
                "{of} has values of different types: {} is {}, {} is {}; cast one of them: CAST({} AS {})",
                self.text(found),
                left.sql(),
                self.text(*value),
                right.sql(),
                self.text(*value),
                left.sql(),
            )));
        }
        Ok(common.and_then(|typed| typed.of))
    }
}

/// Whether an operator is one of text or of patterns.
fn is_regex(operator: Operator) -> Option<(bool, bool)> {
    Some(match operator {
        Operator::RegexMatch => (false, false),
        Operator::RegexIMatch => (true, false),
        Operator::RegexNotMatch => (false, true),
        Operator::RegexNotIMatch => (true, true),
        _ => return None,
    })
}
