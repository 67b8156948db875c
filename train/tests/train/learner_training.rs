//! A program of burn-train's goes on from PyTorch's checkpoints, is compared with what PyTorch computed for the same steps, and
//! writes checkpoints that go on as if it had not been stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader as _;
use burn::module::Module;
use burn::tensor::Device;
use burn_optim::lr_scheduler::LrScheduler as _;
use burn_optim::{AdamWConfig, ModuleOptimizer};
use burn_train::{ClassificationOutput, InferenceStep, Learner, TrainOutput, TrainStep};
use rekindle_burn::ModuleStateDict as _;
use rekindle_models::init::Init;
use rekindle_models::nn::LinearConfig;
use rekindle_models::zoo;
use rekindle_recorder::{Checkpoint, Dict, StateDict, Value};
use rekindle_testing::{fixtures, tagged};
use rekindle_train::checkpoints::{Better, CheckpointOptions};
use rekindle_train::data::{DataLoader, RandomBlocks, StatefulDataLoader, TokenFile};
use rekindle_train::learner::{TorchCheckpointing, TorchLoader, TorchOptimizer, TorchScheduler, TorchTraining};
use rekindle_train::log::read_log;
use rekindle_train::lr_scheduler::{
    CosineAnnealingWarmRestarts, LRScheduler, LambdaLR, OneCycleLR, ReduceLROnPlateau, Schedule, StepLR,
};
use rekindle_train::optim::{AdamWOptions, Hyperparameters, MuonOptions, Optimizer, SgdOptions};
use rekindle_train::run::{ResumeOptions, Run, SchedulePer};
use rekindle_train::tensorboard::read_events;

use crate::digits_run::{DigitsNet, device, loader, pictures};
use crate::learning::{Digits, held_back, judged, launch, resumed, supervised, train};

fn bytes(folder: &Path, epoch: usize) -> Vec<u8> {
    std::fs::read(folder.join(format!("epoch-{epoch}.pt"))).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("epoch-")).collect();
    names.sort();
    names
}

#[test]
fn a_program_of_burn_train_goes_on_from_pytorch_s_checkpoint_with_pytorch_s_losses_and_weights() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), 26);
    let ours = read_log(folder.path().join("log.jsonl")).unwrap();
    let expected = fixtures::lines(&fixtures::digits("expect.jsonl"));
    assert_eq!(ours.len(), expected.len());
    let mut worst = 0.0_f64;
    for (ours, theirs) in ours.iter().zip(&expected) {
        assert_eq!(Some(ours.step), theirs["step"].as_u64());
        assert_eq!(Some(ours.lr[0].to_bits()), theirs["lr"][0].as_f64().map(f64::to_bits), "step {}", ours.step);
        let there = theirs["loss"].as_f64().unwrap();
        worst = worst.max((ours.loss - there).abs() / there);
    }
    println!("worst relative difference of a loss: {worst:.2e}");
    // PyTorch differs from itself by up to 1.1e-6 (examples/digits/README.md).
    assert!(worst < 2e-6, "{worst:e}");

    let checkpoint = Checkpoint::open(folder.path().join("epoch-26.pt")).unwrap();
    let theirs = Checkpoint::open(fixtures::path("digits/final.pt")).unwrap().model_state_dict().unwrap();
    let weights = checkpoint.model_state_dict().unwrap();
    for (name, tensor) in theirs.iter() {
        let (a, b) = (weights.get(name).unwrap().to_f64_vec().unwrap(), tensor.to_f64_vec().unwrap());
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-5, "{name}: {apart:e}");
    }
    let began = Checkpoint::open(fixtures::digits("run.pt")).unwrap();
    let keys = |checkpoint: &Checkpoint| {
        let entries = checkpoint.root().as_dict().unwrap().entries();
        entries.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&checkpoint), keys(&began));
    assert_eq!(checkpoint.get::<i64>("epoch").unwrap(), 26);
    assert!(checkpoint.get::<f64>("loss").unwrap().is_nan());
    assert_eq!(checkpoint.get::<i64>("scheduler_state_dict.last_epoch").unwrap(), 26);
    assert_eq!(checkpoint.get::<f64>("optimizer_state_dict.state[0].step").unwrap(), 598.0);
    let rng = checkpoint.value("rng_state").unwrap().as_tensor().unwrap().to_vec::<u8>().unwrap();
    let batches = fixtures::json("digits/batches.json");
    assert_eq!(rng, tagged::bytes(&batches["rng_state_after_epoch"]["26"]["base64"]));

    // What rekindle's own run reads is what it would have written.
    let run = Run::resume(checkpoint, DigitsNet::new(2)).unwrap();
    assert_eq!((run.epochs(), run.steps(), run.lr().unwrap()), (26, 598, vec![0.0]));
}

