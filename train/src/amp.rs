//! `torch.amp.GradScaler`: the loss is scaled up before the backward pass, so that small gradients do not vanish in half
//! precision; gradients are scaled down again before the step, and a step with gradients that overflowed is skipped.
//!
//! # Computing in half precision
//!
//! PyTorch's `autocast` chooses each operation's type; `rekindle_models::functional::autocast` does so for the layers, networks and
//! programs of that crate. Burn has nothing like it, and a model of Burn's layers says itself what it computes in: parameters and
//! optimizer stay `float32`, and `forward` casts. What is cast has its gradient cast back.
//!
//! ```
//! # use burn::tensor::{Device, DType, Tensor};
//! fn forward(weight: &Tensor<2>, input: Tensor<2>) -> Tensor<2> {
//!     // F16, with a scaler; or BF16, which has float32's range and needs none.
//!     input.cast(DType::BF16).matmul(weight.clone().cast(DType::BF16)).cast(DType::F32)
//! }
//! # let device = Device::flex().autodiff();
//! # let weight = Tensor::<2>::ones([3, 2], &device).require_grad();
//! # let grads = forward(&weight, Tensor::ones([4, 3], &device)).sum().backward();
//! # assert_eq!(weight.grad(&grads).unwrap().dtype(), DType::F32);
//! ```
//!
//! Sums (losses, norms, statistics) belong in `float32`, as autocast has them.

use std::borrow::BorrowMut;
use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::tensor::{Gradients, Tensor};
use rekindle_recorder::{Dict, Result, Value};

use crate::attributes::{Attributes, invalid, wrong_type};
use crate::gradients::{Reduced, for_each};
use crate::optim::Optimizer;
use crate::parameters::in_host_memory;

rekindle_recorder::settings! {
    /// How a [`GradScaler`] is made: PyTorch's arguments.
    ///
    /// ```
    /// use rekindle_train::amp::{GradScaler, GradScalerOptions};
    ///
    /// let scaler = GradScaler::new(GradScalerOptions::default().init_scale(1024.0).growth_interval(100))?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct GradScalerOptions {
        /// The first scale. Default 65536.
        init_scale: f64 = 65536.0,
        /// What the scale grows by, above 1. Default 2.
        growth_factor: f64 = 2.0,
        /// What it is multiplied by after a step that was skipped, below 1. Default 0.5.
        backoff_factor: f64 = 0.5,
        /// After how many steps in a row that were not skipped it grows. Default 2000.
        growth_interval: i64 = 2000,
        /// Whether it does anything. Default true.
        enabled: bool = true,
    }
}

/// `torch.amp.GradScaler`.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use rekindle_train::amp::GradScaler;
/// use rekindle_train::optim::{Optimizer, SgdOptions};
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(3, 2).init(&device);
/// let mut optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
/// let mut scaler = GradScaler::default();
///
/// for _ in 0..3 {
///     let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
///     let mut grads = scaler.scale(loss).backward();
///     scaler.unscale_(&optimizer, &model, &mut grads)?; // to clip them, say; `step` does it otherwise
///     (model, _) = scaler.step(&mut optimizer, model, grads)?;
///     scaler.update()?;
/// }
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GradScaler {
    enabled: bool,
    /// PyTorch holds it as `float32`, from the first [`scale`](Self::scale) on.
    scale: f64,
    began: bool,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: i64,
    growth_tracker: i64,
    /// Of each optimizer since the last update, told apart by their first parameters.
    optimizers: HashMap<Option<ParamId>, Checked>,
}

/// What is known of an optimizer's gradients.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// Whether one of them is infinite or NaN.
    found_inf: bool,
    /// Whether its step was made, or skipped.
    stepped: bool,
}

impl Default for GradScaler {
    /// With PyTorch's defaults.
    fn default() -> Self {
        GradScaler::of(GradScalerOptions::default())
    }
}

impl GradScaler {
    /// `torch.amp.GradScaler(...)`.
    ///
    /// # Errors
    /// When it is enabled, and a factor is out of range.
    pub fn new(options: GradScalerOptions) -> Result<Self> {
        let GradScalerOptions { growth_factor, backoff_factor, enabled, .. } = options;
        if enabled && growth_factor <= 1.0 {
            return Err(invalid(format!("a scaler's growth_factor must be above 1, and is {growth_factor}")));
        }
        if enabled && backoff_factor >= 1.0 {
            return Err(invalid(format!("a scaler's backoff_factor must be below 1, and is {backoff_factor}")));
        }
        Ok(GradScaler::of(options))
    }

    fn of(options: GradScalerOptions) -> Self {
        let GradScalerOptions { init_scale: scale, growth_factor, backoff_factor, growth_interval, enabled } = options;
        let (began, growth_tracker, optimizers) = (false, 0, HashMap::new());
        GradScaler { enabled, scale, began, growth_factor, backoff_factor, growth_interval, growth_tracker, optimizers }
    }

