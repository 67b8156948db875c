//! What all layers have in common: how they are Burn modules, how their options are written, and how they compute.
//!
//! Burn's derive calls a struct by its own name, and the bridge knows burn-nn's layers by theirs: a `Linear` of burn-nn is
//! PyTorch's transposed. These layers lie as PyTorch's do; so they show themselves as `torch.nn.Linear`, for which there is no row.

use burn::module::Param;
use burn::tensor::{DType, Tensor};

use crate::functional::{Array, is_narrow};
use crate::{ModelError, Result};

/// A layer that makes one tensor of one: what a [`Sequential`](super::Sequential) is made of. Tensors have any number of
/// dimensions here; each layer also has a typed `forward`.
pub trait Forward {
    /// What the layer makes of its input.
    ///
    /// # Errors
    /// When the input does not fit the layer.
    fn forward_array(&self, input: &Array) -> Result<Array>;
}

/// One number for each dimension, or one for all: `3` or `[3, 5]`, as PyTorch takes an int or a tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<usize>);

rekindle_recorder::from! { Sizes:
    usize: size => Sizes(vec![size]);
    Vec<usize>: sizes => Sizes(sizes);
}

impl<const N: usize> From<[usize; N]> for Sizes {
    fn from(sizes: [usize; N]) -> Self {
        Sizes(sizes.to_vec())
    }
}

impl Sizes {
    /// As many numbers as there are dimensions.
    pub(super) fn each(&self, layer: &'static str, dimensions: usize) -> Result<Vec<usize>> {
        match self.0.as_slice() {
            [one] => Ok(vec![*one; dimensions]),
            all if all.len() == dimensions => Ok(all.to_vec()),
            all => Err(refused(layer, format!("{all:?} are not {dimensions} numbers"))),
        }
    }
}

/// Burn's `Module` for a struct whose first fields are modules or parameters, and whose others (behind the semicolon) are plain. A
/// field that PyTorch calls by a word of Rust's is `field as "self"`: Burn's derive knows fields by their own names only.
macro_rules! module {
    ($name:ident $(<const $n:ident: usize>)? { $($field:ident $(as $called:literal)?),+ ; $($plain:ident),* }) => {
        $crate::nn::module::module!(
            concat!("Struct:torch.nn.", stringify!($name)),
            $name $(<const $n: usize>)? { $($field $(as $called)?),+ ; $($plain),* }
        );
    };
    ($container:expr, $name:ident $(<const $n:ident: usize>)? { $($field:ident $(as $called:literal)?),+ ; $($plain:ident),* }) => {
        impl $(<const $n: usize>)? $crate::nn::parts::Parts for $name $(<$n>)? {
            fn each(&self, look: &mut impl $crate::nn::parts::Look) {
                $(look.named($crate::nn::module::called!($field $($called)?), $container, &self.$field);)+
            }

            fn changed(self, change: &mut impl $crate::nn::parts::Change) -> Self {
                $(let $field = change.named($crate::nn::module::called!($field $($called)?), $container, self.$field);)+
                Self { $($field,)+ $($plain: self.$plain,)* }
            }

            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                content
                    .set_top_level_type(stringify!($name))
                    $(.add(stringify!($field), &self.$field))+
                    $(.add_debug_attribute(stringify!($plain), &self.$plain))*
                    .optional()
            }
        }

        $crate::nn::parts::walked!([$(const $n: usize)?] $name $(<$n>)?);
    };
}
pub(crate) use module;

/// What PyTorch calls a field.
macro_rules! called {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $called:literal) => {
        $called
    };
}
pub(crate) use called;

/// Burn's `Module` for a struct without parameters. It shows itself all the same, since PyTorch's `_metadata` names such modules, too.
macro_rules! stateless {
    ($($name:ident $(<const $n:ident: usize>)?),+ $(,)?) => { $(
        impl $(<const $n: usize>)? $crate::nn::parts::Parts for $name $(<$n>)? {
            fn each(&self, look: &mut impl $crate::nn::parts::Look) {
                look.along(&[(stringify!($name), "Enum:torch.nn")], |_| ());
            }

            fn changed(self, _: &mut impl $crate::nn::parts::Change) -> Self {
                self
            }

            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                content.add_formatted(&format!("{self:?}")).optional()
            }
        }

        $crate::nn::parts::walked!([$(const $n: usize)?] $name $(<$n>)?);
    )+ };
}
pub(crate) use stateless;

