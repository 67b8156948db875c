//! The formats before PyTorch 1.6: the stream of pickles and the tar archive, and a pickle by itself.

#[path = "../conformance/mod.rs"]
mod conformance;
mod damage;
mod fixtures;
mod modules;
mod older;
mod pickle_file;
mod tar;
mod write;
