//! Burn's own optimizers and these: records go both ways.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bytes, Device, Tensor};
use burn_optim::momentum::MomentumConfig;
use burn_optim::{
    AdaGradConfig, AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, OptimizerRecord, RmsPropConfig, SgdConfig,
};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::{Tensor as TorchTensor, Value};
use rekindle_testing::seeded;
use rekindle_train::optim::{
    AdagradOptions, AdamOptions, AdamWOptions, Hyperparameters, NAdamOptions, Optimizer, RMSpropOptions, SgdOptions,
};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

fn net(device: &Device) -> Net {
    seeded(Net { first: LinearConfig::new(4, 3).init(device), second: LinearConfig::new(3, 2).init(device) }, 1)
}

fn loss(net: &Net, device: &Device) -> Tensor<1> {
    let x = Tensor::<2>::from_floats([[0.5, -1.0, 2.0, 0.25], [1.5, 0.3, -0.7, 1.0]], device);
    net.second.forward(net.first.forward(x).tanh()).powf_scalar(2.0).mean()
}

/// All parameters in a row.
fn parameters(net: &Net) -> Vec<f32> {
    net.state_dict().unwrap().iter().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect()
}

fn apart(a: &Net, b: &Net) -> f32 {
    let (a, b) = (parameters(a), parameters(b));
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn adamw() -> AdamWOptions {
    AdamWOptions::default().lr(0.01).weight_decay(0.1).eps(1e-8)
}

/// A step by Burn's optimizer.
fn burn_step(burns: &mut ModuleOptimizer, lr: f64, net: Net) -> Net {
    let device = Device::flex().autodiff();
    let gradients = GradientsParams::from_grads(loss(&net, &device).backward(), &net);
    burns.step(lr, net, gradients)
}

fn step(optimizer: &mut Optimizer, net: Net) -> Net {
    let gradients = loss(&net, &Device::flex().autodiff()).backward();
    optimizer.step(net, gradients).unwrap()
}

/// The tensors and scalars of a record, by name.
fn names(record: Bytes) -> Vec<String> {
    let reader = burn_pack::Reader::from_bytes(record).unwrap();
    let mut names: Vec<String> = reader.tensor_names().iter().map(ToString::to_string).collect();
    names.extend(reader.scalars().keys().cloned());
    names.sort();
    names
}

/// Five steps here, five in both from this one's state, then one in both from Burn's. Burn rounds betas to `f32`, which is off
/// by 1e-5 of a step of 0.01. Gives this one's state at the end.
fn both_ways(hyperparameters: impl Into<Hyperparameters>, burns: ModuleOptimizer) -> Value {
    let hyperparameters = hyperparameters.into();
    let mut here = net(&Device::flex().autodiff());
    let mut optimizer = Optimizer::builder(hyperparameters.clone()).build(&here).unwrap();
    let lr = optimizer.lr().unwrap()[0];
    for _ in 0..5 {
        here = step(&mut optimizer, here);
    }
    let mut there = here.clone();
    let record = optimizer.to_burn_record(&here).unwrap();
    let mut burns = burns.load_record(OptimizerRecord::from_bytes(record).unwrap());
    for _ in 0..5 {
        here = step(&mut optimizer, here);
        there = burn_step(&mut burns, lr, there);
    }
    assert!(apart(&here, &there) < 1e-6, "{}: {}", optimizer.kind(), apart(&here, &there));

    let mut again = Optimizer::builder(hyperparameters).build(&there).unwrap();
    again.load_burn_record(&there, burns.to_record().into_bytes().unwrap()).unwrap();
    let mut ours = step(&mut again, there.clone());
    there = burn_step(&mut burns, lr, there);
    assert!(apart(&ours, &there) < 1e-6, "{}, back: {}", again.kind(), apart(&ours, &there));
    // The same entries under the same names.
    assert_eq!(names(again.to_burn_record(&ours).unwrap()), names(burns.to_record().into_bytes().unwrap()));
    ours = step(&mut again, ours);
    again.state_dict(&ours).unwrap()
}

/// What the state of the first parameter holds under a name.
fn first(state_dict: &Value, name: &str) -> TorchTensor {
    let state = state_dict.as_dict().unwrap().get("state").unwrap().as_dict().unwrap().get_key(&0_i64.into()).unwrap();
    state.as_dict().unwrap().get(name).unwrap().as_tensor().unwrap().clone()
}

#[test]
fn burns_adamw_goes_on_from_this_ones_state_and_this_one_from_burns() {
    let config = || AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.1);
    let state = both_ways(adamw(), config().init());
    assert_eq!(first(&state, "exp_avg").shape(), [3, 4], "a Linear's moments have PyTorch's shape");
    assert_eq!(first(&state, "step").to_vec::<f32>().unwrap(), [12.0]);
    both_ways(adamw().amsgrad(true), config().with_amsgrad(true).init());
}

#[test]
fn burns_adam_goes_on_from_this_ones_state_and_this_one_from_burns() {
    both_ways(AdamOptions::default().lr(0.01), AdamConfig::new().with_epsilon(1e-8).init());
}

#[test]
fn burns_sgd_goes_on_from_this_ones_momentum_and_this_one_from_burns() {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let options = SgdOptions::default().lr(0.1).momentum(0.9);
    both_ways(options, SgdConfig::new().with_momentum(Some(momentum)).init());
}

#[test]
fn burns_adagrad_goes_on_from_this_ones_sum_and_this_one_from_burns() {
    let options = AdagradOptions::default().lr(0.05).lr_decay(0.1);
    both_ways(options, AdaGradConfig::new().with_epsilon(1e-10).with_lr_decay(0.1).init());
}

#[test]
fn burns_rmsprop_goes_on_from_this_ones_averages_and_this_one_from_burns() {
    for (momentum, centered) in [(0.0, false), (0.9, false), (0.0, true), (0.5, true)] {
        let options = RMSpropOptions::default().lr(0.01).momentum(momentum).centered(centered).eps(1e-6);
        let config = RmsPropConfig::new().with_momentum(as_f32(momentum)).with_centered(centered).with_epsilon(1e-6);
        let state = both_ways(options, config.init());
        assert_eq!(first(&state, "step").to_vec::<f32>().unwrap(), [2.0], "Burn has not counted");
    }
}

#[allow(clippy::cast_possible_truncation)]
fn as_f32(number: f64) -> f32 {
    number as f32
}

#[test]
fn a_record_that_does_not_fit_is_one_clear_error_and_changes_nothing() {
    let device = Device::flex().autodiff();
    let (one, other) = (net(&device), net(&device));
    let mut trained = Optimizer::adamw(&one, adamw()).unwrap();
    let gradients = loss(&one, &device).backward();
    let one = trained.step(one, gradients).unwrap();
    let record = trained.to_burn_record(&one).unwrap();

    let mut optimizer = Optimizer::adamw(&other, adamw()).unwrap();
    let error = optimizer.load_burn_record(&other, record).unwrap_err().to_string();
    assert!(error.contains("load the model's own record first"), "{error}");
    assert_eq!(optimizer.steps(), None);
    let error = optimizer.load_burn_record(&other, burn::tensor::Bytes::from_bytes_vec(vec![1, 2, 3])).unwrap_err();
    assert!(error.to_string().contains("no optimizer record"), "{error}");

    let nadam = Optimizer::nadam(&one, NAdamOptions::default()).unwrap();
    let error = nadam.to_burn_record(&one).unwrap_err().to_string();
    assert!(error.contains("NAdam") && error.contains("Burn has SGD"), "{error}");
}
