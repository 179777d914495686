//! How tightly operators bind, as PostgreSQL and DuckDB have it. What a bracketed text gives is the
//! business of the other tests; here both forms are one.

use super::{check, evaluated};
use crate::session::Session;

/// Each text, and the same with brackets.
const PAIRS: &[(&str, &str)] = &[
    (
        "b IS DISTINCT FROM NOT b AND b",
        "(b IS DISTINCT FROM (NOT b)) AND b",
    ),
    (
        "b IS NOT DISTINCT FROM b OR n = 1",
        "(b IS NOT DISTINCT FROM b) OR (n = 1)",
    ),
    ("n IS DISTINCT FROM m AND b", "(n IS DISTINCT FROM m) AND b"),
    (
        "n IS DISTINCT FROM m + 1 AND b",
        "(n IS DISTINCT FROM (m + 1)) AND b",
    ),
    (
        "n IS DISTINCT FROM NULL AND b",
        "(n IS DISTINCT FROM NULL) AND b",
    ),
    ("NOT n IS DISTINCT FROM m", "NOT (n IS DISTINCT FROM m)"),
    ("5 | 3 & 2", "(5 | 3) & 2"),
    ("5 << 1 & 3", "(5 << 1) & 3"),
    ("5 | 3 << 1", "(5 | 3) << 1"),
    ("5 # 3 | 8", "(5 # 3) | 8"),
    ("5 | 3 + 1", "5 | (3 + 1)"),
    ("5 & 3 = 1", "(5 & 3) = 1"),
    ("5 & 3 BETWEEN 0 AND 1", "(5 & 3) BETWEEN 0 AND 1"),
    ("s || 'x' = 'ax'", "(s || 'x') = 'ax'"),
    ("s || 'x' LIKE 'a%'", "(s || 'x') LIKE 'a%'"),
    ("s || 1 + 2", "s || (1 + 2)"),
    ("- n + m", "(- n) + m"),
    ("NOT b AND b", "(NOT b) AND b"),
    ("b OR b AND NOT b", "b OR (b AND (NOT b))"),
];

#[test]
fn operators_bind_as_in_postgresql() {
    let json = r#"'{"a":"x","ab":"other"}'"#;
    let arrows = [
        (
            format!("{json} ->> 'a' || 'b'"),
            format!("({json} ->> 'a') || 'b'"),
        ),
        (
            format!("{json} ->> 'a' = 'x'"),
            format!("({json} ->> 'a') = 'x'"),
        ),
        (
            format!("{json} ->> 'a' IS NULL"),
            format!("({json} ->> 'a') IS NULL"),
        ),
        (
            format!("{json} ->> 'a' LIKE 'x%'"),
            format!("({json} ->> 'a') LIKE 'x%'"),
        ),
        (
            format!("{json} ->> 'a' IN ('x')"),
            format!("({json} ->> 'a') IN ('x')"),
        ),
        (
            format!("length({json} -> 'a')"),
            format!("length(({json} -> 'a'))"),
        ),
    ];
    let pairs = PAIRS.iter();
    let pairs = pairs.map(|(plain, bracketed)| ((*plain).to_owned(), (*bracketed).to_owned()));
    let session = Session::new();
    for (plain, bracketed) in pairs.chain(arrows) {
        let expected = evaluated(&session, &bracketed);
        assert_eq!(evaluated(&session, &plain), expected, "{plain}");
    }
    check(&[
        ("5 | 3 & 2", "2 2 2 2 2 2"),
        ("5 << 1 & 3", "2 2 2 2 2 2"),
        ("5 # 3", "6 6 6 6 6 6"),
    ]);
}
