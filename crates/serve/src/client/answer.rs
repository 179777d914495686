//! Answers as a client has them: rows, and what they say about their freshness. DoGet tells it in
//! the metadata of the schema, an exchange in the metadata of each message; both become one
//! [`Answer`].

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt8Type};
use arrow_array::{Array, RecordBatch};
use arrow_flight::FlightData;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use forebay_core::ErrorKind;
use forebay_core::ports::ShardEpoch;
use forebay_core::progress::TopicPartition;
use forebay_core::time::Micros;
use forebay_core::view::FeatureStatus;
use forebay_proto::v1;
use tonic::Streaming;

use super::unreadable::unreadable;
use crate::answer::metadata;
use crate::error::{ServeError, ServeResult};
use crate::failed::FailedCells;
use crate::gaps::LogGap;
use crate::ipc::{
    ANSWER_MAX_COLUMNS, MessageKind, decode_batch, decode_schema, is_flat_or_array, kind_of,
};

/// Features of one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// One row for each request row, in its order: the features, then what was asked for beside
    /// them.
    pub rows: RecordBatch,
    /// The instant that all rows share.
    pub as_of_us: Option<Micros>,
    /// Smallest watermark over the sources; None before the first event.
    pub watermark_us: Option<Micros>,
    /// Newest event time used in any row.
    pub newest_event_time_us: Option<Micros>,
    /// The shards touched, with the epoch that answered.
    pub applied: Vec<AppliedShard>,
    /// Offsets that the sources lack because a person accepted that nobody will read them.
    pub gaps: Vec<LogGap>,
    /// Values that are NULL because their expression failed on their row.
    pub failed: FailedCells,
}

/// A shard as of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedShard {
    /// Which shard, which epoch.
    pub at: ShardEpoch,
    /// With `full_applied`: the next offset of each partition that the epoch had applied.
    pub next_offsets: Vec<(TopicPartition, i64)>,
}

impl Answer {
    /// Status of the view `alias` in `row`; None unless it was asked for.
    #[must_use]
    pub fn status(&self, alias: &str, row: usize) -> Option<FeatureStatus> {
        let column = self
            .rows
            .column_by_name(&format!("{alias}__status"))?
            .as_primitive_opt::<UInt8Type>()?;
        match (row < column.len()).then(|| column.value(row))? {
            1 => Some(FeatureStatus::Present),
            3 => Some(FeatureStatus::NotFound),
            4 => Some(FeatureStatus::OutsideMaxAge),
            _ => None,
        }
    }

    /// Newest event of the view `alias` in `row`; None when there is none, or when it was not asked
    /// for.
    #[must_use]
    pub fn event_time_us(&self, alias: &str, row: usize) -> Option<Micros> {
        let column = self.rows.column_by_name(&format!("{alias}__event_time"))?;
        let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        (row < times.len() && times.is_valid(row)).then(|| times.value(row))
    }
}

/// Read the messages of a DoGet.
pub(super) async fn collect(mut messages: Streaming<FlightData>) -> ServeResult<Answer> {
    let mut schema: Option<SchemaRef> = None;
    let mut batches = Vec::new();
    while let Some(data) = messages
        .message()
        .await
        .map_err(|status| ServeError::from_status(&status))?
    {
        match (kind(&data)?, &schema) {
            (MessageKind::Empty, _) => {}
            (MessageKind::Schema, _) => schema = Some(schema_of(&data)?),
            (MessageKind::Batch { .. }, Some(schema)) => batches.push(rows_of(&data, schema)?),
            (MessageKind::Batch { .. }, None) => {
                return Err(unreadable("a batch came before the schema"));
            }
        }
    }
    let schema = schema.ok_or_else(|| unreadable("there is no schema"))?;
    let rows = match batches.as_slice() {
        [one] => one.clone(),
        several => concat_batches(&schema, several)
            .map_err(|error| unreadable(&format!("the rows: {error}")))?,
    };
    let said = schema.metadata();
    Ok(Answer {
        rows,
        as_of_us: number(said, metadata::AS_OF_US)?,
        watermark_us: number(said, metadata::WATERMARK_US)?,
        newest_event_time_us: number(said, metadata::NEWEST_EVENT_TIME_US)?,
        applied: applied_list(said.get(metadata::APPLIED).map_or("", String::as_str))?,
        gaps: gap_list(said.get(metadata::GAPS).map_or("[]", String::as_str))?,
        failed: failed_of(said.get(metadata::FAILED))?,
    })
}

/// From the metadata and the rows of one message of an exchange.
pub(super) fn from_meta(meta: v1::ResponseMeta, rows: RecordBatch) -> ServeResult<Answer> {
    let applied = meta.applied.into_iter().map(|shard| {
        let number = u16::try_from(shard.shard)
            .map_err(|_| unreadable(&format!("there is no shard {}", shard.shard)))?;
        let offset =
            |p: v1::AppliedPartition| (TopicPartition::new(p.topic, p.partition), p.next_offset);
        let next_offsets = shard.partitions.into_iter().map(offset).collect();
        Ok(AppliedShard {
            at: ShardEpoch {
                shard: number,
                epoch: shard.epoch,
            },
            next_offsets,
        })
    });
    Ok(Answer {
        rows,
        as_of_us: meta.as_of_us,
        watermark_us: meta.watermark_us,
        newest_event_time_us: meta.newest_event_time_us,
        applied: applied.collect::<ServeResult<_>>()?,
        gaps: meta.gaps.into_iter().map(gap_of).collect(),
        failed: FailedCells {
            count: meta.failed_count,
            first: meta.failed.into_iter().map(Into::into).collect(),
        },
    })
}

