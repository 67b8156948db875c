//! The state of `PyTorch`'s CUDA generator: read, kept, written, and advanced as its operations advance it.

use crate::error::StateError;
use crate::generator::Seed;

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

    /// `torch.cuda.manual_seed(seed)`: at the beginning of a seed's sequence.
    #[must_use]
    pub fn new(seed: impl Into<Seed>) -> Self {
        Self { seed: seed.into().value(), offset: 0 }
    }

    /// Goes on by what an operation asks for, which `PyTorch` rounds up to a multiple of 4, and gives back the offset that the
    /// operation itself draws from: `philox_cuda_state` of ATen/cuda/CUDAGeneratorImpl.cpp.
    ///
    /// What an elementwise operation asks for is [`CudaDevice::increment`]; `torch.bernoulli(probabilities)` asks for 10.
    pub fn advance(&mut self, increment: u64) -> u64 {
        let before = self.offset;
        self.offset = before.wrapping_add(increment.div_ceil(4).wrapping_mul(4));
        before
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

/// Of a GPU what `PyTorch` shares the elements of a tensor out by. What is drawn depends on it: a run goes on with the numbers
/// of the GPU that it began on if these are that GPU's.
///
/// ```
/// use rekindle_random::{CudaDevice, CudaGeneratorState};
///
/// // torch.cuda.get_device_properties(0) of an H100 SXM
/// let device = CudaDevice { multi_processor_count: 132, max_threads_per_multi_processor: 2048 };
/// let mut state = CudaGeneratorState::new(42);
/// state.advance(device.increment(100, 4));
/// assert_eq!(state.offset, 4);
/// state.advance(device.increment(2_000_000, 4));
/// assert_eq!(state.offset, 12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CudaDevice {
    /// Streaming multiprocessors.
    pub multi_processor_count: u32,
    /// Threads that one of them keeps at a time.
    pub max_threads_per_multi_processor: u32,
}

/// Threads of a block.
const BLOCK_SIZE: u64 = 256;

impl CudaDevice {
    /// Threads that an operation on so many elements starts: one an element while there is room, in blocks of 256.
    #[must_use]
    pub fn threads(self, elements: u64) -> u64 {
        let blocks_at_most =
            u64::from(self.multi_processor_count) * (u64::from(self.max_threads_per_multi_processor) / BLOCK_SIZE);
        BLOCK_SIZE * elements.div_ceil(BLOCK_SIZE).min(blocks_at_most.max(1))
    }

    /// What one operation adds to the offset: `calc_execution_policy` of ATen/native/cuda/DistributionTemplates.h. Each thread
    /// draws four numbers of 32 bits at a time, which make `unroll` elements: 4, or 2 for `f64`, `i64` and integers of 2^28
    /// values and more. `dropout` of `f32` takes 4, too. No element asks for nothing.
    #[must_use]
    pub fn increment(self, elements: u64, unroll: u64) -> u64 {
        let Some(last) = elements.checked_sub(1) else { return 0 };
        (last / (self.threads(elements) * unroll.max(1)) + 1) * 4
    }
}
