//! Resuming is invisible: a run that is cut anywhere, amid an epoch or a step of several batches, and goes on from its file has every
//! bit of the run that was not cut.

use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rekindle_burn::ModuleStateDict as _;
use rekindle_models::init::Init;
use rekindle_models::nn::{BatchNorm, BatchNormConfig, Dropout, Linear, LinearConfig};
use rekindle_random::{Generator, randint, randn};
use rekindle_recorder::diff::{Tolerance, compare};
use rekindle_recorder::{Checkpoint, Error, Format};
use rekindle_testing::scratch;
use rekindle_train::Run;
use rekindle_train::amp::{GradScaler, GradScalerOptions};
use rekindle_train::checkpoints::{Better, CheckpointOptions, Checkpoints, newest};
use rekindle_train::clip::ClipGradNorm;
use rekindle_train::data::{Array, Batch, DataLoader, Dataset};
use rekindle_train::ema::{AveragedModel, Averaging};
use rekindle_train::loss::cross_entropy;
use rekindle_train::lr_scheduler::{LRScheduler, OneCycleLR};
use rekindle_train::optim::{AdamWOptions, Optimizer};
use rekindle_train::run::SchedulePer;

/// A network with all that has a state: weights, statistics, and what it drops.
#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    dropout: Dropout,
    second: Linear,
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// The network, and the generator that it draws from; from a seed, so that what is restored can come from the file alone.
fn net(seed: u64) -> (Net, Arc<Mutex<Generator>>) {
    let device = device();
    let mut init = Init::seeded(&device, seed);
    let net = Net {
        first: LinearConfig::new(6, 8).init(&mut init).unwrap(),
        norm: BatchNormConfig::new(8).init(&mut init).unwrap(),
        dropout: Dropout::new(0.3, &init),
        second: LinearConfig::new(8, 3).init(&mut init).unwrap(),
    };
    (net, init.generator().clone())
}

impl Net {
    fn loss(&self, batch: &Batch) -> Result<Tensor<1>, Error> {
        let wrong = |error: rekindle_models::ModelError| Error::invalid(error.to_string());
        let forward = || {
            let hidden = self.norm.forward(self.first.forward(batch.inputs::<2>(&device()).unwrap())?)?;
            self.second.forward(self.dropout.forward(hidden)?)
        };
        cross_entropy(forward().map_err(wrong)?, batch.classes::<1>(&device())?)
    }
}

/// 45 samples: six full batches of an epoch and one that is not.
fn loader(own: bool) -> DataLoader {
    let mut generator = Generator::new(11);
    let inputs = Array::new(45, &[6], randn::<f32>(&mut generator, 45 * 6)).unwrap();
    let targets = Array::new(45, &[], randint(&mut generator, 0, 3, 45).unwrap()).unwrap();
    let loader = DataLoader::new(Dataset::new(inputs, targets).unwrap(), 7).unwrap().shuffle(true);
    if own { loader.generator(Generator::new(5)) } else { loader }
}

/// A run with everything; a step takes two batches.
fn run(seed: u64) -> Run<Net> {
    let (net, generator) = net(seed);
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default().lr(0.01)).unwrap();
    let scheduler = LRScheduler::new(OneCycleLR::new(0.05, 80), &mut optimizer).unwrap();
    let average = AveragedModel::new(&net, Averaging::Ema { decay: 0.9 }).unwrap();
    let scaler = GradScaler::new(GradScalerOptions::default().init_scale(64.0).growth_interval(7)).unwrap();
    Run::start(net, optimizer)
        .with_shared_generator(generator)
        .with_scheduler(scheduler)
        .with_average(average)
        .with_scaler(scaler)
        .with_clip(ClipGradNorm::new(0.5))
        .accumulate(2)
        .with_loader(loader(false))
        .until_step(60)
}

/// A turn of the loop, with what a program does beside; `None` at the end.
fn turn(run: &mut Run<Net>) -> Option<(Vec<usize>, u64, i64)> {
    let batch = run.next_batch().unwrap()?;
    let loss = run.model().loss(&batch).unwrap();
    run.step(loss).unwrap();
    let loss = run.loss().unwrap().unwrap();
    run.record("loss", loss);
    if run.waiting_batches() == 0 {
        let seen = run.value::<Vec<f64>>("rates").unwrap().unwrap_or_default();
        run.set_value("rates", &[&seen[..], &run.lr().unwrap()].concat()).unwrap();
    }
    Some((batch.places().to_vec(), loss.to_bits(), run.steps()))
}

