//! What serving, scoring and verification rely on when they read features: one row for each row of
//! the request, columns found by their names, and an error that says what is wrong with a request.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{Field, Schema};
use forebay_core::ErrorKind;
use forebay_core::ports::{At, FeatureReader};
use forebay_core::time::Micros;

/// A service that is there, and what to ask of it.
#[derive(Debug)]
pub struct AskedService<'a> {
    /// Its name.
    pub name: &'a str,
    /// Rows of its request columns, at least two.
    pub request: RecordBatch,
    /// As of when they can be read.
    pub at_us: Micros,
}

/// Everything that a [`FeatureReader`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn feature_reader(reader: &dyn FeatureReader, asked: &AskedService<'_>) {
    services_are_known_by_their_names(reader, asked);
    a_read_answers_each_row(reader, asked);
    columns_are_found_by_name(reader, asked);
    a_request_that_does_not_fit_is_refused(reader, asked);
}

fn services_are_known_by_their_names(reader: &dyn FeatureReader, asked: &AskedService<'_>) {
    assert!(reader.services().iter().any(|name| name == asked.name));
    for name in reader.services() {
        let service = reader.service(&name).expect("it is listed");
        assert_eq!(service.spec().name, name);
    }
    let error = reader.service("no_such_service").expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains(asked.name), "{error}");
}

fn a_read_answers_each_row(reader: &dyn FeatureReader, asked: &AskedService<'_>) {
    let service = reader.service(asked.name).expect("it is there");
    let (views, rows) = (service.views().len(), asked.request.num_rows());
    let instants: Vec<Micros> = (0_i64..).map(|row| asked.at_us - row).take(rows).collect();
    let ats = [At::Instant(asked.at_us), At::PerRow(&instants)];
    for at in ats {
        let answer = reader.read(service.as_ref(), &asked.request, at);
        let answer = answer.expect("answered");
        let schema = answer.features.schema();
        let names = schema.fields().iter().map(|field| field.name());
        assert!(names.eq(service.spec().features.iter().map(|f| &f.name)));
        assert_eq!(answer.features.num_rows(), rows);
        let lengths = |of: Vec<usize>| assert_eq!(of, vec![rows; views]);
        lengths(answer.status.iter().map(Vec::len).collect());
        lengths(answer.newest_us.iter().map(Vec::len).collect());
        lengths(answer.applied.iter().map(Vec::len).collect());
        assert_eq!(answer.as_of_us, asked.at_us, "the greatest instant");
    }
}

fn columns_are_found_by_name(reader: &dyn FeatureReader, asked: &AskedService<'_>) {
    let service = reader.service(asked.name).expect("it is there");
    let read = |request: &RecordBatch| {
        let at = At::Instant(asked.at_us);
        let answer = reader.read(service.as_ref(), request, at);
        answer.expect("answered").features
    };
    let schema = asked.request.schema();
    let extra: ArrayRef = Arc::new(BooleanArray::from(vec![true; asked.request.num_rows()]));
    let mut columns = vec![(
        Arc::new(Field::new("extra", extra.data_type().clone(), true)),
        extra,
    )];
    let own = schema.fields().iter().cloned();
    columns.extend(own.zip(asked.request.columns().iter().cloned()).rev());
    assert_eq!(read(&batch(columns)), read(&asked.request));
}

fn a_request_that_does_not_fit_is_refused(reader: &dyn FeatureReader, asked: &AskedService<'_>) {
    let service = reader.service(asked.name).expect("it is there");
    let schema = asked.request.schema();
    let name = schema.field(0).name();
    let mistyped: ArrayRef = Arc::new(BooleanArray::from(vec![true; asked.request.num_rows()]));
    for called in [name.as_str(), "another"] {
        let field = Arc::new(Field::new(called, mistyped.data_type().clone(), true));
        let mut columns = vec![(field, Arc::clone(&mistyped))];
        let own = schema.fields().iter().cloned();
        columns.extend(own.zip(asked.request.columns().iter().cloned()).skip(1));
        let answer = reader.read(service.as_ref(), &batch(columns), At::Instant(asked.at_us));
        let error = answer.expect_err("mistyped, or missing");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(name), "{error}");
    }
}

fn batch(columns: Vec<(Arc<Field>, ArrayRef)>) -> RecordBatch {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}
