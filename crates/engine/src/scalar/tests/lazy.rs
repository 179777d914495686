//! Which faults count: those that a reader of the SQL comes to.

use super::{check, compiled, table};
use crate::session::Session;

#[test]
fn the_right_side_of_and_counts_where_the_left_is_not_false() {
    check(&[
        (
            "m <> 0 AND n / m > 0",
            "false false false true !overflow NULL",
        ),
        (
            "n / m > 0 AND m <> 0",
            "false !division_by_zero false true !overflow NULL",
        ),
        ("m = 0 OR n / m > 0", "false true false true !overflow NULL"),
        (
            "n / m > 0 OR m = 0",
            "false !division_by_zero false true !overflow NULL",
        ),
        (
            "NULL AND n / m > 0",
            "false !division_by_zero false NULL !overflow NULL",
        ),
        (
            "NOT (m <> 0 AND n / m > 0)",
            "true true true false !overflow NULL",
        ),
        (
            "(m <> 0 AND n / m > 0) IS NULL",
            "false false false false !overflow true",
        ),
    ]);
}

#[test]
fn a_branch_counts_where_it_is_taken() {
    check(&[
        ("CASE WHEN m <> 0 THEN m / m ELSE 0 END", "1 0 1 1 1 0"),
        (
            "CASE WHEN m <> 0 THEN n / m > 0 ELSE false END",
            "false false false true !overflow false",
        ),
        (
            "CASE WHEN n / m > 0 THEN 1 WHEN m = 0 THEN 2 END",
            "NULL !division_by_zero NULL 1 !overflow NULL",
        ),
        (
            "CASE WHEN m = 0 THEN 2 WHEN n / m > 0 THEN 1 END",
            "NULL 2 NULL 1 !overflow NULL",
        ),
        (
            "CASE WHEN b THEN 1 ELSE 1 / 0 END",
            "1 !division_by_zero 1 !division_by_zero 1 !division_by_zero",
        ),
        ("CASE WHEN false THEN 1 / 0 ELSE 1 END", "1 1 1 1 1 1"),
        ("CASE m WHEN 0 THEN 0 ELSE 6 / m END", "3 0 2 6 -6 NULL"),
        ("coalesce(m, 1 / 0)", "2 0 3 1 -1 !division_by_zero"),
        ("coalesce(6 / m, 1)", "3 !division_by_zero 2 6 -6 1"),
        ("nvl2(m, 1, 1 / 0)", "1 1 1 1 1 !division_by_zero"),
        ("nullif(6 / m, 3)", "NULL !division_by_zero 2 6 -6 NULL"),
    ]);
}

#[test]
fn the_first_failing_argument_is_the_fault() {
    check(&[
        (
            "(n + 1) * (n / m)",
            "0 !division_by_zero 12 !overflow !overflow NULL",
        ),
        (
            "(n / m) + (n << 70)",
            "!out_of_range !division_by_zero !out_of_range !out_of_range !overflow NULL",
        ),
        ("greatest(6 / m, 9)", "9 !division_by_zero 9 9 9 9"),
        (
            "6 / m IS NULL",
            "false !division_by_zero false false false true",
        ),
        (
            "6 / m IS DISTINCT FROM NULL",
            "true !division_by_zero true true true false",
        ),
    ]);
}

#[test]
fn what_never_has_a_value_is_refused_unless_it_is_guarded() {
    let session = Session::new();
    let columns = table();
    for (sql, words) in [
        ("1 / 0", "1 / 0 never has a value: division by zero"),
        ("n + 1 / 0", "1 / 0 never has a value"),
        (
            "CAST('x' AS BIGINT)",
            "CAST('x' AS BIGINT) never has a value: the value cannot be cast",
        ),
        (
            "1 << 64",
            "1 << 64 never has a value: an argument is out of range",
        ),
        (
            "9223372036854775807 + 1",
            "the result does not fit into its type",
        ),
        ("coalesce(1 / 0, n)", "1 / 0 never has a value"),
        ("CASE WHEN 1 / 0 = 1 THEN 1 END", "1 / 0 never has a value"),
        (
            "CASE WHEN b THEN 1 / 0 ELSE 1 % 0 END",
            "1 / 0 never has a value",
        ),
        ("NOT (1 / 0 = 1)", "1 / 0 never has a value"),
    ] {
        let refused = compiled(&session, &columns, sql).expect_err(sql);
        assert!(refused.contains(words), "{sql}: {refused}");
    }
    for sql in [
        "CASE WHEN b THEN 1 / 0 END",
        "b AND 1 / 0 = 1",
        "coalesce(n, 1 / 0)",
        "CASE WHEN false THEN 1 / 0 END",
        "false AND 1 / 0 = 1",
    ] {
        compiled(&session, &columns, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}
