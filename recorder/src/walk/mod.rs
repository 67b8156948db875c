//! Paths: how the places inside a [`Value`](crate::Value) are spelled, the way through all of them, and the way to one.
//!
//! String keys and attributes are joined by `.`, places in lists and tuples are `[i]`, other keys are `[repr]` as Python
//! prints them, and the arguments that an object was made with are `(i)`: `optimizer_state_dict.param_groups[0].lr`,
//! `state[0].exp_avg`, `created(0)`. What hangs on a tensor is spelled alike: its attributes are joined by `.`
//! (`fc.weight.quant_state.absmax`), a quantiser's parameters are in brackets (`fc.weight(scale)`). Since string keys may hold dots (`conv1.weight`), a path is read by trying every key
//! that it may begin with. The empty path is the root.

mod forms;
mod path;
mod places;
mod repr;

pub use forms::UnknownTensor;
pub(crate) use forms::{maker, unknown_tensors};
pub(crate) use path::list_names;
pub use path::{contains, get, set};
pub use places::walk;
pub(crate) use places::{Place, attributes, each, entries, hanging, is_module_state, tensors};
pub use repr::repr;
