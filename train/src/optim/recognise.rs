//! Which optimizer wrote a state dict: told by the keys that its groups and states must have, and by those that they must not.
//! Other packages' optimizers look like PyTorch's but for a key or two, and step otherwise.

use rekindle_recorder::{Error, Result, Value};

use super::bitsandbytes;
use super::registry::{OptimizerKind, names};
use super::rule::View;
use crate::attributes::{Attributes, invalid};

/// What the keys of an optimizer's state dict tell: [`OptimizerKind::recognise`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recognition {
    /// Whose it is, as people call it: `AdamW`, `transformers' Adafactor`.
    pub name: String,
    /// Which optimizer it is, where that is told and it is one that is here.
    pub kind: Option<OptimizerKind>,
    /// The optimizers here that may have written it: one as a rule; several where older releases of PyTorch wrote the same
    /// keys; none where it is one that is not here.
    pub kinds: Vec<OptimizerKind>,
    /// What a user should know of how it is read.
    pub note: Option<&'static str>,
    /// The keys that told it.
    pub told_by: Vec<&'static str>,
    /// The keys that such an optimizer never has. Not among them: what schedulers and frameworks write into groups and no
    /// optimizer reads; and unknown names whose value can change no step: of a text or `None` in a group, of anything but a
    /// tensor in a state.
    pub foreign: Vec<ForeignKey>,
}

/// A key that an optimizer's groups or states never have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignKey {
    /// Where it is: `param_groups[0]`, `state[3]`.
    pub place: String,
    /// The key.
    pub key: String,
    /// Whose key it is, where that is known.
    pub owner: Option<&'static str>,
}

/// What schedulers, trainers and the builders of groups leave in a group; no optimizer reads it.
const HARMLESS: &[&str] = &[
    // Schedulers of torch.optim, and torch.optim.swa_utils.
    "initial_lr",
    "max_lr",
    "min_lr",
    "base_momentum",
    "max_momentum",
    "initial_momentum",
    "swa_lr",
    // Names.
    "params",
    "param_names",
    "group_name",
    "name",
    "group_id",
    "layer_id",
    "layer_decay",
    "layer_name",
    // timm's layer decay; mmengine's and Caffe's multipliers; fastai's and others' rates of a group.
    "lr_scale",
    "lr_mult",
    "lr_multiplier",
    "lr_ratio",
    "decay_mult",
    "wd_mult",
    "wd_scale",
    "weight_decay_scale",
    "base_lr",
    "base_wd",
    "initial_weight_decay",
    "initial_wd",
    "min_wd",
    "max_wd",
    "fix_lr",
    "is_bias",
    // Megatron's.
    "is_expert_parallel",
    "is_decoupled_lr",
    "is_vision_model_param",
    "start_wd",
    "end_wd",
    "pre_mult",
    "default_config",
];

/// An optimizer that is not here, and what tells it: all of these keys in its groups, and all of these in a parameter's state.
struct Other {
    name: &'static str,
    group: &'static [&'static str],
    state: &'static [&'static str],
}

macro_rules! others {
    ($($name:literal, [$($group:literal),*], [$($state:literal),*];)*) => {
        &[$(Other { name: $name, group: &[$($group),*], state: &[$($state),*] }),*]
    };
}

