//! From a service and request rows to an answer: which service version a caller means, the schema
//! of what it gets, the status and event-time columns that it asked for, and the metadata that
//! makes an answer checkable (instant, watermark, newest event, applied shards, accepted gaps).
//! DoGet and DoExchange share all of it.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt8Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::PortError;
use forebay_core::memory::Reservation;
use forebay_core::ports::{
    At, CompiledService, FeatureAnswer, FeatureReader, ShardEpoch, StateReader,
};
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::view::FeatureStatus;
use forebay_proto::v1;
use forebay_telemetry::{Counter, CounterFamily, Metrics};
use serde_json::json;

use crate::cells::{Rows, array_of};
use crate::error::{ServeError, ServeResult};
use crate::failed::FailedCells;
use crate::gaps::{LogGap, LogGaps};
use crate::read::answer_schema;
use crate::recorder::Recorder;
use crate::ticket::{AnswerOptions, ServiceRef};

/// Metadata keys of the schemas that serving sends.
pub mod metadata {
    /// Name of the service.
    pub const SERVICE: &str = "forebay.service";
    /// Its version.
    pub const VERSION: &str = "forebay.version";
    /// Its fingerprint.
    pub const FINGERPRINT: &str = "forebay.fingerprint";
    /// The instant of the read, microseconds (DoGet).
    pub const AS_OF_US: &str = "forebay.as_of_us";
    /// Smallest watermark of the sources, microseconds; absent before the first event (DoGet).
    pub const WATERMARK_US: &str = "forebay.watermark_us";
    /// Newest event time used, microseconds; absent when no row was found (DoGet).
    pub const NEWEST_EVENT_TIME_US: &str = "forebay.newest_event_time_us";
    /// `shard:epoch` of each shard touched, separated by commas (DoGet).
    pub const APPLIED: &str = "forebay.applied";
    /// Accepted gaps of the sources, a JSON array of objects with topic, partition, from and to;
    /// absent without any (DoGet).
    pub(crate) const GAPS: &str = "forebay.gaps";
    /// Values that are NULL because their expression failed, a JSON object with their count and
    /// the first of them; absent without any (DoGet).
    pub(crate) const FAILED: &str = "forebay.failed";
}

/// Find the service that a caller means.
pub(crate) fn resolve(
    reader: &dyn FeatureReader,
    wanted: &ServiceRef,
) -> ServeResult<Arc<dyn CompiledService>> {
    let service = reader.service(&wanted.name)?;
    let spec = service.spec();
    if wanted.version != 0 && wanted.version != spec.version {
        return Err(ServeError::NotFound(format!(
            "service {} is served in version {}, not {}; leave the version out to read the newest",
            spec.name, spec.version, wanted.version
        )));
    }
    if !wanted.fingerprint.is_empty() && wanted.fingerprint != spec.fingerprint {
        return Err(ServeError::Precondition(format!(
            "service {} has fingerprint {}, the caller was made for {}; retrain, or apply the definition of then",
            spec.name, spec.fingerprint, wanted.fingerprint
        )));
    }
    Ok(service)
}

/// What an answer says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Provenance {
    pub(crate) as_of_us: Micros,
    pub(crate) watermark_us: Option<Micros>,
    pub(crate) newest_event_time_us: Option<Micros>,
    pub(crate) applied: Vec<ShardEpoch>,
    /// Accepted gaps of the sources.
    pub(crate) gaps: Vec<LogGap>,
    /// Values that are NULL because their expression failed.
    pub(crate) failed: FailedCells,
}

/// An answer, and what it holds of the process's memory.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) batch: RecordBatch,
    pub(crate) provenance: Provenance,
    pub(crate) memory: Reservation,
}

/// Answers requests on one service, in one shape.
pub(crate) struct Answerer {
    service: Arc<dyn CompiledService>,
    options: AnswerOptions,
    schema: SchemaRef,
    /// For each view: keys without a value.
    missing: Vec<Counter>,
    /// Values whose expression failed, by service and feature: nearly always none, so a series is
    /// made when the first is met.
    serving_failed_values: CounterFamily<2>,
    gaps: Arc<LogGaps>,
}

