//! Conditions that are more than a comparison: patterns, BETWEEN, IN and CASE. What may be
//! skipped is made of AND, OR and CASE, so that it is skipped as they do.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use datafusion::logical_expr::expr::{Between, Case, InList, Like};

use super::{Lowered, Lowering, Typed, operand};
use crate::scalar::code::Slot;
use crate::scalar::constant::Constant;
use crate::scalar::function::Type;
use crate::scalar::operation::Operation;
use crate::scalar::operators::Comparison;
use crate::scalar::refusal::Refusal;

impl Lowering<'_> {
    /// The pattern and the text of LIKE and SIMILAR TO.
    fn pattern(&mut self, like: &Like, name: &str) -> Result<(Slot, Option<String>), Refusal> {
        let text = self.lower_as(&like.expr, Type::Text)?;
        let pattern = self.lower_as(&like.pattern, Type::Text)?;
        match self.builder.constant(pattern) {
            Some(array) => {
                let array = array.as_string::<i32>();
                let is_null = array.is_null(0);
                Ok((text, (!is_null).then(|| array.value(0).to_owned())))
            }
            None => {
                let pattern = self.builder.text(pattern);
                Err(Refusal::new(format!(
                    "the pattern of {name} must be a constant, {pattern} is none; write a text, or compare by strpos or \
                     starts_with"
                )))
            }
        }
    }

    pub(super) fn like(&mut self, like_expr: &Like) -> Lowered {
        let name = if like_expr.case_insensitive {
            "ILIKE"
        } else {
            "LIKE"
        };
        let (text, pattern) = self.pattern(like_expr, name)?;
        let any_case = like_expr.case_insensitive;
        let escape = like_expr.escape_char;
        self.matched(like_expr, name, text, pattern, |pattern| Operation::Like {
            pattern,
            escape,
            any_case,
        })
    }

    pub(super) fn similar(&mut self, like: &Like) -> Lowered {
        let (text, pattern) = self.pattern(like, "SIMILAR TO")?;
        let escape = like.escape_char;
        self.matched(like, "SIMILAR TO", text, pattern, |pattern| {
            Operation::Similar { pattern, escape }
        })
    }

    fn matched(
        &mut self,
        like: &Like,
        name: &str,
        text: Slot,
        pattern: Option<String>,
        operation: impl FnOnce(String) -> Operation,
    ) -> Lowered {
        let Some(pattern) = pattern else {
            return Ok(Typed::new(self.builder.null(Type::Boolean)?, Type::Boolean));
        };
        let reads = format!("{} {name} '{pattern}'", operand(self.builder.text(text)));
        let found = self.operation(operation(pattern), vec![text], Type::Boolean, &reads)?;
        self.negated(found, like.negated)
    }

    /// `typed`, or its opposite.
    pub(super) fn negated(&mut self, typed: Typed, negated: bool) -> Lowered {
        if !negated {
            return Ok(typed);
        }
        let slot = self.builder.not(typed.slot)?;
        Ok(Typed::new(slot, Type::Boolean))
    }

    pub(super) fn between(&mut self, between: &Between) -> Lowered {
        let value = self.lower(&between.expr)?;
        let low = self.lower(&between.low)?;
        let high = self.lower(&between.high)?;
        let above = self.compared(Comparison::GreaterOrEqual, value, low)?;
        let below = self.compared(Comparison::LessOrEqual, value, high)?;
        let slot = self.builder.and(above.slot, below.slot);
        self.negated(Typed::new(slot, Type::Boolean), between.negated)
    }

    pub(super) fn in_list(&mut self, list: &InList) -> Lowered {
        let value = self.lower(&list.expr)?;
        let members = list
            .list
            .iter()
            .map(|member| self.lower(member))
            .collect::<Result<Vec<_>, _>>()?;
        let listed = members
            .iter()
            .find_map(|member| member.of)
            .or(value.of)
            .filter(|of| !matches!(of, Type::Duration | Type::Interval | Type::List(_)));
        let constants: Option<Vec<_>> = members
            .iter()
            .map(|member| Constant::of(self.builder.constant(member.slot)?))
            .collect();
        let found = match (value.of, listed, constants) {
            (Some(of), Some(listed), Some(constants))
                if of == listed && members.iter().all(|m| m.of.is_none_or(|m| m == of)) =>
            {
                let texts: Vec<&str> = members.iter().map(|m| self.text(*m).as_ref()).collect();
                let value_text = operand(self.text(value));
                let reads = format!("{value_text} IN ({})", texts.join(", "));
                let operation = Operation::Members(constants);
                self.operation(operation, vec![value.slot], Type::Boolean, &reads)?
            }
            _ => {
                let mut any: Option<Slot> = None;
                for member in members {
                    let equal = self.compared(Comparison::Equal, value, member)?.slot;
                    any = Some(match any {
                        Some(any) => self.builder.or(any, equal),
                        None => equal,
                    });
                }
                let none = || Refusal::new("IN has an empty list; write at least one value");
                Typed::new(any.ok_or_else(none)?, Type::Boolean)
            }
        };
        self.negated(found, list.negated)
    }

    pub(super) fn case(&mut self, case: &Case) -> Lowered {
        let of = match &case.expr {
            Some(expr) => Some(self.lower(expr)?),
            None => None,
        };
        let mut arms = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in &case.when_then_expr {
            let when = match of {
                Some(of) => {
                    let when = self.lower(when)?;
                    self.compared(Comparison::Equal, of, when)?.slot
                }
                None => self.condition(when)?,
            };
            arms.push((when, self.lower(then)?));
        }
        let otherwise = match &case.else_expr {
            Some(expr) => Some(self.lower(expr)?),
            None => None,
        };
        let branches: Vec<Typed> = arms
            .iter()
            .map(|(_, then)| *then)
            .chain(otherwise)
            .collect();
        let Some(result) = self.common("CASE", &branches)? else {
            return Ok(branches[0]);
        };
        let mut typed = Vec::with_capacity(arms.len());
        for (when, then) in arms {
            typed.push((when, self.implied(then, Some(result))?.slot));
        }
        let otherwise = match otherwise {
            Some(otherwise) => Some(self.implied(otherwise, Some(result))?.slot),
            None => None,
        };
        let text = match typed.first() {
            Some((when, then)) => {
                let (when, then) = (self.builder.text(*when), self.builder.text(*then));
                let more = if typed.len() > 1 || otherwise.is_some() {
                    " .."
                } else {
                    ""
                };
                format!("CASE WHEN {when} THEN {then}{more} END")
            }
            None => "CASE".to_owned(),
        };
        let slot = self.builder.case(typed, otherwise, result, &text)?;
        Ok(Typed::new(slot, result))
    }
}