const OTHERS: &[Other] = others! {
    "bitsandbytes' 8-bit optimizer", [], ["state1", "absmax1"];
    "bitsandbytes' optimizer", [], ["state1"];
    "bitsandbytes' optimizer", ["t_alpha", "t_beta3"], [];
    "schedulefree's AdamW of old", ["train_mode", "weight_sum", "betas", "warmup_steps"], [];
    "schedulefree's RAdam", ["train_mode", "weight_sum", "silent_sgd_phase"], [];
    "schedulefree's SGD", ["train_mode", "weight_sum", "momentum"], [];
    "a schedule-free optimizer", ["train_mode", "weight_sum"], [];
    "transformers' Adafactor", ["scale_parameter", "relative_step", "warmup_init"], ["exp_avg_sq_row"];
    "timm's Adafactor", ["scale_parameter", "relative_step", "eps_scale"], [];
    "transformers' Adafactor", ["scale_parameter", "relative_step"], [];
    "timm's big-vision Adafactor", ["beta2_cap"], [];
    "apex' FusedLAMB", ["grad_averaging", "max_grad_norm"], [];
    "NovoGrad", ["grad_averaging", "betas"], [];
    "apex' FusedAdam", ["bias_correction", "betas"], [];
    "LARS", ["trust_coefficient"], [];
    "LARS", ["lars_adaptation_filter"], [];
    "AdamP", ["delta", "wd_ratio", "betas"], [];
    "SGDP", ["delta", "wd_ratio"], [];
    "AdaBelief", [], ["exp_avg_var"];
    "AdaBelief", ["degenerated_to_sgd"], [];
    "AdaBelief", ["weight_decouple", "rectify"], [];
    "Prodigy", ["d0", "d_coef"], [];
    "a D-Adaptation optimizer", ["growth_rate", "d"], [];
    "SOAP", ["precondition_frequency"], [];
    "distributed Shampoo", ["max_preconditioner_dim"], [];
    "Shampoo", ["epsilon", "update_freq"], [];
    "Ranger", ["N_sma_threshhold"], [];
    "Ranger", ["N_sma_threshold"], [];
    "Lookahead", ["lookahead_alpha"], [];
    "Lookahead", [], ["slow_buffer"];
    "Lookahead", [], ["lookahead_slow_buff"];
    "Sophia", [], ["hessian"];
    "Adahessian", ["hessian_power"], [];
    "MADGRAD", [], ["grad_sum_sq"];
    "GaLore", ["rank", "update_proj_gap"], [];
    "GaLore", [], ["projector"];
    "CAME", [], ["exp_avg_res_row"];
    "AdEMAMix", ["beta3_warmup"], [];
    "timm's MARS", ["mars_type"], [];
    "timm's LaProp", [], ["exp_avg_lr_1"];
    "ADOPT", ["clip_exp"], [];
    "timm's Kron", ["preconditioner_update_probability"], [];
    "PSGD", ["precond_lr"], [];
    "timm's Muon", ["safety_factor", "conv_mode"], [];
    "ultralytics' MuSGD", ["use_muon", "nesterov", "momentum"], [];
    "Muon with Adam for the rest", ["use_muon"], [];
    "timm's NAdam of old", ["schedule_decay"], [];
    "timm's AdamW of old", ["clipping_threshold", "amsgrad"], [];
    "timm's NAdamW", ["clipping_threshold", "capturable"], [];
    "timm's NAdamW", ["caution", "capturable", "betas"], [];
    "timm's SGDW", ["caution", "dampening"], [];
    "a cautious AdamW", ["caution", "amsgrad"], [];
    "AdaBound", ["final_lr", "gamma"], [];
    "Yogi", ["initial_accumulator", "betas"], [];
    "QHAdam", ["nus"], [];
    "AggMo", ["betas"], ["momentum_buffer"];
    "torch_optimizer's LAMB", [], ["trust_ratio"];
    "DiffGrad", [], ["previous_grad", "exp_avg"];
    "AdaMod", [], ["exp_avg_lr"];
    "PID", ["integral", "derivative"], [];
    "SAM", ["rho", "adaptive"], [];
    "an optimizer of pytorch_optimizer", ["weight_decouple", "fixed_decay"], [];
};

/// Keys that several packages have, by which no optimizer is told.
const OWNERS: &[(&str, &str)] = &[
    ("buffer", "AdaBelief and the first RAdam"),
    ("caution", "timm"),
    ("corrected_weight_decay", "timm"),
    ("max_lr_snapshot", "timm"),
    ("decoupled_decay", "timm"),
    ("decoupled", "timm"),
    ("clipping_threshold", "timm"),
    ("use_gc", "gradient centralization"),
    ("bias_correction", "apex"),
    ("adam_w_mode", "apex"),
    ("step", "apex and timm, which count steps in a group"),
    ("master_param", "apex and DeepSpeed"),
    ("exp_avg_sq_row", "Adafactor of transformers and timm"),
    ("exp_avg_sq_col", "Adafactor of transformers and timm"),
    ("RMS", "Adafactor of transformers and timm"),
];

