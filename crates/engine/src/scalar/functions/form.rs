//! How the families write their functions down: a function with the usual rules, then what it has
//! beside them, and the constants that a kernel is bound to.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::scalar::function::{
    Argument, Bind, Example, Function, NULL_IN_NULL_OUT, Overload, Reference, Rules, Type,
};

/// A function of version 1 that is NULL where an argument is, and has a value everywhere else.
pub(super) const fn function(
    name: &'static str,
    summary: &'static str,
    overloads: &'static [Overload],
    reference: Reference,
    examples: &'static [Example],
) -> Function {
    Function {
        name,
        aliases: &[],
        version: 1,
        summary,
        rules: Rules {
            null: NULL_IN_NULL_OUT,
            float: "",
            fault: "",
        },
        overloads,
        reference,
        examples,
    }
}

impl Function {
    /// Its meaning is not that of the first builds.
    pub(super) const fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    pub(super) const fn null(mut self, null: &'static str) -> Self {
        self.rules.null = null;
        self
    }

    pub(super) const fn float(mut self, float: &'static str) -> Self {
        self.rules.float = float;
        self
    }

    pub(super) const fn fault(mut self, fault: &'static str) -> Self {
        self.rules.fault = fault;
        self
    }
}

/// Exactly these arguments.
pub(super) const fn takes(arguments: &'static [Type], result: Type, bind: Bind) -> Overload {
    Overload {
        arguments,
        rest: None,
        result,
        bind,
    }
}

/// These arguments, then any number of `rest`.
pub(super) const fn takes_many(
    arguments: &'static [Type],
    rest: Type,
    result: Type,
    bind: Bind,
) -> Overload {
    Overload {
        arguments,
        rest: Some(rest),
        result,
        bind,
    }
}

pub(super) const fn example(call: &'static str, value: &'static str) -> Example {
    Example { call, value }
}

/// A constant that a kernel is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constant<T> {
    Null,
    Value(T),
}

/// The constant at `index`; no constant is refused: `what` ("the unit of date_trunc") must be one,
/// such as `sample`.
fn constant<'a>(
    arguments: &[Argument<'a>],
    index: usize,
    what: &str,
    sample: &str,
) -> Result<Constant<&'a ArrayRef>, String> {
    let array = arguments
        .get(index)
        .and_then(|argument| argument.constant)
        .ok_or_else(|| format!("{what} must be a constant; write a literal, such as {sample}"))?;
    let null = *array.data_type() == DataType::Null || array.is_null(0);
    Ok(if null {
        Constant::Null
    } else {
        Constant::Value(array)
    })
}

/// The text at `index`, which must be a constant.
pub(super) fn constant_text<'a>(
    arguments: &[Argument<'a>],
    index: usize,
    what: &str,
    sample: &str,
) -> Result<Constant<&'a str>, String> {
    match constant(arguments, index, what, sample)? {
        Constant::Null => Ok(Constant::Null),
        Constant::Value(array) => array
            .as_string_opt::<i32>()
            .map(|text| Constant::Value(text.value(0)))
            .ok_or_else(|| format!("{what} must be a text, such as {sample}")),
    }
}

/// The integer at `index`, which must be a constant.
pub(super) fn constant_int(
    arguments: &[Argument<'_>],
    index: usize,
    what: &str,
    sample: &str,
) -> Result<Constant<i64>, String> {
    match constant(arguments, index, what, sample)? {
        Constant::Null => Ok(Constant::Null),
        Constant::Value(array) => array
            .as_primitive_opt::<Int64Type>()
            .map(|number| Constant::Value(number.value(0)))
            .ok_or_else(|| format!("{what} must be an integer, such as {sample}")),
    }
}

/// The array of a constant interval, checked by the caller.
pub(super) fn constant_array<'a>(
    arguments: &[Argument<'a>],
    index: usize,
    what: &str,
    sample: &str,
) -> Result<Constant<&'a ArrayRef>, String> {
    constant(arguments, index, what, sample)
}
