//! The rows of one tile as one block of bytes, in memory as on disk. [`RowBuffer`] gathers rows (of
//! old tiles and of fold batches) and encodes them; [`RowView`] reads a block without decoding it.
//! Rows are sorted by (event time, partition, offset); the bytes are a function of the rows alone,
//! so the same events in any order give the same tile.
//!
//! Block, version 1, integers little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version code |
//! | 1, 2, 3 | width in bytes (0, 1, 2, 4, 8) of a time, a partition, an offset |
//! | 4..8 | rows |
//! | 8..16, 16..24 | least and greatest event time |
//! | 24..32, 32..36 | least offset, least partition |
//! | then | times, partitions, offsets: differences to the least one |
//! | then, for each argument | form u8, width u8, NULLs u8 (1: a bitmap follows, bit set = NULL), body |
//! | then, for each filter | a bitmap, bit set = passed |
//!
//! Bodies: WORDS base i64 and differences; RAW doubles as they are; INTEGRAL as WORDS, for doubles
//! that all are integers below 2^53 (the common case, an eighth of the bytes); BITS a bitmap; TEXT
//! ends u32 and UTF-8. A NULL's slot is zero.

use arrow_schema::{DataType, TimeUnit};
use forebay_core::time::Micros;
use forebay_core::value::Value;

use crate::error::{OnlineError, OnlineResult};
use crate::format::{Decoded, TILE_VERSION};

pub(crate) const HEADER_BYTES: usize = 36;

const FORM_WORDS: u8 = 1;
const FORM_RAW: u8 = 2;
const FORM_INTEGRAL: u8 = 3;
const FORM_BITS: u8 = 4;
const FORM_TEXT: u8 = 5;

/// Doubles of a greater magnitude are kept as they are: from here on not every integer is a double.
const INTEGRAL_MAX: f64 = 9_007_199_254_740_992.0;

/// How the values of an argument column are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Float,
    Int,
    Timestamp,
    Bool,
    Text,
}

impl ColumnKind {
    pub(crate) fn of(data_type: &DataType) -> OnlineResult<Self> {
        Ok(match data_type {
            DataType::Float64 => Self::Float,
            DataType::Int32 | DataType::Int64 => Self::Int,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Timestamp,
            DataType::Boolean => Self::Bool,
            DataType::Utf8 | DataType::Utf8View => Self::Text,
            other => {
                return Err(OnlineError::Mismatch(format!(
                    "a tile cannot hold an argument of type {other}"
                )));
            }
        })
    }
}

/// Place of a row in the order of the log and of a tile.
pub(crate) type RowPlace = (Micros, i32, i64);

// ---- gathering and encoding --------------------------------------------------------------------

/// One argument column of a [`RowBuffer`]. `words` holds the bits of a double, an integer, a
/// boolean, or (start, length) of a text in `text`.
#[derive(Debug)]
pub(crate) struct ColumnBuffer {
    kind: ColumnKind,
    words: Vec<u64>,
    nulls: Vec<bool>,
    text: Vec<u8>,
}

impl ColumnBuffer {
    #[inline]
    pub(crate) fn push_null(&mut self) {
        self.words.push(0);
        self.nulls.push(true);
    }

    #[inline]
    pub(crate) fn push_word(&mut self, word: u64) {
        self.words.push(word);
        self.nulls.push(false);
    }

    #[inline]
    pub(crate) fn push_text(&mut self, text: &[u8]) {
        let start = self.text.len() as u64;
        self.text.extend_from_slice(text);
        self.push_word((start << 32) | text.len() as u64);
    }

    fn text_of(&self, row: usize) -> &[u8] {
        let word = self.words[row];
        let start = (word >> 32) as usize;
        &self.text[start..start + (word & 0xFFFF_FFFF) as usize]
    }
}

/// Rows in columns, reused from tile to tile.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    pub(crate) times: Vec<Micros>,
    pub(crate) partitions: Vec<i32>,
    pub(crate) offsets: Vec<i64>,
    pub(crate) columns: Vec<ColumnBuffer>,
    pub(crate) filters: Vec<Vec<bool>>,
}

