//! Every byte that the online store keeps: column families, keys, records and their version codes.
//! `commit`, `queue` and `store` write what is encoded here; `load`, `shard` and `queue` read.
//! The fields of a record are those of its encoding function, in that order. Golden bytes of every
//! key and value stand beside the codecs: in `tests.rs` and at the end of the files of `format/`,
//! in `rows/tests.rs`, and for `log`, which is no more than a text, in `notes`.
//!
//! # Layout
//!
//! | family | key | value |
//! |---|---|---|
//! | `meta` | `store` | shards and number of this shard |
//! | `meta` | `log` (shard 0) | identity of the log, UTF-8 |
//! | `meta` | `log/` topic (shard 0) | id, number of partitions, accepted gaps and first offsets of the topic |
//! | `meta` | `progress` | epoch, next pending sequence |
//! | `meta` | `partition/` number i32 BE, topic | next offset, greatest event time, last record, watermark |
//! | `meta` | `mark/` kind u8, number i32 BE, of a bound its first offset i64 BE sign flipped, topic | a decision about time: kind, partition, offsets, mark, watermark |
//! | `meta` | `outbox` | next outbox sequence |
//! | `meta` | `unscored` | next sequence of a note |
//! | `meta` | `view/` id u32 BE (shard 0) | name and digest of the definition |
//! | `meta` | `fill/` id u32 BE | how far the fill of the view is: basis, rows read, of each partition next offset and mark |
//! | `meta` | `horizon/` id u32 BE | greatest event time that was dropped or has expired, late rows, topics; of a view that is set aside the reason |
//! | `tile` | view id u32 BE, entity key, level u8, start i64 BE sign flipped, sub u32 BE | rows of one tile ([`crate::rows`]) |
//! | `tile` | the same with level [`LEVEL_FOLDED`], start 0, sub 0 | states of all expired rows of lifetime windows |
//! | `branch` | view id u32 BE, entity key, start i64 BE sign flipped, sub u32 BE, 255 - level u8 | what a branch of many tiles has, and the states of its rows (`branch.rs`) |
//! | `presence` | view id u32 BE, entity key | newest event time among rows that no tile holds |
//! | `pending` | sequence u64 BE | a pending score |
//! | `outbox` | sequence u64 BE | a finished record and the prediction that it carries |
//! | `unscored` | sequence u64 BE | a note on events that have no prediction |
//!
//! In values integers are little endian and strings carry a u32 length; in keys integers are big
//! endian, so that records lie in their order. No entity key begins another one (`core::key`).
//!
//! # Versions
//!
//! Each value but that of `log` begins with a version code. A changed layout needs a new code, and
//! retired codes stay reserved. Another build's code is refused with the remedy, never misread.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::bytes::{BytesError, BytesResult, Reader, Writer};
use forebay_core::invariant;
use forebay_core::progress::{Applied, PartitionProgress, RecordDigest, TopicPartition};
use forebay_core::time::Micros;
use forebay_core::view::ViewId;
use forebay_core::watermark::{Bound, Hold, MarkFact, MarkRecord};

pub(crate) use branch::{
    BranchRecord, behind_branches, branches_below, branches_of_key, parse_branch_key,
    push_branch_suffix,
};
pub(crate) use fill::{decode_fill, encode_fill, fill_key};
pub(crate) use queue::{
    decode_outbox, decode_pending, decode_unscored, encode_outbox, encode_pending, encode_unscored,
    parse_sequence,
};
pub(crate) use topic::{decode_topic, encode_topic, topic_key};

mod branch;
mod fill;
mod queue;
#[cfg(test)]
mod tests;
mod topic;

/// Column families, in the order in which they are opened.
pub(crate) const FAMILIES: [&str; 7] = [
    FAMILY_META,
    FAMILY_TILE,
    FAMILY_PRESENCE,
    FAMILY_PENDING,
    FAMILY_OUTBOX,
    FAMILY_UNSCORED,
    FAMILY_BRANCH,
];
pub(crate) const FAMILY_META: &str = "meta";
pub(crate) const FAMILY_TILE: &str = "tile";
pub(crate) const FAMILY_PRESENCE: &str = "presence";
pub(crate) const FAMILY_PENDING: &str = "pending";
pub(crate) const FAMILY_OUTBOX: &str = "outbox";
pub(crate) const FAMILY_UNSCORED: &str = "unscored";
/// A store that was made before it there was gets it when it is opened.
pub(crate) const FAMILY_BRANCH: &str = "branch";

