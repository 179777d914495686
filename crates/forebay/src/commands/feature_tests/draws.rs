//! Numbers at random that follow from a seed and from the name of what is drawn: one test draws the
//! same whatever other tests there are.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A row of draws.
#[derive(Debug)]
pub(super) struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    /// The draws number `number` of `name`, by `seed`.
    pub(super) fn new(seed: u64, name: &str, number: u32) -> Self {
        let seed = xxh3_64_with_seed(name.as_bytes(), seed);
        Self {
            seed: xxh3_64_with_seed(&number.to_le_bytes(), seed),
            drawn: 0,
        }
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.drawn += 1;
        let bits = xxh3_64_with_seed(&self.drawn.to_le_bytes(), self.seed);
        // The high half of the product, which favours no number by more than 2^-64 of the bound.
        let product = u128::from(bits) * bound as u128;
        usize::try_from(product >> 64).expect("it is below a usize")
    }

    /// `items` in an order at random.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
