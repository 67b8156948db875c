//! `Optimizer`: an optimizer of `torch.optim` over the parameters of a Burn module; how it is made, and what it is made of.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ParamId};
use rekindle_burn::{LayerRows, ModuleStateDict as _, NamedParameter};
use rekindle_recorder::{DType, Error, Result, Value};

use super::group::{ParamGroup, Select};
use super::lbfgs::Memory;
use super::registry::{Hyperparameters, OptimizerKind, python_path, registry};
use super::room::Room;
use super::rule::{Rule, View};
use super::state::ParamState;
use crate::attributes::{Attributes, invalid};
use crate::parameters::ids_of;

/// Which parameter, and which piece of it, a Burn parameter is.
pub(super) type Places = HashMap<ParamId, (usize, usize)>;

/// An optimizer of `torch.optim` over the parameters of a Burn module, and their state: what `torch.optim.AdamW(...)` gives.
///
/// A step computes PyTorch's formula in PyTorch's order, with `f64` scalars: the one of `foreach=False, fused=False,
/// capturable=False`. On the CPU, the results of those that treat each element by itself are, to the last bit, those of PyTorch's
/// code with correctly rounded square roots. PyTorch's own are MKL's, which on some processors are off by a unit in the last
/// place in a fifth of all elements; SGD, Adamax, Rprop and ASGD take none.
///
/// Parameters are `f32`, `f64`, `f16` or `bf16`, and their state is of their type. What has no gradient (frozen, or not used) is left as it is and gets no state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    pub(super) hyperparameters: Hyperparameters,
    /// How the model's layers lie in PyTorch.
    pub(super) rows: Arc<LayerRows>,
    /// The parameters of all groups, one group after the other: a place here is the id that a state dict uses.
    pub(super) parameters: Vec<Parameter>,
    pub(super) groups: Vec<ParamGroup>,
    /// Whether the caller said which parameter belongs to which group, or else all of the model's are in one.
    pub(super) groups_given: bool,
    /// Which parameter, and which piece of it, a Burn parameter is.
    pub(super) places: Places,
    /// The order in which `optimizer.state` has its entries.
    pub(super) order: Vec<StateKey>,
    /// What LBFGS keeps of all parameters together, from its first step on.
    pub(super) memory: Option<Memory>,
    /// On the CPU, too, computes with Burn's tensor operations rather than in one pass: for tests, which compare the two.
    pub(super) op_by_op: bool,
    /// Whether [room](Room) is kept: [`Optimizer::keep_room`].
    pub(super) keeps_room: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) named: NamedParameter,
    pub(super) group: usize,
    /// Empty, and not in `order`, until the first step.
    pub(super) state: ParamState,
    /// What it and its state were in before steps that found them held.
    pub(super) room: Room,
    /// Left out of steps.
    pub(super) frozen: bool,
}

/// A key of `optimizer.state`.
#[derive(Clone, Debug)]
pub(super) enum StateKey {
    /// A parameter, by its place.
    Parameter(usize),
    /// Something else that a file had there, with its value: kept.
    Other(Value, Value),
}

/// How an [`Optimizer`] is made: which one, and which parameters belong to which group.
#[derive(Debug)]
#[must_use]
pub struct OptimizerBuilder {
    hyperparameters: Hyperparameters,
    rows: Arc<LayerRows>,
    groups: Vec<(Select, Vec<(String, Value)>)>,
    exclude: Vec<Select>,
    named: bool,
    rest_frozen: bool,
    pub(super) foreign_keys: bool,
    order: Option<Vec<String>>,
}

