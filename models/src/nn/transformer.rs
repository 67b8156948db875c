//! `TransformerEncoderLayer`, `TransformerDecoderLayer`, `TransformerEncoder`, `TransformerDecoder`, `Transformer`.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::attention::{Masks, MultiheadAttention, MultiheadAttentionConfig};
use super::dropout::Dropout;
use super::linear::{Linear, LinearConfig};
use super::module::{Forward, module, options};
use super::norm::{LayerNorm, LayerNormConfig};
use crate::Result;
use crate::functional::Array;
use crate::init::{Init, is_trained};

/// The activation of a transformer layer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Activation {
    /// `relu`.
    #[default]
    Relu,
    /// `gelu`, exact.
    Gelu,
    /// Another function: `Activation::Of(Array::silu)`.
    Of(fn(&Array) -> Result<Array>),
}

impl Activation {
    fn of(self, x: &Array) -> Result<Array> {
        match self {
            Activation::Relu => x.relu(),
            Activation::Gelu => x.gelu(false),
            Activation::Of(function) => function(x),
        }
    }
}

options! {
    /// `torch.nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=relu, layer_norm_eps=1e-05,
    /// batch_first=False, norm_first=False, bias=True)`; of a [`TransformerDecoderLayer`] the same.
    TransformerLayerConfig(
        /// The length of an element of a sequence.
        d_model: usize,
        /// How many heads its attention has.
        nhead: usize,
    ) {
        /// The length between the two linear maps. Default 2048.
        dim_feedforward / with_dim_feedforward: usize = 2048,
        /// What is dropped, in training. Default 0.1.
        dropout / with_dropout: f64 = 0.1,
        /// What is between the two linear maps. Default `ReLU`.
        activation / with_activation: Activation = Activation::Relu,
        /// What the norms add to the variance. Default 1e-5.
        layer_norm_eps / with_layer_norm_eps: f64 = 1e-5,
        /// Whether inputs are `[batch, length, features]`. Default false: `[length, batch, features]`.
        batch_first / with_batch_first: bool = false,
        /// Whether it normalises before attention and linear maps. Default false: after them.
        norm_first / with_norm_first: bool = false,
        /// Whether linear maps and norms have biases. Default true.
        bias / with_bias: bool = true,
    }

    /// `torch.nn.Transformer(d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, ...)`; the rest as its layers'.
    TransformerConfig(
        /// What its layers are like.
        layer: TransformerLayerConfig,
    ) {
        /// How many layers the encoder has. Default 6.
        num_encoder_layers / with_num_encoder_layers: usize = 6,
        /// How many layers the decoder has. Default 6.
        num_decoder_layers / with_num_decoder_layers: usize = 6,
    }
}

impl TransformerLayerConfig {
    fn attention(&self, init: &mut Init<'_>) -> Result<MultiheadAttention> {
        MultiheadAttentionConfig::new(self.d_model, self.nhead)
            .with_dropout(self.dropout)
            .with_bias(self.bias)
            .with_batch_first(self.batch_first)
            .init(init)
    }

    fn linears(&self, init: &mut Init<'_>) -> Result<[Linear; 2]> {
        let linear = |from, to, init: &mut Init<'_>| LinearConfig::new(from, to).with_bias(self.bias).init(init);
        Ok([linear(self.d_model, self.dim_feedforward, init)?, linear(self.dim_feedforward, self.d_model, init)?])
    }

    fn norm(&self, init: &mut Init<'_>) -> Result<LayerNorm> {
        LayerNormConfig::new([self.d_model]).with_eps(self.layer_norm_eps).with_bias(self.bias).init(init)
    }

    /// The layer of an encoder, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the length cannot be divided among the heads.
    pub fn init_encoder(&self, init: &mut Init<'_>) -> Result<TransformerEncoderLayer> {
        let self_attn = self.attention(init)?;
        let [linear1, linear2] = self.linears(init)?;
        let drop = Dropout::new(self.dropout, init);
        Ok(TransformerEncoderLayer {
            self_attn,
            linear1,
            dropout: drop.clone(),
            linear2,
            norm1: self.norm(init)?,
            norm2: self.norm(init)?,
            dropout1: drop.clone(),
            dropout2: drop,
            activation: self.activation,
            norm_first: self.norm_first,
        })
    }

    /// The layer of a decoder, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the length cannot be divided among the heads.
    pub fn init_decoder(&self, init: &mut Init<'_>) -> Result<TransformerDecoderLayer> {
        let (self_attn, multihead_attn) = (self.attention(init)?, self.attention(init)?);
        let [linear1, linear2] = self.linears(init)?;
        let drop = Dropout::new(self.dropout, init);
        Ok(TransformerDecoderLayer {
            self_attn,
            multihead_attn,
            linear1,
            dropout: drop.clone(),
            linear2,
            norm1: self.norm(init)?,
            norm2: self.norm(init)?,
            norm3: self.norm(init)?,
            dropout1: drop.clone(),
            dropout2: drop.clone(),
            dropout3: drop,
            activation: self.activation,
            norm_first: self.norm_first,
        })
    }
}

