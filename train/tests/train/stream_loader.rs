//! The loader over samples that come one after the other, against torchdata's states and batches: `tests/fixtures/stateful_loader`.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_models::init::Init;
use rekindle_models::nn::{LinearConfig as NnLinear, ReLU, Sequential};
use rekindle_random::{Generator, randint, random_int64};
use rekindle_recorder::{Checkpoint, Dict, Error, Result, Value, run::RunState};
use rekindle_testing::tagged::spell;
use rekindle_testing::{fixtures, seeded};
use rekindle_train::Run;
use rekindle_train::data::{Loader, Sample, StatefulDataLoader, Stream, StreamLoader};
use rekindle_train::lr_scheduler::{LRScheduler, StepLR};
use rekindle_train::optim::{Optimizer, SgdOptions};
use rekindle_train::run::{ResumeOptions, SchedulePer};
use serde_json::Value as Json;

use crate::loading::epochs;

/// 0, 1, ... as the script's three data sets give them.
#[derive(Clone, Debug)]
struct Numbers {
    kept: String,
    count: i64,
    at: i64,
}

impl Stream for Numbers {
    fn begin(&mut self) -> Result<()> {
        if self.kept != "dataset" {
            self.at = 0;
        }
        Ok(())
    }

    fn next_sample(&mut self, generator: &mut Generator) -> Result<Option<Sample>> {
        if self.at >= self.count {
            if self.kept == "dataset" {
                self.at = 0;
            }
            return Ok(None);
        }
        self.at += 1;
        let mut number = self.at - 1;
        if self.draws() {
            number += randint(generator, 0, 1000, 1).unwrap()[0] * 1000;
        }
        Ok(Some(vec![("inputs".to_owned(), TensorData::new(vec![number], [0; 0]))]))
    }

    fn draws(&self) -> bool {
        self.kept == "iterator"
    }

    fn state_dict(&self) -> Result<Option<Value>> {
        Ok((self.kept != "nothing").then(|| Dict::from_iter([("at", self.at)]).into()))
    }

    fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let at = state_dict.as_dict().and_then(|dict| dict.get("at")?.as_i64());
        self.at = at.ok_or_else(|| Error::missing_key("at"))?;
        Ok(())
    }
}

fn cases() -> Vec<Json> {
    fixtures::cases("stateful_loader/streams.json")
}

fn checkpoint() -> Checkpoint {
    Checkpoint::open(fixtures::path("stateful_loader/streams.pt")).unwrap()
}

fn states() -> Vec<Value> {
    checkpoint().root().as_dict().unwrap().get("states").unwrap().items().unwrap()
}

fn numbers(case: &Json) -> Numbers {
    Numbers { kept: case["kept"].as_str().unwrap().to_owned(), count: case["samples"].as_i64().unwrap(), at: 0 }
}

fn loader(case: &Json) -> StreamLoader {
    let loader = StreamLoader::new(numbers(case), fixtures::size(&case["batch_size"])).unwrap();
    let loader = loader.drop_last(case["drop_last"].as_bool().unwrap());
    let loader = if case["kept"] == "iterator" { loader.iterator_has_state() } else { loader };
    match case["generator"].as_i64() {
        Some(seed) => loader.generator(Generator::new(seed)),
        None => loader,
    }
}

fn next(loader: &mut StreamLoader, global: &mut Generator) -> Option<Vec<i64>> {
    loader.next_batch(global).unwrap().map(|batch| batch.input_data().try_to_vec::<i64>().unwrap())
}

/// The batches of an epoch, as the script has them.
fn expected(case: &Json, epoch: usize) -> Vec<Vec<i64>> {
    let numbers = |batch: &Json| batch.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect();
    case["epochs"][epoch].as_array().unwrap().iter().map(numbers).collect()
}

/// What the script asked a loader for, in its order: the state after so many batches of an epoch.
fn taken(case: &Json) -> Vec<(usize, String, Value)> {
    let states = states();
    let entry = |entry: &Json| {
        let at = entry[1].as_str().map_or_else(|| entry[1].to_string(), str::to_owned);
        (fixtures::size(&entry[0]), at, states[fixtures::size(&entry[2])].clone())
    };
    case["states"].as_array().unwrap().iter().map(entry).collect()
}

