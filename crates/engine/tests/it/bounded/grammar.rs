//! SQL texts by seed: well-formed definitions over the tables of the tests, the same with tokens
//! lost, doubled, exchanged or foreign, and hostile ones: deep, wide, and what doubles itself. One
//! seed gives one text, always.
//!
//! Functions that make long texts of a number (`repeat`, `lpad`) are not among them: constants are
//! computed while they are planned.

use super::constructs::{AROUND, AROUND_TABLES, LINKS, chained, nested, service, truths, view};

const WINDOW: &str = "(PARTITION BY k ORDER BY t)";

/// Numbers by seed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("few");
        usize::try_from(self.next() % end).expect("below a usize")
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A size up to `most`, each order of magnitude as likely.
    fn size(&mut self, most: usize) -> usize {
        let bits = most.ilog2() + 1;
        let bits = 1 + self.below(usize::try_from(bits).expect("few"));
        (1 + self.below(1 << bits)).min(most)
    }
}

/// The text of `seed`.
pub(super) fn text_of(seed: u64) -> String {
    let mut rng = Rng(seed);
    match rng.below(10) {
        0..4 => definition(&mut rng),
        4..6 => {
            let text = definition(&mut rng);
            damaged(&mut rng, &text)
        }
        6 => links(&mut rng),
        7 => levels(&mut rng),
        8 => wide(&mut rng),
        _ => doubling(&mut rng),
    }
}

fn definition(rng: &mut Rng) -> String {
    let depth = 1 + rng.size(6);
    match rng.below(8) {
        0 => service_of(rng, depth),
        1 => {
            let label = truth(rng, depth);
            format!(
                "CREATE MONITOR o ON MODEL m WINDOW INTERVAL '7' DAY LABELS FROM s USING (k) AS \
                 {label} WITHIN INTERVAL '1' DAY REFERENCE TRAINING SET 'q' ALERT WHEN PSI > 0.2"
            )
        }
        _ => view_of(rng, depth),
    }
}

fn view_of(rng: &mut Rng, depth: usize) -> String {
    let features: Vec<String> = (0..rng.size(24))
        .map(|i| format!("{} AS f{i}", feature(rng, depth)))
        .collect();
    let mut from = "s".to_owned();
    for i in 0..rng.below(3) {
        let (n, x) = (number(rng, depth), number(rng, depth));
        let filter = truth(rng, depth);
        from = format!(
            "(SELECT k, t, CAST({n} AS BIGINT) AS n, CAST({x} AS DOUBLE) AS x, v, b FROM {from} \
             WHERE {filter}) AS q{i}"
        );
    }
    let filter = if rng.one_in(3) {
        format!(" WHERE {}", truth(rng, depth))
    } else {
        String::new()
    };
    format!(
        "CREATE FEATURE VIEW o ENTITY e AS SELECT {} FROM {from}{filter} WINDOW w AS {WINDOW}",
        features.join(", ")
    )
}

fn service_of(rng: &mut Rng, depth: usize) -> String {
    let features: Vec<String> = (0..rng.size(16))
        .map(|i| {
            let number = number(rng, depth);
            format!("{number} AS f{i}")
        })
        .collect();
    let text = features.join(", ");
    format!(
        "CREATE FEATURE SERVICE o (k VARCHAR, n BIGINT, x DOUBLE, v VARCHAR, b BOOLEAN, t TIMESTAMP) \
         AS SELECT {}, w.c + w.l AS g FROM request LEFT JOIN w USING (k)",
        text.replace(" k ", " request.k ")
    )
}

/// A window aggregate, or an expression over some.
fn feature(rng: &mut Rng, depth: usize) -> String {
    if rng.one_in(4) {
        let (left, right) = (feature(rng, depth), feature(rng, depth));
        let operator = rng.one_of(&["+", "-", "*"]);
        return format!("({left} {operator} {right})");
    }
    let over = if rng.one_in(2) {
        "w".to_owned()
    } else {
        let unit = rng.one_of(&["SECOND", "MINUTE", "HOUR", "DAY"]);
        let length = 1 + rng.below(90);
        format!(
            "(PARTITION BY k ORDER BY t RANGE BETWEEN INTERVAL '{length}' {unit} PRECEDING AND \
             CURRENT ROW)"
        )
    };
    let filter = if rng.one_in(3) {
        format!(" FILTER (WHERE {})", truth(rng, depth))
    } else {
        String::new()
    };
    let of = number(rng, depth);
    let aggregate = rng.one_of(&["sum", "avg", "min", "max", "count", "last_value"]);
    format!("{aggregate}({of}){filter} OVER {over}")
}

