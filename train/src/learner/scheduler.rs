//! `TorchScheduler`: the schedulers of `torch.optim.lr_scheduler` as burn-optim's `LrScheduler`.

use burn_optim::LearningRate;
use burn_optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use rekindle_recorder::{Error, Result, Value};

use super::optimizer::{Groups, TorchOptimizer};
use super::place::{Drawn, Place};
use super::position::Position;
use super::record::{of_scalars, to_scalars};
use crate::attributes::invalid;
use crate::lr_scheduler::{LRScheduler, Schedule, SteppedBy};

/// A scheduler of `torch.optim.lr_scheduler` with burn-optim's interface.
///
/// burn-train asks for a rate before each step of the optimizer, where PyTorch's programs step the scheduler after it: the first rate is
/// that of the group, and each scheduler's step is made when the next rate is asked for, or when a record is made. A record has
/// all of the scheduler and of its groups, and goes on from there with any of burn-train's checkpointers.
///
/// The trait has no errors: it panics where a schedule has come to its end (`OneCycleLR` after its last step;
/// [`check_steps`](Self::check_steps) says so beforehand), and where a record is of another scheduler.
///
/// ```
/// use burn_optim::lr_scheduler::LrScheduler;
/// use rekindle_train::learner::{TorchOptimizer, TorchScheduler};
/// use rekindle_train::lr_scheduler::StepLR;
/// use rekindle_train::optim::AdamWOptions;
///
/// let optimizer = TorchOptimizer::new(AdamWOptions::default().lr(0.1))?;
/// let mut scheduler = TorchScheduler::new(StepLR::new(1), &optimizer)?.every(2); // an epoch has two steps
/// let rates = [(); 5].map(|()| scheduler.step());
/// assert_eq!(rates, [0.1, 0.1, 0.010000000000000002, 0.010000000000000002, 0.0010000000000000002]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TorchScheduler {
    at: Position,
    /// After how many steps of the optimizer the scheduler is stepped.
    every: u64,
    /// Whether the optimizer has made a step that the scheduler was not told of.
    due: bool,
    /// The group whose rate it gives.
    group: usize,
    /// What the optimizer reads, where it is this one that changes it.
    groups: Option<Groups>,
    /// What a training draws from.
    place: Option<Place>,
}

impl TorchScheduler {
    /// A scheduler of this optimizer, which steps after each step of it: `StepLR(optimizer, ...)`.
    ///
    /// # Errors
    /// When an option is out of range; for a scheduler that goes by a metric or by parts of epochs, which burn-train does not tell it.
    pub fn new(schedule: impl Into<Schedule>, optimizer: &TorchOptimizer) -> Result<Self> {
        let mut groups = optimizer.groups().all();
        let scheduler = schedule.into().construct(&mut groups, -1)?;
        optimizer.groups().set(&groups);
        let at = Position { steps: 0, since: 0, scheduler: Some(scheduler), groups, drawn: Drawn::default() };
        TorchScheduler::at(at, Some(optimizer.groups().clone()), None)
    }

    /// One at this position. It changes the groups, and saves the place.
    pub(super) fn at(at: Position, groups: Option<Groups>, place: Option<Place>) -> Result<Self> {
        if let Some(scheduler) = &at.scheduler {
            suits(scheduler)?;
        }
        Ok(TorchScheduler { at, every: 1, due: false, group: 0, groups, place })
    }

    /// The same for another group of the optimizer's, which leaves it to the first one to change the groups.
    pub(super) fn of_group(&self, group: usize) -> Self {
        TorchScheduler { group, groups: None, place: None, ..self.clone() }
    }

    /// After how many steps of the optimizer the scheduler is stepped: for one that is stepped per epoch, the steps of an epoch, which
    /// are fewer than its batches where gradients are accumulated. Default 1; 0 is taken for 1.
    #[must_use]
    pub fn every(self, steps: u64) -> Self {
        TorchScheduler { every: steps.max(1), ..self }
    }

