//! PyTorch's `DataLoader` with workers, and over a data set that draws, against its own batches: `tests/fixtures/loaders`. And runs
//! that go on in the midst of an epoch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, TensorData};
use rekindle_random::{Generator, randint, random_int64};
use rekindle_recorder::{Checkpoint, Error, Result, Value};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::Run;
use rekindle_train::data::{Batch, DataLoader, Loader, Samples, StatefulDataLoader};
use rekindle_train::optim::{Optimizer, SgdOptions};
use rekindle_train::run::ResumeOptions;
use serde_json::Value as Json;

use crate::loading;

/// The script's data set: a sample is its place and a number that is drawn.
#[derive(Debug, Clone)]
struct Noisy {
    rows: usize,
    draws: bool,
    /// How many samples were read.
    read: Arc<AtomicUsize>,
    /// Which of them fails, once.
    fails: Arc<Mutex<Option<usize>>>,
}

impl Noisy {
    fn new(rows: usize, draws: bool) -> Self {
        Noisy { rows, draws, read: Arc::default(), fails: Arc::default() }
    }
}

impl Samples for Noisy {
    fn len(&self) -> usize {
        self.rows
    }

    fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<Batch> {
        let mut all = Vec::new();
        for &place in places {
            self.read.fetch_add(1, Ordering::Relaxed);
            if self.fails.lock().unwrap().take_if(|fails| *fails == place).is_some() {
                return Err(Error::invalid("a broken picture"));
            }
            let drawn = if self.draws { randint(generator, 0, 1_000_000, 1).unwrap()[0] } else { 0 };
            all.extend([i64::try_from(place).unwrap(), drawn]);
        }
        Batch::new(places, [("x", TensorData::new(all, [places.len(), 2]))])
    }

    fn draws(&self) -> bool {
        self.draws
    }
}

fn cases() -> Vec<Json> {
    fixtures::cases("loaders/loaders.json")
}

fn loader(case: &Json) -> DataLoader {
    let flag = |name: &str| case[name].as_bool().unwrap();
    let data = Noisy::new(fixtures::size(&case["rows"]), flag("draws"));
    let loader = DataLoader::new(data, fixtures::size(&case["batch_size"])).unwrap();
    let loader = loader.shuffle(flag("shuffle")).drop_last(flag("drop_last"));
    let loader = loader.workers(fixtures::size(&case["workers"])).persistent_workers(flag("persistent"));
    match case["own"].as_i64() {
        Some(seed) => loader.generator(Generator::new(seed)),
        None => loader,
    }
}

/// Batches of places and drawn numbers.
type Epoch = Vec<Vec<[i64; 2]>>;

fn epochs(case: &Json) -> Vec<Epoch> {
    serde_json::from_value(case["epochs"].clone()).unwrap()
}

fn next(loader: &mut DataLoader, global: &mut Generator) -> Option<Vec<[i64; 2]>> {
    let batch = loader.next_batch(global).unwrap()?;
    let all: Vec<i64> = batch.input_data().iter().collect();
    Some(all.chunks(2).map(|pair| [pair[0], pair[1]]).collect())
}

fn rest(loader: &mut DataLoader, global: &mut Generator) -> Epoch {
    std::iter::from_fn(|| next(loader, global)).collect()
}

#[test]
fn batches_and_what_is_random_in_them_are_pytorch_s_whatever_the_number_of_threads() {
    for case in &cases() {
        for threads in [None, Some(0), Some(1), Some(2), Some(5)] {
            let mut loader = loader(case);
            if let Some(threads) = threads {
                loader = loader.threads(threads);
            }
            let mut global = Generator::new(42);
            for expected in epochs(case) {
                assert_eq!(rest(&mut loader, &mut global), expected, "{threads:?} {case}");
            }
            assert_eq!(random_int64(&mut global), case["then_global"].as_i64().unwrap(), "{case}");
            let own = loader.own_generator().map(|own| random_int64(&mut own.clone()));
            assert_eq!(own, case["then_own"].as_i64(), "{case}");
        }
    }
}

