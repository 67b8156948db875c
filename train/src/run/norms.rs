//! Batch norms that a run keeps in evaluation, as `norm.eval()` does in a loop of PyTorch's: told by what they have counted, asked about,
//! and switched.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor as BurnTensor;
use rekindle_burn::{LayerRows, ModuleStateDict as _};
use rekindle_recorder::run::{Layout, Question, RunState};
use rekindle_recorder::{Error, Result, StateDict, Value};

use super::options::ResumeOptions;
use super::plan::few;
use crate::attributes::invalid;

/// What becomes of batch norms of which a checkpoint does not tell whether they were trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNorms {
    /// They normalise by each batch, whose statistics they take in and count.
    Train,
    /// They normalise by their running statistics, which stay as they are, and count nothing: `norm.eval()`. Their factors and what
    /// they add are trained all the same.
    Eval,
}

impl FromStr for BatchNorms {
    type Err = Error;

    /// Takes `train` or `eval`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(BatchNorms::Train),
            "eval" => Ok(BatchNorms::Eval),
            _ => Err(invalid(format!("batch norms are in train or eval, and not in '{name}'"))),
        }
    }
}

/// A batch norm of a model, by PyTorch's name, and what switches it.
struct Norm {
    name: String,
    switch: ParamId,
}

/// The batch norms of a model that have a switch, and the names of its norms of instances, which count nothing in PyTorch either.
fn all<M: Module>(model: &M, rows: &LayerRows) -> Result<(Vec<Norm>, Vec<String>)> {
    let mut found = Found::default();
    model.visit(&mut found);
    let named = model.named_parameters_with(rows)?;
    let names: HashMap<ParamId, &str> =
        named.iter().flat_map(|named| named.pieces.iter().map(|piece| (piece.id, named.name.as_str()))).collect();
    // Rows may have other names than the fields of Burn's structs.
    let called = |path: String| {
        let own = found.parameters.get(&path).and_then(|ids| ids.iter().find_map(|id| names.get(id)));
        let module = own.and_then(|name| name.rsplit_once('.')).map(|(module, _)| module.to_owned());
        module.unwrap_or(path)
    };
    let norms = found.switches.into_iter().map(|(path, switch)| Norm { name: called(path), switch }).collect();
    Ok((norms, found.instances.into_iter().map(called).collect()))
}

/// Looks for the flags of batch norms, and for the parameters beside them.
#[derive(Default)]
struct Found {
    /// The names on the way, and what is around them.
    way: Vec<(String, String)>,
    switches: Vec<(String, ParamId)>,
    /// Norms of instances, which count nothing.
    instances: Vec<String>,
    parameters: HashMap<String, Vec<ParamId>>,
}

impl Found {
    /// The module that something is a field of.
    fn module(&self) -> Option<String> {
        let (_, outside) = self.way.split_last()?;
        let steps = outside.iter().filter(|(_, container)| !container.starts_with("Enum:"));
        Some(steps.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("."))
    }
}

impl ModuleVisitor for Found {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.way.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.way.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
        if let Some(module) = self.module() {
            self.parameters.entry(module).or_default().push(param.id);
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        let is_norm = |(name, container): &(String, String)| {
            let program = container == "Struct:Program" && self.way.len() > 1;
            name == "training" && (program || container.ends_with("BatchNorm"))
        };
        let last = self.way.last();
        let instance = last.is_some_and(|(_, container)| container.contains("InstanceNorm"));
        match self.module() {
            Some(module) if instance => self.instances.push(module),
            Some(module) if last.is_some_and(is_norm) => self.switches.push((module, flag.id)),
            _ => {}
        }
    }
}

/// Switches batch norms to evaluation.
struct Still<'a>(&'a HashSet<ParamId>);

impl ModuleMapper for Still<'_> {
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        if self.0.contains(&flag.id) { flag.with_value(false) } else { flag }
    }
}