    /// The rate of each group in the next step: `optimizer.param_groups[..]["lr"]`.
    ///
    /// # Errors
    /// When somebody put something else than a number in its place.
    pub fn lr(&self) -> Result<Vec<f64>> {
        self.stepped()?.at.groups.iter().map(crate::optim::ParamGroup::lr).collect()
    }

    /// Makes sure that the optimizer can make so many steps more, such as not beyond the end of a `OneCycleLR`.
    ///
    /// # Errors
    /// When it cannot. The error says at which step.
    pub fn check_steps(&self, steps: u64) -> Result<()> {
        let now = self.stepped()?;
        let Some(scheduler) = &now.at.scheduler else { return Ok(()) };
        let turns = (now.at.since + steps) / now.every;
        scheduler.check_steps(&now.at.groups, usize::try_from(turns).unwrap_or(usize::MAX))
    }

    /// Goes to a position.
    pub(super) fn go_to(&mut self, at: Position) -> Result<()> {
        if let Some(place) = &self.place {
            place.go_to(&at.drawn)?;
        }
        (self.at, self.due) = (at, false);
        self.show();
        Ok(())
    }

    /// Has the optimizer see the groups.
    fn show(&self) {
        if let Some(groups) = &self.groups {
            groups.set(&self.at.groups);
        }
    }

    /// Makes the scheduler's step after a step of the optimizer that it was not told of.
    fn catch_up(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.due) {
            return Ok(());
        }
        self.at.since += 1;
        if self.at.since < self.every {
            return Ok(());
        }
        self.at.since = 0;
        match &mut self.at.scheduler {
            Some(scheduler) => scheduler.step_alone(&mut self.at.groups),
            None => Ok(()),
        }
    }

    /// As it is once it has caught up.
    fn stepped(&self) -> Result<Self> {
        let mut next = self.clone();
        next.catch_up()?;
        Ok(next)
    }

    fn next_rate(&mut self) -> Result<LearningRate> {
        self.catch_up()?;
        (self.at.steps, self.due) = (self.at.steps + 1, true);
        self.show();
        self.at.groups.get(self.group).map_or(Ok(0.0), crate::optim::ParamGroup::lr)
    }

    fn recorded(&self) -> Result<LrSchedulerRecord> {
        let mut at = self.stepped()?.at;
        if at.since > 0 && self.place.is_some() {
            let (since, every) = (at.since, self.every);
            return Err(invalid(format!(
                "at the end of an epoch the optimizer has made {since} steps since its scheduler was stepped, and an epoch was said to \
                 have {every}; say how many it has with `TorchTraining::steps_per_epoch`"
            )));
        }
        if let Some(place) = &self.place {
            at.drawn = place.drawn()?;
        }
        to_scalars(&at.to_value())
    }

    fn loaded(&mut self, value: &Value) -> Result<()> {
        self.go_to(self.at.read(value)?)
    }
}

/// Refuses a scheduler that burn-train cannot step, or that PyTorch's programs do not keep.
pub(super) fn suits(scheduler: &LRScheduler) -> Result<()> {
    let (what, advice) = match scheduler.stepped_by() {
        Some(SteppedBy::Metric) => ("that goes by a metric", "burn-train tells its schedulers none; Run does"),
        Some(SteppedBy::Fraction) => {
            ("that is stepped to parts of epochs", "burn-train steps its schedulers with the optimizer; Run does both")
        }
        _ => return Ok(()),
    };
    Err(Error::unsupported(format!("a scheduler {what} in burn-train")).advise(advice))
}

impl LrScheduler for TorchScheduler {
    fn step(&mut self) -> LearningRate {
        self.next_rate().unwrap_or_else(|error| panic!("{error}"))
    }

    fn to_record(&self) -> LrSchedulerRecord {
        self.recorded().unwrap_or_else(|error| panic!("{error}"))
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Err(error) = of_scalars(&record).and_then(|value| self.loaded(&value)) {
            panic!("{error}");
        }
    }
}
