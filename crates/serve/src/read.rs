//! The read path: request rows in, features out. One implementation of core's [`FeatureReader`],
//! shared by Flight, by the scoring task and by verification, so that all of them see the same
//! value.
//!
//! A service is compiled when it is applied and swapped in whole
//! ([`ServiceReader::replace_services`]); a read touches no catalog. It takes its instant from the
//! caller and reads no clock. Values of a view whose key has no event at or before the instant, or
//! only one older than the TTL, are NULLed here, once, for every protocol.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow_cast::cast;
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::cells::Cells;
use forebay_core::key::KeyBuffer;
use forebay_core::limits::REQUEST_MAX_ROWS;
use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::{
    At, CompiledService, CompiledView, FeatureAnswer, FeatureReader, StateReader, ViewRows,
};
use forebay_core::source::Column;
use forebay_core::time::Micros;
use forebay_core::view::{FeatureStatus, ServiceSpec, ServiceView};
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::columns::{Owner, declared, first_forbidden_null};
use crate::ports::Watermarks;

/// What an answer holds of each row and view beside its features, bytes: status, time, epoch.
const ROW_BYTES: usize = 64;
/// Least that a computed feature takes of each row, bytes: a value, or a text's offset, and its bit
/// of validity.
const CELL_BYTES: usize = 16;

/// Reads features from an online store.
#[derive(Debug)]
pub struct ServiceReader {
    store: Arc<dyn StateReader>,
    watermarks: Arc<dyn Watermarks>,
    services: Arc<ArcSwap<BTreeMap<String, Served>>>,
    /// Whom answers draw their memory from, and as which part.
    budget: Arc<Budget>,
    part: Part,
}

/// A service with what every read of it needs, made once.
#[derive(Debug)]
struct Served {
    service: Arc<dyn CompiledService>,
    shapes: Arc<Shapes>,
}

/// The schemas of a service.
#[derive(Debug)]
struct Shapes {
    request: SchemaRef,
    answer: SchemaRef,
}

impl Shapes {
    fn of(spec: &ServiceSpec) -> Self {
        Self {
            request: request_schema(spec),
            answer: answer_schema(spec),
        }
    }
}

impl ServiceReader {
    /// A reader over `store` that knows no service yet. Answers draw on `budget`.
    #[must_use]
    pub fn new(
        store: Arc<dyn StateReader>,
        watermarks: Arc<dyn Watermarks>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            store,
            watermarks,
            services: Arc::default(),
            budget,
            part: Part::Answers,
        }
    }

    /// The same services for another part of the process, which requests then cannot starve.
    #[must_use]
    pub fn drawing_as(&self, part: Part) -> Self {
        Self {
            store: Arc::clone(&self.store),
            watermarks: Arc::clone(&self.watermarks),
            services: Arc::clone(&self.services),
            budget: Arc::clone(&self.budget),
            part,
        }
    }

    /// Serve exactly these from now on. Reads that are under way finish with what they began with.
    /// Of two versions of one name the newer one is served.
    pub fn replace_services(&self, services: Vec<Arc<dyn CompiledService>>) {
        let mut table = BTreeMap::<String, Served>::new();
        for service in services {
            let spec = service.spec();
            let newest = table
                .get(&spec.name)
                .is_none_or(|other| other.service.spec().version < spec.version);
            if newest {
                let shapes = Arc::new(Shapes::of(spec));
                table.insert(spec.name.clone(), Served { service, shapes });
            }
        }
        self.services.store(Arc::new(table));
    }

    /// The schemas of `service`: those made before, unless it is one that is no longer served.
    fn shapes(&self, service: &dyn CompiledService) -> Arc<Shapes> {
        let spec = service.spec();
        match self.services.load().get(&spec.name) {
            Some(served) if ptr::addr_eq(Arc::as_ptr(&served.service), service) => {
                Arc::clone(&served.shapes)
            }
            _ => Arc::new(Shapes::of(spec)),
        }
    }

    /// One view's features for the request's keys, presence applied.
    fn read_view(
        &self,
        binding: &ServiceView,
        view: &dyn CompiledView,
        request: &RecordBatch,
        (at, instants): (At<'_>, &TimestampMicrosecondArray),
        memory: &mut Reservation,
    ) -> PortResult<(Cells, ViewRows)> {
        let keys = key_arrays(binding, request)?;
        let encoded = KeyBuffer::encode(&keys)?;
        let rows = self.store.read(binding.view.id, &encoded, at, memory)?;
        if rows.status.len() != request.num_rows() {
            return Err(PortError::internal(format!(
                "view {} answered {} rows for {} keys",
                binding.view.name,
                rows.status.len(),
                request.num_rows()
            )));
        }
        let features = view.finish(&keys, instants, &rows.aggregates)?;
        Ok((present(features, &rows.status)?, rows))
    }

    fn watermark(&self, spec: &ServiceSpec) -> Option<Micros> {
        let mut least: Option<Micros> = None;
        for binding in &spec.views {
            let watermark = self.watermarks.watermark_us(&binding.view.source)?;
            least = Some(least.map_or(watermark, |l| l.min(watermark)));
        }
        least
    }
}