#[test]
fn a_training_that_was_cut_and_goes_on_is_the_one_that_was_not_to_the_bit() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(whole.path(), 17);
    train(cut.path(), 15);
    let training = train(cut.path(), 17);
    assert_eq!(bytes(whole.path(), 17), bytes(cut.path(), 17));
    assert_eq!(training.epoch(), 17);
    let log = |folder: &Path| std::fs::read(folder.join("log.jsonl")).unwrap();
    assert_eq!(log(whole.path()), log(cut.path()));
    // Only burn-train's default is kept: the last two, and the best.
    assert!(names(whole.path()).len() <= 3, "{:?}", names(whole.path()));

    // Killed while epoch 17 was written: the one before is whole, and goes on to the same.
    std::fs::write(cut.path().join("epoch-17.pt"), &bytes(whole.path(), 17)[..5000]).unwrap();
    let training = resumed(cut.path());
    assert_eq!(training.epoch(), 16);
    train(cut.path(), 17);
    assert_eq!(bytes(whole.path(), 17), bytes(cut.path(), 17));
}

/// A network of the zoo in a struct of the program's own, as burn-train wants it.
#[derive(Module, Debug)]
struct Tuned {
    net: zoo::Digits,
}

impl TrainStep for Tuned {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> TrainOutput<ClassificationOutput> {
        let output = judged(self.net.forward(batch.images).unwrap(), batch.classes);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Tuned {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> ClassificationOutput {
        judged(self.net.forward(batch.images).unwrap(), batch.classes)
    }
}

/// The convolutions stay, and what is new learns faster than what was there.
fn tuning(model: &Tuned) -> Optimizer {
    let builder = Optimizer::builder(AdamWOptions::default())
        .group("net.{fc1,fc2}.*", [("lr", 2e-3)])
        .group("net.fc3.*", [("lr", 1e-2)])
        .rest_frozen(true);
    builder.build(model).unwrap()
}

/// `examples/finetune/train.py` in burn-train: two groups whose rates and momenta `OneCycleLR` moves, convolutions that no optimizer has,
/// and an order that is drawn from the generator of the first weights.
fn tuned(folder: &Path) -> (TorchTraining<Tuned>, (TorchLoader<Digits>, Arc<TorchLoader<Digits>>)) {
    let device = device();
    let init = &mut Init::seeded(&device, 1);
    let mut net = zoo::Digits::new(init).unwrap();
    let began = Checkpoint::open(fixtures::digits("run.pt")).unwrap();
    net.load_state_dict(&began.get::<StateDict>("model_state_dict").unwrap()).unwrap();
    net.fc3 = LinearConfig::new(84, 2).init(init).unwrap();
    let model = Tuned { net };
    let optimizer = tuning(&model);
    let loader = DataLoader::new(pictures(|digit| digit % 2).0, 64).unwrap().shuffle(true);
    let steps = i64::try_from(10 * loader.len()).unwrap();
    let training = TorchTraining::start(folder, model, optimizer)
        .unwrap()
        .with_shared_generator(init.generator().clone())
        .with_scheduler(OneCycleLR::new([2e-3, 1e-2], steps), SchedulePer::Step)
        .unwrap();
    let loader = training.loader(loader, Digits::of).unwrap();
    training.newest().unwrap();
    (training, (loader, held_back(|digit| digit % 2)))
}

#[test]
fn groups_with_rates_and_momenta_that_a_schedule_moves_have_pytorch_s_losses_through_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let convolutions = |training: &TorchTraining<Tuned>| {
        training.model().net.conv1.state_dict().unwrap().get("weight").unwrap().to_le_bytes().unwrap()
    };
    let (training, batches) = tuned(folder.path());
    let before = convolutions(&training);
    launch(supervised(folder.path(), &training, batches, 4), training.learner().unwrap());
    let (training, batches) = tuned(folder.path());
    assert_eq!(training.epoch(), 4);
    launch(supervised(folder.path(), &training, batches, 10), training.learner().unwrap());

