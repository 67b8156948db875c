//! Convolution over two dimensions, with stride, padding, dilation and groups: forward, and the gradients of input, weight and
//! bias, each as products of matrices over panels of pixels ([`super::conv_sweep`], [`super::conv_weight`]):
//!
//! `y[f, o] = sum over c, t of w[f, c, t] x[c, stride o + dilation t - padding]`; the gradient of the input is such a sum over
//! the output's, for each residue of the stride by itself; that of the weight is `sum over images, o of dy[f, o] x[c, ...]`.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::conv_plan::{Grid, Plan, Tap};
use super::conv_sweep::{Images, Part, Spread};
use super::conv_weight::{bias_gradient, weight_gradient};
use super::gemm::Matrix;
use super::memory::{contiguous, elements, fresh, lengths, tensor};
use super::pack::pack;

/// `conv2d`: inputs `x [images, channels, height, width]`, `weight [filters, channels / groups, height, width]`, and
/// `bias [filters]` or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv2d {
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

impl Conv2d {
    /// Below so many multiplications Burn's convolutions are as fast.
    pub(crate) const LEAST: usize = 1 << 16;

    fn plan(&self, x: &FlexTensor, weight: &FlexTensor) -> Plan {
        let (x, weight) = (lengths(x), lengths(weight));
        Plan {
            images: x[0],
            groups: self.groups,
            channels: weight[1],
            filters: weight[0] / self.groups,
            size: [x[2], x[3]],
            kernel: [weight[2], weight[3]],
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
        }
    }
}

/// The weights of these taps: `[filters, channels, taps]`, of all groups.
fn picked<'a>(plan: &Plan, weight: &'a [f32], taps: &[Tap]) -> Cow<'a, [f32]> {
    let area = plan.kernel[0] * plan.kernel[1];
    if taps.len() == area {
        return Cow::Borrowed(weight);
    }
    let channels = weight.chunks_exact(area);
    Cow::Owned(channels.flat_map(|channel| taps.iter().map(|tap| channel[tap.at])).collect())
}

#[allow(unsafe_code)]
fn forward(plan: &Plan, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let plan = &plan.in_one_row();
    let (taps, [rows, columns]) = (plan.taps(), plan.output());
    let (weight, inner) = (picked(plan, weight, &taps), plan.channels * taps.len());
    let part = Part {
        grid: Grid { rows, columns, start: 0, pitch: plan.plane()[1] },
        offsets: plan.offsets(&taps),
        weights: Box::new(|group, row, rows, height, tile| {
            let first = Matrix::rows(&weight, inner).from(group * plan.filters + row, 0);
            pack(first.transposed(), rows, height, tile);
        }),
        first: [0, 0],
        step: [1, 1],
    };
    let of_group = plan.channels * plan.pixels();
    let spread = |image: usize, group: usize, to: &mut [f32]| {
        plan.spread(&x[(image * plan.groups + group) * of_group..][..of_group], to);
    };
    let images = Images {
        count: plan.images,
        groups: plan.groups,
        spread_len: plan.spread_len(),
        spread: if plan.lies_spread() { Spread::AsItIs(x) } else { Spread::By(&spread) },
        outputs: plan.filters,
        size: [rows, columns],
        bias,
    };
    // SAFETY: the grid is the whole of the output.
    unsafe { fresh(plan.images * plan.groups * plan.filters * rows * columns, |out| images.swept(&[part], out)) }
}

/// Elements of a spread channel of the output's gradient, and where its first place is.
fn spread_gradient(plan: &Plan) -> (usize, usize) {
    let [down, right] = [0, 1].map(|i| (plan.kernel[i] - 1) * plan.dilation[i] / plan.stride[i]);
    let top = down * plan.plane()[1] + right;
    (top + plan.plane_len(), top)
}

