//! What is expected against what each path has answered, cell by cell and bit by bit. There is no
//! tolerance: an answer is the correctly rounded true value, whatever the order of events, so that
//! the number that a difference shows can be copied into the test once it is found right.

use anyhow::Result;
use arrow_array::RecordBatch;
use forebay_core::date;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_engine::{Expectation, Location};

use crate::instant;

/// What one path has answered to one expectation.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) path: String,
    /// All features of the service, one row for each expected row.
    pub(super) features: RecordBatch,
}

/// One cell that is not as expected.
#[derive(Debug)]
pub(super) struct Difference {
    /// Where the expected row stands.
    pub(super) at: Location,
    /// Kind and name of what was asked.
    pub(super) object: String,
    pub(super) feature: String,
    /// The columns by which it was asked.
    pub(super) key: Vec<(String, Value)>,
    pub(super) at_us: Micros,
    pub(super) expected: Value,
    /// Each other value that was answered, and by which paths.
    pub(super) got: Vec<(Value, Vec<String>)>,
    /// Whether some path answered as expected.
    pub(super) is_expected_by_some: bool,
}

/// The cells in which `answers` differ from what is expected.
pub(super) fn differences(expect: &Expectation, answers: &[Answer]) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let spec = expect.service.spec();
    for (row, at) in expect.places.iter().enumerate() {
        for feature in &expect.features {
            let expected = &feature.values[row];
            let mut got: Vec<(Value, Vec<String>)> = Vec::new();
            for answer in answers {
                let column = answer.features.column(feature.index);
                let value = Value::from_array(column, row)?;
                if value.same_bits(expected) {
                    continue;
                }
                match got.iter_mut().find(|(other, _)| other.same_bits(&value)) {
                    Some((_, paths)) => paths.push(answer.path.clone()),
                    None => got.push((value, vec![answer.path.clone()])),
                }
            }
            if got.is_empty() {
                continue;
            }
            let others: usize = got.iter().map(|(_, paths)| paths.len()).sum();
            let key = expect.keys.iter().map(|index| {
                let value = Value::from_array(expect.request.column(*index), row)?;
                Ok((spec.request[*index].name.clone(), value))
            });
            differences.push(Difference {
                at: at.clone(),
                object: format!("{} {}", expect.kind, expect.name),
                feature: spec.features[feature.index].name.clone(),
                key: key.collect::<Result<_>>()?,
                at_us: expect.at_us,
                expected: expected.clone(),
                got,
                is_expected_by_some: others < answers.len(),
            });
        }
    }
    Ok(differences)
}

/// `value` as a test writes it.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string().to_uppercase(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => "'NaN'".to_owned(),
        Value::Float(value) if value.is_infinite() => {
            format!("'{}Infinity'", if *value < 0.0 { "-" } else { "" })
        }
        // The shortest text that reads back as the same bits.
        Value::Float(value) => format!("{value:?}"),
        Value::Text(value) => format!("'{}'", value.replace('\'', "''")),
        Value::Date(days) => format!("DATE '{}'", date::format(*days)),
        Value::Timestamp(at) => format!("TIMESTAMP '{}'", instant::format(*at)),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("ARRAY[{}]", items.join(", "))
        }
    }
}
