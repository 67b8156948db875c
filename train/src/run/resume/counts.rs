//! How often a scheduler is stepped, told by what it has counted; and the question where that does not tell.

use rekindle_recorder::run::Question;

use crate::lr_scheduler::{LRScheduler, SchedulerKind, SteppedBy};
use crate::run::options::SchedulePer;

/// No more frequencies than so many are offered.
const MOST: usize = 8;
/// Frequencies in epochs of more steps are not gone through.
const LONGEST: i64 = 1 << 20;

/// What the file and the optimizer have counted.
pub(super) struct Counts {
    pub(super) epoch: Option<i64>,
    pub(super) step: Option<i64>,
    /// How many batches were passed through, where several make a step.
    pub(super) batches: Option<i64>,
    /// Whether the optimizer has state, so that steps were made, however many.
    pub(super) begun: bool,
    /// How many steps an epoch has, where the program counts them anew in each: Lightning's `frequency` is of batches of an epoch.
    pub(super) counted_anew: Option<i64>,
    /// Whether the program counts so, however long an epoch is.
    pub(super) anew: bool,
    /// What says that the program steps its schedulers before the optimizer, if anything does.
    pub(super) before: Option<String>,
}

impl Counts {
    /// How often a scheduler is stepped, and what tells so; `None` where nothing does.
    pub(super) fn per(&self, scheduler: &LRScheduler) -> Option<(SchedulePer, String)> {
        let its_state = "its state says so".to_owned();
        match scheduler.stepped_by() {
            Some(SteppedBy::Metric) => Some((SchedulePer::Metric, "it goes by a metric".to_owned())),
            Some(SteppedBy::Epoch) => Some((SchedulePer::Epoch, its_state)),
            Some(SteppedBy::Step) => Some((SchedulePer::Step, its_state)),
            Some(SteppedBy::Fraction) => {
                Some((SchedulePer::Fraction, "it was stepped to a part of an epoch".to_owned()))
            }
            // Whole epochs that PyTorch's division made: of steps, of epochs, or of parts of them.
            None if scheduler.is_divided() => None,
            // As often before the optimizer as after it.
            None if scheduler.counts_events() => None,
            None if self.before.is_some() && self.step.is_some_and(|step| scheduler.position() == Some(step - 1)) => {
                let by = self.before.as_deref().unwrap_or_default();
                Some((SchedulePer::BeforeStep, format!("as BasicSR steps it ({by}), once less than the optimizer")))
            }
            None => self.counted(scheduler),
        }
    }

    /// As what it has counted: as the steps, or as the epochs.
    pub(super) fn counted(&self, scheduler: &LRScheduler) -> Option<(SchedulePer, String)> {
        if scheduler.counts_epochs() {
            return Some((SchedulePer::Epoch, "its state says so".to_owned()));
        }
        let stepped = scheduler.position()?;
        // Nothing was done yet: every count is 0 and tells nothing.
        if stepped == 0 && (self.step == Some(0) || self.step.is_none() && !self.begun && self.epoch <= Some(0)) {
            let why = "it was not stepped yet, and PyTorch's is stepped after every batch";
            return is_per_batch(scheduler.kind()).then(|| (SchedulePer::Step, why.to_owned()));
        }
        let by_step = self.step.map(|step| step == stepped);
        // One that goes by a metric is told it after the file was saved, as Lightning has it.
        let late = i64::from(scheduler.stepped_by() == Some(SteppedBy::Metric) && stepped > 0);
        // Most programs save the index of an epoch as often as a count; Lightning counts.
        let more_at_most = i64::from(self.counted_anew.is_none());
        let by_epoch = self.epoch.map(|epoch| (epoch - late..=epoch.saturating_add(more_at_most)).contains(&stepped));
        let more = || self.epoch.is_some_and(|epoch| stepped > epoch);
        let times = format!("it was stepped {stepped} times");
        if self.batches == Some(stepped) && by_step == Some(false) {
            return Some((SchedulePer::Batch, times + ", as often as there were batches"));
        }
        match (by_step, by_epoch) {
            (Some(true), Some(false) | None) => Some((SchedulePer::Step, times + ", as the optimizer")),
            (Some(false), Some(true)) => {
                let or = self.once_an_epoch(stepped).unwrap_or_default();
                Some((SchedulePer::Epoch, times + ", as the epochs" + &or))
            }
            // As many as epochs, and nothing tells of steps: they were no more only in a first epoch of one step.
            (None, Some(true)) if self.epoch > Some(0) => Some((SchedulePer::Epoch, times + ", as the epochs")),
            (None, Some(false)) if more() => Some((SchedulePer::Step, times + ", more often than there were epochs")),
            // Whoever steps per step has done so by then.
            _ if stepped == 0 && self.step.is_none() && self.begun => {
                let first = self.epoch.is_none_or(|epoch| epoch <= 0);
                let why = "it was not stepped yet, though the optimizer made steps";
                first.then(|| (SchedulePer::Epoch, why.to_owned()))
            }
            _ => None,
        }
    }
}

