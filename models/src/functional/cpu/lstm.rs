//! A layer of an LSTM in one direction, over the whole sequence: `z = x_t + h U^T + b` (`x_t` with the input's weights already),
//! `i, f, o = sigmoid(z)`, `g = tanh(z)`, `c' = f c + i g`, `h' = o tanh(c')`, in the order of PyTorch's
//! `aten/src/ATen/native/RNN.cpp`. The sequences of a batch are shared out among the threads; a step costs one small product.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::backend::Operator;
use super::gemm::{Left, Matrix, Right, product};
use super::linear::{matrix, readable, sums_of_columns};
use super::math::{sigmoid, tanh};
use super::memory::{contiguous, elements, lengths, tensor};
use super::simd::{Kernel, fma, vectorised};

/// How many sequences a thread takes at once.
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
    memory: &'a mut [f32],
    output: &'a mut [f32],
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
            memory[at] = c;
            output[at] = o[at] * tanh::<FMA>(c);
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
    dz: &'a mut [f32],
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
            do_[at] = dh[at] * t * (1.0 - o[at]) * o[at];
            di[at] = d * g[at] * (1.0 - i[at]) * i[at];
            df[at] = d * before[at] * (1.0 - f[at]) * f[at];
            dg[at] = d * i[at] * (1.0 - g[at] * g[at]);
            dc[at] = d * f[at];
        }
    }
}

/// The rows of some sequences, out of `[time, batch, width]`: `[time, rows, width]`.
fn rows_of(x: &[f32], batch: usize, width: usize, first: usize, rows: usize) -> Vec<f32> {
    x.chunks_exact(batch * width).flat_map(|x| &x[first * width..][..rows * width]).copied().collect()
}

/// Parts of `[time, rows, width]` as `[time, batch, width]`.
fn assembled(parts: &[Vec<f32>], times: usize, batch: usize, width: usize) -> Vec<f32> {
    let mut whole = Vec::with_capacity(times * batch * width);
    for time in 0..times {
        for (at, part) in parts.iter().enumerate() {
            let rows = ROWS.min(batch - at * ROWS);
            whole.extend_from_slice(&part[time * rows * width..][..rows * width]);
        }
    }
    whole
}

impl Lstm {
    /// The times in their order.
    fn order(self, times: usize) -> Vec<usize> {
        if self.backwards { (0..times).rev().collect() } else { (0..times).collect() }
    }
}

