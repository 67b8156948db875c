//! `Embedding` and `EmbeddingBag`: rows of a matrix by their numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Content, Param};
use burn::tensor::{Int, Tensor};

use super::module::{options, refused, value};
use super::parts::{Change, Look, Parts, walked};
use crate::Result;
use crate::functional::{Array, signed};
use crate::init::{Init, Rule};

options! {
    /// `torch.nn.Embedding(num_embeddings, embedding_dim, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False)`.
    /// Gradients are never sparse.
    EmbeddingConfig(
        /// How many rows there are.
        num_embeddings: usize,
        /// How long a row is.
        embedding_dim: usize,
    ) {
        /// The row that stands for nothing: 0 at the start, and without a gradient. Default none.
        padding_idx / with_padding_idx: Option<usize> = None,
        /// Rows that are looked up and longer than this are made so long. Default none.
        max_norm / with_max_norm: Option<f64> = None,
        /// The norm that says how long a row is. Default 2.
        norm_type / with_norm_type: f64 = 2.0,
        /// Whether a row's gradient is divided by how often it was looked up. Default false.
        scale_grad_by_freq / with_scale_grad_by_freq: bool = false,
    }

    /// `torch.nn.EmbeddingBag(num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode='mean',
    /// include_last_offset=False, padding_idx=None)`.
    EmbeddingBagConfig(
        /// How many rows there are.
        num_embeddings: usize,
        /// How long a row is.
        embedding_dim: usize,
    ) {
        /// Rows that are looked up and longer than this are made so long. Default none.
        max_norm / with_max_norm: Option<f64> = None,
        /// The norm that says how long a row is. Default 2.
        norm_type / with_norm_type: f64 = 2.0,
        /// Whether a row's gradient is divided by how often it was looked up; of sums and means only. Default false.
        scale_grad_by_freq / with_scale_grad_by_freq: bool = false,
        /// What becomes of a bag's rows. Default their mean.
        mode / with_mode: BagMode = BagMode::Mean,
        /// Whether the last offset is the end of the last bag. Default false.
        include_last_offset / with_include_last_offset: bool = false,
        /// The row that does not count. Default none.
        padding_idx / with_padding_idx: Option<usize> = None,
    }
}

/// What an [`EmbeddingBag`] makes of a bag's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest along each column.
    Max,
}

/// `torch.nn.Embedding`: the row of each number.
///
/// With `max_norm`, [`forward`](Self::forward) shortens the rows that it looks up in the weight, as PyTorch does: what is trained, saved
/// and gets the gradient then is [`weight`](Self::weight). Of several forward passes before one step the first does it; rows that only a
/// later one looks up come out shortened, and are in the weight when they are looked up first after the step.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::EmbeddingConfig;
///
/// let device = Device::flex();
/// let layer = EmbeddingConfig::new(10, 3).with_padding_idx(Some(0)).init(&mut Init::seeded(&device, 0))?;
/// let rows: Tensor<3> = layer.forward(Tensor::<2, Int>::from_ints([[0, 4]], &device))?;
/// assert_eq!(rows.dims(), [1, 2, 3]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[rows, width]`, as it was made or mapped; with `max_norm` see [`weight`](Self::weight).
    pub weight: Param<Tensor<2>>,
    padding_idx: Option<usize>,
    max_norm: Option<f64>,
    norm_type: f64,
    scale_grad_by_freq: bool,
    renewed: Renewed,
}

/// With `max_norm`: the weight that the first forward pass made of the one before. Clones share it, until they are mapped.
type Renewed = Arc<Mutex<Option<Param<Tensor<2>>>>>;

const CONTAINER: &str = "Struct:torch.nn.Embedding";

/// The weight is shown as it is now.
impl Parts for Embedding {
    fn each(&self, look: &mut impl Look) {
        look.named("weight", CONTAINER, &self.weight());
    }

    fn changed(self, change: &mut impl Change) -> Self {
        let weight = change.named("weight", CONTAINER, self.weight());
        Embedding { weight, renewed: Renewed::default(), ..self }
    }

    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type("Embedding").add("weight", &self.weight);
        let content = content.add_debug_attribute("padding_idx", &self.padding_idx);
        content.add_debug_attribute("max_norm", &self.max_norm).optional()
    }
}

walked!([] Embedding, [] EmbeddingBag);

