//! Turns of the archive's tables in upkeep: one after another, so that one table's work is at the
//! pace of the settings. A table whose work stands still, because its store hangs, loses its turn
//! and holds up no other; it is left out until that work has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ports::Runtime;
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How long the work on one table may stand still while the others wait.
const STILL_MAX: Duration = Duration::from_secs(120);

/// Tables that are worked on, each with the moment at which its work moved last.
type Moved = Arc<Mutex<BTreeMap<String, Duration>>>;

/// Who has had a turn and is not done.
#[derive(Debug, Clone)]
pub struct Turns {
    runtime: Arc<dyn Runtime>,
    still_max: Duration,
    moved: Moved,
}

/// The work on one table: it ends with this.
struct Working {
    table: String,
    moved: Moved,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.moved.lock().remove(&self.table);
    }
}

impl Turns {
    /// Nobody has had one yet. Work runs as tasks of `runtime`, and is measured by its time.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            runtime,
            still_max: STILL_MAX,
            moved: Moved::default(),
        }
    }

    /// The work on `table` has got on, or rests for `rest` and then does.
    pub fn moves(&self, table: &str, rest: Duration) {
        let at = self.runtime.elapsed().saturating_add(rest);
        if let Some(moved) = self.moved.lock().get_mut(table) {
            *moved = at;
        }
    }

    /// Do `work` on `table` as a task, until it is done or stands still. Whether it was begun: not
    /// where the work of an earlier turn has not ended.
    pub async fn take(&self, table: &str, work: impl Future<Output = ()> + Send + 'static) -> bool {
        if self.moved.lock().contains_key(table) {
            return false;
        }
        let began = self.runtime.elapsed();
        self.moved.lock().insert(table.to_owned(), began);
        let working = Working {
            table: table.to_owned(),
            moved: Arc::clone(&self.moved),
        };
        let (done, mut ended) = oneshot::channel::<()>();
        let task = async move {
            work.await;
            drop((working, done));
        };
        self.runtime.spawn_task("upkeep", Box::pin(task));
        loop {
            let moved = self.moved.lock().get(table).copied();
            let still = moved.map(|at| self.runtime.elapsed().saturating_sub(at));
            match still {
                Some(still) if still < self.still_max => {
                    let most = self.still_max.saturating_sub(still);
                    let rest = self.runtime.sleep(most);
                    if let Either::Left(_) = select(&mut ended, rest).await {
                        return true;
                    }
                }
                Some(_) => {
                    tracing::warn!(
                        table,
                        "upkeep of the archive stands still at a table, and goes on with the others"
                    );
                    return true;
                }
                None => return true,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use forebay_pipeline::SystemRuntime;

    use super::*;

    fn turns(runtime: &tokio::runtime::Runtime) -> Turns {
        let system: Arc<dyn Runtime> = Arc::new(SystemRuntime::new(runtime.handle().clone()));
        Turns {
            still_max: Duration::from_millis(300),
            ..Turns::new(system)
        }
    }

    #[test]
    fn a_table_that_stands_still_loses_its_turn_until_its_work_has_ended() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let turns = turns(&runtime);
        runtime.block_on(async {
            let (mend, mended) = oneshot::channel::<()>();
            let hangs = async move { drop(mended.await) };
            assert!(turns.take("hangs", hangs).await, "begun, and left behind");
            assert!(turns.take("other", async {}).await, "has its turn");
            assert!(!turns.take("hangs", async {}).await, "it still hangs");
            drop(mend);
            while !turns.take("hangs", async {}).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    #[test]
    fn work_that_gets_on_keeps_its_turn_and_work_that_panics_ends_it() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let turns = turns(&runtime);
        runtime.block_on(async {
            let (own, done) = (turns.clone(), Arc::new(Mutex::new(false)));
            let is_done = Arc::clone(&done);
            let slow = async move {
                for _ in 0..8 {
                    own.moves("slow", Duration::from_millis(100));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                *is_done.lock() = true;
            };
            assert!(turns.take("slow", slow).await);
            assert!(
                *done.lock(),
                "it took longer than a turn and was waited for"
            );
            assert!(turns.take("panics", async { panic!("as a test") }).await);
            // The panic's own report may take longer than a turn.
            while !turns.take("panics", async {}).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}
