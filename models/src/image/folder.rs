//! `ImageFolder`: pictures in a folder for each class, listed as torchvision lists them.

use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use rekindle_random::Generator;

use super::augment::Augment;
use super::picture::{Picture, refused};
use super::transform::ImageTransform;
use crate::{ModelError, Result};

/// The endings of files that torchvision takes for pictures.
const EXTENSIONS: [&str; 9] = [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// Those that are read here.
const READ: [&str; 4] = [".jpg", ".jpeg", ".png", ".webp"];

/// How deep folders may lie in each other: links may lead in a circle.
const DEPTH: usize = 40;

/// `torchvision.datasets.ImageFolder`: a folder of pictures for each class, `root/cat/1.jpg`. Classes are numbered in the order of their
/// folders' names, and samples are in torchvision's order, so that the places that a sampler draws are the same pictures.
///
/// ```no_run
/// use rekindle_models::image::{Augment, ImageFolder, ImageTransform};
/// use rekindle_random::Generator;
///
/// let folder = ImageFolder::open("cats-and-dogs/train")?
///     .augment(Augment::RandomResizedCrop { size: 224, scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) })
///     .augment(Augment::RandomHorizontalFlip { p: 0.5 })
///     .transform(ImageTransform::default().mean([0.485, 0.456, 0.406]).std([0.229, 0.224, 0.225]));
/// let (pictures, classes) = folder.batch(&[0, 1], &mut Generator::new(0))?; // [2, 3, 224, 224], [2]
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    samples: Vec<(PathBuf, usize)>,
    augment: Vec<Augment>,
    transform: ImageTransform,
}

impl ImageFolder {
    /// Lists a folder; no picture is read.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when it cannot be listed, has no folders in it or one without pictures, and when it holds pictures of
    /// formats that torchvision reads and that are not read here (PNG, JPEG and WebP are): leaving them out would give all others
    /// other places.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let mut classes = Vec::new();
        for entry in listed(root)? {
            if entry.path.is_dir() {
                classes.push(entry.name);
            }
        }
        classes.sort();
        if classes.is_empty() {
            return Err(wrong(root, "there is no folder in it, where one for each class is expected"));
        }
        let mut samples = Vec::new();
        for (class, name) in classes.iter().enumerate() {
            let mut folders = Vec::new();
            walk(&root.join(name), DEPTH, &mut folders)?;
            // As Python sorts paths: by their characters.
            folders.sort();
            let before = samples.len();
            for folder in folders {
                let mut names: Vec<Entry> = listed(&folder)?.into_iter().filter(|entry| !entry.path.is_dir()).collect();
                names.sort_by(|a, b| a.name.cmp(&b.name));
                for Entry { name, path } in names {
                    let lower = name.to_lowercase();
                    let ends = |known: &[&str]| known.iter().any(|extension| lower.ends_with(extension));
                    if ends(&EXTENSIONS) && !ends(&READ) {
                        let what =
                            "torchvision takes it for a sample, and PNG, JPEG and WebP alone are read here; convert it";
                        return Err(wrong(&path, what));
                    }
                    if ends(&READ) {
                        samples.push((path, class));
                    }
                }
            }
            if samples.len() == before {
                return Err(wrong(
                    &root.join(name),
                    "there is no picture in it, and torchvision wants one in each class",
                ));
            }
        }
        let root = root.to_owned();
        Ok(ImageFolder { root, classes, samples, augment: Vec::new(), transform: ImageTransform::default() })
    }

    /// What is done to each picture, at the end. Default: pixels from 0 to 1.
    #[must_use]
    pub fn transform(self, transform: ImageTransform) -> Self {
        ImageFolder { transform, ..self }
    }

    /// A random change of each picture, before the transform and after those that were said before.
    #[must_use]
    pub fn augment(mut self, augment: Augment) -> Self {
        self.augment.push(augment);
        self
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of the classes, in the order of their numbers.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The files and the numbers of their classes, in order: torchvision's `samples`.
    #[must_use]
    pub fn samples(&self) -> &[(PathBuf, usize)] {
        &self.samples
    }

    /// Whether pictures are changed at random.
    #[must_use]
    pub fn draws(&self) -> bool {
        !self.augment.is_empty()
    }

    /// The pictures at these places as `float32` of `[batch, channels, height, width]`, and their classes as `int64` of `[batch]`.
    ///
    /// # Errors
    /// When a place is beyond the last sample, a picture cannot be read or transformed, or they come out in several sizes.
    pub fn batch(&self, places: &[usize], generator: &mut Generator) -> Result<(TensorData, TensorData)> {
        let (mut pictures, mut classes) = (Vec::new(), Vec::new());
        for &place in places {
            let Some((path, class)) = self.samples.get(place) else {
                let count = self.samples.len();
                return Err(wrong(&self.root, format!("there is no sample {place}, counted from 0, of {count}")));
            };
            let changed = Picture::open(path).and_then(|picture| {
                self.augment.iter().try_fold(picture, |picture, one| one.apply(&picture, generator))
            });
            pictures.push(changed.map_err(|error| named(path, error))?);
            classes.push(i64::try_from(*class).unwrap_or(i64::MAX));
        }
        let batch = self.transform.batch(&pictures).map_err(|error| named(&self.root, error))?;
        Ok((batch, TensorData::new(classes, [places.len()])))
    }
}

/// What is in a folder.
struct Entry {
    name: String,
    path: PathBuf,
}

fn listed(folder: &Path) -> Result<Vec<Entry>> {
    let io = |error: std::io::Error| wrong(folder, format!("the folder cannot be listed: {error}"));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| wrong(folder, format!("the name {} is no text", name.display())))?;
        entries.push(Entry { name, path: entry.path() });
    }
    Ok(entries)
}

/// A folder and those in it.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth == 0 {
        return Err(wrong(folder, "folders lie too deep in each other; does a link lead in a circle?"));
    }
    found.push(folder.to_owned());
    for entry in listed(folder)? {
        if entry.path.is_dir() {
            walk(&entry.path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn wrong(path: &Path, reason: impl Into<String>) -> ModelError {
    refused(&path.display().to_string(), reason.into())
}

/// The error, of the file.
fn named(path: &Path, error: ModelError) -> ModelError {
    match error {
        ModelError::Picture { place, reason } if place.starts_with("the ") || place.starts_with("picture ") => {
            wrong(path, format!("{place}: {reason}"))
        }
        other => other,
    }
}
