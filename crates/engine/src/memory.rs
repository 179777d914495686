//! DataFusion's memory pool over the process's budget. The operators that can spill do so when the
//! budget refuses them; those that cannot fail with the budget's words. Used where a plan runs over
//! data (`crate::batch`); planning draws on nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use forebay_core::memory::{Budget, Part, Reservation};
use parking_lot::Mutex;

/// Bytes of temporary files of one run.
const SPILL_MAX_BYTES: u64 = 4 << 30;

/// What DataFusion runs in: memory from `budget`, temporary files in `spill`, or where the system
/// keeps such files.
pub(crate) fn environment(budget: &Arc<Budget>, spill: Option<PathBuf>) -> Result<Arc<RuntimeEnv>> {
    let pool = BudgetPool {
        most_bytes: budget.most_bytes(Part::PointInTime),
        held: Mutex::new(Held {
            reservation: budget.empty(Part::PointInTime),
            beyond_bytes: 0,
        }),
    };
    let builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_max_temp_directory_size(SPILL_MAX_BYTES);
    let builder = match spill {
        Some(folder) => builder.with_temp_file_path(folder),
        None => builder,
    };
    builder.build_arc()
}

/// DataFusion's memory pool over one part of the process's budget.
#[derive(Debug)]
struct BudgetPool {
    most_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    reservation: Reservation,
    /// What an operator took that cannot be refused, while nothing was left: the first to go back.
    beyond_bytes: usize,
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.name(), self.most_bytes)
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "forebay"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let mut held = self.held.lock();
        let wanted = held.reservation.bytes() + additional;
        let got = held.reservation.resize_up_to(wanted);
        held.beyond_bytes += wanted - got;
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        let mut held = self.held.lock();
        let beyond = shrink.min(held.beyond_bytes);
        held.beyond_bytes -= beyond;
        let left = held.reservation.bytes().saturating_sub(shrink - beyond);
        held.reservation.shrink_to(left);
    }

    fn try_grow(&self, _: &MemoryReservation, additional: usize) -> Result<()> {
        let mut held = self.held.lock();
        // What was taken beyond the budget comes first: nobody gets more before it is covered.
        let wanted = additional.saturating_add(held.beyond_bytes);
        let grown = held.reservation.grow(wanted);
        grown.map_err(|full| DataFusionError::ResourcesExhausted(full.to_string()))?;
        held.beyond_bytes = 0;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let held = self.held.lock();
        held.reservation.bytes() + held.beyond_bytes
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.most_bytes)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::execution::memory_pool::MemoryConsumer;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext, col};

    use super::*;

    #[test]
    fn operators_draw_on_the_budget_and_give_all_of_it_back() {
        let budget = Budget::whole(1_000);
        let environment = environment(&budget, None).expect("a valid environment");
        let used = || budget.used_bytes(Part::PointInTime);
        let one = MemoryConsumer::new("sort").register(&environment.memory_pool);
        let other = MemoryConsumer::new("join").register(&environment.memory_pool);
        one.try_grow(700).expect("below the pool");
        let refused = other.try_grow(301).expect_err("above it");
        assert!(
            matches!(refused, DataFusionError::ResourcesExhausted(_)),
            "{refused}"
        );
        assert!(
            refused.to_string().contains("memory.limit_mib"),
            "{refused}"
        );
        // What cannot be refused is counted, and the pool is never above its bytes.
        other.grow(400);
        assert_eq!((used(), environment.memory_pool.reserved()), (1_000, 1_100));
        other.shrink(50);
        assert_eq!((used(), environment.memory_pool.reserved()), (1_000, 1_050));
        drop(other);
        assert_eq!(used(), 700);
        // Nor does anybody get what somebody else gives back before it covers that.
        let elsewhere = budget.reserve(Part::Ingest, 300).expect("free");
        one.grow(100);
        drop(elsewhere);
        one.try_grow(201).expect_err("100 of the 300 are taken");
        assert_eq!((used(), environment.memory_pool.reserved()), (700, 800));
        one.try_grow(200).expect("all that is left");
        assert_eq!((used(), environment.memory_pool.reserved()), (1_000, 1_000));
        drop(one);
        assert_eq!(used(), 0);
    }

    #[test]
    fn a_sort_that_the_budget_refuses_spills_and_gives_the_same_rows() {
        const ROWS: i64 = 2_000_000;
        let budget = Budget::whole(24 << 20);
        let folder = tempfile::tempdir().expect("a folder");
        let spill = Some(folder.path().join("spill"));
        let environment = environment(&budget, spill).expect("a valid environment");
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config_rt(config, environment);
        let batches = (0..ROWS).step_by(10_000).map(|from| {
            let values = (from..from + 10_000).map(|i| (i * 7_919) % ROWS);
            let column: ArrayRef = Arc::new(values.collect::<Int64Array>());
            RecordBatch::try_from_iter([("x", column)]).expect("one column")
        });
        let frame = context.read_batches(batches).expect("a table");
        let sorted = frame
            .sort(vec![col("x").sort(true, false)])
            .expect("a plan");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let (plan, rows) = runtime.expect("a runtime").block_on(async {
            let plan = sorted.create_physical_plan().await.expect("a plan");
            let rows = collect(Arc::clone(&plan), context.task_ctx()).await;
            (plan, rows.expect("it spills"))
        });
        let spills = plan.metrics().and_then(|metrics| metrics.spill_count());
        assert!(spills.is_some_and(|spills| spills > 0), "{spills:?}");
        let values = rows.iter().flat_map(|batch| {
            let column = batch.column(0).as_primitive::<Int64Type>();
            column.values().to_vec()
        });
        assert!(values.eq(0..ROWS));
        drop((plan, context));
        assert_eq!(budget.used_bytes(Part::PointInTime), 0);
    }
}
