//! New and changed views are tried on the newest rows of the archive while they are planned: what
//! they would leave out is told with the plan, and a view that fails by no fault of a row is
//! refused. An archive that cannot be read, or has other columns, refuses nothing here.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::limits::TRIAL_MAX_ROWS;
use forebay_core::ports::Archive;
use forebay_core::progress::Applied;
use forebay_core::{PortError, PortResult};
use forebay_engine::{CatalogPlan, ChangeAction, ObjectKind, Tried, ViewTrial};

use super::app::App;

/// How long all trials of a plan may take together; those that are left are not made.
const TRIALS_MAX: Duration = Duration::from_secs(5);

impl App {
    /// Try the views that `planned` makes or replaces.
    ///
    /// # Errors
    /// One of them fails on rows of the archive by no fault of a row.
    pub(super) fn try_views(&self, planned: &mut CatalogPlan) -> anyhow::Result<()> {
        let archive = Arc::clone(&self.archive);
        let CatalogPlan { changes, catalog } = planned;
        let tried = async {
            for change in changes.iter_mut() {
                let is_new = matches!(change.action, ChangeAction::Create | ChangeAction::Replace);
                let trial = (is_new && change.kind == ObjectKind::View)
                    .then(|| catalog.trial(&change.name))
                    .flatten();
                let Some(trial) = trial else { continue };
                match try_view(archive.as_ref(), trial).await {
                    Ok(Ok(tried)) => change.warnings.extend(tried.warnings()),
                    Ok(Err(error)) => {
                        let (name, kind) = (&change.name, error.kind());
                        let words = format!(
                            "feature view {name} fails on rows of the archive: {error}; correct its text"
                        );
                        return Err(PortError::with_source(kind, words, error));
                    }
                    Err(error) => {
                        let view = &change.name;
                        tracing::debug!(view, %error, "not tried on archived rows");
                    }
                }
            }
            Ok(())
        };
        let outcome = self
            .runtime
            .block_on(async { tokio::time::timeout(TRIALS_MAX, tried).await });
        match outcome {
            Ok(tried) => Ok(tried?),
            Err(_) => {
                tracing::info!("the archive was slow; not all views were tried on its rows");
                Ok(())
            }
        }
    }
}

async fn try_view(archive: &dyn Archive, trial: ViewTrial) -> PortResult<PortResult<Tried>> {
    let applied = archive.progress(trial.source()).await?;
    let from = newest(&applied, TRIAL_MAX_ROWS);
    let rows = archive.scan(trial.source(), trial.scan(from)).await?;
    trial.run(rows).await
}

/// Where the newest `rows` offsets begin, the same number in each partition.
fn newest(applied: &Applied, rows: usize) -> Applied {
    let share = rows.div_ceil(applied.0.len().max(1));
    let share = i64::try_from(share).expect("TRIAL_MAX_ROWS is far below");
    let mut from = applied.clone();
    for progress in from.0.values_mut() {
        progress.next_offset = progress.next_offset.saturating_sub(share).max(0);
    }
    from
}

#[cfg(test)]
mod tests {
    use forebay_core::progress::{PartitionProgress, TopicPartition};

    use super::*;

    #[test]
    fn the_newest_rows_are_shared_among_the_partitions() {
        let progress = |next_offset| PartitionProgress {
            next_offset,
            max_event_time_us: None,
            last: None,
        };
        let place = |partition| TopicPartition::new("t", partition);
        let marks = [(place(0), progress(100)), (place(1), progress(3))];
        let from = newest(&Applied(marks.into_iter().collect()), 20);
        assert_eq!(from.next_offset(&place(0)), 90);
        assert_eq!(from.next_offset(&place(1)), 0);
        assert!(newest(&Applied::default(), 20).0.is_empty());
        // What is not more than the limit is tried whole.
        let rows = i64::try_from(TRIAL_MAX_ROWS).expect("few");
        for (end, begin) in [(rows, 0), (rows + 1, 1)] {
            let one = Applied([(place(0), progress(end))].into_iter().collect());
            assert_eq!(newest(&one, TRIAL_MAX_ROWS).next_offset(&place(0)), begin);
        }
    }
}
