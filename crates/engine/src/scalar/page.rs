//! The admitted functions as people read them: what `forebay functions` prints, and
//! `docs/functions.md`, which a test holds equal to the registry.

use std::fmt::Write;

use super::function::{Function, Overload, Reference};
use super::functions::families;

/// A scalar function that a definition may call.
#[derive(Debug, Clone)]
pub struct FunctionInfo {
    /// What it is about.
    pub family: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Other names that it goes by.
    pub aliases: &'static [&'static str],
    /// Version of its meaning.
    pub version: u32,
    /// What it gives, a sentence.
    pub summary: &'static str,
    /// Its calls with their types: `round(DOUBLE, BIGINT) -> DOUBLE`.
    pub signatures: Vec<String>,
    /// What a NULL argument gives.
    pub null: &'static str,
    /// NaN, infinities and -0.0; empty for a function without DOUBLE.
    pub float: &'static str,
    /// When a row has no value; empty for a function that always has one.
    pub fault: &'static str,
    /// The DuckDB expression that it equals, over its arguments `a`, `b`, `c`; None where it
    /// differs.
    pub duckdb: Option<&'static str>,
    /// Why it differs from DuckDB, where it does.
    pub differs: Option<&'static str>,
    /// Calls with their values, as SQL; the value `error` is a row without a value.
    pub examples: Vec<(&'static str, &'static str)>,
}

/// All functions, by family.
#[must_use]
pub fn scalar_functions() -> Vec<FunctionInfo> {
    let of_family = |(family, functions): (&'static str, &'static [Function])| {
        functions.iter().map(move |function| info(family, function))
    };
    families().flat_map(of_family).collect()
}

fn info(family: &'static str, function: &'static Function) -> FunctionInfo {
    let (duckdb, differs) = match function.reference {
        Reference::DuckDb(expression) => (Some(expression), None),
        Reference::Differs(why) => (None, Some(why)),
    };
    let examples = function.examples.iter();
    FunctionInfo {
        family,
        name: function.name,
        aliases: function.aliases,
        version: function.version,
        summary: function.summary,
        signatures: function
            .overloads
            .iter()
            .map(|overload| signature(function.name, overload))
            .collect(),
        null: function.rules.null,
        float: function.rules.float,
        fault: function.rules.fault,
        duckdb,
        differs,
        examples: examples.map(|e| (e.call, e.value)).collect(),
    }
}

fn signature(name: &str, overload: &Overload) -> String {
    let mut arguments: Vec<String> = overload
        .arguments
        .iter()
        .map(|argument| argument.sql().to_owned())
        .collect();
    arguments.extend(overload.rest.map(|rest| format!("{} ..", rest.sql())));
    let result = overload.result.sql();
    let call = match name.strip_suffix(')') {
        // Its first argument is part of its name.
        Some(call) => format!("{call}, {}", arguments[1..].join(", ")),
        None => format!("{name}({}", arguments.join(", ")),
    };
    format!("{call}) -> {result}")
}

/// `docs/functions.md`.
#[must_use]
pub fn functions_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut family = "";
    for function in scalar_functions() {
        if function.family != family {
            family = function.family;
            let _infallible = write!(page, "\n## {family}\n");
        }
        entry(&mut page, &function);
    }
    page
}

const INTRODUCTION: &str = "# Functions

Every scalar function that a definition may call. Anything else is refused by name, with what to write instead. This page
is made from the code (`forebay functions --markdown`), and the tests run every example.

Integers are BIGINT: INTEGER widens. DOUBLE has one NaN, which equals itself and is greater than everything else, and -0.0
equals 0. A view leaves out an event on which an expression has *no value*; a feature without a value is an error that
names it ([sql.md](sql.md#expressions)). AND, OR, CASE, coalesce and FILTER evaluate from left to right only what they reach.
";

fn entry(page: &mut String, function: &FunctionInfo) {
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    line(format!("\n### {}\n", function.name));
    line(format!("{}.", function.summary.trim_end_matches('.')));
    line(format!("\n```\n{}\n```\n", function.signatures.join("\n")));
    if !function.aliases.is_empty() {
        line(format!("* Also `{}`.", function.aliases.join("`, `")));
    }
    for (what, rule) in [
        ("NULL", function.null),
        ("Floats", function.float),
        ("No value", function.fault),
        ("Differs from DuckDB", function.differs.unwrap_or_default()),
    ] {
        if !rule.is_empty() {
            line(format!("* {what}: {rule}."));
        }
    }
    for (call, value) in &function.examples {
        line(format!("* `{call}` = `{value}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_that_of_the_registry() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/functions.md");
        let page = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            page == functions_page(),
            "docs/functions.md is of another registry; make it anew: forebay functions --markdown"
        );
    }

    #[test]
    fn a_name_is_that_of_one_function() {
        let mut names: Vec<&str> = scalar_functions()
            .iter()
            .flat_map(|f| f.aliases.iter().copied().chain([f.name]))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 120, "{count} names");
    }
}
