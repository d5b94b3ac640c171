//! Random numbers from the seed of the property tests, so that a failure comes again, and `make soak` tries others.

use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};

/// The seed of the property tests.
pub fn seed() -> u64 {
    let given = std::env::var("PROPTEST_RNG_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Random numbers.
pub struct Random(TestRng);

impl Random {
    /// Those of the seed; each `series` has others.
    pub fn new(series: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed().to_le_bytes());
        bytes[8..16].copy_from_slice(&series.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % bound
    }
}
