//! Paths: how the places inside a [`Value`](crate::Value) are spelled, the way through all of them, and the way to one.
//!
//! String keys and attributes are joined by `.`, places in lists and tuples are `[i]`, other keys are `[repr]` as Python
//! prints them, and the arguments that an object was made with are `(i)`: `optimizer_state_dict.param_groups[0].lr`,
//! `state[0].exp_avg`, `created(0)`. What hangs on a tensor comes behind it: its attributes behind `@`
//! (`fc.weight@quant_state.absmax`), a quantiser's parameters in brackets (`fc.weight(scale)`). The empty path is the root.
//!
//! Every place has a spelling of its own, by which it is found again. String keys may hold dots (`conv1.weight`); one that would
//! read like another way is quoted, as an empty one is: `['a.b']` beside `a` with a `b` in it. Of keys that print alike (two
//! tensors, `nan` twice) the second is `[nan]#2`. Quoting a key that need not be quoted, or leaving it out where it is clear what
//! is meant, leads to the same place.

mod contents;
mod forms;
mod identity;
mod label;
mod path;
mod places;
mod repr;
mod spelling;

pub(crate) use contents::{attributes, entries, is_module_state};
pub use forms::UnknownTensor;
pub(crate) use forms::{maker, unknown_tensors};
pub(crate) use identity::{Identities, Identity, of_value, spelled_out};
pub use path::{contains, get, set};
pub(crate) use path::{keys_to, list_names};
pub use places::walk;
pub(crate) use places::{Place, each, hanging, tensors, ways};
pub use repr::repr;
pub(crate) use spelling::{parts, spelled, write_entry};
