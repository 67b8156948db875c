//! Networks by name that take tokens: what they are made of is told, is beside the checkpoint, or is asked for; and they train as in
//! PyTorch (`tests/fixtures/sections/zoo.py`).

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use rekindle::models::functional::Array;
use rekindle::models::init::Init;
use rekindle::models::zoo::bert::Encoded;
use rekindle::models::zoo::gpt2::Flavour;
use rekindle::models::zoo::llama::RopeScaling;
use rekindle::models::zoo::{
    BertConfig, BertForSequenceClassification, Gpt2, Gpt2Config, Llama, LlamaConfig, LstmLm, LstmLmConfig,
};
use rekindle::models::{Config, Network};
use rekindle::prelude::{Device, ModuleStateDict as _, cross_entropy};
use rekindle::train::optim::AdamWOptions;
use rekindle::{Checkpoint, Dict, Optimizer, Run, StateDict, Tensor as TorchTensor};
use rekindle_testing::fixtures::{self, floats, lines};
use rekindle_testing::{mixed, scratch};

use crate::{refusal, rekindle};

/// `mixed(number)` of `sections/models.py`, below a number.
fn numbers(number: usize, below: usize, count: usize) -> Vec<i64> {
    let below = u32::try_from(below).unwrap();
    mixed(u32::try_from(number).unwrap(), count).into_iter().map(|x| i64::from(x % below)).collect()
}

fn tokens(numbers: Vec<i64>, shape: [usize; 2]) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

/// Twenty steps beside PyTorch, from the same seed, with dropout.
fn trains_as_pytorchs<M: Module>(
    name: &str,
    build: impl Fn(&mut Init<'_>) -> rekindle::models::Result<M>,
    scores: impl Fn(&M, Tensor<2, Int>) -> rekindle::models::Result<Array>,
) {
    let truth = &fixtures::json("zoo/runs.json")[name];
    let device = Device::flex().autodiff();
    let network = build(&mut Init::seeded(&device, 5)).unwrap();
    let optimizer = Optimizer::adamw(&network, AdamWOptions::default().lr(1e-3).weight_decay(0.05)).unwrap();
    let mut run = Run::start(network, optimizer);
    for (k, exact) in floats(&truth["losses"]).into_iter().enumerate() {
        let x = numbers(1000 + k, 31, 32);
        let scores = scores(run.model(), tokens(x.clone(), [4, 8])).unwrap();
        let targets = if scores.rank() == 2 {
            numbers(2000 + k, 3, 4)
        } else {
            let last = numbers(2000 + k, 31, 4);
            x.chunks(8).zip(last).flat_map(|(row, last)| [&row[1..], &[last]].concat()).collect()
        };
        let (rows, classes) = (targets.len(), *scores.shape().last().unwrap());
        let scores = scores.reshaped(&[rows, classes]).unwrap().into_float::<2>().unwrap();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), &Device::flex());
        let loss = cross_entropy(scores, targets).unwrap();
        let found = loss.clone().into_scalar::<f64>();
        assert!((found - exact).abs() <= 1e-6 * exact, "{name}, step {k}: {found} instead of {exact}");
        run.step(loss).unwrap();
    }
}

