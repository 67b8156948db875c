//! Runs whose parts have no names, or lie where others do not: weights at the root, tuples and lists, optimizers pickled whole,
//! places that read alike.

use std::path::{Path, PathBuf};
use std::process::Output;

use rekindle::Checkpoint;

use crate::went_on::{Section, text};
use crate::{command, refusal};

const ROOTS: Section = Section("roots");

fn file(name: &str) -> PathBuf {
    ROOTS.file(name)
}

fn resume(name: &str, arguments: &[&str], folder: &Path) -> Output {
    ROOTS.resume(name, arguments, folder)
}

/// Runs it, and compares losses, rates and weights with PyTorch's.
fn goes_on(name: &str, arguments: &[&str], weights: &str, save: &str) -> Checkpoint {
    ROOTS.goes_on(name, arguments, weights, save).0
}

#[test]
fn weights_at_the_root_go_on_beside_the_parts_of_the_run() {
    let after = goes_on("flat.pt", &["--schedule-per", "step"], "", "out.pt");
    let keys: Vec<String> =
        after.root().as_dict().unwrap().entries().iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect();
    let expected = ["epoch", "0.weight", "0.bias", "2.weight", "2.bias", "optimizer", "lr_sched", "global_step"]
        .map(str::to_owned);
    assert_eq!(keys, expected, "in their places");
    // Two epochs were four steps.
    assert_eq!((after.get::<i64>("epoch").unwrap(), after.get::<i64>("global_step").unwrap()), (5, 10));
    let after = goes_on("flat_dcp", &[], "", "out");
    assert_eq!(after.get::<i64>("train_state.step").unwrap(), 10);
}

#[test]
fn parts_of_a_tuple_are_told_by_their_looks() {
    let after = goes_on("tuple.pt", &["--schedule-per", "step"], "[0]", "out.pt");
    assert!(matches!(after.root(), rekindle::Value::Tuple(_)));
    assert_eq!(after.get::<i64>("[3]").unwrap(), 5);
    assert_eq!(after.get::<i64>("[2].last_epoch").unwrap(), 10);
}

#[test]
fn a_number_of_which_nothing_tells_what_it_counts_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let asked = refusal(&resume("list.pt", &[], folder.path()));
    for answer in ["--epoch-at [0]", "--step-at [0]", "--epoch-at none"] {
        assert!(asked.contains(answer), "{asked}");
    }
    for (answer, number) in [(&["--epoch-at", "[0]"][..], 4), (&["--step-at", "[0]"], 10), (&["--epoch-at", "none"], 4)]
    {
        let after = goes_on("list.pt", answer, "[2]", "out.pt");
        assert_eq!(after.get::<i64>("[0]").unwrap(), number, "{answer:?}");
    }
    let wrong = refusal(&resume("list.pt", &["--epoch-at", "[1]"], folder.path()));
    assert!(wrong.contains("[1]"), "{wrong}");
}

#[test]
fn an_optimizer_that_was_pickled_whole_goes_on_by_its_parameters() {
    let objects = ["--allow-objects"];
    let after = goes_on("whole.pt", &objects, "net", "out.pt");
    // The optimizer's parameters are the module's, as they are now.
    let weight = after.get::<rekindle::Tensor>("net.0.weight").unwrap();
    let member = after.get::<rekindle::Tensor>("optim.param_groups[0].params[0]").unwrap();
    assert!(weight.storage().unwrap().same(member.storage().unwrap()));
    let after = goes_on("beside.pt", &objects, "model", "out.pt");
    let weight = after.get::<rekindle::Tensor>("model.2.bias").unwrap();
    let member = after.get::<rekindle::Tensor>("optimizer.param_groups[0].params[0]").unwrap();
    assert!(weight.storage().unwrap().same(member.storage().unwrap()));
}

/// As `clip_grad_norm_` over the optimizer's parameters, whatever the order in which the models are named.
#[test]
fn gradients_of_models_with_one_optimizer_are_clipped_together() {
    let (a, b) = (
        ["--model", "netA=mlp", "--config", "netA.sizes=5,8,3"],
        ["--model", "netB=mlp", "--config", "netB.sizes=5,4,3"],
    );
    for models in [[a, b].concat(), [b, a].concat()] {
        goes_on("pair.pt", &[&models[..], &["--clip-norm", "0.3"]].concat(), "", "out.pt");
    }
}

