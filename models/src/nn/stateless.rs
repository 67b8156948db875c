//! `Stateless`: a layer without parameters that shows itself all the same.

use std::ops::Deref;

use burn::module::Module;

/// A layer without parameters, in the field of a network. PyTorch's `_metadata` names such layers, too, but Burn's walk over
/// a module passes an empty field without a sign; it does not pass the variant of an enum.
#[derive(Module, Debug)]
pub enum Stateless<M: Module> {
    /// The layer.
    Layer(M),
}

impl<M: Module> From<M> for Stateless<M> {
    fn from(layer: M) -> Self {
        Stateless::Layer(layer)
    }
}

impl<M: Module> Deref for Stateless<M> {
    type Target = M;

    fn deref(&self) -> &M {
        let Stateless::Layer(layer) = self;
        layer
    }
}
