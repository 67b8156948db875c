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
    pub(crate) param: Place<'a, T>,
    pub(crate) grad: &'a [T],
    pub(crate) state: Vec<Place<'a, T>>,
}

/// Elements that are to be changed. Where something else holds them, too, such as a checkpoint that is being written, they stay as
/// they are, and what comes of them goes elsewhere.
pub(crate) struct Place<'a, T> {
    pub(crate) to: &'a mut [T],
    /// Where they are taken from, if they do not lie there already.
    pub(crate) from: Option<&'a [T]>,
}

impl<'a, T: Copy> Place<'a, T> {
    /// All of them, where they are to be.
    fn filled(self) -> &'a mut [T] {
        if let Some(from) = self.from {
            self.to.copy_from_slice(from);
        }
        self.to
    }

    fn len(&self) -> usize {
        self.to.len()
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        let (one, two) = self.to.split_at_mut(middle);
        let from = self.from.map(|from| from.split_at(middle));
        (Place { to: one, from: from.map(|from| from.0) }, Place { to: two, from: from.map(|from| from.1) })
    }
}

/// An [`Update`] whose formula for elements in host memory is one for all of their types.
pub(crate) trait Formula: Send + Sync {
    fn state(&self) -> &[&'static str];

    fn host<T: Real>(&self, param: &mut [T], grad: &[T], state: Vec<&mut [T]>) -> Result<()>;

    /// As [`host`](Self::host), of elements that may have to be brought to their places first.
    fn moved<T: Real>(&self, slices: Slices<'_, T>) -> Result<()> {
        let Slices { param, grad, state } = slices;
        self.host(param.filled(), grad, state.into_iter().map(Place::filled).collect())
    }

    fn tensor(&self, param: Tensor<1>, grad: Tensor<1>, state: Vec<Tensor<1>>) -> Result<(Tensor<1>, Vec<Tensor<1>>)>;
}

impl<F: Formula> Update for F {
    fn state(&self) -> &[&'static str] {
        Formula::state(self)
    }

    fn host(&self, elements: Elements<'_>) -> Result<()> {
        match elements {
            Elements::F32(slices) => self.moved(slices),
            Elements::F64(slices) => self.moved(slices),
            Elements::F16(slices) => self.moved(slices),
            Elements::BF16(slices) => self.moved(slices),
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
        let place = |to| Place { to, from: None };
        self.moved(Slices { param: place(param), grad, state: state.into_iter().map(place).collect() })
    }

    fn moved<T: Real>(&self, Slices { param, grad, state }: Slices<'_, T>) -> Result<()> {
        let state = <[Place<'_, T>; K]>::try_from(state).map_err(|_| mismatch())?;
        if grad.len() != param.len() || state.iter().any(|values| values.len() != param.len()) {
            return Err(mismatch());
        }
        // What is left when the registers are full, of types of which it is computed otherwise.
        let full = param.len() / T::VECTOR * T::VECTOR;
        let ((grad, grad_rest), (param, param_rest)) = (grad.split_at(full), param.split_at(full));
        let (state, state_rest) = halves(state, full);
        let (param_rest, mut state_rest) = (param_rest.filled(), state_rest.map(Place::filled));
        for place in 0..param_rest.len() {
            let before = std::array::from_fn(|k| state_rest[k][place].as_rest());
            let (value, after) = self.kernel.apply(param_rest[place].as_rest(), grad_rest[place].as_rest(), before);
            param_rest[place] = T::of_rest(value);
            state_rest.iter_mut().zip(after).for_each(|(values, after)| values[place] = T::of_rest(after));
        }
        split(Pass { kernel: self.kernel, param, grad, state });
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
/// As many are copied at once, so that they are in the nearest cache when they are computed with.
const NEAR: usize = 1 << 11;

/// Both parts of each.
fn halves<T: Copy, const K: usize>(places: [Place<'_, T>; K], middle: usize) -> ([Place<'_, T>; K], [Place<'_, T>; K]) {
    let mut halves = places.map(|place| place.split_at(middle));
    let first = halves.each_mut().map(|(half, _)| std::mem::take(half));
    (first, halves.map(|(_, half)| half))
}

impl<T> Default for Place<'_, T> {
    /// None.
    fn default() -> Self {
        Place { to: &mut [], from: None }
    }
}

struct Pass<'a, T, F, const K: usize> {
    kernel: F,
    param: Place<'a, T>,
    grad: &'a [T],
    state: [Place<'a, T>; K],
}

fn split<T, F, const K: usize>(pass: Pass<'_, T, F, K>)
where
    T: Number + Copy + Send + Sync,
    F: Kernel<K>,
{
    let len = pass.param.len();
    let copies = pass.param.from.is_some() || pass.state.iter().any(|values| values.from.is_some());
    if len <= if copies { NEAR } else { PART } {
        let Pass { kernel, param, grad, state } = pass;
        let (param, state) = (param.filled(), state.map(Place::filled));
        Arch::new().dispatch(Part { kernel, param, grad, state });
        return;
    }
    let middle = (len / 2).next_multiple_of(64);
    let kernel = pass.kernel;
    let (param, param_rest) = pass.param.split_at(middle);
    let (grad, grad_rest) = pass.grad.split_at(middle);
    let (state, state_rest) = halves(pass.state, middle);
    let one = || split(Pass { kernel, param, grad, state });
    let two = || split(Pass { kernel, param: param_rest, grad: grad_rest, state: state_rest });
    if len <= PART {
        one();
        two();
    } else {
        rayon::join(one, two);
    }
}

/// What one core takes, where it is to be.
struct Part<'a, T, F, const K: usize> {
    kernel: F,
    param: &'a mut [T],
    grad: &'a [T],
    state: [&'a mut [T]; K],
}

impl<T: Number + Copy, F: Kernel<K>, const K: usize> WithSimd for Part<'_, T, F, K> {
    type Output = ();

    // Inlined into a function that may use the processor's vector and fused multiply-add instructions.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Part { kernel, param, grad, state } = self;
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