    let ours = read_log(folder.path().join("log.jsonl")).unwrap();
    let expected = fixtures::lines(&fixtures::root().join("examples/finetune/expect.jsonl"));
    assert_eq!(ours.len() + 1, expected.len());
    let mut worst = 0.0_f64;
    for (ours, theirs) in ours.iter().zip(&expected) {
        assert_eq!(Some(ours.lr[0]), theirs["lr"][0].as_f64(), "step {}", ours.step);
        let there = theirs["loss"].as_f64().unwrap();
        worst = worst.max((ours.loss - there).abs() / there);
    }
    println!("worst relative difference of a loss: {worst:.2e}");
    assert!(worst <= 1e-5, "{worst:e}");
    assert_eq!(before, convolutions(&training));

    let checkpoint = Checkpoint::open(folder.path().join("epoch-10.pt")).unwrap();
    let group = |place: usize, key: &str| format!("optimizer_state_dict.param_groups[{place}].{key}");
    assert_eq!(checkpoint.get::<Vec<usize>>(&group(1, "params")).unwrap(), [4, 5]);
    // As the optimizer's groups are after as many steps of the scheduler by itself.
    let model = tuned(tempfile::tempdir().unwrap().path()).0.model();
    let mut optimizer = tuning(&model);
    let mut scheduler = LRScheduler::new(OneCycleLR::new([2e-3, 1e-2], 230), &mut optimizer).unwrap();
    (0..230).for_each(|_| scheduler.step(&mut optimizer).unwrap());
    for (place, expected) in optimizer.param_groups().iter().enumerate() {
        assert_eq!(checkpoint.get::<f64>(&group(place, "lr")).unwrap(), expected.lr().unwrap());
        let betas = checkpoint.get::<(f64, f64)>(&group(place, "betas")).unwrap();
        assert_eq!(betas, expected.pair("betas").unwrap());
    }
    assert!(!checkpoint.contains("global_step") && !checkpoint.contains("dataloader_state_dict"));
}

/// Rates as PyTorch's loop has them: a step of the optimizer, then the scheduler's where it is its turn.
fn rates(schedule: impl Into<Schedule>, every: usize, steps: usize) -> Vec<f64> {
    let model = DigitsNet::new(1);
    let mut optimizer = Optimizer::builder(AdamWOptions::default().lr(0.1)).build(&model).unwrap();
    let mut scheduler = LRScheduler::new(schedule, &mut optimizer).unwrap();
    let rate = |step| {
        let lr = optimizer.lr().unwrap()[0];
        if step % every == 0 {
            scheduler.step(&mut optimizer).unwrap();
        }
        lr
    };
    (1..=steps).map(rate).collect()
}

#[test]
fn a_scheduler_gives_pytorch_s_rates_per_step_and_per_epoch_and_goes_on_from_its_record() {
    let schedules: [(fn() -> Schedule, usize); 4] = [
        (|| OneCycleLR::new(0.3, 12).into(), 1),
        (|| StepLR::new(1).into(), 4),
        (|| CosineAnnealingWarmRestarts::new(3).into(), 2),
        #[allow(clippy::cast_precision_loss)]
        (|| LambdaLR::new(|epoch| 1.0 / (1 + epoch) as f64).into(), 3),
    ];
    for (schedule, every) in schedules {
        let expected = rates(schedule(), every, 12);
        for cut in 0..12 {
            let new = || {
                let optimizer = TorchOptimizer::new(AdamWOptions::default().lr(0.1)).unwrap();
                TorchScheduler::new(schedule(), &optimizer).unwrap().every(every as u64)
            };
            let mut scheduler = new();
            let mut found: Vec<f64> = (0..cut).map(|_| scheduler.step()).collect();
            let record = scheduler.to_record().into_bytes().unwrap();
            let mut again = new();
            again.load_record(burn_optim::lr_scheduler::LrSchedulerRecord::from_bytes(record).unwrap());
            assert_eq!(again.lr().unwrap(), scheduler.lr().unwrap());
            found.extend((cut..12).map(|_| again.step()));
            assert_eq!(found, expected, "{:?} cut at {cut}", schedule());
        }
    }
    let optimizer = TorchOptimizer::new(AdamWOptions::default()).unwrap();
    let scheduler = TorchScheduler::new(OneCycleLR::new(0.3, 12), &optimizer).unwrap();
    scheduler.check_steps(12).unwrap();
    let error = scheduler.check_steps(13).unwrap_err().to_string();
    assert!(error.contains("12") || error.contains("13"), "{error}");
}

#[test]
fn what_is_kept_goes_by_our_words_and_counts_in_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let options = || CheckpointOptions::default().every_epochs(2).keep_last(1).best("Accuracy", Better::Higher);
    for until in [17, 21] {
        let training = resumed(folder.path());
        let batches = (training.loader(loader(), Digits::of).unwrap(), held_back(|digit| digit));
        let learner = training.learner().unwrap();
        let strategy = training.checkpointing(options()).unwrap();
        let burns = supervised(folder.path(), &training, batches, until).with_checkpointing_strategy(strategy);
        launch(burns, learner);
    }
    // The accuracy of each epoch that was saved, as the log of curves has it.
    let mut accuracy = BTreeMap::new();
    for entry in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("events.") {
            let scalars = read_events(entry).unwrap().into_iter().filter(|scalar| scalar.tag == "Accuracy/valid");
            accuracy.extend(scalars.map(|scalar| (scalar.step / 23, scalar.value)));
        }
    }
    assert_eq!(accuracy.keys().copied().collect::<Vec<u64>>(), (14..=21).collect::<Vec<u64>>());
    let saved = [14_u64, 16, 18, 20];
    // Of the two processes the second knows what burn-train's own files of the first say.
    let best = saved.into_iter().fold(14, |best, epoch| if accuracy[&epoch] >= accuracy[&best] { epoch } else { best });
    let mut kept = vec![format!("epoch-{best}.pt"), "epoch-20.pt".to_owned()];
    kept.sort();
    kept.dedup();
    assert_eq!(names(folder.path()), kept);
}

