//! What goes by order: extremes so far, places in a sorted sequence, medians and quantiles, histograms, elements that differ.

use burn::tensor::DType;

use super::array::{Array, Kind, refused};
use super::autocast::single;
use super::broadcast::select;
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// How a quantile between two elements is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// By their distance.
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// Halfway.
    Midpoint,
    /// The nearer one.
    Nearest,
}

impl Between {
    /// By PyTorch's name.
    ///
    /// # Errors
    /// For another name.
    pub fn from_name(name: &str) -> Result<Self> {
        let names = [
            ("linear", Between::Linear),
            ("lower", Between::Lower),
            ("higher", Between::Higher),
            ("midpoint", Between::Midpoint),
            ("nearest", Between::Nearest),
        ];
        let found = names.into_iter().find(|(known, _)| *known == name).map(|(_, between)| between);
        found.ok_or_else(|| refused("quantile", format!("there is no interpolation '{name}'")))
    }
}

impl Array {
    /// `torch.cummax(self, dim)` or `torch.cummin`: the extremes so far, and the indices of the last of them.
    ///
    /// # Errors
    /// When there is no such dimension, or the device does not give its elements.
    pub fn extreme_so_far(&self, dim: i64, largest: bool) -> Result<(Self, Self)> {
        let at = self.dim(dim)?;
        if self.rank() == 0 || self.numel() == 0 {
            return Ok((self.clone(), Array::full(self.shape(), Number::Int(0), DType::I64, &self.device())));
        }
        let length = self.shape()[at];
        let after: usize = self.shape()[at + 1..].iter().product();
        let elements = self.floats()?;
        let mut indices = vec![0i64; elements.len()];
        for start in (0..elements.len()).filter(|place| (place / after).is_multiple_of(length)) {
            let mut best = start;
            for step in 0..length {
                let place = start + step * after;
                let (new, old) = (elements[place], elements[best]);
                if new.is_nan() || (if largest { new >= old } else { new <= old }) {
                    best = place;
                }
                indices[place] = signed((best - start) / after);
            }
        }
        let indices = Array::from_ints(&indices, self.shape(), &self.device())?;
        Ok((self.gathered(dim, &indices)?, indices))
    }

