//! Corners of the statistics; their values are compared with scipy in `src/tests/golden.rs`.

use super::*;

#[test]
fn an_empty_side_has_no_distance() {
    for (r, c) in [([0, 0], [1, 2]), ([1, 2], [0, 0])] {
        assert_eq!(
            (psi(&r, &c), ks_distance(&r, &c), js_distance(&r, &c)),
            (None, None, None)
        );
        assert_eq!(chi_square(&r, &c, 0), None);
    }
}

#[test]
fn equal_shares_have_distance_zero_at_any_size() {
    let (r, c) = ([10, 20, 0, 70], [100, 200, 0, 700]);
    assert_eq!(
        (psi(&r, &c), ks_distance(&r, &c), js_distance(&r, &c)),
        (Some(0.0), Some(0.0), Some(0.0))
    );
    assert_eq!(ks_probability(0.0, 100, 1_000), 1.0);
}

#[test]
fn disjoint_samples_are_as_far_apart_as_can_be() {
    let (r, c) = ([50, 0], [0, 80]);
    assert_eq!(
        (ks_distance(&r, &c), js_distance(&r, &c)),
        (Some(1.0), Some(1.0))
    );
    let floored = (1.0 - SHARE_FLOOR) * libm::log(1.0 / SHARE_FLOOR);
    assert!((psi(&r, &c).expect("values") - 2.0 * floored).abs() < 1e-12);
}

#[test]
fn one_cell_is_no_test() {
    assert_eq!(
        chi_square(&[40, 3, 0], &[50, 2, 0], 2).map(|t| t.degrees),
        Some(1),
        "the rare cell is pooled"
    );
    assert_eq!(chi_square(&[40, 0, 0], &[50, 0, 0], 2), None);
}

#[test]
fn nothing_is_discovered_among_nothing() {
    assert_eq!(benjamini_hochberg(&[], 0.05), Vec::<bool>::new());
    assert_eq!(benjamini_hochberg(&[0.04, 0.2], 0.05), [false, false]);
    assert_eq!(
        benjamini_hochberg(&[0.04, 0.05], 0.05),
        [true, true],
        "a later rank carries the earlier ones"
    );
}