impl EmbeddingConfig {
    /// The layer, with weights as PyTorch draws them: normal.
    ///
    /// # Errors
    /// When there is no row for `padding_idx`.
    pub fn init(&self, init: &mut Init<'_>) -> Result<Embedding> {
        let rows = Rule::Rows { padding: self.padding_idx, std: 1.0 };
        Ok(Embedding {
            weight: init.param([self.num_embeddings, self.embedding_dim], rows)?,
            padding_idx: self.padding_idx,
            max_norm: self.max_norm,
            norm_type: self.norm_type,
            scale_grad_by_freq: self.scale_grad_by_freq,
            renewed: Renewed::default(),
        })
    }
}

impl Embedding {
    /// The weight as it is now: with `max_norm`, with the rows shortened that were looked up.
    #[must_use]
    pub fn weight(&self) -> Param<Tensor<2>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(|| self.weight.clone())
    }

    /// The rows of these numbers, shortened; and in the weight, if this is the first pass since it was made.
    fn shortened_rows(&self, index: &Array, max: f64) -> Result<Array> {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = match &*renewed {
            // Gradients of passes before this one belong to it: it stays what it is.
            Some(weight) => weight.clone(),
            None => {
                let old = value(&self.weight).detach();
                let new = old.embedding_renorm(index, max, self.norm_type)?.into_float::<2>()?;
                let renew = |old: Tensor<2>| new.detach().set_require_grad(old.is_require_grad());
                let weight = self.weight.clone().map(renew);
                *renewed = Some(weight.clone());
                weight
            }
        };
        let rows = value(&weight).embedding(index, self.padding_idx.map(signed))?;
        // The gradient is that of the rows as they lie in the weight.
        rows.detach().shortened(max, self.norm_type)?.add(&rows.sub(&rows.detach())?)
    }

    /// Draws the rows once more: normal, with this deviation; the one that stands for nothing is 0.
    ///
    /// # Errors
    /// When the deviation is negative.
    pub fn draw(&mut self, std: f64, init: &mut Init<'_>) -> Result<()> {
        self.renewed = Renewed::default();
        init.redraw(&mut self.weight, Rule::Rows { padding: self.padding_idx, std })
    }

    /// `[...]` to `[..., width]`: `R` is one more than `D`.
    ///
    /// # Errors
    /// When a number has no row, or `R` is another.
    pub fn forward<const D: usize, const R: usize>(&self, index: Tensor<D, Int>) -> Result<Tensor<R>> {
        self.forward_array(&Array::from_int(index))?.into_float()
    }

    /// As [`forward`](Self::forward), of any number of dimensions.
    ///
    /// # Errors
    /// When a number has no row.
    pub fn forward_array(&self, index: &Array) -> Result<Array> {
        let rows = match self.max_norm {
            Some(max) => self.shortened_rows(index, max)?,
            None => value(&self.weight).embedding(index, self.padding_idx.map(signed))?,
        };
        if !self.scale_grad_by_freq {
            return Ok(rows);
        }
        let numbers = index.ints()?;
        let mut often: HashMap<i64, f64> = HashMap::new();
        numbers.iter().for_each(|number| *often.entry(*number).or_default() += 1.0);
        let shares: Vec<f64> = numbers.iter().map(|number| 1.0 / often[number]).collect();
        let shares = Array::from_floats(&shares, index.shape(), rows.dtype(), &rows.device())?.unsqueeze(-1)?;
        // Only the gradient goes by them.
        rows.detach().add(&rows.sub(&rows.detach())?.mul(&shares)?)
    }
}

/// `torch.nn.EmbeddingBag`: sums, means or maxima of rows.
#[derive(Clone, Debug)]
pub struct EmbeddingBag {
    rows: Embedding,
    mode: BagMode,
    include_last_offset: bool,
}

/// Its parameter is that of its rows, under the same name.
impl Parts for EmbeddingBag {
    fn each(&self, look: &mut impl Look) {
        self.rows.each(look);
    }

    fn changed(self, change: &mut impl Change) -> Self {
        EmbeddingBag { rows: self.rows.changed(change), ..self }
    }

    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type("EmbeddingBag").add("weight", &self.rows.weight);
        content.add_debug_attribute("mode", &self.mode).optional()
    }
}

