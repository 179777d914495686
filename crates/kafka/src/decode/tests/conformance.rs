//! What every format of records must do, as one suite that runs over each of `core`'s table: the
//! same row is the same columns in all of them, NULL, extremes and what is not finite among it, and
//! bytes that are no row are refused, whatever they are, without a trace in the rows around them.

use forebay_core::format::{FORMATS, SourceFormat};

use super::*;
use crate::decode::encode_events;

/// Columns of [`all_types`] that every format can fill.
const FLAT: [usize; 6] = [0, 1, 2, 3, 4, 5];

fn source_of(format: &str) -> SourceDef {
    let columns = all_types().columns;
    SourceDef {
        format: SourceFormat::new(format, []).expect("a format with its defaults"),
        columns: FLAT.map(|index| columns[index].clone()).to_vec(),
        ..all_types()
    }
}

pub(super) fn decoder_of(format: &str) -> RecordDecoder {
    RecordDecoder::new(&source_of(format), 600_000_000).expect("supported types")
}

fn flat_batch(rows: &[Row]) -> RecordBatch {
    batch_of(rows)
        .project(&FLAT)
        .expect("columns that there are")
}

/// What `rows` are when they have gone through the records of `format`, each as JSON.
fn through(format: &str, batch: &RecordBatch) -> Vec<String> {
    let mut decoder = decoder_of(format);
    for payload in encode_events(&source_of(format), batch).expect("supported types") {
        let pushed = decoder.push(&record(&payload));
        assert_eq!(
            pushed,
            Ok(()),
            "{format}: {}",
            String::from_utf8_lossy(&payload)
        );
    }
    let back = decoder.finish().expect("small");
    assert_eq!(back.num_rows(), batch.num_rows(), "{format}");
    as_json(&back)
}

fn as_json(batch: &RecordBatch) -> Vec<String> {
    let rows = encode_rows(batch).expect("supported types").into_iter();
    rows.map(|json| String::from_utf8(json).expect("UTF-8"))
        .collect()
}

fn row(text: Option<&str>, double: Option<f64>, big: Option<i64>, at: Micros) -> Row {
    let small = big.map(|big| if big < 0 { i32::MIN } else { i32::MAX });
    let flag = big.map(|big| big < 0);
    (text.map(str::to_owned), double, big, small, flag, at, None)
}

fn extremes() -> Vec<Row> {
    vec![
        row(None, None, None, 0),
        row(Some(""), Some(-0.0), Some(0), -1),
        row(Some("NULL"), Some(f64::NAN), Some(i64::MIN), EARLIEST_US),
        row(
            Some("a,\"b\"\r\n'c';\t"),
            Some(f64::INFINITY),
            Some(i64::MAX),
            LATEST_US,
        ),
        row(Some("\u{0}é😀"), Some(f64::NEG_INFINITY), Some(1), 1),
        row(
            Some(" \\ "),
            Some(f64::MAX),
            Some(-1),
            1_357_017_300_123_456,
        ),
        row(
            Some("true"),
            Some(5e-324),
            Some(1 << 53),
            1_357_017_300_000_000,
        ),
    ]
}

fn extremes_are_what_they_were(format: &str) {
    let batch = flat_batch(&extremes());
    assert_eq!(through(format, &batch), as_json(&batch), "{format}");
}

fn what_is_missing_is_null_or_refused(format: &str) {
    let batch = flat_batch(&extremes());
    let only_time = batch.project(&[5]).expect("the time");
    let payloads = encode_events(&source_of(format), &only_time).expect("supported types");
    let mut decoder = decoder_of(format);
    decoder
        .push(&record(&payloads[0]))
        .expect("the others are nullable");
    let back = decoder.finish().expect("small");
    assert!(
        (0..5).all(|column| back.column(column).is_null(0)),
        "{format}"
    );
    let without_time = batch.project(&[0, 1, 2, 3, 4]).expect("all but the time");
    let payloads = encode_events(&source_of(format), &without_time).expect("supported types");
    let reject = decoder.push(&record(&payloads[0])).expect_err(format);
    assert_eq!(reject.reason, Reason::MissingColumn, "{format}: {reject}");
    assert_eq!(reject.column().as_deref(), Some("at"), "{format}");
}

