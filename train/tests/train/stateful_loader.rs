//! The loader of torchdata against its own states and batches: `tests/fixtures/stateful_loader`.

use rekindle_random::{Generator, random_int64};
use rekindle_recorder::{Checkpoint, Dict, Value};
use rekindle_testing::fixtures;
use rekindle_testing::tagged::spell;
use rekindle_train::data::StatefulDataLoader;
use serde_json::Value as Json;

use crate::loading::{epochs, loader, next};

fn cases() -> Vec<Json> {
    fixtures::cases("stateful_loader/loaders.json")
}

fn states() -> Vec<Value> {
    let checkpoint = Checkpoint::open(fixtures::path("stateful_loader/states.pt")).unwrap();
    checkpoint.root().items().unwrap()
}

/// Epoch, batches given out and whether the end was told, and the state there.
fn taken(case: &Json) -> Vec<(usize, usize, bool, Value)> {
    let (states, epochs) = (states(), epochs(case));
    let read = |entry: &Json| {
        let epoch = fixtures::size(&entry[0]);
        let (batches, finished) = match entry[1].as_str() {
            Some("end") => (epochs[epoch].len(), true),
            Some(_) => (0, false),
            None => (fixtures::size(&entry[1]), false),
        };
        (epoch, batches, finished, states[fixtures::size(&entry[2])].clone())
    };
    case["states"].as_array().unwrap().iter().map(read).collect()
}

fn rest(loader: &mut StatefulDataLoader, global: &mut Generator) -> Vec<Vec<usize>> {
    std::iter::from_fn(|| next(loader, global)).collect()
}

#[test]
fn batches_states_and_draws_are_torchdata_s() {
    for case in &cases() {
        let mut global = Generator::new(case["seed"].as_i64().unwrap());
        let mut loader = loader(case, &mut global);
        let states = taken(case);
        let mut compared = 0;
        for (number, expected) in epochs(case).iter().enumerate() {
            loader.set_epoch(number as u64);
            for batches in 0..=expected.len() + 1 {
                // As the script asks: before the first batch of all, after some of the second epoch, at the ends.
                for (epoch, at, finished, state) in &states {
                    let ended = batches == expected.len() + 1;
                    if (*epoch, *at, *finished) == (number, batches.min(expected.len()), ended) {
                        let found = loader.state_dict(&mut global).unwrap();
                        assert_eq!(spell(&found, true), spell(state, true), "{case}");
                        compared += 1;
                    }
                }
                if batches <= expected.len() {
                    assert_eq!(next(&mut loader, &mut global), expected.get(batches).cloned(), "{case}");
                }
            }
        }
        assert_eq!(compared, states.len(), "{case}");
        assert_eq!(random_int64(&mut global), case["then_global"].as_i64().unwrap(), "{case}");
    }
}

#[test]
fn a_loader_goes_on_from_torchdata_s_state() {
    for case in &cases() {
        let epochs = epochs(case);
        for (epoch, batches, finished, state) in taken(case) {
            let mut global = Generator::new(1);
            let mut loader = loader(case, &mut global);
            loader.set_epoch(epoch as u64);
            loader.load_state_dict(&state).unwrap();
            assert_eq!(spell(&loader.state_dict(&mut global).unwrap(), true), spell(&state, true), "{case}");
            if !finished {
                assert_eq!(rest(&mut loader, &mut global), epochs[epoch][batches..], "{case}");
            }
            for (number, later) in epochs.iter().enumerate().skip(epoch + 1) {
                loader.set_epoch(number as u64);
                assert_eq!(rest(&mut loader, &mut global), *later, "{case}");
            }
        }
    }
}

#[test]
fn a_state_of_another_loader_is_refused_and_changes_nothing() {
    let cases = cases();
    let find = |order: &str| cases.iter().find(|case| case["order"] == order).unwrap();
    let (sequential, shuffled) = (find("sequential"), find("shuffle"));
    let two = |case: &&Json| case["order"] == "shuffle" && case["options"]["workers"] == 2;
    let workers = cases.iter().find(two).unwrap();
    let with_workers = taken(workers)[1].3.clone();
    let state = |case: &Json| taken(case)[2].3.clone();
    let changed = |name: &str, value: Value| {
        let dict: Dict = state(shuffled).as_dict().unwrap().entries().into_iter().collect();
        dict.insert(name, value);
        Value::from(dict)
    };
    let some = Value::from(Dict::new());
    for (case, state, says) in [
        (sequential, state(shuffled), "the loader shuffled"),
        (shuffled, state(sequential), "the loader did not shuffle"),
        (&cases[3], state(shuffled), "samples"),
        (shuffled, changed("_num_yielded", 7.into()), "7 batches"),
        (shuffled, changed("_num_yielded", 3.into()), "its batch size was another"),
        (shuffled, with_workers.clone(), "the loader had 2 workers, and this one has 0"),
        (workers, state(shuffled), "the loader had no workers, and this one has 2"),
        (shuffled, changed("dataset_state", some.clone()), "dataset_state"),
        (shuffled, changed("_sampler_iter_state", Value::None), "_sampler_iter_state"),
    ] {
        let mut global = Generator::new(case["seed"].as_i64().unwrap());
        let mut loader = loader(case, &mut global);
        let error = loader.load_state_dict(&state).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(rest(&mut loader, &mut global), epochs(case)[0], "{case}");
    }
    let mut global = Generator::new(42);
    let mut fresh = loader(shuffled, &mut global);
    fresh.load_state_dict(&some).unwrap();
    assert_eq!(rest(&mut fresh, &mut global), epochs(shuffled)[0]);
}
