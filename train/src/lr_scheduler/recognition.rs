//! `Recognition`: which scheduler wrote a state dict, told by the keys that it has and by those that it cannot have.

use rekindle_recorder::{Error, Result, Value};

use super::ignite;
use super::kind::{CLASSES, SchedulerKind, TORCH, names};
use super::options::PLACE;
use super::scheduler::Class;
use crate::attributes::{Attributes, invalid};

/// What a state dict was recognised as: by [`SchedulerKind::recognise`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recognition {
    /// The state of this scheduler: it has the keys that tell it, and none that no release of it ever had.
    Known(SchedulerKind),
    /// The state of one of these, which no file tells apart: they keep the same, and functions that no file holds.
    Several(Vec<SchedulerKind>),
    /// The state of a scheduler that is known by name, and cannot be gone on with.
    Refused {
        /// The class, with its package.
        name: &'static str,
        /// Why not, and what to do instead.
        why: &'static str,
    },
    /// The state of a class that has what a known one has, and more: most likely written after it, with another formula.
    Resembles {
        /// The scheduler that it has most in common with.
        kind: SchedulerKind,
        /// The keys that no release of that scheduler had, and keys with values that it never had.
        foreign: Vec<String>,
    },
    /// The state of no scheduler that is known.
    Unknown {
        /// All its keys.
        keys: Vec<String>,
    },
}

/// Keys that change no formula, whichever class they are added to: `name` by loggers, `verbose` by copies of old releases.
const HARMLESS: &[&str] = &["verbose", "name"];

/// A scheduler that is known by name only.
struct Refused {
    name: &'static str,
    tell: &'static [&'static str],
    /// Whether it keeps nothing else.
    only: bool,
    why: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        name: "megatron.core.optimizer_param_scheduler.OptimizerParamScheduler",
        tell: &["num_steps", "lr_decay_style"],
        only: false,
        why: "it counts samples and moves the weight decay, too; make a new scheduler from its numbers",
    },
    Refused {
        name: "deepspeed.runtime.lr_schedules",
        tell: &["last_batch_iteration"],
        only: true,
        why: "it keeps its position only, and its options stand in DeepSpeed's configuration; make a new scheduler from them",
    },
    Refused {
        name: "ignite.handlers.ReduceLROnPlateauScheduler",
        tell: &["event_index", "metric_name"],
        only: false,
        why: "its state dict holds a Python method with the optimizer inside; make a new ReduceLROnPlateau from its numbers",
    },
];

impl Recognition {
    /// The scheduler, where it is known for certain.
    ///
    /// # Errors
    /// Otherwise: says what the state is like, and what can be done.
    pub fn kind(&self) -> Result<SchedulerKind> {
        let unsupported = |what: String, advice: String| Err(Error::unsupported(what).advise(advice));
        match self {
            Recognition::Known(kind) => Ok(*kind),
            Recognition::Several(kinds) if kinds.iter().any(|kind| kind.counts_events()) => Err(invalid(format!(
                "the state dict is that of a {}, which keep the same, and the values in the groups do not tell which it was; go on \
                 with the schedule that it was made with (`ResumeOptions::schedule`)",
                names(kinds, " or ")
            ))),
            Recognition::Several(kinds) => Err(invalid(format!(
                "the state dict is that of a {}, whose functions no file holds; go on with the schedule that it was made with \
                 (`ResumeOptions::schedule`)",
                names(kinds, " or ")
            ))),
            Recognition::Refused { name, why } => unsupported(format!("the scheduler {name}"), (*why).to_owned()),
            Recognition::Resembles { kind, foreign } => unsupported(
                format!("the scheduler, which resembles {kind} and has {} besides,", foreign.join(", ")),
                format!(
                    "if it goes by the formula of {kind} all the same, go on with that schedule \
                     (`ResumeOptions::schedule`), else make a new one"
                ),
            ),
            Recognition::Unknown { keys } => {
                Err(invalid(format!("no scheduler of torch.optim.lr_scheduler has a state of {}", keys.join(", "))))
            }
        }
    }

