//! Whole runs of PyTorch, taken up after 5 steps: the next 50 go as they went there.

use common::runs::Run;
use common::{far, hex};
use rekindle_recorder::checkpoint::Checkpoint;

mod common;

/// Two runs of PyTorch itself from the same checkpoint, one with the rows of each batch in reverse, differ by up to 2.4e-7 in a
/// loss, 1.5e-7 in a parameter and 4.3e-7 in a state tensor (`noise` in runs.json).
const LOSS: f64 = 1e-6;
const TENSOR: f64 = 1e-5;

fn goes_on_as_in_pytorch(optimizer: &str) {
    let mut count = 0;
    for run in Run::all().into_iter().filter(|run| run.optimizers()[0] == optimizer) {
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
            let expected = expected.as_array().unwrap().iter().map(|lr| hex(lr.as_str().unwrap()).to_bits());
            assert!(found.iter().map(|lr| lr.to_bits()).eq(expected), "{}, step {step}: {found:?}", run.name);
        }
        let end = run.end();
        let (weights, state) = (far(&outcome.checkpoint, &end, "model"), far(&outcome.checkpoint, &end, "optimizer"));
        println!("{}: losses {loss:.1e}, weights {weights:.1e}, state {state:.1e}", run.name);
        assert!(loss < LOSS && weights < TENSOR && state < TENSOR, "{}: {loss:e}, {weights:e}, {state:e}", run.name);
        same_but_for_tensors(&outcome.checkpoint, &end, &run.name);
    }
    assert!(count >= 2, "{optimizer}: {count} runs");
}

/// Keys, their order, types and shapes, and all numbers that are not in tensors but the loss.
fn same_but_for_tensors(found: &Checkpoint, expected: &Checkpoint, name: &str) {
    found.set("loss", expected.value("loss").unwrap()).unwrap();
    assert_eq!(common::spell(found.root(), false), common::spell(expected.root(), false), "{name}");
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
}
