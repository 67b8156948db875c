//! `MultiheadAttention`.

use burn::module::Param;
use burn::tensor::{Bool, Tensor};

use super::dropout::Dropout;
use super::linear::{Linear, LinearConfig};
use super::module::{Forward, maybe, module, options, refused, value};
use crate::Result;
use crate::functional::{Array, Attention, Kind, Number, signed};
use crate::init::{Init, Rule};

options! {
    /// `torch.nn.MultiheadAttention(embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
    /// vdim=None, batch_first=False)`.
    MultiheadAttentionConfig(
        /// The length of a query and of an output.
        embed_dim: usize,
        /// How many heads share it.
        num_heads: usize,
    ) {
        /// What is dropped of the weights of attention, in training. Default 0.
        dropout / with_dropout: f64 = 0.0,
        /// Whether the linear maps have biases. Default true.
        bias / with_bias: bool = true,
        /// Whether a learned key and value are added to each sequence. Default false.
        add_bias_kv / with_add_bias_kv: bool = false,
        /// Whether a key and a value of zeros are added to each sequence. Default false.
        add_zero_attn / with_add_zero_attn: bool = false,
        /// The length of a key. Default `None`: that of a query.
        kdim / with_kdim: Option<usize> = None,
        /// The length of a value. Default `None`: that of a query.
        vdim / with_vdim: Option<usize> = None,
        /// Whether inputs are `[batch, length, features]`. Default false: `[length, batch, features]`.
        batch_first / with_batch_first: bool = false,
    }
}

/// What may not be looked at, and what is wanted: the arguments of [`MultiheadAttention::forward_masked`].
///
/// A truth value is true where something is **not** looked at, as in `torch.nn.MultiheadAttention` (in
/// `scaled_dot_product_attention` it is the other way round); a number is added to the scores.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    keys: Option<Array>,
    pairs: Option<Array>,
}

impl Masks {
    /// Nothing is masked.
    #[must_use]
    pub fn new() -> Self {
        Masks::default()
    }

    /// `key_padding_mask`: `[batch, keys]`, or `[keys]` without a batch, true for a key that is padding.
    #[must_use]
    pub fn with_key_padding<const D: usize>(self, mask: Tensor<D, Bool>) -> Self {
        Masks { keys: Some(Array::from_bool(mask)), ..self }
    }

    /// `key_padding_mask` of numbers that are added to the scores of a key.
    #[must_use]
    pub fn with_key_padding_added<const D: usize>(self, mask: Tensor<D>) -> Self {
        Masks { keys: Some(Array::from_float(mask)), ..self }
    }

    /// `attn_mask`: `[queries, keys]`, or `[batch * heads, queries, keys]`, true where a key is not looked at.
    #[must_use]
    pub fn with_hidden<const D: usize>(self, mask: Tensor<D, Bool>) -> Self {
        Masks { pairs: Some(Array::from_bool(mask)), ..self }
    }

    /// `attn_mask` of numbers that are added to the scores.
    #[must_use]
    pub fn with_added<const D: usize>(self, mask: Tensor<D>) -> Self {
        Masks { pairs: Some(Array::from_float(mask)), ..self }
    }

    /// `attn_mask`: a key later than its query is not looked at (`Transformer.generate_square_subsequent_mask(length)`).
    ///
    /// # Errors
    /// None in truth.
    pub fn with_causal(self, length: usize, like: &burn::tensor::Device) -> Result<Self> {
        let hidden: Vec<bool> = (0..length * length).map(|at| at % length > at / length).collect();
        Ok(Masks { pairs: Some(Array::from_bools(&hidden, &[length, length], like)?), ..self })
    }

