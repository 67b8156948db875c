//! Elements that are moved between Burn and PyTorch as tensors on a device, against those that are moved as bytes.

use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor, TensorData};
use rekindle_burn::{ModuleStateDict as _, NamedParameter, Transform};

const TRANSFORMS: &[Transform] = &[
    Transform::AsIs,
    Transform::Transpose,
    Transform::Scalar,
    Transform::HalfRotated { head: 2 },
    Transform::HalfRotated { head: 4 },
    Transform::HalfRotated { head: 6 },
];

/// A name for each variant.
fn name(transform: Transform) -> &'static str {
    match transform {
        Transform::AsIs => "as is",
        Transform::Transpose => "transposed",
        Transform::Scalar => "scalar",
        Transform::HalfRotated { .. } => "half-rotated",
        other => panic!("{other:?}"),
    }
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| f32::from(u16::try_from(i).unwrap())).collect()
}

/// PyTorch's shape of a Burn parameter, if it can lie so.
fn torch_shape(transform: Transform, shape: &[usize]) -> Option<Vec<usize>> {
    let turned = shape.iter().rev().copied().collect();
    match (transform, shape) {
        (Transform::AsIs, _) => Some(shape.to_vec()),
        (Transform::Transpose, [_, _]) => Some(turned),
        (Transform::Scalar, [1]) => Some(Vec::new()),
        (Transform::HalfRotated { head }, [outputs] | [_, outputs]) if outputs % head == 0 => Some(turned),
        _ => None,
    }
}

/// A parameter of one piece of each of these shapes in Burn, if it can lie so.
fn parameter(transform: Transform, shapes: &[&[usize]], axis: usize) -> Option<NamedParameter> {
    let known = LinearConfig::new(1, 1).init(&Device::flex()).named_parameters().unwrap();
    let mut parameter = known.into_iter().next().unwrap();
    let mut pieces = Vec::new();
    for shape in shapes {
        let torch = torch_shape(transform, shape)?;
        if pieces.is_empty() {
            parameter.shape = torch;
        } else {
            parameter.shape[axis] += torch[axis];
        }
        let mut piece = parameter.pieces[0].clone();
        (piece.shape, piece.transform) = (shape.to_vec(), transform);
        pieces.push(piece);
    }
    (parameter.axis, parameter.pieces) = (axis, pieces);
    Some(parameter)
}

/// That both ways of moving elements agree, there and back.
fn agree(parameter: &NamedParameter, what: &str) {
    let mut first = 0;
    let pieces: Vec<TensorData> = parameter
        .pieces
        .iter()
        .map(|piece| {
            let len = piece.shape.iter().product::<usize>();
            let values = numbers(first + len).split_off(first);
            first += len;
            TensorData::new(values, piece.shape.clone())
        })
        .collect();
    let flat = |data: &TensorData| {
        let values = data.try_to_vec::<f32>().unwrap();
        Tensor::<1>::from_data(&values[..], &Device::flex())
    };
    let elements = |tensor: &Tensor<1>| tensor.to_data().try_into_vec::<f32>().unwrap();
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
                    let torch = torch_shape(transform, shape).unwrap();
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
    let tensor = |len| Tensor::<1>::zeros([len], &Device::flex());
    let error = parameter.join_tensors(vec![tensor(12)]).unwrap_err();
    assert_eq!(error.to_string(), "weight: it has 2 pieces, 1 were given");
    let error = parameter.join_tensors(vec![tensor(12), tensor(11)]).unwrap_err();
    assert_eq!(error.to_string(), "weight: its Burn parameter has 12 elements, not 11");
    let error = parameter.split_tensor(tensor(23)).unwrap_err();
    assert_eq!(error.to_string(), "weight: it has 24 elements, not 23");
}
