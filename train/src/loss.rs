//! The losses of `torch.nn.functional`, averaged over a batch, computed as PyTorch computes them.
//!
//! Each gives a tensor of shape `[1]`. Shapes that do not go together, and classes that there are none of, are errors, as in
//! PyTorch. Looking at classes costs nothing in host memory; on another device it would mean to wait for it, so there a class
//! out of range makes the loss NaN.

mod half;

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor};
use rekindle_recorder::Result;

use self::half::is_half;
use crate::attributes::invalid;
use crate::parameters::in_host_memory;

/// `F.cross_entropy(logits, targets)`: how far the softmax of `logits` is from the classes in `targets`.
///
/// Logits have shape `[batch, classes]` or `[batch, classes, ...]`, targets `[batch]` or `[batch, ...]` (`T` is `D - 1`),
/// from 0 to `classes - 1`; a target of -100 does not count. [`CrossEntropy`] has more options.
///
/// # Errors
/// When the shapes do not go together, or a target is no class.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use rekindle_train::loss::cross_entropy;
///
/// let device = Device::flex();
/// let logits = Tensor::<2>::from_data([[2.0, 0.0], [0.0, 0.0]], &device);
/// let targets = Tensor::<1, Int>::from_data([0, 1], &device);
/// let loss: f32 = cross_entropy(logits.clone(), targets)?.into_scalar();
/// assert!((loss - 0.41003758).abs() < 1e-7);
///
/// let targets = Tensor::<1, Int>::from_data([0, 2], &device);
/// let error = cross_entropy(logits, targets).unwrap_err();
/// assert_eq!(error.to_string(), "target 2 is out of bounds: there are 2 classes, from 0 to 1");
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn cross_entropy<const D: usize, const T: usize>(logits: Tensor<D>, targets: Tensor<T, Int>) -> Result<Tensor<1>> {
    CrossEntropy::default().forward(logits, targets)
}

/// `F.nll_loss(log_probabilities, targets)`: the mean of the negated log-probabilities of the classes in `targets`. Shapes and
/// targets as for [`cross_entropy`].
///
/// # Errors
/// As [`cross_entropy`].
pub fn nll<const D: usize, const T: usize>(log_probabilities: Tensor<D>, targets: Tensor<T, Int>) -> Result<Tensor<1>> {
    let options = CrossEntropy::default();
    let in_range = options.check(&log_probabilities.dims(), &targets)?;
    Ok(options.of_log_probabilities(log_probabilities, targets, in_range))
}

/// `F.mse_loss(outputs, targets)`: the mean of the squared differences.
///
/// # Errors
/// When the shapes differ.
pub fn mse<const D: usize>(outputs: Tensor<D>, targets: Tensor<D>) -> Result<Tensor<1>> {
    check_same(&outputs, &targets)?;
    let difference = outputs - targets;
    Ok(half::mean(difference.clone() * difference))
}

/// `F.binary_cross_entropy_with_logits(logits, targets)`: the mean cross entropy of independent yes-or-no answers, whose
/// targets are from 0 to 1.
///
/// # Errors
/// When the shapes differ.
pub fn bce_with_logits<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Result<Tensor<1>> {
    check_same(&logits, &targets)?;
    if is_half(logits.dtype()) {
        return Ok(half::bce_with_logits(logits, targets));
    }
    Ok(((-targets + 1.0) * logits.clone() - log_sigmoid(logits)).mean())
}

fn check_same<const D: usize>(outputs: &Tensor<D>, targets: &Tensor<D>) -> Result<()> {
    let (outputs, targets) = (outputs.dims(), targets.dims());
    if outputs == targets {
        return Ok(());
    }
    Err(invalid(format!("targets have shape {targets:?}, the network's outputs {outputs:?}")))
}

rekindle_recorder::settings! {
    /// The options of `F.cross_entropy`.
    ///
    /// ```
    /// use rekindle_train::loss::CrossEntropy;
    ///
    /// let loss = CrossEntropy::default().ignore_index(0).label_smoothing(0.1);
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct CrossEntropy {
        /// A target that does not count. Default -100.
        ignore_index: i64 = -100,
        /// How much of each target goes to all classes alike, from 0 to 1. Default 0.
        label_smoothing: f64 = 0.0,
        /// Whether losses are added up, rather than averaged: `reduction="sum"`. Default false.
        sum: bool = false,
    }
}

