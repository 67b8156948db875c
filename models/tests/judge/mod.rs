//! A program's numbers beside PyTorch's: a folder with archives and with what PyTorch computed of them (see
//! tests/fixtures/sections/_programs.py).

pub(crate) mod table;

use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::{DType, Device};
use rekindle_burn::{ModuleStateDict, tensor_to_data};
use rekindle_models::functional::{Array, Kind};
use rekindle_models::graph::Program;
use rekindle_random::Generator;
use rekindle_recorder::{Checkpoint, StateDict};
use rekindle_testing::gradients;

/// How far apart a program and PyTorch are, relative to the norm.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Apart {
    /// The worst output.
    pub(crate) outputs: f64,
    /// The worst gradient of a parameter; of one that is next to nothing beside the others, relative to all.
    pub(crate) gradients: f64,
    /// The worst buffer after the step.
    pub(crate) buffers: f64,
}

/// Runs the archive of this mode in that mode on the CPU, and compares it with what PyTorch computed in the latter.
pub(crate) fn compare(folder: &Path, archive: &str, mode: &str) -> Apart {
    let device = if mode == "train" { Device::flex().autodiff() } else { Device::flex() };
    compare_on(&device, folder, archive, mode)
}

/// As [`compare`], on a device, which tracks gradients where the mode is training.
pub(crate) fn compare_on(device: &Device, folder: &Path, archive: &str, mode: &str) -> Apart {
    let train = mode == "train";
    let case = Checkpoint::open(folder.join(format!("{mode}.safetensors"))).unwrap();
    let case = StateDict::from_value(case.root()).unwrap();
    let program = Program::open(folder.join(format!("{archive}.pt2")), device).unwrap();
    let program = program.with_generator(Arc::new(Mutex::new(Generator::new(0u64))));
    let inputs: Vec<Array> = (0..).map_while(|i| array(&case, &format!("in.{i}"))).collect();
    let outputs = program.forward(&inputs).unwrap();

    // Of many numbers, where the device has so many digits.
    let sums = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let mut apart = Apart::default();
    let mut loss: Option<Array> = None;
    for (i, output) in outputs.iter().enumerate() {
        let expected = array(&case, &format!("out.{i}")).expect("PyTorch has as many outputs");
        assert_eq!((output.shape(), output.dtype()), (expected.shape(), expected.dtype()), "output {i}");
        let found = relative(&output.floats().unwrap(), &expected.floats().unwrap());
        if output.kind() == Kind::Float {
            apart.outputs = apart.outputs.max(found);
        } else {
            assert!(found == 0.0, "output {i}");
        }
        if let Some(weight) = array(&case, &format!("w.{i}")) {
            let part = output.mul(&weight.to_device(device)).unwrap().sum(&[], false).unwrap().cast(sums).unwrap();
            loss = Some(loss.map_or(part.clone(), |loss| loss.add(&part).unwrap()));
        }
    }
    assert!(array(&case, &format!("out.{}", outputs.len())).is_none(), "PyTorch has more outputs");
    if train && case.keys().any(|key| key.starts_with("grad.")) {
        apart.gradients = of_gradients(&program, &case, loss.expect("there is a loss"));
    }
    if train {
        let state = program.state_dict().unwrap();
        for (name, tensor) in state.iter() {
            if let Some(expected) = array(&case, &format!("buf.{name}")) {
                let found = Array::from_data(tensor_to_data(tensor).unwrap(), tensor.shape(), &Device::flex()).unwrap();
                let found = relative(&found.floats().unwrap(), &expected.floats().unwrap());
                apart.buffers = apart.buffers.max(found);
            }
        }
    }
    apart
}

fn of_gradients(program: &Program, case: &StateDict, loss: Array) -> f64 {
    let grads = loss.into_float::<1>().unwrap().backward();
    let found = gradients(program, &grads);
    let mut pairs = Vec::new();
    for parameter in program.named_parameters().unwrap() {
        let expected = array(case, &format!("grad.{}", parameter.name)).expect("PyTorch has this parameter");
        let expected = expected.floats().unwrap();
        let own = found.iter().find(|(name, _)| *name == parameter.name).map(|(_, tensor)| {
            let data = tensor_to_data(tensor).unwrap();
            data.iter::<f64>().collect::<Vec<_>>()
        });
        // What nothing depends on has no gradient here, and zeros there.
        pairs.push((own.unwrap_or_else(|| vec![0.0; expected.len()]), expected));
    }
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let total = pairs.iter().map(|(_, expected)| norm(expected).powi(2)).sum::<f64>().sqrt();
    let apart = |(own, expected): &(Vec<f64>, Vec<f64>)| {
        let difference: Vec<f64> = own.iter().zip(expected).map(|(a, b)| a - b).collect();
        norm(&difference) / if norm(expected) > 1e-4 * total { norm(expected) } else { total }
    };
    pairs.iter().map(apart).fold(0.0, f64::max)
}

fn array(case: &StateDict, name: &str) -> Option<Array> {
    let tensor = case.get(name)?;
    Some(Array::from_data(tensor_to_data(tensor).unwrap(), tensor.shape(), &Device::flex()).unwrap())
}

/// The norm of the difference over the norm; what is equal (infinities, too, and NaN) counts nothing.
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
    let square = |(&a, &b): (&f64, &f64)| match (same(a, b), a.is_finite() && b.is_finite()) {
        (true, _) => 0.0,
        (_, true) => (a - b).powi(2),
        // `max` would pass over what is not a number.
        _ => f64::INFINITY,
    };
    let difference = found.iter().zip(expected).map(square).sum::<f64>().sqrt();
    let norm = expected.iter().filter(|x| x.is_finite()).map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 { difference } else { difference / norm }
}
