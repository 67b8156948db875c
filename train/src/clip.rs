//! `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`.

use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::tensor::{Gradients, Tensor};
use rekindle_burn::NamedParameter;
use rekindle_recorder::{DType, Result};

use crate::attributes::invalid;
use crate::gradients::{Reduced, for_each};
use crate::optim::rounded;
use crate::parameters::in_host_memory;

/// How gradients are clipped by their norm.
///
/// ```
/// use rekindle_train::clip::ClipGradNorm;
///
/// let clip = ClipGradNorm::new(1.0).norm_type(f64::INFINITY).error_if_nonfinite(true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClipGradNorm {
    /// The largest norm that they may have.
    pub max_norm: f64,
    /// Which norm: the p-norm of this p, any number or an infinity. Default 2.
    pub norm_type: f64,
    /// Whether a norm that is not finite is an error. Default false: gradients become 0 or NaN then.
    pub error_if_nonfinite: bool,
}

impl ClipGradNorm {
    /// To a 2-norm of at most `max_norm`.
    #[must_use]
    pub fn new(max_norm: f64) -> Self {
        ClipGradNorm { max_norm, norm_type: 2.0, error_if_nonfinite: false }
    }

    /// Sets which norm.
    #[must_use]
    pub fn norm_type(self, norm_type: f64) -> Self {
        ClipGradNorm { norm_type, ..self }
    }

    /// Sets whether a norm that is not finite is an error.
    #[must_use]
    pub fn error_if_nonfinite(self, error_if_nonfinite: bool) -> Self {
        ClipGradNorm { error_if_nonfinite, ..self }
    }
}

/// `torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)`: the gradients of the parameters,
/// taken together, are scaled down to `max_norm` if their norm is larger. Gives the norm that they had.
///
/// All parameters, those of an optimizer, or those of one of its groups:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use rekindle_train::clip::{ClipGradNorm, clip_grad_norm_};
/// use rekindle_train::optim::{Optimizer, SgdOptions};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 2).init(&device);
/// let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
/// let mut grads = model.forward(Tensor::<2>::ones([4, 3], &device)).sum().backward();
///
/// let norm = clip_grad_norm_(&model, optimizer.parameters(), &mut grads, ClipGradNorm::new(1.0))?;
/// assert!((norm - 8.0 * f64::sqrt(2.0)).abs() < 1e-6);
///
/// let group = optimizer.param_groups()[0].params();
/// let group = optimizer.parameters().skip(group.start).take(group.len());
/// let norm = clip_grad_norm_(&model, group, &mut grads, ClipGradNorm::new(1.0))?;
/// assert!((norm - 1.0).abs() < 1e-6);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
///
/// As in PyTorch it is the norm of the norms of each parameter's gradient, rounded to the parameters' type, and the factor
/// is `max_norm / (norm + 1e-6)`, at most 1. On the CPU each sum is made in double precision; PyTorch's own, in single
/// precision, depends on the number of threads and the processor in its last digits.
///
/// # Errors
/// When a gradient cannot be read from its device; when the norm is not finite, if that is to be an error. Then nothing has
/// changed.
pub fn clip_grad_norm_<'a, M: Module>(
    model: &M,
    parameters: impl IntoIterator<Item = &'a NamedParameter>,
    grads: &mut Gradients,
    options: ClipGradNorm,
) -> Result<f64> {
    let parameters: Vec<&NamedParameter> = parameters.into_iter().collect();
    let mut norms = Norms::new(options);
    norms.add(model, &parameters, grads)?;
    let (total, factor) = norms.total()?;
    for_each(model, parameters, grads, |_, grad| grad * factor)?;
    Ok(total)
}

/// The gradients of one model, of several that are clipped together.
pub(crate) struct Together<'a, M> {
    pub(crate) model: &'a M,
    pub(crate) parameters: Vec<&'a NamedParameter>,
    pub(crate) grads: &'a mut Gradients,
}

