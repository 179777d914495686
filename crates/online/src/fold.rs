//! From a commit's fold batches to the rows of each dirty key: resolve the Arrow columns once, drop
//! what the shard already has and what is too late, group by (view, key), sort each group by (event
//! time, partition, offset). Reads nothing but the batches and the shard's progress; `commit` takes
//! the groups from here into the trees.
//!
//! One pass over the rows, one hash each, no allocation per row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use forebay_core::aggregate::write_items;
use forebay_core::index::RowIndex;
use forebay_core::invariant;
use forebay_core::key::key_hash;
use forebay_core::ports::ShardFold;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::ViewId;
use forebay_core::watermark::is_too_late;
use hashbrown::HashTable;

use crate::error::{OnlineError, OnlineResult};
use crate::rows::{ColumnKind, RowBuffer};
use crate::view::ViewRuntime;

/// One row to insert: where it stands and where its values are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRow {
    pub(crate) time: Micros,
    pub(crate) offset: i64,
    pub(crate) partition: i32,
    /// Index of its fold in the commit.
    pub(crate) fold: u32,
    /// Index of the row in the fold's batch.
    pub(crate) row: u32,
    /// Index of its key among the dirty keys.
    key: u32,
}

/// Typed argument column of a fold batch.
#[derive(Debug)]
enum ArgumentColumn<'a> {
    Null,
    Float(&'a Float64Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    Bool(&'a BooleanArray),
    Text(&'a StringArray),
    TextView(&'a StringViewArray),
    List(&'a ListArray),
}

/// The columns of one fold batch, resolved.
#[derive(Debug)]
pub(crate) struct FoldColumns<'a> {
    arguments: Vec<ArgumentColumn<'a>>,
    filters: &'a [BooleanArray],
}

impl<'a> FoldColumns<'a> {
    fn new(view: &ViewRuntime, fold: &'a ShardFold) -> OnlineResult<Self> {
        let batch = fold.batch.as_ref();
        let rows = batch.times.len();
        let fits = batch.source_rows.len() == rows
            && fold.keys.len() == rows
            && batch.arguments.len() == view.kinds.len()
            && batch.filters.len() == view.spec.filters
            && batch.arguments.iter().all(|a| a.len() == rows)
            && batch.filters.iter().all(|f| f.len() == rows)
            && fold.rows.last().is_none_or(|&last| (last as usize) < rows);
        if !fits {
            return Err(OnlineError::Mismatch(format!(
                "a fold batch of view {} does not have the view's columns or has columns of different lengths",
                view.spec.name
            )));
        }
        let arguments = batch
            .arguments
            .iter()
            .zip(&view.kinds)
            .map(|(a, kind)| resolve(a, *kind))
            .collect::<OnlineResult<_>>()?;
        Ok(Self {
            arguments,
            filters: &batch.filters,
        })
    }

    /// Append `row`'s place, arguments and filters to `out`.
    pub(crate) fn append(&self, row: &NewRow, out: &mut RowBuffer) {
        out.times.push(row.time);
        out.partitions.push(row.partition);
        out.offsets.push(row.offset);
        let at = row.row as usize;
        for (source, column) in self.arguments.iter().zip(&mut out.columns) {
            macro_rules! push {
                ($array:expr, $word:expr) => {
                    if $array.is_null(at) {
                        column.push_null()
                    } else {
                        column.push_word($word($array.value(at)))
                    }
                };
            }
            match source {
                ArgumentColumn::Null => column.push_null(),
                ArgumentColumn::Float(array) => push!(array, f64::to_bits),
                ArgumentColumn::Int32(array) => push!(array, |v| i64::from(v) as u64),
                ArgumentColumn::Int64(array) => push!(array, |v: i64| v as u64),
                ArgumentColumn::Date(array) => push!(array, |v| i64::from(v) as u64),
                ArgumentColumn::Timestamp(array) => push!(array, |v: i64| v as u64),
                ArgumentColumn::Bool(array) => push!(array, u64::from),
                ArgumentColumn::Text(array) if array.is_null(at) => column.push_null(),
                ArgumentColumn::Text(array) => column.push_text(array.value(at).as_bytes()),
                ArgumentColumn::TextView(array) if array.is_null(at) => column.push_null(),
                ArgumentColumn::TextView(array) => column.push_text(array.value(at).as_bytes()),
                ArgumentColumn::List(array) => match Value::from_array(array, at) {
                    Ok(Value::List(items)) => {
                        let mut bytes = Vec::new();
                        write_items(&mut bytes, &items);
                        column.push_text(&bytes);
                    }
                    _ => column.push_null(),
                },
            }
        }
        for (source, filter) in self.filters.iter().zip(&mut out.filters) {
            filter.push(source.is_valid(at) && source.value(at));
        }
    }
}

fn resolve(array: &ArrayRef, kind: ColumnKind) -> OnlineResult<ArgumentColumn<'_>> {
    Ok(match (kind, array.data_type()) {
        (_, DataType::Null) => ArgumentColumn::Null,
        (ColumnKind::Float, DataType::Float64) => {
            ArgumentColumn::Float(array.as_primitive::<Float64Type>())
        }
        (ColumnKind::Int, DataType::Int32) => {
            ArgumentColumn::Int32(array.as_primitive::<Int32Type>())
        }
        (ColumnKind::Int, DataType::Int64) => {
            ArgumentColumn::Int64(array.as_primitive::<Int64Type>())
        }
        (ColumnKind::Date, DataType::Date32) => {
            ArgumentColumn::Date(array.as_primitive::<Date32Type>())
        }
        (ColumnKind::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            ArgumentColumn::Timestamp(array.as_primitive::<TimestampMicrosecondType>())
        }
        (ColumnKind::Bool, DataType::Boolean) => ArgumentColumn::Bool(array.as_boolean()),
        (ColumnKind::Text, DataType::Utf8) => ArgumentColumn::Text(array.as_string::<i32>()),
        (ColumnKind::Text, DataType::Utf8View) => ArgumentColumn::TextView(array.as_string_view()),
        (ColumnKind::List, of) if ColumnKind::of(of) == Some(ColumnKind::List) => {
            ArgumentColumn::List(array.as_list::<i32>())
        }
        (kind, other) => {
            return Err(OnlineError::Mismatch(format!(
                "an argument column is {other} where the view folds {kind:?}"
            )));
        }
    })
}

