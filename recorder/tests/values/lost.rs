//! What a conversion loses is said: once, by name, and nothing that is not so. What a transfer did to a file is said, too.

use std::path::Path;

use rekindle_recorder::checkpoint::{OpenOptions, SaveOptions};
use rekindle_recorder::convert::Conversion;
use rekindle_recorder::inspect::Inspection;
use rekindle_recorder::tensor::TensorClass;
use rekindle_recorder::value::{Construction, Global, ObjectData};
use rekindle_recorder::verify::verify;
use rekindle_recorder::{Checkpoint, Dict, Error, Format, StateDict, Tensor, Value};
use rekindle_testing::fixtures;

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path(&format!("lost/{name}"))).unwrap()
}

fn notes(name: &str, path: &Path, format: Format) -> Vec<String> {
    let options = SaveOptions::default().format(format);
    Conversion::default().save(&open(name), path, &options).unwrap().notes
}

#[test]
fn of_a_whole_module_each_thing_really_lost_is_one_line() {
    let folder = rekindle_testing::scratch();
    for (file, format) in [
        ("a.safetensors", Format::SAFETENSORS),
        ("hf", Format::HF),
        ("a.npz", Format::NUMPY),
        ("a.bpk", Format::BURNPACK),
    ] {
        let notes = notes("whole.pt", &folder.path().join(file), format);
        let all = notes.join("\n");
        assert!(notes.len() <= 5, "{all}");
        for word in ["'_parameters'", "'_modules'", "'_buffers'", "hooks", "'count'", "'rnn._flat_weights[0]'"] {
            assert!(!all.contains(word), "{word} is written, or nothing: {all}");
        }
        let tensors = notes.iter().find(|note| note.contains("tensors of the module, left out")).unwrap();
        assert!(tensors.starts_with("'mask', 'plain', 'config.mean': 3 tensors"), "{tensors}");
        assert!(
            notes.iter().any(|note| note.contains("other values of the module") && note.contains("'training'")),
            "{all}"
        );
        assert!(notes.iter().any(|note| note.contains("'head.weight' (is 'embed.weight')")), "{all}");
    }
    // The same where it is saved as it is.
    let path = folder.path().join("direct.safetensors");
    let saved = open("whole.pt").save(&path).unwrap().notes.join("\n");
    assert!(saved.contains("3 tensors of the module, left out") && !saved.contains("_parameters"), "{saved}");
}

#[test]
fn names_that_are_dropped_because_they_are_tied_are_noted_in_every_format() {
    let folder = rekindle_testing::scratch();
    for (file, format, says) in [
        ("a.safetensors", Format::SAFETENSORS, "the other names are dropped"),
        ("hf", Format::HF, "the other names are dropped"),
        ("a.npz", Format::NUMPY, "each name has its own copy"),
    ] {
        let notes = notes("tied.pt", &folder.path().join(file), format);
        let tied: Vec<_> = notes.iter().filter(|note| note.contains("head.weight")).collect();
        assert_eq!(tied.len(), 1, "{notes:?}");
        assert!(tied[0].starts_with("'head.weight' (is 'embed.weight'): ") && tied[0].contains(says), "{tied:?}");
        let attributes: Vec<_> = notes.iter().filter(|note| note.contains("_metadata")).collect();
        assert_eq!(attributes.len(), 1, "{notes:?}");
    }
}

#[test]
fn a_frozen_script_has_its_constants_as_weights() {
    let truth = fixtures::json("lost/truth.json");
    let checkpoint = open("frozen.pt");
    let inspection = Inspection::of(&checkpoint, false).unwrap();
    let names: Vec<&str> = inspection.tensors.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["@constants.c0", "@constants.c1", "@constants.c2", "@constants.c3"]);
    let names: Vec<&str> = names.iter().map(|name| name.trim_start_matches('@')).collect();
    let folder = rekindle_testing::scratch();
    for file in ["a.safetensors", "a.npz"] {
        let path = folder.path().join(file);
        Conversion::default().save(&checkpoint, &path, &SaveOptions::default()).unwrap();
        let back = Checkpoint::open(&path).unwrap();
        let mut found: Vec<Vec<f64>> =
            names.iter().map(|name| back.get::<Tensor>(name).unwrap().to_f64_vec().unwrap()).collect();
        let mut wanted: Vec<Vec<f64>> = truth
            .as_object()
            .unwrap()
            .values()
            .map(|elements| elements.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect())
            .collect();
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        wanted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(found, wanted);
    }
    let zip = SaveOptions::default().format(Format::ZIP);
    let path = folder.path().join("weights.pt");
    Conversion::default().save(&checkpoint, &path, &zip).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().tensors().unwrap().len(), 4);
}

#[test]
fn a_script_to_a_pt_file_says_which_of_two_things_is_to_be_told() {
    let folder = rekindle_testing::scratch();
    let (script, path) = (fixtures::path("lost/script.pt"), folder.path().join("out.pt"));
    let error = Checkpoint::open(&script).unwrap().save(&path).unwrap_err().to_string();
    assert!(error.contains("`SaveOptions::format(\"zip\")` writes its weights alone"), "{error}");
    assert!(error.contains(&format!("`SaveOptions::template(\"{}\")` a copy", script.display())), "{error}");
    // Both are answers that are taken.
    let checkpoint = Checkpoint::open(&script).unwrap();
    checkpoint.save_with(&path, &SaveOptions::default().format(Format::ZIP)).unwrap();
    checkpoint.save_with(&path, &SaveOptions::default().template(script).overwrite(true)).unwrap();
}

