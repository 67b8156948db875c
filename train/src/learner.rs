//! The optimizers of `torch.optim` as burn-optim's `Optimizer` (feature `learner`): for `ModuleOptimizer`, burn-train's
//! `Learner`, and whatever else takes one.

use burn::tensor::{Device, Tensor};
use burn_optim::{LearningRate, RecordState, StateSink, StateSource};
use burn_pack::Scalar;
use rekindle_recorder::{DType, Error, Result};

use crate::optim::{Hyperparameters, View, step_alone};

pub use state::TorchState;

/// An optimizer of `torch.optim` with burn-optim's interface: the same formula and the same bits as
/// [`Optimizer`](crate::optim::Optimizer). The learning rate is the one that each step is given.
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
        // Burn's record of a state has tensors and floats: a count that is an int would come back as another thing.
        let rule = hyperparameters.rule();
        let alone = rule.view == View::Elements && rule.counters.is_empty() && rule.group_state.is_empty();
        if !alone {
            let what = format!("{} as an optimizer of burn-optim's", hyperparameters.kind());
            let advice = "it needs the whole model, which rekindle's Optimizer gives it".to_owned();
            return Err(Error::unsupported(what).advise(advice));
        }
        hyperparameters.rule().check(&hyperparameters.defaults)?;
        Ok(TorchOptimizer { hyperparameters })
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
        let mut state = state.unwrap_or_else(|| TorchState::new(&tensor));
        match step_alone(&self.hyperparameters, lr, tensor, grad, &mut state.state) {
            Ok(updated) => (updated, Some(state)),
            Err(error) => panic!("{error}"),
        }
    }

    // State in host memory stays there, and state on a device follows its parameter at the next step.
    fn to_device<const D: usize>(state: TorchState<D>, _: &Device) -> TorchState<D> {
        state
    }
}

mod state {
    use super::{DType, Device, RecordState, Scalar, StateSink, StateSource, Tensor};
    use crate::optim::{OptimizerKind, ParamState, View};

    /// The state of one parameter, under PyTorch's names.
    #[derive(Clone, Debug)]
    pub struct TorchState<const D: usize> {
        pub(super) state: ParamState,
    }

    impl<const D: usize> TorchState<D> {
        pub(super) fn new(tensor: &Tensor<D>) -> Self {
            let double = tensor.dtype() == burn::tensor::DType::F64;
            let dtype = if double { DType::Float64 } else { DType::Float32 };
            TorchState { state: ParamState::alone(tensor.dims().to_vec(), dtype) }
        }
    }

    impl<const D: usize> RecordState for TorchState<D> {
        fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
            self.state.scalars().for_each(|(name, number)| out.push_scalar(prefix, name, Scalar::Float(number)));
            for (name, data) in self.state.moments() {
                match data {
                    Ok(data) => out.push_tensor(prefix, name, data),
                    Err(error) => panic!("{error}"),
                }
            }
        }

        fn state_unflatten(prefix: &str, src: &mut StateSource, _: &Device) -> Option<Self> {
            let mut state: Option<ParamState> = None;
            let rules = OptimizerKind::ALL.iter().map(|kind| kind.rule()).filter(|rule| rule.view == View::Elements);
            let (mut scalars, mut moments): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
            for rule in rules {
                scalars.extend(rule.scalars);
                moments.extend(rule.moments);
            }
            for name in moments {
                let Some(data) = src.take_tensor(prefix, name) else { continue };
                let double = data.dtype() == burn::tensor::DType::F64;
                let dtype = if double { DType::Float64 } else { DType::Float32 };
                let shape = data.shape().as_slice().to_vec();
                state.get_or_insert_with(|| ParamState::alone(shape, dtype)).put_moment(name, data).ok()?;
            }
            for name in scalars {
                if let (Some(Scalar::Float(number)), Some(state)) = (src.take_scalar(prefix, name), &mut state) {
                    state.scalar(name, number);
                }
            }
            Some(TorchState { state: state? })
        }
    }
}
