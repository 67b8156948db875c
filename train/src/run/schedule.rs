//! The schedulers of a run, and when each of them is stepped.

use rekindle_recorder::run::Question;
use rekindle_recorder::{Error, ErrorKind, Result, Value};

use super::options::SchedulePer;
use crate::attributes::invalid;
use crate::lr_scheduler::{LRScheduler, SteppedBy};
use crate::optim::{Optimizer, ParamGroup};

/// The schedulers of a run, in the order in which they are stepped.
#[derive(Debug, Default)]
pub(super) struct Schedulers {
    list: Vec<Scheduled>,
    /// How often one is stepped of which nothing else is said.
    per: SchedulePer,
}

/// A scheduler, and how often it is stepped.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    pub(super) scheduler: LRScheduler,
    pub(super) per: SchedulePer,
    /// How many times at once.
    pub(super) times: i64,
    /// Whether steps are counted anew in each epoch, where it is stepped after every so many, as Lightning counts batches.
    pub(super) counts_in_epoch: bool,
    /// In how many iterations the program warms the rates up by hand, over what the scheduler sets before each step: `BasicSR`'s
    /// `warmup_iter`.
    pub(super) warm_up: Option<i64>,
    /// How many steps were made when the scheduler was, whose constructor set the rates of the next one.
    pub(super) since: i64,
}

impl Scheduled {
    pub(super) fn new(scheduler: LRScheduler, per: SchedulePer) -> Self {
        Scheduled { scheduler, per, times: 1, counts_in_epoch: false, warm_up: None, since: 0 }
    }

    /// Steps it before a step of the optimizer, which has `made` so many, where it is stepped then.
    pub(super) fn before_step(&mut self, groups: &mut [ParamGroup], made: i64, per_epoch: Option<i64>) -> Result<()> {
        let due = match self.per {
            SchedulePer::BeforeStep => true,
            SchedulePer::BeforeEpoch => made % length(per_epoch)? == 0,
            _ => return Ok(()),
        };
        // What counts events has set no rates before the first one.
        let is_set = made == self.since && !self.scheduler.counts_events();
        if due && !is_set {
            (0..self.times).try_for_each(|_| self.scheduler.step_alone(groups))?;
        }
        let iteration = made.saturating_add(1);
        if let Some(iterations) = self.warm_up.filter(|&iterations| iteration < iterations) {
            for group in groups {
                let initial = group.float("initial_lr")?;
                group.set("lr", warmed_up(initial, iteration, iterations));
            }
        }
        Ok(())
    }
}

/// `v / warmup_iter * current_iter`: a rate in `BasicSR`'s warm-up.
pub(super) fn warmed_up(initial: f64, iteration: i64, iterations: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // counts
    let (iteration, iterations) = (iteration as f64, iterations as f64);
    initial / iterations * iteration
}

/// How far a run goes, and how many steps its epochs have: as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) steps: Option<i64>,
    pub(super) epochs: Option<i64>,
    pub(super) per_epoch: Option<i64>,
    /// How many batches make a step.
    pub(super) batches: i64,
    /// Whether the loader tells when an epoch has ended, though nobody knows it before.
    pub(super) is_told: bool,
    /// How many steps were made, and epochs finished.
    pub(super) now: (i64, i64),
}

impl Schedulers {
    /// These, and how often one is stepped that is put in their place.
    pub(super) fn new(list: Vec<Scheduled>, per: SchedulePer) -> Self {
        Schedulers { list, per }
    }

    /// This one in the place of those that there are.
    pub(super) fn replaced(self, scheduler: LRScheduler) -> Self {
        Schedulers { list: vec![Scheduled::new(scheduler, self.per)], per: self.per }
    }

    /// With another one, made when so many steps were, which is stepped after those that there are.
    pub(super) fn and(mut self, scheduler: LRScheduler, per: SchedulePer, made: i64) -> Self {
        self.list.push(Scheduled { since: made, ..Scheduled::new(scheduler, per) });
        self
    }

    /// All of them stepped so often.
    pub(super) fn stepped_per(mut self, per: SchedulePer) -> Self {
        self.list.iter_mut().for_each(|scheduled| (scheduled.per, scheduled.times) = (per, 1));
        Schedulers { per, ..self }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LRScheduler> {
        self.list.iter().map(|scheduled| &scheduled.scheduler)
    }

    /// What a checkpoint holds of them.
    pub(super) fn saved(&self) -> Vec<Value> {
        self.iter().filter(|scheduler| scheduler.is_saved()).map(LRScheduler::state_dict).collect()
    }

    /// Goes to where the schedulers were that these are all of, as many as there are.
    pub(super) fn load_whole<'a>(&mut self, whole: &mut impl Iterator<Item = &'a Value>) -> Result<()> {
        self.list.iter_mut().try_for_each(|Scheduled { scheduler, .. }| match whole.next() {
            Some(whole) => scheduler.load_whole(whole),
            None => Err(invalid("the run had fewer schedulers than it has here")),
        })
    }

    /// Those there are, made when so many steps were.
    pub(super) fn since(mut self, made: i64) -> Self {
        self.list.iter_mut().for_each(|scheduled| scheduled.since = made);
        self
    }

    /// Steps those that are stepped before the optimizer, which has `made` so many steps.
    pub(super) fn before_step(&mut self, groups: &mut [ParamGroup], made: i64, per_epoch: Option<i64>) -> Result<()> {
        if self.list.iter().any(|scheduled| scheduled.per.is_before()) {
            // On copies, so that an error leaves everything as it was.
            let (mut next, mut stepped) = (self.list.clone(), groups.to_vec());
            next.iter_mut().try_for_each(|scheduled| scheduled.before_step(&mut stepped, made, per_epoch))?;
            groups.clone_from_slice(&stepped);
            self.list = next;
        }
        Ok(())
    }

