//! Hyper-parameters that are tensors of no dimensions, whose arithmetic is that of their type, and the moments that
//! bitsandbytes quantises.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::{Checkpoint, DType, Dict, Tensor as TorchTensor, Value};
use rekindle_testing::compare::Largest;
use rekindle_testing::fixtures;
use rekindle_testing::tagged::{spell, value};
use rekindle_train::Run;
use rekindle_train::optim::{Hyperparameters, Optimizer, OptimizerKind};
use rekindle_train::run::ResumeOptions;

use crate::common::optim::{Rule, STEPS, device, dict, entry};

/// Elementwise: with correct square roots every bit is PyTorch's.
const KERNELS: [&str; 11] =
    ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD"];

/// These take norms or products of whole parameters, as `whole_optimizers.rs` says.
const WHOLE: [(&str, f64); 3] = [("Adafactor", 8.0), ("Muon", 2.0), ("SparseAdam", 2.0)];

#[test]
fn a_tensor_as_hyper_parameter_is_computed_with_as_in_pytorch_to_the_last_bit() {
    for optimizer in KERNELS {
        for rule in Rule::of_tensors(optimizer) {
            let mut rehearsal = rule.start(DType::Float32);
            (0..STEPS).for_each(|step| rehearsal.step(step));
            let what = format!("{optimizer} {}", rule.set);
            Largest::default().apart(&rehearsal.found(), &rule.expected_rounded(), |_| 0.0, &what);
        }
    }
}

#[test]
fn a_tensor_as_learning_rate_of_a_whole_parameter_is_computed_with_as_in_pytorch() {
    for (optimizer, tolerance) in WHOLE {
        for rule in Rule::of_tensors(optimizer) {
            let (mut rehearsal, mut largest) = (rule.start(DType::Float32), Largest::default());
            for step in 0..STEPS {
                rehearsal.step(step);
                let what = format!("{optimizer} {}, step {step}", rule.set);
                largest.apart(&rehearsal.found(), &rule.expected(step), |_| tolerance, &what);
            }
        }
    }
}

#[test]
fn doubles_with_a_tensor_as_hyper_parameter_are_updated_as_in_pytorch() {
    for optimizer in KERNELS {
        for rule in Rule::of_tensors(optimizer) {
            let (mut rehearsal, mut largest) = (rule.start(DType::Float64), Largest::default());
            for step in 0..STEPS {
                rehearsal.step(step);
                largest.see(&rehearsal.found());
            }
            let end = rule.expected_float64();
            let what = format!("{optimizer} {}", rule.set);
            largest.apart(&rehearsal.found()[..end.len()], &end, |_| 6.0, &what);
        }
    }
}

