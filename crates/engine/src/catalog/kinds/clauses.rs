//! What the catalog asks of a kind of object: how it is written ([`Kind`]), and what is to be known
//! of the clauses of a statement ([`Clauses`]). Each kind answers in a file of its own.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::Query;
use forebay_core::source::Column;

use crate::catalog::answer::Answer;
use crate::catalog::build::{Builder, Identity, Meaning};
use crate::catalog::compiled::Compiled;
use crate::catalog::inner::{Entry, Inner};
use crate::catalog::references::Reference;
use crate::error::Result;
use crate::parse::{Cursor, Definition, ObjectKind, QueryText, Statement};

/// How one kind is written.
pub(crate) struct Kind {
    pub(crate) kind: ObjectKind,
    /// `["FEATURE", "VIEW"]`.
    pub(crate) words: &'static [&'static str],
    /// The last of them, of many.
    pub(crate) plural: &'static str,
    /// The kind in a sentence.
    pub(crate) name: &'static str,
    /// Reads what stands behind the name.
    pub(crate) clauses: fn(&mut Cursor<'_>, &str) -> Result<Definition>,
}

/// Columns of a source, by their names in lower case, that a definition can read. None: all.
pub(in crate::catalog) type Named = Option<BTreeSet<String>>;

pub(super) fn is_named(named: &Named, column: &Column) -> bool {
    let name = column.name.to_lowercase();
    named.as_ref().is_none_or(|named| named.contains(&name))
}

/// The words of a query, among which are the columns that it reads; None where it has a star for
/// all of them.
pub(super) fn words_of(query: &QueryText) -> Named {
    query
        .words()
        .map(|words| words.map(str::to_lowercase).collect())
}

/// What the catalog asks of the clauses of a statement.
pub(in crate::catalog) trait Clauses {
    /// The objects that must be there before it, in the order in which they count into its digest.
    /// Read from the statement alone; the catalog looks them up.
    ///
    /// # Errors
    /// The statement cannot name what it names.
    fn references(&self, _statement: &Statement) -> Result<Vec<Reference>> {
        Ok(Vec::new())
    }

    /// Whether it can call functions: the version of all of them counts into its digest then.
    fn calls_functions(&self) -> bool {
        false
    }

    /// Its SQL: the versions of the functions that this uses count into its digest.
    ///
    /// # Errors
    /// It cannot be parsed.
    fn query(&self, _statement: &Statement) -> Result<Option<Query>> {
        Ok(None)
    }

    /// The columns that it can read of the source that it names.
    fn named(&self, _statement: &Statement, _inner: &Inner) -> Named {
        None
    }

    /// Checked whenever a catalog is built, also where the statement is unchanged: what it names is
    /// in `inner`.
    ///
    /// # Errors
    /// It does not fit what it names.
    fn check(&self, _statement: &Statement, _inner: &Inner) -> Result<()> {
        Ok(())
    }

    /// Put it into `inner`, where there is nothing to compile.
    fn insert(&self, _inner: &mut Inner) {}

    /// Compile it into `builder`; returns the form to save.
    ///
    /// # Errors
    /// It does not compile.
    fn compile(
        &self,
        builder: &mut Builder<'_>,
        _statement: &Statement,
        _identity: &Identity,
        _meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        self.insert(&mut builder.after);
        Ok(None)
    }

    /// Put it into `after` as it was compiled in `from`.
    fn take_over(&self, _name: &str, _from: &Inner, after: &mut Inner) {
        self.insert(after);
    }

    /// The digest under which `entry` of `from` was compiled, if what it was compiled over has
    /// other columns by now, or stands at another place, and it must be compiled anew for that.
    ///
    /// # Errors
    /// A defect: it lost what it names.
    fn moved(
        &self,
        _entry: &Entry,
        _from: &Inner,
        _builder: &Builder<'_>,
    ) -> Result<Option<String>> {
        Ok(None)
    }

    /// What is told of it beside its name, version and text: the facts that SHOW lists and DESCRIBE
    /// begins with, and DESCRIBE's tables.
    fn describe(&self, name: &str, inner: &Inner) -> Answer;
}