/// These three had the same groups until each gained a key of its own: Adam `amsgrad` in 0.4, Adamax `maximize` in 1.12, and
/// `RAdam` `decoupled_weight_decay` in 2.1.
const OLDER: [OptimizerKind; 3] = [OptimizerKind::Adamax, OptimizerKind::RAdam, OptimizerKind::Adam];
const OLDER_KEYS: [&str; 4] = ["lr", "betas", "eps", "weight_decay"];

/// What LBFGS has of all parameters together.
const LBFGS_STATE: &[&str] =
    &["func_evals", "n_iter", "d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss", "al"];

impl OptimizerKind {
    /// Which optimizer wrote this state dict, and which of its keys such an optimizer never has.
    ///
    /// ```
    /// use rekindle_recorder::{Dict, Value};
    /// use rekindle_train::optim::OptimizerKind;
    ///
    /// let group = Dict::from_iter([("lr", 5e-5), ("eps", 1e-6), ("weight_decay", 0.0)]);
    /// group.insert("betas", Value::tuple([0.9.into(), 0.999.into()]));
    /// group.insert("grad_averaging", true);
    /// group.insert("max_grad_norm", 1.0);
    /// let state_dict = Dict::from_iter([("state", Value::from(Dict::new())), ("param_groups", Value::list([group.into()]))]);
    /// assert_eq!(OptimizerKind::recognise(&state_dict.into())?.name, "apex' FusedLAMB");
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is not the state dict of an optimizer, or has groups like none that is known.
    pub fn recognise(state_dict: &Value) -> Result<Recognition> {
        let saved = Keys::read(state_dict)?;
        if saved.is_bitsandbytes_adam() {
            let kinds = vec![OptimizerKind::AdamW, OptimizerKind::Adam];
            let mut foreign = saved.foreign(&kinds);
            foreign.retain(|found| {
                found.place.starts_with("param_groups") && !bitsandbytes::ADEMAMIX.contains(&found.key.as_str())
            });
            let (name, note) = ("bitsandbytes' AdamW or Adam".to_owned(), Some(bitsandbytes::NOTE));
            return Ok(Recognition { name, kind: None, kinds, note, told_by: vec!["state1", "state2"], foreign });
        }
        let kinds = saved.kinds();
        let foreign = kinds.as_ref().map(|kinds| saved.foreign(kinds)).unwrap_or_default();
        let unlike = kinds.is_err() || !foreign.is_empty();
        if let Some(other) = OTHERS.iter().find(|other| unlike && saved.is(other)) {
            return Ok(Recognition {
                name: other.name.to_owned(),
                kind: None,
                kinds: Vec::new(),
                note: None,
                told_by: [other.group, other.state].concat(),
                foreign: Vec::new(),
            });
        }
        let (kinds, group) = (kinds?, saved.first());
        let decoupled = "decoupled_weight_decay";
        let (kind, told_by) = match kinds[..] {
            [kind] => (Some(kind), kind.signature().0.to_vec()),
            [OptimizerKind::Adam, OptimizerKind::AdamW] if group.contains(decoupled) => {
                (Some(kinds[usize::from(group.flag(decoupled)?)]), vec![decoupled])
            }
            _ => (None, OLDER_KEYS.to_vec()),
        };
        let name = kind.map_or_else(|| names(&kinds, " or "), |kind| kind.to_string());
        Ok(Recognition { name, kind, kinds, note: None, told_by, foreign })
    }

