//! Expressions as a definition writes them, over a table of edges: what each operator gives, which
//! rows fail, and what is refused with which words.

mod cuts;
mod dates;
mod edges;
mod lazy;
mod precedence;
mod reach;
mod refusals;

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;

use forebay_core::value::{Value, array_from_values, list_type};

use super::{Code, Lowering, Refusal, SavedCode};
use crate::expression::Input;
use crate::parse::Steps;
use crate::session::Session;

/// Columns of a table.
pub(super) type Columns = Vec<(&'static str, ArrayRef)>;

/// Six rows of every type; the last one is NULL in all.
pub(super) fn table() -> Columns {
    let n = [
        Some(0),
        Some(1),
        Some(-7),
        Some(i64::MAX),
        Some(i64::MIN),
        None,
    ];
    let m = [Some(2), Some(0), Some(3), Some(1), Some(-1), None];
    let i = [
        Some(0),
        Some(1),
        Some(-7),
        Some(i32::MAX),
        Some(i32::MIN),
        None,
    ];
    let x = [
        Some(-0.0),
        Some(0.5),
        Some(-2.5),
        Some(f64::INFINITY),
        Some(-f64::NAN),
        None,
    ];
    let y = [
        Some(0.0),
        Some(0.0),
        Some(1e300),
        Some(-1.0),
        Some(f64::NAN),
        None,
    ];
    let s = [
        Some(""),
        Some("a"),
        Some("Ab%"),
        Some("12"),
        Some(" -3 "),
        None,
    ];
    let b = (0..6).map(|row| (row < 5).then_some(row % 2 == 0));
    let t = [
        Some(0),
        Some(1),
        Some(-1),
        Some(i64::MAX),
        Some(i64::MIN),
        None,
    ];
    vec![
        ("n", Arc::new(Int64Array::from(n.to_vec()))),
        ("m", Arc::new(Int64Array::from(m.to_vec()))),
        ("i", Arc::new(Int32Array::from(i.to_vec()))),
        ("x", Arc::new(Float64Array::from(x.to_vec()))),
        ("y", Arc::new(Float64Array::from(y.to_vec()))),
        ("s", Arc::new(StringArray::from(s.to_vec()))),
        ("b", Arc::new(BooleanArray::from_iter(b))),
        ("t", times(&t)),
        ("d", dates()),
        ("a", lists_of_texts()),
        ("f", lists_of_doubles()),
    ]
}

fn times(values: &[Option<i64>]) -> ArrayRef {
    let times = TimestampMicrosecondArray::from(values.to_vec());
    Arc::new(times.with_timezone("UTC"))
}

fn dates() -> ArrayRef {
    let texts = [
        "1970-01-01",
        "2024-02-29",
        "0001-01-01",
        "9999-12-31",
        "1969-12-31",
        "",
    ];
    let dates = texts.map(forebay_core::date::parse);
    Arc::new(dates.into_iter().collect::<Date32Array>())
}

fn lists_of_texts() -> ArrayRef {
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.into()));
    let a = [
        list([]),
        list([text(Some("a"))]),
        list([text(Some("Ab%")), text(None)]),
        list([text(None)]),
        list(["x", "y", "z"].map(|item| text(Some(item)))),
        Value::Null,
    ];
    arrays(DataType::Utf8, &a)
}

fn lists_of_doubles() -> ArrayRef {
    let float = |float: Option<f64>| float.map_or(Value::Null, Value::Float);
    let d = [
        list([float(Some(-0.0)), float(Some(f64::NAN))]),
        list([float(Some(1.5))]),
        list([]),
        list([float(None), float(Some(f64::INFINITY))]),
        list([float(Some(0.0))]),
        Value::Null,
    ];
    arrays(DataType::Float64, &d)
}

fn list<const N: usize>(items: [Value; N]) -> Value {
    Value::List(Arc::from(items))
}

fn arrays(item: DataType, values: &[Value]) -> ArrayRef {
    array_from_values(&list_type(item), values.iter()).expect("arrays")
}

