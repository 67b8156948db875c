//! `Stream`: samples that come one after the other, as PyTorch's `IterableDataset` has them; and `StreamLoader`, which makes batches of
//! them as torchdata's `StatefulDataLoader` does, and goes on from its states.

use std::fmt;

use burn::tensor::TensorData;
use rekindle_random::{Generator, base_seed};
use rekindle_recorder::{Dict, Error, Result, Value};

use super::dataset::Batch;
use super::stateful::without_workers;
use crate::attributes::{Attributes, invalid};

/// A sample: its parts by name, without an axis for the batch.
pub type Sample = Vec<(String, TensorData)>;

/// Samples in an order of their own: PyTorch's `IterableDataset`. One that can be asked where it is ([`state_dict`](Self::state_dict)) goes on
/// from there without reading what was before.
pub trait Stream: fmt::Debug + Send {
    /// `iter(dataset)`: the next sample is the first of an epoch, or, after [`load_state_dict`](Self::load_state_dict), the one that follows
    /// that state.
    ///
    /// # Errors
    /// When it cannot be read.
    fn begin(&mut self) -> Result<()>;

    /// The next sample; `None` at the end. What is random draws from `generator`, PyTorch's global one.
    ///
    /// # Errors
    /// When it cannot be read.
    fn next_sample(&mut self, generator: &mut Generator) -> Result<Option<Sample>>;

    /// Whether samples draw numbers. Default false: then a stream without a state is gone through anew up to where it was.
    fn draws(&self) -> bool {
        false
    }

    /// How many samples an epoch has: `len(dataset)`. Default: nobody knows.
    fn samples(&self) -> Option<usize> {
        None
    }

    /// `dataset.state_dict()`, with the keys that the program in PyTorch has. Default: it has none.
    ///
    /// # Errors
    /// When the state cannot be told.
    fn state_dict(&self) -> Result<Option<Value>> {
        Ok(None)
    }

    /// `dataset.load_state_dict(state_dict)`.
    ///
    /// # Errors
    /// When it is not of such a stream; by default always.
    fn load_state_dict(&mut self, _state_dict: &Value) -> Result<()> {
        Err(invalid("the data set had a state, and this stream takes none"))
    }
}

/// Which object in PyTorch had the state of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    /// The data set, whose `__iter__` is a generator or makes an iterator without a state.
    #[default]
    Dataset,
    /// What `iter(dataset)` gave; the data set itself, where `__iter__` returns it.
    Iterator,
}

/// `torchdata.stateful_dataloader.StatefulDataLoader` over an `IterableDataset`, without workers, as of torchdata 0.11.
///
/// Its state dict is torchdata's, key for key, and goes both ways. The number that an epoch takes from the generator is drawn, and is not
/// drawn again by a loader that goes on in the midst of one.
///
/// ```
/// use burn::tensor::TensorData;
/// use rekindle_random::Generator;
/// use rekindle_recorder::{Dict, Result, Value};
/// use rekindle_train::data::{Sample, Stream, StreamLoader};
///
/// /// The numbers below ten.
/// #[derive(Debug, Default)]
/// struct Digits(i64);
///
/// impl Stream for Digits {
///     fn begin(&mut self) -> Result<()> {
///         Ok(())
///     }
///
///     fn next_sample(&mut self, _: &mut Generator) -> Result<Option<Sample>> {
///         if self.0 == 10 {
///             self.0 = 0;
///             return Ok(None);
///         }
///         self.0 += 1;
///         Ok(Some(vec![("inputs".to_owned(), TensorData::from([self.0 - 1]))]))
///     }
///
///     fn state_dict(&self) -> Result<Option<Value>> {
///         Ok(Some(Dict::from_iter([("next", self.0)]).into()))
///     }
///
///     fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
///         let next = state_dict.as_dict().and_then(|dict| dict.get("next")?.as_i64());
///         self.0 = next.ok_or_else(|| rekindle_recorder::Error::missing_key("next"))?;
///         Ok(())
///     }
/// }
///
/// let mut global = Generator::new(0); // torch.manual_seed(0)
/// let mut loader = StreamLoader::new(Digits::default(), 4)?;
/// loader.next_batch(&mut global)?;
/// let state = loader.state_dict(&mut global)?;
///
/// let mut resumed = StreamLoader::new(Digits::default(), 4)?;
/// resumed.load_state_dict(&state)?;
/// let batch = resumed.next_batch(&mut global)?.unwrap();
/// assert_eq!(batch.input_data().try_to_vec::<i64>().unwrap(), [4, 5, 6, 7]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamLoader {
    stream: Box<dyn Stream>,
    batch_size: usize,
    drop_last: bool,
    generator: Option<Generator>,
    kept: Kept,
    epoch: Option<Epoch>,
}