impl OptimizerBuilder {
    /// Adds a group: the parameters that are selected and are in no group yet, in the model's order, with hyper-parameters
    /// of their own. Where no group is added, all parameters are in one.
    ///
    /// ```
    /// # use rekindle_train::optim::{AdamWOptions, Optimizer, Select};
    /// # let device = burn::tensor::Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// let optimizer = Optimizer::builder(AdamWOptions::default().lr(6e-4))
    ///     .group(Select::matching(|parameter| parameter.shape.len() >= 2), [("weight_decay", 0.1)])
    ///     .group("*", [("weight_decay", 0.0)])
    ///     .build(&model)?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn group<K: Into<String>, V: Into<Value>>(
        mut self,
        select: impl Into<Select>,
        hyperparameters: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let given = hyperparameters.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.groups.push((select.into(), given));
        self
    }

    pub(super) fn rule(&self) -> &'static Rule {
        self.hyperparameters.rule()
    }

    /// Leaves parameters out: they are not the optimizer's.
    pub fn exclude(mut self, select: impl Into<Select>) -> Self {
        self.exclude.push(select.into());
        self
    }

    /// Whether parameters that are in no group are left out, rather than an error: frozen parts of a model, which its optimizer
    /// was never given. Default false.
    pub fn rest_frozen(mut self, rest_frozen: bool) -> Self {
        self.rest_frozen = rest_frozen;
        self
    }

    /// Whether [`build_from`](Self::build_from) takes a state dict with keys that the optimizer never has and that are nobody's
    /// that is known, such as a training program's own: they are kept. Default false: they may be another optimizer's.
    pub fn foreign_keys(mut self, foreign_keys: bool) -> Self {
        self.foreign_keys = foreign_keys;
        self
    }

    /// In which order a group has its parameters, by their names: the order in which PyTorch's optimizer was given them, where
    /// it is not the model's. It names all of the optimizer's parameters, and may name others. Default: the model's.
    ///
    /// ```
    /// # use rekindle_train::optim::{AdamOptions, Optimizer};
    /// # let device = burn::tensor::Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// let optimizer = Optimizer::builder(AdamOptions::default()).order(["bias", "weight"]).build(&model)?;
    /// assert_eq!(optimizer.parameters().next().map(|named| &named.name[..]), Some("bias"));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn order<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.order = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Stores `param_names` in the groups, as `torch.optim.AdamW(model.named_parameters())` does.
    pub fn named(mut self) -> Self {
        self.named = true;
        self
    }

    /// How the model's layers lie in PyTorch, where it has layers with rows of their own. The rows that move its weights move
    /// the optimizer's state, too. Default: those of burn-nn's layers.
    ///
    /// ```
    /// # use burn::module::{Module, Param};
    /// # use burn::tensor::{Device, Tensor};
    /// use rekindle_burn::{LayerRows, Part, Row};
    /// use rekindle_train::optim::{AdamOptions, Optimizer};
    ///
    /// #[derive(Module, Debug)]
    /// struct Projection {
    ///     kernel: Param<Tensor<2>>,
    /// }
    ///
    /// # let device = Device::flex().autodiff();
    /// let model = Projection { kernel: Param::from_tensor(Tensor::ones([3, 2], &device)) };
    /// let rows = LayerRows::default().with(Row::new("Projection").tensor("weight", Part::new("kernel").transposed()));
    /// let optimizer = Optimizer::builder(AdamOptions::default()).rows(rows).build(&model)?;
    /// assert_eq!(optimizer.parameters().next().map(|named| &named.shape[..]), Some(&[2, 3][..]));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn rows(mut self, rows: impl Into<Arc<LayerRows>>) -> Self {
        self.rows = rows.into();
        self
    }

    /// The optimizer, over the parameters of a module.
    ///
    /// # Errors
    /// When a hyper-parameter is out of range, a pattern cannot be read, a group has no parameters, the order leaves one out,
    /// or there are groups and a parameter is in none.
    pub fn build<M: Module>(self, model: &M) -> Result<Optimizer> {
        let groups_given = !self.groups.is_empty();
        let mut rest = model.named_parameters_with(&self.rows)?;
        for select in self.exclude {
            let excluded = select.compile()?;
            rest.retain(|parameter| !excluded(parameter));
        }
        let mut members = Vec::new();
        for (place, (select, given)) in self.groups.into_iter().enumerate() {
            let selected = format!("{select:?}");
            let belongs = select.compile()?;
            let (group, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|parameter| belongs(parameter));
            if group.is_empty() {
                return Err(nothing_left(place, &selected));
            }
            rest = others;
            members.push((group, given));
        }
        if !groups_given {
            members.push((rest, Vec::new()));
        } else if let Some(first) = rest.first().filter(|_| !self.rest_frozen) {
            return Err(invalid(format!(
                "{} parameters are in no group, '{}' the first of them; add a group '*' for the rest, or exclude them, or \
                 say that the rest is frozen (`OptimizerBuilder::rest_frozen(true)`)",
                rest.len(),
                first.name
            )));
        }
        if let Some(order) = &self.order {
            members.iter_mut().try_for_each(|(group, _)| sort(group, order))?;
        }
        let hyperparameters = self.hyperparameters;
        let attributes = members
            .iter()
            .enumerate()
            .map(|(place, (group, given))| hyperparameters.group(given, self.named.then(|| names_of(group)), place));
        let attributes: Vec<_> = attributes.collect();
        hyperparameters.rule().check_defaults(&hyperparameters.defaults)?;
        for group in &attributes {
            hyperparameters.rule().check(group)?;
        }
        let groups = members.into_iter().zip(attributes).map(|((group, _), attributes)| (group, attributes));
        let mut optimizer = Optimizer::arranged(hyperparameters, self.rows, groups_given, groups)?;
        optimizer.begin()?;
        Ok(optimizer)
    }
}

