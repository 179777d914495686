//! The limits of a text: each is reached, named in the error, and what the error asks for is taken
//! by the whole catalog; texts that are long but not deep are taken.

use forebay_core::ErrorKind;
use forebay_core::limits::{
    DEFINITION_FILE_MAX_BYTES, EXPRESSION_MAX_NODES, NAME_MAX_BYTES, SQL_MAX_BYTES,
    SQL_MAX_CHAINED_OPERATORS, SQL_MAX_DEPTH, SQL_MAX_NESTED_TOKENS, SQL_MAX_NESTING,
    SQL_MAX_PARSER_STEPS, SQL_MAX_QUERIES, SQL_MAX_SET_BRANCHES, SQL_MAX_TOKENS, VIEW_MAX_FEATURES,
};

use super::refusals::{COUNTED, planned};

/// A view over the base whose only feature is `expression`.
fn view(name: &str, expression: &str) -> String {
    format!("CREATE FEATURE VIEW {name} ENTITY e AS SELECT {expression} AS x FROM s")
}

/// `n + n + ..`, with so many operators.
fn chain(operators: usize) -> String {
    vec!["n"; operators + 1].join(" + ")
}

/// A condition over so many values, in `parts` equal lists.
fn listed(values: &[String], parts: usize) -> Vec<String> {
    values
        .chunks(values.len().div_ceil(parts))
        .enumerate()
        .map(|(part, values)| {
            let all = values.join(", ");
            let counted = format!("count(*) FILTER (WHERE k IN ({all})) OVER {WINDOW}");
            view(&format!("v{part}"), &counted)
        })
        .collect()
}

#[test]
fn a_chain_of_any_operator_is_refused_before_it_is_parsed() {
    for link in [
        " << 1",
        " >> 1",
        " # 1",
        " XOR true",
        " ~ 'a'",
        " !~* 'a'",
        " ~~ 'a'",
        " -> 'a'",
        " ->> 'a'",
        " @> 'a'",
        " AT TIME ZONE 'UTC'",
        " IN (true)",
        " ILIKE 'a'",
        " SIMILAR TO 'a'",
        " COLLATE c",
        " <=> 1",
        " && 1",
        " IS NULL",
    ] {
        let most = (SQL_MAX_BYTES - 200) / link.len();
        let many = link.repeat(most.min(4_000));
        let many = view("v", &format!("max(n{many}) OVER {WINDOW}"));
        let words = planned(&[&many]).expect_err(link).to_string();
        let limit = "SQL_MAX_CHAINED_OPERATORS";
        assert!(words.contains(limit), "{link}: {words}");
        // As many as may be are planned, or refused, and nothing overflows.
        let few = link.repeat(SQL_MAX_CHAINED_OPERATORS);
        let few = view("v", &format!("max(n{few}) OVER {WINDOW}"));
        if let Err(error) = planned(&[&few]) {
            let words = error.to_string();
            assert!(!words.contains(limit), "{link}: {words}");
        }
    }
}

const WINDOW: &str = "(PARTITION BY k ORDER BY t)";

