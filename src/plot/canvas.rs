//! `Canvas`: a picture of pixels that plotters draws on.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};

use super::font;

/// Red, green and blue of each pixel, row by row from the top.
pub(super) struct Canvas<'a> {
    pub(super) size: (u32, u32),
    pub(super) pixels: &'a mut [u8],
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// How many pixels a dot of a letter is wide, for letters of this size.
#[allow(clippy::cast_possible_truncation)] // a size of letters
fn dot(size: f64) -> i32 {
    (size / 14.0).round().max(1.0) as i32
}

/// How wide and high a text is.
fn extent(text: &str, size: f64) -> (i32, i32) {
    let letters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 64);
    ((letters.saturating_mul(font::WIDTH + 1) - 1).max(0).saturating_mul(dot(size)), font::HEIGHT * dot(size))
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return Ok(()) };
        if x >= self.size.0 || y >= self.size.1 {
            return Ok(());
        }
        let place = usize::try_from(y * self.size.0 + x).unwrap_or(usize::MAX).saturating_mul(3);
        let levels = <[u8; 3]>::from(color.rgb);
        for (pixel, level) in self.pixels.iter_mut().skip(place).zip(levels) {
            let mixed = f64::from(*pixel) * (1.0 - color.alpha) + f64::from(level) * color.alpha;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between two levels
            (*pixel = mixed.round() as u8);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let (width, height) = extent(text, style.size());
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Right => -width,
            HPos::Center => -width / 2,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let (dot, turn) = (dot(style.size()), style.transform());
        for (letter, number) in text.chars().zip(0..) {
            for (column, row) in font::dots(letter) {
                let (column, row) = ((number * (font::WIDTH + 1) + column) * dot + left, row * dot + top);
                for (dx, dy) in (0..dot).flat_map(|dx| (0..dot).map(move |dy| (dx, dy))) {
                    let (dx, dy) = turn.transform(column + dx, row + dy);
                    self.draw_pixel((x + dx, y + dy), style.color())?;
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let (width, height) = extent(text, style.size());
        Ok((u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0)))
    }
}
