//! Exported programs compute what PyTorch computes: the fixtures of the section `programs`.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{DType, Device, FloatDType};
use rekindle_burn::{ModuleStateDict, tensor_to_data};
use rekindle_models::functional::Array;
use rekindle_models::graph::Program;
use rekindle_recorder::{Checkpoint, StateDict, Tensor};
use rekindle_testing::fixtures;

use crate::judge::compare;

fn folder(name: &str) -> PathBuf {
    fixtures::path("programs").join(name)
}

/// The folders with these archives, and PyTorch's own noise of each: outputs and gradients.
fn cases(archive: &str) -> Vec<(String, f64, f64)> {
    let noise = fixtures::json("programs/noise.json");
    let noise = noise.as_object().unwrap();
    let row = |(name, noise): (&String, &serde_json::Value)| {
        let [outputs, gradients] = [0, 1].map(|i| noise[i].as_f64().unwrap());
        (name.clone(), outputs, gradients)
    };
    noise.iter().map(row).filter(|(name, ..)| folder(name).join(format!("{archive}.pt2")).exists()).collect()
}

#[test]
fn outputs_in_evaluation_are_pytorchs() {
    let cases = cases("eval");
    assert!(cases.len() >= 20, "{}", cases.len());
    for (name, ..) in cases {
        let apart = compare(&folder(&name), "eval", "eval");
        assert!(apart.outputs <= 1e-6, "{name}: {apart:?}");
    }
}

#[test]
fn outputs_gradients_and_buffers_in_training_are_pytorchs() {
    let cases = cases("train");
    assert!(cases.len() >= 18, "{}", cases.len());
    for (name, outputs, gradients) in cases {
        let apart = compare(&folder(&name), "train", "train");
        assert!(apart.outputs <= (10.0 * outputs).max(1e-6), "{name}: {apart:?}");
        assert!(apart.gradients <= (10.0 * gradients).max(1e-5), "{name}: {apart:?}");
        assert!(apart.buffers <= 1e-6, "{name}: {apart:?}");
    }
}

#[test]
fn in_double_precision_it_is_pytorchs_to_the_last_places() {
    let apart = compare(&folder("cnn_double"), "train", "train");
    assert!(apart.outputs < 1e-14 && apart.gradients < 1e-13 && apart.buffers < 1e-14, "{apart:?}");
}

#[test]
fn an_archive_of_one_mode_runs_in_the_other() {
    // Dropout and batch norm follow the mode. (An archive of evaluation has no dropout in its attention: none of these do.)
    for name in ["cnn", "conv1d", "dcgan", "lstms", "unet"] {
        let apart = compare(&folder(name), "train", "eval");
        assert!(apart.outputs <= 1e-6, "{name}: {apart:?}");
        let apart = compare(&folder(name), "eval", "train");
        assert!(apart.outputs <= 1e-5 && apart.gradients <= 1e-5 && apart.buffers <= 1e-6, "{name}: {apart:?}");
    }
}

#[test]
fn an_archive_of_evaluation_says_what_it_lacks_for_training() {
    let open = |archive: &str| Program::open(folder("cnn").join(archive), &Device::flex()).unwrap();
    assert!(open("train.pt2").lacks_for_training().is_empty());
    assert_eq!(open("eval.pt2").lacks_for_training(), ["1 batch norm in evaluation", "1 dropout that is off"]);
}

#[test]
fn its_state_dict_has_pytorchs_names_and_order() {
    let program = Program::open(folder("cnn/train.pt2"), &Device::flex()).unwrap();
    let state = program.state_dict().unwrap();
    let names = "conv.weight conv.bias bn.weight bn.bias bn.running_mean bn.running_var bn.num_batches_tracked fc.weight fc.bias";
    assert_eq!(state.keys().collect::<Vec<_>>(), names.split(' ').collect::<Vec<_>>());
    assert_eq!(state.get("bn.num_batches_tracked").unwrap().shape(), [0usize; 0]);
    let parameters: Vec<String> =
        program.named_parameters().unwrap().into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(parameters, ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]);
}

#[test]
fn tied_weights_are_one_parameter() {
    let program = Program::open(folder("gpt2/train.pt2"), &Device::flex().autodiff()).unwrap();
    let parameters = program.named_parameters().unwrap();
    let named = |name: &str| parameters.iter().filter(|parameter| parameter.name == name).count();
    assert_eq!((named("transformer.wte.weight"), named("lm_head.weight")), (1, 0));
    let state = program.state_dict().unwrap();
    let view = |name: &str| state.get(name).unwrap().view();
    assert_eq!(view("transformer.wte.weight"), view("lm_head.weight"));
}

