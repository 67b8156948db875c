//! Tensors are views of storages: which elements they have, and how both are made anew.

use rekindle_recorder::rebuild::{cast, relocate};
use rekindle_recorder::tensor::{TensorParts, contiguous_stride};
use rekindle_recorder::value::List;
use rekindle_recorder::{DType, Element as _, Storage, Tensor, Value};

fn view(shape: &[usize], stride: &[usize], offset: usize) -> Tensor {
    let elements: Vec<f32> = (0_u8..24).map(f32::from).collect();
    let storage = Storage::from_bytes(DType::Float32, f32::to_le_vec(&elements));
    Tensor::new(TensorParts::strided(DType::Float32, shape.to_vec(), storage, offset, stride.to_vec())).unwrap()
}

#[test]
fn any_view_is_read_in_row_major_order() {
    assert_eq!(view(&[2, 3], &[3, 1], 6).to_vec::<f32>().unwrap(), [6., 7., 8., 9., 10., 11.]);
    assert_eq!(view(&[3, 2], &[1, 3], 0).to_vec::<f32>().unwrap(), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(view(&[2, 2, 2], &[12, 2, 6], 1).to_vec::<f32>().unwrap(), [1., 7., 3., 9., 13., 19., 15., 21.]);
    assert_eq!(view(&[2, 3], &[0, 1], 4).to_vec::<f32>().unwrap(), [4., 5., 6., 4., 5., 6.]);
    assert_eq!(view(&[], &[], 5).to_vec::<f32>().unwrap(), [5.]);
    assert!(view(&[3, 0], &[1, 1], 0).to_vec::<f32>().unwrap().is_empty());
    assert!(view(&[0], &[2], 100).to_vec::<f32>().unwrap().is_empty());
}

#[test]
fn a_view_that_leaves_its_storage_is_refused() {
    let storage = Storage::from_bytes(DType::Float32, vec![0_u8; 16]);
    for (shape, stride, offset) in
        [(vec![5], vec![1], 0), (vec![2], vec![4], 0), (vec![1], vec![1], 4), (vec![usize::MAX], vec![2], 1)]
    {
        let parts = TensorParts::strided(DType::Float32, shape, storage.clone(), offset, stride);
        assert!(Tensor::new(parts).is_err());
    }
}

#[test]
fn conjugate_and_negative_bits_flip_signs() {
    let plain = Tensor::from_le_bytes(DType::Complex64, &[1], f32::to_le_vec(&[1.0, 2.0])).unwrap();
    let read = |conj, neg| {
        let tensor = Tensor::new(TensorParts { conj, neg, ..plain.parts().clone() }).unwrap();
        f32::from_le_slice(&tensor.to_le_bytes().unwrap())
    };
    assert_eq!(read(true, false), [1.0, -2.0]);
    assert_eq!(read(false, true), [-1.0, -2.0]);
    assert_eq!(read(true, true), [-1.0, 2.0]);
}

fn tied() -> Value {
    let storage = Storage::from_bytes(DType::Float32, f32::to_le_vec(&[1.0, 2.0, 3.0, 4.0]));
    let view = |shape: &[usize], offset| {
        let stride = contiguous_stride(shape);
        let parts = TensorParts::strided(DType::Float32, shape.to_vec(), storage.clone(), offset, stride);
        Value::Tensor(Tensor::new(parts).unwrap())
    };
    let whole = view(&[2, 2], 0);
    let list = List::new(vec![whole.clone(), whole, view(&[2], 1), Value::Int(7)]);
    list.write().push(Value::List(list.clone()));
    Value::List(list)
}

#[test]
fn a_cast_keeps_ties_views_and_cycles() {
    let root = tied();
    let half = cast(&root, DType::Float16).unwrap();
    let items = half.items().unwrap();
    let [a, b, c] = [0, 1, 2].map(|i| items[i].as_tensor().unwrap().clone());
    assert!(a.same(&b));
    assert!(a.storage().unwrap().same(c.storage().unwrap()));
    assert_eq!(c.dtype(), DType::Float16);
    assert_eq!(c.to_f64_vec().unwrap(), [2.0, 3.0]);
    assert_eq!(items[4].id(), half.id());
    root.clear();
    half.clear();
}

#[test]
fn a_new_device_tag_leaves_the_bytes() {
    let root = tied();
    let moved = relocate(&root, |from| Ok(from.replace("cpu", "cuda:1"))).unwrap();
    let tensor = moved.items().unwrap()[2].as_tensor().unwrap().clone();
    assert_eq!((tensor.device(), tensor.to_f64_vec().unwrap()), ("cuda:1", vec![2.0, 3.0]));
    root.clear();
    moved.clear();
}

#[test]
fn there_are_thirty_three_types_and_each_name_leads_back() {
    assert_eq!(DType::ALL.len(), 33);
    for &dtype in DType::ALL {
        assert_eq!(dtype.name().parse(), Ok(dtype));
        assert_eq!(format!("torch.{dtype}").parse(), Ok(dtype));
        if let Some(class) = dtype.storage_class() {
            assert_eq!(DType::from_storage_class(class), Some(dtype));
        }
    }
}

#[test]
fn packed_elements_round_up_to_whole_bytes() {
    assert_eq!(DType::QUInt4x2.bytes_for(5), Some(3));
    assert_eq!(DType::QUInt2x4.bytes_for(5), Some(2));
    assert_eq!(DType::Float64.bytes_for(usize::MAX), None);
}
