//! When an average of the weights takes them in: after each step, epoch or batch, or one of so many; as it is said, told by a program's settings or
//! by how often it was.

use rekindle_recorder::Value;
use rekindle_recorder::run::{Layout, Question, RunState};

use super::options::SchedulePer;
use super::resume::optimizer::steps;

/// When an average takes the weights in.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) per: SchedulePer,
    /// Of every so many steps after the first, as Lightning and torchvision have it, and not after the last.
    first: bool,
    /// Whether these are counted in each epoch anew.
    in_epoch: bool,
    /// In how many epochs it is a copy of the weights.
    pub(super) copied: i64,
}

impl Default for When {
    fn default() -> Self {
        SchedulePer::Step.into()
    }
}

impl From<SchedulePer> for When {
    fn from(per: SchedulePer) -> Self {
        When { per, first: false, in_epoch: false, copied: 0 }
    }
}

/// What was done, that an average may take in.
#[derive(Clone, Copy)]
pub(super) enum Done {
    /// A step: how many there were, how many of them in its epoch, and how many epochs were finished before it.
    Step(i64, i64, i64),
    /// An epoch: how many there were.
    Epoch(i64),
    /// A batch that makes no step, of several that do.
    Batch,
}

impl When {
    pub(super) fn is_due(&self, done: Done) -> bool {
        match (self.per, done) {
            (SchedulePer::Step | SchedulePer::Batch, Done::Step(..))
            | (SchedulePer::Epoch, Done::Epoch(_))
            | (SchedulePer::Batch, Done::Batch) => true,
            (SchedulePer::Steps(each), Done::Step(step, in_epoch, _)) => {
                let counted = if self.in_epoch { in_epoch } else { step };
                (counted - i64::from(self.first)) % i64::from(each) == 0
            }
            (SchedulePer::Epochs(each), Done::Epoch(epoch)) => epoch % i64::from(each) == 0,
            _ => false,
        }
    }

    /// Whether it wants to know of epochs, of which so many are finished.
    pub(super) fn goes_by_epochs(&self, epoch: Option<i64>) -> bool {
        let several = self.in_epoch && matches!(self.per, SchedulePer::Steps(_));
        self.per.is_by_epochs() || several || self.copied > epoch.unwrap_or(0)
    }

    /// Its words in the plan.
    pub(super) fn says(&self) -> String {
        let each = match self.per {
            SchedulePer::Step => String::new(),
            SchedulePer::Epoch => ", after each epoch".to_owned(),
            SchedulePer::Batch => ", after each batch".to_owned(),
            SchedulePer::Steps(each) => {
                let which = if self.first { "the first" } else { "the last" };
                let epoch = if self.in_epoch { " of an epoch" } else { "" };
                format!(", after {which} of every {each} steps{epoch}")
            }
            per => format!(", after every {}", per.name().replace('-', " ")),
        };
        let copied = if self.copied > 0 {
            format!(", a copy of the weights in the first {} epochs", self.copied)
        } else {
            String::new()
        };
        each + &copied
    }
}

/// When an average is updated: as it is said, as the program's settings have it, or as its count tells; `None` where nothing does.
pub(super) fn when(
    count: Option<i64>,
    (state, passed): (&RunState, Option<i64>),
    said: Option<SchedulePer>,
) -> Option<When> {
    let steps = steps_of(state);
    if let Some(told) = state.told.average.as_ref().filter(|_| said.is_none()) {
        let each = u32::try_from(told.every).ok()?;
        let per = if each == 1 { SchedulePer::Step } else { SchedulePer::Steps(each) };
        return Some(When { per, first: true, in_epoch: true, copied: told.copied });
    }
    let per = said.or_else(|| per(count, (steps, passed), state))?;
    // It is told by the count whether it was the first of every so many steps, unless they divide the steps.
    let first = match (per, count.zip(steps)) {
        (SchedulePer::Steps(each), Some((count, steps))) if steps % i64::from(each) != 0 => {
            count > steps / i64::from(each)
        }
        _ => state.layout == Layout::Lightning,
    };
    Some(When { first, ..per.into() })
}

