//! Every optimizer's run: 5 steps in PyTorch, 25 here, 25 there again, which end where its own run ended.

use std::ffi::OsStr;

use rekindle_testing::Torch;

use crate::common::runs::{Run, WEIGHTS};

#[test]
fn pytorch_goes_on_from_every_optimizer_as_if_the_run_had_not_moved() {
    goes_on(&Run::all(), &[]);
}

/// By the packages that are there.
#[test]
fn other_packages_go_on_from_their_optimizers_as_if_the_run_had_not_moved() {
    goes_on(&Run::others(), &["--others"]);
}

fn goes_on(runs: &[Run], flags: &[&str]) {
    let Some(torch) = Torch::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    for run in runs {
        let outcome = run.go_on(25);
        outcome.checkpoint.save(folder.path().join(format!("{}.pt", run.name))).unwrap();
    }
    let names = runs.iter().map(|run| OsStr::new(&run.name));
    let flags = flags.iter().map(OsStr::new);
    let printed = torch.run("optim.py", flags.chain(std::iter::once(folder.path().as_os_str())).chain(names));
    println!("{printed}");
    assert_eq!(printed.lines().count(), runs.len());
    for (line, run) in printed.lines().zip(runs) {
        let numbers = line.strip_prefix(&format!("{} ", run.name)).unwrap();
        if numbers == "absent" {
            continue;
        }
        let apart: Vec<f64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        let [loss, weights, state] = apart[..] else { panic!("{line}") };
        assert!(loss < run.loss_limit() && weights < WEIGHTS && state < run.state_limit(), "{line}");
    }
}
