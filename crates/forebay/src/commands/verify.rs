//! `forebay verify`: the server compares served values with values recomputed from its archive, bit
//! for bit, and the archive with the log; the report is printed and says with the exit code whether
//! anything was found. The server judges; here its answer becomes text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::remote::Remote;
use crate::cli::VerifyArgs;
use crate::exit;
use crate::terminal::{block_on, log_from, print};

/// Body of the server's action `verify`.
#[derive(Debug, Serialize)]
struct Question<'a> {
    service: &'a str,
    sample: usize,
    predictions: bool,
    log_records: u64,
    max_unverified: f64,
}

/// Its answer.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// Why it failed; empty when it did not.
    failures: Vec<String>,
    report: Report,
    witness: Witness,
    /// The first differences, in words.
    differences: Vec<String>,
}

/// The counts of a comparison of values, as `training` writes them.
#[derive(Debug, Default, Deserialize)]
struct Report {
    service: String,
    service_version: u32,
    rows: u64,
    equal: u64,
    mismatch: u64,
    not_verifiable: u64,
    late: Option<u64>,
    reasons: BTreeMap<String, u64>,
    features: BTreeMap<String, Tally>,
}

#[derive(Debug, Default, Deserialize)]
struct Tally {
    equal: u64,
    mismatch: u64,
}

/// The archive against the log.
#[derive(Debug, Default, Deserialize)]
struct Witness {
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    topic: String,
    partitions: BTreeMap<i32, Partition>,
}

/// The offsets of one partition.
#[derive(Debug, Default, Deserialize)]
struct Partition {
    from: i64,
    begin_known: bool,
    to: i64,
    archived: u64,
    compared: u64,
    dead_letters: u64,
    gaps: u64,
    repeats: u64,
    no_record: u64,
    lost: u64,
    unchecked: u64,
}

/// Run the command.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    log_from("warn")?;
    ensure!(
        args.sample > 0,
        "--sample 0 compares nothing; give at least 1"
    );
    ensure!(
        (0.0..=1.0).contains(&args.max_unverified),
        "--max-unverified {} is no share; give a number from 0 to 1",
        args.max_unverified
    );
    let question = Question {
        service: &args.service,
        sample: args.sample,
        predictions: args.predictions,
        log_records: args.log_records,
        max_unverified: args.max_unverified,
    };
    let answer: Answer = block_on(async {
        Remote::connect(&args.to.flight_addr)
            .await?
            .ask("verify", &question)
            .await
    })?;
    print(&text(&answer, args.sample, args.log_records))?;
    Ok(if answer.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::FOUND)
    })
}

