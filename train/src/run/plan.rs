//! `Plan`: what going on with a checkpoint would do, all of it, before the first step.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use rekindle_recorder::run::{Accounted, Question, Taken};
use rekindle_recorder::{printable, printable_name};

use super::options::SchedulePer;
use crate::lr_scheduler::SchedulerKind;
use crate::optim::OptimizerKind;

/// What [`Run::resume_with`](super::Run::resume_with) would do with a checkpoint, and what it leaves open.
///
/// `Display` gives about ten lines; `{:#}` every value of the file, too.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The layout's name, such as `tutorial`.
    pub layout: String,
    /// Which part of a run of several models it is.
    pub part: Option<String>,
    /// The model's key in the file; empty where the file is the model.
    pub model: String,
    /// How many of its tensors go into the model.
    pub tensors: usize,
    /// What was put before all its names by a wrapper: taken off here, and put back.
    pub prefix: String,
    /// What of the file's model is beside the one that goes on, and stays as it is.
    pub beside: Vec<String>,
    /// The element types that the file's weights have where the model computes in others; they are written in the file's.
    pub cast: Vec<String>,
    /// Which optimizer it is.
    pub optimizer: OptimizerKind,
    /// What told so.
    pub told: &'static str,
    /// Its groups, in order.
    pub groups: Vec<GroupPlan>,
    /// Further optimizers of the same model, in the file's order.
    pub more: Vec<OptimizerPlan>,
    /// The schedulers that are stepped, in order; of several optimizers, one's after the other's.
    pub schedulers: Vec<SchedulerPlan>,
    /// Whether gradients are scaled.
    pub scaler: bool,
    /// The norm that gradients are clipped to, if they are.
    pub clip_norm: Option<f64>,
    /// What the program may do in each step that is in no file.
    pub not_in_file: &'static str,
    /// What nothing tells, and goes on as it says, a clause each: where an optimizer keeps no state, which parameters were frozen.
    pub untold: Vec<String>,
    /// What becomes of an average of the weights.
    pub average: String,
    /// How often it is updated, if it goes on.
    pub average_per: Option<SchedulePer>,
    /// Whether it has to be known where epochs end, for the average to go on.
    pub average_by_epochs: bool,
    /// Whether it has to be known where epochs end, because batches that an epoch leaves over are dropped.
    pub drops_batches: bool,
    /// Where the generator's state is from.
    pub generator: String,
    /// The epoch that the file says.
    pub epoch: Option<i64>,
    /// The steps that were made, as far as the file tells.
    pub step: Option<i64>,
    /// What the file says of how its run was made and what goes on by it, a clause each.
    pub told_of_run: Vec<String>,
    /// How many steps the optimizer counts, where the file says another number.
    pub counted: Option<i64>,
    /// What the user changed, a sentence each, with the option that said it in backticks.
    pub changed: Vec<String>,
    /// What each value of the file is taken for.
    pub values: Vec<Accounted>,
    /// What has to be told.
    pub questions: Vec<Question>,
}

/// An optimizer beside the first one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OptimizerPlan {
    /// Where in the file it is.
    pub place: String,
    /// Which it is.
    pub optimizer: OptimizerKind,
    /// What told so.
    pub told: &'static str,
    /// Its groups, in order.
    pub groups: Vec<GroupPlan>,
}

/// A group of the optimizer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupPlan {
    /// Its learning rate.
    pub lr: f64,
    /// How many parameters it has.
    pub parameters: usize,
    /// How many of them have state.
    pub with_state: usize,
    /// Those that are not trained.
    pub frozen: Vec<String>,
    /// The other hyper-parameters in which the groups differ, with this group's values as Python prints them.
    pub differs: Vec<(String, String)>,
}

/// A scheduler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchedulerPlan {
    /// Which it is.
    pub kind: SchedulerKind,
    /// How often it was stepped.
    pub last_epoch: Option<i64>,
    /// How often it is stepped.
    pub per: SchedulePer,
    /// How many times at once: more than once where accelerate steps it for each of its processes.
    pub times: i64,
    /// What tells so.
    pub why: String,
    /// The name of the metric that it goes by, where its state has one.
    pub monitor: Option<String>,
    /// As what it has counted, whatever it goes by: as the steps, or as the epochs. `None` where the file does not tell.
    pub counted: Option<SchedulePer>,
    /// The learning rates of each group after each of the next five times, `next[time][group]`; empty where they cannot be told,
    /// or are not its alone.
    pub next: Vec<Vec<f64>>,
}