    /// Which optimizer wrote this state dict, told by the keys of its groups and, where these leave it open, of its state.
    ///
    /// # Errors
    /// When the keys are those of an optimizer that is not here, of none, or of several: up to PyTorch 2.6 Adam and AdamW
    /// wrote the same, and bitsandbytes' do. When there is a key that the optimizer never has.
    pub fn infer(state_dict: &Value) -> Result<Self> {
        let recognition = OptimizerKind::recognise(state_dict)?;
        recognition.is_whole()?;
        let kinds = &recognition.kinds;
        recognition.kind.ok_or_else(|| {
            let options = kinds.iter().map(|kind| format!("`ResumeOptions::optimizer(OptimizerKind::{kind:?})`"));
            let options = options.collect::<Vec<_>>().join(" or ");
            let what = match recognition.note {
                Some(note) => format!("{}, which write the same keys ({note})", recognition.name),
                None => {
                    let names = names(kinds, "'s or ");
                    format!("{names}'s, which wrote the same keys in older releases of PyTorch")
                }
            };
            invalid(format!("the optimizer's state is {what}")).advise(format!("say which it is with {options}"))
        })
    }
}

impl Recognition {
    /// Fails unless it is of an optimizer that is here, and has nothing that such an optimizer never has.
    ///
    /// # Errors
    /// Names the optimizer that is not here, or the first foreign key, what it was found in, and whose it is.
    pub fn is_whole(&self) -> Result<()> {
        if self.kinds.is_empty() {
            let what =
                format!("{}, which the optimizer's state is of (told by {}),", self.name, self.told_by.join(", "));
            let advice = "take the weights alone and a new optimizer, or go on where that optimizer is";
            return Err(Error::unsupported(what).advise(advice));
        }
        let Some(ForeignKey { place, key, owner }) = self.foreign.first() else { return Ok(()) };
        let owner = owner.map_or(String::new(), |owner| format!(" (it is a key of {owner})"));
        let others = match self.foreign.len() {
            1 => String::new(),
            count => format!(", nor {} more", count - 1),
        };
        let what = format!(
            "{place} has '{key}'{owner}: the optimizer's state looks like that of {}, which never has it{others}, and another \
             optimizer may step otherwise",
            self.name
        );
        let owned = self.foreign.iter().any(|key| key.owner.is_some());
        Err(match &self.kinds[..] {
            [kind] if !owned => invalid(what).advise(format!(
                "say `ResumeOptions::optimizer(OptimizerKind::{kind:?})` where it steps as {kind} all the same"
            )),
            _ => invalid(what).advise("take the weights alone and a new optimizer, or go on where that optimizer is"),
        })
    }
}

/// The keys of a state dict.
struct Keys {
    groups: Vec<Attributes>,
    /// Of each parameter's state, by its id, and whether the key has a tensor, or something that holds one.
    states: Vec<(String, Vec<(String, bool)>)>,
}

impl Keys {
    fn read(state_dict: &Value) -> Result<Self> {
        let dict = state_dict.as_dict().ok_or_else(|| not_an_optimizer("it is no dict"))?;
        let groups = dict.get("param_groups").and_then(|groups| groups.items());
        let groups = groups.ok_or_else(|| not_an_optimizer("it has no list 'param_groups'"))?;
        if groups.is_empty() {
            return Err(not_an_optimizer("'param_groups' is empty"));
        }
        let read = |(place, group)| Attributes::from_value(format!("param_groups[{place}]."), group);
        let groups = groups.iter().enumerate().map(read).collect::<Result<_>>()?;
        let states = dict.get("state").and_then(|state| Some(state.as_dict()?.entries())).unwrap_or_default();
        let of_parameter = |(id, state): (Value, Value)| {
            let named = |(key, value): (Value, Value)| Some((key.as_str()?.to_owned(), holds_tensor(&value)));
            let keys = bitsandbytes::entries(&state)?.into_iter().filter_map(named).collect();
            // What is under another key than a parameter's is the user's.
            matches!(id, Value::Int(_)).then(|| (format!("state[{id:?}]"), keys))
        };
        Ok(Keys { groups, states: states.into_iter().filter_map(of_parameter).collect() })
    }

    fn first(&self) -> &Attributes {
        &self.groups[0]
    }

    fn has_state(&self, key: &str) -> bool {
        self.states.iter().any(|(_, keys)| keys.iter().any(|(found, _)| found == key))
    }

    /// Whether it is of bitsandbytes' Adam or `AdamW`.
    fn is_bitsandbytes_adam(&self) -> bool {
        let keys = || self.states.iter().flat_map(|(_, keys)| keys.iter().map(|(key, _)| key.as_str()));
        self.groups.iter().all(|group| bitsandbytes::is_adam(group, keys()))
    }