pub(crate) const META_STORE: &[u8] = b"store";
pub(crate) const META_LOG: &[u8] = b"log";
pub(crate) const META_PROGRESS: &[u8] = b"progress";
pub(crate) const META_OUTBOX: &[u8] = b"outbox";
pub(crate) const META_UNSCORED: &[u8] = b"unscored";
const META_TOPIC: &[u8] = b"log/";
const META_VIEW: &[u8] = b"view/";
const META_HORIZON: &[u8] = b"horizon/";
const META_FILL: &[u8] = b"fill/";
const META_PARTITION: &[u8] = b"partition/";
/// Prefix of the decisions about time.
pub(crate) const META_MARK: &[u8] = b"mark/";
/// Kinds of them. 0 is reserved.
const MARK_BOUND: u8 = 1;
const MARK_HOLD: u8 = 2;

/// Version code of every record but tiles, branches and the outbox's. 0 is reserved; 1 (progress of
/// all partitions in one record) and 2 (progress without the last record) are retired.
const RECORD_VERSION: u8 = 3;
/// Version codes of a horizon, and of one whose view is set aside: a build that knows nothing of
/// damage must refuse this one, and goes on with the others.
const HORIZON_VERSION: u8 = 3;
const DAMAGED_HORIZON_VERSION: u8 = 4;
/// Version code of a tile's rows. 0 is reserved.
pub(crate) const TILE_VERSION: u8 = 1;

/// Level byte of the record that holds the states of expired rows. Levels of tiles lie below.
pub(crate) const LEVEL_FOLDED: u8 = 0xF0;
/// Above every level byte: the end of a key's records.
const LEVEL_END: u8 = 0xFF;
/// Bytes of a tile key behind the entity key.
const TILE_SUFFIX_BYTES: usize = 13;

/// A defect in stored bytes; the caller adds shard and record.
pub(crate) type Decoded<T> = BytesResult<T>;

/// Which part of a key's history a tile covers; see [`crate::tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TileId {
    pub(crate) level: u8,
    pub(crate) start: Micros,
    pub(crate) sub: u32,
}

/// Bytes of a view's id before an entity key.
const VIEW_BYTES: usize = size_of::<ViewId>();

/// Bytes of [`key_prefix`] of an entity key.
pub(crate) fn prefix_len(key: &[u8]) -> usize {
    VIEW_BYTES + key.len()
}

/// `out` = view, entity key: the prefix of all records of a key in `tile`, and its key in
/// `presence`.
pub(crate) fn key_prefix(out: &mut Vec<u8>, view: ViewId, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&view.to_be_bytes());
    out.extend_from_slice(key);
}

/// Append the part of a tile key that follows the entity key.
pub(crate) fn push_tile_suffix(out: &mut Vec<u8>, id: TileId) {
    // A scan of the key's tiles ends before `LEVEL_END`: what lies there would never be found.
    invariant!(LevelBelowEnd, id.level < LEVEL_END, "level {}", id.level);
    out.push(id.level);
    out.extend_from_slice(&((id.start as u64) ^ (1 << 63)).to_be_bytes());
    out.extend_from_slice(&id.sub.to_be_bytes());
}

/// One past the last record of the key whose prefix is `prefix`.
pub(crate) fn key_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    end.push(LEVEL_END);
    end
}

/// From the record of `level` at the place `first` (time, hash) of the key whose prefix is `prefix`
/// to one past that at the place `last`.
pub(crate) fn tile_range(
    prefix: &[u8],
    level: u8,
    first: (Micros, u32),
    last: (Micros, u32),
) -> (Vec<u8>, Vec<u8>) {
    let key_of = |(start, sub)| {
        let mut key = prefix.to_vec();
        push_tile_suffix(&mut key, TileId { level, start, sub });
        key
    };
    let mut end = key_of(last);
    end.push(0);
    (key_of(first), end)
}

/// First key of `view` in `tile` and `presence`, and one past its last.
pub(crate) fn view_range(view: ViewId) -> (Vec<u8>, Vec<u8>) {
    let end = match view.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xFF; 5],
    };
    (view.to_be_bytes().to_vec(), end)
}