    /// The rates that the groups have in the next step.
    pub(super) fn next(&self, groups: &[ParamGroup], made: i64, per_epoch: Option<i64>) -> Result<Vec<f64>> {
        let mut groups = groups.to_vec();
        for scheduled in self.list.iter().filter(|scheduled| scheduled.per.is_before()) {
            scheduled.clone().before_step(&mut groups, made, per_epoch)?;
        }
        groups.iter().map(ParamGroup::lr).collect()
    }

    /// Steps those that are stepped with the optimizer, which has `made` so many steps, the last of them so many in its epoch.
    pub(super) fn after_step(
        &mut self,
        optimizer: &mut Optimizer,
        (made, in_epoch): (i64, i64),
        per_epoch: Option<i64>,
    ) -> Result<()> {
        for Scheduled { scheduler, per, times, counts_in_epoch, .. } in &mut self.list {
            let counted = if *counts_in_epoch { in_epoch } else { made };
            match per {
                SchedulePer::Step | SchedulePer::Batch => (0..*times).try_for_each(|_| scheduler.step(optimizer))?,
                SchedulePer::Steps(each) if counted % i64::from(*each) == 0 => scheduler.step(optimizer)?,
                SchedulePer::Fraction => scheduler.step_part(length(per_epoch)?, optimizer)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Steps those that are stepped after every batch, of one that makes no step.
    pub(super) fn after_batch(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        let mut due = self.list.iter_mut().filter(|scheduled| scheduled.per == SchedulePer::Batch);
        due.try_for_each(|scheduled| scheduled.scheduler.step(optimizer))
    }

    /// Steps those that are stepped when an epoch has ended; so many are `finished`.
    pub(super) fn after_epoch(&mut self, optimizer: &mut Optimizer, finished: i64) -> Result<()> {
        let is_due = |per: SchedulePer| match per {
            SchedulePer::Epochs(each) => finished % i64::from(each) == 0,
            per => per == SchedulePer::Epoch,
        };
        let due = self.list.iter_mut().filter(|scheduled| is_due(scheduled.per));
        due.into_iter().try_for_each(|scheduled| scheduled.scheduler.step(optimizer))
    }

    /// Steps those that go by a metric.
    pub(super) fn tell(&mut self, metric: f64, optimizer: &mut Optimizer) -> Result<()> {
        let by_metric = |scheduled: &Scheduled| scheduled.scheduler.stepped_by() == Some(SteppedBy::Metric);
        let first = self.list.iter().position(by_metric).unwrap_or(0);
        if self.list.is_empty() {
            return Err(invalid(
                "the run has no scheduler that a metric could be told; give it one with `with_scheduler`",
            ));
        }
        let told = self.list.iter_mut().enumerate().filter(|(place, each)| *place == first || by_metric(each));
        told.into_iter().try_for_each(|(_, each)| each.scheduler.tell(metric, optimizer))
    }

    /// Whether all can take the steps that are ahead, such as beyond the end of a `OneCycleLR`.
    pub(super) fn check(&self, groups: &[ParamGroup], ahead: Ahead) -> Result<()> {
        let Ahead { steps, epochs, per_epoch, batches, is_told, now } = ahead;
        let steps = steps.or_else(|| Some(epochs?.saturating_mul(per_epoch?)));
        let among =
            |now: i64, ahead: i64, each: u32| now.saturating_add(ahead) / i64::from(each) - now / i64::from(each);
        for Scheduled { scheduler, per, times, .. } in &self.list {
            let count = match per {
                SchedulePer::Step | SchedulePer::BeforeStep => steps,
                SchedulePer::Batch => steps.map(|steps| steps.saturating_mul(batches)),
                SchedulePer::Steps(each) => steps.map(|steps| among(now.0, steps, *each)),
                SchedulePer::Epoch | SchedulePer::Epochs(_) => {
                    let length = if is_told { per_epoch } else { Some(length(per_epoch)?) };
                    let epochs = epochs.or_else(|| Some(steps? / length?));
                    let each = if let SchedulePer::Epochs(each) = per { *each } else { 1 };
                    epochs.map(|epochs| among(now.1, epochs, each))
                }
                SchedulePer::BeforeEpoch => {
                    let length = length(per_epoch)?;
                    let begun = |steps: i64| steps.saturating_add(length - 1) / length;
                    steps.map(|steps| begun(now.0.saturating_add(steps)) - begun(now.0))
                }
                SchedulePer::Fraction => {
                    scheduler.check_part(length(per_epoch)?, groups)?;
                    None
                }
                SchedulePer::Metric => None,
            };
            let count = count.map(|count| count.saturating_mul(*times));
            if let Some(count) = count.and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0) {
                scheduler.check_steps(groups, count).map_err(|error| at_its_end(&error))?;
            }
        }
        Ok(())
    }
}

/// What can be done where a schedule does not go so far.
fn at_its_end(error: &Error) -> Error {
    let question = Question::new(error.to_string())
        .or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
        .or(
            "ResumeOptions::schedule(NAME(..))",
            "with `ResumeOptions::new_schedule(true)` beside it to begin a new one",
        );
    Error::new(ErrorKind::Open(vec![question]))
}

/// The steps of an epoch, for a scheduler that goes by epochs or parts of them.
fn length(per_epoch: Option<i64>) -> Result<i64> {
    per_epoch.ok_or_else(|| {
        invalid(
            "the scheduler is stepped by epochs, and nothing tells how many steps an epoch has; say it with \
             `Run::steps_per_epoch`, or give the run a loader",
        )
    })
}