/// What is over the limit, the words of the error, and the files that it asks for.
type Over = (String, &'static str, Vec<String>);

/// A view that sums `of`.
fn summed(of: &str) -> String {
    view("v", &format!("sum({of}) OVER {WINDOW}"))
}

/// FROM of a view, with `inner` computed in it.
fn below(inner: &str) -> String {
    format!("FROM (SELECT k, t, n, {inner} AS inner_part FROM s) AS q")
}

fn over_the_limits_of_one_chain() -> Vec<Over> {
    let either: Vec<String> = (0..SQL_MAX_CHAINED_OPERATORS)
        .map(|n| format!("n = {n}"))
        .collect();
    let either = format!(
        "count(*) FILTER (WHERE {}) OVER {WINDOW}",
        either.join(" OR ")
    );
    let values: Vec<String> = (0..SQL_MAX_CHAINED_OPERATORS)
        .map(|n| n.to_string())
        .collect();
    let half = chain(SQL_MAX_CHAINED_OPERATORS / 2);
    let operators = "more than 256 chained operators (SQL_MAX_CHAINED_OPERATORS); use IN for a \
                     long list of OR, or compute the rest in a subquery";
    vec![
        (
            view("v", &either),
            operators,
            vec![view(
                "v",
                &format!(
                    "count(*) FILTER (WHERE n IN ({})) OVER {WINDOW}",
                    values.join(", ")
                ),
            )],
        ),
        (
            summed(&chain(SQL_MAX_CHAINED_OPERATORS + 1)),
            operators,
            vec![summed(&chain(SQL_MAX_CHAINED_OPERATORS))],
        ),
        (
            summed(&chain(SQL_MAX_CHAINED_OPERATORS + 1)),
            operators,
            vec![summed(&format!("inner_part + {half}")).replace("FROM s", &below(&half))],
        ),
    ]
}

fn over_the_limits_of_depth() -> Vec<Over> {
    let inner = format!("{}n{}", "(".repeat(30), ")".repeat(30));
    let nested = inner.replace('n', &inner);
    let levels = "more than 32 levels of brackets and CASE (SQL_MAX_NESTING); compute the inner \
                  part in a subquery of a view, or in a view that a service joins";
    let signs = |count: usize| format!("{}n", "- ".repeat(count));
    let deep = |operators: usize| format!("({} + 1)", vec!["n"; operators].join(" + "));
    let deeper = format!("{} + {}", deep(SQL_MAX_DEPTH / 2), chain(SQL_MAX_DEPTH / 2));
    vec![
        (
            summed(&signs(60)),
            "the SQL is nested more than 50 levels deep; compute the inner part in a subquery of a \
             view, or in a view that a service joins",
            vec![
                summed(&signs(30).replace('n', "inner_part")).replace("FROM s", &below(&signs(30))),
            ],
        ),
        (
            summed(&deeper),
            "more than 300 operations deep (SQL_MAX_DEPTH); compute the inner part in a subquery \
             of a view, or in a view that a service joins",
            vec![
                summed(&format!("inner_part + {}", chain(SQL_MAX_DEPTH / 2)))
                    .replace("FROM s", &below(&deep(SQL_MAX_DEPTH / 2))),
            ],
        ),
        (
            summed(&nested),
            levels,
            vec![summed(&inner.replace('n', "inner_part")).replace(
                "FROM s",
                &format!("FROM (SELECT k, t, {inner} AS inner_part FROM s) AS q"),
            )],
        ),
        (
            format!(
                "CREATE FEATURE SERVICE o (n BIGINT, k VARCHAR) AS SELECT {nested} AS x FROM request"
            ),
            levels,
            vec![
                summed(&inner),
                format!(
                    "CREATE FEATURE SERVICE o (n BIGINT, k VARCHAR) AS SELECT {} AS x \
                     FROM request LEFT JOIN v USING (k)",
                    inner.replace('n', "v.x")
                ),
            ],
        ),
    ]
}

/// Queries that read one another, each naming what the one before has twice.
fn doubled(queries: usize) -> String {
    let first = "c0 AS (SELECT k, t, n FROM s)".to_owned();
    let more = (1..queries).map(|i| format!("c{i} AS (SELECT k, t, n + n AS n FROM c{})", i - 1));
    let all: Vec<String> = std::iter::once(first).chain(more).collect();
    format!(
        "CREATE FEATURE VIEW v ENTITY e AS WITH {} SELECT max(n) OVER {WINDOW} AS x FROM c{}",
        all.join(", "),
        queries - 1
    )
}

fn over_the_limits_of_nesting() -> Vec<Over> {
    let cast = |inner: &str, levels: usize| {
        let (open, close) = ("CAST(".repeat(levels), " AS BIGINT)".repeat(levels));
        view("v", &format!("max({open}{inner}{close}) OVER {WINDOW}"))
    };
    let mut nested = "n".to_owned();
    for _ in 0..=SQL_MAX_NESTED_TOKENS / SQL_MAX_CHAINED_OPERATORS {
        nested = format!("({nested}{})", " + n".repeat(SQL_MAX_CHAINED_OPERATORS));
    }
    let nested = view("v", &format!("max({nested}) OVER {WINDOW}"));
    let plain = doubled(SQL_MAX_QUERIES).replace("n + n", "n");
    vec![
        (
            nested,
            "more than 1024 operators and keywords nested in one another (SQL_MAX_NESTED_TOKENS)",
            vec![view("v", &format!("max({}) OVER {WINDOW}", chain(200)))],
        ),
        (
            cast("n +", 25),
            "ends without an answer after 100000 operands (SQL_MAX_PARSER_STEPS): something is \
             wrong deep inside brackets",
            vec![cast("n + 1", 25)],
        ),
        (
            plain.replace("FROM c0", "FROM (SELECT * FROM c0) AS q"),
            "more than 64 queries (SQL_MAX_QUERIES)",
            // The one that counts beside those of WITH.
            vec![doubled(SQL_MAX_QUERIES - 1).replace("n + n", "n")],
        ),
        (
            doubled(22),
            "its expressions have more than 50000 nodes when they are written out \
             (EXPRESSION_MAX_NODES); name a column of a subquery fewer times, or split the \
             definition",
            vec![doubled(4)],
        ),
    ]
}

fn over_the_limits_of_one_text() -> Vec<Over> {
    let numbers: Vec<String> = (0..SQL_MAX_TOKENS / 2)
        .map(|n| format!("'{}'", n % 10))
        .collect();
    let long: Vec<String> = ["a", "b", "c"]
        .map(|letter| format!("'{}'", letter.repeat(SQL_MAX_BYTES / 2 - 200)))
        .to_vec();
    let part = COUNTED.replace("AS c", "AS x");
    let parts = vec![part.as_str(); SQL_MAX_SET_BRANCHES + 1].join(" UNION ALL ");
    let each = |place: usize| format!("CREATE FEATURE VIEW v{place} ENTITY e AS {part}");
    let entities: Vec<String> = ["a", "b"]
        .map(|name| {
            let padding = " ".repeat(DEFINITION_FILE_MAX_BYTES / 2);
            format!("CREATE ENTITY {name} (k VARCHAR);{padding}")
        })
        .to_vec();
    vec![
        (
            listed(&numbers, 1).concat(),
            "more than 20000 tokens (SQL_MAX_TOKENS); split the statement",
            listed(&numbers, 2),
        ),
        (
            listed(&long, 1).concat(),
            "more than 65536 bytes (SQL_MAX_BYTES); split the statement",
            listed(&long, 2),
        ),
        (
            format!("CREATE FEATURE VIEW v ENTITY e AS {parts}"),
            "more than 64 branches of UNION (SQL_MAX_SET_BRANCHES); write one definition for each \
             part",
            (0..=SQL_MAX_SET_BRANCHES).map(each).collect(),
        ),
        (
            entities.concat(),
            "more than 1048576 (DEFINITION_FILE_MAX_BYTES); split it",
            entities,
        ),
        (
            format!(
                "CREATE ENTITY {} (k VARCHAR)",
                "n".repeat(NAME_MAX_BYTES + 1)
            ),
            "must have 1 to 255 bytes and not begin with an underscore",
            vec![format!(
                "CREATE ENTITY {} (k VARCHAR)",
                "n".repeat(NAME_MAX_BYTES)
            )],
        ),
        (
            format!(
                "CREATE ENTITY o ({} VARCHAR)",
                "n".repeat(NAME_MAX_BYTES + 1)
            ),
            "must have 1 to 255 bytes",
            vec![format!(
                "CREATE ENTITY o ({} VARCHAR)",
                "n".repeat(NAME_MAX_BYTES)
            )],
        ),
    ]
}

#[test]
fn what_is_over_a_limit_is_taken_as_the_error_says() {
    let mut over = over_the_limits_of_one_chain();
    over.extend(over_the_limits_of_depth());
    over.extend(over_the_limits_of_nesting());
    over.extend(over_the_limits_of_one_text());
    let named = [
        ("1024", SQL_MAX_NESTED_TOKENS),
        ("100000", SQL_MAX_PARSER_STEPS),
        ("32", SQL_MAX_NESTING),
        ("50000", EXPRESSION_MAX_NODES),
    ];
    for (words, limit) in named {
        assert_eq!(words, limit.to_string(), "as the texts above have it");
    }
    for (text, words, mended) in over {
        let error = planned(&[&text]).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        let mended: Vec<&str> = mended.iter().map(String::as_str).collect();
        planned(&mended).unwrap_or_else(|e| panic!("{words}: {e}"));
    }
}

#[test]
fn long_texts_that_are_not_deep_are_taken() {
    let whens: String = (0..300)
        .map(|i| format!(" WHEN n = {i} THEN {i}"))
        .collect();
    planned(&[&view(
        "v",
        &format!("max(CASE{whens} ELSE 300 END) OVER {WINDOW}"),
    )])
    .expect("300 branches");
    let windows: Vec<String> = (1..=250)
        .map(|i| {
            let frame = format!("RANGE BETWEEN INTERVAL '{i}' MINUTE PRECEDING AND CURRENT ROW");
            format!("count(*) OVER (PARTITION BY k ORDER BY t {frame}) AS c{i}")
        })
        .collect();
    let windows = windows.join(", ");
    planned(&[&format!(
        "CREATE FEATURE VIEW v ENTITY e AS SELECT {windows} FROM s"
    )])
    .expect("250 windows");
    let features: Vec<String> = (0..600)
        .map(|i| format!("max(n) OVER w + {i} AS f{i}"))
        .collect();
    let error = planned(&[&format!(
        "CREATE FEATURE VIEW v ENTITY e AS SELECT {} FROM s WINDOW w AS {WINDOW}",
        features.join(", ")
    )])
    .expect_err("too many features");
    let words = format!("has 600 features, more than {VIEW_MAX_FEATURES} (VIEW_MAX_FEATURES)");
    assert!(error.to_string().contains(&words), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
