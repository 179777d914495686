//! `forebay dead-letters show`: all of one dead letter, or of one archived row that views leave
//! out, and what to do next.

use std::process::ExitCode;

use anyhow::{Result, bail};
use arrow_array::RecordBatch;
use forebay_core::memory::Part;
use forebay_core::ports::{CompiledView, RecordHeader, Scan, TableScan as _};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError};
use forebay_engine::{Answer, AnswerTable};
use forebay_kafka::encode_rows;
use forebay_offline::StoredLetter;
use forebay_pipeline::left_out::Among;
use futures::TryStreamExt as _;
use serde_json::{Value as Json, json};

use super::decide::{Allowed, REPLAY_OF, Verdict};
use super::forms::{json_of, printable, text_of};
use super::left_out;
use super::notes::Replayed;
use super::opened::{Extent, Opened};
use super::replay::verdict;
use super::select::Entry;
use crate::cli::DeadLettersShowArgs;
use crate::commands::question::{as_json, as_text};
use crate::instant;
use crate::terminal::{block_on, print};

/// Run the command.
pub(super) fn run(args: &DeadLettersShowArgs) -> Result<ExitCode> {
    let opened = Opened::of(&args.archive)?;
    let form: Form = if args.json {
        json_of
    } else {
        |bytes| Json::from(text_of(bytes))
    };
    let answer = match find(&opened, args)? {
        Some(letter) => {
            let known = Replayed::of(&opened.settings.server.data_dir)?;
            let verdict = verdict(&opened, &letter, Allowed::default(), &known)?;
            of_letter(&letter, &verdict, form)
        }
        None => of_row(&opened, args, form)?,
    };
    print(&if args.json {
        format!("{:#}\n", as_json(&answer))
    } else {
        as_text(&answer)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The record that `args` name, alone, where its source is defined; else all.
fn among(source: Option<&SourceDef>, args: &DeadLettersShowArgs) -> Among {
    let Some(source) = source else {
        return Among::default();
    };
    let place = TopicPartition::new(source.topic.as_str(), args.partition);
    let at = |next_offset| {
        let progress = PartitionProgress {
            next_offset,
            ..PartitionProgress::default()
        };
        Applied([(place.clone(), progress)].into())
    };
    Among {
        from: at(args.offset),
        below: Some(at(args.offset.saturating_add(1))),
    }
}

fn find(opened: &Opened, args: &DeadLettersShowArgs) -> Result<Option<StoredLetter>> {
    let source = opened.catalog.sources().get(&args.source);
    let looked_for = |within: Among| {
        let mut found = None;
        let seen = block_on(opened.letters(Extent::Whole, &within, |letter| {
            let place = (letter.partition.partition, letter.offset);
            if letter.source == args.source && place == (args.partition, args.offset) {
                found = Some(letter);
            }
            Ok(())
        }));
        seen.map(|()| found)
    };
    match looked_for(among(source.map(AsRef::as_ref), args))? {
        // The source may have read another topic before.
        None => looked_for(Among::default()),
        found => Ok(found),
    }
}

/// A way to write bytes.
type Form = fn(Option<&[u8]>) -> Json;

fn of_letter(letter: &StoredLetter, verdict: &Verdict, form: Form) -> Answer {
    let time = |at: Option<i64>| Json::from(at.map(instant::format));
    let headers = letter.headers.as_deref().unwrap_or_default();
    let origin = headers.iter().find(|header| header.name == REPLAY_OF);
    let value = letter.payload.as_deref();
    let mut facts = place(&letter.source, &letter.partition, letter.offset);
    facts.extend([
        fact("time", time(letter.kafka_time_us)),
        fact("stored", time(letter.ingest_time_us)),
        fact("reason", json!(letter.reason)),
        fact("text", json!(printable(&letter.detail))),
        fact("key", form(letter.key.as_deref())),
        fact("value", form(value)),
        fact("value_bytes", json!(value.map_or(0, <[u8]>::len))),
        fact("cut", json!(letter.is_cut)),
        fact(
            "replay_of",
            form(origin.and_then(|header| header.value.as_deref())),
        ),
        fact("next", json!(next(letter, verdict))),
    ]);
    Answer {
        facts,
        tables: vec![headers_table(headers, form)],
    }
}

fn next(letter: &StoredLetter, verdict: &Verdict) -> String {
    let (source, partition, offset) = (&letter.source, letter.partition.partition, letter.offset);
    match verdict {
        Verdict::Replay => format!(
            "the definition in force takes it: `forebay dead-letters replay --source {source} {partition} {offset}` produces it \
             once more"
        ),
        Verdict::Leave(why, None) => format!("the record {why}"),
        Verdict::Leave(why, Some(words)) => format!("the record {why}: {}", printable(words)),
    }
}

/// The archived row that `args` name, and the views that leave it out.
fn of_row(opened: &Opened, args: &DeadLettersShowArgs, form: Form) -> Result<Answer> {
    let source = opened.source(&args.source)?;
    let (name, partition, offset) = (&args.source, args.partition, args.offset);
    let among = among(Some(source), args);
    let Some(row) = archived(opened, source, &among)? else {
        let words = format!(
            "offset {offset} of {name} partition {partition} is neither a dead letter nor an archived row; `forebay dead-letters \
             list --source {name}` lists those that there are"
        );
        return Err(PortError::not_found(words).into());
    };
    let views = opened.catalog.views().values();
    let mut entries: Vec<Entry> = Vec::new();
    for view in views.filter(|view| view.spec().source == *name) {
        let view: &dyn CompiledView = view.as_ref();
        block_on(left_out::rows(opened, view, among.clone(), |entry| {
            entries.push(entry)
        }))?;
    }
    let Some(mut first) = entries.first().cloned() else {
        bail!(PortError::not_found(format!(
            "offset {offset} of {name} partition {partition} is an archived row, and no feature view leaves it out"
        )));
    };
    let without_log = left_out::name(opened, std::iter::once(&mut first));
    Ok(row_answer(&first, &entries, (&row, without_log), form))
}

fn row_answer(
    first: &Entry,
    entries: &[Entry],
    (row, without_log): (&[u8], Option<String>),
    form: Form,
) -> Answer {
    let partition = TopicPartition::new(first.topic.as_str(), first.partition);
    let mut facts = place(&first.source, &partition, first.offset);
    facts.extend([
        fact("time", first.at_us.map(instant::format).into()),
        fact("key", form(first.key.as_deref())),
        fact("row", form(Some(row))),
    ]);
    if first.headers.is_none() {
        let why = without_log.unwrap_or_else(|| "the log no longer holds the record".to_owned());
        facts.push(fact(
            "log_away",
            json!(format!("no key and no headers: {why}")),
        ));
    }
    facts.push(fact(
        "next",
        json!(
            "it is an event of its source; guard the expression (nullif, CASE, FILTER, TRY_CAST) and apply it: the view is then \
             filled from the archive with it, and nothing is to be replayed"
        ),
    ));
    let left_out = |entry: &Entry| {
        let text = printable(&entry.text);
        vec![json!(entry.view), json!(entry.reason), json!(text)]
    };
    let views = AnswerTable {
        title: "left out of".to_owned(),
        columns: ["view", "reason", "text"].map(str::to_owned).into(),
        rows: entries.iter().map(left_out).collect(),
    };
    let headers = first.headers.as_deref().unwrap_or_default();
    Answer {
        facts,
        tables: vec![views, headers_table(headers, form)],
    }
}

/// The archived row of `source` at the one place that is `among`, as JSON.
fn archived(opened: &Opened, source: &SourceDef, among: &Among) -> Result<Option<Vec<u8>>> {
    let columns = source.columns.iter().map(|column| column.name.as_str());
    let scan = Scan {
        from: among.from.clone(),
        below: among.below.clone(),
        ..Scan::columns(columns).drawing(&opened.memory, Part::PointInTime)
    };
    block_on(async {
        let mut rows = match opened.archive.scan(&source.name, scan).await {
            Ok(rows) => rows,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        while let Some(batch) = rows.try_next().await? {
            let batch: RecordBatch = batch;
            if let Some(row) = encode_rows(&batch)?.pop() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    })
}

fn place(source: &str, partition: &TopicPartition, offset: i64) -> Vec<(String, Json)> {
    vec![
        fact("source", json!(source)),
        fact("topic", json!(&*partition.topic)),
        fact("partition", json!(partition.partition)),
        fact("offset", json!(offset)),
    ]
}

fn headers_table(headers: &[RecordHeader], form: Form) -> AnswerTable {
    let row = |header: &RecordHeader| {
        let name = printable(&header.name);
        vec![json!(name), form(header.value.as_deref())]
    };
    AnswerTable {
        title: "headers".to_owned(),
        columns: ["name", "value"].map(str::to_owned).into(),
        rows: headers.iter().map(row).collect(),
    }
}

fn fact(name: &str, value: Json) -> (String, Json) {
    (name.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dead_letters::decide::Left;
    use crate::commands::dead_letters::select::tests::letter;

    fn text(bytes: Option<&[u8]>) -> Json {
        Json::from(text_of(bytes))
    }

    #[test]
    fn a_letter_is_shown_whole_with_what_to_do() {
        let header = |name: &str, value: &[u8]| RecordHeader {
            name: name.to_owned(),
            value: Some(value.to_vec()),
        };
        let letter = StoredLetter {
            payload: Some(vec![0xff, b'{']),
            headers: Some(vec![
                header("trace", b"a1"),
                header(REPLAY_OF, b"raw.clicks/3/7"),
            ]),
            ..letter(3, 8)
        };
        let shown = as_text(&of_letter(&letter, &Verdict::Replay, text));
        for part in [
            "source       clicks\n",
            "topic        raw.clicks\n",
            "time         1970-01-01T00:00:08Z\n",
            "key          ann\n",
            "value        0xff7b\n",
            "value_bytes  2\n",
            "replay_of    raw.clicks/3/7\n",
            "replay --source clicks 3 8`",
            "  trace              a1\n",
        ] {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
        let left = Verdict::Leave(Left::StillNoRow, Some("column `n`: is text".to_owned()));
        let json = as_json(&of_letter(&letter, &left, json_of));
        assert_eq!(json["value"]["hex"], "ff7b");
        assert_eq!(json["headers"][0]["value"], "a1");
        let next = json["next"].as_str().expect("a text");
        assert!(
            next.contains("still no row") && next.ends_with("is text"),
            "{next}"
        );
    }

    #[test]
    fn a_row_is_shown_with_the_views_that_leave_it_out() {
        let entry = |view: &str| Entry {
            view: Some(view.to_owned()),
            headers: None,
            ..Entry::of(letter(3, 8))
        };
        let entries = [entry("odd"), entry("odder")];
        let of = |first: &Entry, away: Option<&str>| {
            let row = (&b"{\"n\":1}"[..], away.map(str::to_owned));
            as_text(&row_answer(first, &entries, row, text))
        };
        let away = of(&entries[0], Some("no broker answers"));
        for part in [
            "left out of (2)",
            "  odder",
            "row ",
            "no broker answers",
            "nothing is to be replayed",
        ] {
            assert!(away.contains(part), "{part} is missing in\n{away}");
        }
        let gone = of(&entries[0], None);
        assert!(
            gone.contains("the log no longer holds the record"),
            "{gone}"
        );
        let known = Entry {
            headers: Some(Vec::new()),
            ..entry("odd")
        };
        assert!(!of(&known, None).contains("no key"), "known");
    }
}
