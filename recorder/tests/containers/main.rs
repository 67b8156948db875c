//! Every container, read and written, whole and damaged, against what PyTorch and others wrote and said.

mod appended;
mod burn_record;
mod dcp;
mod deepspeed;
mod hf;
mod legacy;
mod numpy;
mod packed;
mod ranges;
mod safetensors;
mod scripted;
mod support;
mod together;
mod torch_zip;
mod zip;
