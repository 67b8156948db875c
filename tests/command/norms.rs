//! Batch norms that were kept in evaluation while their run trained: `tests/fixtures/norms`.

use std::path::Path;

use rekindle::{Checkpoint, StateDict, Tensor};
use rekindle_testing::fixtures;

use crate::went_on::{Section, text};
use crate::{command, refusal};

const NORMS: Section = Section("norms");

fn program() -> String {
    NORMS.file("net.pt2").display().to_string()
}

/// What resuming a file refuses with.
fn asked(name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    refusal(&NORMS.resume(name, &["--model", &program(), "--steps", "8", "--save", "out.pt"], folder.path()))
}

#[test]
fn batch_norms_whose_counts_do_not_go_with_the_steps_are_asked_about_and_go_on_in_evaluation_as_in_pytorch() {
    for (name, says) in [
        ("still.pt", "the batch norms 1, 4 have counted no batch (num_batches_tracked is 0) though steps were made"),
        ("partly.pt", "the batch norm 1 has counted no batch (num_batches_tracked is 0) while others have counted 6"),
        ("came.pt", "the batch norms 1, 4 have counted 33 batches, which do not go with 6 steps"),
        ("half_way.pt", "the batch norms 1, 4 have counted fewer batches than there were steps, 3 of 6"),
    ] {
        let question = asked(name);
        assert!(question.contains(says), "{question}");
        for answer in ["--batch-norm eval to keep them", "--batch-norm train to train them"] {
            assert!(question.contains(answer), "{question}");
        }
        let told = ["--model", &program(), "--steps", "8", "--batch-norm", "eval"];
        let (_, said) = NORMS.goes_on(name, &told, "model", "out.pt");
        assert!(said.contains("kept in evaluation: by the running statistics, which stay (--batch-norm)"), "{said}");
        // The other answer counts.
        let folder = tempfile::tempdir().unwrap();
        let told = ["--model", &program(), "--steps", "8", "--batch-norm", "train", "--save", "out.pt"];
        let output = NORMS.resume(name, &told, folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let count = |file: &Checkpoint| file.get::<Tensor>("model.1.num_batches_tracked").unwrap().item().unwrap();
        let after = Checkpoint::open(folder.path().join("out.pt")).unwrap();
        let more = count(&after) - count(&Checkpoint::open(NORMS.file(name)).unwrap());
        assert!((more - 8.0).abs() < 0.5, "{name}: {more}");
    }
}

#[test]
fn batch_norms_that_count_with_the_steps_are_not_asked_about() {
    let told = ["--model", &program(), "--steps", "8", "--accumulate", "2"];
    NORMS.goes_on("counted.pt", &told, "model", "out.pt");
    // Each batch passed through twice, as where activations are computed again; a count of one norm alone.
    let folder = tempfile::tempdir().unwrap();
    let counted = Checkpoint::open(NORMS.file("counted.pt")).unwrap();
    counted.set("model.4.num_batches_tracked", Tensor::scalar(24_i64)).unwrap();
    let path = folder.path().join("twice.pt");
    counted.save(&path).unwrap();
    let output = NORMS.resume(path.to_str().unwrap(), &[&told[..], &["--save", "out.pt"]].concat(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_network_by_hand_keeps_its_batch_norms_in_evaluation_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("convbn.pt");
    let weights = Checkpoint::open(fixtures::path("models").join("convbn.pt")).unwrap().value("state_dict_after");
    Checkpoint::from(weights.unwrap()).save(&file).unwrap();
    let pixels: Vec<f32> = (0..2 * 3 * 3 * 9 * 9_u16).map(|n| f32::from(n % 17) / 8.0 - 1.0).collect();
    let batches = StateDict::from_iter([
        ("inputs".to_owned(), Tensor::from_vec(&[2, 3, 3, 9, 9], pixels).unwrap()),
        ("targets".to_owned(), Tensor::from_vec(&[2, 3], vec![1_i64, 0, 7, 2, 3, 9]).unwrap()),
    ]);
    let given = folder.path().join("batches.pt");
    Checkpoint::from(batches.to_value()).save(&given).unwrap();
    let mode = |mode: &str| {
        let all = [
            "--model",
            "convbn",
            "--weights-only",
            "--optimizer",
            "SGD(lr=0.1)",
            "--batch-norm",
            mode,
            "--save",
            "out.pt",
        ];
        let start = [Path::new("resume"), &file, Path::new("--batches"), &given, Path::new("--overwrite")];
        let output = command(start.into_iter().chain(all.iter().map(Path::new))).current_dir(folder.path()).output();
        assert!(output.as_ref().unwrap().status.success(), "{output:?}");
        let (after, before) =
            (Checkpoint::open(folder.path().join("out.pt")).unwrap(), Checkpoint::open(&file).unwrap());
        let weights = StateDict::from_value(&after.value("model_state_dict").unwrap()).unwrap();
        let before = StateDict::from_value(before.root()).unwrap();
        move |name: &str| {
            weights.get(name).unwrap().to_f64_vec().unwrap() == before.get(name).unwrap().to_f64_vec().unwrap()
        }
    };
    let (eval, train) = (mode("eval"), mode("train"));
    for name in ["bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"] {
        assert!(eval(name) && !train(name), "{name}");
    }
    assert!(!eval("bn1.weight") && !eval("bn1.bias"), "its factors are trained");
}

#[test]
fn evaluation_is_refused_where_there_is_no_batch_norm() {
    let folder = tempfile::tempdir().unwrap();
    let flat = fixtures::path("roots").join("flat.pt");
    let model = ["--model", "mlp", "--config", "sizes=5,8,3", "--batch-norm", "eval", "--save", "out.pt"];
    let said = refusal(&NORMS.resume(flat.to_str().unwrap(), &model, folder.path()));
    assert!(said.contains("the model has no batch norm that could be in evaluation (--batch-norm)"), "{said}");
}
