//! NumPy: `.npy` holds one array, `.npz` is a zip archive of them.
//!
//! **Value.** An `.npy` file is a tensor, an `.npz` file an `OrderedDict` of tensors in the order of the archive. An array in
//! Fortran's order is a tensor with such strides. Elements of the other byte order are turned when they are read. Arrays of
//! text, dates, records and Python objects have no tensor; the error names the array.
//!
//! **Writing.** Arrays are written as `np.savez` writes them, uncompressed, in the order of the state dict; column-major tensors
//! keep their order. NumPy has no bfloat16 and no 8-bit floats: cast them first.

mod header;
mod literal;
mod read;
mod write;

pub(crate) use read::data_start;
pub use read::{detect, read};
pub(super) use read::{is_archive, read_archive};
pub(super) use write::NPZ;
pub(super) use write::ready;
pub use write::write;
