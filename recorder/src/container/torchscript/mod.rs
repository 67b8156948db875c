//! TorchScript: what `torch.jit.save` and `_save_for_lite_interpreter` (`.ptl`) write, and the `model.json` archives of
//! PyTorch 1.0 to 1.3.
//!
//! **Value.** An `OrderedDict` equal to what `ScriptModule.state_dict()` gives: parameters and buffers in its order, detached,
//! with its `_metadata`. A model may reach a module by several names; it is there under each. Beside `_metadata` the dict has two
//! attributes, to be asked for by path like everything else:
//!
//! - `attributes`: every other attribute of every module by its path, such as `attributes.encoder.training`, and after them the
//!   constants of its class (`Final`, `__constants__`), such as `attributes.norm.eps`. Objects of classes of the model's own are
//!   dicts here, packed parameters of quantised layers are the tuples they are saved as, members of enumerations are their
//!   values.
//! - `constants`: the tensors in the code, `constants.c0` for its `CONSTANTS.c0`. Where there are none, so is the attribute. A model
//!   that went through `torch.jit.freeze` has all its weights here.
//!
//! Which attributes are parameters and buffers, the code says in lists of names. No code is run: of a module that restores
//! itself with a `__setstate__` of its own there are no tensors in the state dict, and its state is under its name in
//! `attributes`.
//!
//! **Writing.** Code cannot be written, so weights go into a copy of an existing archive: [`replace`].

mod classes;
mod constants;
mod legacy;
mod modules;
mod script;

pub(super) use script::{is_archive, read};
pub use script::{replace, write};
