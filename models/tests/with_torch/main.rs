//! Networks that PyTorch exports on the spot compute here what they compute there. `REKINDLE_TORCH` names a Python that has torch,
//! torchvision and transformers; without it the test says that it was skipped.

#[path = "../judge/mod.rs"]
mod judge;
mod modules;
mod operations;
mod resnets;

use std::panic::resume_unwind;
use std::path::Path;

use rekindle_testing::{Torch, scratch};

/// PyTorch computes each of them on one thread: a part of the networks for each of a machine's cores, at least these.
const PARTS: usize = 2;

#[test]
fn whatever_pytorch_exports_computes_the_same_here() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    let part = |part: usize| compare(&torch, folder.path(), part);
    let networks: usize = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..PARTS).map(|number| scope.spawn(move || part(number))).collect();
        parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    });
    assert!(networks >= 40, "{networks}");
}

/// Exports a part of the networks and compares them; how many it were.
fn compare(torch: &Torch, folder: &Path, part: usize) -> usize {
    let arguments = [folder.as_os_str().to_owned(), part.to_string().into(), PARTS.to_string().into()];
    // A line a network: its name, and how far outputs and gradients in training may be apart.
    let printed = torch.run("export_networks.py", arguments);
    for line in printed.lines() {
        let [name, outputs, gradients] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (outputs, gradients) = (outputs.parse::<f64>().unwrap(), gradients.parse::<f64>().unwrap());
        let eval = judge::compare(&folder.join(name), "eval", "eval");
        let train = judge::compare(&folder.join(name), "train", "train");
        println!(
            "{name:28} eval {:.1e}, train {:.1e} (limit {outputs:.0e}), gradients {:.1e} (limit {gradients:.0e})",
            eval.outputs, train.outputs, train.gradients
        );
        assert!(eval.outputs <= 1e-5, "{name}: {eval:?}");
        assert!(train.outputs <= outputs && train.gradients <= gradients, "{name}: {train:?}");
    }
    printed.lines().count()
}
