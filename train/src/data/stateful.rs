//! torchdata's `StatefulDataLoader`: what Lightning, accelerate and torchtitan keep as the place in the data. Its loader draws
//! otherwise than PyTorch's: a shuffled order comes from a generator that goes on from epoch to epoch.

use std::sync::Arc;

use rekindle_random::{Generator, ParameterError, base_seed, randint, random_int64, randperm};
use rekindle_recorder::{Dict, Error, Result, Tensor, Value};

use super::dataset::Batch;
use super::feed::{Cut, Feed, Workers, has_workers};
use super::loader::read_generator;
use super::sampler::{DistributedSampler, RandomSampler, Sampler, Source, places};
use super::samples::Samples;
use crate::attributes::{Attributes, invalid, wrong_type};

/// How many numbers torchdata's `RandomSampler(replacement=True)` draws at a time, the last time, too.
const BLOCK: usize = 32;

/// `torchdata.stateful_dataloader.StatefulDataLoader` over a map-style data set, with or without workers, as of torchdata 0.11.
///
/// Its state dict is torchdata's, key for key, and goes both ways: a loader that loads it gives the batches that were left, and
/// then the epochs that would have come. The numbers of the global generator that the epoch under way took are not drawn again, and
/// no sample is read on the way. What random transforms have drawn in workers is in no state of torchdata's: as there, the workers
/// of a loader that is resumed begin with their seeds.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Array, Dataset, StatefulDataLoader};
///
/// let numbers = Array::new(10, &[], (0..10).collect::<Vec<i64>>())?;
/// let data = std::sync::Arc::new(Dataset::new(numbers.clone(), numbers)?);
/// let mut global = Generator::new(0); // torch.manual_seed(0)
/// let mut loader = StatefulDataLoader::new(data.clone(), 3)?.shuffle(&mut global);
/// loader.next_batch(&mut global)?;
/// let state = loader.state_dict(&mut global)?; // what a checkpoint holds as "dataloader_state_dict"
///
/// let mut resumed = StatefulDataLoader::new(data, 3)?.shuffle(&mut global);
/// resumed.load_state_dict(&state)?;
/// let places = |batch: Option<rekindle_train::data::Batch>| batch.map(|batch| batch.places().to_vec());
/// assert_eq!(places(resumed.next_batch(&mut global)?), places(loader.next_batch(&mut global)?));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct StatefulDataLoader {
    dataset: Arc<dyn Samples>,
    batch_size: usize,
    drop_last: bool,
    order: Order,
    generator: Option<Generator>,
    workers: Workers,
    epoch: Option<Epoch>,
}

/// In which order epochs go.
#[derive(Debug)]
enum Order {
    Sequential,
    /// Drawn from this generator, or from the loader's own.
    Random(RandomSampler, Option<Generator>),
    Distributed(DistributedSampler),
}

/// From where an epoch is drawn.
enum Drawing<'a> {
    /// From the global generator, besides the loader's own.
    Anew(&'a mut Generator),
    /// What was taken from the global one was taken before the state was.
    Resumed,
}

/// An epoch that has begun.
#[derive(Debug)]
struct Epoch {
    /// The generator that the order was drawn from, as it was before.
    start: Option<Generator>,
    feed: Feed,
    /// Whether the end was told.
    finished: bool,
}

