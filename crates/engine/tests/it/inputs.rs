//! What the lowerings are given: errors that name what is wrong, and columns of other types that
//! are taken all the same. Both lowerings must refuse and take alike.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array,
    LargeStringArray, RecordBatch, RecordBatchOptions, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow_schema::Schema;
use forebay_core::ErrorKind;
use forebay_core::limits::SPINE_MAX_ROWS;
use forebay_core::ports::{Known, ORIGIN, PointInTime};
use forebay_core::source::meta;
use forebay_engine::{BatchEngine, Catalog, ProbeEngine};
use forebay_testkit::{MemoryTables, unbounded_budget};

use crate::oracle::Cell;
use crate::world::{SOURCE, ask, batch, catalog, cells, timestamps};

const VIEW: &str = "CREATE FEATURE VIEW v ENTITY two TTL INTERVAL '1' DAY AS
SELECT k, g, ts, count(*) OVER w AS c, sum(x) OVER w AS total, last_value(n) OVER w AS latest
FROM events WINDOW w AS (PARTITION BY k, g ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE features (k VARCHAR, g BIGINT, extra DOUBLE) AS
SELECT v.c, v.total, v.latest, request.extra AS extra, coalesce(v.c, 0) + 1 AS c_plus_one
FROM request LEFT JOIN v AS v USING (k, g);";

fn definitions() -> Catalog {
    catalog(&format!("{SOURCE}{VIEW}"))
}

fn engines() -> [Box<dyn PointInTime>; 2] {
    let catalog = definitions();
    [
        Box::new(ProbeEngine::new(catalog.clone(), unbounded_budget())),
        Box::new(BatchEngine::new(catalog, unbounded_budget(), None)),
    ]
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

type Named = Vec<(&'static str, ArrayRef)>;

fn events() -> Named {
    vec![
        ("k", text(&["a", "a", "b"])),
        ("g", numbers(&[1, 1, 2])),
        ("x", floats(&[1.5, 2.5, 4.0])),
        ("n", numbers(&[7, 8, 9])),
        ("ts", timestamps([10, 20, 30])),
    ]
}

fn spine() -> Named {
    vec![
        ("label", text(&["one", "two"])),
        ("k", text(&["a", "b"])),
        ("g", numbers(&[1, 2])),
        ("extra", floats(&[0.5, -0.5])),
        ("event_time", timestamps([15, 30])),
    ]
}

fn with(mut columns: Named, name: &'static str, array: ArrayRef) -> Named {
    match columns.iter_mut().find(|(n, _)| *n == name) {
        Some((_, column)) => *column = array,
        None => columns.push((name, array)),
    }
    columns
}

fn without(mut columns: Named, name: &str) -> Named {
    columns.retain(|(n, _)| *n != name);
    columns
}

fn table(columns: Named) -> MemoryTables {
    MemoryTables::one("events", vec![batch(columns)])
}

/// Both engines answer alike; the features of each row.
fn answered(spine: Named, tables: &MemoryTables) -> Vec<Vec<Cell>> {
    let spine = batch(spine);
    let [probe, batch] = engines().map(|engine| {
        ask(engine.as_ref(), "features", &spine, tables, Known::All)
            .unwrap_or_else(|e| panic!("refused: {e}"))
    });
    assert_eq!(probe.schema(), batch.schema());
    let (probe, batch) = (
        cells(&probe, spine.num_columns()),
        cells(&batch, spine.num_columns()),
    );
    assert_eq!(probe, batch);
    probe
}

/// Both engines refuse alike, and the words hold all of `needles`.
fn refused(spine: Named, tables: &MemoryTables, kind: ErrorKind, needles: &[&str]) {
    let spine = batch(spine);
    for engine in engines() {
        let error = ask(engine.as_ref(), "features", &spine, tables, Known::All)
            .expect_err("must be refused");
        assert_eq!(error.kind(), kind, "{error}");
        for needle in needles {
            assert!(
                error.message().contains(needle),
                "`{needle}` is not in: {error}"
            );
        }
    }
}

fn wanted() -> Vec<Vec<Cell>> {
    vec![
        vec![
            Cell::Int(1),
            Cell::Float(1.5),
            Cell::Int(7),
            Cell::Float(0.5),
            Cell::Int(2),
        ],
        vec![
            Cell::Int(1),
            Cell::Float(4.0),
            Cell::Int(9),
            Cell::Float(-0.5),
            Cell::Int(2),
        ],
    ]
}

#[test]
fn a_spine_and_a_table_as_declared() {
    assert_eq!(answered(spine(), &table(events())), wanted());
}

#[test]
fn a_request_column_that_is_a_feature_keeps_its_values_under_another_name() {
    for engine in engines() {
        let spine = batch(spine());
        let answer = ask(
            engine.as_ref(),
            "features",
            &spine,
            &table(events()),
            Known::All,
        )
        .expect("answered");
        let schema = answer.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let expected = [
            "label",
            "k",
            "g",
            "request_extra",
            "event_time",
            "c",
            "total",
            "latest",
            "extra",
            "c_plus_one",
        ];
        assert_eq!(names, expected);
        assert_eq!(answer.column(3), spine.column(3));
    }
}

#[test]
fn an_unknown_service_lists_the_known_ones() {
    for engine in engines() {
        let error = ask(
            engine.as_ref(),
            "feature",
            &batch(spine()),
            &table(events()),
            Known::All,
        )
        .expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error
                .message()
                .starts_with("there is no feature service feature; known"),
            "{error}"
        );
        assert!(error.message().ends_with(": features"), "{error}");
    }
}

#[test]
fn what_a_spine_lacks_or_has_too_much_is_named() {
    let invalid = ErrorKind::InvalidArgument;
    let tables = table(events());
    refused(
        without(spine(), "g"),
        &tables,
        invalid,
        &[
            "service features needs column `g` BIGINT",
            "label, k, extra",
        ],
    );
    refused(
        with(spine(), "g", text(&["1", "2"])),
        &tables,
        invalid,
        &["column `g`", "BIGINT", "Utf8"],
    );
    refused(
        without(spine(), "event_time"),
        &tables,
        invalid,
        &["no time column `event_time`", "label, k, g, extra"],
    );
    refused(
        with(spine(), "event_time", text(&["now", "then"])),
        &tables,
        invalid,
        &["event_time", "VARCHAR", "UTC"],
    );
    let null: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]).with_timezone("UTC"));
    refused(
        with(spine(), "event_time", null),
        &tables,
        invalid,
        &["`event_time` of the spine is NULL in row 1"],
    );
    let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1, i64::MAX]));
    refused(
        with(spine(), "event_time", far),
        &tables,
        invalid,
        &["event_time", "out of range"],
    );
    let big: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    refused(
        with(spine(), "g", big),
        &tables,
        invalid,
        &["column `g`", "18446744073709551615"],
    );
}