#[test]
fn networks_of_tokens_train_twenty_steps_as_pytorchs_do() {
    let gpt2 = |flavour| {
        let sizes = Gpt2Config {
            vocab_size: 31,
            n_positions: 12,
            n_embd: 16,
            n_layer: 2,
            n_head: 2,
            ..Gpt2Config::small(flavour)
        };
        sizes.with_dropout(0.1)
    };
    let scores = |net: &Gpt2, x: Tensor<2, Int>| Ok(Array::from_float(net.forward(x)?));
    trains_as_pytorchs("gpt2", |init| Gpt2::new(&gpt2(Flavour::HuggingFace), init), scores);
    trains_as_pytorchs("nanogpt", |init| Gpt2::new(&gpt2(Flavour::NanoGpt), init), scores);
    let llama = LlamaConfig {
        vocab_size: 31,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        rms_norm_eps: 1e-5,
        rope_theta: 500.0,
        rope_scaling: RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: Some(16.0),
        },
        attention_dropout: 0.1,
        ..LlamaConfig::default()
    };
    let scores = |net: &Llama, x: Tensor<2, Int>| Ok(Array::from_float(net.forward(x)?));
    trains_as_pytorchs("llama", |init| Llama::new(&llama, init), scores);
    let lstm = LstmLmConfig {
        ntoken: 31,
        ninp: 12,
        nhid: 12,
        nlayers: 2,
        dropout: 0.1,
        tie_weights: true,
        batch_first: false,
    };
    let scores = |net: &LstmLm, x: Tensor<2, Int>| Ok(Array::from_float(net.forward(x, None)?.0));
    trains_as_pytorchs("lstm_lm", |init| LstmLm::new(&lstm, init), scores);
    let bert = BertConfig {
        vocab_size: 31,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 12,
        num_labels: 3,
        ..BertConfig::default()
    };
    let scores =
        |net: &BertForSequenceClassification, x: Tensor<2, Int>| Ok(Array::from_float(net.forward(&Encoded::new(x))?));
    let build = |init: &mut Init<'_>| BertForSequenceClassification::new(&bert, init);
    trains_as_pytorchs("bert_for_sequence_classification", build, scores);
}

const GPT2: &str =
    "gpt2(vocab_size=7, n_positions=6, n_embd=8, n_layer=2, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)";

/// A file in the folder of tensors of whole numbers.
fn write(folder: &Path, name: &str, tensors: &[(&str, &[usize], Vec<i64>)]) -> PathBuf {
    let tensor = |(key, shape, numbers): &(&str, &[usize], Vec<i64>)| {
        ((*key).to_owned(), TorchTensor::from_vec(shape, numbers.clone()).unwrap())
    };
    let state: StateDict = tensors.iter().map(tensor).collect();
    let path = folder.join(name);
    Checkpoint::from(state).save(&path).unwrap();
    path
}

