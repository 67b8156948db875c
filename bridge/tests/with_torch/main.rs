//! A real PyTorch takes the state dicts of Burn modules. `REKINDLE_TORCH` names a Python that has torch; without it each test
//! says that it was skipped.

#[path = "../layer_cases/mod.rs"]
mod layer_cases;
mod layers;
