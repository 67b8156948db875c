//! Pictures of runs: losses and learning rates over the steps, of several logs in one picture, and how far two of them are apart.
//!
//! - `chart.rs`: the panels.
//! - `canvas.rs`, `font.rs`: pixels and letters.

mod canvas;
mod chart;
mod font;

use std::path::{Path, PathBuf};

use plotters::drawing::IntoDrawingArea as _;
use plotters::prelude::SVGBackend;
use rekindle_recorder::IoResultExt as _;
use rekindle_recorder::io::commit;
use rekindle_train::log::LogLine;

use canvas::Canvas;

/// The log of a run, and what it is called in the picture.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Its lines, in the order of their steps.
    pub lines: Vec<LogLine>,
}

/// Why there is no picture.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The name of the file does not tell the format.
    #[error("{}: pictures are written as .svg or .png", .0.display())]
    Format(PathBuf),
    /// There is nothing to show.
    #[error("{}: there is no step with a finite loss to draw", .0.display())]
    Nothing(PathBuf),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] rekindle_recorder::Error),
    /// The picture cannot be drawn.
    #[error("{}: {reason}", path.display())]
    Draw {
        /// The file.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
}

rekindle_recorder::debug_is_display!(PlotError);

/// The size of a picture, in units of an SVG; of pixels there are twice as many in each direction.
const SIZE: (u32, u32) = (900, 700);
const PIXELS: u32 = 2;

/// Draws logs into a file, `.svg` or `.png`: the losses above, below them how far the losses of the second log and of later ones are from
/// the first's at the steps that both have, and the learning rates. A file that is there is replaced.
///
/// ```
/// use rekindle::plot::{Curve, plot};
/// use rekindle::train::log::LogLine;
///
/// let folder = tempfile::tempdir()?;
/// let line = |step: u32| LogLine { step: u64::from(step), loss: 1.0 / f64::from(step), lr: vec![0.1] };
/// let curve = Curve { name: "here".to_owned(), lines: (1..50).map(line).collect() };
/// plot(&[curve], folder.path().join("curve.svg"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the extension is another one, no loss is finite, or the file cannot be written.
pub fn plot(curves: &[Curve], path: impl AsRef<Path>) -> Result<(), PlotError> {
    let path = path.as_ref();
    let format = Picture::of(path)?;
    let failed = |reason: String| PlotError::Draw { path: path.to_owned(), reason };
    if !curves.iter().flat_map(|curve| &curve.lines).any(|line| line.loss.is_finite()) {
        return Err(PlotError::Nothing(path.to_owned()));
    }
    let bytes = match format {
        Picture::Svg => {
            let mut text = String::new();
            chart::draw(curves, &SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), 1).map_err(failed)?;
            text.into_bytes()
        }
        Picture::Png => {
            let size = (SIZE.0 * PIXELS, SIZE.1 * PIXELS);
            let mut pixels = vec![0; usize::try_from(size.0 * size.1 * 3).unwrap_or(0)];
            let area = Canvas { size, pixels: &mut pixels }.into_drawing_area();
            chart::draw(curves, &area, PIXELS).map_err(failed)?;
            drop(area);
            encoded(size, &pixels).map_err(|error| failed(error.to_string()))?
        }
    };
    let write = |file: &mut dyn std::io::Write| file.write_all(&bytes).doing("cannot write the picture");
    Ok(commit(path, true, write)?)
}

/// A format of pictures.
#[derive(Clone, Copy)]
enum Picture {
    Svg,
    Png,
}

impl Picture {
    fn of(path: &Path) -> Result<Self, PlotError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("svg") => Ok(Picture::Svg),
            Some("png") => Ok(Picture::Png),
            _ => Err(PlotError::Format(path.to_owned())),
        }
    }
}

/// Whether pictures can be written under this name.
///
/// # Errors
/// When its extension is neither `.svg` nor `.png`.
pub fn check_name(path: &Path) -> Result<(), PlotError> {
    Picture::of(path).map(drop)
}

fn encoded((width, height): (u32, u32), pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
