//! Every operator and cast at its edges, over the rows of `table`.

use super::check;

#[test]
fn integers_are_checked_and_a_fault_is_of_its_row() {
    check(&[
        ("n + 1", "1 2 -6 !overflow -9223372036854775807 NULL"),
        (
            "n - m",
            "-2 1 -10 9223372036854775806 -9223372036854775807 NULL",
        ),
        ("n * m", "0 0 -21 9223372036854775807 !overflow NULL"),
        (
            "n / m",
            "0 !division_by_zero -2 9223372036854775807 !overflow NULL",
        ),
        ("n % m", "0 !division_by_zero -1 0 0 NULL"),
        ("m / n", "!division_by_zero 0 0 0 0 NULL"),
        ("-n", "0 -1 7 -9223372036854775807 !overflow NULL"),
        ("-i", "0 -1 7 -2147483647 !overflow NULL"),
        ("n + NULL", "NULL NULL NULL NULL NULL NULL"),
        ("1 + 1", "2 2 2 2 2 2"),
        ("n % 2 + 10", "10 11 9 11 10 NULL"),
    ]);
}

#[test]
fn arrays_are_read_by_place_and_equal_item_by_item() {
    check(&[
        ("a[1]", "NULL a Ab% NULL x NULL"),
        ("e.a[2]", "NULL NULL NULL NULL y NULL"),
        ("a[n]", "NULL a NULL NULL NULL NULL"),
        ("a[i]", "NULL a NULL NULL NULL NULL"),
        ("f[1]", "-0.0 1.5 NULL NULL 0.0 NULL"),
        ("f[2]", "NaN NULL NULL inf NULL NULL"),
        ("cardinality(a)", "0 1 2 1 3 NULL"),
        ("array_contains(a, s)", "false true true false false NULL"),
        ("array_position(a, 'y')", "NULL NULL NULL NULL 2 NULL"),
        (
            "array_contains(f, CAST('NaN' AS DOUBLE))",
            "true false false false false NULL",
        ),
        ("array_contains(f, 0)", "true false false false true NULL"),
        (
            "array_contains(ARRAY[1, i], 1.5)",
            "false false false false false false",
        ),
        (
            "'<' || array_to_string(a, '-', '?') || '>'",
            "<> <a> <Ab%-?> <?> <x-y-z> NULL",
        ),
        (
            "'<' || array_to_string(ARRAY[n, NULL], '') || '>'",
            "<0> <1> <-7> <9223372036854775807> <-9223372036854775808> <>",
        ),
        ("a = ARRAY[s]", "false true false false false NULL"),
        ("a <> ARRAY[s]", "true false true true true NULL"),
        (
            "a = ARRAY[CAST(NULL AS VARCHAR)]",
            "false false false true false NULL",
        ),
        (
            "a IS DISTINCT FROM a",
            "false false false false false false",
        ),
        ("a IS NULL", "false false false false false true"),
        (
            "f = ARRAY[0.0, CAST('NaN' AS DOUBLE)]",
            "true false false false false NULL",
        ),
        (
            "ARRAY[i, 2] = ARRAY[n, 2]",
            "true true true false false true",
        ),
        ("ARRAY[i] = ARRAY[x]", "true false false false false true"),
        (
            "a IN (ARRAY['a'], ARRAY['x', 'y', 'z'])",
            "false true false false true NULL",
        ),
        ("cardinality(coalesce(a, ARRAY['p', 'q']))", "0 1 2 1 3 2"),
        (
            "cardinality(CASE WHEN b THEN a END)",
            "0 NULL 2 NULL 3 NULL",
        ),
        ("nullif(a, ARRAY['a'])[1]", "NULL NULL Ab% NULL x NULL"),
    ]);
}

#[test]
fn integer_op_integer_is_bigint() {
    check(&[
        (
            "i * i",
            "0 1 49 4611686014132420609 4611686018427387904 NULL",
        ),
        ("i + i", "0 2 -14 4294967294 -4294967296 NULL"),
        ("i / 2", "0 0 -3 1073741823 -1073741824 NULL"),
        ("i & 3", "0 1 1 3 0 NULL"),
        (
            "i << i",
            "0 2 !out_of_range !out_of_range !out_of_range NULL",
        ),
    ]);
}

