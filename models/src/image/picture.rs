//! `Picture`: pixels of eight bits, as Pillow's `Image.open(path).convert("RGB")` gives them.

use std::io::{BufReader, Cursor};
use std::path::Path;

use super::decode::{Coded, NO_PICTURE};
use super::resample::{Interpolation, resized};
use crate::{ModelError, Result};

/// The pixels that one picture may have after resizing.
const MAX_PIXELS: usize = 1 << 28;

/// Pixels of eight bits a channel, row by row from the top, the channels of a pixel beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Reads a file (PNG, JPEG, WebP or BMP) as red, green and blue.
    ///
    /// As in torchvision, an orientation or colour profile in the file is not applied, and what is transparent is dropped. Grey of 16
    /// bits is cut at 255 as Pillow cuts it; colours of 16 bits lose their lower half.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when the file cannot be read, or is no picture of these formats.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |reason: String| refused(&path.display().to_string(), reason);
        let bytes = std::fs::read(path).map_err(|error| wrong(format!("the picture cannot be read: {error}")))?;
        decode(&bytes).map_err(wrong)
    }

    /// The width and height of the picture in a file, of which only the beginning is read.
    ///
    /// # Errors
    /// As [`open`](Self::open), as far as the beginning tells.
    pub fn size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
        let path = path.as_ref();
        let wrong = |reason: String| refused(&path.display().to_string(), reason);
        let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?.is_dir(), file)));
        let (is_folder, file) = opened.map_err(|error| wrong(format!("the picture cannot be read: {error}")))?;
        if is_folder {
            return Err(wrong("it is a folder, and no picture".to_owned()));
        }
        Coded::open(BufReader::new(file)).map(|coded| (coded.width, coded.height)).map_err(wrong)
    }

    /// As [`open`](Self::open), of a file's bytes.
    ///
    /// # Errors
    /// As there.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        decode(bytes).map_err(|reason| refused("the picture", reason))
    }

    /// Red, green and blue of each pixel, row by row.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when there are not three bytes for each pixel, or no pixels.
    pub fn from_rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let wanted = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
        if wanted != Some(pixels.len()) || pixels.is_empty() {
            let reason = format!("{width} x {height} pixels of red, green and blue are not {} bytes", pixels.len());
            return Err(refused("the picture", reason));
        }
        Ok(Picture { width, height, channels: 3, pixels })
    }

    /// Its width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// 3 for red, green and blue, 1 for grey.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Its pixels, row by row from the top, the channels of a pixel beside each other.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// As Pillow's `convert("L")`: one channel of grey, ITU-R 601-2 luma.
    #[must_use]
    pub fn grey(&self) -> Self {
        if self.channels == 1 {
            return self.clone();
        }
        let luma = |rgb: &[u8]| {
            let weights = [19595u32, 38470, 7471];
            let sum: u32 = rgb.iter().zip(weights).map(|(&level, weight)| u32::from(level) * weight).sum();
            u8::try_from((sum + 0x8000) >> 16).unwrap_or(u8::MAX)
        };
        Picture { channels: 1, pixels: self.pixels.chunks_exact(3).map(luma).collect(), ..*self }
    }

    /// As Pillow's `resize((width, height), ...)`.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when a length is 0, or the picture would have more than 2^28 pixels.
    pub fn resized(&self, width: usize, height: usize, interpolation: Interpolation) -> Result<Self> {
        let pixels = width.saturating_mul(height).max(width.saturating_mul(self.height));
        if width == 0 || height == 0 || pixels > MAX_PIXELS {
            let from = format!("{} x {} pixels", self.width, self.height);
            return Err(refused("the picture", format!("{from} cannot be resized to {width} x {height}")));
        }
        let pixels = resized(&self.pixels, (self.width, self.height), (width, height), self.channels, interpolation);
        Ok(Picture { width, height, channels: self.channels, pixels })
    }

    /// Left and right change places: torchvision's `hflip`.
    #[must_use]
    pub fn flipped(&self) -> Self {
        let row = |row: &[u8]| row.chunks_exact(self.channels).rev().flatten().copied().collect::<Vec<u8>>();
        let pixels = self.pixels.chunks_exact(self.width * self.channels).flat_map(row).collect();
        Picture { pixels, ..*self }
    }

    /// With black of so many pixels at each side: torchvision's `pad`.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when it would have more than 2^28 pixels.
    pub fn padded(&self, padding: usize) -> Result<Self> {
        let wider = |length: usize| padding.saturating_mul(2).saturating_add(length);
        self.cropped(wider(self.width), wider(self.height))
    }

    /// A part of the picture, from this column and row on: torchvision's `crop` inside the picture.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when it is not inside, or has no pixels.
    pub fn part(&self, left: usize, top: usize, width: usize, height: usize) -> Result<Self> {
        let fits = |from: usize, length: usize, all: usize| from.checked_add(length).is_some_and(|end| end <= all);
        if width == 0 || height == 0 || !fits(left, width, self.width) || !fits(top, height, self.height) {
            let whole = format!("{} x {} pixels", self.width, self.height);
            return Err(refused(
                "the picture",
                format!("{whole} have no part of {width} x {height} from {left}, {top} on"),
            ));
        }
        let mut pixels = Vec::with_capacity(width * height * self.channels);
        for row in self.pixels.chunks_exact(self.width * self.channels).skip(top).take(height) {
            pixels.extend(row.iter().skip(left * self.channels).take(width * self.channels));
        }
        Ok(Picture { width, height, channels: self.channels, pixels })
    }

    /// As torchvision's `center_crop`: what is smaller lies in the middle of black.
    ///
    /// # Errors
    /// [`ModelError::Picture`] when a length is 0, or the picture would have more than 2^28 pixels.
    pub fn cropped(&self, width: usize, height: usize) -> Result<Self> {
        if width == 0 || height == 0 || width.saturating_mul(height) > MAX_PIXELS {
            return Err(refused("the picture", format!("it cannot be cropped to {width} x {height}")));
        }
        let (left, before) = place(self.width, width);
        let (top, above) = place(self.height, height);
        let mut pixels = vec![0; width * height * self.channels];
        let (from, to) = (self.width * self.channels, width * self.channels);
        let (left, before) = (left * self.channels, before * self.channels);
        let kept = from.min(to);
        for y in 0..self.height.min(height) {
            let (source, target) = ((y + top) * from + left, (y + above) * to + before);
            pixels[target..target + kept].copy_from_slice(&self.pixels[source..source + kept]);
        }
        Ok(Picture { width, height, channels: self.channels, pixels })
    }
}

/// Where a crop begins in a line of pixels, and how many black ones come before it.
fn place(length: usize, crop: usize) -> (usize, usize) {
    match length.checked_sub(crop) {
        // Half of what is left over, and a half goes to the even number, as Python's `round` has it.
        Some(rest) => (rest / 2 + usize::from(rest % 4 == 3), 0),
        None => (0, (crop - length) / 2),
    }
}

pub(super) fn refused(place: &str, reason: String) -> ModelError {
    ModelError::Picture { place: place.to_owned(), reason }
}

fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let coded = Coded::open(Cursor::new(bytes))?;
    let (width, height) = (coded.width, coded.height);
    let pixels = coded.rgb()?;
    Picture::from_rgb(width, height, pixels).map_err(|error| format!("{NO_PICTURE}: {error}"))
}
