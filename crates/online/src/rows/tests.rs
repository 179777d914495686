//! Golden bytes of blocks: every form and width, NULLs, filters, times at the ends of an i64. They
//! are written by the tables of the module's head.

use forebay_core::aggregate::{Column, write_items};
use forebay_core::bytes::BytesError;
use forebay_core::value::Value;

use super::*;
use crate::testing::bytes_of;

/// A row: its place, the arguments, which filters it passes.
type Row = (RowPlace, Vec<Value>, Vec<bool>);

fn encoded(kinds: &[ColumnKind], filters: usize, rows: &[Row]) -> Vec<u8> {
    let mut buffer = RowBuffer::default();
    buffer.reset(kinds, filters);
    for ((time, partition, offset), arguments, passed) in rows {
        buffer.times.push(*time);
        buffer.partitions.push(*partition);
        buffer.offsets.push(*offset);
        for (column, argument) in buffer.columns.iter_mut().zip(arguments) {
            match argument {
                Value::Null => column.push_null(),
                Value::Bool(value) => column.push_word(u64::from(*value)),
                Value::Date(days) => column.push_word(i64::from(*days) as u64),
                Value::Int(value) | Value::Timestamp(value) => column.push_word(*value as u64),
                Value::Float(value) => column.push_word(value.to_bits()),
                Value::Text(value) => column.push_text(value.as_bytes()),
                Value::List(items) => {
                    let mut bytes = Vec::new();
                    write_items(&mut bytes, items);
                    column.push_text(&bytes);
                }
            }
        }
        for (filter, passed) in buffer.filters.iter_mut().zip(passed) {
            filter.push(*passed);
        }
    }
    let order: Vec<u32> = (0..).take(rows.len()).collect();
    let mut bytes = Vec::new();
    buffer.encode(&order, &mut bytes);
    bytes
}

fn decoded(kinds: &[ColumnKind], filters: usize, bytes: &[u8]) -> Decoded<Vec<Row>> {
    RowView::check(bytes, kinds, filters)?;
    let view = RowView::new(bytes);
    let place = |row| (view.time(row), view.partition(row), view.offset(row));
    let mut rows: Vec<Row> = (0..view.rows())
        .map(|row| (place(row), Vec::new(), Vec::new()))
        .collect();
    let mut cursor = view.columns();
    for kind in kinds {
        let column = cursor.next_column(*kind);
        for (index, (_, arguments, _)) in rows.iter_mut().enumerate() {
            arguments.push(column.value(index));
        }
    }
    for _ in 0..filters {
        let filter = cursor.next_filter();
        for (index, (_, _, passed)) in rows.iter_mut().enumerate() {
            passed.push(passes(filter, index));
        }
    }
    Ok(rows)
}

fn assert_golden(kinds: &[ColumnKind], filters: usize, rows: &[Row], golden: &str) {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let mut bytes = bytes_of(golden);
    assert_eq!(hex(&encoded(kinds, filters, rows)), hex(&bytes));
    let read = decoded(kinds, filters, &bytes).expect("golden bytes");
    assert_eq!(read.len(), rows.len());
    for (read, (place, arguments, passed)) in read.iter().zip(rows) {
        assert_eq!((&read.0, &read.2), (place, passed));
        let mut pairs = read.1.iter().zip(arguments);
        assert!(pairs.all(|(a, b)| a.same_bits(b)), "{read:?}");
    }
    let supported = bytes[0];
    for found in [0, supported + 1, u8::MAX] {
        bytes[0] = found;
        let refused = Err(BytesError::Version { found, supported });
        assert_eq!(decoded(kinds, filters, &bytes).map(|_| ()), refused);
    }
}

