//! Runs of other frameworks, each from a file that the framework wrote: the plan reads well, the next steps are the
//! framework's own, and what is written is what the framework would have written then.

use std::path::{Path, PathBuf};

use rekindle::recorder::DType;
use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::recorder::run::{Layout, RunState};
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::compare::{apart, differ};
use rekindle_testing::fixtures::{self, lines};

use crate::command;
use crate::resume::resume;

const MLP: [&str; 4] = ["--model", "mlp", "--config", "sizes=20,32,16,10"];

/// A run of a framework.
struct Case {
    name: &'static str,
    /// What else the command is told.
    told: &'static [&'static str],
    /// What is not as the framework would have written it: what it keeps of its own doings, which stays as it was.
    kept: &'static [&'static str],
}

const fn case(name: &'static str, told: &'static [&'static str], kept: &'static [&'static str]) -> Case {
    Case { name, told, kept }
}

const OBJECTS: &str = "--allow-objects";

const CASES: [Case; 13] = [
    case("nanogpt", &[], &[]),
    case("lightning", &[], &["callbacks"]),
    case("lightning_amid", &[], &["callbacks"]),
    case("lightning_two", &[], &["callbacks"]),
    case("lightning_average", &["--accumulate", "2", "--ema", "0.9"], &["callbacks"]),
    case("fabric", &[], &[]),
    case(
        "timm",
        &[OBJECTS, "--scheduler", "CosineLRScheduler(t_initial=8, lr_min=1e-5, warmup_t=2, warmup_lr_init=1e-4)"],
        // timm saves before it steps its schedule, and steps it when it resumes.
        &["args", "metric", "saver", "optimizer.param_groups"],
    ),
    case("torchvision", &[OBJECTS, "--steps-per-epoch", "5"], &["args"]),
    case("mmengine", &[OBJECTS], &["message_hub"]),
    case(
        "detectron2",
        &["--scheduler", "detectron2.multi_step(steps=[12], max_iter=20, warmup_factor=0.1, warmup_iters=4)"],
        &[],
    ),
    case("ignite", &[], &[]),
    case("fastai", &["--scheduler", "none"], &[]),
    case(
        "ultralytics",
        &[OBJECTS, "--scheduler", "ultralytics.linear(lrf=0.1, epochs=8)", "--steps-per-epoch", "5"],
        &["ema", "updates", "optimizer", "train_results"],
    ),
];

fn folder(name: &str) -> PathBuf {
    fixtures::path("frameworks").join(name)
}

fn told<'a>(case: &Case, more: &[&'a str]) -> Vec<&'a str> {
    [&MLP, case.told, more].concat()
}

/// What a case's plan is.
fn plan(case: &Case) -> String {
    let checkpoint = folder(case.name).join("start.pt");
    let all = [Path::new("plan"), &checkpoint].into_iter().chain(told(case, &[]).into_iter().map(Path::new));
    let output = command(all).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", case.name);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_plan_of_each_framework_s_file_reads_as_it_was_agreed() {
    for case in &CASES {
        let place =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/plans").join(format!("{}.txt", case.name));
        let agreed = std::fs::read_to_string(&place).unwrap_or_default();
        let planned = plan(case);
        // `REKINDLE_AGREE=1` writes the texts anew, to be read before they are committed.
        if std::env::var_os("REKINDLE_AGREE").is_some() {
            std::fs::write(&place, &planned).unwrap();
            continue;
        }
        assert_eq!(planned, agreed, "{}", place.display());
    }
}

#[test]
fn the_next_steps_are_the_framework_s_own_and_so_is_what_is_written() {
    for case in &CASES {
        let (folder, place) = (folder(case.name), tempfile::tempdir().unwrap());
        let batches = folder.join("batches.safetensors");
        let more = ["--batches", batches.to_str().unwrap(), "--save", "out.pt", "--log", "log.jsonl"];
        let output = resume(&folder.join("start.pt"), &told(case, &more), place.path());
        assert!(output.status.success(), "{}: {output:?}", case.name);
        let (ours, theirs) = (lines(&place.path().join("log.jsonl")), lines(&folder.join("expect.jsonl")));
        assert_eq!(ours.len(), theirs.len(), "{}", case.name);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!((&ours["step"], &ours["lr"]), (&theirs["step"], &theirs["lr"]), "{}", case.name);
            let (a, b) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{}: step {}: {a} here, {b} there", case.name, ours["step"]);
        }
        let [ours, theirs] =
            [place.path().join("out.pt"), folder.join("end.pt")].map(|path| Checkpoint::open(path).unwrap());
        let keys = |checkpoint: &Checkpoint| {
            let entries = checkpoint.root().as_dict().unwrap().entries();
            entries.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&ours), keys(&theirs), "{}", case.name);
        for key in &keys(&theirs) {
            if !case.kept.contains(&key.as_str()) {
                let [ours, theirs] =
                    [&ours, &theirs].map(|checkpoint| checkpoint.root().as_dict().unwrap().get(key).unwrap());
                for value in [&ours, &theirs] {
                    let inside = case.kept.iter().filter_map(|kept| kept.strip_prefix(key.as_str())?.strip_prefix('.'));
                    inside.for_each(|inside| drop(value.as_dict().unwrap().remove(inside)));
                }
                let apart = differ(&ours, &theirs, &format!("{}: {key}", case.name));
                assert!(apart <= 1e-5, "{}: {key}: {apart}", case.name);
            }
        }
    }
}