impl Counts {
    /// What is said of a scheduler of Lightning's that was stepped as often as there were epochs: an interval of steps with a frequency
    /// that comes once an epoch counts the same, unless the present epoch tells.
    fn once_an_epoch(&self, stepped: i64) -> Option<String> {
        let (made, epoch) = (self.step?, self.epoch.filter(|&epoch| self.anew && epoch == stepped)?);
        let begun = self.counted_anew.map_or(made, |length| made.saturating_sub(epoch.saturating_mul(length))).max(0);
        let least = self.counted_anew.map_or(0, |length| length / 2).max(begun).max(1) + 1;
        // One of all steps of an epoch is stepped at its end, as per epoch.
        let most = self.counted_anew.map(|length| length - 1);
        if most.is_some_and(|most| most < least) {
            return None;
        }
        let of = match most {
            Some(most) if most == least => format!("{least} steps"),
            Some(most) => format!("{least} to {most} steps"),
            None => format!("{least} steps and more"),
        };
        Some(format!("; a frequency of {of} counts the same (`ResumeOptions::schedule_per(N-steps)`)"))
    }
}

/// Whether PyTorch's documentation has a scheduler stepped after every batch; of most others it has it after every epoch, and people
/// do both.
fn is_per_batch(kind: SchedulerKind) -> bool {
    matches!(kind, SchedulerKind::OneCycleLR | SchedulerKind::CyclicLR)
}

impl Counts {
    /// How many times accelerate stepped a scheduler for each step of the optimizer: once for each of its processes. Only where
    /// its count is so many times the steps.
    pub(super) fn times(&self, scheduler: &LRScheduler) -> Option<i64> {
        let (stepped, step) = (scheduler.position()?, self.step.filter(|&step| step > 0)?);
        let whole = scheduler.stepped_by().is_none() && self.counted(scheduler).is_none() && stepped % step == 0;
        Some(stepped / step).filter(|&times| whole && times > 1)
    }
}

impl Counts {
    /// After how many steps or epochs each a scheduler may have been stepped, that was stepped as often as so many of them, but not as
    /// often as there were.
    pub(super) fn every(&self, scheduler: &LRScheduler) -> Vec<SchedulePer> {
        let Some(stepped) = scheduler.position().filter(|&stepped| stepped > 0) else { return Vec::new() };
        let each = |made: Option<i64>, per: fn(u32) -> SchedulePer| {
            let made = made.filter(|&made| made > stepped).unwrap_or(0);
            let fits = move |each: &u32| made / i64::from(*each) == stepped;
            (2..=u32::try_from(made / stepped).unwrap_or(0)).filter(fits).rev().take(3).map(per)
        };
        // Steps are many: all but a number that divides them would be a chance.
        let steps = self.step.filter(|&steps| stepped > 1 && steps % stepped == 0);
        let anew = self.counted_anew.zip(self.step).filter(|&(length, _)| (1..=LONGEST).contains(&length));
        let steps: Vec<_> = match anew {
            Some((length, made)) => {
                let fits = |each: &u32| {
                    let each = i64::from(*each);
                    made / length * (length / each) + made % length / each == stepped
                };
                (2..=u32::try_from(length).unwrap_or(0)).filter(fits).map(SchedulePer::Steps).collect()
            }
            None => each(steps, SchedulePer::Steps).take(1).collect(),
        };
        let steps = steps.into_iter();
        steps.chain(each(self.epoch, SchedulePer::Epochs)).collect()
    }
}

impl Counts {
    /// How a scheduler may be stepped of which nothing tells it for certain, and when that is.
    pub(super) fn choices(&self, scheduler: &LRScheduler) -> Vec<(SchedulePer, String)> {
        use SchedulePer::{BeforeEpoch, BeforeStep, Epoch, Fraction, Step};
        let position = scheduler.position();
        if scheduler.counts_events() {
            let counted = |made: Option<i64>| made.is_some_and(|made| position == Some(made));
            let step = [
                (BeforeStep, "before every step, as at `Events.ITERATION_STARTED`"),
                (Step, "after every step, as at `Events.ITERATION_COMPLETED`"),
            ];
            let epoch = [
                (BeforeEpoch, "before every epoch, as at `Events.EPOCH_STARTED`"),
                (Epoch, "after every epoch, as at `Events.EPOCH_COMPLETED`"),
            ];
            let either = match (counted(self.step), counted(self.epoch)) {
                (true, false) => step.to_vec(),
                (false, true) => epoch.to_vec(),
                _ => [step, epoch].concat(),
            };
            return either.into_iter().map(|(per, when)| (per, when.to_owned())).collect();
        }
        // Once less than there were: the file was saved between the two, or it is stepped before them.
        let late = |made: Option<i64>| {
            made.is_some_and(|made| position.is_some_and(|at| at > 0 && made.checked_sub(1) == Some(at)))
        };
        let (steps, epochs): (Vec<_>, Vec<_>) =
            self.every(scheduler).into_iter().partition(|per| matches!(per, SchedulePer::Steps(_)));
        let more = if self.anew { ", counted in each epoch anew (a `frequency`)" } else { "" };
        let after = |per: &SchedulePer| format!("after every {}{more}", per.name().replace('-', " "));
        let mut choices: Vec<_> = steps.iter().take(MOST).map(|per| (*per, after(per))).collect();
        // The more steps, the fewer times: those that fit follow each other.
        if let (Some((_, says)), Some(last)) = (choices.last_mut(), steps.get(MOST..).and_then(<[_]>::last)) {
            *says = format!("{says}, or any up to {}, which count the same", last.name());
        }
        choices.extend(epochs.iter().map(|per| (*per, after(per))));
        if late(self.step) {
            let saved = "after every step, as of a file that was saved before it was: the next step has the rate of the last one";
            choices.push((Step, saved.to_owned()));
            choices.push((BeforeStep, "before every step, as in BasicSR".to_owned()));
        } else {
            choices.push((Step, "after every step".to_owned()));
        }
        choices.push((Epoch, "after every epoch".to_owned()));
        if late(self.epoch) {
            choices.push((BeforeEpoch, "before every epoch".to_owned()));
        }
        if scheduler.kind() == SchedulerKind::CosineAnnealingWarmRestarts {
            choices.push((Fraction, "after every step, to the part of the epoch".to_owned()));
        }
        choices
    }
}