#[test]
fn a_spine_column_that_has_the_name_of_a_feature_is_renamed() {
    let (invalid, tables) = (ErrorKind::InvalidArgument, table(events()));
    refused(
        with(spine(), "total", floats(&[0.0, 0.0])),
        &tables,
        invalid,
        &[
            "spine column `total`",
            "feature `total`",
            "rename the spine column",
        ],
    );
    let renamed = with(spine(), "my_total", floats(&[0.0, 0.0]));
    assert_eq!(answered(renamed, &tables), wanted());
    refused(
        with(spine(), "request_extra", floats(&[0.0; 2])),
        &tables,
        invalid,
        &["`request_extra`", "rename one of them"],
    );
    let renamed = with(spine(), "other_extra", floats(&[0.0; 2]));
    assert_eq!(answered(renamed, &tables), wanted());
}

#[test]
fn what_a_table_lacks_is_named() {
    let invalid = ErrorKind::InvalidArgument;
    let other = MemoryTables::one("arrivals", Vec::new());
    refused(
        spine(),
        &other,
        ErrorKind::NotFound,
        &["source events", "tables given: arrivals"],
    );
    refused(
        spine(),
        &MemoryTables::default(),
        ErrorKind::NotFound,
        &["source events", "tables given: none"],
    );
    refused(
        spine(),
        &table(without(events(), "x")),
        invalid,
        &["batch 0 of table events has no column `x` DOUBLE"],
    );
    refused(
        spine(),
        &table(with(events(), "x", text(&["1", "2", "3"]))),
        invalid,
        &["column `x` is Utf8", "DOUBLE"],
    );
    let null: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from(vec![Some(10), None, Some(30)]).with_timezone("UTC"),
    );
    let holes = with(events(), "ts", null);
    refused(
        spine(),
        &table(holes.clone()),
        invalid,
        &["column `ts` holds NULL", "NOT NULL; leave such rows out"],
    );
    let rows = batch(holes);
    let whole = MemoryTables::one("events", vec![rows.slice(0, 1), rows.slice(2, 1)]);
    assert_eq!(answered(spine(), &whole), wanted());
    let partition: ArrayRef = Arc::new(Int32Array::from(vec![0, 0, 0]));
    let placed = with(events(), meta::PARTITION, partition);
    refused(
        spine(),
        &table(placed.clone()),
        invalid,
        &["`_partition`", "lacks `_offset`", "needs both or neither"],
    );
    let both = with(placed, meta::OFFSET, numbers(&[0, 1, 2]));
    assert_eq!(answered(spine(), &table(both)), wanted());
}

