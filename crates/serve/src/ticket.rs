//! The messages around the rows: tickets, the opening of an exchange, the metadata of a request and
//! of a push. Each comes as protobuf or as JSON; the first byte tells them apart ('{' cannot start
//! one of our protobuf messages, because field 15 is reserved). Unknown JSON fields are refused by
//! name, nesting is capped before the parser runs.

use bytes::Bytes;
use forebay_core::ErrorKind;
use forebay_core::limits::{REQUEST_DEADLINE_MAX_MS, REQUEST_MAX_BYTES, REQUEST_MAX_DEPTH};
use forebay_core::time::Micros;
use forebay_proto::v1;
use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cells::{Rows, parse_time};
use crate::error::{ServeError, ServeResult};
use crate::failed::FailedCell;
use crate::ipc::message_too_large;

/// From 0001-01-01 to the end of 9999-12-31: instants beyond are refused, so that window arithmetic
/// stays far from overflow.
const AT_RANGE_US: std::ops::RangeInclusive<Micros> =
    -62_135_596_800_000_000..=253_402_300_799_999_999;

/// How a message was written, and so how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.first() == Some(&b'{') {
            Self::Json
        } else {
            Self::Protobuf
        }
    }
}

/// What a reader wants beside the features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AnswerOptions {
    pub(crate) with_status: bool,
    pub(crate) with_event_time: bool,
}

/// A read of one service, before its rows have types.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeatureQuery {
    pub(crate) service: ServiceRef,
    pub(crate) rows: Rows,
    pub(crate) at_us: Option<Micros>,
    pub(crate) options: AnswerOptions,
}

/// A service as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceRef {
    pub(crate) name: String,
    /// 0: the newest.
    pub(crate) version: u32,
    /// Empty: not checked.
    pub(crate) fingerprint: String,
}

/// The opening of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) service: ServiceRef,
    pub(crate) options: AnswerOptions,
    pub(crate) encoding: Encoding,
}