    fn is(&self, other: &Other) -> bool {
        other.group.iter().all(|key| self.first().contains(key)) && other.state.iter().all(|key| self.has_state(key))
    }

    /// The optimizers here whose groups have what these have.
    fn kinds(&self) -> Result<Vec<OptimizerKind>> {
        let group = self.first();
        let has_all = |keys: &[&str]| keys.iter().all(|key| group.contains(key));
        let fits = |kind: &OptimizerKind| {
            let (has, lacks) = kind.signature();
            has_all(has) && !lacks.iter().any(|key| group.contains(key))
        };
        let mut kinds: Vec<_> = OptimizerKind::ALL.iter().copied().filter(fits).collect();
        if kinds.is_empty() && has_all(&OLDER_KEYS) {
            kinds = OLDER.to_vec();
            // Adamax keeps a norm where the others keep an average of squares.
            let (norm, squares) = (self.has_state("exp_inf"), self.has_state("exp_avg_sq"));
            kinds.retain(|kind| if *kind == OptimizerKind::Adamax { !squares } else { !norm });
        }
        if kinds.is_empty() {
            let keys = group.names().collect::<Vec<_>>().join(", ");
            return Err(not_an_optimizer(&format!("no optimizer of torch.optim has groups of {keys}")));
        }
        Ok(kinds)
    }

    /// The keys that none of these optimizers has in any version.
    fn foreign(&self, kinds: &[OptimizerKind]) -> Vec<ForeignKey> {
        let mut foreign = Vec::new();
        let mut add = |place: String, key: &str| {
            foreign.push(ForeignKey { place, key: key.to_owned(), owner: owner(key) });
        };
        for (place, group) in self.groups.iter().enumerate() {
            for key in group.names() {
                // A text is a label: it changes no number.
                let label = matches!(group.get(key), Some(Value::None) | None) || group.text(key).is_ok();
                let known = HARMLESS.contains(&key) || kinds.iter().any(|kind| kind.has_option(key));
                if !known && (!label || owner(key).is_some()) {
                    add(format!("param_groups[{place}]"), key);
                }
            }
        }
        for (place, keys) in &self.states {
            let known = |key: &str| kinds.iter().any(|kind| has_state(*kind, key));
            // A moment is a tensor; what a user noted there is kept.
            let foreign = keys.iter().filter(|(key, tensor)| !known(key) && (*tensor || owner(key).is_some()));
            foreign.for_each(|(key, _)| add(place.clone(), key));
        }
        foreign
    }
}

/// Whether a value is a tensor, or a collection that has one.
fn holds_tensor(value: &Value) -> bool {
    let of_dict = |value: &Value| {
        value.as_dict().is_some_and(|dict| dict.entries().iter().any(|(_, value)| value.as_tensor().is_some()))
    };
    let of_list =
        |value: &Value| value.items().is_some_and(|items| items.iter().any(|value| value.as_tensor().is_some()));
    value.as_tensor().is_some() || of_dict(value) || of_list(value)
}

fn has_state(kind: OptimizerKind, key: &str) -> bool {
    let rule = kind.rule();
    let mut names = [rule.scalars, rule.moments, rule.counters].into_iter().flatten();
    (rule.view == View::Closure && LBFGS_STATE.contains(&key)) || names.any(|name| *name == key)
}

/// Whose key it is.
fn owner(key: &str) -> Option<&'static str> {
    let shared = OWNERS.iter().find(|(known, _)| *known == key).map(|(_, owner)| *owner);
    // `d`, `rho` and such are options of PyTorch's own, too: theirs tell nothing alone.
    let own = |other: &&Other| other.group.iter().chain(other.state).any(|known| *known == key);
    let common = OptimizerKind::ALL.iter().any(|kind| kind.has_option(key) || has_state(*kind, key));
    shared.or_else(|| OTHERS.iter().find(own).filter(|_| !common).map(|other| other.name))
}

fn not_an_optimizer(reason: &str) -> Error {
    invalid(format!("this is not the state dict of an optimizer: {reason}"))
}
