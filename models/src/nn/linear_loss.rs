//! `LinearCrossEntropyLoss`: a linear map to scores and their cross entropy in one.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::linear::{Linear, LinearConfig};
use super::module::{options, refused};
use crate::Result;
use crate::functional::{Array, Classes, Reduction};
use crate::init::Init;

options! {
    /// `torch.nn.LinearCrossEntropyLoss(in_features, num_classes, *, out_features=(), bias=False, weight=None, reduction='mean',
    /// ignore_index=None, label_smoothing=0.0)`. PyTorch's `options`, which say in how large chunks it computes, are not there.
    LinearCrossEntropyConfig(
        /// The length of an input.
        in_features: usize,
        /// How many classes there are.
        num_classes: usize,
    ) {
        /// The lengths of what each input has targets for. Default none: one target.
        out_features / with_out_features: impl Into<Vec<usize>> => Vec<usize> = Vec::new(),
        /// Whether something is added to the scores. Default false.
        bias / with_bias: bool = false,
        /// A weight for each class. Default none.
        weight / with_weight: Option<Array> = None,
        /// What becomes of the losses. Default their mean, over the weights of the classes.
        reduction / with_reduction: Reduction = Reduction::Mean,
        /// A class that does not count. Default -100.
        ignore_index / with_ignore_index: i64 = -100,
        /// How much of the target goes to all classes. Default 0.
        label_smoothing / with_label_smoothing: f64 = 0.0,
    }
}

/// `torch.nn.LinearCrossEntropyLoss`. A weight for the classes is no part of its state dict, as of the other losses here.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::LinearCrossEntropyConfig;
///
/// let device = Device::flex();
/// let layer = LinearCrossEntropyConfig::new(5, 10).init(&mut Init::seeded(&device, 0))?;
/// let loss = layer.forward(Tensor::<2>::ones([2, 5], &device), Tensor::<1, Int>::from_ints([1, 7], &device))?;
/// assert_eq!(loss.dims(), [1]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct LinearCrossEntropyLoss {
    /// To the scores.
    pub linear: Linear,
    #[module(skip)]
    how: LinearCrossEntropyConfig,
}

impl LinearCrossEntropyConfig {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the smoothing is not in 0 to 1, or the weights are not as many as the classes.
    pub fn init(&self, init: &mut Init<'_>) -> Result<LinearCrossEntropyLoss> {
        let wrong = |reason: String| Err(refused("LinearCrossEntropyLoss", reason));
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return wrong(format!("label_smoothing is in 0 to 1, not {}", self.label_smoothing));
        }
        if let Some(weight) = self.weight.as_ref().filter(|weight| *weight.shape() != [self.num_classes]) {
            return wrong(format!("weights of {:?} are not those of {} classes", weight.shape(), self.num_classes));
        }
        let scores = self.out_features.iter().product::<usize>() * self.num_classes;
        let linear = LinearConfig::new(self.in_features, scores).with_bias(self.bias).init(init)?;
        Ok(LinearCrossEntropyLoss { linear, how: self.clone() })
    }
}

impl LinearCrossEntropyLoss {
    fn losses(&self, input: &Array, target: &Array) -> Result<Array> {
        use super::Forward as _;
        let how = &self.how;
        let mut shape = input.shape().to_vec();
        shape.pop();
        shape.push(how.num_classes);
        shape.extend(&how.out_features);
        let classes = Classes {
            weight: how.weight.as_ref(),
            reduction: how.reduction,
            ignore_index: how.ignore_index,
            label_smoothing: how.label_smoothing,
        };
        self.linear.forward_array(input)?.reshaped(&shape)?.cross_entropy(target, &classes)
    }

    /// The loss of `[batch, features]` by classes `[batch, ...]`, `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together, or there is no reduction.
    pub fn forward<const T: usize>(&self, input: Tensor<2>, target: Tensor<T, Int>) -> Result<Tensor<1>> {
        super::loss::scalar("LinearCrossEntropyLoss", self.losses(&Array::from_float(input), &Array::from_int(target))?)
    }

    /// The loss by probabilities `[batch, classes, ...]`, `[1]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_probabilities<const T: usize>(&self, input: Tensor<2>, target: Tensor<T>) -> Result<Tensor<1>> {
        super::loss::scalar(
            "LinearCrossEntropyLoss",
            self.losses(&Array::from_float(input), &Array::from_float(target))?,
        )
    }

    /// The losses of all targets by probabilities, `[batch, ...]`, where there is no reduction: `R` is one less than `T`.
    ///
    /// # Errors
    /// When the shapes do not go together, or `R` is another.
    pub fn unreduced_probabilities<const T: usize, const R: usize>(
        &self,
        input: Tensor<2>,
        target: Tensor<T>,
    ) -> Result<Tensor<R>> {
        self.losses(&Array::from_float(input), &Array::from_float(target))?.into_float()
    }

    /// The losses of all targets, `[batch, ...]`, where there is no reduction.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn unreduced<const T: usize>(&self, input: Tensor<2>, target: Tensor<T, Int>) -> Result<Tensor<T>> {
        self.losses(&Array::from_float(input), &Array::from_int(target))?.into_float()
    }
}
