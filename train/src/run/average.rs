//! The average of the weights that a run has: one that is updated, or one of its checkpoint that stays as it is.

use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::run::{Layout, Question, RunState};
use rekindle_recorder::{DType, Error, Result, StateDict, Value, rebuild};

use super::average_when::{Done, When, ask_per, steps_of, when};
use super::lit::Lit;
use super::options::{ResumeOptions, SchedulePer};
use super::plan::few;
use super::resume::weights::wrapped;
use crate::ema::{AveragedLayout, AveragedModel, Averaging, Decay, lit_rule};

/// The average of the weights.
#[derive(Debug, Default)]
pub(super) enum Average {
    /// There is none.
    #[default]
    None,
    /// It takes the weights in after each step, after each epoch, or otherwise.
    Updated(AveragedModel, When),
    /// The checkpoint's stays as it is, and the user is told so. It is read only where it has changed places with the
    /// weights.
    Kept(Option<AveragedModel>),
}

/// What is said of an average that stays as it is.
const KEPT: &str = "the checkpoint's average of the weights stays as it is, since no file says how it goes on; say it with \
                    `ResumeOptions::average`";

/// The average of a checkpoint as it was saved, and the weights that are trained.
pub(super) struct Saved {
    found: Option<AveragedModel>,
    /// Latent diffusion's.
    lit: Option<Lit>,
    /// A list, which a model has the names of.
    list: Option<Value>,
    rule: Option<Averaging>,
    when: When,
    /// Whether it has taken in the weights as they are now.
    up_to_date: bool,
    /// Whether the program's settings say that it averages buffers, too.
    buffers: bool,
    kept: bool,
    /// What becomes of it, for the plan.
    pub(super) says: String,
    /// What goes into the model.
    pub(super) weights: StateDict,
}

