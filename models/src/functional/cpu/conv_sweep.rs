//! A convolution as products of matrices: weights, `[outputs, taps]`, with panels of pixels, `[taps, pixels]`, over images, and how
//! threads share that out: images, where there are enough of them; or else panels; or the weights, where these are more.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::conv_plan::Grid;
#[cfg(target_arch = "x86_64")]
use super::gemm::Rows;
use super::gemm::{FEW_PACKED, Left, Right, height, panel_width, share};
use super::memory::{Places, Scratch};
use super::simd::{Kernel, vectorised};
use super::threads::{shared, threads};

/// As many pixels of several images as make up a thread's work.
const PIXELS: usize = 256;

/// Neighbours in a row of the grid, in a panel.
#[derive(Clone, Copy, Debug)]
struct Run {
    image: usize,
    row: usize,
    column: usize,
    len: usize,
    /// Where they begin in the panel.
    lane: usize,
    /// Where they begin in the source, for the first tap.
    from: usize,
}

/// One product: of some places of the output, which all have the same taps.
pub(super) struct Part<'a> {
    pub(super) grid: Grid,
    /// Where each tap begins in a spread image.
    pub(super) offsets: Vec<usize>,
    /// Writes a tile of a group's weights: of this group, from this row on, so many rows, for tiles so high.
    pub(super) weights: Box<dyn Fn(usize, usize, usize, usize, &mut [f32]) + Sync + 'a>,
    /// The weights of all groups, where they lie row by row as they are multiplied.
    pub(super) lying: Option<&'a [f32]>,
    /// The place of the output that the grid's first is, and how far it is from one to the next.
    pub(super) first: [usize; 2],
    pub(super) step: [usize; 2],
}

impl Part<'_> {
    /// How many panels the places of so many images make.
    fn panels(&self, images: usize) -> usize {
        (images * self.grid.rows * self.grid.columns).div_ceil(panel_width())
    }
}

/// Images of which planes are made, and those that they are made of.
pub(super) struct Images<'a> {
    pub(super) count: usize,
    pub(super) groups: usize,
    /// The source: elements of a spread image's group, and what spreads it; or the images as they are, with elements of one.
    pub(super) spread_len: usize,
    pub(super) spread: Spread<'a>,
    /// Channels of a group of the output, and its height and width.
    pub(super) outputs: usize,
    pub(super) size: [usize; 2],
    pub(super) bias: Option<&'a [f32]>,
}

/// How images become a source.
pub(super) enum Spread<'a> {
    /// They lie as it does already: an image behind the other, its groups one behind the other.
    AsItIs(&'a [f32]),
    /// By a function of the image and the group, which writes all of the memory that it is given.
    By(&'a (dyn Fn(usize, usize, &mut [f32]) + Sync)),
}

/// A source: spread images one behind the other.
#[derive(Clone, Copy)]
struct Source<'a> {
    data: &'a [f32],
    /// The first of the images, how many there are, and how far it is from one to the next.
    first: usize,
    images: usize,
    pitch: usize,
}

impl Part<'_> {
    /// The runs of the panel whose first pixel this is.
    fn runs(&self, source: Source<'_>, first: usize, runs: &mut Vec<Run>) {
        let Grid { rows, columns, start, pitch } = self.grid;
        let end = (first + panel_width()).min(source.images * rows * columns);
        runs.clear();
        let mut at = first;
        while at < end {
            let (line, column) = (at / columns, at % columns);
            let (image, row) = (line / rows, line % rows);
            let len = (columns - column).min(end - at);
            let from = image * source.pitch + start + row * pitch + column;
            runs.push(Run { image: source.first + image, row, column, len, lane: at - first, from });
            at += len;
        }
    }

    /// Writes a panel, `[taps, panel_width]`.
    fn fill(&self, source: Source<'_>, runs: &[Run], panel: &mut [f32]) {
        for run in runs {
            vectorised(Copy { source: source.data, offsets: &self.offsets, run, panel });
        }
    }
}

