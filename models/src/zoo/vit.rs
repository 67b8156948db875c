//! torchvision's vision transformers: `vit_b_16`, `vit_b_32`, `vit_l_16`, `vit_l_32`.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::Result;
use crate::functional::Array;
use crate::init::{Init, Rule, SharedGenerator, refused};
use crate::nn::functional::add;
use crate::nn::{
    Conv2d, Conv2dConfig, Dropout, GELU, LayerNorm, LayerNormConfig, LinearConfig, ModuleDict, MultiheadAttention,
    MultiheadAttentionConfig, Sequential,
};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, scores};
use crate::registry::settings::{Setting, Settings};

/// Its settings: sizes are the weights'. How many heads there are they do not show; those of `vit_b_16` have 12, those of
/// another width are asked for.
const SETTINGS: &[Setting] = &[
    Setting::shown("image_size", "224", |weights| {
        let (places, patch) = (weights.dim("encoder.pos_embedding", 1)?, weights.dim("conv_proj.weight", 2)?);
        Some((places.checked_sub(1)?.isqrt() * patch).to_string())
    }),
    Setting::shown("patch_size", "16", |weights| weights.length("conv_proj.weight", 2)),
    Setting::shown("num_layers", "12", |weights| weights.count("encoder.layers.encoder_layer_{}.ln_1.weight")),
    Setting::shown_or_asked("num_heads", "12", |weights| {
        weights.dim("conv_proj.weight", 0).filter(|width| *width == 768).map(|_| "12".to_owned())
    }),
    Setting::shown("hidden_dim", "768", |weights| weights.length("conv_proj.weight", 0)),
    Setting::shown("mlp_dim", "3072", |weights| weights.length("encoder.layers.encoder_layer_0.mlp.0.weight", 0)),
    Setting::plain("dropout", "0.0"),
    Setting::plain("attention_dropout", "0.0"),
    Setting::shown("num_classes", "1000", |weights| weights.length("heads.head.weight", 0)),
];

/// `vit_b_16`, or one of other sizes, of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Vit> {
    let config = VitConfig {
        image_size: settings.number("image_size")?,
        patch_size: settings.number("patch_size")?,
        num_layers: settings.number("num_layers")?,
        num_heads: settings.number("num_heads")?,
        hidden_dim: settings.number("hidden_dim")?,
        mlp_dim: settings.number("mlp_dim")?,
        dropout: settings.dropout("dropout")?,
        attention_dropout: settings.dropout("attention_dropout")?,
        num_classes: settings.number("num_classes")?,
    };
    Vit::new(&config, init)
}

/// How large it is, and what it drops.
#[derive(Clone, Copy, Debug)]
pub struct VitConfig {
    /// The length of an image's sides.
    pub image_size: usize,
    /// The length of a patch's sides.
    pub patch_size: usize,
    /// How many layers.
    pub num_layers: usize,
    /// How many heads.
    pub num_heads: usize,
    /// How long a patch's vector is.
    pub hidden_dim: usize,
    /// How long it is between the two linear maps.
    pub mlp_dim: usize,
    /// What is dropped in training of what a layer adds, and of the patches.
    pub dropout: f64,
    /// What is dropped of the weights of attention.
    pub attention_dropout: f64,
    /// How many classes.
    pub num_classes: usize,
}

impl VitConfig {
    /// `vit_b_16`.
    #[must_use]
    pub fn b_16() -> Self {
        VitConfig {
            image_size: 224,
            patch_size: 16,
            num_layers: 12,
            num_heads: 12,
            hidden_dim: 768,
            mlp_dim: 3072,
            dropout: 0.0,
            attention_dropout: 0.0,
            num_classes: 1000,
        }
    }
}

/// A layer.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct EncoderBlock {
    pub ln_1: LayerNorm,
    pub self_attention: MultiheadAttention,
    pub dropout: Dropout,
    pub ln_2: LayerNorm,
    pub mlp: Sequential,
}

/// All layers.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct Encoder {
    pub pos_embedding: Param<Tensor<3>>,
    pub dropout: Dropout,
    pub layers: ModuleDict<EncoderBlock>,
    pub ln: LayerNorm,
}

/// A vision transformer: `[batch, 3, side, side]` to `[batch, classes]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are torchvision's
pub struct Vit {
    pub class_token: Param<Tensor<3>>,
    pub conv_proj: Conv2d,
    pub encoder: Encoder,
    pub heads: ModuleDict<crate::nn::Linear>,
    side: usize,
}

