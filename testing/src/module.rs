//! Parameters of Burn modules. Burn draws a layer's first weights from a generator of the whole process, when they are first
//! looked at: what a test gets from it depends on the tests beside it.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor, TensorData};
use rekindle_burn::{ModuleStateDict as _, NamedParameter};
use rekindle_random::{Generator, uniform_};
use rekindle_recorder::Tensor as TorchTensor;

/// The module with its parameters drawn anew, from -0.5 to 0.5, by a generator of its own that starts from this seed.
pub fn seeded<M: Module>(module: M, seed: i64) -> M {
    struct Draw(Generator);
    impl ModuleMapper for Draw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|before| {
                let mut values = vec![0.0_f32; before.shape().num_elements()];
                uniform_(&mut self.0, &mut values, -0.5, 0.5).unwrap();
                let drawn = Tensor::from_data(TensorData::new(values, before.shape()), &before.device());
                drawn.set_require_grad(before.is_require_grad())
            })
        }
    }
    module.map(&mut Draw(Generator::new(seed)))
}

/// The gradient of every parameter that has one, by PyTorch's names and in PyTorch's shapes.
pub fn gradients<M: Module>(model: &M, gradients: &Gradients) -> Vec<(String, TorchTensor)> {
    struct Collect<'a> {
        gradients: &'a Gradients,
        found: HashMap<ParamId, TensorData>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                self.found.insert(param.id, gradient.into_data());
            }
        }
    }
    let mut collect = Collect { gradients, found: HashMap::new() };
    model.visit(&mut collect);
    let named = model.named_parameters().unwrap();
    let join = |parameter: &NamedParameter| {
        let pieces = parameter.pieces.iter().map(|piece| collect.found.get(&piece.id).cloned());
        let pieces: Vec<_> = pieces.collect::<Option<_>>()?;
        Some((parameter.name.clone(), parameter.join(&pieces).unwrap()))
    };
    named.iter().filter_map(join).collect()
}
