//! Looks at the archive's tables before ingest uses them: all are opened at once, or made, and
//! asked how far they are. A look that has not ended is shared by all who ask for it meanwhile, so
//! that a table that hangs holds one task, and with it at most one thread for blocking work. So is
//! a read of all rows of a table that could not be read before ([`whole`]). What becomes of tables
//! that cannot be used [`Aside`] decides; a start and a change go by it in [`usable`].

mod usable;
mod whole;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use forebay_core::ports::{Archive, Runtime, Task};
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::watch;

#[cfg(doc)]
use crate::aside::Aside;
use crate::aside::WantedTable;
use crate::stop::Stop;
pub use usable::Outcome;
use whole::WholeReads;

/// How long all tables together may take for their answers.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a look has found. Its error is of all who wait for it.
type Answer = Result<(), Arc<PortError>>;

/// The looks that have not ended: who asks for one again waits for it no longer than until its
/// deadline.
#[derive(Debug)]
pub struct TableLooks {
    archive: Arc<dyn Archive>,
    runtime: Arc<dyn Runtime>,
    answer_max: Duration,
    /// The tables that no source has, and every one needs.
    common: Vec<WantedTable>,
    whole: WholeReads,
    /// One lock for the search and the beginning of a look, so that two who ask at once find one.
    looks: Mutex<Vec<Look>>,
}

/// A look; clones wait for the same one.
#[derive(Debug, Clone)]
struct Look {
    table: String,
    schema: SchemaRef,
    /// None until it has ended.
    answer: watch::Receiver<Option<Answer>>,
    /// Until when it is waited for.
    until: Duration,
}

impl Look {
    fn has_ended(&self) -> bool {
        // A task that was lost has let go of its sender.
        self.answer.borrow().is_some() || self.answer.has_changed().is_err()
    }
}

impl TableLooks {
    /// Looks at `archive`, as tasks of `runtime`; reads of whole tables end at `stop`. Every source
    /// needs the tables in `common`.
    #[must_use]
    pub fn new(
        archive: Arc<dyn Archive>,
        runtime: Arc<dyn Runtime>,
        stop: Stop,
        common: Vec<WantedTable>,
    ) -> Self {
        let whole = WholeReads::new(Arc::clone(&archive), Arc::clone(&runtime), stop);
        Self {
            archive,
            runtime,
            answer_max: ANSWER_MAX,
            common,
            whole,
            looks: Mutex::default(),
        }
    }

    /// The tables that every source needs.
    #[must_use]
    pub fn common(&self) -> &[WantedTable] {
        &self.common
    }

    /// Whether every row of `table` can be read. The first look at it begins to read; what came of
    /// that a later one tells.
    #[must_use]
    pub fn is_whole(&self, table: &str) -> bool {
        self.whole.is_whole(table)
    }

    /// Ingest stops: what a finished read of a table has found may change when it is set aside once
    /// more.
    pub fn forget_reads(&self) {
        self.whole.forget_finished();
    }

    /// Open `tables`, or make them: those that cannot be used, each with its error.
    pub async fn open(&self, tables: Vec<WantedTable>) -> BTreeMap<String, PortError> {
        let mut unusable = BTreeMap::new();
        for look in self.begin(tables) {
            let table = look.table.clone();
            if let Err(error) = self.answer_of(look).await {
                unusable.insert(table, error);
            }
        }
        unusable
    }

    /// A look at each of `tables`: the one that has not ended, or another.
    fn begin(&self, tables: Vec<WantedTable>) -> Vec<Look> {
        let (mut begun, mut tasks) = (Vec::new(), Vec::new());
        {
            let mut looks = self.looks.lock();
            looks.retain(|look| !look.has_ended());
            for (table, schema) in tables {
                let is_same = |look: &&Look| look.table == table && look.schema == schema;
                if let Some(look) = looks.iter().find(is_same) {
                    begun.push(look.clone());
                    continue;
                }
                let (look, task) = self.look_at(table, schema);
                looks.push(look.clone());
                begun.push(look);
                tasks.push(task);
            }
        }
        // A runtime may run others as it spawns: not under the lock.
        for task in tasks {
            self.runtime.spawn_task("table look", task);
        }
        begun
    }

    /// A look, and the task that makes it.
    fn look_at(&self, table: String, schema: SchemaRef) -> (Look, Task<()>) {
        let (tell, answer) = watch::channel(None);
        let look = Look {
            table,
            schema,
            answer,
            until: self.runtime.elapsed().saturating_add(self.answer_max),
        };
        let (archive, name) = (Arc::clone(&self.archive), look.table.clone());
        let schema = Arc::clone(&look.schema);
        let task = async move {
            let opened = opens(archive.as_ref(), &name, schema).await;
            tell.send_replace(Some(opened.map_err(Arc::new)));
        };
        (look, Box::pin(task))
    }

    /// What `look` finds until its deadline.
    async fn answer_of(&self, look: Look) -> PortResult<()> {
        let Look {
            table,
            mut answer,
            until,
            ..
        } = look;
        let left = until.saturating_sub(self.runtime.elapsed());
        let found = async { answer.wait_for(Option::is_some).await.map(|it| it.clone()) };
        match select(pin!(found), self.runtime.sleep(left)).await {
            Either::Left((Ok(Some(found)), _)) => found.map_err(|error| again(&error)),
            // The wait itself never ends with None.
            Either::Left((Ok(None), _)) | Either::Right(_) => Err(self.silent(&table)),
            Either::Left((Err(lost), _)) => {
                let words = format!("the look at table '{table}' was lost");
                Err(PortError::with_source(ErrorKind::Internal, words, lost))
            }
        }
    }

    /// Of a table that has not answered.
    fn silent(&self, table: &str) -> PortError {
        let words = format!(
            "table '{table}' does not answer (not in {} s); check the disk of the data directory",
            self.answer_max.as_secs()
        );
        PortError::new(ErrorKind::Unavailable, words)
    }
}

/// Open `table`, or make it, and ask how far it is.
async fn opens(archive: &dyn Archive, table: &str, schema: SchemaRef) -> PortResult<()> {
    archive.open_table(table, schema).await?;
    archive.progress(table).await.map(drop)
}

/// `error` for one more of those who wait for it.
fn again(error: &Arc<PortError>) -> PortError {
    PortError::with_source(error.kind(), error.message(), Arc::clone(error))
}

#[cfg(test)]
mod tests;
