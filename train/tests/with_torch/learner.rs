//! PyTorch takes a training of burn-train's back.

use std::path::Path;

use rekindle_testing::{Torch, fixtures};

use crate::learning::train;

#[test]
fn pytorch_goes_on_from_a_training_of_burn_train_s_as_if_it_had_not_moved() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), 26);
    let program = fixtures::digits("train.py");
    let truth = fixtures::path("digits/after.jsonl");
    let printed = torch.run("losses.py", [&*program, &folder.path().join("epoch-26.pt"), Path::new("29"), &truth]);
    let (apart, steps) = printed.trim().split_once(' ').unwrap();
    println!("PyTorch's losses after burn-train's: {apart} apart over {steps} steps");
    assert!(steps.parse::<usize>().unwrap() >= 50);
    // As after rekindle's own run (tests/with_torch.rs).
    assert!(apart.parse::<f64>().unwrap() < 5e-6, "{printed}");
}
