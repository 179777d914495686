//! One entity's features as a table for people or as one JSON object for programs: values, where
//! each view stands (status, newest event), and how fresh the answer is. Pure: an answer in, text
//! out.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use forebay_core::date;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::FeatureStatus;
use forebay_serve::{Answer, FailedCells, LogGap, ServiceInfo};
use serde_json::{Map, Value as Json, json};

use crate::instant;

/// What is printed.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) service: String,
    pub(super) version: u32,
    pub(super) as_of_us: Option<Micros>,
    pub(super) watermark_us: Option<Micros>,
    /// Name and value.
    pub(super) features: Vec<(String, Value)>,
    pub(super) views: Vec<ShownView>,
    /// Accepted gaps of the sources.
    pub(super) gaps: Vec<LogGap>,
    /// Values that are NULL because their expression failed.
    pub(super) failed: FailedCells,
}

/// One view of the service.
#[derive(Debug)]
pub(super) struct ShownView {
    pub(super) alias: String,
    pub(super) view: String,
    pub(super) status: &'static str,
    pub(super) newest_us: Option<Micros>,
}

impl Shown {
    /// From the one row of `answer`, which was asked for with the status and the event time of each
    /// view.
    ///
    /// # Errors
    /// The answer has another number of rows, or a cell of a type that features do not have.
    pub(super) fn new(service: &ServiceInfo, answer: &Answer) -> Result<Self> {
        let rows = &answer.rows;
        ensure!(
            rows.num_rows() == 1,
            "the server answered {} rows for one",
            rows.num_rows()
        );
        let views = service.views.iter().map(|view| ShownView {
            alias: view.alias.clone(),
            view: view.view.clone(),
            status: status_name(answer.status(&view.alias, 0)),
            newest_us: answer.event_time_us(&view.alias, 0),
        });
        let features = service.features.iter().map(|feature| {
            let column = rows.column_by_name(&feature.name);
            let column =
                column.with_context(|| format!("the answer has no column {}", feature.name))?;
            Ok((feature.name.clone(), Value::from_array(column, 0)?))
        });
        Ok(Self {
            service: service.name.clone(),
            version: service.version,
            as_of_us: answer.as_of_us,
            watermark_us: answer.watermark_us,
            features: features.collect::<Result<_>>()?,
            views: views.collect(),
            gaps: answer.gaps.clone(),
            failed: answer.failed.clone(),
        })
    }

    /// For people.
    #[must_use]
    pub(super) fn table(&self) -> String {
        let at = |instant: Option<Micros>| instant.map_or_else(|| "-".to_owned(), instant::format);
        let mut out = format!(
            "{} version {}, as of {}, watermark {}\n\n",
            self.service,
            self.version,
            at(self.as_of_us),
            at(self.watermark_us)
        );
        let features = self
            .features
            .iter()
            .map(|(name, value)| [name.clone(), text(value)]);
        columns(&mut out, ["feature", "value"], features.collect());
        out.push('\n');
        let views = self.views.iter().map(|v| {
            [
                v.alias.clone(),
                v.view.clone(),
                v.status.to_owned(),
                at(v.newest_us),
            ]
        });
        columns(
            &mut out,
            ["alias", "view", "status", "newest event"],
            views.collect(),
        );
        for LogGap { place, from, to } in &self.gaps {
            let (topic, partition) = (&place.topic, place.partition);
            writeln!(
                out,
                "\nnever read, by an accepted gap: {topic}/{partition} from offset {from} to before {to}"
            )
            .expect("a String takes any text");
        }
        for cell in &self.failed.first {
            let (feature, expression, reason) = (&cell.feature, &cell.expression, &cell.reason);
            writeln!(
                out,
                "\nNULL by an error: {feature}, of {expression}: {reason}"
            )
            .expect("a String takes any text");
        }
        out
    }

