//! Pooling: the largest or the mean of each window, with fixed windows or a fixed number of them.

use burn::backend::Dispatch;
use burn::backend::IntDType;
use burn::backend::ops::ModuleOps;
use burn::tensor::DType;

use super::array::{Array, refused};
use super::autocast::single;
use super::conv::each;
use super::cpu::{MaxPool, computed};
use super::device::is_on_cpu;
use super::index::signed;
use super::number::Number;
use super::shape::Padding;
use crate::Result;

/// How windows go over the input. Each list has one number for each dimension, or one for all.
#[derive(Clone, Debug)]
pub struct Windows {
    /// Their size.
    pub kernel: Vec<usize>,
    /// How far apart they are; empty: as far as they are long.
    pub stride: Vec<usize>,
    /// What is added on both sides. Default 0.
    pub padding: Vec<usize>,
    /// How far apart a window's elements are. Default 1.
    pub dilation: Vec<usize>,
    /// Whether a window may reach beyond the end. Default false.
    pub ceil: bool,
    /// Of means: whether what was added counts. Default true.
    pub count_padding: bool,
    /// Of means: what sums are divided by. Default: the size of the window.
    pub divisor: Option<i64>,
}

impl Windows {
    /// Windows of this size, one after the other.
    #[must_use]
    pub fn new(kernel: impl Into<Vec<usize>>) -> Self {
        Windows {
            kernel: kernel.into(),
            stride: Vec::new(),
            padding: vec![0],
            dilation: vec![1],
            ceil: false,
            count_padding: true,
            divisor: None,
        }
    }

    fn stride(&self) -> &[usize] {
        if self.stride.is_empty() { &self.kernel } else { &self.stride }
    }
}

/// One dimension of windows.
#[derive(Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Axis {
    /// How far a window reaches.
    fn reach(self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// How many windows there are over `length`: a last one that begins in what was added on the right is none. As in PyTorch a first one
    /// may reach beyond the end, too, by less than a stride.
    fn count(self, length: usize, ceil: bool) -> usize {
        let (reach, there) = (self.reach(), length + 2 * self.padding);
        let free = match there.checked_sub(reach) {
            Some(free) => free,
            None if ceil && reach - there < self.stride => 0,
            None => return 0,
        };
        let windows = (if ceil { free.div_ceil(self.stride) } else { free / self.stride }) + 1;
        if ceil && (windows - 1) * self.stride >= length + self.padding { windows - 1 } else { windows }
    }

    /// The same windows, of which the only one does not reach beyond the end, which Burn's would.
    fn within(self, length: usize) -> Self {
        let there = length + 2 * self.padding;
        if self.reach() <= there || there == 0 {
            return self;
        }
        Axis { kernel: (there - 1) / self.dilation + 1, stride: there, ..self }
    }
}

impl Array {
    fn batched<T>(
        &self,
        spatial: usize,
        pooled: impl Fn(&Array) -> Result<T>,
        back: impl Fn(T) -> Result<T>,
    ) -> Result<T> {
        if self.rank() == spatial + 1 {
            return back(pooled(&self.unsqueeze(0)?)?);
        }
        if self.rank() != spatial + 2 {
            let reason =
                format!("an input of {:?} has not {spatial} dimensions beside batch and channels", self.shape());
            return Err(refused("pooling", reason));
        }
        pooled(self)
    }

    fn axes<const N: usize>(&self, how: &Windows) -> Result<[Axis; N]> {
        if self.kind() != super::Kind::Float {
            return Err(refused("pooling", format!("it is for floating-point numbers, not {}", self.dtype_name())));
        }
        let (kernel, stride) = (each::<N>("kernel_size", &how.kernel)?, each::<N>("stride", how.stride())?);
        let (padding, dilation) = (each::<N>("padding", &how.padding)?, each::<N>("dilation", &how.dilation)?);
        let axes: [Axis; N] = std::array::from_fn(|at| Axis {
            kernel: kernel[at],
            stride: stride[at],
            padding: padding[at],
            dilation: dilation[at],
        });
        for (axis, &length) in axes.iter().zip(self.shape().iter().skip(2)) {
            let wrong = axis.kernel == 0 || axis.stride == 0 || axis.dilation == 0;
            if wrong || axis.padding * 2 > axis.kernel {
                return Err(refused(
                    "pooling",
                    "windows have a size, a stride, and padding of at most half their size",
                ));
            }
            if axis.count(length, how.ceil) == 0 {
                return Err(refused("pooling", format!("there is no window of {} over {length}", axis.kernel)));
            }
        }
        Ok(axes)
    }

