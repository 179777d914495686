//! Builds the prediction records of one scored batch: a record batch with the columns of
//! [`forebay_core::prediction::prediction_columns`], then one outbox record a row, encoded by the
//! source format's own encoder so that what is published decodes back to the same bits.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema};
use forebay_core::applied::AppliedViews;
use forebay_core::date;
use forebay_core::limits::PREDICTION_MAX_BYTES;
use forebay_core::ports::{FeatureAnswer, Scores, ShardEpoch, StateReader};
use forebay_core::prediction::{OutboxRecord, PendingScore, Role, prediction_columns};
use forebay_core::progress::Applied;
use forebay_core::source::Column;
use forebay_core::value::Value;
use forebay_core::view::ServiceSpec;
use forebay_core::{PortError, PortResult, invariant};

use crate::deployment::Deployment;
use crate::error::PipelineError;

/// Encodes rows as records of a topic: JSON objects, one a row.
pub trait RecordEncoder: Send + Sync + Debug {
    /// One payload for each row.
    ///
    /// # Errors
    /// A column type that the format does not have.
    fn encode(&self, rows: &RecordBatch) -> PortResult<Vec<Vec<u8>>>;
}

/// By name of a source its topic.
pub type SourceTopics = HashMap<String, String>;

/// What one scored batch consists of; all parts have one row for each pending score.
#[derive(Debug)]
pub struct Scored<'a> {
    /// The deployment that scored.
    pub deployment: &'a Deployment,
    /// The pending scores.
    pub pending: &'a [Arc<PendingScore>],
    /// Their rows: request columns, then carried columns.
    pub rows: &'a RecordBatch,
    /// Features as served.
    pub answer: &'a FeatureAnswer,
    /// What the features had applied.
    pub applied: &'a AppliedTexts,
    /// The model's output.
    pub scores: &'a Scores,
}

/// What the features of each row of a batch had applied, as [`AppliedViews`] writes it.
#[derive(Debug)]
pub struct AppliedTexts {
    texts: Vec<Arc<str>>,
    /// Rows that name no offsets of some view: its features cannot be verified.
    pub without_offsets: u64,
}

/// The outbox record of each row.
///
/// # Errors
/// Arrow or the encoder refuses a column; a record over [`PREDICTION_MAX_BYTES`].
pub fn outbox_records(
    scored: &Scored<'_>,
    encoder: &dyn RecordEncoder,
) -> Result<Vec<OutboxRecord>, PipelineError> {
    let payloads = encoder.encode(&record_batch(scored)?)?;
    let keys = record_keys(scored)?;
    let def = scored.deployment.def();
    let parts = [payloads.len(), keys.len(), scored.scores.score.len()];
    // The zips below would leave the rest of the chunk without a record.
    invariant!(
        OutcomePerScore,
        parts.iter().all(|part| *part == scored.pending.len()),
        "{parts:?} payloads, keys and scores for {} pending ones",
        scored.pending.len()
    );
    scored
        .pending
        .iter()
        .zip(payloads)
        .zip(keys)
        .map(|((pending, payload), key)| {
            let topic = scored.deployment.topic_of(pending.key.role);
            let id = pending.key.id();
            let headers = vec![
                ("forebay.prediction_id".to_owned(), id.clone().into_bytes()),
                (
                    "forebay.deployment".to_owned(),
                    def.name.clone().into_bytes(),
                ),
                (
                    "forebay.model_version".to_owned(),
                    pending.key.model_version.to_string().into_bytes(),
                ),
            ];
            within_limit(
                &id,
                OutboxRecord {
                    topic,
                    key,
                    payload,
                    headers,
                },
            )
        })
        .collect()
}

/// No broker takes a larger record with its usual settings.
fn within_limit(id: &str, record: OutboxRecord) -> Result<OutboxRecord, PipelineError> {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let bytes = record.key.len() + record.payload.len() + headers;
    if bytes > PREDICTION_MAX_BYTES {
        return Err(PipelineError::PredictionTooLarge {
            id: id.to_owned(),
            bytes,
        });
    }
    Ok(record)
}

