//! Programs of torch.export: `resume` trains them, `predict` runs them.

use std::path::{Path, PathBuf};

use rekindle::Checkpoint;
use rekindle::recorder::DType::{self, BFloat16, Float16, Float32, Float64};
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
    assert!(resume(&example("rekindle.pt2"), &[]).contains("rekindle.pt2"));
}

/// What `inspect` prints of a program.
fn inspected(net: &Path, arguments: &[&str]) -> String {
    let output = command([Path::new("inspect"), net]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
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
    let text = inspected(&net, &[]);
    assert!(text.contains("\n  takes x float32[s77, 1, 8, 8]\n  gives output_0 float32[s77, 10]\n"), "{text}");
    assert!(text.contains("\n  s77 is 2 or more\n"), "{text}");
    // Layers as a tree, each with its own weights and operations.
    let layer = |start: &str| {
        text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_else(|| panic!("{text}"))
    };
    assert!(layer("stem (").starts_with("    stem (Sequential)  "), "{text}");
    assert!(layer("1 (BatchNorm2d)").contains("running_mean [16] (buffer)"), "{text}");
    assert!(layer("1 (BatchNorm2d)").contains("aten.batch_norm.default"), "{text}");
    let text = inspected(&net, &["--graph"]);
    assert!(text.contains(" float32[s77, 16, 8, 8] = aten.batch_norm.default("), "{text}");
    assert!(
        text.contains("stem.1.running_mean") && text.contains("  in stem.1 (BatchNorm2d), batchnorm.py:"),
        "{text}"
    );
}

#[test]
fn inspect_tells_programs_as_json() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&inspected(&program("gpt2/eval.pt2"), arguments)).unwrap()
    };
    let shown = json(&["--json"]);
    let shown = &shown["program"];
    assert_eq!(shown["inputs"][0]["name"], "input_ids");
    assert_eq!(shown["inputs"][0]["shape"], serde_json::json!(["2", "7"]));
    assert_eq!(
        shown["outputs"][1],
        serde_json::json!({"name": "logits", "dtype": "float32", "shape": ["2", "7", "40"]})
    );
    let layers = shown["layers"].as_array().unwrap();
    assert_eq!((&layers[0]["path"], &layers[0]["class"]), (&"".into(), &"GPT2LMHeadModel".into()));
    // A tied weight counts once, under the name that has it.
    let of = |layer: &serde_json::Value, name: &str| {
        let weights = layer["weights"].as_array().unwrap().iter();
        weights.filter(|weight| weight["name"] == name).map(|weight| weight["tied_to"].clone()).next().unwrap()
    };
    let find = |path: &str| layers.iter().find(|layer| layer["path"] == path).unwrap();
    assert_eq!(of(find("lm_head"), "weight"), "transformer.wte.weight");
    assert_eq!(find("lm_head")["parameters"], 0);
    let elements: u64 = layers[0]["parameters"].as_u64().unwrap();
    let model =
        rekindle::models::graph::Program::open(program("gpt2/eval.pt2"), &burn::tensor::Device::flex()).unwrap();
    let parameters = rekindle::bridge::ModuleStateDict::named_parameters(&model).unwrap();
    let counted: usize = parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
    assert_eq!(elements, u64::try_from(counted).unwrap());
    assert!(shown.get("nodes").is_none());
    let shown = json(&["--json", "--graph"]);
    let nodes = shown["program"]["nodes"].as_array().unwrap();
    let counted: u64 =
        shown["program"]["operations"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(u64::try_from(nodes.len()).unwrap(), counted);
    assert!(nodes.iter().any(|node| node["layer"] == "transformer.h.0.attn" && node["class"] == "GPT2Attention"));
}

#[test]
fn inspect_draws_a_program_for_graphviz() {
    let text = inspected(&example("net.pt2"), &["--dot"]);
    assert!(text.starts_with("digraph program {\n") && text.ends_with("}\n"), "{text}");
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    assert!(
        text.contains(r#"label="stem (Sequential)""#) && text.contains(r#"label="aten.batch_norm.default\nfloat32["#),
        "{text}"
    );
    // Every operation is there once, and every arrow begins and ends at something that is.
    let named: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().split_once(" [").map(|(name, _)| name))
        .filter(|name| *name != "node")
        .collect();
    for arrow in text.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once(" -> ")) {
        assert!(named.contains(&arrow.0) && named.contains(&arrow.1), "{arrow:?}");
    }
    let run = example("run.pt");
    for arguments in [["--dot"], ["--graph"]] {
        let output = command([Path::new("inspect"), &run]).args(arguments).output().unwrap();
        assert!(refusal(&output).contains("run.pt: --graph and --dot are for files of programs"));
    }
}

