//! Files of pictures, each by its own decoder, as red, green and blue of eight bits.

use std::io::{BufRead, Read as _, Seek};

use image_webp::WebPDecoder;
use png::{BitDepth, ColorType, Transformations};
use zune_bmp::BmpDecoder;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub(super) const NO_PICTURE: &str = "it is no picture that can be read";

/// The memory that one picture may take before it is decoded.
const MAX_BYTES: usize = 1 << 30;

/// A file whose beginning has been read.
pub(super) struct Coded<R: BufRead + Seek> {
    pub(super) width: usize,
    pub(super) height: usize,
    decoder: Decoder<R>,
}

enum Decoder<R: BufRead + Seek> {
    Png(Box<png::Reader<R>>),
    Jpeg(Box<JpegDecoder<R>>),
    WebP(Box<WebPDecoder<R>>),
    Bmp(Box<BmpDecoder<R>>),
}

/// The first bytes of each format.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";
const RIFF: &[u8] = b"RIFF";
const WEBP: &[u8] = b"WEBP";
const BMP: &[u8] = b"BM";

impl<R: BufRead + Seek> Coded<R> {
    /// Reads the beginning of a file.
    pub(super) fn open(mut file: R) -> Result<Self, String> {
        let mut begin = Vec::new();
        let read = file.by_ref().take(16).read_to_end(&mut begin).and_then(|_| file.rewind());
        read.map_err(|error| format!("the picture cannot be read: {error}"))?;
        let wrong = |error: &dyn std::fmt::Display| format!("{NO_PICTURE}: {error}");
        if begin.starts_with(PNG) {
            let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: MAX_BYTES });
            decoder.set_transformations(Transformations::EXPAND);
            let reader = decoder.read_info().map_err(|error| wrong(&error))?;
            let (width, height) = (reader.info().width as usize, reader.info().height as usize);
            Ok(Coded { width, height, decoder: Decoder::Png(Box::new(reader)) })
        } else if begin.starts_with(JPEG) {
            let options =
                DecoderOptions::default().set_max_width(1 << 16).set_max_height(1 << 16).set_strict_mode(false);
            let mut decoder = JpegDecoder::new_with_options(file, options);
            decoder.decode_headers().map_err(|error| wrong(&error))?;
            let space = match decoder.input_colorspace() {
                Some(ColorSpace::Luma) => ColorSpace::Luma,
                _ => ColorSpace::RGB,
            };
            decoder.set_options(options.jpeg_set_out_colorspace(space));
            let (width, height) = decoder.dimensions().ok_or_else(|| wrong(&"it has no size"))?;
            Ok(Coded { width, height, decoder: Decoder::Jpeg(Box::new(decoder)) })
        } else if begin.starts_with(RIFF) && begin.get(8..12) == Some(WEBP) {
            let mut decoder = WebPDecoder::new(file).map_err(|error| wrong(&error))?;
            decoder.set_memory_limit(MAX_BYTES);
            let (width, height) = decoder.dimensions();
            let (width, height) = (width as usize, height as usize);
            Ok(Coded { width, height, decoder: Decoder::WebP(Box::new(decoder)) })
        } else if begin.starts_with(BMP) {
            let options = DecoderOptions::default().set_max_width(1 << 16).set_max_height(1 << 16);
            let mut decoder = BmpDecoder::new_with_options(file, options);
            decoder.decode_headers().map_err(|error| wrong(&format!("{error:?}")))?;
            let (width, height) = decoder.dimensions().ok_or_else(|| wrong(&"it has no size"))?;
            Ok(Coded { width, height, decoder: Decoder::Bmp(Box::new(decoder)) })
        } else {
            Err(wrong(&"PNG, JPEG, WebP and BMP are read, and it is none of them"))
        }
    }

    /// Its pixels.
    pub(super) fn rgb(self) -> Result<Vec<u8>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{NO_PICTURE}: {error}");
        match self.decoder {
            Decoder::Png(mut reader) => {
                let size = reader.output_buffer_size().filter(|&size| size <= MAX_BYTES);
                let mut pixels = vec![0; size.ok_or_else(|| wrong(&"it is too large"))?];
                reader.next_frame(&mut pixels).map_err(|error| wrong(&error))?;
                Ok(of_png(&pixels, reader.output_color_type(), reader.info().color_type))
            }
            Decoder::Jpeg(mut decoder) => {
                let pixels = decoder.decode().map_err(|error| wrong(&error))?;
                let grey = decoder.output_colorspace() == Some(ColorSpace::Luma);
                Ok(if grey { pixels.into_iter().flat_map(|level| [level; 3]).collect() } else { pixels })
            }
            Decoder::WebP(mut decoder) => {
                let size = decoder.output_buffer_size().filter(|&size| size <= MAX_BYTES);
                let mut pixels = vec![0; size.ok_or_else(|| wrong(&"it is too large"))?];
                decoder.read_image(&mut pixels).map_err(|error| wrong(&error))?;
                Ok(if decoder.has_alpha() { firsts(&pixels, 4, 3) } else { pixels })
            }
            Decoder::Bmp(mut decoder) => {
                if decoder.output_buf_size().is_none_or(|size| size > MAX_BYTES) {
                    return Err(wrong(&"it is too large"));
                }
                let pixels = decoder.decode().map_err(|error| wrong(&format!("{error:?}")))?;
                Ok(match decoder.colorspace().map(|space| space.num_components()) {
                    Some(1) => pixels.into_iter().flat_map(|level| [level; 3]).collect(),
                    Some(4) => firsts(&pixels, 4, 3),
                    _ => pixels,
                })
            }
        }
    }
}

/// PNG's pixels, which are no longer fewer than eight bits or a palette's numbers.
fn of_png(pixels: &[u8], (colour, depth): (ColorType, BitDepth), in_file: ColorType) -> Vec<u8> {
    let samples = colour.samples();
    let eight: Vec<u8> = match depth {
        // Pillow keeps grey of 16 bits as numbers, and cuts them at the greatest of eight bits; of all else it takes the upper half.
        BitDepth::Sixteen if in_file == ColorType::Grayscale => {
            pixels.chunks_exact(2).map(|level| if level[0] > 0 { u8::MAX } else { level[1] }).collect()
        }
        BitDepth::Sixteen => firsts(pixels, 2, 1),
        _ => pixels.to_vec(),
    };
    match samples {
        1 | 2 => eight.chunks_exact(samples).flat_map(|pixel| [pixel[0]; 3]).collect(),
        _ => firsts(&eight, samples, 3),
    }
}

/// The first `kept` of each `of` bytes.
fn firsts(bytes: &[u8], of: usize, kept: usize) -> Vec<u8> {
    bytes.chunks_exact(of).flat_map(|chunk| chunk.iter().take(kept).copied()).collect()
}