    /// What is added to the scores `[batch, heads, queries, keys]`, over `more` keys that were added and may be looked at.
    fn added(&self, [batch, heads, queries, keys]: [usize; 4], more: usize, like: &Array) -> Result<Option<Array>> {
        let wrong = |mask: &Array| {
            refused(
                "MultiheadAttention",
                format!("a mask of {:?} does not fit {queries} queries and {keys} keys", mask.shape()),
            )
        };
        let numbers = |mask: &Array| -> Result<Array> {
            let mask = if mask.kind() == Kind::Bool {
                let zeros = Array::full(mask.shape(), Number::Int(0), like.dtype(), &like.device());
                zeros.fill_where(mask, Number::Float(f64::NEG_INFINITY))?
            } else {
                mask.cast(like.dtype())?
            };
            mask.pad(&[0, signed(more)], crate::functional::Padding::Constant(Number::Int(0)))
        };
        let all = keys + more;
        let pairs = match &self.pairs {
            None => None,
            Some(mask) if *mask.shape() == [queries, keys] => Some(numbers(mask)?.reshaped(&[1, 1, queries, all])?),
            Some(mask) if *mask.shape() == [batch * heads, queries, keys] => {
                Some(numbers(mask)?.reshaped(&[batch, heads, queries, all])?)
            }
            Some(mask) => return Err(wrong(mask)),
        };
        let padding = match &self.keys {
            None => None,
            Some(mask) if *mask.shape() == [batch, keys] || batch == 1 && *mask.shape() == [keys] => {
                Some(numbers(mask)?.reshaped(&[batch, 1, 1, all])?)
            }
            Some(mask) => return Err(wrong(mask)),
        };
        match (pairs, padding) {
            (Some(pairs), Some(padding)) => pairs.add(&padding).map(Some),
            (one, other) => Ok(one.or(other)),
        }
    }
}

/// `torch.nn.MultiheadAttention`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::MultiheadAttentionConfig;
///
/// let device = Device::flex();
/// let layer = MultiheadAttentionConfig::new(8, 2).with_batch_first(true).init(&mut Init::seeded(&device, 0))?;
/// let x = Tensor::<3>::ones([1, 5, 8], &device);
/// let output = layer.forward(x.clone(), x.clone(), x)?; // layer(x, x, x, need_weights=False)[0]
/// assert_eq!(output.dims(), [1, 5, 8]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiheadAttention {
    /// Where keys and values are as long as queries: all three maps, `[3 * embed, embed]`.
    pub in_proj_weight: Option<Param<Tensor<2>>>,
    /// Else: `[embed, embed]`.
    pub q_proj_weight: Option<Param<Tensor<2>>>,
    /// Else: `[embed, kdim]`.
    pub k_proj_weight: Option<Param<Tensor<2>>>,
    /// Else: `[embed, vdim]`.
    pub v_proj_weight: Option<Param<Tensor<2>>>,
    /// `[3 * embed]`.
    pub in_proj_bias: Option<Param<Tensor<1>>>,
    /// `[1, 1, embed]`.
    pub bias_k: Option<Param<Tensor<3>>>,
    /// `[1, 1, embed]`.
    pub bias_v: Option<Param<Tensor<3>>>,
    /// The map of the output.
    pub out_proj: Linear,
    dropout: Dropout,
    sizes: [usize; 2],
    add_zero_attn: bool,
    batch_first: bool,
}

module!(MultiheadAttention {
    in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, bias_k, bias_v, out_proj;
    dropout, sizes, add_zero_attn, batch_first
});

impl MultiheadAttentionConfig {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the length of a query cannot be divided among the heads.
    pub fn init(&self, init: &mut Init<'_>) -> Result<MultiheadAttention> {
        let embed = self.embed_dim;
        if embed.checked_rem(self.num_heads) != Some(0) || embed == 0 {
            let reason = format!("a length of {embed} cannot be divided among {} heads", self.num_heads);
            return Err(refused("MultiheadAttention", reason));
        }
        let (keys, values) = (self.kdim.unwrap_or(embed), self.vdim.unwrap_or(embed));
        let joined = keys == embed && values == embed;
        let mut out_proj = LinearConfig::new(embed, embed).with_bias(self.bias).init(init)?;
        let mut matrix = |shape: [usize; 2], wanted: bool| -> Result<Option<Param<Tensor<2>>>> {
            if wanted { init.param(shape, Rule::xavier_uniform(&shape, 1.0)?).map(Some) } else { Ok(None) }
        };
        let in_proj_weight = matrix([3 * embed, embed], joined)?;
        let q_proj_weight = matrix([embed, embed], !joined)?;
        let k_proj_weight = matrix([embed, keys], !joined)?;
        let v_proj_weight = matrix([embed, values], !joined)?;
        let in_proj_bias = if self.bias { Some(init.param([3 * embed], Rule::Constant(0.0))?) } else { None };
        if let Some(bias) = &mut out_proj.bias {
            init.zeros_(bias)?;
        }
        let mut added = || -> Result<Option<Param<Tensor<3>>>> {
            let shape = [1, 1, embed];
            if self.add_bias_kv { init.param(shape, Rule::xavier_normal(&shape, 1.0)?).map(Some) } else { Ok(None) }
        };
        let (bias_k, bias_v) = (added()?, added()?);
        Ok(MultiheadAttention {
            in_proj_weight,
            q_proj_weight,
            k_proj_weight,
            v_proj_weight,
            in_proj_bias,
            bias_k,
            bias_v,
            out_proj,
            dropout: Dropout::new(self.dropout, init),
            sizes: [embed, self.num_heads],
            add_zero_attn: self.add_zero_attn,
            batch_first: self.batch_first,
        })
    }
}

