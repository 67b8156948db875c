//! The data sets that `--data` and `--val` take, and the place in the data: what a user sees.

use std::path::Path;

use rekindle::random::Generator;
use rekindle::train::data::{Array, Dataset, StatefulDataLoader};
use rekindle::{Checkpoint, Dict, Tensor};
use rekindle_testing::fixtures;
use serde_json::Value as Json;

use crate::resume::{changed, resume};
use crate::{refusal, rekindle};

fn json(output: &std::process::Output) -> Json {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_run_that_stops_in_the_midst_of_an_epoch_goes_on_there_with_the_same_losses() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = changed(folder, |_| {});
    let log = |name: &str| -> Vec<Json> { fixtures::lines(&folder.join(name)) };
    let stopped = ["--steps", "30", "--add-loader", "--save", "half.pt", "--log", "half.jsonl"];
    let output = resume(&run, &stopped, folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("stopped after"));
    // The scheduler's count of epochs is the same amid an epoch.
    let output = resume(&folder.join("half.pt"), &["--steps", "20", "--save", "end.pt", "--log", "rest.jsonl"], folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the loader goes on from dataloader_state_dict"));
    let output = resume(&run, &["--steps", "50", "--save", "whole.pt", "--log", "whole.jsonl"], folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("stopped after 4 of the 23 batches of epoch 16") && said.contains("--add-loader"), "{said}");
    let both = [log("half.jsonl"), log("rest.jsonl")].concat();
    let losses =
        |lines: &[Json]| lines.iter().map(|line| (line["step"].clone(), line["loss"].clone())).collect::<Vec<_>>();
    assert_eq!(losses(&both), losses(&log("whole.jsonl")));
}

#[test]
fn a_place_of_torchdata_s_is_where_the_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = 1437;
    let numbers = Array::new(rows, &[], (0..1437).collect::<Vec<i64>>()).unwrap();
    let data = std::sync::Arc::new(Dataset::new(numbers.clone(), numbers).unwrap());
    let mut global = Generator::new(3);
    let mut loader = StatefulDataLoader::new(data, 64).unwrap().shuffle(&mut global).workers(2);
    for _ in 0..5 {
        loader.next_batch(&mut global).unwrap();
    }
    let run = changed(folder, |checkpoint| {
        checkpoint.set("dataloader_state_dict", loader.state_dict(&mut global).unwrap()).unwrap();
    });
    let output = resume(&run, &["--steps", "4", "--save", "out.pt"], folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let saved = Checkpoint::open(folder.join("out.pt")).unwrap();
    let step = "dataloader_state_dict._snapshot._snapshot_step";
    assert_eq!(saved.get::<i64>(step).unwrap(), 9);
    // Without it an epoch begins, and it stays as it was.
    let output = resume(&run, &["--steps", "4", "--save", "none.pt", "--loader-state", "none"], folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(Checkpoint::open(folder.join("none.pt")).unwrap().get::<i64>(step).unwrap(), 5);
    // Another batch size is not that loader's.
    let output = resume(&run, &["--steps", "4", "--save", "other.pt", "--batch-size", "32"], folder);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("its batch size was another") && said.contains("--loader-state none"), "{said}");
}

/// What torchdata 0.11 keeps of an iterable data set, and of accelerate's `DataLoader(shuffle=True)`, whose sampler is PyTorch's.
#[test]
fn a_place_that_does_not_tell_the_order_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let none = || rekindle::Value::None;
    let place = |sampler: rekindle::Value, data: rekindle::Value| {
        Dict::from_iter([
            ("_index_sampler_state", none()),
            ("_sampler_iter_state", sampler),
            ("_sampler_iter_yielded", 2_i64.into()),
            ("_num_yielded", 2_i64.into()),
            ("_IterableDataset_len_called", none()),
            ("_shared_seed", none()),
            ("fetcher_state", data.clone()),
            ("dataset_state", data),
            ("_iterator_finished", rekindle::Value::Bool(false)),
        ])
    };
    let taken = Dict::from_iter([("samples_yielded", 128_i64)]);
    let iterable = place(taken.into(), Dict::from_iter([("i", 128_i64)]).into());
    for (state, told) in
        [(iterable, "is the state of a data set"), (place(none(), none()), "the order of the samples is not told")]
    {
        let run = changed(folder, |checkpoint| checkpoint.set("dataloader_state_dict", state).unwrap());
        let output = resume(&run, &["--steps", "4", "--save", "out.pt", "--log", "log.jsonl"], folder);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(told) && said.contains("--loader-state none"), "{said}");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let made: Vec<String> = names.filter(|name| name.starts_with("out") || name.starts_with("log")).collect();
        assert!(made.is_empty(), "{made:?}");
    }
}