/// What batch norms have counted in a state dict, without what a wrapper has put before their names.
pub(super) fn counts(weights: &StateDict, prefix: &str) -> Vec<(String, i64)> {
    #[allow(clippy::cast_possible_truncation)] // a count
    let count = |(name, tensor): (&str, &rekindle_recorder::Tensor)| {
        let norm = name.strip_prefix(prefix)?.strip_suffix(".num_batches_tracked")?;
        let count = tensor.to_f64_vec().ok()?.first().copied()?;
        Some((norm.to_owned(), count as i64))
    };
    weights.iter().filter_map(count).collect()
}

/// How many steps so many batches make, the last of which may be of fewer.
pub(super) fn steps_of(batches: i64, each: i64) -> i64 {
    batches / each + i64::from(batches % each > 0)
}

/// No more batches than so many make a step.
const MOST: i64 = 64;

/// How many batches and steps a checkpoint has counted.
struct Made<'a> {
    /// Of steps there may be two counts, of the file's and the optimizer's.
    steps: Vec<i64>,
    state: &'a RunState,
    accumulate: i64,
}

impl<'a> Made<'a> {
    fn of(state: &'a RunState, steps: Option<i64>, said: Option<i64>) -> Self {
        Made {
            steps: state.step.into_iter().chain(steps).filter(|steps| *steps > 0).collect(),
            state,
            accumulate: said.or(state.told.accumulated).unwrap_or(1),
        }
    }

    fn begun(&self) -> bool {
        !self.steps.is_empty() || self.state.epoch > Some(0)
    }

    /// Whether so many batches are those of the steps: one or several a step, or each passed through twice, as where activations are
    /// computed again for the gradients. Some steps may have been skipped by a scaler.
    fn go_with(&self, batches: i64) -> bool {
        let scaled = self.state.scaler.as_ref().and_then(Value::as_dict).is_some_and(|scaler| !scaler.is_empty());
        self.steps.iter().any(|&steps| {
            let skipped = steps / 100 + if scaled { 4 } else { 1 };
            let (each, rest) = (batches / steps, batches % steps);
            let whole = each <= MOST && (rest <= skipped || steps - rest <= 1);
            // The last step of an epoch may be of fewer.
            let ragged = self.accumulate > 1 && batches <= steps.saturating_mul(self.accumulate.saturating_mul(2));
            batches.saturating_add(1) >= steps && (whole || ragged || self.is_of_epochs(batches, steps))
        })
    }

    /// Whether all epochs have had as many batches, of which so many made each step and fewer the last one.
    fn is_of_epochs(&self, batches: i64, steps: i64) -> bool {
        let Some(epochs) = self.state.epoch.filter(|&epochs| epochs > 0) else { return false };
        let (each, length) = (batches / epochs, steps / epochs);
        let even = batches % epochs == 0 && steps % epochs == 0;
        even && (2..=MOST).any(|many| steps_of(each, many) == length)
    }

    /// The norms that may have been in evaluation, and what tells it.
    fn still<'b>(&self, counts: &[(&'b str, i64)]) -> Option<(Vec<&'b str>, String)> {
        let named = |is: &dyn Fn(i64) -> bool| -> Vec<&'b str> {
            counts.iter().filter(|(_, count)| is(*count)).map(|(name, _)| *name).collect()
        };
        let most = counts.iter().map(|(_, count)| *count).max().filter(|_| self.begun())?;
        let none = named(&|count| count == 0);
        if !none.is_empty() {
            let others = if most > 0 {
                format!("while others have counted {most}")
            } else {
                "though steps were made".to_owned()
            };
            return Some((none, format!("counted no batch (num_batches_tracked is 0) {others}")));
        }
        let Some(&steps) = self.steps.iter().min() else {
            let fewer = named(&|count| count < most && most % count != 0);
            let why = format!("counted fewer batches than others (num_batches_tracked), which have counted {most}");
            return (!fewer.is_empty()).then_some((fewer, why));
        };
        let least = |names: &[&str]| {
            counts.iter().filter(|(name, _)| names.contains(name)).map(|(_, count)| *count).min().unwrap_or_default()
        };
        let fewer = named(&|count| count.saturating_add(1) < steps);
        if !fewer.is_empty() {
            let why = format!(
                "counted fewer batches than there were steps, {} of {steps} (num_batches_tracked)",
                least(&fewer)
            );
            return Some((fewer, why));
        }
        // The statistics of several parts are fed by each other's steps, too.
        if self.state.part.is_some() {
            return None;
        }
        let odd = named(&|count| !self.go_with(count));
        let first = least(&odd);
        let (others, stood) =
            (named(&|count| count > first && self.go_with(count - first)), named(&|count| count == first));
        let why = format!("counted {first} batches, which do not go with {steps} steps (num_batches_tracked)");
        match (odd.is_empty(), others.is_empty()) {
            (true, _) => None,
            (false, true) => {
                Some((odd, format!("{why}: they came with a count, and nothing tells whether they were trained since")))
            }
            (false, false) => Some((stood, format!("{why}, while others have counted as many more"))),
        }
    }
}

