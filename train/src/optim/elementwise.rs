//! Updates that treat each element by itself, in one pass over memory: parameter, gradient and state are read and written
//! once, on all cores, with the widest instructions of the processor. The same formula runs as tensor operations elsewhere.

use burn::tensor::{Tensor, bf16, f16};
use pulp::{Arch, Simd, WithSimd};
use rekindle_recorder::Result;

use super::array::Real;
use super::number::Number;
use crate::attributes::invalid;

/// An update of one element: its value, its gradient and its `K` values of state to the new value and state.
pub(crate) trait Kernel<const K: usize>: Copy + Send + Sync {
    /// The new value and state.
    fn apply<X: Number>(self, param: X, grad: X, state: [X; K]) -> (X, [X; K]);
}

/// An update that is ready to run on each piece of a parameter: the rule with its numbers filled in.
pub(crate) trait Update: Send + Sync {
    /// The names of the state tensors that it reads and writes, in order.
    fn state(&self) -> &[&'static str];

    /// Updates elements in host memory.
    fn host(&self, elements: Elements<'_>) -> Result<()>;

    /// Updates tensors on any device; gives the new parameter and state.
    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)>;
}

/// A parameter, its gradient and its state in host memory, in the parameter's type.
pub(crate) enum Elements<'a> {
    F32(Slices<'a, f32>),
    F64(Slices<'a, f64>),
    F16(Slices<'a, f16>),
    BF16(Slices<'a, bf16>),
}

/// Elements of one type.
pub(crate) struct Slices<'a, T> {
    pub(crate) param: &'a mut [T],
    pub(crate) grad: &'a [T],
    pub(crate) state: Vec<&'a mut [T]>,
}

/// An [`Update`] whose formula for elements in host memory is one for all of their types.
pub(crate) trait Formula: Send + Sync {
    fn state(&self) -> &[&'static str];

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()>;

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)>;
}

impl<F: Formula> Update for F {
    fn state(&self) -> &[&'static str] {
        Formula::state(self)
    }

    fn host(&self, elements: Elements<'_>) -> Result<()> {
        match elements {
            Elements::F32(Slices { param, grad, state }) => Formula::host(self, param, grad, state),
            Elements::F64(Slices { param, grad, state }) => Formula::host(self, param, grad, state),
            Elements::F16(Slices { param, grad, state }) => Formula::host(self, param, grad, state),
            Elements::BF16(Slices { param, grad, state }) => Formula::host(self, param, grad, state),
        }
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        Formula::tensor(self, param, grad, state)
    }
}

/// A [`Formula`] by a [`Kernel`].
#[derive(Debug)]
pub(crate) struct Elementwise<F, const K: usize> {
    /// The names of the state tensors.
    pub(crate) state: [&'static str; K],
    /// The formula with its numbers.
    pub(crate) kernel: F,
}

impl<F: Kernel<K>, const K: usize> Formula for Elementwise<F, K> {
    fn state(&self) -> &[&'static str] {
        &self.state
    }

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()> {
        let mut state = <[&mut [T]; K]>::try_from(state).map_err(|_| mismatch())?;
        if grad.len() != param.len() || state.iter().any(|values| values.len() != param.len()) {
            return Err(mismatch());
        }
        // What is left when the registers are full, of types of which it is computed otherwise.
        let full = param.len() / T::VECTOR * T::VECTOR;
        for place in full..param.len() {
            let before = std::array::from_fn(|k| state[k][place].as_rest());
            let (value, after) = self.kernel.apply(param[place].as_rest(), grad[place].as_rest(), before);
            param[place] = T::of_rest(value);
            state.iter_mut().zip(after).for_each(|(values, after)| values[place] = T::of_rest(after));
        }
        let state = state.map(|values| &mut values[..full]);
        split(Pass { kernel: self.kernel, param: &mut param[..full], grad: &grad[..full], state });
        Ok(())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)> {
        let state = <[Tensor<1>; K]>::try_from(state).map_err(|_| mismatch())?;
        let (param, state) = self.kernel.apply(param, grad, state);
        Ok((param, state.into()))
    }
}

fn mismatch() -> rekindle_recorder::Error {
    invalid("a parameter, its gradient and its optimizer state do not have the same number of elements")
}

/// Elements that one core takes at a time: enough to be worth waking one, few enough to share out evenly.
pub(super) const PART: usize = 1 << 16;

struct Pass<'a, T, F, const K: usize> {
    kernel: F,
    param: &'a mut [T],
    grad: &'a [T],
    state: [&'a mut [T]; K],
}

fn split<T, F, const K: usize>(pass: Pass<'_, T, F, K>)
where
    T: Number + Copy + Send + Sync,
    F: Kernel<K>,
{
    let len = pass.param.len();
    if len <= PART {
        Arch::new().dispatch(pass);
        return;
    }
    let middle = (len / 2).next_multiple_of(64);
    let kernel = pass.kernel;
    let (param, param_rest) = pass.param.split_at_mut(middle);
    let (grad, grad_rest) = pass.grad.split_at(middle);
    let mut halves = pass.state.map(|values| values.split_at_mut(middle));
    let state = halves.each_mut().map(|(half, _)| std::mem::take(half));
    let state_rest = halves.map(|(_, half)| half);
    rayon::join(
        || split(Pass { kernel, param, grad, state }),
        || split(Pass { kernel, param: param_rest, grad: grad_rest, state: state_rest }),
    );
}

impl<T: Number + Copy, F: Kernel<K>, const K: usize> WithSimd for Pass<'_, T, F, K> {
    type Output = ();

    // Inlined into a function that may use the processor's vector and fused multiply-add instructions.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pass { kernel, param, grad, state } = self;
        let len = param.len();
        // Said once, so that no place below is checked again. All slices have this length.
        let grad = &grad[..len];
        let state = state.map(|values| &mut values[..len]);
        for place in 0..len {
            let before = std::array::from_fn(|k| state[k][place]);
            let (value, after) = kernel.apply(param[place], grad[place], before);
            param[place] = value;
            for k in 0..K {
                state[k][place] = after[k];
            }
        }
    }
}