#[test]
fn bits_shift_by_less_than_their_count() {
    check(&[
        ("n & m", "0 0 1 1 -9223372036854775808 NULL"),
        ("n | m", "2 1 -5 9223372036854775807 -1 NULL"),
        (
            "n # m",
            "2 1 -6 9223372036854775806 9223372036854775807 NULL",
        ),
        (
            "m << 62",
            "-9223372036854775808 0 -4611686018427387904 4611686018427387904 -4611686018427387904 NULL",
        ),
        (
            "m << 63",
            "0 0 -9223372036854775808 -9223372036854775808 -9223372036854775808 NULL",
        ),
        (
            "n >> 1",
            "0 0 -4 4611686018427387903 -4611686018427387904 NULL",
        ),
        ("1 << m", "4 1 8 2 !out_of_range NULL"),
        (
            "1 << (m + 62)",
            "!out_of_range 4611686018427387904 !out_of_range -9223372036854775808 2305843009213693952 NULL",
        ),
    ]);
}

#[test]
fn doubles_are_ieee_with_one_nan_and_signed_zeros() {
    check(&[
        ("x / y", "NaN inf -2.5e-300 -inf NaN NULL"),
        ("x * 2", "-0.0 1.0 -5.0 inf NaN NULL"),
        ("-y", "-0.0 -0.0 -1e300 1.0 NaN NULL"),
        ("y * y", "0.0 0.0 inf 1.0 NaN NULL"),
        ("x - x", "0.0 0.0 0.0 NaN NaN NULL"),
        ("x % 2", "-0.0 0.5 -0.5 NaN NaN NULL"),
        (
            "n + 0.5",
            "0.5 1.5 -6.5 9.223372036854776e18 -9.223372036854776e18 NULL",
        ),
    ]);
}

#[test]
fn comparisons_know_one_nan_and_one_zero() {
    check(&[
        ("x = 0", "true false false false false NULL"),
        ("x <> 0", "false true true true true NULL"),
        ("x < 0", "false false true false false NULL"),
        ("x >= 0", "true true false true true NULL"),
        ("x = y", "true false false false true NULL"),
        ("x > y", "false true false true false NULL"),
        ("x <= y", "true false true false true NULL"),
        ("x / y > 5", "true true false false true NULL"),
        ("x / y < 5", "false false true true false NULL"),
        (
            "x / y = CAST('NaN' AS DOUBLE)",
            "true false false false true NULL",
        ),
        ("x IN (0, 1, 2, 3)", "true false false false false NULL"),
        (
            "x IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
            "true false false false false NULL",
        ),
        (
            "x NOT IN (0.5, CAST('NaN' AS DOUBLE))",
            "true false true true false NULL",
        ),
        ("x BETWEEN 0 AND 1", "true true false false false NULL"),
        ("x NOT BETWEEN 0 AND 1", "false false true true true NULL"),
        (
            "CASE x WHEN 0 THEN true ELSE false END",
            "true false false false false false",
        ),
        ("nullif(x, 0)", "NULL 0.5 -2.5 inf NaN NULL"),
        ("1.0 / nullif(x, 0)", "NULL 2.0 -0.4 0.0 NaN NULL"),
        ("greatest(x, y)", "-0.0 0.5 1e300 inf NaN NULL"),
        ("least(x, y, 0)", "-0.0 0.0 -2.5 -1.0 0.0 0.0"),
        ("greatest(x / y, 1.0)", "NaN inf 1.0 1.0 NaN 1.0"),
        ("x IS DISTINCT FROM y", "false true true true false false"),
        (
            "x IS NOT DISTINCT FROM 0.0",
            "true false false false false false",
        ),
    ]);
}

#[test]
fn other_types_compare_by_their_order() {
    check(&[
        ("s < 'B'", "true false true true true NULL"),
        ("s = 'a'", "false true false false false NULL"),
        ("s IN ('a', '12')", "false true false true false NULL"),
        ("s IN ('a', NULL)", "NULL true NULL NULL NULL NULL"),
        ("s IN ('a', lower(s))", "true true false true true NULL"),
        ("greatest(s, 'a')", "a a a a a a"),
        ("b > false", "true false true false true NULL"),
        ("b = true", "true false true false true NULL"),
        ("n IN (1, 0)", "true true false false false NULL"),
        ("i = 1", "false true false false false NULL"),
        ("t >= '1970-01-01'", "true true false true false NULL"),
        (
            "t BETWEEN '1970-01-01' AND '1970-01-01T00:00:00.000001Z'",
            "true true false false false NULL",
        ),
        (
            "t - t < INTERVAL '1' SECOND",
            "true true true true true NULL",
        ),
        (
            "INTERVAL '1' MONTH = INTERVAL '30' DAY",
            "true true true true true true",
        ),
        ("n IS DISTINCT FROM NULL", "true true true true true false"),
        ("least(n, m)", "0 0 -7 1 -9223372036854775808 NULL"),
        ("greatest(b, false)", "true false true false true false"),
        ("nullif(s, 'a')", " NULL Ab% 12  -3  NULL"),
    ]);
}

