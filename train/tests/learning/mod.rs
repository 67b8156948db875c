//! A program of burn-train's: how it trains the network of `examples/digits/train.py`.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader as BurnLoader;
use burn::tensor::{Device, Int, Tensor};
use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::{AccuracyMetric, LearningRateMetric, LossMetric, MetricDefinition};
use burn_train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use burn_train::{
    ClassificationOutput, InferenceStep, Learner, LearnerModel, LearningResult, SupervisedTraining, TrainOutput,
    TrainStep,
};
use rekindle_recorder::{Checkpoint, Result};
use rekindle_testing::fixtures;
use rekindle_train::data::{Batch, DataLoader};
use rekindle_train::learner::{TorchLoader, TorchLog, TorchTraining};
use rekindle_train::loss::cross_entropy;
use rekindle_train::run::{ResumeOptions, SchedulePer};

use crate::digits_run::{DigitsNet, loader, pictures};

/// What the network learns from.
#[derive(Clone, Debug)]
pub(crate) struct Digits {
    pub(crate) images: Tensor<4>,
    pub(crate) classes: Tensor<1, Int>,
}

impl Digits {
    pub(crate) fn of(batch: Batch, device: &Device) -> Result<Self> {
        Ok(Digits { images: batch.inputs(device)?, classes: batch.classes(device)? })
    }
}

/// The mean loss of a batch, and what burn-train measures by.
pub(crate) fn judged(logits: Tensor<2>, classes: Tensor<1, Int>) -> ClassificationOutput {
    let loss = cross_entropy(logits.clone(), classes.clone()).unwrap();
    ClassificationOutput::new(loss, logits, classes)
}

impl TrainStep for DigitsNet {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> TrainOutput<ClassificationOutput> {
        let output = judged(self.forward(batch.images), batch.classes);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for DigitsNet {
    type Input = Digits;
    type Output = ClassificationOutput;

    fn step(&self, batch: Digits) -> ClassificationOutput {
        judged(self.forward(batch.images), batch.classes)
    }
}

/// What it holds back, in a loader that draws from a generator of its own.
pub(crate) fn held_back(class: impl Fn(i64) -> i64) -> Arc<TorchLoader<Digits>> {
    let loader = DataLoader::new(pictures(class).1, 360).unwrap();
    Arc::new(TorchLoader::new(loader, Digits::of).unwrap())
}

/// The run of `train.py`, from its checkpoint after 13 epochs, or from the newest one in the folder.
pub(crate) fn resumed(folder: &Path) -> TorchTraining<DigitsNet> {
    let checkpoint = Checkpoint::open(fixtures::digits("run.pt")).unwrap();
    let options = ResumeOptions::default().schedule_per(SchedulePer::Epoch);
    let training = TorchTraining::resume(folder, checkpoint, DigitsNet::new(1), options).unwrap();
    training.newest().unwrap();
    training
}

/// burn-train's training of it over these samples, validated on the others, to an epoch.
pub(crate) fn supervised<M>(
    folder: &Path,
    training: &TorchTraining<M>,
    (loader, valid): (TorchLoader<Digits>, Arc<TorchLoader<Digits>>),
    until: usize,
) -> SupervisedTraining<M>
where
    M: LearnerModel
        + TrainStep<Input = Digits, Output = ClassificationOutput>
        + InferenceStep<Input = Digits, Output = ClassificationOutput>,
{
    let valid: Arc<dyn BurnLoader<Digits>> = valid;
    SupervisedTraining::new(folder, Arc::new(loader), valid)
        .with_custom_checkpointers(training.clone(), training.clone(), training.clone())
        .checkpoint(training.epoch())
        .num_epochs(until)
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_metric_logger(TorchLog::new(folder, training.steps()).unwrap())
        .renderer(Box::new(Quiet))
        .with_application_logger(None)
}

/// Trains the run of `train.py` to an epoch, and gives the training as it was launched.
pub(crate) fn train(folder: &Path, until: usize) -> TorchTraining<DigitsNet> {
    let training = resumed(folder);
    let batches = (training.loader(loader(), Digits::of).unwrap(), held_back(|digit| digit));
    let learner = training.learner().unwrap();
    launch(supervised(folder, &training, batches, until), learner);
    training
}

pub(crate) fn launch<M: LearnerModel>(training: SupervisedTraining<M>, learner: Learner<M>) -> LearningResult<M> {
    let result = training.launch(learner);
    assert!(result.error.is_none(), "{}", result.error.unwrap());
    result
}

/// Shows nothing.
pub(crate) struct Quiet;

impl MetricsRendererTraining for Quiet {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Quiet {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Quiet {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn update_epoch(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Quiet {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Quiet {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}