/// A key that a commit touches.
#[derive(Debug)]
pub(crate) struct DirtyKey<'a> {
    pub(crate) view: Arc<ViewRuntime>,
    pub(crate) hash: u64,
    pub(crate) key: &'a [u8],
    /// Newest among its rows that were too late.
    pub(crate) late_us: Option<Micros>,
    /// Its rows in [`Gathered::rows`].
    pub(crate) rows: std::ops::Range<usize>,
}

/// Too-late rows of one view in a commit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LateRows {
    pub(crate) rows: u64,
    pub(crate) newest_us: Option<Micros>,
}

/// All that a commit inserts, grouped.
#[derive(Debug, Default)]
pub(crate) struct Gathered<'a> {
    /// Sorted by (view, key): the order of the keys in RocksDB.
    pub(crate) keys: Vec<DirtyKey<'a>>,
    /// Sorted by key, then by place.
    pub(crate) rows: Vec<NewRow>,
    pub(crate) folds: Vec<FoldColumns<'a>>,
    /// Per view, in the order of first sight.
    pub(crate) late: Vec<(Arc<ViewRuntime>, LateRows)>,
    /// Rows below the shard's progress.
    pub(crate) replayed: u64,
    /// Greatest offset of each partition among the rows that are not from a backfill.
    pub(crate) newest_offsets: Vec<(TopicPartition, i64)>,
}

/// Hash of a key inside a shard: that of the key, told apart by view.
pub(crate) fn table_hash(view: ViewId, key_hash: u64) -> u64 {
    key_hash ^ u64::from(view).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The key's own hash from the one in the table: the inverse of [`table_hash`].
pub(crate) fn key_hash_of(view: ViewId, table_hash: u64) -> u64 {
    // Exclusive or with the same word takes itself back.
    self::table_hash(view, table_hash)
}

/// What decides whether a row counts.
pub(crate) struct Admission<'a> {
    pub(crate) applied: &'a Applied,
    /// Rows from the archive: they count wherever they lie.
    pub(crate) is_fill: bool,
    pub(crate) history_us: Micros,
}

impl Admission<'_> {
    /// For each of `partitions` the offset below which rows were applied before.
    fn next_offsets(&self, partitions: &[TopicPartition]) -> Vec<i64> {
        let next_offset = |partition| match self.is_fill {
            true => i64::MIN,
            false => self.applied.next_offset(partition),
        };
        partitions.iter().map(next_offset).collect()
    }
}

/// Rows to fold, and the view that folds them.
pub(crate) type ViewFold<'a> = (&'a ShardFold, Arc<ViewRuntime>);

/// Group the rows of `folds`.
pub(crate) fn gather<'a>(
    folds: &[ViewFold<'a>],
    admission: &Admission<'_>,
    index: &mut HashTable<u32>,
) -> OnlineResult<Gathered<'a>> {
    let mut gathered = Gathered::default();
    index.clear();
    gathered
        .rows
        .reserve(folds.iter().map(|(fold, _)| fold.rows.len()).sum());
    for (number, (fold, view)) in folds.iter().enumerate() {
        gathered.folds.push(FoldColumns::new(view, fold)?);
        let number = RowIndex::at(number).number();
        gather_fold(&mut gathered, fold, number, view, admission, index)?;
    }
    sort_by_key(&mut gathered);
    Ok(gathered)
}