/// `torch.nn.TransformerEncoderLayer`: attention to the sequence itself, then two linear maps.
///
/// In evaluation without gradients PyTorch takes a shorter way of its own, whose numbers are these but for rounding, and which gives
/// zeros where `src_key_padding_mask` is true.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are PyTorch's
pub struct TransformerEncoderLayer {
    pub self_attn: MultiheadAttention,
    pub linear1: Linear,
    pub dropout: Dropout,
    pub linear2: Linear,
    pub norm1: LayerNorm,
    pub norm2: LayerNorm,
    pub dropout1: Dropout,
    pub dropout2: Dropout,
    activation: Activation,
    norm_first: bool,
}

/// `torch.nn.TransformerDecoderLayer`: attention to the sequence itself, then to the encoder's, then two linear maps.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are PyTorch's
pub struct TransformerDecoderLayer {
    pub self_attn: MultiheadAttention,
    pub multihead_attn: MultiheadAttention,
    pub linear1: Linear,
    pub dropout: Dropout,
    pub linear2: Linear,
    pub norm1: LayerNorm,
    pub norm2: LayerNorm,
    pub norm3: LayerNorm,
    pub dropout1: Dropout,
    pub dropout2: Dropout,
    pub dropout3: Dropout,
    activation: Activation,
    norm_first: bool,
}

module!(TransformerEncoderLayer {
    self_attn, linear1, dropout, linear2, norm1, norm2, dropout1, dropout2; activation, norm_first
});
module!(TransformerDecoderLayer {
    self_attn, multihead_attn, linear1, dropout, linear2, norm1, norm2, norm3, dropout1, dropout2, dropout3;
    activation, norm_first
});

/// `x + block(norm(x))` or `norm(x + block(x))`.
fn residual(x: &Array, norm: &LayerNorm, first: bool, block: impl FnOnce(&Array) -> Result<Array>) -> Result<Array> {
    if first { x.add(&block(&norm.forward_array(x)?)?) } else { norm.forward_array(&x.add(&block(x)?)?) }
}

impl TransformerEncoderLayer {
    /// A sequence, with a batch or without, to one of the same shape: `layer(src)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, src: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(src, &Masks::new())
    }

    /// `layer(src, src_mask, src_key_padding_mask)`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_masked<const D: usize>(&self, src: Tensor<D>, masks: &Masks) -> Result<Tensor<D>> {
        self.run(&Array::from_float(src), masks)?.into_float()
    }

    fn run(&self, src: &Array, masks: &Masks) -> Result<Array> {
        let x = residual(src, &self.norm1, self.norm_first, |x| {
            let attended = self.self_attn.attend(x, x, x, masks, false)?.0;
            self.dropout1.forward_laid(&attended, self.self_attn.order(&attended))
        })?;
        residual(&x, &self.norm2, self.norm_first, |x| {
            let inner = self.activation.of(&self.linear1.forward_array(x)?)?;
            self.dropout2.forward_array(&self.linear2.forward_array(&self.dropout.forward_array(&inner)?)?)
        })
    }
}

impl TransformerDecoderLayer {
    /// `layer(tgt, memory)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, tgt: Tensor<D>, memory: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(tgt, memory, &Masks::new(), &Masks::new())
    }

    /// `layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_masked<const D: usize>(
        &self,
        tgt: Tensor<D>,
        memory: Tensor<D>,
        own: &Masks,
        other: &Masks,
    ) -> Result<Tensor<D>> {
        self.run(&Array::from_float(tgt), &Array::from_float(memory), own, other)?.into_float()
    }

    fn run(&self, tgt: &Array, memory: &Array, own: &Masks, other: &Masks) -> Result<Array> {
        let x = residual(tgt, &self.norm1, self.norm_first, |x| {
            let attended = self.self_attn.attend(x, x, x, own, false)?.0;
            self.dropout1.forward_laid(&attended, self.self_attn.order(&attended))
        })?;
        let x = residual(&x, &self.norm2, self.norm_first, |x| {
            let attended = self.multihead_attn.attend(x, memory, memory, other, false)?.0;
            self.dropout2.forward_laid(&attended, self.multihead_attn.order(&attended))
        })?;
        residual(&x, &self.norm3, self.norm_first, |x| {
            let inner = self.activation.of(&self.linear1.forward_array(x)?)?;
            self.dropout3.forward_array(&self.linear2.forward_array(&self.dropout.forward_array(&inner)?)?)
        })
    }
}

/// `torch.nn.TransformerEncoder(encoder_layer, num_layers, norm=None)`.
#[derive(Clone, Debug)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// What is behind the last.
    pub norm: Option<LayerNorm>,
}