#[test]
fn a_column_that_no_view_names_may_be_missing_or_of_any_type() {
    assert_eq!(
        answered(spine(), &table(with(events(), "s", numbers(&[1, 2, 3])))),
        wanted()
    );
    assert_eq!(answered(spine(), &table(without(events(), "s"))), wanted());
}

#[test]
fn batches_are_read_in_their_order_and_a_bad_one_is_named_by_where_it_is_from() {
    let all = batch(events());
    let from = |rows: RecordBatch, file: &str| {
        let mut metadata = rows.schema_ref().metadata().clone();
        metadata.insert(ORIGIN.to_owned(), file.to_owned());
        let schema = rows.schema().as_ref().clone().with_metadata(metadata);
        rows.with_schema(Arc::new(schema))
            .expect("the same columns")
    };
    let mut parts: Vec<RecordBatch> = (0..3).map(|i| all.slice(i, 1)).collect();
    let tables = MemoryTables::one("events", parts.clone());
    assert_eq!(answered(spine(), &tables), wanted());
    parts[1] = from(batch(without(events(), "n")), "/data/events.parquet");
    refused(
        spine(),
        &MemoryTables::one("events", parts),
        ErrorKind::InvalidArgument,
        &["/data/events.parquet", "no column `n` BIGINT"],
    );
}

#[test]
fn columns_of_other_types_are_taken_where_no_value_is_lost() {
    let ms = TimestampMillisecondArray::from(vec![0, 0, 1]);
    let ns = TimestampNanosecondArray::from(vec![10_999, 20_001, 30_000]).with_timezone("+02:00");
    let naive = TimestampMicrosecondArray::from(vec![10, 20, 30]);
    let cases: Vec<(&'static str, ArrayRef)> = vec![
        ("k", Arc::new(StringViewArray::from(vec!["a", "a", "b"]))),
        ("k", Arc::new(LargeStringArray::from(vec!["a", "a", "b"]))),
        (
            "k",
            Arc::new(
                vec!["a", "a", "b"]
                    .into_iter()
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        ("g", Arc::new(Int32Array::from(vec![1, 1, 2]))),
        ("g", Arc::new(Int8Array::from(vec![1, 1, 2]))),
        ("g", Arc::new(UInt64Array::from(vec![1, 1, 2]))),
        (
            "x",
            Arc::new(arrow_array::Float32Array::from(vec![1.5, 2.5, 4.0])),
        ),
        ("n", Arc::new(Int32Array::from(vec![7, 8, 9]))),
        ("ts", Arc::new(ns)),
        ("ts", Arc::new(naive)),
    ];
    for (name, array) in cases {
        let shown = format!("{name} as {}", array.data_type());
        assert_eq!(
            answered(spine(), &table(with(events(), name, array))),
            wanted(),
            "{shown}"
        );
    }
    // Milliseconds 0, 0 and 1: the second event of `a` is a peer now, the event of `b` lies after
    // its probe.
    let rows = answered(spine(), &table(with(events(), "ts", Arc::new(ms))));
    assert_eq!(rows[0][0], Cell::Int(2));
    assert_eq!(rows[1][..3], [Cell::Null, Cell::Null, Cell::Null]);
}

#[test]
fn instants_of_any_timestamp_type_are_utc_and_round_down() {
    let cases: Vec<(ArrayRef, [i64; 2])> = vec![
        (
            Arc::new(TimestampMicrosecondArray::from(vec![10, 9])),
            [1, 0],
        ),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![10, 9]).with_timezone("-05:00")),
            [1, 0],
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![10_000, 9_999])),
            [1, 0],
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![1, -1])),
            [2, 0],
        ),
        (Arc::new(TimestampSecondArray::from(vec![1, 0])), [2, 0]),
    ];
    for (at, counts) in cases {
        let shown = at.data_type().to_string();
        let columns = with(
            with(with(spine(), "k", text(&["a", "a"])), "g", numbers(&[1, 1])),
            "event_time",
            at,
        );
        let rows = answered(columns, &table(events()));
        let counted = counts.map(|count| {
            if count == 0 {
                Cell::Null
            } else {
                Cell::Int(count)
            }
        });
        assert_eq!([rows[0][0].clone(), rows[1][0].clone()], counted, "{shown}");
    }
    // Before 1970 a fraction of a microsecond rounds down too.
    let early = with(events(), "ts", timestamps([-2, -1, 30]));
    let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1_001, -1_000]));
    let columns = with(
        with(with(spine(), "k", text(&["a", "a"])), "g", numbers(&[1, 1])),
        "event_time",
        at,
    );
    let rows = answered(columns, &table(early));
    assert_eq!(
        [rows[0][0].clone(), rows[1][0].clone()],
        [Cell::Int(1), Cell::Int(2)]
    );
}