/// A layer's options: what PyTorch's constructor must be given, in `new`, and the rest with its default, set by `with_...`.
/// `impl Into<Sizes> => Sizes` takes what can be made sizes.
macro_rules! options {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<const $n:ident: usize>)?
        ($($(#[$needed_doc:meta])* $needed:ident: $needed_arg:ty $(=> $needed_type:ty)?),* $(,)?)
        {$($(#[$field_doc:meta])* $field:ident / $with:ident: $arg:ty $(=> $type:ty)? = $default:expr),* $(,)?}
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct $name $(<const $n: usize>)? {
            $($(#[$needed_doc])* pub $needed: $crate::nn::module::stored!($needed_arg $(, $needed_type)?),)*
            $($(#[$field_doc])* pub $field: $crate::nn::module::stored!($arg $(, $type)?),)*
        }

        #[allow(clippy::useless_conversion, clippy::new_without_default, clippy::struct_excessive_bools)] // as the macro has it
        impl $(<const $n: usize>)? $name $(<$n>)? {
            /// With PyTorch's defaults for the rest.
            #[must_use]
            pub fn new($($needed: $needed_arg),*) -> Self {
                Self { $($needed: $needed.into(),)* $($field: $default,)* }
            }

            $(
                $(#[$field_doc])*
                #[must_use]
                pub fn $with(self, $field: $arg) -> Self {
                    Self { $field: $field.into(), ..self }
                }
            )*
        }
    )+ };
}
pub(crate) use options;

/// The second type, if there is one.
macro_rules! stored {
    ($arg:ty) => {
        $arg
    };
    ($arg:ty, $type:ty) => {
        $type
    };
}
pub(crate) use stored;

/// The typed `forward` of layers that keep the number of dimensions.
macro_rules! keeps_rank {
    ($($name:ident $(<const $n:ident: usize>)?: $doc:literal),+ $(,)?) => { $(
        impl $(<const $n: usize>)? $name $(<$n>)? {
            #[doc = $doc]
            ///
            /// # Errors
            /// When the input does not fit the layer.
            pub fn forward<const D: usize>(&self, input: burn::tensor::Tensor<D>) -> $crate::Result<burn::tensor::Tensor<D>> {
                $crate::nn::Forward::forward_array(self, &$crate::functional::Array::from_float(input))?.into_float()
            }
        }
    )+ };
}
pub(crate) use keeps_rank;

/// A parameter's tensor.
pub(super) fn value<const D: usize>(param: &Param<Tensor<D>>) -> Array {
    Array::from_float(param.val())
}

/// A parameter's tensor, where there is one.
pub(super) fn maybe<const D: usize>(param: Option<&Param<Tensor<D>>>) -> Option<Array> {
    param.map(value)
}

/// What a layer makes of an input and its parameters; of 16 bits computed in `float32` and rounded once, as PyTorch does.
pub(super) fn rounded<const N: usize>(
    input: &Array,
    params: [Option<Array>; N],
    compute: impl FnOnce(&Array, [Option<&Array>; N]) -> Result<Array>,
) -> Result<Array> {
    if !is_narrow(input.dtype()) {
        return compute(input, params.each_ref().map(Option::as_ref));
    }
    let wide = |x: &Array| x.cast(DType::F32);
    let mut widened = [const { None }; N];
    for (new, old) in widened.iter_mut().zip(&params) {
        *new = old.as_ref().map(wide).transpose()?;
    }
    compute(&wide(input)?, widened.each_ref().map(Option::as_ref))?.cast(input.dtype())
}

/// What a layer cannot be or do, and why.
pub(super) fn refused(layer: &'static str, reason: impl Into<String>) -> ModelError {
    crate::init::refused(layer, reason)
}