/// Goes through three epochs, and gives to `meets` each state that the script took, the loader there, and the global generator.
fn go_through(case: &Json, mut meets: impl FnMut(&Value, &mut StreamLoader, &mut Generator, usize, usize)) {
    let (mut global, mut loader) = (Generator::new(case["seed"].as_i64().unwrap()), loader(case));
    let (taken, mut met) = (taken(case), 0);
    for epoch in 0..epochs(case).len() {
        let expected = expected(case, epoch);
        let mut at = |name: &str, loader: &mut StreamLoader, global: &mut Generator, batches: usize| {
            for (_, _, state) in taken.iter().filter(|(number, at, _)| (*number, at.as_str()) == (epoch, name)) {
                meets(state, loader, global, epoch, batches);
                met += 1;
            }
        };
        at("before", &mut loader, &mut global, 0);
        for batches in 0..=expected.len() {
            assert_eq!(next(&mut loader, &mut global).as_ref(), expected.get(batches), "{case}");
            let name = if batches == expected.len() { "end".to_owned() } else { (batches + 1).to_string() };
            at(&name, &mut loader, &mut global, (batches + 1).min(expected.len()));
        }
    }
    assert_eq!(met, taken.len(), "{case}");
    assert_eq!(random_int64(&mut global), case["then_global"].as_i64().unwrap(), "{case}");
}

#[test]
fn batches_states_and_draws_of_a_stream_are_torchdata_s() {
    for case in &cases() {
        go_through(case, |state, loader, global, _, _| {
            assert_eq!(spell(&loader.state_dict(global).unwrap(), true), spell(state, true), "{case}");
        });
    }
}

#[test]
fn a_loader_that_has_not_begun_says_what_it_would_be_and_stays_as_it_is() {
    for case in &cases() {
        let mut global = Generator::new(case["seed"].as_i64().unwrap());
        let (state, drawn) = Loader::from(loader(case)).state_at(&global).unwrap().unwrap();
        assert_eq!(spell(&state, true), spell(&taken(case)[0].2, true), "{case}");
        loader(case).state_dict(&mut global).unwrap();
        assert_eq!(drawn.state(), global.state(), "{case}");
    }
}

#[test]
fn a_stream_goes_on_from_torchdata_s_state() {
    for case in &cases() {
        go_through(case, |state, uncut, global, epoch, batches| {
            uncut.state_dict(global).unwrap();
            let (mut global, mut resumed) = (global.clone(), loader(case));
            resumed.load_state_dict(state).unwrap();
            assert_eq!(spell(&resumed.state_dict(&mut global).unwrap(), true), spell(state, true), "{case}");
            let ended = state
                .as_dict()
                .unwrap()
                .get("_iterator_finished")
                .is_some_and(|ended| matches!(ended, Value::Bool(true)));
            let rest: Vec<_> =
                if ended { Vec::new() } else { std::iter::from_fn(|| next(&mut resumed, &mut global)).collect() };
            assert_eq!(rest, expected(case, epoch)[batches..], "{case}");
            for later in epoch + 1..epochs(case).len() {
                let batches: Vec<_> = std::iter::from_fn(|| next(&mut resumed, &mut global)).collect();
                assert_eq!(batches, expected(case, later), "{case}");
            }
        });
    }
}

