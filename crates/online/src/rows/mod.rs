//! The rows of one tile as one block of bytes, the same in memory as on disk. [`RowBuffer`] gathers
//! rows, of old tiles and of fold batches, and encodes them; [`RowView`] reads a block in place,
//! without decoding it. Rows come from `fold` and `insert`, which decides which of them make a
//! tile; blocks go into the tree and into RocksDB. `load` checks each block that it reads back,
//! once, before anything else looks at it.
//!
//! # Layout
//!
//! Version 1 ([`TILE_VERSION`]), integers little endian. Rows are sorted by place: event time,
//! partition, offset. The bytes are a function of the rows alone, so the same events in any order
//! give the same tile.
//!
//! ```text
//! | header, 36 bytes | times | partitions | offsets | argument columns | filters |
//! ```
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version code |
//! | 1, 2, 3 | width in bytes (0, 1, 2, 4, 8) of a time, a partition, an offset |
//! | 4..8 | rows, at least 1 |
//! | 8..16, 16..24 | least and greatest event time |
//! | 24..32, 32..36 | least offset, least partition |
//! | then | times, partitions, offsets: differences to the least one, each of its width |
//! | then, for each argument | form u8, width u8, NULLs u8 (1: a bitmap follows, bit set = NULL), body |
//! | then, for each filter | a bitmap, bit set = passed |
//!
//! Row r of a bitmap is bit r % 8, from the lowest, of byte r / 8. A width is the least that holds
//! the greatest difference; 0 says that all values are the base, and nothing follows. Differences
//! wrap at 2^64, so that any two times have one.
//!
//! # Columns
//!
//! How many arguments and filters there are, and of which [`ColumnKind`], is known from the view
//! and not from the block. The form says how the body holds the values:
//!
//! | form | kind | body |
//! |---|---|---|
//! | 1 WORDS | integer, timestamp | least value i64, then a difference a row |
//! | 2 RAW | DOUBLE | 8 bytes a row, as they are |
//! | 3 INTEGRAL | DOUBLE | as WORDS: every value is an integer below 2^53 and none is -0.0 |
//! | 4 BITS | BOOLEAN | a bitmap |
//! | 5 TEXT | VARCHAR | for each row where its text ends, u32; then all texts, UTF-8 |
//! | 6 LIST | array | for each row where its items end, u32; then all items, as core writes them |
//!
//! INTEGRAL is the common case and takes an eighth of RAW where the values span less than 256. The
//! slot of a NULL is zero: the difference 0, the bit 0, no bytes. A column of NULLs alone has
//! base 0 and width 0.
//!
//! # Reading
//!
//! [`RowView`] finds a time, a partition or an offset by its index, and the first row of a window
//! by bisecting the times. Columns have no directory: a cursor walks over them in the view's order.
//!
//! # Invariants
//!
//! * `places_ascend`: no two rows of a block have one place. `columns_agree`: columns are equally
//!   long. `places_fill_header`: the places take the bytes that the header says.
//! * `block_times_as_header`, `block_round_trips`: a block that is merged again has the times of
//!   its header, and nothing behind its columns and filters.
//! * A block from disk passed [`RowView::check`]: widths, forms, lengths, ends of texts and arrays,
//!   UTF-8, items. Then no read of it can panic. The order of its rows is not checked; RocksDB's
//!   checksums guard that.

use arrow_schema::DataType;
pub(crate) use forebay_core::aggregate::ColumnKind;
use forebay_core::bytes::Reader;
use forebay_core::time::Micros;
use forebay_core::view::ViewSpec;

use crate::error::{OnlineError, OnlineResult};
use crate::format::{Decoded, TILE_VERSION};

mod buffer;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use buffer::RowBuffer;
pub(crate) use view::{ColumnView, RowView, passes};

const HEADER_BYTES: usize = 36;

/// Most rows of a tile whose span can still be split.
pub(crate) const TILE_MAX_ROWS: usize = 32;

const FORM_WORDS: u8 = 1;
const FORM_RAW: u8 = 2;
const FORM_INTEGRAL: u8 = 3;
const FORM_BITS: u8 = 4;
const FORM_TEXT: u8 = 5;
const FORM_LIST: u8 = 6;

/// Doubles of a greater magnitude are kept as they are: from here on not every integer is a double.
const INTEGRAL_MAX: f64 = 9_007_199_254_740_992.0;

