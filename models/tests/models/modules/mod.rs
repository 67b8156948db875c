//! The layers of `nn` against PyTorch's: keys, metadata, first weights, outputs, gradients, buffers, in training and in evaluation
//! (`tests/fixtures/sections/_modules.py` says what each case is). One table a family; each case must be in one.

mod edges;
mod harness;
mod layers;
mod sequences;
mod tables;
mod variants;

use rekindle_models::init::{Fan, Init, Nonlinearity};

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use rekindle_random::{Generator, randint};
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::{self, floats, sizes};
use serde_json::Value as Json;

use harness::Checked;

#[test]
fn every_layer_is_pytorchs() {
    let mut checked = Checked::new();
    tables::all(&mut checked);
    checked.finish();
}

/// A parameter that the function of this name has filled.
fn filled<const D: usize>(init: &mut Init<'_>, case: &Json) -> Tensor<D> {
    let shape: [usize; D] = sizes(&case["shape"]).try_into().unwrap();
    let mut param = Param::from_tensor(Tensor::<D>::zeros(shape, init.device()));
    let number = |key: &str, default: f64| case["arguments"][key].as_f64().unwrap_or(default);
    let (mode, relu) = match case["arguments"]["mode"].as_str() {
        Some("fan_out") => (Fan::Out, Nonlinearity::Relu),
        _ => (Fan::In, Nonlinearity::LeakyRelu(0.0)),
    };
    let name = case["name"].as_str().unwrap();
    match name {
        "uniform_" => init.uniform_(&mut param, number("a", 0.0), number("b", 1.0)),
        "normal_" => init.normal_(&mut param, number("mean", 0.0), number("std", 1.0)),
        "trunc_normal_" => {
            let (mean, std) = (number("mean", 0.0), number("std", 1.0));
            init.trunc_normal_(&mut param, mean, std, number("a", -2.0), number("b", 2.0))
        }
        "ones_" => init.ones_(&mut param),
        "zeros_" => init.zeros_(&mut param),
        "constant_" => init.constant_(&mut param, number("val", 0.0)),
        "eye_" => init.eye_(&mut param),
        "dirac_" => init.dirac_(&mut param, fixtures::size(&case["arguments"]["groups"])),
        "xavier_uniform_" => init.xavier_uniform_(&mut param, number("gain", 1.0)),
        "xavier_normal_" => init.xavier_normal_(&mut param, number("gain", 1.0)),
        "kaiming_uniform_" => init.kaiming_uniform_(&mut param, mode, relu),
        "kaiming_normal_" => init.kaiming_normal_(&mut param, mode, relu),
        "orthogonal_" => init.orthogonal_(&mut param, number("gain", 1.0)),
        "sparse_" => init.sparse_(&mut param, number("sparsity", 0.0), number("std", 0.01)),
        other => panic!("there is no {other}"),
    }
    .unwrap();
    param.val()
}

#[test]
fn every_function_of_torch_nn_init_draws_what_pytorch_draws() {
    let device = Device::flex();
    for case in fixtures::json("nn/functions.json").as_array().unwrap() {
        let mut generator = Generator::new(9u64);
        let init = &mut Init::from_generator(&device, &mut generator);
        let data = match sizes(&case["shape"]).len() {
            1 => filled::<1>(init, case).into_data(),
            2 => filled::<2>(init, case).into_data(),
            3 => filled::<3>(init, case).into_data(),
            _ => filled::<4>(init, case).into_data(),
        };
        if let Some(digest) = case["sha256"].as_str() {
            let first: Vec<f64> = data.iter::<f64>().take(3).collect();
            assert_eq!(first, floats(&case["first"]), "{case}");
            assert_eq!(fixtures::sha256(data.as_bytes()), digest, "{case}");
        } else {
            // LAPACK's sums are in another order.
            let distance = apart(&data.iter::<f64>().collect::<Vec<_>>(), &floats(&case["elements"]));
            assert!(distance < 1e-6, "{case}: {distance:.1e}");
        }
        assert_eq!(randint(&mut generator, 0, 1 << 31, 1).unwrap()[0], case["next"].as_i64().unwrap(), "{case}");
    }
}

