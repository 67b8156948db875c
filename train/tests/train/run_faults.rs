//! What a `Run` promises where something is amiss: it is known before the first step, nothing is lost, and the file is named.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::value::{Global, Object, ObjectData};
use rekindle_recorder::{Checkpoint, DType, Dict, Error, StateDict, Tensor as TorchTensor, Value};
use rekindle_testing::tagged::spell;
use rekindle_train::Run;
use rekindle_train::amp::GradScaler;
use rekindle_train::clip::ClipGradNorm;
use rekindle_train::ema::{AveragedLayout, AveragedModel, Averaging};
use rekindle_train::lr_scheduler::{LRScheduler, ReduceLROnPlateau, StepLR};
use rekindle_train::optim::{LbfgsOptions, Optimizer, SgdOptions};
use rekindle_train::run::{ResumeOptions, SchedulePer};

const EMA: Averaging = Averaging::Ema { decay: 0.5 };

fn device() -> Device {
    Device::flex().autodiff()
}

fn linear() -> Linear {
    let mut model = LinearConfig::new(3, 1).init(&device());
    let weights = StateDict::from_iter([
        ("weight", TorchTensor::from_vec(&[1, 3], vec![0.5_f32, -0.25, 1.0]).unwrap()),
        ("bias", TorchTensor::from_vec(&[1], vec![0.125_f32]).unwrap()),
    ]);
    model.load_state_dict(&weights).unwrap();
    model
}

fn run() -> Run<Linear> {
    let model = linear();
    let optimizer = Optimizer::sgd(&model, SgdOptions::default()).unwrap();
    Run::start(model, optimizer)
}

fn loss(run: &Run<Linear>, row: f32) -> Tensor<1> {
    let inputs = Tensor::<2>::from_floats([[row, 1.0, -0.5], [1.0, row, 2.0]], &device());
    run.model().forward(inputs).powf_scalar(2.0).mean()
}

fn weights(run: &Run<Linear>) -> Vec<f64> {
    let state = run.model().state_dict().unwrap();
    state.iter().flat_map(|(_, tensor)| tensor.to_f64_vec().unwrap()).collect()
}

/// The numbers of a state dict at a key of a checkpoint.
fn numbers(checkpoint: &Checkpoint, key: &str) -> Vec<f64> {
    let state = checkpoint.state_dict(key).unwrap();
    state.iter().flat_map(|(_, tensor)| tensor.to_f64_vec().unwrap()).collect()
}

/// The checkpoint of a run of two steps, with something changed, opened from a file.
fn changed(change: impl FnOnce(&Checkpoint)) -> (tempfile::TempDir, Checkpoint) {
    let mut run = run();
    for row in [2.0, -1.0] {
        run.step(loss(&run, row)).unwrap();
    }
    let checkpoint = run.checkpoint().unwrap();
    change(&checkpoint);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    checkpoint.save_with(&path, &SaveOptions::default().allow_objects(true)).unwrap();
    (folder, Checkpoint::open(path).unwrap())
}

fn refusal(change: impl FnOnce(&Checkpoint)) -> String {
    let (_folder, checkpoint) = changed(change);
    let error = Run::resume(checkpoint, linear()).unwrap_err().to_string();
    assert!(error.contains("run.pt: "), "the file is named: {error}");
    error
}

#[test]
fn several_models_or_optimizers_are_refused_before_the_first_step_by_their_names() {
    let models = refusal(|checkpoint| {
        let other = checkpoint.state_dict("model_state_dict").unwrap();
        checkpoint.set("modelB_state_dict", other).unwrap();
    });
    assert!(models.contains("several models ('model_state_dict', 'modelB_state_dict')"), "{models}");
    let optimizers = refusal(|checkpoint| {
        checkpoint.set("optimizerB_state_dict", checkpoint.value("optimizer_state_dict").unwrap()).unwrap();
    });
    assert!(optimizers.contains("2 optimizers"), "{optimizers}");
}

