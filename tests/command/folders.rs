//! Folders of transformers' Trainer and of accelerate: the run goes on as theirs did, and comes back as such a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::recorder::run::RunState;
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::command;
use crate::resume::resume;

const MODEL: [&str; 4] = ["--model", "mlp", "--config", "sizes=5,8,3"];

fn case(name: &str) -> PathBuf {
    fixtures::path("folders").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn plan(checkpoint: &Path, arguments: &[&str]) -> Output {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(MODEL.iter().chain(arguments).map(Path::new));
    command(all).output().unwrap()
}

/// The steps of a case, from this folder, written to `out` in the working folder.
fn go_on(checkpoint: &Path, name: &str, arguments: &[&str], folder: &Path) -> Output {
    go_on_with(&MODEL, checkpoint, name, arguments, folder)
}

fn go_on_with(model: &[&str], checkpoint: &Path, name: &str, arguments: &[&str], folder: &Path) -> Output {
    let (batches, expected) = (case(name).join("batches.pt"), case(name).join("expected.jsonl"));
    let given = ["--batches", batches.to_str().unwrap(), "--expect", expected.to_str().unwrap()];
    let out: &[&str] = if arguments.contains(&"--save") { &[] } else { &["--save", "out"] };
    resume(checkpoint, &[model, &given, &["--json"], out, arguments].concat(), folder)
}

/// The case goes on as its framework did: losses, learning rates, weights.
fn as_its_framework(name: &str, arguments: &[&str]) -> (tempfile::TempDir, Checkpoint) {
    as_its_framework_from(&case(name).join("checkpoint"), &MODEL, name, arguments)
}

fn as_its_framework_from(
    from: &Path,
    model: &[&str],
    name: &str,
    arguments: &[&str],
) -> (tempfile::TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let output = go_on_with(model, from, name, arguments, folder.path());
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let compared = &document["expect"];
    assert_eq!(compared["steps"], 5, "{name}: {document}");
    assert_eq!(compared["same_lr"], true, "{name}: {document}");
    assert!(compared["largest"].as_f64().unwrap() <= 1e-6, "{name}: {document}");

    let after = Checkpoint::open(folder.path().join("out")).unwrap();
    let model = RunState::read(&after).unwrap().model;
    for (place, tensor) in Checkpoint::open(case(name).join("after.pt")).unwrap().tensors().unwrap() {
        let (ours, theirs) = (model.get(&place).unwrap().to_f64_vec().unwrap(), tensor.to_f64_vec().unwrap());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{name}: {place}: {a} here, {b} there");
        }
    }
    (folder, after)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A copy of a case's folder, to be changed.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("checkpoint-7");
    fs::create_dir(&to).unwrap();
    for file in files(&case(name).join("checkpoint")) {
        fs::copy(case(name).join("checkpoint").join(&file), to.join(&file)).unwrap();
    }
    (folder, to)
}

#[test]
fn a_trainers_run_goes_on_as_the_trainers_and_its_folder_has_the_same_files() {
    for name in ["hf-cosine", "hf-shards", "hf-bin", "hf-wsd"] {
        let (folder, after) = as_its_framework(name, &[]);
        let (before, now) = (case(name).join("checkpoint"), folder.path().join("out"));
        assert_eq!(files(&now), files(&before), "{name}");
        let read = |folder: &Path, file: &str| fs::read(folder.join(file)).unwrap();
        for file in ["training_args.bin", "config.json", "model.safetensors.index.json"] {
            if before.join(file).exists() {
                assert_eq!(read(&now, file), read(&before, file), "{name}: {file}");
            }
        }
        let state = text(&read(&before, "trainer_state.json"));
        let state = state.replacen("\"epoch\": 0.7,\n  \"eval_steps\"", "\"epoch\": 1.2,\n  \"eval_steps\"", 1);
        let state = state.replacen("\"global_step\": 7", "\"global_step\": 12", 1);
        assert_eq!(text(&read(&now, "trainer_state.json")), state, "{name}");
        assert_eq!(after.value("['scheduler.pt'].last_epoch").unwrap().as_i64(), Some(12), "{name}");
        // Nothing drew from it: the batches were given.
        let generator = |folder: &Path| {
            let checkpoint = Checkpoint::open(folder).unwrap();
            checkpoint.get::<Tensor>("['rng_state.pth'].cpu").unwrap().to_vec::<u8>().unwrap()
        };
        assert_eq!(generator(&now), generator(&before), "{name}");
    }
}

