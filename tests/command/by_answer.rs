//! Runs whose file does not tell everything: what is asked before the first step, and that each answer is what the program did.

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Tensor, Value};
use rekindle_testing::fixtures;

use crate::refusal;
use crate::went_on::{Section, text};

const RUNS: Section = Section("by_answer");

/// What resuming a file refuses with.
fn asked(name: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    refusal(&RUNS.resume(name, &[arguments, &["--save", "out.pt"]].concat(), folder.path()))
}

#[test]
fn what_a_loss_in_half_precision_is_computed_in_is_asked_and_either_answer_is_its_program_s() {
    for (name, answer) in [("half_own.pt", "weights"), ("half_single.pt", "f32")] {
        let said = asked(name, &[]);
        for answer in ["f32", "weights"] {
            assert!(said.contains(&format!("--loss-dtype {answer} for ")), "{said}");
        }
        assert!(!said.contains("--dtype f32"), "the moments tell that nothing was rounded: {said}");
        let (_, told) = RUNS.goes_on(name, &["--loss-dtype", answer], "model", "out.pt");
        assert!(told.contains("the loss is computed in "), "{told}");
    }
    let said = asked("deep.pt", &["--loss-dtype", "f32"]);
    assert!(said.contains("--loss-dtype is of networks in half precision"), "{said}");
}

/// An optimizer without moments does not tell whether its weights were computed in half precision, or rounded to be saved.
#[test]
fn weights_that_may_have_been_rounded_to_be_saved_are_asked_about() {
    let said = asked("rounded.pt", &[]);
    assert!(said.contains("--dtype f32 for a run in float32 whose weights were rounded to be saved"), "{said}");
    let (after, _) = RUNS.goes_on("rounded.pt", &["--dtype", "f32"], "model", "out.pt");
    assert_eq!(after.get::<Tensor>("model.0.weight").unwrap().dtype().name(), "float16");
}

#[test]
fn weights_of_several_types_are_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let mixed = Checkpoint::open(RUNS.file("half_own.pt")).unwrap();
    let bias = mixed.get::<Tensor>("model.2.bias").unwrap().to_f64_vec().unwrap();
    #[allow(clippy::cast_possible_truncation)]
    let bias = Tensor::from_vec(&[bias.len()], bias.iter().map(|x| *x as f32).collect()).unwrap();
    mixed.set("model.2.bias", bias).unwrap();
    let path = folder.path().join("mixed.pt");
    mixed.save(&path).unwrap();
    let said = refusal(&RUNS.resume(path.to_str().unwrap(), &["--save", "out.pt"], folder.path()));
    assert!(said.contains("several types (bfloat16, float32)") && said.contains("--dtype f32"), "{said}");
    let output = RUNS.resume(path.to_str().unwrap(), &["--dtype", "f32", "--save", "out.pt"], folder.path());
    assert!(output.status.success(), "{output:?}");
}

/// The formula of a `LambdaLR` that is within another scheduler is named with what is around it, or by itself.
#[test]
fn a_lambda_within_another_scheduler_is_named_as_the_question_says() {
    let cosine = "transformers.cosine(warmup=3, total=20)";
    let said = asked("ignite_lambda.pt", &[]);
    assert!(said.contains("--scheduler IgniteLRScheduler(NAME(..)) to say how it was made"), "{said}");
    for schedule in [cosine.to_owned(), format!("IgniteLRScheduler({cosine})")] {
        let told = ["--scheduler", &schedule, "--schedule-per", "before-step"];
        RUNS.goes_on("ignite_lambda.pt", &told, "model", "out.pt");
    }
    RUNS.goes_on("ignite_joined.pt", &["--scheduler", cosine, "--schedule-per", "before-step"], "model", "out.pt");
    let said = asked("sequential.pt", &[]);
    assert!(said.contains("--scheduler NAME(..)"), "{said}");
    RUNS.goes_on("sequential.pt", &["--scheduler", cosine], "model", "out.pt");
}

