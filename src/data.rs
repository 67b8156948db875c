//! Data sets of pictures for the loaders of [`train`](crate::train).

use rekindle_models::image;
use rekindle_random::Generator;
use rekindle_recorder::{Error, Result};
use rekindle_train::data::{Batch, Samples};

/// A folder of pictures as the loaders take it: `inputs` of `[batch, channels, height, width]`, `targets` of `[batch]`.
///
/// ```no_run
/// use rekindle::data::Pictures;
/// use rekindle::models::image::{ImageFolder, ImageTransform};
/// use rekindle::prelude::*;
///
/// let folder = ImageFolder::open("cats-and-dogs/train")?.transform(ImageTransform::imagenet());
/// let loader = DataLoader::new(Pictures::from(folder), 32)?.shuffle(true).workers(4);
/// # Ok::<(), rekindle::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pictures {
    folder: image::ImageFolder,
}

impl Pictures {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &image::ImageFolder {
        &self.folder
    }
}

impl From<image::ImageFolder> for Pictures {
    fn from(folder: image::ImageFolder) -> Self {
        Pictures { folder }
    }
}

impl Samples for Pictures {
    fn len(&self) -> usize {
        self.folder.samples().len()
    }

    fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<Batch> {
        let made = self.folder.batch(places, generator);
        let (pictures, classes) = made.map_err(|error| Error::invalid(error.to_string()))?;
        Batch::new(places, [("inputs", pictures), ("targets", classes)])
    }

    fn draws(&self) -> bool {
        self.folder.draws()
    }

    fn check_classes(&self, classes: usize) -> Result<()> {
        let there = self.folder.classes().len();
        if there <= classes {
            return Ok(());
        }
        let root = self.folder.root().display();
        Err(Error::invalid(format!("{root}: there are {there} classes, and the network tells {classes} apart")))
    }
}
