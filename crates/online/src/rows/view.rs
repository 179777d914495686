//! The reading half of a block: [`RowView`] reads rows and columns in place, without decoding the
//! block. A block from disk is checked once, by [`RowView::check`], so that no read of it can
//! panic; one that this process encoded needs no check. It never copies but single values.

use forebay_core::aggregate::{Column, read_items};
use forebay_core::bytes::{BytesError, Reader};
use forebay_core::time::Micros;
use forebay_core::value::Value;

use super::{
    BlockHeader, ColumnKind, FORM_BITS, FORM_INTEGRAL, FORM_LIST, FORM_RAW, FORM_TEXT, FORM_WORDS,
    HEADER_BYTES, bit, bitmap_bytes, bytes_at, is_width, word,
};
use crate::format::Decoded;

/// A block whose shape was checked when it was read from disk, or that this process encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowView<'a> {
    bytes: &'a [u8],
    header: BlockHeader,
    rows: usize,
    times: &'a [u8],
    partitions: &'a [u8],
    offsets: &'a [u8],
    body: usize,
}

impl<'a> RowView<'a> {
    /// A view of a block that this process encoded or [`Self::check`] took.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let header = BlockHeader::decode(bytes)
            .expect("a block was encoded here, or checked when it was read");
        let rows = header.rows as usize;
        let partitions = HEADER_BYTES + rows * usize::from(header.time_width);
        let offsets = partitions + rows * usize::from(header.partition_width);
        let body = header.places_end();
        Self {
            bytes,
            header,
            rows,
            times: &bytes[HEADER_BYTES..partitions],
            partitions: &bytes[partitions..offsets],
            offsets: &bytes[offsets..body],
            body,
        }
    }

    /// Check every length of a block from disk, so that reading it cannot panic.
    pub(crate) fn check(bytes: &[u8], kinds: &[ColumnKind], filters: usize) -> Decoded<()> {
        let header = BlockHeader::decode(bytes)?;
        let rows = header.rows as usize;
        let mut at = header.places_end();
        let take = |at: &mut usize, len: usize| -> Decoded<usize> {
            let start = *at;
            *at = start
                .checked_add(len)
                .filter(|end| *end <= bytes.len())
                .ok_or("a tile ends too early")?;
            Ok(start)
        };
        take(&mut at, 0)?;
        let bitmap = bitmap_bytes(rows);
        for kind in kinds {
            let head = take(&mut at, 3)?;
            let (form, width) = (bytes[head], bytes[head + 1]);
            take(&mut at, if bytes[head + 2] == 1 { bitmap } else { 0 })?;
            match (kind, form) {
                (ColumnKind::Float, FORM_INTEGRAL)
                | (ColumnKind::Int | ColumnKind::Date | ColumnKind::Timestamp, FORM_WORDS)
                    if is_width(width) =>
                {
                    take(&mut at, 8 + rows * usize::from(width))?;
                }
                (ColumnKind::Float, FORM_RAW) => drop(take(&mut at, rows * 8)?),
                (ColumnKind::Bool, FORM_BITS) => drop(take(&mut at, bitmap)?),
                (ColumnKind::Text, FORM_TEXT) => {
                    check_text(bytes, take(&mut at, rows * 4)?, rows, &mut at)?
                }
                (ColumnKind::List, FORM_LIST) => {
                    let nulls = (bytes[head + 2] == 1).then(|| &bytes[head + 3..]);
                    let ends = take(&mut at, rows * 4)?;
                    check_lists(bytes, nulls, ends, rows, &mut at)?;
                }
                _ => return Err(format!("a {kind:?} column in form {form}").into()),
            }
        }
        take(&mut at, filters * bitmap)?;
        if at == bytes.len() {
            Ok(())
        } else {
            Err("a tile is too long".into())
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the first and the last row have the least and the greatest time of the header.
    pub(crate) fn ends_as_its_header(&self) -> bool {
        self.time(0) == self.header.min_us && self.time(self.rows - 1) == self.header.max_us
    }

    #[inline]
    pub(crate) fn time(&self, row: usize) -> Micros {
        let difference = word(self.times, self.header.time_width, row);
        self.header.min_us.wrapping_add(difference as i64)
    }

    #[inline]
    pub(crate) fn partition(&self, row: usize) -> i32 {
        let difference = word(self.partitions, self.header.partition_width, row);
        self.header.min_partition.wrapping_add(difference as i32)
    }

    #[inline]
    pub(crate) fn offset(&self, row: usize) -> i64 {
        let difference = word(self.offsets, self.header.offset_width, row);
        self.header.min_offset.wrapping_add(difference as i64)
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
    let text = std::str::from_utf8(body).map_err(|_| BytesError::Utf8)?;
    let mut start = 0;
    for row in 0..rows {
        let end = end_of(row);
        if text.get(start..end).is_none() {
            return Err("the ends of a text column contradict themselves".into());
        }
        start = end;
    }
    *at += len;
    Ok(())
}

/// The ends of a column of arrays never fall, and between them are the items of one array each;
/// nothing under a NULL.
fn check_lists(
    bytes: &[u8],
    nulls: Option<&[u8]>,
    ends: usize,
    rows: usize,
    at: &mut usize,
) -> Decoded<()> {
    let mut start = *at;
    for row in 0..rows {
        let end = *at + word(&bytes[ends..], 4, row) as usize;
        let items = bytes
            .get(start..end)
            .ok_or("the ends of a column of arrays contradict themselves")?;
        if nulls.is_some_and(|nulls| bit(nulls, row)) {
            if !items.is_empty() {
                return Err("a NULL has items".into());
            }
            continue;
        }
        let mut reader = Reader::new(items);
        read_items(&mut reader, None)?;
        reader.end()?;
        start = end;
    }
    *at = start;
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
        let nulls = (head[2] == 1).then(|| self.take(bitmap_bytes(self.rows)));
        let mut base = 0;
        let mut text: &[u8] = &[];
        let body = match form {
            FORM_WORDS | FORM_INTEGRAL => {
                base = i64::from_le_bytes(bytes_at(self.take(8), 0));
                self.take(self.rows * usize::from(width))
            }
            FORM_RAW => self.take(self.rows * 8),
            FORM_BITS => self.take(bitmap_bytes(self.rows)),
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

    /// Whether every byte of the block was taken.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn next_filter(&mut self) -> &'a [u8] {
        self.take(bitmap_bytes(self.rows))
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
    /// The items of an array, as core writes them.
    List(&'a [u8]),
}

impl Column for ColumnView<'_> {
    fn kind(&self) -> ColumnKind {
        self.kind
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| bit(nulls, row))
    }

    #[inline]
    fn float(&self, row: usize) -> f64 {
        if self.form == FORM_RAW {
            f64::from_bits(word(self.body, 8, row))
        } else {
            self.int(row) as f64
        }
    }

    /// Of a timestamp column too.
    #[inline]
    fn int(&self, row: usize) -> i64 {
        self.base
            .wrapping_add(word(self.body, self.width, row) as i64)
    }

    fn value(&self, row: usize) -> Value {
        match self.cell(row) {
            Cell::Null => Value::Null,
            Cell::Float(value) => Value::Float(value),
            // Days were 32 bits when they were written.
            Cell::Int(value) if self.kind == ColumnKind::Date => Value::Date(value as i32),
            Cell::Int(value) if self.kind == ColumnKind::Timestamp => Value::Timestamp(value),
            Cell::Int(value) => Value::Int(value),
            Cell::Bool(value) => Value::Bool(value),
            Cell::Text(text) => Value::Text(text.into()),
            Cell::List(items) => Value::List(
                read_items(&mut Reader::new(items), None)
                    .expect("items were written here, or were checked when the block was read"),
            ),
        }
    }
}

impl<'a> ColumnView<'a> {
    pub(crate) fn cell(&self, row: usize) -> Cell<'a> {
        if self.is_null(row) {
            return Cell::Null;
        }
        match self.kind {
            ColumnKind::Float => Cell::Float(self.float(row)),
            ColumnKind::Int | ColumnKind::Date | ColumnKind::Timestamp => Cell::Int(self.int(row)),
            ColumnKind::Bool => Cell::Bool(bit(self.body, row)),
            ColumnKind::Text => {
                let text = std::str::from_utf8(self.bytes(row))
                    .expect("texts came from strings, or were checked when the block was read");
                Cell::Text(text)
            }
            ColumnKind::List => Cell::List(self.bytes(row)),
        }
    }

    /// What a text or an array of `row` takes behind the ends.
    fn bytes(&self, row: usize) -> &'a [u8] {
        let start = if row == 0 {
            0
        } else {
            word(self.body, 4, row - 1) as usize
        };
        let end = word(self.body, 4, row) as usize;
        &self.text[start..end]
    }
}

/// Whether the row passed the filter whose bitmap this is.
#[inline]
pub(crate) fn passes(filter: &[u8], row: usize) -> bool {
    bit(filter, row)
}
