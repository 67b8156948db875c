//! `predict` from pictures, in parts, and what it refuses.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::{Checkpoint, StateDict, Tensor};
use rekindle_testing::fixtures::{self, floats};
use rekindle_testing::scratch;
use serde_json::Value as Json;

use crate::{command, refusal, rekindle};

fn image(name: &str) -> PathBuf {
    fixtures::path("images").join(name)
}

/// `predict` of a network in `images/`, with these arguments, in which `@name` is a file there.
fn predict(network: &str, arguments: &[&str]) -> Output {
    let arguments = arguments.iter().map(|argument| match argument.strip_prefix('@') {
        Some(name) => image(name).into_os_string(),
        None => argument.into(),
    });
    rekindle([PathBuf::from("predict").into_os_string(), image(network).into_os_string()].into_iter().chain(arguments))
}

/// As `ImageClassification(crop_size=24, resize_size=32)`.
const PREPARED: &[&str] = &["--preset", "imagenet", "--resize", "32", "--crop", "24"];
const FILES: &[&str] = &["--image", "@colour.png", "@tall.png", "@small.png", "@grey.png", "@palette.png"];

fn scores() -> Vec<Json> {
    fixtures::json("images/truth.json")["scores"].as_array().unwrap().clone()
}

fn of(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let value = Checkpoint::open(path).unwrap().value(name).unwrap();
    let tensor = value.as_tensor().unwrap();
    let bytes = tensor.to_le_bytes().unwrap();
    (tensor.shape().to_vec(), bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

#[test]
fn pictures_get_the_probabilities_that_pytorch_gives_them() {
    for batch in [&[][..], &["--batch-size", "2"], &["--batch-size", "1"]] {
        let output = predict("net.pt2", &[FILES, PREPARED, batch, &["--labels", "@labels.txt", "--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        let document: Json = serde_json::from_slice(&output.stdout).unwrap();
        let images = document["images"].as_array().unwrap();
        assert_eq!(images.len(), scores().len());
        for (ours, theirs) in images.iter().zip(scores()) {
            assert_eq!(ours["name"].as_str().unwrap(), image(theirs["file"].as_str().unwrap()).to_str().unwrap());
            let mut expected: Vec<(usize, f64)> = floats(&theirs["probabilities"]).into_iter().enumerate().collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1));
            let top = ours["top"].as_array().unwrap();
            assert_eq!(top.len(), 5);
            for (ours, (class, probability)) in top.iter().zip(expected) {
                assert_eq!(ours["class"], class, "{theirs}");
                assert_eq!(ours["label"], ["cat", "dog", "horse", "ship", "truck"][class]);
                assert!((ours["probability"].as_f64().unwrap() - probability).abs() < 1e-6, "{ours}, {probability}");
            }
        }
    }
}

#[test]
fn the_most_probable_classes_are_printed_by_their_names() {
    let text = |arguments: &[&str]| {
        let output = predict("net.pt2", &[&["--image", "@colour.png", "@tall.png"], PREPARED, arguments].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = text(&["--labels", "@labels.json", "--top-k", "2"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 6, "{printed}");
    assert_eq!(lines[0], image("colour.png").to_str().unwrap());
    let probabilities = floats(&scores()[0]["probabilities"]);
    let (class, probability) = probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert_eq!(lines[1], format!("  {probability:.4}  {}", ["cat", "dog", "horse", "ship", "truck"][class]));
    // Without names, classes have their numbers; five are printed.
    let printed = text(&[]);
    assert_eq!(printed.lines().count(), 12, "{printed}");
    assert_eq!(printed.lines().nth(1).unwrap(), format!("  {probability:.4}  class {class}"));
}

#[test]
fn pictures_outputs_go_to_a_file() {
    let folder = scratch();
    let out = folder.path().join("y.npz");
    // A program for one picture, and one for two, take them so many at once.
    for (network, files) in [("one.pt2", &FILES[..4]), ("two.pt2", &FILES[..5]), ("net.pt2", FILES)] {
        let arguments = [files, PREPARED, &["--out", out.to_str().unwrap(), "--overwrite"]].concat();
        let output = predict(network, &arguments);
        assert!(output.status.success(), "{output:?}");
        let (shape, found) = of(&out, "output_0");
        assert_eq!(shape, [files.len() - 1, 5]);
        for (ours, theirs) in found.chunks(5).zip(scores()) {
            for (ours, theirs) in ours.iter().zip(floats(&theirs["scores"])) {
                assert!((f64::from(*ours) - theirs).abs() < 1e-6, "{ours} here, {theirs} in PyTorch");
            }
        }
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, format!("output_0  float32  {shape:?}\n{}\n", out.display()));
    }
}

#[test]
fn what_pictures_cannot_be_is_said_before_any_work() {
    let said = |network: &str, arguments: &[&str]| refusal(&predict(network, arguments));
    for (network, arguments, expected) in [
        ("net.pt2", vec!["--image", "@colour.png", "@labels.txt"], "labels.txt: it is no picture that can be read"),
        ("net.pt2", vec!["--image", "@nowhere.png"], "nowhere.png: the picture cannot be read"),
        ("net.pt2", vec!["--image", "@"], "it is a folder, and no picture"),
        (
            "net.pt2",
            vec!["--image", "@small.png", "--preset", "cifar"],
            "there is no preset 'cifar'; there is imagenet",
        ),
        ("net.pt2", vec!["--image", "@small.png"], "14 x 9 pixels (width x height), and the network takes 24 x 24"),
        (
            "net.pt2",
            vec!["--image", "@small.png", "--preset", "imagenet"],
            "takes 24 x 24: see --resize, --crop and --preset",
        ),
        ("net.pt2", vec!["--image", "@small.png", "--crop", "24", "--mean", "0.5,0.5"], "small.png: it has 3 channels"),
        ("net.pt2", vec!["--image", "@small.png", "--labels", "@nowhere.txt"], "nowhere.txt: it cannot be read"),
        ("net.pt2", vec!["--image", "@small.png", "--crop", "24", "--labels", "@truth.json"], "'pictures' is no class"),
        (
            "two.pt2",
            vec!["--image", "@small.png", "@small.png", "@small.png", "--crop", "24"],
            "of 3 there are 1 left over",
        ),
        ("two.pt2", vec!["--image", "@small.png", "@small.png", "--batch-size", "1"], "for 2 samples at once, not 1"),
        ("../programs/gpt2/eval.pt2", vec!["--image", "@small.png"], "--image is for networks of one input"),
        ("../programs/conv1d/eval.pt2", vec!["--image", "@small.png"], "--image is for networks that take [batch"),
    ] {
        let said = said(network, &arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let folder = scratch();
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "cat\ndog\n").unwrap();
    let arguments = [&["--image", "@small.png"], PREPARED, &["--labels", labels.to_str().unwrap()]].concat();
    let said = said("net.pt2", &arguments);
    assert!(said.contains("labels.txt: it has 2 labels, and the network 5 classes"), "{said}");
    // One or the other, and nothing for nothing.
    for arguments in [
        &["--input", "x.npz", "--image", "@small.png"][..],
        &[],
        &["--input", "x.npz"],
        &["--input", "x.npz", "--out", "y.npz", "--crop", "3"],
    ] {
        assert_eq!(predict("net.pt2", arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_network_of_one_channel_sees_grey() {
    let folder = scratch();
    let out = folder.path().join("y.npz");
    let run = fixtures::root().join("examples/digits/run.pt");
    let arguments = ["--model", "digits", "--crop", "8", "--top-k", "1", "--out"];
    let mut command =
        command(["predict".as_ref(), run.as_os_str(), "--image".as_ref(), image("small.png").as_os_str()]);
    let output = command.args(arguments).arg(&out).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(of(&out, "output_0").0, [1, 10]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
}

/// A file of inputs.
fn inputs(folder: &Path, inputs: &[(&str, &[usize])]) -> PathBuf {
    let path = folder.join("x.safetensors");
    let mut file = StateDict::new();
    for (name, shape) in inputs {
        let count = u16::try_from(shape.iter().product::<usize>()).unwrap();
        let elements: Vec<f32> = (0..count).map(|i| f32::from(i % 23) / 11.0 - 1.0).collect();
        file.insert(*name, Tensor::from_vec(shape, elements).unwrap());
    }
    Checkpoint::from(file).save(&path).unwrap();
    path
}

#[test]
fn samples_are_computed_in_parts_where_that_gives_the_same() {
    let folder = scratch();
    let out = folder.path().join("y.npz");
    let net = image("two.pt2");
    let run = |network: &Path, input: &Path, more: &[&str]| {
        let arguments = ["predict".as_ref(), network.as_os_str(), "--input".as_ref(), input.as_os_str()];
        command(arguments).args(["--overwrite", "--out"]).arg(&out).args(more).output().unwrap()
    };
    let six = inputs(folder.path(), &[("input", &[6, 3, 24, 24][..])]);
    assert!(run(&net, &six, &["--batch-size", "2"]).status.success());
    assert_eq!(of(&out, "output_0").0, [6, 5]);
    assert!(refusal(&run(&net, &six, &[])).contains(", or pass --batch-size 2"));
    assert!(refusal(&run(&net, &six, &["--batch-size", "4"])).contains("for 2 samples at once, not 4"));
    let five = inputs(folder.path(), &[("input", &[5, 3, 24, 24][..])]);
    assert!(refusal(&run(&net, &five, &["--batch-size", "2"])).contains("of 5 there are 1 left over"));
    // The batch of net.pt2 is symbolic: the last part may be smaller, one sample too, as in PyTorch.
    let net = image("net.pt2");
    assert!(run(&net, &five, &["--batch-size", "2"]).status.success());
    let parts = of(&out, "output_0");
    assert!(run(&net, &five, &[]).status.success());
    let whole = of(&out, "output_0");
    assert_eq!((parts.0, whole.0), (vec![5, 5], vec![5, 5]));
    assert!(parts.1.iter().zip(whole.1).all(|(one, other)| (one - other).abs() < 1e-6));
    // Of no samples there are no outputs, but with their shape.
    let none = inputs(folder.path(), &[("input", &[0, 3, 24, 24][..])]);
    for more in [&[][..], &["--batch-size", "2"]] {
        let output = run(&net, &none, more);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(of(&out, "output_0").0, [0, 5]);
    }
    // What is no input is said; `inputs` is the input where there is one, and classes are printed of arrays, too.
    let two = inputs(folder.path(), &[("inputs", &[2, 3, 24, 24][..]), ("targets", &[2])]);
    let output = run(&net, &two, &["--labels", image("labels.txt").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("'targets' is no input of the network"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("sample 0\n  0."), "{output:?}");
}

#[test]
fn an_output_without_a_row_for_each_sample_is_not_joined() {
    let folder = scratch();
    let out = folder.path().join("y.npz");
    let case = Checkpoint::open(fixtures::path("programs/gpt2/eval.safetensors")).unwrap();
    let mut file = StateDict::new();
    for (name, key) in [("input_ids", "['in.0']"), ("labels", "['in.1']")] {
        let value = case.value(key).unwrap();
        let twice = value.as_tensor().unwrap().to_le_bytes().unwrap().repeat(2);
        file.insert(name, Tensor::from_le_bytes(rekindle::recorder::DType::Int64, &[4, 7], twice).unwrap());
    }
    let input = folder.path().join("x.pt");
    Checkpoint::from(file).save(&input).unwrap();
    let net = fixtures::path("programs/gpt2/eval.pt2");
    let arguments = ["predict".as_ref(), net.as_os_str(), "--input".as_ref(), input.as_os_str()];
    let output = command(arguments).args(["--batch-size", "2", "--out"]).arg(&out).output().unwrap();
    let said = refusal(&output);
    assert!(said.contains("x.pt: the output 'loss' of [] has not a row for each sample"), "{said}");
}

#[test]
fn inputs_may_be_in_a_tuple_or_alone() {
    let folder = scratch();
    let tensor = Tensor::from_vec(&[2, 3, 24, 24], vec![0.5f32; 3456]).unwrap();
    let (path, out) = (folder.path().join("x.pt"), folder.path().join("y.npz"));
    let run = || {
        let net = image("net.pt2");
        let arguments = ["predict".as_ref(), net.as_os_str(), "--input".as_ref(), path.as_os_str()];
        command(arguments).args(["--overwrite", "--out"]).arg(&out).output().unwrap()
    };
    let dict = |name: &str, value: rekindle::Value| rekindle::Value::from(rekindle::Dict::from_iter([(name, value)]));
    let value = rekindle::Value::from(tensor);
    let tuple = |items: &[rekindle::Value]| rekindle::Value::Tuple(items.to_vec().into());
    for root in [value.clone(), tuple(std::slice::from_ref(&value)), dict("input", value.clone())] {
        Checkpoint::from(root)
            .save_with(&path, &rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true))
            .unwrap();
        let output = run();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(of(&out, "output_0").0, [2, 5]);
    }
    for (root, said) in [
        (tuple(&[value.clone(), value.clone()]), "there are 2 arrays in the file, and the network takes input"),
        (
            dict("extra", dict("mask", value)),
            "there is no input 'input' in the file, which has extra.mask; the network takes input",
        ),
    ] {
        Checkpoint::from(root)
            .save_with(&path, &rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true))
            .unwrap();
        let refused = refusal(&run());
        assert!(refused.contains(said), "{refused}");
    }
}