#[test]
fn a_loader_of_torchdata_s_is_kept_in_the_checkpoint_and_goes_on() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let train = |folder: &Path, until: usize| {
        let model = DigitsNet::new(1);
        let optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.05).momentum(0.9)).unwrap();
        let training = TorchTraining::start(folder, model, optimizer).unwrap();
        let loader = StatefulDataLoader::new(pictures(|digit| digit).0, 256).unwrap();
        let loader = loader.shuffle(&mut training.generator().lock().unwrap());
        let batches = (training.loader(loader, Digits::of).unwrap(), held_back(|digit| digit));
        training.newest().unwrap();
        let learner = training.learner().unwrap();
        launch(supervised(folder, &training, batches, until), learner);
    };
    train(whole.path(), 4);
    train(cut.path(), 2);
    train(cut.path(), 4);
    let checkpoint = Checkpoint::open(cut.path().join("epoch-4.pt")).unwrap();
    assert!(checkpoint.contains("dataloader_state_dict") && !checkpoint.contains("scheduler_state_dict"));
    assert_eq!(bytes(whole.path(), 4), bytes(cut.path(), 4));
    // SGD does not count its steps.
    assert_eq!(checkpoint.get::<i64>("global_step").unwrap(), 24);
    let log = |folder: &Path| read_log(folder.join("log.jsonl")).unwrap();
    assert_eq!((log(whole.path()).len(), log(whole.path())), (24, log(cut.path())));
}

