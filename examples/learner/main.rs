//! A program of burn-train's, `SupervisedTraining`, that goes on from a checkpoint of PyTorch's and writes such. What makes it so is marked with
//! `PyTorch:`; all else is as burn-train's guide has it. It is the run of examples/digits/train.py, and its losses are PyTorch's.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor};
use burn_train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn_train::{ClassificationOutput, InferenceStep, SupervisedTraining, TrainOutput, TrainStep};
use rekindle::prelude::*;
use rekindle::train::checkpoints::{Better, CheckpointOptions};
use rekindle::train::data::Batch;
use rekindle::train::learner::{TorchLoader, TorchLog, TorchTraining};

#[derive(Module, Debug)]
struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |channels| {
            let config = Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            config.init(device)
        };
        Net {
            conv1: conv([1, 6]),
            conv2: conv([6, 16]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(64, 120).init(device),
            fc2: LinearConfig::new(120, 84).init(device),
            fc3: LinearConfig::new(84, 10).init(device),
        }
    }

    fn forward(&self, batch: Digits) -> ClassificationOutput {
        let x = self.pool.forward(relu(self.conv1.forward(batch.images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.fc1.forward(x.flatten::<2>(1, 3)));
        let logits = self.fc3.forward(relu(self.fc2.forward(x)));
        let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(&logits.device());
        ClassificationOutput::new(loss.forward(logits.clone(), batch.classes.clone()), logits, batch.classes)
    }
}

#[derive(Clone, Debug)]
struct Digits {
    images: Tensor<4>,
    classes: Tensor<1, Int>,
}

impl TrainStep for Net {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Net {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> ClassificationOutput {
        self.forward(batch)
    }
}

/// Trains until so many epochs are finished. The same call again goes on where it was stopped.
fn train(folder: &Path, epochs: usize) -> rekindle::Result<()> {
    let device = device("cpu")?.autodiff();
    let options = ReadOptions::default().input_shape([1, 8, 8]).divide_by(16.0);
    let (train, valid) = read_dataset("examples/digits/digits.csv.gz", &options)?.split_at(1437)?;
    let digits =
        |batch: Batch, device: &Device| Ok(Digits { images: batch.inputs(device)?, classes: batch.classes(device)? });

    // PyTorch: weights, AdamW with its moments, CosineAnnealingLR and the generator are those of the file; the newest epoch in the folder comes first.
    let checkpoint = Checkpoint::open("examples/digits/run.pt")?;
    let options = ResumeOptions::default().schedule_per(SchedulePer::Epoch);
    let training = TorchTraining::resume(folder, checkpoint, Net::new(&device), options)?;
    // PyTorch: DataLoader(train, batch_size=64, shuffle=True), the very batches.
    let train = training.loader(DataLoader::new(train, 64)?.shuffle(true), digits)?;
    let valid = TorchLoader::new(DataLoader::new(valid, 360)?, digits)?;
    training.newest()?;

    let kept = CheckpointOptions::default().keep_last(2).best("Accuracy", Better::Higher);
    let trained = SupervisedTraining::new(folder, Arc::new(train), Arc::new(valid))
        // PyTorch: epoch-14.pt and so on, which torch.load opens; log.jsonl and TensorBoard's files.
        .with_custom_checkpointers(training.clone(), training.clone(), training.clone())
        .with_checkpointing_strategy(training.checkpointing(kept)?)
        .with_metric_logger(TorchLog::new(folder, training.steps())?)
        .checkpoint(training.epoch())
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .num_epochs(epochs)
        .launch(training.learner()?); // PyTorch: in place of Learner::new(model, optimizer, scheduler)
    if let Some(error) = trained.error {
        eprintln!("{error}");
    }
    Ok(())
}

fn main() -> rekindle::Result<()> {
    train(Path::new("runs/learner"), 26)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::train::log::{Apart, read_log};
    use rekindle_testing::fixtures;

    #[test]
    fn a_program_of_burn_train_s_goes_on_with_pytorch_s_losses_and_rates_through_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        train(folder.path(), 20).unwrap();
        train(folder.path(), 26).unwrap();
        let ours = read_log(folder.path().join("log.jsonl")).unwrap();
        let apart = Apart::between(&ours, &read_log(fixtures::digits("expect.jsonl")).unwrap()).unwrap();
        println!("largest difference of a loss: {:.1e}", apart.largest);
        // PyTorch differs from itself by up to 1.1e-6 (examples/digits/README.md).
        assert!(apart.steps == 299 && apart.same_lr && apart.largest < 2e-6, "{apart:?}");
        let last = Checkpoint::open(folder.path().join("epoch-26.pt")).unwrap();
        assert_eq!(last.get::<i64>("epoch").unwrap(), 26);
    }
}
