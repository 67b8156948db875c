//! A layer of an LSTM in one direction, over the whole sequence: `z = x_t + h U^T + b` (`x_t` with the input's weights already),
//! `i, f, o = sigmoid(z)`, `g = tanh(z)`, `c' = f c + i g`, `h' = o tanh(c')`, in the order of PyTorch's
//! `aten/src/ATen/native/RNN.cpp`. The sequences of a batch are shared out among the threads; a step costs one small product.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::gemm::{Left, Matrix, Right, product};
use super::linear::{matrix, readable, sums_of_columns};
use super::math::{sigmoid, tanh};
use super::memory::{Places, all_fresh, contiguous, elements, lengths, tensor};
use super::simd::{Kernel, fma, vectorised};
use super::threads::{shared, threads};

/// How many sequences a thread takes at once, at most.
const ROWS: usize = 16;

/// Inputs: `x [time, batch, 4 width]`, `h [batch, width]`, `c [batch, width]`, `U [4 width, width]`, and `b [4 width]` or none.
/// It gives `[time + 1, batch, width]`: the outputs, and behind them the last `c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lstm {
    /// From the last time to the first.
    pub(crate) backwards: bool,
}

/// A step of one sequence: `z` becomes the gates.
struct Step<'a> {
    z: &'a mut [f32],
    before: &'a [f32],
    memory: &'a mut [MaybeUninit<f32>],
    output: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::many_single_char_names)] // PyTorch's
    fn run<const FMA: bool>(self) {
        let width = self.before.len();
        let (i, rest) = self.z.split_at_mut(width);
        let (f, rest) = rest.split_at_mut(width);
        let (g, o) = rest.split_at_mut(width);
        let (o, before, memory, output) =
            (&mut o[..width], self.before, &mut self.memory[..width], &mut self.output[..width]);
        for at in 0..width {
            i[at] = sigmoid::<FMA>(i[at]);
            f[at] = sigmoid::<FMA>(f[at]);
            g[at] = tanh::<FMA>(g[at]);
            o[at] = sigmoid::<FMA>(o[at]);
            let c = fma::<FMA>(f[at], before[at], i[at] * g[at]);
            memory[at].write(c);
            output[at].write(o[at] * tanh::<FMA>(c));
        }
    }
}

/// The way back of a step of one sequence: the gradient of `z`, and in `dc` that of the memory before.
struct Back<'a> {
    gates: &'a [f32],
    before: &'a [f32],
    memory: &'a [f32],
    dh: &'a [f32],
    dc: &'a mut [f32],
    dz: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::many_single_char_names)] // PyTorch's
    fn run<const FMA: bool>(self) {
        let width = self.before.len();
        let gate = |at: usize| &self.gates[at * width..][..width];
        let (i, f, g, o) = (gate(0), gate(1), gate(2), gate(3));
        let (di, rest) = self.dz.split_at_mut(width);
        let (df, rest) = rest.split_at_mut(width);
        let (dg, rest) = rest.split_at_mut(width);
        let (do_, before, memory, dh, dc) =
            (&mut rest[..width], self.before, &self.memory[..width], &self.dh[..width], &mut self.dc[..width]);
        for at in 0..width {
            let t = tanh::<FMA>(memory[at]);
            let d = fma::<FMA>(dh[at] * o[at], 1.0 - t * t, dc[at]);
            do_[at].write(dh[at] * t * (1.0 - o[at]) * o[at]);
            di[at].write(d * g[at] * (1.0 - i[at]) * i[at]);
            df[at].write(d * before[at] * (1.0 - f[at]) * f[at]);
            dg[at].write(d * i[at] * (1.0 - g[at] * g[at]));
            dc[at] = d * f[at];
        }
    }
}

impl Lstm {
    /// The times in their order.
    fn order(self, times: usize) -> Vec<usize> {
        if self.backwards { (0..times).rev().collect() } else { (0..times).collect() }
    }
}

