//! torchdata's `StatefulDataLoader`: what Lightning, accelerate and torchtitan keep as the place in the data. Its loader draws
//! otherwise than PyTorch's: a shuffled order comes from a generator that goes on from epoch to epoch.

use std::sync::Arc;

use rekindle_random::{Generator, ParameterError, base_seed, randint, random_int64, randperm};
use rekindle_recorder::{Dict, Error, Result, Tensor, Value};

use super::dataset::{Batch, Dataset};
use super::loader::read_generator;
use super::sampler::{DistributedSampler, RandomSampler, Sampler, Source, places};
use crate::attributes::{Attributes, invalid, wrong_type};

/// How many numbers torchdata's `RandomSampler(replacement=True)` draws at a time, the last time, too.
const BLOCK: usize = 32;

/// `torchdata.stateful_dataloader.StatefulDataLoader` over a data set in memory, with `num_workers=0`, as of torchdata 0.11.
///
/// Its state dict is torchdata's, key for key, and goes both ways: a loader that loads it gives the batches that were left, and
/// then the epochs that would have come. The numbers of the global generator that the epoch under way took are not drawn again.
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
    dataset: Arc<Dataset>,
    batch_size: usize,
    drop_last: bool,
    order: Order,
    generator: Option<Generator>,
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

/// An epoch that has begun.
#[derive(Debug)]
struct Epoch {
    /// The generator that the order was drawn from, as it was before.
    start: Option<Generator>,
    places: Vec<usize>,
    /// Batches that were given out.
    taken: usize,
    /// Whether the end was told.
    finished: bool,
}

