//! A model by itself: its state dict, or the whole module.

use super::paths::Paths;
use crate::Value;
use crate::run::path::KeyPath;
use crate::run::spellings::has_tensors;
use crate::state_dict::module;

/// A whole `nn.Module`.
pub(super) fn whole_module(root: &Value) -> Option<Paths> {
    module::is_module(root).then(|| Paths::model_at(KeyPath::default()))
}

/// A dict of names of which most are tensors', and none an optimizer's. (Quantised modules keep some that are not.)
pub(super) fn bare(root: &Value) -> Option<Paths> {
    let entries = crate::walk::entries(root)?;
    let tensors = entries.iter().filter(|(_, value)| value.as_tensor().is_some()).count();
    let versioned = root.as_dict().and_then(crate::Dict::state).is_some();
    let bare = has_tensors(root) && (versioned || tensors * 2 >= entries.len());
    bare.then(|| Paths::model_at(KeyPath::default()))
}
