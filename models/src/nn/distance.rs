//! `CosineSimilarity`, `PairwiseDistance`: how alike, and how far apart, the vectors of two tensors are.

use burn::tensor::Tensor;

use super::module::{options, stateless};
use crate::Result;
use crate::functional::Array;

options! {
    /// `torch.nn.CosineSimilarity(dim=1, eps=1e-08)`. It has no parameters, and is its own options.
    CosineSimilarity() {
        /// Along which dimension the vectors lie. Default 1.
        dim / with_dim: i64 = 1,
        /// The least length of a vector. Default 1e-8.
        eps / with_eps: f64 = 1e-8,
    }

    /// `torch.nn.PairwiseDistance(p=2.0, eps=1e-06, keepdim=False)`: of the vectors in the last dimension. It has no parameters, and is its
    /// own options.
    PairwiseDistance() {
        /// The norm. Default 2.
        p / with_p: f64 = 2.0,
        /// What is added to each difference. Default 1e-6.
        eps / with_eps: f64 = 1e-6,
        /// Whether the last dimension stays, of length 1. Default false.
        keepdim / with_keepdim: bool = false,
    }
}

stateless!(CosineSimilarity, PairwiseDistance);

impl CosineSimilarity {
    /// `[..., features, ...]` twice to the same without that dimension: `R` is one less than `D`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use rekindle_models::nn::{CosineSimilarity, PairwiseDistance};
    ///
    /// let x = Tensor::<2>::from_floats([[3.0, 4.0]], &Device::flex());
    /// let cosine: Tensor<1> = CosineSimilarity::new().forward(x.clone(), x.clone())?;
    /// assert!((cosine.into_scalar::<f32>() - 1.0).abs() < 1e-6);
    /// let distance: Tensor<1> = PairwiseDistance::new().forward(x.clone(), x.zeros_like())?;
    /// assert!((distance.into_scalar::<f32>() - 5.0).abs() < 1e-5);
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// When the shapes do not go together, or `R` is another.
    pub fn forward<const D: usize, const R: usize>(&self, one: Tensor<D>, other: Tensor<D>) -> Result<Tensor<R>> {
        Array::from_float(one).cosine_similarity(&Array::from_float(other), self.dim, self.eps)?.into_float()
    }
}

impl PairwiseDistance {
    /// `[..., features]` twice to `[...]`: `R` is one less than `D`, with `keepdim` as many.
    ///
    /// # Errors
    /// When the shapes do not go together, or `R` is another.
    pub fn forward<const D: usize, const R: usize>(&self, one: Tensor<D>, other: Tensor<D>) -> Result<Tensor<R>> {
        let difference = Array::from_float(one).sub(&Array::from_float(other))?.add(self.eps)?;
        difference.vector_norm(self.p, &[-1], self.keepdim)?.into_float()
    }
}
