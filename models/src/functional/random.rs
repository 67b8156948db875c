//! What is drawn: dropout and tensors of random numbers. On every device the numbers come from a generator on the CPU, as
//! PyTorch's CPU draws them: a run that draws after the same seed drops the same units.

use burn::tensor::{DType, Device, Element, TensorData, bf16, f16};
use rekindle_random::{BFloat16, Generator, Half, bernoulli, bernoulli_, rand, randint, randn, randperm, uniform_};

use super::array::{Array, Kind, refused};
use super::number::Number;
use crate::Result;

fn drawn<E: Element>(elements: Vec<E>) -> TensorData {
    let row = [elements.len()];
    TensorData::new(elements, row)
}

/// As Burn has them.
fn halves(elements: &[Half]) -> Vec<f16> {
    elements.iter().map(|element| f16::from_bits(element.to_bits())).collect()
}

/// As Burn has them.
fn bfloats(elements: &[BFloat16]) -> Vec<bf16> {
    elements.iter().map(|element| bf16::from_bits(element.to_bits())).collect()
}

fn not_drawn(dtype: DType) -> crate::ModelError {
    refused("rand", format!("there are no random numbers of {} between 0 and 1", super::dtype_name(dtype)))
}

impl Array {
    /// `torch.nn.functional.dropout(self, p, training=True)`: `x * mask / (1 - p)`.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1.
    pub fn dropout(&self, p: f64, generator: &mut Generator) -> Result<Self> {
        self.dropped(self.shape(), p, &[], generator)
    }

    /// As [`dropout`](Self::dropout) of a tensor whose elements lie in memory in this order of its dimensions (the first
    /// changes slowest): PyTorch draws in the order of memory. No dimensions: as they are.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1.
    pub fn dropout_as_laid(&self, p: f64, order: &[usize], generator: &mut Generator) -> Result<Self> {
        self.dropped(self.shape(), p, order, generator)
    }

    /// `torch.nn.functional.dropout1d`, `2d`, `3d`: whole channels are dropped.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1, or there are no channels.
    pub fn feature_dropout(&self, p: f64, generator: &mut Generator) -> Result<Self> {
        let mut shape = vec![1; self.rank()];
        if self.rank() < 2 {
            return Err(refused("feature_dropout", "it needs a batch and channels"));
        }
        shape[..2].copy_from_slice(&self.shape()[..2]);
        self.dropped(&shape, p, &[], generator)
    }

    fn dropped(&self, shape: &[usize], p: f64, order: &[usize], generator: &mut Generator) -> Result<Self> {
        if !(0.0..=1.0).contains(&p) {
            return Err(refused("dropout", format!("the probability must be in 0 to 1, not {p}")));
        }
        if p == 0.0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        if p == 1.0 {
            return self.mul(&self.zeros_like());
        }
        let mask = Array::bernoulli_as_laid(shape, 1.0 - p, self.dtype(), &self.device(), order, generator)?;
        self.mul(&mask.div(1.0 - p)?)
    }

    /// `torch.nn.functional.alpha_dropout(self, p, training=True)`.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1.
    pub fn alpha_dropout(&self, p: f64, per_channel: bool, generator: &mut Generator) -> Result<Self> {
        const ALPHA: f64 = 1.758_099_340_847_376_6;
        if p == 0.0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        if p == 1.0 {
            return self.mul(&self.zeros_like());
        }
        let mut shape = self.shape().to_vec();
        if per_channel {
            shape.iter_mut().skip(2).for_each(|length| *length = 1);
        }
        let mask = Array::bernoulli_fill(&shape, 1.0 - p, self.dtype(), &self.device(), generator)?;
        let a = 1.0 / ((ALPHA * ALPHA * p + 1.0) * (1.0 - p)).sqrt();
        let shift = mask.sub(1.0)?.mul(ALPHA * a)?.add(ALPHA * a * p)?;
        self.mul(&mask.mul(a)?)?.add(&shift)
    }

    /// `torch.nn.functional.rrelu(self, lower, upper, training=True)`: below 0, and at it, a slope is drawn for each element, in their
    /// order.
    ///
    /// # Errors
    /// For whole numbers, and when the device does not give its elements.
    pub fn rrelu(&self, lower: f64, upper: f64, generator: &mut Generator) -> Result<Self> {
        if self.kind() != Kind::Float {
            return Err(refused("rrelu", format!("it is for floating-point numbers, not {}", self.dtype_name())));
        }
        let elements = self.detach().floats()?;
        let mut slopes = vec![1.0_f64; elements.len()];
        for (slope, _) in slopes.iter_mut().zip(&elements).filter(|(_, element)| **element <= 0.0) {
            uniform_(generator, std::slice::from_mut(slope), lower, upper)?;
        }
        self.mul(&Array::from_floats(&slopes, self.shape(), self.dtype(), &self.device())?)
    }

    /// `torch.empty(shape).bernoulli_(p)`.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1.
    pub fn bernoulli_fill(
        shape: &[usize],
        p: f64,
        dtype: DType,
        device: &Device,
        generator: &mut Generator,
    ) -> Result<Self> {
        let mut mask = vec![false; shape.iter().product()];
        bernoulli_(generator, &mut mask, p)?;
        Array::from_bools(&mask, shape, device)?.cast(dtype)
    }

    /// As [`bernoulli_fill`](Self::bernoulli_fill) into memory in this order of its dimensions; none: as they are.
    ///
    /// # Errors
    /// When `p` is not in 0 to 1.
    pub fn bernoulli_as_laid(
        shape: &[usize],
        p: f64,
        dtype: DType,
        device: &Device,
        order: &[usize],
        generator: &mut Generator,
    ) -> Result<Self> {
        if order.len() != shape.len() {
            return Array::bernoulli_fill(shape, p, dtype, device, generator);
        }
        let laid: Vec<usize> = order.iter().map(|&dim| shape[dim]).collect();
        let drawn = Array::bernoulli_fill(&laid, p, dtype, device, generator)?;
        Ok(drawn.permuted(&super::index::inverse(order)))
    }