impl MultiheadAttention {
    /// `layer(query, key, value, need_weights=False)[0]` of `[length, batch, features]`, or `[batch, length, features]`, or without a
    /// batch.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn forward<const D: usize>(&self, query: Tensor<D>, key: Tensor<D>, value: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_masked(query, key, value, &Masks::new())
    }

    /// As [`forward`](Self::forward), with `attn_mask` and `key_padding_mask`. A query that may look at nothing gets the bias of the
    /// output.
    ///
    /// # Errors
    /// As there.
    pub fn forward_masked<const D: usize>(
        &self,
        query: Tensor<D>,
        key: Tensor<D>,
        value: Tensor<D>,
        masks: &Masks,
    ) -> Result<Tensor<D>> {
        let [query, key, value] = [query, key, value].map(Array::from_float);
        self.attend(&query, &key, &value, masks, false)?.0.into_float()
    }

    /// `layer(query, key, value, attn_mask=..., key_padding_mask=...)`: also the weights of attention, the mean over the heads,
    /// `[batch, queries, keys]`. A query that may look at nothing is NaN.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_weights<const D: usize>(
        &self,
        query: Tensor<D>,
        key: Tensor<D>,
        value: Tensor<D>,
        masks: &Masks,
    ) -> Result<(Tensor<D>, Tensor<D>)> {
        let (output, weights) = self.weighted([query, key, value], masks)?;
        Ok((output, weights.mean(&[-3], false)?.into_float()?))
    }

    /// The same with the weights of each head, `[batch, heads, queries, keys]`: `average_attn_weights=False`. `W` is one more than `D`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and when `W` is another.
    pub fn forward_head_weights<const D: usize, const W: usize>(
        &self,
        query: Tensor<D>,
        key: Tensor<D>,
        value: Tensor<D>,
        masks: &Masks,
    ) -> Result<(Tensor<D>, Tensor<W>)> {
        let (output, weights) = self.weighted([query, key, value], masks)?;
        Ok((output, weights.into_float()?))
    }

    fn weighted<const D: usize>(&self, given: [Tensor<D>; 3], masks: &Masks) -> Result<(Tensor<D>, Array)> {
        let [query, key, value] = given.map(Array::from_float);
        let (output, weights) = self.attend(&query, &key, &value, masks, true)?;
        let weights =
            weights.ok_or_else(|| refused("MultiheadAttention", "it has weights where they are asked for"))?;
        Ok((output.into_float()?, weights))
    }

    /// The map and the bias of queries (0), keys (1) or values (2).
    fn projected(&self, x: &Array, which: usize) -> Result<Array> {
        let embed = self.sizes[0];
        let part = |all: &Array| all.narrow(0, signed(which * embed), signed(embed));
        let own = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight][which];
        let weight = match (&self.in_proj_weight, own) {
            (Some(all), _) => part(&value(all))?,
            (None, Some(own)) => value(own),
            (None, None) => return Err(refused("MultiheadAttention", "it has no weights")),
        };
        let bias = maybe(self.in_proj_bias.as_ref()).map(|bias| part(&bias)).transpose()?;
        x.linear(&weight, bias.as_ref())
    }

    pub(super) fn attend(
        &self,
        query: &Array,
        key: &Array,
        value_: &Array,
        masks: &Masks,
        need_weights: bool,
    ) -> Result<(Array, Option<Array>)> {
        let [embed, heads] = self.sizes;
        if [query, key, value_].iter().all(|x| x.rank() == 2) {
            let at = i64::from(!self.batch_first);
            let [query, key, value] = [query.unsqueeze(at)?, key.unsqueeze(at)?, value_.unsqueeze(at)?];
            let (output, weights) = self.attend(&query, &key, &value, masks, need_weights)?;
            let weights = weights.map(|weights| weights.squeeze(Some(&[0]))).transpose()?;
            return Ok((output.squeeze(Some(&[at]))?, weights));
        }
        if [query, key, value_].iter().any(|x| x.rank() != 3) {
            return Err(refused(
                "MultiheadAttention",
                "queries, keys and values have three dimensions, or two without a batch",
            ));
        }
        // [length, batch, features], as PyTorch computes it.
        let time_first = |x: &Array| if self.batch_first { x.transpose(0, 1) } else { Ok(x.clone()) };
        let q = self.projected(&time_first(query)?, 0)?;
        let mut k = self.projected(&time_first(key)?, 1)?;
        let mut v = self.projected(&time_first(value_)?, 2)?;
        let (&[queries, batch, _], &[keys, key_batch, _]) = (q.shape(), k.shape()) else {
            return Err(refused("MultiheadAttention", "queries and keys have three dimensions"));
        };
        if key_batch != batch || v.shape() != k.shape() {
            let reason = format!(
                "queries of {:?}, keys of {:?} and values of {:?} do not go together",
                q.shape(),
                k.shape(),
                v.shape()
            );
            return Err(refused("MultiheadAttention", reason));
        }
        if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
            let row = |bias: &Param<Tensor<3>>| value(bias).expand(&[1, signed(batch), signed(embed)]);
            k = Array::cat(&[k, row(bias_k)?], 0)?;
            v = Array::cat(&[v, row(bias_v)?], 0)?;
        }
        if self.add_zero_attn {
            let zeros = Array::full(&[1, batch, embed], Number::Int(0), k.dtype(), &k.device());
            k = Array::cat(&[k, zeros.clone()], 0)?;
            v = Array::cat(&[v, zeros], 0)?;
        }
        let all = k.shape()[0];
        // [batch, heads, length, width].
        let split = |x: &Array| {
            let length = x.shape()[0];
            x.reshaped(&[length, batch, heads, embed / heads])?.permute(&[1, 2, 0, 3])
        };
        let (q, k, v) = (split(&q)?, split(&k)?, split(&v)?);
        let mask = masks.added([batch, heads, queries, keys], all - keys, &q)?;
        let dropped = |weights: Array| self.dropout.forward_array(&weights);
        let (attended, weights) = if need_weights {
            #[allow(clippy::cast_precision_loss)] // the width of a head
            let scaled = q.mul((1.0 / (embed / heads) as f64).sqrt())?;
            let scores = scaled.matmul(&k.transpose(-2, -1)?)?;
            let scores = mask.map_or(Ok(scores.clone()), |mask| scores.add(&mask))?;
            let weights = dropped(scores.softmax(-1)?)?;
            (weights.matmul(&v)?, Some(weights))
        } else {
            let keeps_all = self.dropout.keeps_all(&q.device());
            let how = Attention { mask: mask.as_ref(), keeps_all, ..Attention::default() };
            (q.attention(&k, &v, &how, dropped)?, None)
        };
        let flat = attended.permute(&[2, 0, 1, 3])?.reshaped(&[queries, batch, embed])?;
        let output = self.out_proj.forward_array(&flat)?;
        let output = if self.batch_first { output.transpose(0, 1)? } else { output };
        Ok((output, weights))
    }

    /// The order of such an output's dimensions in PyTorch's memory: dropout behind it draws so.
    pub(crate) fn order(&self, output: &Array) -> &'static [usize] {
        if self.batch_first && output.rank() == 3 { &[1, 0, 2] } else { &[] }
    }
}