#[test]
fn golden_bytes_of_a_block_of_every_form_with_nulls_and_filters() {
    use ColumnKind::{Bool, Float, Int, Text, Timestamp};
    let text = |text: &str| Value::Text(text.into());
    let row = |place, arguments: [Value; 7], passed: [bool; 2]| -> Row {
        (place, arguments.into(), passed.into())
    };
    let rows = [
        row(
            (-2, 0, 300),
            [
                Value::Float(1.0),
                Value::Float(0.5),
                Value::Int(i64::MIN),
                Value::Timestamp(-1),
                Value::Bool(true),
                text("é"),
                Value::Null,
            ],
            [true, false],
        ),
        row(
            (-2, 258, 5),
            [
                Value::Null,
                Value::Null,
                Value::Int(i64::MAX),
                Value::Timestamp(-1),
                Value::Null,
                Value::Null,
                Value::Null,
            ],
            [false, false],
        ),
        row(
            (300, 0, 6),
            [
                Value::Float(-3.0),
                Value::Float(-0.0),
                Value::Int(0),
                Value::Timestamp(-1),
                Value::Bool(true),
                text("ab"),
                Value::Null,
            ],
            [true, false],
        ),
    ];
    let golden = [
        "01 020202 03000000 feffffffffffffff 2c01000000000000 0500000000000000 00000000",
        "000000002e01 000002010000 270100000100",
        "03 01 01 02 fdffffffffffffff 040000",
        "02 08 01 02 000000000000e03f 0000000000000000 0000000000000080",
        "01 08 00 0000000000000080 0000000000000000 ffffffffffffffff 0000000000000080",
        "01 00 00 ffffffffffffffff",
        "04 00 01 02 05",
        "05 04 01 02 02000000 02000000 04000000 c3a96162",
        "01 00 01 07 0000000000000000",
        "05 00",
    ];
    let kinds = [Float, Float, Int, Timestamp, Bool, Text, Int];
    assert_golden(&kinds, 2, &rows, &golden.concat());
}

#[test]
fn golden_bytes_of_dates() {
    let row = |offset, value| -> Row { ((0, 0, offset), vec![value], Vec::new()) };
    let rows = [
        row(0, Value::Date(-1)),
        row(1, Value::Null),
        row(2, Value::Date(19_782)),
    ];
    let golden = [
        "01 000001 03000000 0000000000000000 0000000000000000 0000000000000000 00000000",
        "000102",
        "01 02 01 02 ffffffffffffffff 0000 0000 474d",
    ];
    assert_golden(&[ColumnKind::Date], 0, &rows, &golden.concat());
}

#[test]
fn golden_bytes_of_a_column_of_arrays() {
    let list = |items: Vec<Value>| Value::List(items.into());
    let row = |offset, value| -> Row { ((0, 0, offset), vec![value], Vec::new()) };
    let rows = [
        row(1, list(vec![Value::Text("é".into()), Value::Null])),
        row(2, Value::Null),
        row(3, list(vec![])),
    ];
    let golden = [
        "01 000001 03000000 0000000000000000 0000000000000000 0100000000000000 00000000",
        "000102",
        "06 04 01 02 06000000 06000000 07000000 02 0502c3a9 00 00",
    ];
    let kinds = [ColumnKind::List];
    assert_golden(&kinds, 0, &rows, &golden.concat());
    let golden = golden.concat();
    for (from, to) in [
        // Fewer items, bytes behind them, ends that fall, a NULL that has some, no scalar.
        ("00 02 0502", "00 03 0502"),
        ("00 02 0502c3a9", "00 01 0502c3a9"),
        ("06000000 06000000", "06000000 05000000"),
        ("01 02 06000000", "01 01 06000000"),
        ("02 0502", "02 7002"),
    ] {
        let damaged = golden.replace(from, to);
        assert_ne!(damaged, golden, "{from}");
        let read = decoded(&kinds, 0, &bytes_of(&damaged));
        assert!(read.is_err(), "{to}: {read:?}");
    }
}

