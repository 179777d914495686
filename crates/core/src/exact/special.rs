//! Counters beside the limbs: how many values there were, and how many of them were NaN or
//! infinite. They are signed, so that a value can leave a sliding window again, an infinity too.

/// What a value is, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Finite,
    Nan,
    PositiveInfinity,
    NegativeInfinity,
}

fn class(value: f64) -> Class {
    if value.is_finite() {
        Class::Finite
    } else if value.is_nan() {
        Class::Nan
    } else if value > 0.0 {
        Class::PositiveInfinity
    } else {
        Class::NegativeInfinity
    }
}

/// Counts of the values that add no limbs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Specials {
    pub(super) nan: i64,
    pub(super) positive_infinity: i64,
    pub(super) negative_infinity: i64,
}

/// Number of values (not NULL) and, on the heap because they are rare, of the special ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) n: i64,
    specials: Option<Box<Specials>>,
}

impl Counts {
    pub(super) fn new(n: i64, specials: Specials) -> Self {
        Self {
            n,
            specials: (specials != Specials::default()).then(|| Box::new(specials)),
        }
    }

    /// Count `value` `by` times (1 or -1). True where it is finite and belongs into the limbs.
    #[inline]
    pub(super) fn note(&mut self, value: f64, by: i64) -> bool {
        self.n += by;
        if value.is_finite() {
            return true;
        }
        self.note_special(value, by);
        false
    }

    #[cold]
    fn note_special(&mut self, value: f64, by: i64) {
        let specials = self.specials.get_or_insert_default();
        match class(value) {
            Class::Finite => {}
            Class::Nan => specials.nan += by,
            Class::PositiveInfinity => specials.positive_infinity += by,
            Class::NegativeInfinity => specials.negative_infinity += by,
        }
        self.drop_zeros();
    }

    pub(super) fn merge(&mut self, other: &Self, negate: bool) {
        let by = if negate { -1 } else { 1 };
        self.n += by * other.n;
        if let Some(theirs) = &other.specials {
            let mine = self.specials.get_or_insert_default();
            mine.nan += by * theirs.nan;
            mine.positive_infinity += by * theirs.positive_infinity;
            mine.negative_infinity += by * theirs.negative_infinity;
            self.drop_zeros();
        }
    }

    pub(super) fn specials(&self) -> Option<Specials> {
        self.specials.as_deref().copied()
    }

    fn drop_zeros(&mut self) {
        if self.specials.as_deref() == Some(&Specials::default()) {
            self.specials = None;
        }
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n && self.specials() == other.specials()
    }
}

impl Eq for Counts {}
