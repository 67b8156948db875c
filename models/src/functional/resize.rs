//! Images of other sizes: `interpolate` in its modes, pixel shuffles, and sampling by a grid.
//!
//! Along each dimension an output is a weighted sum of a few inputs: their places and weights are computed here, the sums are
//! `index_select`s, so that gradients are right on every device.

use super::array::{Array, refused};
use super::autocast::full;
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel: `floor(i * scale)`.
    Nearest,
    /// The nearest pixel by its centre.
    NearestExact,
    /// Between two neighbours along each dimension: linear, bilinear, trilinear.
    Linear,
    /// Between four neighbours along each dimension, with -0.75.
    Cubic,
    /// As linear, but where it gets smaller all inputs count that an output covers (`antialias=True`).
    LinearSmoothed,
    /// As cubic, with -0.5, and in the same way.
    CubicSmoothed,
    /// The mean of the pixels that an output covers, as `adaptive_avg_pool`.
    Area,
}

/// The size of one dimension and how it comes about.
#[derive(Clone, Copy, Debug)]
pub struct Resized {
    /// How many outputs.
    pub size: usize,
    /// The factor, where it was given: it then says the distance between outputs, not the sizes.
    pub scale: Option<f64>,
}

impl Array {
    /// `torch.nn.functional.interpolate` over the dimensions after batch and channels.
    ///
    /// # Errors
    /// When the input has other dimensions.
    pub fn interpolate(&self, to: &[Resized], how: Interpolation, align_corners: bool) -> Result<Self> {
        if self.rank() != to.len() + 2 {
            return Err(refused(
                "interpolate",
                format!("{:?} has not {} dimensions of pixels", self.shape(), to.len()),
            ));
        }
        let picks = matches!(how, Interpolation::Nearest | Interpolation::NearestExact);
        if self.kind() != super::Kind::Float && !picks {
            let reason = format!("between pixels it is for floating-point numbers, not {}", self.dtype_name());
            return Err(refused("interpolate", reason));
        }
        let mut x = self.clone();
        if how == Interpolation::Nearest {
            return x.nearest(to);
        }
        for (at, &resized) in to.iter().enumerate() {
            x = x.resized(at + 2, resized, how, align_corners)?;
        }
        Ok(x)
    }

    /// The nearest pixels. Where a side is as long as it was, or twice as long, PyTorch's CPU takes factors for 1 or 2: of images whose
    /// sides are together at most 128, and in every backward pass.
    fn nearest(&self, to: &[Resized]) -> Result<Self> {
        let by_size = |at: usize, to: Resized| {
            let length = self.shape()[at + 2];
            to.size == length || to.size == 2 * length
        };
        let found = |x: &Array, by_factors: bool| {
            to.iter().enumerate().try_fold(x.clone(), |x, (at, &to)| {
                let scale = to.scale.filter(|_| by_factors || !by_size(at, to));
                x.resized(at + 2, Resized { scale, ..to }, Interpolation::Nearest, false)
            })
        };
        let small = to.len() == 2 && to.iter().map(|to| to.size).sum::<usize>() <= 128;
        let differs = to.iter().enumerate().any(|(at, &to)| to.scale.is_some() && by_size(at, to));
        if small || !differs {
            return found(self, !small);
        }
        let value = found(&self.detach(), true)?;
        if self.kind() != super::Kind::Float {
            return Ok(value);
        }
        let path = found(self, false)?;
        value.add(&path.sub(&path.detach())?)
    }

    /// One dimension of it.
    fn resized(&self, dim: usize, to: Resized, how: Interpolation, align_corners: bool) -> Result<Self> {
        let length = self.shape()[dim];
        if length == 0 || to.size == 0 {
            return Err(refused("interpolate", "there must be pixels"));
        }
        let taps = taps(length, to, how, align_corners, self.dtype() == burn::tensor::DType::F64);
        let width = taps.first().map_or(0, Vec::len);
        let mut sum: Option<Array> = None;
        for tap in 0..width {
            let places: Vec<i64> = taps.iter().map(|row| signed(row[tap].0)).collect();
            let picked = self.taken(signed(dim), &Array::from_ints(&places, &[to.size], &self.device())?)?;
            if width == 1 {
                return Ok(picked);
            }
            let mut shape = vec![1; self.rank()];
            shape[dim] = to.size;
            let weights: Vec<f64> = taps.iter().map(|row| row[tap].1).collect();
            let part = picked.mul(&Array::from_floats(&weights, &shape, self.dtype(), &self.device())?)?;
            sum = Some(sum.map_or(Ok(part.clone()), |sum| sum.add(&part))?);
        }
        sum.ok_or_else(|| refused("interpolate", "there must be pixels"))
    }

