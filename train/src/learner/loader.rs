//! `TorchLoader`: PyTorch's loader as burn-train's `DataLoader`.

use std::fmt;
use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader as BurnLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use rekindle_random::Generator;
use rekindle_recorder::{Error, Result};

use super::place::Place;
use crate::data::{Batch, Loader};

type Make<O> = Arc<dyn Fn(Batch, &Device) -> Result<O> + Send + Sync>;

/// PyTorch's `DataLoader`, or torchdata's, as burn-train's: each epoch has the batches that PyTorch would draw, in its order.
///
/// That of a training is made by [`TorchTraining::loader`](super::TorchTraining::loader): it draws from the training's generator, and
/// its place is saved. burn-train shows its progress in batches. Several devices are refused, since PyTorch's order is that of one
/// loader.
///
/// ```
/// use std::sync::Arc;
/// use burn::data::dataloader::DataLoader as _;
/// use rekindle_random::Generator;
/// use rekindle_train::data::{Array, DataLoader, Dataset};
/// use rekindle_train::learner::TorchLoader;
///
/// let numbers = Array::new(5, &[1], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0])?;
/// let loader = DataLoader::new(Dataset::named([("x", numbers)])?, 2)?.shuffle(true).generator(Generator::new(0));
/// let loader = TorchLoader::new(loader, |batch, device| batch.inputs::<2>(device))?;
/// assert_eq!((loader.num_items(), loader.iter().count()), (3, 3));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub struct TorchLoader<O> {
    place: Place,
    make: Make<O>,
    device: Device,
    /// Whether it was to be a part of a loader.
    part: bool,
}

impl<O> Clone for TorchLoader<O> {
    fn clone(&self) -> Self {
        let TorchLoader { place, make, device, part } = self;
        TorchLoader { place: place.clone(), make: Arc::clone(make), device: device.clone(), part: *part }
    }
}

impl<O> fmt::Debug for TorchLoader<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorchLoader").field("batches", &self.place.len()).finish_non_exhaustive()
    }
}

impl<O: Send + 'static> TorchLoader<O> {
    /// A loader beside the training's, such as that of the samples to validate on. It draws from its own generator, if it has one, and
    /// else from one that stands where PyTorch's global one begins: PyTorch draws a number for each epoch of any loader, so that
    /// one that drew from the global generator there has to be [told](Self::with_shared_generator) so.
    ///
    /// # Errors
    /// For a loader without epochs.
    pub fn new(
        loader: impl Into<Loader>,
        make: impl Fn(Batch, &Device) -> Result<O> + Send + Sync + 'static,
    ) -> Result<Self> {
        let (loader, place) = (loader.into(), Place::default());
        TorchLoader::<O>::has_epochs(&loader)?;
        place.set_loader(loader);
        Ok(TorchLoader::over(place, make))
    }

    pub(super) fn over(place: Place, make: impl Fn(Batch, &Device) -> Result<O> + Send + Sync + 'static) -> Self {
        TorchLoader { place, make: Arc::new(make), device: Device::default(), part: false }
    }

    pub(super) fn has_epochs(loader: &Loader) -> Result<()> {
        let what = match loader {
            Loader::Blocks(_) => "random blocks, which have no epochs, in burn-train",
            Loader::Stream(loader) if loader.batches().is_none() => {
                "a stream of nobody knows how many samples, in burn-train"
            }
            _ => return Ok(()),
        };
        Err(Error::unsupported(what).advise("train on them with Run"))
    }

    /// With the generator that stands for PyTorch's global one: that of [`TorchTraining::generator`](super::TorchTraining::generator)
    /// for a loader that drew from it in PyTorch, too.
    #[must_use]
    pub fn with_shared_generator(self, generator: Arc<Mutex<Generator>>) -> Self {
        self.place.set_generator(generator);
        self
    }
}

impl<O: Send + 'static> BurnLoader<O> for TorchLoader<O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        self.place.leave_epoch();
        Box::new(Batches { loader: self, given: 0, ended: false })
    }

    /// Its batches.
    fn num_items(&self) -> usize {
        self.place.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn BurnLoader<O>> {
        Arc::new(TorchLoader { device: device.clone(), ..self.clone() })
    }

    /// One that says with its first batch that there are no parts of it.
    fn slice(&self, _: usize, _: usize) -> Arc<dyn BurnLoader<O>> {
        Arc::new(TorchLoader { part: true, ..self.clone() })
    }
}

/// An epoch.
struct Batches<'a, O> {
    loader: &'a TorchLoader<O>,
    given: usize,
    ended: bool,
}

impl<O: Send + 'static> Iterator for Batches<'_, O> {
    type Item = std::result::Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let TorchLoader { place, make, device, part } = self.loader;
        let batch = if *part {
            let what = "a part of PyTorch's loader, which burn-train makes for several devices,";
            Err(Error::unsupported(what).advise("train on one device"))
        } else {
            place.next_batch()
        };
        let made = batch.and_then(|batch| batch.map(|batch| make(batch, device)).transpose());
        self.ended = !matches!(made, Ok(Some(_)));
        self.given += usize::from(!self.ended);
        made.map_err(DatasetError::new).transpose()
    }
}

impl<O: Send + 'static> DataLoaderIterator<O> for Batches<'_, O> {
    fn progress(&self) -> Progress {
        Progress::new(self.given, self.loader.place.len(), Some("batches".to_owned()))
    }
}
