//! Networks of libraries, written by hand, against the libraries' own: keys, first weights, logits, gradients
//! (`tests/fixtures/sections/zoo.py`).

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use rekindle_burn::ModuleStateDict;
use rekindle_models::Result;
use rekindle_models::functional::Array;
use rekindle_models::init::Init;
use rekindle_models::zoo::{
    Gpt2, Gpt2Config, Llama, LlamaConfig, LstmLm, LstmLmConfig, ResNet, ResNetConfig, Vit, VitConfig, gpt2::Flavour,
    llama::RopeScaling,
};
use rekindle_recorder::Tensor as TorchTensor;
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::{self, floats, size, sizes};
use rekindle_testing::{gradients, mixed};
use serde_json::{Value as Json, json};

/// The whole exercise of `sections/zoo.py`. `drawn`: whether the first weights are the library's, too.
fn exercise<M: Module>(
    name: &str,
    drawn: bool,
    build: impl Fn(&mut Init<'_>) -> Result<M>,
    run: impl Fn(&M, Input) -> Result<Array>,
) {
    let truth = &fixtures::json("zoo/networks.json")[name];
    let device = Device::flex().autodiff();
    let mut network = build(&mut Init::seeded(&device, 5)).unwrap();
    let state = network.state_dict().unwrap();
    let keys: Vec<Json> = state.iter().map(|(key, tensor)| json!([key, tensor.shape()])).collect();
    assert_eq!(Json::from(keys), truth["keys"], "{name}");
    if drawn {
        let bytes: Vec<u8> = state.iter().flat_map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect();
        assert_eq!(fixtures::sha256(&bytes), truth["sha256"].as_str().unwrap(), "{name}: first weights");
    }

    let mut moved = state.clone();
    for (index, parameter) in network.named_parameters().unwrap().iter().enumerate() {
        let shape = &parameter.shape;
        let count: usize = shape.iter().product();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // as PyTorch's program has it
        let bound = if shape.len() > 1 { (1.0 / ((count / shape[0]) as f64).sqrt()) as f32 } else { 0.25 };
        let center = if shape.len() == 1 && parameter.name.ends_with("weight") { 1.0 } else { 0.0 };
        let units = rekindle_testing::filled(count, u32::try_from(index).unwrap());
        let elements: Vec<f32> = units.into_iter().map(|unit| center + bound * unit).collect();
        // A name that is tied stands for all.
        moved.insert(parameter.name.as_str(), TorchTensor::from_vec(shape, elements).unwrap());
        if parameter.name == "transformer.wte.weight"
            || (parameter.name == "model.embed_tokens.weight" && truth["tied"] == true)
        {
            moved.remove("lm_head.weight");
        } else if parameter.name == "encoder.weight" && state.contains("decoder.weight") {
            moved.remove("decoder.weight");
        }
    }
    network.load_state_dict(&moved).unwrap();

    let logits = run(&network.valid(), Input { truth, device: Device::flex(), dtype: DType::F32 }).unwrap();
    assert_eq!(logits.shape(), sizes(&truth["logits"][0]), "{name}");
    let distance = apart(&logits.floats().unwrap(), &floats(&truth["logits"][1]));
    assert!(distance < 1e-5, "{name}: logits {distance:.1e} apart");

    // In double precision: batch norm over few values is not steady in single.
    let mut network = network.map(&mut Double);
    // What is tied was mapped name by name: one tensor again.
    let state = network.state_dict().unwrap();
    network.load_state_dict(&state).unwrap();
    let logits = run(&network, Input { truth, device: device.clone(), dtype: DType::F64 }).unwrap();
    let weights = TensorData::new(rekindle_testing::filled(logits.numel(), 2000), logits.shape().to_vec());
    let weights = Array::from_data(weights.convert_dtype(DType::F64), logits.shape(), &device).unwrap();
    let loss = logits.mul(&weights).unwrap().sum(&[], false).unwrap();
    let found = gradients(&network, &loss.into_float::<1>().unwrap().backward());
    let norms = truth["norms"].as_object().unwrap();
    assert_eq!(found.len(), norms.len(), "{name}");
    for (key, gradient) in found {
        let norm = gradient.to_f64_vec().unwrap().iter().map(|x| x * x).sum::<f64>().sqrt();
        let exact = norms[&key].as_f64().unwrap();
        assert!((norm - exact).abs() <= 1e-6 * exact.max(1e-9), "{name}: gradient of {key}: {norm} instead of {exact}");
    }
}

/// What a network is given.
struct Input<'a> {
    truth: &'a Json,
    device: Device,
    dtype: DType,
}

