//! `Samples`: whatever a loader can make batches of.

use std::fmt;
use std::sync::Arc;

use rekindle_random::Generator;
use rekindle_recorder::Result;

use super::dataset::{Batch, Dataset};

/// A data set: so many samples, and batches of them. PyTorch's map-style `Dataset` with its `collate_fn`.
///
/// ```
/// use burn::tensor::TensorData;
/// use rekindle_random::Generator;
/// use rekindle_recorder::Result;
/// use rekindle_train::data::{Batch, DataLoader, Samples};
///
/// /// x and its square.
/// #[derive(Debug)]
/// struct Squares(usize);
///
/// impl Samples for Squares {
///     fn len(&self) -> usize {
///         self.0
///     }
///
///     fn batch(&self, places: &[usize], _: &mut Generator) -> Result<Batch> {
///         let x: Vec<f32> = places.iter().map(|&place| place as f32).collect();
///         let y: Vec<f32> = x.iter().map(|x| x * x).collect();
///         let data = |all: Vec<f32>| TensorData::new(all, [places.len(), 1]);
///         Batch::new(places, [("inputs", data(x)), ("targets", data(y))])
///     }
/// }
///
/// let mut loader = DataLoader::new(Squares(10), 4)?.shuffle(true).threads(2);
/// let batch = loader.next_batch(&mut Generator::new(0))?;
/// assert_eq!(batch.map(|batch| batch.len()), Some(4));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub trait Samples: fmt::Debug + Send + Sync {
    /// How many samples there are: `len(dataset)`.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch of these samples, in this order. What is random in it (crops, flips, noise) draws from `generator`: PyTorch's global
    /// one for a loader without workers, a worker's own for one with them.
    ///
    /// # Errors
    /// When a sample cannot be read, or a place is beyond the last one.
    fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<Batch>;

    /// Whether batches draw numbers. Default false: then they may be made on any number of threads.
    fn draws(&self) -> bool {
        false
    }

    /// Makes sure that all targets that are classes are from 0 to `classes - 1`, as far as that can be told without reading all
    /// samples. Default: nothing is looked at.
    ///
    /// # Errors
    /// When one is not: which, and of which sample.
    fn check_classes(&self, _classes: usize) -> Result<()> {
        Ok(())
    }
}

impl<S: Samples + ?Sized> Samples for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<Batch> {
        (**self).batch(places, generator)
    }

    fn draws(&self) -> bool {
        (**self).draws()
    }

    fn check_classes(&self, classes: usize) -> Result<()> {
        (**self).check_classes(classes)
    }
}

impl Samples for Dataset {
    fn len(&self) -> usize {
        Dataset::len(self)
    }

    fn batch(&self, places: &[usize], _: &mut Generator) -> Result<Batch> {
        Dataset::batch(self, places)
    }

    fn check_classes(&self, classes: usize) -> Result<()> {
        Dataset::check_classes(self, classes)
    }
}
