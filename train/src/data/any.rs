//! `Loader`: any of the loaders, as a run has it.

use rekindle_random::Generator;
use rekindle_recorder::{Result, Value};

use super::dataset::Batch;
use super::loader::{DataLoader, read_generator};
use super::samples::Samples;
use super::stateful::StatefulDataLoader;
use super::stream::StreamLoader;
use super::tokens::RandomBlocks;
use crate::attributes::{Attributes, invalid};

/// A loader of any kind: what [`Run`](crate::Run) takes batches from.
///
/// ```
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Array, DataLoader, Dataset, Loader};
///
/// let numbers = Array::new(10, &[], (0..10).collect::<Vec<i64>>())?;
/// let mut loader: Loader = DataLoader::new(Dataset::named([("x", numbers)])?, 4)?.into();
/// assert_eq!(loader.next_batch(&mut Generator::new(0))?.map(|batch| batch.len()), Some(4));
/// assert_eq!((loader.taken(), loader.len()), (1, 3));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Loader {
    /// PyTorch's own.
    Torch(DataLoader),
    /// torchdata's.
    Stateful(StatefulDataLoader),
    /// torchdata's, over samples that come one after the other.
    Stream(StreamLoader),
    /// Random blocks of a file of tokens, without epochs.
    Blocks(RandomBlocks),
}

rekindle_recorder::from! { Loader:
    DataLoader: loader => Loader::Torch(loader);
    StatefulDataLoader: loader => Loader::Stateful(loader);
    StreamLoader: loader => Loader::Stream(loader);
    RandomBlocks: loader => Loader::Blocks(loader);
}

/// The same of any that has epochs, and what is so without them.
macro_rules! of_epochs {
    ($loader:expr, $one:ident => $given:expr, without: $without:expr) => {
        match $loader {
            Loader::Torch($one) => $given,
            Loader::Stateful($one) => $given,
            Loader::Stream($one) => $given,
            Loader::Blocks(_) => $without,
        }
    };
}

/// Where in a state dict of torchdata's the sampler's is, and how many workers there were; `None` for another.
fn stateful(state: &Attributes) -> Result<Option<(String, Attributes, usize)>> {
    let Some(snapshot) = state.get("_snapshot") else {
        return Ok(state.contains("_num_yielded").then(|| ("dataloader.".to_owned(), state.clone(), 0)));
    };
    let main = Attributes::from_value("dataloader._snapshot.", snapshot)?;
    let place = "dataloader._snapshot._main_snapshot.";
    let main = Attributes::from_value(place, main.get("_main_snapshot").unwrap_or(&Value::None))?;
    let workers = usize::try_from(main.int("_num_workers")?).unwrap_or(0);
    Ok(Some((place.to_owned(), main, workers)))
}

impl Loader {
    /// A loader that a state dict is of, over this data set: torchdata's, shuffled or not and with workers as the state tells, with a
    /// sampler that `shuffle=True` makes and no `generator=` of its own; else PyTorch's, shuffled, with the own generator that the state
    /// has. It has to be told to go on from there: [`load_state_dict`](Self::load_state_dict), or
    /// [`Run::with_loader`](crate::Run::with_loader).
    ///
    /// # Errors
    /// When the batch size is 0, or the state does not tell the order: that of an iterable data set, or of a sampler without a state.
    pub fn like(state: &Value, dataset: impl Samples + 'static, batch_size: usize, drop_last: bool) -> Result<Self> {
        let state = Attributes::from_value("dataloader.", state)?;
        let Some((place, main, workers)) = stateful(&state)? else {
            let mut loader = DataLoader::new(dataset, batch_size)?.shuffle(true).drop_last(drop_last);
            if let Some(own) = read_generator("dataloader", &state, "generator")? {
                loader = loader.generator(own);
            }
            return Ok(loader.into());
        };
        let sampler = main.get("_sampler_iter_state").unwrap_or(&Value::None);
        let sampler = Attributes::from_value(format!("{place}_sampler_iter_state."), sampler);
        let sampler = sampler.map_err(|error| {
            error.advise(
                "its sampler was PyTorch's or its program's own, which torchdata keeps nothing of (accelerate's `DataLoader` has one), and \
                 the order of the samples is not told; begin an epoch (`ResumeOptions::no_loader_state`)",
            )
        })?;
        let loader = StatefulDataLoader::new(dataset, batch_size)?.drop_last(drop_last).workers(workers);
        // What it would be seeded with is in the state.
        let shuffled = sampler.contains("sampler_iter_state");
        Ok(if shuffled { loader.shuffle(&mut Generator::default()) } else { loader }.into())
    }

