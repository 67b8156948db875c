//! torchvision's residual networks: `resnet18`, `resnet34`, `resnet50`, `resnet101`, `resnet152`; with groups `resnext50_32x4d`, with wider
//! blocks `wide_resnet50_2` and their kin.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use crate::functional::Array;
use crate::init::{Fan, Init, Nonlinearity, refused};
use crate::nn::{
    AdaptiveAvgPool2d, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Forward, Linear, LinearConfig, MaxPool2d,
    ReLU, Sequential,
};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, scores};
use crate::registry::settings::{Setting, Settings, Weights};
use crate::{ModelError, Result};

/// Their settings. torchvision's `replace_stride_with_dilation` is a word for each of the three last stages.
const SETTINGS: &[Setting] = &[
    Setting::shown("num_classes", "1000", |weights| weights.length("fc.weight", 0)),
    Setting::shown("groups", "1", |weights| Some(grouped(*weights)?.0.to_string())),
    Setting::shown("width_per_group", "64", |weights| Some(grouped(*weights)?.1.to_string())),
    Setting::plain("replace_stride_with_dilation", "false,false,false"),
    Setting::plain("zero_init_residual", "false"),
];

/// How many groups the blocks' second convolution has, and how many channels one has in the first stage.
fn grouped(weights: Weights<'_>) -> Option<(usize, usize)> {
    let dim = |at| weights.dim("layer1.0.conv2.weight", at);
    let (channels, width) = (dim(0)?, dim(1)?);
    Some((channels.checked_div(width).filter(|groups| groups * width == channels)?, width))
}

/// The network of this depth, of its settings.
fn build(depth: usize, settings: &Settings<'_>, init: &mut Init<'_>) -> Result<ResNet> {
    let config = ResNetConfig {
        groups: settings.number("groups")?,
        width_per_group: settings.number("width_per_group")?,
        replace_stride_with_dilation: settings.flags("replace_stride_with_dilation")?,
        zero_init_residual: settings.flag("zero_init_residual")?,
        ..ResNetConfig::new(depth, settings.number("num_classes")?)?
    };
    ResNet::new(&config, init)
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
    /// Of bottlenecks: how many groups their second convolution has. Default 1.
    pub groups: usize,
    /// Of bottlenecks: how many channels a group has, in the first stage. Default 64.
    pub width_per_group: usize,
    /// Of bottlenecks: whether the second, third and fourth stage spread their kernels in the place of making the image smaller. Default none.
    pub replace_stride_with_dilation: [bool; 3],
    /// Whether the last norm of each block begins with factors of 0. Default false.
    pub zero_init_residual: bool,
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
        Ok(ResNetConfig {
            blocks,
            bottleneck,
            num_classes,
            groups: 1,
            width_per_group: 64,
            replace_stride_with_dilation: [false; 3],
            zero_init_residual: false,
        })
    }

    /// What torchvision refuses, too.
    fn check(&self) -> Result<()> {
        let plain = self.groups == 1 && self.width_per_group == 64 && self.replace_stride_with_dilation == [false; 3];
        if !self.bottleneck && !plain {
            let reason = "blocks of two convolutions have groups=1, width_per_group=64 and no dilation";
            return Err(refused("ResNet", reason));
        }
        Ok(())
    }

    /// How many channels the second convolution of a stage's bottlenecks has.
    fn width(&self, planes: usize) -> usize {
        // As `int(planes * (base_width / 64.0)) * groups`.
        planes * self.width_per_group / 64 * self.groups
    }
}

/// How a block's second convolution moves.
#[derive(Clone, Copy)]
struct Steps {
    stride: usize,
    dilation: usize,
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
        config: &ResNetConfig,
        from: usize,
        planes: usize,
        Steps { stride, dilation }: Steps,
        downsample: Option<Sequential>,
        init: &mut Init<'_>,
    ) -> Result<Self> {
        if !config.bottleneck {
            return Ok(Block::Basic(BasicBlock {
                conv1: conv(from, planes, 3, stride, init)?,
                bn1: norm(planes, init)?,
                relu: ReLU::new(),
                conv2: conv(planes, planes, 3, 1, init)?,
                bn2: norm(planes, init)?,
                downsample,
            }));
        }
        let width = config.width(planes);
        let second = Conv2dConfig::new(width, width, 3).with_stride(stride).with_padding(dilation);
        let second = second.with_dilation(dilation).with_groups(config.groups).with_bias(false);
        Ok(Block::Bottleneck(Bottleneck {
            conv1: conv(from, width, 1, 1, init)?,
            bn1: norm(width, init)?,
            conv2: second.init(init)?,
            bn2: norm(width, init)?,
            conv3: conv(width, 4 * planes, 1, 1, init)?,
            bn3: norm(4 * planes, init)?,
            relu: ReLU::new(),
            downsample,
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
    /// When blocks of two convolutions are to have groups, another width or dilation.
    pub fn new(config: &ResNetConfig, init: &mut Init<'_>) -> Result<Self> {
        config.check()?;
        let times = if config.bottleneck { 4 } else { 1 };
        let (mut from, mut dilation) = (64, 1);
        let mut stage = |at: usize, init: &mut Init<'_>| -> Result<Sequential<Block>> {
            let (planes, before) = (64 << at, dilation);
            let dilates = at > 0 && config.replace_stride_with_dilation[at - 1];
            let stride = if at == 0 || dilates { 1 } else { 2 };
            dilation *= if dilates { 2 } else { 1 };
            let mut blocks = Vec::new();
            for index in 0..config.blocks[at] {
                let steps = if index == 0 { Steps { stride, dilation: before } } else { Steps { stride: 1, dilation } };
                // Made before the block, as torchvision makes it: it draws first.
                let downsample = if index == 0 && (stride != 1 || from != times * planes) {
                    let layers =
                        vec![conv(from, times * planes, 1, stride, init)?.into(), norm(times * planes, init)?.into()];
                    Some(Sequential::new(layers))
                } else {
                    None
                };
                blocks.push(Block::new(config, from, planes, steps, downsample, init)?);
                from = times * planes;
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
        let mut net = net.map(&mut again);
        if let Some(error) = again.error {
            return Err(error);
        }
        if config.zero_init_residual {
            for stage in [&mut net.layer1, &mut net.layer2, &mut net.layer3, &mut net.layer4] {
                for block in &mut stage.layers {
                    let last = match block {
                        Block::Basic(block) => &mut block.bn2,
                        Block::Bottleneck(block) => &mut block.bn3,
                    };
                    last.weight.as_mut().map_or(Ok(()), |weight| init.zeros_(weight))?;
                }
            }
        }
        Ok(net)
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

/// The network of this depth, by its name.
macro_rules! named {
    ($name:literal, $depth:literal) => {
        Named::new($name, SETTINGS, IMAGES, |settings, init| build($depth, settings, init))
    };
}

impl ByHand for ResNet {
    const NAMES: &'static [Named<Self>] = &[
        named!("resnet18", 18),
        named!("resnet34", 34),
        named!("resnet50", 50),
        named!("resnet101", 101),
        named!("resnet152", 152),
    ];

    fn named(&self) -> usize {
        let basic = matches!(self.layer1.layers.first(), Some(Block::Basic(_)));
        match (basic, self.layer3.layers.len()) {
            (true, ..=2) => 0,
            (true, _) => 1,
            (false, ..=6) => 2,
            (false, ..=23) => 3,
            (false, _) => 4,
        }
    }

    fn lengths(&self) -> Vec<Length> {
        image(3, Length::AtLeast(1))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(scores(self.forward(given.image()?)?))
    }
}
