//! Burn modules and PyTorch's state dicts.
//!
//! [`ModuleStateDict`] gives every Burn module `state_dict()`, `load_state_dict()` and `named_parameters()` with PyTorch's
//! names, shapes and order. How a layer of burn-nn lies in PyTorch is a [`Row`] of a [`LayerRows`]: data, to which users add
//! rows for their own layers. The same rows move an optimizer's moments ([`NamedParameter::split`], [`NamedParameter::join`]).

mod burn_nn;
mod config;
mod data;
mod fields;
mod layer_rows;
mod leaves;
mod load;
mod matching;
mod module;
mod named;
mod store;
mod tree;

pub use config::{load_with_config, save_with_config};
pub use data::{data_to_tensor, tensor_to_data};
pub use layer_rows::{LayerRows, Part, Role, Row, Shapes, Transform};
pub use module::ModuleStateDict;
pub use named::{NamedParameter, Piece};
pub use store::TorchStore;
