//! `forebay verify`: the server compares served values with values recomputed from its archive, bit
//! for bit; the report is printed and says with the exit code whether anything differed.

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
}

/// Its answer.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    report: Report,
    /// The first differences, in words.
    differences: Vec<String>,
}

/// The counts of a verification, as `training` writes them.
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

/// Run the command.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    log_from("warn")?;
    ensure!(
        args.sample > 0,
        "--sample 0 compares nothing; give at least 1"
    );
    let question = Question {
        service: &args.service,
        sample: args.sample,
        predictions: args.predictions,
    };
    let answer: Answer = block_on(async {
        Remote::connect(&args.to.flight_addr)
            .await?
            .ask("verify", &question)
            .await
    })?;
    print(&text(&answer, args.sample))?;
    Ok(ExitCode::from(code(&answer.report)))
}

/// A comparison of nothing is not a success.
fn code(report: &Report) -> u8 {
    if report.mismatch == 0 && report.equal > 0 {
        0
    } else {
        exit::FOUND
    }
}

fn text(answer: &Answer, asked: usize) -> String {
    let report = &answer.report;
    let mut out = format!(
        "{} version {}: {} rows, {} equal to the bit, {} different, {} not verifiable\n",
        report.service,
        report.service_version,
        report.rows,
        report.equal,
        report.mismatch,
        report.not_verifiable
    );
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes any text");
    if report.rows < asked as u64 {
        line(format!("  asked {asked}, the archive has {}", report.rows));
    }
    for (reason, rows) in &report.reasons {
        line(format!(
            "  not verifiable: {rows} ({})",
            reason.replace('_', " ")
        ));
    }
    if let Some(late) = report.late {
        line(format!(
            "  {late} of the verified rows would have other values with the events that came since"
        ));
    }
    for (feature, tally) in report
        .features
        .iter()
        .filter(|(_, tally)| tally.mismatch > 0)
    {
        line(format!(
            "  {feature}: {} of {} cells differ",
            tally.mismatch,
            tally.mismatch + tally.equal
        ));
    }
    answer
        .differences
        .iter()
        .for_each(|difference| line(format!("  {difference}")));
    line(match (report.mismatch, report.equal) {
        (0, 0) => {
            "NOT VERIFIED: no row could be compared; replay or push events first, or give a larger --sample".into()
        }
        (0, equal) => format!("verified: {equal} rows are equal to the bit"),
        (different, _) => format!("DIFFERENT: {different} rows, and every one is a defect"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_were_compared_and_equal_are_a_success() {
        let code = |equal, mismatch, not_verifiable| {
            code(&Report {
                equal,
                mismatch,
                not_verifiable,
                ..Report::default()
            })
        };
        assert_eq!(code(1_000, 0, 0), 0);
        assert_eq!(code(900, 0, 100), 0);
        assert_eq!(code(999, 1, 0), 1);
        assert_eq!(code(0, 1, 0), 1);
        assert_eq!(code(0, 0, 1_000), 1);
    }

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
        let body = serde_json::json!({"clean": false, "report": report, "differences": ["temp of origin=JFK"]});
        let answer: Answer = serde_json::from_value(body)?;
        assert!(!text(&answer, 12).contains("asked"));
        let text = text(&answer, 1_000);
        for part in [
            "delay_features version 2: 12 rows, 9 equal",
            "asked 1000, the archive has 12",
            "not verifiable: 2 (too old)",
            "temp: 1 of 10 cells",
            "temp of origin=JFK",
            "DIFFERENT: 1 rows",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(code(&answer.report), 1);
        Ok(())
    }
}
