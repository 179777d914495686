//! Reads features straight from a store: what `serve` does for requests, without limits, deadlines
//! and formats. It asks the store for each view of a service and leaves the rest to the service's
//! own `finish`.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use forebay_core::key::KeyBuffer;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{At, CompiledService, FeatureAnswer, FeatureReader, StateReader};
use forebay_core::source::Column;
use forebay_core::view::ServiceSpec;
use forebay_core::{PortError, PortResult};

use crate::memory::unbounded_budget;

/// Reads features straight from a store.
#[derive(Debug)]
pub struct StoreReader {
    store: Arc<dyn StateReader>,
    services: Vec<Arc<dyn CompiledService>>,
    budget: Arc<Budget>,
}

impl StoreReader {
    /// A reader of `services` over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn StateReader>, services: Vec<Arc<dyn CompiledService>>) -> Self {
        Self {
            store,
            services,
            budget: unbounded_budget(),
        }
    }

    /// The same, whose answers draw on `budget`.
    #[must_use]
    pub fn drawing_on(self, budget: Arc<Budget>) -> Self {
        Self { budget, ..self }
    }
}

impl FeatureReader for StoreReader {
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>> {
        let found = self
            .services
            .iter()
            .find(|service| service.spec().name == name);
        found.cloned().ok_or_else(|| {
            let known = self.services().join(", ");
            PortError::not_found(format!("no service '{name}'; known services: {known}"))
        })
    }

    fn services(&self) -> Vec<String> {
        self.services
            .iter()
            .map(|service| service.spec().name.clone())
            .collect()
    }

    fn read(
        &self,
        service: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer> {
        let rows = request.num_rows();
        let request = &conform(request, service.spec())?;
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| at.of(row)))
            .with_timezone("UTC");
        let mut memory = self.budget.empty(Part::Scoring);
        let (mut features, mut status, mut newest_us, mut applied) =
            (vec![], vec![], vec![], vec![]);
        for (joined, view) in service.spec().views.iter().zip(service.views()) {
            let keys: Vec<_> = joined
                .key_columns
                .iter()
                .map(|column| Arc::clone(request.column(*column)))
                .collect();
            let answer =
                self.store
                    .read(joined.view.id, &KeyBuffer::encode(&keys)?, at, &mut memory)?;
            features.push(view.finish(&keys, &times, &answer.aggregates)?);
            status.push(answer.status);
            newest_us.push(answer.newest_us);
            applied.push(answer.applied);
        }
        let features = service.finish(request, &times, &features)?;
        Ok(FeatureAnswer {
            features: named(service.spec(), features.columns)?,
            faults: features.faults,
            status,
            newest_us,
            applied,
            as_of_us: (0..rows).map(|row| at.of(row)).max().unwrap_or(0),
            watermark_us: None,
            memory,
        })
    }
}

/// The features of `service` under their names.
pub(crate) fn named(service: &ServiceSpec, features: Vec<ArrayRef>) -> PortResult<RecordBatch> {
    let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), true);
    let fields: Vec<Field> = service.features.iter().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), features)
        .map_err(|e| PortError::internal(format!("features do not fit their service: {e}")))
}

/// The columns that `service` asks for, by their names.
pub(crate) fn conform(request: &RecordBatch, service: &ServiceSpec) -> PortResult<RecordBatch> {
    let schema = request.schema_ref();
    let index = |column: &Column| {
        let found = schema.column_with_name(&column.name);
        let found = found.filter(|(_, field)| *field.data_type() == column.data_type);
        found.map(|(index, _)| index).ok_or_else(|| {
            let (name, wanted) = (&column.name, &column.data_type);
            PortError::invalid(format!("the request has no column {name} of type {wanted}"))
        })
    };
    let indices = service.request.iter().map(index);
    let indices = indices.collect::<PortResult<Vec<_>>>()?;
    request
        .project(&indices)
        .map_err(|e| PortError::internal(format!("pick columns of a request: {e}")))
}