#[test]
fn golden_bytes_of_a_block_with_widths_of_one_and_four_bytes_and_more_than_eight_rows() {
    let row = |i: i64| -> Row {
        let arguments = vec![Value::Int(-1 + i * 0x1_0000), Value::Bool(i % 2 == 0)];
        let passed = ![2, 4, 6, 8].contains(&i);
        ((i * 10_000_000, 7, 300 + i), arguments, vec![passed])
    };
    let rows: Vec<Row> = (0..9).map(row).collect();
    let golden = [
        "01 040001 09000000 0000000000000000 00b4c40400000000 2c01000000000000 07000000",
        "00000000 80969800 002d3101 80c3c901 005a6202 80f0fa02 00879303 801d2c04 00b4c404",
        "000102030405060708",
        "01 04 00 ffffffffffffffff",
        "00000000 00000100 00000200 00000300 00000400 00000500 00000600 00000700 00000800",
        "04 00 00 5501",
        "ab00",
    ];
    let kinds = [ColumnKind::Int, ColumnKind::Bool];
    assert_golden(&kinds, 1, &rows, &golden.concat());
}

#[test]
fn golden_bytes_of_blocks_without_columns_of_times_at_both_ends_and_of_one_row() {
    let row = |place| -> Row { (place, Vec::new(), Vec::new()) };
    let ends = [row((i64::MIN, i32::MAX, 0)), row((i64::MAX, 0, i64::MAX))];
    let golden = [
        "01 080408 02000000 0000000000000080 ffffffffffffff7f 0000000000000000 00000000",
        "0000000000000000 ffffffffffffffff ffffff7f 00000000 0000000000000000 ffffffffffffff7f",
    ];
    assert_golden(&[], 0, &ends, &golden.concat());
    let one = "01 000000 01000000 feffffffffffffff feffffffffffffff ffffffffffffff7f 03000000";
    assert_golden(&[], 0, &[row((-2, 3, i64::MAX))], one);
}

#[test]
fn a_tile_takes_no_more_than_is_said() {
    use arrow_schema::DataType;
    use forebay_core::time::timestamp_type;
    let arguments = [
        DataType::Float64,
        DataType::Int64,
        timestamp_type(),
        DataType::Boolean,
        DataType::Utf8,
    ];
    let spec = ViewSpec {
        id: 1,
        name: "v".into(),
        version: 1,
        entity: "e".into(),
        source: "s".into(),
        key: Vec::new(),
        arguments: arguments.to_vec(),
        filters: 2,
        partials: Vec::new(),
        aggregates: Vec::new(),
        ttl_us: None,
        digest: String::new(),
    };
    let kinds = arguments
        .each_ref()
        .map(|of| ColumnKind::of(of).expect("a tile holds it"));
    let most = tile_bytes(&spec).expect("a tile holds it");
    for rows in [2, most.rows_most] {
        // Places and values as far apart as they go, and a NULL in each column.
        let row = |index: usize| -> Row {
            let far = index.is_multiple_of(2);
            let integer = if far { i64::MIN } else { i64::MAX };
            let partition = if far { i32::MIN } else { i32::MAX };
            let values = match index {
                0 => vec![Value::Null; 5],
                _ => vec![
                    Value::Float(0.1 * index as f64),
                    Value::Int(integer),
                    Value::Timestamp(integer),
                    Value::Bool(far),
                    Value::Text("ab".into()),
                ],
            };
            // Places ascend, and the last one is as far from the first as it can be.
            let time = match index + 1 == rows {
                true => i64::MAX,
                false => i64::MIN + index as i64,
            };
            ((time, partition, integer), values, vec![far, !far])
        };
        let rows: Vec<Row> = (0..rows).map(row).collect();
        let texts = 2 * (rows.len() - 1);
        let bytes = encoded(&kinds, spec.filters, &rows).len();
        let said = most.beside + (most.row_bits * rows.len()).div_ceil(8) + texts;
        assert!(bytes <= said, "{bytes} of {said}");
        // A full tile has values as far apart as they go. What is said counts a base of the doubles
        // too, and each bitmap's last byte as a whole one.
        let is_full = rows.len() == most.rows_most;
        assert!(!is_full || said <= bytes + 8 + 12, "{bytes} of {said}");
    }
}
