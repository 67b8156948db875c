//! Loaders of torchdata as `tests/fixtures/sections/stateful_loader.py` makes them.

use rekindle_random::Generator;
use rekindle_testing::fixtures;
use rekindle_train::data::{Array, Dataset, DistributedSampler, RandomSampler, StatefulDataLoader};
use serde_json::Value as Json;

pub(crate) fn epochs(case: &Json) -> Vec<Vec<Vec<usize>>> {
    let places = |batch: &Json| batch.as_array().unwrap().iter().map(fixtures::size).collect();
    let batches = |epoch: &Json| epoch.as_array().unwrap().iter().map(places).collect();
    case["epochs"].as_array().unwrap().iter().map(batches).collect()
}

/// A loader as the script makes it.
pub(crate) fn loader(case: &Json, global: &mut Generator) -> StatefulDataLoader {
    let rows = fixtures::size(&case["rows"]);
    let numbers = Array::new(rows, &[], (0..).take(rows).collect::<Vec<i64>>()).unwrap();
    let dataset = Dataset::new(numbers.clone(), numbers).unwrap();
    let loader = StatefulDataLoader::new(dataset, fixtures::size(&case["batch_size"])).unwrap();
    let loader = loader.drop_last(case["drop_last"].as_bool().unwrap());
    let options = &case["options"];
    let loader = loader.workers(options["workers"].as_u64().map_or(0, |workers| usize::try_from(workers).unwrap()));
    let loader = loader.persistent_workers(options["persistent"].as_bool().unwrap_or(false));
    match case["order"].as_str().unwrap() {
        "sequential" => loader,
        "shuffle" => match options["generator"].as_i64() {
            Some(seed) => loader.shuffle_from(Generator::new(seed)),
            None => loader.shuffle(global),
        },
        "random" => {
            let mut sampler = RandomSampler::default();
            sampler.replacement = options["replacement"].as_bool().unwrap_or(false);
            sampler.num_samples = Some(fixtures::size(&options["num_samples"]));
            loader.random(sampler, global)
        }
        "distributed" => {
            let (replicas, rank) = (fixtures::size(&options["num_replicas"]), fixtures::size(&options["rank"]));
            let sampler = DistributedSampler::new(replicas, rank).unwrap();
            loader.distributed(sampler.seed(options["seed"].as_i64().unwrap()))
        }
        other => panic!("{other}"),
    }
}

pub(crate) fn next(loader: &mut StatefulDataLoader, global: &mut Generator) -> Option<Vec<usize>> {
    loader.next_batch(global).unwrap().map(|batch| batch.places().to_vec())
}
