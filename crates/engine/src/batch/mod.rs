//! The batch lowering: the windows of a view as DataFusion's own operators compute them, over the
//! view's folded events and one virtual row (key, t) for each spine row. It judges tiles and the
//! probe, of which it knows nothing; expressions before and behind the windows are those of the
//! view, in all lowerings the same code.
//!
//! A virtual row is kept out of every aggregate by its FILTER, so that it contributes nothing and
//! yet gets the row that the SQL returns at its place. `lowering` writes the windows down, `run`
//! executes them. Presence and TTL come from `max(event time)` of the same plan; the service's
//! on-demand expressions follow.
//!
//! It reads all events of a source into memory and sorts them, within the process's budget and
//! spilling where DataFusion can, and knows nothing of applied offsets: it is for judging, not for
//! big spines.

mod lowering;
mod run;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{
    CompiledService, CompiledView, Known, PointInTime, RowStream, SpineAnswer, TableScan,
};
use forebay_core::view::ServiceView;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::catalog::Catalog;
use crate::error::{EngineError, Result};
use crate::input::{Spine, event_scan, in_background, open_table};
use crate::memory::environment;
use crate::session::Session;
use crate::view::View;
use run::{VirtualRows, needed, read_events, run_view};

/// The batch lowering over one catalog.
#[derive(Debug, Clone)]
pub struct BatchEngine {
    catalog: Catalog,
    memory: Arc<Budget>,
    spill: Option<PathBuf>,
}

impl BatchEngine {
    /// Answers for the services of `catalog`, as it is now. Runs draw on `memory` and spill to
    /// `spill`, or to where the system keeps temporary files.
    #[must_use]
    pub fn new(catalog: Catalog, memory: Arc<Budget>, spill: Option<PathBuf>) -> Self {
        Self {
            catalog,
            memory,
            spill,
        }
    }

    fn view(&self, binding: &ServiceView) -> Result<Arc<View>> {
        let name = &binding.view.name;
        let view = self.catalog.view(name);
        let view = view.filter(|view| view.spec().id == binding.view.id);
        view.map(Arc::clone).ok_or_else(|| {
            EngineError::Internal(format!("the catalog has another version of view {name}"))
        })
    }
}

#[async_trait]
impl PointInTime for BatchEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        if !matches!(known, Known::All) {
            return Err(EngineError::Input(
                "the batch lowering answers over all events alone; ask the probe lowering for applied offsets"
                    .to_owned(),
            )
            .into());
        }
        let service = Arc::clone(self.catalog.service(service)?) as Arc<dyn CompiledService>;
        let spine = Spine::new(service.spec(), spine, time_column)?;
        let mut views = Vec::with_capacity(service.spec().views.len());
        for binding in &service.spec().views {
            let name = &binding.view.name;
            let view = self.view(binding)?;
            let scan = event_scan(view.source(), &needed(&view));
            let scan = scan.drawing(&self.memory, Part::PointInTime);
            let rows = open_table(tables, &binding.view.source, name, scan).await?;
            views.push((view, rows));
        }
        let environment = environment(&self.memory, self.spill.clone())
            .map_err(|e| EngineError::Internal(format!("an environment to run in: {e}")))?;
        let job = Job {
            session: self.catalog.session().clone(),
            memory: self.memory.empty(Part::PointInTime),
            environment,
            service,
            spine,
            views,
        };
        let answer = in_background("forebay-batch", move || job.run()).await;
        answer.map_err(|error| with_remedy(error.into()))
    }
}

/// Memory is short because of this lowering's way of working, and the other one needs less.
fn with_remedy(error: PortError) -> PortError {
    if error.kind() != ErrorKind::ResourceExhausted {
        return error;
    }
    let words = "the batch lowering holds all events of a source at once, and they do not fit into memory; take the \
                 default lowering, which holds those of the spine's keys alone, or raise memory.limit_mib";
    PortError::with_source(error.kind(), words, error)
}

/// One call, ready to run on a thread of its own.
struct Job {
    session: Session,
    environment: Arc<RuntimeEnv>,
    /// What the events hold that were read.
    memory: Reservation,
    service: Arc<dyn CompiledService>,
    spine: Spine,
    /// Each view with its events.
    views: Vec<(Arc<View>, RowStream)>,
}

impl Job {
    fn run(self) -> Result<SpineAnswer> {
        let Self {
            session,
            environment,
            mut memory,
            service,
            spine,
            views,
        } = self;
        let spec = Arc::clone(service.spec());
        let mut features = Vec::with_capacity(views.len());
        let mut left_out = Vec::with_capacity(views.len());
        for (binding, (view, rows)) in spec.views.iter().zip(views) {
            let virtual_rows = VirtualRows {
                view: &view,
                keys: spine.keys(binding)?,
                at: spine.at(),
            };
            let events = read_events(&virtual_rows, rows, &mut memory)?;
            left_out.push(events.left_out);
            let run_in = (&session, &environment);
            features.push(run_view(run_in, events.rows, &virtual_rows)?);
            memory.shrink_to(0);
        }
        let answer = service.finish(spine.request(), spine.at(), &features)?;
        Ok(SpineAnswer {
            rows: spine.answer(&spec, &answer.columns)?,
            faults: answer.faults,
            left_out,
        })
    }
}
