//! Records of Burn 0.14 to 0.21, which later releases cannot read: `.mpk` (`MessagePack`), `.json` and `.bin` (bincode), each
//! also packed with gzip (`.mpk.gz`, ...). They are read, not written: burnpack has taken their place.
//!
//! A record is a tree of structs, sequences and enums. It becomes one flat `OrderedDict`, as a state dict is one: names are
//! joined with dots as Burn joins them today (`layers.0.weight`, `head.Plain.weight`: places of a sequence by number, an
//! enum's variant by name), and what a module has beside parameters (constants, absent options) is left out, as it is `nil` in
//! the file. Optimizer and scheduler records come the same way, their numbers as numbers
//! (`<id>.V1.Rank2.momentum.moment_1`, `<id>.V1.Rank2.momentum.time`). A record that is one bare value stands under `item`.
//!
//! **`.bin` has no names.** Its parameters are found by the ids before them, in the order in which the module declares
//! them, and stand under `0`, `1`, `2`, ...; ids are kept, so that they can be matched with those of another file. Optimizer
//! records in `.bin` hold no parameters: they are an error.
//!
//! The dict's attributes: `__metadata__` holds the record's own five texts (`float`, `int`, `format`, `version`, `settings`),
//! `_burnpack` the `param_ids`, as [`burnpack`](crate::container::burnpack) keeps them; written as `.bpk`, the ids stay.
//!
//! The bytes of tensors stay in an `.mpk` or `.bin` file until they are asked for. JSON and packed files are read whole.

mod bincode;
mod param_id;
mod read;
mod record;
mod tree;

pub use read::{detect, read, write};