/// Some sequences of a batch, in tensors of `[time, batch, width]`.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    count: usize,
    batch: usize,
}

impl Rows {
    /// All of them, a thread's share at a time.
    fn shares(batch: usize) -> impl Iterator<Item = Self> + Send {
        let at_once = ROWS.min(batch.div_ceil(threads()));
        (0..batch).step_by(at_once).map(move |first| Rows { first, count: at_once.min(batch - first), batch })
    }

    /// The place of their first element at a time, and how many there are.
    fn at(self, time: usize, width: usize) -> (usize, usize) {
        ((time * self.batch + self.first) * width, self.count * width)
    }

    fn of(self, x: &[f32], time: usize, width: usize) -> &[f32] {
        let (start, len) = self.at(time, width);
        &x[start..][..len]
    }

    /// Those of a tensor that is being written.
    ///
    /// # Safety
    /// Each thread has sequences of its own, and asks for a time once.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    unsafe fn written<'a>(
        self,
        x: &'a Places<'_, MaybeUninit<f32>>,
        time: usize,
        width: usize,
    ) -> &'a mut [MaybeUninit<f32>] {
        let (start, len) = self.at(time, width);
        // SAFETY: the caller's.
        unsafe { x.from(start, len) }
    }
}

impl Operator for Lstm {
    #[allow(unsafe_code)]
    #[allow(clippy::many_single_char_names)] // PyTorch's
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let [x, h, c] = [0, 1, 2].map(|at| contiguous(&inputs[at]));
        let (weight, bias) = (readable(&inputs[3]), inputs.get(4).map(contiguous));
        let (times, batch, width) = (lengths(&x)[0], lengths(&x)[1], lengths(&h)[1]);
        let right = Right::packed(width, 4 * width, matrix(&weight, 0).transposed());
        let (order, size, bias_of) = (self.order(times), batch * width, bias.as_ref().map(elements));
        let fill = |all: [&mut [MaybeUninit<f32>]; 3]| {
            let [y, gates, memories] = all.map(Places::of);
            shared(Rows::shares(batch), |rows| {
                let (mut h, mut c) = (rows.of(elements(&h), 0, width), rows.of(elements(&c), 0, width));
                for &time in &order {
                    // SAFETY: sequences are shared out among the threads, and each time comes once.
                    let [gates, memory, output] = unsafe {
                        [
                            rows.written(&gates, time, 4 * width),
                            rows.written(&memories, time, width),
                            rows.written(&y, time, width),
                        ]
                    };
                    let x = rows.of(elements(&x), time, 4 * width);
                    let left = Left::packed(rows.count, width, Matrix::rows(h, width));
                    right.times(&left, |row, column, values| {
                        let at = row * 4 * width + column;
                        let sums = gates[at..].iter_mut().zip(&x[at..]).zip(values);
                        match bias_of {
                            None => sums.for_each(|((gate, x), value)| _ = gate.write(x + value)),
                            Some(bias) => sums
                                .zip(&bias[column..])
                                .for_each(|(((gate, x), value), b)| _ = gate.write(x + (value + b))),
                        }
                    });
                    // SAFETY: the product has all rows and columns.
                    let gates = unsafe { gates.assume_init_mut() };
                    for row in 0..rows.count {
                        let at = row * width;
                        let (z, before) = (&mut gates[4 * at..][..4 * width], &c[at..][..width]);
                        let (memory, output) = (&mut memory[at..][..width], &mut output[at..][..width]);
                        vectorised(Step { z, before, memory, output });
                    }
                    // SAFETY: a step writes all of a row.
                    (h, c) = unsafe { (output.assume_init_ref(), memory.assume_init_ref()) };
                }
                // SAFETY: nothing else is written there.
                unsafe { rows.written(&y, times, width) }.write_copy_of_slice(c);
            });
        };
        // SAFETY: all sequences of all times are written, and the last memories.
        let [y, gates, memories] = unsafe { all_fresh([(times + 1) * size, times * 4 * size, times * size], fill) };
        let y = tensor(y, &[times + 1, batch, width]);
        let (gates, memories) = (tensor(gates, &[times, batch, 4 * width]), tensor(memories, &[times, batch, width]));
        let mut kept = vec![h, c, weight, y.clone(), gates, memories];
        kept.extend(bias);
        (y, kept)
    }

    #[allow(unsafe_code)]
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let [h, c, weight, y, gates, memories, bias @ ..] = kept else { return Vec::new() };
        let gradient = contiguous(&gradient);
        let (times, batch, width) = (lengths(y)[0] - 1, lengths(y)[1], lengths(y)[2]);
        let (g, first_c, gates, memories) = (elements(&gradient), elements(c), elements(gates), elements(memories));
        let right = Right::packed(4 * width, width, matrix(weight, 0));
        let (order, size) = (self.order(times), batch * width);
        let fill = |all: [&mut [MaybeUninit<f32>]; 3]| {
            let [dz, first_dh, first_dc] = all.map(Places::of);
            shared(Rows::shares(batch), |rows| {
                let mut dh = vec![0.0; rows.count * width];
                let mut dc = rows.of(g, times, width).to_vec();
                for (step, &time) in order.iter().enumerate().rev() {
                    dh.iter_mut().zip(rows.of(g, time, width)).for_each(|(dh, g)| *dh += g);
                    let before = match step.checked_sub(1) {
                        Some(before) => rows.of(memories, order[before], width),
                        None => rows.of(first_c, 0, width),
                    };
                    let (gates, memory) = (rows.of(gates, time, 4 * width), rows.of(memories, time, width));
                    // SAFETY: sequences are shared out among the threads, and each time comes once.
                    let dz = unsafe { rows.written(&dz, time, 4 * width) };
                    for row in 0..rows.count {
                        let at = row * width;
                        vectorised(Back {
                            gates: &gates[4 * at..][..4 * width],
                            before: &before[at..][..width],
                            memory: &memory[at..][..width],
                            dh: &dh[at..][..width],
                            dc: &mut dc[at..][..width],
                            dz: &mut dz[4 * at..][..4 * width],
                        });
                    }
                    // SAFETY: a step back writes all of a row.
                    let dz = unsafe { dz.assume_init_ref() };
                    let left = Left::packed(rows.count, 4 * width, Matrix::rows(dz, 4 * width));
                    right.times(&left, |row, column, values| {
                        dh[row * width + column..][..values.len()].copy_from_slice(values);
                    });
                }
                // SAFETY: nothing else is written there.
                unsafe {
                    rows.written(&first_dh, 0, width).write_copy_of_slice(&dh);
                    rows.written(&first_dc, 0, width).write_copy_of_slice(&dc);
                }
            });
        };
        // SAFETY: all sequences of all times are written.
        let [dz, dh, dc] = unsafe { all_fresh([times * 4 * size, size, size], fill) };
        // What each step had for `h`.
        let outputs = elements(y);
        let had = |time: usize| match order.iter().position(|at| *at == time).and_then(|step| step.checked_sub(1)) {
            Some(before) => &outputs[order[before] * size..][..size],
            None => elements(h),
        };
        let before = (0..times).map(had).collect::<Vec<_>>().concat();
        let (left, right) = (Matrix::rows(&dz, 4 * width).transposed(), Matrix::rows(&before, width));
        let dweight = product([4 * width, width, times * batch], left, right, None);
        let dbias = (!bias.is_empty()).then(|| tensor(sums_of_columns(&dz, 4 * width), &[4 * width]));
        let mut gradients = vec![
            Some(tensor(dz, &[times, batch, 4 * width])),
            Some(tensor(dh, &[batch, width])),
            Some(tensor(dc, &[batch, width])),
            Some(tensor(dweight, &[4 * width, width])),
        ];
        gradients.extend((!bias.is_empty()).then_some(dbias));
        gradients
    }
}
