//! safetensors: a JSON header and the tensors' bytes, nothing else. Read and written by the rules of the safetensors crate
//! 0.8, which are those of its Python package too.
//!
//! **Value.** A file is an `OrderedDict` of tensors in the order of the header (files of the crate have one order
//! for header and data, which is the order of `load_file`). `__metadata__` is an attribute of that dict, a dict of texts
//! under the same name, and is written back from there; `format: pt` is added where no format is given.
//!
//! **Layout.** Tensors lie as the crate lays them out: larger element types first, then by name. The header names them
//! in the order of the state dict, so that it comes back.
//!
//! **Ties.** The format has no shared memory. Of tensors that show the same elements of one storage, the first in
//! the state dict is written, and `__metadata__` maps each other name to it, as `save_model` and `huggingface_hub` do; where
//! they are not the last of the state dict, `rekindle.places` tells their places. Reading puts them back on one
//! storage. Tensors that overlap in any other way become copies, and the report names them.

mod header;
mod read;
mod ties;
mod write;

pub(super) use header::FORMAT;
pub use read::{detect, read};
pub(super) use read::{read_ranges, read_tensors, read_tensors_of_ranges};
pub(super) use ties::{record as record_ties, restore as restore_ties};
pub(super) use write::ready;
pub use write::write;
pub(super) use write::{File, TARGET};
