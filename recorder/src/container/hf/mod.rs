//! Hugging Face's folders: `model.safetensors`, or shards `model-00001-of-00002.safetensors` and an index that says where each
//! tensor is; the same as `pytorch_model.bin`, by `torch.save`. Read and written as transformers' `save_pretrained` and
//! `huggingface_hub` do. Variants (`model.fp16.safetensors`) where there is no plain one.
//!
//! **Value.** Of shards, an `OrderedDict` of tensors in the order of the index's `weight_map`. Texts and numbers of the index's
//! metadata, and the shards' `__metadata__`, are its attribute `__metadata__`; `total_size` is not kept, since the
//! writer counts anew. Tied weights that only the metadata names are put back (see [`safetensors`](crate::container::safetensors)). Of a single file,
//! what the file holds.
//!
//! **Shards.** Filled in the order of the state dict, as
//! `huggingface_hub.split_torch_state_dict_into_shards` does: a tensor counts as its whole storage, tensors of one storage
//! stay together, one larger than a shard has a shard of its own. What fits one shard is a single file without an index.

mod agree;
mod index;
mod names;
mod read;
mod split;
mod write;

pub use names::detect_name;
pub(crate) use names::detect_shards;
pub use read::detect;
pub(crate) use read::{Place, read, read_index, read_index_of_ranges, shards, weight_map};
pub use split::{DEFAULT_SHARD_SIZE, parse_size};
pub use write::{ShardFormat, ShardOptions, write, write_shards};
