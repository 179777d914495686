//! The reader itself, as scoring and verification use it, without a listener: an instant for each
//! row, NULL keys, versions that replace one another, names that do not exist.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use forebay_core::ErrorKind;
use forebay_core::ports::{At, FeatureReader};
use forebay_core::view::FeatureStatus;

use crate::world::{MINUTE, NOON, integers, reader, rows, service};

#[test]
fn each_row_is_read_as_of_its_own_instant() {
    let (reader, _, _) = reader();
    let service = reader.service("delay").expect("known");
    let instants = [
        NOON - 20 * MINUTE,
        NOON - 5 * MINUTE,
        NOON,
        NOON + 5 * MINUTE,
    ];
    let answer = reader
        .read(service.as_ref(), &rows(&["JFK"; 4]), At::PerRow(&instants))
        .expect("an answer");
    assert_eq!(
        integers(&answer.features, "t_count"),
        [None, Some(1), Some(2), Some(3)]
    );
    assert_eq!(
        answer.status[0][..2],
        [FeatureStatus::NotFound, FeatureStatus::Present]
    );
    assert_eq!(
        answer.newest_us[0],
        [
            None,
            Some(NOON - 10 * MINUTE),
            Some(NOON - MINUTE),
            Some(NOON + MINUTE)
        ]
    );
    assert_eq!(answer.as_of_us, NOON + 5 * MINUTE);
    let error = reader
        .read(
            service.as_ref(),
            &rows(&["JFK"; 4]),
            At::PerRow(&instants[..3]),
        )
        .expect_err("one short");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn a_null_key_matches_nothing_and_a_forbidden_null_is_named() {
    let (reader, _, _) = reader();
    let service = reader.service("delay").expect("known");
    let with = |index: usize, texts: Vec<Option<&str>>| {
        let request = rows(&["JFK", "JFK"]);
        let mut columns = request.columns().to_vec();
        columns[index] = Arc::new(StringArray::from(texts)) as ArrayRef;
        RecordBatch::try_new(request.schema(), columns).expect("two rows")
    };
    let request = with(1, vec![Some("AA"), None]);
    let answer = reader
        .read(service.as_ref(), &request, At::Instant(NOON))
        .expect("an answer");
    assert_eq!(integers(&answer.features, "c_count"), [Some(1), None]);
    assert_eq!(
        answer.status[1],
        [FeatureStatus::Present, FeatureStatus::NotFound]
    );
    assert!(answer.applied[1][0].is_some() && answer.applied[1][1].is_none());
    let request = with(0, vec![Some("JFK"), None]);
    let error = reader
        .read(service.as_ref(), &request, At::Instant(NOON))
        .expect_err("NOT NULL");
    assert!(
        error
            .message()
            .contains("request column origin of service delay is NULL in row 1"),
        "{error}"
    );
}

#[test]
fn the_newest_version_is_served_and_an_older_one_can_be_read_on() {
    let (reader, _, _) = reader();
    let old = reader.service("delay").expect("known");
    reader.replace_services(vec![service(3, 1), service(2, 0)]);
    assert_eq!(reader.service("delay").expect("known").spec().version, 3);
    let answer = reader
        .read(old.as_ref(), &rows(&["JFK"]), At::Instant(NOON))
        .expect("by its own shape");
    assert_eq!(answer.features.num_columns(), 5);
    reader.replace_services(Vec::new());
    let error = reader.service("delay").expect_err("gone");
    assert_eq!(
        error.message(),
        "there is no feature service delay; known services: none yet"
    );
    assert!(reader.services().is_empty());
}
