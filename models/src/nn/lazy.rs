//! `LazyLinear`, `LazyConv1d` and their kin: options of layers whose number of inputs an input says, or a state dict.

use burn::tensor::Tensor;
use rekindle_recorder::StateDict;

use super::batch_norm::BatchNormConfig;
use super::conv::{ConvConfig, ConvTransposeConfig};
use super::linear::LinearConfig;
use super::module::{Sizes, refused};
use super::norm::InstanceNormConfig;
use crate::Result;

/// The options of a layer, but for how many features or channels go in: PyTorch's `Lazy*` modules.
///
/// There a layer becomes whole when it sees its first input; here its options do, before it is made. PyTorch draws its weights then, too:
/// layers are made in the order in which the first forward pass comes to them. Afterwards both are plain layers, with the same keys.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::{LazyConv2d, LazyLinear};
///
/// let (device, mut generator) = (Device::flex(), rekindle_random::Generator::new(0u64));
/// let init = &mut Init::from_generator(&device, &mut generator);
/// let x = Tensor::<4>::ones([2, 3, 8, 8], &device);
/// let conv = LazyConv2d::new(6, 3).with(|conv| conv.with_stride(2).with_bias(false)).for_input(&x)?.init(init)?;
/// let x = conv.forward(x)?.flatten::<2>(1, 3);
/// let linear = LazyLinear::new(10).for_input(&x)?.init(init)?; // torch.nn.LazyLinear(10)
/// assert_eq!((conv.weight.val().dims(), linear.weight.val().dims()), ([6, 3, 3, 3], [10, 54]));
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lazy<C>(C);

/// `torch.nn.LazyLinear(out_features, bias=True)`.
pub type LazyLinear = Lazy<LinearConfig>;
/// `torch.nn.LazyConv1d(out_channels, kernel_size, ...)`.
pub type LazyConv1d = Lazy<ConvConfig<3>>;
/// `torch.nn.LazyConv2d(out_channels, kernel_size, ...)`.
pub type LazyConv2d = Lazy<ConvConfig<4>>;
/// `torch.nn.LazyConv3d(out_channels, kernel_size, ...)`.
pub type LazyConv3d = Lazy<ConvConfig<5>>;
/// `torch.nn.LazyConvTranspose1d(out_channels, kernel_size, ...)`.
pub type LazyConvTranspose1d = Lazy<ConvTransposeConfig<3>>;
/// `torch.nn.LazyConvTranspose2d(out_channels, kernel_size, ...)`.
pub type LazyConvTranspose2d = Lazy<ConvTransposeConfig<4>>;
/// `torch.nn.LazyConvTranspose3d(out_channels, kernel_size, ...)`.
pub type LazyConvTranspose3d = Lazy<ConvTransposeConfig<5>>;
/// `torch.nn.LazyBatchNorm1d(eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)`.
pub type LazyBatchNorm1d = Lazy<BatchNormConfig>;
/// `torch.nn.LazyBatchNorm2d`: see [`LazyBatchNorm1d`].
pub type LazyBatchNorm2d = Lazy<BatchNormConfig>;
/// `torch.nn.LazyBatchNorm3d`: see [`LazyBatchNorm1d`].
pub type LazyBatchNorm3d = Lazy<BatchNormConfig>;
/// `torch.nn.LazyInstanceNorm1d(eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)`: as in PyTorch its defaults are not those
/// of the plain layer.
pub type LazyInstanceNorm1d = Lazy<InstanceNormConfig<3>>;
/// `torch.nn.LazyInstanceNorm2d`: see [`LazyInstanceNorm1d`].
pub type LazyInstanceNorm2d = Lazy<InstanceNormConfig<4>>;
/// `torch.nn.LazyInstanceNorm3d`: see [`LazyInstanceNorm1d`].
pub type LazyInstanceNorm3d = Lazy<InstanceNormConfig<5>>;

/// Options that lack how many features or channels go in.
trait Lacks: Sized {
    const NAME: &'static str;

    /// How many dimensions an input with a batch has; `None` where it may have any.
    const RANK: Option<usize>;

    /// In which dimension of an input with a batch the number stands, counted from the end where negative.
    const AT: isize;

    /// The parameters and buffers that show it, the first that is there.
    const SHOWN_BY: &'static [&'static str];

    /// The number that the shape of one of them shows.
    fn shown(&self, shape: &[usize]) -> Option<usize>;

    /// With it.
    fn filled(self, number: usize) -> Self;
}

