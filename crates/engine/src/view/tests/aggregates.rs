//! Views over every aggregate of the table, and which digest their state goes by.

use std::collections::HashSet;

use arrow_schema::DataType;
use forebay_core::aggregate::{AggregateKind, PartialClass};
use forebay_core::ports::CompiledView;

use super::view;
use crate::view::digest_of_state;

/// Every function of the table is taken under each of its names, and several quantiles of one
/// column have one state.
#[test]
fn every_aggregate_of_the_table_is_taken() {
    let view = view(
        "SELECT count(*) OVER {h} AS a, count(DISTINCT note) OVER {h} AS b, approx_distinct(n) OVER {h} AS c,
                approx_count_distinct(flag) OVER {h} AS d, sum(n) OVER {h} AS e, avg(x) OVER {h} AS f, mean(x) OVER {h} AS g,
                min(note) OVER {h} AS h, max(ts) OVER {h} AS i, var_pop(x) OVER {h} AS j, var(x) OVER {h} AS l,
                var_samp(n) OVER {h} AS m, stddev_pop(small) OVER {h} AS n1, stddev(x) OVER {h} AS o, stddev_samp(x) OVER {h} AS p,
                min_by(note, x) OVER {h} AS q, max_by(x, n) OVER {h} AS r, arg_min(n, ts) OVER {h} AS s, arg_max(x, x) OVER {h} AS t,
                first_value(note) OVER {h} AS u, last_value(x) OVER {h} AS v1, covar_samp(x, x + 1.0) OVER {h} AS w,
                covar(x, 2.0 * x) OVER {h} AS x1, covar_pop(x, x) OVER {h} AS y, corr(x, x) OVER {h} AS z,
                approx_quantile(x, 0.5) OVER {h} AS aa, approx_quantile(x, 0.99) OVER {h} AS ab, approx_median(x) OVER {h} AS ac,
                approx_percentile_cont(n, 1) OVER {h} AS ad, bool_and(flag) OVER {h} AS ae, every(x > 1.0) OVER {h} AS af,
                bool_or(flag) OVER {h} AS ag, bit_and(n) OVER {h} AS ah, bit_or(small) OVER {h} AS ai,
                bit_xor(n) FILTER (WHERE flag) OVER {h} AS aj, array_agg(note, 3) OVER {h} AS ak, array_agg(note, 9) OVER {h} AS al
         FROM events",
    );
    let spec = view.spec();
    let kinds: HashSet<AggregateKind> = spec.aggregates.iter().map(|a| a.kind).collect();
    for kind in AggregateKind::ALL {
        assert!(kinds.contains(kind), "{kind:?}");
    }
    let sketches = spec
        .partials
        .iter()
        .filter(|p| p.class == PartialClass::Sketch);
    assert_eq!(sketches.count(), 2, "of x and of n");
    let newest = spec
        .partials
        .iter()
        .filter(|p| p.class == PartialClass::Newest);
    assert_eq!(newest.count(), 2, "of 3 and of 9 rows");
    let known = [0, 1, 2, 3, 6].map(|index| spec.aggregates[index].data_type.clone());
    assert_eq!(
        known,
        [
            DataType::Int64,
            DataType::Int64,
            DataType::Int64,
            DataType::Int64,
            DataType::Utf8
        ]
    );
}

/// What older builds kept of integers is not read as what is kept now; all else is as it was.
#[test]
fn state_over_integers_goes_by_a_digest_of_its_own() {
    let is_of_the_definition = |select: &str| {
        let view = view(&format!("SELECT {select} OVER {{e}} AS f FROM events"));
        let same = view
            .spec()
            .partials
            .iter()
            .all(|partial| partial.layout() == 1);
        let digest = digest_of_state("d".to_owned(), &view.spec().partials);
        assert_eq!(digest == "d", same, "{select}");
        same
    };
    for select in [
        "count(n)",
        "sum(x)",
        "stddev(x)",
        "max(n)",
        "last_value(small)",
    ] {
        assert!(is_of_the_definition(select), "{select}");
    }
    for select in ["sum(n)", "avg(small)", "var(n)"] {
        assert!(!is_of_the_definition(select), "{select}");
    }
}
