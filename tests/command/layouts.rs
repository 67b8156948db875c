//! Checkpoints of programs that are told by what stands in them, and runs whose file does not say how far they had come.

use rekindle::Checkpoint;

use crate::went_on::{Section, text};
use crate::{command, refusal};

const LAYOUTS: Section = Section("layouts");

/// What `inspect` says of a file.
fn inspected(name: &str) -> String {
    let output = command(["inspect".into(), LAYOUTS.file(name)]).output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_run_in_a_dict_of_the_file_goes_on_whatever_stands_among_its_parts() {
    let (after, _) =
        LAYOUTS.goes_on("inside.pt", &["--steps-per-epoch", "3", "--schedule-per", "epoch"], "state.model", "out.pt");
    assert_eq!(after.get::<i64>("state.global_step").unwrap(), 10);
    assert_eq!(after.get::<String>("name").unwrap(), "a run");
    let rng = after.get::<rekindle::Tensor>("state.rng").unwrap();
    assert_eq!(rng.shape(), [5056]);
}

/// Rates of a schedule per epoch depend on where in its epoch a file was saved: where nothing tells it, that is said, and `--steps-made`
/// answers.
#[test]
fn where_in_its_epoch_a_run_stands_is_said_where_no_file_tells_and_can_be_told() {
    let told = ["--steps-per-epoch", "3", "--schedule-per", "epoch"];
    let (after, said) = LAYOUTS.goes_on("amid.pt", &[&told[..], &["--steps-made", "4"]].concat(), "model", "out.pt");
    assert!(!said.contains("--steps-made"), "{said}");
    assert_eq!((after.get::<i64>("epoch").unwrap(), after.get::<i64>("scheduler.last_epoch").unwrap()), (3, 3));
    assert!(after.value("step").is_err(), "nothing is invented");

    let folder = tempfile::tempdir().unwrap();
    let output = LAYOUTS.resume("amid.pt", &[&told[..], &["--save", "out.pt"]].concat(), folder.path());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let says = "not told   how many steps were made, and StepLR goes by epochs: they are taken for whole epochs of 3";
    assert!(said.contains(says) && said.contains("--steps-made N"), "{said}");

    let refused = refusal(&LAYOUTS.resume("inside.pt", &["--steps-made", "5"], folder.path()));
    assert!(refused.contains("the checkpoint tells that 4 steps were made, and not 5 (--steps-made)"), "{refused}");
}

#[test]
fn yolov5_goes_on_from_its_halves_by_its_own_count_of_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let objects = ["--allow-objects", "--steps-per-epoch", "3", "--steps-made", "4", "--ema", "none"];
    let asked = refusal(&LAYOUTS.resume("yolov5.pt", &objects, folder.path()));
    assert!(asked.contains("yolov5 makes its schedule again") && asked.contains("--scheduler"), "{asked}");
    let all = [&objects[..], &["--scheduler", "yolov5.linear(lrf=0.1, epochs=8)"]].concat();
    let (after, said) = LAYOUTS.goes_on("yolov5.pt", &all, "model", "out.pt");
    assert!(said.contains("clipping   gradients, to the norm 10"), "{said}");
    assert_eq!(after.get::<i64>("epoch").unwrap(), 2, "the third epoch is done");
    assert!(inspected("yolov5.pt").contains("yolov5"));
}

#[test]
fn weights_of_detectron2_s_zoo_are_a_model_s() {
    assert!(inspected("zoo.pkl").contains("detectron2"));
    let folder = tempfile::tempdir().unwrap();
    let begun = [
        "--weights-only",
        "--optimizer",
        "SGD(lr=0.1)",
        "--seed",
        "1",
        "--scheduler",
        "none",
        "--save",
        "out.pt",
        "--steps",
        "1",
    ];
    let output = LAYOUTS.resume("zoo.pkl", &begun, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let after = Checkpoint::open(folder.path().join("out.pt")).unwrap();
    assert_eq!(after.get::<rekindle::Tensor>("model_state_dict.0.weight").unwrap().shape(), [8, 5]);
}

#[test]
fn a_run_of_megatron_s_and_half_of_basicsr_s_are_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, layout, says) in [
        ("megatron.pt", "megatron", "a run of Megatron-LM's is not supported"),
        ("state.state", "basicsr", "BasicSR's training state by itself is not supported"),
    ] {
        assert!(inspected(name).contains(layout), "{name}");
        let refused = refusal(&LAYOUTS.resume(name, &["--allow-objects"], folder.path()));
        assert!(refused.contains(says), "{refused}");
    }
}

/// A count of steps that the optimizer keeps counts, too.
#[test]
fn a_count_of_steps_that_the_optimizer_contradicts_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let roots = Section("roots");
    let arguments = ["--schedule-per", "step", "--steps-made", "9"];
    let refused = refusal(&roots.resume("tuple.pt", &arguments, folder.path()));
    assert!(refused.contains("4 steps were made, and not 9"), "{refused}");
}
