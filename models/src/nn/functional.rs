//! `torch.nn.functional` on Burn's typed tensors: thin functions over [`crate::functional`], which works on tensors of any rank.
//!
//! A result has as many dimensions as the caller expects; a scalar is `[1]`, since Burn has no tensors without dimensions. What is not
//! here is there: `Array::from_float(x).hardshrink(0.5)?.into_float()`.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use rekindle_models::nn::functional as F;
//!
//! let x = Tensor::<2>::from_floats([[1.0, -1.0]], &Device::flex());
//! assert_eq!(F::relu(x)?.into_data().to_vec::<f32>().unwrap(), [1.0, 0.0]);
//! # Ok::<(), rekindle_models::ModelError>(())
//! ```

use burn::tensor::{Bool, Int, Tensor};
use rekindle_random::Generator;

use super::{Dropout, Forward};
use crate::Result;
use crate::functional::{Array, Attention, Interpolation, Resized, Unary, Windows};
pub use crate::functional::{Classes, Reduction};

fn array<const D: usize>(x: Tensor<D>) -> Array {
    Array::from_float(x)
}

macro_rules! of_one {
    ($($(#[$doc:meta])* $name:ident($x:ident $(, $arg:ident: $type:ty)*) $compute:expr;)+) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the tensor does not fit.
        pub fn $name<const D: usize>(input: Tensor<D> $(, $arg: $type)*) -> Result<Tensor<D>> {
            let $x = array(input);
            $compute?.into_float()
        }
    )+ };
}

of_one! {
    /// `relu(x)`: `max(x, 0)`.
    relu(x) x.relu();
    /// `leaky_relu(x, negative_slope)`; PyTorch's default is 0.01.
    leaky_relu(x, negative_slope: f64) x.leaky_relu(negative_slope);
    /// `elu(x, alpha)`; PyTorch's default is 1.
    elu(x, alpha: f64) x.elu(alpha, 1.0, 1.0);
    /// `selu(x)`.
    selu(x) x.selu();
    /// `gelu(x)`, exact.
    gelu(x) x.gelu(false);
    /// `gelu(x, approximate='tanh')`.
    gelu_tanh(x) x.gelu(true);
    /// `silu(x)`.
    silu(x) x.silu();
    /// `mish(x)`.
    mish(x) x.mish();
    /// `sigmoid(x)`.
    sigmoid(x) x.sigmoid();
    /// `logsigmoid(x)`.
    logsigmoid(x) x.log_sigmoid();
    /// `tanh(x)`.
    tanh(x) x.unary(Unary::Tanh);
    /// `hardtanh(x, min, max)`; PyTorch's defaults are -1 and 1.
    hardtanh(x, min: f64, max: f64) x.hardtanh(min, max);
    /// `hardsigmoid(x)`.
    hardsigmoid(x) x.hardsigmoid();
    /// `hardswish(x)`.
    hardswish(x) x.hardswish();
    /// `softplus(x, beta, threshold)`; PyTorch's defaults are 1 and 20.
    softplus(x, beta: f64, threshold: f64) x.softplus(beta, threshold);
    /// `softmax(x, dim)`.
    softmax(x, dim: i64) x.softmax(dim);
    /// `log_softmax(x, dim)`.
    log_softmax(x, dim: i64) x.log_softmax(dim);
    /// `glu(x, dim)`; PyTorch's default is -1.
    glu(x, dim: i64) x.glu(dim);
    /// `dropout(x, p, training=True)`, drawn from the generator as PyTorch's CPU draws.
    dropout(x, p: f64, generator: &mut Generator) x.dropout(p, generator);
    /// `dropout2d(x, p, training=True)`: whole channels.
    feature_dropout(x, p: f64, generator: &mut Generator) x.feature_dropout(p, generator);
    /// `max_pool1d`, `2d`, `3d`, by the number of dimensions.
    max_pool(x, how: &Windows) x.max_pool(D.saturating_sub(2), how);
    /// `avg_pool1d`, `2d`, `3d`, by the number of dimensions.
    avg_pool(x, how: &Windows) x.avg_pool(D.saturating_sub(2), how);
    /// `adaptive_avg_pool1d`, `2d`, `3d`, by the number of sizes.
    adaptive_avg_pool(x, sizes: &[usize]) x.adaptive_avg_pool(sizes);
    /// `interpolate(x, size or scale_factor, mode, align_corners)`.
    interpolate(x, to: &[Resized], mode: Interpolation, align_corners: bool) x.interpolate(to, mode, align_corners);
    /// `pixel_shuffle(x, factor)`.
    pixel_shuffle(x, factor: usize) x.pixel_shuffle(factor);
}

/// `torch.add(x, other)`: in the type that both have together, which within [`autocast`](crate::functional::autocast) may be two.
///
/// # Errors
/// When the shapes do not go together.
pub fn add<const D: usize>(input: Tensor<D>, other: Tensor<D>) -> Result<Tensor<D>> {
    array(input).add(&array(other))?.into_float()
}

/// `normalize(x, p, dim, eps)`: over the norm along a dimension; PyTorch's defaults are 2, 1 and 1e-12.
///
/// # Errors
/// When there is no such dimension.
pub fn normalize<const D: usize>(input: Tensor<D>, p: f64, dim: i64, eps: f64) -> Result<Tensor<D>> {
    let x = array(input);
    let norm = x.vector_norm(p, &[dim], true)?.clamp(Some(eps.into()), None)?;
    x.div(&norm)?.into_float()
}

/// `linear(x, weight, bias)`: the weight is `[out, in]`.
///
/// # Errors
/// When the shapes do not go together.
pub fn linear<const D: usize>(input: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Result<Tensor<D>> {
    array(input).linear(&array(weight), bias.map(array).as_ref())?.into_float()
}

/// `embedding(index, weight)`: rows of the weight, `[...]` to `[..., width]`; `R` is one more than `D`.
///
/// # Errors
/// When an index has no row.
pub fn embedding<const D: usize, const R: usize>(index: Tensor<D, Int>, weight: Tensor<2>) -> Result<Tensor<R>> {
    array(weight).embedding(&Array::from_int(index), None)?.into_float()
}

/// `layer_norm(x, normalized_shape, weight, bias, eps)`, over the last `K` dimensions; PyTorch's default is 1e-5.
///
/// # Errors
/// When the shapes do not go together.
pub fn layer_norm<const D: usize, const K: usize>(
    input: Tensor<D>,
    weight: Option<Tensor<K>>,
    bias: Option<Tensor<K>>,
    eps: f64,
) -> Result<Tensor<D>> {
    array(input).layer_norm(K, weight.map(array).as_ref(), bias.map(array).as_ref(), eps)?.into_float()
}

/// What may be looked at in [`scaled_dot_product_attention`].
#[derive(Clone, Debug)]
pub enum Mask<const D: usize> {
    /// True where a key may be looked at.
    May(Tensor<D, Bool>),
    /// What is added to the scores.
    Added(Tensor<D>),
}

impl<const D: usize> Mask<D> {
    pub(super) fn into_array(self) -> Array {
        match self {
            Mask::May(mask) => Array::from_bool(mask),
            Mask::Added(mask) => array(mask),
        }
    }
}

/// `scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal)` of `[batch, heads, length, width]`. What is
/// dropped of the weights of attention, a [`Dropout`] says: in training.
///
/// # Errors
/// When the shapes do not go together.
pub fn scaled_dot_product_attention<const D: usize>(
    query: Tensor<D>,
    key: Tensor<D>,
    value: Tensor<D>,
    mask: Option<Mask<D>>,
    dropout: Option<&Dropout>,
    causal: bool,
) -> Result<Tensor<D>> {
    let mask = mask.map(Mask::into_array);
    let keeps_all = dropout.is_none_or(|dropout| dropout.keeps_all(&query.device()));
    let how = Attention { mask: mask.as_ref(), causal, keeps_all, ..Attention::default() };
    let drop = |weights: Array| dropout.map_or(Ok(weights.clone()), |dropout| dropout.forward_array(&weights));
    array(query).attention(&array(key), &array(value), &how, drop)?.into_float()
}

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident($x:ident, $target:ident $(, $arg:ident: $type:ty)*) $compute:expr;)+) => { $(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the shapes do not go together, or the result has not `R` dimensions.
        pub fn $name<const D: usize, const R: usize>(
            input: Tensor<D>,
            target: Tensor<D>
            $(, $arg: $type)*
        ) -> Result<Tensor<R>> {
            let ($x, $target) = (array(input), array(target));
            $compute?.into_float()
        }
    )+ };
}

