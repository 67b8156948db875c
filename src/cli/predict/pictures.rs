//! Pictures as a network's inputs.

use std::path::{Path, PathBuf};
use std::thread::{available_parallelism, scope};

use burn::tensor::{Device, TensorData};
use rekindle::models::ModelError;
use rekindle::models::functional::{Array, Kind, kind_of};
use rekindle::models::graph::Length;
use rekindle::models::image::{ImageSize, ImageTransform, Interpolation, Picture};
use rekindle::recorder::Error;

use super::network::Predictor;
use super::parts::{fits, fixed};
use crate::cli::answer::{Anything, usage};
use crate::cli::prepare::{Preparation, size};

/// How many pictures are computed at once, where nothing says it.
const AT_ONCE: usize = 32;

/// Which pictures, and what is done to each on its way to the network.
#[derive(Debug, clap::Args)]
pub(super) struct Pictures {
    /// Pictures as inputs: PNG, JPEG, WebP or BMP
    #[arg(long, value_name = "FILE", num_args = 1..)]
    image: Vec<PathBuf>,
    /// torchvision's preset: imagenet is --resize 256 --crop 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225; flags win
    #[arg(long, value_name = "NAME", requires = "image")]
    preset: Option<String>,
    /// Resize pictures: N is the shorter side, the longer follows
    #[arg(long, value_name = "N|H,W", requires = "image", value_parser = size)]
    resize: Option<ImageSize>,
    /// Take the centre of N by N pixels, black where a picture is smaller
    #[arg(long, value_name = "N|H,W", requires = "image", value_parser = size)]
    crop: Option<ImageSize>,
    /// How --resize finds pixels between pixels (default: bilinear)
    #[arg(long, value_name = "NAME", requires = "image", value_parser = ["bilinear", "bicubic"])]
    interpolation: Option<String>,
    /// What is subtracted from pixels from 0 to 1, one number or one for each channel (default: 0)
    #[arg(long, value_name = "X[,X,X]", requires = "image", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f64>,
    /// What they are then divided by (default: 1)
    #[arg(long, value_name = "X[,X,X]", requires = "image", value_delimiter = ',')]
    std: Vec<f64>,
}

impl Pictures {
    /// What is done to each picture; `None` where none is given. The files are looked at before any work.
    pub(super) fn check(&self) -> Anything<Option<ImageTransform>> {
        if self.image.is_empty() {
            return Ok(None);
        }
        let said = Preparation {
            preset: self.preset.as_deref(),
            resize: self.resize,
            crop: self.crop,
            mean: &self.mean,
            std: &self.std,
        };
        let mut transform = said.transform()?;
        if let Some(name) = &self.interpolation {
            let bicubic = name == "bicubic";
            transform = transform.interpolation(if bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear });
        }
        for path in &self.image {
            Picture::size(path)?;
        }
        Ok(Some(transform))
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.image.len()).unwrap_or(u64::MAX)
    }

    /// The pictures in batches of `at_once`, or of what the network takes.
    pub(super) fn batches(
        &self,
        transform: &ImageTransform,
        network: &Predictor,
        at_once: Option<usize>,
    ) -> Anything<Batches> {
        let takes = network.takes();
        let [input] = takes.as_slice() else {
            let names: Vec<&str> = takes.iter().map(|input| input.name.as_str()).collect();
            return Err(usage(format!(
                "--image is for networks of one input, and this one takes {}",
                names.join(", ")
            )));
        };
        let [batch, channels, height, width] = input.lengths.as_slice() else {
            let (name, rank) = (&input.name, input.lengths.len());
            return Err(usage(format!(
                "--image is for networks that take [batch, channels, height, width], and '{name}' has {rank} dimensions"
            )));
        };
        let grey = match channels {
            Length::Exactly(1) => true,
            Length::Exactly(3) | Length::Symbol(_) | Length::Computed(_) | Length::Any => false,
            Length::Exactly(channels) => {
                return Err(usage(format!("--image is for networks of 3 channels or 1, and this one has {channels}")));
            }
        };
        if kind_of(input.dtype) != Kind::Float {
            return Err(usage(format!("--image gives floating-point numbers, and '{}' takes none", input.name)));
        }
        let fixed = fixed(Some(batch));
        let at_once = at_once.or(fixed).unwrap_or(AT_ONCE).max(1);
        fits(fixed, self.image.len(), at_once).map_err(usage)?;
        let names = self.image.iter().map(|path| path.display().to_string()).collect();
        Ok(Batches {
            transform: transform.clone().grey(grey),
            files: self.image.clone(),
            names,
            at_once,
            next: 0,
            size: [height.clone(), width.clone()],
        })
    }
}

