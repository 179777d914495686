//! What the pipeline, serving and monitors rely on when they evaluate a definition: a view reads
//! only the columns that it names, its rows keep their order, and a service answers row by row.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow_schema::{Field, Schema};
use forebay_core::cells::{CellFault, Cells};
use forebay_core::fault::RowFault;
use forebay_core::index::RowIndex;
use forebay_core::ports::{CompiledLabel, CompiledService, CompiledView};
use forebay_core::source::SourceDef;
use forebay_core::view::FoldBatch;

/// Everything that a [`CompiledView`] promises, over `rows` of its source.
///
/// # Panics
/// A promise is not kept.
pub fn compiled_view(view: &dyn CompiledView, source: &SourceDef, rows: &RecordBatch) {
    let reads = view.reads();
    assert!(reads.is_sorted_by(|a, b| a < b), "{reads:?} ascend");
    assert!(reads.contains(&source.time_column), "the event time");
    let folded = view.fold(rows).expect("folded");
    let spec = view.spec();
    let types = |arrays: &[ArrayRef]| -> Vec<_> {
        arrays
            .iter()
            .map(|array| array.data_type().clone())
            .collect()
    };
    let keys: Vec<_> = spec.key.iter().map(|key| key.data_type.clone()).collect();
    assert_eq!(types(&folded.keys), keys);
    assert_eq!(types(&folded.arguments), spec.arguments);
    let kept = folded.source_rows.len();
    let lengths = folded.keys.iter().chain(&folded.arguments).map(|a| a.len());
    assert!(lengths.chain([folded.times.len()]).all(|rows| rows == kept));
    assert!(folded.source_rows.is_sorted_by(|a, b| a < b), "in order");
    assert!(kept > 0, "the rows are to have some that the view takes");
    let left_out: Vec<u32> = folded.left_out.iter().map(|fault| fault.row).collect();
    assert!(left_out.is_sorted_by(|a, b| a < b), "in order, each once");
    let is_kept = |row: &u32| folded.source_rows.contains(row);
    assert!(!left_out.iter().any(is_kept), "a row is kept or left out");
    one_by_one(view, rows, &folded);
    same(
        &view.fold(&unread_as_null(rows, reads)).expect("folded"),
        &folded,
    );
    let none = view.fold(&rows.slice(0, 0)).expect("folded");
    assert!(none.source_rows.is_empty(), "no row gives none");
    finishes(view, &folded);
}

/// Everything that a [`CompiledService`] promises.
///
/// # Panics
/// A promise is not kept.
pub fn compiled_service(service: &dyn CompiledService, request: &RecordBatch) {
    let (spec, views) = (service.spec(), service.views());
    assert_eq!(views.len(), spec.views.len());
    for (compiled, of) in views.iter().zip(&spec.views) {
        assert_eq!(compiled.spec().id, of.view.id, "in the order of the spec");
    }
    for rows in [request.num_rows(), 0] {
        let absent = |view: &Arc<dyn CompiledView>| {
            let schema = view.features();
            let fields = schema.fields().iter();
            let columns = fields.map(|f| new_null_array(f.data_type(), rows));
            Cells::from(columns.collect::<Vec<_>>())
        };
        let features: Vec<Cells> = views.iter().map(absent).collect();
        let at = TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC");
        let answer = service.finish(&request.slice(0, rows), &at, &features);
        let answer = answer.expect("finished");
        well_formed(&answer, rows);
        let types = answer.columns.iter().map(|column| column.data_type());
        let declared = spec.features.iter().map(|f| &f.data_type);
        assert!(types.eq(declared), "as its features are declared");
    }
}

/// Everything that a [`CompiledLabel`] promises, over `rows` of its source.
///
/// # Panics
/// A promise is not kept.
pub fn compiled_label(label: &dyn CompiledLabel, rows: &RecordBatch) {
    let whole = label.evaluate(rows).expect("evaluated");
    assert_eq!(whole.len(), rows.num_rows(), "one value for each row");
    for row in 0..rows.num_rows() {
        let alone = label.evaluate(&rows.slice(row, 1)).expect("evaluated");
        assert_eq!(alone, whole.slice(row, 1), "row {row} alone");
    }
    assert!(
        label
            .evaluate(&rows.slice(0, 0))
            .expect("evaluated")
            .is_empty()
    );
}

/// `rows` with NULL in all columns but those that are read.
fn unread_as_null(rows: &RecordBatch, reads: &[usize]) -> RecordBatch {
    let schema = rows.schema();
    let fields = schema.fields().iter().map(|f| f.as_ref().clone());
    let fields: Vec<Field> = fields.map(|field| field.with_nullable(true)).collect();
    let columns = rows.columns().iter().enumerate().map(|(number, column)| {
        if reads.contains(&number) {
            Arc::clone(column)
        } else {
            new_null_array(column.data_type(), column.len())
        }
    });
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).expect("as long")
}

fn same(one: &FoldBatch, other: &FoldBatch) {
    assert_eq!(one.keys, other.keys);
    assert_eq!(one.times, other.times);
    assert_eq!(one.arguments, other.arguments);
    assert_eq!(one.filters, other.filters);
    assert_eq!(one.source_rows, other.source_rows);
    assert_eq!(one.left_out, other.left_out);
}

/// What is kept and left out of a row follows from the row alone.
fn one_by_one(view: &dyn CompiledView, rows: &RecordBatch, whole: &FoldBatch) {
    for row in RowIndex::all(rows.num_rows()) {
        let alone = view.fold(&rows.slice(row.index(), 1)).expect("folded");
        let kept = whole.source_rows.contains(&row.number());
        assert_eq!(alone.source_rows.len(), usize::from(kept), "row {row:?}");
        let of_row = |fault: &&RowFault| fault.row == row.number();
        let fault = whole.left_out.iter().find(of_row);
        let alone = alone.left_out.first();
        let why = |fault: &RowFault| (fault.kind, Arc::clone(&fault.what));
        assert_eq!(alone.map(why), fault.map(why), "row {row:?}");
    }
}

fn finishes(view: &dyn CompiledView, folded: &FoldBatch) {
    let rows = folded.source_rows.len();
    for rows in [rows, 0] {
        let keys: Vec<ArrayRef> = folded.keys.iter().map(|key| key.slice(0, rows)).collect();
        let at: TimestampMicrosecondArray = folded.times.slice(0, rows);
        let aggregates = view.spec().aggregates.iter();
        let aggregates = aggregates.map(|a| new_null_array(&a.data_type, rows));
        let aggregates = Cells::from(aggregates.collect::<Vec<_>>());
        let features = view.finish(&keys, &at, &aggregates).expect("finished");
        well_formed(&features, rows);
        let types = features.columns.iter().map(|f| f.data_type().clone());
        let types: Vec<_> = types.collect();
        let schema = view.features();
        let declared: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        assert_eq!(types, declared, "as its features are declared");
    }
}

/// One value for each row; a cell without one is NULL, and they are in order, each once.
fn well_formed(cells: &Cells, rows: usize) {
    assert!(cells.columns.iter().all(|column| column.len() == rows));
    let place = |fault: &CellFault| (fault.column, fault.row);
    let ascend = |a: &CellFault, b: &CellFault| place(a) < place(b);
    assert!(cells.faults.is_sorted_by(ascend), "{:?}", cells.faults);
    for fault in &cells.faults {
        let column = &cells.columns[fault.column];
        assert!(column.is_null(fault.row as usize), "{fault}");
    }
}
