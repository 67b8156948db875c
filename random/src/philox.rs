//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011), the generator of CUDA's cuRAND and so of `PyTorch` on a GPU: a cipher
//! over a counter, with no state of its own.

/// What the two halves of a counter are multiplied by.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by after each round: the golden ratio, and the square root of 3 less 1.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// Four numbers of 32 bits, as `at::Philox4_32(seed, subsequence, offset)` and cuRAND's `curand4` give them: `seed` is the key,
/// `subsequence` (the thread) and `offset` (the fours before these) the counter. cuRAND's own offset counts single numbers.
///
/// ```
/// assert_eq!(rekindle_random::philox(0, 0, 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
/// ```
#[must_use]
#[inline]
pub fn philox(seed: u64, subsequence: u64, offset: u64) -> [u32; 4] {
    let mut key = halves(seed);
    let ([c0, c1], [c2, c3]) = (halves(offset), halves(subsequence));
    let mut counter = [c0, c1, c2, c3];
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let [low_0, high_0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low_1, high_1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
    }
    counter
}

/// The lower and the upper 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "halves are the purpose")]
fn halves(bits: u64) -> [u32; 2] {
    [bits as u32, (bits >> 32) as u32]
}