impl Saved {
    /// Reads the average of a run, and how it goes on: by the rule that is given, by that in its file, or not at all. In
    /// mmengine's checkpoints it has changed places with the weights. Of a model that is in half precision it is, too.
    ///
    /// # Errors
    /// When there is a rule, and what is there is no average.
    pub(super) fn read(
        state: &RunState,
        options: &mut ResumeOptions,
        (half, passed): (bool, Option<i64>),
        questions: &mut Vec<Question>,
    ) -> Result<Self> {
        let given = options.average.take();
        let mut saved = Saved {
            found: None,
            lit: None,
            list: None,
            rule: given.clone(),
            when: options.average_per.unwrap_or_default().into(),
            up_to_date: true,
            buffers: state.told.average.is_some(),
            kept: false,
            says: String::new(),
            weights: state.model.clone(),
        };
        if let Some(lit) = Lit::find(state) {
            return saved.of_lit(lit, (state, passed), options, questions);
        }
        let Some(value) = &state.ema else {
            if let Some(rule) = &given {
                saved.says = format!("begins, by the rule that was given: {rule}");
            }
            return Ok(saved);
        };
        let value = &if half { value.clone() } else { in_single(value)? };
        let found = found(value, &state.model);
        let is_list = matches!(found, Ok(None));
        let count = match &found {
            Ok(Some(average)) if average.layout() == AveragedLayout::Plain => state.updates.or_else(|| steps_of(state)),
            Ok(Some(average)) => Some(average.n_averaged()),
            _ => value.as_dict().and_then(|dict| dict.get("optimization_step").or(dict.get("num_updates"))?.as_i64()),
        };
        let when = when(count, (state, passed), options.average_per);
        saved.rule = if options.keep_average { None } else { rule(given.as_ref(), value, &found, state) };
        let counted =
            |rule: &Averaging| count.is_some() || !matches!(rule, Averaging::Decaying(decay) if decay.counts());
        let uncounted = saved.rule.as_ref().is_some_and(|rule| !counted(rule));
        let beside = told_beside(state).filter(|_| saved.rule.is_none() && !options.keep_average);
        if let Some(beside) = &beside {
            match beside {
                Ok((rule, _)) => saved.rule = Some(rule.clone()),
                Err(question) => questions.push(question.clone()),
            }
        }
        saved.kept = saved.rule.is_none();
        saved.says = match &saved.rule {
            None => "stays as it is".to_owned(),
            Some(rule) if given.is_some() => format!("goes on by the rule that was given: {rule}"),
            Some(rule) if matches!(beside, Some(Ok(_))) => {
                let place = beside.and_then(Result::ok).map(|(_, place)| place).unwrap_or_default();
                format!("goes on by the decay beside it: {rule} ({place})")
            }
            Some(rule) if told_rule(state).is_some() => {
                format!("goes on as {} says: {rule}", state.told.by)
            }
            Some(rule) => format!("goes on by its own rule: {rule}"),
        };
        if let Some(rule) = saved.rule.as_ref().filter(|_| uncounted) {
            questions.push(ask_count(rule));
        }
        if saved.rule.is_some() && when.is_none() {
            questions.push(ask_per(count, steps_of(state)));
        }
        let alone = state.other_averages.is_empty() || state.part.is_some() || options.average_at.is_some();
        if given.is_some() && !options.keep_average && !alone {
            questions.push(ask_which(state));
        }
        saved.when = when.unwrap_or_default();
        if saved.rule.is_some() {
            saved.says += &saved.when.says();
        }
        saved.up_to_date = match saved.when.per {
            SchedulePer::Step | SchedulePer::Batch => true,
            SchedulePer::Epoch => matches!(state.step_in_epoch, None | Some(0)),
            _ => false,
        };
        // The rule that is taken for one that is not known is never followed.
        let rule = saved.rule.clone().unwrap_or_default();
        saved.found = match found {
            Ok(Some(average)) if average.layout() == AveragedLayout::MmEngine => {
                let (average, weights) = AveragedModel::from_mmengine(&state.model, value, rule)?;
                saved.weights = weights;
                Some(average)
            }
            Ok(Some(average)) if !saved.kept => {
                let count = count.unwrap_or(average.n_averaged());
                Some(AveragedModel::from_state_dict(value, rule)?.counted(count))
            }
            Ok(_) => None,
            Err(_) if saved.kept => None,
            Err(error) => return Err(error),
        };
        saved.list = Some(value.clone()).filter(|_| is_list && !saved.kept);
        Ok(saved)
    }

    /// That of latent diffusion, which says itself how it goes on.
    fn of_lit(
        mut self,
        lit: Lit,
        (state, passed): (&RunState, Option<i64>),
        options: &ResumeOptions,
        questions: &mut Vec<Question>,
    ) -> Result<Self> {
        let (decay, count) = lit_rule(&lit.state)?;
        let own = Decay::LitEma { decay, use_num_updates: count.is_some() };
        let given = self.rule.take();
        let how = if given.is_some() { "the rule that was given" } else { "its own rule" };
        self.rule = match given {
            _ if options.keep_average => None,
            Some(Averaging::Ema { decay }) => Some(Averaging::Decaying(own.with_decay(decay))),
            Some(given) => Some(given),
            None => Some(Averaging::Decaying(own)),
        };
        self.kept = self.rule.is_none();
        let when = when(count, (state, passed), options.average_per);
        if when.is_none() && !self.kept {
            questions.push(ask_per(count, steps_of(state)));
        }
        self.when = when.unwrap_or_default();
        let place = lit.name().map_or_else(String::new, |name| format!("inside the model, '{name}', "));
        self.says = match &self.rule {
            None => format!("{place}stays as it is"),
            Some(rule) => format!("{place}goes on by {how}: {rule}{}", self.when.says()),
        };
        self.lit = Some(lit);
        Ok(self)
    }

    /// Whether an entry of the model's state dict is the average's, which goes on or stays as was said.
    pub(super) fn has(&self, own: &[NamedParameter], prefix: &str, name: &str) -> bool {
        self.lit.as_ref().is_some_and(|lit| lit.has(name) && (self.kept || lit.before(own, prefix).is_some()))
    }