fn gather_fold<'a>(
    gathered: &mut Gathered<'a>,
    fold: &'a ShardFold,
    number: u32,
    view: &Arc<ViewRuntime>,
    admission: &Admission<'_>,
    index: &mut HashTable<u32>,
) -> OnlineResult<()> {
    let origin = fold.origin.as_ref();
    let next_offsets = admission.next_offsets(&origin.partitions);
    let lateness = view.spec.lateness_us(admission.history_us);
    check_fold(fold);
    let mut late = LateRows::default();
    let mut newest_offsets = vec![None; origin.partitions.len()];
    for &row in &fold.rows {
        let source = fold.batch.source_rows[row as usize] as usize;
        let place = origin.partition.get(source).zip(origin.offset.get(source));
        let Some((next_offset, (&partition, &offset))) =
            place.and_then(|place| Some((*next_offsets.get(*place.0 as usize)?, place)))
        else {
            return Err(OnlineError::Mismatch(format!(
                "row {source} of a fold batch has no origin"
            )));
        };
        if offset < next_offset {
            gathered.replayed += 1;
            continue;
        }
        let Some(key) = fold.keys.get(row as usize) else {
            continue;
        };
        let newest = &mut newest_offsets[partition as usize];
        *newest = (*newest).max(Some(offset));
        let time = fold.batch.times.value(row as usize);
        let hash = table_hash(view.spec.id, key_hash(key));
        let dirty = dirty_key(&mut gathered.keys, index, view, hash, key);
        let watermark = origin.watermark_us.get(source).copied().flatten();
        if is_too_late(time, watermark, lateness) {
            late.rows += 1;
            late.newest_us = late.newest_us.max(Some(time));
            let late_us = &mut gathered.keys[dirty as usize].late_us;
            *late_us = (*late_us).max(Some(time));
            continue;
        }
        let partition = origin.partitions[partition as usize].partition;
        gathered.rows.push(NewRow {
            time,
            offset,
            partition,
            fold: number,
            row,
            key: dirty,
        });
    }
    if late.rows > 0 {
        gathered.late.push((Arc::clone(view), late));
    }
    if !admission.is_fill {
        let newest = origin.partitions.iter().zip(newest_offsets);
        gathered
            .newest_offsets
            .extend(newest.filter_map(|(partition, offset)| Some((partition.clone(), offset?))));
    }
    Ok(())
}

/// What holds of every fold that is handed to a shard.
fn check_fold(fold: &ShardFold) {
    let origin = fold.origin.as_ref();
    let rows = origin.offset.len();
    invariant!(
        OriginColumnsAgree,
        origin.partition.len() == rows && origin.watermark_us.len() == rows,
        "{rows} offsets, {} partitions, {} watermarks",
        origin.partition.len(),
        origin.watermark_us.len()
    );
    invariant!(
        FoldRowsAscend,
        fold.rows.is_sorted_by(|a, b| a < b),
        "{} rows of view {}",
        fold.rows.len(),
        fold.view
    );
}

fn dirty_key<'a>(
    keys: &mut Vec<DirtyKey<'a>>,
    index: &mut HashTable<u32>,
    view: &Arc<ViewRuntime>,
    hash: u64,
    key: &'a [u8],
) -> u32 {
    let same = |at: &u32| {
        let known = &keys[*at as usize];
        known.hash == hash && known.key == key && known.view.spec.id == view.spec.id
    };
    if let Some(at) = index.find(hash, same) {
        return *at;
    }
    let at = RowIndex::at(keys.len()).number();
    keys.push(DirtyKey {
        view: Arc::clone(view),
        hash,
        key,
        late_us: None,
        rows: 0..0,
    });
    index.insert_unique(hash, at, |at| keys[*at as usize].hash);
    at
}

/// Sort keys by (view, key) and rows by (key, place): a counting sort over the keys, then a sort
/// inside each.
fn sort_by_key(gathered: &mut Gathered<'_>) {
    let keys = &mut gathered.keys;
    let mut by_key: Vec<u32> = RowIndex::all(keys.len()).map(RowIndex::number).collect();
    by_key.sort_unstable_by_key(|&at| (keys[at as usize].view.spec.id, keys[at as usize].key));
    for row in &gathered.rows {
        keys[row.key as usize].rows.end += 1;
    }
    let mut end = 0;
    for &at in &by_key {
        let range = &mut keys[at as usize].rows;
        (range.start, end) = (end, end + range.end);
        range.end = range.start;
    }
    let filler = NewRow {
        time: 0,
        offset: 0,
        partition: 0,
        fold: 0,
        row: 0,
        key: 0,
    };
    let mut rows = vec![filler; gathered.rows.len()];
    for row in &gathered.rows {
        let range = &mut keys[row.key as usize].rows;
        rows[range.end] = *row;
        range.end += 1;
    }
    invariant!(
        RowsGrouped,
        end == rows.len() && keys.iter().map(|key| key.rows.len()).sum::<usize>() == end,
        "{end} of {} rows",
        rows.len()
    );
    for key in keys.iter() {
        rows[key.rows.clone()]
            .sort_unstable_by_key(|r| (r.time, r.partition, r.offset, r.fold, r.row));
    }
    gathered.rows = rows;
    // The order is known: no key is compared again.
    let mut unsorted: Vec<Option<DirtyKey<'_>>> = keys.drain(..).map(Some).collect();
    let sorted = by_key.iter().map(|&at| {
        let key = unsorted[at as usize].take();
        key.expect("each key has one place in the order")
    });
    keys.extend(sorted);
}
