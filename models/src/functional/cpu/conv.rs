//! Convolution over two dimensions, with stride, padding, dilation and groups: forward, and the gradients of input, weight and
//! bias, each as products of matrices over panels of pixels ([`Sweep`]):
//!
//! `y[f, o] = sum over c, t of w[f, c, t] x[c, stride o + dilation t - padding]`; the gradient of the input is such a sum over
//! the output's, for each residue of the stride by itself; that of the weight is `sum over images, o of dy[f, o] x[c, ...]`.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::backend::Operator;
use super::conv_plan::{Grid, Plan, SLACK, Sweep, Tap};
use super::gemm::{Left, panel_width};
use super::memory::{contiguous, elements, fresh, lengths, tensor};
use super::simd::{Kernel, summed, vectorised};

/// As many pixels of several images as make up a thread's work.
const PIXELS: usize = 256;
/// As many pixels of several rows are multiplied at once for the weight's gradient.
const ROWS_OF: usize = 512;
/// At least so many parts of the weight's gradient are computed by themselves.
const PARTS: usize = 16;

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
    pub(crate) const LEAST: usize = 1 << 22;

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

/// How many images a thread takes at once.
fn images_at_once(pixels: usize, images: usize) -> usize {
    PIXELS.div_ceil(pixels).min(images.div_ceil(rayon::current_num_threads()).max(1))
}

/// The weights of a group's taps: `[filters, channels * taps]`.
fn weights(plan: &Plan, weight: &[f32], taps: &[Tap]) -> Left {
    let area = plan.kernel[0] * plan.kernel[1];
    let mut left = Left::new(plan.filters, plan.channels * taps.len());
    let mut row = vec![0.0; plan.channels * taps.len()];
    for (filter, weight) in weight.chunks_exact(plan.channels * area).enumerate() {
        let picked = weight.chunks_exact(area).flat_map(|channel| taps.iter().map(|tap| channel[tap.at]));
        row.iter_mut().zip(picked).for_each(|(to, from)| *to = from);
        left.put(filter, 0, &row);
    }
    left
}

#[allow(unsafe_code)]
fn forward(plan: &Plan, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (taps, [rows, columns]) = (plan.taps(), plan.output());
    let (offsets, outputs) = (plan.offsets(&taps), plan.outputs());
    let by_group = weight.chunks_exact(weight.len() / plan.groups);
    let weights: Vec<Left> = by_group.map(|weight| weights(plan, weight, &taps)).collect();
    let grid = Grid { rows, columns, start: 0, pitch: plan.plane()[1] };
    let image_len = plan.spread_len();
    let of_image = plan.groups * plan.channels * plan.pixels();
    let of_output = plan.groups * plan.filters * outputs;
    let at_once = images_at_once(outputs, plan.images);
    let work = |(source, panel): &mut (Vec<f32>, Vec<f32>), (x, out): (&[f32], &mut [MaybeUninit<f32>])| {
        let images = x.len() / of_image;
        source.resize(images * image_len + SLACK, 0.0);
        for (group, weights) in weights.iter().enumerate() {
            for (image, x) in x.chunks_exact(of_image).enumerate() {
                let x = &x[group * plan.channels * plan.pixels()..][..plan.channels * plan.pixels()];
                plan.spread(x, &mut source[image * image_len..]);
            }
            let sweep = Sweep { weights, offsets: &offsets, grid, source, images, image_len };
            sweep.run(panel, |filter, run, values| {
                let filter = group * plan.filters + filter;
                let start = run.image * of_output + filter * outputs + run.row * columns + run.column;
                let out = &mut out[start..][..run.len];
                match bias {
                    None => _ = out.write_copy_of_slice(values),
                    Some(bias) => {
                        out.iter_mut().zip(values).for_each(|(out, value)| _ = out.write(value + bias[filter]));
                    }
                }
            });
        }
    };
    // SAFETY: images are shared out, and the runs of all panels of all groups are the whole of an image's output.
    unsafe {
        fresh(plan.images * of_output, |out| {
            let shares = x.par_chunks(at_once * of_image).zip(out.par_chunks_mut(at_once * of_output));
            shares.for_each_init(Default::default, work);
        })
    }
}

/// One residue of the stride: of the input's gradient, the pixels that have it.
struct Residue {
    grid: Grid,
    /// The first such pixel.
    first: [usize; 2],
    offsets: Vec<usize>,
    /// For each group.
    weights: Vec<Left>,
}

