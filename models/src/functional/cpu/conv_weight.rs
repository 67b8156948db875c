//! The gradients of a convolution's weight and bias. Where the weight's is a product over pixels, `[filters, pixels]` with
//! `[pixels, taps]`, these are summed in parts that shapes decide.

use super::conv_plan::Plan;
use super::gemm::{FEW_PACKED, Left, height, panel_width};
use super::memory::Scratch;
use super::pack::{WIDEST, turn};
use super::simd::{Kernel, summed, vectorised};
use super::threads::{collected, shared};

/// As many pixels of several rows are multiplied at once for the weight's gradient.
const ROWS_OF: usize = 512;
/// At least so many parts of the weight's gradient are computed by themselves.
const PARTS: usize = 16;

/// A group's spread images, and how far it is from one to the next.
fn source<'a>(plan: &Plan, x: &'a [f32], group: usize, memory: &'a mut Option<Scratch>) -> (&'a [f32], usize) {
    let (of_group, len) = (plan.channels * plan.pixels(), plan.spread_len());
    if plan.lies_spread() {
        return (&x[group * of_group..], plan.groups * of_group);
    }
    let memory = memory.insert(Scratch::of(plan.images * len));
    shared(memory.chunks_exact_mut(len).zip(x.chunks_exact(plan.groups * of_group)), |(target, x)| {
        plan.spread(&x[group * of_group..][..of_group], target);
    });
    (memory, len)
}

pub(super) fn weight_gradient(plan: &Plan, x: &[f32], g: &[f32]) -> Vec<f32> {
    // A row is gone through in one go: not of all pixels, where these are many.
    let plan = &if plan.pixels() <= ROWS_OF { plan.simplified() } else { *plan };
    let (taps, [rows, columns], outputs) = (plan.taps(), plan.output(), plan.outputs());
    let (offsets, pitch, width) = (plan.offsets(&taps), plan.plane()[1], panel_width());
    let area = plan.area;
    let lines = plan.images * rows;
    let at_once = (ROWS_OF / columns).clamp(1, lines);
    // Whole images, where there are enough: a channel's pixels of one lie one behind the other.
    let whole = at_once >= rows;
    let at_once = if whole { at_once - at_once % rows } else { at_once };
    // Where in a filter of the weight each tap of each channel is.
    let places: Vec<usize> =
        (0..plan.channels).flat_map(|channel| taps.iter().map(move |tap| channel * area + tap.at)).collect();
    let blocks = lines.div_ceil(at_once);
    let panels = offsets.len().div_ceil(width);
    let mut gradient = vec![0.0; plan.groups * plan.filters * plan.channels * area];
    if panels == 0 {
        return gradient;
    }
    // A number of parts that only shapes decide: so do the sums.
    let parts = PARTS.div_ceil(panels).min(blocks);
    let blocks_of_part = blocks.div_ceil(parts);
    let height = height(plan.filters);
    for (group, gradient) in gradient.chunks_exact_mut(plan.filters * plan.channels * area).enumerate() {
        let mut memory = None;
        let (source, image_len) = source(plan, x, group, &mut memory);
        // The output's gradient: a row of the output after the other, `[filters, pixels]`.
        let left = |block: usize| {
            let lines = block * at_once..lines.min((block + 1) * at_once);
            Left::filled([plan.filters, lines.len() * columns, height], false, |first, count, tile| {
                let together = if whole { rows } else { 1 };
                let lines = lines.clone().step_by(together);
                for (line, tile) in lines.zip(tile.chunks_exact_mut(together * columns * height)) {
                    let (image, row) = (line / rows, line % rows);
                    let mut starts = [0; WIDEST];
                    for (at, start) in starts.iter_mut().enumerate().take(count) {
                        let filter = (image * plan.groups + group) * plan.filters + first + at;
                        *start = filter * outputs + row * columns;
                    }
                    turn(g, &starts[..count], height, tile);
                }
            })
        };
        let lefts: Vec<Left> = collected(0..blocks, left);
        let work = |task: usize| {
            let (part, first) = (task / panels, task % panels * width);
            let offsets = &offsets[first..offsets.len().min(first + width)];
            let mut sums = vec![0.0; plan.filters * width];
            let mut panel = Scratch::of(at_once * columns * width);
            let first_block = part * blocks_of_part;
            for (block, left) in lefts.iter().enumerate().skip(first_block).take(blocks_of_part) {
                let lines = block * at_once..lines.min((block + 1) * at_once);
                for (line, panel) in lines.zip(panel.chunks_exact_mut(columns * width)) {
                    let line = line / rows * image_len + line % rows * pitch;
                    let mut starts = [0; WIDEST];
                    starts.iter_mut().zip(offsets).for_each(|(start, offset)| *start = line + offset);
                    turn(source, &starts[..offsets.len()], width, panel);
                }
                left.times(&panel, |filter, values| {
                    let sums = &mut sums[filter * width..][..width];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                });
            }
            sums
        };
        let sums: Vec<Vec<f32>> = collected(0..parts * panels, work);
        let put = |(filter, gradient): (usize, &mut [f32])| {
            for (task, sums) in sums.iter().enumerate() {
                let (first, sums) = (task % panels * width, &sums[filter * width..][..width]);
                if taps.len() == area {
                    // They lie as the taps do.
                    gradient[first..].iter_mut().zip(sums).for_each(|(place, sum)| *place += sum);
                } else {
                    sums.iter().zip(&places[first..]).for_each(|(sum, place)| gradient[*place] += sum);
                }
            }
        };
        let filters = gradient.chunks_exact_mut(plan.channels * area).enumerate();
        if plan.filters * plan.channels * area * parts > FEW_PACKED {
            shared(filters, put);
        } else {
            filters.for_each(put);
        }
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

pub(super) fn bias_gradient(plan: &Plan, g: &[f32]) -> Vec<f32> {
    let (filters, outputs) = (plan.groups * plan.filters, plan.outputs());
    let sum = |filter: usize| {
        let sums: Vec<f32> = (0..plan.images)
            .map(|image| vectorised(Sum(&g[(image * filters + filter) * outputs..][..outputs])))
            .collect();
        vectorised(Sum(&sums))
    };
    if g.len() > FEW_PACKED { collected(0..filters, sum) } else { (0..filters).map(sum).collect() }
}
