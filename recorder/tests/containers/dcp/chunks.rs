//! Tensors in any chunks come back as the tensors they were.

use proptest::prelude::*;
use rekindle_recorder::{DType, Tensor};

use super::make::Maker;
use super::{open, state_dict};

/// Cuts a box in two, again and again: by numbers that say where.
fn divide(shape: &[usize], cuts: &[(usize, usize, usize)]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut chunks = vec![(vec![0; shape.len()], shape.to_vec())];
    for &(which, dimension, at) in cuts {
        let chunk = which % chunks.len();
        let (offsets, sizes) = chunks[chunk].clone();
        if sizes.is_empty() {
            continue;
        }
        let d = dimension % sizes.len();
        let at = at % (sizes[d] + 1);
        let (mut other, mut rest) = (offsets.clone(), sizes.clone());
        other[d] += at;
        rest[d] -= at;
        chunks[chunk].1[d] = at;
        chunks.push((other, rest));
    }
    // One that holds nothing is where others begin.
    let holds = |sizes: &[usize]| sizes.iter().all(|&length| length > 0);
    chunks.retain(|(_, sizes)| holds(sizes));
    chunks
}

fn counted(dtype: DType, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() * dtype.size();
    let bytes: Vec<u8> = (0..count).map(|i| u8::try_from(i % 251).unwrap()).collect();
    Tensor::from_le_bytes(dtype, shape, bytes).unwrap()
}

fn dtypes() -> impl Strategy<Value = DType> {
    prop::sample::select(vec![DType::Float32, DType::BFloat16, DType::Int8, DType::Complex128])
}

proptest! {
    #![proptest_config(rekindle_testing::cases(64))]

    #[test]
    fn tensors_in_any_chunks_in_any_files_are_put_together(
        tensors in prop::collection::vec(
            (
                dtypes(),
                prop::collection::vec(1_usize..7, 0..4),
                prop::collection::vec((0_usize..50, 0_usize..4, 0_usize..8), 0..12),
            ),
            1..4,
        ),
        files in 1_usize..4,
    ) {
        let names = ["__0_0.distcp", "__1_0.distcp", "deeper/__2_0.distcp"];
        let folder = rekindle_testing::scratch();
        std::fs::create_dir(folder.path().join("deeper")).unwrap();
        let mut maker = Maker::default();
        for (i, (dtype, shape, cuts)) in tensors.iter().enumerate() {
            let tensor = counted(*dtype, shape);
            maker.tensor(&format!("tensor.{i}"), &tensor, &divide(shape, cuts), &names[..files]);
        }
        maker.write(folder.path());
        let found = state_dict(folder.path());
        for (i, (dtype, shape, _)) in tensors.iter().enumerate() {
            let tensor = found.get(&format!("tensor.{i}")).unwrap();
            prop_assert_eq!((tensor.dtype(), tensor.shape()), (*dtype, &**shape));
            prop_assert_eq!(tensor.to_le_bytes().unwrap(), counted(*dtype, shape).to_le_bytes().unwrap());
        }
    }
}

#[test]
fn a_chunk_that_is_named_twice_counts_once_and_one_without_elements_needs_no_bytes() {
    let folder = rekindle_testing::scratch();
    let mut maker = Maker::default();
    let tensor = counted(DType::Float32, &[3, 2]);
    let mut chunks = vec![(vec![0, 0], vec![2, 2]), (vec![2, 0], vec![1, 2])];
    maker.tensor("weight", &tensor, &chunks, &["__0_0.distcp"]);
    chunks.push(chunks[0].clone());
    chunks.push((vec![3, 0], vec![0, 2]));
    maker.entry("weight", DType::Float32, &[3, 2], &chunks);
    maker.write(folder.path());
    let weight = state_dict(folder.path()).get("weight").unwrap().clone();
    assert_eq!(weight.to_le_bytes().unwrap(), tensor.to_le_bytes().unwrap());
}

#[test]
fn a_tensor_in_one_piece_is_read_once_and_one_in_several_each_time_anew() {
    let folder = rekindle_testing::scratch();
    let mut maker = Maker::default();
    // Large enough for the file to be mapped.
    let tensor = counted(DType::Float32, &[64, 512]);
    maker.tensor("whole", &tensor, &divide(&[64, 512], &[]), &["__0_0.distcp"]);
    maker.tensor("halves", &tensor, &divide(&[64, 512], &[(0, 1, 100)]), &["__0_0.distcp"]);
    maker.write(folder.path());
    let found = state_dict(folder.path());
    let address = |name: &str| found.get(name).unwrap().to_le_bytes().unwrap().as_ptr().addr();
    assert_eq!(address("whole"), address("whole"));
    let keep = found.get("halves").unwrap().to_le_bytes().unwrap();
    assert_ne!(keep.as_ptr().addr(), address("halves"));
    assert_eq!(keep, found.get("whole").unwrap().to_le_bytes().unwrap());
}

#[test]
fn a_list_with_places_that_hold_nothing_has_none_there() {
    let folder = rekindle_testing::scratch();
    let mut maker = Maker::default();
    maker.value("steps.2.loss", &0.5.into());
    maker.path("steps.2.loss", vec!["steps".into(), 2.into(), "loss".into()]);
    maker.write(folder.path());
    let root = open(folder.path()).unwrap();
    let steps = root.as_dict().unwrap().get("steps").unwrap().items().unwrap();
    assert!(matches!(&steps[..], [rekindle_recorder::Value::None, rekindle_recorder::Value::None, last]
        if last.as_dict().unwrap().get("loss").unwrap().as_f64() == Some(0.5)));
}