/// An object of a class that nobody knows, as pickle makes one, with these attributes.
fn object(class: &str, attributes: Dict) -> Value {
    let mut data = ObjectData::call(Global::new("home", class), Vec::new());
    data.construction = Construction::New;
    data.states.push(attributes.into());
    data.into()
}

/// A dict of a class of its own.
fn dict_of(class: &str, tensors: &StateDict) -> Value {
    let mut data = ObjectData::call(Global::new("home", class), Vec::new());
    data.construction = Construction::New;
    for (name, tensor) in tensors.iter() {
        data.entries.push((name.into(), tensor.clone().into()));
    }
    data.into()
}

/// In whatever place it is, and into whatever format.
#[test]
fn a_class_that_a_conversion_drops_is_named() {
    let folder = rekindle_testing::scratch();
    let weight = StateDict::from_iter([("w", Tensor::from_vec(&[2], vec![1.0_f32, 2.0]).unwrap())]);
    let with = |key: &str, value: Value| -> Value {
        let root = Dict::from_iter([("model", Value::from(weight.clone()))]);
        root.insert(key, value);
        root.into()
    };
    let attributes = || Dict::from_iter([("lr", Value::Float(0.5)), ("mean", Tensor::scalar(1.0_f32).into())]);
    let mut own = weight.iter().next().unwrap().1.parts().clone();
    own.class = TensorClass::Other { class: Global::new("home", "Labelled"), state: Value::None };
    let labelled = Dict::from_iter([("w", Tensor::new(own).unwrap())]);
    let cases: [(&str, Value, &str); 6] = [
        ("root_dict", dict_of("MyDict", &weight), "the root: the class home.MyDict is not kept"),
        ("root", object("Run", attributes()), "the root: the class home.Run is not kept"),
        ("beside", with("args", object("Conf", attributes())), "'args': the class home.Conf is not kept"),
        ("numbers", with("args", object("Conf", Dict::from_iter([("lr", 0.5)]))), "'args': the class home.Conf"),
        ("nested", with("more", vec![dict_of("MyDict", &weight)].into()), "'more[0]': the class home.MyDict"),
        ("tensor", labelled.into(), "'w': the class home.Labelled is not kept"),
    ];
    for (name, root, says) in &cases {
        for (file, format) in [
            ("a.safetensors", Format::SAFETENSORS),
            ("hf", Format::HF),
            ("a.npz", Format::NUMPY),
            ("a.bpk", Format::BURNPACK),
        ] {
            let path = folder.path().join(format!("{name}_{file}"));
            let options = SaveOptions::default().format(format);
            let report = Conversion::default().save(&Checkpoint::from(root.clone()), &path, &options).unwrap();
            let said = report.notes.iter().filter(|note| note.contains(says)).count();
            assert_eq!(said, 1, "{name} to {format}: {:?}", report.notes);
            let classes = report.notes.iter().filter(|note| note.contains("the class ")).count();
            assert_eq!(classes, 1, "{name} to {format}: {:?}", report.notes);
        }
    }
    // What a distributed checkpoint makes plain dicts of, and what plain torch.load takes.
    let [(_, my_dict, _), .., (_, labelled, _)] = &cases;
    for (root, says, options) in [
        (my_dict, "the class home.MyDict is not kept, a plain dict", SaveOptions::default().format(Format::DCP)),
        (labelled, "'w' without its class home.Labelled", SaveOptions::default().weights_only(true)),
    ] {
        let path = folder.path().join(format!("out{}", says.len()));
        let report = Checkpoint::from(root.clone()).save_with(path, &options).unwrap();
        assert!(report.notes.iter().any(|note| note.contains(says)), "{:?}", report.notes);
    }
    // The class of a whole module is one more thing that no state dict has.
    let notes = notes("whole.pt", &folder.path().join("whole.safetensors"), Format::SAFETENSORS);
    assert!(notes.iter().any(|note| note.contains("the root: the class home.Tied is not kept")), "{notes:?}");
}

/// Every occurrence replaced.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

#[test]
fn a_file_that_was_transferred_as_text_says_so() {
    let folder = rekindle_testing::scratch();
    for (name, bytes) in [
        ("zip", std::fs::read(fixtures::path("zip/tutorial.pt")).unwrap()),
        ("legacy", std::fs::read(fixtures::path("legacy/tutorial.pt")).unwrap()),
        ("digits", std::fs::read(fixtures::path("digits/digits.safetensors")).unwrap_or_default()),
    ] {
        if bytes.is_empty() {
            continue;
        }
        let mut changes = vec![(replaced(&bytes, b"\n", b"\r\n"), "every line feed became CR LF")];
        let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        changes.push((latin.into_bytes(), "every byte beyond ASCII was written as UTF-8"));
        if name != "digits" {
            changes.push((String::from_utf8_lossy(&bytes).into_owned().into_bytes(), "was replaced by U+FFFD"));
        }
        if bytes.split(|&byte| byte == b'\r').count() > 100 {
            changes.push((replaced(&bytes, b"\r", b""), "every CR was taken out"));
        }
        for (damaged, says) in changes {
            let path = folder.path().join(format!("{name}.pt"));
            std::fs::write(&path, &damaged).unwrap();
            let error: Error = Checkpoint::open(&path).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(says) && text.contains("transferred as text"), "{name}: {text}");
            assert!(text.contains("again as binary") && error.file() == Some(&*path), "{name}: {text}");
            let report = verify(&path, &OpenOptions::default(), false).unwrap();
            assert!(report.problems[0].error.to_string().contains(says), "{name}");
        }
    }
}
