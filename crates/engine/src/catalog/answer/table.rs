//! The form of an answer: facts of one object, and lists of several. Values are JSON, so that an
//! answer goes over the wire as it is; `mod` and its files fill it, clients print it.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// What is told of one thing, or of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of one object: its facts in order, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, Json)>,
    /// Lists.
    pub tables: Vec<AnswerTable>,
}

/// A list of things that have the same facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerTable {
    /// What is listed.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Json>>,
}

impl AnswerTable {
    pub(super) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }
}