losses! {
    /// `mse_loss(input, target, reduction)`.
    mse_loss(x, target, reduction: Reduction) x.mse_loss(&target, reduction);
    /// `l1_loss(input, target, reduction)`.
    l1_loss(x, target, reduction: Reduction) x.l1_loss(&target, reduction);
    /// `smooth_l1_loss(input, target, reduction, beta)`.
    smooth_l1_loss(x, target, reduction: Reduction, beta: f64) x.smooth_l1_loss(&target, reduction, beta);
    /// `huber_loss(input, target, reduction, delta)`.
    huber_loss(x, target, reduction: Reduction, delta: f64) x.huber_loss(&target, reduction, delta);
    /// `binary_cross_entropy(input, target, reduction)`.
    binary_cross_entropy(x, target, reduction: Reduction) x.bce_loss(&target, None, reduction);
    /// `binary_cross_entropy_with_logits(input, target, reduction)`.
    binary_cross_entropy_with_logits(x, target, reduction: Reduction) x.bce_with_logits(&target, None, None, reduction);
    /// `kl_div(input, target, reduction, log_target)`.
    kl_div(x, target, reduction: Reduction, log_target: bool) x.kl_div(&target, reduction, log_target);
}

/// `cross_entropy(input, target)` of `[classes]` or `[batch, classes, ...]` and classes, their mean: `[1]`.
///
/// # Errors
/// When the shapes do not go together.
pub fn cross_entropy<const D: usize, const T: usize>(input: Tensor<D>, target: Tensor<T, Int>) -> Result<Tensor<1>> {
    array(input).cross_entropy(&Array::from_int(target), &Classes::default())?.into_float()
}

/// `nll_loss(input, target)` of logarithms of probabilities and classes, their mean: `[1]`.
///
/// # Errors
/// When the shapes do not go together.
pub fn nll_loss<const D: usize, const T: usize>(input: Tensor<D>, target: Tensor<T, Int>) -> Result<Tensor<1>> {
    array(input).nll_loss(&Array::from_int(target), &Classes::default())?.into_float()
}
