//! Operators of our own for the CPU: a training step on Burn's `flex` spends nearly all of its time in a few of them.
//!
//! Each is a file here: the formula with its source, forward and backward, over plain slices, on several threads. They serve
//! 32-bit floating-point numbers on `flex`, with a tape or without, on a processor that has vectors (AVX2, AVX-512, NEON, found
//! at run time); anything else takes the plain path, which is Burn's. What they give does not
//! depend on the number of threads.
//!
//! The environment variable `REKINDLE_OPERATORS=plain` turns all of them off, and [`with_plain_operators`] does for a function.

mod attention;
mod backend;
mod batch_norm;
mod conv;
mod conv_plan;
mod conv_sweep;
mod conv_weight;
mod few;
mod gemm;
mod layer_norm;
mod linear;
mod lstm;
mod math;
mod max_pool;
mod memory;
mod nothing;
mod pack;
mod pointwise;
mod simd;
mod softmax;
mod threads;

use std::cell::Cell;
use std::sync::LazyLock;
use std::thread::LocalKey;

use burn::backend::{DispatchDevice, DispatchTensor};
use burn::tensor::DType;

use super::array::Array;
pub(super) use backend::Operator;

pub(super) use attention::Attention;
pub(super) use batch_norm::{BatchNorm, FixedNorm};
pub(super) use conv::Conv2d;
pub(super) use layer_norm::LayerNorm;
pub(super) use linear::{Linear, Matmul};
pub(super) use lstm::Lstm;
pub(super) use max_pool::MaxPool;
pub(super) use pointwise::{Add, Pointwise};
pub(super) use softmax::Softmax;

/// Whether the environment leaves the operators on.
static ON: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("REKINDLE_OPERATORS").is_none_or(|value| value != "plain"));

thread_local! {
    /// Whether this thread asked for the plain path.
    static PLAIN: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread asked for the operators of our own where Burn's are as good.
    static ALWAYS: Cell<bool> = const { Cell::new(false) };
}

/// Runs the function with Burn's operators only, where our own for the CPU would compute: to compare the two, say. It counts for
/// what this thread calls; gradients go the way that the forward pass went. (`REKINDLE_OPERATORS=plain` in the environment does
/// so for the whole program.)
///
/// ```
/// use burn::tensor::{DType, Device};
/// use rekindle_models::functional::{Array, with_plain_operators};
///
/// let x = Array::from_floats(&[0.5, -1.0], &[2], DType::F32, &Device::flex())?;
/// let (own, plain) = (x.gelu(false)?, with_plain_operators(|| x.gelu(false))?);
/// assert!((own.sub(&plain)?.floats()?[0]).abs() < 1e-7);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
pub fn with_plain_operators<T>(run: impl FnOnce() -> T) -> T {
    within(&PLAIN, run)
}

/// Runs the function with operators of our own for tensors so small, too, that Burn's are as fast: to compare the two. Which sizes
/// these are is each operator's `LEAST`.
pub fn with_own_operators<T>(run: impl FnOnce() -> T) -> T {
    within(&ALWAYS, run)
}

fn within<T>(flag: &'static LocalKey<Cell<bool>>, run: impl FnOnce() -> T) -> T {
    /// Puts the former state back, after a panic, too.
    struct Back(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _back = Back(flag, flag.replace(true));
    run()
}

/// Whether so much work is worth the packing that an operator of our own does first.
pub(super) fn pays(work: usize, least: usize) -> bool {
    work >= least || ALWAYS.get()
}

/// What the operator gives, where it serves: all inputs are 32-bit floating-point numbers on `flex`, and none is empty.
pub(super) fn computed(operator: impl Operator + 'static, inputs: &[&Array]) -> Option<DispatchTensor> {
    if !serves(inputs) {
        return None;
    }
    backend::run(operator, &inputs.iter().map(|input| input.prim()).collect::<Vec<_>>())
}

/// Zeros of this shape, which is Burn's, made of tensors of `flex`: no gradient comes from them to anything.
pub(super) fn nothing(shape: Vec<usize>, dtype: DType, inputs: &[&Array]) -> Option<DispatchTensor> {
    backend::run(nothing::Nothing { shape, dtype }, &inputs.iter().map(|input| input.prim()).collect::<Vec<_>>())
}

/// Whether the operators compute for these tensors.
pub(super) fn serves(inputs: &[&Array]) -> bool {
    let fits = |input: &&Array| {
        // Devices are equal with a tape and without.
        input.dtype() == DType::F32
            && input.numel() > 0
            && *input.device().as_dispatch() == DispatchDevice::Flex(burn::backend::flex::FlexDevice)
    };
    *ON && !PLAIN.get() && simd::lanes() > 0 && inputs.iter().all(fits)
}
