//! What views refuse of rows, and which of them have failed, wherever the rows are cut.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{
    ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow_schema::{Field, SchemaRef};
use arrow_select::take::take as take_rows;
use forebay_core::fault::{FaultKind, RowFault};
use forebay_core::source::SourceDef;
use forebay_core::time::SECOND_US;
use forebay_core::view::Window;
use forebay_sim::world::event_source;
use forebay_testkit::PlainView;

use super::*;

/// A row's own fault, a view's fault, and none.
const REFUSED: f64 = 13.0;
const BREAKS: f64 = 17.0;
const FINE: f64 = 0.5;

fn rows(source: &SourceDef, values: &[f64]) -> RecordBatch {
    let count = i64::try_from(values.len()).expect("few");
    let times = TimestampMicrosecondArray::from_iter_values((0..count).map(|n| n * SECOND_US));
    let columns = source.columns.iter().map(|column| -> ArrayRef {
        match column.name.as_str() {
            "k" => Arc::new(StringArray::from(vec!["a"; values.len()])),
            "x" => Arc::new(Float64Array::from(values.to_vec())),
            "n" => Arc::new(Int64Array::from_iter_values(0..count)),
            _ => Arc::new(times.clone().with_timezone("UTC")),
        }
    });
    let fields = source
        .columns
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.collect()).expect("as declared")
}

/// Rows that are refused and folded of `values`, where they come in pieces of `lengths`, and
/// whether the view has failed by then.
fn taken(
    view: &PlainView,
    source: &SourceDef,
    values: &[f64],
    cuts: u32,
) -> (Vec<usize>, usize, bool) {
    let view: Arc<dyn CompiledView> = Arc::new(view.clone());
    let (mut failed, mut refused, mut folded, mut first) = (BTreeSet::new(), vec![], 0, 0);
    for at in 1..=values.len() {
        if at < values.len() && cuts & (1 << (at - 1)) == 0 {
            continue;
        }
        let part = rows(source, &values[first..at]);
        let taken = take((&[&view], &failed), &[], &part).expect("no deployment");
        refused.extend(taken.refused.keys().map(|row| first + row));
        failed.extend(taken.failed.iter().map(|(view, _)| *view));
        let pieces = taken.folds.iter().flat_map(|(_, pieces)| pieces);
        folded += pieces.map(|piece| piece.keys.len()).sum::<usize>();
        first = at;
    }
    (refused, folded, !failed.is_empty())
}

#[test]
fn what_is_refused_is_so_by_the_row_alone_also_beside_what_breaks_the_view() {
    let source = Arc::new(event_source("events", "topic"));
    let plain = PlainView::new(1, &source, "k", "x", Window::Lifetime);
    let view = plain.clone().refusing(REFUSED).breaking(BREAKS);
    for values in [
        [REFUSED, BREAKS, REFUSED, FINE, REFUSED, FINE],
        [BREAKS, REFUSED, FINE, FINE, BREAKS, REFUSED],
        [FINE, FINE, REFUSED, REFUSED, BREAKS, BREAKS],
    ] {
        let expected: Vec<usize> = (0..6).filter(|row| values[*row] == REFUSED).collect();
        for cuts in 0..1 << 5 {
            let (refused, folded, failed) = taken(&view, &source, &values, cuts);
            assert_eq!(refused, expected, "{values:?} cut by {cuts:b}");
            assert!(
                failed && folded <= 4,
                "{values:?} cut by {cuts:b}: {folded}"
            );
        }
        // A view that never works refuses nothing; one that none of them breaks is well.
        let (refused, folded, failed) = taken(&plain.clone().never(), &source, &values, 0);
        assert_eq!((refused, folded, failed), (vec![], 0, true));
        let (refused, folded, failed) =
            taken(&plain.clone().refusing(REFUSED), &source, &values, 5);
        assert_eq!((refused, failed), (expected.clone(), false));
        assert!(folded <= 6 - expected.len());
    }
    let nothing = taken(&plain.never(), &source, &[], 0);
    assert_eq!(nothing, (vec![], 0, false), "without a row nothing is run");
}

/// A view that leaves out rows of one value.
#[derive(Debug)]
struct LeavesOut {
    view: PlainView,
    value: f64,
}

impl CompiledView for LeavesOut {
    fn spec(&self) -> &Arc<ViewSpec> {
        self.view.spec()
    }

    fn reads(&self) -> &[usize] {
        self.view.reads()
    }

    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch> {
        let values = rows.column_by_name("x").expect("as declared");
        let values = values.as_primitive::<Float64Type>().values();
        let (out, kept): (Vec<u32>, Vec<u32>) = (0..)
            .zip(values)
            .map(|(row, value)| (row, *value == self.value))
            .fold((vec![], vec![]), |(mut out, mut kept), (row, is_out)| {
                if is_out {
                    out.push(row)
                } else {
                    kept.push(row)
                }
                (out, kept)
            });
        let columns = rows.columns().iter();
        let rows_kept = UInt32Array::from(kept.clone());
        let columns = columns.map(|column| take_rows(column, &rows_kept, None).expect("rows"));
        let kept_rows =
            RecordBatch::try_new(rows.schema(), columns.collect()).expect("as declared");
        let mut fold = self.view.fold(&kept_rows)?;
        fold.source_rows = kept;
        fold.left_out = out
            .into_iter()
            .map(|row| RowFault {
                row,
                kind: FaultKind::Overflow,
                what: "x * x: the result does not fit into its type".into(),
            })
            .collect();
        Ok(fold)
    }

    fn features(&self) -> SchemaRef {
        self.view.features()
    }

    fn finish(
        &self,
        keys: &[ArrayRef],
        at: &TimestampMicrosecondArray,
        aggregates: &[ArrayRef],
    ) -> PortResult<Vec<ArrayRef>> {
        self.view.finish(keys, at, aggregates)
    }
}

#[test]
fn a_row_that_a_view_leaves_out_is_refused_with_its_expression() {
    let source = Arc::new(event_source("events", "topic"));
    let view = LeavesOut {
        view: PlainView::new(1, &source, "k", "x", Window::Lifetime),
        value: REFUSED,
    };
    let name = view.spec().name.clone();
    let view: Arc<dyn CompiledView> = Arc::new(view);
    let part = rows(&source, &[FINE, REFUSED, FINE, REFUSED]);
    let taken = take((&[&view], &BTreeSet::new()), &[], &part).expect("no deployment");
    let words = format!("view '{name}': x * x: the result does not fit into its type");
    let expected = BTreeMap::from([(1, words.clone()), (3, words.clone())]);
    assert_eq!(taken.refused, expected);
    assert!(taken.failed.is_empty(), "it is the row's own fault");
    let whole = fold_whole(view.as_ref(), &part).expect("its own fault");
    assert_eq!(whole.expect_err("refused"), (1, words));
}