/// Entity key and tile of a key in `tile`.
pub(crate) fn parse_tile_key(bytes: &[u8]) -> Decoded<(&[u8], TileId)> {
    let body = bytes
        .get(VIEW_BYTES..)
        .filter(|b| b.len() > TILE_SUFFIX_BYTES)
        .ok_or("a tile key is too short")?;
    let (key, suffix) = body.split_at(body.len() - TILE_SUFFIX_BYTES);
    let mut reader = Reader::new(suffix);
    let level = reader.u8()?;
    let start = (u64::from_be_bytes(reader.array()?) ^ (1 << 63)) as i64;
    let sub = u32::from_be_bytes(reader.array()?);
    Ok((key, TileId { level, start, sub }))
}

/// Entity key of a key in `presence`.
pub(crate) fn parse_presence_key(bytes: &[u8]) -> Decoded<&[u8]> {
    bytes
        .get(VIEW_BYTES..)
        .filter(|key| !key.is_empty())
        .ok_or_else(|| "a presence key is too short".into())
}

/// Key of the progress of `partition` in `meta`.
pub(crate) fn partition_key(partition: &TopicPartition) -> Vec<u8> {
    let number = partition.partition.to_be_bytes();
    [META_PARTITION, &number, partition.topic.as_bytes()].concat()
}

/// Prefix of the progress of all partitions in `meta`.
pub(crate) fn partition_prefix() -> &'static [u8] {
    META_PARTITION
}

/// Partition of a key of [`partition_key`]; None for a key of another kind.
pub(crate) fn parse_partition_key(bytes: &[u8]) -> Option<Decoded<TopicPartition>> {
    let body = bytes.strip_prefix(META_PARTITION)?;
    Some(body.split_first_chunk().map_or_else(
        || Err("a partition's key is too short".into()),
        |(number, topic)| {
            let topic = std::str::from_utf8(topic).map_err(|_| BytesError::Utf8)?;
            Ok(TopicPartition::new(topic, i32::from_be_bytes(*number)))
        },
    ))
}

/// Key of the definition of `view` in `meta`.
pub(crate) fn view_meta_key(view: ViewId) -> Vec<u8> {
    [META_VIEW, &view.to_be_bytes()].concat()
}

/// Key of the horizon of `view` in `meta`.
pub(crate) fn horizon_key(view: ViewId) -> Vec<u8> {
    [META_HORIZON, &view.to_be_bytes()].concat()
}

/// Prefix of all views in `meta`.
pub(crate) fn view_meta_prefix() -> &'static [u8] {
    META_VIEW
}

/// View of its key in `meta`.
pub(crate) fn parse_view_meta_key(bytes: &[u8]) -> Option<ViewId> {
    view_behind(META_VIEW, bytes)
}

/// Prefix of all horizons in `meta`.
pub(crate) fn horizon_prefix() -> &'static [u8] {
    META_HORIZON
}

/// View of a horizon's key.
pub(crate) fn parse_horizon_key(bytes: &[u8]) -> Option<ViewId> {
    view_behind(META_HORIZON, bytes)
}

fn view_behind(prefix: &[u8], bytes: &[u8]) -> Option<ViewId> {
    let id = bytes.strip_prefix(prefix)?.try_into().ok()?;
    Some(ViewId::from_be_bytes(id))
}

// ---- records -----------------------------------------------------------------------------------

/// A record to be written, behind its version code.
fn new_record() -> Writer {
    Writer::versioned(RECORD_VERSION)
}

/// The fields of a stored record, behind its version code.
fn fields(bytes: &[u8]) -> Decoded<Reader<'_>> {
    Reader::versioned(bytes, RECORD_VERSION)
}

/// What each shard says about the store that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreRecord {
    pub(crate) shards: u32,
    pub(crate) shard: u32,
}

impl StoreRecord {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut w = new_record();
        w.u32(self.shards);
        w.u32(self.shard);
        w.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = fields(bytes)?;
        let record = Self {
            shards: r.u32()?,
            shard: r.u32()?,
        };
        r.end()?;
        Ok(record)
    }
}

/// How far a shard is: in the same batch as the state that it describes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProgressRecord {
    pub(crate) epoch: u64,
    pub(crate) next_pending: u64,
    pub(crate) applied: Applied,
    /// Greatest watermark that a row of the partition came with.
    pub(crate) watermarks: BTreeMap<TopicPartition, Micros>,
}

