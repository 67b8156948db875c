//! Folders that a program of several processes left, a file for each rank: `DeepSpeed`'s and Llama's are put together; what other
//! programs leave is told by its names and refused.
//!
//! **`DeepSpeed`.** A dict of what `mp_rank_00_model_states.pt` holds, with the weights that the ranks' `*_optim_states.pt` keep in full
//! precision as `module`, and `optimizer` by the names of the parameters; what else the optimizer says is `zero_optimizer`. Universal
//! checkpoints, which have a folder for each parameter, likewise.
//!
//! **Llama.** An `OrderedDict` of the tensors of `consolidated.00.pth`, each joined with its parts in the other files.

pub(crate) mod deepspeed;
mod joined;
pub(crate) mod llama;
pub(crate) mod others;
mod universal;
mod zero;
