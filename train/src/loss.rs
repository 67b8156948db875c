//! The losses of `torch.nn.functional`, averaged over a batch, computed as PyTorch computes them.
//!
//! Each gives a tensor of shape `[1]`. Like Burn's own operations they panic on shapes that do not go together, which is an
//! error in the program and not in its data.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor};

/// `F.cross_entropy(logits, targets)`: how far the softmax of `logits` is from the classes in `targets`.
///
/// Logits have shape `[batch, classes]` or `[batch, classes, ...]`, targets `[batch]` or `[batch, ...]` (`T` is `D - 1`),
/// from 0 to `classes - 1`; a target of -100 does not count. [`CrossEntropy`] has more options.
///
/// # Panics
/// When the shapes do not go together.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use rekindle_train::loss::cross_entropy;
///
/// let device = Device::flex();
/// let logits = Tensor::<2>::from_data([[2.0, 0.0], [0.0, 0.0]], &device);
/// let targets = Tensor::<1, Int>::from_data([0, 1], &device);
/// let loss: f32 = cross_entropy(logits, targets).into_scalar();
/// assert!((loss - 0.41003758).abs() < 1e-7);
/// ```
pub fn cross_entropy<const D: usize, const T: usize>(logits: Tensor<D>, targets: Tensor<T, Int>) -> Tensor<1> {
    CrossEntropy::default().forward(logits, targets)
}

/// `F.nll_loss(log_probabilities, targets)`: the mean of the negated log-probabilities of the classes in `targets`. Shapes and
/// targets as for [`cross_entropy`].
///
/// # Panics
/// When the shapes do not go together.
pub fn nll<const D: usize, const T: usize>(log_probabilities: Tensor<D>, targets: Tensor<T, Int>) -> Tensor<1> {
    CrossEntropy::default().of_log_probabilities(log_probabilities, targets)
}

/// `F.mse_loss(outputs, targets)`: the mean of the squared differences.
///
/// # Panics
/// When the shapes differ.
pub fn mse<const D: usize>(outputs: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
    let difference = outputs - targets;
    (difference.clone() * difference).mean()
}

/// `F.binary_cross_entropy_with_logits(logits, targets)`: the mean cross entropy of independent yes-or-no answers, whose
/// targets are from 0 to 1.
///
/// # Panics
/// When the shapes differ.
pub fn bce_with_logits<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
    ((-targets + 1.0) * logits.clone() - log_sigmoid(logits)).mean()
}

/// The options of `F.cross_entropy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// A target that does not count. Default -100.
    pub ignore_index: i64,
    /// How much of each target goes to all classes alike, from 0 to 1. Default 0.
    pub label_smoothing: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy { ignore_index: -100, label_smoothing: 0.0 }
    }
}

impl CrossEntropy {
    /// The loss of logits. Shapes and targets as for [`cross_entropy`].
    ///
    /// # Panics
    /// When the shapes do not go together.
    pub fn forward<const D: usize, const T: usize>(&self, logits: Tensor<D>, targets: Tensor<T, Int>) -> Tensor<1> {
        self.of_log_probabilities(log_softmax(logits, 1), targets)
    }

    fn of_log_probabilities<const D: usize, const T: usize>(
        &self,
        log_probabilities: Tensor<D>,
        targets: Tensor<T, Int>,
    ) -> Tensor<1> {
        let shape = log_probabilities.dims();
        let mut expected = shape.to_vec();
        expected.remove(1);
        assert_eq!(targets.dims().to_vec(), expected, "targets must have the shape of logits without dimension 1");

        let targets = targets.unsqueeze_dim::<D>(1);
        let ignored = targets.clone().equal_elem(self.ignore_index);
        // Any class will do where the target does not count.
        let classes = targets.mask_fill(ignored.clone(), 0);
        let counted = ignored.clone().bool_not().float().cast(log_probabilities.dtype()).sum();

        let of_targets = log_probabilities.clone().gather(1, classes).mask_fill(ignored.clone(), 0.0);
        let nll = -of_targets.sum() / counted.clone();
        if self.label_smoothing == 0.0 {
            return nll;
        }
        let of_all = -log_probabilities.sum_dim(1).mask_fill(ignored, 0.0).sum() / counted;
        #[allow(clippy::cast_precision_loss)]
        let each = self.label_smoothing / shape[1] as f64;
        nll * (1.0 - self.label_smoothing) + of_all * each
    }
}
