//! Burn modules and PyTorch's state dicts.
//!
//! With this crate every Burn [`Module`](burn::module::Module) has what PyTorch's `nn.Module` has: `state_dict()`,
//! `load_state_dict()` and `named_parameters()`, with PyTorch's names, shapes and order. What PyTorch saved loads into a module
//! of burn-nn's layers as it is, and what is saved here loads in PyTorch, strictly.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::conv::{Conv2d, Conv2dConfig};
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::Device;
//! use rekindle_burn::ModuleStateDict;
//! use rekindle_recorder::keys::LoadOptions;
//! use rekindle_recorder::{Checkpoint, Dict};
//!
//! #[derive(Module, Debug)]
//! struct Net {
//!     conv1: Conv2d,
//!     fc: Linear,
//! }
//!
//! # fn main() -> rekindle_recorder::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("net.pt");
//! let device = Device::flex();
//! let mut net = Net {
//!     conv1: Conv2dConfig::new([1, 8], [3, 3]).init(&device),
//!     fc: LinearConfig::new(8, 10).init(&device),
//! };
//! // torch.save({'model_state_dict': net.state_dict()}, path)
//! Checkpoint::from(Dict::from_iter([("model_state_dict", net.state_dict()?)])).save(&path)?;
//!
//! // net.load_state_dict(torch.load(path)['model_state_dict'])
//! let state_dict = Checkpoint::open(&path)?.state_dict("model_state_dict")?;
//! net.load_state_dict(&state_dict)?;
//! assert_eq!(state_dict.get("fc.weight").map(|weight| weight.shape()), Some(&[10, 8][..])); // [out, in], as in PyTorch
//!
//! // net.load_state_dict(..., strict=False), of a model that was saved out of DataParallel
//! let report = net.load_state_dict_with(&state_dict, &LoadOptions::lenient().strip_prefix("module."))?;
//! assert!(report.is_exact());
//! # Ok(())
//! # }
//! ```
//!
//! # What you need when
//!
//! | to | use |
//! |---|---|
//! | read and write state dicts of a module | [`ModuleStateDict`] |
//! | map keys, load a part, keep or adopt element types, freeze as the file says | [`LoadOptions`] |
//! | do what mmcv's `load_checkpoint` does, from a file, a URL or a name | [`load_checkpoint`] |
//! | know what loaded, what is missing, what is tied | [`LoadReport`](rekindle_recorder::LoadReport) |
//! | read and write PyTorch's files with `load_from` and `save_into`, as burn-store does | [`TorchStore`] |
//! | save a model with its configuration, and build it again with one call | [`save_with_config`], [`load_with_config`] |
//! | say how a layer of your own lies in PyTorch | [`LayerRows::with`] and a [`Row`] |
//! | move gradients, moments and masks between the two | [`NamedParameter::split`], [`NamedParameter::join`] |
//! | move one tensor | [`tensor_to_data`], [`data_to_tensor`]; without a copy [`shared_data`] |
//!
//! # How a layer lies
//!
//! A layer of burn-nn may hold other tensors than PyTorch's: a `Linear` is transposed, an `Lstm` keeps apart the gates that
//! PyTorch joins, a `BatchNorm` calls its weight `gamma`. A [`Row`] says so, as data; [`LayerRows`] holds the rows, by the names
//! of the structs, and its [`Default`] lists those of burn-nn. What has no row keeps its names and lies as it is, so a module of
//! one's own needs a row only where it departs from PyTorch's:
//!
//! ```
//! use rekindle_burn::{LayerRows, Part, Row};
//!
//! // class Scale(nn.Module): self.gain = nn.Parameter(...), whose Burn struct calls it `weight` and has it transposed.
//! let rows = LayerRows::default().with(Row::new("Scale").tensor("gain", Part::new("weight").transposed()));
//! ```
//!
//! # Options of loading
//!
//! | [`LoadOptions`] | in PyTorch |
//! |---|---|
//! | `strict()` | `load_state_dict(state_dict)`: every key on both sides, or an error that names them all |
//! | `lenient()` | `strict=False`: missing and unexpected keys are only reported |
//! | `strip_prefix`, `rename`, `subtree`, `include`, `exclude` | comprehensions over the keys |
//! | `skip_mismatched`, `partial` | what programs do by hand for a warm start |
//! | `adopt_dtype` | `assign=True`, as far as the type goes |
//! | `requires_grad_from_file` | a whole module, or `state_dict(keep_vars=True)`, that was partly frozen |
//!
//! # Tied weights
//!
//! Two fields that hold one `Param` (a clone of it: Burn's clones have its id) are one parameter: one tensor after every load,
//! once in `named_parameters()`, by its first name, and in the state dict under each name, on one storage. One of its names is
//! enough to load it; several must agree. A module that computes with one field twice has no second name for it: a file with both
//! loads all the same, and [`LayerRows::tied`] writes both.
//!
//! [`LoadOptions`]: rekindle_recorder::keys::LoadOptions

mod burn_nn;
mod config;
mod data;
mod fields;
#[cfg(feature = "flex")]
mod host;
mod layer_rows;
mod leaves;
mod load;
mod load_checkpoint;
mod matching;
mod module;
mod named;
mod store;
mod tensors;
mod tree;
mod value;

pub use config::{load_with_config, save_with_config};
pub use data::{data_to_tensor, shared_data, tensor_to_data};
pub use layer_rows::{LayerRows, Part, Role, Row, Shapes, Transform};
pub use leaves::SCALAR;
pub use load_checkpoint::{LoadCheckpointOptions, Loaded, Logger, load_checkpoint, load_checkpoint_with};
pub use module::ModuleStateDict;
pub use named::{NamedParameter, Piece};
pub use store::TorchStore;