impl CrossEntropy {
    /// The loss of logits. Shapes and targets as for [`cross_entropy`].
    ///
    /// # Errors
    /// As [`cross_entropy`].
    pub fn forward<const D: usize, const T: usize>(
        &self,
        logits: Tensor<D>,
        targets: Tensor<T, Int>,
    ) -> Result<Tensor<1>> {
        let in_range = self.check(&logits.dims(), &targets)?;
        Ok(self.of_log_probabilities(half::log_softmax(logits), targets, in_range))
    }

    /// Of shapes that fit, and of targets that are known to be classes or not.
    fn of_log_probabilities<const D: usize, const T: usize>(
        &self,
        log_probabilities: Tensor<D>,
        targets: Tensor<T, Int>,
        in_range: bool,
    ) -> Tensor<1> {
        let count = log_probabilities.dims().get(1).copied().unwrap_or(1);

        let targets = targets.unsqueeze_dim::<D>(1);
        let ignored = targets.clone().equal_elem(self.ignore_index);
        // Any class will do where the target does not count.
        let mut classes = targets.mask_fill(ignored.clone(), 0);
        let mut log_probabilities = log_probabilities;
        if !in_range {
            let highest = i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1);
            let absent = classes.clone().lower_elem(0).bool_or(classes.clone().greater_elem(highest));
            classes = classes.mask_fill(absent.clone(), 0);
            let absent = absent.expand(log_probabilities.shape());
            log_probabilities = log_probabilities.mask_fill(absent, f64::NAN);
        }
        let counted = if self.sum {
            Tensor::ones([1], (&log_probabilities.device(), log_probabilities.dtype()))
        } else {
            ignored.clone().bool_not().float().cast(log_probabilities.dtype()).sum()
        };

        let of_targets = log_probabilities.clone().gather(1, classes).mask_fill(ignored.clone(), 0.0);
        if is_half(log_probabilities.dtype()) && self.label_smoothing == 0.0 && !self.sum {
            return half::nll(of_targets, ignored.bool_not());
        }
        let nll = -of_targets.sum() / counted.clone();
        if self.label_smoothing == 0.0 {
            return nll;
        }
        let of_all = -log_probabilities.sum_dim(1).mask_fill(ignored, 0.0).sum() / counted;
        #[allow(clippy::cast_precision_loss)]
        let each = self.label_smoothing / count as f64;
        nll * (1.0 - self.label_smoothing) + of_all * each
    }

    /// Whether the targets are known to be classes of logits of this shape: not where they lie on another device.
    fn check<const T: usize>(&self, logits: &[usize], targets: &Tensor<T, Int>) -> Result<bool> {
        let (&[batch, classes, ref rest @ ..], found) = (logits, targets.dims()) else {
            return Err(invalid(format!(
                "logits need a dimension of classes after the batch's, and have shape {logits:?}"
            )));
        };
        if found.iter().ne(std::iter::once(&batch).chain(rest)) {
            return Err(invalid(format!(
                "targets must have the shape of logits without dimension 1; they have {found:?}, the logits {logits:?}"
            )));
        }
        if !in_host_memory(&targets.device().without_autodiff()) {
            return Ok(false);
        }
        let data = targets.clone().try_into_data();
        let data = data.map_err(|error| invalid(format!("targets cannot be read from their device: {error:?}")))?;
        match data.iter::<i64>().find(|&target| target != self.ignore_index && !is_class(target, classes)) {
            Some(target) => Err(invalid(out_of_bounds(target, classes))),
            None => Ok(true),
        }
    }
}

/// Whether a target is one of so many classes.
pub(crate) fn is_class(target: i64, classes: usize) -> bool {
    usize::try_from(target).is_ok_and(|class| class < classes)
}

/// What is said of a target that is none.
pub(crate) fn out_of_bounds(target: i64, classes: usize) -> String {
    let last = classes.saturating_sub(1);
    format!("target {target} is out of bounds: there are {classes} classes, from 0 to {last}")
}