/// How many steps the run has made, as far as anything tells it.
pub(super) fn steps_of(state: &RunState) -> Option<i64> {
    state.step.or_else(|| steps(state.optimizers.first()?))
}

/// How often an average was updated, by its count; `None` where that does not tell.
fn per(count: Option<i64>, (steps, passed): (Option<i64>, Option<i64>), state: &RunState) -> Option<SchedulePer> {
    // Their programs update it with each step.
    let own = matches!(state.layout, Layout::Ultralytics | Layout::YoloV5);
    let Some(count) = count.filter(|_| !own) else { return Some(SchedulePer::Step) };
    if count == 0 {
        // Of a run that has begun, it is updated from some later time on, as `swa_start` says in a program.
        let begun = steps > Some(0) || state.epoch > Some(0) && !state.optimizers.is_empty();
        return (!begun).then_some(SchedulePer::Step);
    }
    let by_epoch = state.epoch.is_some_and(|epoch| (epoch..=epoch.saturating_add(1)).contains(&count));
    let stepped = |scheduler: &Value| scheduler.as_dict()?.get("last_epoch")?.as_i64();
    match steps {
        Some(steps) if steps == count => Some(SchedulePer::Step),
        Some(_) if passed == Some(count) => Some(SchedulePer::Batch),
        Some(_) if by_epoch => Some(SchedulePer::Epoch),
        // As many as epochs, and nothing tells of steps: they were no more only in a first epoch of one step.
        None if by_epoch && state.epoch > Some(0) => Some(SchedulePer::Epoch),
        // Something else was stepped as often, more often than there were epochs.
        None if state.epoch.is_none_or(|epoch| count > epoch.saturating_add(1))
            && state.schedulers.iter().any(|scheduler| stepped(scheduler) == Some(count)) =>
        {
            Some(SchedulePer::Step)
        }
        _ => None,
    }
}

/// The question of how often an average is updated.
pub(super) fn ask_per(count: Option<i64>, steps: Option<i64>) -> Question {
    let times = count.map_or_else(String::new, |count| format!(" (it was updated {count} times)"));
    let what = match count {
        Some(0) => "the average of the weights was not updated yet, though the run has begun: no file tells from when on it is, nor how often".to_owned(),
        _ => format!("the file does not tell whether the average of the weights is updated per step or per epoch{times}"),
    };
    let mut question = Question::new(what);
    let (count, steps) = count.zip(steps).filter(|(count, steps)| *count > 0 && steps > count).unwrap_or((0, 1));
    for each in each(count, steps) {
        let option = format!("ResumeOptions::average_per({each}-steps)");
        question = question.or(option, format!("after one of every {each} steps"));
    }
    question
        .or("ResumeOptions::average_per(step)", "after every step")
        .or("ResumeOptions::average_per(epoch)", "after every epoch")
        .or("ResumeOptions::keep_average(true)", "to leave it as it is")
}

/// Of every how many steps one was taken, where so many were of so many: the first few that fit, whichever of them it was.
fn each(count: i64, steps: i64) -> impl Iterator<Item = i64> {
    let fits = move |each: &i64| steps / each == count || (steps - 1) / each + 1 == count;
    // Those outside are too few or too many, and a file may tell of more steps than can be gone through.
    let most = if count > 1 { (steps - 1) / (count - 1) } else { steps };
    let least = steps / count.saturating_add(1) + 1;
    (least.max(2)..=most).filter(fits).take(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_that_fit_a_count_are_found_however_many_steps_there_were() {
        for steps in 1..60 {
            for count in 1..steps {
                let fits = |each: &i64| steps / each == count || (steps + each - 1) / each == count;
                let all: Vec<i64> = (2..=steps).filter(fits).take(4).collect();
                assert_eq!(each(count, steps).collect::<Vec<_>>(), all, "{count} of {steps}");
            }
        }
        assert_eq!(each(1, i64::MAX).next(), Some(i64::MAX / 2 + 1));
        assert_eq!(each(i64::MAX - 1, i64::MAX).next(), None);
        assert_eq!(each(3, 1 << 60).count(), 4);
    }
}
