//! `Items`: any data set of Burn's, item by item (feature `dataset`).

use std::fmt;

use burn::tensor::TensorData;
use burn_dataset::Dataset as BurnDataset;
use rekindle_random::Generator;
use rekindle_recorder::Result;

use super::dataset::Batch;
use super::samples::Samples;
use crate::attributes::invalid;

/// A `burn::data::dataset::Dataset` as samples: each item becomes named parts of one shape, which are stacked to batches.
///
/// ```
/// use burn::tensor::TensorData;
/// use burn_dataset::InMemDataset;
/// use rekindle_random::Generator;
/// use rekindle_train::data::{DataLoader, Items};
///
/// let pairs = InMemDataset::new(vec![(0.5_f32, 1_i64), (1.5, 0), (2.5, 1)]);
/// let data = Items::new(pairs, |(x, class): (f32, i64)| {
///     vec![("inputs", TensorData::from([x])), ("targets", TensorData::new(vec![class], [0; 0]))]
/// });
/// let mut loader = DataLoader::new(data, 2)?;
/// let batch = loader.next_batch(&mut Generator::new(0))?.unwrap();
/// assert_eq!((batch.input_shape(), batch.target_data().shape().as_slice()), (&[2, 1][..], &[2][..]));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub struct Items<D, I> {
    dataset: D,
    parts: fn(I) -> Vec<(&'static str, TensorData)>,
}

impl<D: BurnDataset<I>, I> Items<D, I> {
    /// The data set, and what each of its items becomes: the parts of one sample, without an axis for the batch.
    #[must_use]
    pub fn new(dataset: D, parts: fn(I) -> Vec<(&'static str, TensorData)>) -> Self {
        Items { dataset, parts }
    }
}

impl<D, I> fmt::Debug for Items<D, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Items({})", std::any::type_name::<D>())
    }
}

impl<D: BurnDataset<I>, I> Samples for Items<D, I> {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn batch(&self, places: &[usize], _: &mut Generator) -> Result<Batch> {
        let mut items = Vec::with_capacity(places.len());
        for &place in places {
            if place >= self.dataset.len() {
                let count = self.dataset.len();
                return Err(invalid(format!("there is no sample {place}, counted from 0, of {count}")));
            }
            let item = self.dataset.get(place);
            let item = item.map_err(|error| invalid(format!("sample {place}, counted from 0: {error}")))?;
            items.push((self.parts)(item));
        }
        Batch::stacked(places, items)
    }
}
