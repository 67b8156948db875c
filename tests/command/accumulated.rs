//! Steps of several batches whose scheduler, average or file counts batches: asked about, and gone on so.

use std::path::{Path, PathBuf};

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::fixtures;

use crate::command;
use crate::went_on::text;

/// How many batches make a step, and how many steps AdamW has made.
const EACH: i64 = 3;
const MADE: i64 = 4;
const LR: f64 = 0.004;

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap()
}

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    entries.into_iter().collect::<Dict>().into()
}

/// AdamW's run with these parts beside it, and a network of two layers.
fn saved(folder: &Path, parts: &[(&str, Value)]) -> PathBuf {
    let lit = open(&fixtures::path("averages").join("lit.pt"));
    let weights = lit.value("state_dict").unwrap().as_dict().unwrap().clone();
    let model: Dict = ["0.weight", "0.bias", "2.weight", "2.bias"]
        .into_iter()
        .map(|name| (name, weights.get(&format!("model.diffusion_model.{name}")).unwrap()))
        .collect();
    let optimizer = lit.value("optimizer_states[0]").unwrap();
    let group = optimizer.as_dict().unwrap().get("param_groups").unwrap().items().unwrap().remove(0);
    if let Some((_, scheduler)) = parts.iter().find(|(key, _)| *key == "scheduler") {
        let base = scheduler.as_dict().unwrap().get("base_lrs").unwrap().items().unwrap().remove(0);
        group.as_dict().unwrap().insert("initial_lr", base);
    }
    let root = Dict::new();
    root.insert("model", model);
    root.insert("optimizer", optimizer);
    for (key, value) in parts {
        root.insert(*key, value.clone());
    }
    let path = folder.join("run.pt");
    Checkpoint::from(root).save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
    path
}

/// The rate that an `ExponentialLR` begins with that comes to `LR` when it was stepped so often: exactly, with powers of two.
fn base(stepped: i64) -> Value {
    (LR * f64::from(1 << stepped)).into()
}

/// That scheduler.
fn scheduler(stepped: i64) -> Value {
    dict([
        ("gamma", 0.5.into()),
        ("base_lrs", vec![base(stepped)].into()),
        ("last_epoch", stepped.into()),
        ("_step_count", (stepped + 1).into()),
        ("_last_lr", vec![Value::from(LR)].into()),
    ])
}

/// Latent diffusion's average, updated so often.
fn average(folder: &Path, updates: i64) -> Value {
    let own = open(&saved(folder, &[]));
    let ema: Dict =
        own.value("model").unwrap().as_dict().unwrap().entries().iter().fold(Dict::new(), |ema, (name, value)| {
            ema.insert(name.as_str().unwrap().replace('.', ""), value.clone());
            ema
        });
    ema.insert("decay", Tensor::scalar(0.9_f32));
    ema.insert("num_updates", Tensor::scalar(i32::try_from(updates).unwrap()));
    ema.into()
}

fn resume(path: &Path, answer: &[&str], folder: &Path) -> (bool, String, Vec<f64>) {
    let batches = fixtures::path("averages").join("batches.pt");
    let fixed = [Path::new("resume"), path, Path::new("--batches"), &batches].map(Path::to_path_buf);
    let told = ["--model", "mlp", "--config", "sizes=5,8,3", "--save", "out.pt", "--log", "log.jsonl", "--overwrite"];
    let all = fixed.into_iter().chain(told.iter().chain(answer).map(PathBuf::from));
    let output = command(all).current_dir(folder).output().unwrap();
    let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap_or_default();
    let rates =
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["lr"][0].as_f64().unwrap());
    (output.status.success(), text(&output.stderr), rates.collect())
}