#[test]
fn what_saving_would_fail_with_is_known_when_a_run_is_resumed() {
    let object = |checkpoint: &Checkpoint| {
        let class = Global::new("argparse", "Namespace");
        checkpoint.set("args", Value::Object(Object::new(ObjectData::call(class, vec![])))).unwrap();
    };
    let refused = refusal(object);
    assert!(refused.contains("args") && refused.contains("argparse.Namespace"), "{refused}");
    let (folder, checkpoint) = changed(object);
    let mut allowed = Run::resume_with(checkpoint, linear(), ResumeOptions::default().allow_objects(true)).unwrap();
    allowed.step(loss(&allowed, 1.0)).unwrap();
    allowed.save(folder.path().join("next.pt")).unwrap();

    // The next epoch is the 256th.
    let last = |checkpoint: &Checkpoint| {
        let epoch = TorchTensor::from_le_bytes(DType::UInt8, &[], vec![250_u8]).unwrap();
        checkpoint.set("epoch", epoch).unwrap();
    };
    let (_folder, checkpoint) = changed(last);
    let mut run = Run::resume(checkpoint.clone(), linear()).unwrap().until_epoch(256);
    let before = weights(&run);
    let refused = run.step(loss(&run, 1.0)).unwrap_err().to_string();
    assert!(refused.contains("run.pt: epoch is") && refused.contains("cannot hold 256"), "{refused}");
    assert_eq!(weights(&run), before, "no step was made");
    let mut run = Run::resume(checkpoint, linear()).unwrap().until_epoch(255);
    run.step(loss(&run, 1.0)).unwrap();
}

#[test]
fn what_a_checkpoint_keeps_is_read_before_the_first_step_so_that_damage_is_known() {
    let (folder, _) = changed(|checkpoint| {
        checkpoint.set("extra", TorchTensor::from_vec(&[64], vec![0.123_456_79_f32; 64]).unwrap()).unwrap();
    });
    let path = folder.path().join("run.pt");
    let mut bytes = std::fs::read(&path).unwrap();
    let pattern = [0.123_456_79_f32.to_le_bytes(); 4].concat();
    let at = bytes.windows(16).position(|window| window == pattern).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Run::resume(Checkpoint::open(&path).unwrap(), linear()).unwrap_err().to_string();
    assert!(error.contains("run.pt: ") && error.contains("checksum mismatch"), "{error}");
}

