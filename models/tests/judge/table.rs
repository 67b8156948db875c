//! A table of operations: for each element type an archive without inputs, what PyTorch computed, and how far apart each result and
//! each gradient may be (see tests/fixtures/sections/_operations.py).

use std::fmt;
use std::path::Path;

use burn::tensor::{DType, Device};
use rekindle_burn::{ModuleStateDict, tensor_to_data};
use rekindle_models::functional::{Array, Number, select};
use rekindle_models::graph::Program;
use rekindle_recorder::{Checkpoint, StateDict};
use rekindle_testing::gradients;

use super::{array, relative};

/// What was compared, and what is farther apart than it may be.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) types: usize,
    pub(crate) results: usize,
    pub(crate) gradients: usize,
    pub(crate) beyond: Vec<String>,
    /// The most that anything of each type is apart: results, gradients.
    worst: Vec<(String, f64, f64)>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} results and {} gradients of {} types", self.results, self.gradients, self.types)?;
        self.worst.iter().try_for_each(|(name, result, gradient)| write!(f, "; {name} {result:.1e} and {gradient:.1e}"))
    }
}

/// Compares all archives of a folder.
pub(crate) fn compare(folder: &Path) -> Found {
    compare_on(&Device::flex(), folder)
}

/// The same on a device.
pub(crate) fn compare_on(device: &Device, folder: &Path) -> Found {
    let limits = std::fs::read_to_string(folder.join("limits.json")).unwrap();
    let limits: serde_json::Value = serde_json::from_str(&limits).unwrap();
    let mut found = Found::default();
    for (name, limits) in limits.as_object().unwrap() {
        one(device, folder, name, limits, &mut found);
        found.types += 1;
    }
    found
}

fn one(device: &Device, folder: &Path, name: &str, limits: &serde_json::Value, found: &mut Found) {
    let device = device.clone().autodiff();
    let case = Checkpoint::open(folder.join(format!("{name}.safetensors"))).unwrap();
    let case = StateDict::from_value(case.root()).unwrap();
    let program = Program::open(folder.join(format!("{name}.pt2")), &device).unwrap();
    let outputs = program.forward(&[]).unwrap();
    let allowed = limits["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), allowed.len(), "{name}");
    let (mut worst, mut worst_gradient) = (0f64, 0f64);
    // Of many numbers, where the device has so many digits.
    let sums = if device.supports_dtype(DType::F64) { DType::F64 } else { DType::F32 };
    let mut total: Option<Array> = None;
    for (at, (output, allowed)) in outputs.iter().zip(allowed).enumerate() {
        let expected = array(&case, &format!("out.{at}")).unwrap();
        let what = format!("{name}: {} (output {at})", allowed[0].as_str().unwrap());
        if (output.shape(), output.dtype()) != (expected.shape(), expected.dtype()) {
            let own = (output.shape(), output.dtype_name());
            found.beyond.push(format!("{what}: {own:?} for {:?} {}", expected.shape(), expected.dtype_name()));
            continue;
        }
        let (own, other) = (output.floats().unwrap(), expected.floats().unwrap());
        let apart = relative(&own, &other);
        let limit = allowed[1].as_f64().unwrap();
        let places = if allowed[2].as_bool().unwrap() { units(&own, &other, expected.dtype()) } else { 0.0 };
        if apart > limit || places > 1.0 {
            found.beyond.push(format!("{what}: {apart:.1e} of {limit:.1e}, {places} units; {own:.6?} for {other:.6?}"));
        }
        worst = worst.max(apart);
        found.results += 1;
        if let Some(weight) = array(&case, &format!("w.{at}")) {
            let infinite = output.isinf().unwrap().logical_or(&output.isnan().unwrap()).unwrap();
            let finite = select(&infinite, &output.zeros_like(), output).unwrap();
            let part = finite.mul(&weight.to_device(&device)).unwrap().sum(&[], false).unwrap().cast(sums).unwrap();
            total = Some(total.map_or(part.clone(), |total| total.add(&part).unwrap()));
        }
    }
    let total = total.filter(|_| !limits["gradients"].as_object().unwrap().is_empty());
    if let Some(total) = total {
        let grads = total.into_float::<1>().unwrap().backward();
        let own = gradients(&program, &grads);
        for parameter in program.named_parameters().unwrap() {
            let expected = array(&case, &format!("grad.{}", parameter.name)).unwrap();
            let own =
                own.iter().find(|(name, _)| *name == parameter.name).map(|(_, tensor)| tensor_to_data(tensor).unwrap());
            let zeros = Array::full(expected.shape(), Number::Int(0), expected.dtype(), &Device::flex());
            // What nothing depends on has no gradient here, and zeros there.
            let own: Vec<f64> = own.map_or_else(|| zeros.floats().unwrap(), |data| data.iter::<f64>().collect());
            let other = expected.floats().unwrap();
            let apart = relative(&own, &other);
            let (which, limit) = (&limits["gradients"][&parameter.name][0], &limits["gradients"][&parameter.name][1]);
            if apart > limit.as_f64().unwrap() {
                found.beyond.push(format!(
                    "{name}: gradient of {which} ({}): {apart:.1e} of {limit}; {own:.6?} for {other:.6?}",
                    parameter.name
                ));
            }
            worst_gradient = worst_gradient.max(apart);
            found.gradients += 1;
        }
    }
    found.worst.push((name.to_owned(), worst, worst_gradient));
}

/// The most that two are apart in units of the last place of this type of 16 bits.
fn units(own: &[f64], other: &[f64], dtype: DType) -> f64 {
    let (digits, least) = if dtype == DType::BF16 { (7, -126) } else { (10, -14) };
    let unit = |x: f64| {
        #[allow(clippy::cast_possible_truncation)] // an exponent
        let exponent = if x == 0.0 { least } else { (x.abs().log2().floor() as i32).max(least) };
        2f64.powi(exponent - digits)
    };
    let apart = |(&a, &b): (&f64, &f64)| if a == b || !b.is_finite() { 0.0 } else { (a - b).abs() / unit(b) };
    own.iter().zip(other).map(apart).fold(0.0, f64::max)
}
