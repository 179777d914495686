//! Upper tails of the chi-square and Kolmogorov distributions, and the chi-square threshold of a
//! given tail. All through `libm`, so that replays on another platform give the same bits. Real
//! degrees of freedom are allowed: a fitted scaled chi-square has them.

/// Terms after which a series or continued fraction stops; reached only outside any use of this
/// crate.
const TERMS_MAX: u32 = 10_000;
const PRECISION: f64 = 1e-16;
const BISECTIONS: u32 = 200;

/// P(X >= x) for X chi-square with `degrees` (> 0) degrees of freedom.
#[must_use]
pub(crate) fn chi_square_tail(x: f64, degrees: f64) -> f64 {
    if x <= 0.0 || degrees <= 0.0 {
        return 1.0;
    }
    let (a, x) = (0.5 * degrees, 0.5 * x);
    if x < a + 1.0 {
        1.0 - lower_series(a, x)
    } else {
        upper_fraction(a, x)
    }
}

/// The x with P(X >= x) = `alpha`, by bisection; 0 < alpha < 1.
#[must_use]
pub(crate) fn chi_square_threshold(alpha: f64, degrees: f64) -> f64 {
    let mut high = degrees.max(1.0);
    while chi_square_tail(high, degrees) > alpha && high.is_finite() {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if chi_square_tail(middle, degrees) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(K >= z) of the Kolmogorov distribution: 2 sum (-1)^(k-1) exp(-2 k^2 z^2).
#[must_use]
pub(crate) fn kolmogorov_tail(z: f64) -> f64 {
    // Below this the tail is 1 to the last bit, and the alternating series would need many terms to
    // say so.
    if z < 0.15 {
        return 1.0;
    }
    let mut sum = 0.0;
    for k in 1..=100_u32 {
        let k = f64::from(k);
        let term = libm::exp(-2.0 * k * k * z * z);
        sum += if k % 2.0 == 1.0 { term } else { -term };
        if term < PRECISION * sum {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

/// x^a e^-x / Gamma(a), the factor of both expansions of the incomplete gamma function.
fn factor(a: f64, x: f64) -> f64 {
    libm::exp(a * libm::log(x) - x - libm::lgamma(a))
}

/// Regularised lower incomplete gamma function by its power series (Abramowitz and Stegun 6.5.29).
fn lower_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for k in 1..TERMS_MAX {
        term *= x / (a + f64::from(k));
        sum += term;
        if term < PRECISION * sum {
            break;
        }
    }
    sum * factor(a, x)
}

/// Regularised upper incomplete gamma function by its continued fraction (6.5.31), evaluated by
/// Lentz's method.
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for k in 1..TERMS_MAX {
        let k = f64::from(k);
        let numerator = -k * (k - a);
        b += 2.0;
        d = 1.0 / away_from_zero(numerator * d + b, TINY);
        c = away_from_zero(b + numerator / c, TINY);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < PRECISION {
            break;
        }
    }
    fraction * factor(a, x)
}

fn away_from_zero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}