fn text(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> std::process::Output {
    rekindle(arguments.iter().map(|argument| -> &std::ffi::OsStr { (**argument).as_ref() }))
}

#[test]
fn a_network_is_made_of_what_is_told_beside_its_weights_or_by_their_shapes_and_of_the_rest_it_asks() {
    let folder = scratch();
    let (name, config) = Config::call(GPT2).unwrap();
    let network = Network::build(&name, &config, &Device::flex()).unwrap();
    let weights = folder.path().join("model.pt");
    Checkpoint::from(network.state_dict().unwrap()).save(&weights).unwrap();
    let x = write(folder.path(), "x.pt", &[("input_ids", &[2, 5], numbers(1, 7, 10))]);
    let out = folder.path().join("y.pt");
    let predict =
        |model: &str| text(&[&"predict", &weights, &"--model", &model, &"--input", &x, &"--out", &out, &"--overwrite"]);
    let said = refusal(&predict("gpt2"));
    assert!(said.contains("its weights do not show n_head: say --model 'gpt2(n_head=12)'"), "{said}");
    assert!(predict("gpt2(n_head=2)").status.success());
    let scores = |path: &Path| {
        Checkpoint::open(path).unwrap().value("logits").unwrap().as_tensor().unwrap().to_f64_vec().unwrap()
    };
    let told = scores(&out);
    // transformers' config.json beside the file says it, too.
    let json = r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_head": 2, "n_inner": null, "use_cache": true}"#;
    std::fs::write(folder.path().join("config.json"), json).unwrap();
    let output = predict("gpt2");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(scores(&out), told);
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "mistral"}"#).unwrap();
    assert!(refusal(&predict("gpt2")).contains("model_type=mistral"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    // What the network cannot take.
    let mask = write(folder.path(), "x.pt", &[("attention_mask", &[2, 5], vec![1; 10])]);
    let output =
        text(&[&"predict", &weights, &"--model", &"gpt2(n_head=2)", &"--input", &mask, &"--out", &out, &"--overwrite"]);
    assert!(refusal(&output).contains("there is no input 'input_ids'"));
    let said = refusal(&predict("gpt2(n_head=2, heads=3)"));
    assert!(
        said.contains("the network 'gpt2' has no setting 'heads'; it has vocab_size, n_positions, n_embd"),
        "{said}"
    );
}

#[test]
fn a_network_by_name_computes_in_the_type_of_its_checkpoint() {
    let folder = scratch();
    let network = Network::named(GPT2, &Device::flex()).unwrap().to_dtype(FloatDType::F64);
    let weights = folder.path().join("double.pt");
    Checkpoint::from(network.state_dict().unwrap()).save(&weights).unwrap();
    let tokens = numbers(1, 7, 10);
    let x = write(folder.path(), "x.pt", &[("input_ids", &[2, 5], tokens.clone())]);
    let out = folder.path().join("y.pt");
    let output =
        text(&[&"predict", &weights, &"--model", &"gpt2(n_head=2)", &"--input", &x, &"--out", &out, &"--overwrite"]);
    assert!(output.status.success(), "{output:?}");
    let tokens = Array::from_ints(&tokens, &[2, 5], &Device::flex()).unwrap();
    let exact = network.forward_named(&[tokens]).unwrap().remove(0).1;
    let scores = || Checkpoint::open(&out).unwrap().value("logits").unwrap().as_tensor().unwrap().clone();
    assert_eq!((scores().dtype().name(), scores().to_f64_vec().unwrap()), ("float64", exact.floats().unwrap()));
    // Unless it is told another.
    let told = [&"--dtype" as &dyn AsRef<std::ffi::OsStr>, &"f32"];
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&"predict", &weights, &"--model", &"gpt2(n_head=2)", &"--input", &x, &"--out", &out];
    let output = text(&[&arguments[..], &told[..], &[&"--overwrite"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(scores().dtype().name(), "float32");
}

#[test]
fn only_networks_that_read_a_config_json_are_said_to() {
    let folder = scratch();
    for (call, told, reads) in [
        (GPT2, "gpt2", true),
        ("lstm_lm(ntoken=7, ninp=4, nhid=4, nlayers=1)", "lstm_lm", false),
        ("nanogpt(vocab_size=7, block_size=6, n_embd=8, n_layer=1, n_head=2)", "nanogpt", false),
    ] {
        let network = Network::named(call, &Device::flex().autodiff()).unwrap();
        let path = folder.path().join(format!("{told}.pt"));
        let optimizer = Optimizer::adamw(&network, AdamWOptions::default()).unwrap();
        Run::start(network, optimizer).save(&path).unwrap();
        let output = text(&[&"plan", &path, &"--model", &told]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("is open: its weights do not show"), "{said}");
        assert_eq!(said.contains("config.json"), reads, "{said}");
    }
}

#[test]
fn a_run_of_a_language_model_is_planned_asked_about_and_goes_on() {
    let folder = scratch();
    let device = Device::flex().autodiff();
    let (name, config) = Config::call(GPT2).unwrap();
    let mut generator = rekindle::random::Generator::new(3);
    let network = Network::build_seeded(&name, &config, &device, &mut generator).unwrap();
    let optimizer = Optimizer::adamw(&network, AdamWOptions::default().lr(1e-2)).unwrap();
    let all = numbers(10, 7, 4 * 2 * 5);
    let rows: Vec<&[i64]> = all.chunks(5).collect();
    let shifted = |row: &[i64]| [&row[1..], &[-100]].concat();
    let mut run = Run::start(network, optimizer);
    let mut losses = Vec::new();
    let start = folder.path().join("run.pt");
    for step in 0..4 {
        if step == 1 {
            run.save(&start).unwrap();
        }
        let of = |rows: Vec<i64>| Tensor::<1, Int>::from_data(TensorData::new(rows, [10]), &Device::flex());
        let x = rows[2 * step..2 * step + 2].concat();
        let batch = rekindle::models::Batch::from_tokens(x, [2, 5], &Device::flex()).unwrap();
        let scores = run.model().forward(batch).unwrap().into_array().reshaped(&[10, 7]).unwrap();
        let targets = of(rows[2 * step..2 * step + 2].iter().flat_map(|row| shifted(row)).collect());
        let loss = cross_entropy(scores.into_float::<2>().unwrap(), targets).unwrap();
        losses.push(loss.clone().into_scalar::<f64>());
        run.step(loss).unwrap();
    }

    let output = text(&[&"plan", &start, &"--model", &"gpt2"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let answer = "--model 'gpt2(n_head=12, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)'";
    assert!(said.starts_with("open: ") && said.contains(answer), "{said}");
    let told = "gpt2(n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)";
    let output = text(&[&"plan", &start, &"--model", &told]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    // By inputs and the tokens that come next, and as transformers takes them: labels are the tokens.
    let inputs = rows[2..].concat();
    let next: Vec<i64> = rows[2..].iter().flat_map(|row| shifted(row)).collect();
    let by_targets: [(&str, &[usize], Vec<i64>); 2] =
        [("inputs", &[3, 2, 5], inputs.clone()), ("targets", &[3, 2, 5], next)];
    let by_labels: [(&str, &[usize], Vec<i64>); 2] =
        [("input_ids", &[3, 2, 5], inputs.clone()), ("labels", &[3, 2, 5], inputs.clone())];
    for tensors in [by_targets, by_labels] {
        let batches = write(folder.path(), "batches.pt", &tensors);
        let (log, save) = (folder.path().join("log.jsonl"), folder.path().join("out.pt"));
        let output = text(&[
            &"resume",
            &start,
            &"--model",
            &told,
            &"--batches",
            &batches,
            &"--log",
            &log,
            &"--save",
            &save,
            &"--overwrite",
            &"--seed",
            &"0",
        ]);
        assert!(output.status.success(), "{output:?}");
        let found: Vec<f64> = lines(&log).iter().map(|line| line["loss"].as_f64().unwrap()).collect();
        assert_eq!(found.len(), 3);
        for (found, exact) in found.iter().zip(&losses[1..]) {
            assert!((found - exact).abs() <= 1e-6 * exact, "{found} instead of {exact}");
        }
    }
    // A mask would change what it computes, and it takes none.
    let masked: [(&str, &[usize], Vec<i64>); 3] = [
        ("input_ids", &[3, 2, 5], inputs.clone()),
        ("labels", &[3, 2, 5], inputs.clone()),
        ("attention_mask", &[3, 2, 5], vec![1; 30]),
    ];
    let batches = write(folder.path(), "masked.pt", &masked);
    let save = folder.path().join("out2.pt");
    let output =
        text(&[&"resume", &start, &"--model", &told, &"--batches", &batches, &"--save", &save, &"--seed", &"0"]);
    assert!(refusal(&output).contains("the network has no input for the batches' 'attention_mask'"), "{output:?}");
}

#[test]
fn the_arguments_of_nanogpt_are_read_where_it_keeps_them() {
    let folder = scratch();
    let call = "nanogpt(vocab_size=7, block_size=6, n_embd=8, n_layer=1, n_head=2, bias=false)";
    let network = Network::named(call, &Device::flex()).unwrap();
    let arguments =
        Dict::from_iter([("n_head", 2_i64), ("n_layer", 1), ("n_embd", 8), ("block_size", 6), ("vocab_size", 7)]);
    let root = Dict::from_iter([
        ("model", network.state_dict().unwrap().to_value()),
        ("model_args", rekindle::Value::Dict(arguments)),
        ("iter_num", 3_i64.into()),
    ]);
    let path = folder.path().join("ckpt.pt");
    Checkpoint::from(root).save(&path).unwrap();
    let again = Network::of_checkpoint("nanogpt", &Checkpoint::open(&path).unwrap(), &Device::flex()).unwrap();
    let keys = |network: &Network| network.state_dict().unwrap().keys().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(keys(&again), keys(&network));
    assert!(keys(&network).iter().all(|key| !key.ends_with("bias")));
}

#[test]
fn help_lists_the_networks_with_their_settings() {
    for verb in ["resume", "plan", "predict"] {
        let output = rekindle([verb, "--help"]);
        let said = String::from_utf8(output.stdout).unwrap();
        for row in [
            "  lenet\n",
            "  resnet18(num_classes=1000, groups=1, width_per_group=64,",
            "  gpt2(vocab_size=50257, n_positions=1024, n_embd=768,",
            "rope_theta=10000.0",
        ] {
            assert!(said.contains(row), "{verb}: {row} is not in {said}");
        }
        let short = rekindle([verb, "-h"]);
        assert!(!String::from_utf8(short.stdout).unwrap().contains("resnet18("), "{verb}");
    }
}