    /// The two dimensions of windows, as Burn takes them.
    fn plane(&self, how: &Windows) -> Result<[Axis; 2]> {
        let [rows, columns] = self.axes::<2>(how)?;
        let &[_, _, height, width] = self.shape() else {
            return Err(refused("pooling", "an image has four dimensions"));
        };
        Ok([rows.within(height), columns.within(width)])
    }

    /// `max_pool1d`, `max_pool2d` or `max_pool3d`: the largest of each window.
    ///
    /// # Errors
    /// When there is no window.
    pub fn max_pool(&self, spatial: usize, how: &Windows) -> Result<Self> {
        if self.kind() == super::Kind::Int {
            return self.cast(DType::F64)?.max_pool(spatial, how)?.cast(self.dtype());
        }
        self.in_region(spatial)?.batched(
            spatial,
            |x| Ok(x.max_pooled(spatial, how, false)?.0),
            |x| x.squeeze(Some(&[0])),
        )
    }

    /// The same, and their indices in the plane (or the room) of their channel: of several equal ones the first.
    ///
    /// # Errors
    /// When there is no window.
    pub fn max_pool_with_indices(&self, spatial: usize, how: &Windows) -> Result<(Self, Self)> {
        if self.kind() == super::Kind::Int {
            let (values, indices) = self.cast(DType::F64)?.max_pool_with_indices(spatial, how)?;
            return Ok((values.cast(self.dtype())?, indices));
        }
        let found = |(values, indices): (Array, Option<Array>)| {
            indices.map(|indices| (values, indices)).ok_or_else(|| refused("max_pool", "there are no indices"))
        };
        let back = |(values, indices): (Array, Array)| Ok((values.squeeze(Some(&[0]))?, indices.squeeze(Some(&[0]))?));
        self.in_region(spatial)?.batched(spatial, |x| found(x.max_pooled(spatial, how, true)?), back)
    }