#[test]
fn smoothed_labels_that_a_setting_speaks_of_are_asked_about_and_either_answer_is_right() {
    let (folder, place) = (folder("torchvision"), tempfile::tempdir().unwrap());
    let checkpoint = Checkpoint::open(folder.join("start.pt")).unwrap();
    let args =
        [("label_smoothing", Value::Float(0.1)), ("start_epoch", Value::Int(0)), ("clip_grad_norm", Value::Float(1.0))];
    checkpoint.set("args", Dict::from_iter(args)).unwrap();
    let start = place.path().join("start.pt");
    checkpoint.save_with(&start, &SaveOptions::default()).unwrap();
    let batches = folder.join("batches.safetensors");
    let given = [
        "--batches",
        batches.to_str().unwrap(),
        "--steps",
        "5",
        "--save",
        "out.pt",
        "--log",
        "log.jsonl",
        "--ema",
        "none",
    ];
    let told = [&MLP[..], &["--steps-per-epoch", "5"], &given].concat();
    let refused = resume(&start, &told, place.path());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("args.label_smoothing is 0.1"), "{said}");
    for (answer, truth) in [("0.1", "smoothed.jsonl"), ("0", "expect.jsonl")] {
        assert!(said.contains(&format!("--label-smoothing {answer} ")), "{said}");
        let told = [&told[..], &["--label-smoothing", answer, "--overwrite"]].concat();
        let output = resume(&start, &told, place.path());
        assert!(output.status.success(), "{output:?}");
        let (ours, theirs) = (lines(&place.path().join("log.jsonl")), lines(&folder.join(truth)));
        assert_eq!(ours.len(), 5);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let (a, b) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{answer}: step {}: {a} here, {b} there", ours["step"]);
        }
    }
}

#[test]
fn the_weights_of_ultralytics_are_its_average_and_go_back_there() {
    let (folder, place) = (folder("ultralytics"), tempfile::tempdir().unwrap());
    let batches = folder.join("batches.safetensors");
    let case = CASES.iter().find(|case| case.name == "ultralytics").unwrap();
    let more = ["--batches", batches.to_str().unwrap(), "--save", "out.pt"];
    assert!(resume(&folder.join("start.pt"), &told(case, &more), place.path()).status.success());
    let written = RunState::read(&Checkpoint::open(place.path().join("out.pt")).unwrap()).unwrap();
    let theirs = Checkpoint::open(folder.join("weights.pt")).unwrap();
    assert_eq!((written.epoch, written.model_key.as_str()), (Some(4), "ema"));
    for (name, tensor) in written.model.iter() {
        assert_eq!(tensor.dtype(), DType::Float16);
        let expected = theirs.get::<Tensor>(name).unwrap().to_f64_vec().unwrap();
        // Rounded once to half precision.
        assert!(apart(&tensor.to_f64_vec().unwrap(), &expected) < 5e-4, "{name}");
    }
}

/// What a plan asks, with exit status 1, or what is refused.
fn said(checkpoint: &Path, more: &[&str]) -> String {
    let all = [Path::new("plan"), checkpoint].into_iter().chain(MLP.iter().chain(more).map(Path::new));
    let output = command(all).output().unwrap();
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn what_a_framework_keeps_in_no_file_is_asked_with_answers_that_work() {
    for name in ["timm", "ultralytics"] {
        let asked = said(&folder(name).join("start.pt"), &[OBJECTS]);
        assert!(asked.contains(&format!("{name} makes its schedule again when it resumes")), "{asked}");
        assert!(asked.contains("--scheduler none") && asked.contains("--scheduler NAME(..)"), "{asked}");
    }
    let asked = said(&folder("detectron2").join("start.pt"), &[]);
    assert!(asked.contains("detectron2.multi_step(STEPS, MAX_ITER, ..)"), "{asked}");
}

#[test]
fn two_schedulers_of_mmengine_go_on_as_there() {
    let (folder, place) = (folder("mmengine_two"), tempfile::tempdir().unwrap());
    let batches = folder.join("batches.safetensors");
    let more = [OBJECTS, "--batches", batches.to_str().unwrap(), "--save", "out.pt", "--log", "log.jsonl"];
    let output = resume(&folder.join("start.pt"), &[&MLP[..], &more].concat(), place.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (ours, theirs) = (lines(&place.path().join("log.jsonl")), lines(&folder.join("expect.jsonl")));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours["step"], &ours["lr"]), (&theirs["step"], &theirs["lr"]));
    }
}