/// The metadata of one request of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) request_id: u64,
    pub(crate) at_us: Option<Micros>,
    pub(crate) deadline_us: Option<u64>,
    pub(crate) full_applied: bool,
    pub(crate) encoding: Encoding,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonFeatureRequest {
    service: String,
    #[serde(default)]
    version: u32,
    rows: Rows,
    at: Option<JsonTime>,
    #[serde(default)]
    with_status: bool,
    #[serde(default)]
    with_event_time: bool,
    #[serde(default)]
    schema_fingerprint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonExchangeOpen {
    service: String,
    #[serde(default)]
    version: u32,
    #[serde(default)]
    schema_fingerprint: String,
    #[serde(default)]
    with_status: bool,
    #[serde(default)]
    with_event_time: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequestMeta {
    request_id: u64,
    at: Option<JsonTime>,
    deadline_us: Option<u64>,
    #[serde(default)]
    full_applied: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPushMeta {
    batch_id: u64,
}

/// Microseconds, or a text in RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonTime {
    Us(i64),
    Text(String),
}

impl JsonTime {
    fn to_us(&self) -> ServeResult<Micros> {
        match self {
            Self::Us(at) => Ok(*at),
            Self::Text(text) => parse_time(text).ok_or_else(|| {
                ServeError::Request(format!(
                    "at: {text:?} is not a time; write RFC 3339 such as 2013-07-01T12:00:00Z, or integer microseconds"
                ))
            }),
        }
    }
}

/// Parse a ticket, or the command of a descriptor.
pub(crate) fn parse_feature_request(bytes: &Bytes) -> ServeResult<FeatureQuery> {
    if bytes.len() > REQUEST_MAX_BYTES {
        return Err(message_too_large());
    }
    let query = match Encoding::of(bytes) {
        Encoding::Json => {
            let request: JsonFeatureRequest = parse_json("ticket", "a FeatureRequest", bytes)?;
            request.rows.check_limit()?;
            FeatureQuery {
                service: ServiceRef {
                    name: request.service,
                    version: request.version,
                    fingerprint: request.schema_fingerprint,
                },
                rows: request.rows,
                at_us: request.at.map(|at| at.to_us()).transpose()?,
                options: AnswerOptions {
                    with_status: request.with_status,
                    with_event_time: request.with_event_time,
                },
            }
        }
        Encoding::Protobuf => {
            let request: v1::FeatureRequest = parse_protobuf("ticket", "a FeatureRequest", bytes)?;
            FeatureQuery {
                service: ServiceRef {
                    name: request.service,
                    version: request.version,
                    fingerprint: request.schema_fingerprint,
                },
                rows: Rows::from_proto(request.columns)?,
                at_us: request.at_us,
                options: AnswerOptions {
                    with_status: request.with_status,
                    with_event_time: request.with_event_time,
                },
            }
        }
    };
    check_named("ticket", &query.service)?;
    check_instant(query.at_us)?;
    Ok(query)
}

/// Parse the descriptor command that opens an exchange.
pub(crate) fn parse_open(bytes: &Bytes) -> ServeResult<Open> {
    let encoding = Encoding::of(bytes);
    let open = match encoding {
        Encoding::Json => {
            let open: JsonExchangeOpen =
                parse_json("descriptor command", "an ExchangeOpen", bytes)?;
            Open {
                service: ServiceRef {
                    name: open.service,
                    version: open.version,
                    fingerprint: open.schema_fingerprint,
                },
                options: AnswerOptions {
                    with_status: open.with_status,
                    with_event_time: open.with_event_time,
                },
                encoding,
            }
        }
        Encoding::Protobuf => {
            let open: v1::ExchangeOpen =
                parse_protobuf("descriptor command", "an ExchangeOpen", bytes)?;
            Open {
                service: ServiceRef {
                    name: open.service,
                    version: open.version,
                    fingerprint: open.schema_fingerprint,
                },
                options: AnswerOptions {
                    with_status: open.with_status,
                    with_event_time: open.with_event_time,
                },
                encoding,
            }
        }
    };
    check_named("descriptor command", &open.service)?;
    Ok(open)
}

/// Parse the `app_metadata` of a request. Without any, requests count from 0 (`next_id`) and
/// answers are written as the opening was.
pub(crate) fn parse_request_meta(
    bytes: &Bytes,
    next_id: u64,
    default: Encoding,
) -> ServeResult<RequestHead> {
    if bytes.is_empty() {
        let encoding = default;
        return Ok(RequestHead {
            request_id: next_id,
            at_us: None,
            deadline_us: None,
            full_applied: false,
            encoding,
        });
    }
    let encoding = Encoding::of(bytes);
    let head = match encoding {
        Encoding::Json => {
            let meta: JsonRequestMeta = parse_json("app_metadata", "a RequestMeta", bytes)?;
            RequestHead {
                request_id: meta.request_id,
                at_us: meta.at.map(|at| at.to_us()).transpose()?,
                deadline_us: meta.deadline_us,
                full_applied: meta.full_applied,
                encoding,
            }
        }
        Encoding::Protobuf => {
            let meta: v1::RequestMeta = parse_protobuf("app_metadata", "a RequestMeta", bytes)?;
            let known = v1::RequestFlag::FullApplied as u32;
            if meta.flags & !known != 0 {
                return Err(ServeError::Request(format!(
                    "flags {:#x} has bits that this server does not know; it knows {known:#x} (FULL_APPLIED)",
                    meta.flags
                )));
            }
            RequestHead {
                request_id: meta.request_id,
                at_us: meta.at_us,
                deadline_us: meta.deadline_us,
                full_applied: meta.flags & known != 0,
                encoding,
            }
        }
    };
    check_instant(head.at_us)?;
    if head
        .deadline_us
        .is_some_and(|deadline| deadline > REQUEST_DEADLINE_MAX_MS * 1_000)
    {
        return Err(ServeError::Limit {
            limit: "REQUEST_DEADLINE_MAX_MS",
            message: format!("a deadline may be at most {REQUEST_DEADLINE_MAX_MS} ms"),
        });
    }
    Ok(head)
}

/// Parse the `app_metadata` of a pushed batch; None when there is none.
pub(crate) fn parse_push_meta(bytes: &Bytes) -> ServeResult<Option<(u64, Encoding)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let encoding = Encoding::of(bytes);
    let batch_id = match encoding {
        Encoding::Json => parse_json::<JsonPushMeta>("app_metadata", "a PushMeta", bytes)?.batch_id,
        Encoding::Protobuf => {
            parse_protobuf::<v1::PushMeta>("app_metadata", "a PushMeta", bytes)?.batch_id
        }
    };
    Ok(Some((batch_id, encoding)))
}

fn parse_protobuf<M: Message + Default>(place: &str, what: &str, bytes: &Bytes) -> ServeResult<M> {
    M::decode(bytes.clone()).map_err(|error| {
        ServeError::Request(format!(
            "the {place} is neither JSON (it does not start with '{{') nor {what}: {error}"
        ))
    })
}

/// Parse JSON of bounded nesting; what other modules of the crate parse small bodies with, too.
pub(crate) fn parse_json<T: DeserializeOwned>(
    place: &str,
    what: &str,
    bytes: &[u8],
) -> ServeResult<T> {
    check_depth(place, bytes)?;
    serde_json::from_slice(bytes)
        .map_err(|error| ServeError::Request(format!("the {place} is not {what}: {error}")))
}

/// Refuse JSON that nests deeper than [`REQUEST_MAX_DEPTH`], by counting brackets outside of texts.
fn check_depth(place: &str, bytes: &[u8]) -> ServeResult<()> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > REQUEST_MAX_DEPTH {
            return Err(ServeError::Limit {
                limit: "REQUEST_MAX_DEPTH",
                message: format!("the {place} nests deeper than {REQUEST_MAX_DEPTH} levels"),
            });
        }
    }
    Ok(())
}

