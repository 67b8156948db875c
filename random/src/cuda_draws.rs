//! What `PyTorch` draws on a GPU, drawn here: `uniform_`, `random_` and `bernoulli_` of a contiguous tensor, in the order in which
//! the threads of `distribution_elementwise_grid_stride_kernel` (ATen/native/cuda/DistributionTemplates.h) fill it.
//!
//! Numbers that take a logarithm, a sine or a cosine (normal, exponential) come from the GPU's own approximations, and the
//! masks of its fused dropout from kernels that depend on how tensors lie: these are not drawn here. How far the offset
//! goes on is known for all of them, see [`CudaDevice::increment`].

use std::mem::size_of;

use crate::cuda::{CudaDevice, CudaGeneratorState};
use crate::error::ParameterError;
use crate::number::Number;
use crate::philox::philox;
use crate::real::Real;
use crate::real::sealed::Compute;
use crate::uniform;

/// From this many possible values on, 64 bits are drawn for an integer.
const WIDE_RANGE: u64 = 1 << 28;

impl CudaGeneratorState {
    /// `values.uniform_(from, to)` on the GPU.
    ///
    /// A draw is of (0, 1], 32 bits (`f64`: 53) moved up by half a step, as cuRAND does; multiplied by the width and added to
    /// `from` in one rounding; what is `to` becomes `from`.
    ///
    /// ```
    /// use rekindle_random::{CudaDevice, CudaGeneratorState};
    ///
    /// let device = CudaDevice { multi_processor_count: 132, max_threads_per_multi_processor: 2048 };
    /// let mut state = CudaGeneratorState::new(0); // torch.cuda.manual_seed(0)
    /// let mut values = [0.0_f32; 3];
    /// state.uniform_(device, &mut values, 0.0, 1.0)?; // torch.rand(3, device="cuda")
    /// assert_eq!(values, [0.39904648, 0.51667917, 0.024930386]);
    /// # Ok::<(), rekindle_random::ParameterError>(())
    /// ```
    ///
    /// # Errors
    /// As [`uniform_`](crate::uniform_). Nothing is drawn then.
    pub fn uniform_<T: Real>(
        &mut self,
        device: CudaDevice,
        values: &mut [T],
        from: f64,
        to: f64,
    ) -> Result<(), ParameterError> {
        uniform::check::<T>(from, to)?;
        let (from, to) = (T::from_f64(from), T::from_f64(to));
        let range = T::from_f64(to.into() - from.into()).widen();
        let scaled = |unit: T::Wide| {
            let value = T::narrow(T::Wide::multiply_add(unit, range, from.widen()));
            if value == to { from } else { value }
        };
        if is_double::<T::Wide>() {
            self.fill(device, values, |bits| doubles(bits).map(|unit| scaled(T::Wide::nearest(unit))));
        } else {
            self.fill(device, values, |bits| floats(bits).map(|unit| scaled(T::Wide::nearest(unit.into()))));
        }
        Ok(())
    }

    /// `values.bernoulli_(p)` on the GPU: ones where a draw as in [`uniform_`](Self::uniform_) of (0, 1] is less than `p`.
    ///
    /// # Errors
    /// If `p` is not in 0 to 1. Nothing is drawn then.
    pub fn bernoulli_<T: Number>(
        &mut self,
        device: CudaDevice,
        values: &mut [T],
        p: f64,
    ) -> Result<(), ParameterError> {
        if !(0.0..=1.0).contains(&p) {
            return Err(ParameterError::Probability { p });
        }
        if T::IS_FLOAT && T::IS_64_BIT {
            self.fill(device, values, |bits| doubles(bits).map(|unit| T::from_i64((unit < p).into())));
        } else {
            let p = f32::nearest(p);
            self.fill(device, values, |bits| floats(bits).map(|unit| T::from_i64((unit < p).into())));
        }
        Ok(())
    }

    /// `values.random_()` on the GPU, see [`random_`](crate::random_).
    ///
    /// # Errors
    /// As [`random_`](crate::random_). Nothing is drawn then.
    pub fn random_<T: Number>(&mut self, device: CudaDevice, values: &mut [T]) -> Result<(), ParameterError> {
        let count = T::COUNT.ok_or(ParameterError::Type { operation: "random_", dtype: T::DTYPE })?;
        self.integers(device, values, 0, count, T::IS_64_BIT);
        Ok(())
    }

    /// `values.random_(low, high)` on the GPU, and so `torch.randint`, see [`random_from_to_`](crate::random_from_to_).
    ///
    /// # Errors
    /// As [`random_from_to_`](crate::random_from_to_). Nothing is drawn then.
    pub fn random_from_to_<T: Number>(
        &mut self,
        device: CudaDevice,
        values: &mut [T],
        low: i64,
        high: i64,
    ) -> Result<(), ParameterError> {
        let (low, range) = crate::integer::bounds::<T>(low, high)?;
        self.integers(device, values, low, range, range >= WIDE_RANGE);
        Ok(())
    }

    fn integers<T: Number>(&mut self, device: CudaDevice, values: &mut [T], low: i64, range: u64, wide: bool) {
        let integer = |bits: u64| T::from_i64(low.wrapping_add_unsigned(bits % range));
        if wide {
            self.fill(device, values, |[a, b, c, d]| [joined(a, b), joined(c, d)].map(integer));
        } else {
            self.fill(device, values, |bits| bits.map(u64::from).map(integer));
        }
    }

    /// Fills as the threads do: each takes one element of each row of threads, `N` of them from four numbers at a time.
    fn fill<T: Copy, const N: usize>(
        &mut self,
        device: CudaDevice,
        values: &mut [T],
        elements: impl Fn([u32; 4]) -> [T; N] + Copy,
    ) {
        if values.is_empty() {
            return;
        }
        let numel = values.len() as u64;
        let start = self.advance(device.increment(numel, N as u64)) / 4;
        // Tensors that take more than 31 bits to walk through are cut in two until they do not; they have advanced already.
        if values.len().saturating_mul(size_of::<T>()) > i32::MAX as usize {
            let (front, back) = values.split_at_mut(values.len() / 2);
            self.fill(device, front, elements);
            return self.fill(device, back, elements);
        }
        let threads = usize::try_from(device.threads(numel)).unwrap_or(usize::MAX);
        for (round, part) in (start..).zip(values.chunks_mut(threads.saturating_mul(N))) {
            for thread in 0..threads.min(part.len()) {
                let drawn = elements(philox(self.seed, thread as u64, round));
                for (place, value) in (thread..part.len()).step_by(threads).zip(drawn) {
                    part[place] = value;
                }
            }
        }
    }
}

fn is_double<T: Compute>() -> bool {
    T::DIGITS > f32::MANTISSA_DIGITS
}

/// `curand_uniform4`.
#[expect(clippy::cast_precision_loss, reason = "as cuRAND rounds")]
fn floats(bits: [u32; 4]) -> [f32; 4] {
    const STEP: f32 = 1.0 / (1_u64 << 32) as f32;
    bits.map(|bits| bits as f32 * STEP + STEP / 2.0)
}

/// `curand_uniform2_double`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in f64")]
fn doubles([a, b, c, d]: [u32; 4]) -> [f64; 2] {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    [(a, b), (c, d)].map(|(low, high)| (u64::from(low) ^ (u64::from(high) << 21)) as f64 * STEP + STEP / 2.0)
}

/// Two numbers as one, the first above.
fn joined(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