impl Plan {
    fn of(&self, taken: impl Fn(&Taken) -> bool) -> Vec<&str> {
        self.values.iter().filter(|value| taken(&value.taken)).map(|value| value.place.as_str()).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, says: String| writeln!(f, "{what:<10} {}", printable(&says));
        line("layout", self.layout.clone())?;
        if let Some(part) = &self.part {
            let others = self.of(|taken| matches!(taken, Taken::Other(_)));
            let others = if others.is_empty() {
                String::new()
            } else {
                format!("; kept as they are: {}", few(&printed(&others)))
            };
            line("part", format!("{part}{others}"))?;
        }
        let mut model = format!("{} tensors", self.tensors);
        if !self.model.is_empty() {
            write!(model, " of {}", self.model)?;
        }
        if !self.prefix.is_empty() {
            write!(model, "; '{}' is taken off, and put back", self.prefix)?;
        }
        if !self.beside.is_empty() {
            let beside: Vec<_> = self.beside.iter().map(String::as_str).collect();
            write!(model, "; beside it, kept as it is: {}", few(&beside))?;
        }
        if !self.cast.is_empty() {
            write!(model, "; {} is computed in the model's type, and written as it was", self.cast.join(", "))?;
        }
        line("model", model)?;
        line("optimizer", format!("{}, told by {}", self.optimizer, self.told))?;
        let mut place = 0;
        let more = self.more.iter().flat_map(|more| {
            let says = format!("{}, told by {} ({})", more.optimizer, more.told, more.place);
            std::iter::once((Some(says), None)).chain(more.groups.iter().map(|group| (None, Some(group))))
        });
        for (says, group) in self.groups.iter().map(|group| (None, Some(group))).chain(more) {
            if let Some(says) = says {
                line("optimizer", says)?;
            }
            let Some(group) = group else { continue };
            let GroupPlan { lr, parameters, with_state, frozen, differs } = group;
            let mut says = format!("lr {lr}, {parameters} parameters, {with_state} with state");
            for (key, value) in differs {
                write!(says, ", {key} {value}")?;
            }
            if !frozen.is_empty() {
                write!(says, "; frozen: {}", few(&frozen.iter().map(String::as_str).collect::<Vec<_>>()))?;
            }
            line(&format!("  group {place}"), says)?;
            place += 1;
        }
        for SchedulerPlan { kind, last_epoch, per, why, next, .. } in &self.schedulers {
            let at = last_epoch.map_or_else(String::new, |n| format!(" at {n}"));
            line("scheduler", format!("{kind}{at}, stepped {}: {why}", per.says()))?;
            let rates: Vec<_> = next.iter().filter_map(|groups| Some(groups.first()?.to_string())).collect();
            if !rates.is_empty() {
                line("  next", format!("lr {}", rates.join(", ")))?;
            }
        }
        if self.schedulers.is_empty() {
            line("scheduler", "none".to_owned())?;
        }
        if self.scaler {
            line("scaler", "gradients are scaled".to_owned())?;
        }
        if let Some(norm) = self.clip_norm {
            line("clipping", format!("gradients, to the norm {norm}"))?;
        }
        if !self.average.is_empty() {
            line("average", self.average.clone())?;
        }
        line("generator", self.generator.clone())?;
        let number = |number: Option<i64>| number.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        let counted = self.counted.map_or_else(String::new, |n| format!(" (the optimizer counts {n})"));
        line("position", format!("epoch {}, step {}{counted}", number(self.epoch), number(self.step)))?;
        if !self.not_in_file.is_empty() {
            line("not in it", self.not_in_file.to_owned())?;
        }
        self.untold.iter().try_for_each(|clause| line("not told", clause.clone()))?;
        self.told_of_run.iter().try_for_each(|clause| line("told", clause.clone()))?;
        self.changed.iter().try_for_each(|said| line("changed", said.clone()))?;
        let rows = [
            ("kept", self.of(|taken| matches!(taken, Taken::Kept))),
            ("kept, odd", self.of(|taken| matches!(taken, Taken::Odd(_)))),
            ("beside", self.of(|taken| matches!(taken, Taken::Second(_)))),
            ("copies", self.of(|taken| matches!(taken, Taken::Copy))),
            ("unknown", self.of(|taken| matches!(taken, Taken::Open(_)))),
        ];
        for (what, places) in rows.iter().filter(|(_, places)| !places.is_empty()) {
            line(what, few(&printed(places)))?;
        }
        if f.alternate() {
            self.values
                .iter()
                .map(|value| format!("{}: {}: {}", printable_name(&value.place), value.value, value.taken))
                .try_for_each(|value| writeln!(f, "  {}", printable(&value)))?;
        }
        self.questions.iter().try_for_each(|question| writeln!(f, "open: {question}"))
    }
}

/// Places as a terminal shows them.
fn printed<'a>(places: &[&'a str]) -> Vec<Cow<'a, str>> {
    places.iter().map(|place| printable_name(place)).collect()
}

/// The first of some names, and how many more there are.
pub(super) fn few<S: AsRef<str>>(names: &[S]) -> String {
    let shown = names.iter().take(6).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > 6 { format!("{shown} and {} more", names.len() - 6) } else { shown }
}
