//! The stream of pickles that `torch.save` wrote from PyTorch 0.1.10 to 1.5, and still writes with
//! `_use_new_zipfile_serialization=False`.
//!
//! | part | content |
//! |---|---|
//! | a pickle | the magic number |
//! | a pickle | the version of the protocol, 1001 |
//! | a pickle | a dict that describes the machine: byte order, sizes of C types |
//! | a pickle | the object; its persistent ids name storages and, in whole modules, classes |
//! | a pickle | the list of the storages' keys |
//! | for each key | how many elements (64 bits), then the elements; all little-endian, whatever the machine was |
//!
//! Reading takes the pickles; a storage is a slice of the file. What follows the last storage is left alone, as PyTorch does.

mod read;
mod storages;
mod write;

pub(super) use read::storage_in;
pub(crate) use read::{PICKLES, begins, end};
pub use read::{detect, read};
pub(super) use storages::Part;
pub(super) use write::ready;
pub use write::write;
