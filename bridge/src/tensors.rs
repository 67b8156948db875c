//! How elements move between Burn and PyTorch, for tensors on any device: what `named.rs` does with bytes. All elements of a
//! parameter are in a row, in the order of its shape.

use burn::tensor::Tensor as BurnTensor;

use crate::layer_rows::Transform;
use crate::named::{NamedParameter, Piece};
use rekindle_recorder::{Error, Result};

impl Transform {
    /// The elements of a Burn parameter of this shape, which can lie so, as PyTorch has them. There must be one at least: Burn
    /// takes the 0 of a shape for something else.
    fn tensor_to_torch(self, elements: BurnTensor<1>, shape: &[usize]) -> BurnTensor<1> {
        let turned = |elements| match *shape {
            [rows, columns] => transposed(elements, rows, columns),
            _ => elements,
        };
        match self {
            Transform::AsIs | Transform::Scalar => elements,
            Transform::Transpose => turned(elements),
            Transform::HalfRotated { head } => regrouped(turned(elements), shape, head / 2, 2),
        }
    }

    /// The other way round.
    fn tensor_to_burn(self, elements: BurnTensor<1>, shape: &[usize]) -> BurnTensor<1> {
        let turned = |elements| match *shape {
            [rows, columns] => transposed(elements, columns, rows),
            _ => elements,
        };
        match self {
            Transform::AsIs | Transform::Scalar => elements,
            Transform::Transpose => turned(elements),
            Transform::HalfRotated { head } => turned(regrouped(elements, shape, 2, head / 2)),
        }
    }
}

fn transposed(elements: BurnTensor<1>, rows: usize, columns: usize) -> BurnTensor<1> {
    elements.reshape([rows, columns]).swap_dims(0, 1).reshape([rows * columns])
}

/// Each head, `[rows, columns]` of outputs, as `[columns, rows]`. The last dimension of Burn's shape has the outputs.
fn regrouped(elements: BurnTensor<1>, shape: &[usize], rows: usize, columns: usize) -> BurnTensor<1> {
    let len = elements.dims()[0];
    let output: usize = shape.iter().rev().skip(1).product();
    let heads = len / (rows * columns * output);
    elements.reshape([heads, rows, columns, output]).swap_dims(1, 2).reshape([len])
}

impl NamedParameter {
    /// PyTorch's elements, all in a row, from those of what lies like the Burn parameters, in the order of
    /// [`pieces`](Self::pieces): [`join`](Self::join) for tensors on any device.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](rekindle_recorder::ErrorKind::Invalid) when there are more or fewer pieces, or a piece has more or fewer elements.
    pub fn join_tensors(&self, pieces: Vec<BurnTensor<1>>) -> Result<BurnTensor<1>> {
        if pieces.len() != self.pieces.len() {
            return Err(self.unfit(format!("it has {} pieces, {} were given", self.pieces.len(), pieces.len())));
        }
        let runs = self.runs();
        let (mut parts, mut none) = (Vec::with_capacity(pieces.len()), None);
        for (piece, elements) in self.pieces.iter().zip(pieces) {
            let (len, found) = (elements_of(piece), elements.dims()[0]);
            if len != found {
                return Err(self.unfit(format!("its Burn parameter has {len} elements, not {found}")));
            }
            let moved = |elements| piece.transform.tensor_to_torch(elements, &piece.shape);
            if self.pieces.len() == 1 {
                return Ok(if len == 0 { elements } else { moved(elements) });
            }
            if len > 0 {
                parts.push(moved(elements).reshape([runs, len / runs]));
            } else {
                none = Some(elements);
            }
        }
        if let (Some(none), true) = (none, parts.is_empty()) {
            return Ok(none);
        }
        let whole: BurnTensor<2> = BurnTensor::cat(parts, 1);
        let len = whole.shape().num_elements();
        Ok(whole.reshape([len]))
    }

    /// What lies like the Burn parameters, in the order of [`pieces`](Self::pieces), from PyTorch's elements, all in a row:
    /// [`split`](Self::split) for tensors on any device.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](rekindle_recorder::ErrorKind::Invalid) when there are more or fewer elements.
    pub fn split_tensor(&self, elements: BurnTensor<1>) -> Result<Vec<BurnTensor<1>>> {
        let (len, found) = (self.pieces.iter().map(elements_of).sum::<usize>(), elements.dims()[0]);
        if len != found {
            return Err(self.unfit(format!("it has {len} elements, not {found}")));
        }
        if len == 0 {
            return Ok(vec![elements; self.pieces.len()]);
        }
        if let [piece] = &self.pieces[..] {
            return Ok(vec![piece.transform.tensor_to_burn(elements, &piece.shape)]);
        }
        let none = BurnTensor::empty([0], (&elements.device(), elements.dtype()));
        let runs = self.runs();
        let whole: BurnTensor<2> = elements.reshape([runs, len / runs]);
        let mut start = 0;
        let part = |piece: &Piece| {
            let len = elements_of(piece);
            if len == 0 {
                return none.clone();
            }
            let run = len / runs;
            let part = whole.clone().narrow(1, start, run).reshape([len]);
            start += run;
            piece.transform.tensor_to_burn(part, &piece.shape)
        };
        Ok(self.pieces.iter().map(part).collect())
    }

    /// How often a run of a piece's elements comes in the whole: as often as there are places before the axis.
    fn runs(&self) -> usize {
        self.shape.iter().take(self.axis).product()
    }

    fn unfit(&self, what: String) -> Error {
        Error::invalid(format!("{}: {what}", self.name))
    }
}