/// Copies a run of pixels for each tap.
struct Copy<'a> {
    source: &'a [f32],
    offsets: &'a [usize],
    run: &'a Run,
    panel: &'a mut [f32],
}

impl Kernel for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        match self.run.len {
            1 => self.pairs::<1>(),
            2..4 => self.pairs::<2>(),
            4..8 => self.pairs::<4>(),
            8..16 => self.pairs::<8>(),
            16..=32 => self.pairs::<16>(),
            _ => {}
        }
    }
}

impl Copy<'_> {
    /// The first `N` and the last `N`, which may overlap.
    #[inline(always)]
    fn pairs<const N: usize>(self) {
        let (Run { len, lane, from, .. }, width) = (*self.run, panel_width());
        for (offset, panel) in self.offsets.iter().zip(self.panel.chunks_exact_mut(width)) {
            let (from, to) = (&self.source[offset + from..][..len], &mut panel[lane..][..len]);
            if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
                *to = *from;
            }
            if let (Some(from), Some(to)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) {
                *to = *from;
            }
        }
    }
}

impl Images<'_> {
    /// Writes the output at all places of its parts: `out` is `[images, groups * outputs, height, width]`.
    pub(super) fn swept(&self, parts: &[Part<'_>], out: &mut [MaybeUninit<f32>]) {
        let Some(places) = parts.iter().map(|part| part.grid.rows * part.grid.columns).max() else { return };
        let (threads, out) = (threads(), &Places::of(out));
        let at_once = PIXELS.div_ceil(places).min(self.count.div_ceil(threads).max(1));
        let shares = self.count.div_ceil(at_once);
        if threads == 1 || shares * self.groups >= 2 * threads {
            let pairs = parts.iter().flat_map(|part| (0..self.groups).map(move |group| (part, group)));
            let weights: Vec<Left> = pairs.map(|(part, group)| self.packed(part, group)).collect();
            shared(0..shares * self.groups, |task| {
                let (first, group) = (task / self.groups * at_once, task % self.groups);
                let images = at_once.min(self.count - first);
                self.with_source(first, images, group, false, |source| {
                    for (at, part) in parts.iter().enumerate() {
                        let (weights, places) = (&weights[at * self.groups + group], 0..part.panels(images));
                        self.panel_by_panel(part, group, weights, source, places, out);
                    }
                });
            });
            return;
        }
        for group in 0..self.groups {
            self.with_source(0, self.count, group, true, |source| {
                for part in parts {
                    let panels = part.panels(self.count);
                    if panels * panel_width() < self.outputs && !part.offsets.is_empty() {
                        self.tile_by_tile(part, group, source, out);
                        continue;
                    }
                    let weights = self.packed(part, group);
                    let taken = share(panels, part.offsets.len() * panel_width());
                    shared(0..panels.div_ceil(taken), |task| {
                        let panels = task * taken..panels.min((task + 1) * taken);
                        self.panel_by_panel(part, group, &weights, source, panels, out);
                    });
                }
            });
        }
    }

    fn packed(&self, part: &Part<'_>, group: usize) -> Left {
        let (inner, height) = (part.offsets.len(), height(self.outputs));
        Left::filled([self.outputs, inner, height], self.outputs * inner > FEW_PACKED, |row, rows, tile| {
            (part.weights)(group, row, rows, height, tile);
        })
    }

    /// Gives `run` a source of some images' group.
    fn with_source(&self, first: usize, images: usize, group: usize, by_all: bool, run: impl FnOnce(Source<'_>)) {
        let len = self.spread_len;
        match self.spread {
            Spread::AsItIs(data) => {
                let pitch = self.groups * len;
                let data = &data[first * pitch + group * len..][..(images - 1) * pitch + len];
                run(Source { data, first, images, pitch });
            }
            Spread::By(spread) => {
                let mut source = Scratch::of(images * len);
                let made = |(image, to): (usize, &mut [f32])| spread(first + image, group, to);
                if by_all {
                    shared(source.chunks_exact_mut(len).enumerate(), made);
                } else {
                    source.chunks_exact_mut(len).enumerate().for_each(made);
                }
                run(Source { data: &source, first, images, pitch: len });
            }
        }
    }

    /// All outputs at the places of some panels.
    fn panel_by_panel(
        &self,
        part: &Part<'_>,
        group: usize,
        weights: &Left,
        source: Source<'_>,
        panels: Range<usize>,
        out: &Places<'_, MaybeUninit<f32>>,
    ) {
        let (mut panel, mut runs) = (Scratch::of(part.offsets.len() * panel_width()), Vec::new());
        for at in panels {
            part.runs(source, at * panel_width(), &mut runs);
            part.fill(source, &runs, &mut panel);
            weights.times(&panel, |output, values| self.store(part, group, output, &runs, values, out));
        }
    }

    /// All places: the pixels are packed first, and each thread packs the weights that it multiplies.
    fn tile_by_tile(&self, part: &Part<'_>, group: usize, source: Source<'_>, out: &Places<'_, MaybeUninit<f32>>) {
        let (inner, height) = (part.offsets.len(), height(self.outputs));
        let pixels = source.images * part.grid.rows * part.grid.columns;
        let panels = Right::filled(inner, pixels, pixels * inner > FEW_PACKED, |first, _, panel| {
            let mut runs = Vec::new();
            part.runs(source, first, &mut runs);
            part.fill(source, &runs, panel);
        });
        let runs: Vec<Vec<Run>> = (0..pixels)
            .step_by(panel_width())
            .map(|first| {
                let mut runs = Vec::new();
                part.runs(source, first, &mut runs);
                runs
            })
            .collect();
        let taken = share(self.outputs.div_ceil(height), height * inner) * height;
        shared(0..self.outputs.div_ceil(taken), |task| {
            let (first, count) = (task * taken, taken.min(self.outputs - task * taken));
            let store = |output, runs: &Vec<Run>, values: &[f32]| {
                self.store(part, group, first + output, runs, values, out);
            };
            #[cfg(target_arch = "x86_64")]
            if let Some(rows) = part
                .lying
                .and_then(|all| Rows::of(&all[(group * self.outputs + first) * inner..][..count * inner], inner))
            {
                for (runs, panel) in runs.iter().zip(panels.all()) {
                    rows.times(panel, |output, values| store(output, runs, values));
                }
                return;
            }
            let weights = Left::filled([count, inner, height], false, |row, rows, tile| {
                (part.weights)(group, first + row, rows, height, tile);
            });
            for (runs, panel) in runs.iter().zip(panels.all()) {
                weights.times(panel, |output, values| store(output, runs, values));
            }
        });
    }

    /// Puts a panel's values of one output where they belong.
    #[inline]
    #[allow(unsafe_code)]
    fn store(
        &self,
        part: &Part<'_>,
        group: usize,
        output: usize,
        runs: &[Run],
        values: &[f32],
        out: &Places<'_, MaybeUninit<f32>>,
    ) {
        let ([height, width], [down, right]) = (self.size, part.step);
        let plane = group * self.outputs + output;
        let bias = self.bias.map_or(0.0, |bias| bias[plane]);
        for run in runs {
            let (y, x) = (part.first[0] + run.row * down, part.first[1] + run.column * right);
            let start = ((run.image * self.groups * self.outputs + plane) * height + y) * width + x;
            // SAFETY: the run's pixels of this output belong to this panel and this tile alone, which one thread multiplies, once.
            // Between them lie other parts' places, but of an image and a group one part comes after the other.
            let out = unsafe { out.from(start, (run.len - 1) * right + 1) };
            let values = &values[run.lane..][..run.len];
            match (right, self.bias) {
                (1, None) => _ = out.write_copy_of_slice(values),
                (1, Some(_)) => out.iter_mut().zip(values).for_each(|(out, value)| _ = out.write(value + bias)),
                _ => out.iter_mut().step_by(right).zip(values).for_each(|(out, value)| _ = out.write(value + bias)),
            }
        }
    }
}