#[test]
fn conditions_are_three_valued() {
    check(&[
        ("b AND NULL", "NULL false NULL false NULL NULL"),
        ("b OR NULL", "true NULL true NULL true NULL"),
        ("NOT b", "false true false true false NULL"),
        ("b IS TRUE", "true false true false true false"),
        ("b IS NOT TRUE", "false true false true false true"),
        ("b IS FALSE", "false true false true false false"),
        ("b IS NOT FALSE", "true false true false true true"),
        ("b IS UNKNOWN", "false false false false false true"),
        ("b IS NOT UNKNOWN", "true true true true true false"),
        ("n IS NULL", "false false false false false true"),
        ("n IS NOT NULL", "true true true true true false"),
        ("(n > 0) = b", "false false false false false NULL"),
    ]);
}

#[test]
fn patterns_match_the_whole_text() {
    check(&[
        ("s LIKE 'A%'", "false false true false false NULL"),
        ("s LIKE '%b%'", "false false true false false NULL"),
        ("s LIKE '%2'", "false false false true false NULL"),
        ("s LIKE '_'", "false true false false false NULL"),
        ("s LIKE ''", "true false false false false NULL"),
        (r"s LIKE 'Ab\%'", "false false true false false NULL"),
        (
            "s LIKE 'Ab!%' ESCAPE '!'",
            "false false true false false NULL",
        ),
        ("s ILIKE 'aB%'", "false false true false false NULL"),
        ("s NOT LIKE '%'", "false false false false false NULL"),
        ("s LIKE NULL", "NULL NULL NULL NULL NULL NULL"),
        ("s SIMILAR TO 'a'", "false true false false false NULL"),
        ("s SIMILAR TO 'A'", "false false false false false NULL"),
        (
            "s SIMILAR TO '[[:digit:]]+'",
            "false false false true false NULL",
        ),
        (
            "s SIMILAR TO '[[:alpha:]%]+'",
            "false true true false false NULL",
        ),
        ("s SIMILAR TO 'A%'", "false false true false false NULL"),
        ("s SIMILAR TO '(a|12)'", "false true false true false NULL"),
        (
            "s SIMILAR TO '[0-9]{2}'",
            "false false false true false NULL",
        ),
        ("s SIMILAR TO '[^0-9]+'", "false true true false false NULL"),
        ("s SIMILAR TO '..'", "false false false false false NULL"),
        ("s NOT SIMILAR TO '_?'", "false false true true true NULL"),
        (r"s SIMILAR TO 'Ab\%'", "false false true false false NULL"),
    ]);
}

#[test]
fn casts_have_a_counterpart_or_a_fault() {
    check(&[
        ("CAST(x AS BIGINT)", "0 0 -2 !cast !cast NULL"),
        ("CAST(n AS INTEGER)", "0 1 -7 !cast !cast NULL"),
        ("TRY_CAST(n AS INTEGER)", "0 1 -7 NULL NULL NULL"),
        ("CAST(y AS INTEGER)", "0 0 !cast -1 !cast NULL"),
        ("CAST(s AS BIGINT)", "!cast !cast !cast 12 -3 NULL"),
        ("TRY_CAST(s AS DOUBLE)", "NULL NULL NULL 12.0 -3.0 NULL"),
        ("s::INT", "!cast !cast !cast 12 -3 NULL"),
        ("CAST(n AS BOOLEAN)", "false true true true true NULL"),
        ("CAST(x AS BOOLEAN)", "false true true true true NULL"),
        ("CAST(b AS INTEGER)", "1 0 1 0 1 NULL"),
        ("CAST(b AS VARCHAR)", "true false true false true NULL"),
        (
            "CAST(n AS DOUBLE)",
            "0.0 1.0 -7.0 9.223372036854776e18 -9.223372036854776e18 NULL",
        ),
        ("CAST(x AS VARCHAR)", "-0.0 0.5 -2.5 inf NaN NULL"),
        (
            "CAST(n AS VARCHAR)",
            "0 1 -7 9223372036854775807 -9223372036854775808 NULL",
        ),
        (
            "CAST(t AS BIGINT)",
            "0 1 -1 9223372036854775807 -9223372036854775808 NULL",
        ),
        (
            "CAST(m AS TIMESTAMP)",
            "1970-01-01T00:00:00.000002Z 1970-01-01T00:00:00Z 1970-01-01T00:00:00.000003Z 1970-01-01T00:00:00.000001Z 1969-12-31T23:59:59.999999Z NULL",
        ),
        ("TRY_CAST(s AS TIMESTAMP)", "NULL NULL NULL NULL NULL NULL"),
        (
            "CAST('2024-02-29' AS TIMESTAMP) = TIMESTAMP '2024-02-29 00:00:00'",
            "true true true true true true",
        ),
        (
            "CAST(CAST(t AS VARCHAR) AS BOOLEAN)",
            "!cast !cast !cast !cast !cast NULL",
        ),
        ("CAST(t - t AS BIGINT)", "0 0 0 0 0 NULL"),
        ("CAST(NULL AS DOUBLE)", "NULL NULL NULL NULL NULL NULL"),
    ]);
}