/// As [`clip_grad_norm_`], over the parameters of several models in a row.
pub(crate) fn clip_together<M: Module>(all: &mut [Together<'_, M>], options: ClipGradNorm) -> Result<f64> {
    let mut norms = Norms::new(options);
    for Together { model, parameters, grads } in all.iter_mut() {
        norms.add(*model, parameters, grads)?;
    }
    let (total, factor) = norms.total()?;
    for Together { model, parameters, grads } in all {
        for_each(*model, parameters.iter().copied(), grads, |_, grad| grad * factor)?;
    }
    Ok(total)
}

/// The norms of gradients, parameter by parameter.
struct Norms {
    options: ClipGradNorm,
    /// What each norm is the root of.
    sums: Vec<f64>,
    /// The parameters' type; of several the default one.
    dtype: Option<DType>,
}

impl Norms {
    fn new(options: ClipGradNorm) -> Self {
        Norms { options, sums: Vec::new(), dtype: None }
    }

    fn add<M: Module>(&mut self, model: &M, parameters: &[&NamedParameter], grads: &mut Gradients) -> Result<()> {
        let norm_type = self.options.norm_type;
        let mut sums: HashMap<ParamId, Reduced> = HashMap::new();
        for_each(model, parameters.iter().copied(), grads, |id, grad| {
            let here = in_host_memory(&grad.device());
            sums.insert(id, sum_of(grad.clone(), norm_type, here));
            grad
        })?;
        for parameter in parameters {
            let known = *self.dtype.get_or_insert(parameter.dtype);
            self.dtype = Some(if known == parameter.dtype { known } else { DType::Float32 });
            // A tensor of which Burn has several pieces has one norm.
            let mut whole = None;
            for sum in parameter.pieces.iter().filter_map(|piece| sums.remove(&piece.id)) {
                let sum = sum.read()?;
                whole = Some(whole.map_or(sum, |whole| combined(whole, sum, norm_type)));
            }
            self.sums.extend(whole);
        }
        Ok(())
    }

    /// The norm of all, and what gradients are multiplied by.
    fn total(self) -> Result<(f64, f64)> {
        let ClipGradNorm { max_norm, norm_type, error_if_nonfinite } = self.options;
        let dtype = self.dtype.unwrap_or(DType::Float32);
        let rounded = |number: f64| rounded(dtype, number);
        // A `float` that takes part is one of float32 beside types of 16 bits.
        let scalar = |number: f64| if dtype == DType::Float64 { number } else { self::rounded(DType::Float32, number) };
        let norms = self.sums.into_iter().map(|sum| rounded(root(sum, norm_type)));
        let total = norms.map(|norm| term(norm, norm_type)).reduce(|a, b| combined(a, b, norm_type));
        let total = total.map_or(0.0, |sum| rounded(root(sum, norm_type)));
        if error_if_nonfinite && !total.is_finite() {
            return Err(invalid(format!(
                "the norm of order {norm_type} of the gradients is {total}, so they cannot be clipped; look for what makes them \
                 so, or set `error_if_nonfinite` to false"
            )));
        }
        // `max_norm / tensor` is the tensor's reciprocal times `max_norm`.
        let factor = rounded(rounded(1.0 / rounded(total + scalar(1e-6))) * scalar(max_norm));
        // A NaN stays one.
        Ok((total, if factor > 1.0 { 1.0 } else { factor }))
    }
}

/// `torch.nn.utils.clip_grad_value_(parameters, clip_value)`: every element of the gradients is brought into the range from
/// `-clip_value` to `clip_value`. A NaN stays one.
///
/// # Errors
/// When `clip_value` is negative or NaN.
pub fn clip_grad_value_<'a, M: Module>(
    model: &M,
    parameters: impl IntoIterator<Item = &'a NamedParameter>,
    grads: &mut Gradients,
    clip_value: f64,
) -> Result<()> {
    if clip_value.is_nan() || clip_value < 0.0 {
        return Err(invalid(format!("gradients cannot be clipped to {clip_value}; give a value of at least 0")));
    }
    for_each(model, parameters, grads, |_, grad| grad.clamp(-clip_value, clip_value))
}

/// What a p-norm adds up of one element; for the infinities the element itself.
fn term(element: f64, p: f64) -> f64 {
    let element = element.abs();
    match p {
        0.0 => f64::from(u8::from(element != 0.0)),
        1.0 => element,
        2.0 => element * element,
        p if p.is_infinite() => element,
        p => element.powf(p),
    }
}

/// Two such sums together. A NaN on either side is the result.
fn combined(a: f64, b: f64, p: f64) -> f64 {
    let larger = |a: f64, b: f64| if a > b || a.is_nan() { a } else { b };
    match p {
        f64::INFINITY => larger(a, b),
        f64::NEG_INFINITY => -larger(-a, -b),
        _ => a + b,
    }
}

/// What a p-norm adds up of these elements, in double precision.
fn sum<T: Copy + Into<f64>>(elements: &[T], p: f64) -> f64 {
    if p != 2.0 {
        let terms = elements.iter().map(|&element| term(element.into(), p));
        return terms.reduce(|a, b| combined(a, b, p)).unwrap_or(0.0);
    }
    // By far the most common: eight sums side by side, which the processor makes at once.
    let (rows, rest) = elements.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for row in rows {
        for (sum, &element) in sums.iter_mut().zip(row) {
            let element: f64 = element.into();
            *sum += element * element;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&element| term(element.into(), p)).sum::<f64>()
}

/// The norm that has this sum.
fn root(sum: f64, p: f64) -> f64 {
    match p {
        0.0 | 1.0 => sum,
        2.0 => sum.sqrt(),
        p if p.is_infinite() => sum,
        p => sum.powf(1.0 / p),
    }
}

/// What a p-norm adds up of a gradient.
fn sum_of(grad: Tensor<1>, p: f64, here: bool) -> Reduced {
    if here {
        return Reduced::here(grad, |elements| sum(elements, p), |elements| sum(elements, p));
    }
    let elements = grad.abs();
    Reduced::There(match p {
        0.0 => elements.not_equal_elem(0.0).float().sum(),
        1.0 => elements.sum(),
        2.0 => elements.clone().mul(elements).sum(),
        f64::INFINITY => elements.max(),
        f64::NEG_INFINITY => elements.min(),
        p => elements.powf_scalar(p).sum(),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn norms_made_of_tensor_operations_are_those_made_of_elements() {
        let device = Device::flex();
        let elements = [0.5_f32, -2.0, 0.0, 0.25, -0.125, 3.0];
        for p in [2.0, 1.0, 0.0, 3.0, 0.5, f64::INFINITY, f64::NEG_INFINITY] {
            let [there, here] = [false, true].map(|here| {
                let tensor = Tensor::<1>::from_floats(elements, &device);
                root(sum_of(tensor, p, here).read().unwrap(), p)
            });
            assert!((there - here).abs() <= 1e-6 * here, "{p}: {there} {here}");
        }
    }
}
