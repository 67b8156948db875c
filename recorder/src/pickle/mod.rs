//! Pickles, both ways, without executing anything: [`read`] turns the bytes of any protocol into a [`Value`](crate::Value),
//! [`write()`] turns a value into protocol 2, as PyTorch does, [`names`] lists what a pickle names,
//! whole or broken, and [`verdict`] says what Python would make of a name.

mod arena;
mod budget;
mod dangerous;
mod fill;
mod globals;
mod input;
mod known;
mod memo;
mod names;
mod numpy;
mod old;
mod opcodes;
mod output;
mod path;
mod persistent;
mod read;
mod reduce;
mod text;
mod torch;
mod write;

pub(crate) use arena::ById;
pub use globals::{Verdict, verdict};
pub use names::{Names, names};
pub use persistent::{Dialect, KeepIds, PersistentLoad, StorageId, storage_from_id};
pub use read::{Unpickled, read};
pub use write::{PickleOptions, Pickled, write};
