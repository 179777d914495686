//! `CREATE SOURCE`: the table of events that a topic holds. What is computed from its events
//! depends on the columns that it reads and on where they come from, and not on the whole
//! statement: digests of users have [`columns_of`] and [`events_of`] in place of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_core::digest::digest;
use forebay_core::source::{Column, SourceDef};
use serde_json::json;

use super::clauses::{Clauses, Kind, Named, is_named};
use crate::catalog::answer::{Answer, AnswerTable, length};
use crate::catalog::inner::Inner;
use crate::parse::{Definition, ObjectKind};

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Source,
    words: &["SOURCE"],
    plural: "SOURCES",
    name: "source",
    clauses: |cursor, name| Ok(Definition::Source(cursor.source(name)?)),
};

impl Clauses for SourceDef {
    fn insert(&self, inner: &mut Inner) {
        let source = Arc::new(self.clone());
        inner.sources.insert(self.name.clone(), source);
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        Answer::of(
            [
                ("topic", json!(self.topic)),
                ("format", json!(self.format.to_string())),
                ("columns", json!(self.columns.len())),
                ("event_time", json!(self.columns[self.time_column].name)),
                ("watermark_delay", json!(length(self.watermark_delay_us))),
                ("idle_timeout", json!(length(self.idle_timeout_us))),
                ("event_future_max", json!(length(self.event_future_max_us))),
            ],
            vec![columns_with_units(self)],
        )
    }
}

/// The columns of a source, with the units that it says of integers.
fn columns_with_units(source: &SourceDef) -> AnswerTable {
    let mut table = AnswerTable::of_columns("columns", &source.columns);
    for (row, column) in table.rows.iter_mut().zip(&source.columns) {
        row[1] = json!(source.type_name(column));
        if let Some(unit) = source.epoch_units.get(&column.name) {
            row[1] = json!(format!(
                "{} FROM EPOCH {}",
                source.type_name(column),
                unit.word()
            ));
        }
    }
    table
}

/// Digest of those columns of a source that are `named`, and of its event time, whatever its topic.
/// A column that nobody names may come and go.
pub(in crate::catalog) fn columns_of(source: &SourceDef, named: &Named) -> String {
    let column =
        |column: &Column| format!("{} {} {}", column.name, column.data_type, column.nullable);
    let time = source.columns[source.time_column].name.clone();
    let columns = source
        .columns
        .iter()
        .filter(|column| is_named(named, column));
    let columns = columns.map(column);
    // Records and tables know columns by their names; their order may change.
    let columns: BTreeSet<String> = columns.collect();
    let parts: Vec<String> = [source.name.clone(), time]
        .into_iter()
        .chain(columns)
        .collect();
    digest(parts.iter().map(String::as_str))
}

/// Digest of which events a source has: its `named` columns, topic, format and the units of
/// their times. When they count as
/// late, and how long an idle partition is waited for, is no part of it: what is computed from the
/// events stays when that changes.
pub(in crate::catalog) fn events_of(source: &SourceDef, named: &Named) -> String {
    let mut format = source.format.to_string();
    if source.format.format().positional {
        for (place, column) in source.columns.iter().enumerate() {
            if is_named(named, column) {
                format.push_str(&format!(", {place} {}", column.name));
            }
        }
    }
    let time = &source.columns[source.time_column].name;
    for (name, unit) in &source.epoch_units {
        let column = source.columns.iter().find(|column| column.name == *name);
        if name == time || column.is_some_and(|column| is_named(named, column)) {
            format.push_str(&format!(", {name} from epoch {}", unit.word()));
        }
    }
    for (name, domain) in &source.domains {
        let column = source.columns.iter().find(|column| column.name == *name);
        if name == time || column.is_some_and(|column| is_named(named, column)) {
            format.push_str(&format!(", {name} {domain}"));
        }
    }
    digest([columns_of(source, named).as_str(), &source.topic, &format])
}