/// One partition's part of a [`ProgressRecord`]: a record of its own, so that a commit writes those
/// that moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionRecord {
    pub(crate) progress: PartitionProgress,
    pub(crate) watermark: Option<Micros>,
}

impl PartitionRecord {
    pub(crate) fn encode(self) -> Vec<u8> {
        let PartitionProgress {
            next_offset, last, ..
        } = self.progress;
        invariant!(
            DigestBelowNext,
            last.is_none_or(|last| last.offset < next_offset),
            "{last:?} at next offset {next_offset}"
        );
        let mut w = new_record();
        w.i64(next_offset);
        w.option(self.progress.max_event_time_us);
        write_digest(&mut w, self.progress.last);
        w.option(self.watermark);
        w.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = fields(bytes)?;
        let record = Self {
            progress: PartitionProgress {
                next_offset: r.i64()?,
                max_event_time_us: r.option()?,
                last: read_digest(&mut r)?,
            },
            watermark: r.option()?,
        };
        r.end()?;
        Ok(record)
    }
}

impl ProgressRecord {
    /// Take over what one partition's record says.
    pub(crate) fn set(&mut self, partition: &TopicPartition, record: PartitionRecord) {
        self.applied.0.insert(partition.clone(), record.progress);
        if let Some(watermark) = record.watermark {
            self.watermarks.insert(partition.clone(), watermark);
        }
    }
}

/// Epoch and next pending sequence.
pub(crate) fn encode_progress(epoch: u64, next_pending: u64) -> Vec<u8> {
    let mut w = new_record();
    w.u64(epoch);
    w.u64(next_pending);
    w.finish()
}

/// See [`encode_progress`]; partitions have records of their own.
pub(crate) fn decode_progress(bytes: &[u8]) -> Decoded<ProgressRecord> {
    let mut r = fields(bytes)?;
    let record = ProgressRecord {
        epoch: r.u64()?,
        next_pending: r.u64()?,
        ..ProgressRecord::default()
    };
    r.end()?;
    Ok(record)
}

/// What a shard can no longer see of a view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// Greatest event time among rows that were dropped as too late or have expired.
    pub(crate) gone_us: Option<Micros>,
    /// Rows dropped as too late.
    pub(crate) late_rows: u64,
    /// Topics that the view's rows came from.
    pub(crate) topics: Vec<Arc<str>>,
    /// Why the view is set aside here: what a commit found damaged of its state. Until the view is
    /// dropped its rows are not folded and its reads are refused.
    pub(crate) damage: Option<Arc<str>>,
}

impl Horizon {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::versioned(match self.damage {
            None => HORIZON_VERSION,
            Some(_) => DAMAGED_HORIZON_VERSION,
        });
        w.option(self.gone_us);
        w.u64(self.late_rows);
        w.length(self.topics.len());
        for topic in &self.topics {
            w.text(topic);
        }
        if let Some(why) = &self.damage {
            w.text(why);
        }
        w.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let is_whole = bytes.first() == Some(&HORIZON_VERSION);
        let version = match is_whole {
            true => HORIZON_VERSION,
            false => DAMAGED_HORIZON_VERSION,
        };
        let mut r = Reader::versioned(bytes, version)?;
        let mut horizon = Self {
            gone_us: r.option()?,
            late_rows: r.u64()?,
            ..Self::default()
        };
        for _ in 0..r.u32()? {
            horizon.topics.push(r.text()?.into());
        }
        if !is_whole {
            horizon.damage = Some(r.text()?.into());
        }
        r.end()?;
        Ok(horizon)
    }
}

/// Key and value of a decision about time: what a later one of the same key replaces.
pub(crate) fn encode_mark(mark: &MarkRecord) -> (Vec<u8>, Vec<u8>) {
    let TopicPartition { topic, partition } = &mark.partition;
    let (kind, from, until, mark_us, watermark_us) = match mark.fact {
        MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us,
            watermark_max_us,
        }) => (MARK_BOUND, from, until, mark_max_us, watermark_max_us),
        MarkFact::Hold(hold) => (MARK_HOLD, hold.at, hold.at, hold.mark_us, hold.watermark_us),
    };
    let mut key = [META_MARK, &[kind], &partition.to_be_bytes()].concat();
    invariant!(
        HoldBehindItsMark,
        kind == MARK_BOUND || watermark_us <= mark_us,
        "{topic}-{partition}: {watermark_us} after {mark_us}"
    );
    if kind == MARK_BOUND {
        invariant!(
            BoundCoversRows,
            from < until,
            "{topic}-{partition}: {from} to {until}"
        );
        key.extend_from_slice(&((from as u64) ^ (1 << 63)).to_be_bytes());
    }
    key.extend_from_slice(topic.as_bytes());
    let mut w = new_record();
    w.u8(kind);
    w.text(topic);
    w.i32(*partition);
    [from, until, mark_us, watermark_us]
        .into_iter()
        .for_each(|value| w.i64(value));
    (key, w.finish())
}

