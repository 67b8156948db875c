//! Parameters that an optimizer has and does not train: frozen ones, and those that never had a gradient, which a file of PyTorch
//! shows by their having no state. And optimizers that are made after the groups of a file.

use burn::module::Module;
use rekindle_recorder::{Result, Value};

use super::group::{ParamGroup, Select};
use super::optimizer::{Optimizer, OptimizerBuilder, Parameter};
use super::registry::OptimizerKind;
use super::rule::View;
use crate::attributes::invalid;

impl Optimizer {
    /// Of each group, the names of its parameters that have no state where others of the group have: frozen ones, or such as
    /// were never used. State that was there from the start, as Adagrad's is, and saw no step counts as none. In a group where
    /// nothing has state (it is new, or its optimizer keeps none) there are none.
    #[must_use]
    pub fn without_state(&self) -> Vec<Vec<&str>> {
        let bare = |parameter: &&Parameter| parameter.state.is_empty() || parameter.state.number("step") == Some(0.0);
        let without = |members: std::ops::Range<usize>| {
            let members = &self.parameters[members];
            if members.iter().all(|parameter| bare(&parameter)) || self.rule().view == View::Closure {
                return Vec::new();
            }
            members.iter().filter(bare).map(|parameter| parameter.named.name.as_str()).collect()
        };
        self.groups.iter().map(|group| without(group.params())).collect()
    }

    /// The groups in which no parameter has state, and whether its optimizer keeps any for them: SGD does not without momentum, nor
    /// LBFGS for each by itself.
    pub(crate) fn bare_groups(&self) -> Vec<(usize, bool)> {
        let bare = |parameter: &Parameter| parameter.state.is_empty() || parameter.state.number("step") == Some(0.0);
        let keeps = |group: &ParamGroup| match self.kind() {
            OptimizerKind::Sgd => group.get("momentum").and_then(Value::as_f64).is_some_and(|momentum| momentum != 0.0),
            _ => self.rule().view != View::Closure,
        };
        let groups = self.groups.iter().enumerate();
        let bare = groups.filter(|(_, group)| self.parameters[group.params()].iter().all(bare));
        bare.map(|(place, group)| (place, keeps(group))).collect()
    }

    /// The parameters that have made steps, and fewer than others, with how many: they were frozen for a while or are still,
    /// came later, or were not always used. An optimizer that does not count has none.
    #[must_use]
    pub fn behind(&self) -> Vec<(&str, f64)> {
        let most = self.steps().unwrap_or(0.0);
        let fewer = |parameter: &Parameter| parameter.state.number("step").filter(|&steps| steps > 0.0 && steps < most);
        let behind = self.parameters.iter().filter_map(|parameter| Some((&*parameter.named.name, fewer(parameter)?)));
        behind.collect()
    }

    /// Leaves the parameters that are selected out of the steps to come, as `requires_grad = False` does in PyTorch: they and
    /// their state stay as they are, and what has no state gets none. Gives how many are selected.
    ///
    /// ```
    /// # use rekindle_train::optim::{AdamOptions, Optimizer};
    /// # use burn::tensor::{Device, Tensor};
    /// # let device = Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// let mut optimizer = Optimizer::adam(&model, AdamOptions::default())?;
    /// optimizer.freeze("bias")?;
    /// let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).sum();
    /// let model = optimizer.step(model, loss.backward())?;
    /// assert_eq!(optimizer.without_state(), [["bias"]]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a pattern cannot be read, nothing is selected, or the optimizer is LBFGS, which takes all parameters together.
    pub fn freeze(&mut self, select: impl Into<Select>) -> Result<usize> {
        self.set_frozen(select.into(), true)
    }

    /// Takes parameters that were frozen into the steps again; gives how many are selected.
    ///
    /// # Errors
    /// As [`freeze`](Self::freeze).
    pub fn unfreeze(&mut self, select: impl Into<Select>) -> Result<usize> {
        self.set_frozen(select.into(), false)
    }

    /// The names of the frozen parameters. A state dict does not have them; loading one keeps them.
    pub fn frozen(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(|parameter| parameter.frozen).map(|parameter| parameter.named.name.as_str())
    }

    fn set_frozen(&mut self, select: Select, frozen: bool) -> Result<usize> {
        if self.rule().view == View::Closure {
            let kind = self.kind();
            return Err(invalid(format!("{kind} steps all parameters together; exclude those that stay as they are")));
        }
        let selected = format!("{select:?}");
        let belongs = select.compile()?;
        let members: Vec<_> = self.parameters.iter_mut().filter(|parameter| belongs(&parameter.named)).collect();
        if members.is_empty() {
            return Err(invalid(format!("the optimizer has no parameter that fits {selected}")));
        }
        let count = members.len();
        members.into_iter().for_each(|parameter| parameter.frozen = frozen);
        Ok(count)
    }
}

impl OptimizerBuilder {
    /// The optimizer as a file has it: of the parameters in the file's groups, which may be fewer than the model's, with their
    /// hyper-parameters and state. Which ones they are is told by `param_names`, by the [groups](OptimizerBuilder::group) that
    /// were said, or by the shapes of the moments, where only one way fits; what the optimizer cannot train (a bias, for Muon)
    /// is not among them.
    ///
    /// ```
    /// # use rekindle_train::optim::{MuonOptions, Optimizer};
    /// # let device = burn::tensor::Device::flex().autodiff();
    /// # let model = burn::nn::LinearConfig::new(3, 2).init(&device);
    /// # let made = Optimizer::builder(MuonOptions::default()).exclude("bias").build(&model)?;
    /// # let saved = made.state_dict(&model)?;
    /// let optimizer = Optimizer::builder(MuonOptions::default()).build_from(&model, &saved)?;
    /// assert_eq!(optimizer.parameters().count(), 1);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`build`](OptimizerBuilder::build) and [`Optimizer::load_state_dict`].
    pub fn build_from<M: Module>(self, model: &M, state_dict: &Value) -> Result<Optimizer> {
        let (rule, foreign_keys) = (self.rule(), self.foreign_keys);
        let builder = self.exclude(Select::matching(move |parameter| (rule.admit)(parameter).is_err()));
        let mut optimizer = builder.build(model)?;
        optimizer.load(model, state_dict, foreign_keys)?;
        Ok(optimizer)
    }
}