/// An epoch that has begun.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    /// Batches that were given out.
    taken: usize,
    /// Whether the stream said that it has no more.
    ended: bool,
    /// Whether the loader said so.
    finished: bool,
}

impl StreamLoader {
    /// Batches of so many samples; the last of an epoch may be smaller.
    ///
    /// # Errors
    /// When the batch size is 0.
    pub fn new(stream: impl Stream + 'static, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("a batch must have at least 1 sample"));
        }
        let stream = Box::new(stream);
        Ok(StreamLoader { stream, batch_size, drop_last: false, generator: None, kept: Kept::default(), epoch: None })
    }

    /// Whether a last batch that is not full is left out. Default false.
    #[must_use]
    pub fn drop_last(self, drop_last: bool) -> Self {
        StreamLoader { drop_last, ..self }
    }

    /// `generator=generator`: each epoch takes its number from this one and not from the global one.
    #[must_use]
    pub fn generator(self, generator: Generator) -> Self {
        StreamLoader { generator: Some(generator), ..self }
    }

    /// For a data set whose `__iter__` returns itself, or an iterator with a `state_dict` of its own: torchdata keeps the state of such a one
    /// elsewhere. A state that is loaded says it by itself.
    #[must_use]
    pub fn iterator_has_state(self) -> Self {
        StreamLoader { kept: Kept::Iterator, ..self }
    }

    /// The loader's own generator, where it has one.
    #[must_use]
    pub fn own_generator(&self) -> Option<&Generator> {
        self.generator.as_ref()
    }

    /// How many batches an epoch has, where the stream tells its number of samples.
    #[must_use]
    pub fn batches(&self) -> Option<usize> {
        let samples = self.stream.samples()?;
        Some(if self.drop_last { samples / self.batch_size } else { samples.div_ceil(self.batch_size) })
    }

    /// How many batches of the present epoch were given out; 0 between epochs.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.epoch.filter(|epoch| !epoch.finished).map_or(0, |epoch| epoch.taken)
    }

    /// Whether the last batch of an epoch was given out and [`next_batch`](Self::next_batch) has not said so yet, as far as the stream has
    /// told: one whose samples fill the last batch, and that does not know how many it has, tells it when it is asked for more.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        let all = self.batches();
        self.epoch.is_some_and(|epoch| !epoch.finished && (epoch.ended || all.is_some_and(|all| epoch.taken >= all)))
    }

    /// Leaves the present epoch: the next batch begins a new one. After the last batch this is the end that
    /// [`next_batch`](Self::next_batch) would have told.
    pub fn end_epoch(&mut self) {
        let exhausted = self.is_exhausted();
        match &mut self.epoch {
            Some(epoch) if exhausted => (epoch.ended, epoch.finished) = (true, true),
            _ => self.epoch = None,
        }
    }

    /// The next batch of the epoch; `None` after the last one, and the call after that begins the next epoch. `global` stands
    /// for PyTorch's global generator. The places of a batch are its samples' numbers in the epoch.
    ///
    /// # Errors
    /// When the stream cannot be read, or gives samples that do not go together.
    pub fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        let mut epoch = match self.epoch {
            Some(epoch) if !epoch.finished => epoch,
            _ => self.begin(global)?,
        };
        let batch = self.fetch(&mut epoch, global);
        self.epoch = Some(epoch);
        batch
    }

    /// An epoch begins: a number is drawn for the seeds of workers, whether there are any or not.
    fn begin(&mut self, global: &mut Generator) -> Result<Epoch> {
        base_seed(self.generator.as_mut().unwrap_or(global));
        self.stream.begin()?;
        Ok(Epoch::default())
    }

    fn fetch(&mut self, epoch: &mut Epoch, global: &mut Generator) -> Result<Option<Batch>> {
        let mut samples = Vec::with_capacity(self.batch_size);
        while !epoch.ended && samples.len() < self.batch_size {
            match self.stream.next_sample(global)? {
                Some(sample) => samples.push(sample),
                None => epoch.ended = true,
            }
        }
        if samples.is_empty() || (self.drop_last && samples.len() < self.batch_size) {
            epoch.finished = true;
            return Ok(None);
        }
        let first = epoch.taken * self.batch_size;
        let places: Vec<usize> = (first..first + samples.len()).collect();
        epoch.taken += 1;
        Batch::stacked(&places, samples).map(Some)
    }

    /// `loader.state_dict()`, key for key. As in torchdata, asked for before the first batch it begins the epoch.
    ///
    /// # Errors
    /// When the stream cannot tell where it is.
    pub fn state_dict(&mut self, global: &mut Generator) -> Result<Value> {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin(global)?,
        };
        self.epoch = Some(epoch);
        self.state_of(epoch)
    }

    /// As [`state_dict`](Self::state_dict), of a loader that stays as it is; and the global generator as it would be then.
    pub(super) fn state_at(&self, global: &Generator) -> Result<(Value, Generator)> {
        let mut global = global.clone();
        if self.epoch.is_none() && self.generator.is_none() {
            base_seed(&mut global);
        }
        Ok((self.state_of(self.epoch.unwrap_or_default())?, global))
    }

    fn state_of(&self, Epoch { taken, ended, finished }: Epoch) -> Result<Value> {
        let state = self.stream.state_dict()?.unwrap_or(Value::None);
        let (of_dataset, of_iterator) = match self.kept {
            Kept::Dataset => (state, Value::None),
            Kept::Iterator => (Value::None, state),
        };
        // What ended the epoch was a batch that was asked for.
        let asked = taken + usize::from(finished);
        let sampler = Dict::from_iter([("samples_yielded", asked * self.batch_size)]);
        let fetcher = Dict::from_iter([("dataset_iter_state", of_iterator), ("fetcher_ended", Value::Bool(ended))]);
        Ok(without_workers((sampler, asked), taken, finished, [fetcher.into(), of_dataset]).into())
    }

    /// `loader.load_state_dict(state_dict)`: goes to where a loader of the same data set and batch size was. An empty dict changes nothing, as
    /// in torchdata. A stream without a state of its own is gone through up to there.
    ///
    /// # Errors
    /// When it is of a loader with workers, of a map-style data set, of another batch size, or no such state at all; when the state of the
    /// data set is not of this stream; when a stream without a state draws numbers, so that nobody can tell where it was.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let state = Attributes::from_value("dataloader.", state_dict)?;
        if state.names().next().is_none() {
            return Ok(());
        }
        if state.contains("_snapshot") {
            return Err(Error::unsupported("the state of a loader with workers over a stream".to_owned())
                .advise("a loader without workers goes on (`num_workers=0`)"));
        }
        let there = |value: Option<&Value>| value.filter(|value| !matches!(value, Value::None)).cloned();
        let fetcher = there(state.get("fetcher_state"))
            .ok_or_else(|| invalid("the loader's data set was no stream: its state has no dataloader.fetcher_state"))?;
        let fetcher = Attributes::from_value("dataloader.fetcher_state.", &fetcher)?;
        let (taken, finished) = (state.count("_num_yielded")?, state.is_set("_iterator_finished")?);
        self.check_batch_size(&state)?;
        let (of_dataset, of_iterator) = (there(state.get("dataset_state")), there(fetcher.get("dataset_iter_state")));
        match (&of_dataset, &of_iterator) {
            (Some(_), Some(_)) => {
                let what = "a data set and an iterator over it that have a state each".to_owned();
                return Err(Error::unsupported(what));
            }
            (Some(state), None) => {
                self.stream.load_state_dict(state)?;
                self.stream.begin()?;
                self.kept = Kept::Dataset;
            }
            (None, Some(state)) => {
                self.stream.begin()?;
                self.stream.load_state_dict(state)?;
                self.kept = Kept::Iterator;
            }
            (None, None) => self.go_to(taken)?,
        }
        self.epoch = Some(Epoch { taken, ended: fetcher.is_set("fetcher_ended")?, finished });
        Ok(())
    }

    /// The sampler counts places of whole batches.
    fn check_batch_size(&self, state: &Attributes) -> Result<()> {
        let Some(sampler) = state.get("_sampler_iter_state").filter(|value| !matches!(value, Value::None)) else {
            return Ok(());
        };
        let sampler = Attributes::from_value("dataloader._sampler_iter_state.", sampler)?;
        let (samples, batches) = (sampler.count("samples_yielded")?, state.count("_sampler_iter_yielded")?);
        if samples != batches.saturating_mul(self.batch_size) {
            let own = self.batch_size;
            return Err(invalid(format!(
                "the loader asked for {samples} samples in {batches} batches, and here a batch has {own}"
            )));
        }
        Ok(())
    }

    /// Goes through so many batches of a stream that has no state.
    fn go_to(&mut self, taken: usize) -> Result<()> {
        if self.stream.state_dict()?.is_some() {
            return Err(invalid("the loader's data set had no state, and this stream has one"));
        }
        if self.stream.draws() && taken > 0 {
            return Err(invalid(
                "a stream that draws numbers and has no state of its own cannot go on in the midst of an epoch",
            ));
        }
        self.stream.begin()?;
        // It draws nothing.
        let mut nothing = Generator::default();
        for sample in 0..taken.saturating_mul(self.batch_size) {
            if self.stream.next_sample(&mut nothing)?.is_none() {
                // The last batch may have been smaller.
                if sample <= taken.saturating_sub(1).saturating_mul(self.batch_size) {
                    return Err(invalid(format!(
                        "the loader gave out {taken} batches, and here there are {sample} samples"
                    )));
                }
                break;
            }
        }
        Ok(())
    }
}
