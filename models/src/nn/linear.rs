//! `Linear`, `Bilinear`, `Identity`, `Flatten`, `Unflatten`.

use burn::module::Param;
use burn::tensor::Tensor;

use super::module::{Forward, keeps_rank, maybe, module, options, refused, stateless, value};
use crate::Result;
use crate::functional::Array;
use crate::init::{Init, Rule, layer_bias, layer_weight};

options! {
    /// `torch.nn.Linear(in_features, out_features, bias=True)`.
    LinearConfig(
        /// The length of an input.
        in_features: usize,
        /// The length of an output.
        out_features: usize,
    ) {
        /// Whether something is added. Default true.
        bias / with_bias: bool = true,
    }

    /// `torch.nn.Bilinear(in1_features, in2_features, out_features, bias=True)`.
    BilinearConfig(
        /// The length of a first input.
        in1_features: usize,
        /// The length of a second input.
        in2_features: usize,
        /// The length of an output.
        out_features: usize,
    ) {
        /// Whether something is added. Default true.
        bias / with_bias: bool = true,
    }
}

impl LinearConfig {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<Linear> {
        let shape = [self.out_features, self.in_features];
        let weight = init.param(shape, layer_weight(&shape)?)?;
        let bias = if self.bias { Some(init.param([self.out_features], layer_bias(&shape)?)?) } else { None };
        Ok(Linear { weight, bias })
    }
}

/// `torch.nn.Linear`: `x W^T + b` of the last dimension.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::LinearConfig;
///
/// let device = Device::flex();
/// let layer = LinearConfig::new(3, 2).with_bias(false).init(&mut Init::seeded(&device, 0))?;
/// assert_eq!(layer.forward(Tensor::<2>::ones([4, 3], &device))?.dims(), [4, 2]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

module!(Linear { weight, bias; });
keeps_rank!(Linear: "`[..., in]` to `[..., out]`.");

impl Forward for Linear {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.linear(&value(&self.weight), maybe(self.bias.as_ref()).as_ref())
    }
}

impl BilinearConfig {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When it has no first inputs.
    pub fn init(&self, init: &mut Init<'_>) -> Result<Bilinear> {
        if self.in1_features == 0 {
            return Err(refused("Bilinear", "it needs at least one feature of the first input"));
        }
        #[allow(clippy::cast_precision_loss)] // a number of features
        let bound = 1.0 / (self.in1_features as f64).sqrt();
        let draw = Rule::Uniform { a: -bound, b: bound };
        let weight = init.param([self.out_features, self.in1_features, self.in2_features], draw)?;
        let bias = if self.bias { Some(init.param([self.out_features], draw)?) } else { None };
        Ok(Bilinear { weight, bias })
    }
}

/// `torch.nn.Bilinear`: `x1^T W x2 + b`.
#[derive(Clone, Debug)]
pub struct Bilinear {
    /// `[out, in1, in2]`.
    pub weight: Param<Tensor<3>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

module!(Bilinear { weight, bias; });

impl Bilinear {
    /// `[..., in1]` and `[..., in2]` to `[..., out]`.
    ///
    /// # Errors
    /// When the inputs do not fit the layer.
    pub fn forward<const D: usize>(&self, one: Tensor<D>, two: Tensor<D>) -> Result<Tensor<D>> {
        let operands = [Array::from_float(one), value(&self.weight), Array::from_float(two)];
        let product = Array::einsum("...i,oij,...j->...o", &operands)?;
        maybe(self.bias.as_ref()).map_or(Ok(product.clone()), |bias| product.add(&bias))?.into_float()
    }
}

/// `torch.nn.Identity`.
#[derive(Clone, Debug, Default)]
pub struct Identity;

impl Forward for Identity {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        Ok(input.clone())
    }
}

keeps_rank!(Identity: "What it is given.");

/// `torch.nn.Flatten(start_dim=1, end_dim=-1)`: these dimensions become one.
#[derive(Clone, Debug)]
pub struct Flatten {
    /// The first one. Default 1.
    pub start_dim: i64,
    /// The last one. Default -1.
    pub end_dim: i64,
}

impl Default for Flatten {
    fn default() -> Self {
        Flatten { start_dim: 1, end_dim: -1 }
    }
}

options! {
    /// `torch.nn.Unflatten(dim, unflattened_size)`: a dimension becomes several.
    Unflatten(
        /// Which one.
        dim: i64,
        /// Their lengths; -1 for what is left.
        unflattened_size: impl Into<Vec<i64>> => Vec<i64>,
    ) {}
}

impl Forward for Flatten {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.flatten(self.start_dim, self.end_dim)
    }
}

impl Forward for Unflatten {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.unflatten(self.dim, &self.unflattened_size)
    }
}

macro_rules! changes_rank {
    ($($name:ident),+) => { $(
        impl $name {
            /// The same elements in other dimensions, as many as the caller expects.
            ///
            /// # Errors
            /// When the dimensions cannot be so, or are not as many.
            pub fn forward<const A: usize, const B: usize>(&self, input: Tensor<A>) -> Result<Tensor<B>> {
                self.forward_array(&Array::from_float(input))?.into_float()
            }
        }
    )+ };
}

changes_rank!(Flatten, Unflatten);
stateless!(Identity, Flatten, Unflatten);
