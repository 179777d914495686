//! Numbers: rounding, powers, logarithms, whole numbers. What is not exact in itself comes
//! from the pinned `libm` crate and never from the machine's library, so that the bits are equal on
//! every CPU. Rounding to digits is in `rounding`, angles are in `angles`.

use std::cmp::Ordering;
use std::f64::consts::PI;

use forebay_core::aggregate::compare_floats;
use forebay_core::fault::FaultKind;

use super::form::{example, function, takes};
use super::rounding::{round_float, round_int, trunc_float, trunc_int};
use super::rows::{Bool, Bound, Float, Int, Row, values};
use crate::scalar::function::Type::{BigInt, Boolean, Double};
use crate::scalar::function::{Function, Reference};

pub(super) const NAN_STAYS: &str = "NaN gives NaN";
pub(super) const IEEE: &str = "NaN gives NaN; infinities as IEEE 754 has them";

// References of functions with a domain ask DuckDB for an error outside of it: PostgreSQL has one,
// and DuckDB only where `ieee_floating_point_ops` is off; else it gives NaN.

const ROUND_REFERENCE: Reference = Reference::Differs(
    "DuckDB scales by a power of ten, which rounds twice: round(2.675, 2) is 2.68 there though \
     2.675 lies below the middle; ours is the value that the exact decimal rounds to",
);

/// A DOUBLE of a DOUBLE, everywhere.
pub(super) fn float(f: fn(f64) -> f64) -> Bound {
    values::<(Float,), Float, _>(move |(x,)| Ok(Some(f(x))))
}

/// A DOUBLE of a DOUBLE within a domain; NaN passes.
pub(super) fn float_within(f: fn(f64) -> f64, domain: fn(f64) -> bool) -> Bound {
    values::<(Float,), Float, _>(move |(x,)| {
        if x.is_nan() || domain(x) {
            Ok(Some(f(x)))
        } else {
            Err(FaultKind::Range)
        }
    })
}

fn ints(f: fn(i64) -> Option<i64>) -> Bound {
    values::<(Int,), Int, _>(move |(n,)| f(n).map(Some).ok_or(FaultKind::Overflow))
}

fn int_pairs(f: fn(i64, i64) -> Option<i64>) -> Bound {
    values::<(Int, Int), Int, _>(move |(a, b)| f(a, b).map(Some).ok_or(FaultKind::Overflow))
}

fn sign(x: f64) -> f64 {
    match compare_floats(x, 0.0) {
        _ if x.is_nan() => x,
        Ordering::Less => -1.0,
        Ordering::Equal => 0.0,
        Ordering::Greater => 1.0,
    }
}

fn log_of(base: f64, x: f64) -> Row<f64> {
    let in_domain = |x: f64| x.is_nan() || x > 0.0;
    if !in_domain(base) || !in_domain(x) || base == 1.0 {
        return Err(FaultKind::Range);
    }
    Ok(Some(if base == 2.0 {
        libm::log2(x)
    } else if base == 10.0 {
        libm::log10(x)
    } else {
        libm::log(x) / libm::log(base)
    }))
}

fn power(x: f64, y: f64) -> Row<f64> {
    let no_root = x < 0.0 && x.is_finite() && y.is_finite() && y != libm::trunc(y);
    if no_root || (x == 0.0 && y < 0.0) {
        return Err(FaultKind::Range);
    }
    Ok(Some(libm::pow(x, y)))
}

fn gcd(a: i64, b: i64) -> Option<i64> {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).ok()
}

fn lcm(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    // gcd is at most 2^63, which only i64::MIN with itself or with 0 has.
    let divisor = gcd(a, b).map_or(1 << 63, i64::unsigned_abs);
    let product = u128::from(a.unsigned_abs() / divisor) * u128::from(b.unsigned_abs());
    i64::try_from(product).ok()
}

fn factorial(n: i64) -> Row<i64> {
    match n {
        ..0 => Err(FaultKind::Range),
        0..=20 => Ok(Some((1..=n).product())),
        21.. => Err(FaultKind::Overflow),
    }
}