#[test]
fn times_are_checked_to_the_microsecond() {
    check(&[
        (
            "CAST(t + INTERVAL '1' DAY AS BIGINT)",
            "86400000000 86400000001 86399999999 !overflow -9223371950454775808 NULL",
        ),
        (
            "CAST(t - INTERVAL '1' MICROSECOND AS BIGINT)",
            "-1 0 -2 9223372036854775806 !overflow NULL",
        ),
        (
            "CAST(INTERVAL '1' MONTH + t AS BIGINT)",
            "2678400000000 2678400000001 2678399999999 !overflow -9223369358454775808 NULL",
        ),
        (
            "CAST(TIMESTAMP '2024-03-31 00:00:00' - INTERVAL '1' MONTH AS VARCHAR) = '2024-02-29T00:00:00Z'",
            "true true true true true true",
        ),
        (
            "CAST(t - TIMESTAMP '1970-01-01' AS BIGINT)",
            "0 1 -1 9223372036854775807 -9223372036854775808 NULL",
        ),
        (
            "CAST(t - TIMESTAMP '1969-12-31' AS BIGINT)",
            "86400000000 86400000001 86399999999 !overflow -9223371950454775808 NULL",
        ),
        (
            "CAST(t + (t - t) AS BIGINT)",
            "0 1 -1 9223372036854775807 -9223372036854775808 NULL",
        ),
        (
            "CAST(t - (t - t) AS BIGINT)",
            "0 1 -1 9223372036854775807 -9223372036854775808 NULL",
        ),
        ("CAST((t - t) + (t - t) AS BIGINT)", "0 0 0 0 0 NULL"),
    ]);
}

#[test]
fn text_is_put_together_with_anything() {
    check(&[
        ("s || '.'", ". a. Ab%. 12.  -3 . NULL"),
        (
            "n || '/' || m",
            "0/2 1/0 -7/3 9223372036854775807/1 -9223372036854775808/-1 NULL",
        ),
        ("b || ''", "true false true false true NULL"),
    ]);
}

#[test]
fn forms_take_any_type() {
    check(&[
        (
            "coalesce(n, m, 5)",
            "0 1 -7 9223372036854775807 -9223372036854775808 5",
        ),
        ("coalesce(NULL, i)", "0 1 -7 2147483647 -2147483648 NULL"),
        ("nvl(x, 1)", "-0.0 0.5 -2.5 inf NaN 1.0"),
        ("ifnull(s, '?')", " a Ab% 12  -3  ?"),
        ("nvl2(n, 'y', 'n')", "y y y y y n"),
        (
            "nullif(n, m)",
            "0 1 -7 9223372036854775807 -9223372036854775808 NULL",
        ),
        (
            "CASE WHEN n > 0 THEN 'p' WHEN n < 0 THEN 'm' END",
            "NULL p m p m NULL",
        ),
        (
            "CASE n WHEN 0 THEN i WHEN 1 THEN 2.5 ELSE n END",
            "0.0 2.5 -7.0 9.223372036854776e18 -9.223372036854776e18 NULL",
        ),
        (
            "CASE WHEN b THEN t END IS NULL",
            "false true false true false true",
        ),
    ]);
}