#[test]
fn rows_keep_their_order_their_repeats_and_their_untouched_columns() {
    let columns = vec![
        ("label", text(&["p", "q", "r", "s", "t"])),
        (
            "k",
            Arc::new(StringArray::from(vec![
                Some("b"),
                Some("a"),
                None,
                Some("a"),
                Some("nobody"),
            ])) as ArrayRef,
        ),
        (
            "g",
            Arc::new(Int64Array::from(vec![
                Some(2),
                Some(1),
                Some(1),
                None,
                Some(1),
            ])) as ArrayRef,
        ),
        ("extra", floats(&[1.0, 2.0, 3.0, 4.0, 5.0])),
        ("event_time", timestamps([40, 5, 40, 40, 40])),
    ];
    let rows = answered(columns.clone(), &table(events()));
    assert_eq!(rows[0][0], Cell::Int(1));
    for (row, cells) in rows.iter().enumerate().skip(1) {
        assert_eq!(
            cells[..3],
            [Cell::Null, Cell::Null, Cell::Null],
            "row {row}"
        );
        assert_eq!(cells[4], Cell::Int(1), "on-demand expressions run on NULLs");
    }
    for engine in engines() {
        let spine = batch(columns.clone());
        let answer = ask(
            engine.as_ref(),
            "features",
            &spine,
            &table(events()),
            Known::All,
        )
        .expect("answered");
        for (index, (name, column)) in columns.iter().enumerate() {
            assert_eq!(answer.column(index), column, "{name}");
        }
    }
    assert_eq!(
        answered(
            columns.iter().map(|(n, c)| (*n, c.slice(0, 0))).collect(),
            &table(events())
        )
        .len(),
        0
    );
}

#[test]
fn keys_of_several_parts_are_not_joined_into_one() {
    let events = vec![
        ("k", text(&["1", "12", "1\0"])),
        ("g", numbers(&[23, 3, 2])),
        ("x", floats(&[1.0, 2.0, 3.0])),
        ("n", numbers(&[1, 2, 3])),
        ("ts", timestamps([1, 1, 1])),
    ];
    let columns = vec![
        ("k", text(&["12", "1", "1\0", "1"])),
        ("g", numbers(&[3, 23, 2, 2])),
        ("extra", floats(&[0.0; 4])),
        ("event_time", timestamps([1, 1, 1, 1])),
    ];
    let rows = answered(columns, &table(events));
    let latest: Vec<Cell> = rows.iter().map(|row| row[2].clone()).collect();
    assert_eq!(
        latest,
        [Cell::Int(2), Cell::Int(1), Cell::Int(3), Cell::Null]
    );
}

#[test]
fn a_spine_has_so_many_rows() {
    let of_rows = |rows: usize| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
            .expect("no column")
    };
    for engine in engines() {
        let words = |rows: usize| {
            let (spine, tables) = (of_rows(rows), table(events()));
            let refused = ask(engine.as_ref(), "features", &spine, &tables, Known::All);
            refused.expect_err("it has no column").to_string()
        };
        let at_limit = words(SPINE_MAX_ROWS);
        assert!(at_limit.contains("event_time"), "{at_limit}");
        let above = words(SPINE_MAX_ROWS + 1);
        let split = "split it, one call takes at most";
        assert!(
            above.contains(split) && above.contains("SPINE_MAX_ROWS"),
            "{above}"
        );
    }
    let part = |from: usize| {
        let rows = spine()
            .into_iter()
            .map(|(name, column)| (name, column.slice(from, 1)));
        answered(rows.collect(), &table(events()))
    };
    assert_eq!([part(0), part(1)].concat(), wanted(), "split");
}
