//! Networks of libraries, written by hand, against the libraries' own: keys, first weights, logits, gradients
//! (`tests/fixtures/sections/zoo.py`).

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use rekindle_burn::ModuleStateDict;
use rekindle_models::functional::Array;
use rekindle_models::graph::Program;
use rekindle_models::init::Init;
use rekindle_models::zoo::{
    Activation, Bert, BertConfig, BertForMaskedLm, BertForSequenceClassification, Gpt2, Gpt2Config, Llama, LlamaConfig,
    LstmLm, LstmLmConfig, Mnist, ResNet, ResNetConfig, Vit, VitConfig,
    bert::Encoded,
    gpt2::{Flavour, Gpt2Cache},
    llama::{LongRope, RopeScaling, Yarn},
};
use rekindle_models::{Config, Network, Result};
use rekindle_recorder::{Checkpoint, StateDict, Tensor as TorchTensor};
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::{self, floats, size, sizes};
use rekindle_testing::{gradients, mixed};
use serde_json::{Value as Json, json};

/// The whole exercise of `sections/zoo.py`.
fn exercise<M: Module>(
    name: &str,
    build: impl Fn(&mut Init<'_>) -> Result<M>,
    run: impl Fn(&M, Input) -> Result<Array>,
) {
    let truth = &fixtures::json("zoo/networks.json")[name];
    let device = Device::flex().autodiff();
    let mut network = build(&mut Init::seeded(&device, 5)).unwrap();
    let state = network.state_dict().unwrap();
    let keys: Vec<Json> = state.iter().map(|(key, tensor)| json!([key, tensor.shape()])).collect();
    assert_eq!(Json::from(keys), truth["keys"], "{name}");
    let bytes: Vec<u8> = state.iter().flat_map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect();
    assert_eq!(fixtures::sha256(&bytes), truth["sha256"].as_str().unwrap(), "{name}: first weights");

    let mut moved = state.clone();
    for (index, parameter) in network.named_parameters().unwrap().iter().enumerate() {
        let shape = &parameter.shape;
        let count: usize = shape.iter().product();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // as PyTorch's program has it
        let bound = if shape.len() > 1 { (1.0 / ((count / shape[0]) as f64).sqrt()) as f32 } else { 0.25 };
        let center = if shape.len() == 1 && parameter.name.ends_with("weight") { 1.0 } else { 0.0 };
        let units = rekindle_testing::filled(count, u32::try_from(index).unwrap());
        let elements: Vec<f32> = units.into_iter().map(|unit| center + bound * unit).collect();
        moved.insert(parameter.name.as_str(), TorchTensor::from_vec(shape, elements).unwrap());
    }
    // A name that is tied stands for all.
    for other in state.tied().iter().flat_map(|names| &names[1..]) {
        moved.remove(other);
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

    fn tokens(&self) -> Tensor<2, Int> {
        let rule = &self.truth["input"];
        self.ints(1000, size(&rule[1]))
    }

    fn ints(&self, number: u32, below: usize) -> Tensor<2, Int> {
        let shape: [usize; 2] = sizes(&self.truth["input"][2]).try_into().unwrap();
        let tokens = mixed(number, shape.iter().product());
        let tokens: Vec<i64> = tokens.into_iter().map(|x| i64::from(x % u32::try_from(below).unwrap())).collect();
        Tensor::from_data(TensorData::new(tokens, shape), &self.device.clone().inner())
    }

    /// Tokens, a mask that hides the end of the second row, and types.
    fn pairs(&self) -> Encoded {
        let mut mask = vec![1_i64; 14];
        mask[12..].fill(0);
        let mask = Tensor::from_data(TensorData::new(mask, [2, 7]), &self.device.clone().inner());
        Encoded::new(self.tokens()).with_attention_mask(mask).with_token_type_ids(self.ints(1001, 2))
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
fn the_network_of_mnist_is_pytorchs_example() {
    let run = |net: &Mnist, input: Input| Ok(Array::from_float(net.forward(input.images())?));
    exercise("mnist", |init| Mnist::new([0.0, 0.0], init), run);
}

#[test]
fn resnets_are_torchvisions() {
    for (name, depth) in [("resnet18", 18), ("resnet50", 50)] {
        let build = |init: &mut Init<'_>| ResNet::new(&ResNetConfig::new(depth, 5)?, init);
        exercise(name, build, |net, input| Ok(Array::from_float(net.forward(input.images())?)));
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
    exercise("vit", |init| Vit::new(&small, init), run);
}

fn small_gpt2(flavour: Flavour) -> Gpt2Config {
    let small =
        Gpt2Config { vocab_size: 31, n_positions: 12, n_embd: 16, n_layer: 2, n_head: 2, ..Gpt2Config::small(flavour) };
    small.with_dropout(0.0)
}

#[test]
fn gpt2_is_hugging_faces_and_nanogpts() {
    let run = |net: &Gpt2, input: Input| Ok(Array::from_float(net.forward(input.tokens())?));
    let hugging = small_gpt2(Flavour::HuggingFace);
    exercise("gpt2", |init| Gpt2::new(&hugging, init), run);
    let other = Gpt2Config { tie_word_embeddings: false, n_inner: Some(20), activation: Activation::Relu, ..hugging };
    exercise("gpt2_untied", |init| Gpt2::new(&other, init), run);
    let nano = small_gpt2(Flavour::NanoGpt);
    exercise("nanogpt", |init| Gpt2::new(&nano, init), run);
    exercise("nanogpt_no_bias", |init| Gpt2::new(&Gpt2Config { bias: false, ..nano }, init), run);
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
        tie_word_embeddings: true,
        ..LlamaConfig::default()
    };
    let run = |net: &Llama, input: Input| Ok(Array::from_float(net.forward(input.tokens())?));
    exercise("llama", |init| Llama::new(&plain, init), run);
    let scaled = |scaling: RopeScaling| LlamaConfig {
        rope_theta: 500.0,
        rope_scaling: scaling,
        tie_word_embeddings: false,
        ..plain.clone()
    };
    let llama3 = scaled(RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: Some(16.0),
    });
    exercise("llama_scaled", |init| Llama::new(&llama3, init), run);
    // Sequences of 7 tokens are longer than these.
    let original_max_position_embeddings = Some(4.0);
    let yarn = scaled(RopeScaling::Yarn(Yarn {
        factor: Some(8.0),
        original_max_position_embeddings,
        mscale: Some(1.0),
        mscale_all_dim: Some(0.5),
        ..Yarn::default()
    }));
    exercise("llama_yarn", |init| Llama::new(&yarn, init), run);
    let longrope = scaled(RopeScaling::LongRope(LongRope {
        short_factor: vec![1.0, 1.5],
        long_factor: vec![2.0, 4.0],
        factor: Some(4.0),
        original_max_position_embeddings,
        ..LongRope::default()
    }));
    exercise("llama_longrope", |init| Llama::new(&longrope, init), run);
    let dynamic = LlamaConfig { max_position_embeddings: 4, ..scaled(RopeScaling::Dynamic { factor: 2.0 }) };
    exercise("llama_dynamic", |init| Llama::new(&dynamic, init), run);
    let wider = LlamaConfig {
        rope_scaling: RopeScaling::Linear(2.0),
        head_dim: Some(6),
        num_key_value_heads: 4,
        attention_bias: true,
        mlp_bias: true,
        pad_token_id: Some(3),
        tie_word_embeddings: false,
        ..plain
    };
    exercise("llama_wider", |init| Llama::new(&wider, init), run);
}

#[test]
fn bert_is_hugging_faces() {
    let small = BertConfig {
        vocab_size: 31,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 12,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        num_labels: 3,
        ..BertConfig::default()
    };
    let run = |net: &Bert, input: Input| {
        let given = input.pairs();
        let (vectors, pooled) = (Array::from_float(net.forward(&given)?), Array::from_float(net.pooled(&given)?));
        Array::cat(&[vectors.flatten(1, -1)?, pooled], 1)
    };
    exercise("bert", |init| Bert::new(&small, true, init), run);
    let run = |net: &BertForMaskedLm, input: Input| Ok(Array::from_float(net.forward(&input.pairs())?));
    exercise("bert_for_masked_lm", |init| BertForMaskedLm::new(&small, init), run);
    let run = |net: &BertForSequenceClassification, input: Input| Ok(Array::from_float(net.forward(&input.pairs())?));
    exercise("bert_for_sequence_classification", |init| BertForSequenceClassification::new(&small, init), run);
}

#[test]
fn the_lstm_language_model_is_pytorchs_example() {
    let small = LstmLmConfig {
        ntoken: 31,
        ninp: 12,
        nhid: 12,
        nlayers: 2,
        dropout: 0.0,
        tie_weights: true,
        batch_first: false,
    };
    let run = |net: &LstmLm, input: Input| Ok(Array::from_float(net.forward(input.tokens(), None)?.0));
    exercise("lstm_lm", |init| LstmLm::new(&small, init), run);
}

/// A network by its name takes the weights of its own exported program, and gives its numbers.
#[test]
fn networks_by_name_are_their_own_exported_programs() {
    let device = Device::flex();
    for (name, told, first) in [
        ("gpt2", "gpt2(n_head=2)", "in.0"),
        (
            "llama",
            "llama(num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-6, rope_theta=1e4, rope_type=default)",
            "in.0",
        ),
        ("bert", "bert_for_masked_lm(num_attention_heads=2)", "in.0"),
    ] {
        let program = Program::open(fixtures::path(&format!("programs/{name}/eval.pt2")), &device).unwrap();
        let weights = program.state_dict().unwrap();
        let (call, told) = Config::call(told).unwrap();
        let config = Network::settled(&call, &told, None, Some(&weights), false).unwrap();
        let mut network = Network::build(&call, &config, &device).unwrap();
        network.load_state_dict(&weights).unwrap();
        let given = Checkpoint::open(fixtures::path(&format!("programs/{name}/eval.safetensors"))).unwrap();
        let array = |key: &str| {
            let tensor = StateDict::from_value(given.root()).unwrap().get(key).cloned()?;
            let data = rekindle_burn::tensor_to_data(&tensor).unwrap();
            Some(Array::from_data(data, tensor.shape(), &device).unwrap())
        };
        let inputs: Vec<Array> = (0..3).filter_map(|at| array(&format!("in.{at}"))).collect();
        assert!(array(first).is_some(), "{name}");
        let exact = program.forward_named(&inputs).unwrap();
        let exact = exact.into_iter().find(|(name, _)| name == "logits").unwrap().1;
        // The last input of the program is its labels.
        let found = network.forward_named(&inputs[..inputs.len() - 1]).unwrap().remove(0).1;
        let distance = apart(&found.floats().unwrap(), &exact.floats().unwrap());
        println!("{name}: {distance:.1e} apart");
        assert!(distance < 1e-6, "{name}: {distance:.1e} apart");
    }
}

#[test]
fn gpt2_says_the_same_of_a_text_in_parts_as_of_the_whole() {
    let device = Device::flex();
    for flavour in [Flavour::HuggingFace, Flavour::NanoGpt] {
        let config = Gpt2Config {
            vocab_size: 11,
            n_positions: 12,
            n_embd: 24,
            n_layer: 3,
            n_head: 2,
            scale_attn_by_inverse_layer_idx: flavour == Flavour::HuggingFace,
            ..Gpt2Config::small(flavour)
        };
        let net = Gpt2::new(&config, &mut Init::seeded(&device, 7)).unwrap();
        let text = Tensor::<2, Int>::from_data([[3, 1, 4, 1, 5, 9, 2, 6, 5], [8, 10, 7, 9, 3, 2, 3, 0, 4]], &device);
        let whole = net.forward(text.clone()).unwrap();
        for parts in [&[1; 9][..], &[5, 1, 1, 2], &[4, 5], &[9]] {
            let (mut cache, mut place) = (Gpt2Cache::default(), 0);
            for part in parts {
                let scores = net.forward_after(text.clone().narrow(1, place, *part), &mut cache).unwrap();
                let apart = (scores - whole.clone().narrow(1, place, *part)).abs().max().into_scalar::<f32>();
                assert!(apart < 1e-5, "{flavour:?} in parts {parts:?}, from {place}: {apart}");
                place += part;
            }
            assert_eq!(cache.seen(), 9);
            // Too long, and another batch: refused, and the cache is as it was.
            assert!(net.forward_after(text.clone().narrow(1, 0, 4), &mut cache).is_err());
            assert!(net.forward_after(text.clone().slice([0..1, 0..1]), &mut cache).is_err());
            assert_eq!(net.forward_after(text.clone().narrow(1, 0, 3), &mut cache).unwrap().dims(), [2, 3, 11]);
        }
    }
}
