//! Optimizers that see more than an element at a time, over weights of 16 bits whose numbers of elements no vector register divides:
//! bit for bit as PyTorch (`tests/fixtures/optim_half`).
#![allow(clippy::float_cmp)] // they are exact

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor, TensorData, bf16, f16};
use rekindle_burn::ModuleStateDict as _;
use rekindle_testing::fixtures;
use rekindle_train::optim::{Hyperparameters, Optimizer, Select};

#[derive(Module, Debug)]
struct Weights {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
    third: Param<Tensor<1>>,
}

fn numbers(json: &serde_json::Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn tensor<const D: usize>(json: &serde_json::Value, shape: [usize; D], dtype: DType) -> Tensor<D> {
    let values = numbers(json);
    let data = match dtype {
        DType::F16 => TensorData::new(values.into_iter().map(f16::from_f64).collect::<Vec<_>>(), shape),
        _ => TensorData::new(values.into_iter().map(bf16::from_f64).collect::<Vec<_>>(), shape),
    };
    Tensor::from_data(data, (&Device::flex().autodiff(), dtype))
}

fn hyperparameters(optimizer: &str) -> Hyperparameters {
    let options: &[(&str, f64)] = match optimizer {
        "Adafactor" => &[("lr", 0.05), ("weight_decay", 0.01)],
        "Muon" => &[("lr", 0.02)],
        "timm.Lamb" => &[("lr", 0.01), ("weight_decay", 0.02)],
        _ => &[("lr", 0.05), ("momentum", 0.9), ("weight_decay", 0.01)],
    };
    let of = Hyperparameters::of(optimizer.parse().unwrap());
    options.iter().fold(of, |of, (name, value)| of.with(name, *value).unwrap())
}

#[test]
fn the_last_elements_of_weights_of_16_bits_are_rounded_as_in_pytorch() {
    let truth = fixtures::json("optim_half/half.json");
    let mut failed = Vec::new();
    for (name, dtype) in [("bfloat16", DType::BF16), ("float16", DType::F16)] {
        let truth = &truth[name];
        for (optimizer, end) in truth["end"].as_object().unwrap() {
            let start = &truth["start"];
            let of = |key: &str, shape: [usize; 2]| Param::from_tensor(tensor(&start[key], shape, dtype));
            let third = Param::from_tensor(tensor(&start["third"], [67], dtype));
            let mut model = Weights { first: of("first", [7, 11]), second: of("second", [5, 9]), third };
            let builder = Optimizer::builder(hyperparameters(optimizer));
            let matrices = Select::matching(move |parameter| parameter.shape.len() != 2);
            let builder = if optimizer == "Muon" { builder.exclude(matrices) } else { builder };
            let mut trained = builder.build(&model).unwrap();
            for step in truth["gradients"].as_array().unwrap() {
                let term = |key: &str, shape, param: &Param<Tensor<2>>| {
                    (param.val() * tensor::<2>(&step[key], shape, dtype)).sum()
                };
                let third = (model.third.val() * tensor::<1>(&step["third"], [67], dtype)).sum();
                let loss = term("first", [7, 11], &model.first) + term("second", [5, 9], &model.second) + third;
                model = trained.step(model, loss.backward()).unwrap();
            }
            let weights = model.state_dict().unwrap();
            for (key, expected) in end.as_object().unwrap() {
                let (ours, theirs) = (weights.get(key).unwrap().to_f64_vec().unwrap(), numbers(expected));
                let wrong: Vec<usize> = (0..ours.len()).filter(|&i| ours[i] != theirs[i]).collect();
                if !wrong.is_empty() {
                    let far = wrong.iter().map(|&i| (ours[i] - theirs[i]).abs()).fold(0.0, f64::max);
                    failed.push(format!("{name} {optimizer} {key}: {wrong:?} of {}, by {far:.1e}", ours.len()));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
