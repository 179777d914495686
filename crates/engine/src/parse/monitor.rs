//! `CREATE MONITOR`: which model to watch, in which windows, against which reference, with which
//! labels and alarm. Words become a `MonitorDef` and the label's text; whether what they name
//! exists is the catalog's question.

use datafusion::sql::sqlparser::tokenizer::Token;
use forebay_core::definition::{AlertThreshold, LabelDef, MonitorDef};
use forebay_core::time::{HOUR_US, Micros};

use super::cursor::Cursor;
use super::statement::MonitorStatement;
use super::text::QueryText;
use crate::error::{EngineError, Result};

/// How long a window stays open where LATENESS is not written.
const DEFAULT_LATENESS_US: Micros = HOUR_US;

impl Cursor<'_> {
    /// Behind the name.
    pub(crate) fn monitor(&mut self, name: &str) -> Result<MonitorStatement> {
        self.expect_words(&["ON", "MODEL"])?;
        let model = self.name("the model to watch")?;
        self.expect_words(&["WINDOW"])?;
        let at = self.here();
        let window_us = self.interval()?;
        if window_us == 0 {
            return Err(EngineError::Syntax {
                at,
                message: "a window cannot be empty; write WINDOW INTERVAL '7' DAY".into(),
            });
        }
        let lateness_us = if self.take_word("LATENESS") {
            self.interval()?
        } else {
            DEFAULT_LATENESS_US
        };
        let (labels, label) = if self.take_word("LABELS") {
            let (labels, label) = self.labels()?;
            (Some(labels), Some(label))
        } else {
            (None, None)
        };
        self.expect_words(&["REFERENCE", "TRAINING", "SET"])?;
        let reference = self.string("the name of the reference")?;
        let (threshold, raised_windows, of_windows) = self.alert()?;
        let def = MonitorDef {
            name: name.to_owned(),
            model,
            window_us,
            lateness_us,
            labels,
            reference,
            threshold,
            raised_windows,
            of_windows,
        };
        Ok(MonitorStatement { def, label })
    }

    /// `FROM source USING (columns) AS expression WITHIN INTERVAL ..`.
    fn labels(&mut self) -> Result<(LabelDef, QueryText)> {
        self.expect_words(&["FROM"])?;
        let source = self.name("the source of the labels")?;
        self.expect_words(&["USING"])?;
        let using = self.column_names("a column that joins label and prediction")?;
        self.expect_words(&["AS"])?;
        let (expression, text) = self.expression()?;
        self.expect_words(&["WITHIN"])?;
        let within_us = self.interval()?;
        Ok((
            LabelDef {
                source,
                using,
                expression,
                within_us,
            },
            text,
        ))
    }

    /// `ALERT AT FALSE ALARM RATE a | ALERT WHEN PSI > x`, then `[FOR k OF m WINDOWS]`.
    fn alert(&mut self) -> Result<(AlertThreshold, u32, u32)> {
        self.expect_words(&["ALERT"])?;
        let at = self.here();
        let threshold = if self.take_word("AT") {
            self.expect_words(&["FALSE", "ALARM", "RATE"])?;
            let rate = self.number("a rate between 0 and 1")?;
            if rate <= 0.0 || rate >= 1.0 {
                let message = format!("false alarm rate {rate} is not between 0 and 1; write 0.01");
                return Err(EngineError::Syntax { at, message });
            }
            AlertThreshold::FalseAlarmRate(rate)
        } else if self.take_word("WHEN") {
            self.expect_words(&["PSI"])?;
            self.expect(&Token::Gt)?;
            AlertThreshold::Psi(self.number("a threshold like 0.2")?)
        } else {
            return self.expected("AT FALSE ALARM RATE or WHEN PSI >");
        };
        let (mut raised, mut of) = (1, 1);
        let at = self.here();
        if self.take_word("FOR") {
            raised = self.whole_number("the number of raised windows")?;
            self.expect_words(&["OF"])?;
            of = self.whole_number("the number of windows looked at")?;
            self.expect_words(&["WINDOWS"])?;
        }
        if raised == 0 || raised > of {
            let message =
                format!("FOR {raised} OF {of} WINDOWS can never be met; write FOR 2 OF 3 WINDOWS");
            return Err(EngineError::Syntax { at, message });
        }
        Ok((threshold, raised, of))
    }
}
