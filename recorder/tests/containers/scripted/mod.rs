//! Archives that hold a program beside its weights (TorchScript, `torch.export`, `torch.package`) and whole modules, as a real
//! PyTorch wrote them; and what is done with them.

mod archives;
mod damage;
mod fixtures;
mod replace;
mod whole;