impl RowBuffer {
    /// Empty, for columns of `kinds` and `filters` filter columns.
    pub(crate) fn reset(&mut self, kinds: &[ColumnKind], filters: usize) {
        self.times.clear();
        self.partitions.clear();
        self.offsets.clear();
        self.columns.truncate(kinds.len());
        for (column, kind) in self.columns.iter_mut().zip(kinds) {
            column.kind = *kind;
            column.words.clear();
            column.nulls.clear();
            column.text.clear();
        }
        for kind in &kinds[self.columns.len()..] {
            self.columns.push(ColumnBuffer {
                kind: *kind,
                words: Vec::new(),
                nulls: Vec::new(),
                text: Vec::new(),
            });
        }
        self.filters.truncate(filters);
        self.filters.iter_mut().for_each(Vec::clear);
        self.filters.resize_with(filters, Vec::new);
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    #[inline]
    pub(crate) fn place(&self, row: u32) -> RowPlace {
        let row = row as usize;
        (self.times[row], self.partitions[row], self.offsets[row])
    }

    /// Append all rows of a tile.
    pub(crate) fn append_view(&mut self, view: &RowView<'_>) {
        let rows = view.rows();
        for row in 0..rows {
            self.times.push(view.time(row));
            self.partitions.push(view.partition(row));
            self.offsets.push(view.offset(row));
        }
        let mut cursor = view.columns();
        for column in &mut self.columns {
            let source = cursor.next_column(column.kind);
            for row in 0..rows {
                match source.cell(row) {
                    Cell::Null => column.push_null(),
                    Cell::Float(value) => column.push_word(value.to_bits()),
                    Cell::Int(value) => column.push_word(value as u64),
                    Cell::Bool(value) => column.push_word(u64::from(value)),
                    Cell::Text(text) => column.push_text(text.as_bytes()),
                }
            }
        }
        for filter in &mut self.filters {
            let bits = cursor.next_filter();
            filter.extend((0..rows).map(|row| bit(bits, row)));
        }
    }

    /// Append to `out` the block of the rows named by `order`, which is sorted by place and not
    /// empty.
    pub(crate) fn encode(&self, order: &[u32], out: &mut Vec<u8>) {
        let times = || order.iter().map(|&row| self.times[row as usize]);
        let partitions = || {
            order
                .iter()
                .map(|&row| i64::from(self.partitions[row as usize]))
        };
        let offsets = || order.iter().map(|&row| self.offsets[row as usize]);
        let (min_time, max_time) = (
            self.times[order[0] as usize],
            self.times[order[order.len() - 1] as usize],
        );
        let (min_partition, partition_width) = span(partitions());
        let (min_offset, offset_width) = span(offsets());
        let time_width = width_of(max_time.wrapping_sub(min_time) as u64);
        out.extend_from_slice(&[TILE_VERSION, time_width, partition_width, offset_width]);
        out.extend_from_slice(
            &u32::try_from(order.len())
                .expect("tiles hold fewer rows than an epoch's u32")
                .to_le_bytes(),
        );
        out.extend_from_slice(&min_time.to_le_bytes());
        out.extend_from_slice(&max_time.to_le_bytes());
        out.extend_from_slice(&min_offset.to_le_bytes());
        out.extend_from_slice(
            &i32::try_from(min_partition)
                .expect("it was an i32")
                .to_le_bytes(),
        );
        push_differences(out, time_width, min_time, times());
        push_differences(out, partition_width, min_partition, partitions());
        push_differences(out, offset_width, min_offset, offsets());
        for column in &self.columns {
            encode_column(column, order, out);
        }
        for filter in &self.filters {
            push_bits(out, order.iter().map(|&row| filter[row as usize]));
        }
    }
}

fn encode_column(column: &ColumnBuffer, order: &[u32], out: &mut Vec<u8>) {
    let any_null = order.iter().any(|&row| column.nulls[row as usize]);
    let live = || {
        order
            .iter()
            .copied()
            .filter(|&row| !column.nulls[row as usize])
    };
    let head = |out: &mut Vec<u8>, form: u8, width: u8| {
        out.extend_from_slice(&[form, width, u8::from(any_null)]);
        if any_null {
            push_bits(out, order.iter().map(|&row| column.nulls[row as usize]));
        }
    };
    match column.kind {
        ColumnKind::Float => {
            let integral = |row: u32| {
                let value = f64::from_bits(column.words[row as usize]);
                let whole = value as i64;
                ((whole as f64).to_bits() == value.to_bits() && value.abs() < INTEGRAL_MAX)
                    .then_some(whole)
            };
            if live().all(|row| integral(row).is_some()) {
                let whole = |row: u32| integral(row).unwrap_or_default();
                let (base, width) = span(live().map(whole));
                head(out, FORM_INTEGRAL, width);
                out.extend_from_slice(&base.to_le_bytes());
                let values = order.iter().map(|&row| {
                    if column.nulls[row as usize] {
                        base
                    } else {
                        whole(row)
                    }
                });
                push_differences(out, width, base, values);
            } else {
                head(out, FORM_RAW, 8);
                for &row in order {
                    out.extend_from_slice(&column.words[row as usize].to_le_bytes());
                }
            }
        }
        ColumnKind::Int | ColumnKind::Timestamp => {
            let (base, width) = span(live().map(|row| column.words[row as usize] as i64));
            head(out, FORM_WORDS, width);
            out.extend_from_slice(&base.to_le_bytes());
            let value = |row: u32| {
                if column.nulls[row as usize] {
                    base
                } else {
                    column.words[row as usize] as i64
                }
            };
            push_differences(out, width, base, order.iter().map(|&row| value(row)));
        }
        ColumnKind::Bool => {
            head(out, FORM_BITS, 0);
            push_bits(
                out,
                order.iter().map(|&row| column.words[row as usize] != 0),
            );
        }
        ColumnKind::Text => {
            head(out, FORM_TEXT, 4);
            let mut end = 0_u32;
            for &row in order {
                end += if column.nulls[row as usize] {
                    0
                } else {
                    column.text_of(row as usize).len() as u32
                };
                out.extend_from_slice(&end.to_le_bytes());
            }
            for row in live() {
                out.extend_from_slice(column.text_of(row as usize));
            }
        }
    }
}

/// Least value and the width of the differences to it; (0, 0) of no value.
fn span(values: impl Iterator<Item = i64>) -> (i64, u8) {
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for value in values {
        least = least.min(value);
        greatest = greatest.max(value);
    }
    if least > greatest {
        (0, 0)
    } else {
        (least, width_of(greatest.wrapping_sub(least) as u64))
    }
}

fn width_of(greatest: u64) -> u8 {
    match greatest {
        0 => 0,
        1..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    }
}

fn push_differences(out: &mut Vec<u8>, width: u8, base: i64, values: impl Iterator<Item = i64>) {
    match width {
        0 => {}
        1 => out.extend(values.map(|v| v.wrapping_sub(base) as u8)),
        2 => {
            values.for_each(|v| out.extend_from_slice(&(v.wrapping_sub(base) as u16).to_le_bytes()))
        }
        4 => {
            values.for_each(|v| out.extend_from_slice(&(v.wrapping_sub(base) as u32).to_le_bytes()))
        }
        _ => {
            values.for_each(|v| out.extend_from_slice(&(v.wrapping_sub(base) as u64).to_le_bytes()))
        }
    }
}

fn push_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    let (mut byte, mut filled) = (0_u8, 0_u8);
    for bit in bits {
        byte |= u8::from(bit) << filled;
        filled += 1;
        if filled == 8 {
            out.push(byte);
            (byte, filled) = (0, 0);
        }
    }
    if filled > 0 {
        out.push(byte);
    }
}

