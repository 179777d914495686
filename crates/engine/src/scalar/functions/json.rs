//! Values out of JSON that a text holds, by a constant path (`'$.a.b[0]'`), key or index. Nothing
//! is guessed: what is not there, and JSON's null, is NULL; a text that is no JSON is a fault, and
//! so is a value of another kind than the one asked for.

use forebay_core::fault::FaultKind;

use super::form::{Constant, constant_int, constant_text, example, function, takes};
use super::json_text::{Json, Step, path};
use super::rows::{Bool, Bound, Fixed, Float, Int, Made, Row, Text, TextOut, nulls, texts, values};
use crate::scalar::function::Type::{self, BigInt, Boolean, Double};
use crate::scalar::function::{Argument, Function, Overload, Reference};

const BY_TEXT: &[Type] = &[Type::Text, Type::Text];
const BY_INDEX: &[Type] = &[Type::Text, BigInt];
const NULL: &str = "NULL where an argument is NULL, where nothing lies at the path, and for JSON's \
                    null";
const NO_JSON: &str = "cast: a text that is no JSON or nests deeper than 16 levels";
const OTHER_KIND: &str = "cast: a value of another kind; a text that is no JSON or nests deeper \
                          than 16 levels";
const OURS: Reference = Reference::Differs(
    "DuckDB's JSON functions give the type JSON and NULL for a value of another kind; ours give \
     SQL values, and faults",
);

/// The steps to what is asked for: a path where the text begins with $, else one key; an index.
fn steps(arguments: &[Argument<'_>], class: Type) -> Result<Constant<Vec<Step>>, String> {
    if class == BigInt {
        return Ok(match constant_int(arguments, 1, "the index", "0")? {
            Constant::Null => Constant::Null,
            Constant::Value(index) => Constant::Value(vec![Step::Index(index)]),
        });
    }
    Ok(
        match constant_text(arguments, 1, "the path or key", "'$.a.b[0]'")? {
            Constant::Null => Constant::Null,
            Constant::Value(text) if text.starts_with('$') => Constant::Value(path(text)?),
            Constant::Value(key) => Constant::Value(vec![Step::Key(key.to_owned())]),
        },
    )
}

/// The path, which a function with a path alone asks for.
fn path_steps(arguments: &[Argument<'_>]) -> Result<Constant<Vec<Step>>, String> {
    Ok(
        match constant_text(arguments, 1, "the path", "'$.a.b[0]'")? {
            Constant::Null => Constant::Null,
            Constant::Value(text) => Constant::Value(path(text)?),
        },
    )
}

fn found<'a>(text: &'a str, steps: &[Step]) -> Result<Option<Json<'a>>, FaultKind> {
    Ok(Json::of(text)?.at(steps))
}

