//! The accumulator against exact arithmetic that shares nothing with it: values as big integers on
//! one grid, and a rounding that finds the nearest double by comparing, not by cutting bits.

use num_bigint::{BigInt, BigUint, Sign};
use proptest::prelude::*;

use super::{CANONICAL_NAN, CoMoments, FloatMoments, FloatSum, IntegerSum};

/// `value * 2^1074`, an integer for every finite double.
fn grid(value: f64) -> BigInt {
    let bits = value.abs().to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    let magnitude = if exponent == 0 {
        BigInt::from(fraction)
    } else {
        BigInt::from(fraction + (1 << 52)) << (exponent - 1)
    };
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// Whether `numerator / denominator` (positive both) is below, at or above `candidate`, both in
/// units of 2^-2148 to the power `power`: with power 2 the candidate is squared, so that roots need
/// no root.
fn compare(
    numerator: &BigInt,
    denominator: &BigInt,
    candidate: &BigInt,
    power: u32,
) -> std::cmp::Ordering {
    numerator.cmp(&(candidate.pow(power) * denominator))
}

/// The double nearest to `(numerator / denominator)^(1/power) * 2^-1075`, ties to even, by
/// bisection over the bit patterns of doubles and one comparison with the midpoint of two
/// neighbours.
fn nearest(numerator: &BigInt, denominator: &BigInt, power: u32) -> f64 {
    if numerator.sign() == Sign::Minus {
        let result = nearest(&-numerator, denominator, power);
        return if result == 0.0 { 0.0 } else { -result };
    }
    let doubled = |bits: u64| {
        // Beyond the greatest double the grid goes on: its neighbour is 2^1024.
        if bits == f64::INFINITY.to_bits() {
            BigInt::from(1) << (1024 + 1075)
        } else {
            grid(f64::from_bits(bits)) << 1
        }
    };
    let (mut low, mut high) = (0_u64, f64::INFINITY.to_bits());
    if compare(numerator, denominator, &doubled(high), power).is_ge() {
        return f64::INFINITY;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if compare(numerator, denominator, &doubled(middle), power).is_ge() {
            low = middle;
        } else {
            high = middle;
        }
    }
    let midpoint: BigInt = (doubled(low) + doubled(high)) >> 1;
    let up = match compare(numerator, denominator, &midpoint, power) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => low % 2 == 1,
    };
    f64::from_bits(if up { high } else { low })
}

/// Results as the definition says, from the list of values.
struct Oracle {
    sum: Option<f64>,
    avg: Option<f64>,
    var_pop: Option<f64>,
    var_samp: Option<f64>,
    stddev_pop: Option<f64>,
    stddev_samp: Option<f64>,
}

fn oracle(values: &[f64]) -> Oracle {
    let n = BigInt::from(values.len());
    let (nan, up, down) = (
        values.iter().any(|v| v.is_nan()),
        values.contains(&f64::INFINITY),
        values.contains(&f64::NEG_INFINITY),
    );
    let finite = !nan && !up && !down;
    let special = if nan || up && down {
        CANONICAL_NAN
    } else if up {
        f64::INFINITY
    } else {
        f64::NEG_INFINITY
    };
    let numbers: Vec<BigInt> = values
        .iter()
        .filter(|v| v.is_finite())
        .map(|v| grid(*v))
        .collect();
    let total: BigInt = numbers.iter().sum();
    let squares: BigInt = numbers.iter().map(|v| v * v).sum();
    let a = &n * squares - &total * &total;
    // Sums are in units of 2^-1074 = 2 * 2^-1075; their squares and variances in units of 2^-2148 =
    // 2^1073 * 2 * 2^-1075 ... .
    let first = |value: f64, minimum: usize| (values.len() >= minimum).then_some(value);
    let sum_of = |denominator: &BigInt| {
        if finite {
            nearest(&(&total << 1), denominator, 1)
        } else {
            special
        }
    };
    let var_of = |denominator: &BigInt| {
        if finite {
            nearest(&(&a << 1), &(denominator << 1074), 1)
        } else {
            CANONICAL_NAN
        }
    };
    let root_of = |denominator: &BigInt| {
        if finite {
            nearest(&(&a << 2), denominator, 2)
        } else {
            CANONICAL_NAN
        }
    };
    let one = BigInt::from(1);
    let some = |minimum: usize, compute: &dyn Fn() -> f64| {
        if values.len() >= minimum {
            first(compute(), minimum)
        } else {
            None
        }
    };
    Oracle {
        sum: some(1, &|| sum_of(&one)),
        avg: some(1, &|| sum_of(&n)),
        var_pop: some(1, &|| var_of(&(&n * &n))),
        var_samp: some(2, &|| var_of(&(&n * (&n - 1)))),
        stddev_pop: some(1, &|| root_of(&(&n * &n))),
        stddev_samp: some(2, &|| root_of(&(&n * (&n - 1)))),
    }
}