impl EmbeddingBagConfig {
    /// The layer, with weights as PyTorch draws them: normal.
    ///
    /// # Errors
    /// When there is no row for `padding_idx`, or gradients of maxima are to be divided.
    pub fn init(&self, init: &mut Init<'_>) -> Result<EmbeddingBag> {
        if self.mode == BagMode::Max && self.scale_grad_by_freq {
            return Err(refused("EmbeddingBag", "scale_grad_by_freq is for sums and means"));
        }
        let rows = EmbeddingConfig::new(self.num_embeddings, self.embedding_dim)
            .with_padding_idx(self.padding_idx)
            .with_max_norm(self.max_norm)
            .with_norm_type(self.norm_type)
            .with_scale_grad_by_freq(self.scale_grad_by_freq);
        Ok(EmbeddingBag { rows: rows.init(init)?, mode: self.mode, include_last_offset: self.include_last_offset })
    }
}

impl EmbeddingBag {
    /// `[rows, width]`, as it is now: see [`Embedding::weight`](Embedding::weight()).
    #[must_use]
    pub fn weight(&self) -> Param<Tensor<2>> {
        self.rows.weight()
    }

    /// Bags of one length, `[bags, length]`, to `[bags, width]`. With weights for each row, of its shape: for sums only.
    ///
    /// # Errors
    /// When a number has no row, or there are weights and no sums.
    pub fn forward(&self, input: Tensor<2, Int>, per_sample_weights: Option<Tensor<2>>) -> Result<Tensor<2>> {
        let [bags, length] = input.dims();
        let starts: Vec<usize> = (0..bags).map(|bag| bag * length).collect();
        let weights = per_sample_weights.map(|weights| Array::from_float(weights).flatten(0, -1)).transpose()?;
        self.bags(&Array::from_int(input).flatten(0, -1)?, &starts, weights.as_ref())
    }

    /// Bags one after the other, each from its offset on, to `[bags, width]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and when the offsets do not go up from 0 to the length of the input at most.
    pub fn forward_offsets(
        &self,
        input: Tensor<1, Int>,
        offsets: Tensor<1, Int>,
        per_sample_weights: Option<Tensor<1>>,
    ) -> Result<Tensor<2>> {
        let length = input.dims()[0];
        let wrong = || refused("EmbeddingBag", format!("offsets go up from 0 to {length} at most"));
        let offsets = Array::from_int(offsets).ints()?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
        let mut starts = offsets.map_err(|_| wrong())?;
        if starts.first().is_some_and(|&first| first != 0)
            || !starts.is_sorted()
            || starts.last().is_some_and(|&last| last > length)
        {
            return Err(wrong());
        }
        if self.include_last_offset && starts.pop().is_none() {
            return Err(refused("EmbeddingBag", "with include_last_offset there is at least one offset"));
        }
        self.bags(&Array::from_int(input), &starts, per_sample_weights.map(Array::from_float).as_ref())
    }

    fn bags(&self, index: &Array, starts: &[usize], weights: Option<&Array>) -> Result<Tensor<2>> {
        if weights.is_some() && self.mode != BagMode::Sum {
            return Err(refused("EmbeddingBag", "weights for each row are for sums only"));
        }
        let rows = self.rows.forward_array(index)?;
        let width = rows.shape().last().copied().unwrap_or(0);
        if starts.is_empty() {
            return rows.narrow(0, 0, 0)?.into_float();
        }
        let kept: Vec<bool> = match self.rows.padding_idx {
            Some(padding) => index.ints()?.into_iter().map(|number| number != signed(padding)).collect(),
            None => vec![true; index.numel()],
        };
        let rows = match weights {
            Some(weights) => rows.mul(&weights.unsqueeze(-1)?)?,
            None => rows,
        };
        let ends = starts.iter().skip(1).copied().chain([index.numel()]);
        let bag = |(&start, end): (&usize, usize)| -> Result<Array> {
            let places: Vec<i64> = (start..end).filter(|&at| kept[at]).map(signed).collect();
            if places.is_empty() {
                // The sum of no rows.
                return rows.narrow(0, 0, 0)?.sum(&[0], false)?.reshaped(&[width]);
            }
            let places = Array::from_ints(&places, &[places.len()], &rows.device())?;
            let rows = rows.index_select(0, &places)?;
            match self.mode {
                BagMode::Sum => rows.sum(&[0], false),
                BagMode::Mean => rows.mean(&[0], false),
                BagMode::Max => Ok(rows.extreme_of(0, false, true)?.0),
            }
        };
        let bags = starts.iter().zip(ends).map(bag).collect::<Result<Vec<_>>>()?;
        Array::stack(&bags, 0)?.into_float()
    }
}
