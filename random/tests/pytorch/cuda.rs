//! The state of a CUDA generator, in both of PyTorch's forms.

use rekindle_random::{CudaGeneratorState, StateError};

const STATE: CudaGeneratorState = CudaGeneratorState { seed: u64::MAX - 6, offset: 1 << 40 };

#[test]
fn both_forms_round_trip() {
    assert_eq!(CudaGeneratorState::from_bytes(&STATE.to_bytes()), Ok(STATE));
    assert_eq!(CudaGeneratorState::from_bytes(&STATE.to_legacy_bytes()), Ok(STATE));
    assert_eq!(STATE.to_legacy_bytes()[..800], [0xff; 800]);
}

#[test]
fn a_state_without_offset_starts_at_zero() {
    let expected = CudaGeneratorState { offset: 0, ..STATE };
    assert_eq!(CudaGeneratorState::from_bytes(&STATE.to_bytes()[..8]), Ok(expected));
    assert_eq!(CudaGeneratorState::from_bytes(&STATE.to_legacy_bytes()[..808]), Ok(expected));
}

#[test]
fn every_other_size_is_refused() {
    for size in (0..1000).filter(|size| ![8, 16, 808, 816].contains(size)) {
        let refused = CudaGeneratorState::from_bytes(&vec![0; size]);
        assert_eq!(refused, Err(StateError::CudaSize { found: size }));
    }
}

#[test]
fn an_offset_between_two_philox_blocks_is_refused() {
    let bytes = CudaGeneratorState { seed: 0, offset: 6 }.to_bytes();
    assert_eq!(CudaGeneratorState::from_bytes(&bytes), Err(StateError::CudaOffset { found: 6 }));
}
