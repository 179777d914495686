//! How a thread that fails is reported, and rows of a user's file by a source's narrow types. Whole
//! spines and tables are tested in `tests/it/inputs.rs`, casts in core.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int16Array, Int32Array, RecordBatch};
use arrow_schema::DataType;
use forebay_core::domain::Domain;
use forebay_core::ports::ORIGIN;
use forebay_core::source::{Column, SourceDef};

use super::{TableReader, in_background};
use crate::error::EngineError;

#[test]
fn the_rows_of_a_file_are_judged_by_the_declared_type_and_the_archives_are_not() {
    let column = Column {
        name: "n".to_owned(),
        data_type: DataType::Int32,
        nullable: true,
    };
    let source = SourceDef {
        domains: BTreeMap::from([("n".to_owned(), Domain::SmallInt)]),
        ..SourceDef::json("s", "s", vec![column], 0)
    };
    let read = |numbers: ArrayRef, file: bool| {
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
        let mut schema = rows.schema().as_ref().clone();
        if file {
            schema.metadata = HashMap::from([(ORIGIN.to_owned(), "s.parquet".to_owned())]);
        }
        let rows = rows
            .with_schema(Arc::new(schema))
            .expect("the same columns");
        let stream = Box::pin(futures::stream::iter([Ok(rows)]));
        let mut found = Vec::new();
        TableReader::new(&source, &[true])
            .read(stream, &mut |batch| {
                found.extend(
                    batch
                        .rows
                        .column(0)
                        .as_primitive::<Int32Type>()
                        .iter()
                        .flatten(),
                );
                Ok(())
            })
            .map_err(|e| e.to_string())?;
        Ok::<_, String>(found)
    };
    let large = || -> ArrayRef { Arc::new(Int32Array::from(vec![1, 40_000])) };
    assert_eq!(
        read(large(), false),
        Ok(vec![1, 40_000]),
        "admitted when it came"
    );
    let error = read(large(), true).expect_err("out of range");
    let words = "s.parquet: column `n` is SMALLINT in source s, the file has a number out of its range in row 1";
    assert!(error.contains(words), "{error}");
    assert_eq!(read(Arc::new(Int16Array::from(vec![7])), true), Ok(vec![7]));
}

#[test]
fn a_panic_on_the_thread_is_an_error_here() {
    let answer = futures::executor::block_on(in_background("forebay-test", || Ok(7)));
    assert_eq!(answer.expect("done"), 7);
    let failed = futures::executor::block_on(in_background(
        "forebay-test",
        || -> crate::error::Result<u8> { panic!("on purpose") },
    ));
    assert!(
        matches!(failed, Err(EngineError::Internal(message)) if message.contains("forebay-test"))
    );
}
