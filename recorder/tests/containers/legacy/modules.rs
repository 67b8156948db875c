//! Whole modules, as `torch.save(model)` keeps them.

use std::collections::BTreeMap;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::{StateDict, Tensor, Value};

use super::fixtures::{assert_tensors, open, truth};

fn names(file: &str, kind: &str) -> Vec<String> {
    serde_json::from_value(truth(file)[kind].clone()).unwrap()
}

#[test]
fn the_state_dict_of_a_module_is_what_pytorch_gives() {
    for file in ["module.pt", "module_python2.pt"] {
        let checkpoint = open(file);
        assert_tensors(&checkpoint, file);
        let state_dict = StateDict::from_value(checkpoint.root()).unwrap();
        let expected: Vec<String> =
            truth(file)["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(state_dict.keys().collect::<Vec<_>>(), expected, "{file}");
        assert!(state_dict.iter().all(|(_, tensor)| !tensor.is_parameter() && !tensor.requires_grad()));
    }
}

#[test]
fn parameters_and_buffers_are_told_apart() {
    for file in ["module.pt", "module_python2.pt"] {
        let checkpoint = open(file);
        let tensors: BTreeMap<String, Tensor> = checkpoint.tensors().unwrap().into_iter().collect();
        let (parameters, buffers) = (names(file, "parameters"), names(file, "buffers"));
        assert!(!parameters.is_empty() && !buffers.is_empty());
        assert!(parameters.iter().all(|name| tensors[name].is_parameter()), "{file}");
        assert!(buffers.iter().all(|name| !tensors[name].is_parameter()), "{file}");
    }
}

#[test]
fn attributes_and_training_flags_are_values() {
    for file in ["module.pt", "module_python2.pt"] {
        let checkpoint = open(file);
        for (module, training) in truth(file)["training"].as_object().unwrap() {
            let path = if module.is_empty() { "training".to_owned() } else { format!("{module}.training") };
            assert_eq!(checkpoint.get::<bool>(&path).unwrap(), *training, "{file} {path}");
        }
    }
    let checkpoint = open("module.pt");
    assert_eq!(checkpoint.get::<String>("name").unwrap(), "net");
    assert_eq!(checkpoint.get::<(i64, i64)>("sizes").unwrap(), (4, 3));
    assert_eq!(checkpoint.get::<i64>("stem.conv.out_channels").unwrap(), 2);
    // A tensor that is no buffer is an attribute; a buffer that is not saved with the state dict is there, too.
    assert_eq!(checkpoint.get::<Tensor>("table").unwrap().to_vec::<i64>().unwrap(), [0, 1, 2]);
    assert_eq!(checkpoint.get::<Tensor>("cache").unwrap().shape(), [5]);
    let state_dict = StateDict::from_value(checkpoint.root()).unwrap();
    assert!(!state_dict.contains("table") && !state_dict.contains("cache"));
    // The hook is named, and never looked up.
    let hooks = checkpoint.value("head._forward_hooks").unwrap();
    let [(_, Value::Global(hook))] = &hooks.as_dict().unwrap().entries()[..] else { panic!("{hooks:?}") };
    assert!(hook.is("sections.legacy", "double"), "{hook}");
}

#[test]
fn modules_that_are_one_object_stay_one() {
    let checkpoint = open("module.pt");
    assert_eq!(checkpoint.value("head").unwrap().id(), checkpoint.value("again").unwrap().id());
    let tied: Tensor = checkpoint.get("tied.weight").unwrap();
    assert!(tied.same(&checkpoint.get("head.weight").unwrap()));
}

#[test]
fn a_module_goes_on_as_it_came() {
    let folder = rekindle_testing::scratch();
    for file in ["module.pt", "module_python2.pt"] {
        let checkpoint = open(file);
        for container in [Format::LEGACY, Format::ZIP] {
            let path = folder.path().join(format!("{container}-{file}"));
            let refused = checkpoint.save_with(&path, &SaveOptions::default().format(container)).unwrap_err();
            assert!(refused.to_string().contains("which plain torch.load refuses"), "{refused}");
            let options = SaveOptions::default().format(container).allow_objects(true);
            checkpoint.save_with(&path, &options).unwrap();
            let copy = Checkpoint::open(&path).unwrap();
            let tensors = |checkpoint: &Checkpoint| -> Vec<_> {
                let all = checkpoint.tensors().unwrap().into_iter();
                all.map(|(name, tensor)| (name, tensor.is_parameter(), tensor.to_le_bytes().unwrap())).collect()
            };
            assert_eq!(tensors(&copy), tensors(&checkpoint), "{file}");
            assert_eq!(copy.value("training").unwrap().as_i64(), Some(1));
        }
    }
}
