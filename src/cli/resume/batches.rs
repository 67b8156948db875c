//! What a run is trained on: a data set, or batches made elsewhere.

use std::path::PathBuf;

use rekindle::recorder::Error;
use rekindle::train::data::{Batch, Dataset, FixedBatches, ReadOptions, read_dataset};

use super::Resume;
use crate::cli::answer::{Anything, usage};
use crate::cli::schedule::Source;

/// Where the batches come from.
pub(in crate::cli) enum Batches {
    Fixed(FixedBatches),
    Data { train: Dataset, held_back: Dataset, batch_size: usize, drop_last: bool },
}

impl Batches {
    /// Where they come from.
    pub(in crate::cli) fn source(&self) -> Source {
        match self {
            Batches::Fixed(_) => Source::Fixed,
            Batches::Data { held_back, .. } => Source::Data { held_back: !held_back.is_empty() },
        }
    }

    /// The samples that are held back, and how many are taken at once.
    pub(super) fn held_back(&self) -> Option<(&Dataset, usize)> {
        match self {
            Batches::Fixed(_) => None,
            Batches::Data { held_back, batch_size, .. } => Some((held_back, *batch_size)),
        }
    }

    /// The batches that the settings name, and their file.
    pub(super) fn read(resume: &Resume) -> Anything<(Batches, PathBuf)> {
        let settings = &resume.settings;
        let data = match (&settings.batches, &settings.data) {
            (Some(path), None) if settings.drop_last => {
                let sentence = "--drop-last is of the batches of --data; those of a file are taken as they are";
                return Err(usage(format!("{}: {sentence}", path.display())));
            }
            (Some(path), None) => return Ok((Batches::Fixed(FixedBatches::read(path)?), path.clone())),
            (None, Some(path)) => path,
            (Some(_), Some(_)) => {
                return Err(usage("rekindle.toml names both `batches` and `data`; one of them is needed"));
            }
            (None, None) => {
                let name = resume.checkpoint.display();
                return Err(usage(format!(
                    "{name}: nothing to train on; name a data set with --data or batches with --batches"
                )));
            }
        };
        let mut options = ReadOptions::default();
        if let Some(shape) = settings.input_shape.clone() {
            options = options.input_shape(shape);
        }
        if let Some(by) = settings.divide_by {
            options = options.divide_by(by);
        }
        let dataset = read_dataset(data, &options)?;
        let held_back = settings.held_back.unwrap_or(0);
        let Some(at) = dataset.len().checked_sub(held_back) else {
            let sentence = format!("{}: {held_back} samples cannot be held back of {}", data.display(), dataset.len());
            return Err(usage(sentence));
        };
        let (train, held_back) = dataset.split_at(at)?;
        let batch_size = settings.batch_size.filter(|&size| size > 0);
        let batch_size = batch_size.ok_or_else(|| usage("--data needs a --batch-size of at least 1"))?;
        Ok((Batches::Data { train, held_back, batch_size, drop_last: settings.drop_last }, data.clone()))
    }

    /// A batch of each size that will come, of the first samples; and all samples that are trained on.
    pub(in crate::cli) fn first(&self) -> Result<(Vec<Batch>, &Dataset), Error> {
        let (batches, all) = match self {
            Batches::Fixed(fixed) if !fixed.is_empty() => (vec![fixed.batch(0)?], fixed.dataset()),
            Batches::Data { train, batch_size, drop_last, .. } if !train.is_empty() => {
                let (full, rest) = ((*batch_size).min(train.len()), train.len() % *batch_size);
                let last = (rest > 0 && rest != full && !drop_last).then_some(rest);
                let of = |size: usize| train.batch(&(0..size).collect::<Vec<_>>());
                (std::iter::once(full).chain(last).map(of).collect::<Result<_, _>>()?, train)
            }
            _ => return Err(Error::invalid("there are no samples to train on")),
        };
        if batches.iter().any(|batch| batch.input_shape().first() == Some(&0)) {
            return Err(Error::invalid("there are no samples to train on"));
        }
        Ok((batches, all))
    }
}
