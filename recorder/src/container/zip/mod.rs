//! Zip archives: what `torch.save` writes since PyTorch 1.6.
//!
//! - [`Archive`]: records of any zip file, looked up by name, checked and unpacked.
//! - [`detect`], [`write()`]: a checkpoint in one; [`container::read`](crate::container::read) tells it from other formats that are
//!   zip archives.

mod archive;
mod directory;
mod fields;
mod inflate;
pub(super) mod labels;
mod patch;
mod record;
mod salvage;
mod storages;
mod torch;
mod unpacked;
mod writer;

pub use archive::Archive;
pub(super) use patch::patch;
pub use record::Record;
pub(crate) use salvage::{archives, ends_as_archive, salvage};
pub(super) use storages::Storages;
pub use torch::{detect, write};
pub(super) use torch::{is_archive, read, ready_for_stream, write_letting_go, write_records};
pub(super) use unpacked::{is_unpacked, open as open_unpacked};
pub use writer::ArchiveWriter;