impl StatefulDataLoader {
    /// Batches of so many samples, in the data set's order; the last batch may be smaller.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(dataset: impl Samples + 'static, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("a batch must have at least 1 sample"));
        }
        Ok(StatefulDataLoader {
            dataset: Arc::new(dataset),
            batch_size,
            drop_last: false,
            order: Order::Sequential,
            generator: None,
            workers: Workers::default(),
            epoch: None,
        })
    }

    /// `shuffle=True`: an order from a generator that is seeded here from the global one and goes on from epoch to epoch.
    #[must_use]
    pub fn shuffle(self, global: &mut Generator) -> Self {
        self.random(RandomSampler::default(), global)
    }

    /// `sampler=torchdata.stateful_dataloader.sampler.RandomSampler(dataset, ...)`, whose generator is seeded here from the
    /// global one.
    #[must_use]
    pub fn random(self, sampler: RandomSampler, global: &mut Generator) -> Self {
        let own = Generator::new(random_int64(global));
        StatefulDataLoader { order: Order::Random(sampler, Some(own)), ..self }
    }

    /// `shuffle=True, generator=generator`: the loader and its order draw from this one.
    #[must_use]
    pub fn shuffle_from(self, generator: Generator) -> Self {
        let order = Order::Random(RandomSampler::default(), None);
        StatefulDataLoader { order, generator: Some(generator), ..self }
    }

    /// `sampler=DistributedSampler(...)`, or torchdata's `StatefulDistributedSampler`. The epoch's number is not part of the state:
    /// call [`set_epoch`](Self::set_epoch) as in PyTorch, before the state is loaded, too.
    #[must_use]
    pub fn distributed(self, sampler: DistributedSampler) -> Self {
        StatefulDataLoader { order: Order::Distributed(sampler), ..self }
    }

    /// Whether a last batch that is not full is left out. Default false.
    #[must_use]
    pub fn drop_last(self, drop_last: bool) -> Self {
        StatefulDataLoader { drop_last, ..self }
    }

    /// `generator=generator`, beside an order that was said before: seeds for workers are drawn from it, and the order of
    /// [`shuffle_from`](Self::shuffle_from).
    #[must_use]
    pub fn generator(self, generator: Generator) -> Self {
        StatefulDataLoader { generator: Some(generator), ..self }
    }

    /// How many batches of the present epoch were given out; 0 between epochs.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.epoch.as_ref().filter(|epoch| !epoch.finished).map_or(0, |epoch| epoch.feed.taken())
    }

    /// Whether the last batch of an epoch was given out and [`next_batch`](Self::next_batch) has not said so yet.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| !epoch.finished && epoch.feed.taken() >= self.len())
    }

    /// Leaves the present epoch: the next batch begins a new one. After the last batch this is the end that
    /// [`next_batch`](Self::next_batch) would have told.
    pub fn end_epoch(&mut self) {
        let batches = self.len();
        match &mut self.epoch {
            Some(epoch) if epoch.feed.taken() >= batches => epoch.finished = true,
            _ => self.epoch = None,
        }
    }

    /// `sampler.set_epoch(epoch)`: which epoch begins next, for a distributed order.
    pub fn set_epoch(&mut self, epoch: u64) {
        if let Order::Distributed(sampler) = &mut self.order {
            sampler.set_epoch(epoch);
        }
    }

    /// How many batches an epoch has: `len(loader)`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches(self.places())
    }

    fn batches(&self, places: usize) -> usize {
        if self.drop_last { places / self.batch_size } else { places.div_ceil(self.batch_size) }
    }

    /// How many places an epoch has.
    fn places(&self) -> usize {
        let samples = self.dataset.len();
        match &self.order {
            Order::Sequential => samples,
            Order::Random(sampler, _) => sampler.len(samples),
            Order::Distributed(sampler) => sampler.len(samples),
        }
    }

    /// The next batch of the epoch; `None` after the last one, and the call after that begins the next epoch. `global` stands
    /// for PyTorch's global generator.
    ///
    /// # Errors
    /// When there is nothing to sample from.
    pub fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        if self.epoch.as_ref().is_none_or(|epoch| epoch.finished) {
            self.epoch = Some(self.begin(Drawing::Anew(global))?);
        }
        let Some(epoch) = &mut self.epoch else { return Ok(None) };
        let batch = epoch.feed.next(global);
        if matches!(batch, Ok(None)) {
            epoch.finished = true;
            if let Some(crew) = &mut self.workers.crew {
                crew.generators = epoch.feed.generators().to_vec();
            }
        }
        batch
    }

    /// Draws an epoch: its first order, the seed for workers, then what more an order of more places than samples takes.
    fn begin(&mut self, drawing: Drawing<'_>) -> Result<Epoch> {
        let (samples, len) = (self.dataset.len(), self.places());
        let mut own = self.generator.take();
        let drawn = self.draw(samples, len, own.as_mut(), drawing);
        self.generator = own;
        let (start, mut places) = drawn?;
        places.truncate(len);
        let cut = Cut { batch_size: self.batch_size, batches: self.batches(len) };
        Ok(Epoch { start, feed: self.workers.feed(&self.dataset, places, cut), finished: false })
    }

    fn draw(
        &mut self,
        samples: usize,
        len: usize,
        mut own: Option<&mut Generator>,
        drawing: Drawing<'_>,
    ) -> Result<(Option<Generator>, Vec<usize>)> {
        let (mut global, resumed) = match drawing {
            Drawing::Anew(global) => (Some(global), false),
            Drawing::Resumed => (None, true),
        };
        // Workers that are there need no seed; of those that were made before the state was taken it is in there.
        let mut unseeded = !(self.workers.go_on() || resumed && self.workers.count > 0);
        let with_workers = self.workers.count > 0;
        let (dataset, workers, kept) = (self.dataset.clone(), &mut self.workers, &mut self.order);
        let mut seed = |own: Option<&mut Generator>| {
            if let Some(generator) = own.or(global.as_deref_mut()) {
                workers.begin(base_seed(generator), &*dataset);
            }
        };
        let (mut start, mut drawn) = (None, Vec::new());
        if let Order::Random(sampler, kept) = kept {
            // An iterator with workers is made, which draws an order, and then made ready, which draws it again.
            if unseeded && with_workers {
                let generator = kept.as_mut().or(own.as_deref_mut());
                order(sampler, samples, generator.ok_or_else(no_generator)?)?;
                seed(own.as_deref_mut());
                unseeded = false;
            }
            while drawn.len() < len {
                let generator = kept.as_mut().or(own.as_deref_mut()).ok_or_else(no_generator)?;
                start.get_or_insert_with(|| generator.clone());
                drawn.extend(places(order(sampler, samples, generator)?));
                if std::mem::take(&mut unseeded) {
                    seed(own.as_deref_mut());
                }
            }
            return Ok((start, drawn));
        }
        if unseeded {
            seed(own);
        }
        let drawn = match kept {
            // Draws from its seed alone.
            Order::Distributed(sampler) => sampler.places(samples, Source::Own(&mut Generator::default()))?,
            _ => (0..samples).collect(),
        };
        Ok((None, drawn))
    }

    /// `loader.state_dict()`, key for key. As in torchdata, asked for before the first batch it begins the epoch.
    ///
    /// # Errors
    /// When there is nothing to sample from.
    pub fn state_dict(&mut self, global: &mut Generator) -> Result<Value> {
        if self.epoch.is_none() {
            self.epoch = Some(self.begin(Drawing::Anew(global))?);
        }
        self.state_of(self.epoch.as_ref())
    }

    /// As [`state_dict`](Self::state_dict), of a loader that stays as it is; and the global generator as it would be then.
    pub(super) fn state_at(&self, global: &Generator) -> Result<(Value, Generator)> {
        if self.epoch.is_some() {
            return Ok((self.state_of(self.epoch.as_ref())?, global.clone()));
        }
        let order = match &self.order {
            Order::Sequential => Order::Sequential,
            Order::Random(sampler, kept) => Order::Random(*sampler, kept.clone()),
            Order::Distributed(sampler) => Order::Distributed(sampler.clone()),
        };
        let Workers { count, persistent, threads, ref crew } = self.workers;
        let workers = Workers { count, persistent, threads, crew: crew.clone() };
        let (dataset, generator) = (self.dataset.clone(), self.generator.clone());
        let mut begun = StatefulDataLoader { dataset, order, generator, workers, epoch: None, ..*self };
        let mut global = global.clone();
        Ok((begun.state_dict(&mut global)?, global))
    }

    fn state_of(&self, epoch: Option<&Epoch>) -> Result<Value> {
        let (taken, finished) = epoch.map_or((0, false), |epoch| (epoch.feed.taken(), epoch.finished));
        let yielded = self.yielded(taken, finished);
        let sampler = Dict::new();
        sampler.insert("samples_yielded", yielded);
        if let Some(start) = epoch.and_then(|epoch| epoch.start.as_ref()) {
            let order = Dict::new();
            order.insert("yielded", yielded);
            let state = start.state().to_vec();
            order.insert("generator", Tensor::from_vec(&[rekindle_random::STATE_SIZE], state)?);
            sampler.insert("sampler_iter_state", order);
        }
        let Some(crew) = &self.workers.crew else {
            let asked = (sampler, taken);
            return Ok(without_workers(asked, taken, finished, [Value::None, Value::None]).into());
        };
        let nothing = |dict: &Dict, keys: &[&str]| keys.iter().for_each(|key| drop(dict.insert(*key, Value::None)));
        let (count, main) = (self.workers.count, Dict::new());
        main.insert("_num_workers", count);
        main.insert("_sampler_iter_state", sampler);
        nothing(&main, &["_index_sampler_state"]);
        main.insert("_sampler_iter_yielded", taken);
        nothing(&main, &["_IterableDataset_len_called", "_shared_seed"]);
        main.insert("_base_seed", crew.seed);
        let workers = Dict::new();
        for worker in 0..count {
            let state = Dict::new();
            state.insert("worker_id", worker);
            nothing(&state, &["dataset_state", "fetcher_state"]);
            workers.insert(format!("worker_{worker}"), state);
        }
        let snapshot = Dict::new();
        snapshot.insert("_snapshot_step", taken);
        // Before the first batch it is the last of them, so that the first is next.
        snapshot.insert("_last_yielded_worker_id", (taken + count - 1).checked_rem(count).unwrap_or(0));
        snapshot.insert("_main_snapshot", main);
        snapshot.insert("_worker_snapshots", workers);
        let dict = Dict::new();
        dict.insert("_snapshot", snapshot);
        dict.insert("_steps_since_snapshot", 0);
        dict.insert("_iterator_finished", Value::Bool(finished));
        Ok(dict.into())
    }

    /// Samples that the sampler gave out: without workers, at the end also those of a batch that was not full.
    fn yielded(&self, taken: usize, finished: bool) -> usize {
        let places = self.places();
        let all = finished && self.workers.count == 0;
        if all { places } else { places.min(taken * self.batch_size) }
    }

    /// `loader.load_state_dict(state_dict)`: goes to where a loader of the same data set, batch size, order and workers was. An empty
    /// dict changes nothing, as in torchdata. Nothing changes unless all of it fits.
    ///
    /// A loader with a generator of its own goes on as the uninterrupted one; torchdata's, once resumed, leaves out the seed
    /// for workers that the epoch under way drew from it, and so shuffles later epochs otherwise.
    ///
    /// # Errors
    /// When it is of a loader with another number of workers, of an iterable or stateful data set, of another order or batch size,
    /// or no such state at all.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let state = Attributes::from_value("dataloader.", state_dict)?;
        if state.names().next().is_none() {
            return Ok(());
        }
        let Position { place, main, at, since, seed } = self.position(&state)?;
        let taken = at.saturating_add(since);
        let finished = state.is_set("_iterator_finished")?;
        if taken > self.len() || (finished && taken < self.len()) {
            let len = self.len();
            return Err(invalid(format!("the loader gave out {taken} batches of an epoch, and here one has {len}")));
        }
        let start = self.read_sampler(&main, &place, self.yielded(at, finished))?;
        let before = (self.generator.clone(), self.random_generator().cloned(), self.workers.crew.take());
        if let Some(start) = start
            && let Some(generator) = self.random_generator()
        {
            *generator = start;
        }
        if let Some(seed) = seed {
            self.workers.begin(seed, &*self.dataset);
        }
        match self.begin(Drawing::Resumed) {
            Ok(epoch) => {
                let feed = epoch.feed.at(taken, self.workers.generators());
                self.epoch = Some(Epoch { feed, finished, ..epoch });
                Ok(())
            }
            Err(error) => {
                if let (Some(generator), Some(before)) = (self.random_generator(), before.1) {
                    *generator = before;
                }
                (self.generator, self.workers.crew) = (before.0, before.2);
                Err(error)
            }
        }
    }

    /// Where in a state it is told how far the loader was; and that it is of such a loader.
    fn position(&self, state: &Attributes) -> Result<Position> {
        let place = "dataloader.".to_owned();
        let Some(snapshot) = state.get("_snapshot") else {
            without_data(&place, state)?;
            let at = state.count("_num_yielded")?;
            if self.workers.count > 0 {
                return Err(invalid(format!("the loader had no workers, and this one has {}", self.workers.count)));
            }
            return Ok(Position { place, main: state.clone(), at, since: 0, seed: None });
        };
        let snapshot = Attributes::from_value(format!("{place}_snapshot."), snapshot)?;
        let place = format!("{place}_snapshot._main_snapshot.");
        let main = Attributes::from_value(&place, snapshot.get("_main_snapshot").unwrap_or(&Value::None))?;
        let workers = main.count("_num_workers")?;
        if workers != self.workers.count {
            let own = self.workers.count;
            return Err(invalid(format!("the loader had {workers} workers, and this one has {own} (`workers`)")));
        }
        if let Some(workers) = snapshot.get("_worker_snapshots").and_then(Value::as_dict) {
            for (name, worker) in workers.entries() {
                let place = format!("dataloader._snapshot._worker_snapshots.{}.", name.as_str().unwrap_or_default());
                without_data(&place, &Attributes::from_value(&place, &worker)?)?;
            }
        }
        let (at, since) = (snapshot.count("_snapshot_step")?, state.count("_steps_since_snapshot")?);
        let seed = Some(main.int("_base_seed")?);
        Ok(Position { place, main, at, since, seed })
    }

    /// What a shuffled order is drawn from.
    fn random_generator(&mut self) -> Option<&mut Generator> {
        match &mut self.order {
            Order::Random(_, kept) => kept.as_mut().or(self.generator.as_mut()),
            _ => None,
        }
    }

    /// The generator that the epoch was drawn from, for a shuffled order; checks that so many samples were given out.
    fn read_sampler(&self, state: &Attributes, place: &str, expected: usize) -> Result<Option<Generator>> {
        let place = &format!("{place}_sampler_iter_state");
        let shuffled = matches!(self.order, Order::Random(..));
        let sampler = match state.get("_sampler_iter_state") {
            Some(value) if !matches!(value, Value::None) => Attributes::from_value(format!("{place}."), value)?,
            _ if shuffled => return Err(wrong_type(place, "a dict", &Value::None)),
            _ => return Ok(None),
        };
        let yielded = sampler.count("samples_yielded")?;
        if yielded != expected {
            return Err(invalid(format!(
                "the loader gave out {yielded} samples, and here as many batches have {expected}; its batch size was another"
            )));
        }
        let order = sampler.get("sampler_iter_state");
        match (order, shuffled) {
            (Some(order), true) => {
                let place = format!("{place}.sampler_iter_state");
                let order = Attributes::from_value(format!("{place}."), order)?;
                let start = read_generator(&place, &order, "generator")?;
                Ok(Some(start.ok_or_else(|| Error::missing_key(format!("{place}.generator")))?))
            }
            (None, false) => Ok(None),
            (Some(_), false) => Err(invalid("the loader shuffled, and this one does not")),
            (None, true) => Err(invalid("the loader did not shuffle, and this one does")),
        }
    }
}

