//! What becomes of tables of the archive that cannot be used: which of them stand in the way of a
//! change, what ingest goes on without, and when it begins anew with what is whole again. Pure: the
//! looks at the tables are made elsewhere (`table_looks`), and come in as what they found.
//!
//! Tables that are no source's (dead letters, decisions about time, notes) every source needs; here
//! they are `common`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use forebay_core::error::with_causes;
use forebay_core::source::SourceDef;
use forebay_core::{ErrorKind, PortError};

/// A table as its source defines it: its name and its columns.
pub type WantedTable = (String, SchemaRef);

/// The tables of `sources`.
pub fn source_tables<'a>(sources: impl Iterator<Item = &'a Arc<SourceDef>>) -> Vec<WantedTable> {
    sources
        .map(|source| (source.name.clone(), source.archive_schema()))
        .collect()
}

/// Why no change is made where these common tables are `unusable`: the archive belongs to another
/// server, or ingest runs, which the change would stop and could not begin anew.
#[must_use]
pub(crate) fn refusal(
    unusable: BTreeMap<String, PortError>,
    is_ingesting: bool,
) -> Option<PortError> {
    let refuses = |e: &PortError| is_ingesting || e.kind() == ErrorKind::FailedPrecondition;
    unusable.into_values().find(refuses)
}

/// Why no change is made from sources with the tables `known` to those with `next`: one that is new
/// is `unusable`. One that was there before, of the same shape, stands in no change's way.
#[must_use]
pub(crate) fn refusal_of_new(
    next: &[WantedTable],
    known: &[WantedTable],
    mut unusable: BTreeMap<String, PortError>,
) -> Option<PortError> {
    let mut new = next.iter().filter(|table| !known.contains(table));
    new.find_map(|(table, _)| unusable.remove(table))
}

/// Tables that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aside {
    /// Each with the reason.
    pub why: BTreeMap<String, String>,
    /// Those of them that are open, and whose rows cannot be read.
    unread: BTreeSet<String>,
}

impl Aside {
    /// Those that do not open.
    #[must_use]
    pub(crate) fn of(unusable: BTreeMap<String, PortError>) -> Self {
        let reason = |(table, error): (String, PortError)| (table, with_causes(&error));
        Self {
            why: unusable.into_iter().map(reason).collect(),
            unread: BTreeSet::new(),
        }
    }

    /// The rows of `table`, which is open, cannot be read for `error`. Whether ingest goes on
    /// without it: it is the table of one of `sources`.
    pub(crate) fn leave_out(
        &mut self,
        table: &str,
        error: &PortError,
        sources: &[Arc<SourceDef>],
    ) -> bool {
        self.unread.insert(table.to_owned());
        self.why.insert(table.to_owned(), with_causes(error));
        sources.iter().any(|source| source.name == table)
    }

    /// The tables to open before ingest may begin anew: those of `sources` that are set aside, and
    /// the common ones, as ingest that runs goes on without one of these, but does not begin.
    #[must_use]
    pub(crate) fn to_open(
        &self,
        sources: Vec<WantedTable>,
        common: &[WantedTable],
    ) -> Vec<WantedTable> {
        let mut tables = sources;
        tables.retain(|(table, _)| self.why.contains_key(table));
        tables.extend(common.iter().cloned());
        tables
    }