#[test]
fn the_halves_of_a_basicsr_run_say_what_they_lack_and_go_on_together() {
    let folder = folder("basicsr");
    let refused = said(&folder.join("10.state"), &[]);
    assert!(refused.contains("BasicSR's training state") && refused.contains("net_g_N.pth"), "{refused}");
    let refused = said(&folder.join("net_g_10.pth"), &[]);
    assert!(refused.contains("optimizer"), "{refused}");

    let [state, network] = ["10.state", "net_g_10.pth"].map(|name| Checkpoint::open(folder.join(name)).unwrap());
    state.set("model", network.state_dict("params").unwrap()).unwrap();
    let place = tempfile::tempdir().unwrap();
    state.save(place.path().join("both.pt")).unwrap();
    let batches = self::folder("lightning").join("batches.safetensors");
    let arguments = [&MLP[..], &["--batches", batches.to_str().unwrap(), "--steps", "2", "--save", "out.pt"]].concat();
    let output = resume(&place.path().join("both.pt"), &arguments, place.path());
    assert!(output.status.success(), "{output:?}");
    let after = Checkpoint::open(place.path().join("out.pt")).unwrap();
    assert_eq!((after.get::<i64>("iter").unwrap(), after.get::<i64>("schedulers[0].last_epoch").unwrap()), (12, 12));
}

#[test]
fn rates_that_a_schedule_made_again_does_not_have_are_asked_about_as_of_a_warm_up() {
    let path = folder("ultralytics").join("start.pt");
    let other = [OBJECTS, "--scheduler", "ultralytics.linear(lrf=0.5, epochs=8)", "--steps-per-epoch", "5"];
    let asked = said(&path, &other);
    assert!(asked.contains("are not those of this LambdaLR at epoch 3 or the one before"), "{asked}");
    assert!(asked.contains("ultralytics warms up") && asked.contains("--schedule-at 3"), "{asked}");
    let place = tempfile::tempdir().unwrap();
    let batches = folder("ultralytics").join("batches.safetensors");
    let more = ["--schedule-at", "3", "--batches", batches.to_str().unwrap(), "--save", "out.pt"];
    let output = resume(&path, &[&MLP[..], &other, &more].concat(), place.path());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_model_that_may_be_either_of_two_members_is_asked_for_and_the_other_stays_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(folder("lightning").join("start.pt")).unwrap();
    let model = checkpoint.state_dict("state_dict").unwrap();
    let mut both = model.clone();
    for (name, tensor) in model.iter() {
        for other in ["critic.", "ema_model."] {
            let copy = Tensor::from_vec(tensor.shape(), tensor.to_vec::<f32>().unwrap()).unwrap();
            both.insert(name.replace("model.", other), copy);
        }
    }
    checkpoint.set("state_dict", both).unwrap();
    let path = place.path().join("both.ckpt");
    checkpoint.save(&path).unwrap();
    let asked = said(&path, &[]);
    assert!(asked.contains("any of 'model.', 'critic.'"), "{asked}");
    assert!(asked.contains("--member model.") && asked.contains("--member critic."), "{asked}");

    let batches = folder("lightning").join("batches.safetensors");
    let more = ["--batches", batches.to_str().unwrap(), "--member", "critic.", "--save", "out.ckpt"];
    let output = resume(&path, &[&MLP[..], &more].concat(), place.path());
    assert!(output.status.success(), "{output:?}");
    let [before, after] = [path, place.path().join("out.ckpt")].map(|path| Checkpoint::open(path).unwrap());
    let weights = |checkpoint: &Checkpoint, name: &str| {
        checkpoint.state_dict("state_dict").unwrap().get(name).unwrap().to_f64_vec().unwrap()
    };
    for (name, stays) in [("model.0.weight", true), ("ema_model.0.weight", true), ("critic.0.weight", false)] {
        assert_eq!(weights(&before, name) == weights(&after, name), stays, "{name}");
    }
}

#[test]
fn a_dict_of_one_s_own_with_arguments_in_it_is_no_framework_s() {
    let place = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(folder("fabric").join("start.pt")).unwrap();
    checkpoint.set("epoch", 2).unwrap();
    checkpoint.set("args", checkpoint.value("hparams").unwrap()).unwrap();
    assert_eq!(*Layout::detect(checkpoint.root()).name(), *"tutorial");
    let path = place.path().join("own.pt");
    checkpoint.save(&path).unwrap();
    assert_eq!(RunState::read(&Checkpoint::open(path).unwrap()).unwrap().epoch, Some(2));
}

#[test]
fn an_optimizer_of_fastai_s_own_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(folder("fastai").join("start.pt")).unwrap();
    let (state, hypers) = (Value::list(vec![]), Value::list(vec![]));
    checkpoint.set("opt", Dict::from_iter([("state", state), ("hypers", hypers)])).unwrap();
    let path = place.path().join("own.pth");
    checkpoint.save(&path).unwrap();
    let refused = said(&path, &[]);
    assert!(refused.contains("fastai's own"), "{refused}");
}
