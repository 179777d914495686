//! DoGet: one ticket, one answer, in messages small enough for clients with default limits; and the
//! calls that describe services without reading data.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{Criteria, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use forebay_core::limits::{LARGE_READS_MAX, RESPONSE_MAX_BYTES};
use forebay_core::memory::Reservation;
use forebay_core::ports::CompiledService;
use forebay_core::source::{Column, sql_name};
use forebay_core::time::Micros;
use futures::Stream;
use serde_json::json;
use tonic::Status;

use super::shared::{INLINE_MAX_ROWS, Shared};
use crate::answer::{Answered, Answerer, Provenance, resolve};
use crate::error::{RETRY_AFTER_MS, ServeError, ServeResult};
use crate::ipc::{Encoder, schema_bytes, schema_message};
use crate::recorder::{Recorder, UNKNOWN_SERVICE};
use crate::ticket::{FeatureQuery, ServiceRef, parse_feature_request};

/// Bytes of values that one message of a DoGet aims at: well below the 4 MiB that most clients
/// accept.
const MESSAGE_TARGET_BYTES: usize = 2 << 20;

/// Answer a ticket: the messages of the stream.
pub(super) async fn do_get(
    shared: &Arc<Shared>,
    ticket: Bytes,
) -> ServeResult<impl Stream<Item = Result<FlightData, Status>> + Send + use<>> {
    let arrived = Instant::now();
    let (query, answerer) = match prepare(shared, &ticket) {
        Ok(prepared) => prepared,
        Err(error) => {
            Recorder::new(&shared.services.metrics, "DoGet", UNKNOWN_SERVICE)
                .failed(arrived, &error);
            return Err(error);
        }
    };
    let recorder = Arc::new(Recorder::new(
        &shared.services.metrics,
        "DoGet",
        &answerer.service().spec().name,
    ));
    let _in_flight = recorder.enter();
    match answer(shared, &recorder, query, Arc::new(answerer), arrived).await {
        Ok(encoded) => {
            recorder.answered(arrived, encoded.rows);
            Ok(encoded.into_stream())
        }
        Err(error) => {
            recorder.failed(arrived, &error);
            Err(error)
        }
    }
}

/// The messages of an answer, and what they hold of the process's memory.
struct Encoded {
    messages: Vec<FlightData>,
    rows: usize,
    memory: Reservation,
}

impl Encoded {
    /// One message after the other; who reads slowly keeps the memory of what is left.
    fn into_stream(self) -> impl Stream<Item = Result<FlightData, Status>> + Send + use<> {
        let Self {
            messages,
            mut memory,
            ..
        } = self;
        let hand_over = move |message: FlightData| {
            let left = memory.bytes().saturating_sub(message.data_body.len());
            memory.shrink_to(left);
            Ok(message)
        };
        futures::stream::iter(messages.into_iter().map(hand_over))
    }
}

fn prepare(shared: &Shared, ticket: &Bytes) -> ServeResult<(FeatureQuery, Answerer)> {
    let query = parse_feature_request(ticket)?;
    let service = resolve(shared.services.reader.as_ref(), &query.service)?;
    let answerer = shared.answerer(service, query.options);
    Ok((query, answerer))
}

async fn answer(
    shared: &Arc<Shared>,
    recorder: &Arc<Recorder>,
    query: FeatureQuery,
    answerer: Arc<Answerer>,
    arrived: Instant,
) -> ServeResult<Encoded> {
    let request = answerer.request_rows(&query.rows)?;
    let at_us = query
        .at_us
        .unwrap_or_else(|| shared.services.clock.now_us());
    drop(query);
    shared.stages.decode.observe_duration(arrived.elapsed());
    if request.num_rows() <= INLINE_MAX_ROWS {
        return read_and_encode(shared, recorder, &answerer, &request, at_us);
    }
    let permit = Arc::clone(&shared.large_reads)
        .try_acquire_owned()
        .map_err(|_| too_many_large_reads())?;
    let (task_shared, task_recorder) = (Arc::clone(shared), Arc::clone(recorder));
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        read_and_encode(&task_shared, &task_recorder, &answerer, &request, at_us)
    });
    task.await.map_err(|error| {
        recorder.panicked();
        ServeError::Port(forebay_core::PortError::internal(format!(
            "a read was given up: {error}"
        )))
    })?
}

/// The error when too many large reads are under way.
pub(super) fn too_many_large_reads() -> ServeError {
    ServeError::Overload {
        reason: "large_reads",
        message: format!(
            "{LARGE_READS_MAX} reads of more than {INLINE_MAX_ROWS} rows are under way (LARGE_READS_MAX)"
        ),
        retry_after_ms: RETRY_AFTER_MS,
    }
}

fn read_and_encode(
    shared: &Shared,
    recorder: &Recorder,
    answerer: &Answerer,
    request: &RecordBatch,
    at_us: Micros,
) -> ServeResult<Encoded> {
    let started = Instant::now();
    let Answered {
        batch,
        provenance,
        mut memory,
    } = answerer.read(shared.services.reader.as_ref(), recorder, request, at_us)?;
    let read = Instant::now();
    shared.stages.lookup.observe_duration(read - started);
    // The messages are copies.
    memory.grow(batch.get_array_memory_size())?;
    let messages = encode(&batch, &provenance)?;
    shared.stages.encode.observe_duration(read.elapsed());
    let rows = batch.num_rows();
    drop(batch);
    memory.shrink_to(messages.iter().map(|m| m.data_body.len()).sum());
    Ok(Encoded {
        messages,
        rows,
        memory,
    })
}