/// What bitsandbytes' state dicts are of.
#[derive(Module, Debug)]
struct Two {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

impl Two {
    fn new() -> Self {
        Two {
            matrix: Param::from_tensor(Tensor::ones([72, 64], &device())),
            vector: Param::from_tensor(Tensor::ones([3], &device())),
        }
    }
}

#[test]
fn moments_that_bitsandbytes_quantised_are_read_as_it_reads_them_and_written_as_pytorch_s() {
    let cases = fixtures::named_cases("optim_tensors/bitsandbytes.json");
    assert_eq!(cases.len(), 3);
    for (name, case) in cases {
        let saved = value(&case["saved"]);
        // Which of the two it is does not stand in the file, and what becomes of it is said.
        let error = OptimizerKind::infer(&saved).unwrap_err().to_string();
        for said in ["bitsandbytes' AdamW or Adam", "float32", "OptimizerKind::AdamW", "OptimizerKind::Adam)"] {
            assert!(error.contains(said), "{name}: {error}");
        }
        for kind in [OptimizerKind::Adam, OptimizerKind::AdamW] {
            let mut model = Two::new();
            let mut optimizer = Optimizer::builder(Hyperparameters::of(kind)).build_from(&model, &saved).unwrap();
            assert_eq!(optimizer.steps(), Some(3.0), "{name}");
            let group = &optimizer.param_groups()[0];
            // bitsandbytes lets weights decay by themselves in both.
            assert!(group.flag("decoupled_weight_decay").unwrap() && !group.contains("t_alpha"), "{name}");
            assert_eq!((group.lr().unwrap(), group.float("weight_decay").unwrap()), (2e-3, 0.1), "{name}");
            let written = optimizer.state_dict(&model).unwrap();
            for (place, moments) in (0_i64..).zip(case["moments"].as_array().unwrap()) {
                let state = entry(&written, "state").as_dict().unwrap().get_key(&place.into()).unwrap();
                let names: Vec<_> = dict(&state).into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["step", "exp_avg", "exp_avg_sq"], "{name}");
                for (key, expected) in ["exp_avg", "exp_avg_sq"].iter().zip(moments.as_array().unwrap()) {
                    assert_eq!(
                        spell(&entry(&state, key), true),
                        spell(&value(expected), true),
                        "{name}, {place}, {key}"
                    );
                }
            }
            // An Adam whose weights decay by themselves is AdamW.
            let recognition = OptimizerKind::recognise(&written).unwrap();
            assert_eq!((recognition.kind, recognition.note), (Some(OptimizerKind::AdamW), None), "{name}");
            let gradients = (model.matrix.val().sum() + model.vector.val().sum()).backward();
            model = optimizer.step(model, gradients).unwrap();
            assert_eq!(optimizer.state_dict(&model).map(|_| optimizer.steps()).unwrap(), Some(4.0), "{name}");
        }
    }
}

#[test]
fn a_plan_says_that_quantised_moments_become_float32() {
    let cases = fixtures::named_cases("optim_tensors/bitsandbytes.json");
    let model = Two::new();
    let checkpoint = Checkpoint::from(Value::from(Dict::from_iter([
        ("model_state_dict", model.state_dict().unwrap().to_value()),
        ("optimizer_state_dict", value(&cases["Adam8bit"]["saved"])),
    ])));
    let error = Run::plan(&checkpoint, &model, ResumeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("float32") && error.contains("OptimizerKind::AdamW"), "{error}");
    let options = ResumeOptions::default().optimizer(OptimizerKind::AdamW);
    let plan = Run::plan(&checkpoint, &model, options).unwrap();
    let said = plan.to_string();
    assert!(said.contains("bitsandbytes' moments are read into float32"), "{said}");
    assert_eq!(plan.step, Some(3));
}

#[test]
fn bitsandbytes_state_that_is_not_adam_s_or_not_whole_is_refused() {
    let cases = fixtures::named_cases("optim_tensors/bitsandbytes.json");
    let with = |change: &dyn Fn(&Value, &Value)| {
        let saved = value(&cases["AdamW8bit_beside"]["saved"]);
        let state = entry(&saved, "state").as_dict().unwrap().get_key(&0.into()).unwrap();
        change(&entry(&saved, "param_groups").items().unwrap()[0], &state);
        let model = Two::new();
        let of = Optimizer::builder(Hyperparameters::of(OptimizerKind::AdamW));
        of.build_from(&model, &saved).unwrap_err().to_string()
    };
    let three = Value::tuple([0.9, 0.99, 0.999].map(Value::from));
    for (error, said) in [
        (with(&|group, _| drop(group.as_dict().unwrap().insert("betas", three.clone()))), "bitsandbytes"),
        (
            with(&|_, state| drop(state.as_dict().unwrap().insert("unorm_vec", TorchTensor::scalar(1.0_f32)))),
            "bitsandbytes",
        ),
        (with(&|_, state| drop(state.as_dict().unwrap().insert("max1", TorchTensor::scalar(1.0_f32)))), "bitsandbytes"),
        (with(&|_, state| drop(state.as_dict().unwrap().remove("absmax2"))), "no 'state[0].absmax2'"),
        (with(&|_, state| drop(state.as_dict().unwrap().insert("absmax1", TorchTensor::scalar(1.0_f32)))), "1 blocks"),
        (with(&|group, _| drop(group.as_dict().unwrap().insert("percentile", 5))), "'percentile'"),
    ] {
        assert!(error.contains(said), "{error}");
    }
}