impl StatefulDataLoader {
    /// Batches of so many samples, in the data set's order; the last batch may be smaller.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(dataset: impl Into<Arc<Dataset>>, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("a batch must have at least 1 sample"));
        }
        let dataset = dataset.into();
        Ok(StatefulDataLoader {
            dataset,
            batch_size,
            drop_last: false,
            order: Order::Sequential,
            generator: None,
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

    /// Whether an epoch has no batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
            self.epoch = Some(self.begin(Some(global))?);
        }
        let batches = self.len();
        let Some(epoch) = &mut self.epoch else { return Ok(None) };
        if epoch.taken >= batches {
            epoch.finished = true;
            return Ok(None);
        }
        let start = epoch.taken * self.batch_size;
        let end = epoch.places.len().min(start + self.batch_size);
        let batch = self.dataset.batch(epoch.places.get(start..end).unwrap_or_default())?;
        epoch.taken += 1;
        Ok(Some(batch))
    }

    /// Draws an epoch: its first order, the seed for workers, then what more an order of more places than samples takes. Without
    /// a global generator, what is taken from it was taken before.
    fn begin(&mut self, global: Option<&mut Generator>) -> Result<Epoch> {
        let (samples, len) = (self.dataset.len(), self.places());
        let mut own = self.generator.take();
        let epoch = self.draw(samples, len, own.as_mut(), global);
        self.generator = own;
        epoch
    }

    fn draw(
        &mut self,
        samples: usize,
        len: usize,
        mut own: Option<&mut Generator>,
        mut global: Option<&mut Generator>,
    ) -> Result<Epoch> {
        let mut epoch = Epoch { start: None, places: Vec::new(), taken: 0, finished: false };
        if let Order::Random(sampler, kept) = &mut self.order {
            let mut seeded = false;
            while epoch.places.len() < len {
                let generator = kept.as_mut().or(own.as_deref_mut());
                let generator = generator.ok_or_else(|| invalid("there is no generator to shuffle with"))?;
                epoch.start.get_or_insert_with(|| generator.clone());
                epoch.places.extend(places(order(sampler, samples, generator)?));
                if !std::mem::replace(&mut seeded, true)
                    && let Some(generator) = own.as_deref_mut().or(global.as_deref_mut())
                {
                    base_seed(generator);
                }
            }
            epoch.places.truncate(len);
            return Ok(epoch);
        }
        if let Some(generator) = own.or(global) {
            base_seed(generator);
        }
        epoch.places = match &self.order {
            // Draws from its seed alone.
            Order::Distributed(sampler) => sampler.places(samples, Source::Own(&mut Generator::default()))?,
            _ => (0..samples).collect(),
        };
        Ok(epoch)
    }

    /// `loader.state_dict()`, key for key. As in torchdata, asked for before the first batch it begins the epoch.
    ///
    /// # Errors
    /// When there is nothing to sample from.
    pub fn state_dict(&mut self, global: &mut Generator) -> Result<Value> {
        if self.epoch.is_none() {
            self.epoch = Some(self.begin(Some(global))?);
        }
        let sampler = Dict::new();
        let (mut taken, mut finished) = (0, false);
        if let Some(epoch) = &self.epoch {
            let yielded = self.yielded(epoch.taken, epoch.finished);
            (taken, finished) = (epoch.taken, epoch.finished);
            sampler.insert("samples_yielded", yielded);
            if let Some(start) = &epoch.start {
                let order = Dict::new();
                order.insert("yielded", yielded);
                let state = start.state().to_vec();
                order.insert("generator", Tensor::from_vec(&[rekindle_random::STATE_SIZE], state)?);
                sampler.insert("sampler_iter_state", order);
            }
        }
        let dict = Dict::new();
        dict.insert("_index_sampler_state", Value::None);
        dict.insert("_sampler_iter_state", sampler);
        dict.insert("_sampler_iter_yielded", taken);
        dict.insert("_num_yielded", taken);
        dict.insert("_IterableDataset_len_called", Value::None);
        dict.insert("_shared_seed", Value::None);
        dict.insert("fetcher_state", Value::None);
        dict.insert("dataset_state", Value::None);
        dict.insert("_iterator_finished", Value::Bool(finished));
        Ok(dict.into())
    }

    /// Samples that the sampler gave out: at the end also those of a batch that was not full.
    fn yielded(&self, taken: usize, finished: bool) -> usize {
        let places = self.places();
        if finished { places } else { places.min(taken * self.batch_size) }
    }

    /// `loader.load_state_dict(state_dict)`: goes to where a loader of the same data set, batch size and order was. An empty dict
    /// changes nothing, as in torchdata. Nothing changes unless all of it fits.
    ///
    /// A loader with a generator of its own goes on as the uninterrupted one; torchdata's, once resumed, leaves out the seed
    /// for workers that the epoch under way drew from it, and so shuffles later epochs otherwise.
    ///
    /// # Errors
    /// When it is of a loader with workers, of an iterable or stateful data set, of another order or batch size, or no such
    /// state at all.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let state = Attributes::from_value("dataloader.", state_dict)?;
        if state.names().next().is_none() {
            return Ok(());
        }
        if state.contains("_snapshot") {
            return Err(invalid(
                "the loader had workers (num_workers > 0), and where they are is not read; save the state of one without",
            ));
        }
        for name in ["fetcher_state", "dataset_state"] {
            if state.get(name).is_some_and(|value| !matches!(value, Value::None)) {
                return Err(invalid(format!(
                    "dataloader.{name} is the state of a data set, and one in memory has none"
                )));
            }
        }
        let taken = usize::try_from(state.int("_num_yielded")?).unwrap_or(usize::MAX);
        let finished = state.is_set("_iterator_finished")?;
        if taken > self.len() || (finished && taken < self.len()) {
            let len = self.len();
            return Err(invalid(format!("the loader gave out {taken} batches of an epoch, and here one has {len}")));
        }
        let start = self.read_sampler(&state, self.yielded(taken, finished))?;
        let before = (self.generator.clone(), self.random_generator().cloned());
        if let Some(start) = start
            && let Some(generator) = self.random_generator()
        {
            *generator = start;
        }
        match self.begin(None) {
            Ok(epoch) => self.epoch = Some(Epoch { taken, finished, ..epoch }),
            Err(error) => {
                if let (Some(generator), Some(before)) = (self.random_generator(), before.1) {
                    *generator = before;
                }
                self.generator = before.0;
                return Err(error);
            }
        }
        Ok(())
    }

    /// What a shuffled order is drawn from.
    fn random_generator(&mut self) -> Option<&mut Generator> {
        match &mut self.order {
            Order::Random(_, kept) => kept.as_mut().or(self.generator.as_mut()),
            _ => None,
        }
    }

    /// The generator that the epoch was drawn from, for a shuffled order; checks that so many samples were given out.
    fn read_sampler(&self, state: &Attributes, expected: usize) -> Result<Option<Generator>> {
        let place = "dataloader._sampler_iter_state";
        let shuffled = matches!(self.order, Order::Random(..));
        let sampler = match state.get("_sampler_iter_state") {
            Some(value) if !matches!(value, Value::None) => Attributes::from_value(format!("{place}."), value)?,
            _ if shuffled => return Err(wrong_type(place, "a dict", &Value::None)),
            _ => return Ok(None),
        };
        let yielded = usize::try_from(sampler.int("samples_yielded")?).unwrap_or(usize::MAX);
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

/// As many places as torchdata's `RandomSampler` draws at a time.
fn order(sampler: &RandomSampler, samples: usize, generator: &mut Generator) -> Result<Vec<i64>> {
    let nothing = |error: ParameterError| invalid(format!("cannot sample from an empty data set: {error}"));
    let high = i64::try_from(samples).map_err(|_| invalid("a data set has too many samples"))?;
    if samples == 0 || sampler.replacement {
        return randint(generator, 0, high, BLOCK).map_err(nothing);
    }
    Ok(randperm(generator, samples))
}
