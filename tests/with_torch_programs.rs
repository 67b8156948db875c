//! Ten networks that PyTorch exports on the spot, and networks by name, all trained for five steps, are trained by the command for 20 more
//! beside PyTorch, and PyTorch goes on from what it wrote. Networks by name predict what their libraries' do, by many configurations. `REKINDLE_TORCH` names a Python that has torch, torchvision and transformers; without it
//! the test says that it was skipped.

use std::collections::BTreeMap;
use std::process::Command;

use rekindle::{Checkpoint, StateDict};
use rekindle_testing::compare::apart;
use rekindle_testing::{Torch, fixtures, scratch};

#[test]
fn ten_networks_go_on_with_pytorchs_losses_and_back() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    // A line a network: its name, its loss, and how far PyTorch is from itself.
    let printed = torch.run("ten_networks.py", ["make".as_ref(), folder.path()]);
    let mut limits = BTreeMap::new();
    for line in printed.lines() {
        let [name, loss, noise] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let noise: f64 = noise.parse().unwrap();
        let file = |end: &str| format!("{name}{end}");
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args(["resume", &file(".pt"), "--model", &file(".pt2"), "--batches", &file("-batches.safetensors")])
            .args(["--steps", "20", "--loss", loss, "--save", &file("-resumed.pt"), "--log", &file("-log.jsonl")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let losses = |end: &str| -> Vec<f64> {
            fixtures::lines(&folder.path().join(file(end))).iter().map(|line| line["loss"].as_f64().unwrap()).collect()
        };
        let (ours, theirs) = (losses("-log.jsonl"), losses("-expect.jsonl"));
        assert_eq!((ours.len(), theirs.len()), (20, 20), "{name}");
        let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
        println!("{name:20} losses {apart:.1e} apart, PyTorch's own {noise:.1e}");
        let limit = noise.max(1e-6);
        assert!(apart <= limit, "{name}: {apart}, and PyTorch differs from itself by {noise}");
        limits.insert(name.to_owned(), limit);
    }
    assert_eq!(limits.len(), 10);
    let printed = torch.run("ten_networks.py", ["go".as_ref(), folder.path()]);
    for line in printed.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let apart: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
        println!("{name:20} PyTorch goes on: {apart:?} apart");
        let limit = limits.remove(name).unwrap();
        assert!(apart.len() == 2 && apart.iter().all(|&apart| apart <= limit), "{line}");
    }
    assert!(limits.is_empty(), "{limits:?}");
}

#[test]
fn networks_by_name_go_on_with_pytorchs_losses_and_back_and_are_their_own_programs() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    let rekindle = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle")).args(arguments).current_dir(folder.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // A line a network: its name, its checkpoint, `--model`, and how far PyTorch is from itself.
    let printed = torch.run("zoo_runs.py", ["make".as_ref(), folder.path()]);
    let mut limits = BTreeMap::new();
    for line in printed.lines() {
        let [name, checkpoint, call, noise] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let noise: f64 = noise.parse().unwrap();
        let file = |end: &str| format!("{name}{end}");
        let (x, by_program, by_name) = (file("-x.safetensors"), file("-program.pt"), file("-named.pt"));
        rekindle(&["predict", &file(".pt2"), "--input", &x, "--out", &by_program]);
        rekindle(&["predict", checkpoint, "--model", call, "--input", &x, "--out", &by_name]);
        let scores = |file: &str| -> Vec<f64> {
            let state = StateDict::from_value(Checkpoint::open(folder.path().join(file)).unwrap().root()).unwrap();
            state.iter().next().unwrap().1.to_f64_vec().unwrap()
        };
        let exact = scores(&file("-y.safetensors"));
        let [of_program, of_name] = [by_program, by_name].map(|file| apart(&scores(&file), &exact));

        let saved = if checkpoint.ends_with(".pt") { file("-resumed.pt") } else { file("-resumed") };
        let (batches, log) = (file("-batches.safetensors"), file("-log.jsonl"));
        let mut resume = vec!["resume", checkpoint, "--model", call, "--batches", &batches, "--steps", "20"];
        resume.extend(["--save", &saved, "--log", &log, "--clip-norm", "none"]);
        if name == "gpt2" {
            // A Trainer's folder without a scheduler of its own.
            resume.extend(["--scheduler", "none"]);
        }
        rekindle(&resume);
        let losses = |end: &str| -> Vec<f64> {
            fixtures::lines(&folder.path().join(file(end))).iter().map(|line| line["loss"].as_f64().unwrap()).collect()
        };
        let (ours, theirs) = (losses("-log.jsonl"), losses("-expect.jsonl"));
        assert_eq!((ours.len(), theirs.len()), (20, 20), "{name}");
        let found = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
        println!(
            "{name:32} scores {of_name:.1e} apart, its program's {of_program:.1e}; losses {found:.1e}, PyTorch's own {noise:.1e}"
        );
        let limit = noise.max(1e-6);
        assert!(of_name <= 1e-5 && of_program <= 1e-5, "{name}: scores {of_name}, its program's {of_program}");
        assert!(found <= limit, "{name}: {found}, and PyTorch differs from itself by {noise}");
        limits.insert(name.to_owned(), limit);
    }
    assert_eq!(limits.len(), 12);
    let printed = torch.run("zoo_runs.py", ["go".as_ref(), folder.path()]);
    for line in printed.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let apart: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
        println!("{name:32} PyTorch goes on: {apart:?} apart");
        let limit = limits.remove(name).unwrap();
        assert!(apart.len() == 2 && apart.iter().all(|&apart| apart <= limit), "{line}");
    }
    assert!(limits.is_empty(), "{limits:?}");
}

#[test]
fn networks_by_name_compute_what_their_configurations_say_or_refuse_it() {
    let Some(torch) = Torch::find() else { return };
    let folder = scratch();
    let printed = torch.run("zoo_configs.py", [folder.path()]);
    let state = |file: &str| StateDict::from_value(Checkpoint::open(folder.path().join(file)).unwrap().root()).unwrap();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for line in printed.lines() {
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let [name, opened, limit, call, refusal] = std::array::from_fn(|_| word());
        let [x, y, out] = ["-x.safetensors", "-y.safetensors", "-out.pt"].map(|end| format!("{name}{end}"));
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args(["predict", opened, "--model", call, "--input", &x, "--out", &out])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        compared += 1;
        if limit == "refused" {
            if output.status.success() || !said.contains(refusal) {
                wrong.push(format!("{name}: not refused for '{refusal}': {said}"));
            }
            continue;
        }
        if !output.status.success() {
            wrong.push(format!("{name}: {said}"));
            continue;
        }
        let (found, exact) = (state(&out), state(&y));
        let limit: f64 = limit.parse().unwrap();
        for (key, exact) in exact.iter() {
            let own = found.get(key).unwrap();
            let distance = apart(&own.to_f64_vec().unwrap(), &exact.to_f64_vec().unwrap());
            println!("{name:36} {key:18} {distance:.1e} apart");
            if distance.is_nan() || distance > limit || own.dtype() != exact.dtype() {
                wrong.push(format!("{name}: {key} of {} is {distance:.1e} apart", own.dtype()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 108, "{compared}");
}