    /// `pixel_shuffle(self, factor)`: `[.., c r r, h, w]` to `[.., c, h r, w r]`.
    ///
    /// # Errors
    /// When the channels are no multiple.
    pub fn pixel_shuffle(&self, factor: usize) -> Result<Self> {
        let [front @ .., channels, height, width] = self.shape() else {
            return Err(refused("pixel_shuffle", "three dimensions"));
        };
        let (height, width, batch) = (*height, *width, front.iter().product::<usize>());
        if factor == 0 || channels % (factor * factor) != 0 {
            return Err(refused("pixel_shuffle", format!("{channels} channels are no multiple of {factor} squared")));
        }
        let out = channels / (factor * factor);
        let parts = self.reshaped(&[batch, out, factor, factor, height, width])?.permuted(&[0, 1, 4, 2, 5, 3]);
        let mut shape = front.to_vec();
        shape.extend([out, height * factor, width * factor]);
        parts.reshaped(&shape)
    }

    /// `pixel_unshuffle(self, factor)`: the contrary.
    ///
    /// # Errors
    /// When height or width is no multiple.
    pub fn pixel_unshuffle(&self, factor: usize) -> Result<Self> {
        let [front @ .., channels, height, width] = self.shape() else {
            return Err(refused("pixel_unshuffle", "three dimensions"));
        };
        let (channels, batch) = (*channels, front.iter().product::<usize>());
        if factor == 0 || height % factor != 0 || width % factor != 0 {
            return Err(refused("pixel_unshuffle", format!("{height} by {width} are no multiples of {factor}")));
        }
        let (height, width) = (height / factor, width / factor);
        let parts = self.reshaped(&[batch, channels, height, factor, width, factor])?.permuted(&[0, 1, 3, 5, 2, 4]);
        let mut shape = front.to_vec();
        shape.extend([channels * factor * factor, height, width]);
        parts.reshaped(&shape)
    }

    /// `torch.nn.functional.affine_grid(theta, [n, c, h, w], align_corners)`: where each pixel of the output comes from.
    ///
    /// # Errors
    /// When it is not of images of two dimensions.
    pub fn affine_grid(theta: &Array, size: &[usize], align_corners: bool) -> Result<Self> {
        let &[n, _, height, width] = size else {
            return Err(refused("affine_grid", "images of two dimensions are supported"));
        };
        let line = |length: usize| {
            #[allow(clippy::cast_precision_loss)] // a number of pixels
            let shrunk = if align_corners { 1.0 } else { (length as f64 - 1.0) / length as f64 };
            let line = if length == 1 {
                vec![0.0]
            } else {
                Array::linspace(-1.0, 1.0, length, theta.dtype(), &theta.device())?.floats()?
            };
            Array::from_floats(&line, &[length], theta.dtype(), &theta.device())?.mul(shrunk)
        };
        let full = [height, width];
        let (x, y) = (line(width)?.expanded(&full)?, line(height)?.unsqueeze(1)?.expanded(&full)?);
        let one = Array::full(&full, Number::Int(1), theta.dtype(), &theta.device());
        let base = Array::stack(&[x, y, one], -1)?.reshaped(&[1, height * width, 3])?;
        base.matmul(&theta.transpose(1, 2)?)?.reshaped(&[n, height, width, 2])
    }

