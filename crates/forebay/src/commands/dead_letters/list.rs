//! `forebay dead-letters list`: the newest letters that the flags mean, and the number of all by
//! source and reason; or the same of the rows that a view leaves out.

use std::process::ExitCode;

use anyhow::Result;
use forebay_engine::{Answer, AnswerTable};
use forebay_pipeline::left_out::Among;
use serde_json::{Value as Json, json};

use super::forms::{headers_json, json_of, printable, text_of};
use super::left_out;
use super::opened::{Extent, Opened};
use super::select::{Entry, Filter, Found};
use crate::cli::DeadLettersListArgs;
use crate::commands::progress::Step;
use crate::commands::question::{as_json, as_text};
use crate::instant;
use crate::terminal::{block_on, print};

/// Run the command.
pub(super) fn run(args: &DeadLettersListArgs) -> Result<ExitCode> {
    let filter = Filter::of(
        args.source.as_ref(),
        args.reason.as_ref(),
        args.since.as_ref(),
    )?;
    let opened = Opened::of(&args.archive)?;
    let mut found = Found::up_to(args.limit);
    let without_log = match &args.view {
        Some(view) => of_view(&opened, view, &filter, &mut found)?,
        None => {
            of_table(&opened, &filter, &mut found)?;
            None
        }
    };
    if let (Some(source), 0) = (&args.source, found.total()) {
        // Letters of a source that was dropped stay; one without any may be a mistyped name.
        opened.source(source)?;
    }
    let title = match &args.view {
        Some(view) => format!("rows that feature view {view} leaves out"),
        None => "dead letters".to_owned(),
    };
    let is_of_view = args.view.is_some();
    if args.json {
        let answer = for_programs(&found, is_of_view, without_log);
        print(&format!("{:#}\n", as_json(&answer)))?;
    } else {
        let answer = for_people(&found, title, is_of_view);
        print(&as_text(&answer))?;
        print(&remarks(&found, &answer, is_of_view, without_log))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_table(opened: &Opened, filter: &Filter, found: &mut Found) -> Result<()> {
    block_on(opened.letters(Extent::Named, &Among::default(), |letter| {
        if filter.takes(&letter) {
            found.add(Entry::of(letter));
        }
        Ok(())
    }))
}

/// Why keys and headers are missing, where they are.
fn of_view(
    opened: &Opened,
    view: &str,
    filter: &Filter,
    found: &mut Found,
) -> Result<Option<String>> {
    let compiled = opened.view(view)?;
    let step = Step::begin(format!("running feature view {view} over the archive"));
    block_on(left_out::rows(
        opened,
        compiled.as_ref(),
        Among::default(),
        |entry| {
            if filter.takes_fault(&entry.reason, entry.at_us) {
                found.add(entry);
            }
        },
    ))?;
    step.done(&format!("{} rows are left out", found.total()));
    Ok(left_out::name(opened, found.entries_mut()))
}

fn for_people(found: &Found, title: String, is_of_view: bool) -> Answer {
    let row = |entry: &Entry| {
        let mut cells = vec![
            json!(entry.source),
            json!(entry.partition),
            json!(entry.offset),
            entry.at_us.map(instant::format).into(),
            json!(entry.reason),
        ];
        cells.extend(is_of_view.then(|| json!(entry.view)));
        cells.push(Json::from(text_of(entry.key.as_deref())));
        cells.push(Json::from(printable(&entry.text)));
        cells
    };
    let names = ["source", "partition", "offset", "time", "reason"];
    let view = is_of_view.then_some("view");
    let columns = names.into_iter().chain(view).chain(["key", "text"]);
    let list = AnswerTable {
        title,
        columns: columns.map(str::to_owned).collect(),
        rows: found.entries().map(row).collect(),
    };
    Answer {
        facts: Vec::new(),
        tables: vec![list, counts(found)],
    }
}

fn for_programs(found: &Found, is_of_view: bool, without_log: Option<String>) -> Answer {
    let row = |entry: &Entry| {
        vec![
            json!(entry.source),
            json!(entry.topic),
            json!(entry.partition),
            json!(entry.offset),
            entry.at_us.map(instant::format).into(),
            json!(entry.reason),
            json!(entry.view),
            json_of(entry.key.as_deref()),
            entry.headers.as_deref().map(headers_json).into(),
            json!(entry.text),
        ]
    };
    let columns = [
        "source",
        "topic",
        "partition",
        "offset",
        "time",
        "reason",
        "view",
        "key",
        "headers",
        "text",
    ];
    let list = AnswerTable {
        title: if is_of_view {
            "left_out"
        } else {
            "dead_letters"
        }
        .to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: found.entries().map(row).collect(),
    };
    let fact = |name: &str, value: Json| (name.to_owned(), value);
    let mut facts = vec![fact("records", json!(found.total()))];
    facts.extend(without_log.map(|why| fact("log_away", json!(why))));
    Answer {
        facts,
        tables: vec![list, counts(found)],
    }
}

fn counts(found: &Found) -> AnswerTable {
    let counts = found.counts.iter();
    let row = |((source, reason), records): (&(String, String), &u64)| {
        vec![json!(source), json!(reason), json!(records)]
    };
    AnswerTable {
        title: "by source and reason".to_owned(),
        columns: ["source", "reason", "records"].map(str::to_owned).into(),
        rows: counts.map(row).collect(),
    }
}

/// What follows the tables: how many are not shown, and what to do.
fn remarks(
    found: &Found,
    answer: &Answer,
    is_of_view: bool,
    without_log: Option<String>,
) -> String {
    let mut text = String::from("\n");
    let shown = answer.tables[0].rows.len() as u64;
    if shown < found.total() {
        let older = found.total() - shown;
        text.push_str(&format!(
            "{older} older ones are not shown; --limit shows more\n"
        ));
    }
    if let Some(why) = without_log {
        text.push_str(&format!(
            "keys are not shown, since the log could not be asked: {why}\n"
        ));
    }
    text.push_str(match (is_of_view, found.total()) {
        (true, 0) => "the view takes every archived row of its source\n",
        (true, _) => {
            "they are events of their source; guard the expression and apply it: the view is then filled from the archive with \
             them\n"
        }
        (false, 0) => {
            "no record was left; rows that a feature view leaves out are listed with --view VIEW\n"
        }
        (false, _) => {
            "`forebay dead-letters show SOURCE PARTITION OFFSET` shows one, with what to do; rows that a feature view leaves out \
             are listed with --view VIEW\n"
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dead_letters::select::tests::letter;

    fn found() -> Found {
        let mut found = Found::up_to(1);
        found.add(Entry::of(letter(3, 8)));
        found.add(Entry::of(letter(0, 9)));
        found
    }

    #[test]
    fn a_list_has_the_newest_with_their_keys_and_counts_all() {
        let found = found();
        let answer = for_people(&found, "dead letters".to_owned(), false);
        let expected = "\
dead letters (1)
  source  partition  offset  time                  reason      key  text
  clicks  0          9       1970-01-01T00:00:09Z  wrong_type  ann  column `n`: is no BIGINT

by source and reason (1)
  source  reason      records
  clicks  wrong_type  2
";
        assert_eq!(as_text(&answer), expected);
        let remarks = remarks(&found, &answer, false, None);
        assert!(
            remarks.contains("1 older ones are not shown; --limit"),
            "{remarks}"
        );
    }

    #[test]
    fn programs_get_headers_and_bytes_too() {
        let mut entry = Entry {
            view: Some("odd".to_owned()),
            key: Some(vec![255]),
            ..Entry::of(letter(0, 9))
        };
        let listed = |entry: &Entry, log: Option<&str>| {
            let mut found = Found::up_to(1);
            found.add(entry.clone());
            as_json(&for_programs(&found, true, log.map(str::to_owned)))
        };
        let json = listed(&entry, None);
        assert_eq!(json["records"], 1);
        assert_eq!(json["left_out"][0]["key"]["hex"], "ff");
        assert_eq!(json["left_out"][0]["view"], "odd");
        assert_eq!(json["left_out"][0]["headers"], json!([]));
        assert_eq!(json["by_source_and_reason"][0]["records"], 1);
        entry.headers = None;
        let json = listed(&entry, Some("away"));
        assert_eq!(json["left_out"][0]["headers"], Json::Null);
        assert_eq!(json["log_away"], "away");
    }

    #[test]
    fn what_is_missing_is_said_with_the_reason() {
        let nothing = Found::up_to(9);
        let answer = for_people(&nothing, "rows".to_owned(), true);
        let text = remarks(&nothing, &answer, true, Some("no broker".to_owned()));
        for part in ["could not be asked: no broker", "takes every archived row"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