fn a_text_fits_no_other_column(format: &str) {
    for name in ["double", "big", "small", "flag", "at"] {
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![(name, Arc::new(StringArray::from(vec!["x"])))];
        if name != "at" {
            columns.push(("at", Arc::clone(flat_batch(&extremes()[..1]).column(5))));
        }
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one row");
        let payloads = encode_events(&source_of(format), &batch).expect("supported types");
        let reject = decoder_of(format)
            .push(&record(&payloads[0]))
            .expect_err(name);
        assert_eq!(reject.reason, Reason::WrongType, "{format}: {reject}");
        assert_eq!(reject.column().as_deref(), Some(name), "{format}");
    }
}

fn what_is_no_value_or_too_large_is_refused(format: &str) {
    let reason = |payload: &[u8]| {
        let pushed = decoder_of(format).push(&record(payload));
        pushed.expect_err(format).reason
    };
    assert_eq!(reason(b""), Reason::NoValue, "{format}");
    assert_eq!(
        reason(&vec![b'1'; EVENT_MAX_BYTES + 1]),
        Reason::TooLarge,
        "{format}"
    );
    let noise = vec![b'1'; EVENT_MAX_BYTES];
    decoder_of(format).push(&record(&noise)).expect_err(format);
}

/// Push `payload` between two good rows: neither panics nor changes them, whether it is taken or
/// not.
fn undisturbed(format: &str, payload: &[u8]) {
    let good = flat_batch(&extremes()[3..4]);
    let good_payload = encode_events(&source_of(format), &good)
        .expect("supported types")
        .remove(0);
    let mut decoder = decoder_of(format);
    decoder.push(&record(&good_payload)).expect("good");
    let taken = usize::from(decoder.push(&record(payload)).is_ok());
    decoder.push(&record(&good_payload)).expect("good");
    let rows = as_json(&decoder.finish().expect("small"));
    let expected = as_json(&good).remove(0);
    assert_eq!(rows.len(), 2 + taken, "{format}");
    assert_eq!(
        (&rows[0], &rows[1 + taken]),
        (&expected, &expected),
        "{format}"
    );
    // The survey reads the same bytes.
    drop(decoder.fields_of(&record(payload)));
}

fn cut_anywhere_a_record_disturbs_nothing(format: &str) {
    let batch = flat_batch(&extremes()[3..4]);
    let payload = encode_events(&source_of(format), &batch)
        .expect("supported types")
        .remove(0);
    for cut in 0..payload.len() {
        undisturbed(format, &payload[..cut]);
    }
}

#[test]
fn every_format_conforms() {
    for format in FORMATS.iter().map(|format| format.name) {
        extremes_are_what_they_were(format);
        what_is_missing_is_null_or_refused(format);
        a_text_fits_no_other_column(format);
        what_is_no_value_or_too_large_is_refused(format);
        cut_anywhere_a_record_disturbs_nothing(format);
    }
}

#[test]
fn a_format_without_objects_refuses_a_column_that_is_one() {
    for format in ["csv", "arrow"] {
        let source = SourceDef {
            columns: all_types().columns,
            ..source_of(format)
        };
        let error = RecordDecoder::new(&source, 0)
            .expect_err(format)
            .to_string();
        assert!(error.contains("`features`"), "{error}");
        let error = encode_events(&source, &batch_of(&extremes())).expect_err(format);
        assert!(error.to_string().contains("`features`"), "{error}");
    }
}

proptest! {
    #[test]
    fn a_row_is_the_same_columns_in_every_format(rows in proptest::collection::vec(any_row(), 1..4)) {
        let batch = flat_batch(&rows);
        for format in FORMATS.iter().map(|format| format.name) {
            prop_assert_eq!(through(format, &batch), as_json(&batch));
        }
    }

    #[test]
    fn noise_disturbs_nothing_in_any_format(noise in proptest::collection::vec(any::<u8>(), 1..200)) {
        for format in FORMATS.iter().map(|format| format.name) {
            undisturbed(format, &noise);
        }
    }

    #[test]
    fn a_damaged_record_disturbs_nothing_in_any_format(
        row in any_row(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let batch = flat_batch(&[row]);
        for format in FORMATS.iter().map(|format| format.name) {
            let mut payload = encode_events(&source_of(format), &batch).expect("supported types").remove(0);
            for (index, byte) in &damage {
                let index = index.index(payload.len());
                payload[index] = *byte;
            }
            undisturbed(format, &payload);
        }
    }
}
