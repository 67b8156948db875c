//! What the command's verbs do with a checkpoint, one file each.

pub mod convert;
pub mod diff;
pub mod inspect;
pub mod location;
pub mod scan;
pub mod verify;