/// As PostgreSQL computes it, the halves included where the bounds' distance is infinite.
fn width_bucket((x, low, high, count): (f64, f64, f64, i64)) -> Row<i64> {
    let bounds = low.is_finite() && high.is_finite() && low != high;
    if x.is_nan() || !bounds || !(1..=i64::from(i32::MAX)).contains(&count) {
        return Err(FaultKind::Range);
    }
    let (before, behind) = if low < high {
        (x < low, x >= high)
    } else {
        (x > low, x <= high)
    };
    Ok(Some(if before {
        0
    } else if behind {
        count + 1
    } else {
        let share = if (high - low).is_finite() {
            (x - low) / (high - low)
        } else {
            (x / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
        };
        // A share that rounds to 1 would be one bucket too many.
        let bucket = (share * count as f64) as i64;
        bucket.min(count - 1) + 1
    }))
}

const MAGNITUDE: &[Function] = &[
    function(
        "abs",
        "The number without its sign.",
        &[
            takes(&[BigInt], BigInt, |_| ints(i64::checked_abs)),
            takes(&[Double], Double, |_| float(f64::abs)),
        ],
        Reference::DuckDb("abs(a)"),
        &[
            example("abs(-2.5)", "2.5"),
            example("abs(-7)", "7"),
            example("abs(CAST('-9223372036854775808' AS BIGINT))", "error"),
        ],
    )
    .version(2)
    .float("NaN gives NaN, -0.0 gives 0.0")
    .fault("overflow: the least BIGINT"),
    function(
        "sign",
        "-1, 0 or 1: whether the number is below, at or above zero.",
        &[
            takes(&[BigInt], BigInt, |_| ints(|n| Some(i64::signum(n)))),
            takes(&[Double], Double, |_| float(sign)),
        ],
        Reference::Differs("DuckDB gives TINYINT, and 0 for NaN; ours keeps NaN, as PostgreSQL"),
        &[
            example("sign(-0.5)", "-1.0"),
            example("sign(0)", "0"),
            example("sign(CAST('-0.0' AS DOUBLE))", "0.0"),
        ],
    )
    .version(2)
    .aliases(&["signum"])
    .float("NaN gives NaN, -0.0 gives 0.0"),
    function(
        "ceil",
        "The least whole number that is not below the number.",
        &[takes(&[Double], Double, |_| float(libm::ceil))],
        Reference::DuckDb("ceil(a)"),
        &[example("ceil(1.2)", "2.0"), example("ceil(-1.2)", "-1.0")],
    )
    .version(2)
    .aliases(&["ceiling"])
    .float(IEEE),
    function(
        "floor",
        "The greatest whole number that is not above the number.",
        &[takes(&[Double], Double, |_| float(libm::floor))],
        Reference::DuckDb("floor(a)"),
        &[example("floor(1.8)", "1.0"), example("floor(-1.2)", "-2.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "round",
        "The number rounded to n decimals (0 if absent; negative: to tens, hundreds, ..), halves \
         away from zero, judged on the exact decimal value.",
        &[
            takes(&[BigInt], BigInt, |_| ints(Some)),
            takes(&[Double], Double, |_| float(libm::round)),
            takes(&[BigInt, BigInt], BigInt, |_| int_pairs(round_int)),
            takes(&[Double, BigInt], Double, |_| {
                values::<(Float, Int), Float, _>(|(x, n)| round_float(x, n).map(Some))
            }),
        ],
        ROUND_REFERENCE,
        &[
            example("round(2.5)", "3.0"),
            example("round(-2.5)", "-3.0"),
            example("round(0.125, 2)", "0.13"),
            example("round(2.675, 2)", "2.67"),
            example("round(1250, -2)", "1300"),
        ],
    )
    .version(2)
    .float(IEEE)
    .fault("overflow: the rounded value does not fit"),
    function(
        "trunc",
        "The number cut to n decimals (0 if absent; negative: to tens, hundreds, ..), judged on \
         the shortest decimal that names the value.",
        &[
            takes(&[BigInt], BigInt, |_| ints(Some)),
            takes(&[Double], Double, |_| float(libm::trunc)),
            takes(&[BigInt, BigInt], BigInt, |_| int_pairs(trunc_int)),
            takes(&[Double, BigInt], Double, |_| {
                values::<(Float, Int), Float, _>(|(x, n)| Ok(Some(trunc_float(x, n))))
            }),
        ],
        Reference::Differs(
            "DuckDB scales by a power of ten, which rounds first: trunc(4.35, 2) is 4.34 there",
        ),
        &[
            example("trunc(-2.7)", "-2.0"),
            example("trunc(4.35, 2)", "4.35"),
            example("trunc(1299, -2)", "1200"),
        ],
    )
    .version(2)
    .float(IEEE),
    function(
        "degrees",
        "Radians as degrees.",
        &[takes(&[Double], Double, |_| float(|x| x * (180.0 / PI)))],
        Reference::DuckDb("degrees(a)"),
        &[example("degrees(pi())", "180.0")],
    )
    .float(IEEE),
    function(
        "radians",
        "Degrees as radians.",
        &[takes(&[Double], Double, |_| float(|x| x * (PI / 180.0)))],
        Reference::DuckDb("radians(a)"),
        &[example("radians(180)", "3.141592653589793")],
    )
    .float(IEEE),
    function(
        "pi",
        "The number pi.",
        &[takes(&[], Double, |_| {
            values::<(), Float, _>(|()| Ok(Some(PI)))
        })],
        Reference::DuckDb("pi()"),
        &[example("pi()", "3.141592653589793")],
    ),
];

const POWERS: &[Function] = &[
    function(
        "sqrt",
        "The square root.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::sqrt, |x| x >= 0.0)
        })],
        Reference::DuckDb("CASE WHEN a < 0 THEN error('range') ELSE sqrt(a) END"),
        &[example("sqrt(2.25)", "1.5"), example("sqrt(-1)", "error")],
    )
    .version(2)
    .float("NaN gives NaN, -0.0 gives -0.0")
    .fault("out of range: below zero"),
    function(
        "cbrt",
        "The cube root.",
        &[takes(&[Double], Double, |_| float(libm::cbrt))],
        Reference::DuckDb("cbrt(a)"),
        &[example("cbrt(-27)", "-3.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "exp",
        "e to the power of the number.",
        &[takes(&[Double], Double, |_| float(libm::exp))],
        Reference::DuckDb("exp(a)"),
        &[example("exp(0)", "1.0")],
    )
    .version(2)
    .float("NaN gives NaN; what is too great is infinity, as IEEE 754 has it"),
    function(
        "ln",
        "The natural logarithm.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::log, |x| x > 0.0)
        })],
        Reference::DuckDb("CASE WHEN a <= 0 THEN error('range') ELSE ln(a) END"),
        &[example("ln(1)", "0.0"), example("ln(0)", "error")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: zero and below"),
    function(
        "log",
        "The logarithm to base 10, or log(base, x) to another base.",
        &[
            takes(&[Double], Double, |_| {
                float_within(libm::log10, |x| x > 0.0)
            }),
            takes(&[Double, Double], Double, |_| {
                values::<(Float, Float), Float, _>(|(base, x)| log_of(base, x))
            }),
        ],
        Reference::Differs("DuckDB divides logarithms for bases 2 and 10 too, and takes base 1"),
        &[
            example("log(100)", "2.0"),
            example("log(2, 8)", "3.0"),
            example("log(1, 8)", "error"),
        ],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: a base or a number of zero and below, base 1"),
    function(
        "log10",
        "The logarithm to base 10.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::log10, |x| x > 0.0)
        })],
        Reference::DuckDb("CASE WHEN a <= 0 THEN error('range') ELSE log10(a) END"),
        &[example("log10(1000)", "3.0")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: zero and below"),
    function(
        "log2",
        "The logarithm to base 2.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::log2, |x| x > 0.0)
        })],
        Reference::DuckDb("CASE WHEN a <= 0 THEN error('range') ELSE log2(a) END"),
        &[example("log2(8)", "3.0")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: zero and below"),
    function(
        "power",
        "The first number to the power of the second.",
        &[takes(&[Double, Double], Double, |_| {
            values::<(Float, Float), Float, _>(|(x, y)| power(x, y))
        })],
        Reference::Differs(
            "DuckDB gives infinity for a power below zero of zero and NaN for a root of a number \
             below zero; both are faults here, as in PostgreSQL",
        ),
        &[
            example("power(2, 10)", "1024.0"),
            example("power(0, -1)", "error"),
            example("power(-8, 0.5)", "error"),
        ],
    )
    .version(2)
    .aliases(&["pow"])
    .float("as IEEE 754: power(x, 0) and power(1, x) are 1.0 even for NaN")
    .fault("out of range: a power below zero of zero, a fractional power of a number below zero"),
];