fn same(a: &Checkpoint, b: &Checkpoint, at: &str) {
    let apart = compare(a, b, Tolerance::default()).unwrap();
    let first = apart.first().map(|(name, difference)| format!("{name}: {difference}"));
    assert!(apart.is_empty(), "{at}: {} differ, such as {first:?}", apart.len());
}

fn weights(run: &Run<Net>) -> Vec<Vec<u8>> {
    run.model().state_dict().unwrap().iter().map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect()
}

/// The run, cut and restored from its file after every turn, beside the one that is not cut.
#[test]
fn a_run_that_is_cut_at_every_turn_has_the_bits_of_the_one_that_is_not() {
    let folder = scratch();
    let path = folder.path().join("cut.pt");
    let (mut whole, mut cut) = (run(1), run(1));
    let (mut turns, mut amid) = (0, 0);
    loop {
        cut.whole_checkpoint().unwrap().save(&path).unwrap();
        // Other weights, another order, another dropout: all there is comes from the file.
        cut = run(1000 + turns);
        cut.restore(&Checkpoint::open(&path).unwrap()).unwrap();
        let at = format!("turn {turns}");
        let (one, other) = (turn(&mut whole), turn(&mut cut));
        assert_eq!(one, other, "{at}");
        same(&whole.whole_checkpoint().unwrap(), &cut.whole_checkpoint().unwrap(), &at);
        assert_eq!(weights(&whole), weights(&cut), "{at}");
        amid += u64::from(whole.waiting_batches() > 0);
        turns += 1;
        if one.is_none() {
            break;
        }
    }
    assert_eq!((whole.steps(), whole.epochs()), (60, 15));
    assert!(turns > 100 && amid > 40, "{turns} {amid}");
    assert_eq!(cut.value::<Vec<f64>>("rates").unwrap().unwrap().len(), 60);
    assert_eq!(cut.mean("loss"), whole.mean("loss"));
}

/// PyTorch's parts of the file, and the rest beside them: resumed by the layout, as any checkpoint of PyTorch's is.
#[test]
fn a_whole_checkpoint_is_resumed_by_its_layout_and_goes_on_at_the_very_batch() {
    let folder = scratch();
    let path = folder.path().join("cut.pt");
    let mut whole = run(1);
    let mut rest = Vec::new();
    while let Some(turned) = turn(&mut whole) {
        if rest.is_empty() && turned.2 == 17 && whole.waiting_batches() == 1 {
            whole.whole_checkpoint().unwrap().save(&path).unwrap();
            rest.push(turned);
        } else if !rest.is_empty() {
            rest.push(turned);
        }
    }
    let (net, generator) = net(77);
    let average = Averaging::Ema { decay: 0.9 };
    let options = rekindle_train::run::ResumeOptions::default()
        .average(average)
        .average_per(SchedulePer::Step)
        .schedule_per(SchedulePer::Step)
        .accumulate(2)
        .clip_norm(0.5);
    let again = Run::resume_with(Checkpoint::open(&path).unwrap(), net, options).unwrap();
    assert_eq!((again.steps(), again.waiting_batches()), (17, 1));
    let mut again = again.with_shared_generator(generator).with_loader(loader(false)).until_step(60);
    for expected in &rest[1..] {
        assert_eq!(turn(&mut again).as_ref(), Some(expected));
    }
    assert!(turn(&mut again).is_none());
    assert_eq!(weights(&whole), weights(&again));

    // Plain PyTorch's part alone, changed since: what is beside is of another run then.
    let changed = Checkpoint::open(&path).unwrap();
    let weight = changed.get::<rekindle_recorder::Tensor>("model_state_dict.second.bias").unwrap();
    let other = rekindle_recorder::Tensor::from_vec(weight.shape(), vec![0.5_f32; 3]).unwrap();
    changed.set("model_state_dict.second.bias", other).unwrap();
    let (net, _) = self::net(77);
    let options = rekindle_train::run::ResumeOptions::default().average(Averaging::Ema { decay: 0.9 });
    let options = options.average_per(SchedulePer::Step).schedule_per(SchedulePer::Step);
    let stale = Run::resume_with(changed, net, options).unwrap();
    assert_eq!(stale.waiting_batches(), 0);
    assert!(stale.notes().any(|note| note.contains("have changed since")), "{:?}", stale.notes().collect::<Vec<_>>());
}

