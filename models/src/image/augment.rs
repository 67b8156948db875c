//! `Augment`: torchvision's random transforms, which draw the very numbers that torchvision's draw.

use rekindle_random::{Generator, rand, randint, uniform_};

use super::picture::{Picture, refused};
use super::resample::Interpolation;
use crate::Result;

/// A random change of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Augment {
    /// `RandomHorizontalFlip(p)`: left and right change places with this probability, for which one number is drawn.
    RandomHorizontalFlip {
        /// The probability.
        p: f64,
    },
    /// `RandomCrop(size, padding)`: a square of this side, after black of so many pixels was put around.
    RandomCrop {
        /// The side, in pixels.
        size: usize,
        /// Black pixels at each side.
        padding: usize,
    },
    /// `RandomResizedCrop(size, scale, ratio)`: a part of the picture, resized to a square of this side, bilinear.
    RandomResizedCrop {
        /// The side, in pixels.
        size: usize,
        /// The least and the greatest part of the area. torchvision's default: `(0.08, 1.0)`.
        scale: (f64, f64),
        /// The least and the greatest width for a height of 1. torchvision's default: `(3.0 / 4.0, 4.0 / 3.0)`.
        ratio: (f64, f64),
    },
}

/// How often a part is drawn before the middle is taken.
const TRIES: usize = 10;

impl Augment {
    /// The changed picture.
    ///
    /// # Errors
    /// [`ModelError::Picture`](crate::ModelError::Picture) when the picture is smaller than a crop, a size is 0, or a range runs
    /// backwards.
    pub fn apply(self, picture: &Picture, generator: &mut Generator) -> Result<Picture> {
        match self {
            Augment::RandomHorizontalFlip { p } => {
                let drawn = rand::<f32>(generator, 1).first().copied().unwrap_or_default();
                // Compared as PyTorch compares a float32 tensor with a Python number: in float32.
                #[allow(clippy::cast_possible_truncation)]
                let flips = drawn < p as f32;
                Ok(if flips { picture.flipped() } else { picture.clone() })
            }
            Augment::RandomCrop { size, padding } => {
                let padded = picture.padded(padding)?;
                let (height, width) = (padded.height(), padded.width());
                if size == 0 || size > height || size > width {
                    let reason = format!("{width} x {height} pixels are too few for a crop of {size} x {size}");
                    return Err(refused("the picture", reason));
                }
                let [top, left] = if (height, width) == (size, size) {
                    [0, 0]
                } else {
                    [below(height - size + 1, generator)?, below(width - size + 1, generator)?]
                };
                padded.part(left, top, size, size)
            }
            Augment::RandomResizedCrop { size, scale, ratio } => {
                let [left, top, width, height] = resized_crop(picture, scale, ratio, generator)?;
                picture.part(left, top, width, height)?.resized(size, size, Interpolation::Bilinear)
            }
        }
    }
}

/// `torch.randint(0, high, (1,))`.
fn below(high: usize, generator: &mut Generator) -> Result<usize> {
    let wrong = || refused("the picture", "it has too many pixels".to_owned());
    let high = i64::try_from(high).map_err(|_| wrong())?;
    let drawn = randint(generator, 0, high, 1).ok().and_then(|drawn| usize::try_from(*drawn.first()?).ok());
    drawn.ok_or_else(wrong)
}

/// `torch.empty(1).uniform_(from, to)`.
fn uniform(from: f64, to: f64, generator: &mut Generator) -> Result<f32> {
    let mut drawn = [0.0_f32];
    let done = uniform_(generator, &mut drawn, from, to);
    done.map_err(|error| refused("the picture", format!("a crop cannot be drawn: {error}")))?;
    Ok(drawn[0])
}

/// `RandomResizedCrop.get_params`: left, top, width and height.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of lengths, as there
fn resized_crop(
    picture: &Picture,
    scale: (f64, f64),
    ratio: (f64, f64),
    generator: &mut Generator,
) -> Result<[usize; 4]> {
    let (height, width) = (picture.height(), picture.width());
    let area = (height * width) as f64;
    let log = |x: f64| f64::from((x as f32).ln());
    let rounded = |x: f64| x.round_ties_even() as usize;
    for _ in 0..TRIES {
        let target = area * f64::from(uniform(scale.0, scale.1, generator)?);
        let aspect = f64::from(uniform(log(ratio.0), log(ratio.1), generator)?.exp());
        let (w, h) = (rounded((target * aspect).sqrt()), rounded((target / aspect).sqrt()));
        if 0 < w && w <= width && 0 < h && h <= height {
            let top = below(height - h + 1, generator)?;
            let left = below(width - w + 1, generator)?;
            return Ok([left, top, w, h]);
        }
    }
    // The middle.
    let there = width as f64 / height as f64;
    let (w, h) = if there < ratio.0.min(ratio.1) {
        (width, rounded(width as f64 / ratio.0.min(ratio.1)))
    } else if there > ratio.0.max(ratio.1) {
        (rounded(height as f64 * ratio.0.max(ratio.1)), height)
    } else {
        (width, height)
    };
    Ok([(width - w.min(width)) / 2, (height - h.min(height)) / 2, w.min(width), h.min(height)])
}
