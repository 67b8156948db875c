//! Where a checkpoint's bytes come from: files on this machine, mapped into memory, and buffers.

mod file;

pub use file::FileBytes;
