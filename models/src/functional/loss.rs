//! Losses of `torch.nn.functional`.

use burn::tensor::DType;

use super::array::{Array, Kind, refused};
use super::autocast::single;
use super::broadcast::select;
use super::index::signed;
use super::number::Number;
use super::special::xlogy;
use super::unary::Unary;
use crate::Result;

/// What becomes of the losses of all elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// As PyTorch's operators number it.
    ///
    /// # Errors
    /// For another number.
    pub fn from_number(number: i64) -> Result<Self> {
        match number {
            0 => Ok(Reduction::None),
            1 => Ok(Reduction::Mean),
            2 => Ok(Reduction::Sum),
            other => Err(refused("a loss", format!("there is no reduction {other}"))),
        }
    }

    /// What becomes of these losses.
    pub(crate) fn applied(self, losses: Array) -> Result<Array> {
        match self {
            Reduction::None => Ok(losses),
            Reduction::Mean => losses.mean(&[], false),
            Reduction::Sum => losses.sum(&[], false),
        }
    }
}

/// What [`Array::cross_entropy`] and [`Array::nll_loss`] are told beside the targets.
#[derive(Clone, Debug)]
pub struct Classes<'a> {
    /// A weight for each class.
    pub weight: Option<&'a Array>,
    /// Default: the mean.
    pub reduction: Reduction,
    /// A target that does not count. Default -100.
    pub ignore_index: i64,
    /// How much of the target goes to all classes. Default 0.
    pub label_smoothing: f64,
}

impl Default for Classes<'_> {
    fn default() -> Self {
        Classes { weight: None, reduction: Reduction::Mean, ignore_index: -100, label_smoothing: 0.0 }
    }
}

