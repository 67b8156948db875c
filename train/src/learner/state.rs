//! `TorchState`: the state of one parameter, as burn-optim's records take it in.

use burn::tensor::{Device, Tensor};
use burn_optim::{RecordState, StateSink, StateSource};
use burn_pack::Scalar;
use rekindle_recorder::DType;

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
