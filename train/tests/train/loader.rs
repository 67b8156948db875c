//! The loader against PyTorch's own: `tests/fixtures/train/loader.json`.

use burn::tensor::Device;
use rekindle_random::{Generator, random_int64};
use rekindle_testing::fixtures;
use rekindle_train::data::{Array, DataLoader, Dataset, RandomSampler};
use serde_json::Value as Json;

use crate::loading::epochs;

/// A data set whose inputs say which sample they are.
fn dataset(rows: usize) -> Dataset {
    #[allow(clippy::cast_precision_loss)]
    let inputs = (0..rows).flat_map(|row| [row as f32, -(row as f32)]).collect::<Vec<_>>();
    let targets = (0..).take(rows).collect::<Vec<i64>>();
    Dataset::new(Array::new(rows, &[2], inputs).unwrap(), Array::new(rows, &[], targets).unwrap()).unwrap()
}

fn loader(case: &Json) -> DataLoader {
    let mut loader =
        DataLoader::new(dataset(fixtures::size(&case["rows"])), fixtures::size(&case["batch_size"])).unwrap();
    loader = loader.shuffle(case["shuffle"].as_bool().unwrap()).drop_last(case["drop_last"].as_bool().unwrap());
    if let Some(options) = case["sampler"].as_object() {
        let mut sampler = RandomSampler::default();
        sampler.replacement = options.contains_key("replacement");
        sampler.num_samples = options.get("num_samples").map(fixtures::size);
        loader = loader.sampler(sampler);
    }
    match case["generator"].as_i64() {
        Some(seed) => loader.generator(Generator::new(seed)),
        None => loader,
    }
}

/// The batches that are left of an epoch.
pub(crate) fn rest(loader: &mut DataLoader, global: &mut Generator) -> Vec<Vec<usize>> {
    std::iter::from_fn(|| loader.next_batch(global).unwrap()).map(|batch| batch.places().to_vec()).collect()
}

#[test]
fn batches_and_draws_are_pytorch_s() {
    for case in &fixtures::cases("train/loader.json") {
        let mut loader = loader(case);
        assert_eq!(loader.len(), fixtures::size(&case["batches"]), "{case}");
        let mut global = Generator::new(42);
        for expected in epochs(case) {
            assert_eq!(rest(&mut loader, &mut global), expected);
        }
        assert_eq!(random_int64(&mut global), case["then_global"].as_i64().unwrap());
        let own = loader.own_generator().map(|own| random_int64(&mut own.clone()));
        assert_eq!(own, case["then_own"].as_i64());
    }
}

#[test]
fn a_loader_goes_on_in_the_middle_of_an_epoch() {
    for case in &fixtures::cases("train/loader.json") {
        let expected = epochs(case);
        for taken in 0..=expected[0].len() {
            let mut first = loader(case);
            let mut global = Generator::new(42);
            for _ in 0..taken {
                first.next_batch(&mut global).unwrap();
            }
            let saved = (first.state_dict().unwrap(), global.state());

            let mut second = loader(case);
            second.load_state_dict(&saved.0).unwrap();
            let mut global = Generator::from_state(&saved.1).unwrap();
            assert_eq!(second.taken(), taken);
            assert_eq!(rest(&mut second, &mut global), expected[0][taken..], "{case}");
            for later in &expected[1..] {
                assert_eq!(rest(&mut second, &mut global), *later, "{case}");
            }
        }
    }
}

#[test]
fn a_batch_holds_its_samples() {
    let batch = dataset(5).batch(&[3, 0]).unwrap();
    let device = Device::flex();
    let inputs = batch.inputs::<2>(&device).unwrap();
    assert_eq!(inputs.to_data().try_to_vec::<f32>().unwrap(), [3.0, -3.0, 0.0, -0.0]);
    let classes = batch.classes::<1>(&device).unwrap();
    assert_eq!(classes.to_data().iter::<i64>().collect::<Vec<_>>(), [3, 0]);
    assert!(batch.inputs::<3>(&device).is_err());
    assert!(batch.values::<1>(&device).is_err());
    assert!(dataset(5).batch(&[5]).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(DataLoader::new(dataset(3), 0).is_err());
    assert!(Array::new(2, &[3], vec![0.0_f32; 5]).is_err());
    assert!(Array::new(usize::MAX, &[3], vec![0.0_f32; 5]).is_err());
    let array = |n: usize| Array::new(n, &[], vec![0_i64; n]).unwrap();
    assert!(Dataset::new(array(2), array(3)).is_err());

    let mut global = Generator::new(0);
    let mut empty = DataLoader::new(dataset(0), 2).unwrap().shuffle(true);
    assert!(empty.is_empty() && empty.next_batch(&mut global).unwrap().is_none());

    let mut long = DataLoader::new(dataset(9), 2).unwrap().shuffle(true);
    long.next_batch(&mut global).unwrap();
    long.next_batch(&mut global).unwrap();
    let mut short = DataLoader::new(dataset(2), 2).unwrap().shuffle(true);
    assert!(short.load_state_dict(&long.state_dict().unwrap()).is_err());
}