    /// `torch.logcumsumexp(self, dim)`. It takes the square of the dimension in memory.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn logcumsumexp(&self, dim: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        if self.rank() == 0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        let length = self.shape()[at];
        let x = self.movedim(&[signed(at)], &[-1])?;
        // [.., i, j]: what is before i, or at it.
        let mut shape = x.shape().to_vec();
        shape.insert(shape.len() - 1, length);
        let later = (0..length * length).map(|place| place % length > place / length).collect::<Vec<_>>();
        let later = Array::from_bools(&later, &[length, length], &x.device())?;
        let sums = x.unsqueeze(-2)?.expanded(&shape)?.fill_where(&later, Number::Float(f64::NEG_INFINITY))?;
        sums.logsumexp(&[-1], false)?.movedim(&[-1], &[signed(at)])
    }

    /// `torch.searchsorted(self, values, right)`: how many elements of the last dimension, which is sorted, lie below each value;
    /// with `right` those that are equal count.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn searchsorted(&self, values: &Array, right: bool) -> Result<Self> {
        let dtype = super::number::promoted(self.dtype(), values.dtype());
        let (sorted, values) = (self.cast(dtype)?, values.cast(dtype)?);
        let values = values.unsqueeze(-1)?;
        let sorted = if sorted.rank() == 1 { sorted } else { sorted.unsqueeze(-2)? };
        // NaN is the largest of all.
        let not = if right { sorted.gt(&values)? } else { sorted.ge(&values)? };
        let below = if right { sorted.le(&values)? } else { sorted.lt(&values)? };
        let nan = values.isnan()?.logical_and(&not.logical_not()?)?;
        below.logical_or(&nan)?.sum(&[-1], false)
    }

    /// The value at a place of the order along a dimension, and its index.
    ///
    /// # Errors
    /// When there is no such dimension or place.
    pub fn ranked(&self, place: usize, dim: i64, keepdim: bool) -> Result<(Self, Self)> {
        let (values, indices) = self.sort(dim, false)?;
        let place = signed(place);
        let at = |x: &Array| if keepdim { x.narrow(dim, place, 1) } else { x.select(dim, place) };
        if self.rank() == 0 { Ok((values, indices)) } else { Ok((at(&values)?, at(&indices)?)) }
    }

    /// `torch.median(self, dim)`: the lower of two in the middle, and its index; NaN where there is one, or (`nanmedian`) of those
    /// that are none.
    ///
    /// # Errors
    /// When there is no such dimension, or it is empty.
    pub fn median(&self, dim: i64, keepdim: bool, ignore_nan: bool) -> Result<(Self, Self)> {
        let at = self.dim(dim)?;
        let length = self.shape().get(at).copied().unwrap_or(1);
        if length == 0 {
            return Err(refused("median", "an empty dimension has no median"));
        }
        if self.kind() != Kind::Float || self.rank() == 0 {
            return self.ranked((length - 1) / 2, dim, keepdim);
        }
        // NaN is the largest of all: so many places are left.
        let (values, indices) = self.sort(dim, false)?;
        let nans = self.isnan()?.sum(&[dim], true)?;
        let middle = nans.rsub(signed(length))?.sub(1)?.clamp(Some(Number::Int(0)), None)?.floor_divide(2)?;
        let place = if ignore_nan { middle } else { select(&nans.gt(0)?, signed(length) - 1, &middle)? };
        let place = place.cast(DType::I64)?;
        let (value, index) = (values.gathered(dim, &place)?, indices.gathered(dim, &place)?);
        if keepdim { Ok((value, index)) } else { Ok((value.squeeze(Some(&[dim]))?, index.squeeze(Some(&[dim]))?)) }
    }

    /// `torch.quantile(self, q, dim, keepdim, interpolation)`, over all elements without a dimension; `nanquantile` passes over
    /// what is not a number.
    ///
    /// # Errors
    /// When there is no such dimension, or `q` has several.
    pub fn quantile(
        &self,
        q: &Array,
        dim: Option<i64>,
        keepdim: bool,
        between: Between,
        ignore_nan: bool,
    ) -> Result<Self> {
        let at = dim.map(|dim| self.dim(dim)).transpose()?;
        let [x, q] = &single([self, q])?;
        let x = match at {
            Some(at) if self.rank() > 0 => x.movedim(&[signed(at)], &[-1])?,
            _ => x.reshaped(&[self.numel()])?,
        };
        let length = x.shape().last().copied().unwrap_or(1);
        if length == 0 || q.rank() > 1 {
            return Err(refused("quantile", "it needs elements, and a number or a row of them"));
        }
        let sorted = x.sort(-1, false)?.0;
        let nans = x.isnan()?.sum(&[-1], true)?;
        let last = if ignore_nan {
            nans.rsub(signed(length) - 1)?.clamp(Some(Number::Int(0)), None)?
        } else {
            nans.mul(0)?.add(signed(length) - 1)?
        };
        let place = last.cast(q.dtype())?.mul(&q.reshaped(&[q.numel()])?)?;
        let place = match between {
            Between::Lower => place.unary(Unary::Floor)?,
            Between::Higher => place.unary(Unary::Ceil)?,
            Between::Nearest => place.unary(Unary::Round)?,
            Between::Linear | Between::Midpoint => place,
        };
        let low = place.detach().unary(Unary::Floor)?;
        let picked = |place: &Array| sorted.gathered(-1, &place.cast(DType::I64)?);
        let below = picked(&low)?;
        let mut found = match between {
            Between::Linear | Between::Midpoint => {
                let high = place.detach().unary(Unary::Ceil)?;
                let part = if between == Between::Linear { place.sub(&low)? } else { place.mul(0.0)?.add(0.5)? };
                below.add(&picked(&high)?.sub(&below)?.mul(&part)?)?
            }
            _ => below,
        };
        if !ignore_nan {
            found = found.fill_where(&nans.gt(0)?, Number::Float(f64::NAN))?;
        }
        // [.., q] to [q, ..].
        let found = found.movedim(&[-1], &[0])?;
        let found = match (keepdim, at) {
            (false, _) => found,
            (true, Some(at)) => found.unsqueeze(signed(at) + 1)?,
            (true, None) => found.reshaped(&[vec![q.numel()], vec![1; self.rank()]].concat())?,
        };
        if q.rank() == 0 { found.squeeze(Some(&[0])) } else { Ok(found) }
    }

    /// `torch.mode(self, dim)`: the smallest of those that come most often, and the index of the last of them.
    ///
    /// # Errors
    /// When there is no such dimension, or it is empty.
    pub fn mode(&self, dim: i64, keepdim: bool) -> Result<(Self, Self)> {
        if self.rank() == 0 {
            return Ok((self.clone(), Array::from_ints(&[0], &[], &self.device())?));
        }
        let x = self.movedim(&[dim], &[-1])?;
        let length = x.shape().last().copied().unwrap_or(0);
        if length == 0 {
            return Err(refused("mode", "an empty dimension has no mode"));
        }
        let rows = x.floats()?;
        let most = |row: &[f64]| {
            let count = |value: f64| row.iter().filter(|other| **other == value).count();
            let best = row.iter().copied().reduce(|best, value| {
                match count(value).cmp(&count(best)).then(best.total_cmp(&value)) {
                    std::cmp::Ordering::Greater => value,
                    _ => best,
                }
            });
            row.iter().rposition(|value| Some(*value) == best).map_or(0, signed)
        };
        let indices: Vec<i64> = rows.chunks(length).map(most).collect();
        let mut shape = x.shape().to_vec();
        shape[x.rank() - 1] = 1;
        let indices = Array::from_ints(&indices, &shape, &self.device())?.movedim(&[-1], &[dim])?;
        let values = self.gathered(dim, &indices)?;
        if keepdim {
            Ok((values, indices))
        } else {
            Ok((values.squeeze(Some(&[dim]))?, indices.squeeze(Some(&[dim]))?))
        }
    }

    /// `torch.histc(self, bins, min, max)`: how many elements are in each of so many bins of one width.
    ///
    /// # Errors
    /// When the device does not give its elements, or the range is none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of bins
    pub fn histc(&self, bins: usize, min: f64, max: f64) -> Result<Self> {
        let elements = self.floats()?;
        let (mut low, mut high) = (min, max);
        if low == high {
            low = elements.iter().copied().fold(f64::INFINITY, f64::min);
            high = elements.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        }
        if low == high {
            (low, high) = (low - 1.0, high + 1.0);
        }
        if elements.is_empty() {
            (low, high) = (0.0, 1.0);
        }
        if bins == 0 || low > high || !low.is_finite() || !high.is_finite() {
            return Err(refused("histc", format!("there are no {bins} bins from {low} to {high}")));
        }
        let mut counts = vec![0.0; bins];
        for x in elements.into_iter().filter(|x| (low..=high).contains(x)) {
            let bin = ((x - low) * bins as f64 / (high - low)) as usize;
            counts[bin.min(bins - 1)] += 1.0;
        }
        Array::from_floats(&counts, &[bins], self.dtype(), &self.device())
    }

    /// `torch.unique` or `torch.unique_consecutive` over all elements: those that differ, for each element which of them it is,
    /// and how often each comes.
    ///
    /// # Errors
    /// When the device does not give its elements.
    pub fn unique(&self, sorted: bool) -> Result<(Self, Self, Self)> {
        let row = self.reshaped(&[self.numel()])?.detach();
        // Whole numbers of 64 bits are no floats.
        let whole = if row.kind() == Kind::Float { vec![0; row.numel()] } else { row.ints()? };
        let float = if row.kind() == Kind::Float { row.floats()? } else { vec![0.0; row.numel()] };
        let elements: Vec<(i64, f64)> = whole.into_iter().zip(float).collect();
        let mut order: Vec<usize> = (0..elements.len()).collect();
        if sorted {
            let compare = |a: &(i64, f64), b: &(i64, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
            order.sort_by(|&a, &b| compare(&elements[a], &elements[b]));
        }
        let (mut firsts, mut counts): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
        let mut inverse = vec![0i64; elements.len()];
        let mut last: Option<(i64, f64)> = None;
        for place in order {
            if last != Some(elements[place]) {
                firsts.push(signed(place));
                counts.push(0);
                last = Some(elements[place]);
            }
            if let Some(count) = counts.last_mut() {
                *count += 1;
            }
            inverse[place] = signed(firsts.len()) - 1;
        }
        let ints = |values: &[i64], shape: &[usize]| Array::from_ints(values, shape, &self.device());
        let values = row.index_select(0, &ints(&firsts, &[firsts.len()])?)?;
        Ok((values, ints(&inverse, self.shape())?, ints(&counts, &[counts.len()])?))
    }

    /// `torch.isin(self, among)`.
    ///
    /// # Errors
    /// None at present.
    pub fn isin(&self, among: &Array) -> Result<Self> {
        self.unsqueeze(-1)?.eq(&among.reshaped(&[among.numel()])?)?.any(&[-1], false)
    }
}
