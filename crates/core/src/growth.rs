//! How a table of events follows the columns of its source: what may change, and what the table
//! becomes. Rows that are there keep what they have; nothing is written again.
//!
//! `engine` refuses a changed source by it when definitions are planned, and the archives change
//! their tables by it when they are opened, so that what is planned can be done.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};

use crate::source::sql_name;

/// What a table with the columns `have` becomes to take rows with the columns `wanted`; None: it
/// takes them as it is. A new column is NULL in the rows that are there. One that is no longer
/// wanted stays, and is NULL in the rows that come. What one of both lets be NULL may be.
///
/// # Errors
/// In words why it cannot become that: a column with another type, one that older rows would have
/// to have, one that differs from another in case only.
pub fn grown(have: &Schema, wanted: &Schema) -> Result<Option<SchemaRef>, String> {
    let mut fields: Vec<Arc<Field>> = Vec::with_capacity(have.fields().len());
    for field in have.fields() {
        let asked = wanted.fields().iter().find(|w| w.name() == field.name());
        let type_of = |f: &Field| format!("`{}` {}", f.name(), sql_name(f.data_type()));
        if let Some(asked) = asked.filter(|asked| asked.data_type() != field.data_type()) {
            let (have, want) = (type_of(field), type_of(asked));
            return Err(format!("it has {have} where {want} is wanted"));
        }
        let required = !field.is_nullable() && asked.is_some_and(|asked| !asked.is_nullable());
        fields.push(if required == field.is_nullable() {
            Arc::new(field.as_ref().clone().with_nullable(!required))
        } else {
            Arc::clone(field)
        });
    }
    let is_new = |w: &&Arc<Field>| have.column_with_name(w.name()).is_none();
    for field in wanted.fields().iter().filter(is_new) {
        let name = field.name();
        let same = |other: &&Arc<Field>| other.name().eq_ignore_ascii_case(name);
        if let Some(other) = fields.iter().find(same) {
            return Err(format!(
                "it has `{}`, which a table does not tell from `{name}`",
                other.name()
            ));
        }
        if !field.is_nullable() {
            return Err(format!(
                "it lacks `{name}`, which is NOT NULL, and older rows have no value of it"
            ));
        }
        fields.push(Arc::clone(field));
    }
    let grown = Schema::new(fields);
    Ok((grown.fields() != have.fields()).then(|| Arc::new(grown)))
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;

    use super::*;

    fn schema(columns: &[(&str, DataType, bool)]) -> Schema {
        let field = |(name, of, nullable): &(&str, DataType, bool)| {
            Field::new(*name, of.clone(), *nullable)
        };
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    const INT: DataType = DataType::Int64;
    const TEXT: DataType = DataType::Utf8;

    #[test]
    fn a_table_takes_new_columns_and_keeps_those_that_are_gone() {
        let have = schema(&[("a", INT, false), ("b", TEXT, true), ("c", INT, false)]);
        assert_eq!(grown(&have, &have), Ok(None));
        let reordered = schema(&[("c", INT, false), ("b", TEXT, true), ("a", INT, false)]);
        assert_eq!(grown(&have, &reordered), Ok(None), "columns go by name");
        let without = schema(&[("a", INT, false)]);
        let becomes = schema(&[("a", INT, false), ("b", TEXT, true), ("c", INT, true)]);
        assert_eq!(grown(&have, &without), Ok(Some(Arc::new(becomes))));
        let more = schema(&[("d", TEXT, true), ("a", INT, true), ("c", INT, false)]);
        let becomes = schema(&[
            ("a", INT, true),
            ("b", TEXT, true),
            ("c", INT, false),
            ("d", TEXT, true),
        ]);
        let becomes = Arc::new(becomes);
        assert_eq!(grown(&have, &more), Ok(Some(Arc::clone(&becomes))));
        // What may be NULL in some rows stays so, whatever is wanted now.
        assert_eq!(grown(&becomes, &have), Ok(None));
    }

    #[test]
    fn what_older_rows_cannot_have_is_refused() {
        let have = schema(&[("a", INT, false)]);
        for (wanted, words) in [
            (
                ("a", TEXT, false),
                "it has `a` BIGINT where `a` VARCHAR is wanted",
            ),
            (
                ("A", INT, true),
                "it has `a`, which a table does not tell from `A`",
            ),
            (("b", INT, false), "it lacks `b`, which is NOT NULL"),
        ] {
            let error = grown(&have, &schema(&[wanted])).expect_err(words);
            assert!(error.starts_with(words), "{error}");
        }
    }
}
