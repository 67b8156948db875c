//! `scaled_dot_product_attention`.

use super::array::{Array, BOOL, Kind, refused};
use super::autocast::{full, lower};
use super::broadcast::select;
use super::cpu::{self, computed};
use super::index::signed;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// What [`Array::attention`] is told beside queries, keys and values.
#[derive(Clone, Debug, Default)]
pub struct Attention<'a> {
    /// True where a key may be looked at, or what is added to the scores.
    pub mask: Option<&'a Array>,
    /// A key later than the query, both counted from the first, is not looked at. Default false.
    pub causal: bool,
    /// What scores are multiplied by. Default `1 / sqrt(width)`.
    pub scale: Option<f64>,
    /// Whether each head of keys and values serves several of queries. Default false.
    pub grouped: bool,
    /// Whether `drop` keeps all weights as they are, which is faster. Default false.
    pub keeps_all: bool,
}

impl Array {
    /// `torch.nn.functional.scaled_dot_product_attention(self, key, value, ...)`, `[..., length, width]`. `drop` is what
    /// dropout does to the weights. A query that may look at nothing gets zeros.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn attention(
        &self,
        key: &Array,
        value: &Array,
        how: &Attention<'_>,
        drop: impl FnOnce(Array) -> Result<Array>,
    ) -> Result<Self> {
        lower([self, key, value], how.mask, |[query, key, value], mask| {
            query.attended(key, value, &Attention { mask, ..*how }, drop)
        })
    }

    fn attended(
        &self,
        key: &Array,
        value: &Array,
        how: &Attention<'_>,
        drop: impl FnOnce(Array) -> Result<Array>,
    ) -> Result<Self> {
        let (&[.., queries, width], &[.., keys, _]) = (self.shape(), key.shape()) else {
            return Err(refused("attention", "queries and keys are [..., length, width]"));
        };
        let (mut key, mut value) = (key.clone(), value.clone());
        if how.grouped {
            let heads = |x: &Array| x.rank().checked_sub(3).map_or(1, |at| x.shape()[at]);
            let wanted = heads(self);
            let repeated = |x: &Array| x.repeat_interleave(wanted / heads(x).max(1), Some(-3));
            (key, value) = (repeated(&key)?, repeated(&value)?);
        }
        #[allow(clippy::cast_precision_loss)] // the width of a head
        let scale = how.scale.unwrap_or_else(|| 1.0 / (width as f64).sqrt());
        let (batch, fits) = (&self.shape()[..self.rank() - 2], |x: &Array| x.rank() == self.rank());
        let together = fits(&key)
            && fits(&value)
            && [&key, &value].iter().all(|x| x.shape().starts_with(batch))
            && (key.shape()[self.rank() - 2], key.shape()[self.rank() - 1]) == (value.shape()[self.rank() - 2], width);
        if how.keeps_all
            && how.mask.is_none()
            && together
            && let Some(y) = computed(cpu::Attention { causal: how.causal, scale }, &[self, &key, &value])
        {
            return Ok(Array::of(y));
        }
        let mut scores = self.matmul(&key.transpose(-2, -1)?)?.mul(scale)?;
        if how.causal {
            let hidden: Vec<bool> = (0..queries * keys).map(|at| at % keys.max(1) > at / keys.max(1)).collect();
            let hidden = Array::from_bools(&hidden, &[queries, keys], &self.device())?;
            scores = scores.fill_where(&hidden, Number::Float(f64::NEG_INFINITY))?;
        }
        let Some(mask) = how.mask else { return drop(scores.softmax(-1)?)?.matmul(&value) };
        scores = match mask.kind() {
            Kind::Bool => scores.fill_where(&mask.logical_not()?, Number::Float(f64::NEG_INFINITY))?,
            _ => scores.add(mask)?.cast(self.dtype())?,
        };
        // A row without anything to look at has no softmax: its scores become 0, its weights, too.
        let seen = scores.detach().gt(f64::NEG_INFINITY)?.cast(self.dtype())?;
        let empty = seen.sum(&[-1], true)?.eq(0.0)?.cast(BOOL)?;
        let weights = scores.fill_where(&empty, Number::Float(0.0))?.softmax(-1)?;
        drop(weights.fill_where(&empty, Number::Float(0.0))?)?.matmul(&value)
    }

    /// How alike two are along a dimension: `cosine_similarity`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn cosine_similarity(&self, other: &Array, dim: i64, eps: f64) -> Result<Self> {
        let norm = |x: &Array| -> Result<Array> {
            let norm = x.vector_norm(2.0, &[dim], true)?;
            // The gradient goes through the norm as it is, not as it is bounded.
            let bounded = select(&norm.gt(eps)?, &norm, eps)?;
            x.div(&norm.add(&bounded.sub(&norm)?.detach())?)
        };
        // The norms are those of what is broadcast.
        let shape = super::broadcast_shape(self.shape(), other.shape())?;
        norm(&self.expanded(&shape)?)?.mul(&norm(&other.expanded(&shape)?)?)?.sum(&[dim], false)
    }

    /// The distances between all rows of two matrices: `cdist`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn cdist(&self, other: &Array, p: f64) -> Result<Self> {
        full([self, other], None, |[one, other], _| {
            let two = other.unsqueeze(signed(other.rank().saturating_sub(2)))?;
            one.unsqueeze(-2)?.sub(&two)?.vector_norm(p, &[-1], false)
        })
    }

    /// `-self`.
    ///
    /// # Errors
    /// For truth values.
    pub fn negated(&self) -> Result<Self> {
        self.unary(Unary::Neg)
    }
}
