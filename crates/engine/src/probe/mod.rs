//! The probe lowering: values of a service's features for a spine, each row as of its own instant,
//! straight from the events. Training sets are made here and served values are recomputed here.
//! Spine and definitions come from the caller, events as streams from the archive or from files;
//! the answer is one row for each row of the spine, in its order. Nothing here plans SQL, writes,
//! or reads what the online store holds.
//!
//! # Value
//!
//! A value is the SQL row of a virtual event (key, t) that contributes nothing, over the events
//! with event time <= t (`docs/concepts.md`, Value). WHERE, arguments and everything after the
//! aggregates are the compiled view's own, so they are the text that the stream runs; the
//! aggregates are `core`'s exact states, and where a window slides a monotone deque for minimum and
//! maximum. A key with a NULL part matches nothing: its row is NULL.
//!
//! # Steps
//!
//! ```text
//! spine ---> keys: distinct keys, numbered      narrow: columns, times, keys, offsets that count
//!                |                                 |
//!                |              table ---> scan, one stream a table
//!                v                                 v
//!            collect: events that the spine can see, sorted by (key, time, partition, offset)
//!                |
//!            slide or tree: aggregates of each probe ---> answers, a column an aggregate
//!                |
//!            the view's expressions, presence, the service's expressions ---> rows
//! ```
//!
//! * `narrow` only spares reading: each event is judged again by its key, its time and its offset.
//! * `slide` walks the events and the probes of a key together, in time order. Each event enters a
//!   window once and leaves it once: O(events + probes), for each cut.
//! * `tree` answers each probe by itself. It is made where nearly every probe has a cut of its own:
//!   where for one key cuts x events exceed events + 64 x probes. That decides speed, never a
//!   value.
//!
//! # Applied offsets
//!
//! With [`Known::Applied`] an event counts for a row only if its offset is below the next offset
//! that the row's cut has for the event's partition; a partition that the cut does not name has
//! applied nothing. So a served value is recomputed at the offsets that it names.
//!
//! # Late rows
//!
//! A row that came too late for a view (`ViewSpec::too_late`: older than watermark - (R + history),
//! R the longest of its windows and its TTL) was never folded online, yet it counts here, whether
//! or not the archive marks it `_late`. No permitted online read can see the difference: online
//! refuses every instant at which such a row could lie in a window or decide the TTL, and it
//! remembers the row's time for presence. For a view with a lifetime window nothing is ever too
//! late. `_late` is also one mark for all views of a source, so it could not say which view lacks
//! the row.
//!
//! # Memory and threads
//!
//! Held are the spine, its answer, and the events of the spine's keys. What a scan decodes and the
//! events draw on the process's budget; where it refuses, the call is given up with its words. The
//! spine has [`SPINE_MAX_ROWS`](forebay_core::limits::SPINE_MAX_ROWS) rows at most. A call runs on
//! a thread of its own and reads its tables side by side, one thread a table, as many as there are
//! processors.
//!
//! What the values are held against is the batch lowering, DataFusion's own plan of the same text:
//! docs/decisions/0006-the-batch-plan-is-the-oracle.md.

mod answers;
mod collect;
mod fold;
mod narrow;
mod plan;
mod slide;
#[cfg(test)]
mod tests;
mod tree;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::cells::Cells;
use forebay_core::fault::LeftOutRows;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{
    CompiledService, Known, PointInTime, RowStream, Scan, SpineAnswer, TableScan,
};
use forebay_core::source::SourceDef;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::error::{EngineError, Result};
use crate::input::{Places, STACK_BYTES, Spine, TableReader, in_background, open_table, source_of};
use narrow::Seen;
use view::{ViewAnswer, ViewProbe};

/// The probe lowering over one catalog.
#[derive(Debug, Clone)]
pub struct ProbeEngine {
    catalog: Catalog,
    memory: Arc<Budget>,
}

impl ProbeEngine {
    /// Answers for the services of `catalog`, as it is now. The events that a spine can see draw on
    /// `memory`.
    #[must_use]
    pub fn new(catalog: Catalog, memory: Arc<Budget>) -> Self {
        Self { catalog, memory }
    }

    /// What has to be read, and for which views.
    async fn job(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> Result<Job> {
        let service = Arc::clone(self.catalog.service(service)?) as Arc<dyn CompiledService>;
        let spec = Arc::clone(service.spec());
        let spine = Spine::new(&spec, spine, time_column)?;
        check_known(&known, spec.views.len(), spine.len())?;
        let mut by_source: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, binding) in spec.views.iter().enumerate() {
            let views = by_source.entry(binding.view.source.as_str()).or_default();
            views.push(number);
        }
        let mut sources = Vec::with_capacity(by_source.len());
        for (name, views) in by_source {
            let first = &spec.views[views[0]].view.name;
            let source = Arc::clone(source_of(&self.catalog, name, first)?);
            let mut needed = vec![false; source.columns.len()];
            for view in &views {
                let reads = service.views()[*view].reads();
                reads.iter().for_each(|column| needed[*column] = true);
            }
            let scan = scan(&source, &needed, &views, service.as_ref(), &spine, &known)?;
            let scan = scan.drawing(&self.memory, Part::PointInTime);
            let rows = open_table(tables, name, first, scan).await?;
            sources.push(SourceJob {
                source,
                rows: Mutex::new(Some(rows)),
                needed,
                views,
            });
        }
        Ok(Job {
            sources,
            service,
            spine,
            known,
            memory: Arc::clone(&self.memory),
        })
    }
}

