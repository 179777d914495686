//! A catalog whose definitions are those before, and some of whose views have new ids: the store
//! keeps the state of a view by its id, so that their state can be made anew beside what is served.
//! Versions, digests and texts stay, and with them what models were trained for; only a view of
//! [`Catalog::outdated`](crate::Catalog::outdated) and its services get new versions.

use std::collections::BTreeSet;

use super::Builder;
use super::identity::{Identity, Meaning};
use crate::catalog::inner::{Entry, Inner};
use crate::error::Result;
use crate::parse::ObjectKind;

impl Builder<'_> {
    /// All as it was, but for new ids of `views`. A service holds the views that it joins, so those
    /// that join one of them are compiled again.
    pub(in crate::catalog) fn renew(mut self, views: &BTreeSet<String>) -> Result<Inner> {
        self.after.broken.clone_from(&self.before.broken);
        for (key, entry) in &self.before.entries {
            if !is_renewed(entry, views)? {
                self.take_over(self.before, key, entry)?;
                continue;
            }
            let statement = entry.statement.clone();
            let now = self.digest(&statement)?.0;
            // A text that means something else by now is another version.
            let changed = u32::from(now != entry.state.digest);
            let identity = Identity {
                version: entry.state.version + changed,
                view_id: self.next_view_id(key.0),
                digest: now.clone(),
            };
            self.compile(statement, identity, Meaning::new(&now))?;
        }
        Ok(self.after.sealed())
    }
}

/// Whether `entry` is one of `views`, or holds one.
fn is_renewed(entry: &Entry, views: &BTreeSet<String>) -> Result<bool> {
    let statement = &entry.statement;
    Ok(match statement.kind {
        ObjectKind::View => views.contains(&statement.name),
        ObjectKind::Service => statement
            .references()?
            .iter()
            .any(|r| r.kind == ObjectKind::View && views.contains(&r.name)),
        _ => false,
    })
}