// ---- reading -----------------------------------------------------------------------------------

#[inline]
fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

#[inline]
fn word(bytes: &[u8], width: u8, row: usize) -> u64 {
    let from = |len: usize| &bytes[row * len..row * len + len];
    match width {
        0 => 0,
        1 => u64::from(bytes[row]),
        2 => u64::from(u16::from_le_bytes(from(2).try_into().expect("two bytes"))),
        4 => u64::from(u32::from_le_bytes(from(4).try_into().expect("four bytes"))),
        _ => u64::from_le_bytes(from(8).try_into().expect("eight bytes")),
    }
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Rows, least and greatest event time of a block; None when it is not one.
pub(crate) fn block_header(bytes: &[u8]) -> Option<(u32, Micros, Micros)> {
    if bytes.len() < HEADER_BYTES || bytes[0] != TILE_VERSION {
        return None;
    }
    let rows = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
    (rows > 0).then(|| (rows, i64_at(bytes, 8), i64_at(bytes, 16)))
}

/// A block whose shape was checked when it was read from disk, or that this process encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowView<'a> {
    bytes: &'a [u8],
    rows: usize,
    min_time: Micros,
    times: &'a [u8],
    partitions: &'a [u8],
    offsets: &'a [u8],
    body: usize,
}

impl<'a> RowView<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let rows = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        let partitions = HEADER_BYTES + rows * usize::from(bytes[1]);
        let offsets = partitions + rows * usize::from(bytes[2]);
        let body = offsets + rows * usize::from(bytes[3]);
        Self {
            bytes,
            rows,
            min_time: i64_at(bytes, 8),
            times: &bytes[HEADER_BYTES..partitions],
            partitions: &bytes[partitions..offsets],
            offsets: &bytes[offsets..body],
            body,
        }
    }

    /// Check every length of a block from disk, so that reading it cannot panic.
    pub(crate) fn check(bytes: &[u8], kinds: &[ColumnKind], filters: usize) -> Decoded<()> {
        let (rows, min, max) = block_header(bytes).ok_or("not a tile of version 1 with rows")?;
        let rows = rows as usize;
        if min > max || !bytes[1..4].iter().all(|w| matches!(w, 0 | 1 | 2 | 4 | 8)) {
            return Err("a tile's header contradicts itself".to_owned());
        }
        let widths: usize = bytes[1..4].iter().map(|&w| usize::from(w)).sum();
        let mut at = HEADER_BYTES + rows * widths;
        let take = |at: &mut usize, len: usize| -> Decoded<usize> {
            let start = *at;
            *at = start
                .checked_add(len)
                .filter(|end| *end <= bytes.len())
                .ok_or("a tile ends too early")?;
            Ok(start)
        };
        take(&mut at, 0)?;
        let bitmap = rows.div_ceil(8);
        for kind in kinds {
            let head = take(&mut at, 3)?;
            let (form, width) = (bytes[head], bytes[head + 1]);
            take(&mut at, if bytes[head + 2] == 1 { bitmap } else { 0 })?;
            match (kind, form) {
                (ColumnKind::Float, FORM_INTEGRAL)
                | (ColumnKind::Int | ColumnKind::Timestamp, FORM_WORDS)
                    if matches!(width, 0 | 1 | 2 | 4 | 8) =>
                {
                    take(&mut at, 8 + rows * usize::from(width))?;
                }
                (ColumnKind::Float, FORM_RAW) => drop(take(&mut at, rows * 8)?),
                (ColumnKind::Bool, FORM_BITS) => drop(take(&mut at, bitmap)?),
                (ColumnKind::Text, FORM_TEXT) => {
                    check_text(bytes, take(&mut at, rows * 4)?, rows, &mut at)?
                }
                _ => return Err(format!("a {kind:?} column in form {form}")),
            }
        }
        take(&mut at, filters * bitmap)?;
        if at == bytes.len() {
            Ok(())
        } else {
            Err("a tile is too long".to_owned())
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    #[inline]
    pub(crate) fn time(&self, row: usize) -> Micros {
        self.min_time
            .wrapping_add(word(self.times, self.bytes[1], row) as i64)
    }

    #[inline]
    pub(crate) fn partition(&self, row: usize) -> i32 {
        let least = i32::from_le_bytes(self.bytes[32..36].try_into().expect("four bytes"));
        least.wrapping_add(word(self.partitions, self.bytes[2], row) as i32)
    }

    #[inline]
    pub(crate) fn offset(&self, row: usize) -> i64 {
        i64_at(self.bytes, 24).wrapping_add(word(self.offsets, self.bytes[3], row) as i64)
    }

    /// First row whose time is not below `time`.
    pub(crate) fn lower_bound(&self, time: Micros) -> usize {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = (low + high) / 2;
            if self.time(middle) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The columns behind the places, one after another.
    pub(crate) fn columns(&self) -> ColumnCursor<'a> {
        ColumnCursor {
            bytes: self.bytes,
            rows: self.rows,
            at: self.body,
        }
    }
}

/// The ends of a text column never fall, and its bytes are UTF-8 cut between characters.
fn check_text(bytes: &[u8], ends: usize, rows: usize, at: &mut usize) -> Decoded<()> {
    let end_of = |row: usize| word(&bytes[ends..], 4, row) as usize;
    let len = if rows == 0 { 0 } else { end_of(rows - 1) };
    let body = bytes
        .get(*at..*at + len)
        .ok_or("a text column ends too early")?;
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    let mut start = 0;
    for row in 0..rows {
        let end = end_of(row);
        if text.get(start..end).is_none() {
            return Err("the ends of a text column contradict themselves".to_owned());
        }
        start = end;
    }
    *at += len;
    Ok(())
}

/// Walks over the columns of a block.
pub(crate) struct ColumnCursor<'a> {
    bytes: &'a [u8],
    rows: usize,
    at: usize,
}