#[test]
fn a_state_that_is_not_of_the_stream_is_refused() {
    let cases = cases();
    let find = |kept: &str| cases.iter().find(|case| case["kept"] == kept).unwrap();
    let (nothing, dataset, iterator) = (find("nothing"), find("dataset"), find("iterator"));
    let state = |case: &Json| taken(case).into_iter().find(|(epoch, at, _)| (*epoch, &**at) == (1, "2")).unwrap().2;
    let of_map = Checkpoint::open(fixtures::path("stateful_loader/states.pt")).unwrap().root().items().unwrap();
    let with_workers = of_map.iter().find(|state| state.as_dict().unwrap().get("_snapshot").is_some()).unwrap();
    let with = |state: &Value, name: &str, value: Value| {
        let dict: Dict = state.as_dict().unwrap().entries().into_iter().collect();
        dict.insert(name, value);
        Value::from(dict)
    };
    // Whatever its batch size was.
    let bare = |state: &Value| with(state, "_sampler_iter_state", Value::None);
    let [of_nothing, of_dataset, of_iterator] = [nothing, dataset, iterator].map(|case| bare(&state(case)));
    let refused = |mut loader: StreamLoader, state: Value, says: &str| {
        let error = loader.load_state_dict(&state).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    };
    refused(StreamLoader::new(Deaf, 2).unwrap(), of_dataset, "this stream takes none");
    refused(loader(dataset), of_nothing.clone(), "the loader's data set had no state");
    refused(loader(dataset), of_map[0].clone(), "was no stream");
    refused(loader(dataset), with_workers.clone(), "with workers over a stream");
    refused(loader(dataset), state(&cases[4]), "here a batch has 3");
    refused(loader(nothing), with(&of_nothing, "_num_yielded", 9.into()), "here there are 7 samples");
    refused(loader(iterator), with(&of_iterator, "dataset_state", Dict::new().into()), "a state each");
    refused(loader(nothing), Dict::from_iter([("fetcher_state", Dict::new())]).into(), "_num_yielded");
    // And a data set of places does not take the state of a stream.
    let data = rekindle_train::data::Array::new(7, &[], vec![0_i64; 7]).unwrap();
    let data = rekindle_train::data::Dataset::named([("inputs", data)]).unwrap();
    let error = StatefulDataLoader::new(data, 2).unwrap().load_state_dict(&state(nothing)).unwrap_err().to_string();
    assert!(error.contains("StreamLoader"), "{error}");
}

/// A stream that cannot be told where to go on.
#[derive(Debug)]
struct Deaf;

impl Stream for Deaf {
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn next_sample(&mut self, _: &mut Generator) -> Result<Option<Sample>> {
        Ok(None)
    }
}

#[test]
fn a_stream_that_draws_and_cannot_tell_where_it_is_is_refused_in_the_midst_of_an_epoch() {
    /// Draws, and says nothing.
    #[derive(Debug)]
    struct Drawing;

    impl Stream for Drawing {
        fn begin(&mut self) -> Result<()> {
            Ok(())
        }

        fn next_sample(&mut self, generator: &mut Generator) -> Result<Option<Sample>> {
            Ok(Some(vec![("inputs".to_owned(), TensorData::from([random_int64(generator)]))]))
        }

        fn draws(&self) -> bool {
            true
        }
    }

    let mut global = Generator::new(0);
    let mut loader = StreamLoader::new(Drawing, 2).unwrap();
    let begun = loader.state_dict(&mut global).unwrap();
    loader.next_batch(&mut global).unwrap();
    let amid = loader.state_dict(&mut global).unwrap();
    let mut resumed = StreamLoader::new(Drawing, 2).unwrap();
    resumed.load_state_dict(&begun).unwrap();
    let error = resumed.load_state_dict(&amid).unwrap_err().to_string();
    assert!(error.contains("draws numbers"), "{error}");
}

#[test]
fn torchtitan_s_pickle_of_a_state_is_read_and_written() {
    let last = taken(&cases()[6]).pop().unwrap().2;
    let titan = checkpoint().root().as_dict().unwrap().get("titan").unwrap().clone();
    let root = Dict::from_iter([("dataloader", titan), ("model", Dict::new().into())]);
    let checkpoint = Checkpoint::from(root);
    let mut run = RunState::read(&checkpoint).unwrap();
    assert_eq!(run.loader_place.as_deref(), Some("dataloader"));
    assert_eq!(spell(run.loader.as_ref().unwrap(), true), spell(&last, true));
    let mut global = Generator::new(0);
    let mut loader = loader(&cases()[6]);
    loader.load_state_dict(run.loader.as_ref().unwrap()).unwrap();
    next(&mut loader, &mut global).unwrap();
    let later = loader.state_dict(&mut global).unwrap();
    run.loader = Some(later.clone());
    let written = run.write_back(&checkpoint).unwrap();
    let kept = written.root().as_dict().unwrap().get("dataloader").unwrap();
    let kept = kept.as_dict().unwrap();
    assert_eq!(kept.get("world_size").unwrap().as_i64(), Some(1));
    assert!(matches!(kept.get("dp_rank_0"), Some(Value::Bytes(_))));
    let again = RunState::read(&written).unwrap();
    assert_eq!(spell(&again.loader.unwrap(), true), spell(&later, true));
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// A run on these numbers, and its scheduler after each epoch.
fn begun(case: &Json) -> Run<Linear> {
    let model = seeded(LinearConfig::new(1, 1).init(&device()), 1);
    let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(0.1).momentum(0.9)).unwrap();
    let scheduler = LRScheduler::new(StepLR::new(1), &mut optimizer).unwrap();
    let run = Run::start(model, optimizer).with_scheduler(scheduler).schedule_per(SchedulePer::Epoch);
    run.with_generator(Generator::new(3)).with_loader(loader(case))
}