/// The decision that a value of [`encode_mark`] holds.
pub(crate) fn decode_mark(bytes: &[u8]) -> Decoded<MarkRecord> {
    let mut r = fields(bytes)?;
    let kind = r.u8()?;
    let partition = TopicPartition::new(r.text()?, r.i32()?);
    let (from, until, mark_us, watermark_us) = (r.i64()?, r.i64()?, r.i64()?, r.i64()?);
    r.end()?;
    let fact = match kind {
        MARK_BOUND => MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us: mark_us,
            watermark_max_us: watermark_us,
        }),
        MARK_HOLD => MarkFact::Hold(Hold {
            at: from,
            mark_us,
            watermark_us,
        }),
        other => return Err(format!("a decision of kind {other}").into()),
    };
    Ok(MarkRecord { partition, fact })
}

/// The last record of a partition, in its progress.
fn write_digest(w: &mut Writer, digest: Option<RecordDigest>) {
    w.bool(digest.is_some());
    if let Some(digest) = digest {
        w.i64(digest.offset);
        w.option(digest.kafka_time_us);
        w.u64(digest.hash);
    }
}

/// See [`write_digest`].
fn read_digest(r: &mut Reader<'_>) -> Decoded<Option<RecordDigest>> {
    if !r.bool()? {
        return Ok(None);
    }
    Ok(Some(RecordDigest {
        offset: r.i64()?,
        kafka_time_us: r.option()?,
        hash: r.u64()?,
    }))
}

/// Name and digest of a registered view.
pub(crate) fn encode_view(name: &str, digest: &str) -> Vec<u8> {
    let mut w = new_record();
    w.text(name);
    w.text(digest);
    w.finish()
}

/// See [`encode_view`].
pub(crate) fn decode_view(bytes: &[u8]) -> Decoded<(String, String)> {
    let mut r = fields(bytes)?;
    let record = (r.text()?.to_owned(), r.text()?.to_owned());
    r.end()?;
    Ok(record)
}

/// A counter in `meta`.
pub(crate) fn encode_counter(value: u64) -> Vec<u8> {
    let mut w = new_record();
    w.u64(value);
    w.finish()
}

/// See [`encode_counter`].
pub(crate) fn decode_counter(bytes: &[u8]) -> Decoded<u64> {
    let mut r = fields(bytes)?;
    let value = r.u64()?;
    r.end()?;
    Ok(value)
}

/// Presence of a key: newest event time among its rows that no tile holds.
pub(crate) fn encode_presence(gone_newest_us: Option<Micros>) -> Vec<u8> {
    let mut w = new_record();
    w.option(gone_newest_us);
    w.finish()
}

/// See [`encode_presence`].
pub(crate) fn decode_presence(bytes: &[u8]) -> Decoded<Option<Micros>> {
    let mut r = fields(bytes)?;
    let value = r.option()?;
    r.end()?;
    Ok(value)
}

/// States of the expired rows of a key, over the view's lifetime windows: greatest event time,
/// number of rows, states in the encoding of `core::aggregate`.
pub(crate) fn encode_folded(newest_us: Micros, rows: u64, states: &[u8]) -> Vec<u8> {
    invariant!(FoldedHasRows, rows > 0, "newest {newest_us}");
    let mut w = new_record();
    w.i64(newest_us);
    w.u64(rows);
    w.bytes(states);
    w.finish()
}

/// See [`encode_folded`].
pub(crate) fn decode_folded(bytes: &[u8]) -> Decoded<(Micros, u64, &[u8])> {
    let mut r = fields(bytes)?;
    let record = (r.i64()?, r.u64()?, r.bytes()?);
    r.end()?;
    Ok(record)
}