/// `nn.Linear` of so many inputs and classes, and its optimizer, as a file.
fn linear(path: &Path, inputs: usize, classes: usize) {
    let weights =
        |count: usize| (0_u8..7).cycle().take(count).map(|i| f32::from(i) * 0.01 - 0.03).collect::<Vec<f32>>();
    let model = rekindle::StateDict::from_iter([
        ("0.weight", Tensor::from_vec(&[classes, inputs], weights(classes * inputs)).unwrap()),
        ("0.bias", Tensor::from_vec(&[classes], weights(classes)).unwrap()),
    ]);
    Checkpoint::from(rekindle::Dict::from_iter([("model_state_dict", model.to_value())])).save(path).unwrap();
}

#[test]
fn arrays_of_numpy_s_and_a_data_set_of_its_own_that_is_held_back_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    linear(&folder.join("net.pt"), 3, 2);
    let inputs: Vec<f32> = (0..60).map(|i| if i / 3 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let classes: Vec<i64> = (0..20).map(|i| i % 2).collect();
    let save =
        |name: &str, tensor: Tensor| Checkpoint::from(rekindle::Value::from(tensor)).save(folder.join(name)).unwrap();
    save("x.npy", Tensor::from_vec(&[20, 3], inputs.clone()).unwrap());
    save("y.npy", Tensor::from_vec(&[20], classes.clone()).unwrap());
    let both = rekindle::Dict::from_iter([
        ("inputs", Tensor::from_vec(&[20, 3], inputs).unwrap()),
        ("targets", Tensor::from_vec(&[20], classes).unwrap()),
    ]);
    Checkpoint::from(both).save(folder.join("val.npz")).unwrap();
    let model =
        ["--model", "mlp", "--config", "sizes=3,2", "--weights-only", "--optimizer", "SGD(lr=0.5)", "--seed", "1"];
    let data =
        ["--data", "x.npy", "--targets", "y.npy", "--val", "val.npz", "--batch-size", "5", "--epochs", "5", "--json"];
    let output = resume(&folder.join("net.pt"), &[&model[..], &data[..]].concat(), folder);
    assert_eq!(json(&output)["accuracy"], 1.0);
    let output = resume(
        &folder.join("net.pt"),
        &[&model[..], &["--data", "x.npy", "--batch-size", "5", "--overwrite"]].concat(),
        folder,
    );
    assert!(refusal(&output).contains("x.npy"));
    let twice = [&data[..], &["--held-back", "5", "--overwrite"]].concat();
    let output = resume(&folder.join("net.pt"), &[&model[..], &twice[..]].concat(), folder);
    assert!(refusal(&output).contains("--val and --held-back"));
}

#[test]
fn a_folder_of_pictures_is_trained_on_with_random_changes_that_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = json(&rekindle(["inspect", "--json", fixtures::path("images/net.pt2").to_str().unwrap()]));
    assert!(out["container"] == "pt2");
    let pictures = fixtures::path("data_sets/pictures");
    // A linear network over 3 x 6 x 6 pixels needs a program; LeNet takes 1 x 28 x 28.
    let lenet = folder.join("lenet.pt");
    let device = rekindle::device("cpu").unwrap();
    let network = rekindle::models::Network::build("lenet", &rekindle::models::Config::new(), &device).unwrap();
    let model = rekindle::prelude::ModuleStateDict::state_dict(&network).unwrap();
    Checkpoint::from(rekindle::Dict::from_iter([("model_state_dict", model.to_value())])).save(&lenet).unwrap();
    let arguments = |out: &'static str, workers: &'static str| {
        vec![
            "--model",
            "lenet",
            "--weights-only",
            "--optimizer",
            "SGD(lr=0.01)",
            "--seed",
            "1",
            "--batch-size",
            "3",
            "--steps",
            "4",
            "--augment",
            "resized-crop=32",
            "--augment",
            "flip",
            "--workers",
            workers,
            "--log",
            out,
            "--overwrite",
            "--data",
        ]
    };
    let run = |out: &'static str, workers: &'static str| {
        let mut arguments = arguments(out, workers);
        arguments.push(pictures.to_str().unwrap());
        resume(&lenet, &arguments, folder)
    };
    let output = run("a.jsonl", "2");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run("b.jsonl", "2");
    run("c.jsonl", "0");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("a.jsonl"), read("b.jsonl"));
    assert_ne!(read("a.jsonl"), read("c.jsonl"), "workers draw from generators of their own");
    let mut wrong = arguments("d.jsonl", "0");
    wrong.extend([pictures.to_str().unwrap(), "--held-back", "2"]);
    assert!(refusal(&resume(&lenet, &wrong, folder)).contains("--val"));
    let mut wrong = arguments("d.jsonl", "0");
    wrong.extend([pictures.to_str().unwrap(), "--augment", "spin"]);
    assert!(refusal(&resume(&lenet, &wrong, folder)).contains("resized-crop=SIZE is expected"));
}