fn same(got: Option<f64>, want: Option<f64>) -> bool {
    got.map(f64::to_bits) == want.map(f64::to_bits)
}

fn sum_of(values: &[f64]) -> FloatSum {
    let mut state = FloatSum::new();
    values.iter().for_each(|v| state.add(*v));
    state
}

fn moments_of(values: &[f64]) -> FloatMoments {
    let mut state = FloatMoments::new();
    values.iter().for_each(|v| state.add(*v));
    state
}

fn sum_bytes(state: &FloatSum) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

fn moments_bytes(state: &FloatMoments) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

fn check(values: &[f64]) {
    let want = oracle(values);
    let (sum, moments) = (sum_of(values), moments_of(values));
    let results = [
        ("sum", sum.sum(), want.sum),
        ("avg", sum.avg(), want.avg),
        ("var_pop", moments.var_pop(), want.var_pop),
        ("var_samp", moments.var_samp(), want.var_samp),
        ("stddev_pop", moments.stddev_pop(), want.stddev_pop),
        ("stddev_samp", moments.stddev_samp(), want.stddev_samp),
    ];
    for (name, got, want) in results {
        assert!(
            same(got, want),
            "{name} of {values:?}: got {got:?}, want {want:?}"
        );
    }
}

/// Doubles of every kind: all bit patterns, money, small integers, extremes, neighbours of ties.
fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<u64>().prop_map(f64::from_bits).prop_filter("finite here", |v| v.is_finite()),
        4 => (-10_000_000_i64..10_000_000).prop_map(|cents| cents as f64 / 100.0),
        2 => (-4_i32..4).prop_map(f64::from),
        2 => (0_u64..1 << 54).prop_map(f64::from_bits),
        2 => (any::<bool>(), 0_i32..60).prop_map(|(sign, e)| if sign { -1.0 } else { 1.0 } * 2.0_f64.powi(e)),
        1 => prop::sample::select(vec![
            f64::MAX, -f64::MAX, f64::MIN_POSITIVE, -f64::MIN_POSITIVE, 5e-324, -5e-324, 0.0, -0.0, 1e308, -1e308,
            f64::EPSILON, 1.0 + f64::EPSILON, 9_007_199_254_740_993.0,
        ]),
    ]
}

fn with_specials() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => any_double(),
        1 => prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ]
}

#[test]
fn the_oracle_rounds_to_the_nearest_double() {
    // The oracle itself against integers that the hardware rounds.
    for (numerator, denominator) in [
        (1_i64, 3_i64),
        (2, 3),
        (10, 7),
        (-1, 3),
        ((1 << 53) - 1, 5),
        (1, 1 << 40),
    ] {
        let got = nearest(
            &(BigInt::from(numerator) << 1075),
            &BigInt::from(denominator),
            1,
        );
        assert_eq!(got, numerator as f64 / denominator as f64);
    }
    for radicand in [2_i64, 3, 4, 10, 1 << 52] {
        assert_eq!(
            nearest(&(BigInt::from(radicand) << 2150), &BigInt::from(1), 2),
            (radicand as f64).sqrt()
        );
    }
    assert_eq!(grid(5e-324), BigInt::from(BigUint::from(1_u32)));
}

