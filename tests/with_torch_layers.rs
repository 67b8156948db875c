//! A real PyTorch takes the state dicts of burn-nn's layers, strictly, and computes with them what Burn computes.
//! `REKINDLE_TORCH` names a Python that has torch; without it the test says that it was skipped.

#[path = "../bridge/tests/layer_cases/mod.rs"]
mod layer_cases;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor as BurnTensor};
use layer_cases::{Case, Check};
use rekindle_burn::{LayerRows, ModuleStateDict, data_to_tensor};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{Dict, Value};
use rekindle_testing::Torch;

/// Saves each layer with the weights that Burn drew, and what it makes of the inputs.
struct Save<'a> {
    folder: &'a Path,
}

impl Check for Save<'_> {
    fn device(&self) -> Device {
        // With autodiff a batch norm is in training.
        Device::flex().autodiff()
    }

    fn layer<M: Module, const D: usize>(
        &mut self,
        name: &str,
        rows: &LayerRows,
        layer: M,
        forward: impl Fn(&M, &Case) -> BurnTensor<D>,
    ) {
        let state_dict = layer.state_dict_with(rows).unwrap();
        let output = forward(&layer, &Case::open(name, &self.device()));
        let output = data_to_tensor(output.inner().into_data()).unwrap();
        let entries = [("state_dict", state_dict.to_value()), ("output", Value::from(output))];
        Checkpoint::from(Dict::from_iter(entries)).save(self.folder.join(name).with_extension("pt")).unwrap();
    }
}

#[test]
fn pytorch_loads_the_state_dict_of_every_layer_strictly_and_computes_the_same() {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    layer_cases::all(&mut Save { folder: folder.path() });
    println!("{}", torch.run("layers.py", [folder.path()]));
}
