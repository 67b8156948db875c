//! Programs of torch.export: `resume` trains them, `predict` runs them.

use std::path::{Path, PathBuf};

use rekindle::Checkpoint;
use rekindle_testing::fixtures::{self, lines};

use crate::resume::resume;
use crate::{command, refusal, rekindle};

fn example(name: &str) -> PathBuf {
    fixtures::root().join("examples/anynet").join(name)
}

fn program(name: &str) -> PathBuf {
    fixtures::path("programs").join(name)
}

#[test]
fn a_network_that_nobody_wrote_in_rust_goes_on_as_if_it_had_not_moved() {
    let folder = tempfile::tempdir().unwrap();
    let output = resume(&example("run.pt"), &["--log", "log.jsonl"], folder.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (ours, theirs) = (lines(&folder.path().join("log.jsonl")), lines(&example("expect.jsonl")));
    assert_eq!((ours.len(), theirs.len()), (46, 46));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours["step"], &ours["lr"]), (&theirs["step"], &theirs["lr"]));
        // With PyTorch's dropout and batches, and its running statistics.
        let (a, b) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-6 * b.abs(), "step {}: {a} here, {b} in PyTorch", ours["step"]);
    }
    let names = |path: &Path| -> Vec<String> {
        Checkpoint::open(path).unwrap().tensors().unwrap().into_iter().map(|(name, _)| name).collect()
    };
    let resumed = folder.path().join("run-resumed.pt");
    assert_eq!(names(&resumed), names(&example("run.pt")));
    let checkpoint = Checkpoint::open(resumed).unwrap();
    assert_eq!(checkpoint.get::<i64>("model_state_dict['stem.1.num_batches_tracked']").unwrap(), 115);
}

#[test]
fn predict_gives_the_outputs_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("y.npz");
    let input = folder.path().join("x.npz");
    let case = Checkpoint::open(program("gpt2/eval.safetensors")).unwrap();
    let mut inputs = rekindle::StateDict::new();
    for (name, key) in [("input_ids", "['in.0']"), ("labels", "['in.1']")] {
        inputs.insert(name, case.value(key).unwrap().as_tensor().unwrap().clone());
    }
    Checkpoint::from(inputs).save(&input).unwrap();
    let net = program("gpt2/eval.pt2");
    let arguments = |out: &Path| {
        let arguments = [Path::new("predict"), &net, Path::new("--input"), &input, Path::new("--out"), out];
        arguments.map(Path::to_owned)
    };
    let output = rekindle(arguments(&out));
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("loss  float32  []\nlogits  float32  [2, 7, 40]\n"), "{printed}");
    let found = Checkpoint::open(&out).unwrap();
    let of = |checkpoint: &Checkpoint, key: &str| {
        let bytes = checkpoint.value(key).unwrap().as_tensor().unwrap().to_le_bytes().unwrap();
        bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>()
    };
    for (ours, theirs) in of(&found, "logits").iter().zip(of(&case, "['out.1']")) {
        assert!((ours - theirs).abs() < 1e-6, "{ours} here, {theirs} in PyTorch");
    }
    // No file is replaced unasked.
    assert!(refusal(&rekindle(arguments(&out))).contains("--overwrite"));
}

#[test]
fn predict_takes_a_checkpoints_weights_and_so_many_samples_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("x.safetensors");
    let pixels: Vec<f32> = (0..7 * 64u16).map(|i| f32::from(i % 17) / 16.0).collect();
    let mut inputs = rekindle::StateDict::new();
    inputs.insert("inputs", rekindle::Tensor::from_vec(&[7, 1, 8, 8], pixels).unwrap());
    Checkpoint::from(inputs).save(&input).unwrap();
    let predict = |network: &[&str], out: &str| {
        let output =
            command(["predict"].iter().chain(network).chain(&["--input", input.to_str().unwrap(), "--out", out]))
                .current_dir(folder.path())
                .output()
                .unwrap();
        assert!(output.status.success(), "{output:?}");
        let out = Checkpoint::open(folder.path().join(out)).unwrap();
        let tensor = out.value("output_0").unwrap().as_tensor().unwrap().clone();
        assert_eq!(tensor.shape(), [7, 10]);
        tensor.to_le_bytes().unwrap().to_vec()
    };
    let (net, run) = (example("net.pt2"), example("run.pt"));
    let (net, run) = (net.to_str().unwrap(), run.to_str().unwrap());
    // The archive was saved with the run's weights.
    let own = predict(&[net], "a.npz");
    assert_eq!(predict(&[net, "--weights", run], "b.pt"), own);
    let parts = predict(&[run, "--model", net, "--batch-size", "5"], "c.safetensors");
    let number = |bytes: &[u8]| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
    for (one, other) in number(&parts).iter().zip(number(&own)) {
        assert!((one - other).abs() < 1e-6);
    }
}