    /// The scaler that wrote a state dict; a disabled one writes `{}`.
    ///
    /// # Errors
    /// When it is no state dict of a scaler.
    pub fn from_state_dict(state_dict: &Value) -> Result<Self> {
        let empty = state_dict.as_dict().is_some_and(Dict::is_empty);
        let mut scaler = GradScaler { enabled: !empty, ..GradScaler::default() };
        scaler.load_state_dict(state_dict)?;
        Ok(scaler)
    }

    /// `scaler.load_state_dict(state_dict)`; does nothing on a disabled scaler.
    ///
    /// # Errors
    /// When it is no state dict of a scaler, or that of a disabled one. Then nothing has changed.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        let dict = state_dict.as_dict().ok_or_else(|| wrong_type("the scaler's state dict", "a dict", state_dict))?;
        if dict.is_empty() {
            return Err(invalid(
                "the scaler's state dict is empty: it was saved by one that was disabled; go on with a new scaler, or disable \
                 this one",
            ));
        }
        let saved = Attributes::from_value("scaler.", state_dict)?;
        let scale = saved.float("scale")?;
        let loaded = GradScaler {
            scale: if self.began { f64::from(single(scale)) } else { scale },
            growth_factor: saved.float("growth_factor")?,
            backoff_factor: saved.float("backoff_factor")?,
            growth_interval: saved.int("growth_interval")?,
            growth_tracker: whole_of(&saved, "_growth_tracker")?,
            enabled: true,
            began: self.began,
            optimizers: std::mem::take(&mut self.optimizers),
        };
        *self = loaded;
        Ok(())
    }

    /// `scaler.state_dict()`, to be taken after [`update`](Self::update); empty when it is disabled.
    #[must_use]
    pub fn state_dict(&self) -> Value {
        if !self.enabled {
            return Dict::new().into();
        }
        Dict::from_iter([
            ("scale", Value::Float(self.scale)),
            ("growth_factor", self.growth_factor.into()),
            ("backoff_factor", self.backoff_factor.into()),
            ("growth_interval", self.growth_interval.into()),
            ("_growth_tracker", self.growth_tracker.into()),
        ])
        .into()
    }

    /// `scaler.is_enabled()`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// `scaler.get_scale()`: what losses are multiplied by; 1 when it is disabled.
    #[must_use]
    pub fn get_scale(&self) -> f64 {
        if self.enabled { self.scale } else { 1.0 }
    }

    /// `scaler.scale(loss)`: the loss times the scale.
    #[must_use]
    pub fn scale<const D: usize>(&mut self, loss: Tensor<D>) -> Tensor<D> {
        if !self.enabled {
            return loss;
        }
        if !self.began {
            self.began = true;
            self.scale = single(self.scale).into();
        }
        loss * self.scale
    }

    /// `scaler.unscale_(optimizer)`: divides the gradients of the optimizer's parameters by the scale, and takes note
    /// whether one of them is infinite or NaN. [`step`](Self::step) does it where it was not done before.
    ///
    /// # Errors
    /// When nothing was scaled yet, it was done already since the last update, or a gradient cannot be read.
    pub fn unscale_<M: Module>(&mut self, optimizer: &Optimizer, model: &M, grads: &mut Gradients) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.check_began("unscale_")?;
        let key = first_parameter(optimizer);
        match self.optimizers.get(&key) {
            None => {}
            Some(Checked { stepped: false, .. }) => {
                return Err(invalid("the optimizer's gradients were unscaled already since the last `update`"));
            }
            Some(_) => return Err(invalid("`unscale_` was called after `step`; it belongs before it")),
        }
        #[allow(clippy::cast_possible_truncation)]
        let inverse = f64::from((1.0 / self.scale) as f32);
        let mut found = Vec::new();
        for_each(model, optimizer.parameters(), grads, |_, grad| {
            found.push(not_finite(&grad, in_host_memory(&grad.device())));
            grad * inverse
        })?;
        if found.is_empty() {
            return Err(invalid("the optimizer's parameters have no gradients that could be unscaled"));
        }
        let mut found_inf = false;
        for not_finite in found {
            found_inf |= not_finite.read()? > 0.0;
        }
        self.optimizers.insert(key, Checked { found_inf, stepped: false });
        Ok(())
    }

    /// `scaler.step(optimizer)`: the optimizer's step, or none if a gradient is infinite or NaN. Gives the model, and whether
    /// the step was made.
    ///
    /// # Errors
    /// As [`unscale_`](Self::unscale_) and [`Optimizer::step`], and when it was called already since the last update.
    pub fn step<M: Module>(&mut self, optimizer: &mut Optimizer, model: M, grads: Gradients) -> Result<(M, bool)> {
        let (model, made) = self.try_step(optimizer, model, grads);
        made.map(|made| (model, made))
    }

    /// As [`step`](Self::step), but gives the model back from a step that failed, too.
    ///
    /// # Errors
    /// The second value, as [`step`](Self::step). The model has not changed then.
    pub fn try_step<M: Module>(
        &mut self,
        optimizer: &mut Optimizer,
        model: M,
        mut grads: impl BorrowMut<Gradients>,
    ) -> (M, Result<bool>) {
        match self.admits(optimizer, &model, grads.borrow_mut()) {
            Ok(true) => {
                let (model, done) = optimizer.try_step(model, grads);
                (model, done.map(|()| true))
            }
            other => (model, other),
        }
    }

    /// Forgets what it knows of gradients that were to be stepped on.
    pub(crate) fn forget(&mut self) {
        self.optimizers.clear();
    }

    /// Whether a gradient that was looked at since the last update is infinite or NaN.
    pub(crate) fn has_found_inf(&self) -> bool {
        self.optimizers.values().any(|checked| checked.found_inf)
    }

    /// Makes no step of those whose gradients were looked at since the last update: gradients of the same optimizer elsewhere are
    /// infinite or NaN.
    pub(crate) fn skip(&mut self) {
        self.optimizers.values_mut().for_each(|checked| checked.found_inf = true);
    }

    /// Whether a step is to be made with these gradients, which are unscaled then.
    ///
    /// # Errors
    /// As [`step`](Self::step), but for the optimizer's.
    fn admits<M: Module>(&mut self, optimizer: &Optimizer, model: &M, grads: &mut Gradients) -> Result<bool> {
        if !self.enabled {
            return Ok(true);
        }
        self.check_began("step")?;
        let key = first_parameter(optimizer);
        if !self.optimizers.contains_key(&key) {
            self.unscale_(optimizer, model, grads)?;
        }
        let found_inf = match self.optimizers.get_mut(&key) {
            Some(checked) if !checked.stepped => {
                checked.stepped = true;
                checked.found_inf
            }
            _ => return Err(invalid("`step` was called already since the last `update`")),
        };
        Ok(!found_inf)
    }

    /// `scaler.update()`: the scale shrinks if a step was skipped, and grows after `growth_interval` steps in a row that were
    /// not. Belongs at the end of an iteration.
    ///
    /// # Errors
    /// When no gradients were looked at since the last update.
    pub fn update(&mut self) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.check_began("update")?;
        if self.optimizers.is_empty() {
            return Err(invalid("no step was made with this scaler since the last `update`"));
        }
        if self.optimizers.values().any(|checked| checked.found_inf) {
            self.scale = single(self.scale * self.backoff_factor).into();
            self.growth_tracker = 0;
        } else if self.growth_tracker.saturating_add(1) == self.growth_interval {
            let grown = single(self.scale * self.growth_factor);
            if grown.is_finite() {
                self.scale = grown.into();
            }
            self.growth_tracker = 0;
        } else {
            self.growth_tracker = self.growth_tracker.saturating_add(1);
        }
        self.optimizers.clear();
        Ok(())
    }

    /// `scaler.update(new_scale)`: another scale, whatever happened.
    ///
    /// # Errors
    /// When nothing was scaled yet.
    pub fn update_to(&mut self, new_scale: f64) -> Result<()> {
        if !self.enabled {
            return Ok(());
        }
        self.check_began("update")?;
        self.scale = single(new_scale).into();
        self.optimizers.clear();
        Ok(())
    }

    fn check_began(&self, what: &str) -> Result<()> {
        if self.began {
            return Ok(());
        }
        Err(invalid(format!("`{what}` was called before anything was scaled; scale the loss before its backward pass")))
    }
}

