//! What a `Run` does around the steps: gradients of several passes, clipping, a scaler, an average, and schedules that need
//! something from outside.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{StateDict, Tensor as TorchTensor};
use rekindle_testing::seeded;
use rekindle_train::Run;
use rekindle_train::amp::{GradScaler, GradScalerOptions};
use rekindle_train::clip::ClipGradNorm;
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::lr_scheduler::{LRScheduler, ReduceLROnPlateau, StepLR, transformers};
use rekindle_train::optim::{Optimizer, SgdOptions};
use rekindle_train::run::{ResumeOptions, SchedulePer, Share, step_together};

fn device() -> Device {
    Device::flex().autodiff()
}

fn linear() -> Linear {
    let mut model = seeded(LinearConfig::new(3, 1).init(&device()), 1);
    let weights = StateDict::from_iter([
        ("weight", TorchTensor::from_vec(&[1, 3], vec![0.5_f32, -0.25, 1.0]).unwrap()),
        ("bias", TorchTensor::from_vec(&[1], vec![0.125_f32]).unwrap()),
    ]);
    model.load_state_dict(&weights).unwrap();
    model
}

fn run(options: SgdOptions) -> Run<Linear> {
    let model = linear();
    let optimizer = Optimizer::sgd(&model, options).unwrap();
    Run::start(model, optimizer)
}

fn sgd(lr: f64) -> SgdOptions {
    SgdOptions::default().lr(lr)
}

fn inputs(row: f32) -> Tensor<2> {
    Tensor::from_floats([[row, 1.0, -0.5], [1.0, row, 2.0]], &device())
}

fn loss(run: &Run<Linear>, row: f32) -> Tensor<1> {
    run.model().forward(inputs(row)).powf_scalar(2.0).mean()
}

fn weights(run: &Run<Linear>) -> Vec<f64> {
    let state = run.model().state_dict().unwrap();
    state.iter().flat_map(|(_, tensor)| tensor.to_f64_vec().unwrap()).collect()
}

#[test]
fn passes_before_a_step_are_summed_into_it() {
    let mut halves = run(sgd(0.1));
    halves.backward(loss(&halves, 2.0) / 2.0).unwrap();
    assert_eq!(halves.steps(), 0);
    halves.step(loss(&halves, -1.0) / 2.0).unwrap();
    assert_eq!(halves.steps(), 1);

    let mut whole = run(sgd(0.1));
    let both = Tensor::cat(vec![inputs(2.0), inputs(-1.0)], 0);
    let all = whole.model().forward(both).powf_scalar(2.0).mean();
    whole.step(all).unwrap();
    // The same sums in another order.
    for (a, b) in weights(&halves).iter().zip(weights(&whole)) {
        assert!((a - b).abs() < 2e-7, "{a} {b}");
    }
    // A step begins anew.
    halves.step(loss(&halves, 3.0)).unwrap();
    whole.step(loss(&whole, 3.0)).unwrap();
    for (a, b) in weights(&halves).iter().zip(weights(&whole)) {
        assert!((a - b).abs() < 2e-6, "{a} {b}");
    }
}

#[test]
fn a_scaler_and_clipping_change_a_step_only_as_they_should() {
    let mut plain = run(sgd(0.1));
    let scaler = GradScaler::new(GradScalerOptions::default().init_scale(1024.0).growth_interval(2));
    let mut scaled = run(sgd(0.1)).with_scaler(scaler.unwrap());
    for row in [2.0, -1.0, 0.5] {
        plain.step(loss(&plain, row)).unwrap();
        scaled.step(loss(&scaled, row)).unwrap();
        assert_eq!(plain.loss().unwrap(), scaled.loss().unwrap());
    }
    // A scale that is a power of two rounds nothing.
    assert_eq!(weights(&plain), weights(&scaled));
    assert_eq!(scaled.scaler().unwrap().get_scale(), 2048.0);

    let before = weights(&scaled);
    scaled.step(loss(&scaled, f32::INFINITY)).unwrap();
    assert_eq!(weights(&scaled), before, "a step that overflowed was made");

    let mut clipped = run(sgd(1.0)).with_clip(ClipGradNorm::new(0.25)).with_scaler(GradScaler::default());
    let before = weights(&clipped);
    clipped.step(loss(&clipped, 2.0)).unwrap();
    let moved: f64 = weights(&clipped).iter().zip(before).map(|(a, b)| (a - b) * (a - b)).sum();
    assert!((moved.sqrt() - 0.25).abs() < 1e-6, "{moved}");
}

