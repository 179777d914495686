//! What a source's definition makes of records, column by column: present, null, absent, guessed,
//! refused; the range of event times; how many rows are late;
//! fields that no column names. The decoder is that of ingest, so what is said here is what ingest
//! does. Pure: records come from [`crate::sample`], or from a test.

mod names;

use std::collections::{BTreeMap, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use serde::Serialize;

use crate::decode::{Guess, Guessed, Record, RecordDecoder, RecordField, Reject};
use crate::error::Error;

/// Names of fields of another case that a survey tells of one column.
const OTHER_CASE_MAX: usize = 4;
/// Names of unknown fields that a survey tells apart; records of the wire name them.
const UNKNOWN_NAMES_MAX: usize = 1_024;

/// A survey under way.
#[derive(Debug)]
pub struct Survey {
    source: SourceDef,
    decoder: RecordDecoder,
    report: SurveyReport,
    unknown: BTreeMap<String, u64>,
    /// By partition the greatest event time so far.
    marks: HashMap<i32, Micros>,
}

/// What was found of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: String,
    /// Records that have a value for it.
    pub present: u64,
    /// Records that say null.
    pub null: u64,
    /// Records that lack it.
    pub absent: u64,
    /// Values that were not taken as they are, by kind.
    pub guesses: BTreeMap<&'static str, u64>,
    /// Records that were refused for it, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Fields that filled it although their names differ from its own in case, the first of them.
    pub other_case: Vec<String>,
    /// Where it was never present: the fields of the records whose names are nearest.
    pub nearest: Vec<String>,
}

/// Records that were refused alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The reason.
    pub reason: &'static str,
    /// The column at fault, if one is.
    pub column: Option<String>,
    /// How many.
    pub records: u64,
    /// The first one's words.
    pub example: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SurveyReport {
    /// Source.
    pub source: String,
    /// Topic.
    pub topic: String,
    /// Records looked at.
    pub records: u64,
    /// Those of them that are rows.
    pub rows: u64,
    /// Records that are none.
    pub refused: Vec<Refused>,
    /// The columns, in the source's order.
    pub columns: Vec<ColumnReport>,
    /// Least and greatest event time, microseconds.
    pub event_times: Option<(Micros, Micros)>,
    /// Rows behind their partition's watermark, as far as the sample shows.
    pub late: u64,
    /// Fields that no column names, with the number of records that have them, most frequent first.
    pub unknown_fields: Vec<(String, u64)>,
}

impl Survey {
    /// Of records of `source`.
    ///
    /// # Errors
    /// A column that records cannot fill.
    pub fn new(source: &SourceDef) -> Result<Self, Error> {
        let column = |c: &forebay_core::source::Column| ColumnReport {
            name: c.name.clone(),
            data_type: c.data_type.to_string(),
            ..ColumnReport::default()
        };
        Ok(Self {
            decoder: RecordDecoder::new(source, source.event_future_max_us)?,
            report: SurveyReport {
                source: source.name.clone(),
                topic: source.topic.clone(),
                columns: source.columns.iter().map(column).collect(),
                ..SurveyReport::default()
            },
            source: source.clone(),
            unknown: BTreeMap::new(),
            marks: HashMap::new(),
        })
    }

    /// Look at a record; those of one partition in their order.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`], which one record is not.
    pub fn look(&mut self, partition: i32, record: &Record<'_>) -> Result<(), Error> {
        self.report.records += 1;
        match self.decoder.push(record) {
            Ok(()) => self.row(partition)?,
            Err(reject) => self.refused(&reject),
        }
        for guessed in self.decoder.take_guesses() {
            self.guessed(&guessed);
        }
        // The decoder has said why a record has none.
        if let Some(fields) = self.decoder.fields_of(record) {
            self.fields(fields);
        }
        Ok(())
    }

    fn row(&mut self, partition: i32) -> Result<(), Error> {
        self.report.rows += 1;
        let row = self.decoder.finish()?;
        let times = row.column(self.source.time_column);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let Some(time_us) = times.iter().flatten().next() else {
            return Ok(());
        };
        let range = self.report.event_times.get_or_insert((time_us, time_us));
        *range = (range.0.min(time_us), range.1.max(time_us));
        let mark = self.marks.entry(partition).or_insert(time_us);
        if time_us < mark.saturating_sub(self.source.watermark_delay_us) {
            self.report.late += 1;
        }
        *mark = (*mark).max(time_us);
        Ok(())
    }

    fn refused(&mut self, reject: &Reject) {
        let (reason, column) = (reject.reason.label(), reject.column());
        let outer = column.as_deref().and_then(|path| path.split('.').next());
        let found = self.report.columns.iter_mut();
        if let Some(found) = found.into_iter().find(|c| Some(c.name.as_str()) == outer) {
            *found.refused.entry(reason).or_default() += 1;
        }
        let alike = |r: &&mut Refused| r.reason == reason && r.column == column;
        match self.report.refused.iter_mut().find(alike) {
            Some(refused) => refused.records += 1,
            None => self.report.refused.push(Refused {
                reason,
                column,
                records: 1,
                example: reject.to_string(),
            }),
        }
    }

    fn guessed(&mut self, guessed: &Guessed) {
        // Absent columns and unknown fields are counted from the record itself.
        if matches!(guessed.guess, Guess::Absent | Guess::UnknownField) {
            return;
        }
        let outer = guessed.column.split('.').next();
        let mut columns = self.report.columns.iter_mut();
        if let Some(column) = columns.find(|c| Some(c.name.as_str()) == outer) {
            *column.guesses.entry(guessed.guess.label()).or_default() += guessed.count;
        }
    }

    fn fields(&mut self, fields: Vec<RecordField>) {
        for column in &mut self.report.columns {
            let exact = fields.iter().find(|field| field.name == column.name);
            let other = || {
                let other = fields
                    .iter()
                    .find(|f| same_but_for_case(&f.name, &column.name))?;
                if column.other_case.len() < OTHER_CASE_MAX
                    && !column.other_case.contains(&other.name)
                {
                    column.other_case.push(other.name.clone());
                }
                Some(other)
            };
            match exact.or_else(other) {
                None => column.absent += 1,
                Some(field) if field.null => column.null += 1,
                Some(_) => column.present += 1,
            }
        }
        let columns = &self.source.columns;
        for RecordField { name, .. } in fields {
            if columns.iter().any(|c| same_but_for_case(&c.name, &name)) {
                continue;
            }
            if let Some(count) = self.unknown.get_mut(&name) {
                *count += 1;
            } else if self.unknown.len() < UNKNOWN_NAMES_MAX {
                self.unknown.insert(name, 1);
            }
        }
    }

    /// What was found.
    #[must_use]
    pub fn report(mut self) -> SurveyReport {
        for column in &mut self.report.columns {
            if column.present == 0 {
                let names = self.unknown.keys().map(String::as_str);
                column.nearest = names::nearest(&column.name, names);
            }
        }
        self.report.unknown_fields = self.unknown.into_iter().collect();
        self.report
            .unknown_fields
            .sort_by_key(|(_, records)| std::cmp::Reverse(*records));
        self.report
    }
}

fn same_but_for_case(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

#[cfg(test)]
mod tests;
