//! A model that can be checked by eye: the margin is the first feature, the score the sum of all.
//! It refuses a batch that holds a row whose first feature is the one that it was told to refuse,
//! as a real one refuses what it cannot read, and it may lack a version.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::value::Value;
use forebay_core::{PortError, PortResult};

use crate::fate::{Fate, Point};

/// A scorer whose margin and score are seen at once from the row.
#[derive(Debug)]
pub struct FakeScorer {
    fate: Arc<Fate>,
    /// First feature of the rows that it refuses.
    refuses: Option<f64>,
    /// Whether it panics on them.
    panics: bool,
    /// Version that is not there.
    lacks: Option<u32>,
}

impl FakeScorer {
    /// A model under `fate`.
    #[must_use]
    pub fn new(fate: &Arc<Fate>, refuses: Option<f64>) -> Self {
        Self {
            fate: Arc::clone(fate),
            refuses,
            panics: false,
            lacks: None,
        }
    }

    /// The same, which panics where it would refuse, if `panics`.
    #[must_use]
    pub fn panicking(self, panics: bool) -> Self {
        Self { panics, ..self }
    }

    /// The same without version `version`.
    #[must_use]
    pub fn lacking(self, version: Option<u32>) -> Self {
        Self {
            lacks: version,
            ..self
        }
    }
}

#[async_trait]
impl Scorer for FakeScorer {
    async fn score(&self, _model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        self.fate.meet(Point::Score, || {
            if self.lacks == Some(version) {
                return Err(PortError::not_found(format!(
                    "version {version} is not there"
                )));
            }
            let mut scores = Scores {
                margin: Vec::new(),
                score: Vec::new(),
            };
            for row in 0..features.num_rows() {
                let mut values = Vec::with_capacity(features.num_columns());
                for column in features.columns() {
                    values.push(number(&Value::from_array(column.as_ref(), row)?));
                }
                let first = values.first().copied().unwrap_or(0.0);
                if self.refuses == Some(first) {
                    assert!(
                        !self.panics,
                        "a panic on purpose: a row has {first} as its first feature"
                    );
                    return Err(PortError::invalid(format!(
                        "a row has {first} as its first feature"
                    )));
                }
                scores.margin.push(first);
                scores.score.push(values.iter().sum());
            }
            Ok(scores)
        })
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Date(days) => f64::from(*days),
        Value::Int(value) | Value::Timestamp(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Null | Value::Text(_) | Value::List(_) => 0.0,
    }
}
