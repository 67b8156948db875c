//! How pictures are made a network's inputs, as flags and settings say it.

use rekindle::models::image::{ImageSize, ImageTransform};

use super::answer::{Anything, usage};

/// What is said of it; nothing where nothing is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preparation<'a> {
    pub(super) preset: Option<&'a str>,
    pub(super) resize: Option<ImageSize>,
    pub(super) crop: Option<ImageSize>,
    pub(super) mean: &'a [f64],
    pub(super) std: &'a [f64],
}

impl Preparation<'_> {
    /// The preset, with what is said besides in the place of its own.
    pub(super) fn transform(self) -> Anything<ImageTransform> {
        let mut transform = match self.preset {
            Some(name) => ImageTransform::preset(name).ok_or_else(|| {
                let names = ImageTransform::presets().collect::<Vec<_>>().join(", ");
                usage(format!("there is no preset '{name}'; there is {names}"))
            })?,
            None => ImageTransform::default(),
        };
        if let Some(size) = self.resize {
            transform = transform.resize(size);
        }
        if let Some(size) = self.crop {
            transform = transform.crop(size);
        }
        if !self.mean.is_empty() {
            transform = transform.mean(self.mean.iter().copied());
        }
        if !self.std.is_empty() {
            transform = transform.std(self.std.iter().copied());
        }
        Ok(transform)
    }
}

/// `N`, or `H,W`.
pub(super) fn size(text: &str) -> Result<ImageSize, String> {
    let length = |text: &str| text.trim().parse::<usize>().ok().filter(|&length| length > 0);
    let size = match text.split_once(',') {
        Some((height, width)) => length(height).zip(length(width)).map(ImageSize::from),
        None => length(text).map(ImageSize::from),
    };
    size.ok_or_else(|| "a number of pixels is expected, or a height and a width such as 224,320".to_owned())
}