/// Takes the next batch and a step on it.
fn step(run: &mut Run<Linear>) -> Vec<i64> {
    let batch = run.next_batch().unwrap().unwrap();
    let numbers = batch.input_data().try_to_vec::<i64>().unwrap();
    #[allow(clippy::cast_precision_loss)]
    let inputs: Vec<f32> = numbers.iter().map(|number| *number as f32 * 1e-6).collect();
    let inputs = Tensor::<2>::from_data(TensorData::new(inputs, [batch.len(), 1]), &device());
    let loss = run.model().forward(inputs).powf_scalar(2.0).mean();
    run.step(loss).unwrap();
    numbers
}

#[test]
fn a_run_on_a_stream_that_is_saved_anywhere_goes_on_as_the_uncut_one() {
    let bits = |run: &Run<Linear>| run.model().weight.val().into_data().iter::<f32>().map(f32::to_bits).next();
    for case in &cases() {
        for cut in 0..=9 {
            let mut run = begun(case);
            (0..cut).for_each(|_| drop(step(&mut run)));
            let saved = run.checkpoint().unwrap();
            let left: Vec<_> = (cut..10).map(|_| step(&mut run)).collect();

            let net = seeded(LinearConfig::new(1, 1).init(&device()), 9);
            let per_epoch = ResumeOptions::default().schedule_per(SchedulePer::Epoch);
            let mut again = Run::resume_with(saved, net, per_epoch).unwrap().with_loader(loader(case));
            let found: Vec<_> = (cut..10).map(|_| step(&mut again)).collect();
            assert_eq!(found, left, "{cut}: {case}");
            assert_eq!(bits(&again), bits(&run), "{cut}: {case}");
            assert_eq!((again.epochs(), again.lr().unwrap()), (run.epochs(), run.lr().unwrap()), "{cut}: {case}");
        }
    }
}

/// Where batches that an epoch leaves over make no step, epochs have to be of whole steps: of a stream nobody knows it, and nothing is said of
/// a number that there is not.
#[test]
fn a_stream_is_not_refused_for_how_many_batches_nobody_knows_that_it_has() {
    let resumed = || {
        let linear = |from, to| NnLinear::new(from, to).init(&mut Init::lazy(&device())).unwrap().into();
        let net = seeded(Sequential::new(vec![linear(5, 8), ReLU::new().into(), linear(8, 3)]), 1);
        let options = ResumeOptions::default().accumulate(2).no_scheduler(true).keep_average(true).allow_objects(true);
        let file = fixtures::path("by_answer/ultralytics_two.pt");
        let run = Run::resume_with(Checkpoint::open(file).unwrap(), net, options).unwrap();
        assert!(run.leaves_batches());
        run
    };
    let case = &cases()[0];
    assert!(resumed().with_loader(loader(case)).next_batch().unwrap().is_some());
    // 7 samples in batches of 1.
    let data = rekindle_train::data::Array::new(7, &[], vec![0_i64; 7]).unwrap();
    let data = rekindle_train::data::Dataset::named([("inputs", data)]).unwrap();
    let mut run = resumed().with_loader(rekindle_train::data::DataLoader::new(data, 1).unwrap());
    let error = run.next_batch().unwrap_err().to_string();
    assert!(error.contains("an epoch has 7 batches") && error.contains("in this program; give it"), "{error}");
}