/// Elements of a spread channel of the output's gradient, and where its first place is.
fn spread_gradient(plan: &Plan) -> (usize, usize) {
    let [down, right] = [0, 1].map(|i| (plan.kernel[i] - 1) * plan.dilation[i] / plan.stride[i]);
    let top = down * plan.plane()[1] + right;
    (top + plan.plane_len(), top)
}

fn residues(plan: &Plan, weight: &[f32]) -> Vec<Residue> {
    let (taps, area, pitch) = (plan.taps(), plan.kernel[0] * plan.kernel[1], plan.plane()[1]);
    let (channel_len, top) = spread_gradient(plan);
    let all = (0..plan.stride[0]).flat_map(|y| (0..plan.stride[1]).map(move |x| [y, x]));
    let made = all.filter_map(|residue| {
        let has = |tap: &&Tap| [0, 1].iter().all(|&i| tap.far[i] % plan.stride[i] == residue[i]);
        let taps: Vec<&Tap> = taps.iter().filter(has).collect();
        let first = [0, 1].map(|i| (residue[i] + plan.stride[i] - plan.padding[i] % plan.stride[i]) % plan.stride[i]);
        if taps.is_empty() || first[0] >= plan.size[0] || first[1] >= plan.size[1] {
            return None;
        }
        let [rows, columns] = [0, 1].map(|i| (plan.size[i] - first[i]).div_ceil(plan.stride[i]));
        let [down, right] = [0, 1].map(|i| (first[i] + plan.padding[i]) / plan.stride[i]);
        let grid = Grid { rows, columns, start: down * pitch + right, pitch };
        let back = |tap: &Tap| top - tap.far[0] / plan.stride[0] * pitch - tap.far[1] / plan.stride[1];
        let offsets =
            (0..plan.filters).flat_map(|filter| taps.iter().map(move |tap| filter * channel_len + back(tap))).collect();
        let weights = weight.chunks_exact(weight.len() / plan.groups).map(|weight| {
            let mut left = Left::new(plan.channels, plan.filters * taps.len());
            let mut row = vec![0.0; plan.filters * taps.len()];
            for channel in 0..plan.channels {
                let filters = weight.chunks_exact(plan.channels * area);
                let picked = filters.flat_map(|filter| taps.iter().map(move |tap| filter[channel * area + tap.at]));
                row.iter_mut().zip(picked).for_each(|(to, from)| *to = from);
                left.put(channel, 0, &row);
            }
            left
        });
        Some(Residue { grid, first, offsets, weights: weights.collect() })
    });
    made.collect()
}

fn input_gradient(plan: &Plan, weight: &[f32], g: &[f32]) -> Vec<f32> {
    let (residues, [_, columns], outputs) = (residues(plan, weight), plan.output(), plan.outputs());
    let ((channel_len, top), pitch) = (spread_gradient(plan), plan.plane()[1]);
    let image_len = plan.filters * channel_len;
    let of_image = plan.groups * plan.channels * plan.pixels();
    let of_output = plan.groups * plan.filters * outputs;
    let at_once = images_at_once(plan.pixels(), plan.images);
    let work = |(source, panel): &mut (Vec<f32>, Vec<f32>), (g, out): (&[f32], &mut [f32])| {
        let images = g.len() / of_output;
        source.resize(images * image_len + SLACK, 0.0);
        for group in 0..plan.groups {
            for (image, g) in g.chunks_exact(of_output).enumerate() {
                let g = &g[group * plan.filters * outputs..][..plan.filters * outputs];
                let target = source[image * image_len..].chunks_exact_mut(channel_len);
                for (target, g) in target.zip(g.chunks_exact(outputs)) {
                    for (row, g) in g.chunks_exact(columns).enumerate() {
                        target[top + row * pitch..][..columns].copy_from_slice(g);
                    }
                }
            }
            for residue in &residues {
                let (weights, offsets, grid) = (&residue.weights[group], &*residue.offsets, residue.grid);
                let sweep = Sweep { weights, offsets, grid, source, images, image_len };
                sweep.run(panel, |channel, run, values| {
                    let channel = group * plan.channels + channel;
                    let [y, x] =
                        [residue.first[0] + run.row * plan.stride[0], residue.first[1] + run.column * plan.stride[1]];
                    let start = run.image * of_image + channel * plan.pixels() + y * plan.size[1] + x;
                    if plan.stride[1] == 1 {
                        out[start..][..run.len].copy_from_slice(values);
                    } else {
                        let out = out[start..].iter_mut().step_by(plan.stride[1]);
                        out.zip(values).for_each(|(out, value)| *out = *value);
                    }
                });
            }
        }
    };
    // What no tap meets stays 0.
    let mut out = vec![0.0; plan.images * of_image];
    let shares = g.par_chunks(at_once * of_output).zip(out.par_chunks_mut(at_once * of_image));
    shares.for_each_init(Default::default, work);
    out
}

