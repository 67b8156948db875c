//! A multilayer perceptron. As in PyTorch it is a `Sequential` and nothing around it, so its keys are `0.weight`, `2.weight`.

use crate::Result;
use crate::init::Init;
use crate::nn::{LinearConfig, ReLU, Sequential};
use crate::registry::settings::Setting;

/// What the registry knows of it.
pub(crate) const SETTINGS: &[Setting] = &[Setting::shown("sizes", "20,32,16,10", |weights| {
    let outputs = (0..).map_while(|layer: usize| weights.length(&format!("{}.weight", 2 * layer), 0));
    let sizes: Vec<String> = weights.length("0.weight", 1).into_iter().chain(outputs).collect();
    (sizes.len() > 1).then(|| sizes.join(","))
})];

/// Linear layers from each size to the next, with `ReLU` between them: `[batch, sizes[0]]` to `[batch, sizes[last]]`.
///
/// # Errors
/// None in truth.
pub fn mlp(sizes: &[usize], init: &mut Init<'_>) -> Result<Sequential> {
    let mut layers = Vec::new();
    for pair in sizes.windows(2) {
        if !layers.is_empty() {
            layers.push(ReLU::new().into());
        }
        if let &[inputs, outputs] = pair {
            layers.push(LinearConfig::new(inputs, outputs).init(init)?.into());
        }
    }
    Ok(Sequential::new(layers))
}
