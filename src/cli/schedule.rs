//! When a run's schedulers are stepped: what the command has to be told of it beyond what the library asks, and the metric that
//! some of them go by.

use rekindle::models::Network;
use rekindle::recorder::run::Question;

use rekindle::train::data::Samples;
use rekindle::train::lr_scheduler::{LRScheduler, SteppedBy};
use rekindle::train::run::{Plan, Run, SchedulePer, SchedulerPlan};

use super::answer::usage;
use super::task::Task;

/// The metrics of `--metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Metric {
    /// The mean of the losses of an epoch's steps
    Loss,
    /// The mean loss on the samples held back
    HeldBackLoss,
    /// The part of the samples held back that is classified rightly
    Accuracy,
}

impl Metric {
    fn says(self) -> &'static str {
        match self {
            Metric::Loss => "the mean of the losses",
            Metric::HeldBackLoss => "the mean loss on the samples held back",
            Metric::Accuracy => "the accuracy on the samples held back",
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Loss => "loss",
            Metric::HeldBackLoss => "held-back-loss",
            Metric::Accuracy => "accuracy",
        }
    }
}

/// Where batches come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// They are fixed: nothing says where an epoch ends.
    Fixed,
    /// They are drawn from a data set, of which there are samples that are held back, or none.
    Data { held_back: bool },
}

/// What was told of the schedulers.
#[derive(Debug)]
pub(super) struct Scheduling {
    pub(super) metric: Option<Metric>,
    pub(super) per: Vec<SchedulePer>,
    pub(super) steps_per_epoch: Option<i64>,
    pub(super) source: Source,
}

impl Scheduling {
    /// What has to be told yet, of a run with this plan.
    pub(super) fn open(&self, plan: &Plan) -> Vec<Question> {
        let mut open = Vec::new();
        let by_metric = by_metric(plan);
        if let Some(scheduler) = by_metric {
            if self.metric.is_none() {
                open.push(self.ask_metric(scheduler));
            }
            if self.metric_per(scheduler).is_none() {
                let what = format!(
                    "the file does not tell whether {} is told its metric per step or per epoch",
                    scheduler.kind
                );
                let question = Question::new(what).or("ResumeOptions::schedule_per(step)", "after every step");
                open.push(leave(question.or("ResumeOptions::schedule_per(epoch)", "after every epoch")));
            }
        }
        if let (Some(scheduler), Source::Fixed, None) = (self.by_epochs(plan), self.source, self.epoch_length(plan)) {
            let what = format!("{} goes by epochs, and nothing tells how many steps one has", scheduler.kind);
            open.push(leave(Question::new(what).or("Run::steps_per_epoch(N)", "for that")));
        }
        if let (true, Source::Fixed, None) = (plan.average_by_epochs, self.source, self.epoch_length(plan)) {
            let what = "the average of the weights goes by epochs, and nothing tells how many steps one has";
            let question = Question::new(what).or("Run::steps_per_epoch(N)", "for that");
            open.push(question.or("ResumeOptions::keep_average(true)", "to leave it as it is"));
        }
        if let (true, Source::Fixed, None) = (plan.drops_batches, self.source, self.epoch_length(plan)) {
            let what = format!(
                "{} drops the batches that an epoch leaves over, and nothing tells how many steps one has, of which it must be a whole number",
                plan.layout
            );
            let question = Question::new(what).or("Run::steps_per_epoch(N)", "for that");
            open.push(question.or("ResumeOptions::accumulate(1)", "where each batch is a whole step's"));
        }
        open
    }