#[async_trait]
impl PointInTime for ProbeEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        let job = self.job(service, spine, time_column, tables, known).await?;
        Ok(in_background("forebay-probe", move || job.run()).await?)
    }
}

/// What the spine can see of one table.
fn scan(
    source: &SourceDef,
    needed: &[bool],
    views: &[usize],
    service: &dyn CompiledService,
    spine: &Spine,
    known: &Known,
) -> Result<Scan> {
    let spec = service.spec();
    let keys = views
        .iter()
        .map(|view| spine.keys(&spec.views[*view]))
        .collect::<Result<Vec<_>>>()?;
    let seen = views.iter().zip(&keys).map(|(view, keys)| Seen {
        spec: spec.views[*view].view.as_ref(),
        key_columns: service.views()[*view].key_columns(),
        keys,
    });
    let seen: Vec<Seen<'_>> = seen.collect();
    Ok(narrow::scan(
        source,
        needed,
        &seen,
        spine.at().values(),
        known,
    ))
}

fn check_known(known: &Known, views: usize, rows: usize) -> Result<()> {
    let Known::Applied { cuts, index } = known else {
        return Ok(());
    };
    let whole = index.len() == views && index.iter().all(|view| view.len() == rows);
    let inside = index
        .iter()
        .flatten()
        .all(|cut| (*cut as usize) < cuts.len());
    if whole && inside {
        return Ok(());
    }
    Err(EngineError::Input(format!(
        "the applied offsets must name one of {} cuts for each of {rows} rows and {views} views",
        cuts.len()
    )))
}

/// One table and the views (by number in the service) that read it.
struct SourceJob {
    source: Arc<SourceDef>,
    /// Taken by the thread that reads it.
    rows: Mutex<Option<RowStream>>,
    needed: Vec<bool>,
    views: Vec<usize>,
}

/// One call, ready to run on a thread of its own.
struct Job {
    service: Arc<dyn CompiledService>,
    spine: Spine,
    known: Known,
    sources: Vec<SourceJob>,
    memory: Arc<Budget>,
}

impl Job {
    fn run(self) -> Result<SpineAnswer> {
        let views = self.service.spec().views.len();
        let mut features = vec![Cells::default(); views];
        let mut left_out = vec![LeftOutRows::default(); views];
        for (view, answer) in self.read_sources()? {
            features[view] = answer.features;
            left_out[view] = answer.left_out;
        }
        let answer = self
            .service
            .finish(self.spine.request(), self.spine.at(), &features)?;
        let rows = self.spine.answer(self.service.spec(), &answer.columns)?;
        Ok(SpineAnswer {
            rows,
            faults: answer.faults,
            left_out,
        })
    }

    /// The answer of each view, by its number. The tables are read side by side, one thread a
    /// table, as many as there are processors.
    #[allow(
        clippy::disallowed_methods,
        reason = "it computes on rows that are there, and waits for all of its threads"
    )]
    fn read_sources(&self) -> Result<Vec<(usize, ViewAnswer)>> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(source) = self.sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.extend(self.read_source(source)?);
            }
            Ok(done)
        };
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..self.sources.len().min(processors) {
                let thread = std::thread::Builder::new()
                    .name("forebay-probe".to_owned())
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, work)
                    .map_err(|e| EngineError::Internal(format!("cannot start a thread: {e}")))?;
                threads.push(thread);
            }
            let mut features = Vec::new();
            for thread in threads {
                let done: Result<_> = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                features.extend(done?);
            }
            Ok(features)
        })
    }

    fn read_source(&self, job: &SourceJob) -> Result<Vec<(usize, ViewAnswer)>> {
        let spec = self.service.spec();
        let mut probes = job
            .views
            .iter()
            .map(|number| {
                let compiled = Arc::clone(&self.service.views()[*number]);
                ViewProbe::new(
                    compiled,
                    self.spine.keys(&spec.views[*number])?,
                    self.spine.at(),
                    self.memory.empty(Part::PointInTime),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let mut places = Places::new(&job.source.topic);
        let rows = job.rows.lock().take();
        let rows = rows.ok_or_else(|| EngineError::Internal("a table is read twice".to_owned()))?;
        let time = job.source.time_column;
        TableReader::new(&job.source, &job.needed).read(rows, &mut |batch| {
            let place = places.of(&batch);
            probes
                .iter_mut()
                .try_for_each(|probe| probe.add(&batch, time, &place))
        })?;
        let answered = job.views.iter().zip(probes).map(|(number, probe)| {
            let answer = match &self.known {
                Known::All => probe.answer(self.spine.at(), None, &places)?,
                Known::Applied { cuts, index } => {
                    let cuts = places.next_offsets(cuts);
                    let cuts = Some((cuts.as_slice(), index[*number].as_slice()));
                    probe.answer(self.spine.at(), cuts, &places)?
                }
            };
            Ok((*number, answer))
        });
        answered.collect()
    }
}