    /// `torch.bernoulli(self)`: ones with these probabilities.
    ///
    /// # Errors
    /// When one is not in 0 to 1, or the device does not give them.
    pub fn bernoulli(&self, generator: &mut Generator) -> Result<Self> {
        if self.kind() != Kind::Float {
            return Err(refused("bernoulli", "probabilities are floating-point numbers"));
        }
        let ones: Vec<f64> = if self.dtype() == DType::F64 {
            bernoulli(generator, &self.floats()?)?
        } else {
            let probabilities: Vec<f32> = self.data()?.iter::<f32>().collect();
            bernoulli(generator, &probabilities)?
        };
        Array::from_floats(&ones, self.shape(), self.dtype(), &self.device())
    }

    /// `torch.rand(shape)`: uniform in 0 to 1.
    ///
    /// # Errors
    /// When the type is no floating-point one.
    pub fn rand(shape: &[usize], dtype: DType, device: &Device, generator: &mut Generator) -> Result<Self> {
        let count = shape.iter().product();
        let data = match dtype {
            DType::F64 => drawn(rand::<f64>(generator, count)),
            DType::F32 => drawn(rand::<f32>(generator, count)),
            DType::F16 => drawn(halves(&rand(generator, count))),
            DType::BF16 => drawn(bfloats(&rand(generator, count))),
            other => return Err(not_drawn(other)),
        };
        Array::from_data(data, shape, device)
    }

    /// `torch.randn(shape)`: normal.
    ///
    /// # Errors
    /// When the type is no floating-point one.
    pub fn randn(shape: &[usize], dtype: DType, device: &Device, generator: &mut Generator) -> Result<Self> {
        let count = shape.iter().product();
        let data = match dtype {
            DType::F64 => drawn(randn::<f64>(generator, count)),
            DType::F32 => drawn(randn::<f32>(generator, count)),
            DType::F16 => drawn(halves(&randn(generator, count))),
            DType::BF16 => drawn(bfloats(&randn(generator, count))),
            other => return Err(not_drawn(other)),
        };
        Array::from_data(data, shape, device)
    }

    /// `torch.randint(low, high, shape)`.
    ///
    /// # Errors
    /// When there is no number between.
    pub fn randint(low: i64, high: i64, shape: &[usize], device: &Device, generator: &mut Generator) -> Result<Self> {
        Array::from_ints(&randint(generator, low, high, shape.iter().product())?, shape, device)
    }

    /// `torch.randperm(n)`.
    ///
    /// # Errors
    /// None at present.
    pub fn randperm(n: usize, device: &Device, generator: &mut Generator) -> Result<Self> {
        Array::from_ints(&randperm(generator, n), &[n], device)
    }

    /// `torch.arange(start, end, step)`: whole numbers where all three are.
    ///
    /// # Errors
    /// When the step is 0 or leads away from the end.
    pub fn arange(start: Number, end: Number, step: Number, dtype: Option<DType>, device: &Device) -> Result<Self> {
        let whole = [start, end, step].iter().all(|number| number.kind() != Kind::Float);
        let wrong = || refused("arange", "the step leads away from the end");
        if whole && dtype.is_none_or(|dtype| super::kind_of(dtype) != Kind::Float) {
            let (start, end, step) = (start.int(), end.int(), step.int());
            let distance = i128::from(end) - i128::from(start);
            if step == 0 || distance.signum() * i128::from(step.signum()) < 0 {
                return Err(wrong());
            }
            let count = usize::try_from(
                distance.abs().div_euclid(i128::from(step).abs()) + i128::from(distance % i128::from(step) != 0),
            );
            let count = count.map_err(|_| wrong())?;
            let numbers: Vec<i64> = (0..count).map(|at| start + super::index::signed(at) * step).collect();
            return Array::from_ints(&numbers, &[count], device)?.cast(dtype.unwrap_or(DType::I64));
        }
        let (start, end, step) = (start.float(), end.float(), step.float());
        let count = ((end - start) / step).ceil();
        if !(0.0..1e15).contains(&count) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, as was looked at
        let count = count as usize;
        #[allow(clippy::cast_precision_loss)] // a count
        let numbers: Vec<f64> = (0..count).map(|at| start + at as f64 * step).collect();
        Array::from_floats(&numbers, &[count], dtype.unwrap_or(DType::F32), device)
    }

    /// `torch.linspace(start, end, steps)`: from both ends, as PyTorch computes it.
    ///
    /// # Errors
    /// None at present.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // steps; float32 is PyTorch's type here
    pub fn linspace(start: f64, end: f64, steps: usize, dtype: DType, device: &Device) -> Result<Self> {
        let whole = super::kind_of(dtype) == Kind::Int;
        let (start, end) = if whole { (start.trunc(), end.trunc()) } else { (start, end) };
        let double = dtype == DType::F64;
        let number = |at: usize| {
            if steps == 1 {
                return start;
            }
            if double {
                let step = (end - start) / (steps.max(2) - 1) as f64;
                return if at < steps / 2 { start + step * at as f64 } else { end - step * (steps - at - 1) as f64 };
            }
            let (start, end) = (start as f32, end as f32);
            let step = (end - start) / (steps.max(2) - 1) as f32;
            f64::from(if at < steps / 2 { start + step * at as f32 } else { end - step * (steps - at - 1) as f32 })
        };
        Array::from_floats(&(0..steps).map(number).collect::<Vec<_>>(), &[steps], dtype, device)
    }
}