impl Answerer {
    pub(crate) fn new(
        service: Arc<dyn CompiledService>,
        options: AnswerOptions,
        (metrics, gaps): (&Metrics, &Arc<LogGaps>),
    ) -> Self {
        let spec = service.spec();
        let mut fields: Vec<Field> = answer_schema(spec)
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .collect();
        for binding in &spec.views {
            if options.with_status {
                fields.push(Field::new(
                    format!("{}__status", binding.alias),
                    DataType::UInt8,
                    false,
                ));
            }
            if options.with_event_time {
                fields.push(Field::new(
                    format!("{}__event_time", binding.alias),
                    timestamp_type(),
                    true,
                ));
            }
        }
        let metadata = [
            (metadata::SERVICE, spec.name.clone()),
            (metadata::VERSION, spec.version.to_string()),
            (metadata::FINGERPRINT, spec.fingerprint.clone()),
        ];
        let metadata = metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let missing = spec
            .views
            .iter()
            .map(|b| metrics.serving_keys_missing.with([&b.view.name]))
            .collect();
        Self {
            service,
            options,
            schema,
            missing,
            serving_failed_values: metrics.serving_failed_values.clone(),
            gaps: Arc::clone(gaps),
        }
    }

    pub(crate) fn service(&self) -> &Arc<dyn CompiledService> {
        &self.service
    }

    /// Schema of the answers, with the service's name, version and fingerprint.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn options(&self) -> AnswerOptions {
        self.options
    }

    /// The request rows that a JSON or protobuf message holds.
    pub(crate) fn request_rows(&self, rows: &Rows) -> ServeResult<RecordBatch> {
        request_batch(self.service.as_ref(), rows)
    }

    /// Read `request` at `at_us`. A panic below is contained and counted.
    pub(crate) fn read(
        &self,
        reader: &dyn FeatureReader,
        recorder: &Recorder,
        request: &RecordBatch,
        at_us: Micros,
    ) -> ServeResult<Answered> {
        let read = || reader.read(self.service.as_ref(), request, At::Instant(at_us));
        let answer = catch_unwind(AssertUnwindSafe(read)).map_err(|_| {
            recorder.panicked();
            PortError::internal(format!(
                "reading service {} panicked; the request was given up, see the server's log",
                self.service.spec().name
            ))
        })??;
        let (batch, mut provenance) = self.shape(&answer)?;
        let spec = self.service.spec();
        provenance.failed = FailedCells::of(spec, request, &answer.faults);
        for of_feature in answer.faults.chunk_by(|a, b| a.column == b.column) {
            let feature = &spec.features[of_feature[0].column].name;
            let counter = self.serving_failed_values.with([&spec.name, feature]);
            counter.add(of_feature.len() as u64);
        }
        Ok(Answered {
            batch,
            provenance,
            memory: answer.memory,
        })
    }

    fn shape(&self, answer: &FeatureAnswer) -> ServeResult<(RecordBatch, Provenance)> {
        let mut provenance = provenance_of(answer);
        provenance.gaps = self.gaps.behind(self.service.spec());
        let rows = answer.features.num_rows();
        let mut columns: Vec<ArrayRef> = answer.features.columns().to_vec();
        for (view, status) in answer.status.iter().enumerate() {
            let absent = status
                .iter()
                .filter(|s| **s != FeatureStatus::Present)
                .count();
            if let Some(counter) = self.missing.get(view).filter(|_| absent > 0) {
                counter.add(absent as u64);
            }
            if self.options.with_status {
                columns.push(Arc::new(UInt8Array::from_iter_values(
                    status.iter().map(|s| *s as u8),
                )));
            }
            if self.options.with_event_time {
                let times: TimestampMicrosecondArray =
                    answer.newest_us[view].iter().copied().collect();
                columns.push(Arc::new(times.with_timezone("UTC")));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| ServeError::Arrow {
                what: "the answer",
                source,
            })?;
        Ok((batch, provenance))
    }
}

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer")
            .field("service", &self.service.spec().name)
            .finish_non_exhaustive()
    }
}