/// The residues of the stride: of the input's gradient, the pixels that have one of them.
fn residues<'a>(plan: &'a Plan, weight: &'a [f32]) -> Vec<Part<'a>> {
    let (taps, pitch) = (plan.taps(), plan.plane()[1]);
    let (channel_len, top) = spread_gradient(plan);
    let all = (0..plan.stride[0]).flat_map(|y| (0..plan.stride[1]).map(move |x| [y, x]));
    let made = all.filter_map(|residue| {
        let has = |tap: &&Tap| [0, 1].iter().all(|&i| tap.far[i] % plan.stride[i] == residue[i]);
        let taps: Vec<Tap> = taps.iter().filter(has).copied().collect();
        let first = [0, 1].map(|i| (residue[i] + plan.stride[i] - plan.padding[i] % plan.stride[i]) % plan.stride[i]);
        if taps.is_empty() || first[0] >= plan.size[0] || first[1] >= plan.size[1] {
            return None;
        }
        let [rows, columns] = [0, 1].map(|i| (plan.size[i] - first[i]).div_ceil(plan.stride[i]));
        let [down, right] = [0, 1].map(|i| (first[i] + plan.padding[i]) / plan.stride[i]);
        let back = |tap: &Tap| top - tap.far[0] / plan.stride[0] * pitch - tap.far[1] / plan.stride[1];
        let offsets =
            (0..plan.filters).flat_map(|filter| taps.iter().map(move |tap| filter * channel_len + back(tap))).collect();
        let (weight, count) = (picked(plan, weight, &taps), taps.len());
        // A row is a channel, and a filter after the other has its taps.
        let weights = move |group: usize, row: usize, rows: usize, height: usize, tile: &mut [f32]| {
            for (filter, tile) in tile.chunks_exact_mut(count * height).enumerate() {
                let start = ((group * plan.filters + filter) * plan.channels + row) * count;
                pack(Matrix { data: &weight, start, row: 1, column: count }, rows, height, tile);
            }
        };
        Some(Part {
            grid: Grid { rows, columns, start: down * pitch + right, pitch },
            offsets,
            weights: Box::new(weights),
            first,
            step: plan.stride,
        })
    });
    made.collect()
}

#[allow(unsafe_code)]
fn input_gradient(plan: &Plan, weight: &[f32], g: &[f32]) -> Vec<f32> {
    let plan = &plan.in_one_row();
    let (parts, [rows, columns]) = (residues(plan, weight), plan.output());
    let ((channel_len, top), pitch) = (spread_gradient(plan), plan.plane()[1]);
    let spread = |image: usize, group: usize, to: &mut [f32]| {
        let of_group = plan.filters * rows * columns;
        let g = &g[(image * plan.groups + group) * of_group..][..of_group];
        for (to, g) in to.chunks_exact_mut(channel_len).zip(g.chunks_exact(rows * columns)) {
            let (above, rest) = to.split_at_mut(top);
            let (within, below) = rest.split_at_mut(rows * pitch);
            above.fill(0.0);
            below.fill(0.0);
            for (to, g) in within.chunks_exact_mut(pitch).zip(g.chunks_exact(columns)) {
                to[..columns].copy_from_slice(g);
                to[columns..].fill(0.0);
            }
        }
    };
    let lies_spread = top == 0 && plan.plane() == [rows, columns];
    let images = Images {
        count: plan.images,
        groups: plan.groups,
        spread_len: plan.filters * channel_len,
        spread: if lies_spread { Spread::AsItIs(g) } else { Spread::By(&spread) },
        outputs: plan.channels,
        size: plan.size,
        bias: None,
    };
    let met: usize = parts.iter().map(|part| part.grid.rows * part.grid.columns).sum();
    let fill = |out: &mut [MaybeUninit<f32>]| {
        if met < plan.pixels() {
            // What no tap meets stays 0.
            out.fill(MaybeUninit::new(0.0));
        }
        images.swept(&parts, out);
    };
    // SAFETY: parts have places of their own, as each has another residue; these are all pixels, or else all have been written.
    unsafe { fresh(plan.images * plan.groups * plan.channels * plan.pixels(), fill) }
}

impl Operator for Conv2d {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let (x, weight) = (contiguous(&inputs[0]), contiguous(&inputs[1]));
        let bias = inputs.get(2).map(contiguous);
        let plan = self.plan(&x, &weight);
        let y = forward(&plan, elements(&x), elements(&weight), bias.as_ref().map(elements));
        let [rows, columns] = plan.output();
        (tensor(y, &[plan.images, plan.groups * plan.filters, rows, columns]), vec![x, weight])
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let [x, weight] = kept else { return Vec::new() };
        let (plan, gradient) = (self.plan(x, weight), contiguous(&gradient));
        let g = elements(&gradient);
        let dx = || tensor(input_gradient(&plan, elements(weight), g), &lengths(x));
        let dw = || tensor(weight_gradient(&plan, elements(x), g), &lengths(weight));
        let db = || tensor(bias_gradient(&plan, g), &[plan.groups * plan.filters]);
        let wants_bias = wanted.get(2).is_some_and(|wanted| *wanted);
        vec![wanted[0].then(dx), wanted[1].then(dw), wants_bias.then(db)]
    }
}
