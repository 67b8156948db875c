//! The data sets that `--data` and `--val` name.

use std::path::Path;
use std::sync::Arc;

use rekindle::data::Pictures;
use rekindle::models::image::{Augment, ImageFolder, ImageTransform};
use rekindle::recorder::{Checkpoint, DType, ResultExt as _};
use rekindle::train::data::{Array, Dataset, ReadOptions, Samples, TokenFile, read_dataset};

use super::answer::{Anything, usage};
use super::prepare::{Preparation, size};
use super::settings::Settings;

/// What a file or folder holds.
pub(super) enum Data {
    Samples(Arc<dyn Samples>),
    Tokens(TokenFile),
}

/// What is trained on.
pub(super) fn open(path: &Path, settings: &Settings) -> Anything<Data> {
    opened(path, settings, true)
}

/// What is held back: as what is trained on, without random changes.
pub(super) fn open_plain(path: &Path, settings: &Settings) -> Anything<Data> {
    opened(path, settings, false)
}

fn opened(path: &Path, settings: &Settings, trained: bool) -> Anything<Data> {
    let transformed = settings.preset.is_some()
        || settings.resize.is_some()
        || settings.crop.is_some()
        || !(settings.augment.is_empty() && settings.mean.is_empty() && settings.std.is_empty());
    // A checkpoint in a folder has files beside no folders of pictures.
    let folder = path.is_dir().then(|| ImageFolder::open(path)).filter(|folder| transformed || folder.is_ok());
    if let Some(folder) = folder {
        let folder = folder?.transform(transform(settings)?);
        let changes = settings.augment.iter().filter(|_| trained).map(|change| augment(change));
        let folder = changes.collect::<Anything<Vec<_>>>()?.into_iter().fold(folder, ImageFolder::augment);
        return Ok(Data::Samples(Arc::new(Pictures::from(folder))));
    }
    if transformed {
        let sentence = "--augment, --preset, --resize, --crop, --mean and --std are of a folder of pictures";
        return Err(usage(format!("{}: {sentence}", path.display())));
    }
    if let Some(block_size) = settings.block_size {
        let dtype = match settings.token_type.as_deref() {
            None | Some("uint16") => DType::UInt16,
            Some("uint8") => DType::UInt8,
            Some("uint32") => DType::UInt32,
            Some("int32") => DType::Int32,
            Some("int64") => DType::Int64,
            Some(other) => {
                return Err(usage(format!("--token-type {other}: tokens are whole numbers, such as uint16")));
            }
        };
        return Ok(Data::Tokens(TokenFile::open_as(path, block_size, dtype)?));
    }
    if let Some(targets) = settings.targets.as_ref().filter(|_| trained) {
        let inputs = array(path)?.reshaped(settings.input_shape.as_deref()).in_file(path)?;
        let inputs = settings.divide_by.map_or(Ok(inputs.clone()), |by| inputs.divided(by)).in_file(path)?;
        return Ok(Data::Samples(Arc::new(Dataset::new(inputs, array(targets)?).in_file(path)?)));
    }
    let mut options = ReadOptions::default();
    if let Some(shape) = settings.input_shape.clone() {
        options = options.input_shape(shape);
    }
    if let Some(by) = settings.divide_by {
        options = options.divide_by(by);
    }
    Ok(Data::Samples(Arc::new(read_dataset(path, &options)?)))
}

/// The array of a file that holds one.
fn array(path: &Path) -> Anything<Array> {
    let checkpoint = Checkpoint::open(path)?;
    let Some(tensor) = checkpoint.root().as_tensor() else {
        let sentence = "--targets goes with files of one array each, such as .npy";
        return Err(usage(format!("{}: {sentence}", path.display())));
    };
    Ok(Array::from_tensor(tensor).in_file(path)?)
}

fn transform(settings: &Settings) -> Anything<ImageTransform> {
    let pixels = |flag: &str, text: &Option<String>| {
        text.as_ref().map(|text| size(text).map_err(|error| usage(format!("{flag} {text}: {error}")))).transpose()
    };
    let said = Preparation {
        preset: settings.preset.as_deref(),
        resize: pixels("--resize", &settings.resize)?,
        crop: pixels("--crop", &settings.crop)?,
        mean: &settings.mean,
        std: &settings.std,
    };
    said.transform()
}

/// A random change, as `--augment` says it.
fn augment(text: &str) -> Anything<Augment> {
    let wrong = || {
        usage(format!("--augment {text}: flip, flip=P, crop=SIZE, crop=SIZE,PADDING or resized-crop=SIZE is expected"))
    };
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let size = |value: &str| value.trim().parse::<usize>().ok().filter(|&size| size > 0);
    Ok(match (name, value) {
        ("flip", None) => Augment::RandomHorizontalFlip { p: 0.5 },
        ("flip", Some(p)) => {
            let p = p.parse().ok().filter(|p| (0.0..=1.0).contains(p));
            Augment::RandomHorizontalFlip { p: p.ok_or_else(wrong)? }
        }
        ("crop", Some(value)) => {
            let (side, padding) = value.split_once(',').unwrap_or((value, "0"));
            let padding = padding.trim().parse().map_err(|_| wrong())?;
            Augment::RandomCrop { size: size(side).ok_or_else(wrong)?, padding }
        }
        ("resized-crop", Some(side)) => Augment::RandomResizedCrop {
            size: size(side).ok_or_else(wrong)?,
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
        },
        _ => return Err(wrong()),
    })
}