impl Array {
    /// `cross_entropy(self, target)`: `[classes]` or `[batch, classes, ...]`, and targets that are classes or probabilities.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn cross_entropy(&self, target: &Array, how: &Classes<'_>) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let dim = i64::from(x.rank() > 1);
        let log = x.log_softmax(dim)?;
        if target.kind() == Kind::Float {
            return log.soft_targets(target, how, dim);
        }
        log.hard_targets(target, how, dim)
    }

    /// `nll_loss(self, target)`: of logarithms of probabilities.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn nll_loss(&self, target: &Array, how: &Classes<'_>) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        x.hard_targets(target, how, i64::from(x.rank() > 1))
    }

    fn hard_targets(&self, target: &Array, how: &Classes<'_>, dim: i64) -> Result<Self> {
        let mut expected = self.shape().to_vec();
        let at = self.dim(dim)?;
        if expected.is_empty() || {
            expected.remove(at);
            expected != target.shape()
        } {
            let reason = format!("targets of {:?} do not fit scores of {:?}", target.shape(), self.shape());
            return Err(refused("cross_entropy", reason));
        }
        let target = target.cast(DType::I64)?;
        let ignored = target.eq(how.ignore_index)?;
        let safe = target.fill_where(&ignored, Number::Int(0))?;
        let picked = self.gather(dim, &safe.unsqueeze(dim)?)?.squeeze(Some(&[dim]))?;
        let weights = match how.weight {
            Some(weight) => weight.index_select(0, &safe.reshaped(&[safe.numel()])?)?.reshaped(safe.shape())?,
            None => Array::full(safe.shape(), Number::Int(1), self.dtype(), &self.device()),
        };
        let weights = weights.fill_where(&ignored, Number::Int(0))?;
        let losses = picked.mul(&weights)?.negated()?;
        let reduced = |losses: Array| match how.reduction {
            Reduction::None => losses.fill_where(&ignored, Number::Float(0.0)),
            Reduction::Sum => losses.sum(&[], false),
            Reduction::Mean => losses.sum(&[], false)?.div(&weights.sum(&[], false)?),
        };
        let hard = reduced(losses)?;
        if how.label_smoothing == 0.0 {
            return Ok(hard);
        }
        let all = match how.weight {
            Some(weight) => self.mul(&along(weight, self.rank(), at)?)?,
            None => self.clone(),
        };
        let spread = all.sum(&[dim], false)?.negated()?.fill_where(&ignored, Number::Float(0.0))?;
        #[allow(clippy::cast_precision_loss)] // a number of classes
        let share = how.label_smoothing / self.shape()[at] as f64;
        hard.mul(1.0 - how.label_smoothing)?.add(&reduced(spread)?.mul(share)?)
    }

    fn soft_targets(&self, target: &Array, how: &Classes<'_>, dim: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        #[allow(clippy::cast_precision_loss)] // a number of classes
        let classes = self.shape().get(at).copied().unwrap_or(1) as f64;
        let target = target.mul(1.0 - how.label_smoothing)?.add(how.label_smoothing / classes)?;
        let mut losses = self.mul(&target)?;
        if let Some(weight) = how.weight {
            losses = losses.mul(&along(weight, self.rank(), at)?)?;
        }
        let losses = losses.sum(&[dim], false)?.negated()?;
        match how.reduction {
            Reduction::None => Ok(losses),
            Reduction::Sum => losses.sum(&[], false),
            Reduction::Mean => {
                #[allow(clippy::cast_precision_loss)] // a number of examples
                let count = losses.numel() as f64;
                losses.sum(&[], false)?.div(count)
            }
        }
    }

    /// `mse_loss(self, target)`.
    ///
    /// # Errors
    /// When the shapes do not go together. (So with all losses.)
    pub fn mse_loss(&self, target: &Array, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let difference = x.sub(target)?;
        reduction.applied(difference.mul(&difference)?)
    }

    /// `l1_loss(self, target)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn l1_loss(&self, target: &Array, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        reduction.applied(x.sub(target)?.unary(Unary::Abs)?)
    }

    /// `smooth_l1_loss(self, target, beta)`: squared below `beta`, which divides it.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn smooth_l1_loss(&self, target: &Array, reduction: Reduction, beta: f64) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        if beta == 0.0 {
            return x.l1_loss(target, reduction);
        }
        let dtype = x.dtype();
        let difference = x.widened()?.sub(&target.widened()?)?;
        let size = difference.unary(Unary::Abs)?;
        let square = difference.mul(&difference)?.mul(0.5)?.div(beta)?;
        reduction.applied(select(&size.lt(beta)?, &square, &size.sub(0.5 * beta)?)?.cast(dtype)?)
    }

    /// `huber_loss(self, target, delta)`: squared up to `delta`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn huber_loss(&self, target: &Array, reduction: Reduction, delta: f64) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let dtype = x.dtype();
        let difference = x.widened()?.sub(&target.widened()?)?;
        let size = difference.unary(Unary::Abs)?;
        let square = difference.mul(&difference)?.mul(0.5)?;
        reduction.applied(select(&size.le(delta)?, &square, &size.sub(0.5 * delta)?.mul(delta)?)?.cast(dtype)?)
    }

    /// `binary_cross_entropy(self, target, weight)`: logarithms are at least -100.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn bce_loss(&self, target: &Array, weight: Option<&Array>, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let log = |x: Array| {
            // At 0 and 1 the loss stays finite, and so does the gradient.
            let low = x.le((-100f64).exp())?;
            x.fill_where(&low, Number::Float((-100f64).exp()))?
                .unary(Unary::Log)?
                .clamp(Some(Number::Float(-100.0)), None)
        };
        let hit = target.mul(&log(x.clone())?)?;
        let miss = target.rsub(1.0)?.mul(&log(x.rsub(1.0)?)?)?;
        let losses = hit.add(&miss)?.negated()?;
        reduction.applied(weight.map_or(Ok(losses.clone()), |weight| losses.mul(weight))?)
    }

    /// `binary_cross_entropy_with_logits(self, target, weight, pos_weight)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn bce_with_logits(
        &self,
        target: &Array,
        weight: Option<&Array>,
        pos_weight: Option<&Array>,
        reduction: Reduction,
    ) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let log = x.log_sigmoid()?;
        let log = match pos_weight {
            Some(positive) => positive.sub(1.0)?.mul(target)?.add(1.0)?.mul(&log)?,
            None => log,
        };
        let losses = target.rsub(1.0)?.mul(x)?.sub(&log)?;
        reduction.applied(weight.map_or(Ok(losses.clone()), |weight| losses.mul(weight))?)
    }

    /// `kl_div(self, target, log_target)`: this is the logarithm of probabilities.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn kl_div(&self, target: &Array, reduction: Reduction, log_target: bool) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let losses = if log_target {
            target.unary(Unary::Exp)?.mul(&target.sub(x)?)?
        } else {
            xlogy(target, target)?.sub(&target.mul(x)?)?
        };
        reduction.applied(losses)
    }

    /// `soft_margin_loss(self, target)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn soft_margin_loss(&self, target: &Array, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        reduction.applied(target.negated()?.mul(x)?.unary(Unary::Exp)?.unary(Unary::Log1p)?)
    }

    /// `hinge_embedding_loss(self, target, margin)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn hinge_embedding_loss(&self, target: &Array, margin: f64, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let zero = x.zeros_like();
        let apart = select(&target.ne(1.0)?, &x.rsub(margin)?.clamp(Some(Number::Float(0.0)), None)?, &zero)?;
        let together = select(&target.ne(-1.0)?, x, &zero)?;
        reduction.applied(apart.add(&together)?)
    }

    /// `margin_ranking_loss(self, other, target, margin)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn margin_ranking_loss(
        &self,
        other: &Array,
        target: &Array,
        margin: f64,
        reduction: Reduction,
    ) -> Result<Self> {
        let [x, other, target] = &single([self, other, target])?;
        let scores = target.negated()?.mul(&x.sub(other)?)?.add(margin)?;
        reduction.applied(scores.clamp(Some(Number::Float(0.0)), None)?)
    }

    /// `multi_margin_loss(self, target, p, margin, weight)`: `[classes]` or `[batch, classes]`, and classes.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn multi_margin_loss(
        &self,
        target: &Array,
        p: f64,
        margin: f64,
        weight: Option<&Array>,
        reduction: Reduction,
    ) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let scores = x.lifted(2)?;
        let target = target.cast(DType::I64)?.reshaped(&[target.numel(), 1])?;
        let classes = scores.shape()[1];
        let own = scores.gather(1, &target)?;
        let mut losses = scores.sub(&own)?.add(margin)?.clamp(Some(Number::Float(0.0)), None)?.pow(p)?;
        if let Some(weight) = weight {
            losses = losses.mul(&weight.index_select(0, &target.reshaped(&[target.numel()])?)?.unsqueeze(1)?)?;
        }
        let numbers: Vec<i64> = (0..classes).map(signed).collect();
        let is_own = Array::from_ints(&numbers, &[classes], &x.device())?.eq(&target)?;
        #[allow(clippy::cast_precision_loss)] // a number of classes
        let losses = losses.fill_where(&is_own, Number::Float(0.0))?.sum(&[1], false)?.div(classes as f64)?;
        reduction.applied(if x.rank() < 2 { losses.squeeze(Some(&[0]))? } else { losses })
    }

    /// `multilabel_margin_loss(self, target)`: the classes of each example up to the first that is -1.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn multilabel_margin_loss(&self, target: &Array, reduction: Reduction) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let (scores, target) = (x.lifted(2)?, target.cast(DType::I64)?.lifted(2)?);
        if scores.shape() != target.shape() {
            let reason = format!("targets of {:?} do not fit scores of {:?}", target.shape(), x.shape());
            return Err(refused("multilabel_margin_loss", reason));
        }
        let classes = scores.shape()[1];
        let counted = target.ge(0)?.cast(DType::I64)?.cumprod(1)?.ne(0)?;
        let safe = target.clamp(Some(Number::Int(0)), None)?;
        let numbers: Vec<i64> = (0..classes).map(signed).collect();
        let numbers = Array::from_ints(&numbers, &[classes], &x.device())?;
        // [example, target, class].
        let named = safe.unsqueeze(-1)?.eq(&numbers)?.logical_and(&counted.unsqueeze(-1)?)?;
        let others = named.any(&[1], true)?.logical_not()?.logical_and(&counted.unsqueeze(-1)?)?;
        let own = scores.gather(1, &safe)?.unsqueeze(-1)?;
        let losses = scores.unsqueeze(1)?.sub(&own)?.add(1.0)?.clamp(Some(Number::Float(0.0)), None)?;
        #[allow(clippy::cast_precision_loss)] // a number of classes
        let losses =
            losses.fill_where(&others.logical_not()?, Number::Float(0.0))?.sum(&[1, 2], false)?.div(classes as f64)?;
        reduction.applied(if x.rank() < 2 { losses.squeeze(Some(&[0]))? } else { losses })
    }

    /// `poisson_nll_loss(self, target, log_input, full, eps)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn poisson_nll_loss(
        &self,
        target: &Array,
        log_input: bool,
        full: bool,
        eps: f64,
        reduction: Reduction,
    ) -> Result<Self> {
        let [x, target] = &single([self, target])?;
        let mut losses = if log_input {
            x.unary(Unary::Exp)?.sub(&target.mul(x)?)?
        } else {
            x.sub(&target.mul(&x.add(eps)?.unary(Unary::Log)?)?)?
        };
        if full {
            // Stirling's approximation of the factorial, of targets above 1.
            let few = target.le(1.0)?;
            let safe = target.fill_where(&few, Number::Float(1.0))?;
            let angle = safe.mul(2.0 * std::f64::consts::PI)?.unary(Unary::Log)?.mul(0.5)?;
            let stirling = safe.mul(&safe.unary(Unary::Log)?)?.sub(&safe)?.add(&angle)?;
            losses = losses.add(&stirling.fill_where(&few, Number::Float(0.0))?)?;
        }
        reduction.applied(losses)
    }

    /// `cosine_embedding_loss(self, other, target, margin)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    pub fn cosine_embedding_loss(
        &self,
        other: &Array,
        target: &Array,
        margin: f64,
        reduction: Reduction,
    ) -> Result<Self> {
        const EPS: f64 = 1e-12;
        let [x, other, target] = &single([self, other, target])?;
        let product = x.mul(other)?.sum(&[-1], false)?;
        let square = |x: &Array| x.mul(x)?.sum(&[-1], false)?.add(EPS);
        let cosine = product.div(&square(x)?.mul(&square(other)?)?.unary(Unary::Sqrt)?)?;
        let zero = cosine.zeros_like();
        let same = select(&target.eq(1.0)?, &cosine.rsub(1.0)?, &zero)?;
        let other = select(&target.eq(-1.0)?, &cosine.sub(margin)?.clamp(Some(Number::Float(0.0)), None)?, &zero)?;
        reduction.applied(same.add(&other)?)
    }

    /// `triplet_margin_loss(self, positive, negative, margin, p, eps, swap)`.
    ///
    /// # Errors
    /// As [`mse_loss`](Self::mse_loss).
    #[allow(clippy::too_many_arguments)] // as PyTorch's
    pub fn triplet_margin_loss(
        &self,
        positive: &Array,
        negative: &Array,
        margin: f64,
        p: f64,
        eps: f64,
        swap: bool,
        reduction: Reduction,
    ) -> Result<Self> {
        let [x, positive, negative] = &single([self, positive, negative])?;
        let distance = |a: &Array, b: &Array| a.sub(b)?.add(eps)?.vector_norm(p, &[-1], false);
        let near = distance(x, positive)?;
        let mut far = distance(x, negative)?;
        if swap {
            far = far.minimum(&distance(positive, negative)?)?;
        }
        reduction.applied(near.sub(&far)?.add(margin)?.clamp(Some(Number::Float(0.0)), None)?)
    }
}

/// One number a class, along dimension `at` of `rank`.
fn along(weight: &Array, rank: usize, at: usize) -> Result<Array> {
    let mut shape = vec![1; rank];
    shape[at] = weight.numel();
    weight.reshape(&shape.iter().map(|&length| signed(length)).collect::<Vec<_>>())
}
