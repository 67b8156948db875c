//! What is read from archives of TorchScript, `torch.export` and `torch.package`.

use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::container::Format;
use rekindle_recorder::{StateDict, Tensor, Value};

use super::damage::repack;
use super::fixtures::{Against, PROGRAMS, SCRIPTS, names, open, read, state_dict, truth};

#[test]
fn the_state_dict_of_a_script_is_what_pytorch_gives() {
    let mut compared = 0;
    for file in SCRIPTS {
        let checkpoint = open(file);
        assert_eq!(checkpoint.format(), Some(Format::TORCHSCRIPT), "{file}");
        let truth = truth(file);
        let state_dict = checkpoint.state_dict("").unwrap();
        Against::new(file).state_dict(&state_dict, &truth["state_dict"]);
        for pair in truth["metadata"].as_array().unwrap() {
            assert_eq!(state_dict.version(pair[0].as_str().unwrap()), pair[1].as_i64(), "{file} {pair}");
        }
        compared += state_dict.len();
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn modules_are_told_in_pytorchs_order() {
    for file in SCRIPTS {
        let metadata = open(file).value("_metadata").unwrap();
        let ours: Vec<String> =
            metadata.as_dict().unwrap().entries().iter().map(|(path, _)| path.as_str().unwrap().to_owned()).collect();
        let truth = truth(file);
        let theirs: Vec<&str> =
            truth["metadata"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
        assert_eq!(ours, theirs, "{file}");
    }
}

#[test]
fn attributes_of_a_script_are_values() {
    for file in SCRIPTS {
        let checkpoint = open(file);
        let truth = truth(file);
        let mut against = Against::new(file);
        // Storages that are tied to the state dict's are so here.
        against.state_dict(&checkpoint.state_dict("").unwrap(), &truth["state_dict"]);
        for (path, expected) in truth["attributes"].as_object().unwrap() {
            let value =
                checkpoint.value(&format!("attributes.{path}")).unwrap_or_else(|error| panic!("{file}: {error}"));
            against.value(&value, expected, path);
        }
    }
}

#[test]
fn constants_of_a_class_are_values() {
    for file in ["script.pt", "script113.pt"] {
        let checkpoint = open(file);
        for (path, number) in
            [("block.offset", 3), ("again.offset", 3), ("steps.0.in_features", 2), ("steps.1.num_features", 3)]
        {
            assert_eq!(checkpoint.get::<i64>(&format!("attributes.{path}")).unwrap(), number, "{file} {path}");
        }
        let eps: f64 = checkpoint.get("attributes.steps.1.eps").unwrap();
        assert_eq!(eps.to_bits(), 1e-5_f64.to_bits());
        assert!(checkpoint.get::<bool>("attributes.steps.1.affine").unwrap());
    }
    assert_eq!(open("mobile.ptl").get::<(i64,)>("attributes.norm.normalized_shape").unwrap(), (4,));
}

#[test]
fn constants_of_a_script_are_tensors() {
    for file in ["script.pt", "traced.pt", "frozen.pt", "model_json.pt"] {
        let checkpoint = open(file);
        let truth = truth(file);
        let expected = truth["constants"].as_object().unwrap();
        assert_eq!(checkpoint.contains("constants"), !expected.is_empty(), "{file}");
        let mut against = Against::new(file);
        for (name, expected) in expected {
            against.tensor(&checkpoint.get::<Tensor>(&format!("constants.{name}")).unwrap(), expected, name);
        }
        if !expected.is_empty() {
            assert_eq!(checkpoint.value("constants").unwrap().as_dict().unwrap().len(), expected.len(), "{file}");
        }
    }
}

#[test]
fn attributes_as_pytorch_1_1_spelled_them_are_the_same() {
    // In a list instead of a tuple; tensors and lists of numbers as objects of a module that never was.
    let tensor = |place: u8| [&b"c__main__\nTensorID\n)\x81K"[..], &[place], b"b"].concat();
    let ints = b"c__main__\nIntList\n)\x81](K\x02K\x03eb";
    let older = [b"\x80\x02](\x88\x89", &tensor(2)[..], ints, b"}(X\x01\0\0\0k", &tensor(6), b"ue."].concat();
    let archive =
        repack("model_json.pt", |name, payload| Some(if name == "attributes.pkl" { older.clone() } else { payload }));
    let checkpoint = Checkpoint::from(read(archive).unwrap().value);
    let mut against = Against::new("model_json.pt");
    let truth = truth("model_json.pt");
    against.state_dict(&checkpoint.state_dict("").unwrap(), &truth["state_dict"]);
    for (path, expected) in truth["attributes"].as_object().unwrap() {
        against.value(&checkpoint.value(&format!("attributes.{path}")).unwrap(), expected, path);
    }
}

#[test]
fn a_frozen_model_has_its_weights_among_the_constants() {
    let checkpoint = open("frozen.pt");
    assert!(checkpoint.state_dict("").unwrap().is_empty());
    assert!(checkpoint.get::<Tensor>("constants.c0").unwrap().numel() > 0);
}

#[test]
fn packed_weights_are_the_state_that_their_class_keeps() {
    for file in ["quantised.pt", "quantised113.pt"] {
        let packed = open(file).value("attributes.linear._packed_params._packed_params").unwrap();
        let tensors = Checkpoint::from(packed).tensors().unwrap();
        assert!(tensors.iter().any(|(_, tensor)| tensor.dtype().name() == "qint8"), "{file}: {tensors:?}");
    }
}

#[test]
fn of_a_module_that_restores_itself_the_saved_state_is_kept() {
    let checkpoint = open("restored.pt");
    let ours = checkpoint.state_dict("").unwrap();
    // PyTorch runs the module's own code, which makes `inner.weight` of the first item.
    assert_eq!(ours.keys().collect::<Vec<_>>(), ["linear.weight", "linear.bias"]);
    let truth = truth("restored.pt");
    let weight = truth["state_dict"].as_array().unwrap().iter().find(|entry| entry["name"] == "inner.weight").unwrap();
    let state = checkpoint.value("attributes.inner").unwrap().items().unwrap();
    let [Value::Tensor(tensor), Value::Int(4), Value::Bool(true)] = &state[..] else { panic!("{state:?}") };
    assert_eq!(tensor.shape(), [2]);
    assert_eq!(weight["shape"][0], 2);
}

#[test]
fn the_state_dict_of_a_program_is_what_pytorch_gives() {
    for file in PROGRAMS {
        let checkpoint = open(file);
        assert_eq!(checkpoint.format(), Some(Format::PT2), "{file}");
        check_program(&checkpoint, "", &truth(file), file);
    }
}

#[test]
fn several_programs_in_one_archive_have_their_names() {
    let checkpoint = open("several.pt2");
    let truth = truth("several.pt2");
    for name in ["first", "second"] {
        check_program(&checkpoint, name, &truth[name], name);
    }
    assert_eq!(checkpoint.root().as_dict().unwrap().len(), 2);
}

fn check_program(checkpoint: &Checkpoint, path: &str, truth: &serde_json::Value, file: &str) {
    let mut against = Against::new(file);
    let state_dict = checkpoint.state_dict(path).unwrap();
    against.state_dict(&state_dict, &truth["state_dict"]);
    let parameters: Vec<&str> =
        state_dict.iter().filter(|(_, tensor)| tensor.is_parameter()).map(|(name, _)| name).collect();
    assert_eq!(parameters, names(&truth["parameters"]), "{file}");
    let dict = checkpoint.value(path).unwrap();
    let constants = dict.as_dict().unwrap().state().and_then(|state| state.as_dict()?.get("constants"));
    let constants = constants.map(|constants| constants.as_dict().unwrap().entries()).unwrap_or_default();
    let expected = truth["constants"].as_object().unwrap();
    assert_eq!(constants.len(), expected.len(), "{file}");
    for (name, value) in constants {
        let name = name.as_str().unwrap();
        against.tensor(value.as_tensor().unwrap(), &expected[name], name);
    }
}

#[test]
fn the_pickles_of_a_package_are_data() {
    let checkpoint = open("package.pt");
    assert_eq!(checkpoint.format(), Some(Format::PACKAGE));
    let truth = truth("package.pt");
    let weights = checkpoint.state_dict("model/weights.pkl.model").unwrap();
    Against::new("package.pt").state_dict(&weights, &truth["state_dict"]);
    assert_eq!(checkpoint.get::<i64>("['model/weights.pkl'].step").unwrap(), 4);
    // A module of a class that is in the package itself.
    let net = checkpoint.state_dict("model/net.pkl").unwrap();
    assert_eq!(net.keys().collect::<Vec<_>>(), ["weight", "frozen", "mean"]);
    let Value::Object(net) = checkpoint.value("model/net.pkl").unwrap() else { panic!("an object") };
    assert!(net.read().class().unwrap().name.contains("Block"), "{:?}", net.read().class());
    // Every other record is named, none is lost.
    let mut all: Vec<String> = checkpoint.get("files").unwrap();
    all.extend(
        checkpoint.root().as_dict().unwrap().entries().iter().map(|(name, _)| name.as_str().unwrap().to_owned()),
    );
    all.retain(|name| !name.ends_with(".storage"));
    all.sort_unstable();
    let expected: Vec<&str> = names(&truth["names"]).into_iter().filter(|name| !name.ends_with(".storage")).collect();
    assert_eq!(all, expected);
}

#[test]
fn the_weights_of_a_script_in_a_package_are_there() {
    let checkpoint = open("package.pt");
    let data = checkpoint.value(".data/ts_code/0/data.pkl").unwrap();
    let tensors = Checkpoint::from(data).tensors().unwrap();
    let shapes: Vec<&[usize]> = tensors.iter().map(|(_, tensor)| tensor.shape()).collect();
    // weight, frozen, mean, cache
    assert_eq!(shapes, [&[2, 2][..], &[2], &[2], &[3]]);
    assert!(tensors.iter().all(|(_, tensor)| tensor.to_le_bytes().is_ok()));
}

#[test]
fn extra_files_and_code_are_no_part_of_the_state_dict() {
    let keys = |state_dict: &StateDict| state_dict.keys().map(ToOwned::to_owned).collect::<Vec<_>>();
    assert!(keys(&state_dict("script.pt")).iter().all(|name| !name.contains("notes")));
    assert_eq!(keys(&state_dict("traced.pt")), keys(&state_dict("mobile.ptl")));
}