#[test]
fn what_a_program_cannot_is_said_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let resume = |model: &Path, more: &[&str]| {
        let mut arguments = vec!["--model", model.to_str().unwrap(), "--log", "log.jsonl"];
        arguments.extend(more);
        let output = resume(&example("run.pt"), &arguments, folder.path());
        assert!(!folder.path().join("log.jsonl").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = resume(&program("cnn/eval.pt2"), &[]);
    assert!(said.contains("exported in evaluation (1 batch norm in evaluation, 1 dropout that is off)"), "{said}");
    assert!(said.contains("--from-eval"), "{said}");
    // Another network's checkpoint.
    let said = resume(&program("cnn/train.pt2"), &[]);
    assert!(said.contains("conv.weight"), "{said}");
    let said = resume(&example("net.pt2"), &["--config", "width=3"]);
    assert!(said.contains("a program has no settings"), "{said}");
    // The last batch of an epoch has one sample, and the program was exported for two or more.
    let said = resume(&example("net.pt2"), &["--batch-size", "4"]);
    assert!(said.contains("dimension 0 of the input 'x'") && said.contains("not 1"), "{said}");
    assert!(resume(&example("rekindle.pt2"), &[]).contains("rekindle.pt2"));
}

#[test]
fn a_batch_is_given_by_the_names_of_the_programs_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |shape: &[usize]| {
        let numbers = (0..u16::try_from(shape.iter().product::<usize>()).unwrap()).map(|i| f32::from(i % 17) / 16.0);
        rekindle::Tensor::from_vec(shape, numbers.collect::<Vec<_>>()).unwrap()
    };
    let classes = || rekindle::Tensor::from_vec(&[2, 3], vec![1_i64, 5, 0, 2, 7, 9]).unwrap();
    let resume = |arrays: Vec<(&str, rekindle::Tensor)>, more: &[&str]| {
        let mut batches = rekindle::StateDict::new();
        arrays.into_iter().for_each(|(name, tensor)| drop(batches.insert(name, tensor)));
        Checkpoint::from(batches).save(folder.path().join("batches.pt")).unwrap();
        let mut arguments = vec!["--batches", "batches.pt", "--steps", "2", "--log", "log.jsonl", "--overwrite"];
        arguments.extend(more);
        resume(&example("run.pt"), &arguments, folder.path())
    };
    let losses = || lines(&folder.path().join("log.jsonl"));
    let images = || tensor(&[2, 3, 1, 8, 8]);
    assert!(resume(vec![("inputs", images()), ("targets", classes())], &[]).status.success());
    let unnamed = losses();
    assert_eq!(unnamed.len(), 2);
    assert!(resume(vec![("labels", classes()), ("x", images())], &[]).status.success());
    assert_eq!(losses(), unnamed);

    let refused = |arrays, more: &[&str]| String::from_utf8(resume(arrays, more).stderr).unwrap();
    let said = refused(vec![("x", images()), ("targets", classes()), ("mask", tensor(&[2, 3]))], &[]);
    assert!(said.contains("the program has no input for the batches' 'mask'; it takes x"), "{said}");
    let said = refused(vec![("y", images()), ("targets", classes())], &[]);
    assert!(said.contains("the program's input 'x' is not among the arrays of the batches: 'y', 'targets'"), "{said}");
    let said = refused(vec![("x", images())], &[]);
    assert!(said.contains("there is no tensor `targets`"), "{said}");
    let said = refused(vec![("x", images())], &["--loss", "output:loss"]);
    assert!(said.contains("the program's outputs are output_0; none is that loss"), "{said}");
    let said = refused(vec![("x", images())], &["--loss", "graph"]);
    assert!(said.contains("the program's 'output_0' has the shape [3, 10], and is no loss"), "{said}");
    let said = refused(vec![("x", images())], &["--loss", "hinge"]);
    assert!(said.contains("the losses are cross_entropy, mse"), "{said}");
}

#[test]
fn inspect_shows_what_a_program_takes_gives_and_does() {
    let net = example("net.pt2");
    let output = rekindle([Path::new("inspect"), &net]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n  takes x float32[s77, 1, 8, 8]\n  gives output_0\n"), "{text}");
    assert!(text.contains("  aten.batch_norm.default\n") && text.contains("stem.1.running_mean"), "{text}");
    let output = rekindle([Path::new("inspect"), &net, Path::new("--graph")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  aten.batch_norm.default  stem.1 (BatchNorm2d), batchnorm.py:"), "{text}");
    let output = rekindle([Path::new("inspect"), &net, Path::new("--json")]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["program"]["operations"]["aten.batch_norm.default"], 1);
}