/// A number, up to so many levels deep.
fn number(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 {
        let leaf = rng.one_of(&[
            "n",
            "x",
            "n",
            "x",
            "0",
            "1",
            "-3",
            "2.5",
            "1e3",
            "9007199254740993",
        ]);
        return leaf.to_owned();
    }
    let depth = depth - 1;
    let (a, b) = (number(rng, depth), number(rng, rng_depth(depth)));
    match rng.below(14) {
        0..4 => format!("{a} {} {b}", rng.one_of(&["+", "-", "*", "/", "%"])),
        4 => format!("({a})"),
        5 => format!("- ({a})"),
        6 => format!("CASE WHEN {} THEN {a} ELSE {b} END", truth(rng, depth)),
        7 => format!("CASE {a} WHEN 1 THEN {b} WHEN {b} THEN 2 END"),
        8 => format!("coalesce({a}, {b}, 0)"),
        9 => format!(
            "{}({a})",
            rng.one_of(&["abs", "floor", "ceil", "sqrt", "ln", "sin", "FLOOR"])
        ),
        10 => format!(
            "{}({a}, {b})",
            rng.one_of(&["nullif", "greatest", "least", "power"])
        ),
        11 => format!(
            "CAST({a} AS {})",
            rng.one_of(&["BIGINT", "DOUBLE", "INTEGER"])
        ),
        12 => format!("length({})", words(rng, depth)),
        _ => format!(
            "EXTRACT({} FROM t)",
            rng.one_of(&["YEAR", "HOUR", "EPOCH", "DOW"])
        ),
    }
}

/// The second operand is often plain: else a tree of depth n has 2^n leaves.
fn rng_depth(depth: usize) -> usize {
    depth / 2
}

fn truth(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 {
        return rng
            .one_of(&["b", "true", "n IS NULL", "v LIKE 'a%'"])
            .to_owned();
    }
    let depth = depth - 1;
    match rng.below(9) {
        0..3 => {
            let (a, b) = (number(rng, depth), number(rng, depth / 2));
            format!(
                "{a} {} {b}",
                rng.one_of(&["=", "<>", "<", ">=", "IS DISTINCT FROM"])
            )
        }
        3 => format!("({}) AND ({})", truth(rng, depth), truth(rng, depth / 2)),
        4 => format!("({}) OR NOT ({})", truth(rng, depth), truth(rng, depth / 2)),
        5 => format!(
            "{} IN (1, 2, {})",
            number(rng, depth),
            number(rng, depth / 2)
        ),
        6 => format!(
            "{} BETWEEN 0 AND {}",
            number(rng, depth),
            number(rng, depth / 2)
        ),
        7 => format!(
            "{} {} 'a.b'",
            words(rng, depth),
            rng.one_of(&["~", "LIKE", "=", "!~"])
        ),
        _ => {
            let (when, then) = (truth(rng, depth), truth(rng, depth / 2));
            format!("CASE WHEN {when} THEN {then} ELSE b END")
        }
    }
}

fn words(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 {
        return rng.one_of(&["v", "'a'", "''", "k"]).to_owned();
    }
    let inner = words(rng, depth - 1);
    match rng.below(6) {
        0 => format!("{inner} || 'a'"),
        1 => format!("upper({inner})"),
        2 => format!("SUBSTRING({inner} FROM 1 FOR 2)"),
        3 => format!("TRIM({inner})"),
        4 => format!("replace({inner}, 'a', 'b')"),
        _ => format!("coalesce({inner}, v)"),
    }
}

/// Tokens that belong elsewhere.
const FOREIGN: &[&str] = &[
    "(",
    ")",
    ",",
    "[",
    "]",
    "{",
    "}",
    "<",
    "CASE",
    "END",
    "WHEN",
    "CAST",
    "AS",
    "FROM",
    "SELECT",
    "WHERE",
    "INTERVAL",
    "'",
    "\"",
    "--",
    "/*",
    "->",
    "::",
    ".",
    "..",
    "*",
    "NOT",
    "BETWEEN",
    "IN",
    "UNION",
    "WITH",
    "OVER",
    "LATERAL",
    "?",
    "$1",
    "@",
    "0x",
    "1e999",
    "\u{0}",
    "ARRAY",
    "STRUCT",
    "MAP",
    "LAMBDA",
    "VALUES",
    "PIVOT",
    "|>",
    "MATCH_RECOGNIZE",
    ";",
];

/// `text` with tokens lost, doubled, exchanged or foreign.
fn damaged(rng: &mut Rng, text: &str) -> String {
    let spaced = text
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace(',', " , ");
    let mut tokens: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    for _ in 0..=rng.below(4) {
        let at = rng.below(tokens.len());
        match rng.below(5) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, rng.one_of(FOREIGN).to_owned()),
            2 => rng.one_of(FOREIGN).clone_into(&mut tokens[at]),
            3 => {
                let other = rng.below(tokens.len());
                tokens.swap(at, other);
            }
            _ => {
                let end = (at + 1 + rng.below(12)).min(tokens.len());
                let piece = tokens[at..end].to_vec();
                for _ in 0..rng.size(400) {
                    tokens.splice(at..at, piece.iter().cloned());
                }
            }
        }
        if tokens.is_empty() {
            break;
        }
    }
    tokens.join(" ")
}

