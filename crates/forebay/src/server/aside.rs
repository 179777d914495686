//! Looks at the archive's tables before ingest uses them: all are opened at once, or made, and
//! asked how far they are. Those that are damaged, or do not answer in time, are [`Aside`]. Decides
//! nothing: [`super::tables`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use forebay_core::error::with_causes;
use forebay_core::ports::Archive;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_offline::DeltaArchive;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long all tables together may take for their answers.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A table as its source defines it: its name and its columns.
pub(super) type Wanted = (String, SchemaRef);

/// Reads of tables whose rows could not be read. One that hangs keeps its read, and with it a
/// thread for blocking work: it is not read a second time beside it.
pub(super) type Reads = Mutex<BTreeMap<String, JoinHandle<bool>>>;

/// Tables that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aside {
    /// Each with the reason.
    pub(super) why: BTreeMap<String, String>,
    /// Those of them that are open, and whose rows cannot be read.
    pub(super) unread: BTreeSet<String>,
}

impl Aside {
    /// Those that do not open.
    pub(super) fn of(unusable: BTreeMap<String, PortError>) -> Self {
        let reason = |(table, error): (String, PortError)| (table, with_causes(&error));
        Self {
            why: unusable.into_iter().map(reason).collect(),
            unread: BTreeSet::new(),
        }
    }
}

/// Looks that have not ended. A table that hangs keeps its look, and with it a thread for blocking
/// work, until it answers; who asks again meanwhile waits no second time.
#[derive(Debug, Default)]
pub(super) struct TableLooks(Mutex<BTreeMap<String, Look>>);

#[derive(Debug)]
struct Look {
    schema: SchemaRef,
    answer: JoinHandle<PortResult<()>>,
    /// Until when it is waited for.
    until: Instant,
}

impl TableLooks {
    /// Open `tables`, or make them: those that cannot be used, each with its error.
    pub(super) async fn open(
        &self,
        archive: &Arc<DeltaArchive>,
        tables: Vec<Wanted>,
    ) -> BTreeMap<String, PortError> {
        let mut unusable = BTreeMap::new();
        let tables = tables.into_iter();
        let looks: Vec<_> = tables.map(|table| self.begin(archive, table)).collect();
        for (table, mut look) in looks {
            let outcome = match timeout_at(look.until, &mut look.answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(lost)) => {
                    let words = format!("the look at table '{table}' was lost");
                    Err(PortError::with_source(ErrorKind::Internal, words, lost))
                }
                Err(_) => {
                    self.0.lock().insert(table.clone(), look);
                    Err(silent(&table))
                }
            };
            if let Err(error) = outcome {
                unusable.insert(table, error);
            }
        }
        unusable
    }

    /// A look at `table`: the one that has not ended, or another.
    fn begin(&self, archive: &Arc<DeltaArchive>, (table, schema): Wanted) -> (String, Look) {
        let known = self.0.lock().remove(&table);
        let is_same = |look: &Look| look.schema == schema && !look.answer.is_finished();
        if let Some(look) = known.filter(is_same) {
            return (table, look);
        }
        let (archive, name) = (Arc::clone(archive), table.clone());
        let wanted = Arc::clone(&schema);
        let answer = tokio::spawn(async move {
            archive.open_table(&name, wanted).await?;
            archive.progress(&name).await.map(drop)
        });
        let until = Instant::now() + ANSWER_MAX;
        let look = Look {
            schema,
            answer,
            until,
        };
        (table, look)
    }
}

/// Of a table that has not answered.
fn silent(table: &str) -> PortError {
    let words = format!(
        "table '{table}' does not answer (not in {} s); check the disk of the data directory",
        ANSWER_MAX.as_secs()
    );
    PortError::new(ErrorKind::Unavailable, words)
}
