//! Which branches of CASE the rows of the table take, as a reader of the SQL finds.

use arrow_array::ArrayRef;
use forebay_core::cells::Cells;

use super::{compiled, table};
use crate::scalar::Trace;
use crate::session::Session;

/// Whether each branch of `sql` is taken, from the outermost CASE inwards.
fn taken(sql: &str) -> Vec<(String, bool)> {
    let columns = table();
    let code = compiled(&Session::new(), &columns, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, array)| array).collect();
    let rows = arrays[0].len();
    let trace = Trace::new(&code, &[]);
    let inputs = Cells::from(arrays);
    trace.note(&code, &inputs.slice(0, 2), 2).expect("runs");
    trace
        .note(&code, &inputs.slice(2, rows - 2), rows - 2)
        .expect("runs");
    let branches = trace.branches();
    branches
        .map(|branch| (branch.text, branch.is_taken))
        .collect()
}

#[test]
fn a_branch_is_taken_by_the_rows_that_come_to_it() {
    let of = |sql: &str| -> Vec<bool> { taken(sql).into_iter().map(|(_, is)| is).collect() };
    for (sql, expected) in [
        (
            "CASE WHEN m > 2 THEN 1 WHEN m > 3 THEN 2 ELSE 3 END",
            vec![true, false, true],
        ),
        ("CASE WHEN m > 9 THEN 1 END", vec![false]),
        ("CASE m WHEN 3 THEN 1 WHEN 9 THEN 2 END", vec![true, false]),
        // The inner one is not come to where the outer one goes elsewhere.
        (
            "CASE WHEN m > 9 THEN CASE WHEN n > 0 THEN 1 ELSE 2 END ELSE 3 END",
            vec![false, true, false, false],
        ),
        (
            "m > 9 AND CASE WHEN n > 0 THEN b ELSE NOT b END",
            // Behind a NULL, on the last row, AND looks on.
            vec![false, true],
        ),
        (
            "m < 9 AND CASE WHEN n > 0 THEN b ELSE NOT b END",
            vec![true, true],
        ),
        (
            "m IS NOT NULL OR CASE WHEN n > 0 THEN b ELSE NOT b END",
            vec![false, true],
        ),
        (
            "coalesce(n, CASE WHEN b THEN 1 ELSE 2 END)",
            vec![false, true],
        ),
        // A condition without a value takes nothing; n / m has one on rows 0, 2 and 3.
        (
            "CASE WHEN n / m = 0 THEN 1 WHEN m = 0 THEN 2 ELSE 3 END",
            vec![true, false, true],
        ),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

#[test]
fn a_branch_reads_as_its_condition() {
    let branches = taken("CASE WHEN m > 2 THEN 1 ELSE 3 END");
    let expected = [
        "CASE WHEN m > 2 THEN 1 .. END, WHEN m > 2".to_owned(),
        "CASE WHEN m > 2 THEN 1 .. END, ELSE".to_owned(),
    ];
    assert!(branches.into_iter().map(|(text, _)| text).eq(expected));
}