impl FeatureReader for ServiceReader {
    fn service(&self, name: &str) -> PortResult<Arc<dyn CompiledService>> {
        let services = self.services.load();
        match services.get(name) {
            Some(served) => Ok(Arc::clone(&served.service)),
            None => {
                let known: Vec<&str> = services.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none yet".to_owned()
                } else {
                    known.join(", ")
                };
                Err(PortError::not_found(format!(
                    "there is no feature service {name}; known services: {known}"
                )))
            }
        }
    }

    fn services(&self) -> Vec<String> {
        self.services.load().keys().cloned().collect()
    }

    fn read(
        &self,
        service: &dyn CompiledService,
        request: &RecordBatch,
        at: At<'_>,
    ) -> PortResult<FeatureAnswer> {
        let spec = service.spec();
        let rows = request.num_rows();
        if rows > REQUEST_MAX_ROWS {
            return Err(PortError::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the request has {rows} rows; send at most {REQUEST_MAX_ROWS} in one request (REQUEST_MAX_ROWS)"
                ),
            ));
        }
        let shapes = self.shapes(service);
        let request = conform(request, spec, &shapes.request)?;
        let (instants, as_of_us) = instants(at, rows)?;
        let mut memory = match self.part {
            // A model that is not asked for one row alone for want of memory is never asked for it.
            Part::Scoring if rows == 1 => Budget::whole(usize::MAX).empty(self.part),
            part => self.budget.empty(part),
        };
        let mut features = Vec::with_capacity(spec.views.len());
        let (mut status, mut newest_us, mut applied) = (Vec::new(), Vec::new(), Vec::new());
        for (binding, view) in spec.views.iter().zip(service.views()) {
            let when = (at, &instants);
            let (cells, read) =
                self.read_view(binding, view.as_ref(), &request, when, &mut memory)?;
            features.push(cells);
            status.push(read.status);
            newest_us.push(read.newest_us);
            applied.push(read.applied);
        }
        // What is computed is held beside what the store has answered until the answer is made.
        memory.grow(rows * spec.features.len() * CELL_BYTES)?;
        let Cells { columns, faults } = service.finish(&request, &instants, &features)?;
        let features = as_declared(columns, spec, &shapes.answer, rows)?;
        hold(&mut memory, answer_bytes(&features, spec.views.len())?)?;
        Ok(FeatureAnswer {
            features,
            faults,
            status,
            newest_us,
            applied,
            as_of_us,
            watermark_us: self.watermark(spec),
            memory,
        })
    }
}