    /// The average of a run of this model, which has the weights. A wrapper has put a prefix before its names.
    ///
    /// # Errors
    /// When the model has other names or shapes than the average that is to go on.
    pub(super) fn go_on<M: Module>(self, model: &M, rows: &Arc<LayerRows>, prefix: &str) -> Result<Average> {
        if let (Some(lit), Some(rule), false) = (self.lit, &self.rule, self.kept) {
            let own = model.named_parameters_with(rows)?;
            // It is asked about where it is none of this model.
            let Some(before) = lit.before(&own, prefix) else { return Ok(Average::Kept(None)) };
            let average = AveragedModel::from_lit(&lit.state, model, &before, rule.clone(), Arc::clone(rows));
            return Ok(Average::Updated(average?.within(lit.inside), self.when));
        }
        let found = self.found.map(|average| {
            // As timm's `ModelEmaV2` and `ModelEmaV3` keep it.
            let own = wrapped(average.module(), &[]);
            average.rows(Arc::clone(rows)).wrapped_in(if own.is_empty() { prefix } else { &own })
        });
        let found = match (found, &self.list, &self.rule) {
            (None, Some(list), Some(rule)) => {
                Some(AveragedModel::from_list(list, model, rule.clone(), Arc::clone(rows))?)
            }
            (found, _, _) => found,
        };
        Ok(match (found, self.rule) {
            (found, _) if self.kept => Average::Kept(found),
            (Some(average), _) => {
                let average = average.partly();
                average.clone().update_parameters(model)?;
                let average = if self.buffers { average.use_buffers(true) } else { average };
                Average::Updated(average.with_buffers_told(model, self.up_to_date)?, self.when)
            }
            (None, Some(rule)) => {
                Average::Updated(AveragedModel::new_with_rows(model, rule, Arc::clone(rows))?, self.when)
            }
            (None, None) => Average::None,
        })
    }
}

/// The average in a value; `None` is a list, which a model has the names of.
fn found(value: &Value, model: &StateDict) -> Result<Option<AveragedModel>> {
    if value.as_dict().is_some_and(|dict| dict.get("shadow_params").is_some()) {
        return Ok(None);
    }
    // The rule is not followed.
    let average = AveragedModel::from_state_dict(value, Averaging::default())?;
    let (own, models) = (wrapped(average.module(), &[]), wrapped(model, &[]));
    let has = |name: &str| {
        average.module().contains(name) || average.module().contains(&format!("{own}{}", &name[models.len()..]))
    };
    if average.layout() == AveragedLayout::Plain && !model.keys().any(has) {
        let advice = "it has none of the model's names; say which is the average with `ResumeOptions::average_at`";
        return Err(Error::invalid("the average of the checkpoint is not understood").advise(advice));
    }
    Ok(Some(average))
}

/// The rule by which an average goes on: as it is given, with what its file says of the growth of its decay; as the file says;
/// or the mean, where its name says so.
fn rule(
    given: Option<&Averaging>,
    value: &Value,
    found: &Result<Option<AveragedModel>>,
    state: &RunState,
) -> Option<Averaging> {
    let layout = found.as_ref().ok().and_then(Option::as_ref).map(AveragedModel::layout);
    let told = Decay::told(value).or_else(|| match told_rule(state)? {
        Averaging::Decaying(decay) => Some(decay),
        _ => None,
    });
    match (given, told) {
        (Some(Averaging::Ema { decay }), told) => {
            let grows = match layout {
                Some(AveragedLayout::EmaPytorch) => Decay::named("ema_pytorch", &[]).ok(),
                Some(AveragedLayout::Plain)
                    if state.updates.is_some() && state.layout != Layout::Lightning && !is_swa(state) =>
                {
                    Decay::named("yolo", &[]).ok()
                }
                _ => None,
            };
            let grown = told.or(grows).map(|rule| Averaging::Decaying(rule.with_decay(*decay)));
            grown.or(Some(Averaging::Ema { decay: *decay }))
        }
        (Some(given), _) => Some(given.clone()),
        (None, Some(told)) => Some(Averaging::Decaying(told)),
        (None, None) if told_rule(state).is_some() => told_rule(state),
        (None, None) => {
            // One without a count of its own has it beside it.
            let counted = layout == Some(AveragedLayout::PyTorch)
                || layout == Some(AveragedLayout::Plain) && state.updates.is_some();
            (counted && is_swa(state)).then_some(Averaging::Swa)
        }
    }
}