fn elements_of(piece: &Piece) -> usize {
    piece.shape.iter().product()
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::{Device, TensorData};

    use super::*;
    use rekindle_recorder::DType;

    const TRANSFORMS: &[Transform] = &[
        Transform::AsIs,
        Transform::Transpose,
        Transform::Scalar,
        Transform::HalfRotated { head: 2 },
        Transform::HalfRotated { head: 4 },
        Transform::HalfRotated { head: 6 },
    ];

    /// A name for each variant: a new one does not compile until it is tried, too.
    fn name(transform: Transform) -> &'static str {
        match transform {
            Transform::AsIs => "as is",
            Transform::Transpose => "transposed",
            Transform::Scalar => "scalar",
            Transform::HalfRotated { .. } => "half-rotated",
        }
    }

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| f32::from(u16::try_from(i).unwrap())).collect()
    }

    /// A parameter of one piece of each of these shapes in Burn, if it can lie so.
    fn parameter(transform: Transform, shapes: &[&[usize]], axis: usize) -> Option<NamedParameter> {
        let mut whole: Option<Vec<usize>> = None;
        for shape in shapes {
            let torch = transform.torch_shape(shape)?;
            match &mut whole {
                None => whole = Some(torch),
                Some(whole) => whole[axis] += torch[axis],
            }
        }
        let pieces = shapes.iter().map(|shape| Piece { id: ParamId::new(), shape: shape.to_vec(), transform });
        let (name, shape) = ("weight".to_owned(), whole?);
        let (dtype, requires_grad, pieces) = (DType::Float32, true, pieces.collect());
        Some(NamedParameter { name, shape, dtype, requires_grad, axis, pieces })
    }

    /// That both ways of moving elements agree, there and back.
    fn agree(parameter: &NamedParameter, what: &str) {
        let mut first = 0;
        let pieces: Vec<TensorData> = parameter
            .pieces
            .iter()
            .map(|piece| {
                let len = elements_of(piece);
                let values = numbers(first + len).split_off(first);
                first += len;
                TensorData::new(values, piece.shape.clone())
            })
            .collect();
        let flat = |data: &TensorData| {
            let values = data.try_to_vec::<f32>().unwrap();
            BurnTensor::<1>::from_data(&values[..], &Device::flex())
        };
        let elements = |tensor: &BurnTensor<1>| tensor.to_data().try_into_vec::<f32>().unwrap();
        let bytes = parameter.join(&pieces).unwrap();
        let tensor = parameter.join_tensors(pieces.iter().map(flat).collect()).unwrap();
        assert_eq!(elements(&tensor), bytes.to_vec::<f32>().unwrap(), "{what}");
        for (piece, data) in parameter.split_tensor(tensor).unwrap().iter().zip(&pieces) {
            assert_eq!(elements(piece), data.try_to_vec::<f32>().unwrap(), "{what}, back");
        }
    }

    #[test]
    fn every_transform_moves_a_tensor_s_elements_as_it_moves_bytes_there_and_back() {
        let shapes: &[&[usize]] =
            &[&[1], &[12], &[5, 12], &[1, 24], &[3, 4], &[0, 4], &[2, 3, 12], &[4, 1, 2], &[2, 3, 2, 4], &[1, 1, 1, 1]];
        let mut tried = std::collections::HashMap::<&str, usize>::new();
        for &transform in TRANSFORMS {
            for shape in shapes {
                let Some(parameter) = parameter(transform, &[shape], 0) else { continue };
                agree(&parameter, &format!("{transform:?} of {shape:?}"));
                *tried.entry(name(transform)).or_default() += 1;
            }
        }
        let tried = |name| tried.get(name).copied().unwrap_or(0);
        assert_eq!(["as is", "transposed", "scalar", "half-rotated"].map(tried), [10, 4, 1, 13]);
    }

    #[test]
    fn pieces_are_joined_along_each_dimension_as_their_bytes_are() {
        for &transform in TRANSFORMS {
            for (axis, shapes) in [(0, [&[3, 12][..], &[3, 24]]), (1, [&[3, 12], &[5, 12]]), (0, [&[12], &[24]])] {
                if let Some(parameter) = parameter(transform, &shapes, axis) {
                    let fits = shapes.iter().all(|shape| {
                        let torch = transform.torch_shape(shape).unwrap();
                        torch.iter().zip(&parameter.shape).enumerate().all(|(at, (a, b))| at == axis || a == b)
                    });
                    if fits {
                        agree(&parameter, &format!("{transform:?} of {shapes:?} along {axis}"));
                    }
                }
            }
        }
        let three: [&[usize]; 3] = [&[2, 1, 3], &[2, 4, 3], &[2, 2, 3]];
        agree(&parameter(Transform::AsIs, &three, 1).unwrap(), "three pieces");
        agree(&parameter(Transform::AsIs, &[&[2, 0, 3], &[2, 4, 3]], 1).unwrap(), "an empty piece");
        agree(&parameter(Transform::AsIs, &[&[2, 0], &[3, 0]], 0).unwrap(), "empty pieces");
    }

    #[test]
    fn a_number_of_elements_that_is_not_the_parameter_s_is_an_error() {
        let parameter = parameter(Transform::Transpose, &[&[3, 4], &[3, 4]], 0).unwrap();
        let tensor = |len| BurnTensor::<1>::zeros([len], &Device::flex());
        let error = parameter.join_tensors(vec![tensor(12)]).unwrap_err();
        assert_eq!(error.to_string(), "weight: it has 2 pieces, 1 were given");
        let error = parameter.join_tensors(vec![tensor(12), tensor(11)]).unwrap_err();
        assert_eq!(error.to_string(), "weight: its Burn parameter has 12 elements, not 11");
        let error = parameter.split_tensor(tensor(23)).unwrap_err();
        assert_eq!(error.to_string(), "weight: it has 24 elements, not 23");
    }
}
