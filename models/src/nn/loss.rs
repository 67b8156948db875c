//! Losses as layers: a table of their options with PyTorch's defaults, and what each computes.

use burn::tensor::{Int, Tensor};

use super::module::{options, refused};
use crate::Result;
use crate::functional::{Array, Classes, Ctc, Number, Reduction, Unary};

/// A loss without dimensions as Burn has it.
pub(super) fn scalar(layer: &'static str, loss: Array) -> Result<Tensor<1>> {
    if loss.rank() > 0 {
        let reason = "without a reduction it gives a loss for each element: call `unreduced`";
        return Err(refused(layer, reason));
    }
    loss.into_float()
}

macro_rules! losses {
    ($(
        $(#[$doc:meta])*
        $name:ident {$($(#[$field_doc:meta])* $field:ident / $with:ident: $type:ty = $default:expr),*}
        ($($input:ident),+) |$this:ident, $reduction:ident| $compute:expr;
    )+) => {
        options! { $(
            $(#[$doc])*
            $name() {
                /// What becomes of the losses of all elements. Default their mean.
                reduction / with_reduction: Reduction = Reduction::Mean,
                $($(#[$field_doc])* $field / $with: $type = $default),*
            }
        )+ }
        $(
            impl $name {
                fn losses(&self, $($input: &Array),+) -> Result<Array> {
                    let ($this, $reduction) = (self, self.reduction);
                    let _ = $this;
                    $compute
                }
            }
        )+
    };
}

macro_rules! of_two {
    ($($name:ident),+) => { $(
        impl $name {
            /// The loss, `[1]`: the mean or the sum.
            ///
            /// # Errors
            /// When the shapes do not go together, or there is no reduction.
            pub fn forward<const D: usize>(&self, input: Tensor<D>, target: Tensor<D>) -> Result<Tensor<1>> {
                scalar(stringify!($name), self.losses(&Array::from_float(input), &Array::from_float(target))?)
            }

            /// The losses of all elements, where there is no reduction.
            ///
            /// # Errors
            /// When the shapes do not go together, or the losses have not `R` dimensions.
            pub fn unreduced<const D: usize, const R: usize>(&self, input: Tensor<D>, target: Tensor<D>) -> Result<Tensor<R>> {
                self.losses(&Array::from_float(input), &Array::from_float(target))?.into_float()
            }
        }
    )+ };
}

losses! {
    /// `torch.nn.L1Loss`: `|input - target|`.
    L1Loss {} (input, target) |this, reduction| input.l1_loss(target, reduction);
    /// `torch.nn.MSELoss`: `(input - target)^2`.
    MSELoss {} (input, target) |this, reduction| input.mse_loss(target, reduction);
    /// `torch.nn.SmoothL1Loss(beta=1.0)`.
    SmoothL1Loss {
        /// Up to where it is a square. Default 1.
        beta / with_beta: f64 = 1.0
    } (input, target) |this, reduction| input.smooth_l1_loss(target, reduction, this.beta);
    /// `torch.nn.HuberLoss(delta=1.0)`.
    HuberLoss {
        /// Up to where it is a square. Default 1.
        delta / with_delta: f64 = 1.0
    } (input, target) |this, reduction| input.huber_loss(target, reduction, this.delta);
    /// `torch.nn.SoftMarginLoss`: `log(1 + exp(-target input))`.
    SoftMarginLoss {} (input, target) |this, reduction| input.soft_margin_loss(target, reduction);
    /// `torch.nn.HingeEmbeddingLoss(margin=1.0)`.
    HingeEmbeddingLoss {
        /// How far apart what is not alike should be. Default 1.
        margin / with_margin: f64 = 1.0
    } (input, target) |this, reduction| input.hinge_embedding_loss(target, this.margin, reduction);
    /// `torch.nn.PoissonNLLLoss(log_input=True, full=False, eps=1e-08)`.
    PoissonNLLLoss {
        /// Whether the input is the logarithm of the rate. Default true.
        log_input / with_log_input: bool = true,
        /// Whether Stirling's approximation of the factorial is there, too. Default false.
        full / with_full: bool = false,
        /// What is added to a rate before its logarithm is taken. Default 1e-8.
        eps / with_eps: f64 = 1e-8
    } (input, target) |this, reduction| input.poisson_nll_loss(target, this.log_input, this.full, this.eps, reduction);
    /// `torch.nn.BCELoss(weight=None)`: of probabilities.
    BCELoss {
        /// A weight for each element, or for what is broadcast to them. Default none.
        weight / with_weight: Option<Array> = None
    } (input, target) |this, reduction| input.bce_loss(target, this.weight.as_ref(), reduction);
    /// `torch.nn.BCEWithLogitsLoss(weight=None, pos_weight=None)`: of logits.
    BCEWithLogitsLoss {
        /// A weight for each element, or for what is broadcast to them. Default none.
        weight / with_weight: Option<Array> = None,
        /// A weight for what is positive, for each class. Default none.
        pos_weight / with_pos_weight: Option<Array> = None
    } (input, target) |this, reduction|
        input.bce_with_logits(target, this.weight.as_ref(), this.pos_weight.as_ref(), reduction);
    /// `torch.nn.KLDivLoss(log_target=False)` of logarithms of probabilities. PyTorch's `reduction='batchmean'` is
    /// [`with_batch_mean`](Self::with_batch_mean).
    KLDivLoss {
        /// Whether the target is logarithms, too. Default false.
        log_target / with_log_target: bool = false,
        /// Whether the sum is divided by the size of the batch, in the place of the reduction. Default false.
        batch_mean / with_batch_mean: bool = false
    } (input, target) |this, reduction| {
        if !this.batch_mean {
            return input.kl_div(target, reduction, this.log_target);
        }
        #[allow(clippy::cast_precision_loss)] // the size of a batch
        let batch = input.shape().first().copied().unwrap_or(1) as f64;
        input.kl_div(target, Reduction::Sum, this.log_target)?.div(batch)
    };
    /// `torch.nn.GaussianNLLLoss(full=False, eps=1e-06)`: of means, targets and variances.
    GaussianNLLLoss {
        /// Whether the constant term is there, too. Default false.
        full / with_full: bool = false,
        /// The least variance. Default 1e-6.
        eps / with_eps: f64 = 1e-6
    } (input, target, var) |this, reduction| {
        if var.lt(0.0)?.any(&[], false)?.item()?.is_true() {
            return Err(refused("GaussianNLLLoss", "there is a variance below 0"));
        }
        // One variance for each vector, as PyTorch takes it.
        let one_each = var.shape() != input.shape() && Some(var.shape()) == input.shape().split_last().map(|(_, front)| front);
        let var = &if one_each { var.unsqueeze(-1)? } else { var.clone() };
        // The gradient goes through the variance as it is, not as it is bounded.
        let bounded = var.add(&var.clamp(Some(Number::Float(this.eps)), None)?.sub(var)?.detach())?;
        let difference = input.sub(target)?;
        let losses = bounded.unary(Unary::Log)?.add(&difference.mul(&difference)?.div(&bounded)?)?.mul(0.5)?;
        let losses = if this.full { losses.add(0.5 * std::f64::consts::TAU.ln())? } else { losses };
        reduction.applied(losses)
    };
    /// `torch.nn.CosineEmbeddingLoss(margin=0.0)`: of two inputs and 1 or -1.
    CosineEmbeddingLoss {
        /// How alike what is not alike may be. Default 0.
        margin / with_margin: f64 = 0.0
    } (one, other, target) |this, reduction| one.cosine_embedding_loss(other, target, this.margin, reduction);
    /// `torch.nn.MarginRankingLoss(margin=0.0)`: of two inputs and 1 or -1.
    MarginRankingLoss {
        /// By how much one should be larger. Default 0.
        margin / with_margin: f64 = 0.0
    } (one, other, target) |this, reduction| one.margin_ranking_loss(other, target, this.margin, reduction);
    /// `torch.nn.TripletMarginLoss(margin=1.0, p=2.0, eps=1e-06, swap=False)`: of an anchor, one that is alike and one that is not.
    TripletMarginLoss {
        /// By how much one should be nearer. Default 1.
        margin / with_margin: f64 = 1.0,
        /// The norm of a distance. Default 2.
        p / with_p: f64 = 2.0,
        /// What is added to each difference. Default 1e-6.
        eps / with_eps: f64 = 1e-6,
        /// Whether the distance of the two others counts, where it is less. Default false.
        swap / with_swap: bool = false
    } (anchor, positive, negative) |this, reduction|
        anchor.triplet_margin_loss(positive, negative, this.margin, this.p, this.eps, this.swap, reduction);
    /// `torch.nn.MultiLabelSoftMarginLoss(weight=None)`: the mean over the classes of `BCEWithLogitsLoss`.
    MultiLabelSoftMarginLoss {
        /// A weight for each class. Default none.
        weight / with_weight: Option<Array> = None
    } (input, target) |this, reduction| {
        let losses = input.bce_with_logits(target, None, None, Reduction::None)?;
        let losses = this.weight.as_ref().map_or(Ok(losses.clone()), |weight| losses.mul(weight))?;
        reduction.applied(losses.mean(&[-1], false)?)
    };
}

of_two!(
    L1Loss,
    MSELoss,
    SmoothL1Loss,
    HuberLoss,
    SoftMarginLoss,
    HingeEmbeddingLoss,
    PoissonNLLLoss,
    BCELoss,
    BCEWithLogitsLoss,
    KLDivLoss,
    MultiLabelSoftMarginLoss
);

macro_rules! of_three {
    ($($name:ident($one:ident: $a:literal, $two:ident: $b:literal, $three:ident: $c:literal)),+) => { $(
        impl $name {
            #[doc = concat!("The loss of ", $a, ", ", $b, " and ", $c, ", `[1]`: the mean or the sum.")]
            ///
            /// # Errors
            /// When the shapes do not go together, or there is no reduction.
            pub fn forward<const D: usize, const T: usize>(
                &self,
                $one: Tensor<D>,
                $two: Tensor<D>,
                $three: Tensor<T>,
            ) -> Result<Tensor<1>> {
                let [$one, $two] = [$one, $two].map(Array::from_float);
                scalar(stringify!($name), self.losses(&$one, &$two, &Array::from_float($three))?)
            }

            /// The losses of all elements, where there is no reduction.
            ///
            /// # Errors
            /// When the shapes do not go together, or the losses have not `R` dimensions.
            pub fn unreduced<const D: usize, const T: usize, const R: usize>(
                &self,
                $one: Tensor<D>,
                $two: Tensor<D>,
                $three: Tensor<T>,
            ) -> Result<Tensor<R>> {
                let [$one, $two] = [$one, $two].map(Array::from_float);
                self.losses(&$one, &$two, &Array::from_float($three))?.into_float()
            }
        }
    )+ };
}

of_three!(
    GaussianNLLLoss(input: "means", target: "targets", var: "variances"),
    CosineEmbeddingLoss(one: "one input", other: "the other", target: "1 or -1 for each pair"),
    MarginRankingLoss(one: "one input", other: "the other", target: "1 or -1 for each pair"),
    TripletMarginLoss(anchor: "anchors", positive: "what is alike", negative: "what is not")
);

options! {
    /// `torch.nn.TripletMarginWithDistanceLoss(margin=1.0, swap=False, reduction='mean')`: as [`TripletMarginLoss`] with another distance,
    /// which [`forward`](Self::forward) is given. PyTorch's default is [`PairwiseDistance`](super::PairwiseDistance).
    TripletMarginWithDistanceLoss() {
        /// By how much one should be nearer. Default 1.
        margin / with_margin: f64 = 1.0,
        /// Whether the distance of the two others counts, where it is less. Default false.
        swap / with_swap: bool = false,
        /// What becomes of the losses. Default their mean.
        reduction / with_reduction: Reduction = Reduction::Mean,
    }
}

impl TripletMarginWithDistanceLoss {
    fn losses<const D: usize, const R: usize>(
        &self,
        [anchor, positive, negative]: [Tensor<D>; 3],
        distance: impl Fn(Tensor<D>, Tensor<D>) -> Result<Tensor<R>>,
    ) -> Result<Array> {
        let apart = |one: &Tensor<D>, other: &Tensor<D>| distance(one.clone(), other.clone()).map(Array::from_float);
        let (near, mut far) = (apart(&anchor, &positive)?, apart(&anchor, &negative)?);
        if self.swap {
            far = far.minimum(&apart(&positive, &negative)?)?;
        }
        self.reduction.applied(near.sub(&far)?.add(self.margin)?.clamp(Some(Number::Float(0.0)), None)?)
    }

    /// The loss of anchors, what is alike and what is not, by this distance, `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together, or there is no reduction.
    pub fn forward<const D: usize, const R: usize>(
        &self,
        anchor: Tensor<D>,
        positive: Tensor<D>,
        negative: Tensor<D>,
        distance: impl Fn(Tensor<D>, Tensor<D>) -> Result<Tensor<R>>,
    ) -> Result<Tensor<1>> {
        scalar("TripletMarginWithDistanceLoss", self.losses([anchor, positive, negative], distance)?)
    }

    /// The losses of all, where there is no reduction.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn unreduced<const D: usize, const R: usize>(
        &self,
        anchor: Tensor<D>,
        positive: Tensor<D>,
        negative: Tensor<D>,
        distance: impl Fn(Tensor<D>, Tensor<D>) -> Result<Tensor<R>>,
    ) -> Result<Tensor<R>> {
        self.losses([anchor, positive, negative], distance)?.into_float()
    }
}

options! {
    /// `torch.nn.CrossEntropyLoss(weight=None, ignore_index=-100, reduction='mean', label_smoothing=0.0)`.
    CrossEntropyLoss() {
        /// A weight for each class. Default none.
        weight / with_weight: Option<Array> = None,
        /// A class that does not count. Default -100.
        ignore_index / with_ignore_index: i64 = -100,
        /// What becomes of the losses. Default their mean, over the weights of the classes.
        reduction / with_reduction: Reduction = Reduction::Mean,
        /// How much of the target goes to all classes. Default 0.
        label_smoothing / with_label_smoothing: f64 = 0.0,
    }

    /// `torch.nn.NLLLoss(weight=None, ignore_index=-100, reduction='mean')`: of logarithms of probabilities.
    NLLLoss() {
        /// A weight for each class. Default none.
        weight / with_weight: Option<Array> = None,
        /// A class that does not count. Default -100.
        ignore_index / with_ignore_index: i64 = -100,
        /// What becomes of the losses. Default their mean, over the weights of the classes.
        reduction / with_reduction: Reduction = Reduction::Mean,
    }

    /// `torch.nn.MultiMarginLoss(p=1, margin=1.0, weight=None, reduction='mean')`: of `[batch, classes]` and a class each, how far
    /// others come up to it.
    MultiMarginLoss() {
        /// The power of each excess. Default 1.
        p / with_p: f64 = 1.0,
        /// By how much the class should be above the others. Default 1.
        margin / with_margin: f64 = 1.0,
        /// A weight for each class. Default none.
        weight / with_weight: Option<Array> = None,
        /// What becomes of the losses. Default their mean.
        reduction / with_reduction: Reduction = Reduction::Mean,
    }

    /// `torch.nn.MultiLabelMarginLoss(reduction='mean')`: of `[batch, classes]` and as many targets, classes up to the first -1.
    MultiLabelMarginLoss() {
        /// What becomes of the losses. Default their mean.
        reduction / with_reduction: Reduction = Reduction::Mean,
    }

    /// `torch.nn.CTCLoss(blank=0, reduction='mean', zero_infinity=False)`: of logarithms of probabilities over time, by targets that
    /// they may be read as.
    CTCLoss() {
        /// The class that stands for nothing. Default 0.
        blank / with_blank: usize = 0,
        /// What becomes of the losses. Default the mean of those over the lengths of their targets.
        reduction / with_reduction: Reduction = Reduction::Mean,
        /// Whether an infinite loss, of a target that is too long for its input, counts 0. Default false.
        zero_infinity / with_zero_infinity: bool = false,
    }
}

impl MultiMarginLoss {
    fn losses(&self, input: &Array, target: &Array) -> Result<Array> {
        let known = self.p == 1.0 || self.p == 2.0;
        if !known {
            return Err(refused("MultiMarginLoss", format!("p is 1 or 2, not {}", self.p)));
        }
        input.multi_margin_loss(target, self.p, self.margin, self.weight.as_ref(), self.reduction)
    }
}

impl MultiLabelMarginLoss {
    fn losses(&self, input: &Array, target: &Array) -> Result<Array> {
        input.multilabel_margin_loss(target, self.reduction)
    }

    /// The loss of `[batch, classes]` (or `[classes]`) by as many targets, `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together, or there is no reduction.
    pub fn forward<const D: usize>(&self, input: Tensor<D>, target: Tensor<D, Int>) -> Result<Tensor<1>> {
        scalar("MultiLabelMarginLoss", self.losses(&Array::from_float(input), &Array::from_int(target))?)
    }

    /// The losses of all examples, `[batch]`, where there is no reduction; of `[classes]` its own, `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn unreduced<const D: usize>(&self, input: Tensor<D>, target: Tensor<D, Int>) -> Result<Tensor<1>> {
        self.losses(&Array::from_float(input), &Array::from_int(target))?.into_float()
    }
}

impl CTCLoss {
    fn losses<const D: usize, const T: usize>(
        &self,
        log_probs: Tensor<D>,
        targets: Tensor<T, Int>,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Result<Array> {
        let how = Ctc { blank: self.blank, reduction: self.reduction, zero_infinity: self.zero_infinity };
        Array::from_float(log_probs).ctc_loss(&Array::from_int(targets), input_lengths, target_lengths, &how)
    }

    /// The loss of `[time, batch, classes]` (or `[time, classes]`) by targets `[batch, length]`, or one after the other, `[1]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use rekindle_models::nn::CTCLoss;
    /// use rekindle_models::nn::functional::log_softmax;
    ///
    /// let device = Device::flex();
    /// let scores = log_softmax(Tensor::<3>::zeros([5, 1, 3], &device), 2)?;
    /// let targets = Tensor::<2, Int>::from_ints([[1, 2]], &device);
    /// let loss: f32 = CTCLoss::new().forward(scores, targets, &[5], &[2])?.into_scalar();
    /// // torch.nn.CTCLoss()(torch.zeros(5, 1, 3).log_softmax(2), torch.tensor([[1, 2]]), [5], [2])
    /// assert!((loss - 0.968_857).abs() < 1e-5, "{loss}");
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// When shapes and lengths do not go together, a target is blank or no class, the scores have 16 bits (PyTorch's CPU refuses them, too), or there is no
    /// reduction.
    pub fn forward<const D: usize, const T: usize>(
        &self,
        log_probs: Tensor<D>,
        targets: Tensor<T, Int>,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Result<Tensor<1>> {
        scalar("CTCLoss", self.losses(log_probs, targets, input_lengths, target_lengths)?)
    }

    /// The losses of all samples, `[batch]`, where there is no reduction.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn unreduced<const D: usize, const T: usize>(
        &self,
        log_probs: Tensor<D>,
        targets: Tensor<T, Int>,
        input_lengths: &[usize],
        target_lengths: &[usize],
    ) -> Result<Tensor<1>> {
        self.losses(log_probs, targets, input_lengths, target_lengths)?.into_float()
    }
}

impl CrossEntropyLoss {
    fn losses(&self, input: &Array, target: &Array) -> Result<Array> {
        let how = Classes {
            weight: self.weight.as_ref(),
            reduction: self.reduction,
            ignore_index: self.ignore_index,
            label_smoothing: self.label_smoothing,
        };
        input.cross_entropy(target, &how)
    }

    /// The loss of `[batch, classes, ...]` by probabilities of the same shape, `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together, or there is no reduction.
    pub fn forward_probabilities<const D: usize>(&self, input: Tensor<D>, target: Tensor<D>) -> Result<Tensor<1>> {
        scalar("CrossEntropyLoss", self.losses(&Array::from_float(input), &Array::from_float(target))?)
    }

    /// The losses of all elements by probabilities, `[batch, ...]`, where there is no reduction: `R` is one less than `D`.
    ///
    /// # Errors
    /// When the shapes do not go together, or `R` is another.
    pub fn unreduced_probabilities<const D: usize, const R: usize>(
        &self,
        input: Tensor<D>,
        target: Tensor<D>,
    ) -> Result<Tensor<R>> {
        self.losses(&Array::from_float(input), &Array::from_float(target))?.into_float()
    }
}

impl NLLLoss {
    fn losses(&self, input: &Array, target: &Array) -> Result<Array> {
        let (weight, reduction, ignore_index) = (self.weight.as_ref(), self.reduction, self.ignore_index);
        input.nll_loss(target, &Classes { weight, reduction, ignore_index, label_smoothing: 0.0 })
    }
}

macro_rules! of_classes {
    ($($name:ident),+) => { $(
        impl $name {
            /// The loss of `[batch, classes, ...]` by classes `[batch, ...]`, `[1]`.
            ///
            /// # Errors
            /// When the shapes do not go together, or there is no reduction.
            pub fn forward<const D: usize, const T: usize>(&self, input: Tensor<D>, target: Tensor<T, Int>) -> Result<Tensor<1>> {
                scalar(stringify!($name), self.losses(&Array::from_float(input), &Array::from_int(target))?)
            }

            /// The losses of all elements, `[batch, ...]`, where there is no reduction.
            ///
            /// # Errors
            /// When the shapes do not go together.
            pub fn unreduced<const D: usize, const T: usize>(&self, input: Tensor<D>, target: Tensor<T, Int>) -> Result<Tensor<T>> {
                self.losses(&Array::from_float(input), &Array::from_int(target))?.into_float()
            }
        }
    )+ };
}

of_classes!(CrossEntropyLoss, NLLLoss, MultiMarginLoss);

/// `torch.nn.NLLLoss2d`, an old name of [`NLLLoss`].
pub type NLLLoss2d = NLLLoss;