    fn max_pooled(&self, spatial: usize, how: &Windows, indexed: bool) -> Result<(Self, Option<Self>)> {
        let x = self;
        match spatial {
            1 => {
                let [a] = x.axes::<1>(how)?;
                let plane = x.unsqueeze(2)?;
                let how = Windows {
                    kernel: vec![1, a.kernel],
                    stride: vec![1, a.stride],
                    padding: vec![0, a.padding],
                    dilation: vec![1, a.dilation],
                    ..how.clone()
                };
                let (values, indices) = plane.max_pooled(2, &how, indexed)?;
                let indices = indices.map(|indices| indices.squeeze(Some(&[2]))).transpose()?;
                Ok((values.squeeze(Some(&[2]))?, indices))
            }
            2 => {
                let axes = x.plane(how)?;
                let pair = |field: fn(Axis) -> usize| axes.map(field);
                let (kernel, stride) = (pair(|axis| axis.kernel), pair(|axis| axis.stride));
                let (padding, dilation) = (pair(|axis| axis.padding), pair(|axis| axis.dilation));
                if !indexed {
                    let &[images, channels, height, width] = x.shape() else {
                        return Err(refused("max_pool2d", "four dimensions"));
                    };
                    let windows = [axes[0].count(height, how.ceil), axes[1].count(width, how.ceil)];
                    let own = MaxPool { kernel, stride, padding, dilation, size: [height, width], windows };
                    // The operator's places have 32 bits.
                    let fits = i32::try_from(height * width).is_ok();
                    if let Some(y) = fits.then(|| computed(own, &[x])).flatten() {
                        return Ok((Array::new(y, &[images, channels, windows[0], windows[1]]), None));
                    }
                    let pooled = Dispatch::max_pool2d(x.prim(), kernel, stride, padding, dilation, how.ceil);
                    return Ok((Array::of(pooled), None));
                }
                // Burn 0.22 writes indices of 32 bits on GPUs, whatever it is asked for.
                let of = if is_on_cpu(x) { IntDType::I64 } else { IntDType::I32 };
                let (x, ceil) = (x.prim(), how.ceil);
                let found = Dispatch::max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil, of);
                Ok((Array::of(found.output), Some(Array::of(found.indices).cast(DType::I64)?)))
            }
            _ => {
                // The largest over height and width, then over the depth.
                let [over_depth, over_height, over_width] = x.axes::<3>(how)?;
                let &[n, c, depth, height, width] = x.shape() else {
                    return Err(refused("max_pool3d", "five dimensions"));
                };
                let two = |a: Axis, b: Axis| Windows {
                    kernel: vec![a.kernel, b.kernel],
                    stride: vec![a.stride, b.stride],
                    padding: vec![a.padding, b.padding],
                    dilation: vec![a.dilation, b.dilation],
                    ..how.clone()
                };
                let planes = x.reshaped(&[n, c * depth, height, width])?;
                let (flat, within) = planes.max_pooled(2, &two(over_height, over_width), indexed)?;
                let (rows, columns) = (flat.shape()[2], flat.shape()[3]);
                let deep = flat.reshaped(&[n, c, depth, rows * columns])?;
                let one = Axis { kernel: 1, stride: 1, padding: 0, dilation: 1 };
                let (pooled, chosen) = deep.max_pooled(2, &two(over_depth, one), indexed)?;
                let shape = [n, c, pooled.shape()[2], rows, columns];
                let indices = match (within, chosen) {
                    (Some(within), Some(chosen)) => {
                        // Which plane it is in, and where in that.
                        let places = chosen.flatten(2, 3)?;
                        let within = within.reshaped(&[n, c, depth * rows * columns])?.gathered(2, &places)?;
                        let plane = places.floor_divide(signed(rows * columns))?.mul(signed(height * width))?;
                        Some(plane.add(&within)?.reshaped(&shape)?)
                    }
                    _ => None,
                };
                Ok((pooled.reshaped(&shape)?, indices))
            }
        }
    }

    /// `avg_pool1d`, `avg_pool2d` or `avg_pool3d`.
    ///
    /// # Errors
    /// When there is no window.
    pub fn avg_pool(&self, spatial: usize, how: &Windows) -> Result<Self> {
        let pooled = |x: &Array| match spatial {
            1 => x.avg_pooled::<1>(how),
            2 => x.avg_pooled::<2>(how),
            _ => x.avg_pooled::<3>(how),
        };
        self.in_region(spatial)?.batched(spatial, pooled, |x| x.squeeze(Some(&[0])))
    }

    /// Within autocast pools over three dimensions are computed in float32.
    fn in_region(&self, spatial: usize) -> Result<Self> {
        if spatial == 3 { Ok(single([self])?[0].clone()) } else { Ok(self.clone()) }
    }

    /// Sums along one dimension after the other, over what each window's elements count.
    fn avg_pooled<const N: usize>(&self, how: &Windows) -> Result<Self> {
        let axes = self.axes::<N>(how)?;
        if N == 2 && how.divisor.is_none() {
            let axes = self.plane(how)?;
            let pair = |field: fn(Axis) -> usize| axes.map(field);
            let pooled = Dispatch::avg_pool2d(
                self.prim(),
                pair(|axis| axis.kernel),
                pair(|axis| axis.stride),
                pair(|axis| axis.padding),
                how.count_padding,
                how.ceil,
            );
            return Ok(Array::of(pooled));
        }
        let mut sums = self.clone();
        let mut divisor = Array::scalar(Number::Float(1.0), self.dtype(), &self.device());
        for (at, axis) in axes.into_iter().enumerate() {
            let (dim, length) = (at + 2, self.shape()[at + 2]);
            let windows = axis.count(length, how.ceil);
            // So far right that the last window ends there.
            let right = ((windows - 1) * axis.stride + axis.kernel).saturating_sub(length + axis.padding);
            let mut pad = vec![0; 2 * (self.rank() - dim)];
            let last = pad.len() - 2;
            (pad[last], pad[last + 1]) = (signed(axis.padding), signed(right));
            let padded = sums.pad(&pad, Padding::Constant(Number::Int(0)))?;
            sums = padded.unfold(signed(dim), axis.kernel, axis.stride)?.sum(&[-1], false)?.slice(
                signed(dim),
                None,
                Some(signed(windows)),
                1,
            )?;
            let counted: Vec<f64> = (0..windows)
                .map(|window| {
                    let start = window * axis.stride;
                    let (from, to) = if how.count_padding {
                        (start, (start + axis.kernel).min(length + 2 * axis.padding))
                    } else {
                        (start.max(axis.padding), (start + axis.kernel).min(length + axis.padding))
                    };
                    #[allow(clippy::cast_precision_loss)] // the size of a window
                    let size = to.saturating_sub(from) as f64;
                    size
                })
                .collect();
            let mut shape = vec![1; self.rank()];
            shape[dim] = windows;
            divisor = divisor.mul(&Array::from_floats(&counted, &shape, self.dtype(), &self.device())?)?;
        }
        match how.divisor {
            Some(given) => sums.div(super::Operand::Number(Number::Int(given))),
            None => sums.div(&divisor),
        }
    }

    /// `adaptive_avg_pool1d`, `2d` or `3d`: means of as many windows as are wanted.
    ///
    /// # Errors
    /// When the input has too few dimensions.
    pub fn adaptive_avg_pool(&self, sizes: &[usize]) -> Result<Self> {
        let pooled = |x: &Array| {
            Ok(Array::of(match *sizes {
                [a] => Dispatch::adaptive_avg_pool1d(x.prim(), a),
                [a, b] => Dispatch::adaptive_avg_pool2d(x.prim(), [a, b]),
                [a, b, c] => Dispatch::adaptive_avg_pool3d(x.prim(), [a, b, c]),
                _ => return Err(refused("adaptive_avg_pool", "it has one to three dimensions")),
            }))
        };
        self.in_region(sizes.len())?.batched(sizes.len(), pooled, |x| x.squeeze(Some(&[0])))
    }

    /// `adaptive_max_pool1d`, `2d` or `3d`: the largest of each of as many windows as are wanted, and their indices in the plane (or
    /// the room) of their channel: of several equal ones the first.
    ///
    /// # Errors
    /// When the input has too few dimensions.
    pub fn adaptive_max_pool(&self, sizes: &[usize]) -> Result<(Self, Self)> {
        let pooled = |x: &Array| {
            let lengths = &x.shape()[2..];
            let places: Vec<i64> = (0..lengths.iter().product()).map(signed).collect();
            let mut indices = Array::from_ints(&places, lengths, &x.device())?.expanded(x.shape())?;
            let mut x = x.clone();
            // The last dimension first: of equal ones the first in memory stays.
            for (at, &size) in sizes.iter().enumerate().rev() {
                let dim = signed(at + 2);
                let length = x.shape()[at + 2];
                let (mut values, mut found) = (Vec::with_capacity(size), Vec::with_capacity(size));
                for index in 0..size {
                    let (start, end) = (index * length / size, ((index + 1) * length).div_ceil(size));
                    let window = |x: &Array| x.slice(dim, Some(signed(start)), Some(signed(end)), 1);
                    let (value, place) = window(&x)?.extreme_of(dim, true, true)?;
                    found.push(window(&indices)?.gathered(dim, &place)?);
                    values.push(value);
                }
                (x, indices) = (Array::cat(&values, dim)?, Array::cat(&found, dim)?);
            }
            Ok((x, indices))
        };
        let back = |(values, indices): (Array, Array)| Ok((values.squeeze(Some(&[0]))?, indices.squeeze(Some(&[0]))?));
        self.in_region(sizes.len())?.batched(sizes.len(), pooled, back)
    }

    /// `max_unpool1d`, `2d` or `3d`: each element at the place that its index names, of as many as `sizes` says; the rest is 0.
    ///
    /// # Errors
    /// When the indices do not fit, or name a place that there is not, or the device does not give them.
    pub fn max_unpool(&self, indices: &Array, sizes: &[usize]) -> Result<Self> {
        if self.shape() != indices.shape() || self.rank() < sizes.len() + 1 {
            let reason = format!("indices of {:?} do not fit {:?}", indices.shape(), self.shape());
            return Err(refused("max_unpool", reason));
        }
        let mut shape = self.shape()[..self.rank() - sizes.len()].to_vec();
        let (rows, width) = (shape.iter().product::<usize>(), sizes.iter().product::<usize>());
        if let Some(index) = indices.ints()?.into_iter().find(|index| !(0..signed(width)).contains(index)) {
            return Err(refused("max_unpool", format!("there is no place {index} in an output of {sizes:?}")));
        }
        shape.extend(sizes);
        let length = self.numel() / rows.max(1);
        let whole = Array::full(&[rows, width], Number::Int(0), self.dtype(), &self.device());
        let (values, indices) = (self.reshaped(&[rows, length])?, indices.reshaped(&[rows, length])?);
        whole.scatter(1, &indices, &values, super::Update::Assign)?.reshaped(&shape)
    }
}