#[test]
fn what_cannot_be_is_an_error_and_no_panic() {
    use rekindle_models::nn::*;
    let device = Device::flex();
    let init = &mut Init::seeded(&device, 0);
    let said = |error: rekindle_models::ModelError| error.to_string();
    assert!(said(Conv2dConfig::new(3, 4, 3).with_groups(2).init(init).unwrap_err()).contains("2 groups"));
    assert!(said(Conv2dConfig::new(3, 4, [3, 3, 3]).init(init).unwrap_err()).contains("2 numbers"));
    assert!(said(GroupNormConfig::new(3, 4).init(init).unwrap_err()).contains("3 groups"));
    assert!(said(MultiheadAttentionConfig::new(7, 2).init(init).unwrap_err()).contains("2 heads"));
    assert!(said(EmbeddingConfig::new(3, 2).with_padding_idx(Some(3)).init(init).unwrap_err()).contains("padding_idx"));
    let linear = LinearConfig::new(3, 2).init(init).unwrap();
    assert!(linear.forward(Tensor::<2>::ones([2, 4], &device)).is_err());
    let lstm = LSTMConfig::new(3, 2).init_lstm(init).unwrap();
    let x = Tensor::<3>::ones([4, 2, 3], &device);
    assert!(said(lstm.forward_lengths(x.clone(), &[4], None).unwrap_err()).contains("lengths"));
    let state = (Tensor::<3>::ones([1, 1, 2], &device), Tensor::<3>::ones([1, 1, 2], &device));
    assert!(said(lstm.forward(x, Some(state)).unwrap_err()).contains("state"));
    let two = MSELoss::new().with_reduction(functional::Reduction::None);
    let x = Tensor::<2>::ones([2, 4], &device);
    assert!(said(two.forward(x.clone(), x.clone()).unwrap_err()).contains("unreduced"));
    assert!(LayerNormConfig::new([3]).init(init).unwrap().forward(x).is_err());
}

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::zeros(shape, &Device::flex())
}

#[test]
fn what_pytorch_refuses_of_empty_tensors_and_dimensions_is_refused() {
    use rekindle_models::nn::*;
    let device = Device::flex();
    let init = &mut Init::seeded(&device, 0);
    let refused = |outcome: rekindle_models::Result<()>, word: &str| {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(word), "'{word}' is not in: {error}");
    };
    let transposed = ConvTranspose2dConfig::new(4, 2, 2).init(init).unwrap();
    refused(transposed.forward(zeros([2, 4, 0, 3])).map(drop), "only a batch may be empty");
    let group = GroupNormConfig::new(3, 3).init(init).unwrap();
    refused(group.forward(zeros([1, 3])).map(drop), "more than one value");
    refused(InstanceNorm2dConfig::new(4).init(init).unwrap().forward(zeros([4, 4])).map(drop), "4 dimensions, or 3");
    refused(LocalResponseNorm::new(2).forward(zeros([2, 4])).map(drop), "three dimensions");
    refused(ChannelShuffle::new(2).forward(zeros([2, 4])).map(drop), "three dimensions");
    let nearest = rekindle_models::functional::Interpolation::Nearest;
    refused(Upsample::by([2.0], nearest).forward(zeros([2, 4])).map(drop), "one to three dimensions");
    refused(AdaptiveAvgPool2d::new([None, Some(2), None]).forward(zeros([2, 4, 5, 5])).map(drop), "sizes");
    let places = Tensor::<3, burn::tensor::Int>::from_ints([[[0, 9]]], &device);
    refused(MaxUnpool1d::new(2).forward(zeros([1, 1, 2]), places, None).map(drop), "no place 9");
    let below = zeros([2, 3]) - 1.0;
    refused(GaussianNLLLoss::new().forward(zeros([2, 3]), zeros([2, 3]), below).map(drop), "below 0");
    let bags = EmbeddingBagConfig::new(3, 2).with_include_last_offset(true).init(init).unwrap();
    let none = || Tensor::<1, burn::tensor::Int>::zeros([0], &device);
    refused(bags.forward_offsets(none(), none(), None).map(drop), "at least one offset");
    refused(LazyConv2d::new(4, 3).for_input(&zeros([3, 4])).map(drop), "has not its dimensions");
}

#[test]
fn after_a_batch_of_none_each_parameter_has_a_gradient_of_zeros() {
    use burn::module::Module;
    use rekindle_models::nn::*;
    let device = Device::flex().autodiff();
    let init = &mut Init::seeded(&device, 0);
    let network = Sequential::new(vec![
        Conv2dConfig::new(3, 4, 3).init(init).unwrap().into(),
        BatchNormConfig::new(4).init(init).unwrap().into(),
        MaxPool2d::new(2).into(),
        Flatten::default().into(),
        LayerNormConfig::new([36]).init(init).unwrap().into(),
        LinearConfig::new(36, 5).init(init).unwrap().into(),
        GELU::new().into(),
    ]);
    let output: Tensor<2> = network.forward(Tensor::<4>::zeros([0, 3, 8, 8], &device)).unwrap();
    assert_eq!(output.dims(), [0, 5]);
    let loss = MSELoss::new().forward(output.clone(), output.zeros_like()).unwrap();
    assert!(loss.clone().into_scalar::<f32>().is_nan());
    let gradients = rekindle_testing::gradients(&network, &loss.backward());
    assert_eq!(gradients.len(), 8);
    assert!(gradients.iter().all(|(_, tensor)| tensor.to_f64_vec().unwrap().iter().all(|x| *x == 0.0)));
    assert_eq!(network.valid().forward::<4, 2>(Tensor::zeros([0, 3, 8, 8], &Device::flex())).unwrap().dims(), [0, 5]);
}

