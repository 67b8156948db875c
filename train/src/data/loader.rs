//! `DataLoader`: batches in the order in which PyTorch's would come, epoch after epoch, from a place that can be saved.

use std::sync::Arc;

use rekindle_random::{Generator, base_seed};
use rekindle_recorder::{Dict, Error, Result, Tensor, Value};

use super::dataset::Batch;
use super::feed::{Crew, Cut, Feed, Workers, has_workers};
use super::sampler::{BatchSampler, RandomSampler, Sampler, SequentialSampler, Source};
use super::samples::Samples;
use crate::attributes::{Attributes, invalid, wrong_type};

/// `torch.utils.data.DataLoader` over a map-style data set.
///
/// Each epoch draws what PyTorch draws from the global generator, or from the loader's own where it has one: a seed for
/// workers, shuffled or not, and for a shuffled epoch the seed of its order. Batches come in that order, however many
/// [threads](Self::threads) make them.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Array, DataLoader, Dataset};
///
/// let data = Dataset::new(Array::new(5, &[], vec![0.0_f32; 5])?, Array::new(5, &[], vec![0_i64; 5])?)?;
/// let mut loader = DataLoader::new(data, 2)?.shuffle(true);
///
/// let mut generator = Generator::new(0); // torch.manual_seed(0)
/// while let Some(batch) = loader.next_batch(&mut generator)? {
///     println!("{:?}", batch.places());
/// }
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct DataLoader {
    dataset: Arc<dyn Samples>,
    batches: BatchSampler,
    generator: Option<Generator>,
    workers: Workers,
    epoch: Option<Epoch>,
}

/// An epoch that has begun.
#[derive(Debug)]
struct Epoch {
    /// The generator that it was drawn from, as it was before.
    start: Generator,
    /// Its number, where the sampler goes by it.
    number: Option<u64>,
    /// Whether the workers of the epoch before went on.
    went_on: bool,
    feed: Feed,
}

