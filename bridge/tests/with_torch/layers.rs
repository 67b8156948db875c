//! The state dicts of burn-nn's layers, taken strictly; PyTorch computes with them what Burn computes.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor as BurnTensor};
use rekindle_burn::{LayerRows, ModuleStateDict, data_to_tensor};
use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{Dict, Value};
use rekindle_testing::{Torch, seeded};

use crate::layer_cases::{self, Case, Check};

/// Saves each layer with weights that were drawn, and what it makes of the inputs.
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
        let layer = seeded(layer, 1);
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
