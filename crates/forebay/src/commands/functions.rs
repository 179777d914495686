//! `forebay functions`: the scalar functions that definitions may call, from the engine's registry.
//! It needs no server.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use forebay_engine::{FunctionInfo, functions_page, scalar_functions};
use serde_json::{Value, json};

use crate::cli::FunctionsArgs;
use crate::terminal::print;

/// Run the command.
pub(super) fn run(args: &FunctionsArgs) -> Result<ExitCode> {
    let all = scalar_functions();
    let wanted: Vec<&FunctionInfo> = match &args.name {
        None => all.iter().collect(),
        Some(name) => {
            let name = name.to_lowercase();
            let goes_by = |f: &&FunctionInfo| f.name == name || f.aliases.contains(&name.as_str());
            all.iter().filter(goes_by).collect()
        }
    };
    if let (Some(name), []) = (&args.name, wanted.as_slice()) {
        bail!("there is no function {name}; `forebay functions` lists all");
    }
    if args.markdown {
        print(&functions_page())?;
    } else if args.json {
        let rows: Vec<Value> = wanted.iter().map(|f| as_json(f)).collect();
        print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
    } else if args.name.is_some() {
        let whole: Vec<String> = wanted.iter().map(|f| whole(f)).collect();
        print(&whole.join("\n"))?;
    } else {
        let lines = wanted.iter();
        let lines: String = lines
            .map(|f| format!("{:24} {}\n", f.name, f.summary))
            .collect();
        print(&lines)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is known of a function.
fn whole(function: &FunctionInfo) -> String {
    let mut text = format!(
        "{}\n\n{}\n\n",
        function.signatures.join("\n"),
        function.summary
    );
    let aliases = function.aliases.join(", ");
    for (what, words) in [
        ("also", aliases.as_str()),
        ("NULL", function.null),
        ("floats", function.float),
        ("no value", function.fault),
        ("differs from DuckDB", function.differs.unwrap_or_default()),
    ] {
        if !words.is_empty() {
            let _infallible = writeln!(text, "{what}: {words}");
        }
    }
    for (call, value) in &function.examples {
        let _infallible = writeln!(text, "  {call} = {value}");
    }
    text
}

fn as_json(function: &FunctionInfo) -> Value {
    let examples = function.examples.iter();
    let examples: Vec<Value> = examples
        .map(|(call, value)| json!({"call": call, "value": value}))
        .collect();
    json!({
        "family": function.family, "name": function.name, "aliases": function.aliases,
        "version": function.version, "summary": function.summary, "signatures": function.signatures,
        "null": function.null, "float": function.float, "fault": function.fault,
        "duckdb": function.duckdb, "differs": function.differs, "examples": examples,
    })
}