impl DataLoader {
    /// Batches of so many samples, in the data set's order; the last batch may be smaller.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(dataset: impl Samples + 'static, batch_size: usize) -> Result<Self> {
        Ok(Self::from_batch_sampler(dataset, BatchSampler::new(SequentialSampler, batch_size, false)?))
    }

    /// `DataLoader(dataset, batch_sampler=batches)`.
    #[must_use]
    pub fn from_batch_sampler(dataset: impl Samples + 'static, batches: BatchSampler) -> Self {
        let workers = Workers::default();
        DataLoader { dataset: Arc::new(dataset), batches, generator: None, workers, epoch: None }
    }

    /// Whether each epoch has an order of its own. Default false.
    #[must_use]
    pub fn shuffle(self, shuffle: bool) -> Self {
        if shuffle { self.sampler(RandomSampler::default()) } else { self.sampler(SequentialSampler) }
    }

    /// Another sampler. One that was given a generator in PyTorch was given the loader's own, and one that was not draws from
    /// the global one beside a loader without: a sampler that draws elsewhere than its loader cannot be told here.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.batches.sampler = Box::new(sampler);
        self
    }

    /// Whether a last batch that is not full is left out. Default false.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.batches.drop_last = drop_last;
        self
    }

    /// `DataLoader(..., generator=generator)`: draw from this generator and not from the global one.
    #[must_use]
    pub fn generator(self, generator: Generator) -> Self {
        DataLoader { generator: Some(generator), ..self }
    }

    /// How many batches an epoch has: `len(loader)`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len(self.dataset.len())
    }

    /// `loader.sampler.set_epoch(epoch)`: which epoch begins next, for a sampler that goes by its number
    /// ([`DistributedSampler`](super::DistributedSampler)). One that is under way stays as it is.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.batches.sampler.set_epoch(epoch);
    }

    /// How many batches of the present epoch were given out; 0 between epochs.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.epoch.as_ref().map_or(0, |epoch| epoch.feed.taken())
    }

    /// Whether the last batch of an epoch was given out and [`next_batch`](Self::next_batch) has not said so yet.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.feed.taken() >= self.len())
    }

    /// The next batch of the epoch; `None` after the last one, and the call after that begins the next epoch. `global` stands
    /// for PyTorch's global generator.
    ///
    /// # Errors
    /// When there is nothing to sample from, or a sample cannot be read: the same batch is tried again by the next call.
    pub fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        let mut epoch = match self.epoch.take() {
            Some(epoch) => epoch,
            None => self.begin(global)?,
        };
        let batch = epoch.feed.next(global);
        if matches!(batch, Ok(None)) {
            self.leave(epoch);
        } else {
            self.epoch = Some(epoch);
        }
        batch
    }

    /// Leaves the present epoch, wherever it is: the next batch begins a new one.
    pub fn end_epoch(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            self.leave(epoch);
        }
    }

    /// Keeps what the workers have drawn from.
    fn leave(&mut self, epoch: Epoch) {
        if let Some(crew) = &mut self.workers.crew {
            crew.generators = epoch.feed.generators().to_vec();
        }
    }

    fn begin(&mut self, global: &mut Generator) -> Result<Epoch> {
        let start = self.generator.as_ref().unwrap_or(global).clone();
        let went_on = self.workers.go_on();
        if !went_on {
            let seed = base_seed(self.generator.as_mut().unwrap_or(global));
            self.workers.begin(seed, &*self.dataset);
        }
        let source = match &mut self.generator {
            Some(own) => Source::Own(own),
            None => Source::Global(global),
        };
        let number = self.batches.sampler.epoch();
        let places = self.batches.sampler.places(self.dataset.len(), source)?;
        let cut = Cut { batch_size: self.batches.batch_size, batches: self.len() };
        Ok(Epoch { start, number, went_on, feed: self.workers.feed(&self.dataset, places, cut) })
    }

    /// Where the loader is, and what a PyTorch program has to write for it: `num_yielded`, the batches that the present epoch gave
    /// out; where there are any, `epoch_generator`, the state of the generator that the epoch was drawn from, before it was; and
    /// `generator`, the state of the loader's own generator now, if it has one; and `epoch`, the epoch's number, if the sampler goes
    /// by it. States are `uint8` tensors as `torch.get_rng_state()` gives them.
    ///
    /// Of a loader whose workers are persistent or draw also `base_seed`, `workers_went_on`, whether they were there before the
    /// present epoch, and `workers`, the states of their generators, `[workers, 5056]`.
    ///
    /// The global generator is not part of it: it is in the checkpoint already.
    ///
    /// # Errors
    /// Never in fact: states always fit their tensors.
    pub fn state_dict(&self) -> Result<Value> {
        let tensor =
            |generator: &Generator| Tensor::from_vec(&[rekindle_random::STATE_SIZE], generator.state().to_vec());
        let dict = Dict::new();
        dict.insert("num_yielded", self.taken());
        if let Some(epoch) = &self.epoch {
            dict.insert("epoch_generator", tensor(&epoch.start)?);
        }
        if let Some(own) = &self.generator {
            dict.insert("generator", tensor(own)?);
        }
        let number = self.epoch.as_ref().map_or_else(|| self.batches.sampler.epoch(), |epoch| epoch.number);
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            dict.insert("epoch", number);
        }
        let under_way = self.epoch.as_ref().filter(|_| self.dataset.draws());
        if let Some(crew) = self.workers.crew.as_ref().filter(|_| self.workers.persistent || under_way.is_some()) {
            dict.insert("base_seed", crew.seed);
            dict.insert("workers_went_on", Value::Bool(self.epoch.as_ref().is_some_and(|epoch| epoch.went_on)));
            let generators = self.epoch.as_ref().map_or(&crew.generators[..], |epoch| epoch.feed.generators());
            if let Some(states) = Workers::states(generators)? {
                dict.insert("workers", states);
            }
        }
        Ok(dict.into())
    }

    /// Goes to where a loader of the same data set, batch size, sampler and workers was; no sample is read for that. Nothing changes
    /// unless all of it fits.
    ///
    /// # Errors
    /// When it is not what [`state_dict`](Self::state_dict) gave, or of a loader with another number of batches or workers.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let state = Attributes::from_value("loader.", state_dict)?;
        if ["_num_yielded", "_snapshot"].iter().any(|name| state.contains(name)) {
            let advice = "it is the state of torchdata's StatefulDataLoader, which draws otherwise: load it into data::StatefulDataLoader";
            return Err(Error::unsupported("this state in a DataLoader").advise(advice));
        }
        let taken = state.count("num_yielded")?;
        if taken > self.len() {
            return Err(invalid(format!(
                "the loader gave out {taken} batches of an epoch, and here one has {}",
                self.len()
            )));
        }
        let own = read_generator("loader", &state, "generator")?;
        if own.is_some() != self.generator.is_some() {
            return Err(invalid(
                "the loader had a generator of its own, and this one has none, or the other way round",
            ));
        }
        let start = read_generator("loader", &state, "epoch_generator")?;
        if start.is_none() && taken > 0 {
            let key = "loader.epoch_generator".to_owned();
            return Err(Error::missing_key(key).advise("the order of the epoch cannot be drawn again"));
        }
        let crew = self.read_crew(&state, start.is_some())?;
        let went_on = state.is_set("workers_went_on")?;
        let number = state.get("epoch").is_some().then(|| state.int("epoch")).transpose()?;
        if let Some(number) = number.and_then(|number| u64::try_from(number).ok()) {
            self.batches.sampler.set_epoch(number);
        }
        let Some(mut start) = start else {
            (self.epoch, self.workers.crew, self.generator) = (None, crew, own);
            return Ok(());
        };
        // Drawn again, from copies.
        let drawing = own.is_some().then(|| start.clone());
        let before = (
            std::mem::replace(&mut self.generator, drawing),
            std::mem::replace(&mut self.workers.crew, crew.clone().filter(|_| went_on)),
        );
        match self.begin(&mut start) {
            Ok(epoch) => {
                self.workers.crew = crew.or(self.workers.crew.take());
                // The generator has gone to where the epoch leaves it: PyTorch draws the last of that at its end.
                let feed = epoch.feed.at(taken, self.workers.generators());
                self.epoch = Some(Epoch { feed, ..epoch });
                Ok(())
            }
            Err(error) => {
                (self.generator, self.workers.crew) = before;
                Err(error)
            }
        }
    }

    /// The workers that a state tells of.
    fn read_crew(&self, state: &Attributes, under_way: bool) -> Result<Option<Crew>> {
        let drawing = self.dataset.draws() && self.workers.count > 0;
        if !state.contains("base_seed") {
            if drawing && under_way {
                let advice = "what its workers had drawn by then is not told";
                return Err(Error::missing_key("loader.base_seed".to_owned()).advise(advice));
            }
            if under_way && self.workers.persistent && self.workers.count > 0 {
                let advice = "whether its workers were there before the epoch is not told (workers_went_on), and so neither what the \
                              epoch has drawn";
                return Err(Error::missing_key("loader.base_seed".to_owned()).advise(advice));
            }
            return Ok(None);
        }
        if self.workers.count == 0 {
            return Err(invalid("the loader had workers, and this one has none"));
        }
        let generators = match state.get("workers") {
            Some(value) if drawing => {
                let states = value.as_tensor().ok_or_else(|| wrong_type("loader.workers", "a tensor", value))?;
                self.workers.read_states(states, "loader.workers")?
            }
            None if drawing => return Err(Error::missing_key("loader.workers".to_owned())),
            _ => Vec::new(),
        };
        Ok(Some(Crew { seed: state.int("base_seed")?, generators }))
    }
}

has_workers!(DataLoader:);

/// The generator whose state is at this name, if there is one.
pub(super) fn read_generator(place: &str, state: &Attributes, name: &str) -> Result<Option<Generator>> {
    let Some(value) = state.get(name) else { return Ok(None) };
    let key = format!("{place}.{name}");
    let tensor = value.as_tensor().ok_or_else(|| wrong_type(&key, "a tensor", value))?;
    let bytes = tensor.to_vec::<u8>()?;
    Generator::from_state(&bytes).map(Some).map_err(|error| invalid(format!("{key}: {error}")))
}
