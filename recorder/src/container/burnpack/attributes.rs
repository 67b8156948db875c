//! The names of the attributes in which a dict keeps what only Burn knows.

/// The attribute with what only Burn knows of a tensor.
pub(crate) const ATTRIBUTE: &str = "_burnpack";
/// In [`ATTRIBUTE`]: name -> parameter id.
pub(crate) const PARAM_IDS: &str = "param_ids";
/// In [`ATTRIBUTE`]: name -> Burn's element type.
pub(super) const DTYPES: &str = "dtypes";
/// In [`ATTRIBUTE`]: names of scalars.
pub(super) const SIGNED: &str = "signed";
