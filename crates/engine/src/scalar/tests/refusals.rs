//! What is refused, with which words, and that what they say is taken.

use forebay_core::limits::EXPRESSION_MAX_NODES;

use super::{compiled, table};
use crate::session::Session;

/// An expression, words of its refusal, and the expression as they have it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "s = 5",
        "VARCHAR is compared with BIGINT",
        "CAST(s AS BIGINT) = 5",
    ),
    ("5 < s", "BIGINT is compared with VARCHAR", "'5' < s"),
    (
        "s SIMILAR TO '[[:digits:]]'",
        "has a class [:digits:]",
        "s SIMILAR TO '[[:digit:]]'",
    ),
    ("n ^ 2", "a # b for the bits that differ", "power(n, 2)"),
    (
        "x < 1e400",
        "1e400 does not fit into DOUBLE",
        "x < CAST('Infinity' AS DOUBLE)",
    ),
    (
        "s = b",
        "VARCHAR is compared with BOOLEAN",
        "CAST(s AS BOOLEAN) = b",
    ),
    (
        "b = 1",
        "BOOLEAN is compared with BIGINT",
        "CAST(b AS BIGINT) = 1",
    ),
    (
        "t > 5",
        "TIMESTAMP is compared with BIGINT",
        "CAST(t AS BIGINT) > 5",
    ),
    ("t = s", "CAST(s AS TIMESTAMP)", "t = CAST(s AS TIMESTAMP)"),
    (
        "s IN (1, 2)",
        "CAST(s AS BIGINT)",
        "CAST(s AS BIGINT) IN (1, 2)",
    ),
    (
        "n IN ('1', '2')",
        "CAST('1' AS BIGINT)",
        "n IN (CAST('1' AS BIGINT), 2)",
    ),
    (
        "s BETWEEN 1 AND 2",
        "CAST(s AS BIGINT)",
        "CAST(s AS BIGINT) BETWEEN 1 AND 2",
    ),
    (
        "CASE s WHEN 1 THEN 1 END",
        "CAST(s AS BIGINT)",
        "CASE CAST(s AS BIGINT) WHEN 1 THEN 1 END",
    ),
    (
        "CASE WHEN b THEN 1 ELSE 'x' END",
        "CAST(1 AS VARCHAR)",
        "CASE WHEN b THEN CAST(1 AS VARCHAR) ELSE 'x' END",
    ),
    (
        "CASE WHEN n THEN 1 END",
        "n is BIGINT where a condition (BOOLEAN) is expected",
        "CASE WHEN n = 1 THEN 1 END",
    ),
    (
        "coalesce(s, n)",
        "coalesce has values of different types",
        "coalesce(s, CAST(n AS VARCHAR))",
    ),
    (
        "s + 1",
        "VARCHAR + BIGINT has no meaning",
        "CAST(s AS DOUBLE) + 1",
    ),
    ("b AND n", "AND is for conditions", "b AND n = 1"),
    (
        "t * 2",
        "TIMESTAMP * BIGINT has no meaning",
        "t + INTERVAL '2' HOUR",
    ),
    (
        "x & 1",
        "x is DOUBLE where BIGINT is expected",
        "CAST(x AS BIGINT) & 1",
    ),
    ("s LIKE s", "must be a constant", "s LIKE 'a%'"),
    ("s SIMILAR TO '('", "is none", r"s SIMILAR TO '\('"),
    (
        r"s LIKE 'a\'",
        "ends with its escape character",
        r"s LIKE 'a\\'",
    ),
    (
        "CAST(x AS DECIMAL(10, 2))",
        "write DOUBLE",
        "CAST(x AS DOUBLE)",
    ),
    (
        "CAST(n AS DATE)",
        "write CAST(CAST(n AS TIMESTAMP) AS DATE)",
        "CAST(CAST(n AS TIMESTAMP) AS DATE)",
    ),
    (
        "CAST(d AS BIGINT)",
        "write d - DATE '1970-01-01'",
        "d - DATE '1970-01-01'",
    ),
    ("d * 2", "write dates with whole days", "d + 2"),
    ("d + d", "write dates with whole days", "d - d"),
    ("2 - d", "write dates with whole days", "d - 2"),
    ("d + x", "write dates with whole days", "d + n"),
    (
        "d = 1",
        "write DATE '2024-05-01'",
        "d = DATE '1970-01-01' + 1",
    ),
    ("CAST(x AS REAL)", "write DOUBLE", "CAST(x AS DOUBLE)"),
    (
        "CAST(b AS TIMESTAMP)",
        "has no cast to TIMESTAMP",
        "CAST(b AS BIGINT)",
    ),
    (
        "if(b, 1, 2)",
        "write CASE WHEN condition",
        "CASE WHEN b THEN 1 ELSE 2 END",
    ),
    ("nulif(n, 1)", "did you mean nullif?", "nullif(n, 1)"),
    ("mod(n, 2)", "write a % b", "n % 2"),
    ("now()", "no function of the data", "t"),
    ("version()", "must not depend on the program", "1"),
    ("array_sum(f)", "of arrays there are a[i]", "f[1]"),
    ("unnest(a)", "of arrays there are a[i]", "a[1]"),
    ("struct(n)", "maps and structs are not supported", "n"),
    (
        "a < ARRAY['b']",
        "arrays have no order; compare items",
        "a[1] < 'b'",
    ),
    (
        "a BETWEEN a AND a",
        "arrays have no order",
        "cardinality(a) BETWEEN 1 AND 2",
    ),
    (
        "greatest(a, a)",
        "arrays have no order",
        "greatest(a[1], a[2])",
    ),
    (
        "a = s",
        "VARCHAR[] is compared with VARCHAR",
        "array_contains(a, s)",
    ),
    (
        "coalesce(a, s)",
        "coalesce has values of different types",
        "coalesce(a[1], s)",
    ),
    (
        "a = f",
        "compare an item, a[1]",
        "a[1] = CAST(f[1] AS VARCHAR)",
    ),
    (
        "CAST(a AS VARCHAR)",
        "write array_to_string(a, ',')",
        "array_to_string(a, ',')",
    ),
    (
        "ARRAY[NULL]",
        "does not say of what type its items are",
        "ARRAY[CAST(NULL AS VARCHAR)]",
    ),
    ("ARRAY[a]", "there are no arrays of VARCHAR[]", "a"),
    (
        "ARRAY[t - t]",
        "there are no arrays of INTERVAL",
        "ARRAY[t]",
    ),
    (
        "ARRAY[s, n]",
        "ARRAY has values of different types",
        "ARRAY[n]",
    ),
    (
        "a[1:2]",
        "slices of arrays are not supported",
        "ARRAY[a[1], a[2]]",
    ),
    ("a['x']", "array_element takes", "a[1]"),
    ("s[1]", "array_element takes", "substr(s, 1, 1)"),
    ("n = ANY(SELECT 1)", "ANY, SOME and ALL", "n IN (1)"),
    ("s COLLATE \"de\"", "COLLATE", "s"),
    ("n > $1", "parameter '$1' has no value", "n > 1"),
    ("nullif(n)", "nullif takes two arguments", "nullif(n, 1)"),
    (
        "18446744073709551615 > n",
        "does not fit into BIGINT",
        "18446744073709551615.0 > n",
    ),
];

#[test]
fn nothing_is_cast_without_being_asked_and_the_words_say_how_to_ask() {
    let (session, columns) = (Session::new(), table());
    let mut wrong = Vec::new();
    for (sql, words, mended) in REFUSED {
        let refused = compiled(&session, &columns, sql).err();
        let refused = refused.unwrap_or_else(|| "it is taken".to_owned());
        if !refused.contains(words) || refused.contains("rror") {
            wrong.push(format!("{sql}: {refused}"));
        }
        if let Err(refused) = compiled(&session, &columns, mended) {
            wrong.push(format!("{mended}: {refused}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn operations_are_limited_and_equal_ones_are_one() {
    let (session, columns) = (Session::new(), table());
    let sum = vec!["n * 2"; 200].join(" + ");
    let code = compiled(&session, &columns, &sum).expect("few");
    // The column, 2, the product, and 199 sums.
    assert_eq!(code.nodes.len(), 202);
    let list: Vec<String> = (0..EXPRESSION_MAX_NODES).map(|i| i.to_string()).collect();
    let refused = compiled(&session, &columns, &format!("n IN ({})", list.join(", ")));
    let words = refused.expect_err("too many");
    assert!(words.contains("EXPRESSION_MAX_NODES"), "{words}");
}
