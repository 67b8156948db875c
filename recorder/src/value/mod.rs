//! Any Python object that a checkpoint can hold, as data: [`Value`], and among values the [`Tensor`], a typed, strided view of
//! a [`Storage`].

mod dict;
mod dtype;
mod elements;
mod free;
mod key;
mod object;
pub mod rebuild;
mod storage;
pub mod tensor;

pub use dict::{Dict, DictData, DictKind};
pub use dtype::{DType, UnknownDType};
pub use free::Contents;
pub use key::Key;
pub use object::{Construction, Device, Global, Items, List, Object, ObjectData, Shared, Value};
pub use storage::{Source, Storage};
pub use tensor::{Element, Tensor};
