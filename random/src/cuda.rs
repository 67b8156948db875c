//! The state of `PyTorch`'s CUDA generator: read, kept, written. Its numbers are drawn on the GPU, and not here.

use crate::error::StateError;

/// Bytes before the seed in the states that `PyTorch` wrote up to 1.13.
const LEGACY_PADDING: usize = 800;

/// What `torch.cuda.get_rng_state()` holds: the seed of the Philox generator and how far it has run.
///
/// ```
/// use rekindle_random::CudaGeneratorState;
///
/// # fn main() -> Result<(), rekindle_random::StateError> {
/// let state = CudaGeneratorState::from_bytes(&[42, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0])?;
/// assert_eq!(state, CudaGeneratorState { seed: 42, offset: 8 });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CudaGeneratorState {
    /// The seed, as `torch.cuda.initial_seed()` shows it.
    pub seed: u64,
    /// Position in the Philox sequence of each thread, a multiple of 4.
    pub offset: u64,
}

impl CudaGeneratorState {
    /// Reads a state: 16 bytes of `PyTorch` 2, or the 816 bytes written up to 1.13. A state without its 8 bytes of offset (8 or
    /// 808 bytes) comes from a release that had none, and starts at offset 0.
    ///
    /// # Errors
    /// If the size is none of these, or the offset is not a multiple of 4.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let size_error = StateError::CudaSize { found: bytes.len() };
        let fields = bytes.get(LEGACY_PADDING..).unwrap_or(bytes);
        let (seed, offset) = match fields.split_first_chunk::<8>() {
            Some((seed, [])) => (seed, &[0; 8]),
            Some((seed, rest)) => (seed, rest.try_into().map_err(|_| size_error)?),
            None => return Err(size_error),
        };
        let state = Self { seed: u64::from_le_bytes(*seed), offset: u64::from_le_bytes(*offset) };
        if state.offset.is_multiple_of(4) { Ok(state) } else { Err(StateError::CudaOffset { found: state.offset }) }
    }

    /// The 16 bytes that `torch.cuda.set_rng_state` takes in `PyTorch` 2.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// The 816 bytes that `torch.cuda.set_rng_state` takes up to `PyTorch` 1.13.
    #[must_use]
    pub fn to_legacy_bytes(&self) -> [u8; LEGACY_PADDING + 16] {
        let mut bytes = [0xff; LEGACY_PADDING + 16];
        bytes[LEGACY_PADDING..].copy_from_slice(&self.to_bytes());
        bytes
    }
}
