//! Takes an object that nothing changed over from the catalog before, as it was compiled there.
//! Where its source has other columns by now it is compiled anew, and stays the version that it is.

use std::sync::Arc;

use super::Builder;
use super::identity::{Identity, Meaning};
use crate::catalog::inner::{Entry, Inner, Key};
use crate::error::Result;
use crate::parse::ObjectKind;

impl Builder<'_> {
    /// Take `entry` of `from` over as it is: compiled as it was, unless the columns that it was
    /// compiled over stand at other places by now.
    pub(super) fn take_over(&mut self, from: &Inner, key: &Key, entry: &Arc<Entry>) -> Result<()> {
        let name = &key.1;
        if from.outdated.contains(name) && key.0 == ObjectKind::View {
            self.after.outdated.insert(name.clone());
        }
        let clauses = entry.statement.definition.clauses();
        if let Some(digest) = clauses.moved(entry, from, self)? {
            let identity = Identity::of(&entry.state);
            self.compile(entry.statement.clone(), identity, Meaning::new(&digest))?;
            // It has been told when it was created.
            self.warnings.clear();
            return Ok(());
        }
        clauses.take_over(name, from, &mut self.after);
        clauses.check(&entry.statement, &self.after)?;
        self.after.entries.insert(key.clone(), Arc::clone(entry));
        Ok(())
    }
}
