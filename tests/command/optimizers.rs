//! Every optimizer of `torch.optim` goes on by the command as it went on in PyTorch: the runs of `tests/fixtures/optim`.

use rekindle::{Checkpoint, Dict, Tensor, Value};
use rekindle_testing::compare::differ;
use rekindle_testing::fixtures::{self, floats, hex, lines};

use crate::resume::resume;

const STEPS: usize = 50;

/// The batches that a run takes after its first 5 steps: one of 11 in turn; LBFGS takes the rows of all.
fn batches(lbfgs: bool) -> Checkpoint {
    let all = Checkpoint::open(fixtures::path("optim/batches.pt")).unwrap();
    let stacked = |name: &str, whole: &str| {
        let tensor: Tensor = all.get(if lbfgs { whole } else { name }).unwrap();
        let (bytes, shape) = (tensor.to_le_bytes().unwrap().to_vec(), tensor.shape());
        let rows = if lbfgs { shape[0] * shape[1] } else { shape[1] };
        let one = bytes.len() / if lbfgs { 1 } else { shape[0] };
        let of_step = |step: usize| if lbfgs { &bytes[..] } else { &bytes[(step % shape[0]) * one..][..one] };
        let bytes: Vec<u8> = (5..5 + STEPS).flat_map(of_step).copied().collect();
        let shape = [&[STEPS, rows], &shape[2..]].concat();
        Tensor::from_le_bytes(tensor.dtype(), &shape, bytes).unwrap()
    };
    let batches =
        Dict::from_iter([("inputs", stacked("inputs", "inputs")), ("targets", stacked("targets", "random_targets"))]);
    Checkpoint::from(batches)
}

#[test]
fn every_optimizer_goes_on_by_the_command_as_in_pytorch() {
    let folder = tempfile::tempdir().unwrap();
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    for (name, run) in fixtures::named_cases("optim/runs.json") {
        let optimizers = run["optimizers"].as_array().unwrap();
        let [optimizer] = &optimizers[..] else { continue };
        let kind = optimizer["optimizer"].as_str().unwrap();
        if run["network"] != "mlp" {
            continue;
        }
        seen.push(kind.to_owned());
        batches(kind == "LBFGS").save(folder.path().join("batches.pt")).ok();
        let path = fixtures::path("optim/runs").join(format!("{name}.pt"));
        let fixed =
            ["--model", "mlp", "--batches", "batches.pt", "--log", "log.jsonl", "--save", "out.pt", "--overwrite"];
        let output = resume(&path, &fixed, folder.path());
        if !output.status.success() {
            failed.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        let log = lines(&folder.path().join("log.jsonl"));
        let expected = floats(&run["losses"]);
        assert_eq!(log.len(), expected.len(), "{name}");
        let apart =
            log.iter().zip(&expected).map(|(line, loss)| (line["loss"].as_f64().unwrap() - loss).abs() / loss.abs());
        let loss = apart.fold(0.0, f64::max);
        for (step, (line, rates)) in log.iter().zip(run["lrs"].as_array().unwrap()).enumerate() {
            let rates: Vec<_> = rates.as_array().unwrap().iter().map(|rate| hex(rate.as_str().unwrap())).collect();
            assert_eq!(floats(&line["lr"]), rates, "{name}, step {step}");
        }
        let end = Checkpoint::open(fixtures::path("optim/runs").join(format!("{name}_end.pt"))).unwrap();
        let found = Checkpoint::open(folder.path().join("out.pt")).unwrap();
        let part = |key: &str| differ(&found.value(key).unwrap(), &end.value(key).unwrap(), &name);
        let (weights, state) = (part("model_state_dict"), part("optimizer_state_dict.state"));
        println!("{name}: losses {loss:.1e}, weights {weights:.1e}, state {state:.1e}");
        // LBFGS carries each rounding on.
        let noise = |what| if kind == "LBFGS" { fixtures::ten_times_noise(&run, what) } else { 0.0 };
        let (loss_limit, state_limit) = (noise("loss").max(1e-6), noise("state").max(1e-5));
        if loss > loss_limit || weights > 1e-5 || state > state_limit {
            failed.push(format!("{name}: {loss:e}, {weights:e}, {state:e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    seen.dedup();
    // All of torch.optim but SparseAdam, which is for embeddings, and Muon, whose runs here are of networks without biases.
    assert_eq!(seen.len(), 13, "{seen:?}");
}

#[test]
fn what_a_wrapper_keeps_within_the_optimizer_s_own_dict_is_asked_about_and_either_answer_works() {
    let folder = tempfile::tempdir().unwrap();
    let start = fixtures::path("frameworks").join("fabric/start.pt");
    let with = |value: Value| {
        crate::questions::changed(start.clone(), folder.path(), |root| {
            root.get("optimizer").unwrap().as_dict().unwrap().insert("slow_state", value);
        })
    };
    let mlp = ["--model", "mlp", "--config", "sizes=20,32,16,10"];
    let slow = || Value::from(Dict::from_iter([("k", Value::from(5_i64))]));
    let (whole, said) = crate::questions::plan(&with(slow()), &mlp);
    assert!(!whole && said.contains("beside the optimizer's state (optimizer) there is slow_state"), "{said}");
    for answer in ["SGD", "SGD(lr=0.1)"] {
        let path = with(slow());
        let answer = [&mlp[..], &["--optimizer", answer, "--scheduler", "StepLR"]].concat();
        let (whole, said) = crate::questions::plan(&path, &answer);
        assert!(whole, "{said}");
    }
    // What holds nothing changes nothing.
    let (whole, said) = crate::questions::plan(&with(Dict::new().into()), &mlp);
    assert!(whole, "{said}");
}
