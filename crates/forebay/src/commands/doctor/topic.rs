//! `forebay doctor --topic`: the newest records of a topic against the definition of its source, so
//! that nothing about them has to be guessed. Reads with a client of its own, commits nothing,
//! changes nothing. What is likely wrong is a finding with its remedy; everything else is a table.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use forebay_core::source::SourceDef;
use forebay_engine::Catalog;
use forebay_kafka::sample::{Sampled, newest_records};
use forebay_kafka::survey::ColumnReport;
use forebay_kafka::{ClientSettings, ReaderSettings, Survey, SurveyReport};
use serde_json::json;

use super::finding::{Finding, render};
use crate::cli::{Output, TopicArgs};
use crate::instant;
use crate::settings::{Broker, Settings};

/// Longest wait for one answer of the broker: somebody waits for the whole table.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Unknown fields that the table names.
const UNKNOWN_SHOWN_MAX: usize = 10;

/// What is found about `topic`, as `args` wants it printed, and whether anything is wrong.
pub(super) fn examine(
    settings: &Settings,
    catalog: &Catalog,
    topic: &str,
    args: &TopicArgs,
) -> Result<(String, bool)> {
    if settings.kafka.broker == Broker::Embedded {
        bail!("the embedded broker lives inside its server; give --bootstrap of a Kafka cluster");
    }
    let source = source_of(catalog, topic)?;
    let client = ClientSettings {
        request_timeout: ANSWER_MAX,
        ..settings.kafka.client(&settings.kafka.bootstrap)
    };
    let mut survey = Survey::new(source)?;
    let mut outcome = Ok(());
    let sampled = newest_records(
        &ReaderSettings::new(client),
        topic,
        args.records,
        |partition, _, record| {
            if outcome.is_ok() {
                outcome = survey.look(partition, record);
            }
        },
    )?;
    outcome?;
    let sampled = sampled
        .with_context(|| format!("{topic} does not exist on {}", settings.kafka.bootstrap))?;
    let report = survey.report();
    let findings = findings(&report, sampled);
    let wrong = findings.iter().any(Finding::is_failed);
    let text = match args.output {
        Output::Table => table(&report, sampled) + "\n" + &render(&findings),
        Output::Json => {
            let texts: Vec<&str> = findings.iter().map(Finding::text).collect();
            let whole = json!({"report": report, "partitions": sampled.partitions,
                               "silent_partitions": sampled.silent, "findings": texts});
            serde_json::to_string_pretty(&whole)? + "\n"
        }
    };
    Ok((text, wrong))
}

fn source_of<'a>(catalog: &'a Catalog, topic: &str) -> Result<&'a SourceDef> {
    let mut sources = catalog.sources().values();
    let found = sources.find(|source| source.topic == topic);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let known = catalog.sources().values().map(|s| s.topic.as_str());
        let known = match known.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "the definitions have no source".to_owned(),
            known => format!("read are: {known}"),
        };
        anyhow!(
            "no source reads topic {topic}; {known}; give the definitions with --sql or --data-dir"
        )
    })
}

/// What is likely wrong, and what is worth knowing.
fn findings(report: &SurveyReport, sampled: Sampled) -> Vec<Finding> {
    let mut findings = Vec::new();
    if sampled.silent > 0 {
        let (silent, all) = (sampled.silent, sampled.partitions);
        findings.push(Finding::failed(
            "broker",
            format!("{silent} of {all} partitions did not answer in time; ask again"),
        ));
    }
    if report.records == 0 {
        findings.push(Finding::note("topic", "it has no records to look at"));
        return findings;
    }
    for column in report.columns.iter().filter(|c| c.present == 0) {
        findings.push(never_present(column));
    }
    for column in report.columns.iter().filter(|c| !c.other_case.is_empty()) {
        let (name, fields) = (&column.name, column.other_case.join(", "));
        let field = &column.other_case[0];
        findings.push(Finding::note(
            "column",
            format!("column {name} is filled by {fields}, which differs in case; to have its name, declare \"{field}\""),
        ));
    }
    for refused in &report.refused {
        findings.push(Finding::failed(
            "refused",
            format!(
                "{} of {} records become dead letters ({}): {}",
                refused.records, report.records, refused.reason, refused.example
            ),
        ));
    }
    if report.late > 0 {
        findings.push(Finding::note(
            "late",
            format!(
                "{} of {} rows are behind the watermark of their partition; a longer WATERMARK delay takes them in",
                report.late, report.rows
            ),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "records",
            "every column is present, and nothing is refused",
        ));
    }
    findings
}

fn never_present(column: &ColumnReport) -> Finding {
    let name = &column.name;
    let text = match column.nearest.as_slice() {
        [] => format!("column {name} was never present"),
        names => format!(
            "column {name} was never present; the records have {}",
            names.join(", ")
        ),
    };
    Finding::failed("column", text)
}

