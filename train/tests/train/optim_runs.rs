//! Whole runs of PyTorch, taken up after 5 steps: the next 50 go as they went there.

use crate::common::optim::{dict, entry, open};
use crate::common::runs::{LOSS, Network, Rows, Run, WEIGHTS};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::DType;
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_testing::compare::differ;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::spell;
use rekindle_train::optim::{AdamWScheduleFreeOptions, Optimizer};
use rekindle_train::run::ResumeOptions;

fn goes_on_as_in_pytorch(optimizer: &str) {
    let mut count = 0;
    for run in Run::all().into_iter().chain(Run::others()).filter(|run| run.optimizers()[0] == optimizer) {
        count += 1;
        let outcome = run.go_on(50);
        let expected = run.json["losses"].as_array().unwrap();
        assert_eq!(outcome.losses.len(), expected.len());
        let apart = outcome.losses.iter().zip(expected).map(|(found, expected)| {
            let expected = expected.as_f64().unwrap();
            (found - expected).abs() / expected.abs()
        });
        let loss = apart.fold(0.0, f64::max);
        for (step, (found, expected)) in outcome.lrs.iter().zip(run.json["lrs"].as_array().unwrap()).enumerate() {
            let expected = expected.as_array().unwrap().iter().map(|lr| fixtures::hex(lr.as_str().unwrap()).to_bits());
            assert!(found.iter().map(|lr| lr.to_bits()).eq(expected), "{}, step {step}: {found:?}", run.name);
        }
        let (weights, state) = from_the_end(&outcome.checkpoint, &run.end(), &run.name);
        println!("{}: losses {loss:.1e}, weights {weights:.1e}, state {state:.1e}", run.name);
        let near = loss < run.loss_limit() && weights < WEIGHTS && state < run.state_limit();
        assert!(near, "{}: {loss:e}, {weights:e}, {state:e}", run.name);
    }
    assert!(count >= 2, "{optimizer}: {count} runs");
}

/// How far the weights and the optimizers' state are from the end of PyTorch's run; all else but the loss is equal.
fn from_the_end(found: &Checkpoint, end: &Checkpoint, name: &str) -> (f64, f64) {
    let (found, end) = (dict(found.root()), dict(end.root()));
    assert!(found.iter().map(|(key, _)| key).eq(end.iter().map(|(key, _)| key)), "{name}");
    let (mut weights, mut state) = (0.0_f64, 0.0_f64);
    for ((key, found), (_, expected)) in found.iter().zip(&end) {
        match key.as_str() {
            "model_state_dict" => weights = weights.max(differ(found, expected, name)),
            key if key.starts_with("optimizer") => {
                state = state.max(differ(&entry(found, "state"), &entry(expected, "state"), name));
                let groups = [found, expected].map(|optimizer| spell(&entry(optimizer, "param_groups"), true));
                assert_eq!(groups[0], groups[1], "{name}");
            }
            "loss" => {}
            key => assert_eq!(spell(found, true), spell(expected, true), "{name}, {key}"),
        }
    }
    (weights, state)
}

#[test]
fn a_schedule_free_run_that_was_saved_to_be_evaluated_is_trained_on_and_saved_so_again() {
    let recorded = Run::others().into_iter().find(|run| run.name == "schedule_free_eval").unwrap();
    let batches = open("batches.pt").root().clone();
    let network = Network::new("mlp", DType::Float32);
    let mut run = rekindle_train::Run::resume_with(recorded.start(), network, ResumeOptions::default()).unwrap();
    // As it was, before any step.
    let (weights, state) = from_the_end(&run.checkpoint().unwrap(), &recorded.start(), "as it was");
    assert!(weights < 1e-6 && state == 0.0, "{weights:e}, {state:e}");
    for (step, expected) in (5..).zip(recorded.json["losses"].as_array().unwrap()) {
        run.step(run.model().loss(&batches, Rows::Batch(step), DType::Float32)).unwrap();
        let (found, expected) = (run.loss().unwrap().unwrap(), expected.as_f64().unwrap());
        assert!((found - expected).abs() < LOSS * expected, "{step}: {found} and {expected}");
    }
    let saved = run.checkpoint().unwrap();
    saved.set("epoch", recorded.end().value("epoch").unwrap()).unwrap();
    let (weights, state) = from_the_end(&saved, &recorded.end(), &recorded.name);
    assert!(weights < WEIGHTS && state < WEIGHTS, "{weights:e}, {state:e}");
}

#[test]
fn a_schedule_free_optimizer_in_evaluation_mode_makes_no_step() {
    let recorded = Run::others().into_iter().find(|run| run.name == "schedule_free_eval").unwrap();
    let mut network = Network::new("mlp", DType::Float32);
    network.load_state_dict(&recorded.start().state_dict("model_state_dict").unwrap()).unwrap();
    let saved = recorded.start().value("optimizer_state_dict").unwrap();
    let options = AdamWScheduleFreeOptions::default();
    let mut optimizer = Optimizer::builder(options).build_from(&network, &saved).unwrap();
    let batches = open("batches.pt").root().clone();
    let gradients = network.loss(&batches, Rows::Batch(5), DType::Float32).backward();
    let (network, done) = optimizer.try_step(network, gradients);
    let error = done.unwrap_err().to_string();
    assert!(error.contains("evaluation mode") && error.contains("Optimizer::train"), "{error}");
    let before = network.state_dict().unwrap().to_value();
    let network = optimizer.train(network).unwrap();
    let network = optimizer.eval(network).unwrap();
    assert!(differ(&network.state_dict().unwrap().to_value(), &before, "and back") < 1e-6);
}

macro_rules! runs {
    ($($test:ident $optimizer:literal,)*) => {
        $(
            #[test]
            fn $test() {
                goes_on_as_in_pytorch($optimizer);
            }
        )*
    };
}

runs! {
    sgd_goes_on_as_in_pytorch "SGD",
    adam_goes_on_as_in_pytorch "Adam",
    adamw_goes_on_as_in_pytorch "AdamW",
    rmsprop_goes_on_as_in_pytorch "RMSprop",
    adagrad_goes_on_as_in_pytorch "Adagrad",
    adadelta_goes_on_as_in_pytorch "Adadelta",
    adamax_goes_on_as_in_pytorch "Adamax",
    nadam_goes_on_as_in_pytorch "NAdam",
    radam_goes_on_as_in_pytorch "RAdam",
    rprop_goes_on_as_in_pytorch "Rprop",
    asgd_goes_on_as_in_pytorch "ASGD",
    lbfgs_goes_on_as_in_pytorch "LBFGS",
    adafactor_goes_on_as_in_pytorch "Adafactor",
    muon_goes_on_as_in_pytorch "Muon",
    sparse_adam_goes_on_as_in_pytorch "SparseAdam",
    transformers_adamw_goes_on_as_in_transformers "transformers.AdamW",
    lion_goes_on_as_in_lion_pytorch "lion_pytorch.Lion",
    timm_s_lion_goes_on_as_in_timm "timm.Lion",
    rmsprop_tf_goes_on_as_in_timm "timm.RMSpropTF",
    lamb_goes_on_as_in_timm "timm.Lamb",
    lars_goes_on_as_in_timm "timm.Lars",
    adan_goes_on_as_in_timm "timm.Adan",
    adan_goes_on_as_in_adan_pytorch "adan_pytorch.Adan",
    schedule_free_adamw_goes_on_as_in_schedulefree "schedulefree.AdamWScheduleFree",
}