#[test]
fn scaler_and_average_are_in_the_checkpoint() {
    let mut run = run(sgd(0.1)).with_scaler(GradScaler::default());
    let average = AveragedModel::new(run.model(), Averaging::Ema { decay: 0.5 }).unwrap();
    run = run.with_average(average);
    run.step(loss(&run, 2.0)).unwrap();
    run.step(loss(&run, 1.0)).unwrap();
    assert_eq!(run.average().unwrap().n_averaged(), 2);

    let checkpoint = run.checkpoint().unwrap();
    let state = RunState::read(&checkpoint).unwrap();
    let average = AveragedModel::from_state_dict(&state.ema.unwrap(), Averaging::Ema { decay: 0.5 }).unwrap();
    let resumed = Run::resume(checkpoint, linear()).unwrap().with_average(average);
    assert_eq!(resumed.scaler().unwrap().get_scale(), 65536.0);
    let (mut one, mut two) = (run, resumed);
    for row in [0.5, -0.5] {
        one.step(loss(&one, row)).unwrap();
        two.step(loss(&two, row)).unwrap();
    }
    assert_eq!(weights(&one), weights(&two));
    let averages = [&one, &two].map(|run| run.average().unwrap().module().get("weight").unwrap().to_f64_vec().unwrap());
    assert_eq!(averages[0], averages[1]);
}

#[test]
fn a_schedule_by_metric_is_stepped_by_the_metric() {
    let mut run = run(sgd(0.1)).schedule_per(SchedulePer::Metric);
    assert!(run.step_scheduler(1.0).unwrap_err().to_string().contains("has no scheduler"));
    let options = ReduceLROnPlateau::default().patience(0).factor(0.5);
    let scheduler = LRScheduler::new(options, run.optimizer_mut()).unwrap();
    run = run.with_scheduler(scheduler);
    for metric in [1.0, 1.0, 1.0] {
        run.step(loss(&run, 2.0)).unwrap();
        run.step_scheduler(metric).unwrap();
    }
    assert_eq!(run.lr().unwrap(), [0.025]);

    let mut by_step = run.schedule_per(SchedulePer::Step);
    assert!(by_step.step(loss(&by_step, 2.0)).unwrap_err().to_string().contains("goes by a metric"));
    let scheduler = LRScheduler::new(StepLR::new(1), by_step.optimizer_mut()).unwrap();
    assert!(by_step.with_scheduler(scheduler).step_scheduler(1.0).is_err());
}

#[test]
fn a_schedule_with_a_function_is_resumed_with_the_function() {
    let schedule = || transformers::linear_schedule_with_warmup(2, 8);
    let mut whole = run(sgd(0.1));
    let scheduler = LRScheduler::new(schedule(), whole.optimizer_mut()).unwrap();
    whole = whole.with_scheduler(scheduler);
    (0..3).for_each(|_| whole.step(loss(&whole, 2.0)).unwrap());
    let checkpoint = || whole.checkpoint().unwrap();

    let error = Run::resume(checkpoint(), linear()).unwrap_err().to_string();
    assert!(error.contains("LambdaLR or MultiplicativeLR, whose functions no file holds"), "{error}");
    let mut options = ResumeOptions::default();
    options.schedule = Some(schedule().into());
    let mut resumed = Run::resume_with(checkpoint(), linear(), options).unwrap();
    for _ in 0..5 {
        whole.step(loss(&whole, 1.0)).unwrap();
        resumed.step(loss(&resumed, 1.0)).unwrap();
        assert_eq!(whole.lr().unwrap(), resumed.lr().unwrap());
    }
    assert_eq!(whole.lr().unwrap(), [0.0]);
    assert_eq!(weights(&whole), weights(&resumed));
}

/// Two runs of different rates.
fn two() -> (Run<Linear>, Run<Linear>) {
    (run(sgd(0.1)), run(sgd(0.2)))
}

#[test]
fn runs_that_step_together_take_as_many_batches_for_a_step_as_they_were_told() {
    let clip = ClipGradNorm::new(0.05);
    for clipped in [false, true] {
        let with = |run: Run<Linear>, batches| {
            let run = run.accumulate(batches);
            if clipped { run.with_clip(clip) } else { run }
        };
        let (a, b) = two();
        let (mut a, mut b) = (with(a, 2), with(b, 2));
        for row in [2.0, -1.0, 0.5, 3.0] {
            let losses = vec![loss(&a, row), loss(&b, row)];
            step_together(&mut [&mut a, &mut b], losses).unwrap();
        }
        let (mut c, mut d) = two();
        if clipped {
            (c, d) = (c.with_clip(clip), d.with_clip(clip));
        }
        for rows in [[2.0, -1.0], [0.5, 3.0]] {
            c.backward(loss(&c, rows[0]) / 2.0).unwrap();
            d.backward(loss(&d, rows[0]) / 2.0).unwrap();
            let losses = vec![loss(&c, rows[1]) / 2.0, loss(&d, rows[1]) / 2.0];
            step_together(&mut [&mut c, &mut d], losses).unwrap();
        }
        for (ours, theirs) in [(&a, &c), (&b, &d)] {
            assert_eq!((ours.steps(), ours.waiting_batches()), (2, 0), "clipped: {clipped}");
            assert_eq!(weights(ours), weights(theirs), "clipped: {clipped}");
        }
        if clipped {
            // The norm is of all their gradients together.
            assert_eq!(a.grad_norm(), b.grad_norm());
        }
    }
    let (a, b) = two();
    let (mut a, mut b) = (a.accumulate(2), b.accumulate(3));
    let losses = vec![loss(&a, 1.0), loss(&b, 1.0)];
    let error = step_together(&mut [&mut a, &mut b], losses).unwrap_err().to_string();
    assert!(error.contains("one takes 2") && error.contains("another takes 3"), "{error}");
}

