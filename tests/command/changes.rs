//! What people change on resume, against PyTorch's own runs with the same changes: `tests/fixtures/sections/resuming.py`.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::{Checkpoint, Tensor, Value};
use rekindle_testing::fixtures;
use serde_json::Value as Json;

use crate::plan::plan;
use crate::resume::resume;

fn fixture(name: &str) -> PathBuf {
    fixtures::path(&format!("resuming/{name}"))
}

fn case(name: &str) -> Json {
    let cases = fixtures::json("resuming/cases.json");
    cases.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The network and the batches, unless the flags say what is trained on.
fn flags(own: &[&str]) -> Vec<String> {
    let mut flags = vec!["--model".to_owned(), "mlp".to_owned(), "--config".to_owned(), "sizes=6,8,8,4".to_owned()];
    if !own.contains(&"--data") {
        flags.extend(["--batches".to_owned(), fixture("batches.pt").display().to_string()]);
    }
    let place = |flag: &&str| if *flag == "data.pt" { fixture(flag).display().to_string() } else { (*flag).to_owned() };
    flags.extend(own.iter().map(place));
    flags
}

/// Resumes a fixture's run with these flags, in a folder.
fn run(name: &str, own: &[&str], folder: &Path) -> Output {
    let all = flags(&[own, &["--save", "out.pt", "--log", "log.jsonl", "--overwrite"]].concat());
    resume(&fixture(&format!("{name}.pt")), &all.iter().map(String::as_str).collect::<Vec<_>>(), folder)
}

fn planned(name: &str, own: &[&str]) -> (Option<i32>, String) {
    let all = flags(own);
    let output = plan(&fixture(&format!("{name}.pt")), &all.iter().map(String::as_str).collect::<Vec<_>>());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Walks through what PyTorch has and compares it with what was written.
fn same(theirs: &Value, ours: &Value, place: &str) {
    match theirs {
        Value::Tensor(tensor) => {
            let ours = ours.as_tensor().unwrap_or_else(|| panic!("{place} is no tensor"));
            assert_eq!(tensor.shape(), ours.shape(), "{place}");
            assert_eq!(tensor.dtype(), ours.dtype(), "{place}");
            close(tensor, ours, place);
        }
        Value::Dict(dict) => {
            let there = ours.as_dict().unwrap_or_else(|| panic!("{place} is no dict"));
            let keys =
                |dict: &rekindle::Dict| dict.entries().iter().map(|(key, _)| format!("{key:?}")).collect::<Vec<_>>();
            assert_eq!(keys(dict), keys(there), "{place}");
            for (key, value) in dict.entries() {
                same(&value, &there.get_key(&key).unwrap(), &format!("{place}.{key:?}"));
            }
        }
        Value::List(_) | Value::Tuple(_) => {
            let (theirs, there) = (theirs.items().unwrap(), ours.items().unwrap());
            assert_eq!(theirs.len(), there.len(), "{place}");
            theirs.iter().zip(&there).enumerate().for_each(|(i, (a, b))| same(a, b, &format!("{place}[{i}]")));
        }
        Value::Object(_) => assert_eq!(theirs.describe(), ours.describe(), "{place}"),
        theirs => assert_eq!(format!("{theirs:?}"), format!("{ours:?}"), "{place}"),
    }
}

fn close(theirs: &Tensor, ours: &Tensor, place: &str) {
    let (theirs, ours) = (theirs.to_f64_vec().unwrap(), ours.to_f64_vec().unwrap());
    let norm: f64 = theirs.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart: f64 = theirs.iter().zip(&ours).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    assert!(apart <= 1e-5 * norm + 1e-12, "{place} is {apart} apart, of {norm}");
}

#[test]
fn what_is_changed_goes_on_as_in_pytorch_with_the_same_change() {
    let cases = fixtures::json("resuming/cases.json");
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let own: Vec<&str> = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let output = run(name, &own, folder.path());
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let ours = fixtures::lines(&folder.path().join("log.jsonl"));
        let theirs = case["steps"].as_array().unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let (a, b) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{name}, step {}: {a} here, {b} in PyTorch", ours["step"]);
            assert_eq!(ours["lr"], theirs["lr"], "{name}, step {}", ours["step"]);
        }
        let ours = Checkpoint::open(folder.path().join("out.pt")).unwrap();
        let theirs = Checkpoint::open(fixture(&format!("after/{name}.pt"))).unwrap();
        for (part, value) in theirs.root().as_dict().unwrap().entries() {
            let part = part.as_str().unwrap();
            same(&value, &ours.value(part).unwrap(), &format!("{name}: {part}"));
        }
    }
}