#[test]
fn named_cases_are_correctly_rounded() {
    check(&[]);
    check(&[1.0]);
    check(&[18_014_398_509_481_984.0, 1.0, 1.0]);
    check(&[1e308, 1e308, -1e308]);
    check(&[f64::MAX, f64::MAX]);
    check(&[f64::MAX, -f64::MAX, 5e-324]);
    check(&[f64::MAX, 2.0_f64.powi(970)]);
    check(&[f64::MAX, 2.0_f64.powi(969)]);
    check(&[5e-324, 0.0]);
    check(&[-5e-324, 0.0, 0.0]);
    check(&[5e-324, 5e-324, 5e-324, 0.0]);
    check(&[-0.0, -0.0]);
    check(&[1.0, -1.0]);
    check(&[f64::MAX, -f64::MAX]);
    check(&[1e-300, 3e-300]);
    check(&[0.1; 10]);
    check(&[f64::INFINITY, 1.0]);
    check(&[f64::NEG_INFINITY, 1.0]);
    check(&[f64::INFINITY, f64::NEG_INFINITY]);
    check(&[f64::NAN]);
}

#[test]
fn cancellation_does_not_lose_the_small_ones() {
    let mut state = sum_of(&[18_014_398_509_481_984.0, 1.0, 1.0]);
    state.retract(18_014_398_509_481_984.0);
    assert_eq!(state.sum(), Some(2.0));
}

#[test]
fn an_infinity_that_leaves_leaves_nothing_behind() {
    let mut state = sum_of(&[f64::INFINITY, f64::NAN, 2.5, f64::NEG_INFINITY]);
    assert!(state.sum().is_some_and(f64::is_nan));
    state.retract(f64::NAN);
    state.retract(f64::NEG_INFINITY);
    assert_eq!(state.sum(), Some(f64::INFINITY));
    state.retract(f64::INFINITY);
    assert_eq!(state.sum(), Some(2.5));
    assert_eq!(sum_bytes(&state), sum_bytes(&sum_of(&[2.5])));
}

fn any_integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -4_i64..4,
        prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1]),
    ]
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-8_i32..8).prop_map(f64::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()),
        (-1.0_f64..1.0),
        prop::sample::select(vec![0.0, -0.0, f64::MAX, 5e-324, 1e-200]),
    ]
}