    /// For programs: one object in one line.
    #[must_use]
    pub(super) fn json(&self) -> String {
        let at = |instant: Option<Micros>| instant.map(instant::format);
        let features: Map<String, Json> = self
            .features
            .iter()
            .map(|(name, value)| (name.clone(), to_json(value)))
            .collect();
        let views: Map<String, Json> = self
            .views
            .iter()
            .map(|v| {
                let about = json!({"view": v.view, "status": v.status, "newest_event_time": at(v.newest_us)});
                (v.alias.clone(), about)
            })
            .collect();
        let mut object = json!({
            "service": self.service,
            "version": self.version,
            "as_of": at(self.as_of_us),
            "watermark": at(self.watermark_us),
            "features": features,
            "views": views,
        });
        if !self.gaps.is_empty() {
            object["gaps"] = json!(self.gaps);
        }
        if self.failed.count > 0 {
            object["failed"] = json!(self.failed);
        }
        format!("{object}\n")
    }
}

/// Aligned columns under their headings.
fn columns<const N: usize>(out: &mut String, headings: [&str; N], rows: Vec<[String; N]>) {
    let headings = headings.map(str::to_owned);
    let mut widths = headings.each_ref().map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:<width$}  ").expect("a String takes any text");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Feast's names of the field statuses.