#[test]
fn burn_train_s_own_checkpointers_keep_all_of_it_too() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let train = |folder: &Path, from: Option<usize>, until: usize| {
        let model = DigitsNet::new(1);
        let optimizer = Optimizer::adamw(&model, AdamWOptions::default().lr(3e-3)).unwrap();
        let training = TorchTraining::start(folder, model, optimizer).unwrap();
        let training = training.with_scheduler(StepLR::new(1), SchedulePer::Epoch).unwrap();
        let loader = Arc::new(training.loader(loader(), Digits::of).unwrap());
        let burns = burn_train::SupervisedTraining::new(folder, loader, held_back(|digit| digit))
            .with_default_checkpointers()
            .num_epochs(until)
            .renderer(Box::new(crate::learning::Quiet))
            .with_application_logger(None);
        let burns = if let Some(epoch) = from { burns.checkpoint(epoch) } else { burns };
        let trained = launch(burns, training.learner().unwrap()).model.state_dict().unwrap();
        trained.iter().flat_map(|(_, tensor)| tensor.to_le_bytes().unwrap().to_vec()).collect::<Vec<u8>>()
    };
    let expected = train(whole.path(), None, 3);
    train(cut.path(), None, 1);
    assert_eq!(train(cut.path(), Some(1), 3), expected);
}

fn refused(options: ResumeOptions, change: impl FnOnce(&Dict)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(fixtures::digits("run.pt")).unwrap();
    change(checkpoint.root().as_dict().unwrap());
    let options = options.schedule_per(SchedulePer::Epoch);
    TorchTraining::resume(folder.path(), checkpoint, DigitsNet::new(1), options).unwrap_err().to_string()
}