impl EncoderBlock {
    fn new(config: &VitConfig, init: &mut Init<'_>) -> Result<Self> {
        let (width, inner) = (config.hidden_dim, config.mlp_dim);
        let norm = LayerNormConfig::new([width]).with_eps(1e-6);
        let ln_1 = norm.init(init)?;
        let attention = MultiheadAttentionConfig::new(width, config.num_heads).with_batch_first(true);
        let self_attention = attention.with_dropout(config.attention_dropout).init(init)?;
        let mut one = LinearConfig::new(width, inner).init(init)?;
        let mut two = LinearConfig::new(inner, width).init(init)?;
        for linear in [&mut one, &mut two] {
            init.xavier_uniform_(&mut linear.weight, 1.0)?;
            if let Some(bias) = &mut linear.bias {
                init.normal_(bias, 0.0, 1e-6)?;
            }
        }
        let drop = Dropout::new(config.dropout, init);
        let mlp = vec![one.into(), GELU::new().into(), drop.clone().into(), two.into(), drop.clone().into()];
        Ok(EncoderBlock { ln_1, self_attention, dropout: drop, ln_2: norm.init(init)?, mlp: Sequential::new(mlp) })
    }

    fn forward(&self, input: Tensor<3>) -> Result<Tensor<3>> {
        let x = self.ln_1.forward(input.clone())?;
        let x = Array::from_float(self.self_attention.forward(x.clone(), x.clone(), x)?);
        let x = self.dropout.forward_laid(&x, self.self_attention.order(&x))?.into_float()?;
        let x = add(x, input)?;
        let y: Tensor<3> = self.mlp.forward(self.ln_2.forward(x.clone())?)?;
        add(x, y)
    }
}

impl Vit {
    /// A new network.
    ///
    /// # Errors
    /// When patches do not cover the image, or a vector cannot be divided among the heads.
    pub fn new(config: &VitConfig, init: &mut Init<'_>) -> Result<Self> {
        let VitConfig { image_size: side, patch_size: patch, hidden_dim: width, .. } = *config;
        if side.checked_rem(patch) != Some(0) {
            return Err(refused("ViT", format!("patches of {patch} do not cover a side of {side}")));
        }
        let places = (side / patch).pow(2) + 1;
        let mut conv_proj = Conv2dConfig::new(3, width, patch).with_stride(patch).init(init)?;
        let mut pos_embedding = init.param([1, places, width], Rule::Constant(0.0))?;
        init.normal_(&mut pos_embedding, 0.0, 0.02)?;
        let layers =
            (0..config.num_layers).map(|at| Ok((format!("encoder_layer_{at}"), EncoderBlock::new(config, init)?)));
        let layers = layers.collect::<Result<Vec<_>>>()?.into_iter().collect();
        let mut head = LinearConfig::new(width, config.num_classes).init(init)?;
        #[allow(clippy::cast_precision_loss)] // the elements of a patch
        let fan_in = (3 * patch * patch) as f64;
        init.trunc_normal_(&mut conv_proj.weight, 0.0, (1.0 / fan_in).sqrt(), -2.0, 2.0)?;
        for bias in [&mut conv_proj.bias, &mut head.bias].into_iter().flatten() {
            init.zeros_(bias)?;
        }
        init.zeros_(&mut head.weight)?;
        let encoder = Encoder {
            pos_embedding,
            dropout: Dropout::new(config.dropout, init),
            layers,
            ln: LayerNormConfig::new([width]).with_eps(1e-6).init(init)?,
        };
        let class_token = init.param([1, 1, width], Rule::Constant(0.0))?;
        Ok(Vit { class_token, conv_proj, encoder, heads: [("head", head)].into_iter().collect(), side })
    }

    /// `[batch, 3, side, side]` to the scores of the classes, `[batch, classes]`.
    ///
    /// # Errors
    /// When the image has other sides.
    pub fn forward(&self, image: Tensor<4>) -> Result<Tensor<2>> {
        let [batch, _, height, width] = image.dims();
        if [height, width] != [self.side; 2] {
            let reason = format!("an image of {height} by {width} is not {} by {0}", self.side);
            return Err(refused("ViT", reason));
        }
        let patches = self.conv_proj.forward(image)?.flatten::<3>(2, 3).swap_dims(1, 2);
        let token = self.class_token.val();
        let length = token.dims()[2];
        let parts = [token.expand([batch, 1, length]), patches].map(Array::from_float);
        let x = add(Array::cat(&parts, 1)?.into_float()?, self.encoder.pos_embedding.val())?;
        let x = self.encoder.dropout.forward(x)?;
        let x = self.encoder.layers.modules.iter().try_fold(x, |x, (_, layer)| layer.forward(x))?;
        let first = self.encoder.ln.forward(x)?.narrow(1, 0, 1).flatten::<2>(1, 2);
        let head = self.heads.get("head").ok_or_else(|| refused("ViT", "it has no head"))?;
        head.forward(first)
    }

    /// What it draws from as it trains.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        self.encoder.dropout.generator()
    }
}

impl ByHand for Vit {
    const NAMES: &'static [Named<Self>] = &[Named::new("vit_b_16", SETTINGS, IMAGES, build)];

    fn lengths(&self) -> Vec<Length> {
        image(3, Length::Exactly(self.side))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(scores(self.forward(given.image()?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.generator())
    }
}