fn check_named(place: &str, service: &ServiceRef) -> ServeResult<()> {
    if service.name.is_empty() {
        return Err(ServeError::Request(format!(
            "the {place} names no service; set `service`"
        )));
    }
    Ok(())
}

fn check_instant(at_us: Option<Micros>) -> ServeResult<()> {
    match at_us {
        Some(at) if !AT_RANGE_US.contains(&at) => Err(ServeError::Request(format!(
            "at: {at} us is not between the years 1 and 9999; give microseconds since 1970"
        ))),
        _ => Ok(()),
    }
}

/// `app_metadata` of an answer, in the encoding of its request.
pub(crate) fn encode_response_meta(meta: &v1::ResponseMeta, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => meta.encode_to_vec().into(),
        Encoding::Json => response_json(meta).to_string().into(),
    }
}

fn response_json(meta: &v1::ResponseMeta) -> Value {
    let mut object = json!({
        "request_id": meta.request_id,
        "status": status_name(meta.status),
        "message": meta.message,
        "as_of_us": meta.as_of_us,
        "watermark_us": meta.watermark_us,
        "newest_event_time_us": meta.newest_event_time_us,
        "applied": meta.applied.iter().map(applied_json).collect::<Vec<_>>(),
        "retry_after_ms": meta.retry_after_ms,
    });
    if !meta.gaps.is_empty() {
        let gap = |gap: &v1::AcceptedGap| json!({"topic": gap.topic, "partition": gap.partition, "from": gap.from, "to": gap.to});
        object["gaps"] = meta.gaps.iter().map(gap).collect();
    }
    if meta.failed_count > 0 {
        let first = meta.failed.iter().cloned().map(FailedCell::from);
        let first: Vec<FailedCell> = first.collect();
        object["failed"] = json!({"count": meta.failed_count, "first": first});
    }
    object
}

/// `app_metadata` of the acknowledgement of a push.
pub(crate) fn encode_push_ack(ack: &v1::PushAck, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => ack.encode_to_vec().into(),
        Encoding::Json => json!({
            "batch_id": ack.batch_id,
            "rows": ack.rows,
            "status": status_name(ack.status),
            "message": ack.message,
            "offsets": ack.offsets.iter().map(partition_json).collect::<Vec<_>>(),
            "refused": ack.refused.iter().map(|r| json!({"row": r.row, "reason": r.reason})).collect::<Vec<_>>(),
        })
        .to_string()
        .into(),
    }
}

fn applied_json(shard: &v1::AppliedShard) -> Value {
    let mut object = json!({"shard": shard.shard, "epoch": shard.epoch});
    if !shard.partitions.is_empty() {
        object["partitions"] = shard.partitions.iter().map(partition_json).collect();
    }
    object
}

fn partition_json(partition: &v1::AppliedPartition) -> Value {
    json!({"topic": partition.topic, "partition": partition.partition, "next_offset": partition.next_offset})
}

/// The word for a status: `OK`, `NOT_FOUND`, ...
pub(crate) fn status_name(status: i32) -> &'static str {
    // No version of the protocol has the number: the peer that encoded it is at fault.
    let Ok(status) = v1::AnswerStatus::try_from(status) else {
        return "INTERNAL";
    };
    let name = status.as_str_name();
    name.strip_prefix("ANSWER_STATUS_").unwrap_or(name)
}

/// The in-band status of an error.
pub(crate) fn status_of(error: &ServeError) -> v1::AnswerStatus {
    match error.kind() {
        ErrorKind::InvalidArgument => v1::AnswerStatus::InvalidArgument,
        ErrorKind::NotFound => v1::AnswerStatus::NotFound,
        ErrorKind::AlreadyExists => v1::AnswerStatus::AlreadyExists,
        ErrorKind::FailedPrecondition => v1::AnswerStatus::FailedPrecondition,
        ErrorKind::OutOfRange => v1::AnswerStatus::OutOfRange,
        ErrorKind::ResourceExhausted => v1::AnswerStatus::ResourceExhausted,
        ErrorKind::Unavailable => v1::AnswerStatus::Unavailable,
        ErrorKind::DeadlineExceeded => v1::AnswerStatus::DeadlineExceeded,
        ErrorKind::DataLoss => v1::AnswerStatus::DataLoss,
        ErrorKind::MaybeWritten | ErrorKind::Internal => v1::AnswerStatus::Internal,
    }
}

#[cfg(test)]
mod tests;
