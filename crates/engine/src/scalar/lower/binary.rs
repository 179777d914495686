//! Binary operators: which kernel each is, by the types of its operands. Integers of 32 bits are
//! widened first, so that `INTEGER op INTEGER` is BIGINT.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::{Lowered, Lowering, Typed, is_regex, operand};
use crate::scalar::code::Slot;
use crate::scalar::function::Type;
use crate::scalar::operation::Operation;
use crate::scalar::operators::{Bits, Comparison, Doubles, Integers, Moment, Spans};
use crate::scalar::refusal::Refusal;

fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        Operator::IsDistinctFrom => Comparison::Distinct,
        Operator::IsNotDistinctFrom => Comparison::NotDistinct,
        _ => return None,
    })
}

fn arithmetic(operator: Operator) -> Option<(Integers, Doubles)> {
    Some(match operator {
        Operator::Plus => (Integers::Add, Doubles::Add),
        Operator::Minus => (Integers::Subtract, Doubles::Subtract),
        Operator::Multiply => (Integers::Multiply, Doubles::Multiply),
        Operator::Divide => (Integers::Divide, Doubles::Divide),
        Operator::Modulo => (Integers::Remainder, Doubles::Remainder),
        _ => return None,
    })
}

fn bits(operator: Operator) -> Option<Bits> {
    Some(match operator {
        Operator::BitwiseAnd => Bits::And,
        Operator::BitwiseOr => Bits::Or,
        Operator::BitwiseXor => Bits::Xor,
        Operator::BitwiseShiftLeft => Bits::Left,
        Operator::BitwiseShiftRight => Bits::Right,
        _ => return None,
    })
}

/// Whether a value of this type is a number.
fn is_number(of: Type) -> bool {
    matches!(of, Type::Integer | Type::BigInt | Type::Double)
}

