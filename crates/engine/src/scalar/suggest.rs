//! What to write for a function that there is not.

use super::forms::Form;
use super::functions;
use super::refusal::Refusal;

/// Functions whose value is no function of the data.
const CLOCKS: &[&str] = &[
    "now",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "today",
    "random",
    "rand",
    "uuid",
    "gen_random_uuid",
    "input_file_name",
];

/// Names of other systems, and what they are called here.
const INSTEAD: &[(&str, &str)] = &[
    ("if", "write CASE WHEN condition THEN a ELSE b END"),
    ("iif", "write CASE WHEN condition THEN a ELSE b END"),
    ("decode_case", "write CASE x WHEN a THEN b END"),
    ("isnull", "write x IS NULL"),
    ("variance", "write var_samp(x) OVER (..)"),
    ("std", "write stddev(x) OVER (..)"),
    ("mean", "write avg(x) OVER (..)"),
    (
        "count_if",
        "write count(*) FILTER (WHERE condition) OVER (..)",
    ),
    (
        "countif",
        "write count(*) FILTER (WHERE condition) OVER (..)",
    ),
    ("len", "write length(s)"),
    ("mod", "write a % b"),
    ("div", "write a / b"),
    (
        "datediff",
        "subtract the times: extract(epoch FROM a - b) / 86400",
    ),
    (
        "date_diff",
        "subtract the times: extract(epoch FROM a - b) / 86400",
    ),
    (
        "timestampdiff",
        "subtract the times: extract(epoch FROM a - b)",
    ),
    ("age", "subtract the times: a - b"),
    ("date_add", "write ts + INTERVAL '1' DAY"),
    ("dateadd", "write ts + INTERVAL '1' DAY"),
    ("date_sub", "write ts - INTERVAL '1' DAY"),
    ("to_date", "write date_trunc('day', ts)"),
    ("year", "write extract(year FROM ts)"),
    ("month", "write extract(month FROM ts)"),
    ("day", "write extract(day FROM ts)"),
    ("hour", "write extract(hour FROM ts)"),
    ("minute", "write extract(minute FROM ts)"),
    ("second", "write extract(second FROM ts)"),
    ("weekday", "write extract(dow FROM ts)"),
    ("unix_timestamp", "write extract(epoch FROM ts)"),
    ("charindex", "write strpos(s, part)"),
    ("locate", "write strpos(s, part)"),
    ("rlike", "write regexp_like(s, 'pattern')"),
    ("regexp_matches", "write regexp_like(s, 'pattern')"),
    ("concat_op", "write a || b"),
    ("convert", "write CAST(x AS type)"),
    ("cast_to_type", "write CAST(x AS type)"),
    ("try_cast_to_type", "write TRY_CAST(x AS type)"),
    ("arrow_cast", "write CAST(x AS type)"),
    ("arrow_try_cast", "write TRY_CAST(x AS type)"),
    (
        "arrow_typeof",
        "drop it: a type is known when the definition is written",
    ),
    ("version", "drop it: a value must not depend on the program"),
    ("xor", "write a <> b"),
];

/// What a function is refused with.
pub(super) fn unknown_function(name: &str) -> Refusal {
    if CLOCKS.contains(&name) {
        return Refusal::at(
            name,
            format!(
                "function '{name}' is no function of the data, so that its value could not be computed again; use the \
                 event-time column, or a request column that brings the value"
            ),
        );
    }
    let known = INSTEAD.iter().find(|(other, _)| *other == name);
    let remedy = match known {
        Some((_, remedy)) => (*remedy).to_owned(),
        None if is_of_lists(name) => {
            "values are single: write each element as a column of its own, or as text".to_owned()
        }
        None => match nearest(name) {
            Some(near) => format!("did you mean {near}?"),
            None => "docs/functions.md lists all".to_owned(),
        },
    };
    Refusal::at(name, format!("there is no function {name}; {remedy}"))
}

fn is_of_lists(name: &str) -> bool {
    let prefixes = ["array_", "list_", "map_", "struct", "make_array", "union_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        || [
            "map",
            "row",
            "named_struct",
            "flatten",
            "cardinality",
            "range",
            "unnest",
        ]
        .contains(&name)
}

/// A name that differs in at most two letters.
fn nearest(name: &str) -> Option<&'static str> {
    let forms = Form::ALL.iter().map(|form| form.name());
    let functions = functions::all().flat_map(|f| f.aliases.iter().copied().chain([f.name]));
    forms
        .chain(functions)
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len().min(name.len()))
        .min()
        .map(|(_, known)| known)
}

/// Letters to change, add or leave out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
