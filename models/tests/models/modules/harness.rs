//! How a layer is compared with what PyTorch computed of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{Bool, DType, Device, FloatDType, Gradients, Int, Tensor, TensorData};
use rekindle_burn::ModuleStateDict;
use rekindle_models::functional::{Array, Kind};
use rekindle_models::init::Init;
use rekindle_random::{Generator, randint};
use rekindle_recorder::Tensor as TorchTensor;
use rekindle_testing::compare::apart;
use rekindle_testing::fixtures::{self, size, sizes};
use rekindle_testing::gradients;
use serde_json::Value as Json;

/// How far apart outputs and gradients may be, norm-relative: PyTorch's own single precision is as far from its double.
fn limits(dtype: DType) -> [f64; 2] {
    match dtype {
        DType::F64 => [1e-13, 1e-12],
        // One unit of the last place, and two.
        DType::F16 => [2f64.powi(-10), 2f64.powi(-9)],
        DType::BF16 => [2f64.powi(-7), 2f64.powi(-6)],
        _ => [1e-6, 1e-5],
    }
}

/// The cases of the fixture, and which of them were compared.
pub(crate) struct Checked {
    truth: Json,
    numbers: Vec<f64>,
    dtype: DType,
    open: BTreeSet<String>,
    /// What was wrong: all of it is told at the end.
    wrong: Vec<String>,
}

impl Checked {
    #[allow(dead_code)]
    pub(crate) fn new() -> Self {
        let bytes = std::fs::read(fixtures::path("nn/modules.bin")).unwrap();
        let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
        Checked::of(fixtures::json("nn/modules.json"), numbers, DType::F32)
    }

    /// Of modules in this type.
    pub(crate) fn of(truth: Json, numbers: Vec<f64>, dtype: DType) -> Self {
        let open = truth.as_object().unwrap().keys().cloned().collect();
        Checked { truth, numbers, dtype, open, wrong: Vec::new() }
    }

    /// What was wrong so far.
    #[allow(dead_code)] // of two tests one looks at it
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    #[allow(dead_code)]
    pub(crate) fn finish(self) {
        assert!(self.wrong.is_empty(), "{} differ:\n{}", self.wrong.len(), self.wrong.join("\n"));
        assert!(self.open.is_empty(), "these were not compared: {:?}", self.open);
    }

    fn numbers(&self, place: &Json) -> &[f64] {
        let (start, length) = (size(&place[0]), size(&place[1]));
        &self.numbers[start..start + length]
    }

    /// How far apart an output (0) or a gradient (1) may be: of 16 bits also twice, or ten times, what PyTorch's is from what it computes of
    /// the same numbers in double precision.
    fn limit(&self, of: usize, place: &Json) -> f64 {
        let times = [2.0, 10.0][of];
        limits(self.dtype)[of].max(place[2].as_f64().map_or(0.0, |noise| times * noise))
    }