#[test]
fn gradients_of_one_run_that_overflow_skip_the_step_of_all_that_step_together() {
    let scaler = || GradScaler::new(GradScalerOptions::default().init_scale(4.0)).unwrap();
    let (a, b) = two();
    let (mut a, mut b) = (a.with_scaler(scaler()), b.with_scaler(scaler()));
    let before = [weights(&a), weights(&b)];
    let infinite = loss(&b, 1.0) * f32::INFINITY;
    let losses = vec![loss(&a, 2.0), infinite];
    step_together(&mut [&mut a, &mut b], losses).unwrap();
    assert_eq!([weights(&a), weights(&b)], before);
    assert_eq!([&a, &b].map(|run| run.scaler().unwrap().get_scale()), [2.0, 2.0]);
    let losses = vec![loss(&a, 2.0), loss(&b, 1.0)];
    step_together(&mut [&mut a, &mut b], losses).unwrap();
    assert_ne!(weights(&a), before[0]);
}

#[test]
fn a_step_together_that_failed_is_made_again_as_if_it_had_not_begun() {
    let scaler = || GradScaler::new(GradScalerOptions::default().init_scale(4.0)).unwrap();
    let (a, b) = two();
    let clip = ClipGradNorm::new(1.0).error_if_nonfinite(true);
    let mut a = a.with_scaler(scaler()).with_clip(clip);
    let mut b = b.with_scaler(scaler()).with_clip(clip);
    let losses = vec![loss(&a, 2.0), loss(&b, 1.0) * f32::NAN];
    let error = step_together(&mut [&mut a, &mut b], losses).unwrap_err().to_string();
    assert!(error.contains("cannot be clipped"), "{error}");
    let losses = vec![loss(&a, 2.0), loss(&b, 1.0)];
    step_together(&mut [&mut a, &mut b], losses).unwrap();
    assert_eq!([a.steps(), b.steps()], [1, 1]);
}

#[test]
fn a_step_s_losses_are_the_mean_over_all_its_items_wherever_its_batches_end() {
    // Three rows and one, or all at once: as transformers' Trainer has it with `num_items_in_batch`.
    let rows = [[2.0, 1.0, -0.5], [1.0, 2.0, 2.0], [0.5, -1.0, 0.25], [-1.5, 0.0, 1.0]];
    let sum = |run: &Run<Linear>, rows: &[[f32; 3]]| {
        let data = burn::tensor::TensorData::new(rows.concat(), [rows.len(), 3]);
        run.model().forward(Tensor::<2>::from_data(data, &device())).powf_scalar(2.0).sum()
    };
    let mut parts = run(sgd(0.1)).accumulate(2);
    parts.step_of(sum(&parts, &rows[..3]), Share::Items(3.0)).unwrap();
    assert_eq!((parts.steps(), parts.waiting_batches()), (0, 1));
    // Cut between the batches, too.
    let whole = parts.whole_checkpoint().unwrap();
    let mut again = run(sgd(0.1)).accumulate(2);
    again.restore(&whole).unwrap();
    let mut at_once = run(sgd(0.1));
    at_once.step(sum(&at_once, &rows) / 4.0).unwrap();
    for run in [&mut parts, &mut again] {
        run.step_of(sum(run, &rows[3..]), Share::Items(1.0)).unwrap();
        assert_eq!((run.steps(), run.waiting_batches()), (1, 0));
        for (a, b) in weights(run).iter().zip(weights(&at_once)) {
            assert!((a - b).abs() < 2e-7, "{a} {b}");
        }
        let (ours, theirs) = (run.loss().unwrap().unwrap(), at_once.loss().unwrap().unwrap());
        assert!((ours - theirs).abs() < 1e-6 * theirs, "{ours} {theirs}");
    }
    // Added up, as it has it where nobody divides.
    let mut added = run(sgd(0.1)).accumulate(2);
    added.step_of(loss(&added, 2.0), Share::Whole).unwrap();
    added.step_of(loss(&added, -1.0), Share::Whole).unwrap();
    let mut passes = run(sgd(0.1));
    passes.backward(loss(&passes, 2.0)).unwrap();
    passes.step(loss(&passes, -1.0)).unwrap();
    assert_eq!(weights(&added), weights(&passes));
}