/// The answer, where `asked` rows were to be compared and `log_records` of each source.
fn text(answer: &Answer, asked: usize, log_records: u64) -> String {
    let mut lines = values(&answer.report, asked);
    let differences = answer.differences.iter();
    lines.extend(differences.map(|difference| format!("  {difference}")));
    for (name, source) in &answer.witness.sources {
        lines.push(format!(
            "{name}: the archive against topic {}",
            source.topic
        ));
        let partitions = source.partitions.iter();
        lines.extend(partitions.map(|(number, found)| partition(*number, found)));
    }
    lines.extend(
        answer
            .failures
            .iter()
            .map(|failure| format!("FAILED: {failure}")),
    );
    if answer.failures.is_empty() {
        let equal = answer.report.equal;
        let beside = match log_records {
            0 => "no record of the log was compared (--log-records 0)",
            _ => "and the archive has what the log has",
        };
        lines.push(format!(
            "verified: {equal} rows are equal to the bit, {beside}"
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the comparison of values gave.
fn values(report: &Report, asked: usize) -> Vec<String> {
    let mut lines = vec![format!(
        "{} version {}: {} rows, {} equal to the bit, {} different, {} not verifiable",
        report.service,
        report.service_version,
        report.rows,
        report.equal,
        report.mismatch,
        report.not_verifiable
    )];
    if report.rows < asked as u64 {
        lines.push(format!("  asked {asked}, the archive has {}", report.rows));
    }
    for (reason, rows) in &report.reasons {
        let reason = reason.replace('_', " ");
        lines.push(format!("  not verifiable: {rows} ({reason})"));
    }
    if let Some(late) = report.late {
        lines.push(format!(
            "  {late} of the verified rows would have other values with the events that came since"
        ));
    }
    let differ = |(_, tally): &(&String, &Tally)| tally.mismatch > 0;
    for (feature, tally) in report.features.iter().filter(differ) {
        lines.push(format!(
            "  {feature}: {} of {} cells differ",
            tally.mismatch,
            tally.mismatch + tally.equal
        ));
    }
    lines
}

/// One line: every offset of a partition under one heading.
fn partition(number: i32, found: &Partition) -> String {
    let mut line = format!(
        "  partition {number}, offsets {} to {}: {} archived ({} compared with the log)",
        found.from, found.to, found.archived, found.compared
    );
    let others = [
        (found.dead_letters, "dead letters"),
        (found.gaps, "in accepted gaps"),
        (found.repeats, "repeats dropped"),
        (found.no_record, "without a record"),
        (found.lost, "LOST"),
        (
            found.unchecked,
            "could not be checked, the log no longer holds them or does not answer",
        ),
    ];
    for (count, words) in others.iter().filter(|(count, _)| *count > 0) {
        write!(line, ", {count} {words}").expect("a String takes any text");
    }
    if !found.begin_known {
        line.push_str("; where reading began is not remembered");
    }
    line
}

#[cfg(test)]
mod tests {
    use forebay_training::{
        Finding, FindingKind, PartitionVerdict, SourceVerdict, WitnessReport, failures,
    };

    use super::*;

    #[test]
    fn the_servers_answer_is_read_and_told() -> Result<()> {
        // As `training` serializes its report, inside what the server wraps around it.
        let report = forebay_training::VerifyReport {
            service: "delay_features".into(),
            service_version: 2,
            rows: 12,
            equal: 9,
            mismatch: 1,
            not_verifiable: 2,
            reasons: BTreeMap::from([(forebay_training::Reason::TooOld, 2)]),
            features: BTreeMap::from([(
                "temp".to_owned(),
                forebay_training::FeatureTally {
                    equal: 9,
                    mismatch: 1,
                    late: 0,
                },
            )]),
            ..Default::default()
        };
        let verdict = PartitionVerdict {
            findings: vec![Finding {
                kind: FindingKind::Lost,
                ranges: vec![(4, 6), (9, 10)],
                offsets: 3,
            }],
            to: 10,
            offsets: 10,
            archived: 7,
            lost: 3,
            ..PartitionVerdict::default()
        };
        let witness = WitnessReport {
            sources: BTreeMap::from([(
                "weather".to_owned(),
                SourceVerdict {
                    partitions: BTreeMap::from([(1, verdict)]),
                    topic: "raw.weather".to_owned(),
                    log_away: None,
                },
            )]),
            ..WitnessReport::default()
        };
        let failures = failures(&report, &witness, 1.0);
        let body = serde_json::json!({"clean": false, "failures": failures, "report": report,
                                      "witness": witness, "differences": ["temp of origin=JFK"]});
        let answer: Answer = serde_json::from_value(body)?;
        assert!(!text(&answer, 12, 1).contains("asked"));
        let text = text(&answer, 1_000, 1);
        for part in [
            "delay_features version 2: 12 rows, 9 equal",
            "asked 1000, the archive has 12",
            "not verifiable: 2 (too old)",
            "temp: 1 of 10 cells",
            "temp of origin=JFK",
            "FAILED: 1 rows are different",
            "partition 1, offsets 0 to 10: 7 archived (0 compared with the log), 3 LOST",
            "FAILED: source weather, raw.weather-1, offsets 4 to 5, 9 (3 in all)",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        Ok(())
    }

    #[test]
    fn what_was_not_asked_of_the_log_is_not_said_of_it() -> Result<()> {
        let nothing = serde_json::json!({"clean": true, "failures": [], "differences": [],
            "report": forebay_training::VerifyReport::default(), "witness": WitnessReport::default()});
        let answer: Answer = serde_json::from_value(nothing)?;
        assert!(text(&answer, 0, 1).contains("the archive has what the log has"));
        let unread = text(&answer, 0, 0);
        assert!(
            unread.contains("no record of the log was compared (--log-records 0)"),
            "{unread}"
        );
        assert!(!unread.contains("has what the log has"), "{unread}");
        Ok(())
    }
}