    /// Compares a layer, run on the inputs of its case.
    pub(crate) fn case<M: Module>(
        &mut self,
        name: &str,
        build: impl Fn(&mut Init<'_>) -> rekindle_models::Result<M>,
        run: impl Fn(&M, &Inputs) -> rekindle_models::Result<Vec<Array>>,
    ) {
        if !self.open.remove(name) {
            // PyTorch does not compute all of them in all types.
            assert!(self.dtype != DType::F32, "there is no case '{name}'");
            return;
        }
        // Compiled once for each type of layer.
        let compared = AssertUnwindSafe(|| self.compared(name, &build, &run));
        match catch_unwind(compared) {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => self.wrong.push(format!("{name}: {wrong}")),
            Err(_) => self.wrong.push(format!("{name}: it panics")),
        }
    }

    fn compared<M: Module>(
        &self,
        name: &str,
        build: &dyn Fn(&mut Init<'_>) -> rekindle_models::Result<M>,
        run: &dyn Fn(&M, &Inputs) -> rekindle_models::Result<Vec<Array>>,
    ) -> Result<(), String> {
        let truth = &self.truth[name];
        let device = Device::flex().autodiff();
        let shared = Arc::new(Mutex::new(Generator::new(7u64)));
        let mut module = build(&mut Init::shared(&device, shared.clone())).map_err(|error| error.to_string())?;

        let state = module.state_dict().map_err(|error| error.to_string())?;
        let keys: Vec<Json> =
            state.iter().map(|(key, tensor)| serde_json::json!([key, tensor.shape(), tensor.dtype().name()])).collect();
        same("keys", &Json::from(keys), &truth["keys"])?;
        let metadata = state.metadata().unwrap();
        let metadata = metadata.as_dict().unwrap().entries();
        let version = |path: &str| serde_json::json!([path, state.version(path).unwrap()]);
        let metadata: Vec<Json> = metadata.iter().map(|(path, _)| version(path.as_str().unwrap())).collect();
        // A module that stands in several places is told once here.
        same("metadata", &Json::from(metadata), &truth["metadata"])?;
        let bytes: Vec<u8> = state.iter().flat_map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect();
        same("first weights", &Json::from(fixtures::sha256(&bytes)), &truth["sha256"])?;
        let next = randint(&mut shared.lock().unwrap(), 0, 1 << 31, 1).unwrap()[0];
        same("the next random number", &Json::from(next), &truth["next"])?;

        let mut moved = state.clone();
        for (index, parameter) in module.named_parameters().unwrap().iter().enumerate() {
            let before: Vec<f32> = state.get(&parameter.name).unwrap().to_vec().unwrap();
            let by = rekindle_testing::filled(before.len(), u32::try_from(index).unwrap());
            let after: Vec<f32> = before.iter().zip(by).map(|(before, by)| before + 0.25 * by).collect();
            moved.insert(parameter.name.as_str(), TorchTensor::from_vec(&parameter.shape, after).unwrap());
        }
        module.load_state_dict(&moved).map_err(|error| error.to_string())?;
        if self.dtype != DType::F32 {
            module = rekindle_models::to_dtype(module, FloatDType::from(self.dtype));
        }

        *shared.lock().unwrap() = Generator::new(8u64);
        let inputs = Inputs::new(truth, &device, self.dtype);
        let outputs = run(&module, &inputs).map_err(|error| error.to_string())?;
        self.outputs("training", &outputs, &truth["train"])?;
        if truth.get("of_inputs").is_some() {
            let mut loss: Option<Array> = None;
            for (index, output) in outputs.iter().enumerate().filter(|(_, output)| output.kind() == Kind::Float) {
                let weights = rekindle_testing::filled(output.numel(), 2000 + u32::try_from(index).unwrap());
                let weights = TensorData::new(weights, [output.numel()]);
                let weights = Array::from_data(weights.convert_dtype(output.dtype()), output.shape(), &device).unwrap();
                let part = output.mul(&weights).unwrap().sum(&[], false).unwrap();
                loss = Some(loss.map_or(part.clone(), |loss| loss.add(&part).unwrap()));
            }
            let loss = loss.unwrap().into_float::<1>().unwrap();
            let grads = loss.backward();
            let found = gradients(&module, &grads);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let places = truth["of_parameters"].as_object().unwrap();
            let total = norm(&places.values().map(|place| norm(self.numbers(place))).collect::<Vec<_>>());
            for (key, place) in places {
                let expected = self.numbers(place);
                let own = found.iter().find(|(name, _)| name == key).map(|(_, tensor)| tensor.to_f64_vec().unwrap());
                let own = own.unwrap_or_else(|| vec![0.0; expected.len()]);
                // What is next to nothing beside the others is rounding (a bias that a norm takes away): relative to all.
                let what = format!("gradient of {key}");
                if norm(expected) <= 1e-4 * total {
                    let difference: Vec<f64> = own.iter().zip(expected).map(|(own, exact)| own - exact).collect();
                    near(&what, &[1.0, norm(&difference) / total.max(1e-30)], &[1.0, 0.0], self.limit(1, place))?;
                } else {
                    near(&what, &own, expected, self.limit(1, place))?;
                }
            }
            let tracked = inputs.tracked.borrow();
            for (index, place) in truth["of_inputs"].as_array().unwrap().iter().enumerate() {
                let expected = self.numbers(place);
                let own = tracked.get(index).and_then(|of| of(&grads)).unwrap_or_else(|| vec![0.0; expected.len()]);
                near(&format!("gradient of input {index}"), &own, expected, self.limit(1, place))?;
            }
        }
        let after = module.state_dict().unwrap();
        for (key, place) in truth["buffers"].as_object().unwrap() {
            near(key, &after.get(key).unwrap().to_f64_vec().unwrap(), self.numbers(place), self.limit(0, place))?;
        }
        let plain = Device::flex();
        let outputs =
            run(&module.valid(), &Inputs::new(truth, &plain, self.dtype)).map_err(|error| error.to_string())?;
        self.outputs("evaluation", &outputs, &truth["eval"])
    }

    fn outputs(&self, mode: &str, found: &[Array], truth: &Json) -> Result<(), String> {
        let truth = truth.as_array().unwrap();
        same(&format!("outputs in {mode}"), &Json::from(found.len()), &Json::from(truth.len()))?;
        for (index, (found, exact)) in found.iter().zip(truth).enumerate() {
            let shape = sizes(&exact[0]);
            // A scalar is `[1]` in a tensor of Burn's.
            let scalar = shape.is_empty() && found.shape() == [1];
            if found.shape() != shape && !scalar {
                return Err(format!("output {index} in {mode} has the shape {:?}, not {shape:?}", found.shape()));
            }
            let limit = self.limit(0, &exact[1]);
            near(&format!("output {index} in {mode}"), &found.floats().unwrap(), self.numbers(&exact[1]), limit)?;
        }
        Ok(())
    }
}

fn same(what: &str, found: &Json, exact: &Json) -> Result<(), String> {
    if found == exact { Ok(()) } else { Err(format!("{what}: {found} instead of {exact}")) }
}

fn near(what: &str, found: &[f64], exact: &[f64], tolerance: f64) -> Result<(), String> {
    let distance = if exact.iter().all(|x| *x == 0.0) {
        found.iter().fold(0.0, |most: f64, x| most.max(x.abs()))
    } else {
        apart(found, exact)
    };
    if distance <= tolerance { Ok(()) } else { Err(format!("{what}: {distance:.1e} apart")) }
}

/// The inputs of a case; of floats the gradients are known afterwards, in the order in which they were taken.
pub(crate) struct Inputs<'a> {
    rules: &'a Json,
    pub(super) device: &'a Device,
    pub(super) dtype: DType,
    tracked: RefCell<Vec<Box<dyn Fn(&Gradients) -> Option<Vec<f64>>>>>,
}

impl<'a> Inputs<'a> {
    fn new(truth: &'a Json, device: &'a Device, dtype: DType) -> Self {
        Inputs { rules: &truth["inputs"], device, dtype, tracked: RefCell::new(Vec::new()) }
    }

