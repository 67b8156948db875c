//! Pickles, both ways, without executing anything: [`read`] turns the bytes of any protocol into a [`Value`](crate::Value),
//! [`write()`] turns a value into protocol 2, as PyTorch does, [`names`] lists what a pickle names,
//! whole or broken, and [`verdict`] says what Python would make of a name.

pub(crate) mod begins;
mod calls;
mod memo;
mod names;
mod opcodes;
mod persistent;
mod read;
mod text;
mod text_id;
mod write;

pub use names::{Inner, InnerBytes, Names, Use, Verdict, names, verdict, verdict_of_use};
pub use persistent::{Dialect, KeepIds, PersistentLoad, StorageId, storage_from_id};
pub use read::{Unpickled, read};
pub use write::{PickleOptions, Pickled, write};