#[test]
fn the_plan_says_what_is_changed_and_by_which_flag() {
    for (name, expected) in [
        (
            "rate_of_each_group",
            "changed    lr 0.002 -> 0.01 in group 0 (--lr)\nchanged    lr 0.002 -> 0.0005 in group 1 (--lr)\n",
        ),
        ("entries_of_groups", "changed    betas (0.9, 0.999) -> (0.8, 0.95) in group 1 (--set)\n"),
        (
            "rate_and_no_scheduler",
            "changed    the scheduler stays as it is, and so do the learning rates (--scheduler none)\n",
        ),
        (
            "scheduler_of_another_kind",
            "changed    scheduler ExponentialLR -> MultiStepLR, which begins anew (--scheduler)\n",
        ),
        (
            "scheduler_where_there_was_none",
            "changed    scheduler none -> SequentialLR, which begins anew (--scheduler)\n",
        ),
        (
            "new_optimizer",
            "changed    optimizer SGD -> AdamW, which begins anew and its state is left out (--optimizer)\n",
        ),
        ("clipped_by_norm", "changed    gradients are clipped to a norm of 0.1 (--clip-norm)\n"),
        ("clipped_by_value", "changed    gradients are clipped to 0.02 each (--clip-value)\n"),
        (
            "names_with_a_prefix",
            "changed    6 names are mapped, such as 'backbone.0.bias' to '0.bias', and mapped back where they are written",
        ),
        (
            "weights_of_a_run",
            "changed    a new run begins with the weights, without epoch, global_step, optimizer_state_dict, \
             scheduler_state_dict, best; it is written in PyTorch's tutorial layout (--weights-only)\n",
        ),
        ("weights_of_a_run", "position   epoch 0, step 0\n"),
        (
            "loader_with_a_generator_of_its_own",
            "changed    the loader draws from the state at loader.generator (--loader-rng)\n",
        ),
        ("generator_that_is_added", "changed    the generator's state is written, too (--add-rng)\n"),
        ("steps_of_three_batches", "changed    a step takes the mean of 3 batches (--accumulate)\n"),
    ] {
        let case = case(name);
        let own: Vec<&str> = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
        let (status, said) = planned(name, &own);
        assert_eq!(status, Some(0), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }
    // A formula that is named goes on where its scheduler stands, and changes nothing.
    let (_, said) = planned("formula_of_a_lambda", &["--scheduler", "transformers.linear(warmup=6, total=20)"]);
    assert!(said.contains("LambdaLR at 4, stepped per step") && !said.contains("changed"), "{said}");
}

#[test]
fn what_a_scheduler_would_set_again_is_asked_about_and_every_answer_works() {
    let folder = tempfile::tempdir().unwrap();
    for (name, own, wanted) in [
        (
            "rate_and_no_scheduler",
            &["--lr", "0.02"][..],
            &["--scheduler none", "--scheduler NAME(..)", "--scheduler StepLR"][..],
        ),
        (
            "formula_of_a_lambda",
            &["--scheduler", "transformers.linear(6, 20)", "--set", "*.lr=0.5"],
            &["--scheduler none"],
        ),
        (
            "scheduler_of_the_same_kind",
            &["--scheduler", "StepLR(5, gamma=0.1)"],
            &["step_size is 3 there, and 5 was said", "--scheduler StepLR", "--new-scheduler"],
        ),
        ("scheduler_of_another_kind", &["--scheduler", "MultiStepLR([2, 7])"], &["--schedule-per step"]),
        ("new_optimizer_and_a_new_schedule", &["--optimizer", "SGD(0.1)"], &["--scheduler none"]),
        ("new_optimizer", &["--lr", "0.1", "--scheduler", "none"], &[]),
        ("optimizer_in_another_order", &[], &["in another order", "--order GLOB,.."]),
        ("rest_that_is_frozen", &[], &["--freeze GLOB", "--group GLOB", "--rest frozen"]),
        ("weights_alone", &[], &["holds a model alone", "--weights-only", "--optimizer NAME(..)"]),
        ("weights_alone", &["--optimizer", "SGD(0.1)"], &["--weights-only"]),
        ("weights_alone", &["--weights-only"], &["a new run needs an optimizer", "--optimizer NAME(..)"]),
        ("loader_with_a_generator_of_its_own", &[], &["--loader-rng loader.generator", "--loader-rng none"]),
    ] {
        let (status, said) = planned(name, own);
        assert_eq!(status, Some(i32::from(!wanted.is_empty())), "{name}: {said}");
        for wanted in wanted {
            assert!(said.contains(wanted), "{name}: no {wanted} in {said}");
        }
        let output = run(name, own, folder.path());
        assert_eq!(output.status.code(), Some(if wanted.is_empty() { 0 } else { 2 }), "{name}: {output:?}");
    }
    // A formula sets the rate at its next step whatever it was: going on with it is no answer.
    let (_, said) = planned("formula_of_a_lambda", &["--scheduler", "transformers.linear(6, 20)", "--lr", "0.5"]);
    assert!(!said.contains("--scheduler LambdaLR"), "{said}");
    for (name, own) in [
        ("scheduler_of_the_same_kind", &["--scheduler", "StepLR"][..]),
        ("scheduler_of_the_same_kind", &["--scheduler", "StepLR(3, gamma=0.5)"]),
        (
            "scheduler_of_another_kind",
            &["--scheduler", "MultiStepLR([2, 7])", "--schedule-per", "epoch", "--steps-per-epoch", "3"],
        ),
        ("new_optimizer_and_a_new_schedule", &["--optimizer", "SGD(0.1)", "--scheduler", "none"]),
        ("new_optimizer_and_a_new_schedule", &["--optimizer", "SGD(0.1)", "--scheduler", "CosineAnnealingLR"]),
        ("entries_of_groups", &["--optimizer", "SGD(0.1)", "--group", "*"]),
        (
            "loader_with_a_generator_of_its_own",
            &["--loader-rng", "none", "--schedule-per", "epoch", "--steps-per-epoch", "6"],
        ),
        ("weights_of_a_run", &["--weights-only", "--optimizer", "Adam()"]),
    ] {
        let output = run(name, own, folder.path());
        assert!(output.status.success(), "{name} {own:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_change_that_is_wrong_or_fits_nothing_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, own, wanted) in [
        (
            "rate_of_each_group",
            &["--lr", "0.1,0.2,0.3"][..],
            "the optimizer has 2 groups, and 3 learning rates were given (--lr)",
        ),
        ("rate_of_each_group", &["--lr=-0.1"], "lr must be at least 0"),
        ("rate_of_each_group", &["--lr", "nan"], "cannot be NaN (--lr)"),
        (
            "rate_of_each_group",
            &["--set", "2.lr=0.1"],
            "no group '2' (--set); there are 0 (decay), 1 (rest), and * for all",
        ),
        ("rate_of_each_group", &["--set", "0.wd=0.1"], "there is no 'param_groups[0].wd'; there are"),
        ("rate_of_each_group", &["--set", "0.lr=fast"], "lr of group 0 is 0.002, and cannot be 'fast' (--set)"),
        ("rate_of_each_group", &["--set", "0.betas=0.9"], "cannot be 0.9 (--set)"),
        ("rate_of_each_group", &["--set", "0.betas=(0.9, 1.5)"], "betas must be at least 0 and less than 1"),
        ("rate_of_each_group", &["--set", "0.params=[]"], "is no hyper-parameter"),
        ("rate_of_each_group", &["--set", "lr=0.1"], "is no GROUP.KEY=V (--set)"),
        ("rate_of_each_group", &["--set", "0.amsgrad=True"], "max_exp_avg_sq"),
        ("rate_of_each_group", &["--scheduler", "StepLR"], "say how a new StepLR is made: --scheduler StepLR(..)"),
        ("scheduler_of_another_kind", &["--scheduler", "StepLR"], "say --scheduler StepLR(..) to begin a new one"),
        ("new_optimizer", &["--optimizer", "SGD(lr=0.1, momentum=much)"], "SGD's momentum cannot be 'much'"),
        ("new_optimizer", &["--optimizer", "SGD(0.1, 0.9)"], "has no name"),
        ("new_optimizer", &["--optimizer", "SGD(rate=0.1)"], "SGD has no option 'rate'"),
        ("new_optimizer", &["--optimizer", "SGD(lr=-1)"], "lr must be at least 0"),
        ("new_optimizer", &["--optimizer", "Adam"], "the state dict is SGD's, and the optimizer is Adam"),
        ("new_optimizer", &["--clip-norm", "0"], "--clip-norm must be above 0"),
        ("new_optimizer", &["--clip-value", "nan"], "--clip-value must be above 0"),
        ("new_optimizer", &["--clip-value", "1", "--clip-norm", "1"], "cannot be used with"),
        ("new_optimizer", &["--accumulate", "0"], "0 is not in 1.."),
        ("new_optimizer", &["--accumulate", "5"], "12 batches are no whole number of steps of 5 batches"),
        (
            "generator_that_is_added",
            &["--epochs", "1", "--scheduler", "none"],
            "nothing tells how many steps an epoch has; say --steps-per-epoch N",
        ),
        ("new_optimizer", &["--epochs", "4", "--steps-per-epoch", "4"], "so many epochs have 16 steps"),
        ("new_optimizer", &["--drop-last"], "--drop-last is of the batches of --data"),
        (
            "names_with_a_prefix",
            &["--strip-prefix", "net."],
            "no key begins with 'net.' of the checkpoint's model, whose first is 'backbone.0.weight'",
        ),
        ("names_with_a_prefix", &["--rename", "layer=0"], "'layer' finds nothing in any key of the checkpoint's model"),
        ("names_with_a_prefix", &["--rename", "backbone"], "RE=WITH is expected"),
        ("names_with_a_prefix", &["--rename", "(=x"], "rename(\"(\")"),
        (
            "rest_that_is_frozen",
            &["--group", "4.*", "--group", "0.*"],
            "or say that the rest is frozen (--rest frozen)",
        ),
        ("rest_that_is_frozen", &["--rest", "trained"], "possible values: frozen"),
        ("optimizer_in_another_order", &["--order", "4.*,0.*,9.*"], "no parameter of the model fits '9.*' (--order)"),
        ("optimizer_in_another_order", &["--order", "4.*,0.*"], "the order of parameters leaves '2.weight' out"),
        ("loader_with_a_generator_of_its_own", &["--loader-rng", "nowhere"], "there are rng_state, loader.generator"),
        ("loader_with_a_generator_of_its_own", &["--loader-rng", "rng_state"], "cannot both go on from rng_state"),
        (
            "loader_with_a_generator_of_its_own",
            &["--loader-rng", "none", "--add-rng"],
            "the checkpoint has rng_state already (--add-rng)",
        ),
        ("entries_of_groups", &["--optimizer", "SGD(0.1)"], "has 2 groups: which parameters are whose in the new one?"),
    ] {
        let output = run(name, own, folder.path());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{own:?}: {said}");
        assert!(said.contains(wanted), "{own:?}: no '{wanted}' in {said}");
        assert!(!folder.path().join("out.pt").exists(), "{own:?}");
    }
}

#[test]
fn each_change_is_a_key_of_rekindle_toml_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    std::fs::copy(fixture("rate_of_each_group.pt"), &path).unwrap();
    std::fs::copy(fixture("batches.pt"), folder.path().join("batches.pt")).unwrap();
    let settings = "model = 'mlp'\nconfig = {sizes = [6, 8, 8, 4]}\nbatches = 'batches.pt'\nlr = [0.01, 0.0005]\n\
                    set = ['rest.eps=1e-7']\nscheduler = 'StepLR(2)'\nschedule_per = 'step'\nclip_norm = 0.5\naccumulate = 2\nsteps = 3\n";
    std::fs::write(folder.path().join("rekindle.toml"), settings).unwrap();
    let said = text(&plan(&path, &[]).stdout);
    for wanted in
        ["lr 0.002 -> 0.01 in group 0", "eps 1e-8", "which begins anew", "a norm of 0.5", "the mean of 2 batches"]
    {
        assert!(said.contains(wanted), "no {wanted} in {said}");
    }
    // A flag replaces what excludes it.
    let said = text(&plan(&path, &["--clip-value", "0.25", "--lr", "0.5"]).stdout);
    assert!(said.contains("clipped to 0.25 each") && said.contains("lr 0.002 -> 0.5 in groups 0, 1 (--lr)"), "{said}");
    let output = resume(&path, &["--save", "out.pt", "--log", "log.jsonl"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fixtures::lines(&folder.path().join("log.jsonl")).len(), 3);

    std::fs::write(folder.path().join("rekindle.toml"), "learning_rate = 0.1\n").unwrap();
    assert!(text(&plan(&path, &[]).stderr).contains("rekindle.toml: line 1: unknown field `learning_rate`"));
}

#[test]
fn an_order_is_read_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["4.weight", "4.bias", "0.weight", "0.bias", "2.weight", "2.bias"].join("\n");
    std::fs::write(folder.path().join("order.txt"), names + "\n").unwrap();
    let by = |order: &str| {
        let output = run("optimizer_in_another_order", &["--order", order], folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::read(folder.path().join("log.jsonl")).unwrap()
    };
    assert_eq!(by("order.txt"), by("4.*,0.*,2.*"));
}
