//! burnpack (`.bpk`), the container of Burn 0.19 and later: module records, optimizer and scheduler records.
//!
//! A file is an `OrderedDict`: the tensors by name in the order in which their bytes lie, then the scalars. Bytes stay in the
//! file until they are asked for. What a dict of tensors has no place for is kept in the dict's attributes, so that a file
//! that is read and written again has the same bytes:
//!
//! - `__metadata__`: the file's texts, a dict of `str`.
//! - `_burnpack`: a dict that holds, where there are any, `param_ids` (name -> the number that Burn knows the parameter by),
//!   `dtypes` (name -> Burn's type, where it is not the one that PyTorch's type is written as: `Flex32`, `Bool(U8)`,
//!   `Bool(U32)`) and `signed` (the names of scalars that are not negative and still of Burn's signed kind).
//!
//! There are no checksums in the format. A quantised tensor has no counterpart in PyTorch that could hold it without loss:
//! it is an error that names it.

mod attributes;
mod budget;
mod dtype;
mod header;
mod read;
mod write;

pub(super) use attributes::{ATTRIBUTE, PARAM_IDS};
pub(super) use budget::Budget;
pub(super) use dtype::BurnType;
pub use read::{detect, read};
pub(super) use read::{from_bytes, quantised};
pub(super) use write::TARGET;
pub(super) use write::ready;
pub use write::write;
