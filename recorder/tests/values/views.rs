//! Tensors are views of storages: which elements they have, and how both are made anew.

use rekindle_recorder::checkpoint::{Checkpoint, OpenOptions, SaveOptions};
use rekindle_recorder::container::Format;
use rekindle_recorder::diff::{Difference, Tolerance, compare};
use rekindle_recorder::rebuild::{cast, relocate};
use rekindle_recorder::tensor::{TensorParts, contiguous_stride};
use rekindle_recorder::value::List;
use rekindle_recorder::verify::verify;
use rekindle_recorder::{DType, Dict, Element as _, Error, Result, Source, Storage, Tensor, Value};

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

/// A storage that is never whole in memory, as a compressed record.
struct InPieces(u64);

impl Source for InPieces {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self) -> Result<bytes::Bytes> {
        Err(Error::invalid("it was read whole"))
    }

    fn stream(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let piece = [7; 1000];
        let mut left = usize::try_from(self.0).unwrap();
        while left > 0 {
            sink(&piece[..left.min(1000)])?;
            left = left.saturating_sub(1000);
        }
        Ok(())
    }

    fn copies(&self) -> bool {
        true
    }
}

#[test]
fn a_compressed_storage_is_written_piece_by_piece_and_its_views_share_it() {
    let folder = rekindle_testing::scratch();
    let storage = Storage::from_source(DType::UInt8, "cpu", InPieces(123_456));
    let view = |shape: &[usize], stride: &[usize], offset| {
        let parts = TensorParts::strided(DType::UInt8, shape.to_vec(), storage.clone(), offset, stride.to_vec());
        Value::from(Tensor::new(parts).unwrap())
    };
    let root = Dict::from_iter([
        ("windows", view(&[1000, 100], &[1, 1], 0)),
        ("shifted", view(&[1000, 100], &[1, 1], 1)),
        ("all", view(&[123_456], &[1], 0)),
    ]);
    for format in [Format::ZIP, Format::LEGACY] {
        let path = folder.path().join(format!("{format}.pt"));
        let report = Checkpoint::from(root.clone()).save_with(&path, &SaveOptions::default().format(format)).unwrap();
        assert!(report.bytes < 130_000, "{format}: {}", report.bytes);
        let back = Checkpoint::open(&path).unwrap();
        let tensors = back.tensors().unwrap();
        assert!(tensors.iter().all(|(_, tensor)| tensor.storage().unwrap().same(tensors[0].1.storage().unwrap())));
        assert_eq!(back.get::<Tensor>("all").unwrap().to_vec::<u8>().unwrap(), vec![7; 123_456]);
    }
}

/// Elements of the storage from 0 on, windows of `width` at each of them.
fn windows(elements: Vec<f32>, width: usize) -> Checkpoint {
    let count = elements.len() + 1 - width;
    let storage = Storage::from_bytes(DType::Float32, f32::to_le_vec(&elements));
    let parts = TensorParts::strided(DType::Float32, vec![count, width], storage.clone(), 0, vec![1, 1]);
    let whole = TensorParts::strided(DType::Float32, vec![elements.len()], storage, 0, vec![1]);
    let tensor = |parts| Value::from(Tensor::new(parts).unwrap());
    Checkpoint::from(Dict::from_iter([("windows", tensor(parts)), ("whole", tensor(whole))]))
}

/// 2,500 million elements over 100,000 of memory.
#[test]
fn views_whose_elements_share_memory_are_compared_and_looked_through_without_being_written_out() {
    let elements = || vec![0.5_f32; 100_000];
    let (one, same) = (windows(elements(), 50_000), windows(elements(), 50_000));
    assert!(compare(&one, &same, Tolerance::default()).unwrap().is_empty());

    let mut changed = elements();
    changed[10] = f32::NAN;
    changed[60_000] = f32::INFINITY;
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("windows.pt");
    windows(changed, 50_000).save(&path).unwrap();
    let report = verify(&path, &OpenOptions::default(), true).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    let counts: Vec<_> = report.not_finite.iter().map(|t| (&*t.name, t.nan, t.inf, t.elements)).collect();
    // The element at 10 is in the windows from 0 to 10, that at 60,000 in those from 10,001 on.
    assert_eq!(counts, [("windows", 11, 40_000, 50_001 * 50_000), ("whole", 1, 1, 100_000)]);

    // Smaller ones are compared element by element.
    let mut changed = vec![0.5_f32; 2000];
    changed[3] = 0.75;
    let (one, other) = (windows(vec![0.5; 2000], 1000), windows(changed, 1000));
    let differences = compare(&one, &other, Tolerance::default()).unwrap();
    let counts: Vec<_> = differences
        .iter()
        .map(|(name, difference)| match difference {
            Difference::Elements { count, of, max_abs, .. } => (name.as_str(), *count, *of, *max_abs),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(counts, [("windows", 4, 1_001_000, 0.25), ("whole", 1, 2000, 0.25)]);
}

#[test]
fn what_both_views_repeat_is_compared_once() {
    let expanded = |x: f32| {
        let storage = Storage::from_bytes(DType::Float32, f32::to_le_vec(&[x, 2.0]));
        let parts = TensorParts::strided(DType::Float32, vec![1 << 40, 2], storage, 0, vec![0, 1]);
        Checkpoint::from(Tensor::new(parts).unwrap())
    };
    assert!(compare(&expanded(1.0), &expanded(1.0), Tolerance::default()).unwrap().is_empty());
    let differences = compare(&expanded(1.0), &expanded(1.5), Tolerance::default()).unwrap();
    assert!(matches!(differences[0].1, Difference::Elements { count, of, .. } if (count, of) == (1 << 40, 1 << 41)));
}