/// `YOLOv5` and ultralytics count batches from the last step: the first batch of a run that is resumed makes a step alone, losses are
/// added up, and what an epoch leaves over is dropped or carried on.
#[test]
fn yolo_s_steps_of_several_batches_are_those_that_it_makes_when_it_resumes() {
    let objects = ["--allow-objects", "--ema", "none"];
    for (name, weights) in [("yolov5", "model"), ("ultralytics", "ema")] {
        let schedule = format!("{name}.linear(lrf=0.1, epochs=8)");
        let file = format!("{name}_two.pt");
        let all = [&objects[..], &["--scheduler", &schedule, "--steps-per-epoch", "2"]].concat();
        let said = asked(&file, &all);
        assert!(said.contains("--accumulate 2") && said.contains("--accumulate 1"), "{said}");
        let (_, said) = RUNS.goes_on(&file, &[&all[..], &["--accumulate", "2"]].concat(), weights, "out.pt");
        assert!(said.contains("adds its batches up, and it begins with a step on one batch"), "{said}");
    }
    let told = ["--scheduler", "none", "--accumulate", "2"];
    let said = asked("yolov5_two.pt", &[&objects[..], &told].concat());
    assert!(
        said.contains("drops the batches that an epoch leaves over") && said.contains("--steps-per-epoch N"),
        "{said}"
    );
}

/// Its scheduler sets the rates when an epoch ends, before the file is saved, so that they do not show the warm-up that goes on.
#[test]
fn a_warm_up_of_yolov5_that_no_rate_shows_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("warm.pt");
    let schedule = ["--scheduler", "yolov5.linear(lrf=0.1, epochs=8)", "--steps-per-epoch", "2", "--accumulate", "2"];
    let told = [&["--allow-objects", "--ema", "none", "--save", "out.pt"][..], &schedule].concat();
    let amid = |hyper: &[(&str, f64)], momentum: f64| {
        let run = Checkpoint::open(RUNS.file("yolov5_two.pt")).unwrap();
        for (key, value) in hyper {
            run.set(&format!("opt.hyp.{key}"), *value).unwrap();
        }
        for group in 0..2 {
            run.set(&format!("optimizer.param_groups[{group}].momentum"), momentum).unwrap();
        }
        let options = rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true).allow_objects(true);
        run.save_with(&path, &options).unwrap();
        RUNS.resume(path.to_str().unwrap(), &told, folder.path())
    };
    let said = refusal(&amid(&[("momentum", 0.937)], 0.854_357));
    assert!(said.contains("yolov5 may still warm up after epoch 2 and 8 updates"), "{said}");
    assert!(
        said.contains("--schedule-at 1 to go on by the schedule alone") && said.contains("--scheduler none"),
        "{said}"
    );
    let output = RUNS.resume(path.to_str().unwrap(), &[&told[..], &["--schedule-at", "1"]].concat(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = amid(&[("momentum", 0.937)], 0.937);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Lightning counts a scheduler's frequency in the batches of an epoch, and begins anew in the next.
#[test]
fn a_frequency_of_lightning_s_is_of_an_epoch_s_batches() {
    let said = asked("lightning_frequency.pt", &[]);
    assert!(said.contains("--schedule-per 2-steps after every 2 steps"), "{said}");
    RUNS.goes_on("lightning_frequency.pt", &["--schedule-per", "2-steps"], "state_dict.net", "out.pt");
}

/// One that comes once an epoch counts as one per epoch does, unless the file was saved amid one.
#[test]
fn a_frequency_that_comes_once_an_epoch_is_said_or_told_by_the_place_in_the_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |batches: i64| {
        let changed = Checkpoint::open(RUNS.file("lightning_frequency.pt")).unwrap();
        // Stepped twice in two epochs of five batches, and once more where it is amid the third.
        let (scheduler, amid) =
            (changed.value("lr_schedulers[0]").unwrap().as_dict().unwrap().clone(), i64::from(batches > 0));
        let rate = 0.01 * 0.8_f64.powi(if batches > 0 { 3 } else { 2 });
        scheduler.insert("last_epoch", 2 + amid);
        scheduler.insert("_step_count", 3 + amid);
        scheduler.insert("_last_lr", vec![rate]);
        let group = changed.value("optimizer_states[0].param_groups[0]").unwrap().as_dict().unwrap().clone();
        group.insert("lr", rate);
        changed.set("global_step", 10 + batches).unwrap();
        let dict = |place: &str| changed.value(place).unwrap().as_dict().unwrap().clone();
        let fit = dict("loops.fit_loop");
        let inside = |key: &str| fit.get(key).unwrap().as_dict().unwrap().clone();
        if batches > 0 {
            let (epochs, progress) = (inside("epoch_progress"), inside("epoch_loop.batch_progress"));
            for of in ["total", "current"] {
                let (epochs, progress) = (epochs.get(of).unwrap(), progress.get(of).unwrap());
                for (what, count) in [("ready", 3_i64), ("started", 3), ("processed", 2), ("completed", 2)] {
                    epochs.as_dict().unwrap().insert(what, count);
                    progress.as_dict().unwrap().insert(what, if of == "total" { 10 + batches } else { batches });
                }
            }
            progress.insert("is_last_batch", false);
        }
        let path = folder.path().join("changed.ckpt");
        changed.save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
        let output = RUNS.resume(path.to_str().unwrap(), &["--plan", "--save", "out.pt"], folder.path());
        text(&output.stdout) + &text(&output.stderr)
    };
    let said = plan(0);
    assert!(
        said.contains("as the epochs; a frequency of 3 to 4 steps counts the same (--schedule-per N-steps)"),
        "{said}"
    );
    let said = plan(4);
    for answer in ["--schedule-per 3-steps", "--schedule-per 4-steps"] {
        assert!(said.contains(answer), "{said}");
    }
    assert!(!said.contains("--schedule-per 2-steps"), "{said}");
}

#[test]
fn an_average_of_timm_s_in_its_wrapper_goes_on_in_any_file() {
    let (after, _) = RUNS.goes_on("timm_average.pt", &["--ema", "0.9"], "model", "out.pt");
    let truth = &fixtures::json("by_answer/truth.json")["timm_average"]["average"];
    for (name, expected) in truth.as_object().unwrap() {
        let ours =
            after.get::<Tensor>(&format!("model_ema['{name}']")).or_else(|_| after.get(&format!("model_ema.{name}")));
        let theirs: Vec<f64> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let ours = ours.unwrap().to_f64_vec().unwrap();
        assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-5), "{name}");
    }
}

