//! Whether the server is ready to be asked: a set of named conditions, each met or missing with a
//! reason in words. The binary names and sets them as it starts, recovers and shuts down; `/readyz`
//! reports them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Conditions of readiness; clones share them. Without any condition it is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// For each condition why it is missing; None when it is met.
    conditions: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// These conditions, all of them still missing: name and what is being waited for.
    #[must_use]
    pub fn waiting_for(conditions: &[(&str, &str)]) -> Self {
        let readiness = Self::default();
        for (condition, reason) in conditions {
            readiness.missing_because(condition, *reason);
        }
        readiness
    }

    /// `condition` is met.
    pub fn met(&self, condition: &str) {
        self.conditions.lock().insert(condition.to_owned(), None);
    }

    /// `condition` is missing, and why.
    pub fn missing_because(&self, condition: &str, reason: impl Into<String>) {
        self.conditions
            .lock()
            .insert(condition.to_owned(), Some(reason.into()));
    }

    /// The conditions that are missing, with their reasons.
    #[must_use]
    pub(crate) fn missing(&self) -> BTreeMap<String, String> {
        let conditions = self.conditions.lock();
        conditions
            .iter()
            .filter_map(|(name, why)| Some((name.clone(), why.clone()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn it_is_ready_when_every_condition_is_met_and_says_what_is_missing_until_then() {
        let readiness = Readiness::waiting_for(&[
            ("caught_up", "120 events behind"),
            ("views_registered", "not yet"),
        ]);
        let other = readiness.clone();
        other.met("views_registered");
        assert!(!readiness.missing().is_empty());
        assert_eq!(
            readiness.missing(),
            [("caught_up".to_owned(), "120 events behind".to_owned())].into()
        );
        readiness.met("caught_up");
        assert!(other.missing().is_empty());
        readiness.missing_because("serving", "the server is shutting down");
        assert!(!other.missing().is_empty());
        assert!(Readiness::default().missing().is_empty());
    }
}
