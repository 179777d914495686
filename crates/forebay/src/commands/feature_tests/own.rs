//! Views and services of one test alone: the same as in the catalog, under ids of their own, so
//! that all tests share a store and none sees the events of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use forebay_core::PortResult;
use forebay_core::cells::Cells;
use forebay_core::ports::{CompiledService, CompiledView};
use forebay_core::view::{FoldBatch, ServiceSpec, ServiceView, ViewId, ViewSpec};
use forebay_engine::FeatureTest;

/// What one test asks.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) views: Vec<Arc<dyn CompiledView>>,
    /// One for each expectation.
    pub(super) services: Vec<Arc<dyn CompiledService>>,
}

impl Own {
    /// What `test` asks, with ids from `next` on, which moves behind them.
    pub(super) fn of(test: &FeatureTest, next: &mut ViewId) -> Self {
        let mut views: BTreeMap<ViewId, Arc<OwnView>> = BTreeMap::new();
        let services = test.expect.iter().map(|expect| {
            let service = &expect.service;
            let own = service.views().iter().map(|view| {
                let own = views.entry(view.spec().id).or_insert_with(|| {
                    let mut spec = ViewSpec::clone(view.spec());
                    spec.id = *next;
                    *next += 1;
                    Arc::new(OwnView {
                        view: Arc::clone(view),
                        spec: Arc::new(spec),
                    })
                });
                Arc::clone(own)
            });
            let own: Vec<Arc<OwnView>> = own.collect();
            let bound = service.spec().views.iter().zip(&own);
            let bound = bound.map(|(binding, view)| ServiceView {
                view: Arc::clone(&view.spec),
                ..binding.clone()
            });
            let spec = ServiceSpec {
                views: bound.collect(),
                ..ServiceSpec::clone(service.spec())
            };
            let views = own.into_iter().map(|view| view as Arc<dyn CompiledView>);
            Arc::new(OwnService {
                service: Arc::clone(service),
                spec: Arc::new(spec),
                views: views.collect(),
            }) as Arc<dyn CompiledService>
        });
        let services = services.collect();
        let views = views.into_values();
        Self {
            services,
            views: views.map(|view| view as Arc<dyn CompiledView>).collect(),
        }
    }
}

#[derive(Debug)]
struct OwnView {
    view: Arc<dyn CompiledView>,
    spec: Arc<ViewSpec>,
}

#[deny(clippy::missing_trait_methods)]
impl CompiledView for OwnView {
    fn spec(&self) -> &Arc<ViewSpec> {
        &self.spec
    }

    fn reads(&self) -> &[usize] {
        self.view.reads()
    }

    fn key_columns(&self) -> &[usize] {
        self.view.key_columns()
    }

    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch> {
        self.view.fold(rows)
    }

    fn features(&self) -> SchemaRef {
        self.view.features()
    }

    fn finish(
        &self,
        keys: &[ArrayRef],
        at: &TimestampMicrosecondArray,
        aggregates: &Cells,
    ) -> PortResult<Cells> {
        self.view.finish(keys, at, aggregates)
    }
}

#[derive(Debug)]
struct OwnService {
    service: Arc<dyn CompiledService>,
    spec: Arc<ServiceSpec>,
    views: Vec<Arc<dyn CompiledView>>,
}

#[deny(clippy::missing_trait_methods)]
impl CompiledService for OwnService {
    fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    fn views(&self) -> &[Arc<dyn CompiledView>] {
        &self.views
    }

    fn finish(
        &self,
        request: &RecordBatch,
        at: &TimestampMicrosecondArray,
        views: &[Cells],
    ) -> PortResult<Cells> {
        self.service.finish(request, at, views)
    }
}