impl Operator for Lstm {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let [x, h, c] = [0, 1, 2].map(|at| contiguous(&inputs[at]));
        let (weight, bias) = (readable(&inputs[3]), inputs.get(4).map(contiguous));
        let (times, batch, width) = (lengths(&x)[0], lengths(&x)[1], lengths(&h)[1]);
        let right = Right::packed(width, 4 * width, matrix(&weight, 0).transposed());
        let order = self.order(times);
        let (x, first_h, first_c) = (elements(&x), elements(&h), elements(&c));
        let work = |part: usize| {
            let (first, rows) = (part * ROWS, ROWS.min(batch - part * ROWS));
            let mut gates = rows_of(x, batch, 4 * width, first, rows);
            let (mut memories, mut outputs) = (vec![0.0; times * rows * width], vec![0.0; times * rows * width]);
            let size = rows * width;
            let mut h = first_h[first * width..][..size].to_vec();
            let mut c = first_c[first * width..][..size].to_vec();
            for &time in &order {
                let gates = &mut gates[time * 4 * size..][..4 * size];
                let left = Left::packed(rows, width, Matrix::rows(&h, width));
                right.times(&left, |row, column, values| {
                    let gates = &mut gates[row * 4 * width + column..];
                    match &bias {
                        None => gates.iter_mut().zip(values).for_each(|(gate, value)| *gate += value),
                        Some(bias) => {
                            let bias = &elements(bias)[column..];
                            gates.iter_mut().zip(values).zip(bias).for_each(|((gate, value), b)| *gate += value + b);
                        }
                    }
                });
                let memories = &mut memories[time * size..][..size];
                for row in 0..rows {
                    let at = row * width;
                    let (z, before) = (&mut gates[4 * at..][..4 * width], &c[at..][..width]);
                    vectorised(Step { z, before, memory: &mut memories[at..][..width], output: &mut h[at..][..width] });
                }
                c.copy_from_slice(memories);
                outputs[time * size..][..size].copy_from_slice(&h);
            }
            (gates, memories, outputs, c)
        };
        let parts: Vec<_> = (0..batch.div_ceil(ROWS)).into_par_iter().map(work).collect();
        let (mut gates, mut memories, mut outputs, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (gate, memory, output, c) in parts {
            gates.push(gate);
            memories.push(memory);
            outputs.push(output);
            last.push(c);
        }
        let mut y = assembled(&outputs, times, batch, width);
        y.extend(assembled(&last, 1, batch, width));
        let y = tensor(y, &[times + 1, batch, width]);
        // One part behind the other, `[time, rows, ...]` each.
        let (gates, memories) = (gates.concat(), memories.concat());
        let flat = |x: Vec<f32>| {
            let shape = [x.len()];
            tensor(x, &shape)
        };
        let mut kept = vec![h, c, weight, y.clone(), flat(gates), flat(memories)];
        kept.extend(bias);
        (y, kept)
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let [h, c, weight, y, gates, memories, bias @ ..] = kept else { return Vec::new() };
        let gradient = contiguous(&gradient);
        let (times, batch, width) = (lengths(y)[0] - 1, lengths(y)[1], lengths(y)[2]);
        let (g, first_c, gates, memories) = (elements(&gradient), elements(c), elements(gates), elements(memories));
        let right = Right::packed(4 * width, width, matrix(weight, 0));
        let order = self.order(times);
        let work = |part: usize| {
            let (first, rows) = (part * ROWS, ROWS.min(batch - part * ROWS));
            let size = rows * width;
            let behind = times * first * width;
            let (gates, memories) = (&gates[4 * behind..], &memories[behind..]);
            let mut dz = vec![0.0; times * 4 * size];
            let mut dh = vec![0.0; size];
            let mut dc = g[(times * batch + first) * width..][..size].to_vec();
            for (step, &time) in order.iter().enumerate().rev() {
                let from = &g[(time * batch + first) * width..][..size];
                dh.iter_mut().zip(from).for_each(|(dh, g)| *dh += g);
                let before = match step.checked_sub(1) {
                    Some(before) => &memories[order[before] * size..][..size],
                    None => &first_c[first * width..][..size],
                };
                let dz = &mut dz[time * 4 * size..][..4 * size];
                for row in 0..rows {
                    let at = row * width;
                    vectorised(Back {
                        gates: &gates[time * 4 * size + 4 * at..][..4 * width],
                        before: &before[at..][..width],
                        memory: &memories[time * size + at..][..width],
                        dh: &dh[at..][..width],
                        dc: &mut dc[at..][..width],
                        dz: &mut dz[4 * at..][..4 * width],
                    });
                }
                let left = Left::packed(rows, 4 * width, Matrix::rows(dz, 4 * width));
                right.times(&left, |row, column, values| {
                    dh[row * width + column..][..values.len()].copy_from_slice(values);
                });
            }
            (dz, dh, dc)
        };
        let parts: Vec<_> = (0..batch.div_ceil(ROWS)).into_par_iter().map(work).collect();
        let (mut dz, mut dh, mut dc) = (Vec::new(), Vec::new(), Vec::new());
        for (z, h, c) in parts {
            dz.push(z);
            dh.push(h);
            dc.push(c);
        }
        let dz = assembled(&dz, times, batch, 4 * width);
        // What each step had for `h`.
        let size = batch * width;
        let mut before = vec![0.0; times * size];
        let outputs = elements(y);
        for (step, &time) in order.iter().enumerate() {
            let from = match step.checked_sub(1) {
                Some(before) => &outputs[order[before] * size..][..size],
                None => elements(h),
            };
            before[time * size..][..size].copy_from_slice(from);
        }
        let (left, right) = (Matrix::rows(&dz, 4 * width).transposed(), Matrix::rows(&before, width));
        let dweight = product([4 * width, width, times * batch], left, right, None);
        let mut gradients = vec![
            None,
            Some(tensor(assembled(&dh, 1, batch, width), &[batch, width])),
            Some(tensor(assembled(&dc, 1, batch, width), &[batch, width])),
            Some(tensor(dweight, &[4 * width, width])),
        ];
        gradients.extend((!bias.is_empty()).then(|| Some(tensor(sums_of_columns(&dz, 4 * width), &[4 * width]))));
        gradients[0] = Some(tensor(dz, &[times, batch, 4 * width]));
        gradients
    }
}