/// A whole number, or a tensor of one: programs keep the scaler's own.
#[allow(clippy::cast_possible_truncation)] // a count
fn whole_of(saved: &Attributes, name: &str) -> Result<i64> {
    match saved.get(name) {
        Some(Value::Tensor(tensor)) if tensor.numel() == 1 && !tensor.dtype().is_floating_point() => {
            tensor.item().map(|count| count as i64)
        }
        _ => saved.int(name),
    }
}

fn first_parameter(optimizer: &Optimizer) -> Option<ParamId> {
    optimizer.parameters().flat_map(|parameter| &parameter.pieces).next().map(|piece| piece.id)
}

#[allow(clippy::cast_possible_truncation)]
fn single(number: f64) -> f32 {
    number as f32
}

/// More than 0 where an element of a gradient is infinite or NaN.
fn not_finite(grad: &Tensor<1>, here: bool) -> Reduced {
    if !here {
        return Reduced::There(grad.clone().is_finite().bool_not().float().sum());
    }
    let number = |finite: bool| f64::from(u8::from(!finite));
    Reduced::here(
        grad.clone(),
        |elements| number(elements.iter().all(|element| element.is_finite())),
        |elements| number(elements.iter().all(|element| element.is_finite())),
    )
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn an_element_that_is_not_finite_is_found_by_tensor_operations_too() {
        for (last, finite) in [(1.0, true), (f32::INFINITY, false), (f32::NEG_INFINITY, false), (f32::NAN, false)] {
            let tensor = Tensor::<1>::from_floats([0.0, -1.0, f32::MAX, last], &Device::flex());
            for here in [false, true] {
                assert_eq!(not_finite(&tensor, here).read().unwrap() == 0.0, finite, "{last}");
            }
        }
    }
}
