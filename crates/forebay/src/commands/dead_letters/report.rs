//! What a replay does and what it leaves: counted by source and by reason while `replay` goes over
//! the table, and told in words with an example of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use forebay_offline::StoredLetter;

use super::decide::{Left, Verdict};
use super::forms::printable;

/// What becomes of the letters that were meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// By source how many are to be produced, and how many were.
    replays: BTreeMap<String, (u64, u64)>,
    /// How many are left, and the first of them in words.
    left: BTreeMap<Left, (u64, String)>,
    /// Places of letters that were named by place; one for each that was met.
    met: BTreeSet<(i32, i64)>,
    seen: u64,
}

/// Places that are remembered: a command line names fewer.
const MET_MAX: usize = 100_000;

impl Report {
    /// `verdict` is what becomes of `letter`.
    pub(super) fn plan(&mut self, letter: &StoredLetter, verdict: Verdict) {
        self.seen += 1;
        let partition = letter.partition.partition;
        if self.met.len() < MET_MAX {
            self.met.insert((partition, letter.offset));
        }
        match verdict {
            Verdict::Replay => {
                let of_source = self.replays.entry(letter.source.clone()).or_default();
                of_source.0 += 1;
            }
            Verdict::Leave(why, words) => {
                let of_kind = self.left.entry(why).or_insert_with(|| {
                    let words = words.map(|words| format!(": {}", printable(&words)));
                    let words = words.unwrap_or_default();
                    let example = format!("{} {partition} {}{words}", letter.source, letter.offset);
                    (0, example)
                });
                of_kind.0 += 1;
            }
        }
    }

    /// A record of `source` was produced.
    pub(super) fn produce(&mut self, source: &str) {
        if let Some(of_source) = self.replays.get_mut(source) {
            of_source.1 += 1;
        }
    }

    /// Whether no letter was meant.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Whether every letter that was meant is a row by now, or nothing can become of it.
    pub(super) fn is_clean(&self) -> bool {
        !self.left.contains_key(&Left::StillNoRow)
    }

    /// How many are to be produced.
    pub(super) fn planned(&self) -> u64 {
        self.replays.values().map(|(planned, _)| planned).sum()
    }

    /// How many were.
    pub(super) fn produced(&self) -> u64 {
        self.replays.values().map(|(_, produced)| produced).sum()
    }

    /// Sources of which some are to be produced.
    pub(super) fn sources(&self) -> Vec<&str> {
        self.replays.keys().map(String::as_str).collect()
    }

    /// In words; of `source`, these `places` were named.
    pub(super) fn text(
        &self,
        is_dry_run: bool,
        (source, places): (&str, &BTreeSet<(i32, i64)>),
    ) -> String {
        let mut text = String::new();
        for (source, (planned, produced)) in &self.replays {
            let (count, would) = match is_dry_run {
                true => (planned, "would be"),
                false => (produced, "were"),
            };
            writeln!(text, "{source}: {count} records {would} produced once more")
                .expect("a String takes any text");
        }
        for (why, (count, example)) in &self.left {
            writeln!(text, "{count} left: the record {why}; such as {example}")
                .expect("a String takes any text");
        }
        for (partition, offset) in places.difference(&self.met) {
            writeln!(
                text,
                "{source} {partition} {offset} is no dead letter with that reason, and nothing is produced for it: where it is a \
                 row that a view leaves out, a corrected view is filled from the archive with it"
            )
            .expect("a String takes any text");
        }
        if text.is_empty() {
            text.push_str(
                "there is no such dead letter; rows that a feature view leaves out are no dead letters: a corrected view is filled \
                 from the archive with them\n",
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dead_letters::select::tests::letter;

    #[test]
    fn what_was_produced_and_what_is_left_is_counted_with_an_example() {
        let mut report = Report::default();
        let still = || Verdict::Leave(Left::StillNoRow, Some("column `n`: is text".to_owned()));
        for (offset, verdict) in [
            (1, Verdict::Replay),
            (2, Verdict::Replay),
            (3, still()),
            (4, still()),
            (5, Verdict::Leave(Left::Replayed, None)),
        ] {
            report.plan(&letter(3, offset), verdict);
        }
        let named = BTreeSet::from([(3, 1), (3, 9)]);
        let dry = report.text(true, ("clicks", &BTreeSet::new()));
        assert!(
            dry.starts_with("clicks: 2 records would be produced"),
            "{dry}"
        );
        report.produce("clicks");
        let text = report.text(false, ("clicks", &named));
        for part in [
            "clicks: 1 records were produced once more\n",
            "1 left: the record was replayed already; such as clicks 3 5\n",
            "2 left: the record is still no row",
            "such as clicks 3 3: column `n`: is text\n",
            "clicks 3 9 is no dead letter",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("clicks 3 1 is no"), "{text}");
        assert_eq!((report.planned(), report.produced()), (2, 1));
        assert!(!report.is_clean());
        assert_eq!(report.sources(), ["clicks"]);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let report = Report::default();
        assert!(report.is_empty() && report.is_clean());
        let text = report.text(false, ("", &BTreeSet::new()));
        assert!(text.contains("no such dead letter"), "{text}");
    }
}