/// Cut to what a statement may have, roughly.
const MOST_BYTES: usize = 60_000;

/// A chain of one link or of several.
fn links(rng: &mut Rng) -> String {
    let kinds: Vec<&str> = (0..=rng.below(3))
        .map(|_| LINKS[rng.below(LINKS.len())].0)
        .collect();
    let mut chain = number(rng, 1);
    for _ in 0..rng.size(8_000) {
        if chain.len() > MOST_BYTES {
            break;
        }
        chain += rng.one_of(&kinds);
    }
    placed(rng, &chain)
}

/// Levels of one kind or of several around an operand, which may be wrong.
fn levels(rng: &mut Rng) -> String {
    if rng.one_in(6) {
        let (open, inner, close) = AROUND_TABLES[rng.below(AROUND_TABLES.len())];
        let from = nested(open, inner, close, rng.size(2_000));
        return view("n").replace("FROM s", &format!("FROM {from}"));
    }
    let kinds: Vec<(&str, &str)> = (0..=rng.below(4))
        .map(|_| AROUND[rng.below(AROUND.len())])
        .collect();
    let (mut before, mut after) = (String::new(), Vec::new());
    for _ in 0..rng.size(4_000) {
        if before.len() > MOST_BYTES / 2 {
            break;
        }
        let (open, close) = kinds[rng.below(kinds.len())];
        before += open;
        after.push(close);
    }
    if rng.one_in(4) {
        after.truncate(rng.below(after.len() + 1));
    }
    let inner = rng.one_of(&["n", "n +", "", "'a'", "n n", "SELECT", "1 = 1 FROM", "n, n"]);
    let after: String = after.into_iter().rev().collect();
    placed(rng, &format!("{before}{inner}{after}"))
}

/// A list of many elements, each small.
fn wide(rng: &mut Rng) -> String {
    let element = number(rng, 2);
    let count = rng.size(MOST_BYTES / (element.len() + 8));
    let many = |link: &str| vec![element.as_str(); count].join(link);
    let text = match rng.below(7) {
        0 => format!("n IN ({})", many(", ")),
        1 => format!("coalesce({})", many(", ")),
        2 => format!("greatest({})", many(", ")),
        3 => {
            let truth = truth(rng, 1);
            let branch = format!(" WHEN {truth} THEN {element}");
            let count = rng.size(MOST_BYTES / branch.len());
            format!("CASE{} END", branch.repeat(count))
        }
        4 => format!("CASE n WHEN {} END", many(" THEN 1 WHEN ")),
        5 => format!("[{}][1]", many(", ")),
        _ => {
            let features: Vec<String> = (0..count.min(900))
                .map(|i| format!("max({element} + {i}) OVER {WINDOW} AS f{i}"))
                .collect();
            return format!(
                "CREATE FEATURE VIEW o ENTITY e AS SELECT {} FROM s",
                features.join(", ")
            );
        }
    };
    placed(rng, &text)
}

/// What writes its operands down more than once when it is planned.
fn doubling(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => view(&format!("n) FILTER (WHERE {}", truths(rng.size(31)))),
        1 => {
            let mut step = number(rng, 2);
            if rng.one_in(2) {
                step = format!("n + {step} * n");
            }
            chained(&step, 1 + rng.size(400))
        }
        2 => {
            let mut text = "n".to_owned();
            for _ in 0..rng.size(31) {
                text = match rng.below(4) {
                    0 => format!("coalesce({text}, n)"),
                    1 => format!("nvl2({text}, n, 1)"),
                    2 => format!("nullif({text}, 1)"),
                    _ => format!("CASE WHEN {text} > 1 THEN n ELSE {text} END"),
                };
                if text.len() > MOST_BYTES {
                    break;
                }
            }
            placed(rng, &text)
        }
        _ => {
            let stars = rng.size(60);
            let mut from = "s".to_owned();
            for i in 0..stars {
                from = format!("(SELECT *, n AS n{i} FROM {from}) AS q{i}");
            }
            view("n").replace("FROM s", &format!("FROM {from}"))
        }
    }
}

/// `expression` somewhere in a definition.
fn placed(rng: &mut Rng, expression: &str) -> String {
    match rng.below(5) {
        0 => service(expression),
        1 => format!(
            "CREATE MONITOR o ON MODEL m WINDOW INTERVAL '7' DAY LABELS FROM s USING (k) AS \
             {expression} WITHIN INTERVAL '1' DAY REFERENCE TRAINING SET 'q' ALERT WHEN PSI > 0.2"
        ),
        2 => view("n").replace("FROM s", &format!("FROM s WHERE {expression} = 1")),
        3 => view(&format!("n) FILTER (WHERE {expression} > 1")),
        _ => view(expression),
    }
}