/// The options of the layer that an input of this shape is for.
fn of_shape<C: Lacks>(options: C, input: &[usize]) -> Result<C> {
    let rank = input.len();
    // Without a batch the dimensions are one less.
    let at = match C::RANK {
        Some(batched) if rank + 1 == batched => C::AT.checked_sub(1),
        Some(batched) if rank != batched => None,
        _ => Some(C::AT),
    };
    let at = at.and_then(|at| if at < 0 { rank.checked_add_signed(at) } else { usize::try_from(at).ok() });
    let number = at.and_then(|at| input.get(at).copied());
    let number = number.ok_or_else(|| refused(C::NAME, format!("an input of {input:?} has not its dimensions")))?;
    Ok(options.filled(number))
}

/// The options of the layer of this name in a state dict.
fn of_state<C: Lacks>(options: C, state: &StateDict, layer: &str) -> Result<C> {
    let name = |of: &str| if layer.is_empty() { of.to_owned() } else { format!("{layer}.{of}") };
    let number = C::SHOWN_BY.iter().find_map(|of| options.shown(state.get(&name(of))?.shape()));
    let number = number.ok_or_else(|| {
        let names = C::SHOWN_BY.iter().map(|of| name(of)).collect::<Vec<_>>().join(" or ");
        refused(C::NAME, format!("the state dict has no {names} that shows how many go in"))
    })?;
    Ok(options.filled(number))
}

/// What the options are made of, and how they become whole: what is lacking, in which dimension of an input (of so many dimensions) it
/// stands, and what shows it in a state dict.
macro_rules! lazy {
    ($(
        $name:literal $config:ident $(<const $n:ident: usize>)? ($($arg:ident: $type:ty),*): $new:expr,
        $lacking:ident at $at:literal of $rank:expr, in $shown_by:expr, |$options:ident, $shape:ident| $shown:expr;
    )+) => { $(
        impl $(<const $n: usize>)? Lacks for $config $(<$n>)? {
            const NAME: &'static str = $name;
            const RANK: Option<usize> = $rank;
            const AT: isize = $at;
            const SHOWN_BY: &'static [&'static str] = &$shown_by;

            fn shown(&self, $shape: &[usize]) -> Option<usize> {
                let $options = self;
                $shown
            }

            fn filled(self, $lacking: usize) -> Self {
                $config { $lacking, ..self }
            }
        }

        #[allow(clippy::new_without_default)] // as the other options
        impl $(<const $n: usize>)? Lazy<$config $(<$n>)?> {
            /// With PyTorch's defaults for the rest.
            #[must_use]
            pub fn new($($arg: $type),*) -> Self {
                Lazy($new)
            }

            /// With other options: `.with(|layer| layer.with_bias(false))`.
            #[must_use]
            pub fn with(self, set: impl FnOnce($config $(<$n>)?) -> $config $(<$n>)?) -> Self {
                Lazy(set(self.0))
            }

            /// The options of the layer that this input is for.
            ///
            /// # Errors
            /// When the input has not the layer's dimensions.
            pub fn for_input<const D: usize>(self, input: &Tensor<D>) -> Result<$config $(<$n>)?> {
                of_shape(self.0, &input.dims())
            }

            /// The options of the layer of this name (`fc1`, `features.0`; empty: the whole) in a state dict. A lazy module that PyTorch
            /// saved before its first input has no parameters yet, which reading its checkpoint says.
            ///
            /// # Errors
            /// When the state dict has none of its parameters.
            pub fn for_state_dict(self, state: &StateDict, layer: &str) -> Result<$config $(<$n>)?> {
                of_state(self.0, state, layer)
            }
        }
    )+ };
}

lazy! {
    "LazyLinear" LinearConfig(out_features: usize): LinearConfig::new(0, out_features),
        in_features at -1 of None, in ["weight"], |_all, shape| shape.get(1).copied();
    "LazyConv" ConvConfig<const N: usize>(out_channels: usize, kernel_size: impl Into<Sizes>):
        ConvConfig::new(0, out_channels, kernel_size),
        in_channels at 1 of Some(N), in ["weight"], |conv, shape| shape.get(1).map(|channels| channels * conv.groups);
    "LazyConvTranspose" ConvTransposeConfig<const N: usize>(out_channels: usize, kernel_size: impl Into<Sizes>):
        ConvTransposeConfig::new(0, out_channels, kernel_size),
        in_channels at 1 of Some(N), in ["weight"], |_all, shape| shape.first().copied();
    "LazyBatchNorm" BatchNormConfig(): BatchNormConfig::new(0),
        num_features at 1 of None, in ["weight", "running_mean"], |_all, shape| shape.first().copied();
    "LazyInstanceNorm" InstanceNormConfig<const N: usize>():
        InstanceNormConfig::new(0).with_affine(true).with_track_running_stats(true),
        num_features at 1 of Some(N), in ["weight", "running_mean"], |_all, shape| shape.first().copied();
}
