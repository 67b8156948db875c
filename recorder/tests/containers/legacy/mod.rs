//! The formats before PyTorch 1.6: the stream of pickles and the tar archive, and a pickle by itself.

mod damage;
mod fixtures;
mod modules;
mod older;
mod pickle_file;
mod tar;
mod write;
