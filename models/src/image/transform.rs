//! `ImageTransform`: what torchvision's transforms do to a picture on its way to a network.

use burn::tensor::TensorData;

use super::picture::{Picture, refused};
use super::resample::Interpolation;
use crate::Result;

/// A size in pixels: one number for the shorter side, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    /// Of [`ImageTransform::resize`] the shorter side, the longer following; of [`ImageTransform::crop`] both.
    Side(usize),
    /// Height and width.
    HeightWidth(usize, usize),
}

rekindle_recorder::from! { ImageSize:
    usize: side => ImageSize::Side(side);
    (usize, usize): (height, width) => ImageSize::HeightWidth(height, width);
}

/// Resizing, the crop of the centre, pixels from 0 to 1, and normalising, in this order. What is not asked for is left out; pixels
/// from 0 to 1 always are.
///
/// ```
/// use rekindle_models::image::{ImageTransform, Picture};
///
/// let picture = Picture::from_rgb(3, 2, vec![255; 18])?;
/// assert_eq!(ImageTransform::default().apply(&picture)?.shape().as_slice(), [3, 2, 3]);
/// assert_eq!(ImageTransform::imagenet().apply(&picture)?.shape().as_slice(), [3, 224, 224]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ImageTransform {
    resize: Option<ImageSize>,
    crop: Option<ImageSize>,
    interpolation: Interpolation,
    mean: Vec<f32>,
    std: Vec<f32>,
    grey: bool,
}

/// A transform by its name.
type Preset = (&'static str, fn() -> ImageTransform);

const PRESETS: &[Preset] = &[("imagenet", ImageTransform::imagenet)];

impl ImageTransform {
    /// torchvision's `ImageClassification(crop_size=224)`, by which its networks were trained: the shorter side 256 pixels,
    /// bilinear, the centre of 224 by 224, and the mean and deviation of `ImageNet`. (Some of its weights want other sizes, or
    /// `Interpolation::Bicubic`: each says so, in `weights.transforms()`.)
    #[must_use]
    pub fn imagenet() -> Self {
        ImageTransform::default().resize(256).crop(224).mean([0.485, 0.456, 0.406]).std([0.229, 0.224, 0.225])
    }

    /// The transform of this name; `None` where there is none.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        PRESETS.iter().find(|(known, _)| *known == name).map(|(_, make)| make())
    }

    /// The names of all presets.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// `Resize(size)`.
    #[must_use]
    pub fn resize(self, size: impl Into<ImageSize>) -> Self {
        ImageTransform { resize: Some(size.into()), ..self }
    }

    /// `CenterCrop(size)`: what is smaller lies in the middle of black.
    #[must_use]
    pub fn crop(self, size: impl Into<ImageSize>) -> Self {
        ImageTransform { crop: Some(size.into()), ..self }
    }

    /// How [`resize`](Self::resize) finds pixels between pixels.
    #[must_use]
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        ImageTransform { interpolation, ..self }
    }

    /// What is subtracted from pixels from 0 to 1: one number, or one for each channel; 0 where it is not given.
    #[must_use]
    pub fn mean(self, mean: impl IntoIterator<Item = f64>) -> Self {
        ImageTransform { mean: single(mean), ..self }
    }

    /// What they are then divided by; 1 where it is not given.
    #[must_use]
    pub fn std(self, std: impl IntoIterator<Item = f64>) -> Self {
        ImageTransform { std: single(std), ..self }
    }

    /// `Grayscale()` first: one channel.
    #[must_use]
    pub fn grey(self, grey: bool) -> Self {
        ImageTransform { grey, ..self }
    }

    /// The picture as `float32` numbers `[channels, height, width]`.
    ///
    /// # Errors
    /// [`ModelError::Picture`](crate::ModelError::Picture) when it cannot be brought to the size, a deviation is 0, or there are
    /// neither one nor as many means and deviations as channels.
    pub fn apply(&self, picture: &Picture) -> Result<TensorData> {
        let (elements, shape) = self.elements(picture)?;
        Ok(TensorData::new(elements, shape))
    }

    /// Pictures of one size, once they are transformed, as `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and when they are of several sizes, or none is there.
    pub fn batch(&self, pictures: &[Picture]) -> Result<TensorData> {
        let mut all = Vec::new();
        let mut size = None;
        for (index, picture) in pictures.iter().enumerate() {
            let (elements, shape) = self.elements(picture)?;
            let first = *size.get_or_insert(shape);
            if shape != first {
                let sizes = format!("{} x {} pixels, and the first {} x {}", shape[2], shape[1], first[2], first[1]);
                let reason = format!("it has {sizes}; resize and crop them to one size");
                return Err(refused(&format!("picture {index}"), reason));
            }
            all.extend(elements);
        }
        let Some([channels, height, width]) = size else {
            return Err(refused("the batch", "there are no pictures in it".to_owned()));
        };
        Ok(TensorData::new(all, [pictures.len(), channels, height, width]))
    }

    fn elements(&self, picture: &Picture) -> Result<(Vec<f32>, [usize; 3])> {
        let mut picture = if self.grey { picture.grey() } else { picture.clone() };
        if let Some(size) = self.resize {
            let (height, width) = resized_to(size, &picture);
            picture = picture.resized(width, height, self.interpolation)?;
        }
        if let Some(size) = self.crop {
            let (height, width) = match size {
                ImageSize::Side(side) => (side, side),
                ImageSize::HeightWidth(height, width) => (height, width),
            };
            picture = picture.cropped(width, height)?;
        }
        let channels = picture.channels();
        let (mean, std) = (of_channels(&self.mean, channels, "mean")?, of_channels(&self.std, channels, "std")?);
        if std.is_some_and(|std| std.contains(&0.0)) {
            return Err(refused("the picture", "it cannot be divided by a std of 0".to_owned()));
        }
        let mut elements = Vec::with_capacity(picture.pixels().len());
        for channel in 0..channels {
            let of = |of: Option<&[f32]>| of.and_then(|of| of.get(channel).or(of.first())).copied();
            let (mean, std) = (of(mean).unwrap_or(0.0), of(std).unwrap_or(1.0));
            let level = |&level: &u8| (f32::from(level) / 255.0 - mean) / std;
            elements.extend(picture.pixels().iter().skip(channel).step_by(channels).map(level));
        }
        Ok((elements, [channels, picture.height(), picture.width()]))
    }
}

fn single(numbers: impl IntoIterator<Item = f64>) -> Vec<f32> {
    #[allow(clippy::cast_possible_truncation)] // rounded, as torch.as_tensor does
    numbers.into_iter().map(|number| number as f32).collect()
}

/// The numbers of the channels, where there are any.
fn of_channels<'a>(numbers: &'a [f32], channels: usize, what: &str) -> Result<Option<&'a [f32]>> {
    match numbers.len() {
        0 => Ok(None),
        count if count == 1 || count == channels => Ok(Some(numbers)),
        count => Err(refused("the picture", format!("it has {channels} channels, and there are {count} of {what}"))),
    }
}

/// The height and width that `Resize(size)` makes.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of lengths, as there
fn resized_to(size: ImageSize, picture: &Picture) -> (usize, usize) {
    let (height, width) = (picture.height(), picture.width());
    match size {
        ImageSize::HeightWidth(height, width) => (height, width),
        ImageSize::Side(side) => {
            let (short, long) = (height.min(width), height.max(width));
            let long = (side.saturating_mul(long) as f64 / short.max(1) as f64) as usize;
            if width <= height { (long, side) } else { (side, long) }
        }
    }
}
