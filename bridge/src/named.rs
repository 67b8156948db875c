//! `NamedParameter`: one PyTorch tensor and the Burn parameters that it is made of, and how elements move between them.

use burn::module::ParamId;
use burn::tensor::TensorData;
use bytes::Bytes;

use crate::data::{self, elements_to_data, owned_to_data};
use crate::layer_rows::Transform;
#[cfg(doc)]
use rekindle_recorder::ErrorKind;
use rekindle_recorder::tensor::{TensorData as TorchData, TensorParts, element_count};
use rekindle_recorder::{DType, Error, Result, Tensor};

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
            (Transform::HalfRotated { head }, &[.., outputs]) if head % 2 == 0 && outputs.is_multiple_of(head) => {
                Some(shape.iter().rev().copied().collect()).filter(|_| shape.len() <= 2)
            }
            _ => None,
        }
    }

    pub(super) fn describe(self) -> String {
        match self {
            Transform::AsIs => "a tensor".to_owned(),
            Transform::Transpose => "a transposed matrix".to_owned(),
            Transform::Scalar => "a scalar, [1] in Burn".to_owned(),
            Transform::HalfRotated { head } => {
                format!("the weight or bias of a linear layer whose outputs are heads of {head}, an even number")
            }
        }
    }

    /// What makes PyTorch's order of elements of that of a Burn parameter of this shape, which can lie so: one after the other.
    fn swaps(self, shape: &[usize]) -> Vec<Swap> {
        let turn = match *shape {
            [rows, columns] => Some(Swap { outer: 1, rows, columns, inner: 1 }),
            _ => None,
        };
        let regroup = match (self, shape) {
            (Transform::AsIs | Transform::Scalar, _) => return Vec::new(),
            // The last dimension of Burn's shape, PyTorch's first, has the outputs.
            (Transform::HalfRotated { head }, [others @ .., outputs]) => {
                let outer = outputs.checked_div(head).unwrap_or(0);
                Some(Swap { outer, rows: head / 2, columns: 2, inner: others.iter().product() })
            }
            _ => None,
        };
        turn.into_iter().chain(regroup).collect()
    }
}

/// Elements in a row, `[outer, rows, columns, inner]`, whose two middle dimensions change places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap {
    pub(super) outer: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) inner: usize,
}

impl Swap {
    fn bytes(self, bytes: &[u8], size: usize) -> Vec<u8> {
        let Swap { outer, rows, columns, inner } = self;
        if outer == 1 && inner == 1 {
            return data::transpose(bytes, rows, columns, size);
        }
        let run = inner * size;
        let mut swapped = Vec::with_capacity(bytes.len());
        for block in bytes.chunks_exact((rows * columns * run).max(1)) {
            for column in 0..columns {
                for row in 0..rows {
                    let start = (row * columns + column) * run;
                    swapped.extend_from_slice(block.get(start..start + run).unwrap_or_default());
                }
            }
        }
        swapped
    }
}

impl Piece {
    /// How its elements are moved to PyTorch's order.
    pub(super) fn to_torch(&self) -> impl Iterator<Item = Swap> {
        self.transform.swaps(&self.shape).into_iter()
    }

    /// The rows and columns of PyTorch's matrix, where it is turned and nothing else.
    fn only_turns(&self) -> Option<[usize; 2]> {
        let mut swaps = self.to_burn();
        match (swaps.next(), swaps.next()) {
            (Some(Swap { outer: 1, rows, columns, inner: 1 }), None) => Some([rows, columns]),
            _ => None,
        }
    }

