//! What a verification amounts to: pure, from its two halves, the comparison of values
//! ([`VerifyReport`]) and the outside witness ([`WitnessReport`]). A part that could not be
//! verified is no defect, but a verification of which much could not be verified says little, so it
//! fails.

use crate::report::{Reason, VerifyReport};
use crate::witness::WitnessReport;

/// Share of the rows, and of the offsets, that may stay unverified unless told otherwise.
pub const UNVERIFIED_MAX_SHARE: f64 = 0.2;

/// Why the verification failed, one line each; empty when it did not.
#[must_use]
pub fn failures(
    values: &VerifyReport,
    witness: &WitnessReport,
    unverified_max: f64,
) -> Vec<String> {
    let mut failures = witness.failures();
    if !values.is_clean() {
        let is_cut = values.reasons.contains_key(&Reason::ArchiveCut);
        failures.push(match values.mismatch {
            0 if is_cut => {
                "no row could be compared: the archive lacks records that the values were made of; restore a \
                 lost table's directory from a backup; what was never archived is in none: begin anew with \
                 an empty --data-dir"
                    .to_owned()
            }
            0 => "no row could be compared; replay or push events first, or give a larger --sample"
                .to_owned(),
            rows => format!("{rows} rows are different, and every one is a defect"),
        });
    }
    let (offsets, unchecked) = witness.unchecked();
    let parts = [
        (
            "rows could not be verified",
            "; rows that are too old need a longer history_hours in [state], then `forebay rebuild VIEW`, and \
             --predictions draws none of them",
            values.not_verifiable,
            values.rows,
        ),
        (
            "offsets are neither in the archive nor any more in the log, so that nobody can tell what was there",
            "",
            unchecked,
            offsets,
        ),
    ];
    for (words, remedy, unverified, all) in parts {
        if unverified as f64 > unverified_max * all as f64 {
            failures.push(format!(
                "{unverified} of {all} {words}: more than the share {unverified_max} (--max-unverified){remedy}"
            ));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(equal: u64, mismatch: u64, not_verifiable: u64) -> VerifyReport {
        VerifyReport {
            rows: equal + mismatch + not_verifiable,
            equal,
            mismatch,
            not_verifiable,
            ..VerifyReport::default()
        }
    }

    #[test]
    fn a_share_of_unverified_rows_is_let_pass_and_no_more() {
        let failed = |equal, mismatch, not_verifiable| {
            let values = values(equal, mismatch, not_verifiable);
            failures(&values, &WitnessReport::default(), UNVERIFIED_MAX_SHARE).len()
        };
        assert_eq!(failed(1_000, 0, 0), 0);
        assert_eq!(failed(80, 0, 20), 0);
        assert_eq!(failed(79, 0, 21), 1);
        assert_eq!(failed(999, 1, 0), 1);
        assert_eq!(failed(0, 1, 0), 1);
        // Nothing compared, and too much of it.
        assert_eq!(failed(0, 0, 1_000), 2);
        let told = failures(&values(0, 0, 9), &WitnessReport::default(), 1.0);
        assert_eq!(
            told.len(),
            1,
            "all may stay unverified, and none was compared"
        );
        let told = failures(&values(79, 0, 21), &WitnessReport::default(), 0.2);
        assert!(told[0].contains("21 of 100 rows") && told[0].contains("history_hours"));
    }
}