/// The state of a run is of its own parts, and says which differ.
#[test]
fn a_run_of_other_parts_is_not_restored() {
    let mut whole = run(1);
    turn(&mut whole);
    let saved = whole.whole_checkpoint().unwrap();
    let refused = |mut other: Run<Net>| other.restore(&saved).unwrap_err().to_string();

    let (bare, _) = net(2);
    let optimizer = Optimizer::adamw(&bare, AdamWOptions::default()).unwrap();
    let text = refused(Run::start(bare, optimizer));
    assert!(text.contains("more schedulers"), "{text}");
    let text = refused(run(2).with_loader(loader(true)));
    assert!(text.contains("generator of its own"), "{text}");
    let text = refused(run(2).accumulate(3));
    assert!(text.contains("1 of the 2 batches of a step wait") && text.contains("takes 3"), "{text}");
    let plain = whole.checkpoint().unwrap();
    let text = run(2).restore(&plain).unwrap_err().to_string();
    assert!(text.contains("Run::resume"), "{text}");
}

fn checkpoints(folder: &Path, options: CheckpointOptions) -> Checkpoints {
    Checkpoints::new(folder, options.signals(false)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
    names.sort();
    names
}

#[test]
fn a_run_is_kept_in_its_folder_and_goes_on_from_there() {
    let folder = scratch();
    let folder = folder.path().join("runs/net");
    let options =
        || CheckpointOptions::default().every_steps(10).keep_last(2).best("loss", Better::Lower).keep_every(20);
    let mut whole = run(1);
    while turn(&mut whole).is_some() {}

    let mut first = run(1).with_checkpoints(checkpoints(&folder, options())).unwrap();
    assert!(first.went_on().is_none());
    assert_eq!(names(&folder), ["last.pt", "step-0.pt"]);
    while first.steps() < 37 {
        turn(&mut first).unwrap();
        if first.is_save_due() {
            let apart = i32::try_from(first.steps()).unwrap() - 20;
            first.tell("loss", f64::from(apart).abs());
        }
    }
    // Cut off.
    drop(first);
    let there = ["best.pt", "last.pt", "step-0.pt", "step-20.pt", "step-30.pt"];
    assert_eq!(names(&folder), there);
    assert_eq!(std::fs::read(folder.join("best.pt")).unwrap(), std::fs::read(folder.join("step-20.pt")).unwrap());

    let mut again = run(99).with_checkpoints(checkpoints(&folder, options())).unwrap();
    assert_eq!(again.steps(), 30);
    assert!(again.went_on().unwrap().path.ends_with("step-30.pt"));
    assert_eq!(names(&folder), there);
    while turn(&mut again).is_some() {}
    again.finish().unwrap();
    same(&whole.checkpoint().unwrap(), &again.checkpoint().unwrap(), "the end");
    drop(again);
    let all = ["best.pt", "last.pt", "step-0.pt", "step-20.pt", "step-40.pt", "step-50.pt", "step-60.pt"];
    assert_eq!(names(&folder), all);
    assert_eq!(std::fs::read(folder.join("last.pt")).unwrap(), std::fs::read(folder.join("step-60.pt")).unwrap());
    assert_eq!(run(3).with_checkpoints(checkpoints(&folder, options())).unwrap().steps(), 60);
}

#[test]
fn a_run_is_kept_in_each_format_that_holds_all_of_it_and_goes_on_where_that_changes() {
    let folder = scratch();
    let kept = folder.path().join("kept");
    let mut whole = run(1);
    while turn(&mut whole).is_some() {}
    let formats = [Format::SAFETENSORS, Format::BURNPACK, Format::DCP, Format::ZIP];
    let mut last = Vec::new();
    for (nth, format) in (1_i64..).zip(formats) {
        let options = CheckpointOptions::default().every_steps(4).format(format).best("loss", Better::Lower);
        let until = 15 * nth;
        let mut goes_on =
            run(nth.unsigned_abs()).until_step(until).with_checkpoints(checkpoints(&kept, options)).unwrap();
        assert_eq!(goes_on.went_on().is_some(), nth > 1);
        while turn(&mut goes_on).is_some() {
            if goes_on.is_save_due() {
                let loss = goes_on.loss().unwrap().unwrap();
                goes_on.tell("loss", loss);
            }
        }
        goes_on.finish().unwrap();
        let found = newest(&kept).unwrap().unwrap();
        assert_eq!((found.checkpoint.format(), found.passed_over.len()), (Some(format), 0));
        same(&found.checkpoint, &goes_on.whole_checkpoint().unwrap(), format.name());
        assert_eq!(names(&kept).iter().filter(|name| name.starts_with("last.")).count(), 1);
        assert_eq!(names(&kept).iter().filter(|name| name.starts_with("best.")).count(), 1);
        last = weights(&goes_on);
    }
    assert_eq!(weights(&whole), last);
    let refused = Checkpoints::new(folder.path(), CheckpointOptions::default().format(Format::NUMPY)).unwrap_err();
    assert!(refused.to_string().contains("zip, safetensors, burnpack, dcp hold all of a run"), "{refused}");
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_named_and_no_run_begins_anew_by_itself() {
    let folder = scratch();
    let folder = folder.path();
    let options = || CheckpointOptions::default().every_steps(1).keep_last(9);
    let mut run = self::run(1).with_checkpoints(checkpoints(folder, options())).unwrap();
    while run.steps() < 4 {
        turn(&mut run).unwrap();
    }
    drop(run);
    // A bit of the newest, the end of the one before.
    let damage = |name: &str, damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        damage(&mut bytes);
        // A new file: the names of one file are one.
        std::fs::remove_file(folder.join(name)).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    let middle = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    damage("step-3.pt", &middle);
    damage("step-2.pt", &|bytes| bytes.truncate(bytes.len() / 3));
    let found = newest(folder).unwrap().unwrap();
    assert!(found.path.ends_with("step-1.pt"));
    assert!(found.passed_over[0].contains("step-3.pt") && found.passed_over[1].contains("step-2.pt"));
    assert!(found.passed_over[1].contains("cut off"), "{:?}", found.passed_over);

    let run = self::run(1).with_checkpoints(checkpoints(folder, options())).unwrap();
    assert_eq!((run.steps(), run.went_on().unwrap().passed_over.len()), (1, 2));
    drop(run);
    let there = ["last.pt", "step-0.pt", "step-1.pt", "step-2.pt.damaged", "step-3.pt.damaged"];
    assert_eq!(names(folder), there);

    damage("step-1.pt", &middle);
    damage("step-0.pt", &|bytes| bytes.clear());
    let text = self::run(1).with_checkpoints(checkpoints(folder, options())).unwrap_err().to_string();
    assert!(text.contains("does not begin anew by itself") && text.contains("step-1.pt"), "{text}");
}

#[test]
fn a_folder_is_one_process_alone() {
    let folder = scratch();
    let one = checkpoints(folder.path(), CheckpointOptions::default());
    let text = Checkpoints::new(folder.path(), CheckpointOptions::default()).unwrap_err().to_string();
    assert!(text.contains("another process keeps its checkpoints"), "{text}");
    drop(one);
    checkpoints(folder.path(), CheckpointOptions::default());
}

#[test]
fn where_a_step_fails_the_run_is_saved_as_it_was_before_it() {
    let folder = scratch();
    let options = || CheckpointOptions::default().every_steps(50);
    let mut whole = run(1).accumulate(1);
    for _ in 0..5 {
        turn(&mut whole).unwrap();
    }
    let mut failing = run(1).accumulate(1).with_checkpoints(checkpoints(folder.path(), options())).unwrap();
    let error = failing.train(|run, batch| match run.steps() {
        5 => Err(Error::invalid("the cat unplugged it")),
        _ => run.model().loss(batch),
    });
    assert_eq!(error.unwrap_err().to_string(), "the cat unplugged it");
    drop(failing);
    let mut again = run(9).accumulate(1).with_checkpoints(checkpoints(folder.path(), options())).unwrap();
    assert_eq!(again.steps(), 5);
    assert_eq!(weights(&again), weights(&whole));
    // The batch that failed is the next one.
    assert_eq!(turn(&mut again).unwrap().0, turn(&mut whole).unwrap().0);

    // A loss that cannot be differentiated fails in the step.
    let batch = again.next_batch().unwrap().unwrap();
    let loss = again.model().loss(&batch).unwrap().detach();
    assert!(again.step(loss).unwrap_err().to_string().contains("no parameter that is trained"));
    drop(again);
    assert_eq!(newest(folder.path()).unwrap().unwrap().path.file_name().unwrap(), "step-6.pt");
}

#[test]
fn an_error_of_a_file_in_the_background_is_said_at_the_next_call() {
    let folder = scratch();
    let mut run =
        self::run(1).with_checkpoints(checkpoints(folder.path(), CheckpointOptions::default().every_steps(1))).unwrap();
    while run.steps() < 1 {
        turn(&mut run).unwrap();
    }
    // A folder of the file's name is in its way.
    std::fs::create_dir(folder.path().join("step-1.pt")).unwrap();
    turn(&mut run).unwrap();
    let text = run.wait().unwrap_err().to_string();
    assert!(text.contains("step-1.pt") && text.contains("folder of this name"), "{text}");
    assert!(run.wait().is_ok(), "it is said once");
    std::fs::remove_dir(folder.path().join("step-1.pt")).unwrap();
    run.finish().unwrap();
    assert!(newest(folder.path()).unwrap().is_some());
}

#[test]
fn rates_of_its_own_go_on_and_own_batches_too() {
    let rate = |step: i64| 0.05 / f64::from(i32::try_from(step).unwrap() + 1);
    let start = |seed: u64| {
        let (net, generator) = net(seed);
        let optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
        Run::start(net, optimizer).with_shared_generator(generator).with_rates(rate).steps_per_epoch(3).until_step(7)
    };
    let data = loader(false);
    let turn = |run: &mut Run<Net>| {
        let places = randint(&mut run.generator_mut(), 0, 45, 7).unwrap();
        let places: Vec<usize> = places.into_iter().map(|place| usize::try_from(place).unwrap()).collect();
        let lr = run.lr().unwrap()[0];
        assert_eq!(lr, rate(run.steps()));
        let batch = data.dataset().batch(&places, &mut run.generator_mut()).unwrap();
        let loss = run.model().loss(&batch).unwrap();
        run.step(loss).unwrap();
        (run.loss().unwrap().unwrap().to_bits(), run.epochs())
    };
    let mut whole = start(1);
    let folder = scratch();
    let options = || CheckpointOptions::default().every_epochs(1);
    let mut losses = Vec::new();
    while whole.goes_on().unwrap() {
        losses.push(turn(&mut whole));
    }
    assert_eq!(losses.len(), 7);
    let mut cut = start(1).with_checkpoints(checkpoints(folder.path(), options())).unwrap();
    for _ in 0..5 {
        assert!(cut.goes_on().unwrap());
        turn(&mut cut);
    }
    drop(cut);
    let mut again = start(8).with_checkpoints(checkpoints(folder.path(), options())).unwrap();
    assert_eq!((again.steps(), again.epochs()), (3, 1));
    let mut rest = Vec::new();
    while again.goes_on().unwrap() {
        rest.push(turn(&mut again));
    }
    assert_eq!(rest, losses[3..]);

    let (net, _) = net(1);
    let mut optimizer = Optimizer::adamw(&net, AdamWOptions::default()).unwrap();
    let scheduler = LRScheduler::new(OneCycleLR::new(0.05, 80), &mut optimizer).unwrap();
    let mut both = Run::start(net, optimizer).with_scheduler(scheduler).with_rates(rate).until_step(2);
    assert!(both.goes_on().unwrap_err().to_string().contains("rates of its own"));
}
