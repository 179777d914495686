//! What views leave out of rows, and which of them have failed, wherever the rows are cut.

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use forebay_core::ports::Origin;
use forebay_core::source::SourceDef;
use forebay_core::time::SECOND_US;
use forebay_core::view::Window;
use forebay_sim::world::event_source;
use forebay_testkit::PlainView;

use super::*;

/// A row's own fault, a view's fault, and none.
const LEFT_OUT: f64 = 13.0;
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

fn admitted(
    view: &PlainView,
    failed: &BTreeSet<ViewId>,
    source: &Arc<SourceDef>,
    values: &[f64],
) -> Admitted {
    let views: [Arc<dyn CompiledView>; 1] = [Arc::new(view.clone())];
    let batch = SourceBatch {
        source: Arc::clone(source),
        rows: rows(source, values),
        origin: Origin::default(),
        dead_letters: Vec::new(),
        read_up_to: Vec::new(),
        last_records: Vec::new(),
    };
    admit((&views, failed), &[], batch).expect("no deployment")
}

/// Rows that are left out and folded of `values`, where they come in pieces that `cuts` says, and
/// whether the view has failed by then.
fn taken(
    view: &PlainView,
    source: &Arc<SourceDef>,
    values: &[f64],
    cuts: u32,
) -> (Vec<u32>, usize, bool) {
    let (mut failed, mut left_out, mut folded, mut first) = (BTreeSet::new(), vec![], 0, 0);
    for at in 1..=values.len() {
        if at < values.len() && cuts & (1 << (at - 1)) == 0 {
            continue;
        }
        let admitted = admitted(view, &failed, source, &values[first..at]);
        failed.extend(admitted.failed.iter().map(|(view, _)| *view));
        for piece in admitted
            .folds
            .iter()
            .filter_map(|(_, piece)| piece.as_ref())
        {
            let start = u32::try_from(first).expect("few");
            left_out.extend(piece.left_out.iter().map(|fault| start + fault.row));
            folded += piece.keys.len();
        }
        first = at;
    }
    (left_out, folded, !failed.is_empty())
}

#[test]
fn what_is_left_out_is_so_by_the_row_alone() {
    let source = event_source("events", "topic");
    let plain = PlainView::new(1, &source, "k", "x", Window::Lifetime);
    let view = plain.clone().leaving_out(LEFT_OUT).breaking(BREAKS);
    let values = [LEFT_OUT, FINE, LEFT_OUT, FINE, LEFT_OUT, FINE];
    for cuts in 0..1 << 5 {
        let expected = (vec![0, 2, 4], 3, false);
        assert_eq!(taken(&view, &source, &values, cuts), expected, "{cuts:b}");
    }
}

#[test]
fn a_view_that_fails_folds_nothing_from_then_on() {
    let source = event_source("events", "topic");
    let plain = PlainView::new(1, &source, "k", "x", Window::Lifetime);
    let view = plain.clone().leaving_out(LEFT_OUT).breaking(BREAKS);
    let values = [FINE, LEFT_OUT, BREAKS, FINE, FINE, LEFT_OUT];
    for cuts in 0..1 << 5 {
        let (left_out, folded, failed) = taken(&view, &source, &values, cuts);
        assert!(failed && folded <= 1 && left_out.len() <= 1, "{cuts:b}");
    }
    let never = taken(&plain.clone().never(), &source, &values, 0);
    assert_eq!(never, (vec![], 0, true));
    let nothing = admitted(&plain.never(), &BTreeSet::new(), &source, &[]);
    assert!(nothing.failed.is_empty(), "without a row nothing is run");
}