fn table(report: &SurveyReport, sampled: Sampled) -> String {
    let mut lines = vec![format!(
        "topic {}, source {}: the newest {} records of {} partitions; {} are rows\n",
        report.topic, report.source, report.records, sampled.partitions, report.rows
    )];
    let share = |count: u64| match report.records {
        0 => "-".to_owned(),
        records => format!("{:.1} %", 100.0 * count as f64 / records as f64),
    };
    let mut rows = vec![
        [
            "column", "type", "present", "null", "absent", "guessed", "refused",
        ]
        .map(str::to_owned),
    ];
    rows.extend(report.columns.iter().map(|column| {
        [
            column.name.clone(),
            column.data_type.clone(),
            share(column.present),
            share(column.null),
            share(column.absent),
            counts(column.guesses.iter()),
            counts(column.refused.iter()),
        ]
    }));
    lines.push(aligned(&rows));
    if let Some((from, to)) = report.event_times {
        lines.push(format!(
            "event times from {} to {}",
            instant::format(from),
            instant::format(to)
        ));
    }
    if !report.unknown_fields.is_empty() {
        let fields = report.unknown_fields.iter().take(UNKNOWN_SHOWN_MAX);
        let fields: Vec<String> = fields.map(|(name, n)| format!("{name} ({n})")).collect();
        let more = report.unknown_fields.len().saturating_sub(fields.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        lines.push(format!(
            "fields that no column names, skipped: {}{more}",
            fields.join(", ")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `kind count`, comma separated; `-` for none.
fn counts<'a>(counts: impl Iterator<Item = (&'a &'static str, &'a u64)>) -> String {
    let told: Vec<String> = counts
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if told.is_empty() {
        "-".to_owned()
    } else {
        told.join(", ")
    }
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ").expect("a String takes any text");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> SurveyReport {
        let column = |name: &str, present, nearest: &[&str]| ColumnReport {
            name: name.to_owned(),
            data_type: "Utf8".to_owned(),
            present,
            absent: 10 - present,
            nearest: nearest.iter().map(|name| (*name).to_owned()).collect(),
            ..ColumnReport::default()
        };
        SurveyReport {
            source: "clicks".into(),
            topic: "raw.clicks".into(),
            records: 10,
            rows: 10,
            columns: vec![column("userid", 0, &["user_id"]), column("name", 10, &[])],
            unknown_fields: vec![("user_id".into(), 10)],
            ..SurveyReport::default()
        }
    }

    const ALL_ANSWERED: Sampled = Sampled {
        partitions: 2,
        silent: 0,
    };

    #[test]
    fn a_column_that_never_came_is_told_with_the_field_that_did() {
        let findings = findings(&report(), ALL_ANSWERED);
        let text = render(&findings);
        let words = "column userid was never present; the records have user_id";
        assert!(findings[0].is_failed() && text.contains(words), "{text}");
        let table = table(&report(), ALL_ANSWERED);
        for part in [
            "the newest 10 records of 2 partitions; 10 are rows",
            "column  type  present  null   absent   guessed  refused",
            "userid  Utf8  0.0 %    0.0 %  100.0 %  -        -",
            "skipped: user_id (10)",
        ] {
            assert!(table.contains(part), "{part} is missing in\n{table}");
        }
    }

    #[test]
    fn a_field_of_another_case_is_worth_knowing_and_no_defect() {
        let mut report = report();
        report.columns[0].present = 10;
        report.columns[0].other_case = vec!["userId".into()];
        let findings = findings(&report, ALL_ANSWERED);
        let text = render(&findings);
        assert!(!findings.iter().any(Finding::is_failed), "{text}");
        let words = "column userid is filled by userId, which differs in case; to have its name, declare \"userId\"";
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn an_empty_topic_is_no_defect_and_a_silent_partition_is_one() {
        let empty = SurveyReport::default();
        assert!(
            !findings(&empty, ALL_ANSWERED)
                .iter()
                .any(Finding::is_failed)
        );
        let silent = Sampled {
            silent: 1,
            ..ALL_ANSWERED
        };
        assert!(findings(&empty, silent).iter().any(Finding::is_failed));
    }

    #[test]
    fn refused_values_fail_with_their_remedy() {
        let report = SurveyReport {
            columns: Vec::new(),
            refused: vec![forebay_kafka::survey::Refused {
                reason: "wrong_type",
                column: Some("amount".into()),
                records: 3,
                example: "column `amount`: is DOUBLE and the record has a string".into(),
            }],
            late: 1,
            ..report()
        };
        let text = render(&findings(&report, ALL_ANSWERED));
        for part in [
            "3 of 10 records become dead letters",
            "is DOUBLE and the record has a string",
            "1 of 2 things",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