fn request_batch(service: &dyn CompiledService, rows: &Rows) -> ServeResult<RecordBatch> {
    let spec = service.spec();
    let known = || {
        spec.request
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let sent = rows.columns.first().map_or(0, |(_, cells)| cells.len());
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, cells) in &rows.columns {
        let Some(column) = spec.request.iter().find(|c| c.name == *name) else {
            return Err(ServeError::Request(format!(
                "service {} has no request column {name}; it has: {}",
                spec.name,
                known()
            )));
        };
        if cells.len() != sent {
            return Err(ServeError::Request(format!(
                "request columns are not equally long: {} has {sent} rows, {name} has {}",
                rows.columns[0].0,
                cells.len()
            )));
        }
        fields.push(Field::new(name, column.data_type.clone(), true));
        arrays.push(array_of(column, cells)?);
    }
    if arrays.is_empty() && !spec.request.is_empty() {
        return Err(ServeError::Request(format!(
            "the request has no rows; service {} needs: {}",
            spec.name,
            known()
        )));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(sent));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(
        |source| ServeError::Arrow {
            what: "the request rows",
            source,
        },
    )
}

fn provenance_of(answer: &FeatureAnswer) -> Provenance {
    let applied: BTreeSet<ShardEpoch> =
        answer.applied.iter().flatten().flatten().copied().collect();
    Provenance {
        as_of_us: answer.as_of_us,
        watermark_us: answer.watermark_us,
        newest_event_time_us: answer.newest_us.iter().flatten().flatten().copied().max(),
        applied: applied.into_iter().collect(),
        gaps: Vec::new(),
        failed: FailedCells::default(),
    }
}

impl Provenance {
    /// As the metadata of an exchange's answer. With a store given, the offsets that each epoch had
    /// applied, too.
    ///
    /// # Errors
    /// An epoch is older than what the store keeps.
    pub(crate) fn to_meta(
        &self,
        request_id: u64,
        offsets: Option<&dyn StateReader>,
    ) -> ServeResult<v1::ResponseMeta> {
        let mut applied = Vec::with_capacity(self.applied.len());
        for at in &self.applied {
            let mut shard = v1::AppliedShard {
                shard: u32::from(at.shard),
                epoch: at.epoch,
                partitions: Vec::new(),
            };
            if let Some(store) = offsets {
                let vector = store.applied_at(*at).ok_or_else(|| {
                    PortError::internal(format!(
                        "epoch {} of shard {} is no longer kept",
                        at.epoch, at.shard
                    ))
                })?;
                shard.partitions = vector
                    .0
                    .iter()
                    .map(|(partition, progress)| v1::AppliedPartition {
                        topic: partition.topic.to_string(),
                        partition: partition.partition,
                        next_offset: progress.next_offset,
                    })
                    .collect();
            }
            applied.push(shard);
        }
        Ok(v1::ResponseMeta {
            request_id,
            as_of_us: Some(self.as_of_us),
            watermark_us: self.watermark_us,
            newest_event_time_us: self.newest_event_time_us,
            applied,
            gaps: self.gaps.iter().map(gap_message).collect(),
            failed_count: self.failed.count,
            failed: self.failed.first.iter().cloned().map(Into::into).collect(),
            ..v1::ResponseMeta::default()
        })
    }

    /// As metadata of the schema that opens a DoGet.
    pub(crate) fn schema(&self, schema: &Schema) -> Schema {
        let mut metadata = schema.metadata().clone();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                metadata.insert(key.to_owned(), value);
            }
        };
        put(metadata::AS_OF_US, Some(self.as_of_us.to_string()));
        put(
            metadata::WATERMARK_US,
            self.watermark_us.map(|w| w.to_string()),
        );
        put(
            metadata::NEWEST_EVENT_TIME_US,
            self.newest_event_time_us.map(|n| n.to_string()),
        );
        let applied: Vec<String> = self
            .applied
            .iter()
            .map(|a| format!("{}:{}", a.shard, a.epoch))
            .collect();
        put(metadata::APPLIED, Some(applied.join(",")));
        let gaps = (!self.gaps.is_empty()).then(|| json!(self.gaps).to_string());
        put(metadata::GAPS, gaps);
        let failed = (self.failed.count > 0).then(|| json!(self.failed).to_string());
        put(metadata::FAILED, failed);
        Schema::new_with_metadata(schema.fields().clone(), metadata)
    }
}

fn gap_message(gap: &LogGap) -> v1::AcceptedGap {
    v1::AcceptedGap {
        topic: gap.place.topic.to_string(),
        partition: gap.place.partition,
        from: gap.from,
        to: gap.to,
    }
}