#[test]
fn what_burn_train_cannot_do_is_refused_by_name_before_the_first_step() {
    let scaler = Dict::from_iter([("scale", Value::from(65536.0)), ("growth_factor", 2.0.into())]);
    for (key, value) in
        [("backoff_factor", Value::from(0.5)), ("growth_interval", 2000.into()), ("_growth_tracker", 0.into())]
    {
        scaler.insert(key, value);
    }
    let error = refused(ResumeOptions::default(), |root| drop(root.insert("scaler_state_dict", scaler)));
    assert!(error.contains("gradients that are scaled") && error.contains("go on with Run"), "{error}");
    let average = |root: &Dict| drop(root.insert("ema_state_dict", root.get("model_state_dict").unwrap()));
    let error = refused(ResumeOptions::default(), average);
    assert!(error.contains("an average of the weights") && error.contains("keep_average"), "{error}");
    let error = refused(ResumeOptions::default().accumulate(2), |_| {});
    assert!(error.contains("grads_accumulation"), "{error}");
    let error = refused(ResumeOptions::default().rng("rng_state".to_owned()), |_| {});
    assert!(error.contains("`ResumeOptions::rng`") && error.contains("go on with Run"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let start = |hyperparameters: Hyperparameters| {
        let model = DigitsNet::new(1);
        let optimizer = Optimizer::builder(hyperparameters).exclude("*.bias").exclude("conv*").build(&model).unwrap();
        TorchTraining::start(folder.path(), model, optimizer)
    };
    let error = start(MuonOptions::default().into()).unwrap_err().to_string();
    assert!(error.contains("Muon"), "{error}");
    let sgd = || start(SgdOptions::default().lr(0.1).into()).unwrap();
    let error = sgd().with_scheduler(ReduceLROnPlateau::default(), SchedulePer::Metric).unwrap_err().to_string();
    assert!(error.contains("goes by a metric"), "{error}");
    let error = sgd().with_scheduler(StepLR::new(1), SchedulePer::Steps(3)).unwrap_err().to_string();
    assert!(error.contains("3-steps"), "{error}");
    let error = sgd().with_scheduler(StepLR::new(1), SchedulePer::Epoch).unwrap().scheduler().err().unwrap();
    assert!(error.to_string().contains("steps_per_epoch"), "{error}");
    let error = sgd().go_to(3).unwrap_err().to_string();
    assert!(error.contains("no checkpoint of epoch 3") && error.contains("there are none"), "{error}");
    let error = TorchCheckpointing::new(CheckpointOptions::default().every_steps(5)).unwrap_err().to_string();
    assert!(error.contains("every so many steps"), "{error}");

    let tokens = folder.path().join("train.bin");
    std::fs::write(&tokens, [0; 64]).unwrap();
    let blocks = RandomBlocks::new(TokenFile::open(&tokens, 4).unwrap(), 2).unwrap();
    let error = TorchLoader::new(blocks, Digits::of).unwrap_err().to_string();
    assert!(error.contains("random blocks"), "{error}");
    let part = held_back(|digit| digit).slice(0, 1);
    let error = part.iter().next().unwrap().err().unwrap().to_string();
    assert!(error.contains("several devices"), "{error}");
}

#[test]
fn a_learner_that_is_not_the_training_s_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let error = |learner: fn(&TorchTraining<DigitsNet>) -> Learner<DigitsNet>| {
        let training = resumed(folder.path());
        let batches = (training.loader(loader(), Digits::of).unwrap(), held_back(|digit| digit));
        let result = supervised(folder.path(), &training, batches, 14).launch(learner(&training));
        assert_eq!(names(folder.path()), [""; 0]);
        result.error.unwrap().to_string()
    };
    let found = error(|training| {
        let optimizer: ModuleOptimizer = AdamWConfig::new().init();
        Learner::new(training.model(), optimizer, training.scheduler().unwrap())
    });
    assert!(found.contains("TorchTraining::optimizer"), "{found}");
    let found = error(|training| Learner::new(training.model(), training.optimizer().unwrap(), 1e-3));
    assert!(found.contains("none of TorchScheduler's"), "{found}");
}

#[test]
fn the_samples_of_a_loader_in_burn_train_are_those_of_its_own() {
    let (mut own, mut global) = (loader(), rekindle_random::Generator::new(3));
    let shared = Arc::new(std::sync::Mutex::new(global.clone()));
    let places = |batch: rekindle_train::data::Batch, _: &Device| Ok(batch.places().to_vec());
    let burns = TorchLoader::new(loader(), places).unwrap().with_shared_generator(Arc::clone(&shared));
    for epoch in 0..3 {
        let given: Vec<Vec<usize>> = burns.iter().map(|batch| batch.unwrap()).collect();
        let mut expected = Vec::new();
        while let Some(batch) = own.next_batch(&mut global).unwrap() {
            expected.push(batch.places().to_vec());
        }
        assert_eq!(given, expected, "epoch {epoch}");
    }
    assert_eq!(shared.lock().unwrap().state(), global.state());
    let mut epoch = burns.iter();
    assert_eq!(epoch.progress().items_processed, 0);
    epoch.next();
    assert_eq!((epoch.progress().items_processed, epoch.progress().items_total), (1, 23));
}