fn nothing_left(place: usize, selected: &str) -> Error {
    invalid(format!("group {place} has no parameters: none is left that fits {selected}"))
}

/// Brings a group's parameters into this order.
fn sort(group: &mut [NamedParameter], order: &[String]) -> Result<()> {
    let place = |named: &NamedParameter| order.iter().position(|name| *name == named.name);
    if let Some(unnamed) = group.iter().find(|named| place(named).is_none()) {
        return Err(invalid(format!("the order of parameters leaves '{}' out, which is in a group", unnamed.name)));
    }
    group.sort_by_key(place);
    Ok(())
}

/// `param_names`.
fn names_of(members: &[NamedParameter]) -> Vec<Value> {
    members.iter().map(|named| named.name.as_str().into()).collect()
}

macro_rules! constructors {
    ($($file:ident::$kind:ident, $options:ident, $name:literal $($elsewhere:ident)?, $has:expr, $lacks:expr;)*) => {
        impl Optimizer { $(
            #[doc = concat!("`", python_path!($name $($elsewhere)?), "(model.parameters(), ...)`.")]
            ///
            /// # Errors
            /// When an option is out of range, the optimizer cannot train one of the parameters, or the model cannot be described
            /// in PyTorch's terms.
            pub fn $file<M: Module>(model: &M, options: super::$file::$options) -> Result<Self> {
                Optimizer::builder(options).build(model)
            }
        )* }
    };
}

registry!(constructors);

impl Optimizer {
    /// An optimizer whose groups are still to be said.
    pub fn builder(options: impl Into<Hyperparameters>) -> OptimizerBuilder {
        OptimizerBuilder {
            hyperparameters: options.into(),
            rows: Arc::default(),
            groups: Vec::new(),
            exclude: Vec::new(),
            named: false,
            rest_frozen: false,
            foreign_keys: false,
            order: None,
        }
    }

    /// Which optimizer it is.
    #[must_use]
    pub fn kind(&self) -> OptimizerKind {
        self.hyperparameters.kind
    }

    /// How many elements all parameters have together.
    pub(super) fn elements(&self) -> usize {
        self.parameters().map(|named| named.shape.iter().product::<usize>()).sum()
    }

