//! What a run is trained on: a data set, blocks of tokens, or batches made elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::random::Generator;
use rekindle::recorder::{Error, Value};
use rekindle::train::data::{Batch, DataLoader, FixedBatches, Loader, RandomBlocks, Samples, Subset};
use rekindle::train::run::EpochOf;

use super::given::Resume;
use crate::cli::answer::{Anything, usage};
use crate::cli::data::{self, Data};
use crate::cli::schedule::Source;

/// Where the batches come from.
pub(in crate::cli) enum Batches {
    Fixed(FixedBatches),
    Data { train: Arc<dyn Samples>, held_back: Arc<dyn Samples>, batch_size: usize, drop_last: bool, made: Made },
    Tokens(RandomBlocks),
}

/// How PyTorch's loader was made as to workers.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Made {
    workers: usize,
    persistent: bool,
}

impl Batches {
    /// Where they come from.
    pub(in crate::cli) fn source(&self) -> Source {
        match self {
            Batches::Fixed(_) => Source::Fixed,
            Batches::Data { held_back, .. } => Source::Data { held_back: !held_back.is_empty() },
            Batches::Tokens(_) => Source::Data { held_back: false },
        }
    }

    /// The samples that are held back, and how many are taken at once.
    pub(super) fn held_back(&self) -> Option<(&dyn Samples, usize)> {
        match self {
            Batches::Fixed(_) | Batches::Tokens(_) => None,
            Batches::Data { held_back, batch_size, .. } => Some((&**held_back, *batch_size)),
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
        let batch_size = settings.batch_size.filter(|&size| size > 0);
        let batch_size = || batch_size.ok_or_else(|| usage("--data needs a --batch-size of at least 1"));
        let samples = match data::open(data, settings)? {
            Data::Samples(samples) => samples,
            Data::Tokens(tokens) => {
                return Ok((Batches::Tokens(RandomBlocks::new(tokens, batch_size()?)?), data.clone()));
            }
        };
        let (train, held_back): (Arc<dyn Samples>, Arc<dyn Samples>) = match (&settings.val, settings.held_back) {
            (Some(_), Some(_)) => return Err(usage("--val and --held-back say both what is held back")),
            (Some(val), None) => match data::open_plain(val, settings)? {
                Data::Samples(val) => (samples, val),
                Data::Tokens(_) => return Err(usage(format!("{}: tokens cannot be held back", val.display()))),
            },
            (None, held_back) => {
                let held_back = held_back.unwrap_or(0);
                let Some(at) = samples.len().checked_sub(held_back) else {
                    let sentence =
                        format!("{}: {held_back} samples cannot be held back of {}", data.display(), samples.len());
                    return Err(usage(sentence));
                };
                if held_back > 0 && data.is_dir() {
                    let sentence = "the last pictures of a folder are all of its last class; hold back a folder of its own with --val";
                    return Err(usage(format!("{}: {sentence}", data.display())));
                }
                let (train, held_back) = Subset::split_at(samples.clone(), at)?;
                if held_back.is_empty() {
                    (samples, Arc::new(held_back))
                } else {
                    (Arc::new(train), Arc::new(held_back))
                }
            }
        };
        let made = Made { workers: settings.workers.unwrap_or(0), persistent: settings.persistent_workers };
        let (batch_size, drop_last) = (batch_size()?, settings.drop_last);
        Ok((Batches::Data { train, held_back, batch_size, drop_last, made }, data.clone()))
    }

    /// What an epoch is made of; `None` where nothing tells where one ends, or the checkpoint has the place in the data itself.
    pub(in crate::cli) fn epoch(&self, state: Option<&Value>) -> Option<EpochOf> {
        match self {
            Batches::Data { train, batch_size, drop_last, .. } if state.is_none() => {
                Some(EpochOf { samples: train.len(), batch_size: *batch_size, drop_last: *drop_last })
            }
            _ => None,
        }
    }

    /// A loader of the data, as the place in the data is of that the checkpoint has; `None` where there are no data.
    pub(in crate::cli) fn loader(&self, state: Option<&Value>) -> Anything<Option<Loader>> {
        Ok(match self {
            Batches::Fixed(_) => None,
            Batches::Tokens(blocks) => Some(blocks.clone().into()),
            Batches::Data { train, batch_size, drop_last, made, .. } => Some(match state {
                Some(state) => Loader::like(state, train.clone(), *batch_size, *drop_last)?,
                None => DataLoader::new(train.clone(), *batch_size)?
                    .shuffle(true)
                    .drop_last(*drop_last)
                    .workers(made.workers)
                    .persistent_workers(made.persistent)
                    .into(),
            }),
        })
    }

    /// A batch of each size that will come, of the first samples; and all samples that are trained on.
    pub(in crate::cli) fn first(&self) -> Result<(Vec<Batch>, &dyn Samples), Error> {
        let nothing = &mut Generator::default();
        let (batches, all): (Vec<Batch>, &dyn Samples) = match self {
            Batches::Fixed(fixed) if !fixed.is_empty() => (vec![fixed.batch(0)?], fixed.dataset()),
            Batches::Tokens(blocks) => (vec![blocks.first()?], blocks.tokens()),
            Batches::Data { train, batch_size, drop_last, .. } if !train.is_empty() => {
                let (full, rest) = ((*batch_size).min(train.len()), train.len() % *batch_size);
                let last = (rest > 0 && rest != full && !drop_last).then_some(rest);
                let of = |size: usize| train.batch(&(0..size).collect::<Vec<_>>(), nothing);
                (std::iter::once(full).chain(last).map(of).collect::<Result<_, _>>()?, &**train)
            }
            _ => return Err(Error::invalid("there are no samples to train on")),
        };
        if batches.iter().any(|batch| batch.input_shape().first() == Some(&0)) {
            return Err(Error::invalid("there are no samples to train on"));
        }
        Ok((batches, all))
    }
}
