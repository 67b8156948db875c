//! How a convolution over two dimensions reads memory: an image is spread into planes, one for each residue of the stride, with
//! its padding; then every tap of the kernel is a plane from one offset on, whatever stride and dilation are.

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
    /// How many elements a channel of a filter has in the weight, and where the kernel's begin among them.
    pub(super) area: usize,
    pub(super) begins: usize,
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
        all.map(|[y, x]| Tap {
            at: self.begins + y * self.kernel[1] + x,
            far: [y * self.dilation[0], x * self.dilation[1]],
        })
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

    /// The same convolution, as it is least work: where a single pixel gives a single one, by the only tap that meets it; and where
    /// every pixel is by itself, they make one row.
    pub(super) fn simplified(self) -> Self {
        let mut plan = self;
        if self.size == [1, 1]
            && self.output() == [1, 1]
            && let [only] = self.taps()[..]
        {
            let begins = only.at;
            plan = Plan { kernel: [1, 1], begins, stride: [1, 1], padding: [0, 0], dilation: [1, 1], ..self };
        }
        let alone = plan.kernel == [1, 1] && plan.lies_spread();
        Plan { size: if alone { [1, plan.pixels()] } else { plan.size }, ..plan }
    }

    /// Whether a spread image is the image itself.
    pub(super) fn lies_spread(&self) -> bool {
        self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Spreads an image's channels, and zeros around them, into all of the target.
    pub(super) fn spread(&self, image: &[f32], target: &mut [f32]) {
        let ([sy, sx], [py, px], columns, plane) = (self.stride, self.padding, self.plane()[1], self.plane_len());
        let [height, width] = self.size;
        if self.stride == [1, 1] {
            for (image, target) in image.chunks_exact(height * width).zip(target.chunks_exact_mut(plane)) {
                let (above, rest) = target.split_at_mut(py * columns);
                let (within, below) = rest.split_at_mut(height * columns);
                above.fill(0.0);
                below.fill(0.0);
                for (target, pixels) in within.chunks_exact_mut(columns).zip(image.chunks_exact(width)) {
                    target[..px].fill(0.0);
                    target[px..px + width].copy_from_slice(pixels);
                    target[px + width..].fill(0.0);
                }
            }
            return;
        }
        target.fill(0.0);
        for (row, pixels) in image.chunks_exact(width).enumerate() {
            let (channel, y) = (row / height, row % height + py);
            let start = (channel * sy + y % sy) * sx * plane + y / sy * columns;
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