/// How the values of an argument column of type `data_type` are held.
pub(crate) fn kind_of(data_type: &DataType) -> OnlineResult<ColumnKind> {
    ColumnKind::of(data_type).ok_or_else(|| {
        OnlineError::Mismatch(format!(
            "a tile cannot hold an argument of type {data_type}"
        ))
    })
}

/// What a tile of a view takes at most, by the layout above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileBytes {
    /// Of each row, bits, beside the bytes of its texts and arrays.
    pub row_bits: usize,
    /// Of the tile, bytes, however many rows it has; beside its key.
    pub beside: usize,
    /// Most rows of a tile.
    pub rows_most: usize,
}

/// What a tile of the view `spec` takes at most.
///
/// # Errors
/// An argument of a type that tiles do not hold.
pub fn tile_bytes(spec: &ViewSpec) -> OnlineResult<TileBytes> {
    // Widths of a time, a partition and an offset.
    let mut row_bits = 8 * (8 + 4 + 8) + spec.filters;
    let mut beside = HEADER_BYTES;
    for argument in &spec.arguments {
        // The column's head, and a bit of NULL.
        beside += 3;
        row_bits += 1;
        match kind_of(argument)? {
            ColumnKind::Bool => row_bits += 1,
            ColumnKind::Text | ColumnKind::List => row_bits += 8 * 4,
            // A base, unless they are kept as they are.
            ColumnKind::Float | ColumnKind::Int | ColumnKind::Date | ColumnKind::Timestamp => {
                beside += 8;
                row_bits += 8 * 8;
            }
        }
    }
    // A bitmap ends with a whole byte.
    beside += 2 * spec.arguments.len() + spec.filters;
    Ok(TileBytes {
        row_bits,
        beside,
        rows_most: TILE_MAX_ROWS,
    })
}

/// Place of a row in the order of the log and of a tile.
pub(crate) type RowPlace = (Micros, i32, i64);

/// What a block says of itself before its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    time_width: u8,
    partition_width: u8,
    offset_width: u8,
    pub(crate) rows: u32,
    pub(crate) min_us: Micros,
    pub(crate) max_us: Micros,
    min_offset: i64,
    min_partition: i32,
}

impl BlockHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[
            TILE_VERSION,
            self.time_width,
            self.partition_width,
            self.offset_width,
        ]);
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.min_us.to_le_bytes());
        out.extend_from_slice(&self.max_us.to_le_bytes());
        out.extend_from_slice(&self.min_offset.to_le_bytes());
        out.extend_from_slice(&self.min_partition.to_le_bytes());
    }

    /// The header of a block from disk.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::versioned(bytes, TILE_VERSION)?;
        let [time_width, partition_width, offset_width] = r.array()?;
        let header = Self {
            time_width,
            partition_width,
            offset_width,
            rows: r.u32()?,
            min_us: r.i64()?,
            max_us: r.i64()?,
            min_offset: r.i64()?,
            min_partition: r.i32()?,
        };
        let widths = [time_width, partition_width, offset_width];
        if header.rows == 0 || header.min_us > header.max_us || !widths.into_iter().all(is_width) {
            return Err("a tile's header contradicts itself".into());
        }
        Ok(header)
    }

    /// Bytes of the header and of the places of its rows: where the first column begins.
    fn places_end(&self) -> usize {
        let widths = [self.time_width, self.partition_width, self.offset_width];
        let place_bytes: usize = widths.into_iter().map(usize::from).sum();
        HEADER_BYTES + self.rows as usize * place_bytes
    }
}

/// Whether differences may have this many bytes.
fn is_width(width: u8) -> bool {
    matches!(width, 0 | 1 | 2 | 4 | 8)
}

/// Bytes of a bitmap over `rows`.
fn bitmap_bytes(rows: usize) -> usize {
    rows.div_ceil(8)
}

#[inline]
fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

/// The `N` bytes at `at`, little endian.
#[inline]
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("the lengths of a block were checked when it was read")
}

#[inline]
fn word(bytes: &[u8], width: u8, row: usize) -> u64 {
    match width {
        0 => 0,
        1 => u64::from(bytes[row]),
        2 => u64::from(u16::from_le_bytes(bytes_at(bytes, row * 2))),
        4 => u64::from(u32::from_le_bytes(bytes_at(bytes, row * 4))),
        _ => u64::from_le_bytes(bytes_at(bytes, row * 8)),
    }
}