has_workers! { StatefulDataLoader:
    /// With workers torchdata draws an order twice when it makes them, and its state dict has another form.
}

/// The state dict of a loader without workers, key for key: of the sampler, and how many batches it was asked for; how many were given
/// out, and whether the end was told; of what fetches samples, and of the data set.
pub(super) fn without_workers(
    (sampler, asked): (Dict, usize),
    taken: usize,
    finished: bool,
    [fetcher, dataset]: [Value; 2],
) -> Dict {
    let entries: [(&str, Value); 9] = [
        ("_index_sampler_state", Value::None),
        ("_sampler_iter_state", sampler.into()),
        ("_sampler_iter_yielded", asked.into()),
        ("_num_yielded", taken.into()),
        ("_IterableDataset_len_called", Value::None),
        ("_shared_seed", Value::None),
        ("fetcher_state", fetcher),
        ("dataset_state", dataset),
        ("_iterator_finished", Value::Bool(finished)),
    ];
    Dict::from_iter(entries)
}

/// Where a loader was, by its state.
struct Position {
    /// What is before the names of the sampler's entries.
    place: String,
    /// Those entries.
    main: Attributes,
    /// How many batches were given out when the sampler's state was taken, and since then.
    at: usize,
    since: usize,
    /// What the workers were seeded with, if there were any.
    seed: Option<i64>,
}

/// Makes sure that a state is of a data set that has none of its own.
fn without_data(place: &str, state: &Attributes) -> Result<()> {
    for name in ["fetcher_state", "dataset_state"] {
        if state.get(name).is_some_and(|value| !matches!(value, Value::None)) {
            let error = invalid(format!("{place}{name} is the state of a data set, and this one has none"));
            return Err(error.advise("an `IterableDataset`, as a `Stream`, goes on with `StreamLoader`"));
        }
    }
    Ok(())
}

fn no_generator() -> Error {
    invalid("there is no generator to shuffle with")
}

/// As many places as torchdata's `RandomSampler` draws at a time.
fn order(sampler: &RandomSampler, samples: usize, generator: &mut Generator) -> Result<Vec<i64>> {
    let nothing = |error: ParameterError| invalid(format!("cannot sample from an empty data set: {error}"));
    let high = i64::try_from(samples).map_err(|_| invalid("a data set has too many samples"))?;
    if samples == 0 || sampler.replacement {
        return randint(generator, 0, high, BLOCK).map_err(nothing);
    }
    Ok(randperm(generator, samples))
}
