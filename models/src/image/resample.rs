//! Resizing with a filter as wide as the pixels that it joins (`antialias=True`), in whole numbers: what
//! Pillow does with pixels of eight bits.

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interpolation {
    /// A triangle.
    #[default]
    Bilinear,
    /// A cubic curve, with a = -0.5.
    Bicubic,
}

impl Interpolation {
    /// How far it reaches, in pixels of the smaller picture.
    fn support(self) -> f64 {
        match self {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        }
    }

    /// How much a pixel at this distance counts.
    fn weight(self, distance: f64) -> f64 {
        let (x, a) = (distance.abs(), -0.5);
        match self {
            Interpolation::Bilinear if x < 1.0 => 1.0 - x,
            Interpolation::Bicubic if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
            _ => 0.0,
        }
    }
}

/// Weights are whole numbers of so many bits behind the point; eight bits are the pixel's, and two the sum's.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The pixels that make one: the first, and their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Which pixels of a line of `from` make each of one of `to`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of lengths, as there
fn taps(from: usize, to: usize, interpolation: Interpolation) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = interpolation.support() * filter_scale;
    let of = |x: usize| {
        let center = (x as f64 + 0.5) * scale;
        // Negative numbers become 0.
        let first = ((center - support + 0.5) as usize).min(from);
        let end = ((center + support + 0.5) as usize).min(from);
        let distance = |x: usize| (x as f64 - center + 0.5) * (1.0 / filter_scale);
        let weights: Vec<f64> = (first..end).map(|x| interpolation.weight(distance(x))).collect();
        let sum: f64 = weights.iter().sum();
        let whole = |weight: f64| {
            let weight = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << PRECISION_BITS);
            if weight < 0.0 { (weight - 0.5) as i32 } else { (weight + 0.5) as i32 }
        };
        Taps { first, weights: weights.into_iter().map(whole).collect() }
    };
    (0..to).map(of).collect()
}

/// The sum of a pixel's weighted neighbours, `apart` bytes from each other.
fn joined(pixels: &[u8], from: usize, apart: usize, weights: &[i32]) -> u8 {
    let neighbours = pixels.iter().skip(from).step_by(apart);
    let sum = weights.iter().zip(neighbours).fold(1 << (PRECISION_BITS - 1), |sum: i32, (weight, &pixel)| {
        sum.wrapping_add(weight.wrapping_mul(pixel.into()))
    });
    u8::try_from((sum >> PRECISION_BITS).clamp(0, 255)).unwrap_or(u8::MAX)
}

/// The picture's rows at another length, one channel beside the other; `pixels` has rows of `width` pixels.
fn across(pixels: &[u8], width: usize, to: usize, channels: usize, interpolation: Interpolation) -> Vec<u8> {
    let taps = taps(width, to, interpolation);
    let mut out = Vec::with_capacity(pixels.len() / width.max(1) * to);
    for row in pixels.chunks_exact(width * channels) {
        for Taps { first, weights } in &taps {
            out.extend((0..channels).map(|channel| joined(row, first * channels + channel, channels, weights)));
        }
    }
    out
}

/// The picture's columns at another length: each of its rows has `row` bytes.
fn down(pixels: &[u8], row: usize, to: usize, interpolation: Interpolation) -> Vec<u8> {
    let mut out = Vec::with_capacity(row * to);
    for Taps { first, weights } in taps(pixels.len() / row.max(1), to, interpolation) {
        let rows = &pixels[(first * row).min(pixels.len())..];
        out.extend((0..row).map(|at| joined(rows, at, row, &weights)));
    }
    out
}

/// The picture at another size: first its rows, unless its height shrinks more than twice as far as its width. (So Pillow from
/// version 13; before, it was always the rows. Each pass rounds, so that a few pixels differ by a level.)
pub(super) fn resized(
    pixels: &[u8],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
    channels: usize,
    interpolation: Interpolation,
) -> Vec<u8> {
    let rows = |pixels: Vec<u8>| {
        if new_width == width { pixels } else { across(&pixels, width, new_width, channels, interpolation) }
    };
    let columns = |pixels: Vec<u8>, width: usize| {
        if new_height == height { pixels } else { down(&pixels, width * channels, new_height, interpolation) }
    };
    let less = height.saturating_sub(new_height);
    if less > 0 && (new_width >= width || less > 2 * (width - new_width)) {
        rows(columns(pixels.to_vec(), width))
    } else {
        columns(rows(pixels.to_vec()), new_width)
    }
}
