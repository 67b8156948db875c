//! How a convolution over two dimensions reads memory: an image is spread into planes, one for each residue of the stride, with
//! its padding; then every tap of the kernel is a plane from one offset on, whatever stride and dilation are.

use super::gemm::{Left, panel_width};

/// What may be read behind the last element: pixels are copied some at a time.
pub(super) const SLACK: usize = 64;

/// A convolution of one group of channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Channels of a group, in and out.
    pub(super) channels: usize,
    pub(super) filters: usize,
    pub(super) size: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
}

/// One tap: its place in the kernel, and how far it is from the output's place, in elements of the padded image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) at: usize,
    pub(super) far: [usize; 2],
}

impl Plan {
    /// Height and width of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        [0, 1].map(|i| {
            (self.size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) / self.stride[i] + 1
        })
    }

    /// Rows and columns of a plane.
    pub(super) fn plane(&self) -> [usize; 2] {
        [0, 1].map(|i| (self.size[i] + 2 * self.padding[i]).div_ceil(self.stride[i]))
    }

    /// Elements of a plane.
    pub(super) fn plane_len(&self) -> usize {
        let [rows, columns] = self.plane();
        rows * columns
    }

    /// Elements of a spread image.
    pub(super) fn spread_len(&self) -> usize {
        self.channels * self.stride[0] * self.stride[1] * self.plane_len()
    }

    /// Elements of an image's channel.
    pub(super) fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Elements of an output's channel.
    pub(super) fn outputs(&self) -> usize {
        let [rows, columns] = self.output();
        rows * columns
    }

    /// The taps that meet the image somewhere: others only ever meet the padding.
    pub(super) fn taps(&self) -> Vec<Tap> {
        let output = self.output();
        let meets = |i: usize, far: usize| {
            let places = (0..output[i]).map(|at| at * self.stride[i] + far);
            places.into_iter().any(|place| (self.padding[i]..self.padding[i] + self.size[i]).contains(&place))
        };
        let all = (0..self.kernel[0]).flat_map(|y| (0..self.kernel[1]).map(move |x| [y, x]));
        all.map(|[y, x]| Tap { at: y * self.kernel[1] + x, far: [y * self.dilation[0], x * self.dilation[1]] })
            .filter(|tap| meets(0, tap.far[0]) && meets(1, tap.far[1]))
            .collect()
    }

    /// Where each tap of each channel begins in a spread image.
    pub(super) fn offsets(&self, taps: &[Tap]) -> Vec<usize> {
        let ([sy, sx], columns, plane) = (self.stride, self.plane()[1], self.plane_len());
        let offset = |channel: usize, [y, x]: [usize; 2]| {
            ((channel * sy + y % sy) * sx + x % sx) * plane + y / sy * columns + x / sx
        };
        (0..self.channels).flat_map(|channel| taps.iter().map(move |tap| offset(channel, tap.far))).collect()
    }

    /// Spreads an image's channels; the target has been zeros wherever no pixel goes.
    pub(super) fn spread(&self, image: &[f32], target: &mut [f32]) {
        let ([sy, sx], [py, px], columns, plane) = (self.stride, self.padding, self.plane()[1], self.plane_len());
        let [height, width] = self.size;
        for (row, pixels) in image.chunks_exact(width).enumerate() {
            let (channel, y) = (row / height, row % height + py);
            let start = (channel * sy + y % sy) * sx * plane + y / sy * columns;
            if sx == 1 {
                target[start + px..][..width].copy_from_slice(pixels);
                continue;
            }
            for residue in 0..sx {
                // The first pixel whose padded place has the residue.
                let first = (residue + sx - px % sx) % sx;
                if first < width {
                    let to = &mut target[start + residue * plane + (first + px) / sx..];
                    to.iter_mut().zip(pixels[first..].iter().step_by(sx)).for_each(|(to, pixel)| *to = *pixel);
                }
            }
        }
    }
}

/// Places of an output, row by row: of each, a spread source has what meets the first tap, `pitch` from one row to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) start: usize,
    pub(super) pitch: usize,
}

/// Neighbours in a row of the grid, in a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) len: usize,
    /// Where they begin in the panel.
    pub(super) lane: usize,
    from: usize,
}

/// A convolution as a product: the weights, `[outputs, taps]`, with panels of pixels, `[taps, pixels]`, over several images.
pub(super) struct Sweep<'a> {
    pub(super) weights: &'a Left,
    /// Where each tap begins.
    pub(super) offsets: &'a [usize],
    pub(super) grid: Grid,
    /// Spread images, one behind the other, and [`SLACK`].
    pub(super) source: &'a [f32],
    pub(super) images: usize,
    pub(super) image_len: usize,
}

impl Sweep<'_> {
    /// The runs of the panel whose first pixel this is.
    fn runs(&self, first: usize, width: usize, runs: &mut Vec<Run>) {
        let Grid { rows, columns, start, pitch } = self.grid;
        let end = (first + width).min(self.images * rows * columns);
        runs.clear();
        let mut at = first;
        while at < end {
            let (line, column) = (at / columns, at % columns);
            let (image, row) = (line / rows, line % rows);
            let len = (columns - column).min(end - at);
            let from = image * self.image_len + start + row * pitch + column;
            runs.push(Run { image, row, column, len, lane: at - first, from });
            at += len;
        }
    }

    /// Gives `store` each output's values, run by run. `panel` is memory that may be used again.
    pub(super) fn run(&self, panel: &mut Vec<f32>, mut store: impl FnMut(usize, &Run, &[f32])) {
        let width = panel_width();
        panel.resize(self.offsets.len() * width + SLACK, 0.0);
        let mut runs = Vec::new();
        for first in (0..self.images * self.grid.rows * self.grid.columns).step_by(width) {
            self.runs(first, width, &mut runs);
            match self.grid.columns {
                0..6 => self.fill::<4>(&runs, width, panel),
                6..12 => self.fill::<8>(&runs, width, panel),
                _ => self.fill::<16>(&runs, width, panel),
            }
            self.weights.times(panel, |output, values| {
                runs.iter().for_each(|run| store(output, run, &values[run.lane..][..run.len]));
            });
        }
    }

    /// Copies the pixels, `N` at a time: what is too much is overwritten by what comes next.
    fn fill<const N: usize>(&self, runs: &[Run], width: usize, panel: &mut [f32]) {
        for (tap, offset) in self.offsets.iter().enumerate() {
            for run in runs {
                let (from, to) = (&self.source[offset + run.from..], &mut panel[tap * width + run.lane..]);
                for at in (0..run.len).step_by(N) {
                    to[at..][..N].copy_from_slice(&from[at..][..N]);
                }
            }
        }
    }
}
