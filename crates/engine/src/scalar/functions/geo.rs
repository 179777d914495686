//! Places on the earth, a sphere of the mean radius: distance and direction. Angles are degrees, as
//! places are written; the arithmetic is that of the pinned `libm`.

use std::f64::consts::PI;

use forebay_core::fault::FaultKind;

use super::form::{example, function, takes};
use super::rows::{Float, Row, values};
use crate::scalar::function::Type::{self, Double};
use crate::scalar::function::{Function, Reference};

/// Mean radius of the earth (IUGG), metres.
const RADIUS_METRES: f64 = 6_371_008.8;

const PLACES: &[Type] = &[Double, Double, Double, Double];
const FLOAT: &str = "NaN gives NaN";
const FAULT: &str = "out of range: a latitude beyond 90 degrees, a longitude beyond 360";

/// Latitudes and longitudes in radians; NaN passes.
fn radians((lat1, lon1, lat2, lon2): (f64, f64, f64, f64)) -> Result<[f64; 4], FaultKind> {
    let beyond = |angle: f64, limit: f64| angle.abs() > limit;
    if beyond(lat1, 90.0) || beyond(lat2, 90.0) || beyond(lon1, 360.0) || beyond(lon2, 360.0) {
        return Err(FaultKind::Range);
    }
    Ok([lat1, lon1, lat2, lon2].map(|degrees| degrees * (PI / 180.0)))
}

fn haversine(places: (f64, f64, f64, f64)) -> Row<f64> {
    let [lat1, lon1, lat2, lon2] = radians(places)?;
    let half = |angle: f64| {
        let sine = libm::sin(angle / 2.0);
        sine * sine
    };
    let share = half(lat2 - lat1) + libm::cos(lat1) * libm::cos(lat2) * half(lon2 - lon1);
    // Rounding may take opposite places a little above 1. NaN stays: it is not above.
    let share = if share > 1.0 { 1.0 } else { share };
    Ok(Some(2.0 * RADIUS_METRES * libm::asin(libm::sqrt(share))))
}

/// Direction at the first place of the shortest way to the second.
fn bearing(places: (f64, f64, f64, f64)) -> Row<f64> {
    let [lat1, lon1, lat2, lon2] = radians(places)?;
    let east = libm::sin(lon2 - lon1) * libm::cos(lat2);
    let north = libm::cos(lat1) * libm::sin(lat2)
        - libm::sin(lat1) * libm::cos(lat2) * libm::cos(lon2 - lon1);
    let degrees = libm::atan2(east, north) * (180.0 / PI);
    let degrees = if degrees < 0.0 {
        degrees + 360.0
    } else {
        degrees
    };
    // Just west of north rounds to 360, which is north.
    Ok(Some(if degrees >= 360.0 { 0.0 } else { degrees }))
}

const EARTH: &[Function] = &[
    function(
        "haversine",
        "Metres between two places on a sphere of radius 6,371,008.8 m: haversine(lat1, lon1, \
         lat2, lon2), degrees.",
        &[takes(PLACES, Double, |_| {
            values::<(Float, Float, Float, Float), Float, _>(haversine)
        })],
        Reference::Differs("DuckDB has it in an extension alone; the formula is the haversine"),
        &[
            example("haversine(52.5, 13.4, 52.5, 13.4)", "0.0"),
            example("haversine(0, 0, 0, 180)", "20015114.442035925"),
            example("haversine(91, 0, 0, 0)", "error"),
        ],
    )
    .aliases(&["great_circle_distance"])
    .float(FLOAT)
    .fault(FAULT),
    function(
        "bearing",
        "Degrees from north, clockwise, in which the shortest way between two places begins: \
         bearing(lat1, lon1, lat2, lon2).",
        &[takes(PLACES, Double, |_| {
            values::<(Float, Float, Float, Float), Float, _>(bearing)
        })],
        Reference::Differs("DuckDB has no bearing; ours is the initial one"),
        &[
            example("bearing(0, 0, 0, 10)", "90.0"),
            example("bearing(0, 0, -10, 0)", "180.0"),
        ],
    )
    .float(FLOAT)
    .fault(FAULT),
];

/// The functions of this file.
pub(super) const FAMILIES: &[(&str, &[Function])] = &[("places on the earth", EARTH)];