    /// `torch.nn.functional.grid_sample(self, grid, ...)` of images `[n, c, h, w]` by `[n, y, x, 2]`, or of rooms `[n, c, d, h, w]` by
    /// `[n, z, y, x, 3]`: linear, nearest or (images) cubic, with zeros, the border or reflection outside.
    ///
    /// # Errors
    /// When the shapes do not go together, or the mode is another.
    pub fn grid_sample(&self, grid: &Array, how: Interpolation, outside: Outside, align_corners: bool) -> Result<Self> {
        full([self, grid], None, |[x, grid], _| x.sampled(grid, how, outside, align_corners))
    }

    fn sampled(&self, grid: &Array, how: Interpolation, outside: Outside, align_corners: bool) -> Result<Self> {
        let spatial = self.rank().saturating_sub(2);
        if !(2..=3).contains(&spatial) || grid.rank() != self.rank() || grid.shape().last() != Some(&spatial) {
            let (x, grid) = (self.shape(), grid.shape());
            return Err(refused("grid_sample", format!("a grid of {grid:?} does not fit images of {x:?}")));
        }
        // Width, height and depth: the grid names them in this order.
        let lengths: Vec<usize> = self.shape()[2..].iter().rev().copied().collect();
        #[allow(clippy::cast_precision_loss)] // a number of pixels
        let float = |length: usize| length as f64;
        let place = |at: usize| -> Result<Array> {
            let (length, x) = (float(lengths[at]), grid.select(-1, signed(at))?);
            if align_corners {
                return x.add(1.0)?.mul((length - 1.0) / 2.0);
            }
            x.add(1.0)?.mul(length)?.sub(1.0)?.mul(0.5)
        };
        let bounded = |x: Array, at: usize| outside.applied(x, float(lengths[at]), align_corners);
        let places = (0..spatial).map(place).collect::<Result<Vec<_>>>()?;
        let sampled = |at: &[Array]| self.pixels(at, &lengths);
        match how {
            Interpolation::Nearest => {
                let near = |(at, x): (usize, Array)| bounded(x, at)?.detach().unary(Unary::Round);
                sampled(&places.into_iter().enumerate().map(near).collect::<Result<Vec<_>>>()?)
            }
            Interpolation::Linear => {
                let places: Vec<Array> =
                    places.into_iter().enumerate().map(|(at, x)| bounded(x, at)).collect::<Result<_>>()?;
                let low = places.iter().map(|x| x.detach().unary(Unary::Floor)).collect::<Result<Vec<_>>>()?;
                let mut sum: Option<Array> = None;
                for corner in 0..1usize << spatial {
                    let mut weight: Option<Array> = None;
                    let mut at = Vec::with_capacity(spatial);
                    for (dim, (x, low)) in places.iter().zip(&low).enumerate() {
                        // The farther the opposite side, the more this one counts.
                        let high = low.add(1.0)?;
                        let is_high = corner >> dim & 1 == 1;
                        let part = if is_high { x.sub(low)? } else { high.sub(x)? };
                        weight = Some(weight.map_or(Ok(part.clone()), |weight| weight.mul(&part))?);
                        at.push(if is_high { high } else { low.clone() });
                    }
                    let found = sampled(&at)?;
                    let part = weight.map_or(Ok(found.clone()), |weight| found.mul(&weight.unsqueeze(1)?))?;
                    sum = Some(sum.map_or(Ok(part.clone()), |sum| sum.add(&part))?);
                }
                sum.ok_or_else(|| refused("grid_sample", "there are no corners"))
            }
            Interpolation::Cubic if spatial == 2 => {
                let low = places.iter().map(|x| x.detach().unary(Unary::Floor)).collect::<Result<Vec<_>>>()?;
                let part = |at: usize| cubic_weights(&places[at].sub(&low[at])?);
                let (across, down) = (part(0)?, part(1)?);
                let tap = |at: usize, tap: i64| bounded(low[at].add(Number::Int(tap - 1))?, at);
                let mut sum: Option<Array> = None;
                for (row, down) in (0..).zip(&down) {
                    let mut line: Option<Array> = None;
                    for (column, across) in (0..).zip(&across) {
                        let found = sampled(&[tap(0, column)?, tap(1, row)?])?.mul(&across.unsqueeze(1)?)?;
                        line = Some(line.map_or(Ok(found.clone()), |line| line.add(&found))?);
                    }
                    let line = line.map(|line| line.mul(&down.unsqueeze(1)?)).transpose()?;
                    sum = sum.zip(line.clone()).map(|(sum, line)| sum.add(&line)).transpose()?.or(line);
                }
                sum.ok_or_else(|| refused("grid_sample", "there are no pixels"))
            }
            other => {
                Err(refused("grid_sample", format!("the mode {other:?} is not supported over {spatial} dimensions")))
            }
        }
    }