impl<'a> ColumnCursor<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let part = &self.bytes[self.at..self.at + len];
        self.at += len;
        part
    }

    pub(crate) fn next_column(&mut self, kind: ColumnKind) -> ColumnView<'a> {
        let head = self.take(3);
        let (form, width) = (head[0], head[1]);
        let nulls = (head[2] == 1).then(|| self.take(self.rows.div_ceil(8)));
        let mut base = 0;
        let mut text: &[u8] = &[];
        let body = match form {
            FORM_WORDS | FORM_INTEGRAL => {
                base = i64_at(self.take(8), 0);
                self.take(self.rows * usize::from(width))
            }
            FORM_RAW => self.take(self.rows * 8),
            FORM_BITS => self.take(self.rows.div_ceil(8)),
            _ => {
                let ends = self.take(self.rows * 4);
                text = self.take(word(ends, 4, self.rows - 1) as usize);
                ends
            }
        };
        ColumnView {
            kind,
            form,
            width,
            base,
            nulls,
            body,
            text,
        }
    }

    pub(crate) fn next_filter(&mut self) -> &'a [u8] {
        self.take(self.rows.div_ceil(8))
    }
}

/// One argument column of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnView<'a> {
    kind: ColumnKind,
    form: u8,
    width: u8,
    base: i64,
    nulls: Option<&'a [u8]>,
    body: &'a [u8],
    text: &'a [u8],
}

