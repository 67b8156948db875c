//! Networks in double precision, for checkpoints whose weights are.

use burn::module::{Module as _, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use rekindle::Checkpoint;
use rekindle::models::Network;
use rekindle::recorder::DType as TorchDType;
use rekindle::recorder::run::RunState;

/// What a checkpoint's networks are computed in: `float64`, if all their weights are and the device has it.
pub(super) fn of(checkpoint: &Checkpoint, device: &Device) -> FloatDType {
    let Ok(state) = RunState::read(checkpoint) else { return FloatDType::F32 };
    let models = std::iter::once(&state.model).chain(state.other_models.iter().map(|(_, model)| model));
    let tensors = models.flat_map(|model| model.iter().map(|(_, tensor)| tensor.dtype()));
    let mut dtypes = tensors.filter(|dtype| dtype.is_floating_point());
    let doubles = dtypes.next() == Some(TorchDType::Float64) && dtypes.all(|dtype| dtype == TorchDType::Float64);
    if doubles && device.supports_dtype(DType::F64) { FloatDType::F64 } else { FloatDType::F32 }
}

/// The network in this type.
pub(super) fn as_in(network: Network, dtype: FloatDType) -> Network {
    if dtype == FloatDType::F64 { network.map(&mut Doubles) } else { network }
}

struct Doubles;

impl ModuleMapper for Doubles {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (trained, autodiff) = (tensor.is_require_grad(), tensor.is_autodiff());
        let doubles = tensor.inner().cast(FloatDType::F64);
        let doubles = if autodiff { Tensor::from_inner(doubles).set_require_grad(trained) } else { doubles };
        Param::from_mapped_value(id, doubles, mapper)
    }
}

/// What a network computes in: the type of its first parameter.
pub(super) fn dtype_of(network: &Network) -> FloatDType {
    struct First(Option<DType>);

    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.get_or_insert(param.val().dtype());
        }
    }

    let mut first = First(None);
    network.visit(&mut first);
    first.0.map_or(FloatDType::F32, FloatDType::from)
}
