//! A real PyTorch opens what was written here, and what it wrote is opened here. `REKINDLE_TORCH` names a Python that has
//! torch; without it each test says that it was skipped.

mod dcp;
#[cfg(feature = "fetch")]
mod fetched;
mod roundtrip;
mod scripted;
mod tensors;