fn status_name(status: Option<FeatureStatus>) -> &'static str {
    match status {
        Some(FeatureStatus::Present) => "PRESENT",
        Some(FeatureStatus::NotFound) => "NOT_FOUND",
        Some(FeatureStatus::OutsideMaxAge) => "OUTSIDE_MAX_AGE",
        None => "UNKNOWN",
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        // The shortest text that reads back as the same bits.
        Value::Float(value) => format!("{value:?}"),
        Value::Text(value) => value.to_string(),
        Value::Date(days) => date::format(*days),
        Value::Timestamp(at) => instant::format(*at),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// Numbers as numbers; those that JSON does not have as the texts that Forebay reads and writes
/// elsewhere.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) if value.is_finite() => json!(value),
        Value::Float(value) if value.is_nan() => json!("NaN"),
        Value::Float(value) => json!(if *value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }),
        Value::Text(value) => json!(value.as_ref()),
        Value::Date(days) => json!(date::format(*days)),
        Value::Timestamp(at) => json!(instant::format(*at)),
        Value::List(items) => items.iter().map(to_json).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt8Array,
    };
    use arrow_schema::DataType;
    use forebay_core::progress::TopicPartition;
    use forebay_core::source::Column;
    use forebay_serve::FailedCell;
    use forebay_serve::client::ViewInfo;

    use super::*;

    fn answer() -> Result<Answer> {
        let times = |at| {
            Arc::new(TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC")) as ArrayRef
        };
        let double = |value| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
        let rows = RecordBatch::try_from_iter_with_nullable([
            (
                "departures_1h",
                Arc::new(Int64Array::from(vec![12])) as ArrayRef,
                true,
            ),
            ("delay_avg", double(Some(0.1 + 0.2)), true),
            ("temp", double(None), true),
            ("ratio", double(Some(f64::NAN)), true),
            (
                "t__status",
                Arc::new(UInt8Array::from(vec![1])) as ArrayRef,
                false,
            ),
            ("t__event_time", times(Some(1_372_680_000_000_000)), true),
            (
                "w__status",
                Arc::new(UInt8Array::from(vec![3])) as ArrayRef,
                false,
            ),
            ("w__event_time", times(None), true),
        ])?;
        Ok(Answer {
            rows,
            as_of_us: Some(1_372_680_000_500_000),
            watermark_us: None,
            newest_event_time_us: Some(1_372_680_000_000_000),
            applied: Vec::new(),
            gaps: Vec::new(),
            failed: FailedCells::default(),
        })
    }

    fn service() -> ServiceInfo {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
            nullable: true,
        };
        let view = |alias: &str, view: &str| ViewInfo {
            alias: alias.into(),
            view: view.into(),
            version: 1,
            source: "departures".into(),
        };
        ServiceInfo {
            name: "delay_features".into(),
            version: 3,
            fingerprint: "ab".into(),
            request: Vec::new(),
            features: vec![
                column("departures_1h", DataType::Int64),
                column("delay_avg", DataType::Float64),
                column("temp", DataType::Float64),
                column("ratio", DataType::Float64),
            ],
            views: vec![view("t", "airport_traffic"), view("w", "origin_weather")],
        }
    }

    fn shown() -> Result<Shown> {
        Shown::new(&service(), &answer()?)
    }

    #[test]
    fn a_table_aligns_names_and_values() -> Result<()> {
        let expected = "\
delay_features version 3, as of 2013-07-01T12:00:00.500000Z, watermark -

feature        value
departures_1h  12
delay_avg      0.30000000000000004
temp           NULL
ratio          NaN

alias  view             status     newest event
t      airport_traffic  PRESENT    2013-07-01T12:00:00Z
w      origin_weather   NOT_FOUND  -
";
        assert_eq!(shown()?.table(), expected);
        Ok(())
    }

    #[test]
    fn a_failed_value_is_told_in_both_forms() -> Result<()> {
        let mut shown = shown()?;
        let before = shown.table();
        shown.failed = FailedCells {
            count: 1,
            first: vec![FailedCell {
                row: 0,
                feature: "temp".into(),
                key: "origin = JFK".into(),
                expression: "10 / n".into(),
                kind: "division_by_zero".into(),
                reason: "division by zero".into(),
            }],
        };
        let told = shown.table();
        let told = told.strip_prefix(&before).expect("the rest is the same");
        let words = "NULL by an error: temp, of 10 / n: division by zero";
        assert_eq!(told.trim(), words);
        let read: Json = serde_json::from_str(&shown.json())?;
        assert_eq!(read["failed"]["count"], 1);
        assert_eq!(read["failed"]["first"][0]["kind"], "division_by_zero");
        Ok(())
    }

    #[test]
    fn an_accepted_gap_is_told_in_both_forms() -> Result<()> {
        let mut shown = shown()?;
        let before = shown.table();
        shown.gaps = vec![LogGap {
            place: TopicPartition::new("clicks", 2),
            from: 4,
            to: 7,
        }];
        let told = shown.table();
        let told = told.strip_prefix(&before).expect("the rest is the same");
        assert_eq!(
            told.trim(),
            "never read, by an accepted gap: clicks/2 from offset 4 to before 7"
        );
        let read: Json = serde_json::from_str(&shown.json())?;
        let gap = json!({"topic": "clicks", "partition": 2, "from": 4, "to": 7});
        assert_eq!(read["gaps"], json!([gap]));
        Ok(())
    }

    #[test]
    fn json_keeps_numbers_to_the_bit_and_says_null() -> Result<()> {
        let read: Json = serde_json::from_str(&shown()?.json())?;
        assert_eq!(read["features"]["departures_1h"], json!(12));
        assert_eq!(
            read["features"]["delay_avg"].as_f64().map(f64::to_bits),
            Some((0.1_f64 + 0.2).to_bits())
        );
        assert_eq!(
            (&read["features"]["temp"], &read["features"]["ratio"]),
            (&Json::Null, &json!("NaN"))
        );
        assert_eq!(read["views"]["w"]["status"], "NOT_FOUND");
        assert_eq!(
            read["views"]["t"]["newest_event_time"],
            "2013-07-01T12:00:00Z"
        );
        assert_eq!(
            (&read["version"], &read["watermark"]),
            (&json!(3), &Json::Null)
        );
        Ok(())
    }

    #[test]
    fn an_answer_of_another_shape_is_refused() -> Result<()> {
        let mut other = service();
        other.features[2].name = "wind".into();
        let error = Shown::new(&other, &answer()?).expect_err("no such column");
        assert!(error.to_string().contains("no column wind"), "{error}");
        let mut none = answer()?;
        none.rows = none.rows.slice(0, 0);
        assert!(
            Shown::new(&service(), &none)
                .expect_err("no row")
                .to_string()
                .contains("0 rows")
        );
        Ok(())
    }
}
