//! Angles, in radians, and the hyperbolic functions, all of the pinned `libm` crate, so that their
//! bits are equal on every CPU. The kernels are those of `math`.

use super::form::{example, function, takes};
use super::math::{IEEE, NAN_STAYS, float, float_within};
use super::rows::{Float, values};
use crate::scalar::function::Type::Double;
use crate::scalar::function::{Function, Reference};

const ANGLES: &[Function] = &[
    function(
        "sin",
        "The sine of radians.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::sin, f64::is_finite)
        })],
        Reference::DuckDb("CASE WHEN isinf(a) THEN error('range') ELSE sin(a) END"),
        &[
            example("sin(0)", "0.0"),
            example("sin(1)", "0.8414709848078965"),
        ],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: an infinity"),
    function(
        "cos",
        "The cosine of radians.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::cos, f64::is_finite)
        })],
        Reference::DuckDb("CASE WHEN isinf(a) THEN error('range') ELSE cos(a) END"),
        &[example("cos(0)", "1.0")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: an infinity"),
    function(
        "tan",
        "The tangent of radians.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::tan, f64::is_finite)
        })],
        Reference::DuckDb("CASE WHEN isinf(a) THEN error('range') ELSE tan(a) END"),
        &[example("tan(0)", "0.0")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: an infinity"),
    function(
        "cot",
        "The cotangent of radians.",
        &[takes(&[Double], Double, |_| {
            float_within(|x| 1.0 / libm::tan(x), |x| x.is_finite() && x != 0.0)
        })],
        Reference::DuckDb("CASE WHEN isinf(a) OR a = 0 THEN error('range') ELSE cot(a) END"),
        &[
            example("cot(1)", "0.6420926159343306"),
            example("cot(0)", "error"),
        ],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: zero, an infinity"),
    function(
        "asin",
        "The angle in radians whose sine the number is.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::asin, |x| x.abs() <= 1.0)
        })],
        Reference::DuckDb(
            "CASE WHEN abs(a) > 1 AND NOT isnan(a) THEN error('range') ELSE asin(a) END",
        ),
        &[
            example("asin(1)", "1.5707963267948966"),
            example("asin(2)", "error"),
        ],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: below -1 or above 1"),
    function(
        "acos",
        "The angle in radians whose cosine the number is.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::acos, |x| x.abs() <= 1.0)
        })],
        Reference::DuckDb(
            "CASE WHEN abs(a) > 1 AND NOT isnan(a) THEN error('range') ELSE acos(a) END",
        ),
        &[example("acos(1)", "0.0")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: below -1 or above 1"),
    function(
        "atan",
        "The angle in radians whose tangent the number is.",
        &[takes(&[Double], Double, |_| float(libm::atan))],
        Reference::DuckDb("atan(a)"),
        &[example("atan(1)", "0.7853981633974483")],
    )
    .version(2)
    .float(IEEE),
    function(
        "atan2",
        "The angle in radians of the point (x, y), given as atan2(y, x).",
        &[takes(&[Double, Double], Double, |_| {
            values::<(Float, Float), Float, _>(|(y, x)| Ok(Some(libm::atan2(y, x))))
        })],
        Reference::DuckDb("atan2(a, b)"),
        &[example("atan2(1, -1)", "2.356194490192345")],
    )
    .version(2)
    .float(IEEE),
    function(
        "sinh",
        "The hyperbolic sine.",
        &[takes(&[Double], Double, |_| float(libm::sinh))],
        Reference::DuckDb("sinh(a)"),
        &[example("sinh(0)", "0.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "cosh",
        "The hyperbolic cosine.",
        &[takes(&[Double], Double, |_| float(libm::cosh))],
        Reference::DuckDb("cosh(a)"),
        &[example("cosh(0)", "1.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "tanh",
        "The hyperbolic tangent.",
        &[takes(&[Double], Double, |_| float(libm::tanh))],
        Reference::DuckDb("tanh(a)"),
        &[example("tanh(0)", "0.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "asinh",
        "The inverse of the hyperbolic sine.",
        &[takes(&[Double], Double, |_| float(libm::asinh))],
        Reference::DuckDb("asinh(a)"),
        &[example("asinh(0)", "0.0")],
    )
    .version(2)
    .float(IEEE),
    function(
        "acosh",
        "The inverse of the hyperbolic cosine.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::acosh, |x| x >= 1.0)
        })],
        Reference::Differs("DuckDB gives NaN below 1, which is a fault here, as in PostgreSQL"),
        &[example("acosh(1)", "0.0"), example("acosh(0)", "error")],
    )
    .version(2)
    .float(NAN_STAYS)
    .fault("out of range: below 1"),
    function(
        "atanh",
        "The inverse of the hyperbolic tangent.",
        &[takes(&[Double], Double, |_| {
            float_within(libm::atanh, |x| x.abs() <= 1.0)
        })],
        Reference::DuckDb(
            "CASE WHEN abs(a) > 1 AND NOT isnan(a) THEN error('range') ELSE atanh(a) END",
        ),
        &[example("atanh(0)", "0.0"), example("atanh(2)", "error")],
    )
    .version(2)
    .float("NaN gives NaN, 1 and -1 give infinities")
    .fault("out of range: below -1 or above 1"),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[("angles", ANGLES)];
