//! `AdaptiveLogSoftmaxWithLoss`: a softmax over many classes whose rare ones stand in clusters (Grave et al., "Efficient softmax
//! approximation for GPUs", 2016).

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::linear::{Linear, LinearConfig};
use super::module::{Forward, options, refused};
use super::{Layer, Sequential};
use crate::Result;
use crate::functional::{Array, Number, Update, signed};
use crate::init::Init;

options! {
    /// `torch.nn.AdaptiveLogSoftmaxWithLoss(in_features, n_classes, cutoffs, div_value=4.0, head_bias=False)`.
    AdaptiveLogSoftmaxConfig(
        /// The length of an input.
        in_features: usize,
        /// How many classes there are, from the most frequent to the rarest.
        n_classes: usize,
        /// Where clusters begin: up, from 1 to one less than there are classes.
        cutoffs: impl Into<Vec<usize>> => Vec<usize>,
    ) {
        /// By how much each cluster's vectors are shorter than those of the one before. Default 4.
        div_value / with_div_value: f64 = 4.0,
        /// Whether the head has a bias. Default false.
        head_bias / with_head_bias: bool = false,
    }
}

/// `torch.nn.AdaptiveLogSoftmaxWithLoss`.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::AdaptiveLogSoftmaxConfig;
///
/// let device = Device::flex();
/// let layer = AdaptiveLogSoftmaxConfig::new(16, 20, [4, 10]).init(&mut Init::seeded(&device, 0))?;
/// let input = Tensor::<2>::ones([3, 16], &device);
/// let (output, loss) = layer.forward(input.clone(), Tensor::<1, Int>::from_ints([0, 5, 19], &device))?;
/// assert_eq!((output.dims(), loss.dims()), ([3], [1]));
/// assert_eq!(layer.log_prob(input)?.dims(), [3, 20]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct AdaptiveLogSoftmaxWithLoss {
    /// To the frequent classes and the clusters.
    pub head: Linear,
    /// Of each cluster two linear maps.
    pub tail: Vec<Sequential>,
    /// Where each part of the classes ends.
    ends: Vec<usize>,
}

impl AdaptiveLogSoftmaxConfig {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the cutoffs do not go up within the classes, or vectors would have a length below 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)] // as Python's `int(n // x)`
    pub fn init(&self, init: &mut Init<'_>) -> Result<AdaptiveLogSoftmaxWithLoss> {
        let wrong = |reason: String| refused("AdaptiveLogSoftmaxWithLoss", reason);
        let (cutoffs, classes) = (&self.cutoffs, self.n_classes);
        let up = cutoffs.windows(2).all(|pair| pair[0] < pair[1]);
        let (Some(&first), Some(&last), true) = (cutoffs.first(), cutoffs.last(), up) else {
            return Err(wrong(format!("{cutoffs:?} are no cutoffs that go up")));
        };
        if first == 0 || last >= classes {
            return Err(wrong(format!("cutoffs of {classes} classes are from 1 to {}", classes.saturating_sub(1))));
        }
        let ends: Vec<usize> = cutoffs.iter().copied().chain([classes]).collect();
        let clusters = ends.len() - 1;
        let head = LinearConfig::new(self.in_features, first + clusters).with_bias(self.head_bias).init(init)?;
        let mut tail = Vec::with_capacity(clusters);
        for at in 0..clusters {
            let power = i32::try_from(at + 1).unwrap_or(i32::MAX);
            let width = (self.in_features as f64 / self.div_value.powi(power)).floor();
            if !width.is_finite() || width < 0.0 {
                return Err(wrong(format!(
                    "with div_value={} cluster {at} would have vectors of {width}",
                    self.div_value
                )));
            }
            // As in PyTorch vectors may have no elements: all classes of such a cluster are as probable then.
            let width = width as usize;
            let linear = |from, to, init: &mut Init<'_>| LinearConfig::new(from, to).with_bias(false).init(init);
            let first = linear(self.in_features, width, init)?;
            let second = linear(width, ends[at + 1] - ends[at], init)?;
            tail.push(Sequential::new(vec![Layer::from(first), second.into()]));
        }
        Ok(AdaptiveLogSoftmaxWithLoss { head, tail, ends })
    }
}