fn weight_gradient(plan: &Plan, x: &[f32], g: &[f32]) -> Vec<f32> {
    let (taps, [rows, columns], outputs) = (plan.taps(), plan.output(), plan.outputs());
    let (offsets, pitch, width) = (plan.offsets(&taps), plan.plane()[1], panel_width());
    let (image_len, area) = (plan.spread_len(), plan.kernel[0] * plan.kernel[1]);
    let of_image = plan.groups * plan.channels * plan.pixels();
    let lines = plan.images * rows;
    let at_once = (ROWS_OF / columns).clamp(1, lines);
    let blocks = lines.div_ceil(at_once);
    let panels = offsets.len().div_ceil(width);
    // A number of parts that only shapes decide: so do the sums.
    let parts = PARTS.div_ceil(panels).min(blocks);
    let blocks_of_part = blocks.div_ceil(parts);
    let mut gradient = vec![0.0; plan.groups * plan.filters * plan.channels * area];
    for (group, gradient) in gradient.chunks_exact_mut(plan.filters * plan.channels * area).enumerate() {
        let mut source = vec![0.0; plan.images * image_len];
        source.par_chunks_exact_mut(image_len).zip(x.par_chunks_exact(of_image)).for_each(|(target, x)| {
            plan.spread(&x[group * plan.channels * plan.pixels()..][..plan.channels * plan.pixels()], target);
        });
        // The output's gradient: a row of the output after the other, `[filters, pixels]`.
        let left = |block: usize| {
            let lines = block * at_once..lines.min((block + 1) * at_once);
            let mut left = Left::new(plan.filters, lines.len() * columns);
            for (at, line) in lines.enumerate() {
                let (image, row) = (line / rows, line % rows);
                for filter in 0..plan.filters {
                    let start = ((image * plan.groups + group) * plan.filters + filter) * outputs + row * columns;
                    left.put(filter, at * columns, &g[start..][..columns]);
                }
            }
            left
        };
        let lefts: Vec<Left> = (0..blocks).into_par_iter().map(left).collect();
        let work = |panel: &mut Vec<f32>, task: usize| {
            let (part, first) = (task / panels, task % panels * width);
            let offsets = &offsets[first..offsets.len().min(first + width)];
            let mut sums = vec![0.0; plan.filters * width];
            panel.clear();
            panel.resize(at_once * columns * width, 0.0);
            let first_block = part * blocks_of_part;
            for (block, left) in lefts.iter().enumerate().skip(first_block).take(blocks_of_part) {
                let lines = block * at_once..lines.min((block + 1) * at_once);
                for (line, panel) in lines.zip(panel.chunks_exact_mut(columns * width)) {
                    let start = line / rows * image_len + line % rows * pitch;
                    for (lane, offset) in offsets.iter().enumerate() {
                        let pixels = &source[start + offset..][..columns];
                        let to = panel[lane..].iter_mut().step_by(width);
                        to.zip(pixels).for_each(|(to, pixel)| *to = *pixel);
                    }
                }
                left.times(panel, |filter, values| {
                    let sums = &mut sums[filter * width..][..width];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                });
            }
            sums
        };
        let sums: Vec<Vec<f32>> = (0..parts * panels).into_par_iter().map_init(Vec::new, work).collect();
        gradient.par_chunks_exact_mut(plan.channels * area).enumerate().for_each(|(filter, gradient)| {
            for (task, sums) in sums.iter().enumerate() {
                let first = task % panels * width;
                for (lane, sum) in sums[filter * width..][..width.min(offsets.len() - first)].iter().enumerate() {
                    let (channel, tap) = ((first + lane) / taps.len(), (first + lane) % taps.len());
                    gradient[channel * area + taps[tap].at] += sum;
                }
            }
        });
    }
    gradient
}

/// The sum of a slice.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f32 {
        summed(self.0, self.0, |sum, x, _| sum + x)
    }
}

fn bias_gradient(plan: &Plan, g: &[f32]) -> Vec<f32> {
    let (filters, outputs) = (plan.groups * plan.filters, plan.outputs());
    let sum = |filter: usize| {
        let sums: Vec<f32> = (0..plan.images)
            .map(|image| vectorised(Sum(&g[(image * filters + filter) * outputs..][..outputs])))
            .collect();
        vectorised(Sum(&sums))
    };
    (0..filters).into_par_iter().map(sum).collect()
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
