//! What a scan holds of the process's memory: a file's bytes, reserved before they are read, and
//! rows, reserved when they are decoded, since nothing says before how large they become. Whoever
//! asked for the scan is charged, and its stream ends where that is refused; one that nobody is
//! charged for (a merge, which has reserved all that it needs) reserves nothing.
//!
//! A file and a batch go through whatever their size: they are charged up to half of what the part
//! may have. Rows that are sorted before the first of them is handed on are charged in full, or,
//! where nobody is charged, are [`SORTED_SCAN_MAX_BYTES`] at most.

use forebay_core::limits::SORTED_SCAN_MAX_BYTES;
use forebay_core::memory::{OutOfMemory, Reservation};

use super::plan::Plan;
use crate::error::OfflineError;

/// What a scan holds of the memory budget.
#[derive(Debug)]
pub(super) struct Held {
    reservation: Option<Reservation>,
    file_bytes: usize,
    rows_bytes: usize,
}

impl Held {
    /// Nothing yet, for whom `plan` is.
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            reservation: plan.scan.reservation(),
            file_bytes: 0,
            rows_bytes: 0,
        }
    }

    /// Hold a file of so many bytes, in the place of the one before.
    pub(super) fn file(&mut self, plan: &Plan, bytes: u64) -> Result<(), OfflineError> {
        self.file_bytes = bytes as usize;
        self.reserve(plan)
    }

    /// Hold rows of so many bytes, in the place of those before.
    pub(super) fn rows(&mut self, plan: &Plan, bytes: usize) -> Result<(), OfflineError> {
        self.rows_bytes = bytes;
        self.reserve(plan)
    }

    /// Hold a file of so many bytes, in the place of the one before, beside rows that are sorted.
    pub(super) fn sorted_file(&mut self, plan: &Plan, bytes: u64) -> Result<(), OfflineError> {
        self.file_bytes = bytes as usize;
        self.reserve_all(plan)
    }

    /// Hold so many bytes more of rows that are sorted.
    pub(super) fn sorted_rows(&mut self, plan: &Plan, more: usize) -> Result<(), OfflineError> {
        self.rows_bytes = self.rows_bytes.saturating_add(more);
        self.reserve_all(plan)
    }

    fn reserve_all(&mut self, plan: &Plan) -> Result<(), OfflineError> {
        let bytes = self.file_bytes.saturating_add(self.rows_bytes);
        let Some(reservation) = &mut self.reservation else {
            return match bytes > SORTED_SCAN_MAX_BYTES {
                true => Err(too_mixed(&plan.table, None)),
                false => Ok(()),
            };
        };
        let more = bytes.saturating_sub(reservation.bytes());
        let grown = reservation.grow(more);
        grown.map_err(|full| match full.never_fits() {
            true => too_mixed(&plan.table, Some(full)),
            false => OfflineError::Memory {
                table: plan.table.clone(),
                source: full,
            },
        })?;
        reservation.shrink_to(bytes);
        Ok(())
    }

    fn reserve(&mut self, plan: &Plan) -> Result<(), OfflineError> {
        let bytes = self.file_bytes.saturating_add(self.rows_bytes);
        match &mut self.reservation {
            Some(reservation) => {
                let held = reservation.hold(bytes);
                held.map_err(|source| OfflineError::Memory {
                    table: plan.table.clone(),
                    source,
                })
            }
            None => Ok(()),
        }
    }
}

/// Files whose rows do not fit into memory together, of which none can be read before the others.
fn too_mixed(table: &str, full: Option<OutOfMemory>) -> OfflineError {
    let (most, remedy) = match full {
        Some(full) => (
            format!("the {} bytes of {}", full.most, full.part.label()),
            "raise memory.limit_mib",
        ),
        None => (
            format!("SORTED_SCAN_MAX_BYTES = {SORTED_SCAN_MAX_BYTES}"),
            "restore the files that it replaced from a backup",
        ),
    };
    OfflineError::Unsupported {
        table: table.to_owned(),
        why: format!(
            "another writer has mixed its rows, and to sort those of files that belong together takes more \
             than {most}; {remedy}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::Schema;
    use forebay_core::ports::Scan;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn rows_that_are_sorted_for_nobody_end_at_the_limit() {
        let plan = Plan {
            table: "events".to_owned(),
            store: Arc::new(InMemory::new()),
            schema: Arc::new(Schema::empty()),
            scan: Scan::default().in_log_order(),
        };
        let mut held = Held::of(&plan);
        held.sorted_file(&plan, 1_000).expect("far below");
        let rest = SORTED_SCAN_MAX_BYTES - 1_000;
        held.sorted_rows(&plan, rest)
            .expect("all that there may be");
        let error = held.sorted_rows(&plan, 1).expect_err("a byte above");
        let words = error.to_string();
        assert!(words.contains("SORTED_SCAN_MAX_BYTES"), "{words}");
        assert!(words.contains("from a backup"), "{words}");
    }
}
