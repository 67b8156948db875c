//! Averages go on by the rules of the packages that keep them, told by their files or given, or stay and are said to.

use burn::tensor::{Device, Int, Tensor};
use rekindle_models::init::Init;
use rekindle_models::nn::{LinearConfig, ReLU, Sequential};
use rekindle_recorder::{Checkpoint, DType, Dict, Value, rebuild, walk};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::Run;
use rekindle_train::ema::{Averaging, Decay};
use rekindle_train::loss::cross_entropy;
use rekindle_train::run::{ResumeOptions, SchedulePer};

fn device() -> Device {
    Device::flex().autodiff()
}

fn network() -> Sequential {
    let device = device();
    let linear = |from, to| LinearConfig::new(from, to).init(&mut Init::lazy(&device)).unwrap().into();
    seeded(Sequential::new(vec![linear(6, 8), ReLU::new().into(), linear(8, 3)]), 1)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("several/averages").join(name)).unwrap()
}

/// The run of a checkpoint, six steps further on.
fn gone_on(checkpoint: &Checkpoint, options: ResumeOptions, name: &str) -> Run<Sequential> {
    let truth = fixtures::json("several/averages.json");
    let numbers =
        |key: &str| -> Vec<f64> { truth[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let (inputs, targets, losses) = (numbers("inputs"), numbers("targets"), numbers(name));
    let mut run = Run::resume_with(checkpoint.clone(), network(), options).unwrap();
    for (step, expected) in losses.iter().enumerate() {
        #[allow(clippy::cast_possible_truncation)]
        let rows: Vec<f32> = inputs[24 * step..24 * (step + 1)].iter().map(|&x| x as f32).collect();
        #[allow(clippy::cast_possible_truncation)]
        let classes: Vec<i64> = targets[4 * step..4 * (step + 1)].iter().map(|&x| x as i64).collect();
        let rows = Tensor::<1>::from_floats(&rows[..], &device()).reshape([4, 6]);
        let classes = Tensor::<1, Int>::from_ints(&classes[..], &device());
        let logits: Tensor<2> = run.model().forward(rows).unwrap();
        run.step(cross_entropy(logits, classes).unwrap()).unwrap();
        let loss = run.loss().unwrap().unwrap();
        assert!((loss - expected).abs() <= 1e-6 * expected, "{name}, step {step}: {loss} and {expected}");
    }
    run
}

/// How far the tensors of two values are apart; all else is equal, and so is what they have.
fn apart(ours: &Checkpoint, theirs: &Checkpoint) -> f64 {
    let leaves = |checkpoint: &Checkpoint| {
        let mut leaves = Vec::new();
        let mut gather = |path: &str, value: &Value| {
            leaves.push((path.to_owned(), value.clone()));
            Ok(())
        };
        walk::walk(checkpoint.root(), &rekindle_recorder::Limits::default(), &mut gather).unwrap();
        leaves
    };
    let mut far: f64 = 0.0;
    let (ours, theirs) = (leaves(ours), leaves(theirs));
    let names = |leaves: &[(String, Value)]| leaves.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for ((path, a), (_, b)) in ours.iter().zip(&theirs) {
        match (a.as_tensor(), b.as_tensor()) {
            (Some(a), Some(b)) => {
                assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{path}");
                let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
                far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(far, f64::max);
            }
            _ => assert_eq!(walk::repr(a), walk::repr(b), "{path}"),
        }
    }
    far
}

fn given(rule: &str) -> ResumeOptions {
    ResumeOptions::default().average(rule.parse::<Averaging>().unwrap())
}

#[test]
fn averages_go_on_as_their_packages_have_them() {
    for (name, options, says) in [
        ("swa", ResumeOptions::default(), "goes on by its own rule: swa"),
        (
            "ema",
            ResumeOptions::default().average(Averaging::EmaAvgFn { decay: 0.9 }),
            "goes on by the rule that was given: 0.9",
        ),
        ("torch_ema", ResumeOptions::default(), "goes on by its own rule: torch_ema(decay=0.5, use_num_updates=1)"),
        (
            "torch_ema_plain",
            ResumeOptions::default(),
            "goes on by its own rule: torch_ema(decay=0.9, use_num_updates=0)",
        ),
        (
            "diffusers",
            ResumeOptions::default(),
            "goes on by its own rule: diffusers(decay=0.999, min_decay=0, update_after_step=0, use_ema_warmup=0, inv_gamma=1, \
             power=0.6666666666666666)",
        ),
        (
            "diffusers_warm",
            ResumeOptions::default(),
            "goes on by its own rule: diffusers(decay=0.7, min_decay=0, update_after_step=2, use_ema_warmup=1, inv_gamma=2, \
             power=0.75)",
        ),
        (
            "ema_pytorch",
            given("ema_pytorch(beta=0.8, update_after_step=1, update_every=2)"),
            "goes on by the rule that was given: ema_pytorch(beta=0.8, update_after_step=1, update_every=2, inv_gamma=1, \
             power=0.6666666666666666, min_value=0)",
        ),
        ("yolo", given("0.9999"), "goes on by the rule that was given: yolo(decay=0.9999, tau=2000)"),
        (
            "timm_warm",
            given(
                "timm(decay=0.7, min_decay=0.1, update_after_step=1, use_warmup=True, warmup_gamma=2, warmup_power=0.75)",
            ),
            "goes on by the rule that was given: timm(decay=0.7, min_decay=0.1, update_after_step=1, use_warmup=1, warmup_gamma=2, \
             warmup_power=0.75)",
        ),
        (
            "every",
            ResumeOptions::default().average(Averaging::EmaAvgFn { decay: 0.9 }).average_per(SchedulePer::Steps(4)),
            "goes on by the rule that was given: 0.9, after the first of every 4 steps",
        ),
    ] {
        let before = open(&format!("{name}.pt"));
        let run = gone_on(&before, options, name);
        assert_eq!(run.resumed_by().unwrap().average, says, "{name}");
        let far = apart(&run.checkpoint().unwrap(), &open(&format!("{name}_end.pt")));
        assert!(far <= 1e-5, "{name}: {far} apart");
    }
}

#[test]
fn an_average_that_no_rule_is_told_of_stays_and_is_said_to() {
    for name in ["ema", "ema_pytorch", "yolo"] {
        let before = open(&format!("{name}.pt"));
        let run = gone_on(&before, ResumeOptions::default(), name);
        assert_eq!(run.resumed_by().unwrap().average, "stays as it is");
        assert!(run.notes().any(|note| note.contains("`ResumeOptions::average`")), "{name}");
        let key = if name == "ema" { "ema_state_dict" } else { "ema" };
        let after = run.checkpoint().unwrap();
        assert_eq!(after.value(key).unwrap().id(), before.value(key).unwrap().id(), "{name}");
    }
    let before = open("torch_ema.pt");
    let run = gone_on(&before, ResumeOptions::default().keep_average(true), "torch_ema");
    assert_eq!(run.checkpoint().unwrap().value("ema").unwrap().id(), before.value("ema").unwrap().id());
}

#[test]
fn how_often_an_average_is_updated_is_told_by_its_count_or_asked() {
    let counted = |count: i64, epoch: Option<i64>| {
        let checkpoint = open("ema.pt");
        checkpoint.set("ema_state_dict.n_averaged", rekindle_recorder::Tensor::scalar(count)).unwrap();
        if let Some(epoch) = epoch {
            checkpoint.set("epoch", epoch).unwrap();
        }
        checkpoint
    };
    let error = Run::resume_with(counted(4, None), network(), given("0.9")).unwrap_err().to_string();
    assert!(
        error.contains("it was updated 4 times") && error.contains("`ResumeOptions::average_per(epoch)`"),
        "{error}"
    );
    for options in [
        given("0.9").average_per(SchedulePer::Step),
        given("0.9").average_per(SchedulePer::Epoch),
        given("0.9").keep_average(true),
    ] {
        Run::resume_with(counted(4, None), network(), options).unwrap();
    }
    let error = Run::resume_with(open("every.pt"), network(), given("0.9")).unwrap_err().to_string();
    assert!(error.contains("`ResumeOptions::average_per(4-steps)`"), "{error}");
    // Two updates in two epochs.
    let run = Run::resume_with(counted(2, Some(2)), network(), given("0.9")).unwrap();
    assert!(run.resumed_by().unwrap().average.ends_with("after each epoch"));
    let run = gone_on(&counted(2, Some(2)), given("0.9"), "ema");
    assert_eq!(run.average().unwrap().n_averaged(), 2, "no epoch has ended");
}

#[test]
fn averages_under_a_wrapper_s_names_and_in_half_precision_go_on_and_back() {
    let prefixed = |value: &Value| -> Dict {
        value
            .as_dict()
            .unwrap()
            .entries()
            .into_iter()
            .map(|(key, value)| (format!("module.{}", key.as_str().unwrap()), value))
            .collect()
    };
    let before = open("yolo.pt");
    let plain = gone_on(&before, given("0.9999"), "yolo").checkpoint().unwrap();
    for key in ["ema", "model_state_dict"] {
        before.set(key, prefixed(&before.value(key).unwrap())).unwrap();
    }
    let after = gone_on(&before, given("0.9999"), "yolo").checkpoint().unwrap();
    let tensor = |checkpoint: &Checkpoint, path: &str| checkpoint.get::<rekindle_recorder::Tensor>(path).unwrap();
    let (ours, theirs) = (tensor(&after, "ema['module.2.bias']"), tensor(&plain, "ema['2.bias']"));
    assert_eq!(ours.to_f64_vec().unwrap(), theirs.to_f64_vec().unwrap());

    let half = open("yolo.pt");
    half.set("ema", rebuild::cast(&half.value("ema").unwrap(), DType::Float16).unwrap()).unwrap();
    let after = gone_on(&half, given("0.9999"), "yolo").checkpoint().unwrap();
    assert_eq!(tensor(&after, "ema['2.bias']").dtype(), DType::Float16);
    assert_eq!(after.get::<i64>("updates").unwrap(), 12);
}

#[test]
fn rules_are_read_as_they_are_written() {
    for rule in ["0.999", "swa", "yolo(decay=0.5, tau=100)", "torch_ema(decay=0.25, use_num_updates=0)"] {
        assert_eq!(rule.parse::<Averaging>().unwrap().to_string(), rule);
    }
    assert_eq!("yolo".parse::<Decay>().unwrap(), Decay::Yolo { decay: 0.9999, tau: 2000.0 });
    for wrong in ["fast", "yolo(speed=1)", "yolo(decay)", "yolo(decay=0.5"] {
        assert!(wrong.parse::<Averaging>().is_err(), "{wrong}");
    }
    for out_of_range in ["1.5", "yolo(decay=2)"] {
        let error = Run::resume_with(open("yolo.pt"), network(), given(out_of_range)).unwrap_err().to_string();
        assert!(error.contains("from 0 to 1"), "{out_of_range}: {error}");
    }
}

#[test]
fn which_of_several_averages_goes_on_is_asked() {
    let checkpoint = open("ema.pt");
    checkpoint.set("swa_model", checkpoint.value("ema_state_dict").unwrap()).unwrap();
    let error = Run::resume_with(checkpoint.clone(), network(), given("0.9")).unwrap_err().to_string();
    assert!(
        error.contains("several averages") && error.contains("`ResumeOptions::average_at(\"swa_model\")`"),
        "{error}"
    );
    for place in ["swa_model", "ema_state_dict"] {
        let options = given("0.9").average_at(place.to_owned());
        let run = gone_on(&checkpoint, options, "ema");
        let count = |key: &str| run.checkpoint().unwrap().get::<i64>(&format!("{key}.n_averaged")).unwrap();
        assert_eq!(count(place), 12);
        assert_eq!(count("ema_state_dict") + count("swa_model"), 18, "the other stays");
    }
}

#[test]
fn a_step_that_the_optimizer_contradicts_is_said() {
    let checkpoint = open("ema.pt");
    let plan =
        |checkpoint: &Checkpoint| Run::plan(checkpoint, &network(), ResumeOptions::default()).unwrap().to_string();
    assert!(plan(&checkpoint).contains("position   epoch unknown, step 6\n"), "SGD counts none");
    let gan = Checkpoint::open(fixtures::path("several/gan.pt")).unwrap();
    let of_gan = |checkpoint: &Checkpoint| {
        let device = device();
        let linear = |from, to| LinearConfig::new(from, to).init(&mut Init::lazy(&device)).unwrap().into();
        let network = seeded(Sequential::new(vec![linear(4, 8), ReLU::new().into(), linear(8, 6)]), 1);
        let options = ResumeOptions::default().part("G".to_owned()).no_scheduler(true);
        Run::plan(checkpoint, &network, options).unwrap().to_string()
    };
    assert!(of_gan(&gan).contains("position   epoch unknown, step 20\n"), "{}", of_gan(&gan));
    gan.set("iters", 99_i64).unwrap();
    assert!(of_gan(&gan).contains("step 99 (the optimizer counts 20)"), "{}", of_gan(&gan));
}
