//! `Sequential`, `ModuleList`, `ModuleDict`: layers one after the other, by number, by name.

use burn::module::{Content, Module, ModuleDisplay};
use burn::tensor::Tensor;

use super::module::Forward;
use super::parts::{Change, Look, Parts, walked};
use crate::functional::Array;
use crate::{Batch, Result};

/// `torch.nn.ModuleList`: a `Vec` has PyTorch's numbers for its keys.
pub type ModuleList<M> = Vec<M>;

/// `torch.nn.Sequential`: the keys are `0.weight`, `2.weight`; layers without parameters count. Of this crate's layers, or of one type
/// of one's own that is [`Forward`].
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::{LinearConfig, ReLU, Sequential};
///
/// let device = Device::flex();
/// let init = &mut Init::seeded(&device, 0);
/// let mlp = Sequential::new(vec![
///     LinearConfig::new(4, 8).init(init)?.into(),
///     ReLU::new().into(),
///     LinearConfig::new(8, 2).init(init)?.into(),
/// ]);
/// let output: Tensor<2> = mlp.forward(Tensor::<2>::ones([3, 4], &device))?;
/// assert_eq!(output.dims(), [3, 2]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequential<L = Layer> {
    /// The layers in order.
    pub layers: Vec<L>,
}

impl Sequential {
    /// These layers, one after the other.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Self {
        Sequential { layers }
    }
}

impl<L> Sequential<L> {
    /// These layers of one's own, one after the other.
    #[must_use]
    pub fn of(layers: Vec<L>) -> Self {
        Sequential { layers }
    }
}

impl<L: Forward> Sequential<L> {
    /// Runs the layers one after the other, to a tensor of as many dimensions as the caller expects.
    ///
    /// # Errors
    /// When a tensor does not fit a layer, or the last has other dimensions.
    pub fn forward<const A: usize, const B: usize>(&self, input: Tensor<A>) -> Result<Tensor<B>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }

    /// As [`forward`](Self::forward), of a batch of any kind.
    ///
    /// # Errors
    /// As there.
    pub fn forward_batch(&self, inputs: Batch) -> Result<Batch> {
        Batch::from_array(self.forward_array(&inputs.into_array())?)
    }
}

impl<L: Forward> Forward for Sequential<L> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        self.layers.iter().try_fold(input.clone(), |x, layer| layer.forward_array(&x))
    }
}

/// The walk over a struct around a `Vec` is the walk over the `Vec`.
impl<L: Module + ModuleDisplay> Parts for Sequential<L> {
    fn each(&self, look: &mut impl Look) {
        look.at(&self.layers);
    }

    fn changed(self, change: &mut impl Change) -> Self {
        Sequential { layers: change.on(self.layers) }
    }

    fn content(&self, content: Content) -> Option<Content> {
        content.set_top_level_type("Sequential").add("layers", &self.layers).optional()
    }
}

walked!([L: Module + ModuleDisplay] Sequential<L>, [M: Module + ModuleDisplay] ModuleDict<M>);

/// `torch.nn.ModuleDict`: modules by name, in order. It also is `torch.nn.Sequential(OrderedDict([...]))`: layers by name run one after
/// the other.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::{GELU, Layer, LinearConfig, ModuleDict};
///
/// let device = Device::flex();
/// let init = &mut Init::seeded(&device, 0);
/// let mlp: [(&str, Layer); 3] = [
///     ("fc1", LinearConfig::new(4, 8).init(init)?.into()),
///     ("act", GELU::new().into()),
///     ("fc2", LinearConfig::new(8, 2).init(init)?.into()),
/// ];
/// let mlp: ModuleDict<Layer> = mlp.into_iter().collect();
/// let output: Tensor<2> = mlp.forward(Tensor::<2>::ones([3, 4], &device))?;
/// assert_eq!(output.dims(), [3, 2]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModuleDict<M> {
    /// Names and modules.
    pub modules: Vec<(String, M)>,
}

impl<M, K: Into<String>> FromIterator<(K, M)> for ModuleDict<M> {
    fn from_iter<I: IntoIterator<Item = (K, M)>>(modules: I) -> Self {
        ModuleDict { modules: modules.into_iter().map(|(name, module)| (name.into(), module)).collect() }
    }
}

impl<M> ModuleDict<M> {
    /// The module of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&M> {
        self.modules.iter().find(|(known, _)| known == name).map(|(_, module)| module)
    }
}

impl<L: Forward> ModuleDict<L> {
    /// Runs the layers one after the other, to a tensor of as many dimensions as the caller expects.
    ///
    /// # Errors
    /// When a tensor does not fit a layer, or the last has other dimensions.
    pub fn forward<const A: usize, const B: usize>(&self, input: Tensor<A>) -> Result<Tensor<B>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

impl<L: Forward> Forward for ModuleDict<L> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        self.modules.iter().try_fold(input.clone(), |x, (_, layer)| layer.forward_array(&x))
    }
}

