//! Convolution over two dimensions, with stride, padding, dilation and groups: forward, and the gradients of input, weight and
//! bias, each as products of matrices over panels of pixels ([`super::conv_sweep`], [`super::conv_weight`]):
//!
//! `y[f, o] = sum over c, t of w[f, c, t] x[c, stride o + dilation t - padding]`; the gradient of the input is such a sum over
//! the output's, for each residue of the stride by itself; that of the weight is `sum over images, o of dy[f, o] x[c, ...]`.

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
            area: weight[2] * weight[3],
            begins: 0,
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
        }
    }
}

/// As many channels of a filter are gone through at once: what is written stays in the nearest cache.
const CHANNELS: usize = 16;

/// Packs the weights of these taps of some filters, from the element on with which the first of them begins: `[channels, taps, height]`.
fn pack_filters(plan: &Plan, weight: &[f32], taps: &[Tap], rows: usize, height: usize, tile: &mut [f32]) {
    let (len, channel_len) = (plan.channels * plan.area, taps.len() * height);
    if taps.len() == plan.area {
        return pack(Matrix::rows(weight, len).transposed(), rows, height, tile);
    }
    for (block, tile) in tile.chunks_mut(CHANNELS * channel_len).enumerate() {
        for (row, filter) in weight.chunks(len).enumerate().take(rows) {
            let channels = filter[block * CHANNELS * plan.area..].chunks(plan.area);
            for (tile, channel) in tile.chunks_exact_mut(channel_len).zip(channels) {
                let places = tile[row..].iter_mut().step_by(height);
                places.zip(taps).for_each(|(to, tap)| *to = channel[tap.at]);
            }
        }
        tile.chunks_exact_mut(height).for_each(|tile| tile[rows..].fill(0.0));
    }
}

#[allow(unsafe_code)]
fn forward(plan: &Plan, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let plan = &plan.simplified();
    let (taps, [rows, columns]) = (plan.taps(), plan.output());
    let part = Part {
        grid: Grid { rows, columns, start: 0, pitch: plan.plane()[1] },
        offsets: plan.offsets(&taps),
        weights: Box::new(|group, row, rows, height, tile| {
            let first = (group * plan.filters + row) * plan.channels * plan.area;
            pack_filters(plan, &weight[first..], &taps, rows, height, tile);
        }),
        lying: (taps.len() == plan.area).then_some(weight),
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
        // A row is a channel, and a filter after the other has its taps.
        let weights = move |group: usize, row: usize, rows: usize, height: usize, tile: &mut [f32]| {
            for (filter, tile) in tile.chunks_exact_mut(taps.len() * height).enumerate() {
                let start = ((group * plan.filters + filter) * plan.channels + row) * plan.area;
                if taps.len() == plan.area {
                    pack(Matrix { data: weight, start, row: 1, column: plan.area }, rows, height, tile);
                    continue;
                }
                for (tap, tile) in taps.iter().zip(tile.chunks_exact_mut(height)) {
                    let from = weight[start + tap.at..].iter().step_by(plan.area).take(rows);
                    tile.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    tile[rows..].fill(0.0);
                }
            }
        };
        Some(Part {
            grid: Grid { rows, columns, start: down * pitch + right, pitch },
            offsets,
            weights: Box::new(weights),
            lying: None,
            first,
            step: plan.stride,
        })
    });
    made.collect()
}

#[allow(unsafe_code)]
fn input_gradient(plan: &Plan, weight: &[f32], g: &[f32]) -> Vec<f32> {
    let plan = &plan.simplified();
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