fn encode(batch: &RecordBatch, provenance: &Provenance) -> ServeResult<Vec<FlightData>> {
    let mut messages = vec![schema_message(&provenance.schema(batch.schema_ref()))?];
    let mut encoder = Encoder::new()?;
    let rows = batch.num_rows();
    let per_row = (batch.get_array_memory_size() / rows.max(1)).max(1);
    let step = (MESSAGE_TARGET_BYTES / per_row).max(1);
    let mut from = 0;
    while from < rows || messages.len() == 1 {
        let message = encoder.batch(&batch.slice(from, step.min(rows - from)))?;
        check_answer_size(message.data_body.len())?;
        messages.push(message);
        from += step;
    }
    Ok(messages)
}

/// Refuse a message above the cap before the transport does, with the remedy.
pub(super) fn check_answer_size(bytes: usize) -> ServeResult<()> {
    if bytes <= RESPONSE_MAX_BYTES {
        return Ok(());
    }
    Err(ServeError::Limit {
        limit: "RESPONSE_MAX_BYTES",
        message: format!(
            "the answer has {bytes} bytes, above {RESPONSE_MAX_BYTES}; send fewer rows in one request, or shorter texts"
        ),
    })
}

/// Describe what a descriptor names: a path with the service's name, or a command that is a
/// FeatureRequest (then the endpoint's ticket reads it).
pub(super) fn flight_info(
    shared: &Shared,
    descriptor: FlightDescriptor,
) -> ServeResult<FlightInfo> {
    let reader = shared.services.reader.as_ref();
    if descriptor.r#type() == DescriptorType::Cmd {
        let query = parse_feature_request(&descriptor.cmd)?;
        let service = resolve(reader, &query.service)?;
        let answerer = shared.answerer(service, query.options);
        let rows = answerer.request_rows(&query.rows)?.num_rows();
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
        let info = describe(&answerer)?
            .with_endpoint(endpoint)
            .with_descriptor(descriptor);
        let rows = i64::try_from(rows).expect("a request has at most REQUEST_MAX_ROWS");
        return Ok(info.with_total_records(rows));
    }
    let [name] = descriptor.path.as_slice() else {
        return Err(ServeError::Request(format!(
            "a descriptor's path is [service]; got {} parts",
            descriptor.path.len()
        )));
    };
    let wanted = ServiceRef {
        name: name.clone(),
        version: 0,
        fingerprint: String::new(),
    };
    let answerer = shared.answerer(resolve(reader, &wanted)?, Default::default());
    Ok(describe(&answerer)?.with_descriptor(descriptor))
}

/// One entry for each service.
pub(super) fn list_flights(shared: &Shared, criteria: &Criteria) -> ServeResult<Vec<FlightInfo>> {
    if !criteria.expression.is_empty() {
        return Err(ServeError::Unsupported(
            "ListFlights takes no criteria; leave the expression empty and filter the list"
                .to_owned(),
        ));
    }
    let reader = shared.services.reader.as_ref();
    // A service that was dropped since the names were read is left out.
    let services = reader
        .services()
        .into_iter()
        .filter_map(|name| reader.service(&name).ok());
    services
        .map(|service| {
            let descriptor = FlightDescriptor::new_path(vec![service.spec().name.clone()]);
            let answerer = shared.answerer(service, Default::default());
            Ok(describe(&answerer)?.with_descriptor(descriptor))
        })
        .collect()
}

fn describe(answerer: &Answerer) -> ServeResult<FlightInfo> {
    let mut info = FlightInfo::new();
    info.schema = schema_bytes(answerer.schema())?;
    info.app_metadata = service_json(answerer.service().as_ref()).to_string().into();
    info.ordered = true;
    Ok(info)
}

/// A service as listings show it.
pub(super) fn service_json(service: &dyn CompiledService) -> serde_json::Value {
    let spec = service.spec();
    let column = |c: &Column| json!({"name": c.name, "type": sql_name(&c.data_type), "nullable": c.nullable});
    json!({
        "name": spec.name,
        "version": spec.version,
        "fingerprint": spec.fingerprint,
        "request": spec.request.iter().map(column).collect::<Vec<_>>(),
        "features": spec.features.iter().map(column).collect::<Vec<_>>(),
        "views": spec.views.iter().map(|b| json!({
            "alias": b.alias,
            "view": b.view.name,
            "version": b.view.version,
            "source": b.view.source,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_limit_is_sent_and_a_larger_one_is_refused_by_name() {
        check_answer_size(RESPONSE_MAX_BYTES).expect("as large as allowed");
        let error = check_answer_size(RESPONSE_MAX_BYTES + 1).expect_err("too large");
        assert!(error.to_string().contains("send fewer rows"), "{error}");
        let refused = matches!(
            error,
            ServeError::Limit {
                limit: "RESPONSE_MAX_BYTES",
                ..
            }
        );
        assert!(refused, "{error:?}");
    }
}
