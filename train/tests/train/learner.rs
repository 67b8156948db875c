//! The optimizers as burn-optim knows them: the same bits, and records that go on.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use burn_optim::{GradientsParams, ModuleOptimizer, OptimizerRecord};
use rekindle_burn::ModuleStateDict as _;
use rekindle_testing::seeded;
use rekindle_train::learner::TorchOptimizer;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

fn loss(net: &Net, device: &Device) -> Tensor<1> {
    let x = Tensor::<2>::from_floats([[0.5, -1.0, 2.0, 0.25], [1.5, 0.3, -0.7, 1.0]], device);
    net.second.forward(net.first.forward(x).tanh()).powf_scalar(2.0).mean()
}

fn bits(net: &Net) -> Vec<u32> {
    let state_dict = net.state_dict().unwrap();
    state_dict.iter().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
}

#[test]
fn every_elementwise_optimizer_steps_to_the_same_bits_and_goes_on_from_its_record() {
    let device = Device::flex().autodiff();
    let mut compared = 0;
    for &kind in OptimizerKind::ALL {
        let hyperparameters = Hyperparameters::of(kind).with("lr", 0.01).unwrap();
        let Ok(torch) = TorchOptimizer::new(hyperparameters.clone()) else { continue };
        compared += 1;
        let net = Net { first: LinearConfig::new(4, 3).init(&device), second: LinearConfig::new(3, 2).init(&device) };
        let mut here = seeded(net, 1);
        let mut there = here.clone();
        let mut optimizer = Optimizer::builder(hyperparameters).build(&here).unwrap();
        let mut burns = ModuleOptimizer::from(torch.clone());
        for step in 0..6 {
            if step == 3 {
                let record = burns.to_record().into_bytes().unwrap();
                let record = OptimizerRecord::from_bytes(record).unwrap();
                burns = ModuleOptimizer::from(torch.clone()).load_record(record);
            }
            let gradients = loss(&here, &device).backward();
            here = optimizer.step(here, gradients).unwrap();
            let gradients = GradientsParams::from_grads(loss(&there, &device).backward(), &there);
            there = burns.step(0.01, there, gradients);
            assert_eq!(bits(&here), bits(&there), "{kind}, step {step}");
        }
    }
    assert_eq!(compared, 12);
}

#[test]
fn optimizers_that_see_more_than_one_tensor_are_refused_by_name() {
    let error = TorchOptimizer::new(Hyperparameters::of(OptimizerKind::Muon)).unwrap_err().to_string();
    assert!(error.contains("Muon") && error.contains("rekindle's Optimizer"), "{error}");
}