    /// The next batch of the epoch; `None` after the last one, and the call after that begins the next epoch. `global` stands
    /// for PyTorch's global generator.
    ///
    /// # Errors
    /// When there is nothing to sample from, or a sample cannot be read.
    pub fn next_batch(&mut self, global: &mut Generator) -> Result<Option<Batch>> {
        match self {
            Loader::Torch(loader) => loader.next_batch(global),
            Loader::Stateful(loader) => loader.next_batch(global),
            Loader::Stream(loader) => loader.next_batch(global),
            Loader::Blocks(blocks) => blocks.next_batch(global),
        }
    }

    /// How many batches an epoch has: `len(loader)`; `usize::MAX` where nobody knows, and for one without epochs.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Loader::Torch(loader) => loader.len(),
            Loader::Stateful(loader) => loader.len(),
            Loader::Stream(loader) => loader.batches().unwrap_or(usize::MAX),
            Loader::Blocks(_) => usize::MAX,
        }
    }

    /// Whether an epoch has no batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many batches of the present epoch were given out; 0 between epochs.
    #[must_use]
    pub fn taken(&self) -> usize {
        of_epochs!(self, loader => loader.taken(), without: 0)
    }

    /// Whether the last batch of an epoch was given out and [`next_batch`](Self::next_batch) has not said so yet.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        of_epochs!(self, loader => loader.is_exhausted(), without: false)
    }

    /// Leaves the present epoch, wherever it is: the next batch begins a new one.
    pub fn end_epoch(&mut self) {
        of_epochs!(self, loader => loader.end_epoch(), without: ());
    }

    /// `loader.sampler.set_epoch(epoch)`, where there is a sampler.
    pub fn set_epoch(&mut self, epoch: u64) {
        match self {
            Loader::Torch(loader) => loader.set_epoch(epoch),
            Loader::Stateful(loader) => loader.set_epoch(epoch),
            Loader::Stream(_) | Loader::Blocks(_) => {}
        }
    }

    /// `generator=generator`: draws from this generator and not from the global one. Random blocks are drawn from the global one in
    /// any case.
    #[must_use]
    pub fn generator(self, generator: Generator) -> Self {
        match self {
            Loader::Torch(loader) => loader.generator(generator).into(),
            Loader::Stateful(loader) => loader.generator(generator).into(),
            Loader::Stream(loader) => loader.generator(generator).into(),
            Loader::Blocks(_) => self,
        }
    }

    /// The loader's own generator, where it has one.
    #[must_use]
    pub fn own_generator(&self) -> Option<&Generator> {
        of_epochs!(self, loader => loader.own_generator(), without: None)
    }

    /// The loader's state dict, and the global generator that goes with it: torchdata's state, taken before the first batch, is of
    /// an epoch that has begun, and so has drawn from the global generator. `None` for one without epochs. The loader stays as it is.
    ///
    /// # Errors
    /// When there is nothing to sample from.
    pub fn state_at(&self, global: &Generator) -> Result<Option<(Value, Generator)>> {
        match self {
            Loader::Torch(loader) => Ok(Some((loader.state_dict()?, global.clone()))),
            Loader::Stateful(loader) => loader.state_at(global).map(Some),
            Loader::Stream(loader) => loader.state_at(global).map(Some),
            Loader::Blocks(_) => Ok(None),
        }
    }

    /// Goes to where the loader of a state dict was.
    ///
    /// # Errors
    /// When it is of another kind of loader, or does not fit this one.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        of_epochs!(self, loader => loader.load_state_dict(state_dict), without: Err(invalid(
            "random blocks have no place in the data but the generator's state, and the state is of a loader with epochs",
        )))
    }
}