    /// The pixels at whole places (width first), and 0 where there are none.
    fn pixels(&self, at: &[Array], lengths: &[usize]) -> Result<Self> {
        let mut there: Option<Array> = None;
        let mut places: Option<Array> = None;
        // The last dimension changes slowest.
        for (x, &length) in at.iter().zip(lengths).rev() {
            let x = x.detach();
            let inside = x.ge(0.0)?.logical_and(&x.lt(Number::Int(signed(length)).float())?)?;
            let whole = x.fill_where(&x.isnan()?, Number::Int(0))?;
            let whole = whole.clamp(Some(Number::Int(0)), Some(Number::Int(signed(length) - 1)))?;
            let whole = whole.cast(burn::tensor::DType::I64)?;
            there = Some(there.map_or(Ok(inside.clone()), |there| there.logical_and(&inside))?);
            places = Some(places.map_or(Ok(whole.clone()), |places| places.mul(signed(length))?.add(&whole))?);
        }
        let (Some(there), Some(places)) = (there, places) else { return Err(refused("grid_sample", "no places")) };
        let (n, c) = (self.shape()[0], self.shape()[1]);
        let count = places.numel() / n.max(1);
        let index = places.reshaped(&[n, 1, count])?.expanded(&[n, c, count])?;
        let mut shape = vec![n, c];
        shape.extend(&places.shape()[1..]);
        let found = self.reshaped(&[n, c, lengths.iter().product()])?.gathered(2, &index)?.reshaped(&shape)?;
        found.fill_where(&there.logical_not()?.unsqueeze(1)?, Number::Float(0.0))
    }
}

/// The weights of four neighbours of a place that is `t` behind the second.
fn cubic_weights(t: &Array) -> Result<[Array; 4]> {
    let near = |x: &Array| x.mul(CUBIC + 2.0)?.sub(CUBIC + 3.0)?.mul(x)?.mul(x)?.add(1.0);
    let far = |x: &Array| x.mul(CUBIC)?.sub(5.0 * CUBIC)?.mul(x)?.add(8.0 * CUBIC)?.mul(x)?.sub(4.0 * CUBIC);
    Ok([far(&t.add(1.0)?)?, near(t)?, near(&t.rsub(1.0)?)?, far(&t.rsub(2.0)?)?])
}

/// What lies outside of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The pixel at the border.
    Border,
    /// The image, mirrored.
    Reflection,
}

impl Outside {
    fn applied(self, at: Array, length: f64, align_corners: bool) -> Result<Array> {
        let within = |at: Array| at.clamp(Some(Number::Float(0.0)), Some(Number::Float(length - 1.0)));
        match self {
            Outside::Zeros => Ok(at),
            Outside::Border => within(at),
            Outside::Reflection => {
                let (low, span) = if align_corners { (0.0, length - 1.0) } else { (-0.5, length) };
                if span == 0.0 {
                    return Ok(at.zeros_like());
                }
                let moved = at.sub(low)?.unary(Unary::Abs)?;
                let turns = moved.detach().div(span)?.unary(Unary::Floor)?;
                let rest = moved.sub(&turns.mul(span)?)?;
                let odd = turns.remainder(2.0)?.eq(1.0)?;
                within(super::broadcast::select(&odd, &rest.rsub(span)?, &rest)?.add(low)?)
            }
        }
    }
}

