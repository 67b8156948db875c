//! `scaled_dot_product_attention` without a mask: `softmax(scale Q K^T) V` for each head, with nothing looked at behind the
//! query's own place where it is causal. Only the weights are kept for the way back: with `P` them, `dV = P^T dY`,
//! `dS = P (dP - sum(P dP))` of `dP = dY V^T`, `dQ = scale dS K`, `dK = scale dS^T Q`.
//!
//! What it gives lies in memory as `[..., length, heads, width]`: joining the heads again copies nothing.

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::gemm::{Left, Matrix, Right};
use super::linear::{matrix, readable};
use super::math::exp;
use super::memory::{lengths, tensor};
use super::simd::{Kernel, fma, largest, summed, vectorised};
use super::threads::{collected, shared};

/// Attention of queries `[..., queries, width]` to keys `[..., keys, width]` with values `[..., keys, outputs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub(crate) causal: bool,
    pub(crate) scale: f64,
}

/// Softmax of rows, scaled, in place.
struct Softmax<'a> {
    causal: bool,
    scale: f32,
    keys: usize,
    scores: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (query, row) in self.scores.chunks_exact_mut(self.keys).enumerate() {
            let (seen, hidden) = row.split_at_mut(seen(self.causal, query, self.keys));
            hidden.fill(0.0);
            for score in seen.iter_mut() {
                *score *= self.scale;
            }
            let most = largest(seen);
            for score in seen.iter_mut() {
                *score = exp::<FMA>(*score - most);
            }
            let sum = summed(seen, seen, |sum, power, _| sum + power);
            for score in seen {
                *score /= sum;
            }
        }
    }
}

/// The gradient of scores by that of weights, scaled, in place.
struct Back<'a> {
    causal: bool,
    scale: f32,
    keys: usize,
    weights: &'a [f32],
    gradient: &'a mut [f32],
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let rows = self.weights.chunks_exact(self.keys).zip(self.gradient.chunks_exact_mut(self.keys));
        for (query, (weights, gradient)) in rows.enumerate() {
            let (seen, hidden) = gradient.split_at_mut(seen(self.causal, query, self.keys));
            hidden.fill(0.0);
            let weights = &weights[..seen.len()];
            let sum = summed(weights, seen, |sum, p, g| fma::<FMA>(p, g, sum));
            for (g, p) in seen.iter_mut().zip(weights) {
                *g = *p * (*g - sum) * self.scale;
            }
        }
    }
}

/// How many keys a query looks at.
#[inline(always)]
fn seen(causal: bool, query: usize, keys: usize) -> usize {
    if causal { keys.min(query + 1) } else { keys }
}

/// A product in this thread, row-major in a slice.
fn multiplied([rows, columns, inner]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    let (left, right) = (Left::packed(rows, inner, a), Right::packed(inner, columns, b));
    right.times(&left, |row, column, values| out[row * columns + column..][..values.len()].copy_from_slice(values));
}

/// The lengths: batch, heads, queries, keys, width, outputs.
struct Lengths {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
    outputs: usize,
}

impl Lengths {
    fn of([query, key, value]: [&FlexTensor; 3]) -> Self {
        let shape = lengths(query);
        let at = shape.len() - 2;
        let heads = if at > 0 { shape[at - 1] } else { 1 };
        let batch = shape[..at].iter().product::<usize>() / heads;
        let (queries, width) = (shape[at], shape[at + 1]);
        Lengths { batch, heads, queries, keys: lengths(key)[at], width, outputs: lengths(value)[at + 1] }
    }
}

/// Puts heads of `[length, width]` side by side: `[length, heads, width]`.
fn joined(heads: &[&[f32]], width: usize, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(heads.len() * width).enumerate() {
        for (head, out) in heads.iter().zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&head[row * width..][..width]);
        }
    }
}

