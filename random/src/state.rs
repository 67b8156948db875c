//! The 5,056 bytes of `torch.get_rng_state()`, both ways. All numbers are little-endian.
//!
//! | Offset | Type | Field |
//! |---|---|---|
//! | 0 | u64 | seed |
//! | 8 | i32 | `left`: draws until the words are renewed |
//! | 12 | i32 | seeded: 1 |
//! | 16 | u64 | `next`: index of the next word |
//! | 24 | u64 x 624 | words, 32 bits used of each |
//! | 5016 | f64 | unused, 0 |
//! | 5024 | f64 | cached normal value |
//! | 5032 | f64 | unused, 0 |
//! | 5040 | i32 | whether the cached value is valid |
//! | 5044 | | 4 bytes of padding |
//! | 5048 | f32 | cached `float` normal value, which no kernel of `PyTorch`'s fills |
//! | 5052 | u8 | whether that one is valid |
//! | 5053 | | 3 bytes of padding |

use crate::error::StateError;
use crate::generator::Generator;
use crate::mt19937::{Mt19937, WORDS};

/// Bytes of a CPU generator's state, as `torch.get_rng_state()` returns it.
pub const STATE_SIZE: usize = 5056;

impl Generator {
    /// The state as `torch.get_rng_state()` gives it, byte for byte.
    #[must_use]
    pub fn state(&self) -> [u8; STATE_SIZE] {
        let mut bytes = [0; STATE_SIZE];
        let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &self.seed.to_le_bytes());
        put(8, &self.engine.left().to_le_bytes());
        put(12, &1_i32.to_le_bytes());
        put(16, &u64::from(self.engine.next()).to_le_bytes());
        for (index, word) in self.engine.words().iter().enumerate() {
            put(24 + 8 * index, &u64::from(*word).to_le_bytes());
        }
        if let Some(cached) = self.cached_normal {
            put(5024, &cached.to_le_bytes());
            put(5040, &1_i32.to_le_bytes());
        }
        if let Some(cached) = self.cached_float_normal {
            put(5048, &cached.to_le_bytes());
            put(5052, &[1]);
        }
        bytes
    }

    /// Continues from a state that `torch.get_rng_state()` or [`Generator::state`] gave.
    ///
    /// As in `PyTorch`, the unused and padding bytes are not looked at, nor are the upper halves of the words and of `next`.
    ///
    /// # Errors
    /// Leaves the generator as it was and says what is wrong if the bytes are not 5,056, if the state was never seeded, or if
    /// its position lies outside the words.
    pub fn set_state(&mut self, state: &[u8]) -> Result<(), StateError> {
        *self = Self::from_state(state)?;
        Ok(())
    }

    /// A generator that continues from a state, see [`Generator::set_state`].
    ///
    /// # Errors
    /// As [`Generator::set_state`].
    pub fn from_state(state: &[u8]) -> Result<Self, StateError> {
        let size_error = StateError::Size { found: state.len() };
        let state: &[u8; STATE_SIZE] = state.try_into().map_err(|_| size_error)?;

        let left = i32::from_le_bytes(field(state, 8));
        let next = u32::from_le_bytes(field(state, 16));
        if i32::from_le_bytes(field(state, 12)) == 0 {
            return Err(StateError::NotSeeded);
        }
        let left =
            u32::try_from(left).ok().filter(|left| (1..=624).contains(left)).ok_or(StateError::Left { found: left })?;
        if next > 624 {
            return Err(StateError::Next { found: next });
        }
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32::from_le_bytes(field(state, 24 + 8 * index));
        }
        let flag = i32::from_le_bytes(field(state, 5040)) != 0;
        let [float_flag] = field(state, 5052);
        Ok(Self {
            seed: u64::from_le_bytes(field(state, 0)),
            engine: Mt19937::from_parts(&words, left, next).ok_or(StateError::Position { left, next })?,
            cached_normal: flag.then(|| f64::from_le_bytes(field(state, 5024))),
            cached_float_normal: (float_flag != 0).then(|| f32::from_le_bytes(field(state, 5048))),
        })
    }
}

/// The `N` bytes at an offset, which is one of the table's and so lies inside the state.
fn field<const N: usize>(state: &[u8; STATE_SIZE], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| state[offset + index])
}