proptest! {
    /// Covariance and correlation of pairs, also after some have left again.
    #[test]
    fn pairs_are_exact(
        pairs in prop::collection::vec((any_number(), any_number()), 0..9),
        gone in prop::collection::vec((any_number(), any_number()), 0..3),
    ) {
        let mut state = CoMoments::default();
        gone.iter().chain(&pairs).for_each(|(x, y)| state.add(*x, *y));
        gone.iter().for_each(|(x, y)| state.retract(*x, *y));
        let grids: Vec<(BigInt, BigInt)> = pairs.iter().map(|(x, y)| (grid(*x), grid(*y))).collect();
        let n = BigInt::from(pairs.len());
        let spread = |of: fn(&(BigInt, BigInt)) -> (&BigInt, &BigInt)| {
            let products: BigInt = grids.iter().map(|pair| of(pair).0 * of(pair).1).sum();
            let first: BigInt = grids.iter().map(|pair| of(pair).0).sum();
            let second: BigInt = grids.iter().map(|pair| of(pair).1).sum();
            &n * products - first * second
        };
        let (a, b, c) = (spread(|p| (&p.0, &p.1)), spread(|p| (&p.0, &p.0)), spread(|p| (&p.1, &p.1)));
        let covariance = |least: usize, denominator: BigInt| {
            (pairs.len() >= least).then(|| nearest(&a, &(denominator << 1073), 1).to_bits())
        };
        let zero = BigInt::from(0);
        let known = pairs.len() >= 2 && b > zero && c > zero;
        let root = || nearest(&((&a * &a) << 2150), &(&b * &c), 2);
        let corr = known.then(|| if a < zero && root() != 0.0 { -root() } else { root() });
        let bits = |value: Option<f64>| value.map(f64::to_bits);
        prop_assert_eq!(bits(state.covar_pop()), covariance(1, &n * &n));
        prop_assert_eq!(bits(state.covar_samp()), covariance(2, &n * (&n - 1)));
        prop_assert_eq!(bits(state.corr()), bits(corr));
        state.add(f64::INFINITY, 1.0);
        state.add(1.0, 2.0);
        prop_assert_eq!(bits(state.corr()), Some(CANONICAL_NAN.to_bits()));
        state.retract(f64::INFINITY, 1.0);
        state.retract(1.0, 2.0);
        prop_assert_eq!(bits(state.corr()), bits(corr));
    }

    /// Mean and variances of integers are those of the integers, not of the doubles next to them.
    #[test]
    fn integers_are_exact(values in prop::collection::vec(any_integer(), 0..12), gone in prop::collection::vec(any_integer(), 0..4)) {
        let (mut sum, mut moments) = (IntegerSum::new(), FloatMoments::new());
        for value in gone.iter().chain(&values) {
            sum.add(*value);
            moments.add_integer(*value);
        }
        for value in &gone {
            sum.retract(*value);
            moments.retract_integer(*value);
        }
        let n = BigInt::from(values.len());
        let total: BigInt = values.iter().map(|v| BigInt::from(*v)).sum();
        let squares: BigInt = values.iter().map(|v| BigInt::from(*v) * *v).sum();
        let a: BigInt = &n * squares - &total * &total;
        let (population, sample) = (&n * &n, &n * (&n - 1));
        let ratio = |top: &BigInt, bottom: &BigInt| nearest(&(top << 1075), bottom, 1);
        let root = |top: &BigInt, bottom: &BigInt| nearest(&(top << 2150), bottom, 2);
        let known = |least: usize| values.len() >= least;
        let bits = |value: Option<f64>| value.map(f64::to_bits);
        prop_assert_eq!(sum.sum().ok().flatten(), known(1).then(|| i64::try_from(&total).ok()).flatten());
        prop_assert_eq!(bits(sum.avg()), known(1).then(|| ratio(&total, &n).to_bits()));
        prop_assert_eq!(bits(moments.var_pop()), known(1).then(|| ratio(&a, &population).to_bits()));
        prop_assert_eq!(bits(moments.var_samp()), known(2).then(|| ratio(&a, &sample).to_bits()));
        prop_assert_eq!(bits(moments.stddev_pop()), known(1).then(|| root(&a, &population).to_bits()));
        prop_assert_eq!(bits(moments.stddev_samp()), known(2).then(|| root(&a, &sample).to_bits()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn results_are_the_correctly_rounded_truth(values in prop::collection::vec(any_double(), 0..24)) {
        check(&values);
    }

    #[test]
    fn special_values_give_what_the_definition_says(values in prop::collection::vec(with_specials(), 0..12)) {
        check(&values);
    }

    #[test]
    fn values_of_one_size_are_correctly_rounded(
        values in prop::collection::vec(-1_000_000_i64..1_000_000, 1..40), scale in -1_080_i32..1_000,
    ) {
        let factor = 2.0_f64.powi(scale / 2) * 2.0_f64.powi(scale - scale / 2);
        let values: Vec<f64> = values.iter().map(|v| *v as f64 * factor).collect();
        check(&values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>());
    }

    #[test]
    fn order_and_splits_change_neither_results_nor_bytes(
        values in prop::collection::vec(with_specials(), 0..40), cut in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let mut shuffled = values.clone();
        shuffled.sort_by_key(|v| (v.to_bits() ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let at = if values.is_empty() { 0 } else { cut.index(values.len()) };
        let mut merged = sum_of(&shuffled[at..]);
        merged.merge(&sum_of(&shuffled[..at]));
        prop_assert_eq!(sum_bytes(&merged), sum_bytes(&sum_of(&values)));
        prop_assert_eq!(&merged, &sum_of(&values));
        let mut merged = moments_of(&shuffled[at..]);
        merged.merge(&moments_of(&shuffled[..at]));
        prop_assert_eq!(moments_bytes(&merged), moments_bytes(&moments_of(&values)));
        prop_assert_eq!(&merged, &moments_of(&values));
    }

    #[test]
    fn what_is_retracted_was_never_there(
        stay in prop::collection::vec(with_specials(), 0..20), leave in prop::collection::vec(with_specials(), 0..20),
    ) {
        let all: Vec<f64> = stay.iter().chain(&leave).copied().collect();
        let (mut one_by_one, mut at_once) = (moments_of(&all), moments_of(&all));
        leave.iter().rev().for_each(|v| one_by_one.retract(*v));
        at_once.subtract(&moments_of(&leave));
        let (mut sum_one_by_one, mut sum_at_once) = (sum_of(&all), sum_of(&all));
        leave.iter().for_each(|v| sum_one_by_one.retract(*v));
        sum_at_once.subtract(&sum_of(&leave));
        prop_assert_eq!(moments_bytes(&one_by_one), moments_bytes(&moments_of(&stay)));
        prop_assert_eq!(moments_bytes(&at_once), moments_bytes(&moments_of(&stay)));
        prop_assert_eq!(sum_bytes(&sum_one_by_one), sum_bytes(&sum_of(&stay)));
        prop_assert_eq!(sum_bytes(&sum_at_once), sum_bytes(&sum_of(&stay)));
    }

    #[test]
    fn states_come_back_from_their_bytes(values in prop::collection::vec(with_specials(), 0..20), tail in any::<[u8; 3]>()) {
        let (sum, moments) = (sum_of(&values), moments_of(&values));
        let mut bytes = sum_bytes(&sum);
        bytes.extend_from_slice(&tail);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(FloatSum::decode(&mut rest).expect("its own bytes"), sum);
        prop_assert_eq!(rest, tail.as_slice());
        let bytes = moments_bytes(&moments);
        prop_assert_eq!(FloatMoments::decode(&mut bytes.as_slice()).expect("its own bytes"), moments);
    }

    #[test]
    fn hostile_bytes_are_refused_or_canonical(mut bytes in prop::collection::vec(any::<u8>(), 0..48), kind in 0_u8..4) {
        if let Some(first) = bytes.first_mut() {
            *first = 0x11 + kind;
        }
        let mut rest = bytes.as_slice();
        if let Ok(state) = FloatSum::decode(&mut rest) {
            prop_assert_eq!(sum_bytes(&state), &bytes[..bytes.len() - rest.len()]);
            let _values = (state.sum(), state.avg());
        }
        let mut rest = bytes.as_slice();
        if let Ok(state) = FloatMoments::decode(&mut rest) {
            prop_assert_eq!(moments_bytes(&state), &bytes[..bytes.len() - rest.len()]);
            let _values = (state.var_samp(), state.stddev_pop());
        }
    }
}

/// A state whose bytes were cut or changed anywhere is refused or is another state, never a panic.
#[test]
fn every_cut_of_a_state_is_refused() {
    let bytes = moments_bytes(&moments_of(&[1.5, -2.25, 1e300, f64::NAN]));
    for length in 0..bytes.len() {
        assert!(
            FloatMoments::decode(&mut &bytes[..length]).is_err(),
            "cut at {length}"
        );
    }
}

#[test]
fn a_long_sum_carries_in_time() {
    // Doubling by merges passes the number of additions after which limbs are carried.
    let mut state = moments_of(&[f64::MAX, 1.0, -3.5]);
    for _ in 0..40 {
        let copy = state.clone();
        state.merge(&copy);
    }
    let times = BigInt::from(1_u64 << 40);
    let total = (grid(f64::MAX) + grid(1.0) + grid(-3.5)) * &times;
    let squares: BigInt = [f64::MAX, 1.0, -3.5]
        .iter()
        .map(|v| grid(*v) * grid(*v))
        .sum::<BigInt>()
        * &times;
    let n = BigInt::from(3) * &times;
    let a = &n * squares - &total * &total;
    assert_eq!(state.count(), 3 << 40);
    assert_eq!(state.stddev_pop(), Some(nearest(&(a << 2), &(&n * &n), 2)));
}

/// The bytes on disk, for ever.
#[test]
fn golden_bytes() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(sum_bytes(&FloatSum::new())), "11000000");
    assert_eq!(hex(moments_bytes(&FloatMoments::new())), "130000000000");
    // 1074 = 134 * 8 + 2: one is bit 2 of byte 134.
    assert_eq!(hex(sum_bytes(&sum_of(&[1.0]))), "110186010104");
    assert_eq!(hex(sum_bytes(&sum_of(&[-1.0]))), "1101860101fc");
    assert_eq!(
        hex(sum_bytes(&sum_of(&[
            1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY
        ]))),
        "120401010186010104"
    );
    // 2148 = 268 * 8 + 4: the square of two is bit 6 of byte 268.
    assert_eq!(
        hex(moments_bytes(&moments_of(&[2.0]))),
        "13018601010".to_owned() + "88c020140"
    );
    assert_eq!(
        hex(moments_bytes(&moments_of(&[2.0, f64::NAN]))),
        "1402010000".to_owned() + "860101088c020140"
    );
    let money: Vec<f64> = (0..1_000).map(|i| f64::from(i) * 0.01).collect();
    assert!(
        sum_bytes(&sum_of(&money)).len() <= 16,
        "{}",
        hex(sum_bytes(&sum_of(&money)))
    );
}
