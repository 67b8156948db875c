//! Folders of `torch.distributed.checkpoint` (DCP): `.metadata`, a pickle that says what there is, and `.distcp` files, in
//! which each process put the parts of the state dict that it held. PyTorch runs both through `pickle.load`; here they are
//! data.
//!
//! **Value.** The nested dicts and lists that were saved, by the paths in `planner_data`, as `dcp_to_torch_save` puts them
//! together: keys that were numbers are strings, `OrderedDict`s are dicts. A checkpoint without paths is one dict of the
//! names. Tensors have the strides that they were saved with where one process held all of it, and are row-major otherwise.
//!
//! **Lazily.** Opening reads `.metadata`, and of the `.distcp` files the items that are no tensors. A tensor in one piece is a
//! slice of the mapped file; one in several is put together each time it is asked for, and not kept. That every element is in
//! one piece, and every piece in its file, is checked when the folder is opened.
//!
//! What Lightning and Megatron keep in the folder besides (`meta.pt`, `common.pt`) is read with it.
//!
//! The safetensors files that `HuggingFaceStorageWriter(save_distributed=True)` leaves, one for each process and no index, are read
//! in the same way.

mod beside;
mod describe;
mod extent;
mod item;
mod metadata;
mod nested;
mod places;
mod read;
mod shards;
mod write;

pub(super) use beside::{detect as detect_around, read_folder};
pub(crate) use metadata::METADATA;
pub(crate) use places::{Place, places};
pub use read::{detect, read};
pub(super) use read::{detect_folder, read_metadata};
pub(super) use shards::{detect_shards, read_shards};
pub(super) use write::TARGET;
pub use write::write;