/// A wrapper's own entries may change the steps: `{"optimizer": {"base": .., "mask_prob": 0.5}}`.
#[test]
fn what_a_wrapper_has_put_beside_an_optimizer_s_state_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let run = Checkpoint::open(RUNS.file("deep.pt")).unwrap();
    run.set("trainer.state.opt.mask_prob", 0.5).unwrap();
    let path = folder.path().join("wrapped.pt");
    run.save(&path).unwrap();
    let said = refusal(&RUNS.resume(path.to_str().unwrap(), &["--save", "out.pt"], folder.path()));
    assert!(
        said.contains("there is trainer.state.opt.mask_prob, of a wrapper") && said.contains("--optimizer AdamW"),
        "{said}"
    );
    let output = RUNS.resume(path.to_str().unwrap(), &["--optimizer", "AdamW", "--save", "out.pt"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Settings in any spelling of their words, and in a text.
#[test]
fn settings_are_told_however_their_words_are_spelled_and_in_texts() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"{"optim": {"max_grad_norm": 0.3}}"#;
    let yaml = "train:\n  max-grad-norm: 0.3  # of all\n";
    for (place, value, spelled) in [
        ("clipGradNorm", Value::Float(0.3), "clipGradNorm is 0.3"),
        ("config", json.into(), "max_grad_norm in config is 0.3"),
        ("config", yaml.into(), "max-grad-norm in config is 0.3"),
        ("cfg", "clip_grad=dict(max_norm=0.3)".into(), "max_norm in cfg is 0.3"),
    ] {
        let run = Checkpoint::open(RUNS.file("deep.pt")).unwrap();
        run.set(place, value).unwrap();
        let path = folder.path().join("run.pt");
        run.save_with(&path, &rekindle::recorder::checkpoint::SaveOptions::default().overwrite(true)).unwrap();
        let said = refusal(&RUNS.resume(path.to_str().unwrap(), &["--save", "out.pt"], folder.path()));
        assert!(said.contains(&format!("a setting speaks of clipped gradients ({spelled})")), "{said}");
    }
}

#[test]
fn parts_that_are_deep_in_a_file_are_found_and_written_back_there() {
    let (after, _) = RUNS.goes_on("deep.pt", &[], "trainer.state.nn.backbone", "out.pt");
    assert_eq!(after.value("version").unwrap().as_str(), Some("1.2"));
}