    /// Whether ingest is to begin anew, of the tables that were opened the `unusable` ones left
    /// out: all common ones are there, and one that was set aside can be used again, whose rows can
    /// be read (`is_whole`) where that was what it lacked.
    pub(crate) fn begins_anew(
        &self,
        common: &[WantedTable],
        unusable: &BTreeMap<String, PortError>,
        mut is_whole: impl FnMut(&str) -> bool,
    ) -> bool {
        if common.iter().any(|(name, _)| unusable.contains_key(name)) {
            return false;
        }
        let mut opened = self.why.keys().filter(|name| !unusable.contains_key(*name));
        opened.any(|name| !self.unread.contains(name) || is_whole(name))
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    /// A table of one column.
    fn table(name: &str, column: &str) -> WantedTable {
        let field = Field::new(column, DataType::Int64, true);
        (name.to_owned(), Arc::new(Schema::new(vec![field])))
    }

    fn unusable(tables: &[(&str, ErrorKind)]) -> BTreeMap<String, PortError> {
        let tables = tables.iter();
        tables
            .map(|(name, kind)| {
                let error = PortError::new(*kind, format!("{name} is broken"));
                ((*name).to_owned(), error)
            })
            .collect()
    }

    fn words(refusal: Option<PortError>) -> Option<String> {
        refusal.map(|error| error.message().to_owned())
    }

    #[test]
    fn a_common_table_refuses_a_change_that_would_stop_ingest_or_whose_archive_is_anothers() {
        let (away, foreign) = (ErrorKind::Unavailable, ErrorKind::FailedPrecondition);
        for (tables, is_ingesting, expected) in [
            (&[][..], true, None),
            (&[("marks", away)], true, Some("marks is broken")),
            (&[("marks", away)], false, None),
            (&[("marks", foreign)], false, Some("marks is broken")),
            (
                &[("letters", away), ("marks", foreign)],
                false,
                Some("marks is broken"),
            ),
        ] {
            let refused = words(refusal(unusable(tables), is_ingesting));
            assert_eq!(refused.as_deref(), expected, "{tables:?} {is_ingesting}");
        }
    }

    #[test]
    fn a_table_refuses_a_change_only_where_its_source_is_new_or_has_other_columns() {
        let known = [table("old", "a"), table("other", "a")];
        let shapes = ErrorKind::AlreadyExists;
        for (next, broken, expected) in [
            (vec![table("new", "a")], "new", Some("new is broken")),
            (vec![table("new", "a")], "old", None),
            (vec![table("old", "a")], "old", None),
            (vec![table("old", "b")], "old", Some("old is broken")),
            (
                vec![table("old", "a"), table("new", "b")],
                "new",
                Some("new is broken"),
            ),
        ] {
            let refused = words(refusal_of_new(&next, &known, unusable(&[(broken, shapes)])));
            assert_eq!(refused.as_deref(), expected, "{next:?} {broken}");
        }
    }

    #[test]
    fn ingest_goes_on_without_the_table_of_a_source_alone() {
        let mut aside = Aside::of(unusable(&[("shut", ErrorKind::Unavailable)]));
        assert!(aside.unread.is_empty(), "it does not open");
        let error = PortError::new(ErrorKind::DataLoss, "a page is torn");
        let sources = ["orders", "users"].map(|name| SourceDef::json(name, name, Vec::new(), 0));
        let sources = sources.map(Arc::new);
        for (table, goes_on) in [("users", true), ("marks", false)] {
            assert_eq!(aside.leave_out(table, &error, &sources), goes_on, "{table}");
            assert_eq!(aside.why[table], "a page is torn");
            assert!(aside.unread.contains(table));
        }
        assert_eq!(aside.why["shut"], "shut is broken");
    }

    #[test]
    fn ingest_begins_anew_once_a_table_that_was_set_aside_can_be_used_and_all_common_ones_can() {
        let mut aside = Aside::of(unusable(&[("shut", ErrorKind::Unavailable)]));
        let torn = PortError::new(ErrorKind::DataLoss, "a page is torn");
        aside.leave_out("torn", &torn, &[]);
        let common = [table("marks", "a")];
        let sources = ["fine", "shut", "torn"].map(|name| table(name, "a"));
        let to_open = aside.to_open(sources.to_vec(), &common);
        let names: Vec<&str> = to_open.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["shut", "torn", "marks"]);
        let away = ErrorKind::Unavailable;
        for (tables, is_whole, expected) in [
            (&[][..], false, true),
            (&[("shut", away)], false, false),
            (&[("shut", away)], true, true),
            (&[("torn", away)], false, true),
            (&[("shut", away), ("torn", away)], true, false),
            (&[("marks", away)], true, false),
        ] {
            let begins = aside.begins_anew(&common, &unusable(tables), |name| {
                assert_eq!(name, "torn", "the others' rows were never in doubt");
                is_whole
            });
            assert_eq!(begins, expected, "{tables:?} {is_whole}");
        }
    }
}