#[test]
fn whatever_counts_batches_beside_the_optimizer_s_steps_is_asked_about_with_how_many_make_a_step() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let batches = MADE * EACH;
    for (part, value, says) in [
        ("step", batches.into(), "where the file counts 12: of 3 batches each"),
        ("scheduler", scheduler(batches), "where a scheduler was stepped 12 times: after each of 3 batches"),
        (
            "model_ema",
            average(folder, batches),
            "where the average of the weights was updated 12 times: after each of 3",
        ),
    ] {
        let path = saved(folder, &[(part, value)]);
        let (done, said, _) = resume(&path, &[], folder);
        assert!(!done && said.contains(says), "{said}");
        // Nothing else is asked of what that answer tells.
        assert!(
            said.contains("--accumulate 3") && said.contains("--accumulate 1") && !said.contains("--schedule-per"),
            "{said}"
        );
        let (done, said, rates) = resume(&path, &["--accumulate", "3"], folder);
        assert!(done && rates.len() == 2, "{said}");
    }
}

#[test]
fn a_scheduler_that_is_stepped_after_every_batch_goes_on_so_and_one_of_the_steps_by_steps() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let batches = MADE * EACH;
    for step in [Some(batches), None] {
        let step = step.map(|step| ("step", Value::from(step)));
        let rates = |stepped: i64| {
            let parts: Vec<_> = step.clone().into_iter().chain([("scheduler", scheduler(stepped))]).collect();
            let (done, said, rates) = resume(&saved(folder, &parts), &["--accumulate", "3"], folder);
            assert!(done, "{said}");
            (rates, open(&folder.join("out.pt")).get::<i64>("scheduler.last_epoch").unwrap())
        };
        // The rate of a step is that of its last batch.
        assert_eq!(rates(batches), (vec![LR / 4.0, LR / 32.0], batches + 6));
        assert_eq!(rates(MADE), (vec![LR, LR / 2.0], MADE + 2));
    }
}

#[test]
fn a_file_that_counts_batches_is_written_with_batches() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    // Batches that were left of the last step are counted, too.
    for step in [12, 14] {
        let path = saved(folder, &[("step", Value::from(step))]);
        let (done, said, _) = resume(&path, &["--accumulate", "3"], folder);
        let says = format!("its step counts batches, {step} so far, and goes on so");
        assert!(done && said.contains(&says) && said.contains("step 4"), "{said}");
        assert_eq!(open(&folder.join("out.pt")).get::<i64>("step").unwrap(), step + 6);
        // And from there once more.
        std::fs::rename(folder.join("out.pt"), folder.join("first.pt")).unwrap();
        let (done, said, _) = resume(&folder.join("first.pt"), &["--accumulate", "3"], folder);
        assert!(done, "{said}");
        assert_eq!(open(&folder.join("out.pt")).get::<i64>("step").unwrap(), step + 12);
    }
    // A count of steps stays one, however many batches make a step from here on.
    let (done, said, _) = resume(&saved(folder, &[("step", MADE.into())]), &["--accumulate", "3"], folder);
    assert!(done, "{said}");
    assert_eq!(open(&folder.join("out.pt")).get::<i64>("step").unwrap(), MADE + 2);
}

#[test]
fn latent_diffusion_s_average_takes_the_weights_in_after_every_batch_where_it_counts_those() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let path = saved(folder, &[("model_ema", average(folder, MADE * EACH))]);
    let (done, said, _) = resume(&path, &["--accumulate", "3", "--steps", "1"], folder);
    assert!(done && said.contains("use_num_updates=1), after each batch"), "{said}");
    let (before, after) = (open(&path), open(&folder.join("out.pt")));
    let of = |file: &Checkpoint, place: &str| file.get::<Tensor>(place).unwrap().to_f64_vec().unwrap();
    let (old, new) = (of(&before, "model['0.bias']"), of(&after, "model['0.bias']"));
    let mut expected = of(&before, "model_ema.0bias");
    for (update, weights) in (13_u32..).zip([&old, &old, &new]) {
        let decay = 0.9_f64.min(f64::from(1 + update) / f64::from(10 + update));
        expected.iter_mut().zip(weights).for_each(|(average, weight)| *average -= (1.0 - decay) * (*average - weight));
    }
    let ours = of(&after, "model_ema.0bias");
    assert!(old != new && ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{ours:?} {expected:?}");
    assert!((after.get::<Tensor>("model_ema.num_updates").unwrap().item().unwrap() - 15.0).abs() < 0.5);
}