/// The tensor `[..., heads, length, width]` of what lies as `[..., length, heads, width]`.
fn with_heads(elements: Vec<f32>, like: &FlexTensor, width: usize) -> FlexTensor {
    let mut shape = lengths(like);
    let rank = shape.len();
    shape[rank - 1] = width;
    if rank < 3 {
        return tensor(elements, &shape);
    }
    shape.swap(rank - 3, rank - 2);
    tensor(elements, &shape).transpose(rank - 3, rank - 2)
}

impl Operator for Attention {
    #[allow(clippy::cast_possible_truncation)] // a 32-bit number in PyTorch, too
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let [q, k, v] = [0, 1, 2].map(|at| readable(&inputs[at]));
        let Lengths { batch, heads, queries, keys, width, outputs } = Lengths::of([&q, &k, &v]);
        let (causal, scale) = (self.causal, self.scale as f32);
        let mut weights = vec![0.0; batch * heads * queries * keys];
        let mut y = vec![0.0; batch * queries * heads * outputs];
        let all = weights.chunks_exact_mut(heads * queries * keys).zip(y.chunks_exact_mut(queries * heads * outputs));
        shared(all.enumerate(), |(image, (weights, y))| {
            let head = |(head, scores): (usize, &mut [f32])| {
                let at = image * heads + head;
                multiplied([queries, keys, width], matrix(&q, at), matrix(&k, at).transposed(), scores);
                vectorised(Softmax { causal, scale, keys, scores });
                let mut y = vec![0.0; queries * outputs];
                multiplied([queries, outputs, keys], Matrix::rows(scores, keys), matrix(&v, at), &mut y);
                y
            };
            let parts: Vec<Vec<f32>> = collected(weights.chunks_exact_mut(queries * keys).enumerate(), head);
            joined(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), outputs, y);
        });
        let weights = tensor(weights, &[batch * heads, queries, keys]);
        (with_heads(y, &q, outputs), vec![q, k, v, weights])
    }

    #[allow(clippy::cast_possible_truncation, clippy::many_single_char_names)] // those of the formula
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let [q, k, v, weights] = kept else { return Vec::new() };
        let gradient = readable(&gradient);
        let Lengths { batch, heads, queries, keys, width, outputs } = Lengths::of([q, k, v]);
        let (causal, scale) = (self.causal, self.scale as f32);
        let weights = weights.storage::<f32>();
        let mut dq = vec![0.0; batch * queries * heads * width];
        let mut dk = vec![0.0; batch * keys * heads * width];
        let mut dv = vec![0.0; batch * keys * heads * outputs];
        let slopes = dq.chunks_exact_mut(queries * heads * width).zip(dk.chunks_exact_mut(keys * heads * width));
        let slopes = slopes.zip(dv.chunks_exact_mut(keys * heads * outputs));
        shared(slopes.enumerate(), |(image, ((dq, dk), dv))| {
            let head = |head: usize| {
                let at = image * heads + head;
                let (g, p) = (matrix(&gradient, at), &weights[at * queries * keys..][..queries * keys]);
                let mut ds = vec![0.0; queries * keys];
                multiplied([queries, keys, outputs], g, matrix(v, at).transposed(), &mut ds);
                let mut parts = [vec![0.0; queries * width], vec![0.0; keys * width], vec![0.0; keys * outputs]];
                multiplied([keys, outputs, queries], Matrix::rows(p, keys).transposed(), g, &mut parts[2]);
                vectorised(Back { causal, scale, keys, weights: p, gradient: &mut ds });
                let ds = Matrix::rows(&ds, keys);
                multiplied([queries, width, keys], ds, matrix(k, at), &mut parts[0]);
                multiplied([keys, width, queries], ds.transposed(), matrix(q, at), &mut parts[1]);
                parts
            };
            let parts: Vec<[Vec<f32>; 3]> = collected(0..heads, head);
            let of = |at: usize| parts.iter().map(|part| part[at].as_slice()).collect::<Vec<_>>();
            joined(&of(0), width, dq);
            joined(&of(1), width, dk);
            joined(&of(2), outputs, dv);
        });
        vec![Some(with_heads(dq, q, width)), Some(with_heads(dk, k, width)), Some(with_heads(dv, v, outputs))]
    }
}
