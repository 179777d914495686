//! Takes an object that nothing changed over from the catalog before, as it was compiled there.
//! Where its source has other columns by now it is compiled anew, and stays the version that it is.

use std::ptr;
use std::sync::Arc;

use forebay_core::ports::{CompiledService, CompiledView};

use super::Builder;
use super::identity::{Identity, Meaning};
use crate::catalog::inner::{Entry, Inner, Key, MonitorPlan};
use crate::error::Result;
use crate::parse::{Definition, ObjectKind};

impl Builder<'_> {
    /// Take `entry` of `from` over as it is: compiled as it was, unless the columns that it was
    /// compiled over stand at other places by now.
    pub(super) fn take_over(&mut self, from: &Inner, key: &Key, entry: &Arc<Entry>) -> Result<()> {
        let name = &key.1;
        if let Some(digest) = self.moved(from, entry)? {
            let identity = Identity::of(&entry.state);
            self.compile(entry.statement.clone(), identity, Meaning::new(&digest))?;
            // It has been told when it was created.
            self.warnings.clear();
            if from.outdated.contains(name) && key.0 == ObjectKind::View {
                self.after.outdated.insert(name.clone());
            }
            return Ok(());
        }
        let after = &mut self.after;
        match &entry.statement.definition {
            Definition::View(_) => {
                if let Some(view) = from.own_views.get(name) {
                    after.insert_view(name, Arc::clone(view));
                }
                if from.outdated.contains(name) {
                    after.outdated.insert(name.clone());
                }
            }
            Definition::Service(_) => {
                if let Some(service) = from.own_services.get(name) {
                    after.insert_service(name, Arc::clone(service));
                }
            }
            Definition::Monitor(def, _) => {
                let label = from.monitors.get(name).and_then(|plan| plan.label.clone());
                after.monitors.insert(
                    name.clone(),
                    MonitorPlan {
                        def: def.clone(),
                        label,
                    },
                );
            }
            other => after.insert_plain(other),
        }
        self.check(&entry.statement)?;
        self.after.entries.insert(key.clone(), Arc::clone(entry));
        Ok(())
    }

    /// The digest under which `entry` of `from` was compiled, if its source has got other columns
    /// since beside those that it reads, or a view that it reads is compiled anew for that.
    fn moved(&self, from: &Inner, entry: &Entry) -> Result<Option<String>> {
        let name = &entry.state.name;
        Ok(match &entry.statement.definition {
            Definition::View(view) => {
                let (source, _) = self.tables_of(&entry.statement, &view.entity)?;
                let view = from.own_views.get(name);
                let view = view.filter(|view| view.source().columns != source.columns);
                view.map(|view| view.definition().to_owned())
            }
            Definition::Service(_) => {
                let is_new = |view: &Arc<dyn CompiledView>| {
                    let now = self.after.own_views.get(&view.spec().name);
                    now.is_none_or(|now| !ptr::addr_eq(Arc::as_ptr(now), Arc::as_ptr(view)))
                };
                let service = from.own_services.get(name);
                let service = service.filter(|service| service.views().iter().any(is_new));
                service.map(|_| entry.state.digest.clone())
            }
            _ => None,
        })
    }
}
