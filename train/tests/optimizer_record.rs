//! Burn's own optimizers and these: records go both ways.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use burn_optim::momentum::MomentumConfig;
use burn_optim::{AdamWConfig, GradientsParams, OptimizerRecord, SgdConfig};
use rekindle_recorder::burn::ModuleStateDict as _;
use rekindle_train::optim::{AdamWOptions, NAdamOptions, Optimizer, SgdOptions};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

fn net(device: &Device) -> Net {
    Net { first: LinearConfig::new(4, 3).init(device), second: LinearConfig::new(3, 2).init(device) }
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
    AdamWOptions { lr: 0.01, weight_decay: 0.1, eps: 1e-8, ..Default::default() }
}

#[test]
fn burns_adamw_goes_on_from_this_ones_state_and_this_one_from_burns() {
    let device = Device::flex().autodiff();
    let mut here = net(&device);
    let mut optimizer = Optimizer::adamw(&here, adamw()).unwrap();
    for _ in 0..5 {
        let gradients = loss(&here, &device).backward();
        here = optimizer.step(here, gradients).unwrap();
    }
    let mut there = here.clone();
    let record = OptimizerRecord::from_bytes(optimizer.to_burn_record(&here).unwrap()).unwrap();
    assert_eq!(record.len(), 8, "two moments of four parameters");
    let config = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.1);
    let mut burns = config.init().load_record(record);
    for _ in 0..5 {
        let gradients = loss(&here, &device).backward();
        here = optimizer.step(here, gradients).unwrap();
        let gradients = GradientsParams::from_grads(loss(&there, &device).backward(), &there);
        there = burns.step(0.01, there, gradients);
    }
    // Burn rounds betas to f32, which is off by 1e-5 of a step of 0.01.
    assert!(apart(&here, &there) < 1e-6, "{}", apart(&here, &there));

    // And back: a new optimizer over the same model takes up Burn's record, and goes on as Burn does.
    let mut again = Optimizer::adamw(&there, adamw()).unwrap();
    again.load_burn_record(&there, burns.to_record().into_bytes().unwrap()).unwrap();
    assert_eq!(again.steps(), Some(10.0));
    let state = again.state_dict(&there).unwrap();
    let moment = state.as_dict().unwrap().get("state").unwrap().as_dict().unwrap().get_key(&0_i64.into()).unwrap();
    let moment = moment.as_dict().unwrap().get("exp_avg").unwrap();
    assert_eq!(moment.as_tensor().unwrap().shape(), [3, 4], "a Linear's moments have PyTorch's shape");
    let mut ours = there.clone();
    let gradients = loss(&ours, &device).backward();
    ours = again.step(ours, gradients).unwrap();
    let gradients = GradientsParams::from_grads(loss(&there, &device).backward(), &there);
    there = burns.step(0.01, there, gradients);
    assert!(apart(&ours, &there) < 1e-6, "{}", apart(&ours, &there));
    // The same entries under the same names.
    let names = |bytes| {
        let reader = burn_pack::Reader::from_bytes(bytes).unwrap();
        let mut names: Vec<String> = reader.tensor_names().iter().map(ToString::to_string).collect();
        names.extend(reader.scalars().keys().cloned());
        names.sort();
        names
    };
    assert_eq!(names(again.to_burn_record(&ours).unwrap()), names(burns.to_record().into_bytes().unwrap()));
}

#[test]
fn burns_sgd_goes_on_from_this_ones_momentum() {
    let device = Device::flex().autodiff();
    let mut here = net(&device);
    let mut optimizer = Optimizer::sgd(&here, SgdOptions { lr: 0.1, momentum: 0.9, ..Default::default() }).unwrap();
    for _ in 0..3 {
        let gradients = loss(&here, &device).backward();
        here = optimizer.step(here, gradients).unwrap();
    }
    let mut there = here.clone();
    let record = OptimizerRecord::from_bytes(optimizer.to_burn_record(&here).unwrap()).unwrap();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut burns = SgdConfig::new().with_momentum(Some(momentum)).init().load_record(record);
    for _ in 0..3 {
        let gradients = loss(&here, &device).backward();
        here = optimizer.step(here, gradients).unwrap();
        let gradients = GradientsParams::from_grads(loss(&there, &device).backward(), &there);
        there = burns.step(0.1, there, gradients);
    }
    assert!(apart(&here, &there) < 1e-6, "{}", apart(&here, &there));
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
