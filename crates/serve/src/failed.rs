//! Values of an answer that are NULL because an expression failed on their row: the first few by
//! name, and how many there are. `answer` makes them of what the reader found; DoGet tells them in
//! the metadata of the schema, an exchange in that of the message.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use forebay_core::cells::CellFault;
use forebay_core::limits::ANSWER_FAULTS_MAX;
use forebay_core::view::ServiceSpec;
use forebay_proto::v1;
use serde::{Deserialize, Serialize};

/// A value that is NULL because its expression failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCell {
    /// Row of the request, from 0.
    pub row: u32,
    /// Which feature.
    pub feature: String,
    /// The row's key, as column = value.
    pub key: String,
    /// The expression that failed, as it is written.
    pub expression: String,
    /// A word for programs: `division_by_zero`, `overflow`, `cast`, `out_of_range`.
    pub kind: String,
    /// The same for people.
    pub reason: String,
}

/// The failed values of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCells {
    /// How many there are.
    pub count: u64,
    /// The first of them, by feature, then by row: at most
    /// [`forebay_core::limits::ANSWER_FAULTS_MAX`].
    pub first: Vec<FailedCell>,
}

impl FailedCells {
    /// Those of an answer of `service` to `request`.
    pub(crate) fn of(service: &ServiceSpec, request: &RecordBatch, faults: &[CellFault]) -> Self {
        if faults.is_empty() {
            return Self::default();
        }
        let names = service.key_columns();
        let keys = names
            .iter()
            .filter_map(|name| Some((*name, request.column_by_name(name)?)));
        let keys: Vec<(&str, &ArrayRef)> = keys.collect();
        let cell = |fault: &CellFault| FailedCell {
            row: fault.row,
            feature: service.features[fault.column].name.clone(),
            key: key_of(&keys, fault.row as usize),
            expression: fault.what.to_string(),
            kind: fault.kind.label().to_owned(),
            reason: fault.kind.to_string(),
        };
        Self {
            count: faults.len() as u64,
            first: faults.iter().take(ANSWER_FAULTS_MAX).map(cell).collect(),
        }
    }
}

impl From<FailedCell> for v1::FailedValue {
    fn from(cell: FailedCell) -> Self {
        Self {
            row: cell.row,
            feature: cell.feature,
            key: cell.key,
            expression: cell.expression,
            kind: cell.kind,
            reason: cell.reason,
        }
    }
}

impl From<v1::FailedValue> for FailedCell {
    fn from(value: v1::FailedValue) -> Self {
        Self {
            row: value.row,
            feature: value.feature,
            key: value.key,
            expression: value.expression,
            kind: value.kind,
            reason: value.reason,
        }
    }
}

fn key_of(keys: &[(&str, &ArrayRef)], row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let part = |(name, values): &(&str, &ArrayRef)| {
        let values = ArrayFormatter::try_new(values.as_ref(), &options).ok()?;
        Some(format!("{name} = {}", values.value(row)))
    };
    keys.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}