#[test]
fn a_trial_of_saving_writes_nothing_and_says_what_stands_in_the_way() {
    let run = run();
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions::default();
    run.try_save(folder.path().join("run.pt"), &options).unwrap();
    for (name, expected) in [
        ("nowhere/run.pt", "cannot write here"),
        ("run.safetensors", "keeps tensors only"),
        ("folder", "a file is written, and this is a folder"),
    ] {
        if name == "folder" {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = folder.path().join(name);
        let error = run.try_save(&path, &options).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(expected), "{error}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["folder"]);
}

/// A run of two steps with an average in this layout.
fn averaged(layout: AveragedLayout) -> Run<Linear> {
    let mut run = run();
    let average = AveragedModel::new(run.model(), EMA).unwrap().with_layout(layout);
    run = run.with_average(average);
    for row in [2.0, -1.0] {
        run.step(loss(&run, row)).unwrap();
    }
    run
}

const LAYOUTS: [AveragedLayout; 3] = [AveragedLayout::PyTorch, AveragedLayout::MmEngine, AveragedLayout::Plain];

#[test]
fn an_average_goes_on_where_its_rule_is_told() {
    for layout in LAYOUTS {
        let mut whole = averaged(layout);
        // SGD counts no steps.
        let options = ResumeOptions::default().average(EMA).average_per(SchedulePer::Step);
        let mut resumed = Run::resume_with(whole.checkpoint().unwrap(), linear(), options).unwrap();
        assert_eq!(resumed.notes().count(), 0, "{layout:?}");
        for row in [0.5, 3.0] {
            whole.step(loss(&whole, row)).unwrap();
            resumed.step(loss(&resumed, row)).unwrap();
        }
        assert_eq!(weights(&whole), weights(&resumed), "{layout:?}");
        let (one, two) = (whole.checkpoint().unwrap(), resumed.checkpoint().unwrap());
        for key in ["model_state_dict", "ema_state_dict"] {
            assert_eq!(numbers(&one, key), numbers(&two, key), "{layout:?}: {key}");
        }
        // In mmengine's files the average is what is ready for use.
        let model = numbers(&one, "model_state_dict");
        assert_eq!(model == weights(&whole), layout != AveragedLayout::MmEngine, "{layout:?}");
    }
}

#[test]
fn an_average_whose_rule_nobody_told_stays_as_it_is_and_this_is_said() {
    for layout in LAYOUTS {
        let whole = averaged(layout);
        let before = whole.average().unwrap().module().clone();
        let checkpoint = whole.checkpoint().unwrap();
        let mut resumed = Run::resume(checkpoint, linear()).unwrap();
        assert_eq!(weights(&resumed), weights(&whole), "{layout:?}: what is trained is loaded");
        let notes: Vec<_> = resumed.notes().map(str::to_owned).collect();
        assert!(notes.len() == 1 && notes[0].contains("`ResumeOptions::average`"), "{notes:?}");
        resumed.step(loss(&resumed, 0.5)).unwrap();

        let saved = resumed.checkpoint().unwrap();
        let (model, ema) = (numbers(&saved, "model_state_dict"), numbers(&saved, "ema_state_dict"));
        let kept: Vec<f64> = before.iter().flat_map(|(_, tensor)| tensor.to_f64_vec().unwrap()).collect();
        // Without the count, which comes first where there is one.
        let ema = ema[ema.len() - kept.len()..].to_vec();
        let [average, trained] = if layout == AveragedLayout::MmEngine { [model, ema] } else { [ema, model] };
        assert_eq!(average, kept, "{layout:?}");
        assert_eq!(trained, weights(&resumed), "{layout:?}");
        // Whoever gives the run an average knows its rule.
        let average = AveragedModel::new(resumed.model(), EMA).unwrap();
        assert_eq!(resumed.with_average(average).notes().count(), 0);
    }
}

#[test]
fn an_average_of_something_else_is_kept_or_refused_and_one_that_is_asked_for_begins() {
    let shadow = |checkpoint: &Checkpoint| {
        let ema = Dict::from_iter([("decay", Value::Float(0.9)), ("shadow", Value::Int(1))]);
        checkpoint.set("ema", ema).unwrap();
    };
    let (_folder, checkpoint) = changed(shadow);
    let mut kept = Run::resume(checkpoint, linear()).unwrap();
    kept.step(loss(&kept, 1.0)).unwrap();
    assert_eq!(kept.checkpoint().unwrap().get::<f64>("ema.decay").unwrap(), 0.9);

    let foreign = |checkpoint: &Checkpoint| {
        let ema = StateDict::from_iter([
            ("n_averaged", TorchTensor::scalar(2_i64)),
            ("module.other", TorchTensor::from_vec(&[1], vec![1.0_f32]).unwrap()),
        ]);
        checkpoint.set("ema_state_dict", ema).unwrap();
    };
    let (_folder, checkpoint) = changed(foreign);
    let told = || ResumeOptions::default().average(EMA);
    let error = Run::resume_with(checkpoint, linear(), told()).unwrap_err().to_string();
    assert!(error.contains("run.pt: the average has no 'weight'"), "{error}");

    let (_folder, checkpoint) = changed(|_| ());
    let mut begun = Run::resume_with(checkpoint, linear(), told()).unwrap();
    begun.step(loss(&begun, 1.0)).unwrap();
    assert!(begun.checkpoint().unwrap().contains("ema_state_dict.n_averaged"));
}

#[test]
fn a_step_that_failed_leaves_the_run_with_its_model() {
    let (_folder, checkpoint) = changed(|_| ());
    let mut run = Run::resume(checkpoint, linear()).unwrap();
    let before = weights(&run);
    run.optimizer_mut().param_groups_mut()[0].set("lr", "fast");
    let error = run.step(loss(&run, 1.0)).unwrap_err().to_string();
    assert!(error.contains("run.pt: ") && error.contains("lr"), "{error}");
    assert_eq!(weights(&run), before);
    assert_eq!(run.steps(), 0);

    run.optimizer_mut().param_groups_mut()[0].set("lr", 0.1);
    run.step(loss(&run, 1.0)).unwrap();
    assert_ne!(weights(&run), before);

    // Nor does a scaler hold on to a step that was not made.
    run = run.with_scaler(GradScaler::default());
    run.optimizer_mut().param_groups_mut()[0].set("lr", "fast");
    let before = weights(&run);
    run.step(loss(&run, 1.0)).unwrap_err();
    assert_eq!(weights(&run), before);
    run.optimizer_mut().param_groups_mut()[0].set("lr", 0.1);
    run.step(loss(&run, 1.0)).unwrap();
    let mut clipped = run.with_clip(ClipGradNorm::new(1.0).error_if_nonfinite(true));
    clipped.step(loss(&clipped, f32::INFINITY)).unwrap_err();
    clipped.step(loss(&clipped, 1.0)).unwrap();
    let mut run = clipped;

    let scheduler = LRScheduler::new(ReduceLROnPlateau::default(), run.optimizer_mut()).unwrap();
    let mut run = run.with_scheduler(scheduler).schedule_per(SchedulePer::Step);
    let error = run.step(loss(&run, 1.0)).unwrap_err().to_string();
    assert!(error.contains("run.pt: ") && error.contains("metric"), "{error}");
    run.checkpoint().unwrap();
    let error = run.next_batch().unwrap_err().to_string();
    assert!(error.contains("run.pt: the run has no loader"), "{error}");
}

#[test]
fn a_step_of_lbfgs_that_failed_leaves_the_run_as_it_was() {
    let start = || {
        let model = linear();
        let optimizer = Optimizer::lbfgs(&model, LbfgsOptions::default().max_iter(4)).unwrap();
        Run::start(model, optimizer)
    };
    let loss = |model: &Linear, row: f32| {
        let inputs = Tensor::<2>::from_floats([[row, 1.0, -0.5], [1.0, row, 2.0]], &device());
        Ok((model.forward(inputs) - 1.0).powf_scalar(2.0).mean())
    };
    let (mut whole, mut failing) = (start(), start());
    for run in [&mut whole, &mut failing] {
        run.step_closure(|model| loss(model, 2.0)).unwrap();
    }
    let before = failing.checkpoint().unwrap();
    let mut asked = 0;
    let error = failing.step_closure(|model| {
        asked += 1;
        if asked == 3 { Err(Error::invalid("the third")) } else { loss(model, 0.5) }
    });
    assert!(error.unwrap_err().to_string().contains("the third"));
    let after = failing.checkpoint().unwrap();
    for key in ["model_state_dict", "optimizer_state_dict"] {
        let [before, after] = [&before, &after].map(|checkpoint| spell(&checkpoint.value(key).unwrap(), true));
        assert_eq!(before, after);
    }
    for run in [&mut whole, &mut failing] {
        run.step_closure(|model| loss(model, 0.5)).unwrap();
    }
    assert_eq!(weights(&whole), weights(&failing));
    assert_eq!((whole.steps(), failing.steps()), (2, 2));

    let error = whole.step(loss(whole.model(), 1.0).unwrap()).unwrap_err().to_string();
    assert!(error.contains("step_closure"), "{error}");
    let pending = loss(whole.model(), 1.0).unwrap();
    whole.backward(pending).unwrap();
    let error = whole.step_closure(|model| loss(model, 1.0)).unwrap_err().to_string();
    assert!(error.contains("backward"), "{error}");
    let mut scaled = whole.with_scaler(GradScaler::default());
    let error = scaled.step_closure(|model| loss(model, 1.0)).unwrap_err().to_string();
    assert!(error.contains("GradScaler takes no closures"), "{error}");
    assert_eq!(weights(&scaled), weights(&failing));
}

#[test]
fn a_step_with_a_closure_is_a_step_for_the_other_optimizers_too() {
    let (mut one, mut other) = (run(), run());
    one.step(loss(&one, 2.0)).unwrap();
    let inputs = Tensor::<2>::from_floats([[2.0, 1.0, -0.5], [1.0, 2.0, 2.0]], &device());
    other.step_closure(|model| Ok(model.forward(inputs.clone()).powf_scalar(2.0).mean())).unwrap();
    assert_eq!(weights(&one), weights(&other));
    assert_eq!(one.loss().unwrap(), other.loss().unwrap());
}

#[test]
fn a_scheduler_per_epoch_needs_the_length_of_an_epoch_before_the_first_step() {
    let scheduled = || {
        let mut run = run();
        let scheduler = LRScheduler::new(StepLR::new(1), run.optimizer_mut()).unwrap();
        run.with_scheduler(scheduler).schedule_per(SchedulePer::Epoch)
    };
    let mut without = scheduled();
    let error = without.step(loss(&without, 2.0)).unwrap_err().to_string();
    assert!(error.contains("nothing tells how many steps an epoch has"), "{error}");
    assert_eq!(weights(&without), weights(&run()), "no step was made");
    let mut told = scheduled().steps_per_epoch(1);
    let before = told.lr().unwrap()[0];
    told.step(loss(&told, 2.0)).unwrap();
    assert!(told.lr().unwrap()[0] < before);
}
