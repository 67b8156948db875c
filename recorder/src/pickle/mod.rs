//! Pickles, both ways, without executing anything: [`read`] turns the bytes of any protocol into a [`Value`](crate::Value),
//! [`write`] turns a value into protocol 2, as PyTorch does, and [`verdict`] says what Python would do with a name.

mod arena;
mod budget;
mod globals;
mod input;
mod known;
mod opcodes;
mod persistent;
mod read;
mod text;
mod torch;
mod write;

pub use globals::{Verdict, verdict};
pub use persistent::{Dialect, KeepIds, PersistentLoad, StorageId, storage_from_id};
pub use read::{Unpickled, read};
pub use write::{PickleOptions, Pickled, write};
