//! The whole way: `examples/digits/run.pt`, which PyTorch wrote, goes on here on the batches that PyTorch would have drawn, and
//! is compared with what PyTorch computed for the same steps. And back: a run that was saved goes on as if it had not been.

use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_testing::{fixtures, tagged};
use rekindle_train::Run;
use rekindle_train::data::Batch;
use rekindle_train::loss::cross_entropy;
use rekindle_train::run::SchedulePer;

use crate::digits_run::{DigitsNet, device, loader};

fn resumed(checkpoint: Checkpoint) -> Run<DigitsNet> {
    Run::resume(checkpoint, DigitsNet::new(1)).unwrap().with_loader(loader()).schedule_per(SchedulePer::Epoch)
}

fn step(run: &mut Run<DigitsNet>, batch: &Batch) -> f64 {
    let logits = run.model().forward(batch.inputs(&device()).unwrap());
    run.step(cross_entropy(logits, batch.classes::<1>(&device()).unwrap()).unwrap()).unwrap();
    run.loss().unwrap().unwrap()
}

#[test]
fn a_run_of_pytorch_goes_on_and_its_loss_curve_does_not_notice() {
    let batches = fixtures::json("digits/batches.json");
    let mut expected = fixtures::lines(&fixtures::digits("expect.jsonl")).into_iter();

    let mut run = resumed(Checkpoint::open(fixtures::digits("run.pt")).unwrap()).until_epoch(26);
    assert!(run.load_report().unwrap().is_exact());
    assert_eq!((run.epochs(), run.steps()), (13, 299));
    let mut worst = 0.0_f64;
    while let Some(batch) = run.next_batch().unwrap() {
        let (epoch, place) = ((run.epochs() + 1).to_string(), run.loader().unwrap().taken() - 1);
        if let Some(epoch) = batches["epochs"].get(&epoch) {
            let rows: Vec<u64> = epoch[place].as_array().unwrap().iter().map(|row| row.as_u64().unwrap()).collect();
            assert!(batch.places().iter().map(|place| *place as u64).eq(rows), "epoch {epoch}, batch {place}");
        }
        let lr = run.lr().unwrap();
        let loss = step(&mut run, &batch);
        let line = expected.next().unwrap();
        assert_eq!(line["step"].as_i64(), Some(run.steps()));
        assert_eq!(line["lr"][0].as_f64().map(f64::to_bits), Some(lr[0].to_bits()), "step {}", run.steps());
        let there = line["loss"].as_f64().unwrap();
        worst = worst.max((loss - there).abs() / there);
    }
    assert!(expected.next().is_none());
    println!("worst relative difference of a loss: {worst:.2e}");
    // PyTorch differs from itself by up to 1.1e-6 (examples/digits/README.md).
    assert!(worst < 2e-6, "{worst:e}");

    let checkpoint = run.checkpoint().unwrap();
    assert_eq!(checkpoint.get::<i64>("epoch").unwrap(), 26);
    assert_eq!(checkpoint.get::<i64>("scheduler_state_dict.last_epoch").unwrap(), 26);
    let keys = |checkpoint: &Checkpoint| {
        let entries = checkpoint.root().as_dict().unwrap().entries();
        entries.iter().map(|(key, _)| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&checkpoint), keys(&Checkpoint::open(fixtures::digits("run.pt")).unwrap()));
    let rng = checkpoint.value("rng_state").unwrap().as_tensor().unwrap().to_vec::<u8>().unwrap();
    assert_eq!(rng, tagged::bytes(&batches["rng_state_after_epoch"]["26"]["base64"]));
}

#[test]
fn a_run_that_was_saved_goes_on_as_if_it_had_not_been() {
    let mut run = resumed(Checkpoint::open(fixtures::digits("run.pt")).unwrap()).until_epoch(15);
    let mut saved = None;
    let mut losses = Vec::new();
    while let Some(batch) = run.next_batch().unwrap() {
        losses.push(step(&mut run, &batch).to_bits());
        if run.epochs() == 14 && saved.is_none() {
            saved = Some(run.checkpoint().unwrap());
            losses.clear();
        }
    }
    let mut again = resumed(saved.unwrap()).until_epoch(15);
    assert_eq!((again.epochs(), again.steps()), (14, 322));
    let mut losses_again = Vec::new();
    while let Some(batch) = again.next_batch().unwrap() {
        losses_again.push(step(&mut again, &batch).to_bits());
    }
    assert_eq!(losses_again, losses);
}

#[test]
fn a_run_ends_at_a_step_and_starts_without_a_checkpoint() {
    use rekindle_train::lr_scheduler::{LRScheduler, StepLR};
    use rekindle_train::optim::{Optimizer, SgdOptions};

    let model = DigitsNet::new(1);
    let options = SgdOptions::default().lr(0.1).momentum(0.9);
    let mut optimizer = Optimizer::sgd(&model, options).unwrap();
    let scheduler = LRScheduler::new(StepLR::new(2), &mut optimizer).unwrap();
    let mut run = Run::start(model, optimizer).with_scheduler(scheduler).with_loader(loader()).until_step(25);
    while let Some(batch) = run.next_batch().unwrap() {
        step(&mut run, &batch);
    }
    assert_eq!((run.epochs(), run.steps(), run.loader().unwrap().taken()), (1, 25, 2));
    let checkpoint = run.checkpoint().unwrap();
    assert_eq!(checkpoint.get::<i64>("epoch").unwrap(), 1);
    assert_eq!(checkpoint.get::<f64>("optimizer_state_dict.param_groups[0].initial_lr").unwrap(), 0.1);
    let again = resumed(checkpoint);
    assert_eq!((again.epochs(), again.scheduler().unwrap().last_epoch().unwrap()), (1, 25));
}