#[test]
fn a_run_of_pytorch_s_goes_on_after_two_epochs_and_a_half_sample_for_sample() {
    let places = Checkpoint::open(fixtures::path("loaders/places.pt")).unwrap().root().items().unwrap();
    for (case, place) in cases().iter().zip(places) {
        let workers_drew = case["draws"] == true && case["workers"] != 0;
        let (epoch, taken) = (fixtures::size(&case["amid"][0]), fixtures::size(&case["amid"][1]));
        let mut loader = loader(case);
        if workers_drew {
            let error = loader.load_state_dict(&place).unwrap_err().to_string();
            assert!(error.contains("what its workers had drawn by then is not told"), "{error}");
            continue;
        }
        if case["persistent"] == true {
            // What the epoch has drawn depends on whether the workers are those of the epoch before.
            let error = loader.load_state_dict(&place).unwrap_err().to_string();
            assert!(error.contains("workers_went_on"), "{error}");
            let told = place.as_dict().unwrap().clone();
            told.insert("base_seed", 0);
            told.insert("workers_went_on", Value::Bool(true));
            loader.load_state_dict(&told.into()).unwrap();
        } else {
            loader.load_state_dict(&place).unwrap();
        }
        // The global generator where the program's was: found by going there.
        let mut first = self::loader(case);
        let mut global = Generator::new(42);
        (0..epoch).for_each(|_| drop(rest(&mut first, &mut global)));
        (0..taken).for_each(|_| drop(next(&mut first, &mut global)));
        assert_eq!(random_int64(&mut global.clone()), case["global_amid"].as_i64().unwrap(), "{case}");
        let expected = epochs(case);
        assert_eq!(rest(&mut loader, &mut global), expected[epoch][taken..], "{case}");
        assert_eq!(rest(&mut loader, &mut global), expected[epoch + 1], "{case}");
    }
}

#[test]
fn a_loader_goes_on_from_everywhere_with_what_its_workers_have_drawn() {
    for case in &cases() {
        let expected = epochs(case);
        let steps = expected.iter().map(|epoch| epoch.len() + 1).sum::<usize>();
        for cut in 0..steps {
            let mut first = loader(case);
            let mut global = Generator::new(42);
            (0..cut).for_each(|_| drop(next(&mut first, &mut global)));
            let (state, at) = (first.state_dict().unwrap(), global.state());
            let all = |loader: &mut DataLoader, global: &mut Generator| -> Vec<_> {
                (cut..steps).map(|_| next(loader, global)).collect()
            };
            let uncut = all(&mut first, &mut global);

            let mut second = loader(case);
            second.load_state_dict(&state).unwrap();
            let mut global = Generator::from_state(&at).unwrap();
            assert_eq!(all(&mut second, &mut global), uncut, "{cut} {case}");
        }
    }
}

#[test]
fn resuming_in_the_midst_of_an_epoch_costs_no_replay() {
    let data = Noisy::new(1000, true);
    let made = |data: &Noisy| DataLoader::new(data.clone(), 10).unwrap().shuffle(true).workers(2).threads(0);
    let mut first = made(&data);
    let mut global = Generator::new(1);
    (0..90).for_each(|_| drop(next(&mut first, &mut global)));
    let state = first.state_dict().unwrap();
    let data = Noisy::new(1000, true);
    let mut second = made(&data);
    second.load_state_dict(&state).unwrap();
    assert_eq!(rest(&mut second, &mut global).len(), 10);
    assert_eq!(data.read.load(Ordering::Relaxed), 100);
}

#[test]
fn a_sample_that_fails_is_told_in_its_turn_and_tried_again() {
    for threads in [0, 3] {
        let data = Noisy::new(12, true);
        *data.fails.lock().unwrap() = Some(7);
        let mut loader = DataLoader::new(data.clone(), 2).unwrap().workers(3).threads(threads);
        let mut global = Generator::new(1);
        let mut found = Vec::new();
        let mut errors = 0;
        loop {
            match loader.next_batch(&mut global) {
                Ok(Some(batch)) => found.extend(batch.places().to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.to_string().contains("a broken picture"));
                    assert_eq!(found.len(), 6);
                    errors += 1;
                }
            }
        }
        assert_eq!((errors, found), (1, (0..12).collect()));
    }
}

