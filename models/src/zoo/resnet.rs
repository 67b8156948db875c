//! torchvision's residual networks: `resnet18`, `resnet34`, `resnet50`, `resnet101`, `resnet152`.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use crate::functional::Array;
use crate::init::{Fan, Init, Nonlinearity};
use crate::nn::{
    AdaptiveAvgPool2d, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Forward, Linear, LinearConfig, MaxPool2d,
    ReLU, Sequential,
};
use crate::registry::settings::{Setting, Settings};
use crate::{ModelError, Result};

/// What the registry knows of them.
pub(crate) const SETTINGS: &[Setting] =
    &[Setting::shown("num_classes", "1000", |weights| weights.length("fc.weight", 0))];

/// The network of this depth, of its settings.
pub(crate) fn build(depth: usize, settings: &Settings<'_>, init: &mut Init<'_>) -> Result<ResNet> {
    ResNet::new(&ResNetConfig::new(depth, settings.number("num_classes")?)?, init)
}

/// Which residual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// How many blocks each of the four stages has.
    pub blocks: [usize; 4],
    /// Whether blocks have three convolutions, the last with four times the channels.
    pub bottleneck: bool,
    /// How many classes. torchvision's default: 1000.
    pub num_classes: usize,
}

impl ResNetConfig {
    /// The network of this depth: 18, 34, 50, 101 or 152.
    ///
    /// # Errors
    /// When there is none of this depth.
    pub fn new(depth: usize, num_classes: usize) -> Result<Self> {
        let (blocks, bottleneck) = match depth {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            101 => ([3, 4, 23, 3], true),
            152 => ([3, 8, 36, 3], true),
            other => {
                let (name, known) = (format!("resnet{other}"), "resnet18, 34, 50, 101, 152".to_owned());
                return Err(ModelError::UnknownNetwork { name, known });
            }
        };
        Ok(ResNetConfig { blocks, bottleneck, num_classes })
    }
}

/// A block of two convolutions, added to its input.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct BasicBlock {
    pub conv1: Conv2d,
    pub bn1: BatchNorm2d,
    pub relu: ReLU,
    pub conv2: Conv2d,
    pub bn2: BatchNorm2d,
    pub downsample: Option<Sequential>,
}

/// A block of three convolutions, added to its input.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct Bottleneck {
    pub conv1: Conv2d,
    pub bn1: BatchNorm2d,
    pub conv2: Conv2d,
    pub bn2: BatchNorm2d,
    pub conv3: Conv2d,
    pub bn3: BatchNorm2d,
    pub relu: ReLU,
    pub downsample: Option<Sequential>,
}

/// A block of either kind.
#[derive(Module, Debug)]
pub enum Block {
    /// Of two convolutions.
    Basic(BasicBlock),
    /// Of three.
    Bottleneck(Bottleneck),
}

/// A residual network: `[batch, 3, height, width]` to `[batch, classes]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct ResNet {
    pub conv1: Conv2d,
    pub bn1: BatchNorm2d,
    pub relu: ReLU,
    pub maxpool: MaxPool2d,
    pub layer1: Sequential<Block>,
    pub layer2: Sequential<Block>,
    pub layer3: Sequential<Block>,
    pub layer4: Sequential<Block>,
    pub avgpool: AdaptiveAvgPool2d,
    pub fc: Linear,
}

fn conv(from: usize, to: usize, kernel: usize, stride: usize, init: &mut Init<'_>) -> Result<Conv2d> {
    let config = Conv2dConfig::new(from, to, kernel).with_stride(stride).with_padding(kernel / 2);
    config.with_bias(false).init(init)
}

fn norm(channels: usize, init: &mut Init<'_>) -> Result<BatchNorm2d> {
    BatchNormConfig::new(channels).init(init)
}

