//! Whole modules, as `torch.save(model)` keeps them.

use std::collections::BTreeMap;

use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::tensor::TensorClass;
use rekindle_recorder::{StateDict, Tensor, Value};

use super::fixtures::{Against, names, open, truth};

const FILE: &str = "whole.pt";

#[test]
fn the_state_dict_of_a_module_is_what_pytorch_gives() {
    let checkpoint = open(FILE);
    assert_eq!(checkpoint.format(), Some(Format::ZIP));
    let state_dict = checkpoint.state_dict("").unwrap();
    Against::new(FILE).state_dict(&state_dict, &truth(FILE)["state_dict"]);
    assert!(state_dict.iter().all(|(_, tensor)| !tensor.is_parameter() && !tensor.requires_grad()));
    // `persistent=False`, whether the buffer is an nn.Buffer or registered.
    assert!(!state_dict.contains("passing") && !state_dict.contains("cache"));
}

#[test]
fn parameters_and_buffers_are_told_apart() {
    let checkpoint = open(FILE);
    let tensors: BTreeMap<String, Tensor> = checkpoint.tensors().unwrap().into_iter().collect();
    let truth = truth(FILE);
    let (parameters, buffers) = (names(&truth["parameters"]), names(&truth["buffers"]));
    assert_eq!((parameters.len(), buffers.len()), (16, 7));
    assert!(parameters.iter().all(|name| tensors[*name].is_parameter()));
    assert!(buffers.iter().all(|name| !tensors[*name].is_parameter()));
}

#[test]
fn what_parameters_and_buffers_carry_is_a_value() {
    let checkpoint = open(FILE);
    let weight: Tensor = checkpoint.get("weight").unwrap();
    let TensorClass::Parameter { state: Some(state) } = &weight.parts().class else { panic!("{weight:?}") };
    let state = state.as_dict().unwrap();
    assert_eq!(state.get("no_decay").unwrap().as_i64(), Some(1));
    assert_eq!(state.get("tags").unwrap().items().unwrap()[0].as_str(), Some("head"));
    let kept: Tensor = checkpoint.get("kept").unwrap();
    let TensorClass::Other { state, .. } = &kept.parts().class else { panic!("{kept:?}") };
    let attributes = Checkpoint::from(state.clone());
    let origin = attributes.root().as_dict().map(|state| state.get("origin").unwrap());
    assert_eq!(origin.as_ref().and_then(Value::as_str), Some("data"));
    // What went through state_dict() carries nothing.
    let state_dict = checkpoint.state_dict("").unwrap();
    for name in ["weight", "kept"] {
        assert!(matches!(state_dict.get(name).unwrap().parts().class, TensorClass::Tensor), "{name}");
    }
}

#[test]
fn attributes_classes_and_hooks_are_values() {
    let checkpoint = open(FILE);
    assert_eq!(checkpoint.get::<f64>("body.0.scale").unwrap().to_bits(), 0.5_f64.to_bits());
    assert_eq!(checkpoint.get::<i64>("body.0.in_features").unwrap(), 2);
    assert_eq!(checkpoint.get::<f64>("list.1.p").unwrap().to_bits(), 0.25_f64.to_bits());
    assert_eq!(checkpoint.get::<(i64, i64)>("sizes").unwrap(), (4, 3));
    assert!(checkpoint.get::<bool>("table.on").unwrap());
    assert!(!checkpoint.get::<bool>("body.training").unwrap() && checkpoint.get::<bool>("training").unwrap());
    assert_eq!(checkpoint.get::<Tensor>("plain").unwrap().to_vec::<i64>().unwrap(), [0, 1, 2]);
    let Value::Object(layer) = checkpoint.value("body.0").unwrap() else { panic!("an object") };
    assert!(layer.read().class().unwrap().is("sections._scripted", "Scaled"));
    let hooks = checkpoint.value("body.0._forward_hooks").unwrap();
    let [(_, Value::Global(hook))] = &hooks.as_dict().unwrap().entries()[..] else { panic!("{hooks:?}") };
    assert!(hook.is("sections._scripted", "double"), "{hook}");
}

#[test]
fn what_is_one_object_stays_one() {
    let checkpoint = open(FILE);
    assert_eq!(checkpoint.value("list.0").unwrap().id(), checkpoint.value("by_name.same").unwrap().id());
    let weight: Tensor = checkpoint.get("weight").unwrap();
    assert!(weight.same(&checkpoint.get("tied.weight").unwrap()));
    let tied = checkpoint.state_dict("").unwrap();
    assert!(tied.tied().iter().any(|names| names.contains(&"weight") && names.contains(&"tied.weight")));
}

#[test]
fn a_module_goes_on_as_it_came() {
    let folder = rekindle_testing::scratch();
    let checkpoint = open(FILE);
    for container in [Format::ZIP, Format::LEGACY] {
        let path = folder.path().join(format!("{container}.pt"));
        let refused = checkpoint.save_with(&path, &SaveOptions::default().format(container)).unwrap_err();
        assert!(refused.to_string().contains("which plain torch.load refuses"), "{refused}");
        checkpoint.save_with(&path, &SaveOptions::default().format(container).allow_objects(true)).unwrap();
        let copy = Checkpoint::open(&path).unwrap();
        Against::new(FILE).state_dict(&StateDict::from_value(copy.root()).unwrap(), &truth(FILE)["state_dict"]);
        let about = |checkpoint: &Checkpoint| -> Vec<_> {
            let all = checkpoint.tensors().unwrap().into_iter();
            all.map(|(name, tensor)| (name, tensor.is_parameter(), tensor.requires_grad(), format!("{tensor:?}")))
                .collect()
        };
        assert_eq!(about(&copy), about(&checkpoint));
        assert!(copy.globals().iter().eq(checkpoint.globals()), "{:?}", copy.globals());
    }
}
