//! Data sets in files: tokens as nanoGPT reads them (`tests/fixtures/data_sets`), parts of data sets, and Burn's own.

use burn::tensor::TensorData;
use burn_dataset::InMemDataset;
use rekindle_random::Generator;
use rekindle_recorder::DType;
use rekindle_testing::fixtures;
use rekindle_train::Run;
use rekindle_train::data::{
    Array, Batch, DataLoader, Dataset, Items, Loader, RandomBlocks, Samples, Subset, TokenFile,
};
use serde_json::Value as Json;

fn rows(data: &TensorData) -> Vec<Vec<i64>> {
    let all: Vec<i64> = data.iter().collect();
    all.chunks(data.shape().as_slice()[1]).map(<[i64]>::to_vec).collect()
}

fn expected(batch: &Json) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    let rows = |name: &str| serde_json::from_value(batch[name].clone()).unwrap();
    (rows("inputs"), rows("targets"))
}

#[test]
fn random_blocks_are_those_of_nanogpt_s_get_batch() {
    let truth = fixtures::json("data_sets/tokens.json");
    let path = fixtures::path("data_sets/tokens.bin");
    let tokens = TokenFile::open(&path, fixtures::size(&truth["block_size"])).unwrap();
    assert_eq!((tokens.tokens(), tokens.len()), (300, 292));
    let (batch_size, batches) = (fixtures::size(&truth["batch_size"]), truth["batches"].as_array().unwrap());
    let mut generator = Generator::new(truth["seed"].as_i64().unwrap());
    for batch in batches {
        let drawn = tokens.random_blocks(batch_size, &mut generator).unwrap();
        assert_eq!((rows(drawn.input_data()), rows(drawn.target_data())), expected(batch));
        let starts: Vec<usize> = serde_json::from_value(batch["starts"].clone()).unwrap();
        assert_eq!(drawn.places(), starts);
    }
    // The same by a run, whose place in the data is the generator's state.
    let model = rekindle_testing::filled(6, 0);
    let optimizer =
        rekindle_train::optim::Optimizer::sgd(&model, rekindle_train::optim::SgdOptions::default().lr(0.1)).unwrap();
    let blocks: Loader = RandomBlocks::new(tokens, batch_size).unwrap().into();
    let generator = Generator::new(truth["seed"].as_i64().unwrap());
    let mut run = Run::start(model, optimizer).with_generator(generator).with_loader(blocks);
    for batch in batches {
        let drawn = run.next_batch().unwrap().unwrap();
        assert_eq!((rows(drawn.input_data()), rows(drawn.target_data())), expected(batch));
    }
    assert_eq!((run.epochs(), run.known_steps_per_epoch()), (0, None));
    assert!(run.checkpoint().unwrap().value("dataloader_state_dict").is_err());
}

#[test]
fn tokens_of_every_type_are_read_and_files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.bin");
    let tokens = [1_i32, -2, 70_000, 3, 4];
    let bytes = |one: fn(i32) -> Vec<u8>| tokens.iter().copied().flat_map(one).collect::<Vec<u8>>();
    for (dtype, bytes, second) in [
        (DType::Int32, bytes(|token| token.to_le_bytes().to_vec()), -2),
        (DType::Int64, bytes(|token| i64::from(token).to_le_bytes().to_vec()), -2),
        (DType::UInt32, bytes(|token| token.to_le_bytes().to_vec()), i64::from(u32::MAX) - 1),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let file = TokenFile::open_as(&path, 3, dtype).unwrap();
        let batch = file.batch(&[0, 1], &mut Generator::new(0)).unwrap();
        assert_eq!(rows(batch.input_data()), [[1, second, 70_000], [second, 70_000, 3]]);
        assert_eq!(rows(batch.target_data())[1], [70_000, 3, 4]);
        assert!(file.batch(&[2], &mut Generator::new(0)).is_err());
    }
    for (size, block, dtype, says) in [
        (3, 1, DType::UInt16, "no whole number of tokens"),
        (10, 5, DType::UInt16, "5 tokens are no block of 5 and one after it"),
        (10, 0, DType::UInt16, "no block of 0"),
        (8, 1, DType::Float32, "tokens of"),
    ] {
        std::fs::write(&path, vec![0; size]).unwrap();
        let error = TokenFile::open_as(&path, block, dtype).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("tokens.bin"), "{error}");
    }
}

fn numbers(count: usize) -> Dataset {
    Dataset::named([("x", Array::new(count, &[], (0..).take(count).collect::<Vec<i64>>()).unwrap())]).unwrap()
}

fn all(samples: &dyn Samples) -> Vec<i64> {
    let places: Vec<usize> = (0..samples.len()).collect();
    samples.batch(&places, &mut Generator::new(0)).unwrap().input_data().iter().collect()
}

#[test]
fn parts_of_a_data_set_are_its_samples() {
    let (first, rest) = Subset::split_at(numbers(5), 3).unwrap();
    assert_eq!((all(&first), all(&rest)), (vec![0, 1, 2], vec![3, 4]));
    assert_eq!(all(&Subset::new(numbers(5), [4, 0, 4]).unwrap()), [4, 0, 4]);
    assert!(Subset::new(numbers(5), [5]).is_err() && Subset::split_at(numbers(5), 6).is_err());
    assert!(Subset::random_split(numbers(5), &[2, 2], &mut Generator::new(0)).is_err());
    // torch.utils.data.random_split(range(6), [4, 2], generator=torch.Generator().manual_seed(42)) is one randperm.
    let parts = Subset::random_split(numbers(6), &[4, 2], &mut Generator::new(42)).unwrap();
    let order: Vec<i64> = parts.iter().flat_map(|part| all(part)).collect();
    assert_eq!(order, rekindle_random::randperm(&mut Generator::new(42), 6));
}

#[test]
fn any_data_set_of_burn_s_is_taken() {
    let items = InMemDataset::new((0..7_i64).map(|n| (n, n % 2)).collect());
    let data = Items::new(items, |(x, class): (i64, i64)| {
        #[allow(clippy::cast_precision_loss)]
        let x = x as f32;
        vec![("inputs", TensorData::from([x, -x])), ("targets", TensorData::new(vec![class], [0; 0]))]
    });
    let mut loader = DataLoader::new(data, 3).unwrap().shuffle(true).threads(2);
    let mut global = Generator::new(1);
    let mut seen = Vec::new();
    while let Some(batch) = loader.next_batch(&mut global).unwrap() {
        let inputs: Vec<f32> = batch.input_data().iter().collect();
        let classes: Vec<i64> = batch.target_data().iter().collect();
        for ((pair, class), place) in inputs.chunks(2).zip(classes).zip(batch.places()) {
            #[allow(clippy::cast_precision_loss)]
            let expected = *place as f32;
            assert_eq!((pair, class), (&[expected, -expected][..], i64::try_from(place % 2).unwrap()));
        }
        seen.extend(batch.places().to_vec());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
    let unlike = Batch::stacked(
        &[0, 1],
        vec![vec![("x", TensorData::from([1.0_f32]))], vec![("x", TensorData::from([1.0_f32, 2.0]))]],
    );
    assert!(unlike.unwrap_err().to_string().contains("sample 1 of a batch has x"));
}