/// Asks whether batch norms were in evaluation, and switches those that are to be; gives what is said of them, and what nothing tells
/// of norms without a switch.
///
/// # Errors
/// When some are to be switched and there is none.
pub(super) fn settle<M: Module>(
    model: M,
    rows: &LayerRows,
    counts: &[(String, i64)],
    (state, steps, accumulated): (&RunState, Option<i64>, Option<i64>),
    options: &ResumeOptions,
    questions: &mut Vec<Question>,
) -> Result<(M, Vec<String>, Option<String>)> {
    let (norms, instances) = all(&model, rows)?;
    let switched: HashSet<&str> = norms.iter().map(|norm| norm.name.as_str()).collect();
    let (own, others): (Vec<_>, Vec<_>) = counts
        .iter()
        .filter(|(name, _)| !instances.contains(name))
        .map(|(name, count)| (name.as_str(), *count))
        .partition(|(name, _)| switched.contains(name));
    // Of an average no whole numbers are averaged.
    let of_average = matches!(state.layout, Layout::Ultralytics | Layout::YoloV5);
    let made = Made::of(state, steps, accumulated);
    let still = made.still(&own).filter(|_| !of_average);
    let untold = made.still(&others).filter(|(_, why)| !of_average && why.contains("no batch")).map(|(names, why)| {
        format!("whether {} go by their batches, which have {why}: as the model has it", few(&names))
    });
    let called = |names: &[&str]| match names {
        [one] => format!("the batch norm {one}"),
        several => format!("the batch norms {}", few(several)),
    };
    let Some(said) = options.batch_norm else {
        if let Some((names, why)) = still {
            let have = if names.len() == 1 { "has" } else { "have" };
            let question = Question::new(format!("{} {have} {why}", called(&names)));
            let eval = "to keep them in evaluation: they go by their running statistics, which stay";
            let question = question.or("ResumeOptions::batch_norm(eval)", eval);
            let train = "to train them from now on: they go by each batch";
            questions.push(question.or("ResumeOptions::batch_norm(train)", train));
        }
        return Ok((model, Vec::new(), untold));
    };
    let names = match still {
        Some((names, _)) => names,
        None => norms.iter().map(|norm| norm.name.as_str()).collect(),
    };
    if names.is_empty() && state.part.is_none() && said == BatchNorms::Eval {
        return Err(invalid("the model has no batch norm that could be in evaluation (`ResumeOptions::batch_norm`)"));
    }
    let says = match said {
        BatchNorms::Train => "trained: by each batch",
        BatchNorms::Eval => "kept in evaluation: by the running statistics, which stay",
    };
    let says = format!("{}: {says} (`ResumeOptions::batch_norm`)", called(&names));
    let says = if names.is_empty() { Vec::new() } else { vec![says] };
    let ids: HashSet<ParamId> =
        norms.iter().filter(|norm| names.contains(&norm.name.as_str())).map(|norm| norm.switch).collect();
    let model = if said == BatchNorms::Eval { model.map(&mut Still(&ids)) } else { model };
    Ok((model, says, untold))
}