fn planned(session: &Session, columns: &Columns, sql: &str) -> Result<Expr, String> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let query = format!("SELECT {sql} AS v FROM e");
    let statement =
        Parser::parse_sql(&Steps::default(), &query).map_err(|e| format!("{sql}: {e}"))?;
    let Some(ast::Statement::Query(query)) = statement.into_iter().next() else {
        return Err("no query".to_owned());
    };
    let tables = [("e".to_owned(), Arc::new(Schema::new(fields)))];
    let plan = session.plan(*query, &tables).map_err(|unplanned| {
        let e = unplanned.error;
        Refusal::within(&e).map_or_else(|| format!("planning: {e}"), |refusal| refusal.message)
    })?;
    match plan {
        LogicalPlan::Projection(mut projection) => Ok(projection.expr.remove(0)),
        other => Err(format!("a plan of {other}")),
    }
}

/// The code of `sql` over the columns.
pub(super) fn compiled(session: &Session, columns: &Columns, sql: &str) -> Result<Code, String> {
    let inputs: Vec<Input> = columns
        .iter()
        .map(|(name, array)| Input::of("e", name, array.data_type()))
        .collect();
    // As definitions are planned.
    on_large_stack(|| compiled_here(session, columns, &inputs, sql))
}

#[allow(
    clippy::disallowed_methods,
    reason = "planning needs a larger stack than a test's thread has"
)]
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(32 << 20);
        let thread = thread.spawn_scoped(scope, work).expect("a thread");
        thread.join().expect("no panic")
    })
}

fn compiled_here(
    session: &Session,
    columns: &Columns,
    inputs: &[Input],
    sql: &str,
) -> Result<Code, String> {
    let expr = planned(session, columns, sql)?;
    let words = |refusal: Refusal| refusal.message;
    let mut lowering = Lowering::new(inputs);
    let typed = lowering.lower(&expr).map_err(words)?;
    lowering.refuse_failing(typed.slot).map_err(words)?;
    Ok(lowering.finish(&[typed.slot]))
}

/// `code`, saved and read again.
fn restored(code: &Code, columns: &Columns) -> Code {
    let saved = code.saved().expect("constants of our types");
    let json = serde_json::to_string(&saved).expect("plain data");
    let read: SavedCode = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read, saved);
    let types: Vec<DataType> = columns.iter().map(|(_, c)| c.data_type().clone()).collect();
    let restored = Code::restored(&read, &types).unwrap_or_else(|e| panic!("{json}: {e}"));
    assert_eq!(restored.saved(), Some(saved));
    restored
}

/// What `code` is on each row, also once it was saved and read again: its value, or its fault
/// behind an exclamation mark.
pub(super) fn values(code: &Code, columns: &Columns) -> Vec<String> {
    let arrays: Vec<ArrayRef> = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let rows = arrays[0].len();
    let value = code
        .run(&arrays.clone().into(), rows)
        .expect("runs")
        .remove(0);
    assert_eq!(Some(value.array.data_type()), code.types().next());
    assert_eq!(value.array.len(), rows);
    let again = restored(code, columns).run(&arrays.into(), rows);
    let again = again.expect("runs").remove(0);
    assert_eq!((&again.array, &again.faults), (&value.array, &value.faults));
    let options = FormatOptions::default().with_null("NULL");
    let written = ArrayFormatter::try_new(value.array.as_ref(), &options).expect("a type of ours");
    let mut faults = value.faults.iter().peekable();
    (0..rows)
        .map(
            |row| match faults.next_if(|fault| fault.row as usize == row) {
                Some(fault) => {
                    assert!(arrow_array::Array::is_null(&value.array, row));
                    format!("!{}", fault.kind.label())
                }
                None => written.value(row).to_string(),
            },
        )
        .collect()
}

/// What `sql` is on each row of the table.
pub(super) fn evaluated(session: &Session, sql: &str) -> Vec<String> {
    let columns = table();
    let code = compiled(session, &columns, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    values(&code, &columns)
}

/// Assert what each expression of a table of them is, row by row, separated by blanks.
pub(super) fn check(cases: &[(&str, &str)]) {
    let session = Session::new();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(sql, expected)| {
            let found = evaluated(&session, sql).join(" ");
            (found != *expected).then(|| format!("{sql}\n  is  {found}\n  not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