/// Whether the average's name says that it is the mean of the weights.
fn is_swa(state: &RunState) -> bool {
    state.ema_place.as_deref().unwrap_or_default().to_lowercase().contains("swa")
}

/// The rule that the decay beside an average is, and where that is; or what has to be told of what stands there.
fn told_beside(state: &RunState) -> Option<Result<(Averaging, String), Question>> {
    let told = state.told.decay.as_ref()?;
    let ema = state.ema_place.as_deref().unwrap_or("the average");
    if let ([first, more @ ..], []) = (&told.numbers[..], &told.others[..])
        && more.iter().all(|other| other.number.to_bits() == first.number.to_bits())
        && first.number > 0.0
        && first.number < 1.0
    {
        // As those do who keep it by names.
        return Some(Ok((Averaging::EmaAvgFn { decay: first.number }, first.place.clone())));
    }
    let all = || told.numbers.iter().chain(&told.setting);
    let numbers = all().map(|told| format!("{} is {:?}", told.place, told.number));
    let others = told.others.iter().map(|(place, value)| format!("{place} is {value}"));
    let there: Vec<String> = numbers.chain(others).collect();
    let what = format!("how the average of the weights ({ema}) goes on is not told for certain: {}", few(&there));
    let mut question = Question::new(what);
    let mut seen: Vec<u64> = Vec::new();
    for decay in all().map(|told| told.number).filter(|decay| (0.0..=1.0).contains(decay)) {
        if !seen.contains(&decay.to_bits()) {
            seen.push(decay.to_bits());
            question = question.or(format!("ResumeOptions::average({decay:?})"), "for that decay at every update");
        }
    }
    // A count beside it is of a decay that grows with it, as torch_ema's does.
    if told.others.iter().any(|(place, _)| place.ends_with("updates")) {
        for decay in seen.iter().map(|bits| f64::from_bits(*bits)) {
            let option = format!("ResumeOptions::average(\"lit_ema(decay={decay:?})\")");
            question = question.or(option, "for one that grows with the updates, `(1 + n) / (10 + n)`, up to that");
        }
    }
    if seen.is_empty() {
        question = question.or("ResumeOptions::average(DECAY)", "for that decay at every update");
    }
    Some(Err(question.or("ResumeOptions::keep_average(true)", "to leave it as it is")))
}

/// How the settings of the program say that its average goes on.
fn told_rule(state: &RunState) -> Option<Averaging> {
    state.told.average.as_ref()?.rule.parse().ok()
}

/// The question of which average goes on.
fn ask_which(state: &RunState) -> Question {
    let places: Vec<&String> = state.ema_place.iter().chain(&state.other_averages).collect();
    let names: Vec<_> = places.iter().map(|place| format!("'{place}'")).collect();
    let question = Question::new(format!("the file holds several averages of the weights: {}", names.join(", ")));
    places.iter().fold(question, |question, place| {
        question.or(format!("ResumeOptions::average_at(\"{place}\")"), "to go on with it, and leave the others")
    })
}

/// The question of how many updates there were, by which a decay grows.
fn ask_count(rule: &Averaging) -> Question {
    Question::new(format!("the average of the weights goes by the number of its updates ({rule}), which nothing tells"))
        .or("ResumeOptions::step_at(PATH)", "for where the number of steps is")
        .or("ResumeOptions::steps_made(N)", "for how many steps were made")
        .or("ResumeOptions::keep_average(true)", "to leave it as it is")
}