#[test]
fn a_data_set_that_panics_is_an_error_of_the_loop() {
    #[derive(Debug)]
    struct Panics;
    impl Samples for Panics {
        fn len(&self) -> usize {
            8
        }

        fn batch(&self, _: &[usize], _: &mut Generator) -> Result<Batch> {
            panic!("as the test wants it")
        }
    }
    let mut loader = DataLoader::new(Panics, 2).unwrap().threads(2);
    let error = loader.next_batch(&mut Generator::new(1)).unwrap_err().to_string();
    assert!(error.contains("the data set panicked"), "{error}");
}

// Runs -------------------------------------------------------------------------------------------------------------------

fn device() -> Device {
    Device::flex().autodiff()
}

fn model() -> Linear {
    seeded(LinearConfig::new(2, 1).init(&device()), 1)
}

/// A run that begins.
fn begun() -> Run<Linear> {
    let model = model();
    let optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.1).momentum(0.9)).unwrap();
    Run::start(model, optimizer)
}

/// Takes the next batch and a step on it; the places of the batch.
fn step(run: &mut Run<Linear>) -> Vec<usize> {
    let batch = run.next_batch().unwrap().unwrap();
    let inputs: Vec<f32> = batch.input_data().iter::<f32>().collect();
    let inputs = burn::tensor::Tensor::<2>::from_data(TensorData::new(inputs, [batch.len(), 2]), &device());
    let loss = run.model().forward(inputs * 0.01).powf_scalar(2.0).mean();
    run.step(loss).unwrap();
    batch.places().to_vec()
}