impl Lowering<'_> {
    pub(super) fn binary(&mut self, binary: &BinaryExpr) -> Lowered {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And | Operator::Or => return self.logic(left, *op, right),
            Operator::StringConcat => return self.concat(left, right),
            _ => {}
        }
        if let Some((any_case, negated)) = is_regex(*op) {
            return self.regex(left, right, any_case, negated);
        }
        let pattern = match op {
            Operator::LikeMatch => Some((false, false)),
            Operator::NotLikeMatch => Some((true, false)),
            Operator::ILikeMatch => Some((false, true)),
            Operator::NotILikeMatch => Some((true, true)),
            _ => None,
        };
        if let Some((negated, case_insensitive)) = pattern {
            let like = datafusion::logical_expr::Like::new(
                negated,
                left.clone(),
                right.clone(),
                None,
                case_insensitive,
            );
            return self.like(&like);
        }
        let (left, right) = (self.lower(left)?, self.lower(right)?);
        if let Some(comparison) = comparison(*op) {
            return self.compared(comparison, left, right);
        }
        let text = self.joined(left, op, right);
        if let Some(bits) = bits(*op) {
            let (left, right) = self.integers(op, left, right)?;
            let operation = Operation::Bits(bits);
            return self.operation(operation, vec![left, right], Type::BigInt, &text);
        }
        let Some((integers, doubles)) = arithmetic(*op) else {
            return Err(Refusal::at(
                op.to_string(),
                format!("operator {op} is not supported; write it with those of docs/sql.md"),
            ));
        };
        let of = |typed: Typed| typed.of.is_none_or(is_number);
        if !of(left) || !of(right) {
            return self.times(left, *op, right);
        }
        let double = [left, right].iter().any(|t| t.of == Some(Type::Double));
        let result = if double { Type::Double } else { Type::BigInt };
        let args = vec![
            self.implied(left, Some(result))?.slot,
            self.implied(right, Some(result))?.slot,
        ];
        let operation = if double {
            Operation::Doubles(doubles)
        } else {
            Operation::Integers(integers)
        };
        self.operation(operation, args, result, &text)
    }

    fn joined(&self, left: Typed, op: &Operator, right: Typed) -> String {
        let (left, right) = (operand(self.text(left)), operand(self.text(right)));
        format!("{left} {op} {right}")
    }

    fn logic(&mut self, left: &Expr, op: Operator, right: &Expr) -> Lowered {
        let (left, right) = (self.condition(left)?, self.condition(right)?);
        let slot = match op {
            Operator::And => self.builder.and(left, right),
            _ => self.builder.or(left, right),
        };
        Ok(Typed::new(slot, Type::Boolean))
    }

    fn concat(&mut self, left: &Expr, right: &Expr) -> Lowered {
        // Whatever is appended to a text is written out; DataFusion wrote the same cast down.
        let plain = |expr: &Expr| match expr {
            Expr::Cast(cast) => cast.expr.as_ref().clone(),
            other => other.clone(),
        };
        let mut args = Vec::with_capacity(2);
        let mut texts = Vec::with_capacity(2);
        for side in [left, right] {
            let typed = self.lower(&plain(side))?;
            texts.push(operand(self.text(typed)));
            args.push(self.cast(typed, Type::Text, false)?.slot);
        }
        let text = texts.join(" || ");
        self.operation(Operation::Concat, args, Type::Text, &text)
    }

    fn regex(&mut self, left: &Expr, right: &Expr, any_case: bool, negated: bool) -> Lowered {
        let mut args = vec![self.lower(left)?, self.lower(right)?];
        if any_case {
            let flag = datafusion::common::ScalarValue::from("i");
            args.push(self.literal(&flag)?);
        }
        let found = self.called("regexp_like", &args)?;
        self.negated(found, negated)
    }

    fn integers(
        &mut self,
        op: &Operator,
        left: Typed,
        right: Typed,
    ) -> Result<(Slot, Slot), Refusal> {
        for side in [left, right] {
            if !matches!(side.of, None | Some(Type::Integer | Type::BigInt)) {
                let text = self.text(side);
                return Err(Refusal::new(format!(
                    "{op} is for integers, {text} is {}; write CAST({text} AS BIGINT)",
                    side.sql()
                )));
            }
        }
        let left = self.implied(left, Some(Type::BigInt))?.slot;
        let right = self.implied(right, Some(Type::BigInt))?.slot;
        Ok((left, right))
    }

    /// The comparison of two values, of types that compare.
    pub(super) fn compared(
        &mut self,
        comparison: Comparison,
        left: Typed,
        right: Typed,
    ) -> Lowered {
        let text = format!(
            "{} {} {}",
            operand(self.text(left)),
            comparison.sql(),
            operand(self.text(right))
        );
        let spans = |of: Option<Type>| matches!(of, Some(Type::Duration | Type::Interval));
        let lists = [left.of, right.of]
            .iter()
            .any(|of| matches!(of, Some(Type::List(_))));
        if lists && is_order(comparison) {
            return Err(no_order(&text));
        }
        let (left, right) = if spans(left.of) && spans(right.of) {
            (left, right)
        } else {
            let of = self
                .common("a comparison", &[left, right])?
                // Two NULLs compare as any type.
                .unwrap_or(Type::Boolean);
            (
                self.implied(left, Some(of))?,
                self.implied(right, Some(of))?,
            )
        };
        let args = vec![left.slot, right.slot];
        self.operation(Operation::Compare(comparison), args, Type::Boolean, &text)
    }

    /// Arithmetic of times.
    fn times(&mut self, left: Typed, op: Operator, right: Typed) -> Lowered {
        use Type::{Duration, Interval, Timestamp};
        let text = self.joined(left, &op, right);
        let plus = op == Operator::Plus;
        // NULL stands for the type that fits.
        let given = (left.of.unwrap_or(Timestamp), right.of.unwrap_or(Interval));
        let untyped = |typed: Typed, of: Type| Typed {
            slot: typed.slot,
            of: typed.of.or(Some(of)),
        };
        let (left, right) = match (left.of, right.of) {
            (None, _) => (
                Typed::new(self.builder.null(given.0)?, given.0),
                untyped(right, given.1),
            ),
            (_, None) => (
                untyped(left, given.0),
                Typed::new(self.builder.null(given.1)?, given.1),
            ),
            _ => (left, right),
        };
        let args = vec![left.slot, right.slot];
        let swapped = vec![right.slot, left.slot];
        match (given, plus, op == Operator::Minus) {
            ((Timestamp, Timestamp), _, true) => {
                self.operation(Operation::Spans(Spans::Between), args, Duration, &text)
            }
            ((Timestamp, Duration), true, _) => {
                self.operation(Operation::Spans(Spans::Later), args, Timestamp, &text)
            }
            ((Duration, Timestamp), true, _) => {
                self.operation(Operation::Spans(Spans::Later), swapped, Timestamp, &text)
            }
            ((Timestamp, Duration), _, true) => {
                self.operation(Operation::Spans(Spans::Earlier), args, Timestamp, &text)
            }
            ((Timestamp, Interval), true, _) => {
                self.operation(Operation::Moment(Moment::Later), args, Timestamp, &text)
            }
            ((Interval, Timestamp), true, _) => {
                self.operation(Operation::Moment(Moment::Later), swapped, Timestamp, &text)
            }
            ((Timestamp, Interval), _, true) => {
                self.operation(Operation::Moment(Moment::Earlier), args, Timestamp, &text)
            }
            ((Duration, Duration), true, _) => {
                self.operation(Operation::Spans(Spans::Add), args, Duration, &text)
            }
            ((Duration, Duration), _, true) => {
                self.operation(Operation::Spans(Spans::Subtract), args, Duration, &text)
            }
            _ => Err(no_arithmetic(&text, given, op)),
        }
    }
}

