//! Messages in and out: what is encoded decodes to the same rows; and no bytes that anybody sends
//! make the decoders panic or answer with rows that do not fit the schema.

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow_schema::Field;
use forebay_core::limits::SOURCE_MAX_COLUMNS;
use proptest::prelude::*;

use super::*;

fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "text",
            Arc::new(StringArray::from(vec![Some("JFK"), None, Some("")])),
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("a text of more than twelve bytes"),
                Some("short"),
                None,
            ])),
        ),
        (
            "count",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MIN)])),
        ),
        (
            "mean",
            Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.0), None])),
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(7), None, Some(-7)]).with_timezone("UTC"),
            ),
        ),
        ("nothing", Arc::new(NullArray::new(3))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("one length")
}

fn encoded(batch: &RecordBatch) -> FlightData {
    Encoder::new()
        .expect("valid options")
        .batch(batch)
        .expect("encodes")
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    let batch = batch();
    let schema = schema_message(batch.schema_ref()).expect("encodes");
    assert_eq!(kind_of(&schema).expect("a schema"), MessageKind::Schema);
    assert_eq!(
        decode_schema(&schema, 16, is_flat).expect("flat"),
        batch.schema()
    );
    let mut encoder = Encoder::new().expect("valid options");
    for rows in [
        batch.clone(),
        batch.slice(1, 2),
        batch.slice(0, 0),
        batch.clone(),
    ] {
        let message = encoder.batch(&rows).expect("encodes");
        assert_eq!(
            kind_of(&message).expect("a batch"),
            MessageKind::Batch {
                rows: rows.num_rows()
            }
        );
        let decoded = decode_batch(&message, &batch.schema()).expect("decodes");
        assert_eq!(decoded.num_rows(), rows.num_rows());
        for (ours, theirs) in decoded.columns().iter().zip(rows.columns()) {
            assert_eq!(ours.to_data(), theirs.to_data());
        }
    }
    assert_eq!(
        kind_of(&FlightData::new()).expect("nothing"),
        MessageKind::Empty
    );
    let bytes = schema_bytes(batch.schema_ref()).expect("encodes");
    assert_eq!(
        &bytes[..4],
        [0xFF; 4],
        "an encapsulated message begins with its continuation mark"
    );
}

#[test]
fn one_row_of_fifty_doubles_is_small() {
    let columns = (0..50).map(|i| {
        (
            format!("c{i}"),
            Arc::new(Float64Array::from(vec![1.0])) as ArrayRef,
        )
    });
    let message = encoded(&RecordBatch::try_from_iter(columns).expect("one length"));
    assert!(
        message.data_body.len() <= 50 * 16,
        "{} bytes",
        message.data_body.len()
    );
}

#[test]
fn more_columns_than_the_caller_admits_and_nested_ones_are_refused() {
    let wide = Schema::new(
        (0..9)
            .map(|i| Field::new(format!("c{i}"), DataType::Int64, true))
            .collect::<Vec<_>>(),
    );
    let message = schema_message(&wide).expect("encodes");
    decode_schema(&message, 9, is_flat).expect("at the limit");
    let error = decode_schema(&message, 8, is_flat).expect_err("above it");
    assert!(
        matches!(
            error,
            ServeError::Limit {
                limit: "SOURCE_MAX_COLUMNS",
                ..
            }
        ),
        "{error}"
    );
    let mut nested = DataType::Int64;
    for _ in 0..100 {
        nested = DataType::List(Arc::new(Field::new("item", nested, true)));
    }
    let deep = Schema::new(vec![Field::new("deep", nested, true)]);
    decode_schema(
        &schema_message(&deep).expect("encodes"),
        9,
        is_flat_or_array,
    )
    .expect_err("too deep for the verifier");
}

/// Pushed rows and answers have arrays, requests do not; arrays of views could name one text again
/// and again.
#[test]
fn arrays_are_taken_where_columns_have_some() {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    for (data_type, flat, arrays) in [
        (DataType::Utf8View, true, true),
        (list(DataType::Utf8), false, true),
        (list(DataType::Utf8View), false, false),
        (list(list(DataType::Utf8)), false, false),
    ] {
        let schema = Schema::new(vec![Field::new("a", data_type, true)]);
        let message = schema_message(&schema).expect("encodes");
        assert_eq!(
            decode_schema(&message, 1, is_flat).is_ok(),
            flat,
            "{schema}"
        );
        let taken = decode_schema(&message, 1, is_flat_or_array);
        assert_eq!(taken.is_ok(), arrays, "{schema}");
    }
}

#[test]
fn buffers_over_one_another_are_refused() {
    let batch = batch();
    let mut message = encoded(&batch);
    message.data_body = message.data_body.slice(..message.data_body.len() / 2);
    let error = decode_batch(&message, &batch.schema()).expect_err("half the body");
    assert!(error.to_string().contains("buffers do not fit"), "{error}");
}

#[test]
fn a_request_above_the_cap_names_the_limit() {
    let mut message = encoded(&batch());
    check_request_size(&message).expect("small");
    message.data_body = vec![0; REQUEST_MAX_BYTES].into();
    let error = check_request_size(&message).expect_err("header and body together are above it");
    assert!(
        matches!(
            error,
            ServeError::Limit {
                limit: "REQUEST_MAX_BYTES",
                ..
            }
        ),
        "{error}"
    );
}

fn changed(
    bytes: &[u8],
    changes: &[(prop::sample::Index, u8)],
    cut: Option<prop::sample::Index>,
) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Some(end) = cut {
            bytes.truncate(end.index(bytes.len()));
        }
    }
    bytes.into()
}

type Changes = Vec<(prop::sample::Index, u8)>;

fn changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_batch_makes_the_decoder_panic(header in changes(), body in changes(), cut in any::<Option<prop::sample::Index>>()) {
        let batch = batch();
        let good = encoded(&batch);
        let message = FlightData {
            data_header: changed(&good.data_header, &header, None),
            data_body: changed(&good.data_body, &body, cut),
            ..FlightData::new()
        };
        if let Ok(MessageKind::Batch { rows }) = kind_of(&message) {
            prop_assert!(rows <= REQUEST_MAX_ROWS);
            if let Ok(decoded) = decode_batch(&message, &batch.schema()) {
                prop_assert_eq!(decoded.num_rows(), rows);
                prop_assert_eq!(decoded.schema(), batch.schema());
                for column in decoded.columns() {
                    column.to_data().validate_full().expect("what was decoded is sound");
                }
            }
        }
    }

    #[test]
    fn no_schema_makes_the_decoder_panic(header in changes(), cut in any::<Option<prop::sample::Index>>()) {
        let good = schema_message(batch().schema_ref()).expect("encodes");
        let message = FlightData { data_header: changed(&good.data_header, &header, cut), ..FlightData::new() };
        drop(kind_of(&message));
        if let Ok(schema) = decode_schema(&message, SOURCE_MAX_COLUMNS, is_flat_or_array) {
            prop_assert!(schema.fields().iter().all(|field| is_flat_or_array(field.data_type())));
        }
    }
}
