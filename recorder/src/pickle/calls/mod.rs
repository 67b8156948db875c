//! Calls that a pickle makes and whose outcome is a value of its own, and objects that become one.

pub(super) mod devices;
pub(super) mod known;
pub(super) mod making;
pub(super) mod numpy;
pub(super) mod old;
pub(super) mod subclass;
pub(super) mod torch;