const WHOLE: &[Function] = &[
    function(
        "gcd",
        "The greatest common divisor, never below zero.",
        &[takes(&[BigInt, BigInt], BigInt, |_| int_pairs(gcd))],
        Reference::DuckDb("gcd(a, b)"),
        &[example("gcd(-12, 18)", "6"), example("gcd(0, 0)", "0")],
    )
    .fault("overflow: 2^63, of the least BIGINT with itself or with 0"),
    function(
        "lcm",
        "The least common multiple, never below zero.",
        &[takes(&[BigInt, BigInt], BigInt, |_| int_pairs(lcm))],
        Reference::DuckDb("lcm(a, b)"),
        &[example("lcm(4, -6)", "12"), example("lcm(0, 3)", "0")],
    )
    .fault("overflow: the multiple does not fit"),
    function(
        "factorial",
        "The product of 1 to n.",
        &[takes(&[BigInt], BigInt, |_| {
            values::<(Int,), Int, _>(|(n,)| factorial(n))
        })],
        Reference::Differs("DuckDB gives HUGEINT and 1 below zero; ours is BIGINT and a fault"),
        &[
            example("factorial(5)", "120"),
            example("factorial(21)", "error"),
            example("factorial(-1)", "error"),
        ],
    )
    .version(2)
    .fault("out of range: below 0; overflow: above 20"),
    function(
        "isnan",
        "Whether the number is NaN.",
        &[takes(&[Double], Boolean, |_| {
            values::<(Float,), Bool, _>(|(x,)| Ok(Some(x.is_nan())))
        })],
        Reference::DuckDb("isnan(a)"),
        &[
            example("isnan(CAST('NaN' AS DOUBLE))", "true"),
            example("isnan(1)", "false"),
        ],
    )
    .float("true for every NaN"),
    function(
        "isinf",
        "Whether the number is infinite.",
        &[takes(&[Double], Boolean, |_| {
            values::<(Float,), Bool, _>(|(x,)| Ok(Some(x.is_infinite())))
        })],
        Reference::DuckDb("isinf(a)"),
        &[example("isinf(1)", "false")],
    )
    .float("true for both infinities, false for NaN"),
    function(
        "isfinite",
        "Whether the number is neither NaN nor infinite.",
        &[takes(&[Double], Boolean, |_| {
            values::<(Float,), Bool, _>(|(x,)| Ok(Some(x.is_finite())))
        })],
        Reference::DuckDb("isfinite(a)"),
        &[example("isfinite(1)", "true")],
    )
    .float("false for NaN and both infinities"),
    function(
        "iszero",
        "Whether the number is zero.",
        &[takes(&[Double], Boolean, |_| {
            values::<(Float,), Bool, _>(|(x,)| Ok(Some(x == 0.0)))
        })],
        Reference::DuckDb("a = 0"),
        &[
            example("iszero(CAST('-0.0' AS DOUBLE))", "true"),
            example("iszero(1)", "false"),
        ],
    )
    .float("true for -0.0, false for NaN"),
    function(
        "nanvl",
        "The first number, or the second where the first is NaN.",
        &[takes(&[Double, Double], Double, |_| {
            values::<(Float, Float), Float, _>(|(x, y)| Ok(Some(if x.is_nan() { y } else { x })))
        })],
        Reference::DuckDb("CASE WHEN b IS NOT NULL THEN CASE WHEN isnan(a) THEN b ELSE a END END"),
        &[
            example("nanvl(CAST('NaN' AS DOUBLE), 3)", "3.0"),
            example("nanvl(1, 3)", "1.0"),
        ],
    )
    .float("NaN only where both are"),
    function(
        "width_bucket",
        "The bucket of x among n of equal width from low to high: width_bucket(x, low, high, n); 0 \
         before the first, n + 1 behind the last.",
        &[takes(&[Double, Double, Double, BigInt], BigInt, |_| {
            values::<(Float, Float, Float, Int), Int, _>(width_bucket)
        })],
        Reference::Differs("DuckDB has no width_bucket; ours is PostgreSQL's"),
        &[
            example("width_bucket(5.35, 0.024, 10.06, 5)", "3"),
            example("width_bucket(-1, 0, 10, 5)", "0"),
            example("width_bucket(10, 0, 10, 5)", "6"),
            example("width_bucket(1, 3, 3, 5)", "error"),
        ],
    )
    .float("x may be infinite; high may lie below low, then buckets count downwards")
    .fault(
        "out of range: x is NaN, a bound is NaN or infinite, bounds are equal, n below 1 or above \
         2,147,483,647",
    ),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[
    ("rounding and signs", MAGNITUDE),
    ("powers and logarithms", POWERS),
    ("whole numbers, buckets and NaN", WHOLE),
];
