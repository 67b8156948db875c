//! Every row of burn-nn's layers against PyTorch: what its state dict computes in Burn, forwards and backwards, and what
//! comes back of it.

use std::collections::{BTreeSet, HashMap};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor as BurnTensor, TensorData};
use rekindle_burn::{LayerRows, ModuleStateDict, data_to_tensor};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::fixtures;

use crate::layer_cases::{self, Case, Check};

/// How far a tensor may be from PyTorch's, by the norm of the difference over the norm. PyTorch's own float32 is up to 9.4e-7
/// from its float64 (`noise.json`); each line that is printed tells both.
const TOLERANCE: f64 = 1e-5;

/// Loads, computes, derives, saves.
struct Compare {
    noise: serde_json::Value,
    wrong: Vec<String>,
}

impl Compare {
    fn all(layers: impl Fn(&mut Compare)) {
        let mut compare = Compare { noise: fixtures::json("layers/noise.json"), wrong: Vec::new() };
        layers(&mut compare);
        assert!(compare.wrong.is_empty(), "{}", compare.wrong.join("\n"));
    }

    /// `largest` is that of all gradients: what vanishes in exact arithmetic is measured by it.
    fn close(&mut self, what: &str, ours: &Tensor, theirs: &Tensor, noise: Option<f64>, largest: f64) {
        assert_eq!(ours.shape(), theirs.shape(), "{what}");
        let (ours, theirs) = (numbers(ours), numbers(theirs));
        let difference: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a - b).collect();
        let scale = if noise.is_some() { norm(&theirs) } else { largest };
        let apart = norm(&difference) / scale;
        let noise = noise.map_or("it vanishes".to_owned(), |noise| format!("{noise:.1e}"));
        println!("{what}: {apart:.1e} apart (PyTorch's noise: {noise})");
        if apart.is_nan() || apart > TOLERANCE {
            self.wrong.push(format!("{what}: {apart:.1e} apart (PyTorch's noise: {noise})"));
        }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn norm(numbers: &[f64]) -> f64 {
    numbers.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn read<const D: usize>(tensor: BurnTensor<D>) -> Tensor {
    data_to_tensor(tensor.into_data()).unwrap()
}

/// The gradient of every parameter.
struct Collect<'a> {
    gradients: &'a Gradients,
    by_id: HashMap<ParamId, TensorData>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.by_id.insert(param.id, gradient.into_data());
        }
    }
}

impl Check for Compare {
    fn device(&self) -> Device {
        Device::flex().autodiff()
    }

    fn layer<M: Module, const D: usize>(
        &mut self,
        name: &str,
        rows: &LayerRows,
        mut layer: M,
        forward: impl Fn(&M, &Case) -> BurnTensor<D>,
    ) {
        let case = Case::open(name, &self.device());
        let wanted = case.state_dict("state_dict");

        let report = layer.load_state_dict_with_rows(&wanted, &LoadOptions::strict(), rows).unwrap();
        assert!(report.is_exact() && report.cast.is_empty(), "{name}: {report}");
        assert_same(name, &layer.state_dict_with(rows).unwrap(), &wanted);

        if case.contains("evaluated") {
            let plain = Case::open(name, &Device::flex());
            let evaluated = forward(&layer.valid(), &plain);
            self.close(&format!("{name}: evaluated"), &read(evaluated), &case.tensor("evaluated"), Some(0.0), 0.0);
        }
        let output = forward(&layer, &case);
        let noise = self.noise[name].clone();
        self.close(
            &format!("{name}: output"),
            &read(output.clone().inner()),
            &case.tensor("output"),
            noise["output"].as_f64(),
            0.0,
        );

        let gradients = (output * case.burn::<D>("derive")).sum().backward();
        let mut collect = Collect { gradients: &gradients, by_id: HashMap::new() };
        layer.visit(&mut collect);
        let theirs = case.state_dict("gradients");
        let largest = theirs.iter().map(|(_, gradient)| norm(&numbers(gradient))).fold(0.0, f64::max);
        let parameters = layer.named_parameters_with(rows).unwrap();
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, theirs.keys().collect::<Vec<_>>(), "{name}");
        for parameter in &parameters {
            let gradient = theirs.get(&parameter.name).unwrap();
            let pieces: Vec<TensorData> =
                parameter.pieces.iter().map(|piece| collect.by_id[&piece.id].clone()).collect();
            let ours = parameter.join(&pieces).unwrap();
            let noise = &noise["gradients"][&parameter.name];
            self.close(&format!("{name}: gradient of {}", parameter.name), &ours, gradient, noise.as_f64(), largest);

            // What lies like a parameter comes through the row unchanged: a moment of an optimizer, say.
            let again = parameter.join(&parameter.split(gradient).unwrap()).unwrap();
            assert_eq!(again.to_le_bytes().unwrap(), gradient.to_le_bytes().unwrap(), "{name}: {}", parameter.name);
        }
    }
}

/// Key for key, in order, with shapes, bytes, and the versions of the modules that hold something.
fn assert_same(name: &str, saved: &StateDict, wanted: &StateDict) {
    assert_eq!(saved.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{name}");
    for (key, tensor) in wanted.iter() {
        let saved_tensor = saved.get(key).unwrap();
        assert_eq!((saved_tensor.dtype(), saved_tensor.shape()), (tensor.dtype(), tensor.shape()), "{name}: {key}");
        assert_eq!(saved_tensor.to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap(), "{name}: {key}");
        let module = key.rsplit_once('.').map_or("", |(module, _)| module);
        assert_eq!(saved.version(module), wanted.version(module), "{name}: version of '{module}'");
    }
}

#[test]
fn linear_layers_and_embeddings_compute_what_pytorchs_do() {
    Compare::all(layer_cases::linear_and_embedding);
}

#[test]
fn convolutions_compute_what_pytorchs_do() {
    Compare::all(layer_cases::convolutions);
}

#[test]
fn norms_compute_what_pytorchs_do() {
    Compare::all(layer_cases::norms);
}

#[test]
fn recurrent_layers_compute_what_pytorchs_do() {
    Compare::all(layer_cases::recurrent);
}

#[test]
fn attention_computes_what_pytorchs_does() {
    Compare::all(layer_cases::attention);
}

#[test]
fn transformers_compute_what_pytorchs_do() {
    Compare::all(layer_cases::transformers);
}

#[test]
fn layers_with_rows_of_the_users_compute_what_pytorchs_do() {
    Compare::all(layer_cases::of_ones_own);
}

/// Only the names.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Check for Names {
    fn device(&self) -> Device {
        Device::flex()
    }

    fn layer<M: Module, const D: usize>(
        &mut self,
        name: &str,
        _: &LayerRows,
        _: M,
        _: impl Fn(&M, &Case) -> BurnTensor<D>,
    ) {
        assert!(self.0.insert(name.to_owned()), "{name} comes twice");
    }
}

#[test]
fn every_layer_of_the_fixtures_is_compared() {
    let mut names = Names::default();
    layer_cases::all(&mut names);
    let files = std::fs::read_dir(fixtures::path("layers")).unwrap().map(|file| file.unwrap().path());
    let layers = files.filter(|file| file.extension().is_some_and(|extension| extension == "pt"));
    let written: BTreeSet<String> = layers.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names.0, written);
}