/// The error that a status in band stands for, if it does.
pub(super) fn in_band(status: i32, message: &str) -> ServeResult<()> {
    let kind = match v1::AnswerStatus::try_from(status) {
        Ok(v1::AnswerStatus::Ok) => return Ok(()),
        Ok(v1::AnswerStatus::InvalidArgument) => ErrorKind::InvalidArgument,
        Ok(v1::AnswerStatus::DeadlineExceeded) => ErrorKind::DeadlineExceeded,
        Ok(v1::AnswerStatus::NotFound) => ErrorKind::NotFound,
        Ok(v1::AnswerStatus::AlreadyExists) => ErrorKind::AlreadyExists,
        Ok(v1::AnswerStatus::ResourceExhausted) => ErrorKind::ResourceExhausted,
        Ok(v1::AnswerStatus::FailedPrecondition) => ErrorKind::FailedPrecondition,
        Ok(v1::AnswerStatus::OutOfRange) => ErrorKind::OutOfRange,
        Ok(v1::AnswerStatus::DataLoss) => ErrorKind::DataLoss,
        Ok(v1::AnswerStatus::Unavailable | v1::AnswerStatus::GoingAway) => ErrorKind::Unavailable,
        Ok(v1::AnswerStatus::Internal) | Err(_) => ErrorKind::Internal,
    };
    Err(ServeError::Remote {
        kind,
        message: message.to_owned(),
    })
}

/// What a message of the server is.
pub(super) fn kind(data: &FlightData) -> ServeResult<MessageKind> {
    kind_of(data).map_err(|error| unreadable(&error.to_string()))
}

/// A schema of the server.
pub(super) fn schema_of(data: &FlightData) -> ServeResult<SchemaRef> {
    decode_schema(data, ANSWER_MAX_COLUMNS, is_flat_or_array)
        .map_err(|error| unreadable(&error.to_string()))
}

/// Rows of the server.
pub(super) fn rows_of(data: &FlightData, schema: &SchemaRef) -> ServeResult<RecordBatch> {
    decode_batch(data, schema).map_err(|error| unreadable(&error.to_string()))
}

fn number(said: &HashMap<String, String>, key: &str) -> ServeResult<Option<i64>> {
    let parsed = said.get(key).map(|text| text.parse()).transpose();
    parsed.map_err(|_| unreadable(&format!("{key} is no number")))
}

fn gap_of(gap: v1::AcceptedGap) -> LogGap {
    LogGap {
        place: TopicPartition::new(gap.topic, gap.partition),
        from: gap.from,
        to: gap.to,
    }
}

fn failed_of(text: Option<&String>) -> ServeResult<FailedCells> {
    let read = text.map(|text| serde_json::from_str(text)).transpose();
    let read = read.map_err(|_| unreadable("the failed values cannot be read"))?;
    Ok(read.unwrap_or_default())
}

fn gap_list(text: &str) -> ServeResult<Vec<LogGap>> {
    let read = serde_json::from_str(text);
    read.map_err(|_| unreadable(&format!("{text:?} is no list of gaps")))
}

fn applied_list(text: &str) -> ServeResult<Vec<AppliedShard>> {
    let parse = |pair: &str| {
        let (shard, epoch) = pair.split_once(':')?;
        let at = ShardEpoch {
            shard: shard.parse().ok()?,
            epoch: epoch.parse().ok()?,
        };
        Some(AppliedShard {
            at,
            next_offsets: Vec::new(),
        })
    };
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| parse(pair).ok_or_else(|| unreadable(&format!("{pair:?} is no shard:epoch"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied_pairs_are_read_and_others_refused() {
        let applied = applied_list("0:7,12:9").expect("two pairs");
        assert_eq!(
            applied[1].at,
            ShardEpoch {
                shard: 12,
                epoch: 9
            }
        );
        assert!(applied_list("").expect("none").is_empty());
        for bad in ["7", "a:1", "70000:1", "1:-1"] {
            assert!(applied_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_status_but_ok_is_an_error_of_its_kind() {
        in_band(0, "").expect("ok");
        for kind in [
            ErrorKind::InvalidArgument,
            ErrorKind::NotFound,
            ErrorKind::OutOfRange,
            ErrorKind::DataLoss,
        ] {
            let error = in_band(kind.grpc_code(), "why").expect_err("an error");
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, "why"));
        }
        assert_eq!(
            in_band(100, "bye").expect_err("going away").kind(),
            ErrorKind::Unavailable
        );
        assert_eq!(
            in_band(77, "?").expect_err("unknown").kind(),
            ErrorKind::Internal
        );
    }
}
