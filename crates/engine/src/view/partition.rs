//! What the windows of a view are partitioned by, and which key column of the entity each of it is:
//! one of that name, or, where the source calls it otherwise, the one under whose name the SELECT
//! gives it (`SELECT merchant AS shop_id .. PARTITION BY merchant`).
//!
//! `windows` reads one for each aggregate; `matching` holds them against one another and, once it
//! knows the outputs, asks for the key.

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::source::Column;

use super::subject::{Subject, source_column};
use crate::error::{Result, listed};
use crate::expression::as_column;
use crate::scalar::Type;

/// One column of a PARTITION BY.
#[derive(Debug)]
struct Part {
    /// Its name there; empty for an expression.
    name: String,
    /// The source's column that it is; None where it is computed.
    column: Option<usize>,
    text: String,
}

/// The columns of a PARTITION BY, in its order.
#[derive(Debug)]
pub(super) struct Partition {
    parts: Vec<Part>,
    /// Where it stands in the text.
    pub(super) near: Option<Position>,
}

impl Partition {
    /// Of a window. `inner` turns an expression of the window into one over the source.
    pub(super) fn of(
        subject: Subject<'_>,
        partition_by: &[Expr],
        inner: &dyn Fn(&Expr) -> Result<Expr>,
        near: Option<Position>,
    ) -> Result<Self> {
        let part = |expr: &Expr| {
            let column = as_column(expr);
            Ok(Part {
                name: column.map_or_else(String::new, |column| column.name.clone()),
                column: source_column(subject.source, &inner(expr)?),
                text: expr.human_display().to_string(),
            })
        };
        Ok(Self {
            parts: partition_by.iter().map(part).collect::<Result<_>>()?,
            near,
        })
    }

    /// Whether rows fall into the same parts.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let columns = |of: &Self| {
            let mut columns: Vec<(Option<usize>, String)> = of
                .parts
                .iter()
                .map(|part| {
                    (
                        part.column,
                        part.column
                            .map_or_else(|| part.text.clone(), |_| String::new()),
                    )
                })
                .collect();
            columns.sort();
            columns
        };
        columns(self) == columns(other)
    }

    /// For each key column of the entity the source's column that it is.
    pub(super) fn key(
        &self,
        subject: Subject<'_>,
        outputs: &[(String, Expr)],
    ) -> Result<Vec<usize>> {
        let entity = subject.entity;
        let mut key: Vec<usize> = Vec::with_capacity(entity.key.len());
        let mut taken = Vec::with_capacity(entity.key.len());
        for column in &entity.key {
            let named = self.parts.iter().position(|part| part.name == column.name);
            let given = || {
                let (_, expr) = outputs.iter().find(|(name, _)| *name == column.name)?;
                let given = source_column(subject.source, expr)?;
                self.parts
                    .iter()
                    .position(|part| part.column == Some(given))
            };
            let Some(place) = named.or_else(given).filter(|place| !taken.contains(place)) else {
                return self.refuse(subject, column);
            };
            let index = self.key_column(subject, column, &self.parts[place])?;
            if key.contains(&index) {
                let message = format!(
                    "column {} of source {} is two columns of the key; write another for one of them",
                    subject.source.columns[index].name, subject.source.name
                );
                return subject.refuse_near(Some(&column.name), self.near, message);
            }
            taken.push(place);
            key.push(index);
        }
        if taken.len() != self.parts.len() {
            return self.refuse(subject, &entity.key[0]);
        }
        Ok(key)
    }

    /// It is not partitioned by the key, of which `column` is the first that is missing.
    fn refuse<T>(&self, subject: Subject<'_>, column: &Column) -> Result<T> {
        let entity = subject.entity;
        let names: Vec<&str> = entity.key.iter().map(|c| c.name.as_str()).collect();
        let names = names.join(", ");
        if let Some(computed) = self.parts.iter().find(|part| part.column.is_none()) {
            let message = format!(
                "its windows are partitioned by {}, which is computed; entity {} has the key ({names}): bring the value \
                 with the events, as a column of source {}, and write PARTITION BY {names}",
                computed.text, entity.name, subject.source.name
            );
            return subject.refuse_near(Some("PARTITION"), self.near, message);
        }
        let has = |name: &str| subject.source.columns.iter().any(|c| c.name == name);
        let word = if self.parts.is_empty() {
            "OVER"
        } else {
            "PARTITION"
        };
        let found = format!(
            "its windows are not partitioned by the entity's key: entity {} has the key ({names})",
            entity.name
        );
        let message = if entity.key.iter().all(|column| has(&column.name)) {
            format!("{found}; write PARTITION BY {names}")
        } else {
            let fits = |c: &&Column| c.data_type == column.data_type;
            let like = subject.source.columns.iter().filter(fits);
            let like = listed(like.map(|column| &column.name));
            let part = self
                .parts
                .first()
                .map_or("column", |part| part.name.as_str());
            format!(
                "{found}, and source {} has no column {}; select the column that it is under that name: SELECT {part} \
                 AS {} .. PARTITION BY {part} (of its type: {like})",
                subject.source.name, column.name, column.name
            )
        };
        subject.refuse_near(Some(word), self.near, message)
    }

    /// The source's column that `part`, the key column `column` of the entity, is.
    fn key_column(&self, subject: Subject<'_>, column: &Column, part: &Part) -> Result<usize> {
        let (source, entity) = (subject.source, subject.entity);
        let word = Some(column.name.as_str());
        let Some(index) = part.column else {
            let message = format!(
                "key column {} must be a column of source {}, not computed",
                column.name, source.name
            );
            return subject.refuse_near(word, self.near, message);
        };
        let found = &source.columns[index];
        if found.data_type != column.data_type {
            let sql = |of: &Column| Type::of(&of.data_type).map_or("of another type", Type::sql);
            let message = format!(
                "key column {} is {} in entity {}, but {} of source {} is {}; declare both alike",
                column.name,
                sql(column),
                entity.name,
                found.name,
                source.name,
                sql(found)
            );
            return subject.refuse_near(word, self.near, message);
        }
        if index == source.time_column {
            let message = format!(
                "key column {} is the event time of source {}; name another column",
                column.name, source.name
            );
            return subject.refuse_near(word, self.near, message);
        }
        Ok(index)
    }
}
