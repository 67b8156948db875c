//! Tensors of a graph: views of any strides over storages that others view too, parameters, attributes, and those that are
//! no plain views.

use rekindle_recorder::tensor::{Quantizer, SparseLayout, TensorClass, TensorData, TensorParts, contiguous_stride};
use rekindle_recorder::value::Global;
use rekindle_recorder::{DType, Dict, Storage, Tensor, Value};

use super::grow::Grower;

type Make = fn(&mut Grower<'_>, usize) -> Value;

pub(super) const TENSORS: [Make; 9] = [plain, plain, plain, plain, parameter, attributes, quantised, sparse, meta];

fn finished(grower: &mut Grower<'_>, parts: TensorParts) -> Value {
    let value = Value::from(Tensor::new(parts).unwrap());
    grower.keep(&value);
    value
}

fn storage(grower: &mut Grower<'_>, dtype: DType) -> Storage {
    let known: Vec<Storage> =
        grower.storages.iter().filter(|(other, _)| *other == dtype).map(|(_, storage)| storage.clone()).collect();
    if !known.is_empty() && grower.below(3) > 0 {
        return grower.pick(&known);
    }
    let bytes: Vec<u8> = (0..grower.below(25) * dtype.size()).map(|_| grower.byte()).collect();
    let bytes = if dtype == DType::Bool { bytes.iter().map(|byte| byte & 1).collect() } else { bytes };
    let storage = Storage::from_bytes(dtype.storage_class().and(Some(dtype)), bytes);
    grower.storages.push((dtype, storage.clone()));
    storage
}

/// A view of a storage, with strides that need not make sense.
fn view(grower: &mut Grower<'_>, dtype: DType) -> TensorParts {
    let storage = storage(grower, dtype);
    let elements = usize::try_from(storage.len()).unwrap() / dtype.size();
    let dimensions = grower.below(4);
    let shape: Vec<usize> = (0..dimensions).map(|_| [2, 1, 3, 2, 0, 4][grower.below(6)]).collect();
    let stride: Vec<usize> = (0..dimensions).map(|_| grower.below(6)).collect();
    let offset = grower.below(elements.min(8) + 1);
    let last: usize = shape.iter().zip(&stride).map(|(&n, &step)| n.saturating_sub(1) * step).sum();
    if shape.contains(&0) || offset + last < elements {
        return TensorParts::strided(dtype, shape, storage, offset, stride);
    }
    TensorParts::strided(dtype, vec![elements], storage, 0, vec![1])
}

fn any_dtype(grower: &mut Grower<'_>) -> DType {
    let untyped = grower.kinds.untyped;
    let all: Vec<DType> = DType::ALL
        .iter()
        .copied()
        .filter(|dtype| !dtype.is_quantized() && (untyped || dtype.storage_class().is_some()))
        .collect();
    if grower.below(2) == 0 { DType::Float32 } else { grower.pick(&all) }
}

/// What autograd follows.
fn is_differentiable(dtype: DType) -> bool {
    matches!(dtype, DType::Float64 | DType::Float32 | DType::Float16 | DType::BFloat16)
}

fn plain(grower: &mut Grower<'_>, _: usize) -> Value {
    let dtype = any_dtype(grower);
    let mut parts = view(grower, dtype);
    parts.requires_grad = is_differentiable(dtype) && grower.below(4) == 1;
    parts.conj = matches!(dtype, DType::Complex64 | DType::Complex128) && grower.below(2) == 1;
    parts.neg = dtype == DType::Float32 && !parts.requires_grad && grower.below(8) == 1;
    finished(grower, parts)
}

fn parameter(grower: &mut Grower<'_>, depth: usize) -> Value {
    let dtype = any_dtype(grower);
    let mut parts = view(grower, dtype);
    let state = (grower.below(3) == 1).then(|| some_attributes(grower, depth));
    parts.requires_grad = is_differentiable(dtype) && grower.below(4) != 1;
    parts.class = TensorClass::Parameter { state };
    finished(grower, parts)
}

fn attributes(grower: &mut Grower<'_>, depth: usize) -> Value {
    let mut parts = view(grower, DType::Float32);
    let state = some_attributes(grower, depth);
    parts.class = TensorClass::Other { class: Global::new("torch", "Tensor"), state };
    finished(grower, parts)
}

fn some_attributes(grower: &mut Grower<'_>, depth: usize) -> Value {
    let value = grower.value(depth);
    Dict::from_iter([("init_scale", Value::Float(0.5)), ("tags", value)]).into()
}

fn quantised(grower: &mut Grower<'_>, _: usize) -> Value {
    let dtype = grower.pick(&[DType::QInt8, DType::QUInt8, DType::QInt32]);
    let length = 1 + grower.below(5);
    let bytes: Vec<u8> = (0..length * dtype.size()).map(|_| grower.byte()).collect();
    let storage = Storage::from_bytes(dtype, bytes);
    let mut parts = TensorParts::strided(dtype, vec![length], storage, 0, vec![1]);
    let zero_point = i64::from(grower.byte() % 100);
    parts.quantizer = Some(Quantizer::PerTensor { scale: 0.1, zero_point });
    finished(grower, parts)
}

/// Coordinates in a matrix of 5 by 7, some of them twice.
fn sparse(grower: &mut Grower<'_>, _: usize) -> Value {
    let count = grower.below(4);
    let mut coordinates =
        |limit: usize| -> Vec<i64> { (0..count).map(|_| i64::try_from(grower.below(limit)).unwrap()).collect() };
    let places = [coordinates(5), coordinates(7)].concat();
    let indices = Tensor::from_vec(&[2, count], places).unwrap();
    let values: Vec<f32> = (0..count).map(|_| f32::from(grower.byte())).collect();
    let values = Tensor::from_vec(&[count], values).unwrap();
    let mut parts = values.parts().clone();
    parts.shape = vec![5, 7];
    parts.data =
        TensorData::Sparse { layout: SparseLayout::Coo, indices: vec![indices], values, coalesced: Some(false) };
    finished(grower, parts)
}

fn meta(grower: &mut Grower<'_>, _: usize) -> Value {
    let mut parts = view(grower, DType::BFloat16);
    parts.data = TensorData::Meta { stride: contiguous_stride(&parts.shape) };
    finished(grower, parts)
}
