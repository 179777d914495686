//! The form of an answer: facts of one object, and lists of several. Values are JSON, so that an
//! answer goes over the wire as it is; `mod` and its files fill it, clients print it.

use forebay_core::source::{Column, sql_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

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

impl Answer {
    /// Of these facts, by name, and lists.
    pub(in crate::catalog) fn of<const N: usize>(
        facts: [(&str, Json); N],
        tables: Vec<AnswerTable>,
    ) -> Self {
        let facts = facts.into_iter();
        Self {
            facts: facts
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            tables,
        }
    }
}

/// The names of columns, as one fact.
pub(in crate::catalog) fn names<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    let names: Vec<&str> = columns.into_iter().map(|c| c.name.as_str()).collect();
    names.join(", ")
}

impl AnswerTable {
    pub(in crate::catalog) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Columns with their types.
    pub(in crate::catalog) fn of_columns(title: &str, columns: &[Column]) -> Self {
        let mut table = Self::new(title, &["name", "type", "nullable"]);
        let rows = columns.iter();
        table.rows = rows
            .map(|c| {
                vec![
                    json!(c.name),
                    json!(sql_name(&c.data_type)),
                    json!(c.nullable),
                ]
            })
            .collect();
        table
    }
}