impl Block {
    fn new(
        from: usize,
        width: usize,
        stride: usize,
        bottleneck: bool,
        wide: Option<Sequential>,
        init: &mut Init<'_>,
    ) -> Result<Self> {
        if !bottleneck {
            return Ok(Block::Basic(BasicBlock {
                conv1: conv(from, width, 3, stride, init)?,
                bn1: norm(width, init)?,
                relu: ReLU::new(),
                conv2: conv(width, width, 3, 1, init)?,
                bn2: norm(width, init)?,
                downsample: wide,
            }));
        }
        Ok(Block::Bottleneck(Bottleneck {
            conv1: conv(from, width, 1, 1, init)?,
            bn1: norm(width, init)?,
            conv2: conv(width, width, 3, stride, init)?,
            bn2: norm(width, init)?,
            conv3: conv(width, 4 * width, 1, 1, init)?,
            bn3: norm(4 * width, init)?,
            relu: ReLU::new(),
            downsample: wide,
        }))
    }
}

impl Forward for Block {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let relu = |x: Array| x.relu();
        let (inner, downsample) = match self {
            Block::Basic(block) => {
                let x = relu(block.bn1.forward_array(&block.conv1.forward_array(input)?)?)?;
                (block.bn2.forward_array(&block.conv2.forward_array(&x)?)?, &block.downsample)
            }
            Block::Bottleneck(block) => {
                let x = relu(block.bn1.forward_array(&block.conv1.forward_array(input)?)?)?;
                let x = relu(block.bn2.forward_array(&block.conv2.forward_array(&x)?)?)?;
                (block.bn3.forward_array(&block.conv3.forward_array(&x)?)?, &block.downsample)
            }
        };
        let same = downsample.as_ref().map_or(Ok(input.clone()), |downsample| downsample.forward_array(input))?;
        relu(inner.add(&same)?)
    }
}

impl ResNet {
    /// A new network, with weights as torchvision draws them.
    ///
    /// # Errors
    /// None in truth.
    pub fn new(config: &ResNetConfig, init: &mut Init<'_>) -> Result<Self> {
        let times = if config.bottleneck { 4 } else { 1 };
        let mut from = 64;
        let mut stage = |at: usize, init: &mut Init<'_>| -> Result<Sequential<Block>> {
            let (width, stride) = (64 << at, if at == 0 { 1 } else { 2 });
            let mut blocks = Vec::new();
            for index in 0..config.blocks[at] {
                let stride = if index == 0 { stride } else { 1 };
                // Made before the block, as torchvision makes it: it draws first.
                let wide = if stride != 1 || from != times * width {
                    let layers =
                        vec![conv(from, times * width, 1, stride, init)?.into(), norm(times * width, init)?.into()];
                    Some(Sequential::new(layers))
                } else {
                    None
                };
                blocks.push(Block::new(from, width, stride, config.bottleneck, wide, init)?);
                from = times * width;
            }
            Ok(Sequential::of(blocks))
        };
        let net = ResNet {
            conv1: conv(3, 64, 7, 2, init)?,
            bn1: norm(64, init)?,
            relu: ReLU::new(),
            maxpool: MaxPool2d::new(3).with_stride(2).with_padding(1),
            layer1: stage(0, init)?,
            layer2: stage(1, init)?,
            layer3: stage(2, init)?,
            layer4: stage(3, init)?,
            avgpool: AdaptiveAvgPool2d::new(1),
            fc: LinearConfig::new(512 * times, config.num_classes).init(init)?,
        };
        let mut again = Again { init, error: None };
        let net = net.map(&mut again);
        again.error.map_or(Ok(net), Err)
    }

    /// `[batch, 3, height, width]` to the scores of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// When the input has other channels.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<2>> {
        let x = self.maxpool.forward(self.relu.forward(self.bn1.forward(self.conv1.forward(input)?)?)?)?;
        let x: Tensor<4> = self.layer1.forward(x)?;
        let x: Tensor<4> = self.layer2.forward(x)?;
        let x: Tensor<4> = self.layer3.forward(x)?;
        let x: Tensor<4> = self.layer4.forward(x)?;
        self.fc.forward(self.avgpool.forward(x)?.flatten(1, 3))
    }
}

/// Every convolution once more: `kaiming_normal_(mode='fan_out', nonlinearity='relu')`.
struct Again<'i, 'a> {
    init: &'i mut Init<'a>,
    error: Option<ModelError>,
}

impl ModuleMapper for Again<'_, '_> {
    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 4
            && let Err(error) = self.init.kaiming_normal_(&mut param, Fan::Out, Nonlinearity::Relu)
        {
            self.error.get_or_insert(error);
        }
        param
    }
}