fn bits(run: &Run<Linear>) -> Vec<u32> {
    run.model().weight.val().into_data().iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn a_run_that_is_saved_anywhere_goes_on_with_the_batches_that_were_left() {
    let torch =
        |_: &mut Generator| -> Loader { DataLoader::new(Noisy::new(11, true), 3).unwrap().shuffle(true).into() };
    let workers = |_: &mut Generator| -> Loader {
        DataLoader::new(Noisy::new(11, true), 3).unwrap().shuffle(true).workers(2).persistent_workers(true).into()
    };
    let stateful = |global: &mut Generator| -> Loader {
        StatefulDataLoader::new(Noisy::new(11, false), 3).unwrap().shuffle(global).workers(2).into()
    };
    let makers: [fn(&mut Generator) -> Loader; 3] = [torch, workers, stateful];
    for make in makers {
        for cut in 0..=10 {
            let mut generator = Generator::new(3);
            let loader = make(&mut generator);
            let mut run = begun().with_generator(generator).with_loader(loader);
            (0..cut).for_each(|_| drop(step(&mut run)));
            let saved = run.checkpoint().unwrap();
            let left: Vec<_> = (cut..12).map(|_| step(&mut run)).collect();

            let again = Run::resume(saved, seeded(LinearConfig::new(2, 1).init(&device()), 9)).unwrap();
            let mut again = again.with_loader(make(&mut Generator::new(77)));
            assert_eq!((again.steps(), again.epochs()), (cut, cut / 4));
            let found: Vec<_> = (cut..12).map(|_| step(&mut again)).collect();
            assert_eq!(found, left, "{cut}");
            assert_eq!(bits(&again), bits(&run), "{cut}");
            assert_eq!(again.checkpoint().unwrap().get::<i64>("epoch").unwrap(), 3);
        }
    }
}

#[test]
fn a_place_in_the_data_is_found_wherever_it_is_and_written_back_there() {
    let case =
        fixtures::cases("stateful_loader/loaders.json").into_iter().find(|case| case["order"] == "shuffle").unwrap();
    let mut global = Generator::new(case["seed"].as_i64().unwrap());
    let mut loader = loading::loader(&case, &mut global);
    while loading::next(&mut loader, &mut global).is_some() {}
    loading::next(&mut loader, &mut global);
    let state = loader.state_dict(&mut global).unwrap();
    let left = loading::epochs(&case)[1][1..].to_vec();

    let plain = |places: &[&str]| {
        let checkpoint = begun().checkpoint().unwrap();
        for place in places {
            checkpoint.set(place, state.clone()).unwrap();
        }
        checkpoint
    };
    for place in ["dataloader_state_dict", "train_loader", "data"] {
        let run = Run::resume(plain(&[place]), model()).unwrap();
        let plan = run.resumed_by().unwrap().to_string();
        assert!(plan.contains(&format!("the loader goes on from {place}")), "{plan}");
        let loader = Loader::like(run.loader_state().unwrap(), Noisy::new(10, false), 3, false).unwrap();
        let mut run = run.with_loader(loader);
        let found: Vec<_> = left.iter().map(|_| run.next_batch().unwrap().unwrap().places().to_vec()).collect();
        assert_eq!(found, left);
        let yielded = format!("{place}._num_yielded");
        assert_eq!(run.checkpoint().unwrap().get::<i64>(&yielded).unwrap(), 4);
    }
    // Several are asked about, and one can be said.
    let two = plain(&["train_loader", "val_loader"]);
    let error = Run::resume(two.clone(), model()).unwrap_err().to_string();
    assert!(error.contains("`ResumeOptions::loader_state(\"train_loader\")` to go on from it"), "{error}");
    let options = ResumeOptions::default().loader_state("train_loader".to_owned());
    let run = Run::resume_with(two.clone(), model(), options).unwrap();
    assert!(run.loader_state().is_some());
    let wrong = ResumeOptions::default().loader_state("elsewhere".to_owned());
    let error = Run::resume_with(two.clone(), model(), wrong).unwrap_err().to_string();
    assert!(error.contains("there are train_loader, val_loader"), "{error}");
    let none = ResumeOptions::default().no_loader_state(true);
    let run = Run::resume_with(two, model(), none).unwrap();
    let mut run = run.with_loader(DataLoader::new(Noisy::new(10, false), 3).unwrap());
    assert_eq!(run.next_batch().unwrap().unwrap().places(), [0, 1, 2]);
    assert_eq!(run.checkpoint().unwrap().get::<i64>("val_loader._num_yielded").unwrap(), 1);
}

#[test]
fn a_loader_that_the_place_is_not_of_is_refused_before_the_first_step() {
    let checkpoint = begun().checkpoint().unwrap();
    let case = &fixtures::cases("stateful_loader/loaders.json")[2];
    let mut global = Generator::new(42);
    let state = loading::loader(case, &mut global).state_dict(&mut global).unwrap();
    checkpoint.set("dataloader_state_dict", state).unwrap();
    let run = Run::resume(checkpoint, model()).unwrap();
    let mut run = run.with_loader(DataLoader::new(Noisy::new(10, false), 3).unwrap());
    for _ in 0..2 {
        let error = run.next_batch().unwrap_err().to_string();
        assert!(error.contains("torchdata's StatefulDataLoader") && error.contains("no_loader_state"), "{error}");
    }
}

#[test]
fn a_loader_that_a_run_which_was_kept_whole_did_not_have_stays_refused() {
    let loader = |rows| DataLoader::new(Noisy::new(rows, false), 3).unwrap().shuffle(true);
    let mut run = begun().with_loader(loader(11));
    (0..3).for_each(|_| drop(step(&mut run)));
    let again =
        Run::resume(run.whole_checkpoint().unwrap(), seeded(LinearConfig::new(2, 1).init(&device()), 9)).unwrap();
    let mut again = again.with_loader(loader(5));
    let errors = [(); 2].map(|()| again.next_batch().unwrap_err().to_string());
    assert_eq!(errors[0], errors[1]);
}

#[test]
fn a_checkpoint_of_pytorch_s_gets_a_place_only_where_it_is_asked_for() {
    let begun = begun();
    let loader = || DataLoader::new(Noisy::new(10, false), 3).unwrap().shuffle(true);
    for added in [false, true] {
        let options = ResumeOptions::default().add_loader(added);
        let run = Run::resume_with(begun.checkpoint().unwrap(), model(), options).unwrap();
        let mut run = run.with_loader(loader());
        step(&mut run);
        let saved = run.checkpoint().unwrap();
        assert_eq!(saved.value("dataloader_state_dict").is_ok(), added);
        assert_eq!(run.keeps_place(), added);
        if added {
            assert!(matches!(saved.value("dataloader_state_dict.num_yielded"), Ok(Value::Int(1))));
            let options = ResumeOptions::default().add_loader(true);
            let error = Run::resume_with(saved, model(), options).unwrap_err().to_string();
            assert!(error.contains("has dataloader_state_dict already"), "{error}");
        }
    }
}
