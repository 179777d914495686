//! DATE, over the rows of `table`: what is days, what is a time, and where there is no date.

use super::check;

#[test]
fn days_are_counted_and_a_day_beyond_the_years_is_none() {
    check(&[
        (
            "d + 1",
            "1970-01-02 2024-03-01 0001-01-02 !out_of_range 1970-01-01 NULL",
        ),
        (
            "i + d",
            "1970-01-01 2024-03-01 !out_of_range !out_of_range !out_of_range NULL",
        ),
        (
            "d - 1",
            "1969-12-31 2024-02-28 !out_of_range 9999-12-30 1969-12-30 NULL",
        ),
        ("d - DATE '1970-01-01'", "0 19782 -719162 2932896 -1 NULL"),
        ("d - NULL", "NULL NULL NULL NULL NULL NULL"),
        (
            "make_date(2024, n + 2, 29)",
            "2024-02-29 2024-03-29 !out_of_range !overflow !out_of_range NULL",
        ),
    ]);
}

#[test]
fn a_date_is_its_midnight_where_a_time_is_taken() {
    check(&[
        (
            "d = TIMESTAMP '1970-01-01 00:00:00'",
            "true false false false false NULL",
        ),
        ("d < t", "false false true true false NULL"),
        ("extract(year FROM d)", "1970 2024 1 9999 1969 NULL"),
        (
            "date_trunc('month', d) = DATE '2024-02-01'",
            "false true false false false NULL",
        ),
        (
            "d + INTERVAL '1' MONTH = TIMESTAMP '2024-03-29 00:00:00'",
            "false true false false false NULL",
        ),
        (
            "extract(epoch FROM d - INTERVAL '1' SECOND)",
            "-1.0 1709164799.0 -62135596801.0 253402214399.0 -86401.0 NULL",
        ),
        (
            "extract(epoch FROM d - TIMESTAMP '1970-01-01 00:00:01')",
            "-1.0 1709164799.0 -62135596801.0 253402214399.0 -86401.0 NULL",
        ),
        (
            "coalesce(d, TIMESTAMP '1970-01-01 00:00:00') = d",
            "true true true true true NULL",
        ),
        (
            "CASE WHEN b THEN d ELSE t END IS NULL",
            "false false false false false true",
        ),
    ]);
}

#[test]
fn dates_compare_with_dates_and_constant_text() {
    check(&[
        ("d = '2024-02-29'", "false true false false false NULL"),
        ("d > DATE '1970-01-01'", "false true false true false NULL"),
        (
            "d IN (DATE '1970-01-01', DATE '9999-12-31')",
            "true false false true false NULL",
        ),
        (
            "d BETWEEN '1969-12-31' AND '1970-01-01'",
            "true false false false true NULL",
        ),
        (
            "CASE d WHEN DATE '1970-01-01' THEN 1 ELSE 2 END",
            "1 2 2 2 2 2",
        ),
        (
            "coalesce(d, DATE '2000-01-01')",
            "1970-01-01 2024-02-29 0001-01-01 9999-12-31 1969-12-31 2000-01-01",
        ),
        (
            "nullif(d, '1970-01-01')",
            "NULL 2024-02-29 0001-01-01 9999-12-31 1969-12-31 NULL",
        ),
        (
            "greatest(d, DATE '2000-01-01')",
            "2000-01-01 2024-02-29 2000-01-01 9999-12-31 2000-01-01 2000-01-01",
        ),
    ]);
}

#[test]
fn casts_to_and_from_text_and_times() {
    check(&[
        (
            "CAST(t AS DATE)",
            "1970-01-01 1970-01-01 1969-12-31 !cast !cast NULL",
        ),
        (
            "TRY_CAST(t AS DATE)",
            "1970-01-01 1970-01-01 1969-12-31 NULL NULL NULL",
        ),
        (
            "CAST(CAST(d AS TIMESTAMP) AS DATE) = d",
            "true true true true true NULL",
        ),
        (
            "CAST(d AS VARCHAR) || '!'",
            "1970-01-01! 2024-02-29! 0001-01-01! 9999-12-31! 1969-12-31! NULL",
        ),
        (
            "CAST(' ' || CAST(d AS VARCHAR) AS DATE) = d",
            "true true true true true NULL",
        ),
        ("CAST(s AS DATE)", "!cast !cast !cast !cast !cast NULL"),
        ("TRY_CAST(s AS DATE)", "NULL NULL NULL NULL NULL NULL"),
    ]);
}