/// One cell, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Float(f64),
    Int(i64),
    Bool(bool),
    Text(&'a str),
}

impl<'a> ColumnView<'a> {
    pub(crate) fn kind(&self) -> ColumnKind {
        self.kind
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| bit(nulls, row))
    }

    /// A DOUBLE column's value at `row`, NULL or not.
    #[inline]
    pub(crate) fn float(&self, row: usize) -> f64 {
        if self.form == FORM_RAW {
            f64::from_bits(word(self.body, 8, row))
        } else {
            self.int(row) as f64
        }
    }

    /// An integer or timestamp column's value at `row`, NULL or not.
    #[inline]
    pub(crate) fn int(&self, row: usize) -> i64 {
        self.base
            .wrapping_add(word(self.body, self.width, row) as i64)
    }

    pub(crate) fn cell(&self, row: usize) -> Cell<'a> {
        if self.is_null(row) {
            return Cell::Null;
        }
        match self.kind {
            ColumnKind::Float => Cell::Float(self.float(row)),
            ColumnKind::Int | ColumnKind::Timestamp => Cell::Int(self.int(row)),
            ColumnKind::Bool => Cell::Bool(bit(self.body, row)),
            ColumnKind::Text => {
                let start = if row == 0 {
                    0
                } else {
                    word(self.body, 4, row - 1) as usize
                };
                let end = word(self.body, 4, row) as usize;
                Cell::Text(std::str::from_utf8(&self.text[start..end]).unwrap_or_default())
            }
        }
    }

    pub(crate) fn value(&self, row: usize) -> Value {
        match self.cell(row) {
            Cell::Null => Value::Null,
            Cell::Float(value) => Value::Float(value),
            Cell::Int(value) if self.kind == ColumnKind::Timestamp => Value::Timestamp(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Bool(value) => Value::Bool(value),
            Cell::Text(text) => Value::Text(text.into()),
        }
    }
}

/// Whether the row passed the filter whose bitmap this is.
#[inline]
pub(crate) fn passes(filter: Option<&[u8]>, row: usize) -> bool {
    filter.is_none_or(|bits| bit(bits, row))
}
