//! What scalers, clips and averages are tried on: one parameter of six elements, and a network that normalises.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use rekindle_models::init::Init;
use rekindle_models::nn::{BatchNormConfig, LinearConfig, ReLU, Sequential};
use rekindle_testing::seeded;
use rekindle_testing::tagged::value;
use rekindle_train::amp::GradScalerOptions;
use rekindle_train::optim::{Optimizer, SgdOptions};
use serde_json::Value as Json;

#[derive(Module, Debug)]
pub(crate) struct Six {
    pub(crate) p: Param<Tensor<1>>,
}

pub(crate) fn six(elements: Vec<f32>) -> Six {
    Six { p: Param::from_tensor(Tensor::from_floats(elements.as_slice(), &Device::flex().autodiff())) }
}

pub(crate) fn sgd(model: &Six) -> Optimizer {
    Optimizer::sgd(model, SgdOptions::default().lr(0.1)).unwrap()
}

/// A scaler's options as PyTorch's constructor was given them.
pub(crate) fn scaler_options(json: &Json) -> GradScalerOptions {
    let given = value(json);
    let given = given.as_dict().unwrap();
    let default = GradScalerOptions::default();
    let float = |name: &str, default| given.get(name).map_or(default, |value| value.as_f64().unwrap());
    default
        .init_scale(float("init_scale", default.init_scale))
        .growth_factor(float("growth_factor", default.growth_factor))
        .backoff_factor(float("backoff_factor", default.backoff_factor))
        .growth_interval(given.get("growth_interval").map_or(default.growth_interval, |value| value.as_i64().unwrap()))
        .enabled(float("enabled", 1.0) != 0.0)
}

/// The network of `averages.pt`.
pub(crate) fn averaged() -> Sequential {
    let device = Device::flex().autodiff();
    let init = &mut Init::lazy(&device);
    let network = Sequential::new(vec![
        LinearConfig::new(4, 6).init(init).unwrap().into(),
        BatchNormConfig::new(6).init(init).unwrap().into(),
        ReLU::new().into(),
        LinearConfig::new(6, 3).init(init).unwrap().into(),
    ]);
    seeded(network, 1)
}
