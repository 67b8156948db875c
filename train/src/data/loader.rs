//! `DataLoader`: batches in the order in which PyTorch's would come, epoch after epoch, from a place that can be saved.

use std::sync::Arc;

use rekindle_random::{Generator, base_seed};
use rekindle_recorder::{Dict, Error, Result, Tensor, Value};

use super::dataset::{Batch, Dataset};
use super::sampler::{BatchSampler, RandomSampler, Sampler, SequentialSampler, Source};
use crate::attributes::{Attributes, invalid, wrong_type};

/// `torch.utils.data.DataLoader` over a data set in memory, with `num_workers=0`.
///
/// Each epoch draws what PyTorch draws from the global generator, or from the loader's own where it has one: a seed for
/// workers, shuffled or not, and for a shuffled epoch the seed of its order.
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
    dataset: Arc<Dataset>,
    batches: BatchSampler,
    generator: Option<Generator>,
    epoch: Option<Epoch>,
}

/// An epoch that has begun.
#[derive(Debug)]
struct Epoch {
    /// The generator that it was drawn from, as it was before.
    start: Generator,
    /// Its number, where the sampler goes by it.
    number: Option<u64>,
    places: Vec<usize>,
    /// Batches that were given out.
    taken: usize,
}

impl DataLoader {
    /// Batches of so many samples, in the data set's order; the last batch may be smaller.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(dataset: impl Into<Arc<Dataset>>, batch_size: usize) -> Result<Self> {
        Ok(Self::from_batch_sampler(dataset, BatchSampler::new(SequentialSampler, batch_size, false)?))
    }

    /// `DataLoader(dataset, batch_sampler=batches)`.
    #[must_use]
    pub fn from_batch_sampler(dataset: impl Into<Arc<Dataset>>, batches: BatchSampler) -> Self {
        DataLoader { dataset: dataset.into(), batches, generator: None, epoch: None }
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

    /// The data set.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The loader's own generator, where it has one.
    #[must_use]
    pub fn own_generator(&self) -> Option<&Generator> {
        self.generator.as_ref()
    }

    /// How many batches an epoch has: `len(loader)`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len(self.dataset.len())
    }

    /// Whether an epoch has no batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `loader.sampler.set_epoch(epoch)`: which epoch begins next, for a sampler that goes by its number
    /// ([`DistributedSampler`](super::DistributedSampler)). One that is under way stays as it is.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.batches.sampler.set_epoch(epoch);
    }

    /// How many batches of the present epoch were given out; 0 between epochs.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.epoch.as_ref().map_or(0, |epoch| epoch.taken)
    }

    /// Whether the last batch of an epoch was given out and [`next_batch`](Self::next_batch) has not said so yet.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.taken >= self.len())
    }

    /// The next batch of the epoch; `None` after the last one, and the call after that begins the next epoch. `global` stands
    /// for PyTorch's global generator.
    ///
    /// # Errors
    /// When there is nothing to sample from.
    pub fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        let batches = self.len();
        let epoch = match self.epoch.take() {
            Some(epoch) => epoch,
            None => self.begin(global)?,
        };
        if epoch.taken >= batches {
            return Ok(None);
        }
        let size = self.batches.batch_size;
        let start = epoch.taken * size;
        let end = epoch.places.len().min(start + size);
        let batch = self.dataset.batch(epoch.places.get(start..end).unwrap_or_default())?;
        self.epoch = Some(Epoch { taken: epoch.taken + 1, ..epoch });
        Ok(Some(batch))
    }

    /// Leaves the present epoch, wherever it is: the next batch begins a new one.
    pub fn end_epoch(&mut self) {
        self.epoch = None;
    }

    fn begin(&mut self, global: &mut Generator) -> Result<Epoch> {
        let start = self.generator.as_ref().unwrap_or(global).clone();
        base_seed(self.generator.as_mut().unwrap_or(global));
        let source = match &mut self.generator {
            Some(own) => Source::Own(own),
            None => Source::Global(global),
        };
        let number = self.batches.sampler.epoch();
        Ok(Epoch { start, number, places: self.batches.sampler.places(self.dataset.len(), source)?, taken: 0 })
    }

    /// Where the loader is: `num_yielded`, the batches that the present epoch gave out; where there are any,
    /// `epoch_generator`, the state of the generator that the epoch was drawn from, before it was; and `generator`, the state
    /// of the loader's own generator now, if it has one; and `epoch`, the epoch's number, if the sampler goes by it. States are `uint8` tensors as `torch.get_rng_state()` gives them.
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
        Ok(dict.into())
    }

    /// Goes to where a loader of the same data set, batch size and sampler was. Nothing changes unless all of it fits.
    ///
    /// # Errors
    /// When it is not what [`state_dict`](Self::state_dict) gave, or of a loader with another number of batches.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let state = Attributes::from_value("loader.", state_dict)?;
        let taken = usize::try_from(state.int("num_yielded")?).unwrap_or(usize::MAX);
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
        let number = state.get("epoch").is_some().then(|| state.int("epoch")).transpose()?;
        if let Some(number) = number.and_then(|number| u64::try_from(number).ok()) {
            self.batches.sampler.set_epoch(number);
        }
        self.epoch = None;
        if let Some(mut start) = start {
            // Drawn again, from copies.
            self.generator = own.is_some().then(|| start.clone());
            self.epoch = Some(Epoch { taken, ..self.begin(&mut start)? });
        }
        self.generator = own;
        Ok(())
    }
}

/// The generator whose state is at this name, if there is one.
pub(super) fn read_generator(place: &str, state: &Attributes, name: &str) -> Result<Option<Generator>> {
    let Some(value) = state.get(name) else { return Ok(None) };
    let key = format!("{place}.{name}");
    let tensor = value.as_tensor().ok_or_else(|| wrong_type(&key, "a tensor", value))?;
    let bytes = tensor.to_vec::<u8>()?;
    Generator::from_state(&bytes).map(Some).map_err(|error| invalid(format!("{key}: {error}")))
}
