//! A network that PyTorch trained is tuned for another task: its layers are kept, its last one is new, and the first ones stay as they
//! are. Here digits become even and odd ones. train.py is the same program in PyTorch, and its losses are these.

use burn::module::Module as _;
use rekindle::models::nn::LinearConfig;
use rekindle::models::zoo::Digits;
use rekindle::prelude::*;
use rekindle::train::data::Elements;
use rekindle::train::log::LogLine;
use rekindle::train::lr_scheduler::OneCycleLR;
use rekindle::train::optim::AdamWOptions;

/// Trains ten epochs, and gives what it saw of each step, and the accuracy on samples that were held back.
fn tune(out: &std::path::Path) -> rekindle::Result<(Vec<LogLine>, f64)> {
    let device = device("cpu")?.autodiff();
    let checkpoint = Checkpoint::open("examples/digits/run.pt")?;
    let init = &mut Init::seeded(&device, 1);
    let mut network = Digits::new(init)?;
    network.load_state_dict(&checkpoint.get::<StateDict>("model_state_dict")?)?;
    network.fc3 = LinearConfig::new(84, 2).init(init)?; // model.fc3 = nn.Linear(84, 2)

    // The convolutions stay, and what is new learns faster than what was there.
    let optimizer = Optimizer::builder(AdamWOptions::default())
        .group("{fc1,fc2}.*", [("lr", 2e-3)])
        .group("fc3.*", [("lr", 1e-2)])
        .rest_frozen(true);
    let mut optimizer = optimizer.build(&network)?;

    let options = ReadOptions::default().input_shape([1, 8, 8]).divide_by(16.0);
    let (train, held_back) = even_or_odd(&read_dataset("examples/digits/digits.csv.gz", &options)?)?.split_at(1437)?;
    let loader = DataLoader::new(train, 64)?.shuffle(true);
    let steps = i64::try_from(10 * loader.len()).unwrap_or(i64::MAX);
    let scheduler = LRScheduler::new(OneCycleLR::new([2e-3, 1e-2], steps), &mut optimizer)?;

    // The order of the samples is drawn from the generator that the first weights were drawn from, as in PyTorch.
    let mut run = Run::start(network, optimizer)
        .with_shared_generator(init.generator().clone())
        .with_scheduler(scheduler)
        .with_loader(loader)
        .until_epoch(10);
    let mut log = Vec::new();
    while let Some(batch) = run.next_batch()? {
        let (lr, logits) = (run.lr()?, run.model().forward(batch.inputs(&device)?)?);
        run.step(cross_entropy(logits, batch.classes::<1>(&device)?)?)?;
        log.push(LogLine { step: run.steps().unsigned_abs(), loss: run.loss()?.unwrap_or(f64::NAN), lr });
    }
    run.save(out)?;

    let inner = device.inner();
    let batch = held_back.batch(&(0..held_back.len()).collect::<Vec<_>>())?;
    let best = run.model().valid().forward(batch.inputs(&inner)?)?.argmax(1).flatten::<1>(0, 1);
    let right = best.equal(batch.classes::<1>(&inner)?).int().sum().into_scalar::<i64>();
    #[allow(clippy::cast_precision_loss)] // counts of samples
    Ok((log, right as f64 / batch.len() as f64))
}

/// The same pictures with other classes.
fn even_or_odd(digits: &Dataset) -> rekindle::Result<Dataset> {
    let Elements::I64(classes) = digits.targets().elements() else { return Ok(digits.clone()) };
    let classes: Vec<i64> = classes.iter().map(|digit| digit % 2).collect();
    Ok(Dataset::new(digits.inputs().clone(), Array::new(classes.len(), &[], classes)?)?)
}

fn main() -> rekindle::Result<()> {
    let (_, accuracy) = tune(std::path::Path::new("even-or-odd.pt"))?;
    println!("accuracy on the samples held back: {accuracy:.4}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_testing::fixtures;

    #[test]
    fn a_network_of_pytorch_s_learns_another_task_with_pytorch_s_losses_and_what_is_frozen_stays() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("even-or-odd.pt");
        let (log, accuracy) = tune(&out).unwrap();
        let expected = fixtures::lines(&fixtures::root().join("examples/finetune/expect.jsonl"));
        assert_eq!(log.len() + 1, expected.len());
        let mut largest = 0.0_f64;
        for (ours, theirs) in log.iter().zip(&expected) {
            let exact = theirs["loss"].as_f64().unwrap();
            largest = largest.max((ours.loss - exact).abs() / exact);
            let rates: Vec<f64> = theirs["lr"].as_array().unwrap().iter().map(|lr| lr.as_f64().unwrap()).collect();
            assert_eq!(ours.lr, rates, "step {}", ours.step);
        }
        println!("largest difference of a loss: {largest:.1e}");
        assert!(largest <= 1e-5, "{largest}");
        assert_eq!(accuracy, expected[log.len()]["accuracy"].as_f64().unwrap());
        let (before, after) = (Checkpoint::open("examples/digits/run.pt").unwrap(), Checkpoint::open(&out).unwrap());
        let bytes = |checkpoint: &Checkpoint, name: &str| {
            let place = format!("model_state_dict.{name}");
            checkpoint.get::<rekindle::Tensor>(&place).unwrap().to_le_bytes().unwrap()
        };
        assert_eq!(bytes(&before, "conv1.weight"), bytes(&after, "conv1.weight"));
        assert_ne!(bytes(&before, "fc1.weight"), bytes(&after, "fc1.weight"));
        assert_eq!(after.get::<rekindle::Tensor>("model_state_dict.fc3.weight").unwrap().shape(), [2, 84]);
    }
}