/// For each output along a dimension, the inputs that make it and their weights.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)] // places of pixels
fn taps(length: usize, to: Resized, how: Interpolation, align_corners: bool, double: bool) -> Vec<Vec<(usize, f64)>> {
    let (input, output) = (length as f64, to.size as f64);
    // PyTorch computes places in float32, and between pixels of float64 in float64.
    let single = |x: f64| f64::from(x as f32);
    let rounded = |x: f64| if double { x } else { single(x) };
    let distance = match to.scale {
        Some(scale) if scale > 0.0 => 1.0 / scale,
        _ => input / output,
    };
    let aligned = if to.size > 1 { rounded((input - 1.0) / (output - 1.0)) } else { 0.0 };
    let (nearest, distance) = (single(distance), rounded(distance));
    let last = length - 1;
    let clamped = |place: i64| place.clamp(0, last as i64) as usize;
    let row = |index: usize| {
        let index = index as f64;
        let centre =
            if align_corners { rounded(aligned * index) } else { rounded(rounded(distance * (index + 0.5)) - 0.5) };
        match how {
            Interpolation::Nearest => vec![(clamped(single(index * nearest).floor() as i64), 1.0)],
            Interpolation::NearestExact => vec![(clamped(single((index + 0.5) * nearest).floor() as i64), 1.0)],
            Interpolation::Area => {
                let at = index as usize;
                let (start, end) = (at * length / to.size, ((at + 1) * length).div_ceil(to.size));
                (start..end).map(|place| (place, 1.0 / (end - start) as f64)).collect()
            }
            Interpolation::Linear => {
                let centre = centre.max(0.0);
                let low = (centre.floor() as usize).min(last);
                let part = (centre - low as f64).clamp(0.0, 1.0);
                vec![(low, rounded(1.0 - part)), ((low + 1).min(last), part)]
            }
            Interpolation::Cubic => {
                let low = centre.floor();
                let part = centre - low;
                let near = |x: f64| ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0;
                let far = |x: f64| ((CUBIC * x - 5.0 * CUBIC) * x + 8.0 * CUBIC) * x - 4.0 * CUBIC;
                let weights = [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)];
                weights
                    .iter()
                    .enumerate()
                    .map(|(tap, &weight)| (clamped(low as i64 - 1 + tap as i64), weight))
                    .collect()
            }
            Interpolation::LinearSmoothed | Interpolation::CubicSmoothed => {
                let distance = if align_corners { aligned } else { distance };
                covered(length, index, distance, how, rounded)
            }
        }
    };
    let mut rows: Vec<Vec<(usize, f64)>> = (0..to.size).map(row).collect();
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    rows.iter_mut().for_each(|row| row.resize(width, (0, 0.0)));
    rows
}

/// The inputs that an output covers, with their share of it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // places of pixels
fn covered(
    length: usize,
    index: f64,
    distance: f64,
    how: Interpolation,
    rounded: impl Fn(f64) -> f64,
) -> Vec<(usize, f64)> {
    let reach = if how == Interpolation::LinearSmoothed { 1.0 } else { 2.0 };
    let (support, narrow) =
        if distance >= 1.0 { (rounded(reach * distance), rounded(1.0 / distance)) } else { (reach, 1.0) };
    let centre = rounded(distance * (index + 0.5));
    let start = rounded(rounded(centre - support) + 0.5).max(0.0) as usize;
    let end = (rounded(rounded(centre + support) + 0.5).max(0.0) as usize).min(length);
    let filter = |x: f64| {
        let x = x.abs();
        match how {
            Interpolation::LinearSmoothed => (1.0 - x).max(0.0),
            _ if x < 1.0 => ((SMOOTH + 2.0) * x - (SMOOTH + 3.0)) * x * x + 1.0,
            _ if x < 2.0 => ((x - 5.0) * x + 8.0) * x * SMOOTH - 4.0 * SMOOTH,
            _ => 0.0,
        }
    };
    let weights: Vec<f64> =
        (start..end).map(|at| filter(rounded(rounded(rounded(at as f64 - centre) + 0.5) * narrow))).collect();
    let sum: f64 = weights.iter().sum();
    (start..end).zip(weights).map(|(at, weight)| (at, if sum == 0.0 { weight } else { weight / sum })).collect()
}

/// PyTorch's coefficient of the cubic convolution.
const CUBIC: f64 = -0.75;
/// The same, where all that an output covers counts.
const SMOOTH: f64 = -0.5;