#[test]
fn an_optimizer_of_an_unknown_class_or_of_other_parameters_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let asked = refusal(&resume("own.pt", &["--allow-objects"], folder.path()));
    assert!(asked.contains("sections.roots.Own") && asked.contains("--optimizer Sgd"), "{asked}");
    goes_on("own.pt", &["--allow-objects", "--optimizer", "SGD"], "model", "out.pt");
    let asked = refusal(&resume("orphan.pt", &["--allow-objects"], folder.path()));
    assert!(asked.contains("torch.optim.adam.Adam") && asked.contains("--optimizer"), "{asked}");
    let refused = refusal(&resume("alone.pt", &["--allow-objects"], folder.path()));
    assert!(refused.contains("torch.optim.adam.Adam"), "{refused}");
}

/// Every place that the plan spells is taken back as it was spelled.
#[test]
fn places_that_read_alike_are_told_apart_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let refused = resume("places.pt", &[], folder.path());
    let asked = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{asked}");
    for answer in ["--rng \"['rng.x']\"", "--rng rng.x", "--rng rng[1]", "--rng rng.1", "--loader-rng loader.data[0]"] {
        assert!(asked.contains(answer), "{answer}: {asked}");
    }
    let planned = |arguments: &[&str]| {
        let all = ["plan", "--model", "mlp", "--config", "sizes=5,8,3", "--json", "--loader-rng", "none"];
        let all = all.iter().chain(arguments).map(PathBuf::from).chain([file("places.pt")]);
        let output = command(all).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_str::<serde_json::Value>(&text(&output.stdout)).unwrap()
    };
    for place in ["['rng.x']", "rng.x", "rng[1]", "rng.1"] {
        let plan = planned(&["--rng", place]);
        let taken: Vec<&str> = (plan["values"].as_array().unwrap().iter())
            .filter(|value| value["taken"] == "generator")
            .map(|value| value["place"].as_str().unwrap())
            .collect();
        assert_eq!(taken, [place]);
        assert_eq!(plan["generator"], format!("the state at {place}"));
    }
    // What is written differs there alone, but for what is trained.
    let after = goes_on("places.pt", &["--rng", "rng[1]", "--loader-rng", "['loader']['data[0]']"], "model", "out.pt");
    let before = Checkpoint::open(file("places.pt")).unwrap();
    for place in ["['rng.x']", "rng.x", "rng.1", "loader.data[0]"] {
        let state =
            |checkpoint: &Checkpoint| checkpoint.get::<rekindle::Tensor>(place).unwrap().to_vec::<u8>().unwrap();
        assert_eq!(state(&before), state(&after), "{place}");
    }
}

#[test]
fn a_dict_whose_keys_are_numbers_is_told_by_its_looks() {
    let folder = tempfile::tempdir().unwrap();
    let items = Checkpoint::open(file("tuple.pt")).unwrap().root().items().unwrap();
    let root = rekindle::recorder::Dict::new();
    for (key, item) in (1_i64..).zip(items.iter().take(2)) {
        root.insert(key, item.clone());
    }
    root.insert("2", items[2].clone());
    root.insert("epoch", 2);
    let path = folder.path().join("numbers.pt");
    Checkpoint::from(root).save(&path).unwrap();
    let all = ["plan", "--model", "mlp", "--config", "sizes=5,8,3", "--schedule-per", "step", "--json"];
    let output = command(all.iter().map(PathBuf::from).chain([path])).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((plan["layout"].as_str(), plan["model"]["key"].as_str()), (Some("sequence"), Some("[1]")));
    assert_eq!(
        (plan["optimizer"]["name"].as_str(), plan["scheduler"]["name"].as_str()),
        (Some("Adam"), Some("StepLR"))
    );
    assert_eq!(plan["epoch"], 2);
}

/// What has to be told before a plan can be made is a document, too.
#[test]
fn questions_before_a_plan_are_json_where_json_is_asked_for() {
    let all = ["plan", "--model", "mlp", "--config", "sizes=5,8,3", "--json", "--allow-objects"];
    let output = command(all.iter().map(PathBuf::from).chain([file("own.pt")])).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let choice = &document["questions"][0]["choices"][0];
    assert_eq!(choice["arguments"], serde_json::json!(["--optimizer", "Sgd"]));
    assert_eq!(choice["flag"], "--optimizer Sgd");
}
