//! Averages of the weights that say themselves how they go on: `tests/fixtures/averages`.

use rekindle::recorder::checkpoint::SaveOptions;
use rekindle::{Checkpoint, Tensor, Value};
use rekindle_testing::fixtures;

use crate::refusal;
use crate::went_on::{Section, text};

const AVERAGES: Section = Section("averages");

/// Whether an average is PyTorch's, under these names.
fn is_as_in_pytorch(after: &Checkpoint, name: &str, at: &str) {
    let truth = fixtures::json("averages/truth.json");
    for (tensor, expected) in truth[name]["average"].as_object().unwrap() {
        let place = if tensor.contains('.') { format!("{at}['{tensor}']") } else { format!("{at}.{tensor}") };
        let ours = after.get::<Tensor>(&place).or_else(|_| after.get::<Tensor>(&format!("{at}.{tensor}"))).unwrap();
        let theirs: Vec<f64> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let ours = ours.to_f64_vec().unwrap();
        assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-6), "{name}: {place}");
    }
}

#[test]
fn latent_diffusion_s_average_goes_on_by_its_own_rule_inside_the_model_and_beside_it() {
    let (after, said) = AVERAGES.goes_on("lit.pt", &[], "state_dict.model.diffusion_model", "out.pt");
    assert!(
        said.contains("inside the model, 'model_ema', goes on by its own rule: lit_ema(decay=0.9, use_num_updates=1)"),
        "{said}"
    );
    is_as_in_pytorch(&after, "lit", "state_dict.model_ema");
    let (after, said) = AVERAGES.goes_on("lit_plain.pt", &["--group", "2.*", "--rest", "frozen"], "model", "out.pt");
    assert!(said.contains("lit_ema(decay=0.8, use_num_updates=0)"), "{said}");
    is_as_in_pytorch(&after, "lit_plain", "model.model_ema");
    let (after, _) = AVERAGES.goes_on("lit_own.pt", &[], "model", "out.pt");
    is_as_in_pytorch(&after, "lit_own", "model_ema");

    let (after, said) = AVERAGES.goes_on("lit.pt", &["--ema", "none"], "state_dict.model.diffusion_model", "out.pt");
    assert!(said.contains("inside the model, 'model_ema', stays as it is"), "{said}");
    let count = after.get::<Tensor>("state_dict.model_ema.num_updates").unwrap();
    assert!((count.item().unwrap() - 4.0).abs() < 0.5);
}

#[test]
fn a_decay_that_stands_beside_its_average_is_its_rule() {
    let (after, said) = AVERAGES.goes_on("shadow.pt", &[], "model", "out.pt");
    assert!(said.contains("goes on by the decay beside it: 0.95 (ema.decay)"), "{said}");
    is_as_in_pytorch(&after, "shadow", "ema.shadow");
    let (after, said) = AVERAGES.goes_on("beside.pt", &[], "model", "out.pt");
    assert!(said.contains("goes on by the decay beside it: 0.9 (ema_decay)"), "{said}");
    is_as_in_pytorch(&after, "beside", "ema");
}

#[test]
fn the_dict_around_an_average_may_hold_its_decay_as_a_tensor_and_a_shadow_lie_at_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let run = |change: &dyn Fn(&Checkpoint), says: &str| {
        let changed = Checkpoint::open(AVERAGES.file("shadow.pt")).unwrap();
        change(&changed);
        let path = folder.path().join("changed.pt");
        changed.save_with(&path, &SaveOptions::default().overwrite(true)).unwrap();
        let output = AVERAGES.resume(path.to_str().unwrap(), &["--save", "out.pt"], folder.path());
        let said = text(&output.stderr);
        assert!(output.status.success() && said.contains(says), "{said}");
    };
    let ema = |file: &Checkpoint| file.value("ema").unwrap().as_dict().unwrap().clone();
    let tensor = |file: &Checkpoint| drop(ema(file).insert("decay", Tensor::scalar(0.5_f32)));
    run(&tensor, "goes on by the decay beside it: 0.5 (ema.decay)");
    let root = |file: &Checkpoint| {
        let (root, ema) = (file.root().as_dict().unwrap().clone(), ema(file));
        for key in ["shadow", "decay"] {
            root.insert(key, ema.get(key).unwrap());
        }
        root.remove("ema");
    };
    run(&root, "goes on by the decay beside it: 0.95 (decay)");
}