    /// Whether a schedule of this kind, named by somebody who knows, can go on from the state: whatever is foreign is kept.
    pub(super) fn allows(&self, kind: SchedulerKind, attributes: &Attributes) -> bool {
        match self {
            Recognition::Known(known) => *known == kind,
            Recognition::Several(several) => several.contains(&kind),
            Recognition::Resembles { .. } => has_all(kind.class(), attributes),
            Recognition::Refused { .. } | Recognition::Unknown { .. } => false,
        }
    }

    /// What it was recognised as, in a few words.
    pub(super) fn describe(&self) -> String {
        match self {
            Recognition::Known(kind) => kind.to_string(),
            Recognition::Several(kinds) => names(kinds, " or "),
            Recognition::Refused { name, .. } => (*name).to_owned(),
            Recognition::Resembles { kind, foreign } => format!("a class like {kind} with {}", foreign.join(", ")),
            Recognition::Unknown { .. } => "no known scheduler".to_owned(),
        }
    }
}

impl SchedulerKind {
    /// Which scheduler wrote this state dict: the one whose keys it has, if it has none that no release of the class had.
    ///
    /// # Errors
    /// When it is no dict with `str` keys.
    pub fn recognise(state_dict: &Value) -> Result<Recognition> {
        Ok(recognised(&Attributes::from_value(PLACE, state_dict)?))
    }

    /// How each of the schedulers is said in words that a state may be of which keep the same, and what it does.
    pub(crate) fn spelled_apart(state_dict: &Value) -> Vec<(String, &'static str)> {
        let attributes = Attributes::from_value(PLACE, state_dict).ok();
        let several = |attributes: &Attributes| match recognised(attributes) {
            Recognition::Several(kinds) => kinds.iter().any(|kind| kind.counts_events()),
            _ => false,
        };
        attributes.filter(several).map(|attributes| ignite::spelled(&attributes)).unwrap_or_default()
    }

    /// Which scheduler wrote this state dict, told by its keys.
    ///
    /// # Errors
    /// When that is not certain: see [`Recognition::kind`].
    pub fn infer(state_dict: &Value) -> Result<Self> {
        SchedulerKind::recognise(state_dict)?.kind()
    }
}

fn has_all(class: &Class, attributes: &Attributes) -> bool {
    class.tell.iter().all(|key| attributes.contains(key))
}

/// The keys that no release of the class had, and those whose values it never had.
fn foreign(class: &Class, attributes: &Attributes) -> Vec<String> {
    let known = [class.tell, class.own, class.shared, HARMLESS];
    let keys = attributes.names().filter(|name| !known.iter().any(|keys| keys.contains(name))).map(str::to_owned);
    keys.chain(class.rule.foreign(attributes).map(str::to_owned)).collect()
}

pub(super) fn recognised(attributes: &Attributes) -> Recognition {
    for Refused { name, tell, only, why } in REFUSED {
        let has_all = tell.iter().all(|key| attributes.contains(key));
        if has_all && (!only || attributes.names().count() == tell.len()) {
            return Recognition::Refused { name, why };
        }
    }
    let classes = SchedulerKind::ALL.iter().copied().zip(CLASSES).filter(|(_, class)| has_all(class, attributes));
    let mut like: Vec<_> = classes.map(|(kind, class)| (foreign(class, attributes), kind)).collect();
    // Every state of PyTorch's base class is like one that has nothing of its own.
    like.retain(|(foreign, kind)| foreign.is_empty() || kind.class().tell.iter().any(|key| !TORCH.contains(key)));
    // Of those with the fewest foreign keys, the ones that are told by the most.
    like.sort_by_key(|(foreign, kind)| (foreign.len(), usize::MAX - kind.class().tell.len()));
    match &like[..] {
        [] => Recognition::Unknown { keys: attributes.names().map(str::to_owned).collect() },
        [(foreign, kind), rest @ ..] if foreign.is_empty() => {
            let same =
                rest.iter().filter(|(foreign, other)| foreign.is_empty() && other.class().tell == kind.class().tell);
            let several: Vec<_> = std::iter::once(*kind).chain(same.map(|(_, kind)| *kind)).collect();
            if several.len() == 1 { Recognition::Known(*kind) } else { Recognition::Several(several) }
        }
        [(foreign, kind), ..] => Recognition::Resembles { kind: *kind, foreign: foreign.clone() },
    }
}
