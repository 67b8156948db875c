//! Normalisations: over the batch, a layer, groups of channels, single images.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::backend::ops::ModuleOps;
use burn::tensor::{DType, TensorData};

use super::array::{Array, refused};
use super::autocast::is_narrow;
use super::cpu::{BatchNorm, FixedNorm, LayerNorm, computed};
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// The statistics that a batch norm keeps.
#[derive(Clone, Debug)]
pub struct Running {
    /// The mean of each channel.
    pub mean: Array,
    /// The unbiased variance of each channel.
    pub var: Array,
}

impl Array {
    /// `(1 / sqrt(self + eps))`.
    fn inverse_root(&self, eps: f64) -> Result<Self> {
        self.add(eps)?.unary(Unary::Sqrt)?.divides(1.0)
    }

    /// One number a channel, as wide as a tensor of `rank` dimensions.
    fn per_channel(&self, rank: usize) -> Result<Self> {
        let mut shape = vec![1; rank];
        shape[1] = self.numel();
        self.reshaped(&shape)
    }

    /// `torch.nn.functional.batch_norm` by given statistics.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn batch_norm(
        &self,
        running: &Running,
        weight: Option<&Array>,
        bias: Option<&Array>,
        eps: f64,
    ) -> Result<Self> {
        if self.rank() < 2 {
            return Err(refused("batch_norm", format!("{:?} has no channels", self.shape())));
        }
        if let (Some(weight), Some(bias)) = (weight, bias)
            && let Some(normal) = self.batch_norm_by(running, weight, bias, eps)
        {
            return Ok(normal);
        }
        let scale = running.var.inverse_root(eps)?;
        let scale = weight.map_or(Ok(scale.clone()), |weight| scale.mul(weight))?;
        let shift = running.mean.mul(&scale)?.unary(Unary::Neg)?;
        let shift = bias.map_or(Ok(shift.clone()), |bias| shift.add(bias))?;
        self.mul(&scale.per_channel(self.rank())?)?.add(&shift.per_channel(self.rank())?)
    }

    /// The same by an operator of our own, where it serves.
    pub(crate) fn batch_norm_by(&self, running: &Running, weight: &Array, bias: &Array, eps: f64) -> Option<Self> {
        let given = [self, &running.mean, &running.var, weight, bias];
        let fits = given[1..].iter().all(|given| given.shape() == &self.shape()[1..2]);
        Some(Array::new(fits.then(|| computed(FixedNorm { eps }, &given)).flatten()?, self.shape()))
    }

    /// Normalises by the batch, and gives each channel's mean and biased variance, too, which no gradient goes through.
    pub(crate) fn batch_norm_of_batch(&self, weight: &Array, bias: &Array, eps: f64) -> Result<[Self; 3]> {
        let channels = self.shape().get(1).copied().unwrap_or(0);
        let own = BatchNorm { eps, moments: Arc::default() };
        let moments = own.moments.clone();
        let fits = weight.shape() == [channels] && bias.shape() == [channels];
        let (output, mean, variance) = match fits.then(|| computed(own, &[self, weight, bias])).flatten() {
            Some(output) => {
                let moments = moments.get().cloned().unwrap_or_default();
                let of = |moment| Array::from_data(TensorData::new(moment, [channels]), &[channels], &self.device());
                let [mean, variance] = moments.map(of);
                (output, mean?, variance?)
            }
            None => {
                let batch = Dispatch::batch_norm_train(self.prim(), weight.prim(), bias.prim(), eps);
                (batch.output, Array::of(batch.mean).detach(), Array::of(batch.variance).detach())
            }
        };
        Ok([Array::new(output, self.shape()), mean, variance])
    }

    /// `torch.nn.functional.batch_norm` in training: normalises by the batch, and gives the running statistics (if there are
    /// any) with `momentum` of the batch in them.
    ///
    /// # Errors
    /// When there is a single value per channel, which PyTorch refuses, too.
    pub fn batch_norm_train(
        &self,
        weight: Option<&Array>,
        bias: Option<&Array>,
        running: Option<&Running>,
        momentum: f64,
        eps: f64,
    ) -> Result<(Self, Option<Running>)> {
        let channels = self.shape().get(1).copied().unwrap_or(0);
        let count = self.numel() / channels.max(1);
        if self.numel() == 0 {
            // As in PyTorch statistics stay as they are.
            let given: Vec<&Array> = [Some(self), weight, bias].into_iter().flatten().collect();
            return Ok((Array::nothing(self.shape(), self.dtype(), &given), running.cloned()));
        }
        if count < 2 {
            let reason =
                format!("in training it needs more than one value per channel, which {:?} has not", self.shape());
            return Err(refused("batch_norm", reason));
        }
        let one = |value: i64| Array::full(&[channels], Number::Int(value), self.dtype(), &self.device());
        let weight = weight.map_or_else(|| one(1), Array::clone);
        let bias = bias.map_or_else(|| one(0), Array::clone);
        let [output, mean, variance] = self.batch_norm_of_batch(&weight, &bias, eps)?;
        let Some(running) = running else { return Ok((output, None)) };
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 values the factor is 1 in any case
        let unbiased = variance.mul(count as f64 / (count as f64 - 1.0))?;
        let blend = |old: &Array, new: Array| new.mul(momentum)?.add(&old.mul(1.0 - momentum)?)?.cast(old.dtype());
        let mean = blend(&running.mean.detach(), mean)?;
        let var = blend(&running.var.detach(), unbiased)?;
        Ok((output, Some(Running { mean, var })))
    }

    /// Each of the last dimensions' elements less their mean, over their deviation.
    fn standardised(&self, dims: &[i64], eps: f64) -> Result<Self> {
        let centred = self.sub(&self.mean(dims, true)?)?;
        let var = centred.mul(&centred)?.mean(dims, true)?;
        centred.mul(&var.inverse_root(eps)?)
    }

    /// As it is computed with where PyTorch takes numbers of 16 bits in float32, and rounds once: statistics, and what it does in one
    /// step.
    pub(crate) fn widened(&self) -> Result<Self> {
        if is_narrow(self.dtype()) { self.cast(DType::F32) } else { Ok(self.clone()) }
    }

    fn affine(self, weight: Option<&Array>, bias: Option<&Array>) -> Result<Self> {
        let scaled = weight.map_or(Ok(self.clone()), |weight| self.mul(weight))?;
        bias.map_or(Ok(scaled.clone()), |bias| scaled.add(bias))
    }

    /// `torch.nn.functional.layer_norm` over the last `dims` dimensions.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn layer_norm(&self, dims: usize, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Result<Self> {
        if dims == 0 || dims > self.rank() {
            return Err(refused("layer_norm", format!("{:?} has not {dims} dimensions to normalise", self.shape())));
        }
        let normalised = &self.shape()[self.rank() - dims..];
        let inputs: Vec<&Array> = [Some(self), weight, bias].into_iter().flatten().collect();
        if inputs[1..].iter().all(|given| given.shape() == normalised) {
            let (length, weight, bias) = (normalised.iter().product(), weight.is_some(), bias.is_some());
            if let Some(y) = computed(LayerNorm { length, eps, weight, bias }, &inputs) {
                return Ok(Array::new(y, self.shape()));
            }
        }
        let over: Vec<i64> = (1..=dims).map(|dim| -signed(dim)).collect();
        let wide = |x: Option<&Array>| x.map(Array::widened).transpose();
        let (weight, bias) = (wide(weight)?, wide(bias)?);
        self.widened()?.standardised(&over, eps)?.affine(weight.as_ref(), bias.as_ref())?.cast(self.dtype())
    }

    /// `torch.nn.functional.rms_norm` over the last `dims` dimensions; without `eps` that of the type that it is computed in: of 16 bits
    /// `float32`.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn rms_norm(&self, dims: usize, weight: Option<&Array>, eps: Option<f64>) -> Result<Self> {
        let over: Vec<i64> = (1..=dims).map(|dim| -signed(dim)).collect();
        let x = self.widened()?;
        let own = x.dtype().finfo().map_or(f64::from(f32::EPSILON), |info| info.epsilon);
        let scale = x.mul(&x)?.mean(&over, true)?.inverse_root(eps.unwrap_or(own))?;
        let weight = weight.map(Array::widened).transpose()?;
        x.mul(&scale)?.affine(weight.as_ref(), None)?.cast(self.dtype())
    }

    /// `torch.nn.functional.group_norm`.
    ///
    /// # Errors
    /// When the channels cannot be divided into so many groups.
    pub fn group_norm(&self, groups: usize, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Result<Self> {
        let &[batch, channels, ..] = self.shape() else { return Err(refused("group_norm", "it needs channels")) };
        if groups == 0 || channels % groups != 0 {
            return Err(refused("group_norm", format!("{channels} channels make no {groups} groups")));
        }
        let flat = self.widened()?.reshaped(&[batch, groups, self.numel() / (batch * groups).max(1)])?;
        let normal = flat.standardised(&[-1], eps)?.reshaped(self.shape())?;
        let channel = |x: Option<&Array>| x.map(|x| x.widened()?.per_channel(self.rank())).transpose();
        normal.affine(channel(weight)?.as_ref(), channel(bias)?.as_ref())?.cast(self.dtype())
    }

    /// `torch.nn.functional.instance_norm` by the statistics of each image.
    ///
    /// # Errors
    /// When there are no channels.
    pub fn instance_norm(&self, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Result<Self> {
        let channels = self.shape().get(1).copied().unwrap_or(0);
        self.group_norm(channels, weight, bias, eps)
    }

    /// The mean and the unbiased variance over the batch of each image's own: what `instance_norm` keeps.
    ///
    /// # Errors
    /// When there are no channels.
    pub fn instance_statistics(&self) -> Result<Running> {
        let &[batch, channels, ..] = self.shape() else { return Err(refused("instance_norm", "it needs channels")) };
        let flat = self.detach().reshaped(&[batch, channels, self.numel() / (batch * channels).max(1)])?;
        Ok(Running {
            mean: flat.mean(&[-1], false)?.mean(&[0], false)?,
            var: flat.var(&[-1], 1.0, false)?.mean(&[0], false)?,
        })
    }

    /// `torch._weight_norm(v, g, dim)`: `v g / |v|`, the norm over all dimensions but one.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn weight_norm(&self, g: &Array, dim: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        let over: Vec<i64> = (0..self.rank()).filter(|&other| other != at).map(signed).collect();
        let norm = if over.is_empty() { self.unary(Unary::Abs)? } else { self.vector_norm(2.0, &over, true)? };
        self.mul(&g.div(&norm)?)
    }
}