    /// A scheduler that goes by epochs, or is told its metric so.
    fn by_epochs<'a>(&self, plan: &'a Plan) -> Option<&'a SchedulerPlan> {
        let told = |scheduler: &&SchedulerPlan| self.metric_per(scheduler).is_some_and(SchedulePer::is_by_epochs);
        let own = plan.schedulers.iter().find(|plan| plan.per.is_by_epochs());
        own.or_else(|| by_metric(plan).filter(told))
    }

    fn ask_metric(&self, scheduler: &SchedulerPlan) -> Question {
        let what = match &scheduler.monitor {
            None => format!("{} goes by a metric, and no file says which", scheduler.kind),
            Some(name) => format!("{} goes by the metric '{name}', and no file says what that is", scheduler.kind),
        };
        let mut question = Question::new(what);
        let metrics = match self.source {
            Source::Fixed => &[Metric::Loss][..],
            Source::Data { .. } => &[Metric::Loss, Metric::HeldBackLoss, Metric::Accuracy],
        };
        for metric in metrics {
            let needs = *metric != Metric::Loss && self.source == Source::Data { held_back: false };
            let says = if needs {
                format!("(with --held-back N) for {}", metric.says())
            } else {
                format!("for {}", metric.says())
            };
            question = question.or(format!("Run::step_scheduler({})", metric.name()), says);
        }
        leave(question)
    }

    /// How often the metric is told.
    fn metric_per(&self, scheduler: &SchedulerPlan) -> Option<SchedulePer> {
        let said = self.per.iter().copied().find(|per| *per != SchedulePer::Metric);
        said.or(scheduler.counted)
    }

    /// How many steps an epoch has: as it was told, or as the file's epochs and steps tell.
    pub(super) fn epoch_length(&self, plan: &Plan) -> Option<i64> {
        if self.steps_per_epoch.is_some() {
            return self.steps_per_epoch;
        }
        // Whoever steps before the optimizer, as BasicSR, saves amid epochs.
        if plan.schedulers.iter().any(|scheduler| scheduler.per == SchedulePer::BeforeStep) {
            return None;
        }
        let (epoch, steps) = (plan.epoch?, plan.step.filter(|&steps| steps > 0)?);
        // Programs save how many epochs are finished, or the number of the last one, from 0. A scheduler counts them, too.
        let counted = plan.schedulers.iter().filter(|scheduler| scheduler.counted == Some(SchedulePer::Epoch));
        let counted = counted.filter_map(|scheduler| scheduler.last_epoch).max();
        let finished = counted.map_or_else(|| vec![epoch, epoch.saturating_add(1)], |finished| vec![finished]);
        let lengths: Vec<i64> = finished
            .into_iter()
            .filter(|&epochs| epochs > 0 && steps % epochs == 0)
            .map(|epochs| steps / epochs)
            .collect();
        if let [length] = lengths[..] { Some(length) } else { None }
    }

    /// Says in the plan what the metric is, and how many steps an epoch is taken to have where only the file's counts tell it.
    pub(super) fn explain(&self, plan: &mut Plan) {
        if let (Source::Fixed, None, Some(length)) = (self.source, self.steps_per_epoch, self.epoch_length(plan)) {
            for scheduler in plan.schedulers.iter_mut().filter(|scheduler| scheduler.per.is_by_epochs()) {
                let counts = "as the file's steps and epochs tell where it was saved at an epoch's end";
                let why = format!("{}; an epoch has {length} steps, {counts} (`Run::steps_per_epoch`)", scheduler.why);
                scheduler.why = why;
            }
        }
        let uncounted = self.source == Source::Fixed && self.epoch_length(plan).is_none();
        if let Some(epoch) = plan.epoch.filter(|_| uncounted) {
            plan.untold.push(format!(
                "how many steps an epoch has: the file's stays at {epoch}, however many steps are made (`Run::steps_per_epoch(N)` counts on)"
            ));
        }
        let goes = self.by_epochs(plan).map(|scheduler| scheduler.kind.to_string());
        let goes = goes.or_else(|| plan.average_by_epochs.then(|| "the average of the weights".to_owned()));
        if let (Source::Fixed, Some(length), None, Some(goes)) = (self.source, self.epoch_length(plan), plan.step, goes)
        {
            plan.untold.push(format!(
                "how many steps were made, and {goes} goes by epochs: they are taken for whole epochs of {length}, as of a file that \
                 was saved at an epoch's end (`ResumeOptions::steps_made(N)` says how many)"
            ));
        }
        let Some(metric) = self.metric else { return };
        for index in 0..plan.schedulers.len() {
            if plan.schedulers[index].per == SchedulePer::Metric {
                let per = self.metric_per(&plan.schedulers[index]).unwrap_or_default();
                let told = plan.schedulers[index].last_epoch;
                if per == SchedulePer::Epoch && plan.epoch.zip(told).is_some_and(|(epoch, told)| told + 1 == epoch) {
                    plan.untold.push(format!(
                        "the metric of the last of {} epochs, which {} was told after the file was saved: it goes on without",
                        told.unwrap_or(0) + 1,
                        plan.schedulers[index].kind
                    ));
                }
                plan.schedulers[index].why =
                    format!("it is told {} after every {}", metric.says(), per.name().replace('-', " "));
            }
        }
    }

    /// Who tells a run its metric; `None` where no scheduler goes by one.
    ///
    /// # Errors
    /// When there is nothing to take the metric from.
    pub(super) fn teller<'a>(
        &self,
        run: &Run<Network>,
        plan: &Plan,
        task: &'a Task,
        held_back: Option<(&'a dyn Samples, usize)>,
    ) -> Result<Option<Teller<'a>>, Box<dyn std::error::Error>> {
        let (Some(scheduler), Some(metric)) = (by_metric(plan), self.metric) else {
            return match self.metric {
                Some(metric) => {
                    Err(usage(format!("--metric {}: no scheduler of the run goes by a metric", metric.name())))
                }
                None => Ok(None),
            };
        };
        let per = self.metric_per(scheduler).unwrap_or_default();
        // A program that counts in hundredths has seen a best one of more than 1.
        let best = run.schedulers().find(|scheduler| scheduler.stepped_by() == Some(SteppedBy::Metric)).and_then(best);
        let scale = if metric == Metric::Accuracy && best.is_some_and(|best| best > 1.0 && best.is_finite()) {
            100.0
        } else {
            1.0
        };
        let teller = Teller { metric, per, scale, task, held_back };
        if metric != Metric::Loss {
            teller.measured(run)?;
        }
        Ok(Some(teller))
    }
}