/// An average in half precision of a model that is not, as yolov5 saves it, in single: it goes back as it was.
fn in_single(value: &Value) -> Result<Value> {
    let dtypes = StateDict::from_value(value).ok();
    let half = |dtype: DType| matches!(dtype, DType::Float16 | DType::BFloat16);
    let mut floats = dtypes.iter().flat_map(StateDict::iter).map(|(_, tensor)| tensor.dtype());
    let floats: Vec<DType> = floats.by_ref().filter(|dtype| dtype.is_floating_point()).collect();
    if !floats.is_empty() && floats.iter().all(|dtype| half(*dtype)) {
        return rebuild::cast(value, DType::Float32);
    }
    Ok(value.clone())
}

impl Average {
    /// How often it is updated, if it is.
    pub(super) fn per(&self) -> Option<SchedulePer> {
        match self {
            Average::Updated(_, when) => Some(when.per),
            Average::None | Average::Kept(_) => None,
        }
    }

    /// Whether it has to be known where epochs end.
    pub(super) fn goes_by_epochs(&self, epoch: Option<i64>) -> bool {
        match self {
            Average::Updated(_, when) => when.goes_by_epochs(epoch),
            Average::None | Average::Kept(_) => false,
        }
    }

    /// Takes the model's weights in, if it is to after what was done.
    pub(super) fn update<M: Module>(&mut self, model: &M, done: Done) -> Result<()> {
        match self {
            Average::Updated(average, when) if when.is_due(done) => {
                average.update_parameters(model)?;
                // torchvision counts none while it warms up, so that the next one is a copy, too.
                if matches!(done, Done::Step(_, _, epochs) if epochs < when.copied) {
                    *average = average.clone().counted(0);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a checkpoint holds of the weights and the average; `None` leaves what is there.
    pub(super) fn saved(&self, weights: StateDict) -> Result<(StateDict, Option<Value>)> {
        match self {
            Average::Updated(average, _) | Average::Kept(Some(average)) => {
                if average.layout() == AveragedLayout::MmEngine {
                    return average.to_mmengine(&weights).map(|(weights, ema)| (weights, Some(ema)));
                }
                if average.inside().is_some() {
                    return Ok((weights, None));
                }
                Ok((weights, Some(average.state_dict())))
            }
            Average::None | Average::Kept(None) => Ok((weights, None)),
        }
    }

    /// A parameter that is trained and that an average lacks which goes on.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn covers<'a>(&self, trained: impl IntoIterator<Item = &'a NamedParameter>) -> Result<()> {
        let Average::Updated(average, _) = self else { return Ok(()) };
        let lacks = |named: &&NamedParameter| named.requires_grad && !average.covers(&named.name);
        match trained.into_iter().find(lacks) {
            None => Ok(()),
            Some(named) => {
                let what = format!("the average of the weights has no '{}', which is trained", named.name);
                Err(Error::invalid(what).advise("`ResumeOptions::keep_average(true)` leaves it as it is"))
            }
        }
    }

    /// A model's state dict with the average in it, where it is inside.
    pub(super) fn put_inside(&self, mut whole: StateDict) -> Result<StateDict> {
        if let Average::Updated(average, _) = self
            && let Some(inside) = average.inside()
        {
            for (name, value) in StateDict::from_value(&average.state_dict())?.values() {
                whole.insert_value(format!("{inside}{name}"), value.clone());
            }
        }
        Ok(whole)
    }

    /// How many updates a plain average has had, which has no place for that.
    pub(super) fn updates(&self) -> Option<i64> {
        match self {
            Average::Updated(average, _) if average.layout() == AveragedLayout::Plain => Some(average.n_averaged()),
            _ => None,
        }
    }

    /// What is to be said of it.
    pub(super) fn note(&self) -> Option<&'static str> {
        matches!(self, Average::Kept(_)).then_some(KEPT)
    }
}