#[test]
fn verify_computes_the_sample_inputs_of_a_program() {
    let net = program("gpt2/eval.pt2");
    let output = rekindle([Path::new("verify"), &net, Path::new("--run"), Path::new("--json")]);
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &json[0]["run"];
    assert_eq!((&run["good"], &run["outputs"][1]["name"]), (&true.into(), &"logits".into()));
    assert_eq!(
        run["outputs"][0],
        serde_json::json!(
            {"name": "loss", "dtype": "float32", "shape": [], "nan": 0, "inf": 0, "same": true}
        )
    );
    assert!(run["seconds"][1].as_f64().unwrap() > 0.0);

    // Weights that are no numbers: yes is no, and the output is named.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.pt2");
    let net = fixtures::path("scripted/program.pt2");
    let mut weights = Checkpoint::open(&net).unwrap().model_state_dict().unwrap();
    let name = "norm.bias";
    let shape = weights.get(name).unwrap().shape().to_vec();
    weights.insert(name, rekindle::Tensor::from_vec(&shape, vec![f32::NAN; shape[0]]).unwrap());
    let options = rekindle::recorder::checkpoint::SaveOptions::default().template(&net);
    Checkpoint::from(weights).save_with(&broken, &options).unwrap();
    let output = rekindle([Path::new("verify"), &broken, Path::new("--run")]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("DOES NOT COMPUTE")
            && text.contains("  output_0  float32  [1, 3, 5]  15 NaN, 0 infinite, of 15\n"),
        "{text}"
    );

    let run = example("run.pt");
    let output = rekindle([Path::new("verify"), &run, Path::new("--run")]);
    assert!(refusal(&output).contains("run.pt: the file is no archive of torch.export's (.pt2)"));
}

#[test]
fn predict_computes_in_another_type() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("x.safetensors");
    let pixels: Vec<f32> = (0..3 * 64u16).map(|i| f32::from(i % 17) / 16.0).collect();
    let mut inputs = rekindle::StateDict::new();
    inputs.insert("inputs", rekindle::Tensor::from_vec(&[3, 1, 8, 8], pixels).unwrap());
    Checkpoint::from(inputs).save(&input).unwrap();
    let digits = fixtures::root().join("examples/digits/run.pt");
    let run = |network: &[&std::ffi::OsStr], dtype: &str, out: &str| {
        let more = ["--input", input.to_str().unwrap(), "--out", out, "--dtype", dtype, "--overwrite"];
        command(["predict".as_ref()].iter().chain(network)).args(more).current_dir(folder.path()).output().unwrap()
    };
    let (net, model, name) = (example("net.pt2"), std::ffi::OsStr::new("--model"), std::ffi::OsStr::new("digits"));
    for network in [&[net.as_os_str()][..], &[digits.as_os_str(), model, name]] {
        let numbers = |dtype: &str, expected: DType| {
            let output = run(network, dtype, "y.pt");
            assert!(output.status.success(), "{output:?}");
            let out = Checkpoint::open(folder.path().join("y.pt")).unwrap().value("output_0").unwrap();
            let tensor = out.as_tensor().unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (expected, &[3, 10][..]));
            let data = rekindle::bridge::tensor_to_data(tensor).unwrap();
            data.iter::<f64>().collect::<Vec<_>>()
        };
        let exact = numbers("f64", Float64);
        for (dtype, expected, limit) in [("f32", Float32, 1e-5), ("float16", Float16, 1e-2), ("bf16", BFloat16, 1e-1)] {
            for (one, other) in numbers(dtype, expected).iter().zip(&exact) {
                assert!((one - other).abs() <= limit * other.abs().max(1.0), "{dtype}: {one}, {other}");
            }
        }
    }
    // NumPy has no bfloat16: that is said before there is anything to lose.
    assert!(refusal(&run(&[net.as_os_str()], "bf16", "y.npz")).contains("bfloat16"));
    assert_eq!(run(&[net.as_os_str()], "int8", "y.pt").status.code(), Some(2));
}
