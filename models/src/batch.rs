//! `Batch`: a tensor of two, three or four dimensions, or tokens, as networks of all kinds take it and give it.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::functional::{Array, Kind};
use crate::{ModelError, Result};

/// A batch of examples: the first dimension counts them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Batch {
    /// `[batch, features]`.
    D2(Tensor<2>),
    /// `[batch, channels, length]` or `[batch, length, features]`.
    D3(Tensor<3>),
    /// `[batch, channels, height, width]`.
    D4(Tensor<4>),
    /// The numbers of tokens, `[batch, length]`.
    Tokens(Tensor<2, Int>),
}

/// What goes into a network.
pub type Inputs = Batch;
/// What comes out of a network.
pub type Outputs = Batch;

impl Batch {
    /// The batch of these elements, row-major, on the device.
    ///
    /// # Errors
    /// When the number of elements is not that of the shape, or the shape has fewer than two or more than four dimensions.
    pub fn from_vec(elements: Vec<f32>, shape: &[usize], device: &Device) -> Result<Self> {
        let count = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if count != Some(elements.len()) {
            return Err(ModelError::Elements { elements: elements.len(), shape: shape.to_vec() });
        }
        let data = TensorData::new(elements, shape.to_vec());
        match shape.len() {
            2 => Ok(Batch::D2(Tensor::from_data(data, device))),
            3 => Ok(Batch::D3(Tensor::from_data(data, device))),
            4 => Ok(Batch::D4(Tensor::from_data(data, device))),
            _ => Err(wrong_rank("a batch", "2 to 4", shape)),
        }
    }

    /// Rows of tokens, `[batch, length]`, on the device.
    ///
    /// # Errors
    /// When the number of tokens is not that of the shape.
    pub fn from_tokens(tokens: Vec<i64>, shape: [usize; 2], device: &Device) -> Result<Self> {
        if shape[0].checked_mul(shape[1]) != Some(tokens.len()) {
            return Err(ModelError::Elements { elements: tokens.len(), shape: shape.to_vec() });
        }
        Ok(Batch::Tokens(Tensor::from_data(TensorData::new(tokens, shape), device)))
    }

    /// The tensor, whatever its number of dimensions.
    #[must_use]
    pub fn into_array(self) -> Array {
        match self {
            Batch::D2(x) => Array::from_float(x),
            Batch::D3(x) => Array::from_float(x),
            Batch::D4(x) => Array::from_float(x),
            Batch::Tokens(x) => Array::from_int(x),
        }
    }

    /// The tensor, of two to four dimensions; of whole numbers, of two.
    ///
    /// # Errors
    /// When it has others, or truth values.
    pub fn from_array(array: Array) -> Result<Self> {
        if array.kind() == Kind::Int && array.rank() == 2 {
            return array.into_int().map(Batch::Tokens);
        }
        match array.rank() {
            2 => array.into_float().map(Batch::D2),
            3 => array.into_float().map(Batch::D3),
            4 => array.into_float().map(Batch::D4),
            _ => Err(wrong_rank("a batch", "2 to 4", array.shape())),
        }
    }

    /// The shape, the batch first.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Batch::D2(x) => x.dims().to_vec(),
            Batch::D3(x) => x.dims().to_vec(),
            Batch::D4(x) => x.dims().to_vec(),
            Batch::Tokens(x) => x.dims().to_vec(),
        }
    }

    /// The tensor, which must have two dimensions.
    ///
    /// # Errors
    /// [`ModelError::Rank`] when it has more.
    pub fn into_2d(self) -> Result<Tensor<2>> {
        match self {
            Batch::D2(x) => Ok(x),
            other => Err(wrong_rank("this batch", "2", &other.shape())),
        }
    }

    /// The tensor, which must have four dimensions.
    ///
    /// # Errors
    /// [`ModelError::Rank`] when it has fewer.
    pub fn into_4d(self) -> Result<Tensor<4>> {
        match self {
            Batch::D4(x) => Ok(x),
            other => Err(wrong_rank("this batch", "4", &other.shape())),
        }
    }

    /// The tensor as a matrix of one row an example (`torch.flatten(x, 1)`).
    #[must_use]
    pub fn flatten(self) -> Tensor<2> {
        match self {
            Batch::D2(x) => x,
            Batch::D3(x) => x.flatten(1, 2),
            Batch::D4(x) => x.flatten(1, 3),
            Batch::Tokens(x) => x.float(),
        }
    }
}

pub(crate) fn wrong_rank(place: &str, expected: &str, shape: &[usize]) -> ModelError {
    ModelError::Rank {
        place: place.to_owned(),
        expected: expected.to_owned(),
        found: shape.len(),
        shape: shape.to_vec(),
    }
}
