//! `forebay show`, `describe` and `explain`: what a server's definitions are, or those of a folder.
//! The words of the command line are the statement; the engine of the server, or our own over the
//! folder, answers it, and the answer is printed as tables or as one JSON object.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use forebay_engine::{Answer, AnswerTable, Catalog, read_definitions};
use serde_json::{Map, Value as Json, json};

use super::remote::Remote;
use crate::cli::QuestionArgs;
use crate::explanation::with_tiles;
use crate::terminal::{block_on, log_from, print};

/// Longest cell of a table, characters; JSON has the whole.
const CELL_MAX_CHARS: usize = 100;

/// Ask `verb` and print the answer.
pub(super) fn run(verb: &str, args: &QuestionArgs) -> Result<ExitCode> {
    log_from("warn")?;
    let statement = format!("{verb} {}", args.words.join(" "));
    let answer = match &args.dir {
        Some(dir) => of_folder(dir, &statement)?,
        None => block_on(async {
            let remote = Remote::connect(&args.to.flight_addr).await?;
            remote
                .ask("answer", &json!({ "statement": statement }))
                .await
        })?,
    };
    if args.json {
        print(&format!("{:#}\n", as_json(&answer)))?;
    } else {
        print(&as_text(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_folder(dir: &Path, statement: &str) -> Result<Answer> {
    let catalog = Catalog::empty().plan(&read_definitions(dir)?)?.catalog;
    Ok(with_tiles(&catalog, catalog.answer(statement)?))
}

/// Facts as an object, and each table as a list of objects.
pub(super) fn as_json(answer: &Answer) -> Json {
    let mut object: Map<String, Json> = answer.facts.iter().cloned().collect();
    for table in &answer.tables {
        let rows = table.rows.iter().map(|row| {
            let cells = table.columns.iter().cloned().zip(row.iter().cloned());
            Json::Object(cells.collect())
        });
        // A fact may count what a table lists.
        let name = table.title.replace(' ', "_");
        let name = if object.contains_key(&name) {
            format!("{name}_list")
        } else {
            name
        };
        object.insert(name, rows.collect());
    }
    Json::Object(object)
}

pub(super) fn as_text(answer: &Answer) -> String {
    let mut text = String::new();
    let width = answer.facts.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    for (name, value) in &answer.facts {
        let value = whole(value);
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        let _infallible = writeln!(text, "{name:width$}  {first}");
        for line in lines {
            let _infallible = writeln!(text, "{:width$}  {line}", "");
        }
    }
    for table in &answer.tables {
        if !text.is_empty() {
            text.push('\n');
        }
        let _infallible = writeln!(text, "{} ({})", table.title, table.rows.len());
        text.push_str(&grid(table));
    }
    text
}

fn grid(table: &AnswerTable) -> String {
    let cut = |value: &Json| {
        let words = whole(value);
        let line = words.lines().next().unwrap_or_default();
        match line.char_indices().nth(CELL_MAX_CHARS) {
            Some((at, _)) => format!("{}..", &line[..at]),
            None => line.to_owned(),
        }
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(cut).collect())
        .collect();
    let widths = table.columns.iter().enumerate().map(|(column, name)| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or_default().max(name.chars().count())
    });
    let widths: Vec<usize> = widths.collect();
    let mut text = String::new();
    for row in std::iter::once(&table.columns).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _infallible = write!(line, "  {cell:<width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn whole(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flights(statement: &str) -> Result<Answer> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/flights");
        of_folder(Path::new(folder), statement)
    }

    #[test]
    fn views_are_listed_in_columns() -> Result<()> {
        let text = as_text(&flights("SHOW FEATURE VIEWS")?);
        let expected = "\
feature views (5)
  name                 version  entity    key           source      features  ttl      id
  aircraft_recent      1        aircraft  tailnum       departures  4         7 days   1
  airport_traffic      1        airport   origin        departures  6         2 days   2
  carrier_punctuality  1        carrier   carrier       arrivals    6         14 days  3
  origin_weather       1        airport   origin        weather     7         6 h      4
  route_history        1        route     origin, dest  arrivals    6         -        5
";
        assert_eq!(text, expected);
        Ok(())
    }

    #[test]
    fn json_has_facts_beside_lists() -> Result<()> {
        let json = as_json(&flights("describe feature service delay_features")?);
        assert_eq!(json["name"], "delay_features");
        assert_eq!(json["features"], 33);
        assert_eq!(json["features_list"][3]["reads"], "t.departures_1h");
        let reads = &json["features_list"][13]["reads"];
        assert_eq!(reads, "c.late_arrivals_7d, c.arrivals_7d");
        Ok(())
    }

    #[test]
    fn a_view_is_explained_with_what_its_tiles_hold() -> Result<()> {
        let json = as_json(&flights("EXPLAIN FEATURE VIEW airport_traffic")?);
        assert_eq!(json["reach"], "2 days");
        // Time, partition and offset, a DOUBLE and its bit of NULL, a FILTER.
        assert_eq!(json["event_bytes_most"], 29);
        assert_eq!(json["windows"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["aggregates"].as_array().map(Vec::len), Some(6));
        Ok(())
    }

    #[test]
    fn the_words_of_the_command_line_are_the_statement() -> Result<()> {
        let line = [
            "forebay", "describe", "feature", "view", "v", "--dir", "sql",
        ];
        let Command::Describe(args) = Cli::try_parse_from(line)?.command else {
            anyhow::bail!("another command");
        };
        assert_eq!(args.words, ["feature", "view", "v"]);
        Ok(())
    }
}
