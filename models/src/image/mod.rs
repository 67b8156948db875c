//! Pictures as torchvision prepares them: a file becomes the pixels that Pillow reads, and an [`ImageTransform`] makes of them
//! the numbers that torchvision's `transforms` make, bit for bit. (Decoders of JPEG differ among each other by a level or two.)
//!
//! ```no_run
//! use rekindle_models::image::{ImageTransform, Picture};
//!
//! let x = ImageTransform::imagenet().apply(&Picture::open("cat.png")?)?; // [3, 224, 224]
//! # Ok::<(), rekindle_models::ModelError>(())
//! ```

mod augment;
mod decode;
mod folder;
mod picture;
mod resample;
mod transform;

pub use augment::Augment;
pub use folder::ImageFolder;
pub use picture::Picture;
pub use resample::Interpolation;
pub use transform::{ImageSize, ImageTransform};