/// `torch.nn.TransformerDecoder(decoder_layer, num_layers, norm=None)`.
#[derive(Clone, Debug)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// What is behind the last.
    pub norm: Option<LayerNorm>,
}

module!(TransformerEncoder { layers, norm; });
module!(TransformerDecoder { layers, norm; });

impl TransformerEncoder {
    /// So many layers like this one: as in PyTorch, all begin with its weights.
    #[must_use]
    pub fn new(layer: &TransformerEncoderLayer, num_layers: usize, norm: Option<LayerNorm>) -> Self {
        TransformerEncoder { layers: copies(layer, num_layers), norm }
    }

    /// `encoder(src)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, src: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(src, &Masks::new())
    }

    /// `encoder(src, mask, src_key_padding_mask)`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_masked<const D: usize>(&self, src: Tensor<D>, masks: &Masks) -> Result<Tensor<D>> {
        let x = self.layers.iter().try_fold(Array::from_float(src), |x, layer| layer.run(&x, masks))?;
        self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward_array(&x))?.into_float()
    }
}

impl TransformerDecoder {
    /// So many layers like this one: as in PyTorch, all begin with its weights.
    #[must_use]
    pub fn new(layer: &TransformerDecoderLayer, num_layers: usize, norm: Option<LayerNorm>) -> Self {
        TransformerDecoder { layers: copies(layer, num_layers), norm }
    }

    /// `decoder(tgt, memory)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, tgt: Tensor<D>, memory: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(tgt, memory, &Masks::new(), &Masks::new())
    }

    /// `decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_masked<const D: usize>(
        &self,
        tgt: Tensor<D>,
        memory: Tensor<D>,
        own: &Masks,
        other: &Masks,
    ) -> Result<Tensor<D>> {
        let memory = Array::from_float(memory);
        let run = |x: Array, layer: &TransformerDecoderLayer| layer.run(&x, &memory, own, other);
        let x = self.layers.iter().try_fold(Array::from_float(tgt), run)?;
        self.norm.as_ref().map_or(Ok(x.clone()), |norm| norm.forward_array(&x))?.into_float()
    }
}

/// Modules of their own, with the same weights: `copy.deepcopy`.
fn copies<M: Module>(module: &M, count: usize) -> Vec<M> {
    struct Own;
    impl ModuleMapper for Own {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::from_tensor(param.val().detach()).set_require_grad(is_trained(&param))
        }
    }
    (0..count).map(|_| module.clone().map(&mut Own)).collect()
}

/// `torch.nn.Transformer`: an encoder and a decoder.
#[derive(Clone, Debug)]
pub struct Transformer {
    /// Its encoder, with a norm behind it.
    pub encoder: TransformerEncoder,
    /// Its decoder, with a norm behind it.
    pub decoder: TransformerDecoder,
}

module!(Transformer { encoder, decoder; });

impl TransformerConfig {
    /// The network, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the length cannot be divided among the heads.
    pub fn init(&self, init: &mut Init<'_>) -> Result<Transformer> {
        let layer = &self.layer;
        let one = layer.init_encoder(init)?;
        let encoder = TransformerEncoder::new(&one, self.num_encoder_layers, Some(layer.norm(init)?));
        let one = layer.init_decoder(init)?;
        let decoder = TransformerDecoder::new(&one, self.num_decoder_layers, Some(layer.norm(init)?));
        let mut drawn = Xavier { init, error: None };
        let transformer = Transformer { encoder, decoder }.map(&mut drawn);
        drawn.error.map_or(Ok(transformer), Err)
    }
}

/// `for p in self.parameters(): if p.dim() > 1: xavier_uniform_(p)`.
struct Xavier<'i, 'a> {
    init: &'i mut Init<'a>,
    error: Option<crate::ModelError>,
}

impl ModuleMapper for Xavier<'_, '_> {
    fn map_float<const D: usize>(&mut self, mut param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D > 1
            && let Err(error) = self.init.xavier_uniform_(&mut param, 1.0)
        {
            self.error.get_or_insert(error);
        }
        param
    }
}

impl Transformer {
    /// `transformer(src, tgt)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, src: Tensor<D>, tgt: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(src, tgt, &Masks::new(), &Masks::new(), &Masks::new())
    }

    /// As [`forward`](Self::forward), with the masks of the source, of the target, and of what the target looks at in the source.
    ///
    /// # Errors
    /// As there.
    pub fn forward_masked<const D: usize>(
        &self,
        src: Tensor<D>,
        tgt: Tensor<D>,
        of_src: &Masks,
        of_tgt: &Masks,
        of_memory: &Masks,
    ) -> Result<Tensor<D>> {
        let memory = self.encoder.forward_masked(src, of_src)?;
        self.decoder.forward_masked(tgt, memory, of_tgt, of_memory)
    }
}
