//! `torch.export`: what `torch.export.save` writes (`.pt2`), in the layout of PyTorch 2.9 and later and in both before it.
//!
//! **Value.** An `OrderedDict` equal to `ExportedProgram.state_dict`: parameters and buffers in the file's order. Its attribute
//! `constants`, to be asked for by path like everything else (`constants.lifted_tensor_0`), has the program's constants: tensors
//! in its code, buffers that are no part of the state dict, objects. An archive of several programs is a dict of such dicts by
//! the programs' names.
//!
//! **Writing.** A program cannot be written, so weights go into a copy of an existing archive: [`replace`].

mod config;
mod document;
mod program;

pub use document::{ExportedProgram, programs};
pub(super) use program::{is_archive, read};
pub use program::{replace, write};
