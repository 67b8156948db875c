//! Any Python object that a checkpoint can hold, as data: [`Value`], and among values the [`Tensor`], a typed, strided view of
//! a [`Storage`].

pub(crate) mod array;
pub(crate) mod array_type;
mod data;
mod dict;
mod dtype;
mod elements;
mod free;
pub(crate) mod identity;
mod key;
mod object;
pub mod rebuild;
pub(crate) mod shard;
mod storage;
pub mod tensor;
pub(crate) mod valid;
mod within;

pub use array::Array;
pub use data::{
    Construction, Contents, Device, Dict, DictData, DictKind, Global, Items, Key, List, Object, ObjectData, Shared,
    Tensor, Value,
};
pub use dtype::{DType, UnknownDType};
pub(crate) use elements::float_from_le;
pub(crate) use object::uninitialized;
pub use shard::Part;
pub(crate) use storage::Turned;
pub use storage::{Source, Storage};
pub use tensor::Element;
