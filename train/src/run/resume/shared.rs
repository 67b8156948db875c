//! Several optimizers of one model, such as Muon for its matrices and AdamW for the rest: which parameters and which schedulers
//! each of them has, and what of the options is said of it.

use std::collections::HashSet;
use std::ops::Range;

use burn::module::Module;
use rekindle_burn::{ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::{Question, RunState, owner_of};
use rekindle_recorder::{Dict, Error, ErrorKind, Result, Value};

use super::changes::{meant, name_of};
use super::optimizer::{ask_which, steps};
use super::trainer::Of;
use crate::attributes::invalid;
use crate::optim::{OptimizerKind, Select, shared_out};
use crate::run::options::ResumeOptions;

/// What one of the optimizers goes on with.
pub(super) struct Share {
    /// Where in the checkpoint it is.
    pub(super) place: String,
    /// The number of its first group among all.
    pub(super) first: usize,
    pub(super) options: ResumeOptions,
    /// The run, with the schedulers of this optimizer alone.
    pub(super) state: RunState,
    /// Which of the file's schedulers those are.
    pub(super) schedulers: Vec<usize>,
}

/// The shares of all optimizers, in the file's order.
///
/// # Errors
/// The question which parameters or schedulers are whose, where that is open; and when one of them cannot go on beside others.
pub(super) fn shares<M: Module>(saved: &[Value], of: &Of<'_, M>, options: &mut ResumeOptions) -> Result<Vec<Share>> {
    let Of { state, checkpoint, model, rows, .. } = of;
    let parts = RunState::parts(checkpoint)?;
    let part = parts.into_iter().find(|part| part.model == state.model_key).unwrap_or_default();
    let places = if part.optimizers.len() == saved.len() {
        part.optimizers
    } else {
        (0..saved.len()).map(|place| format!("optimizers[{place}]")).collect()
    };
    let own = model.named_parameters_with(rows)?;
    let kinds: Vec<OptimizerKind> = saved.iter().map(|saved| kind_of(saved, options)).collect::<Result<_>>()?;
    if kinds.contains(&OptimizerKind::Lbfgs) {
        let advice = format!("say which goes on alone with `ResumeOptions::optimizer_at`: {}", places.join(", "));
        return Err(Error::unsupported("LBFGS beside another optimizer of one model").advise(advice));
    }
    let counts: Vec<usize> = saved.iter().map(|saved| groups_of(saved).len()).collect();
    let members = members(saved, &kinds, &counts, &own, options, &places)?;
    let owners = owners(saved, &state.schedulers, (&places, &part.schedulers), options)?;

    let all: Vec<Dict> = saved.iter().flat_map(groups_of).collect();
    let firsts = counts.iter().scan(0, |first, count| Some(std::mem::replace(first, *first + count)));
    let optimizers: Vec<(String, usize)> = places.iter().cloned().zip(firsts).collect();
    let said = Said::of(options, &all, &optimizers)?;
    // Those that do not count have made as many as the others.
    let counted = saved.iter().filter_map(steps).max();
    let mut shares = Vec::with_capacity(saved.len());
    let mut first = 0;
    for (i, (place, groups)) in places.into_iter().zip(members).enumerate() {
        let schedulers: Vec<usize> = (0..owners.len()).filter(|&scheduler| owners[scheduler] == i).collect();
        let kept: Vec<Value> = schedulers.iter().filter_map(|&place| state.schedulers.get(place).cloned()).collect();
        let per = match &options.schedule_per[..] {
            pers if pers.len() == owners.len() => schedulers.iter().map(|&place| pers[place]).collect(),
            pers => pers.to_vec(),
        };
        let (lr, changes) = said.within(&(first..first + counts[i]));
        first += counts[i];
        let groups = groups.into_iter().map(named).collect();
        let schedule = options.schedule.clone().filter(|schedule| kept.iter().any(|saved| schedule.fits(saved)));
        let mut with_schedulers = (*state).clone();
        with_schedulers.schedulers = kept;
        with_schedulers.step = state.step.or(counted);
        shares.push(Share {
            place,
            first: first - counts[i],
            options: ResumeOptions {
                optimizer: OptimizerKind::infer(&saved[i]).is_err().then_some(kinds[i]),
                lr,
                changes,
                groups,
                rest_frozen: true,
                order: options.order.clone(),
                schedule,
                no_scheduler: options.no_scheduler,
                schedule_per: per,
                schedule_at: options.schedule_at,
                ..ResumeOptions::default()
            },
            state: with_schedulers,
            schedulers,
        });
    }
    let taken = shares.iter().any(|share: &Share| share.options.schedule.is_some());
    if let Some(schedule) = options.schedule.as_ref().filter(|_| !taken) {
        let what =
            format!("none of the schedulers of the file's {} optimizers is the {}", saved.len(), schedule.kind());
        let advice = "a new one begins for an optimizer that goes on alone (`ResumeOptions::optimizer_at`)";
        return Err(invalid(format!("{what} that was said (`ResumeOptions::schedule`); {advice}")));
    }
    options.schedule = None;
    if taken || shares.iter().any(|share| !share.schedulers.is_empty()) {
        options.schedule_at = None;
    }
    Ok(shares)
}

/// Which optimizer a state dict is of: as it was said, where it may be that one.
fn kind_of(saved: &Value, options: &ResumeOptions) -> Result<OptimizerKind> {
    match OptimizerKind::infer(saved) {
        Ok(kind) => Ok(kind),
        Err(error) => {
            let may = OptimizerKind::recognise(saved).map(|recognition| recognition.kinds).unwrap_or_default();
            options.optimizer.filter(|kind| may.contains(kind)).ok_or_else(|| ask_which(error, saved))
        }
    }
}

fn groups_of(saved: &Value) -> Vec<Dict> {
    let groups = saved.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().filter_map(|group| group.as_dict().cloned()).collect()
}

/// The names of the members of each group of each optimizer: as they were said, or as the shapes of the moments tell.
fn members(
    saved: &[Value],
    kinds: &[OptimizerKind],
    counts: &[usize],
    own: &[NamedParameter],
    options: &mut ResumeOptions,
    places: &[String],
) -> Result<Vec<Vec<HashSet<String>>>> {
    let told = std::mem::take(&mut options.groups);
    if told.is_empty() {
        let saved: Vec<(OptimizerKind, &Value)> = kinds.iter().copied().zip(saved).collect();
        let shared = shared_out(own, &saved).map_err(|error| ask_members(&error, places))?;
        let names = |group: Vec<usize>| group.into_iter().map(|place| own[place].name.clone()).collect();
        return Ok(shared.into_iter().map(|groups| groups.into_iter().map(names).collect()).collect());
    }
    let all: usize = counts.iter().sum();
    if told.len() != all {
        let what = format!("the {} optimizers have {all} groups together, and {} were said", saved.len(), told.len());
        return Err(invalid(format!("{what} (`ResumeOptions::group`)")));
    }
    let mut rest: Vec<&NamedParameter> = own.iter().collect();
    let mut groups = Vec::with_capacity(all);
    for select in told {
        let belongs = select.compile()?;
        let (group, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|named| belongs(named));
        groups.push(group.into_iter().map(|named| named.name.clone()).collect());
        rest = others;
    }
    let mut groups = groups.into_iter();
    Ok(counts.iter().map(|&count| groups.by_ref().take(count).collect()).collect())
}

fn named(names: HashSet<String>) -> Select {
    Select::matching(move |named| names.contains(&named.name))
}

/// An error of optimizers whose parameters cannot be told is a question.
fn ask_members(error: &Error, places: &[String]) -> Error {
    let what = format!("the file holds {} optimizers of one model, {}: {error}", places.len(), places.join(" and "));
    let question = Question::new(what)
        .or("ResumeOptions::group(GLOB)", "once a group, of one optimizer after the other in the file's order");
    let alone = "to go on with that one alone, and leave the others as they are";
    let question = places
        .iter()
        .fold(question, |question, place| question.or(format!("ResumeOptions::optimizer_at(\"{place}\")"), alone));
    Error::new(ErrorKind::Open(vec![question]))
}

/// Which optimizer each scheduler is of: the one that its key names or the only one that has its rates, else in their order.
fn owners(
    saved: &[Value],
    schedulers: &[Value],
    (optimizer_places, scheduler_places): (&[String], &[String]),
    options: &ResumeOptions,
) -> Result<Vec<usize>> {
    if options.no_scheduler {
        return Ok(Vec::new());
    }
    let groups: Vec<Vec<Dict>> = saved.iter().map(groups_of).collect();
    let may: Vec<Vec<usize>> = schedulers
        .iter()
        .map(|scheduler| (0..groups.len()).filter(|&optimizer| sets(scheduler, &groups[optimizer])).collect())
        .collect();
    let told = |scheduler: usize| {
        let stem = scheduler_places.get(scheduler).map(|place| owner_of(place)).filter(|stem| !stem.is_empty())?;
        let mut of_stem = may[scheduler].iter().filter(|&&optimizer| owner_of(&optimizer_places[optimizer]) == stem);
        of_stem.next().copied().filter(|_| of_stem.next().is_none())
    };
    let only = |scheduler: usize| if let [one] = may[scheduler][..] { Some(one) } else { told(scheduler) };
    let scheduled: Vec<usize> = (0..groups.len())
        .filter(|&optimizer| groups[optimizer].iter().any(|group| group.get("initial_lr").is_some()))
        .collect();
    let in_order = schedulers.len() == scheduled.len()
        && scheduled.iter().zip(&may).all(|(optimizer, may)| may.contains(optimizer));
    let found: Option<Vec<usize>> = (0..schedulers.len()).map(only).collect();
    let found = found.or_else(|| in_order.then_some(scheduled));
    found.ok_or_else(|| {
        let what = format!("nothing tells which of the file's {} optimizers each of its schedulers is of", saved.len());
        let question =
            Question::new(what).or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are");
        let alone = "to go on with that one alone";
        let places = optimizer_places.iter();
        let question = places
            .fold(question, |question, place| question.or(format!("ResumeOptions::optimizer_at(\"{place}\")"), alone));
        Error::new(ErrorKind::Open(vec![question]))
    })
}

/// Whether a scheduler can be one that sets the rates of these groups.
fn sets(scheduler: &Value, groups: &[Dict]) -> bool {
    let list =
        |key: &str| -> Option<Vec<f64>> { scheduler.as_dict()?.get(key)?.items()?.iter().map(Value::as_f64).collect() };
    let of_groups = |key: &str| -> Option<Vec<f64>> { groups.iter().map(|group| group.get(key)?.as_f64()).collect() };
    let agree = |theirs: &str, ours: &str| match (list(theirs), of_groups(ours)) {
        (Some(theirs), Some(ours)) => theirs == ours,
        (Some(theirs), None) => theirs.len() == groups.len() && ours != "initial_lr",
        (None, _) => true,
    };
    agree("base_lrs", "initial_lr") && agree("_last_lr", "lr")
}

/// What was said of groups, of all optimizers' one after the other.
struct Said {
    /// A rate of each group, or none.
    rates: Vec<f64>,
    /// Which group's entry, by its number, and what it becomes.
    changes: Vec<(usize, String, Value)>,
}

impl Said {
    /// What the options say of groups; `optimizers` are their places, each with the number of its first group.
    ///
    /// # Errors
    /// When there are not so many rates, or no such group.
    fn of(options: &ResumeOptions, groups: &[Dict], optimizers: &[(String, usize)]) -> Result<Said> {
        let rates = match &options.lr[..] {
            [one] => vec![*one; groups.len()],
            rates if rates.is_empty() || rates.len() == groups.len() => rates.to_vec(),
            rates => {
                let what = format!("the optimizers have {} groups together", groups.len());
                let given = format!("{} learning rates were given (`ResumeOptions::lr`)", rates.len());
                return Err(invalid(format!("{what}, and {given}; give one for all, or one for each")));
            }
        };
        let names: Vec<Option<String>> = groups.iter().map(|group| name_of(|key| group.get(key))).collect();
        let mut changes = Vec::new();
        for (group, key, value) in &options.changes {
            let meant = meant(group, &names, optimizers);
            if meant.is_empty() {
                return Err(invalid(format!(
                    "none of the optimizers has a group '{group}' (`ResumeOptions::set`); there are 0 to {}, one optimizer's after \
                     the other's, and * for all",
                    groups.len().saturating_sub(1)
                )));
            }
            changes.extend(meant.into_iter().map(|place| (place, key.clone(), value.clone())));
        }
        Ok(Said { rates, changes })
    }

    /// Of the groups in a range, by their numbers there.
    fn within(&self, groups: &Range<usize>) -> (Vec<f64>, Vec<(String, String, Value)>) {
        let rates = self.rates.get(groups.clone()).unwrap_or_default().to_vec();
        let own = self.changes.iter().filter(|(place, ..)| groups.contains(place));
        let own = own.map(|(place, key, value)| ((place - groups.start).to_string(), key.clone(), value.clone()));
        (rates, own.collect())
    }
}