    /// How they are moved back.
    pub(super) fn to_burn(&self) -> impl Iterator<Item = Swap> {
        let back = |swap: Swap| Swap { rows: swap.columns, columns: swap.rows, ..swap };
        self.transform.swaps(&self.shape).into_iter().rev().map(back)
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
            return Err(self.invalid(&format!("it has {} pieces, {} were given", self.pieces.len(), pieces.len())));
        }
        let mut parts = Vec::with_capacity(pieces.len());
        for (piece, data) in self.pieces.iter().zip(pieces) {
            if data.shape().as_slice() != piece.shape {
                let found = data.shape().as_slice();
                return Err(self.invalid(&format!("its Burn parameter has the shape {:?}, not {found:?}", piece.shape)));
            }
            let tensor = data::data_to_tensor(data)?;
            parts.push(match piece.transform {
                Transform::AsIs => tensor,
                _ => {
                    let (shape, size) = (self.torch_shape(piece)?, tensor.dtype().size());
                    let bytes = tensor.to_le_bytes()?;
                    let bytes = piece.to_torch().fold(bytes, |bytes, swap| Bytes::from(swap.bytes(&bytes, size)));
                    Tensor::from_le_bytes(tensor.dtype(), &shape, bytes)?
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
            return Err(self.invalid(&format!("its shape is {:?}, not {found:?}", self.shape)));
        }
        let mut start = 0;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let length = self.torch_shape(piece)?.get(self.axis).copied().unwrap_or(1);
            let part = if self.pieces.len() == 1 { torch.clone() } else { narrow(torch, self.axis, start, length)? };
            start = start.saturating_add(length);
            // The fields are open to all.
            if element_count(&piece.shape) != Some(part.numel()) {
                return Err(
                    self.invalid(&format!("its piece of {:?} does not fit its shape {:?}", piece.shape, self.shape))
                );
            }
            let size = torch.dtype().size();
            let bytes = part.to_le_bytes()?;
            if let Some([rows, columns]) = piece.only_turns()
                && let Some(data) = data::transposed(torch.dtype(), &piece.shape, &bytes, [rows, columns])
            {
                pieces.push(data?);
                continue;
            }
            let moved = piece
                .to_burn()
                .fold(None, |moved: Option<Vec<u8>>, swap| Some(swap.bytes(moved.as_deref().unwrap_or(&bytes), size)));
            pieces.push(match moved {
                Some(moved) => owned_to_data(torch.dtype(), &piece.shape, moved)?,
                None => elements_to_data(torch.dtype(), &piece.shape, &bytes)?,
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
            return Err(self.invalid("its pieces are of several element types"));
        };
        let found: usize = parts.iter().map(Tensor::numel).sum();
        if element_count(&self.shape) != Some(found) {
            return Err(
                self.invalid(&format!("its pieces have {found} elements, which its shape {:?} has not", self.shape))
            );
        }
        // A run of bytes of each part, in turn, for every index before the axis.
        let inner: usize = self.shape.iter().skip(self.axis.saturating_add(1)).product::<usize>() * dtype.size();
        let outer: usize = self.shape.iter().take(self.axis).product();
        let mut runs = Vec::with_capacity(parts.len());
        for part in parts {
            let run = part.shape().get(self.axis).copied().unwrap_or(0) * inner;
            runs.push((run, part.to_le_bytes()?));
        }
        let mut joined = Vec::with_capacity(runs.iter().map(|(_, bytes)| bytes.len()).sum());
        for index in 0..outer {
            for (run, bytes) in &runs {
                // Each part has `outer` runs: its shape differs from the others' along the axis only.
                joined.extend_from_slice(bytes.get(index * run..(index + 1) * run).unwrap_or_default());
            }
        }
        Tensor::from_le_bytes(dtype, &self.shape, joined)
    }

    fn torch_shape(&self, piece: &Piece) -> Result<Vec<usize>> {
        let shape = piece.transform.torch_shape(&piece.shape);
        shape.ok_or_else(|| self.invalid(&format!("{:?} is not {}", piece.shape, piece.transform.describe())))
    }

    fn invalid(&self, what: &str) -> Error {
        Error::invalid(what).of_tensor(&*self.name)
    }
}

/// The view of `length` indices from `start` along one dimension (`tensor.narrow`).
fn narrow(tensor: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
    let mut parts: TensorParts = tensor.parts().clone();
    let (TorchData::Strided { offset, stride, .. }, Some(size)) = (&mut parts.data, parts.shape.get_mut(axis)) else {
        return Err(Error::unsupported(format!("taking {tensor:?} apart")));
    };
    let moved = start.checked_mul(stride.get(axis).copied().unwrap_or(0)).and_then(|moved| offset.checked_add(moved));
    // An offset that cannot be counted is outside every storage.
    (*offset, *size) = (moved.unwrap_or(usize::MAX), length);
    Tensor::new(parts)
}