    pub(super) fn float<const D: usize>(&self, index: usize) -> Tensor<D> {
        let shape: [usize; D] = sizes(&self.rules[index]).try_into().unwrap();
        let elements = rekindle_testing::filled(shape.iter().product(), 1000 + u32::try_from(index).unwrap());
        let data = TensorData::new(elements, shape).convert_dtype(self.dtype);
        let tensor = Tensor::<D>::from_data(data, (self.device, self.dtype));
        if !self.device.is_autodiff() {
            return tensor;
        }
        let tensor = tensor.require_grad();
        let kept = tensor.clone();
        let of = move |grads: &Gradients| Some(kept.grad(grads)?.into_data().iter::<f64>().collect());
        self.tracked.borrow_mut().push(Box::new(of));
        tensor
    }

    /// The first input, of whatever number of dimensions.
    pub(super) fn array(&self) -> Array {
        match self.rules[0].as_array().unwrap().len() {
            1 => Array::from_float(self.float::<1>(0)),
            2 => Array::from_float(self.float::<2>(0)),
            3 => Array::from_float(self.float::<3>(0)),
            4 => Array::from_float(self.float::<4>(0)),
            _ => Array::from_float(self.float::<5>(0)),
        }
    }

    /// The second input as sets of labels, such as `MultiLabelMarginLoss` takes: no class twice in a row, and some rows end early.
    pub(super) fn label_sets(&self) -> Tensor<2, Int> {
        let mut classes: Vec<i64> = self.int::<2>(1).into_data().iter::<i64>().collect();
        for row in classes.chunks_exact_mut(5) {
            let first = row[0];
            row.iter_mut().zip(0..).for_each(|(class, at)| *class = (first + at) % 5);
        }
        (classes[5 + 2], classes[10]) = (-1, -1);
        Tensor::from_data(TensorData::new(classes, [3, 5]), &self.device.clone().inner())
    }

    pub(super) fn int<const D: usize>(&self, index: usize) -> Tensor<D, Int> {
        let rule = &self.rules[index];
        let (below, shape) = (rule[1].as_u64().unwrap(), sizes(&rule[2]));
        let shape: [usize; D] = shape.try_into().unwrap();
        let mixed = rekindle_testing::mixed(1000 + u32::try_from(index).unwrap(), shape.iter().product());
        let elements: Vec<i64> = mixed.into_iter().map(|x| i64::try_from(u64::from(x) % below).unwrap()).collect();
        Tensor::from_data(TensorData::new(elements, shape), &self.device.clone().inner())
    }

    pub(super) fn boolean<const D: usize>(&self, index: usize) -> Tensor<D, Bool> {
        let rule = &self.rules[index];
        let shape: [usize; D] = sizes(&rule[1]).try_into().unwrap();
        let mut mask = vec![false; shape.iter().product()];
        sizes(&rule[2]).into_iter().for_each(|place| mask[place] = true);
        Tensor::from_data(TensorData::new(mask, shape), &self.device.clone().inner())
    }
}