/// The records' Kafka keys: the sticky key's values in text, so that one entity's predictions share
/// a partition.
fn record_keys(scored: &Scored<'_>) -> Result<Vec<Vec<u8>>, PipelineError> {
    let columns = scored.deployment.sticky_in_row();
    let text = |value: Value| match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Date(days) => date::format(days),
        Value::Int(value) | Value::Timestamp(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.to_string(),
        // CREATE DEPLOYMENT refuses such a key.
        Value::List(items) => format!("{items:?}"),
    };
    let key = |row: usize| {
        let parts = columns
            .iter()
            .map(|c| Value::from_array(scored.rows.column(*c).as_ref(), row).map(text));
        Ok(parts
            .collect::<Result<Vec<_>, PortError>>()?
            .join("/")
            .into_bytes())
    };
    (0..scored.rows.num_rows()).map(key).collect()
}

fn record_batch(scored: &Scored<'_>) -> Result<RecordBatch, PipelineError> {
    let spec = Arc::clone(scored.deployment.service().spec());
    let pending = scored.pending;
    let mut columns = identity_columns(scored, &spec);
    columns.push(Arc::new(Float64Array::from(scored.scores.score.clone())));
    columns.push(Arc::new(Float64Array::from(scored.scores.margin.clone())));
    let request_columns = scored.deployment.request_columns();
    let carry = scored.deployment.carry_columns();
    columns.extend(
        scored.rows.columns()[request_columns..]
            .iter()
            .take(carry.len())
            .cloned(),
    );
    columns.push(record(
        &scored.rows.columns()[..request_columns],
        &spec.request,
        pending.len(),
    )?);
    columns.push(record(
        scored.answer.features.columns(),
        &spec.features,
        pending.len(),
    )?);
    let applied = scored.applied.texts.iter();
    columns.push(Arc::new(StringArray::from_iter_values(applied)));
    let fields: Vec<Field> = prediction_columns(&spec, &carry)
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
        .collect();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// What names each prediction and its event: id, deployment, model, service, place and times.
fn identity_columns(scored: &Scored<'_>, spec: &ServiceSpec) -> Vec<ArrayRef> {
    let def = scored.deployment.def();
    let pending = scored.pending;
    let each = |value: &dyn Fn(&Arc<PendingScore>) -> String| {
        Arc::new(StringArray::from_iter_values(pending.iter().map(value))) as ArrayRef
    };
    let times = || {
        let times =
            TimestampMicrosecondArray::from_iter_values(pending.iter().map(|p| p.event_time_us));
        Arc::new(times.with_timezone("UTC")) as ArrayRef
    };
    let version = |version: u32| {
        i32::try_from(version).expect("MODEL_VERSION_MAX fits i32, and services count up from 1")
    };
    vec![
        each(&|p| p.key.id()),
        each(&|_| def.name.clone()),
        each(&|_| def.model.clone()),
        Arc::new(Int32Array::from_iter_values(
            pending.iter().map(|p| version(p.key.model_version)),
        )),
        each(&|p| {
            if p.key.role == Role::Live {
                "live"
            } else {
                "shadow"
            }
            .to_owned()
        }),
        each(&|_| spec.name.clone()),
        Arc::new(Int32Array::from(vec![version(spec.version); pending.len()])),
        each(&|p| p.key.topic.clone()),
        Arc::new(Int32Array::from_iter_values(
            pending.iter().map(|p| p.key.partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            pending.iter().map(|p| p.key.offset),
        )),
        times(),
        times(),
    ]
}

fn record(columns: &[ArrayRef], of: &[Column], rows: usize) -> Result<ArrayRef, PipelineError> {
    let fields = of
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    Ok(Arc::new(StructArray::try_new_with_length(
        fields,
        columns.to_vec(),
        None,
        rows,
    )?))
}

impl AppliedTexts {
    /// Those of `answer`, which `store` has given to a request of `service`. To be asked for right
    /// after the read: a store keeps the offsets of so many epochs and no more. Rows of one batch
    /// share few vectors, so each is written once.
    ///
    /// # Errors
    /// Offsets that have no text.
    pub fn of(
        service: &ServiceSpec,
        answer: &FeatureAnswer,
        store: &dyn StateReader,
        topics: &SourceTopics,
    ) -> PortResult<Self> {
        let mut known: HashMap<Vec<Option<ShardEpoch>>, (Arc<str>, bool)> = HashMap::new();
        // A view left out would count as one whose features cannot be verified.
        invariant!(
            CutPerView,
            answer.applied.len() == service.views.len(),
            "{} cuts of {} views",
            answer.applied.len(),
            service.views.len()
        );
        let rows = answer.features.num_rows();
        let (mut texts, mut without_offsets) = (Vec::with_capacity(rows), 0);
        for row in 0..rows {
            let views = answer.applied.iter();
            let epochs: Vec<Option<ShardEpoch>> = views.map(|view| view[row]).collect();
            let (text, is_whole) = match known.get(&epochs) {
                Some(known) => known.clone(),
                None => {
                    let (views, is_whole) = applied_views(service, &epochs, store, topics);
                    let text: Arc<str> = views.encode()?.into();
                    known.insert(epochs, (Arc::clone(&text), is_whole));
                    (text, is_whole)
                }
            };
            texts.push(text);
            without_offsets += u64::from(!is_whole);
        }
        Ok(Self {
            texts,
            without_offsets,
        })
    }
}

/// What each view had applied of its own source, and whether none is left out: an epoch that is no
/// longer known leaves the view out.
fn applied_views(
    service: &ServiceSpec,
    epochs: &[Option<ShardEpoch>],
    store: &dyn StateReader,
    topics: &SourceTopics,
) -> (AppliedViews, bool) {
    let (mut views, mut is_whole) = (AppliedViews::default(), true);
    for (view, epoch) in service.views.iter().zip(epochs) {
        let applied = match epoch {
            None => Some(Arc::default()),
            Some(epoch) => store.applied_at(*epoch),
        };
        let topic = topics.get(&view.view.source);
        if let (Some(applied), Some(topic)) = (applied, topic) {
            views.insert(&view.alias, &of_topic(&applied, topic));
        } else {
            is_whole = false;
        }
    }
    (views, is_whole)
}

fn of_topic(applied: &Applied, topic: &str) -> Applied {
    let places = applied.0.iter().filter(|(place, _)| *place.topic == *topic);
    Applied(places.map(|(place, p)| (place.clone(), *p)).collect())
}

#[cfg(test)]
mod tests {
    use forebay_core::ErrorKind;

    use super::*;

    #[test]
    fn a_record_of_the_limit_is_sent_and_a_larger_one_is_the_fault_of_its_row() {
        let record = |payload: usize| OutboxRecord {
            topic: "predictions".to_owned(),
            key: b"N14228".to_vec(),
            payload: vec![b' '; payload],
            headers: vec![("forebay.deployment".to_owned(), b"late".to_vec())],
        };
        let most =
            PREDICTION_MAX_BYTES - "N14228".len() - "forebay.deployment".len() - "late".len();
        assert_eq!(
            within_limit("an id", record(most))
                .expect("just fits")
                .payload
                .len(),
            most
        );
        let error = within_limit("an id", record(most + 1)).expect_err("one byte more");
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
        assert!(
            error.kind().is_of_the_data(),
            "so the scorer gives the row up and goes on"
        );
        assert!(
            error.to_string().contains("PREDICTION_MAX_BYTES"),
            "{error}"
        );
    }
}