/// A text of what is found.
fn text_of(
    steps: Result<Constant<Vec<Step>>, String>,
    write: fn(Json<'_>, &mut TextOut) -> Result<bool, FaultKind>,
) -> Bound {
    match steps? {
        Constant::Null => nulls(Type::Text),
        Constant::Value(steps) => texts::<(Text, Fixed), _>(
            move |(text, ()): (&str, ()), out: &mut TextOut| match found(text, &steps)? {
                None => Ok(false),
                Some(json) => write(json, out),
            },
        ),
    }
}

/// A value of what is found.
fn value_of<R: Made>(
    steps: Result<Constant<Vec<Step>>, String>,
    result: Type,
    value: fn(Json<'_>) -> Row<R::Item>,
) -> Bound
where
    R::Item: 'static,
{
    match steps? {
        Constant::Null => nulls(result),
        Constant::Value(steps) => values::<(Text, Fixed), R, _>(move |(text, ()): (&str, ())| {
            found(text, &steps)?.map_or(Ok(None), value)
        }),
    }
}

fn put_string(json: Json<'_>, out: &mut TextOut) -> Result<bool, FaultKind> {
    out.put(&json.string().ok_or(FaultKind::Cast)?)
}

fn put_scalar(json: Json<'_>, out: &mut TextOut) -> Result<bool, FaultKind> {
    if json.is_null() || json.is_nested() {
        Ok(false)
    } else if json.is_string() {
        put_string(json, out)
    } else {
        out.put(json.raw())
    }
}

fn put_text(json: Json<'_>, out: &mut TextOut) -> Result<bool, FaultKind> {
    if json.is_null() {
        Ok(false)
    } else if json.is_string() {
        put_string(json, out)
    } else {
        out.put(json.raw())
    }
}

/// A whole number without fraction and exponent, as a BIGINT column takes it.
fn int_of(json: Json<'_>) -> Row<i64> {
    if json.is_null() {
        return Ok(None);
    }
    let number = json.number().and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or(FaultKind::Cast)
}

fn float_of(json: Json<'_>) -> Row<f64> {
    if json.is_null() {
        return Ok(None);
    }
    let number = json.number().and_then(|digits| digits.parse::<f64>().ok());
    let finite = number.filter(|number| number.is_finite());
    finite.map(Some).ok_or(FaultKind::Cast)
}

fn bool_of(json: Json<'_>) -> Row<bool> {
    if json.is_null() {
        return Ok(None);
    }
    json.boolean().map(Some).ok_or(FaultKind::Cast)
}

const GET: &[Overload] = &[
    takes(BY_TEXT, Type::Text, |arguments| {
        text_of(steps(arguments, Type::Text), |json, out| {
            out.put(json.raw())
        })
    }),
    takes(BY_INDEX, Type::Text, |arguments| {
        text_of(steps(arguments, BigInt), |json, out| out.put(json.raw()))
    }),
];
const GET_TEXT: &[Overload] = &[
    takes(BY_TEXT, Type::Text, |arguments| {
        text_of(steps(arguments, Type::Text), put_text)
    }),
    takes(BY_INDEX, Type::Text, |arguments| {
        text_of(steps(arguments, BigInt), put_text)
    }),
];
const GET_INT: &[Overload] = &[
    takes(BY_TEXT, BigInt, |arguments| {
        value_of::<Int>(steps(arguments, Type::Text), BigInt, int_of)
    }),
    takes(BY_INDEX, BigInt, |arguments| {
        value_of::<Int>(steps(arguments, BigInt), BigInt, int_of)
    }),
];
const GET_FLOAT: &[Overload] = &[
    takes(BY_TEXT, Double, |arguments| {
        value_of::<Float>(steps(arguments, Type::Text), Double, float_of)
    }),
    takes(BY_INDEX, Double, |arguments| {
        value_of::<Float>(steps(arguments, BigInt), Double, float_of)
    }),
];
const GET_BOOL: &[Overload] = &[
    takes(BY_TEXT, Boolean, |arguments| {
        value_of::<Bool>(steps(arguments, Type::Text), Boolean, bool_of)
    }),
    takes(BY_INDEX, Boolean, |arguments| {
        value_of::<Bool>(steps(arguments, BigInt), Boolean, bool_of)
    }),
];

const TEXTS: &[Function] = &[
    function(
        "json_value",
        "The string, number or boolean at a path, as text; NULL for an object or array.",
        &[takes(BY_TEXT, Type::Text, |arguments| {
            text_of(path_steps(arguments), put_scalar)
        })],
        OURS,
        &[
            example(
                "json_value('{\"a\": {\"b\": [\"x\", 2.50]}}', '$.a.b[1]')",
                "'2.50'",
            ),
            example("json_value('{\"a\": \"x\"}', '$.a')", "'x'"),
            example("json_value('{\"a\": {}}', '$.a')", "NULL"),
            example("json_value('{', '$.a')", "error"),
        ],
    )
    .null(NULL)
    .fault(NO_JSON),
    function(
        "json_get_text",
        "The value at a key, an index (from 0; -1 is the last) or a path as text (text ->> key): a \
         string without its quotes, anything else as it is written.",
        GET_TEXT,
        Reference::Differs("DuckDB takes spaces out of objects and arrays; ours leaves them"),
        &[
            example("json_get_text('{\"a\": \"x\"}', 'a')", "'x'"),
            example("json_get_text('[1, [2, 3]]', -1)", "'[2, 3]'"),
            example("json_get_text('{\"a\": null}', 'a')", "NULL"),
        ],
    )
    .null(NULL)
    .fault(NO_JSON),
    function(
        "json_get",
        "The value at a key, an index (from 0; -1 is the last) or a path as JSON (text -> key), as \
         it is written.",
        GET,
        Reference::Differs("DuckDB takes spaces out of objects and arrays; ours leaves them"),
        &[
            example("json_get('{\"a\": \"x\"}', 'a')", "'\"x\"'"),
            example("json_get('{\"a\": null}', 'a')", "'null'"),
        ],
    )
    .null(
        "NULL where an argument is NULL and where nothing lies at the path; JSON's null is 'null'",
    )
    .fault(NO_JSON),
];

const VALUES: &[Function] = &[
    function(
        "json_get_int",
        "The whole number at a key, an index or a path, without fraction and exponent.",
        GET_INT,
        OURS,
        &[
            example("json_get_int('{\"a\": 7}', 'a')", "7"),
            example("json_get_int('{\"a\": [1, 2]}', '$.a[1]')", "2"),
            example("json_get_int('{\"a\": \"7\"}', 'a')", "error"),
        ],
    )
    .null(NULL)
    .fault(OTHER_KIND),
    function(
        "json_get_float",
        "The number at a key, an index or a path, correctly rounded.",
        GET_FLOAT,
        OURS,
        &[example("json_get_float('[0.1]', 0)", "0.1")],
    )
    .null(NULL)
    .float("never NaN nor infinite: JSON has neither")
    .fault(OTHER_KIND),
    function(
        "json_get_bool",
        "The boolean at a key, an index or a path.",
        GET_BOOL,
        OURS,
        &[example("json_get_bool('{\"a\": true}', 'a')", "true")],
    )
    .null(NULL)
    .fault(OTHER_KIND),
    function(
        "json_length",
        "How many elements an array has, or members an object, at a path or in all; NULL for \
         anything else.",
        &[
            takes(&[Type::Text], BigInt, |_| {
                values::<(Text,), Int, _>(|(text,): (&str,)| Ok(Json::of(text)?.length()))
            }),
            takes(BY_TEXT, BigInt, |arguments| {
                value_of::<Int>(path_steps(arguments), BigInt, |json| Ok(json.length()))
            }),
        ],
        OURS,
        &[
            example("json_length('[1, 2, 3]')", "3"),
            example("json_length('{\"a\": [1]}', '$.a')", "1"),
            example("json_length('7')", "NULL"),
        ],
    )
    .null(NULL)
    .fault(NO_JSON),
    function(
        "json_exists",
        "Whether a value, JSON's null among them, lies at a path.",
        &[takes(BY_TEXT, Boolean, |arguments| {
            match path_steps(arguments)? {
                Constant::Null => nulls(Boolean),
                Constant::Value(steps) => {
                    values::<(Text, Fixed), Bool, _>(move |(text, ()): (&str, ())| {
                        Ok(Some(found(text, &steps)?.is_some()))
                    })
                }
            }
        })],
        Reference::Differs("DuckDB takes NaN, which JSON has not, and deeper nesting"),
        &[
            example("json_exists('{\"a\": null}', '$.a')", "true"),
            example("json_exists('{\"a\": null}', '$.b')", "false"),
        ],
    )
    .fault(NO_JSON),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] =
    &[("texts from JSON", TEXTS), ("values from JSON", VALUES)];