/// How a new scheduler may be stepped.
pub(super) fn new_choices(scheduler: &LRScheduler) -> Vec<(SchedulePer, String)> {
    Counts { epoch: None, step: None, batches: None, begun: false, counted_anew: None, anew: false, before: None }
        .choices(scheduler)
}

/// A scheduler, and how it is stepped.
pub(super) struct Told {
    pub(super) kind: SchedulerKind,
    /// How far it has come.
    pub(super) at: Option<i64>,
    /// How often it is stepped, where that is told.
    pub(super) per: Option<SchedulePer>,
    /// How it may be stepped, where that is not told.
    pub(super) choices: Vec<(SchedulePer, String)>,
}

/// The question of how often schedulers are stepped, where it is open of one of them; whether one was `named`, which is not left then.
pub(super) fn ask(schedulers: &[Told], named: bool) -> Option<Question> {
    let open: Vec<&Told> = schedulers.iter().filter(|told| told.per.is_none()).collect();
    let [first, more @ ..] = &open[..] else { return None };
    let stepped = |at: Option<i64>| at.map_or_else(String::new, |n| format!(" (it was stepped {n} times)"));
    let names = open.iter().map(|told| format!("{}{}", told.kind, stepped(told.at))).collect::<Vec<_>>().join(" and ");
    let are = if more.is_empty() { "is" } else { "are each" };
    let mut question =
        Question::new(format!("the file does not tell whether {names} {are} stepped per step or per epoch"));
    // What is known of the others is said along, in the file's order.
    let answer = |per: &[SchedulePer]| {
        let mut per = per.iter().cycle();
        let each = schedulers.iter().map(|told| told.per.or_else(|| per.next().copied()));
        let each: Vec<_> = each.flatten().map(SchedulePer::name).collect();
        format!("ResumeOptions::schedule_per({})", each.join(","))
    };
    let (step, epoch) = (SchedulePer::Step, SchedulePer::Epoch);
    if more.is_empty() {
        for (per, when) in &first.choices {
            question = question.or(answer(&[*per]), when.clone());
        }
    } else {
        let before = first.choices.iter().map(|(per, _)| *per).filter(|per| per.is_before());
        let before = before.map(|per| [per, per]);
        for per in before.chain([[step, step], [step, epoch], [epoch, step], [epoch, epoch]]) {
            question = question.or(answer(&per), format!("for {} and {}", per[0].name(), per[1].name()));
        }
    }
    if named {
        return Some(question);
    }
    Some(question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are"))
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    use super::*;
    use crate::optim::{Optimizer, SgdOptions};

    #[test]
    fn of_more_frequencies_than_are_listed_the_question_tells_the_last() {
        let model = LinearConfig::new(2, 2).init(&Device::flex().autodiff());
        let mut optimizer = Optimizer::sgd(&model, SgdOptions::default()).unwrap();
        let schedule: crate::lr_scheduler::Schedule = "ExponentialLR(gamma=0.5)".parse().unwrap();
        let mut scheduler = LRScheduler::new(schedule, &mut optimizer).unwrap();
        (0..2).for_each(|_| scheduler.step(&mut optimizer).unwrap());
        let counts = Counts {
            epoch: Some(0),
            step: Some(100),
            batches: None,
            begun: true,
            counted_anew: Some(100),
            anew: true,
            before: None,
        };
        let choices = counts.choices(&scheduler);
        let listed: Vec<_> = choices.iter().filter(|(per, _)| matches!(per, SchedulePer::Steps(_))).collect();
        assert_eq!((listed.len(), listed[0].0), (8, SchedulePer::Steps(34)));
        assert!(listed[7].1.ends_with("or any up to 50-steps, which count the same"), "{}", listed[7].1);
    }
}