/// What the walk calls a name in a dict.
const DICT: &str = "Dict";

impl<M: Module + ModuleDisplay> Parts for ModuleDict<M> {
    fn each(&self, look: &mut impl Look) {
        self.modules.iter().for_each(|(name, module)| look.named(name, DICT, module));
    }

    fn changed(self, change: &mut impl Change) -> Self {
        let changed = self.modules.into_iter().map(|(name, module)| {
            let module = change.named(&name, DICT, module);
            (name, module)
        });
        ModuleDict { modules: changed.collect() }
    }

    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type("ModuleDict");
        self.modules.iter().fold(content, |content, (name, module)| content.add(name, module)).optional()
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident($type:ty)),+ $(,)?) => {
        /// A layer of a [`Sequential`]: any of this crate's that make one tensor of one.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // a network has few of them, and each holds tensors that dwarf it
        #[non_exhaustive]
        pub enum Layer {
            $(#[doc = concat!("[`", stringify!($name), "`](super::", stringify!($name), ").")] $name($type)),+
        }

        $(impl From<$type> for Layer {
            fn from(layer: $type) -> Self {
                Layer::$name(layer)
            }
        })+

        impl Forward for Layer {
            fn forward_array(&self, input: &Array) -> Result<Array> {
                match self {
                    $(Layer::$name(layer) => layer.forward_array(input)),+
                }
            }
        }
    };
}

layers! {
    Linear(super::Linear), Identity(super::Identity), Flatten(super::Flatten), Unflatten(super::Unflatten),
    Conv1d(super::Conv1d), Conv2d(super::Conv2d), Conv3d(super::Conv3d),
    ConvTranspose1d(super::ConvTranspose1d), ConvTranspose2d(super::ConvTranspose2d), ConvTranspose3d(super::ConvTranspose3d),
    BatchNorm(super::BatchNorm), LayerNorm(super::LayerNorm), RMSNorm(super::RMSNorm), GroupNorm(super::GroupNorm),
    InstanceNorm1d(super::InstanceNorm1d), InstanceNorm2d(super::InstanceNorm2d), InstanceNorm3d(super::InstanceNorm3d),
    LocalResponseNorm(super::LocalResponseNorm), Dropout(super::Dropout),
    ReLU(super::ReLU), ReLU6(super::ReLU6), LeakyReLU(super::LeakyReLU), PReLU(super::PReLU), RReLU(super::RReLU),
    ELU(super::ELU), CELU(super::CELU), SELU(super::SELU), GELU(super::GELU), SiLU(super::SiLU), Mish(super::Mish),
    Sigmoid(super::Sigmoid), LogSigmoid(super::LogSigmoid), Tanh(super::Tanh), Tanhshrink(super::Tanhshrink),
    Hardtanh(super::Hardtanh), Hardsigmoid(super::Hardsigmoid), Hardswish(super::Hardswish), Hardshrink(super::Hardshrink),
    Softshrink(super::Softshrink), Softplus(super::Softplus), Softsign(super::Softsign), Threshold(super::Threshold),
    Softmax(super::Softmax), Softmin(super::Softmin), Softmax2d(super::Softmax2d), LogSoftmax(super::LogSoftmax), GLU(super::GLU),
    MaxPool1d(super::MaxPool1d), MaxPool2d(super::MaxPool2d), MaxPool3d(super::MaxPool3d),
    AvgPool1d(super::AvgPool1d), AvgPool2d(super::AvgPool2d), AvgPool3d(super::AvgPool3d),
    LPPool1d(super::LPPool1d), LPPool2d(super::LPPool2d), LPPool3d(super::LPPool3d),
    AdaptiveAvgPool1d(super::AdaptiveAvgPool1d), AdaptiveAvgPool2d(super::AdaptiveAvgPool2d), AdaptiveAvgPool3d(super::AdaptiveAvgPool3d),
    AdaptiveMaxPool1d(super::AdaptiveMaxPool1d), AdaptiveMaxPool2d(super::AdaptiveMaxPool2d), AdaptiveMaxPool3d(super::AdaptiveMaxPool3d),
    FractionalMaxPool2d(super::FractionalMaxPool2d), FractionalMaxPool3d(super::FractionalMaxPool3d),
    Unfold(super::Unfold), Fold(super::Fold), Pad(super::Pad), Upsample(super::Upsample), PixelShuffle(super::PixelShuffle), PixelUnshuffle(super::PixelUnshuffle),
    ChannelShuffle(super::ChannelShuffle), Sequential(Sequential<Layer>),
}