/// Batches of pictures, each prepared when it is asked for.
pub(super) struct Batches {
    transform: ImageTransform,
    files: Vec<PathBuf>,
    names: Vec<String>,
    at_once: usize,
    next: usize,
    /// The height and width that the network takes.
    size: [Length; 2],
}

impl Batches {
    /// Whether there are several.
    pub(super) fn several(&self) -> bool {
        self.files.len() > self.at_once
    }

    /// The next batch, with the files' names.
    pub(super) fn next_batch(&mut self) -> Anything<Option<(Vec<String>, Array)>> {
        let range = self.next..self.files.len().min(self.next + self.at_once);
        if range.is_empty() {
            return Ok(None);
        }
        self.next = range.end;
        let (files, names) = (&self.files[range.clone()], &self.names[range]);
        let mut elements = Vec::new();
        let mut first: Option<Vec<usize>> = None;
        for (name, picture) in names.iter().zip(self.prepared(files)) {
            let picture = picture?;
            let shape = picture.shape().as_slice().to_vec();
            self.fits(&shape).map_err(|reason| usage(format!("{name}: {reason}")))?;
            let expected = first.get_or_insert_with(|| shape.clone());
            if *expected != shape {
                return Err(usage(format!(
                    "{name}: it has {} x {} pixels, and {} {} x {}; bring them to one size with --resize and --crop, or pass \
                     --batch-size 1",
                    shape[2], shape[1], names[0], expected[2], expected[1]
                )));
            }
            elements.extend(picture.iter::<f32>());
        }
        let shape: Vec<usize> = std::iter::once(names.len()).chain(first.unwrap_or_default()).collect();
        let array = Array::from_data(TensorData::new(elements, shape.clone()), &shape, &Device::flex())?;
        Ok(Some((names.to_vec(), array)))
    }

    /// Each picture as numbers, on all cores.
    fn prepared(&self, files: &[PathBuf]) -> Vec<Result<TensorData, ModelError>> {
        let one = |path: &PathBuf| self.transform.apply(&Picture::open(path)?).map_err(|error| named(path, error));
        let threads = available_parallelism().map_or(1, usize::from);
        scope(|scope| {
            let share = |files| scope.spawn(move || files_of(files, one));
            let shares: Vec<_> = files.chunks(files.len().div_ceil(threads).max(1)).map(share).collect();
            shares
                .into_iter()
                .flat_map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Whether the network takes a picture of this shape.
    fn fits(&self, shape: &[usize]) -> Result<(), String> {
        let fits = |(length, &found): (&Length, &usize)| !matches!(length, Length::Exactly(length) if *length != found);
        if self.size.iter().zip(&shape[1..]).all(fits) {
            return Ok(());
        }
        let length = |length: &Length| match length {
            Length::Exactly(length) => length.to_string(),
            _ => "any".to_owned(),
        };
        let [height, width] = &self.size;
        Err(format!(
            "it goes to the network with {} x {} pixels (width x height), and the network takes {} x {}: see --resize, --crop and --preset",
            shape[2],
            shape[1],
            length(width),
            length(height)
        ))
    }

    /// The error of a batch, with its first file.
    pub(super) fn explained(&self, error: &ModelError, first: &str) -> Error {
        let more = if self.at_once > 1 { " and those after it" } else { "" };
        Error::invalid(format!("{first}{more}: {error}"))
    }
}

fn files_of<T>(files: &[PathBuf], one: impl Fn(&PathBuf) -> T) -> Vec<T> {
    files.iter().map(one).collect()
}

/// The error, of the file.
fn named(path: &Path, error: ModelError) -> ModelError {
    match error {
        ModelError::Picture { reason, .. } => ModelError::Picture { place: path.display().to_string(), reason },
        other => other,
    }
}
