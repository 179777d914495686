//! What a scan holds of the process's memory: a file's bytes, reserved before they are read, and
//! rows, reserved when they are decoded, since nothing says before how large they become. Whoever
//! asked for the scan is charged, and its stream ends where that is refused; one that nobody is
//! charged for (a merge, which has reserved all that it needs) reserves nothing.

use forebay_core::memory::Reservation;

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
