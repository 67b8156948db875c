//! Data of any shape, the same in every run.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// How proptest draws: so many cases, from a seed that does not change. A failure is repeated by running the test again.
pub fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}
