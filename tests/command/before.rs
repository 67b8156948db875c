//! Runs whose schedulers are stepped before the optimizer, as `BasicSR`'s and ignite's are, and rates that a program sets by hand.

use crate::refusal;
use crate::went_on::{Section, text};
use rekindle_testing::fixtures;

const BEFORE: Section = Section("before");

/// What is asked of a file before anything is told.
fn asked(name: &str, told: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    refusal(&BEFORE.resume(name, told, folder.path()))
}

#[test]
fn basicsr_s_schedulers_go_on_before_each_step_and_its_warm_up_is_told_by_the_rates() {
    let (after, said) = BEFORE.goes_on("basicsr.pt", &[], "model", "out.pt");
    let says = "scheduler  MultiStepRestartLR at 3, stepped before every step: as BasicSR steps it";
    assert!(said.contains(says) && said.contains("warmed up by hand over 7 iterations"), "{said}");
    assert!(
        said.contains("next     lr 0.03571428571428572, 0.04285714285714286, 0.04285714285714286, 0.025"),
        "{said}"
    );
    let count = |place: &str| after.get::<i64>(place).unwrap();
    assert_eq!((count("iter"), count("epoch")), (10, 0));
    assert_eq!((count("schedulers[0].last_epoch"), count("schedulers[0]._step_count")), (9, 10));

    let (after, said) = BEFORE.goes_on("restarts.pt", &[], "model", "out.pt");
    assert!(said.contains("CosineAnnealingRestartLR at 3, stepped before every step"), "{said}");
    assert!(!said.contains("warmed up"), "{said}");
    assert_eq!(after.get::<i64>("schedulers[0].last_epoch").unwrap(), 9);
}

#[test]
fn where_no_program_is_told_it_is_asked_whether_a_scheduler_is_stepped_before_or_after() {
    let question = asked("elsewhere.pt", &[]);
    assert!(question.contains("CosineAnnealingRestartLR (it was stepped 3 times)"), "{question}");
    for answer in ["--schedule-per before-step", "--schedule-per step", "--schedule-per epoch", "--scheduler none"] {
        assert!(question.contains(answer), "{answer}: {question}");
    }
    BEFORE.goes_on("elsewhere.pt", &["--schedule-per", "before-step"], "net", "out.pt");
}

#[test]
fn ignite_s_schedulers_go_on_as_in_ignite_once_it_is_said_when_they_are_called() {
    let question = asked("ignite.pt", &[]);
    assert!(question.contains("LinearCyclicalScheduler (it was stepped 4 times)"), "{question}");
    assert!(
        question.contains("--schedule-per before-step before every step, as at `Events.ITERATION_STARTED`"),
        "{question}"
    );
    assert!(question.contains("--schedule-per step after") && !question.contains("per before-epoch"), "{question}");
    let before = ["--schedule-per", "before-step"];
    let (after, _) = BEFORE.goes_on("ignite.pt", &before, "model", "out.pt");
    let count = |place: &str| after.get::<i64>(place).unwrap();
    assert_eq!(
        (count("lr_scheduler.cycle"), count("lr_scheduler.event_index"), count("trainer.iteration")),
        (1, 4, 10)
    );
    assert!(after.value("lr_scheduler.monotonic").is_err(), "nothing is invented");

    let (after, _) = BEFORE.goes_on("ignite_warm.pt", &before, "model", "out.pt");
    assert_eq!(after.get::<i64>("lr_scheduler._scheduler_index").unwrap(), 1);
    assert_eq!(after.get::<i64>("lr_scheduler.schedulers[1].lr_scheduler.last_epoch").unwrap(), 5);

    let question = asked("ignite_many.pt", &[]);
    assert!(question.contains("--schedule-per before-step,before-step"), "{question}");
    let (after, _) =
        BEFORE.goes_on("ignite_many.pt", &["--schedule-per", "before-step,before-step"], "model", "out.pt");
    let momentum = after.get::<f64>("optimizer.param_groups[1].momentum").unwrap();
    assert!((momentum - 0.925).abs() < 1e-15, "{momentum}");
}

#[test]
fn an_average_whose_momentum_grows_in_ignite_goes_on_beside_schedulers_of_each_epoch() {
    let question = asked("ignite_epoch.pt", &["--ema", "none"]);
    assert!(question.contains("--schedule-per before-epoch"), "{question}");
    let told = ["--schedule-per", "before-epoch", "--ema", "ignite(momentum=0.1, momentum_warmup=0.5, warmup_iters=7)"];
    let (after, _) = BEFORE.goes_on("ignite_epoch.pt", &told, "model", "out.pt");
    assert_eq!(after.get::<i64>("warm.schedulers[0][1].event_index").unwrap(), 4);
    let truth = fixtures::json("before/truth.json");
    for (name, expected) in truth["ignite_epoch"]["average"].as_object().unwrap() {
        let ours = after.get::<rekindle::Tensor>(&format!("ema_model.{name}")).unwrap().to_f64_vec().unwrap();
        let theirs = expected.as_array().unwrap().iter().map(|number| number.as_f64().unwrap());
        assert!(ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() <= 1e-5), "{name}");
    }
}

#[test]
fn rates_that_no_scheduler_of_the_file_has_set_are_asked_about() {
    let question = asked("by_hand.pt", &[]);
    assert!(question.contains("are not those that StepLR gives by itself"), "{question}");
    assert!(question.contains("--scheduler StepLR") && question.contains("--scheduler none"), "{question}");
    for answer in [
        &["--scheduler", "StepLR"][..],
        &["--scheduler", "none"],
        &["--scheduler", "StepLR(9)", "--new-scheduler", "--schedule-per", "step"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = BEFORE.resume("by_hand.pt", &[answer, &["--save", "out.pt"]].concat(), folder.path());
        assert!(output.status.success(), "{answer:?}: {}", text(&output.stderr));
    }
}