impl Input<'_> {
    fn images(&self) -> Tensor<4> {
        let shape: [usize; 4] = sizes(&self.truth["input"]).try_into().unwrap();
        let data = TensorData::new(rekindle_testing::filled(shape.iter().product(), 1000), shape);
        Tensor::from_data(data.convert_dtype(self.dtype), (&self.device, self.dtype))
    }

    fn tokens(&self) -> Tensor<2, burn::tensor::Int> {
        let rule = &self.truth["input"];
        let (below, shape): (usize, [usize; 2]) = (size(&rule[1]), sizes(&rule[2]).try_into().unwrap());
        let tokens = mixed(1000, shape.iter().product());
        let tokens: Vec<i64> = tokens.into_iter().map(|x| i64::from(x % u32::try_from(below).unwrap())).collect();
        Tensor::from_data(TensorData::new(tokens, shape), &self.device.clone().inner())
    }
}

struct Double;

impl ModuleMapper for Double {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let trained = tensor.is_require_grad();
            tensor.cast(FloatDType::F64).detach().set_require_grad(trained)
        })
    }
}

#[test]
fn resnets_are_torchvisions() {
    for (name, depth) in [("resnet18", 18), ("resnet50", 50)] {
        let build = |init: &mut Init<'_>| ResNet::new(&ResNetConfig::new(depth, 5)?, init);
        exercise(name, true, build, |net, input| Ok(Array::from_float(net.forward(input.images())?)));
    }
}

#[test]
fn vision_transformers_are_torchvisions() {
    let small = VitConfig {
        image_size: 16,
        patch_size: 8,
        num_layers: 2,
        num_heads: 2,
        hidden_dim: 16,
        mlp_dim: 24,
        num_classes: 5,
        ..VitConfig::b_16()
    };
    let run = |net: &Vit, input: Input| Ok(Array::from_float(net.forward(input.images())?));
    exercise("vit", true, |init| Vit::new(&small, init), run);
}

#[test]
fn gpt2_is_hugging_faces() {
    let small = Gpt2Config {
        vocab_size: 31,
        n_positions: 12,
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        dropout: 0.0,
        ..Gpt2Config::small(Flavour::HuggingFace)
    };
    let run = |net: &Gpt2, input: Input| Ok(Array::from_float(net.forward(input.tokens())?));
    exercise("gpt2", false, |init| Gpt2::new(&small, init), run);
}

#[test]
fn llama_is_hugging_faces() {
    let plain = LlamaConfig {
        vocab_size: 31,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-5,
        rope_theta: 10000.0,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: true,
    };
    let run = |net: &Llama, input: Input| Ok(Array::from_float(net.forward(input.tokens())?));
    exercise("llama", false, |init| Llama::new(&plain, init), run);
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16.0,
    };
    let scaled = LlamaConfig { rope_theta: 500.0, rope_scaling: scaling, tie_word_embeddings: false, ..plain };
    exercise("llama_scaled", false, |init| Llama::new(&scaled, init), run);
}

#[test]
fn the_lstm_language_model_is_pytorchs_example() {
    let small = LstmLmConfig { ntoken: 31, ninp: 12, nhid: 12, nlayers: 2, dropout: 0.0, tie_weights: true };
    let run = |net: &LstmLm, input: Input| Ok(Array::from_float(net.forward(input.tokens(), None)?.0));
    exercise("lstm_lm", true, |init| LstmLm::new(&small, init), run);
}
