//! One moment of the demo as lines of text: what the live view repaints and what a log gets when
//! there is no terminal. Pure: numbers in, text out.

use forebay_core::time::Micros;

use crate::instant;

/// The numbers of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frame {
    /// Events sent so far.
    pub(crate) sent: u64,
    /// Events in all.
    pub(crate) total: u64,
    /// Events read by the pipeline, those of predictions left out.
    pub(crate) read: u64,
    /// Read in the last second.
    pub(crate) events_per_s: f64,
    /// Records between reader and log end; None where nobody can tell.
    pub(crate) lag_records: Option<u64>,
    /// Oldest watermark of the flights' sources.
    pub(crate) watermark_us: Option<Micros>,
    /// Rows of features read for scoring, in the last second.
    pub(crate) feature_reads_per_s: f64,
    /// Predictions published.
    pub(crate) predictions: u64,
    /// Predictions that have their label.
    pub(crate) labelled: u64,
    /// Area under the ROC curve over all labelled predictions.
    pub(crate) auc: Option<f64>,
    /// Drifted features of the newest closed window, worst first.
    pub(crate) drifted: Vec<String>,
    /// Windows closed.
    pub(crate) windows: usize,
    /// Dead letters.
    pub(crate) dead_letters: u64,
}

impl Frame {
    /// The live view: a few aligned lines.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        let auc = self
            .auc
            .map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}"));
        let drifted = if self.drifted.is_empty() {
            "none".to_owned()
        } else {
            self.drifted.join(", ")
        };
        vec![
            format!(
                "events       {:>9} read  {:>9}/s   lag {:>6}   dead letters {}",
                thousands(self.read),
                thousands(self.events_per_s as u64),
                self.lag(),
                self.dead_letters
            ),
            format!(
                "watermark    {}",
                self.watermark_us
                    .map_or_else(|| "-".to_owned(), instant::format)
            ),
            format!(
                "features     {:>9}/s read for scoring",
                thousands(self.feature_reads_per_s as u64)
            ),
            format!(
                "predictions  {:>9} published  {:>9} labelled   AUC so far {auc}",
                thousands(self.predictions),
                thousands(self.labelled)
            ),
            format!("drift        week {:>2}: {drifted}", self.windows),
        ]
    }

    fn lag(&self) -> String {
        self.lag_records
            .map_or_else(|| "unknown".to_owned(), thousands)
    }

    /// The same in one line.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        let percent = self.sent as f64 * 100.0 / self.total.max(1) as f64;
        format!(
            "{percent:5.1}%  {}  {} events ({}/s, lag {})  {} features/s  {} predictions  AUC {}  drifted: {}",
            self.watermark_us
                .map_or_else(|| "-".to_owned(), |w| instant::format(w)[..10].to_owned()),
            thousands(self.read),
            thousands(self.events_per_s as u64),
            self.lag(),
            thousands(self.feature_reads_per_s as u64),
            thousands(self.predictions),
            self.auc
                .map_or_else(|| "-".to_owned(), |auc| format!("{auc:.4}")),
            if self.drifted.is_empty() {
                "none".to_owned()
            } else {
                self.drifted.join(" ")
            },
        )
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn a_frame_says_everything_a_person_watches() {
        let frame = Frame {
            sent: 50,
            total: 100,
            read: 48_000,
            events_per_s: 3_800.4,
            lag_records: Some(12),
            watermark_us: Some(1_372_680_000_000_000),
            feature_reads_per_s: 1_900.0,
            predictions: 23_000,
            labelled: 22_500,
            auc: Some(0.71234),
            drifted: vec!["temp".into(), "departures_1h".into()],
            windows: 26,
            dead_letters: 0,
        };
        let text = frame.lines().join("\n");
        for part in [
            "48,000",
            "3,800/s",
            "2013-07-01T12:00:00Z",
            "1,900/s",
            "23,000",
            "0.7123",
            "temp, departures_1h",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(
            frame.line().starts_with(" 50.0%  2013-07-01"),
            "{}",
            frame.line()
        );
        assert!(
            frame.line().contains("1,900 features/s"),
            "{}",
            frame.line()
        );
        assert!(Frame::default().lines().join(" ").contains("none"));
    }
}
