//! `NamedParameter`: one PyTorch tensor and the Burn parameters that it is made of, and how elements move between them.

use ::burn::module::ParamId;
use ::burn::tensor::TensorData;

use super::data::{self, elements_to_data};
use super::layout::Transform;
use crate::tensor::{TensorData as TorchData, TensorParts};
use crate::{DType, Error, ErrorKind, Result, Tensor};

/// A Burn parameter that is a PyTorch tensor, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// The Burn parameter, as optimizers and gradients know it.
    pub id: ParamId,
    /// Its shape in Burn.
    pub shape: Vec<usize>,
    /// How it lies to PyTorch's.
    pub transform: Transform,
}

/// A parameter as PyTorch's `named_parameters()` has it, and the Burn parameters behind it: one for almost all layers,
/// several where Burn keeps apart what PyTorch joins.
///
/// [`split`](Self::split) and [`join`](Self::join) move whatever lies like the parameter: weights, gradients, the moments of
/// an optimizer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedParameter {
    /// PyTorch's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// The element type of the Burn parameter.
    pub dtype: DType,
    /// Whether it is meant to be trained. Stays so while the module is in Burn's `valid()` form.
    pub requires_grad: bool,
    /// The dimension of PyTorch's shape along which the pieces are joined.
    pub axis: usize,
    /// The Burn parameters, in PyTorch's order along `axis`.
    pub pieces: Vec<Piece>,
}

impl Transform {
    /// PyTorch's shape of a Burn parameter; `None` where it cannot lie so.
    pub(super) fn torch_shape(self, shape: &[usize]) -> Option<Vec<usize>> {
        match (self, shape) {
            (Transform::AsIs, _) => Some(shape.to_vec()),
            (Transform::Transpose, &[rows, columns]) => Some(vec![columns, rows]),
            (Transform::Scalar, &[1]) => Some(Vec::new()),
            _ => None,
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Transform::AsIs => "a tensor",
            Transform::Transpose => "a transposed matrix",
            Transform::Scalar => "a scalar, [1] in Burn",
        }
    }
}

impl NamedParameter {
    /// PyTorch's tensor from what lies like the Burn parameters, in the order of [`pieces`](Self::pieces): all of one element
    /// type, which the tensor has too.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there are more or fewer pieces, or a shape or element type is not what it should be.
    pub fn join(&self, pieces: &[TensorData]) -> Result<Tensor> {
        self.join_owned(pieces.to_vec())
    }

    /// As [`join`](Self::join), without a copy where the elements lie as in PyTorch.
    pub(super) fn join_owned(&self, pieces: Vec<TensorData>) -> Result<Tensor> {
        if pieces.len() != self.pieces.len() {
            return Err(self.invalid(format!("it has {} pieces, {} were given", self.pieces.len(), pieces.len())));
        }
        let mut parts = Vec::with_capacity(pieces.len());
        for (piece, data) in self.pieces.iter().zip(pieces) {
            if data.shape().as_slice() != piece.shape {
                let found = data.shape().as_slice();
                return Err(self.invalid(format!("its Burn parameter has the shape {:?}, not {found:?}", piece.shape)));
            }
            let tensor = data::data_to_tensor(data)?;
            parts.push(match piece.transform {
                Transform::AsIs => tensor,
                Transform::Scalar => Tensor::from_le_bytes(tensor.dtype(), &[], tensor.to_le_bytes()?)?,
                Transform::Transpose => {
                    let (Some(shape), &[rows, columns]) =
                        (piece.transform.torch_shape(&piece.shape), piece.shape.as_slice())
                    else {
                        return Err(self.invalid(format!("{:?} is no matrix", piece.shape)));
                    };
                    let turned = data::transpose(&tensor.to_le_bytes()?, rows, columns, tensor.dtype().size());
                    Tensor::from_le_bytes(tensor.dtype(), &shape, turned)?
                }
            });
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            _ => self.concatenate(&parts),
        }
    }

    /// What lies like the Burn parameters, in the order of [`pieces`](Self::pieces), from a tensor that lies like PyTorch's;
    /// of the tensor's element type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the tensor has another shape; as [`Tensor::to_le_bytes`]; for element types that Burn
    /// does not have.
    pub fn split(&self, torch: &Tensor) -> Result<Vec<TensorData>> {
        if !self.takes(torch.shape()) {
            let found = torch.shape();
            return Err(self.invalid(format!("its shape is {:?}, not {found:?}", self.shape)));
        }
        let mut start = 0;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let Some(shape) = piece.transform.torch_shape(&piece.shape) else {
                return Err(self.invalid(format!("{:?} is not {}", piece.shape, piece.transform.describe())));
            };
            let length = shape.get(self.axis).copied().unwrap_or(1);
            let part = if self.pieces.len() == 1 { torch.clone() } else { narrow(torch, self.axis, start, length)? };
            start += length;
            let bytes = part.to_le_bytes()?;
            pieces.push(match (piece.transform, shape.as_slice()) {
                (Transform::Transpose, &[rows, columns]) => {
                    let turned = data::transpose(&bytes, rows, columns, torch.dtype().size());
                    elements_to_data(torch.dtype(), &piece.shape, &turned)?
                }
                _ => elements_to_data(torch.dtype(), &piece.shape, &bytes)?,
            });
        }
        Ok(pieces)
    }

    /// Whether a tensor of this shape can be loaded. PyTorch before 0.4 had `[1]` for its scalars.
    pub(super) fn takes(&self, shape: &[usize]) -> bool {
        shape == self.shape || (self.shape.is_empty() && shape == [1])
    }

    fn concatenate(&self, parts: &[Tensor]) -> Result<Tensor> {
        let Some(dtype) =
            parts.first().map(Tensor::dtype).filter(|first| parts.iter().all(|part| part.dtype() == *first))
        else {
            return Err(self.invalid("its pieces are of several element types".to_owned()));
        };
        // A run of bytes of each part, in turn, for every place before the axis.
        let inner: usize = self.shape.iter().skip(self.axis + 1).product::<usize>() * dtype.size();
        let outer: usize = self.shape.iter().take(self.axis).product();
        let mut runs = Vec::with_capacity(parts.len());
        for part in parts {
            let run = part.shape().get(self.axis).copied().unwrap_or(0) * inner;
            runs.push((run, part.to_le_bytes()?));
        }
        let mut joined = Vec::with_capacity(runs.iter().map(|(_, bytes)| bytes.len()).sum());
        for place in 0..outer {
            for (run, bytes) in &runs {
                // Each part has `outer` runs: its shape differs from the others' along the axis only.
                joined.extend_from_slice(bytes.get(place * run..(place + 1) * run).unwrap_or_default());
            }
        }
        Tensor::from_le_bytes(dtype, &self.shape, joined)
    }

    fn invalid(&self, what: String) -> Error {
        ErrorKind::Invalid(format!("{}: {what}", self.name)).into()
    }
}

/// The view of `length` places from `start` along one dimension (`tensor.narrow`).
fn narrow(tensor: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
    let mut parts: TensorParts = tensor.parts().clone();
    let (TorchData::Strided { offset, stride, .. }, Some(size)) = (&mut parts.data, parts.shape.get_mut(axis)) else {
        return Err(Error::unsupported(format!("taking {tensor:?} apart")));
    };
    *offset += start * stride.get(axis).copied().unwrap_or(0);
    *size = length;
    Tensor::new(parts)
}
