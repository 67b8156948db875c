//! `TorchOptimizer`: the optimizers of `torch.optim` as burn-optim's `Optimizer`, for `ModuleOptimizer`, burn-train's `Learner`, and
//! whatever else takes one.

use std::sync::{Arc, PoisonError, RwLock};

use burn::tensor::{Device, Tensor};
use burn_optim::LearningRate;
use rekindle_recorder::{Error, Result};

use super::state::TorchState;
use crate::optim::{Hyperparameters, ParamGroup, View, step_alone};

/// The groups as they are now: a scheduler changes them, and optimizers read them.
#[derive(Clone, Debug)]
pub(super) struct Groups(Arc<RwLock<Vec<ParamGroup>>>);

impl Groups {
    pub(super) fn new(groups: Vec<ParamGroup>) -> Self {
        Groups(Arc::new(RwLock::new(groups)))
    }

    pub(super) fn all(&self) -> Vec<ParamGroup> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(&self, place: usize) -> Option<ParamGroup> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }

    pub(super) fn set(&self, groups: &[ParamGroup]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = groups.to_vec();
    }
}

/// An optimizer of `torch.optim` with burn-optim's interface: the same formula and the same bits as
/// [`Optimizer`](crate::optim::Optimizer). The learning rate is the one that each step is given; all else is as its group has it, which a
/// [`TorchScheduler`](super::TorchScheduler) of this optimizer may change: `OneCycleLR` moves `betas`, too.
///
/// Its records have PyTorch's names (`exp_avg`, `step`), so those of burn-optim's own optimizers are not read; see
/// [`Optimizer::load_burn_record`](crate::optim::Optimizer::load_burn_record) for them. As burn-optim's own optimizers do, it
/// panics where a record's state is not of its parameter's shape or a device fails: the trait has no errors.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_optim::{GradientsParams, ModuleOptimizer};
/// use rekindle_train::learner::TorchOptimizer;
/// use rekindle_train::optim::NAdamOptions;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 2).init(&device);
/// let mut optimizer = ModuleOptimizer::from(TorchOptimizer::new(NAdamOptions::default())?);
/// let loss = model.forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
/// let gradients = GradientsParams::from_grads(loss.backward(), &model);
/// let model = optimizer.step(2e-3, model, gradients);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TorchOptimizer {
    hyperparameters: Hyperparameters,
    groups: Groups,
    /// Which of them its parameters are in; `None` for those that stay as they are.
    group: Option<usize>,
}

impl TorchOptimizer {
    /// The optimizer with these options.
    ///
    /// # Errors
    /// When an option is out of range; for LBFGS, Adafactor, Muon and `SparseAdam`, which see more of a model than one tensor as
    /// Burn has it; and for those of other packages that need all of a parameter or keep something of a group, such as a count of
    /// steps, which Burn's records do not hold.
    pub fn new(hyperparameters: impl Into<Hyperparameters>) -> Result<Self> {
        let hyperparameters = hyperparameters.into();
        let group = ParamGroup::new(hyperparameters.group(&[], None, 0), 0..1);
        hyperparameters.rule().check(&group)?;
        TorchOptimizer::of_group(hyperparameters, Groups::new(vec![group]), Some(0))
    }

    /// The optimizer of one of several groups.
    pub(super) fn of_group(hyperparameters: Hyperparameters, groups: Groups, group: Option<usize>) -> Result<Self> {
        // Burn's record of a state has tensors and floats: a count that is an int would come back as another thing.
        let rule = hyperparameters.rule();
        let alone = rule.view == View::Elements && rule.counters.is_empty() && rule.group_state.is_empty();
        if !alone {
            let what = format!("{} as an optimizer of burn-optim's", hyperparameters.kind());
            let advice = "it needs the whole model, which rekindle's Optimizer gives it".to_owned();
            return Err(Error::unsupported(what).advise(advice));
        }
        Ok(TorchOptimizer { hyperparameters, groups, group })
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }
}

impl burn_optim::Optimizer for TorchOptimizer {
    type State<const D: usize> = TorchState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<TorchState<D>>,
    ) -> (Tensor<D>, Option<TorchState<D>>) {
        let Some(mut group) = self.group.and_then(|group| self.groups.of(group)) else { return (tensor, state) };
        group.set_lr(lr);
        let mut state = state.unwrap_or_else(|| TorchState::new(&tensor));
        match step_alone(&self.hyperparameters, &group, tensor, grad, &mut state.state) {
            Ok(updated) => (updated, Some(state)),
            Err(error) => panic!("{error}"),
        }
    }

    // State in host memory stays there, and state on a device follows its parameter at the next step.
    fn to_device<const D: usize>(state: TorchState<D>, _: &Device) -> TorchState<D> {
        state
    }
}
