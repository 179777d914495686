//! Constructs that once ended the process, hung it or ate its memory while they were planned, at
//! the sizes at which they did so and at those that are parsed.

/// A view whose only feature is the greatest `of`.
pub(super) fn view(of: &str) -> String {
    format!(
        "CREATE FEATURE VIEW bad ENTITY e AS SELECT max({of}) OVER (PARTITION BY k ORDER BY t) AS f \
         FROM s"
    )
}

/// A service whose only feature is `expression` of its request.
pub(super) fn service(expression: &str) -> String {
    format!(
        "CREATE FEATURE SERVICE bomb (k VARCHAR, x DOUBLE, v VARCHAR) AS SELECT {expression} AS y \
         FROM request"
    )
}

/// `inner` inside of so many `open` .. `close`.
pub(super) fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

/// Queries of WITH, each of which reads the one before and makes `n` of it by `step`.
pub(super) fn chained(step: &str, queries: usize) -> String {
    let mut text = "WITH c0 AS (SELECT k, t, n, x FROM s)".to_owned();
    for i in 1..queries {
        text += &format!(", c{i} AS (SELECT k, t, {step} AS n, x FROM c{})", i - 1);
    }
    format!(
        "CREATE FEATURE VIEW bad ENTITY e AS {text} SELECT max(n) OVER (PARTITION BY k ORDER BY t) \
         AS f FROM c{}",
        queries - 1
    )
}

/// A truth value whose condition is one, so many levels deep.
pub(super) fn truths(levels: usize) -> String {
    let mut text = "n > 1".to_owned();
    for _ in 0..levels {
        text = format!("CASE WHEN ({text}) THEN b ELSE NOT b END");
    }
    text
}

/// What follows an operand and makes another one of it, and how often it was seen to end a server.
pub(super) const LINKS: &[(&str, usize)] = &[
    (" << 1", 6_000),
    (" >> 1", 6_000),
    (" ~ 'a'", 6_000),
    (" ~* 'a'", 6_000),
    (" ~~ 'a'", 6_000),
    (" -> 'a'", 6_000),
    (" ->> 'a'", 6_000),
    (" XOR true", 6_000),
    (" IN (true)", 3_000),
    (" AT TIME ZONE 'UTC'", 2_500),
    (" SIMILAR TO 'a'", 4_000),
    (" IS DISTINCT FROM n", 3_000),
    (" IS NULL", 6_000),
    ("[1]", 6_000),
    ("::INT[]", 6_000),
    (".a", 9_000),
    (" COLLATE c", 6_000),
];
/// What stands around an operand.
pub(super) const AROUND: &[(&str, &str)] = &[
    ("CAST(", " AS BIGINT)"),
    ("TRY_CAST(", " AS BIGINT)"),
    ("CONVERT(", ", BIGINT)"),
    ("FLOOR(", ")"),
    ("CEIL(", ")"),
    ("SUBSTRING(", " FROM 1)"),
    ("OVERLAY(", " PLACING 'a' FROM 1)"),
    ("TRIM(", ")"),
    ("POSITION('a' IN ", ")"),
    ("EXTRACT(DAY FROM ", ")"),
    ("(", ")"),
    ("[", "]"),
    ("ARRAY[", "]"),
    ("{fn abs(", ")}"),
    ("{a: ", "}"),
    ("STRUCT(", ")"),
    ("abs(", ")"),
    ("coalesce(", ", 1)"),
    ("nvl2(", ", 1, 2)"),
    ("CASE WHEN n = 1 THEN ", " END"),
    ("CASE ", " WHEN 1 THEN 2 END"),
    ("NOT ", ""),
    ("- ", ""),
    ("~ ", ""),
    ("INTERVAL ", ""),
    ("x -> ", ""),
    ("(x, y) -> ", ""),
    ("LAMBDA x : ", ""),
    ("a.", ""),
    ("ARRAY<", ">"),
    ("CAST(1 AS ARRAY<", ">)"),
    ("CAST(1 AS STRUCT<a INT, b ", ">)"),
    ("NULLABLE(", ")"),
    ("EXISTS (SELECT ", ")"),
];
/// The same around a table.
pub(super) const AROUND_TABLES: &[(&str, &str, &str)] = &[
    ("(", "s", ")"),
    ("(", "s +", ")"),
    ("(SELECT k, t, n FROM ", "s", ") AS q"),
    ("((SELECT k, t, n FROM ", "s +", ") AS q)"),
    ("((SELECT FROM ", "s +", "))"),
];

/// Name and text of each construct.
pub(super) fn constructs() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (link, most) in LINKS {
        // As few as are parsed too: what is behind the parser must bear them.
        for times in [*most, 250, 60] {
            let (many, name) = (link.repeat(times), format!("{times} x{link}"));
            all.push((format!("view, {name}"), view(&format!("n{many}"))));
            all.push((
                format!("service, {name}"),
                service(&format!("request.x{many}")),
            ));
        }
    }
    for (open, close) in AROUND {
        for levels in [6_000, 60, 48, 31, 12] {
            let levels = levels.min(60_000 / (open.len() + close.len()));
            // A text that is wrong at its innermost place is tried again at each level.
            let wrong = ["n +", "", "1 = 1 FROM", "'1' DAY"];
            let wrong = if levels == 31 {
                &wrong[..]
            } else {
                &wrong[..1]
            };
            for inner in wrong.iter().chain(&["n"]) {
                let name = format!("{levels} x {open}{inner}{close}");
                let text = view(&nested(open, inner, close, levels));
                all.push((format!("view, {name}"), text));
            }
        }
    }
    for (open, inner, close) in AROUND_TABLES {
        for levels in [1_000, 48, 31, 20, 10] {
            let from = nested(open, inner, close, levels);
            let text = view("n").replace("FROM s", &format!("FROM {from}"));
            all.push((format!("{levels} x FROM {open}{inner}{close}"), text));
        }
    }
    for levels in [8, 12, 22, 31] {
        let text = view(&format!("n) FILTER (WHERE {}", truths(levels)));
        all.push((format!("{levels} truth values"), text));
    }
    for queries in [12, 22, 60, 300] {
        let steps = [
            "n + n",
            "n",
            "coalesce(n, n)",
            "CASE WHEN n > 1 THEN n ELSE n END",
        ];
        for step in steps {
            all.push((
                format!("{queries} queries of {step}"),
                chained(step, queries),
            ));
        }
    }
    all
}
