//! Distances between two vectors of bin counts, and the tests built on them. Pure functions over
//! integers: equal counts give equal bits, on every platform (`libm` is the only source of
//! transcendental functions, sums run in bin order).
//!
//! Definitions: population stability index with a share floor; Kolmogorov-Smirnov distance over the
//! bins' right edges with Stephens' corrected tail; Jensen-Shannon *distance* in base 2; two-sample
//! chi-square on a 2 x k table with rare cells pooled; Benjamini and Hochberg's procedure (1995)
//! over the columns of one window.

mod tails;
#[cfg(test)]
mod tests;

pub(crate) use tails::{chi_square_tail, chi_square_threshold, kolmogorov_tail};

/// A share of zero counts as this much in the population stability index; shares are not
/// renormalised.
pub(crate) const SHARE_FLOOR: f64 = 1e-4;

/// Cells whose expected count is below this are pooled before a chi-square test.
pub(crate) const EXPECTED_MIN: f64 = 5.0;

/// Population stability index: sum of (p - q) ln(p / q) over the bins; None when either side is
/// empty.
#[must_use]
pub(crate) fn psi(reference: &[u64], current: &[u64]) -> Option<f64> {
    let (n, m) = totals(reference, current)?;
    let terms = reference
        .iter()
        .zip(current)
        .map(|(r, c)| psi_term(share(*r, n), share(*c, m)));
    Some(terms.sum())
}

/// What one bin adds to the index; `p` and `q` are its shares before the floor.
#[must_use]
pub(crate) fn psi_term(p: f64, q: f64) -> f64 {
    let floor = |share: f64| if share == 0.0 { SHARE_FLOOR } else { share };
    let (p, q) = (floor(p), floor(q));
    (p - q) * libm::log(p / q)
}

/// Kolmogorov-Smirnov distance: the greatest difference of the running shares at the bins' right
/// edges.
#[must_use]
pub(crate) fn ks_distance(reference: &[u64], current: &[u64]) -> Option<f64> {
    let (n, m) = totals(reference, current)?;
    let (mut below_reference, mut below_current, mut distance) = (0_u64, 0_u64, 0.0_f64);
    for (r, c) in reference.iter().zip(current) {
        below_reference += r;
        below_current += c;
        distance = distance.max((share(below_reference, n) - share(below_current, m)).abs());
    }
    Some(distance)
}

/// Probability of a distance of at least `distance` between samples of `n` and `m` values of one
/// distribution. Asymptotic with Stephens' correction: within 2 % of the exact tail from nm/(n+m) =
/// 1000 on; not for small samples.
#[must_use]
pub(crate) fn ks_probability(distance: f64, n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 {
        return 1.0;
    }
    let effective = n as f64 * m as f64 / (n as f64 + m as f64);
    let root = effective.sqrt();
    let s = root * distance;
    kolmogorov_tail(s + 1.0 / (6.0 * root) + (s - 1.0) / (4.0 * effective))
}

/// Jensen-Shannon distance (the root of the divergence), base 2, from 0 to 1.
#[must_use]
pub(crate) fn js_distance(reference: &[u64], current: &[u64]) -> Option<f64> {
    let (n, m) = totals(reference, current)?;
    let mut divergence = 0.0;
    for (r, c) in reference.iter().zip(current) {
        let (p, q) = (share(*r, n), share(*c, m));
        let middle = 0.5 * (p + q);
        for side in [p, q] {
            if side > 0.0 {
                divergence += 0.5 * side * libm::log(side / middle);
            }
        }
    }
    Some((divergence / std::f64::consts::LN_2).max(0.0).sqrt())
}

/// Outcome of a chi-square test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChiSquare {
    /// The statistic.
    pub(crate) statistic: f64,
    /// Degrees of freedom: pooled cells less one.
    pub(crate) degrees: usize,
    /// Upper tail.
    pub(crate) p: f64,
}

/// Two-sample chi-square test without Yates' correction. Cells of which either expected count is
/// below [`EXPECTED_MIN`] are pooled into the cell `pool_into`. None when fewer than two cells
/// remain or a side is empty.
#[must_use]
pub(crate) fn chi_square(
    reference: &[u64],
    current: &[u64],
    pool_into: usize,
) -> Option<ChiSquare> {
    let (n, m) = totals(reference, current)?;
    let total = (n + m) as f64;
    let mut pooled = (0_u64, 0_u64);
    let mut cells = Vec::with_capacity(reference.len());
    for (index, (r, c)) in reference.iter().zip(current).enumerate() {
        let least = (r + c) as f64 * n.min(m) as f64 / total;
        if index == pool_into || least < EXPECTED_MIN {
            pooled = (pooled.0 + r, pooled.1 + c);
        } else {
            cells.push((*r, *c));
        }
    }
    if pooled != (0, 0) {
        cells.push(pooled);
    }
    if cells.len() < 2 {
        return None;
    }
    let mut statistic = 0.0;
    for (r, c) in &cells {
        let cell = (r + c) as f64;
        for (observed, side) in [(*r, n), (*c, m)] {
            let expected = cell * side as f64 / total;
            statistic += (observed as f64 - expected) * (observed as f64 - expected) / expected;
        }
    }
    let degrees = cells.len() - 1;
    Some(ChiSquare {
        statistic,
        degrees,
        p: chi_square_tail(statistic, degrees as f64),
    })
}

/// Which hypotheses are rejected at false discovery rate `alpha`: with p ascending, all up to the
/// largest i for which p(i) <= i alpha / M. The answer is in the order of `p`.
#[must_use]
pub(crate) fn benjamini_hochberg(p: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let tests = p.len() as f64;
    let limit = order
        .iter()
        .enumerate()
        .rev()
        .find(|(rank, i)| p[**i] <= (*rank + 1) as f64 * alpha / tests);
    let mut rejected = vec![false; p.len()];
    if let Some((last, _)) = limit {
        for i in &order[..=last] {
            rejected[*i] = true;
        }
    }
    rejected
}

/// Share of `count` in `total`, which is not 0.
fn share(count: u64, total: u64) -> f64 {
    count as f64 / total as f64
}

fn totals(reference: &[u64], current: &[u64]) -> Option<(u64, u64)> {
    debug_assert_eq!(
        reference.len(),
        current.len(),
        "both sides are counted over the same bins"
    );
    let (n, m) = (reference.iter().sum(), current.iter().sum());
    (n > 0 && m > 0).then_some((n, m))
}