/// What an answer holds that has these features, of so many views, bytes: by their lengths, since
/// columns may share their memory with the request and with each other.
fn answer_bytes(features: &RecordBatch, views: usize) -> PortResult<usize> {
    let mut bytes = features.num_rows() * views * ROW_BYTES;
    for column in features.columns() {
        let sliced = column.to_data().get_slice_memory_size();
        bytes += sliced.map_err(|e| {
            let words = format!("the size of a column of type {}", column.data_type());
            PortError::with_source(ErrorKind::Internal, words, e)
        })?;
    }
    Ok(bytes)
}

/// Hold `bytes` of `memory` from now on.
fn hold(memory: &mut Reservation, bytes: usize) -> PortResult<()> {
    memory.grow(bytes.saturating_sub(memory.bytes()))?;
    memory.shrink_to(bytes);
    Ok(())
}

/// The request's columns as the service declares them, in its order.
fn conform(
    request: &RecordBatch,
    spec: &ServiceSpec,
    schema: &SchemaRef,
) -> PortResult<RecordBatch> {
    let owner = Owner::Service(&spec.name);
    let mut columns = Vec::with_capacity(spec.request.len());
    for column in &spec.request {
        let array = declared(request, column, owner)?;
        if let Some(row) = first_forbidden_null(&array, column) {
            return Err(PortError::invalid(format!(
                "request column {} of {owner} is NULL in row {row}, but is declared NOT NULL",
                column.name
            )));
        }
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(request.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| {
        PortError::with_source(
            ErrorKind::Internal,
            format!("the request rows of {owner}"),
            e,
        )
    })
}

fn key_arrays(binding: &ServiceView, request: &RecordBatch) -> PortResult<Vec<ArrayRef>> {
    let mut keys = Vec::with_capacity(binding.key_columns.len());
    for (key, index) in binding.view.key.iter().zip(&binding.key_columns) {
        let array = request.column(*index);
        keys.push(if *array.data_type() == key.data_type {
            Arc::clone(array)
        } else {
            // The planner admits only key types that widen into each other.
            cast(array, &key.data_type).map_err(|e| {
                PortError::with_source(
                    ErrorKind::Internal,
                    format!("key {} of view {}", key.name, binding.view.name),
                    e,
                )
            })?
        });
    }
    Ok(keys)
}

fn instants(at: At<'_>, rows: usize) -> PortResult<(TimestampMicrosecondArray, Micros)> {
    let (values, as_of) = match at {
        At::Instant(at) => (vec![at; rows], at),
        At::PerRow(at) if at.len() == rows => (at.to_vec(), at.iter().copied().max().unwrap_or(0)),
        At::PerRow(at) => {
            return Err(PortError::internal(format!(
                "{} instants for {rows} rows",
                at.len()
            )));
        }
    };
    Ok((
        TimestampMicrosecondArray::from(values).with_timezone("UTC"),
        as_of,
    ))
}

/// NULL the values of rows that are not `Present`.
fn present(features: Cells, status: &[FeatureStatus]) -> PortResult<Cells> {
    if status.iter().all(|s| *s == FeatureStatus::Present) {
        return Ok(features);
    }
    let absent: BooleanArray = status
        .iter()
        .map(|s| Some(*s != FeatureStatus::Present))
        .collect();
    features.without(&absent)
}

/// Schema of the request rows of a service; NULLs are refused by name, not by the schema.
pub(crate) fn request_schema(spec: &ServiceSpec) -> SchemaRef {
    nullable_schema(&spec.request)
}

/// Schema of the features of a service, as it is declared.
pub(crate) fn answer_schema(spec: &ServiceSpec) -> SchemaRef {
    nullable_schema(&spec.features)
}

fn nullable_schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The features under their declared names and types; a service that returns others is our defect.
fn as_declared(
    features: Vec<ArrayRef>,
    spec: &ServiceSpec,
    schema: &SchemaRef,
    rows: usize,
) -> PortResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), features, &options).map_err(|error| {
        let name = &spec.name;
        PortError::internal(format!(
            "service {name} returned other features than declared, for {rows} rows: {error}"
        ))
    })
}