impl AdaptiveLogSoftmaxWithLoss {
    /// `[batch, features]` and classes `[batch]` to the logarithm of each one's probability, `[batch]`, and their mean, negated: `[1]`.
    ///
    /// # Errors
    /// When the shapes do not go together, or a target is none of the classes.
    pub fn forward(&self, input: Tensor<2>, target: Tensor<1, Int>) -> Result<(Tensor<1>, Tensor<1>)> {
        let (input, target) = (Array::from_float(input), Array::from_int(target));
        let rows = target.numel();
        let wrong = |reason: String| refused("AdaptiveLogSoftmaxWithLoss", reason);
        if input.shape().first() != Some(&rows) {
            return Err(wrong(format!("{rows} targets are not those of {:?}", input.shape())));
        }
        let (first, device) = (self.ends[0], input.device());
        let classes = self.ends.last().copied().unwrap_or(0);
        let mut of_head = Vec::with_capacity(rows);
        let mut of_cluster: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.tail.len()];
        for (row, class) in target.ints()?.into_iter().enumerate() {
            let class = usize::try_from(class).ok().filter(|&class| class < classes);
            let class = class.ok_or_else(|| wrong(format!("the target of row {row} is none of {classes} classes")))?;
            let part = self.ends.partition_point(|&end| end <= class);
            of_head.push(signed(if part == 0 { class } else { first + part - 1 }));
            if part > 0 {
                of_cluster[part - 1].push((row, class - self.ends[part - 1]));
            }
        }
        let mut output = Array::full(&[rows], Number::Int(0), input.dtype(), &device);
        for (cluster, members) in self.tail.iter().zip(&of_cluster).filter(|(_, members)| !members.is_empty()) {
            let numbers = |of: fn(&(usize, usize)) -> usize| {
                let numbers: Vec<i64> = members.iter().map(|member| signed(of(member))).collect();
                Array::from_ints(&numbers, &[numbers.len()], &device)
            };
            let (rows, within) = (numbers(|member| member.0)?, numbers(|member| member.1)?);
            let scores = cluster.forward_array(&input.index_select(0, &rows)?)?.log_softmax(1)?;
            let own = scores.gather(1, &within.unsqueeze(1)?)?.squeeze(Some(&[1]))?;
            output = output.scatter(0, &rows, &own, Update::Add)?;
        }
        let head = self.head.forward_array(&input)?.log_softmax(1)?;
        let of_head = Array::from_ints(&of_head, &[rows, 1], &device)?;
        let output = output.add(&head.gather(1, &of_head)?.squeeze(Some(&[1]))?)?;
        let loss = output.negated()?.mean(&[], false)?;
        Ok((output.into_float()?, loss.into_float()?))
    }

    /// The logarithms of the probabilities of all classes, `[batch, classes]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn log_prob(&self, input: Tensor<2>) -> Result<Tensor<2>> {
        let input = Array::from_float(input);
        let head = self.head.forward_array(&input)?.log_softmax(1)?;
        let first = self.ends[0];
        let mut parts = vec![head.narrow(1, 0, signed(first))?];
        for (at, cluster) in self.tail.iter().enumerate() {
            let own = cluster.forward_array(&input)?.log_softmax(1)?;
            parts.push(own.add(&head.narrow(1, signed(first + at), 1)?)?);
        }
        Array::cat(&parts, 1)?.into_float()
    }

    /// The most probable class of each row, `[batch]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn predict(&self, input: Tensor<2>) -> Result<Tensor<1, Int>> {
        Array::from_float(self.log_prob(input)?).arg_extreme(Some(1), false, true)?.into_int()
    }
}
