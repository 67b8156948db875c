//! torchdata's `StatefulDataLoader` goes on from places in the data that were saved here.

use rekindle_random::Generator;
use rekindle_recorder::{Checkpoint, Dict, Value};
use rekindle_testing::{Torch, fixtures};
use serde_json::Value as Json;

use crate::loading::{epochs, loader, next};

#[test]
fn torchdata_goes_on_from_our_places_sample_for_sample() {
    let Some(torch) = Torch::find() else { return };
    let cases = fixtures::cases("stateful_loader/loaders.json");
    let mut states = Vec::new();
    for case in &cases {
        // Two batches of the second epoch were given out.
        let mut global = Generator::new(case["seed"].as_i64().unwrap());
        let mut loader = loader(case, &mut global);
        while next(&mut loader, &mut global).is_some() {}
        loader.set_epoch(1);
        for _ in 0..2.min(epochs(case)[1].len()) {
            next(&mut loader, &mut global);
        }
        states.push(loader.state_dict(&mut global).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("places.pt");
    let text = serde_json::to_string(&cases).unwrap();
    let saved = Dict::from_iter([("cases", Value::from(text)), ("states", states.into())]);
    Checkpoint::from(saved).save(&path).unwrap();
    let printed = torch.run("stateful_loader.py", [path.as_os_str()]);
    let lines: Vec<Json> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), cases.len());
    for (case, line) in cases.iter().zip(&lines) {
        let left = case["epochs"][1].as_array().unwrap();
        assert_eq!(line[0].as_array().unwrap()[..], left[2.min(left.len())..], "{case}");
        // torchdata's own loader, once resumed, goes another way than its uninterrupted one where it has a generator of its own;
        // and a distributed order goes by an epoch's number.
        if case["options"]["generator"].is_null() && case["order"] != "distributed" {
            assert_eq!(line[1], case["epochs"][2], "{case}");
        }
    }
}
