//! A multilayer perceptron. As in PyTorch it is a `Sequential` and nothing around it, so its keys are `0.weight`, `2.weight`.

use crate::Result;
use crate::init::Init;
use crate::nn::{Forward, Layer, LinearConfig, ReLU, Sequential};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, output};
use crate::registry::settings::Setting;

/// Nothing around its layers.
pub type Mlp = Sequential;

/// Its settings.
const SETTINGS: &[Setting] = &[Setting::shown("sizes", "20,32,16,10", |weights| {
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

impl ByHand for Mlp {
    const NAMES: &'static [Named<Self>] =
        &[Named::new("mlp", SETTINGS, IMAGES, |settings, init| mlp(&settings.sizes("sizes")?, init))];

    fn lengths(&self) -> Vec<Length> {
        match self.layers.first() {
            Some(Layer::Linear(linear)) => vec![Length::Exactly(linear.weight.lazy_shape().dims::<2>()[1])],
            _ => vec![Length::AtLeast(1)],
        }
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(output(self.forward_array(given.first()?)?))
    }
}