/// Whether a comparison asks for an order, not for equality.
fn is_order(comparison: Comparison) -> bool {
    use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
    matches!(comparison, Less | LessOrEqual | Greater | GreaterOrEqual)
}

/// Arrays where values with an order are wanted.
pub(super) fn no_order(text: &str) -> Refusal {
    Refusal::new(format!(
        "{text}: arrays have no order; compare items, a[1] < b[1], or how many there are: cardinality(a)"
    ))
}

/// Operands that `op` is not for.
fn no_arithmetic(text: &str, given: (Type, Type), op: Operator) -> Refusal {
    let (left, right) = (given.0.sql(), given.1.sql());
    let remedy = match given {
        (Type::Text, _) | (_, Type::Text) => "cast the text: CAST(.. AS DOUBLE)",
        (Type::Boolean, _) | (_, Type::Boolean) => "cast the boolean: CAST(.. AS BIGINT)",
        (Type::Date, _) | (_, Type::Date) => {
            "write dates with whole days, as in d + 1 or d - other, or with INTERVAL, which gives a TIMESTAMP"
        }
        _ => {
            "write times with INTERVAL, as in ts - INTERVAL '1' HOUR, or lengths as numbers: extract(epoch FROM ..)"
        }
    };
    Refusal::new(format!(
        "{text}: {left} {op} {right} has no meaning; {remedy}"
    ))
}

/// Why two types do not go together; None where the operator may have a meaning. DataFusion asks
/// before it looks for casts of its own.
pub(in crate::scalar) fn refused_types(
    op: Operator,
    left: Option<Type>,
    right: Option<Type>,
    text: &str,
) -> Option<Refusal> {
    let (left, right) = (left?, right?);
    if op == Operator::And || op == Operator::Or {
        let odd = [left, right].into_iter().find(|of| *of != Type::Boolean)?;
        return Some(Refusal::new(format!(
            "{text}: {op} is for conditions, and one side is {}; compare it with a value",
            odd.sql()
        )));
    }
    if let Some(comparison) = comparison(op) {
        let lists = matches!(left, Type::List(_)) && matches!(right, Type::List(_));
        if lists && is_order(comparison) {
            return Some(no_order(text));
        }
        let number = is_number(left) && is_number(right);
        let spans = |of| matches!(of, Type::Duration | Type::Interval);
        let time = |a, b| matches!(a, Type::Date | Type::Timestamp) && b == Type::Text;
        let dated = |a, b| a == Type::Date && b == Type::Timestamp;
        let fits = left == right
            || (lists && (left.widens_to(right) || right.widens_to(left)))
            || number
            || (spans(left) && spans(right))
            || time(left, right)
            || time(right, left)
            || dated(left, right)
            || dated(right, left);
        return (!fits).then(|| {
            if matches!(left, Type::List(_)) || matches!(right, Type::List(_)) {
                let (l, r) = (left.sql(), right.sql());
                return Refusal::new(format!(
                    "{text}: {l} is compared with {r}; compare an item, a[1], or look for one: array_contains(a, x)"
                ));
            }
            let (l, r) = (left.sql(), right.sql());
            let remedy = match (left, right) {
                (Type::Date, of) | (of, Type::Date) if is_number(of) => {
                    "DATE '2024-05-01', or a date with days, as in DATE '1970-01-01' + 1".to_owned()
                }
                (_, Type::Text) => format!("CAST(.. AS {l})"),
                _ => format!("CAST(.. AS {r})"),
            };
            Refusal::new(format!(
                "{text}: {l} is compared with {r}, and neither is cast without being asked; write {remedy}"
            ))
        });
    }
    if arithmetic(op).is_some() {
        let time = |of| matches!(of, Type::Timestamp | Type::Duration | Type::Interval);
        let whole = |of| matches!(of, Type::Integer | Type::BigInt);
        let fits = match (left, right) {
            (Type::Date, Type::Date | Type::Timestamp) | (Type::Timestamp, Type::Date) => {
                op == Operator::Minus
            }
            (Type::Date, Type::Duration | Type::Interval) => {
                matches!(op, Operator::Plus | Operator::Minus)
            }
            (Type::Duration | Type::Interval, Type::Date) => op == Operator::Plus,
            (Type::Date, of) => whole(of) && matches!(op, Operator::Plus | Operator::Minus),
            (of, Type::Date) => whole(of) && op == Operator::Plus,
            _ => (is_number(left) && is_number(right)) || (time(left) && time(right)),
        };
        return (!fits).then(|| no_arithmetic(text, (left, right), op));
    }
    None
}
