//! Samplers against PyTorch's own: `tests/fixtures/samplers/orders.json`.

use rekindle_random::{Generator, random_int64};
use rekindle_recorder::Error;
use rekindle_testing::fixtures;
use rekindle_train::data::{
    Array, BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler, SequentialSampler, Source,
    SubsetRandomSampler, WeightedRandomSampler,
};
use serde_json::Value as Json;

use crate::loader::rest;
use crate::loading;

fn dataset(rows: usize) -> Dataset {
    let numbers = Array::new(rows, &[], (0..).take(rows).collect::<Vec<i64>>()).unwrap();
    Dataset::new(numbers.clone(), numbers).unwrap()
}

fn sampler(case: &Json) -> Box<dyn Sampler> {
    let options = &case["options"];
    match case["sampler"].as_str().unwrap() {
        "weighted" => {
            let weights: Vec<f64> =
                options["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
            let sampler = WeightedRandomSampler::new(weights, fixtures::size(&options["num_samples"])).unwrap();
            Box::new(sampler.replacement(options["replacement"].as_bool().unwrap()))
        }
        "subset" => {
            let indices: Vec<usize> = options["indices"].as_array().unwrap().iter().map(fixtures::size).collect();
            Box::new(SubsetRandomSampler::new(indices))
        }
        "distributed" => {
            let (replicas, rank) = (fixtures::size(&options["num_replicas"]), fixtures::size(&options["rank"]));
            let sampler = DistributedSampler::new(replicas, rank).unwrap();
            let sampler = sampler.shuffle(options["shuffle"].as_bool().unwrap_or(true));
            let sampler = sampler.seed(options["seed"].as_i64().unwrap_or(0));
            Box::new(sampler.drop_last(options["drop_last"].as_bool().unwrap_or(false)))
        }
        other => panic!("{other}"),
    }
}

fn loader(case: &Json) -> DataLoader {
    let (size, drop_last) = (fixtures::size(&case["batch_size"]), case["drop_last"].as_bool().unwrap());
    let rows = fixtures::size(&case["rows"]);
    let loader = if case["batched"].as_bool().unwrap() {
        DataLoader::from_batch_sampler(dataset(rows), BatchSampler::new(sampler(case), size, drop_last).unwrap())
    } else {
        DataLoader::new(dataset(rows), size).unwrap().drop_last(drop_last).sampler(sampler(case))
    };
    match case["generator"].as_i64() {
        Some(seed) => loader.generator(Generator::new(seed)),
        None => loader,
    }
}

fn epochs(case: &Json) -> Vec<(u64, Vec<Vec<usize>>)> {
    let numbers = case["numbers"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap());
    numbers.zip(loading::epochs(case)).collect()
}

#[test]
fn samplers_and_their_generators_go_as_pytorch_s() {
    for case in &fixtures::cases("samplers/orders.json") {
        let mut loader = loader(case);
        assert_eq!(loader.len(), fixtures::size(&case["batches"]), "{case}");
        let mut global = Generator::new(case["seed"].as_i64().unwrap());
        for (number, expected) in epochs(case) {
            loader.set_epoch(number);
            assert_eq!(rest(&mut loader, &mut global), expected, "{case}");
        }
        assert_eq!(random_int64(&mut global), case["then_global"].as_i64().unwrap(), "{case}");
        let own = loader.own_generator().map(|own| random_int64(&mut own.clone()));
        assert_eq!(own, case["then_own"].as_i64(), "{case}");
    }
}

#[test]
fn a_sampler_goes_on_in_the_middle_of_an_epoch() {
    for case in &fixtures::cases("samplers/orders.json") {
        let epochs = epochs(case);
        for taken in 0..=epochs[1].1.len() {
            let mut first = loader(case);
            let mut global = Generator::new(case["seed"].as_i64().unwrap());
            first.set_epoch(epochs[0].0);
            rest(&mut first, &mut global);
            first.set_epoch(epochs[1].0);
            for _ in 0..taken {
                first.next_batch(&mut global).unwrap();
            }
            let saved = (first.state_dict().unwrap(), global.state());

            let mut second = loader(case);
            second.load_state_dict(&saved.0).unwrap();
            let mut global = Generator::from_state(&saved.1).unwrap();
            assert_eq!(rest(&mut second, &mut global), epochs[1].1[taken..], "{case}");
            second.set_epoch(epochs[2].0);
            assert_eq!(rest(&mut second, &mut global), epochs[2].1, "{case}");
        }
    }
}

#[test]
fn samplers_that_cannot_sample_say_why() {
    fn says<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    says(WeightedRandomSampler::new([1.0], 0), "num_samples must be at least 1");
    says(DistributedSampler::new(2, 2), "rank 2 must be below num_replicas");
    says(DistributedSampler::new(0, 0), "rank 0 must be below num_replicas");
    says(BatchSampler::new(SequentialSampler, 0, false), "at least 1 sample");
    let global = &mut Generator::new(0);
    let few = WeightedRandomSampler::new([1.0, 1.0], 3).unwrap().replacement(false);
    says(few.places(2, Source::Global(global)), "3 samples from 2 weights");
    let negative = WeightedRandomSampler::new([1.0, -1.0], 3).unwrap();
    says(negative.places(2, Source::Global(global)), "weights of 0 or more");
    let mut beyond = DataLoader::new(dataset(3), 2).unwrap().sampler(SubsetRandomSampler::new([7]));
    assert!(beyond.next_batch(global).is_err());
}
