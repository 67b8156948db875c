//! State dicts of Burn modules, and Burn's own files, against what PyTorch and Burn wrote.

mod burn;
mod burnpack;
mod data;
#[path = "../layer_cases/mod.rs"]
mod layer_cases;
mod layers;
mod load;
mod load_checkpoint;
mod memory;
mod no_panics;
mod recipes;
mod rows;
mod tensors;
mod ties;
