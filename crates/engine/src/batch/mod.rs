//! The batch lowering: DataFusion's own plan of a view, run over the events and one virtual row
//! (key, t) for each spine row. It is what the SQL says, computed by the machine that SQL is
//! planned for: the definition that tiles and the probe are compared with, and independent of both.
//!
//! `lowering` lets the plan run over events and virtual rows together: a virtual row passes every
//! WHERE and is kept out of every aggregate by its FILTER, so that it contributes nothing and yet
//! gets the row that the SQL returns at its place. `run` executes the plan. Presence and TTL come
//! from `max(event time)` of the same plan; the service's on-demand expressions follow.
//!
//! It reads all events of a source into memory and sorts them, and knows nothing of applied
//! offsets: it is for judging, not for big spines.

mod lowering;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{CompiledService, CompiledView, Known, PointInTime, TableInput};
use forebay_core::view::ServiceView;

use crate::catalog::Catalog;
use crate::error::{EngineError, Result};
use crate::input::{Spine, apply_presence, find_table, in_background};
use run::{VirtualRows, read_events, run_view};

/// The batch lowering over one catalog.
#[derive(Debug, Clone)]
pub struct BatchEngine {
    catalog: Catalog,
}

impl BatchEngine {
    /// Answers for the services of `catalog`, as it is now.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }
}

#[async_trait]
impl PointInTime for BatchEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &BTreeMap<String, TableInput>,
        known: Known,
    ) -> PortResult<RecordBatch> {
        if !matches!(known, Known::All) {
            return Err(EngineError::Input(
                "the batch lowering answers over all events alone; ask the probe lowering for applied offsets"
                    .to_owned(),
            )
            .into());
        }
        let service = Arc::clone(self.catalog.service(service)?) as Arc<dyn CompiledService>;
        let spine = Spine::new(service.spec(), spine, time_column)?;
        let mut inputs = Vec::with_capacity(service.spec().views.len());
        for binding in &service.spec().views {
            let (_, input) = find_table(
                &self.catalog,
                &binding.view.source,
                &binding.view.name,
                tables,
            )?;
            inputs.push(input.clone());
        }
        let job = Job {
            catalog: self.catalog.clone(),
            service,
            spine,
            inputs,
        };
        Ok(in_background("forebay-batch", move || job.run()).await?)
    }
}

/// One call, ready to run on a thread of its own.
#[derive(Debug)]
struct Job {
    catalog: Catalog,
    service: Arc<dyn CompiledService>,
    spine: Spine,
    /// The table of each view.
    inputs: Vec<TableInput>,
}

impl Job {
    fn run(self) -> Result<RecordBatch> {
        let spec = Arc::clone(self.service.spec());
        let views = spec.views.iter().zip(&self.inputs);
        let features = views
            .map(|(binding, input)| self.view(binding, input))
            .collect::<Result<Vec<_>>>()?;
        let answer = self.service.finish(self.spine.request(), &features)?;
        self.spine.answer(&spec, &answer)
    }

    /// Features of one view for all spine rows, presence applied.
    fn view(&self, binding: &ServiceView, input: &TableInput) -> Result<Vec<ArrayRef>> {
        let name = &binding.view.name;
        let view = self
            .catalog
            .view(name)
            .filter(|view| view.spec().id == binding.view.id)
            .ok_or_else(|| {
                EngineError::Internal(format!("the catalog has another version of view {name}"))
            })?;
        let events = read_events(view, input)?;
        let virtual_rows = VirtualRows {
            view,
            keys: self.spine.keys(binding)?,
            at: self.spine.at(),
        };
        let (columns, newest_us) = run_view(self.catalog.session(), events, &virtual_rows)?;
        apply_presence(
            &columns,
            &newest_us,
            self.spine.at().values(),
            binding.view.ttl_us,
        )
    }
}
