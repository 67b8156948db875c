//! State dicts and files that several rows have.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use rekindle::recorder::DType;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, StateDict, Tensor};

use super::Result;

/// Numbers that look like weights and cost little to make.
pub(super) fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // The sign and mantissa are any, the exponent is that of 1/64.
        f32::from_bits(state & 0x807f_ffff | 0x3c80_0000)
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// So many matrices of random numbers.
pub(super) fn matrices(count: usize, shape: [usize; 2]) -> Result<StateDict> {
    let mut state_dict = StateDict::new();
    for (at, seed) in (0..count).zip(1..) {
        let tensor = Tensor::from_vec(&shape, numbers(shape[0] * shape[1], seed * 7_919))?;
        state_dict.insert(format!("layers.{at}.weight"), tensor);
    }
    Ok(state_dict)
}

/// A file of matrices of zeros that takes no room on the disk: where they lie it has holes, which read as zeros.
pub(super) fn sparse(path: &Path, count: usize, shape: [usize; 2]) -> Result<()> {
    let zeros = Bytes::from(vec![0_u8; shape[0] * shape[1] * 4]);
    let mut state_dict = StateDict::new();
    for at in 0..count {
        // Each its own storage, over one and the same memory.
        let tensor = Tensor::from_le_bytes(DType::Float32, &shape, zeros.clone())?;
        state_dict.insert(format!("layers.{at}.weight"), tensor);
    }
    let mut file = Holes { file: File::create(path)?, at: 0 };
    Checkpoint::from(state_dict).write_to(&mut file, &SaveOptions::default())?;
    file.file.set_len(file.at)?;
    Ok(())
}

/// A file in which long runs of zeros are left out.
struct Holes {
    file: File,
    at: u64,
}

impl Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let hole = bytes.len() >= 4096 && bytes.iter().all(|byte| *byte == 0);
        if !hole {
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.write_all(bytes)?;
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
