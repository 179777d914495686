//! The writing half of a block: [`RowBuffer`] gathers rows, of old tiles and of fold batches, in
//! columns that are reused from tile to tile, and encodes any of them in any order. The rows come
//! from `fold` and `insert`; the bytes go to RocksDB and into the tree's tiles. It never decides
//! which rows belong together.

use forebay_core::invariant;
use forebay_core::time::Micros;

use super::view::Cell;
use super::{
    BlockHeader, ColumnKind, FORM_BITS, FORM_INTEGRAL, FORM_LIST, FORM_RAW, FORM_TEXT, FORM_WORDS,
    INTEGRAL_MAX, RowPlace, RowView, bit,
};

/// One argument column of a [`RowBuffer`]. `words` holds the bits of a double, an integer, a
/// boolean, or (start, length) of a text or of an array's items in `text`.
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
        invariant!(
            BlockTimesAsHeader,
            view.ends_as_its_header(),
            "a block of {rows} rows"
        );
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
                    Cell::List(items) => column.push_text(items),
                }
            }
        }
        for filter in &mut self.filters {
            let bits = cursor.next_filter();
            filter.extend((0..rows).map(|row| bit(bits, row)));
        }
        invariant!(
            BlockRoundTrips,
            cursor.is_at_end(),
            "a block of {rows} rows has more than its columns"
        );
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
        let places = || order.iter().map(|&row| self.place(row));
        invariant!(
            PlacesAscend,
            places().is_sorted_by(|a, b| a < b),
            "a block of {} rows",
            order.len()
        );
        let header = BlockHeader {
            time_width,
            partition_width,
            offset_width,
            rows: u32::try_from(order.len()).expect("rows of a buffer are numbered by a u32"),
            min_us: min_time,
            max_us: max_time,
            min_offset,
            min_partition: i32::try_from(min_partition).expect("it was an i32"),
        };
        let begin = out.len();
        header.encode(out);
        push_differences(out, time_width, min_time, times());
        push_differences(out, partition_width, min_partition, partitions());
        push_differences(out, offset_width, min_offset, offsets());
        invariant!(
            PlacesFillHeader,
            out.len() - begin == header.places_end(),
            "{} bytes of {} rows",
            out.len() - begin,
            header.rows
        );
        for column in &self.columns {
            invariant!(
                ColumnsAgree,
                column.words.len() == self.len() && column.nulls.len() == self.len(),
                "{} values in {} rows",
                column.words.len(),
                self.len()
            );
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
        ColumnKind::Int | ColumnKind::Date | ColumnKind::Timestamp => {
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
        ColumnKind::Text | ColumnKind::List => {
            let is_text = column.kind == ColumnKind::Text;
            head(out, if is_text { FORM_TEXT } else { FORM_LIST }, 4);
            push_texts(column, order, out);
        }
    }
}

/// The ends of the texts or arrays, then these. A NULL has no bytes.
fn push_texts(column: &ColumnBuffer, order: &[u32], out: &mut Vec<u8>) {
    let texts = || {
        order.iter().map(|&row| match column.nulls[row as usize] {
            true => &[][..],
            false => column.text_of(row as usize),
        })
    };
    let mut end = 0_u32;
    for text in texts() {
        end += u32::try_from(text.len()).expect("an event's limit keeps its texts below 4 GiB");
        out.extend_from_slice(&end.to_le_bytes());
    }
    texts().for_each(|text| out.extend_from_slice(text));
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
