//! Files and folders on this machine: bytes that are mapped or read, files that are whole or not there, folders that are.

pub(crate) mod commit;
#[cfg(target_os = "linux")]
mod direct;
mod early;
mod file;
mod listing;
mod out;
mod ranges;
mod ready;
mod room;
pub(crate) mod staged;

pub use commit::commit;
pub(crate) use early::Expected;
pub use file::FileBytes;
#[cfg(feature = "fetch")]
pub(crate) use listing::is_same;
pub(crate) use listing::{is_below, list, list_all, names, read_steadily};
pub(crate) use out::Out;
pub use ranges::Ranges;
pub(crate) use ready::Ready;
pub(crate) use room::needs_room;
