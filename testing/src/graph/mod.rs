//! Object graphs of any shape, grown from a string of bytes, and what can be said of them: `grow.rs` makes them,
//! `tensors.rs` the tensors in them, `describe.rs` says what they are.

mod describe;
mod grow;
mod tensors;

pub use describe::{describe, difference};
pub use grow::{Kinds, grow};

/// Bytes from a seed (`SplitMix64`), as many as a graph of middling size takes.
pub fn entropy(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let words = 20 + next() % 100;
    (0..words).flat_map(|_| next().to_le_bytes()).collect()
}