    pub(super) fn rule(&self) -> &'static Rule {
        self.hyperparameters.rule()
    }

    /// Which optimizer, and what its groups have unless they say otherwise.
    #[cfg(feature = "learner")]
    pub(crate) fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// How the model's layers lie in PyTorch.
    #[cfg(feature = "learner")]
    pub(crate) fn rows(&self) -> &Arc<LayerRows> {
        &self.rows
    }

    /// The groups, in order.
    #[must_use]
    pub fn param_groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// The groups, to change their hyper-parameters.
    pub fn param_groups_mut(&mut self) -> &mut [ParamGroup] {
        &mut self.groups
    }

    /// The learning rate of each group.
    ///
    /// # Errors
    /// When somebody put something else than a number in its place.
    pub fn lr(&self) -> Result<Vec<f64>> {
        self.groups.iter().map(ParamGroup::lr).collect()
    }

    /// The parameters in the order of their ids.
    pub fn parameters(&self) -> impl Iterator<Item = &NamedParameter> {
        self.parameters.iter().map(|parameter| &parameter.named)
    }

    /// How many steps were made, as far as the optimizer's state tells: the largest `step` of a parameter, or of a group. `None` for
    /// SGD and others that do not count.
    #[must_use]
    pub fn steps(&self) -> Option<f64> {
        let counts = self.parameters.iter().filter_map(|parameter| parameter.state.number("step"));
        let own = ["step", "k"].into_iter().filter(|name| self.rule().group_state.contains(name));
        let of_groups = own.flat_map(|name| self.groups.iter().filter_map(move |group| group.float(name).ok()));
        counts.chain(of_groups).reduce(f64::max)
    }

    /// An optimizer of these groups; no parameter has state.
    pub(super) fn arranged(
        hyperparameters: Hyperparameters,
        rows: Arc<LayerRows>,
        groups_given: bool,
        groups: impl IntoIterator<Item = (Vec<NamedParameter>, Attributes)>,
    ) -> Result<Self> {
        let mut optimizer = Optimizer {
            hyperparameters,
            rows,
            parameters: Vec::new(),
            groups: Vec::new(),
            groups_given,
            places: HashMap::new(),
            order: Vec::new(),
            memory: None,
            op_by_op: false,
            keeps_room: false,
        };
        for (members, attributes) in groups {
            optimizer.append(members, attributes)?;
        }
        Ok(optimizer)
    }

    /// Adds a group of parameters without state.
    fn append(&mut self, members: Vec<NamedParameter>, attributes: Attributes) -> Result<()> {
        let untrainable = |named: &&NamedParameter| {
            !matches!(named.dtype, DType::Float32 | DType::Float64 | DType::Float16 | DType::BFloat16)
        };
        if let Some(named) = members.iter().find(untrainable) {
            let what = format!("training '{}', a parameter of {},", named.name, named.dtype);
            let advice = "train it in float32, or exclude it from the optimizer".to_owned();
            return Err(Error::unsupported(what).advise(advice));
        }
        let (rule, count) = (self.rule(), self.groups.len() + 1);
        members.iter().try_for_each(|named| (rule.admit)(named))?;
        if rule.view == View::Closure && count > 1 {
            return Err(invalid(format!("{} has one group of parameters, and {count} were given", self.kind())));
        }
        let (start, group) = (self.parameters.len(), self.groups.len());
        for named in members {
            for (piece, part) in named.pieces.iter().enumerate() {
                self.places.insert(part.id, (self.parameters.len(), piece));
            }
            let state = ParamState::of(rule, &named);
            self.parameters.push(Parameter { named, group, state, room: Room::default(), frozen: false });
        }
        self.groups.push(ParamGroup::new(attributes, start..self.parameters.len()));
        Ok(())
    }

    /// `optimizer.add_param_group({"params": ..., ...})`: a group of the model's parameters that are selected and in no group
    /// yet (a part that is trained from now on, say), with hyper-parameters of its own and the optimizer's defaults for the
    /// rest. Schedulers are made for a number of groups: make them anew.
    ///
    /// ```
    /// # use rekindle_train::optim::{AdamWOptions, Optimizer};
    /// # let device = burn::tensor::Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// let mut optimizer = Optimizer::builder(AdamWOptions::default()).exclude("weight").build(&model)?;
    /// optimizer.add_param_group(&model, "weight", [("lr", 1e-4)])?;
    /// assert_eq!(optimizer.lr()?, [1e-3, 1e-4]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model is another one, no parameter is left that fits, or a hyper-parameter is out of range. Nothing has
    /// changed then.
    pub fn add_param_group<M: Module, K: Into<String>, V: Into<Value>>(
        &mut self,
        model: &M,
        select: impl Into<Select>,
        hyperparameters: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        self.check_model(model)?;
        let (select, place) = (select.into(), self.groups.len());
        let selected = format!("{select:?}");
        let belongs = select.compile()?;
        let mut members = model.named_parameters_with(&self.rows)?;
        members.retain(|named| !named.pieces.iter().any(|piece| self.places.contains_key(&piece.id)) && belongs(named));
        if members.is_empty() {
            return Err(nothing_left(place, &selected));
        }
        let given: Vec<_> = hyperparameters.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let named = self.groups.first().is_some_and(|group| group.contains("param_names"));
        let attributes = self.hyperparameters.group(&given, named.then(|| names_of(&members)), place);
        self.rule().check(&attributes)?;
        self.append(members, attributes)?;
        self.groups_given = true;
        Ok(())
    }

    /// Gives parameters the state that is there before the first step.
    fn begin(&mut self) -> Result<()> {
        let rule = self.rule();
        for (place, parameter) in self.parameters.iter_mut().enumerate() {
            if parameter.state.is_empty() {
                (rule.begin)(&self.hyperparameters.defaults, &mut parameter.state)?;
                if !parameter.state.is_empty() {
                    self.order.push(StateKey::Parameter(place));
                }
            }
        }
        Ok(())
    }

    /// Whether the optimizer's parameters are this model's.
    ///
    /// # Errors
    /// When one is not: the model was made or loaded anew (Burn's own records bring new parameter ids) after the optimizer
    /// was made for it.
    pub fn check_model<M: Module>(&self, model: &M) -> Result<()> {
        let seen = ids_of(model);
        self.all_seen(|id| seen.contains(&id))
    }

    /// Refuses a model that lacks one of the parameters.
    pub(super) fn all_seen(&self, seen: impl Fn(ParamId) -> bool) -> Result<()> {
        let absent = |parameter: &&Parameter| parameter.named.pieces.iter().any(|piece| !seen(piece.id));
        match self.parameters.iter().find(absent) {
            Some(parameter) => Err(invalid(format!(
                "the optimizer's parameter '{}' is not in this model; make the optimizer for the model that it is to train",
                parameter.named.name
            ))),
            None => Ok(()),
        }
    }

    /// Says which rows of a parameter the gradient of the next step touches, for [`SparseAdam`](super::SparseAdamOptions); in
    /// any order, and as often as you like: an embedding's are the tokens of the batch. Without it they are the rows whose
    /// gradient is not zero.
    ///
    /// ```
    /// # use burn::nn::EmbeddingConfig;
    /// # use burn::tensor::{Device, Int, Tensor};
    /// # use rekindle_train::optim::{Optimizer, SparseAdamOptions};
    /// # let device = Device::flex().autodiff();
    /// let model = EmbeddingConfig::new(5, 2).init(&device);
    /// let mut optimizer = Optimizer::builder(SparseAdamOptions::default()).build(&model)?;
    /// let tokens = Tensor::<2, Int>::from_data([[3, 1, 3]], &device);
    /// let loss = model.forward(tokens).powf_scalar(2.0).mean();
    /// optimizer.touch("weight", [3, 1, 3])?;
    /// let model = optimizer.step(model, loss.backward())?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When this is no `SparseAdam`, it has no such parameter, or the parameter has no such row.
    pub fn touch(&mut self, parameter: &str, rows: impl IntoIterator<Item = usize>) -> Result<()> {
        if self.kind() != OptimizerKind::SparseAdam {
            return Err(invalid(format!("{} updates every row; only SparseAdam asks which are touched", self.kind())));
        }
        let found = self.parameters.iter_mut().find(|known| known.named.name == parameter);
        let found = found.ok_or_else(|| invalid(format!("the optimizer has no parameter '{parameter}'")))?;
        let count = found.named.shape.first().copied().unwrap_or(1);
        let mut touched: Vec<usize> = rows.into_iter().collect();
        touched.sort_unstable();
        touched.dedup();
        if let Some(row) = touched.last().filter(|row| **row >= count) {
            return Err(invalid(format!("'{parameter}' has {count} rows, and no row {row}")));
        }
        found.state.touched = Some(touched);
        Ok(())
    }
}

/// Gives a parameter's state its place in `optimizer.state`. A file may have had an empty entry for it.
pub(super) fn list(order: &mut Vec<StateKey>, place: usize) {
    if !order.iter().any(|key| matches!(key, StateKey::Parameter(known) if *known == place)) {
        order.push(StateKey::Parameter(place));
    }
}