#[test]
fn how_many_inputs_a_lazy_layer_has_a_state_dict_says() {
    use rekindle_models::nn::*;
    let mut state = rekindle_recorder::StateDict::new();
    let mut insert = |name: &str, shape: &[usize]| {
        let zeros = vec![0.0_f32; shape.iter().product()];
        state.insert(name, rekindle_recorder::Tensor::from_vec(shape, zeros).unwrap());
    };
    insert("fc.weight", &[10, 4]);
    insert("conv.weight", &[6, 2, 3, 3]);
    insert("up.weight", &[8, 3, 2]);
    insert("norm.running_mean", &[7]);
    insert("weight", &[5, 9]);
    assert_eq!(LazyLinear::new(10).for_state_dict(&state, "fc").unwrap().in_features, 4);
    assert_eq!(LazyLinear::new(5).for_state_dict(&state, "").unwrap().in_features, 9);
    let grouped = LazyConv2d::new(6, 3).with(|conv| conv.with_groups(2));
    assert_eq!(grouped.for_state_dict(&state, "conv").unwrap().in_channels, 4);
    assert_eq!(LazyConvTranspose1d::new(3, 2).for_state_dict(&state, "up").unwrap().in_channels, 8);
    assert_eq!(LazyBatchNorm2d::new().for_state_dict(&state, "norm").unwrap().num_features, 7);
    let missing = LazyInstanceNorm2d::new().for_state_dict(&state, "other").unwrap_err().to_string();
    assert!(missing.contains("other.weight or other.running_mean"), "{missing}");
}

#[test]
fn lists_and_dicts_of_parameters_have_pytorchs_keys() {
    use burn::module::Module;
    use rekindle_burn::ModuleStateDict;
    use rekindle_models::nn::{ModuleDict, ModuleList};
    #[derive(Module, Debug)]
    struct Network {
        weights: ModuleList<Param<Tensor<2>>>,
        scales: ModuleDict<Param<Tensor<1>>>,
    }
    let device = Device::flex();
    let matrix = || Param::from_tensor(Tensor::<2>::zeros([2, 3], &device));
    let vector = || Param::from_tensor(Tensor::<1>::zeros([4], &device));
    let scales = [("left", vector()), ("right", vector())].into_iter().collect();
    let network = Network { weights: vec![matrix(), matrix()], scales };
    // nn.ParameterList, nn.ParameterDict
    let state = network.state_dict().unwrap();
    let keys: Vec<&str> = state.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["weights.0", "weights.1", "scales.left", "scales.right"]);
}

#[test]
fn rows_longer_than_max_norm_are_shortened_where_they_are_looked_up() {
    use burn::module::Module;
    use burn::tensor::{Int, TensorData};
    use rekindle_burn::ModuleStateDict;
    use rekindle_models::nn::EmbeddingConfig;
    let device = Device::flex().autodiff();
    let config = EmbeddingConfig::new(3, 2).with_max_norm(Some(1.0));
    let mut layer = config.init(&mut Init::seeded(&device, 0)).unwrap();
    let rows = TensorData::new(vec![3.0_f32, 4.0, 0.3, 0.4, 6.0, 8.0], [3, 2]);
    layer.weight = Param::from_data(rows, &device);
    let index = |rows: &[i64]| Tensor::<1, Int>::from_data(TensorData::new(rows.to_vec(), [rows.len()]), &device);
    let found = |tensor: Tensor<2>| tensor.into_data().iter::<f64>().collect::<Vec<_>>();
    let close = |found: &[f64], exact: &[f64]| found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-6);
    let output: Tensor<2> = layer.forward(index(&[0, 1])).unwrap();
    assert!(close(&found(output.clone()), &[0.6, 0.8, 0.3, 0.4]));
    // As in PyTorch, only what was looked up is shortened in the weight, whose gradient is that of its rows.
    assert!(close(
        &layer.state_dict().unwrap().get("weight").unwrap().to_f64_vec().unwrap(),
        &[0.6, 0.8, 0.3, 0.4, 6.0, 8.0]
    ));
    let gradient = layer.weight().grad(&output.sum().backward()).unwrap();
    assert_eq!(found(gradient), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    // A second pass before the step gives its rows shortened; the weight, which gradients belong to, stays what it is.
    let later: Tensor<2> = layer.forward(index(&[2])).unwrap();
    assert!(close(&found(later), &[0.6, 0.8]) && close(&found(layer.weight().val())[4..], &[6.0, 8.0]));
    assert!(layer.weight().is_require_grad());
    // After the step the next pass does it.
    let layer = layer.clone().map(&mut Nothing);
    let _: Tensor<2> = layer.forward(index(&[2])).unwrap();
    assert!(close(&found(layer.weight().val())[4..], &[0.6, 0.8]));
    assert!(layer.forward::<1, 2>(index(&[3])).is_err());
}

/// A step that changes nothing.
struct Nothing;

impl burn::module::ModuleMapper for Nothing {}