fn by_metric(plan: &Plan) -> Option<&SchedulerPlan> {
    plan.schedulers.iter().find(|scheduler| scheduler.per == SchedulePer::Metric)
}

/// The best metric that a scheduler has seen.
fn best(scheduler: &LRScheduler) -> Option<f64> {
    scheduler.state_dict().as_dict()?.get("best")?.as_f64()
}

fn leave(question: Question) -> Question {
    question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
}

/// What tells a run the metric that its scheduler goes by.
pub(super) struct Teller<'a> {
    metric: Metric,
    per: SchedulePer,
    /// What an accuracy is multiplied by.
    scale: f64,
    task: &'a Task,
    held_back: Option<(&'a dyn Samples, usize)>,
}

/// What the losses are called since the metric was told last.
const LOSSES: &str = "losses of the metric";

impl Teller<'_> {
    /// Tells the metric, if it is time to: after a step with this loss, which may have ended an epoch.
    pub(super) fn after_step(
        &self,
        run: &mut Run<Network>,
        loss: f64,
        ended: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        run.record(LOSSES, loss);
        let due = match self.per {
            SchedulePer::Step => true,
            SchedulePer::Steps(each) => run.steps() % i64::from(each) == 0,
            SchedulePer::Epochs(each) => ended && run.epochs() % i64::from(each) == 0,
            _ => ended,
        };
        if !due {
            return Ok(());
        }
        let mean = run.take_mean(LOSSES).unwrap_or(f64::NAN);
        let metric = if self.metric == Metric::Loss { mean } else { self.measured(run)? };
        Ok(run.step_scheduler(metric)?)
    }

    /// The metric on the samples that are held back.
    fn measured(&self, run: &Run<Network>) -> Result<f64, Box<dyn std::error::Error>> {
        Ok(measured("--metric", self.metric, self.task, self.held_back, run.model())? * self.scale)
    }
}

/// A metric of a network on the samples that are held back, which a flag asks for.
pub(super) fn measured(
    flag: &str,
    metric: Metric,
    task: &Task,
    held_back: Option<(&dyn Samples, usize)>,
    network: &Network,
) -> Result<f64, Box<dyn std::error::Error>> {
    let Some((samples, size)) = held_back.filter(|(samples, _)| !samples.is_empty()) else {
        let name = metric.name();
        return Err(usage(format!("{flag} {name} is taken on samples held back; say --data FILE --held-back N")));
    };
    match metric {
        Metric::Accuracy => {
            let found = task.accuracy(network, samples, size)?;
            found.ok_or_else(|| usage(format!("{flag} accuracy needs classes for targets, and a loss that takes them")))
        }
        Metric::Loss | Metric::HeldBackLoss => Ok(task.mean_loss(network, samples, size)?),
    }
}