/// What is changed in a file, the flags of one answer for each question, and what is asked.
fn asked(name: &str, change: impl FnOnce(&Checkpoint), says: &str, answers: &[&[&str]]) {
    let folder = tempfile::tempdir().unwrap();
    let changed = Checkpoint::open(AVERAGES.file(name)).unwrap();
    change(&changed);
    let path = folder.path().join("changed.pt");
    changed.save(&path).unwrap();
    let run = |answer: &[&str]| {
        AVERAGES.resume(path.to_str().unwrap(), &[&["--save", "out.pt"], answer].concat(), folder.path())
    };
    let said = refusal(&run(&[]));
    assert!(said.contains(says), "{said}");
    for answer in answers {
        assert!(said.contains(&answer.join(" ")), "{answer:?}: {said}");
        let output = run(answer);
        assert!(output.status.success(), "{answer:?}: {}", text(&output.stderr));
    }
}

#[test]
fn what_stands_beside_an_average_and_contradicts_itself_or_is_not_known_is_asked_about() {
    let ema = |file: &Checkpoint| file.value("ema").unwrap().as_dict().unwrap().clone();
    let two = |file: &Checkpoint| drop(file.root().as_dict().unwrap().insert("ema_decay", 0.5));
    asked(
        "shadow.pt",
        two,
        "ema.decay is 0.95, ema_decay is 0.5",
        &[&["--ema", "0.95"], &["--ema", "0.5"], &["--ema", "none"]],
    );
    let counted = |file: &Checkpoint| drop(ema(file).insert("num_updates", 4_i64));
    asked("shadow.pt", counted, "ema.num_updates is 4", &[&["--ema", "0.95"], &["--ema", "none"]]);
    let wild = |file: &Checkpoint| drop(file.root().as_dict().unwrap().insert("ema_decay", 20.0));
    asked("beside.pt", wild, "ema_decay is 20.0", &[&["--ema", "none"]]);
}

#[test]
fn an_average_inside_the_model_that_is_not_understood_is_asked_about() {
    let other = |file: &Checkpoint| {
        let model = file.value("state_dict").unwrap().as_dict().unwrap().clone();
        let entries: Vec<(Value, Value)> = model.entries();
        let renamed: Vec<(String, Value)> = entries
            .iter()
            .filter_map(|(key, value)| {
                Some((key.as_str()?.strip_prefix("model_ema.diffusion_model")?.to_owned(), value.clone()))
            })
            .collect();
        for (name, value) in renamed {
            model.remove(&format!("model_ema.diffusion_model{name}"));
            model.insert(format!("model_ema.{name}.x"), value);
        }
    };
    asked("lit.pt", other, "'model_ema' inside the model is called an average of its weights", &[&["--ema", "none"]]);
}

#[test]
fn a_count_beside_an_average_and_its_decay_offers_the_decay_that_grows_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let changed = Checkpoint::open(AVERAGES.file("shadow.pt")).unwrap();
    changed.value("ema").unwrap().as_dict().unwrap().insert("num_updates", 4_i64);
    let path = folder.path().join("changed.pt");
    changed.save(&path).unwrap();
    let path = path.to_str().unwrap();
    let said = refusal(&AVERAGES.resume(path, &["--save", "out.pt"], folder.path()));
    assert!(said.contains("--ema 'lit_ema(decay=0.95)' for one that grows with the updates"), "{said}");
    let output = AVERAGES.resume(path, &["--save", "out.pt", "--ema", "lit_ema(decay=0.95)"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
}
