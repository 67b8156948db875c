//! A multilayer perceptron. As in PyTorch it is a `Sequential` and nothing around it, so its keys are `0.weight`, `2.weight`.

use burn::nn::Relu;

use crate::Result;
use crate::init::Init;
use crate::nn::{Layer, Sequential};

/// Linear layers from each size to the next, with `ReLU` between them: `[batch, sizes[0]]` to `[batch, sizes[last]]`.
///
/// # Errors
/// When a layer has no inputs.
pub fn mlp(sizes: &[usize], init: &mut Init<'_>) -> Result<Sequential> {
    let mut layers = Vec::new();
    for pair in sizes.windows(2) {
        if !layers.is_empty() {
            layers.push(Layer::Relu(Relu::new()));
        }
        if let &[inputs, outputs] = pair {
            layers.push(Layer::Linear(init.linear(inputs, outputs)?));
        }
    }
    Ok(Sequential::new(layers))
}
