//! `torch.autocast`: within a region, operations compute in the type that the lists of PyTorch's CPU say
//! (`aten/src/ATen/autocast_mode.h`); and how 16-bit numbers are multiplied: in float32, rounded once.

use std::cell::Cell;

use burn::tensor::{DType, FloatDType};

use super::array::{Array, Kind};
use super::device::is_on_cpu;
use crate::Result;

thread_local! {
    /// What the innermost region around what this thread does casts to.
    static REGION: Cell<Option<DType>> = const { Cell::new(None) };
}

/// The region before, which comes back however the inner one ends.
struct Outer(Option<DType>);

impl Drop for Outer {
    fn drop(&mut self) {
        REGION.set(self.0);
    }
}

/// `with torch.autocast("cpu", dtype): act()`. `None` is `enabled=False`; so is, as in PyTorch, a type that has not 16 bits.
///
/// What is computed by this thread until `act` returns is cast: products, convolutions and attention to `dtype`, losses to float32, the
/// rest in the type of what it is given, where several meet in the widest. Normalisation computes in float32 and gives the type of its
/// input. The layers of [`nn`](crate::nn), the networks of the zoo and a [`Program`](crate::graph::Program) all go by it; `backward` needs
/// none. Regions may be within others.
///
/// ```
/// use burn::tensor::{DType, Device, FloatDType};
/// use rekindle_models::functional::{Array, autocast};
///
/// let x = Array::from_floats(&[0.1, 0.2, 0.3, 0.4], &[2, 2], DType::F32, &Device::flex())?;
/// let product = autocast(Some(FloatDType::BF16), || x.matmul(&x))?;
/// assert_eq!(product.dtype(), DType::BF16);
/// assert_eq!(x.matmul(&x)?.dtype(), DType::F32);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
pub fn autocast<T>(dtype: Option<FloatDType>, act: impl FnOnce() -> T) -> T {
    let dtype = dtype.map(DType::from).filter(|dtype| is_narrow(*dtype));
    let _outer = Outer(REGION.replace(dtype));
    act()
}

/// What the region that this thread is in casts to.
pub(crate) fn region() -> Option<FloatDType> {
    REGION.get().map(FloatDType::from)
}

/// Whether a type has 16 bits.
pub(crate) fn is_narrow(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// `tensor.to(dtype)` of what autocast casts: floating-point numbers, but for float64.
pub(crate) fn cast_eligible(x: &Array, dtype: DType) -> Result<Array> {
    if x.kind() == Kind::Float && x.dtype() != DType::F64 { x.cast(dtype) } else { Ok(x.clone()) }
}

/// Does it with each of these cast.
fn with_cast<const N: usize>(
    given: [&Array; N],
    more: Option<&Array>,
    cast: impl Fn(&Array) -> Result<Array>,
    compute: impl FnOnce([&Array; N], Option<&Array>) -> Result<Array>,
) -> Result<Array> {
    let mut all = given.map(Array::clone);
    for x in &mut all {
        *x = cast(x)?;
    }
    let more = more.map(cast).transpose()?;
    // What an operation consists of is not cast once more.
    autocast(None, || compute(all.each_ref(), more.as_ref()))
}

/// What is computed in the type of a region: products, convolutions, attention. Of 16-bit numbers, of a region or without one, it is
/// computed in float32 on the CPU, and rounded once.
pub(super) fn lower<const N: usize>(
    given: [&Array; N],
    more: Option<&Array>,
    compute: impl FnOnce([&Array; N], Option<&Array>) -> Result<Array>,
) -> Result<Array> {
    let floats = || given.iter().copied().chain(more).filter(|x| x.kind() == Kind::Float);
    let narrow = match REGION.get() {
        Some(dtype) => Some(dtype).filter(|_| floats().any(|x| x.dtype() != DType::F64)),
        None => {
            let first = floats().next().map(Array::dtype);
            first.filter(|&first| is_narrow(first) && floats().all(|x| x.dtype() == first))
        }
    };
    let Some(narrow) = narrow else { return autocast(None, || compute(given, more)) };
    if !floats().all(is_on_cpu) {
        return with_cast(given, more, |x| cast_eligible(x, narrow), compute);
    }
    let wide = |x: &Array| cast_eligible(&cast_eligible(x, narrow)?, DType::F32);
    let result = with_cast(given, more, wide, compute)?;
    if result.dtype() == DType::F32 { result.cast(narrow) } else { Ok(result) }
}

/// What is computed in float32 within a region: losses, and what is too coarse in 16 bits.
pub(super) fn full<const N: usize>(
    given: [&Array; N],
    more: Option<&Array>,
    compute: impl FnOnce([&Array; N], Option<&Array>) -> Result<Array>,
) -> Result<Array> {
    match REGION.get() {
        None => compute(given, more),
        Some(_) => with_cast(given, more, |x| cast_eligible(x, DType::F32), compute),
    }
}

/// As [`full`], of what consists of operations that keep their types.
pub(super) fn single<const N: usize>(given: [&Array; N]) -> Result<[Array; N]> {
    let mut all = given.map(Array::clone);
    if REGION.get().is_some() {
        for x in &mut all {
            *x = cast_eligible(x, DType::F32)?;
        }
    }
    Ok(all)
}