/// The Trainer's runs of language models, the network of each, and what it takes the mean of a step's losses over.
const LANGUAGE: [(&str, &str, &str, &str); 3] = [
    ("hf-gpt2", "gpt2", "labels", "divided by all its `labels`, the first of each row too"),
    ("hf-llama", "llama", "targets", "divided by its targets"),
    ("hf-bert", "bert_for_masked_lm", "sum", "adds its batches up"),
];

#[test]
fn a_trainer_s_losses_are_the_mean_over_what_its_version_has_it_over_with_the_network() {
    for (name, network, _, says) in LANGUAGE {
        let model = ["--model", network, "--accumulate", "2"];
        as_its_framework_from(&case(name).join("checkpoint"), &model, name, &[]);
        let all = [Path::new("plan"), &case(name).join("checkpoint")].map(Path::to_path_buf);
        let planned = command(all.into_iter().chain(model.iter().map(PathBuf::from))).output().unwrap();
        assert_eq!(planned.status.code(), Some(0), "{planned:?}");
        let said = text(&planned.stdout);
        assert!(said.contains(says) && said.contains("transformers 5.24"), "{name}: {said}");
    }
}

#[test]
fn where_no_version_tells_what_a_trainer_takes_the_mean_over_it_is_asked_and_the_answer_is_its_own() {
    for (name, network, answer, _) in LANGUAGE {
        let (_folder, path) = copy(name);
        let config = fs::read_to_string(path.join("config.json")).unwrap();
        fs::write(path.join("config.json"), config.replace("\"transformers_version\": \"5.24.0\"", "\"version\": 1"))
            .unwrap();
        let model = ["--model", network, "--accumulate", "2"];
        let folder = tempfile::tempdir().unwrap();
        let asked = go_on_with(&model, &path, name, &[], folder.path());
        assert_eq!(asked.status.code(), Some(2), "{name}: {asked:?}");
        let (said, flag) = (text(&asked.stderr), format!("--mean-over {answer}"));
        assert!(said.contains(&flag) && said.contains("--mean-over batches"), "{name}: {said}");
        as_its_framework_from(&path, &model, name, &["--mean-over", answer]);
    }
    // Where all ways are one, nothing is asked.
    let planned = plan(&case("hf-cosine").join("checkpoint"), &["--accumulate", "2"]);
    assert_eq!(planned.status.code(), Some(1));
    assert!(text(&planned.stdout).contains("--mean-over sum"), "{planned:?}");
    let planned = plan(&case("hf-cosine").join("checkpoint"), &["--accumulate", "1"]);
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
}

#[test]
fn a_run_of_accelerate_goes_on_as_accelerates() {
    let (folder, after) = as_its_framework("accelerate", &[]);
    let before = case("accelerate").join("checkpoint");
    assert_eq!(files(&folder.path().join("out")), files(&before));
    let kept = |folder: &Path| fs::read(folder.join("custom_checkpoint_0.pkl")).unwrap();
    assert_eq!(kept(&folder.path().join("out")), kept(&before));
    assert_eq!(after.value("['scheduler.bin'].last_epoch").unwrap().as_i64(), Some(12));

    let planned = plan(&case("accelerate-lambda").join("checkpoint"), &[]);
    assert_eq!(planned.status.code(), Some(1));
    assert!(text(&planned.stdout).contains("--scheduler NAME(..)"), "{planned:?}");
    as_its_framework("accelerate-lambda", &["--scheduler", "transformers.linear(warmup=3, total=20)"]);

    let two = plan(&case("accelerate-two").join("checkpoint"), &[]);
    assert_eq!(two.status.code(), Some(1));
    let said = text(&two.stdout);
    assert!(said.contains("several models ('model.safetensors', 'model_1.safetensors')"), "{said}");
}