#[test]
fn a_state_dict_loads_into_it() {
    let device = Device::flex();
    let mut one = Program::open(folder("cnn/train.pt2"), &device).unwrap();
    let other = Program::open(folder("cnn/eval.pt2"), &device.clone().autodiff()).unwrap();
    let x = Array::from_floats(&vec![0.5; 256], &[4, 1, 8, 8], DType::F32, &device).unwrap();
    drop(other.forward(std::slice::from_ref(&x)).unwrap()); // its running statistics move
    one.load_state_dict(&other.state_dict().unwrap()).unwrap();
    let (one, other) = (one.forward(std::slice::from_ref(&x)).unwrap(), other.valid().forward(&[x]).unwrap());
    assert_eq!(one[0].floats().unwrap(), other[0].floats().unwrap());
}

#[test]
fn a_dynamic_batch_may_have_any_length_in_its_range() {
    let apart = compare(&folder("dynamic"), "eval", "eval");
    assert!(apart.outputs <= 1e-6, "{apart:?}");
    let program = Program::open(folder("dynamic/eval.pt2"), &Device::flex()).unwrap();
    let refused = |shape: &[usize]| {
        let x = Array::full(shape, 0i64.into(), DType::F32, &Device::flex());
        program.forward(&[x]).unwrap_err().to_string()
    };
    let said = refused(&[65, 1, 8, 8]);
    assert!(said.contains("dimension 0 of the input") && said.contains("0 to 64") && said.contains("65"), "{said}");
    let said = refused(&[4, 1, 8, 9]);
    assert!(said.contains("dimension 3") && said.contains("as it was exported"), "{said}");
    let said = refused(&[4, 1, 8]);
    assert!(said.contains("[4, 1, 8]"), "{said}");
}

#[test]
fn inputs_that_do_not_fit_are_said() {
    let program = Program::open(folder("gpt2/eval.pt2"), &Device::flex()).unwrap();
    let names: Vec<&str> = program.inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["input_ids", "labels"]);
    assert_eq!(program.outputs().collect::<Vec<_>>(), ["loss", "logits"]);
    let floats = Array::full(&[2, 7], 0.5.into(), DType::F32, &Device::flex());
    let said = program.forward(&[floats.clone(), floats]).unwrap_err().to_string();
    assert!(said.contains("int64") && said.contains("float32"), "{said}");
    let said = program.forward(&[]).unwrap_err().to_string();
    assert!(said.contains("2 inputs") && said.contains("labels"), "{said}");
}

#[test]
fn in_another_type_it_computes_what_pytorch_computes_in_that_type() {
    // Each type with half a unit in its last place: where PyTorch is nearer to itself, that is what a rounding may do.
    let noise = fixtures::json("cast/noise.json");
    let types = [("bf16", FloatDType::BF16, 4e-3), ("f16", FloatDType::F16, 5e-4), ("f64", FloatDType::F64, 1e-15)];
    for (short, dtype, rounding) in types {
        for name in ["cnn", "conv1d", "dcgan", "encoder", "transformer", "unet"] {
            let limit = 10.0 * noise[name][short].as_f64().unwrap().max(rounding);
            let of =
                |file: &str| StateDict::from_value(Checkpoint::open(fixtures::path(file)).unwrap().root()).unwrap();
            let (case, cast) =
                (of(&format!("programs/{name}/eval.safetensors")), of(&format!("cast/{name}.safetensors")));
            let array = |tensor: &Tensor| {
                Array::from_data(tensor_to_data(tensor).unwrap(), tensor.shape(), &Device::flex()).unwrap()
            };
            let program = Program::open(folder(name).join("eval.pt2"), &Device::flex()).unwrap().to_dtype(dtype);
            let inputs: Vec<Array> = (0..).map_while(|i| case.get(&format!("in.{i}")).map(array)).collect();
            let outputs = program.forward(&inputs).unwrap();
            for (i, output) in outputs.iter().enumerate() {
                let expected = array(cast.get(&format!("{short}.{i}")).unwrap());
                assert_eq!((output.shape(), output.dtype()), (expected.shape(), expected.dtype()), "{name}, {short}");
                let (found, expected) = (output.floats().unwrap(), expected.floats().unwrap());
                let square = |x: f64| x * x;
                let apart: f64 = found.iter().zip(&expected).map(|(a, b)| square(a - b)).sum();
                let apart = (apart / expected.iter().copied().map(square).sum::<f64>()).sqrt();
                println!("{name}, {short}: {apart:.1e}");
                assert!(apart <= limit, "{name}, {short}: {apart:.1e}");
            }
        }
    }
}
