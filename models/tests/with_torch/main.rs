//! Networks that PyTorch exports on the spot compute here what they compute there. `REKINDLE_TORCH` names a Python that has torch,
//! torchvision and transformers; without it the test says that it was skipped.

#[path = "../judge/mod.rs"]
mod judge;
mod operations;

use rekindle_testing::{Torch, scratch};

#[test]
fn whatever_pytorch_exports_computes_the_same_here() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    // A line a network: its name, and how far outputs and gradients in training may be apart.
    let printed = torch.run("export_networks.py", [folder.path()]);
    let mut networks = 0;
    for line in printed.lines() {
        let [name, outputs, gradients] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (outputs, gradients) = (outputs.parse::<f64>().unwrap(), gradients.parse::<f64>().unwrap());
        let eval = judge::compare(&folder.path().join(name), "eval", "eval");
        let train = judge::compare(&folder.path().join(name), "train", "train");
        println!(
            "{name:28} eval {:.1e}, train {:.1e} (limit {outputs:.0e}), gradients {:.1e} (limit {gradients:.0e})",
            eval.outputs, train.outputs, train.gradients
        );
        assert!(eval.outputs <= 1e-5, "{name}: {eval:?}");
        assert!(train.outputs <= outputs && train.gradients <= gradients, "{name}: {train:?}");
        networks += 1;
    }
    assert!(networks >= 40, "{networks}");
}