#[test]
fn the_plans_of_folders_say_what_goes_on_and_what_is_kept() {
    let plans = [
        ("hf-cosine", include_str!("plans/hf_trainer.txt")),
        ("hf-shards", include_str!("plans/hf_trainer_shards.txt")),
        ("accelerate", include_str!("plans/accelerate.txt")),
    ];
    for (name, expected) in plans {
        let planned = plan(&case(name).join("checkpoint"), &[]);
        assert_eq!(planned.status.code(), Some(0), "{planned:?}");
        assert_eq!(text(&planned.stdout), expected, "{name}");
    }
}

#[test]
fn what_a_folder_lacks_or_has_too_much_is_said_or_kept() {
    let refused = |name: &str, change: &dyn Fn(&Path), code: i32, says: &[&str]| {
        let (_folder, path) = copy(name);
        change(&path);
        let planned = plan(&path, &[]);
        let said = text(&planned.stdout) + &text(&planned.stderr);
        assert_eq!(planned.status.code(), Some(code), "{said}");
        for word in says {
            assert!(said.contains(word), "{word} is in {said}");
        }
    };
    let without = |file: &'static str| move |path: &Path| fs::remove_file(path.join(file)).unwrap();
    refused("hf-cosine", &without("optimizer.pt"), 2, &["optimizer.pt", "start a new run"]);
    refused("hf-cosine", &without("model.safetensors"), 2, &["the folder holds no weights"]);
    refused("hf-shards", &without("model-00002-of-00002.safetensors"), 2, &["model-00002-of-00002.safetensors"]);
    refused("hf-cosine", &without("scheduler.pt"), 1, &["its state is missing", "--scheduler none"]);
    let asks = ["nothing tells it", "--clip-norm 1", "--clip-norm none", "many batches made a step"];
    refused("hf-cosine", &without("training_args.bin"), 1, &asks);
    refused("hf-cosine", &without("rng_state.pth"), 0, &["none in the file"]);
    let deepspeed = |path: &Path| {
        fs::remove_file(path.join("optimizer.pt")).unwrap();
        fs::create_dir(path.join("global_step7")).unwrap();
        let weight = Tensor::from_vec(&[8, 5], vec![0.0_f32; 40]).unwrap();
        let module: Dict = [("0.weight", Value::from(weight))].into_iter().collect();
        let states: Dict = [("module", Value::from(module))].into_iter().collect();
        for (key, number) in [("dp_world_size", 1_i64), ("mp_world_size", 1)] {
            states.insert(key, number);
        }
        states.insert("ds_version", "0.14");
        Checkpoint::from(states).save(path.join("global_step7/mp_rank_00_model_states.pt")).unwrap();
    };
    refused("hf-cosine", &deepspeed, 2, &["DeepSpeed's, in the folder global_step7"]);
    let cut = |path: &Path| {
        let bytes = fs::read(path.join("optimizer.pt")).unwrap();
        fs::write(path.join("optimizer.pt"), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused("hf-cosine", &cut, 2, &["optimizer.pt"]);
    let torn = |path: &Path| fs::write(path.join("trainer_state.json"), "{\n \"epoch\": 0.7,").unwrap();
    refused("hf-cosine", &torn, 2, &["trainer_state.json", "line 2"]);
    let two = |path: &Path| {
        fs::rename(path.join("rng_state.pth"), path.join("rng_state_0.pth")).unwrap();
        fs::copy(path.join("rng_state_0.pth"), path.join("rng_state_1.pth")).unwrap();
    };
    refused("hf-cosine", &two, 1, &["--rng rng_state_0.pth.cpu", "--rng rng_state_1.pth.cpu", "--seed"]);

    let (folder, path) = copy("hf-cosine");
    two(&path);
    fs::write(path.join("notes.txt"), "kept").unwrap();
    fs::create_dir_all(path.join("logs/deep")).unwrap();
    fs::write(path.join("logs/deep/events"), [0, 1, 2]).unwrap();
    let output = go_on(&path, "hf-cosine", &["--rng", "rng_state_1.pth.cpu"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let out = folder.path().join("out");
    assert_eq!(fs::read(out.join("logs/deep/events")).unwrap(), [0, 1, 2]);
    assert_eq!(files(&out), files(&path));
    for file in ["notes.txt", "rng_state_0.pth", "training_args.bin"] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(path.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn clipping_that_no_file_tells_is_done_as_it_is_said() {
    let (folder, path) = copy("hf-cosine");
    fs::remove_file(path.join("training_args.bin")).unwrap();
    let schedule = ["--scheduler", "transformers.cosine(warmup=3, total=20)"];
    let losses = |clip: &[&str]| {
        let output = go_on(&path, "hf-cosine", &[&schedule[..], clip, &["--overwrite"]].concat(), folder.path());
        (output.status.code(), text(&output.stderr) + &text(&output.stdout))
    };
    let (code, said) = losses(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--clip-norm X"), "{said}");
    let (code, said) = losses(&["--clip-norm", "much"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--clip-norm much: a number or none is expected"), "{said}");
    let (code, said) = losses(&["--clip-norm", "none"]);
    assert!(code == Some(0) || code == Some(1), "{said}");
    assert!(said.contains("gradients are not clipped (--clip-norm none)") && !said.contains("to the norm"), "{said}");
    let planned = plan(&case("hf-cosine").join("checkpoint"), &["--clip-norm", "none"]);
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
    assert!(!text(&planned.stdout).contains("\nclipping"), "{planned:?}");
    let planned = plan(&case("hf-cosine").join("checkpoint"), &["--clip-norm", "0.25"]);
    assert!(text(&planned.stdout).contains("clipping   gradients, to the norm 0.25\n"), "{planned:?}");
}

#[test]
fn a_scheduler_that_accelerate_stepped_for_each_process_is_stepped_so_often() {
    let at = case("accelerate").join("checkpoint");
    let state = Checkpoint::open(at.join("scheduler.bin")).unwrap();

    assert_eq!(state.value("last_epoch").unwrap().as_i64(), Some(7));
    state.set("last_epoch", 14_i64).unwrap();
    state.set("_step_count", 15_i64).unwrap();
    let (folder, path) = copy("accelerate");
    let options = rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true);
    state.save_with(path.join("scheduler.bin"), &options).unwrap();
    // The rates of the file are those of so many steps of one process.
    let asked = text(&plan(&path, &[]).stdout);
    assert!(asked.contains("are not those that CosineAnnealingLR gives by itself"), "{asked}");
    let planned = plan(&path, &["--json", "--scheduler", "CosineAnnealingLR"]);
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
    let document: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    let scheduler = &document["scheduler"];
    assert_eq!((&scheduler["per"], &scheduler["times"]), (&"step".into(), &2.into()), "{scheduler}");
    let why = "2 times after each, as accelerate does with 2 processes";
    assert_eq!(scheduler["why"], why, "{scheduler}");
    let output = go_on(&path, "accelerate", &["--scheduler", "CosineAnnealingLR"], folder.path());
    let after = Checkpoint::open(folder.path().join("out")).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(after.value("['scheduler.bin'].last_epoch").unwrap().as_i64(), Some(24));
}

#[test]
fn a_folder_is_not_replaced_unasked_and_nothing_else_in_it_goes() {
    let (folder, path) = copy("hf-cosine");
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine.txt"), "mine").unwrap();
    fs::write(out.join("rng_state_1.pth"), "of another run").unwrap();
    let refused = go_on(&path, "hf-cosine", &[], folder.path());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert_eq!(files(&out), ["mine.txt", "rng_state_1.pth"]);
    let output = go_on(&path, "hf-cosine", &["--overwrite"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut expected = files(&path);
    expected.push("mine.txt".to_owned());
    expected.sort();
    assert_eq!(files(&out), expected);
    // By default its name is the folder's.
    let batches = case("hf-cosine").join("batches.pt");
    let all = [&MODEL[..], &["--batches", batches.to_str().unwrap()]].concat();
    let output = resume(&path, &all, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(files(&folder.path().join("checkpoint-7-resumed")), files(&path));
    // In its own place, too.
    let output = go_on(&path, "hf-cosine", &["--save", "checkpoint-7", "--overwrite"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(files(&path), files(&folder.path().join("checkpoint-7-resumed")));
}

#[test]
fn the_other_verbs_take_such_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = case("hf-shards").join("checkpoint");
    let run = |arguments: &[&str]| {
        let all = arguments.iter().map(|argument| argument.replace("FOLDER", path.to_str().unwrap()));
        command(all).current_dir(folder.path()).output().unwrap()
    };
    let inspected = text(&run(&["inspect", "FOLDER"]).stdout);
    assert!(
        inspected.contains("run-folder") && inspected.contains("trainer_state.json.global_step = 7"),
        "{inspected}"
    );
    let verified = run(&["verify", "FOLDER", "--finite"]);
    assert!(verified.status.success(), "{verified:?}");
    let converted = run(&["convert", "FOLDER", "again"]);
    assert!(converted.status.success(), "{converted:?}");
    assert_eq!(files(&folder.path().join("again")), files(&path));
    let same = run(&["diff", "FOLDER", "again"]);
    assert_eq!(text(&same.stdout), "no difference\n");
    let weights = run(&["convert", "FOLDER", "weights.pt", "--key", "['model.safetensors.index.json']"]);
    assert!(weights.status.success(), "{weights:?}");
    assert!(Checkpoint::open(folder.path().join("weights.pt")).unwrap().contains("0.weight"));
    let half = run(&["convert", "FOLDER", "half", "--dtype", "float16"]);
    assert!(half.status.success(), "{half:?}");
    let half = RunState::read(&Checkpoint::open(folder.path().join("half")).unwrap()).unwrap();
    assert_eq!(half.model.get("0.bias").unwrap().dtype().name(), "float16");
}

#[test]
fn the_plan_of_torchtitan_s_folder_reads_as_it_was_agreed() {
    let all = [Path::new("plan").to_path_buf(), fixtures::path("titan").join("titan/checkpoint")];
    let told = MODEL.iter().chain(&["--scheduler", "transformers.linear(warmup=3, total=20)"]).map(PathBuf::from);
    let output = command(all.into_iter().chain(told)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/plans/torchtitan.txt");
    if std::env::var_os("REKINDLE_AGREE").is_some() {
        std::fs::write(&place, &output.stdout).unwrap();
    }
    assert_eq!(text(&output.stdout), std::fs::read_to_string(&place).unwrap_or_default());
}

/// The case goes on as PyTorch did, and is a distributed checkpoint again.
fn as_pytorch_from_dcp(name: &str, arguments: &[&str]) -> Checkpoint {
    let (folder, case) = (tempfile::tempdir().unwrap(), fixtures::path("titan").join(name));
    let (batches, expected) = (case.join("batches.pt"), case.join("expected.jsonl"));
    let given = ["--batches", batches.to_str().unwrap(), "--expect", expected.to_str().unwrap()];
    let all = [&MODEL[..], &given, &["--json", "--save", "out"], arguments].concat();
    let output = resume(&case.join("checkpoint"), &all, folder.path());
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let compared = &document["expect"];
    assert_eq!(compared["same_lr"], true, "{name}: {document}");
    assert!(compared["largest"].as_f64().unwrap() <= 1e-6, "{name}: {document}");
    assert!(folder.path().join("out/.metadata").exists(), "{name}");
    let after = Checkpoint::open(folder.path().join("out")).unwrap();
    let model = RunState::read(&after).unwrap().model;
    for (place, tensor) in Checkpoint::open(case.join("after.pt")).unwrap().tensors().unwrap() {
        let (ours, theirs) = (model.get(&place).unwrap().to_f64_vec().unwrap(), tensor.to_f64_vec().unwrap());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{name}: {place}: {a} here, {b} there");
        }
    }
    after
}

#[test]
fn a_distributed_checkpoint_goes_on_as_pytorch_and_its_optimizer_comes_back_by_names() {
    let after = as_pytorch_from_dcp("titan", &["--scheduler", "transformers.linear(warmup=3, total=20)"]);
    assert_eq!(after.get::<Tensor>("train_state.step").unwrap().to_vec::<i32>().unwrap(), [12]);
    for after in [after, as_pytorch_from_dcp("groups", &[])] {
        let optimizer = after.value("optimizer").unwrap();
        let steps = optimizer.as_dict().unwrap().get("state.2.bias.step").unwrap();
        assert_eq!(steps.as_tensor().unwrap().to_f64_vec().unwrap(), [12.0]);
    }
    let after = as_pytorch_from_dcp("nested", &[]);
    assert_eq!(after.value("optimizer.param_groups[0].params[0]").unwrap().as_str(), Some("0.weight"));
}
